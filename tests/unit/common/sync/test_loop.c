#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/sync/loop.h"
#include "tests/lib/fixture.h"

/* Everything here runs in one thread where it can: what is posted before the stop is run. */
struct fixture {
    struct fed_loop *loop;
    char trace[256];
};

struct step {
    struct fixture *f;
    struct fed_event event;
    struct fed_timer timer;
    const char *name;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    *state = &f;
    return fed_loop_new(&f.loop, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->loop = fed_loop_free(f->loop);
    return 0;
}

static void run_step(void *arg)
{
    struct step *step = arg;
    const size_t used = strlen(step->f->trace);

    (void)snprintf(step->f->trace + used, sizeof(step->f->trace) - used, "%s ", step->name);
}

static void stop_step(void *arg)
{
    run_step(arg);
    fed_loop_stop(((struct step *)arg)->f->loop);
}

static void init_step(struct step *step, struct fixture *f, const char *name, fed_event_fn fn)
{
    *step = (struct step){.f = f, .name = name};
    fed_event_init(&step->event, fn, step);
    fed_timer_init(&step->timer, fn, step);
}

static void test_events_run_in_order_and_once(void **state)
{
    struct fixture *f = *state;
    struct step a;
    struct step b;
    struct step c;

    init_step(&a, f, "a", run_step);
    init_step(&b, f, "b", run_step);
    init_step(&c, f, "c", run_step);
    fed_loop_post(f->loop, &b.event);
    fed_loop_post(f->loop, &a.event);
    fed_loop_post(f->loop, &c.event);
    fed_loop_post(f->loop, &b.event);
    fed_loop_cancel(f->loop, &c.event);
    fed_loop_cancel(f->loop, &c.event);
    fed_loop_stop(f->loop);
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "b a ");
    fed_loop_post(f->loop, &c.event); /* after the stop: the next run drains it */
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "b a c ");
}

static void test_timers_run_when_due_in_order(void **state)
{
    struct fixture *f = *state;
    const uint64_t now_ms = fed_clock_mono_ms();
    struct step a;
    struct step b;
    struct step c;
    struct step end;

    init_step(&a, f, "a", run_step);
    init_step(&b, f, "b", run_step);
    init_step(&c, f, "c", run_step);
    init_step(&end, f, "end", stop_step);
    fed_timer_start(f->loop, &end.timer, now_ms + 30);
    fed_timer_start(f->loop, &b.timer, now_ms + 20);
    fed_timer_start(f->loop, &a.timer, now_ms + 40);
    fed_timer_start(f->loop, &a.timer, now_ms + 10); /* moved */
    fed_timer_start(f->loop, &c.timer, now_ms + 15);
    fed_timer_stop(&c.timer);
    fed_timer_stop(&c.timer);
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "a b end ");
    assert_true(fed_clock_mono_ms() >= now_ms + 30);
    assert_true(fed_loop_now_ms(f->loop) >= now_ms + 30);
}

static void test_equal_times_keep_their_order(void **state)
{
    struct fixture *f = *state;
    struct step a;
    struct step b;
    struct step end;

    init_step(&a, f, "a", run_step);
    init_step(&b, f, "b", run_step);
    init_step(&end, f, "end", stop_step);
    fed_timer_start(f->loop, &a.timer, 5);
    fed_timer_start(f->loop, &b.timer, 5);
    fed_timer_start(f->loop, &end.timer, 5);
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "a b end ");
}

static unsigned n_eager;

/* Wants to run again at once, for ever. */
static void run_eager(void *arg)
{
    struct step *step = arg;

    if (++n_eager < 100000) {
        fed_timer_start(step->f->loop, &step->timer, 0);
    }
}

static void test_an_eager_timer_starves_no_event(void **state)
{
    struct fixture *f = *state;
    struct step eager;
    struct step end;

    init_step(&eager, f, "eager", run_eager);
    init_step(&end, f, "end", stop_step);
    fed_timer_start(f->loop, &eager.timer, 0);
    fed_loop_post(f->loop, &end.event);
    n_eager = 0;
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "end ");
    assert_in_range(n_eager, 1, 10);
    fed_timer_stop(&eager.timer);
}

static struct step *other_step;

static void stop_other(void *arg)
{
    run_step(arg);
    fed_timer_stop(&other_step->timer);
}

static void test_a_due_timer_may_be_stopped_by_another(void **state)
{
    struct fixture *f = *state;
    struct step a;
    struct step b;
    struct step end;

    init_step(&a, f, "a", stop_other);
    init_step(&b, f, "b", run_step);
    init_step(&end, f, "end", stop_step);
    other_step = &b;
    fed_timer_start(f->loop, &a.timer, 1);
    fed_timer_start(f->loop, &b.timer, 1);
    fed_timer_start(f->loop, &end.timer, 2);
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "a end ");
}

/* -- threads -------------------------------------------------------------------------------------
 */

#define N_POSTERS 4
#define N_POSTS   2000

struct poster {
    struct test_loop *loop;
    struct fed_event events[N_POSTS];
    unsigned n_run;  /* loop thread */
    unsigned *n_all; /* loop thread: unguarded, so that TSan would see two at once */
    bool is_on_loop;
};

static void count_one(void *arg)
{
    struct poster *poster = arg;

    poster->n_run++;
    (*poster->n_all)++;
    poster->is_on_loop = fed_loop_is_current(poster->loop->loop);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;

    for (unsigned i = 0; i < N_POSTS; i++) {
        fed_event_init(&poster->events[i], count_one, poster);
        (i % 3 == 0 ? fed_loop_post : fed_loop_hand)(poster->loop->loop, &poster->events[i]);
    }
    return NULL;
}

static void test_many_threads_post_and_hand(void **state)
{
    static struct poster posters[N_POSTERS];
    pthread_t threads[N_POSTERS];
    struct test_loop loop;
    unsigned n_all = 0;

    (void)state;
    test_loop_start(&loop);
    for (unsigned i = 0; i < N_POSTERS; i++) {
        posters[i] = (struct poster){.loop = &loop, .n_all = &n_all};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    for (unsigned i = 0; i < N_POSTERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_false(fed_loop_is_current(loop.loop));
    test_loop_stop(&loop);
    for (unsigned i = 0; i < N_POSTERS; i++) {
        assert_int_equal(posters[i].n_run, N_POSTS);
        assert_true(posters[i].is_on_loop);
    }
    assert_int_equal(n_all, N_POSTERS * N_POSTS);
}

/* -- handing over ------------------------------------------------------------------------------ */

struct handed {
    struct fixture *f;
    struct test_loop *loop;
    struct fed_event event;
    struct fed_event inner;
    struct fed_timer timer;
    struct test_gate gate;
    pthread_t ran_by;
    unsigned n_run; /* in the loop: unguarded, so that TSan would see two at once */
    bool is_inside;
    bool was_run_inside;
    _Atomic bool is_back;
};

static void run_here(void *arg)
{
    struct handed *handed = arg;

    handed->ran_by = pthread_self();
    handed->n_run++;
    test_gate_open(&handed->gate);
}

/* A loop in a thread that sleeps, for nothing is left to do: what is handed over now runs here. Its
 * thread is awake for a moment after each event, so hand until it was not. */
static void start_handed(struct handed *handed, struct test_loop *loop, fed_event_fn fn)
{
    *handed = (struct handed){.loop = loop};
    test_gate_init(&handed->gate);
    fed_event_init(&handed->event, run_here, handed);
    test_loop_start(loop);
    do {
        const unsigned n = handed->n_run;
        fed_loop_hand(loop->loop, &handed->event);
        test_gate_wait(&handed->gate, n + 1);
    } while (pthread_equal(handed->ran_by, pthread_self()) == 0);
    handed->n_run = 0;
    test_gate_deinit(&handed->gate);
    test_gate_init(&handed->gate);
    fed_event_init(&handed->event, fn, handed);
}

static void end_handed(struct handed *handed)
{
    test_loop_stop(handed->loop);
    test_gate_deinit(&handed->gate);
}

static void test_a_free_loop_runs_what_is_handed_here_and_what_is_posted_there(void **state)
{
    struct test_loop loop;
    struct handed handed;

    (void)state;
    start_handed(&handed, &loop, run_here);
    fed_loop_hand(loop.loop, &handed.event);
    assert_int_equal(handed.n_run, 1);
    assert_false(fed_loop_is_current(loop.loop));
    fed_loop_post(loop.loop, &handed.event);
    test_gate_wait(&handed.gate, 2);
    assert_false(pthread_equal(handed.ran_by, pthread_self()));
    end_handed(&handed);
}

static void run_inner(void *arg)
{
    struct handed *handed = arg;

    handed->was_run_inside = handed->is_inside;
    run_step(&(struct step){.f = handed->f, .name = "inner"});
    fed_loop_stop(handed->f->loop);
}

static void run_outer(void *arg)
{
    struct handed *handed = arg;

    handed->is_inside = true;
    fed_loop_hand(handed->f->loop, &handed->inner);
    handed->is_inside = false;
    run_step(&(struct step){.f = handed->f, .name = "outer"});
}

static void test_inside_the_loop_and_without_a_run_it_waits(void **state)
{
    struct fixture *f = *state;
    struct handed handed = {.f = f};

    fed_event_init(&handed.event, run_outer, &handed);
    fed_event_init(&handed.inner, run_inner, &handed);
    fed_loop_hand(f->loop, &handed.event);
    assert_string_equal(f->trace, "");
    fed_loop_run(f->loop);
    assert_string_equal(f->trace, "outer inner ");
    assert_false(handed.was_run_inside);
    fed_loop_hand(f->loop, &handed.event);
    assert_string_equal(f->trace, "outer inner ");
    fed_loop_cancel(f->loop, &handed.event);
}

static void when_due(void *arg)
{
    struct handed *handed = arg;

    test_gate_open(&handed->gate);
}

static void start_timer(void *arg)
{
    struct handed *handed = arg;

    run_here(handed);
    fed_timer_init(&handed->timer, when_due, handed);
    fed_timer_start(handed->loop->loop, &handed->timer, fed_loop_now_ms(handed->loop->loop) + 5);
}

/* The thread in fed_loop_run() sleeps without an end when the timer is started on another. */
static void test_a_handed_event_starts_a_timer(void **state)
{
    struct test_loop loop;
    struct handed handed;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        start_handed(&handed, &loop, start_timer);
        fed_loop_hand(loop.loop, &handed.event);
        test_gate_wait(&handed.gate, 2);
        end_handed(&handed);
    }
}

static void stop_here(void *arg)
{
    struct handed *handed = arg;

    run_here(handed);
    fed_loop_stop(handed->loop->loop);
}

static void test_a_handed_event_stops_the_loop(void **state)
{
    struct test_loop loop;
    struct handed handed;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        start_handed(&handed, &loop, stop_here);
        fed_loop_hand(loop.loop, &handed.event);
        (void)pthread_join(loop.thread, NULL);
        loop.loop = fed_loop_free(loop.loop);
        test_gate_deinit(&handed.gate);
    }
}

#define N_AGAIN_MAX 10000000U

static void run_again(void *arg)
{
    struct handed *handed = arg;

    if (!handed->is_back && handed->n_run < N_AGAIN_MAX) {
        handed->n_run++;
        fed_loop_post(handed->loop->loop, &handed->event);
    } else {
        test_gate_open(&handed->gate);
    }
}

/* Who hands an event over is not kept by those that come after it for ever. */
static void test_a_hand_comes_back(void **state)
{
    struct test_loop loop;
    struct handed handed;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        start_handed(&handed, &loop, run_again);
        fed_loop_hand(loop.loop, &handed.event);
        handed.is_back = true;
        test_gate_wait(&handed.gate, 1);
        assert_true(handed.n_run < N_AGAIN_MAX);
        end_handed(&handed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_run_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timers_run_when_due_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_equal_times_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_eager_timer_starves_no_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_due_timer_may_be_stopped_by_another, set_up,
                                        tear_down),
        cmocka_unit_test(test_many_threads_post_and_hand),
        cmocka_unit_test(test_a_free_loop_runs_what_is_handed_here_and_what_is_posted_there),
        cmocka_unit_test_setup_teardown(test_inside_the_loop_and_without_a_run_it_waits, set_up,
                                        tear_down),
        cmocka_unit_test(test_a_handed_event_starts_a_timer),
        cmocka_unit_test(test_a_handed_event_stops_the_loop),
        cmocka_unit_test(test_a_hand_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
