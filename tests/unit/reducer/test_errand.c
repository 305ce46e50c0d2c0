/* A line of errands, with a loop and workers of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/errand.h"

#define TRACE_SIZE 256

struct fixture {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct errand_line line;
    struct errand_line side; /* gives way to it */
    struct fed_timer limit;
    char trace[TRACE_SIZE];
    unsigned n_troubles;
    unsigned n_left; /* errands; the loop stops with the last one */
};

struct job {
    struct errand errand;
    struct fixture *fixture;
    const char *name;
    atomic_int failures; /* left before it works */
    enum fed_code code;  /* it fails with */
};

static int work(struct errand *errand, struct fed_err *err)
{
    struct job *job = FED_CONTAINER_OF(errand, struct job, errand);

    return atomic_fetch_sub(&job->failures, 1) > 0 ? fed_err_set(err, job->code, "not now") : 0;
}

static void done(struct errand *errand, int rc, const struct fed_err *err)
{
    struct job *job = FED_CONTAINER_OF(errand, struct job, errand);
    struct fixture *fix = job->fixture;
    const size_t used = strlen(fix->trace);

    (void)snprintf(fix->trace + used, TRACE_SIZE - used, "%s:%d ", job->name, -rc);
    assert_true(rc == 0 || err->msg[0] != '\0');
    if (--fix->n_left == 0) {
        fed_loop_stop(fix->loop);
    }
}

static void on_change(void *arg)
{
    struct fixture *fix = arg;

    fix->n_troubles += fix->line.trouble[0] != '\0' ? 1 : 0;
}

static void on_limit(void *arg)
{
    (void)arg;
    fail_msg("the errands did not end");
}

static int set_up(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){0};
    assert_int_equal(fed_loop_new(&fixture.loop, NULL), 0);
    assert_int_equal(fed_workers_new(fixture.loop, 2, &fixture.workers, NULL), 0);
    errand_line_init(&fixture.line, fixture.loop, fixture.workers, "line", on_change, &fixture);
    errand_line_init(&fixture.side, fixture.loop, fixture.workers, "side", on_change, &fixture);
    errand_line_give_way(&fixture.side, &fixture.line);
    fed_timer_init(&fixture.limit, on_limit, &fixture);
    fed_timer_start(fixture.loop, &fixture.limit, fed_loop_now_ms(fixture.loop) + 20000);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fix = *state;

    (void)fed_workers_free(fix->workers);
    (void)fed_loop_free(fix->loop);
    return 0;
}

static void submit_to(struct errand_line *line, struct fixture *fix, struct job *job)
{
    job->fixture = fix;
    job->errand.work = work;
    job->errand.done = done;
    job->errand.what = job->name;
    fix->n_left++;
    errand_submit(line, &job->errand);
}

static void submit(struct fixture *fix, struct job *job)
{
    submit_to(&fix->line, fix, job);
}

static void test_a_line_gives_way(void **state)
{
    struct fixture *fix = *state;
    struct job first = {.name = "a", .failures = 1, .code = FED_E_UNAVAILABLE};
    struct job second = {.name = "b"};
    struct job aside = {.name = "c"};
    struct job after = {.name = "d"};

    submit(fix, &first);
    submit_to(&fix->side, fix, &aside);
    submit_to(&fix->side, fix, &after);
    submit(fix, &second);
    fed_loop_run(fix->loop);
    assert_string_equal(fix->trace, "a:0 b:0 c:0 d:0 ");
}

/* What waits for the other line ends when its own is closed. */
static void test_a_line_that_gives_way_can_be_closed(void **state)
{
    struct fixture *fix = *state;
    struct job first = {.name = "a"};
    struct job aside = {.name = "c"};
    char want[64];

    submit(fix, &first);
    submit_to(&fix->side, fix, &aside);
    errand_line_close(&fix->side);
    assert_true(errand_line_is_idle(&fix->side));
    fed_loop_run(fix->loop);
    (void)snprintf(want, sizeof(want), "c:%d a:0 ", (int)FED_E_CANCELLED);
    assert_string_equal(fix->trace, want);
}

static void test_the_order_is_kept_over_repetitions(void **state)
{
    struct fixture *fix = *state;
    struct job first = {.name = "a", .failures = 2, .code = FED_E_UNAVAILABLE};
    struct job second = {.name = "b"};

    submit(fix, &first);
    submit(fix, &second);
    fed_loop_run(fix->loop);
    assert_string_equal(fix->trace, "a:0 b:0 ");
    assert_int_equal(fix->n_troubles, 2);
    assert_string_equal(fix->line.trouble, "");
}

static void test_a_lasting_failure_is_told(void **state)
{
    struct fixture *fix = *state;
    struct job gone = {.name = "a", .failures = 1, .code = FED_E_NOT_FOUND};
    struct job next = {.name = "b"};

    submit(fix, &gone);
    submit(fix, &next);
    fed_loop_run(fix->loop);
    assert_int_equal(strncmp(fix->trace, "a:", 2), 0);
    assert_true(strstr(fix->trace, "a:0") == NULL);
    assert_non_null(strstr(fix->trace, "b:0"));
    assert_int_equal(fix->n_troubles, 0);
}

static void test_a_stubborn_one_ends_by_conflict_only(void **state)
{
    struct fixture *fix = *state;
    struct job corrupt = {.name = "a", .failures = 1, .code = FED_E_CORRUPT};
    struct job conflict = {.name = "b", .failures = 1, .code = FED_E_CONFLICT};

    corrupt.errand.is_stubborn = true;
    conflict.errand.is_stubborn = true;
    submit(fix, &corrupt);
    submit(fix, &conflict);
    fed_loop_run(fix->loop);
    assert_non_null(strstr(fix->trace, "a:0 "));
    assert_null(strstr(fix->trace, "b:0 "));
}

static void close_line(void *arg)
{
    struct fixture *fix = arg;

    errand_line_close(&fix->line);
}

static void test_a_closed_line_cancels_what_waits(void **state)
{
    struct fixture *fix = *state;
    struct job paused = {.name = "a", .failures = 1000000, .code = FED_E_UNAVAILABLE};
    struct job waiting = {.name = "b"};
    struct fed_timer timer;

    fed_timer_init(&timer, close_line, fix);
    fed_timer_start(fix->loop, &timer, fed_loop_now_ms(fix->loop) + 200);
    submit(fix, &paused);
    submit(fix, &waiting);
    fed_loop_run(fix->loop);
    assert_null(strstr(fix->trace, ":0 "));
    assert_true(errand_line_is_idle(&fix->line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_order_is_kept_over_repetitions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_gives_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_that_gives_way_can_be_closed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_lasting_failure_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stubborn_one_ends_by_conflict_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_closed_line_cancels_what_waits, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
