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
    unsigned n_run; /* loop thread */
    bool is_on_loop;
};

static void count_one(void *arg)
{
    struct poster *poster = arg;

    poster->n_run++;
    poster->is_on_loop = fed_loop_is_current(poster->loop->loop);
}

static void *post_all(void *arg)
{
    struct poster *poster = arg;

    for (unsigned i = 0; i < N_POSTS; i++) {
        fed_event_init(&poster->events[i], count_one, poster);
        fed_loop_post(poster->loop->loop, &poster->events[i]);
    }
    return NULL;
}

static void test_many_threads_post(void **state)
{
    static struct poster posters[N_POSTERS];
    pthread_t threads[N_POSTERS];
    struct test_loop loop;

    (void)state;
    test_loop_start(&loop);
    for (unsigned i = 0; i < N_POSTERS; i++) {
        posters[i] = (struct poster){.loop = &loop};
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
        cmocka_unit_test(test_many_threads_post),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
