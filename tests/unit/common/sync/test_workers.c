#include <stdatomic.h>

#include "common/sync/workers.h"
#include "tests/lib/fixture.h"

#define N_JOBS 300

struct fixture {
    struct test_loop loop;
    struct fed_workers *workers;
};

static int set_up(void **state)
{
    static struct fixture f;

    test_loop_start(&f.loop);
    *state = &f;
    return fed_workers_new(f.loop.loop, 3, &f.workers, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->workers = fed_workers_free(f->workers);
    test_loop_stop(&f->loop);
    return 0;
}

struct task {
    struct fixture *f;
    struct fed_job job;
    unsigned number;
    unsigned n_work; /* by the worker */
    unsigned n_done; /* by the loop */
    bool is_work_off_loop;
    bool is_done_on_loop;
    unsigned *sequence; /* of a lane: unguarded, so that TSan would see two at once */
    bool is_in_order;
    struct test_gate *gate;
};

static void do_work(void *arg)
{
    struct task *task = arg;

    task->n_work++;
    task->is_work_off_loop = !fed_loop_is_current(task->f->loop.loop);
    if (task->sequence != NULL) {
        task->is_in_order = *task->sequence == task->number;
        *task->sequence = task->number + 1;
    }
}

static void when_done(void *arg)
{
    struct task *task = arg;

    task->n_done++;
    task->is_done_on_loop = fed_loop_is_current(task->f->loop.loop);
    test_gate_open(task->gate);
}

/* What was posted before has left the loop when this has run. */
static void no_more(void *arg)
{
    (void)arg;
}

static void test_work_runs_once_then_done_on_the_loop(void **state)
{
    static struct task tasks[N_JOBS];
    struct fixture *f = *state;
    struct test_gate gate;

    test_gate_init(&gate);
    for (unsigned i = 0; i < N_JOBS; i++) {
        tasks[i] = (struct task){.f = f, .number = i, .gate = &gate};
        fed_job_init(&tasks[i].job, do_work, when_done, &tasks[i]);
        fed_workers_submit(f->workers, NULL, &tasks[i].job);
    }
    test_gate_wait(&gate, N_JOBS);
    test_loop_call(&f->loop, no_more, NULL);
    for (unsigned i = 0; i < N_JOBS; i++) {
        assert_int_equal(tasks[i].n_work, 1);
        assert_int_equal(tasks[i].n_done, 1);
        assert_true(tasks[i].is_work_off_loop);
        assert_true(tasks[i].is_done_on_loop);
    }
    test_gate_deinit(&gate);
}

static void test_a_lane_keeps_its_order(void **state)
{
    static struct task tasks[2][N_JOBS];
    struct fixture *f = *state;
    struct fed_lane lanes[2];
    unsigned sequence[2] = {0};
    struct test_gate gate;

    test_gate_init(&gate);
    fed_lane_init(&lanes[0]);
    fed_lane_init(&lanes[1]);
    for (unsigned i = 0; i < N_JOBS; i++) {
        for (unsigned lane = 0; lane < 2; lane++) {
            struct task *task = &tasks[lane][i];
            *task = (struct task){.f = f, .number = i, .sequence = &sequence[lane], .gate = &gate};
            fed_job_init(&task->job, do_work, when_done, task);
            fed_workers_submit(f->workers, &lanes[lane], &task->job);
        }
    }
    test_gate_wait(&gate, 2 * N_JOBS);
    test_loop_call(&f->loop, no_more, NULL);
    for (unsigned i = 0; i < N_JOBS; i++) {
        assert_true(tasks[0][i].is_in_order && tasks[1][i].is_in_order);
    }
    assert_false(lanes[0].is_busy);
    test_gate_deinit(&gate);
}

struct pair {
    struct test_gate gate;
    struct test_gate done;
    atomic_uint n_here;
};

/* Returns only when both are here: two jobs without order run side by side. */
static void meet(void *arg)
{
    struct pair *pair = arg;

    atomic_fetch_add(&pair->n_here, 1);
    test_gate_open(&pair->gate);
    test_gate_wait(&pair->gate, 2);
}

static void pair_done(void *arg)
{
    struct pair *pair = arg;

    test_gate_open(&pair->done);
}

static void test_jobs_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    struct pair pair = {.n_here = 0};
    struct fed_job jobs[2];

    test_gate_init(&pair.gate);
    test_gate_init(&pair.done);
    for (unsigned i = 0; i < 2; i++) {
        fed_job_init(&jobs[i], meet, pair_done, &pair);
        fed_workers_submit(f->workers, NULL, &jobs[i]);
    }
    test_gate_wait(&pair.done, 2); /* the loop, too, has done with the jobs on our stack */
    assert_int_equal(atomic_load(&pair.n_here), 2);
    f->workers = fed_workers_free(f->workers);
    test_loop_call(&f->loop, no_more, NULL); /* it has left the gate */
    test_gate_deinit(&pair.gate);
    test_gate_deinit(&pair.done);
    assert_int_equal(fed_workers_new(f->loop.loop, 0, &f->workers, NULL), 0);
}

static void test_free_waits_for_all_jobs(void **state)
{
    static struct task tasks[N_JOBS];
    struct fixture *f = *state;
    struct fed_lane lane;
    unsigned sequence = 0;
    struct test_gate gate;

    test_gate_init(&gate);
    fed_lane_init(&lane);
    for (unsigned i = 0; i < N_JOBS; i++) {
        tasks[i] = (struct task){.f = f, .number = i, .sequence = &sequence, .gate = &gate};
        fed_job_init(&tasks[i].job, do_work, when_done, &tasks[i]);
        fed_workers_submit(f->workers, &lane, &tasks[i].job);
    }
    f->workers = fed_workers_free(f->workers);
    assert_int_equal(sequence, N_JOBS);
    test_loop_stop(&f->loop); /* runs out */
    assert_int_equal(gate.count, N_JOBS);
    test_gate_deinit(&gate);
    test_loop_start(&f->loop);
}

/* A pool of one: its second job must not wait for what the first one's end makes the loop do. */
struct chain {
    struct test_gate submitted;
    struct test_gate second;
    struct test_gate over;
};

static void await_second(void *arg)
{
    test_gate_wait(&((struct chain *)arg)->submitted, 1);
}

static void first_done(void *arg)
{
    test_gate_wait(&((struct chain *)arg)->second, 1);
}

static void second_work(void *arg)
{
    test_gate_open(&((struct chain *)arg)->second);
}

static void second_done(void *arg)
{
    test_gate_open(&((struct chain *)arg)->over);
}

static void test_a_ready_job_waits_for_no_event(void **state)
{
    struct fixture *f = *state;
    struct chain chain;
    struct fed_job first;
    struct fed_job second;
    struct fed_workers *one = NULL;

    test_gate_init(&chain.submitted);
    test_gate_init(&chain.second);
    test_gate_init(&chain.over);
    assert_int_equal(fed_workers_new(f->loop.loop, 1, &one, NULL), 0);
    fed_job_init(&first, await_second, first_done, &chain);
    fed_job_init(&second, second_work, second_done, &chain);
    fed_workers_submit(one, NULL, &first);
    fed_workers_submit(one, NULL, &second);
    test_gate_open(&chain.submitted);
    test_gate_wait(&chain.over, 1);
    one = fed_workers_free(one);
    test_loop_call(&f->loop, no_more, NULL);
    test_gate_deinit(&chain.submitted);
    test_gate_deinit(&chain.second);
    test_gate_deinit(&chain.over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_work_runs_once_then_done_on_the_loop, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_lane_keeps_its_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_jobs_run_side_by_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_waits_for_all_jobs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_ready_job_waits_for_no_event, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
