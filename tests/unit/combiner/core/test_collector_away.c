/* combiner/core/collector: a client is away, and an update of its is here and undecided. The
 * reducer waits for nobody who is silent, so it must hear of the update before it hears of that. A
 * test does something and expects what is asked for, in order; the two read as one story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/combiner/core/desk.h"

#define SILENCE_MS (1000U + DESK_LIMIT_MS) /* nobody has been heard since the beginning */

/* Ann's update u1 is being checked as token 1, and she falls silent. */
static void begin_silent(struct desk *f)
{
    desk_open_round(f);
    desk_announce(f, 1, 5, "ann", "u1"); /* from another connection: held till then */
    desk_expect(f, "");
    f->now_ms = SILENCE_MS - 1;
    desk_beat(f, "bob", 2);
    desk_tick(f, SILENCE_MS);
    desk_expect(f, "check t1 u1\n");
}

/* The same of another collector. */
static void begin_silent_again(struct desk *f)
{
    desk_make(f, true, 3);
    f->now_ms = 1000;
    begin_silent(f);
}

/* Ann's update u1 is being checked as token 1, and her stream ends. */
static void begin_gone(struct desk *f)
{
    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "check t1 u1\n");
}

/* U1 is found whole and is written down: it is admitted, then comes what `then` says. */
static void admit(struct desk *f, const char *then)
{
    char trace[256];

    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_logged(f, 1);
    (void)snprintf(trace, sizeof(trace),
                   "log t1 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n%s",
                   then);
    desk_expect(f, trace);
}

static void test_admitted_comes_before_silent(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_expect(f, "log t1 ann u1 100\n");
    desk_logged(f, 1);
    desk_expect(f, "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n"
                   "up ann is silent\n");
    desk_beat(f, "ann", 1);
    desk_expect(f, "up ann is attached\n");
}

static void test_admitted_comes_before_gone(void **state)
{
    struct desk *f = *state;

    begin_gone(f);
    admit(f, "up ann is gone\n");
}

static void test_without_a_caller_it_is_the_same(void **state)
{
    struct desk *f = *state;

    begin_gone(f);
    collector_forget(f->collector, 1);
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_logged(f, 1);
    desk_expect(f, "log t1 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "up ann is gone\n");
}

/* Every end of an announcement ends the wait. */
static void test_whatever_comes_of_it_silent_is_told(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    desk_checked(f, 1, FED_REFUSAL_NOT_FINITE);
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 not_finite (foreign)\n"
                   "answer t1 OK\n"
                   "up ann is silent\n");
    begin_silent_again(f);
    desk_checked(f, 1, FED_REFUSAL_MAX);
    desk_expect(f, "answer t1 UNAVAILABLE\n"
                   "up ann is silent\n");
    begin_silent_again(f);
    desk_checked(f, 1, FED_REFUSAL_NONE);
    collector_logged(f->collector, 1, false, f->now_ms);
    desk_expect(f, "log t1 ann u1 100\n"
                   "answer t1 UNAVAILABLE\n"
                   "up ann is silent\n");
    begin_silent_again(f);
    desk_done(f, "7", FED_ROUND_FAILED);
    desk_expect(f, "drop round 7\n");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_expect(f, "drop update t1\n"
                   "answer t1 OK\n"
                   "up ann is silent\n");
}

static void test_the_last_of_several_is_awaited(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_announce(f, 2, 1, "ann", "u2");
    desk_announce(f, 3, 1, "ann", "u2"); /* joined */
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "check t1 u1\n"
                   "check t2 u2\n");
    desk_checked(f, 1, FED_REFUSAL_CHECKSUM);
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 checksum (foreign)\n"
                   "answer t1 OK\n");
    desk_checked(f, 2, FED_REFUSAL_NONE);
    desk_logged(f, 2);
    desk_expect(f, "log t2 ann u2 100\n"
                   "fold 7/1 ann u2\n"
                   "up admitted 7/1 ann u2 100\n"
                   "answer t2 OK\n"
                   "answer t3 OK\n"
                   "up ann is gone\n");
}

/* Else one who announces again and again would be waited for till the deadline. */
static void test_what_comes_later_puts_nothing_off(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    desk_announce(f, 2, 5, "ann", "u2");
    desk_checked(f, 1, FED_REFUSAL_NOT_UPLOADED);
    desk_expect(f, "check t2 u2\n"
                   "drop update t1\n"
                   "up refused 7 ann u1 not_uploaded (foreign)\n"
                   "answer t1 OK\n"
                   "up ann is silent\n");
    desk_checked(f, 2, FED_REFUSAL_NOT_UPLOADED);
    desk_expect(f, "drop update t2\n"
                   "up refused 7 ann u2 not_uploaded (foreign)\n"
                   "answer t2 OK\n");
}

/* Nobody waits in a round that is closed, and nothing here is for a round that is not. */
static void test_nothing_is_put_off_for_a_closed_round(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_close_round(f, "7", 1);
    desk_expect(f, "check t1 u1\n"
                   "seal 7/1\n");
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "up ann is gone\n");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 late (foreign)\n"
                   "answer t1 OK\n");
}

static void test_while_the_base_comes_it_is_undecided(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_plan(f, "7", 1, "m1", "ann");
    desk_announce(f, 1, 1, "ann", "u1");
    desk_pass_over(f);
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_checked(f, 1, FED_REFUSAL_MALFORMED);
    desk_expect(f, "reset 7/1\n"
                   "check t1 u1\n"
                   "drop update t1\n"
                   "up refused 7 ann u1 malformed (foreign)\n"
                   "answer t1 OK\n"
                   "up ann is gone\n");
}

/* -- who comes back --------------------------------------------------------------------------- */

static void test_who_is_heard_meanwhile_was_never_silent(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    desk_beat(f, "ann", 1);
    desk_expect(f, "");
    admit(f, "");
    desk_beat(f, "bob", 2);
    desk_tick(f, SILENCE_MS + DESK_LIMIT_MS);
    desk_expect(f, "up ann is silent\n"
                   "up bob is silent\n");
}

static void test_who_attaches_meanwhile_was_never_gone(void **state)
{
    struct desk *f = *state;

    begin_gone(f);
    desk_attach(f, "ann", 15, 5);
    desk_expect(f, "up ann is attached\n");
    admit(f, "");
    collector_detach(f->collector, 15, f->now_ms);
    desk_expect(f, "up ann is gone\n");
}

static void test_silent_and_then_gone_is_gone(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "");
    desk_checked(f, 1, FED_REFUSAL_MAX);
    desk_expect(f, "answer t1 UNAVAILABLE\n"
                   "up ann is gone\n");
}

/* -- the link --------------------------------------------------------------------------------- */

static void test_a_hello_says_the_same(void **state)
{
    struct desk *f = *state;

    begin_silent(f);
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 collecting\n");
    collector_detach(f->collector, 11, f->now_ms);
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 collecting\n");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    collector_link_down(f->collector, f->now_ms);
    desk_logged(f, 1);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "log t1 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "answer t1 OK\n"
                   "up hello c1 bob:attached | round 7/1 collecting +ann:u1\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_set_up, desk_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_admitted_comes_before_silent),
        TEST(test_admitted_comes_before_gone),
        TEST(test_without_a_caller_it_is_the_same),
        TEST(test_whatever_comes_of_it_silent_is_told),
        TEST(test_the_last_of_several_is_awaited),
        TEST(test_what_comes_later_puts_nothing_off),
        TEST(test_nothing_is_put_off_for_a_closed_round),
        TEST(test_while_the_base_comes_it_is_undecided),
        TEST(test_who_is_heard_meanwhile_was_never_silent),
        TEST(test_who_attaches_meanwhile_was_never_gone),
        TEST(test_silent_and_then_gone_is_gone),
        TEST(test_a_hello_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
