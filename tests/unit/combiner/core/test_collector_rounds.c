/* combiner/core/collector: a round from its plan to its end. A test does something and expects what
 * is asked for, in order; the two read as one story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/combiner/core/desk.h"

/* -- a round ---------------------------------------------------------------------------------- */

static void test_one_round(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_attach(f, "bob", 12, 2);
    desk_expect(f, "up hello c1\n"
                   "up ann is attached\n"
                   "up bob is attached\n");
    desk_plan(f, "7", 1, "m1", "bob ann");
    desk_expect(f, "store 7/1\n"
                   "fetch m1\n");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "reset 7/1\n"
                   "train ann on s11: round 7 from m1, data\n"
                   "train bob on s12: round 7 from m1, data\n");
    desk_announce(f, 1, 1, "ann", "u1");
    desk_expect(f, "check t1 u1\n");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_expect(f, "log t1 ann u1 100\n");
    desk_logged(f, 1);
    desk_expect(f, "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n");
    desk_folded(f, "7", 1, "ann");
    desk_admit(f, 2, "bob", "u2");
    desk_close_round(f, "7", 1);
    desk_expect(f, "seal 7/1\n");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    desk_expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_ACCEPTED, f->now_ms);
    desk_expect(f, "");
    desk_done(f, "7", FED_ROUND_COMMITTED);
    desk_expect(f, "drop round 7\n");
    desk_plan(f, "8", 1, "m2", "ann bob");
    desk_expect(f, "store 8/1\n"
                   "drop m1\n"
                   "fetch m2\n");
}

static void test_seal_waits_for_the_log_and_the_folds(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_announce(f, 2, 2, "bob", "u2");
    desk_pass_over(f);
    desk_close_round(f, "7", 1);
    desk_expect(f, ""); /* ann's was decided before the Close, bob's was not */
    desk_checked(f, 2, FED_REFUSAL_NONE);
    desk_expect(f, "drop update t2\n"
                   "up refused 7 bob u2 late\n"
                   "answer t2 OK\n");
    desk_logged(f, 1);
    desk_expect(f, "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n");
    desk_folded(f, "7", 1, "ann");
    desk_expect(f, "seal 7/1\n");
}

static void test_close_before_the_base_is_here(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_plan(f, "7", 1, "m1", "ann");
    desk_announce(f, 1, 1, "ann", "u1");
    desk_pass_over(f);
    desk_close_round(f, "7", 1);
    desk_expect(f, "up refused 7 ann u1 late\n"
                   "answer t1 OK\n"
                   "seal 7/1\n"); /* a header without sums */
    collector_sealed(f->collector, "7", 1, f->now_ms);
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "put 7/1\n");
}

static void test_an_update_waits_for_the_base(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_plan(f, "7", 1, "m1", "ann");
    desk_pass_over(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_expect(f, "");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "reset 7/1\n"
                   "check t1 u1\n"); /* and no task: it has been done */
}

static void test_done_in_any_state(void **state)
{
    struct desk *f = *state;

    desk_open_round(f); /* collecting, with one checked, one logged */
    desk_announce(f, 1, 1, "ann", "u1");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_announce(f, 2, 2, "bob", "u2");
    desk_pass_over(f);
    desk_done(f, "7", FED_ROUND_CANCELLED);
    desk_expect(f, "drop round 7\n");
    desk_logged(f, 1);
    desk_checked(f, 2, FED_REFUSAL_NONE);
    desk_expect(f, "answer t1 OK\n"
                   "drop update t2\n"
                   "answer t2 OK\n");  /* no round is open that could show the refusal */
    desk_plan(f, "8", 1, "m9", "ann"); /* planned */
    desk_done(f, "8", FED_ROUND_FAILED);
    desk_plan(f, "9", 1, "m9", "ann");
    desk_close_round(f, "9", 1); /* sealing */
    desk_done(f, "9", FED_ROUND_FAILED);
    desk_plan(f, "10", 1, "m9", "ann");
    desk_close_round(f, "10", 1);
    collector_sealed(f->collector, "10", 1, f->now_ms); /* sealed */
    desk_pass_over(f);
    desk_done(f, "10", FED_ROUND_FAILED);
    desk_done(f, "10", FED_ROUND_FAILED);
    desk_expect(f, "drop round 10\n");
    collector_sealed(f->collector, "9", 1, f->now_ms); /* too late: means nothing */
    desk_folded(f, "7", 1, "ann");
    desk_expect(f, "");
}

/* -- what the reducer says again -------------------------------------------------------------- */

static void test_a_higher_plan_rebuilds_the_sum(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_attach(f, "cay", 13, 3);
    desk_admit(f, 1, "ann", "u1");
    desk_admit(f, 2, "bob", "u2");
    desk_close_round(f, "7", 1);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    desk_pass_over(f);
    desk_plan(f, "7", 2, "m1", "bob cay");
    desk_expect(f, "store 7/2\n"
                   "reset 7/2\n"
                   "fold 7/2 bob u2\n"
                   "train cay on s13: round 7 from m1, data\n");
    desk_folded(f, "7", 1, "ann"); /* of the former sum */
    desk_plan(f, "7", 1, "m1", "ann bob");
    desk_expect(f, ""); /* a lower plan_seq says nothing */
    desk_close_round(f, "7", 1);
    desk_expect(f, "");
    desk_close_round(f, "7", 2);
    desk_expect(f, "");
    desk_folded(f, "7", 2, "bob");
    desk_expect(f, "up admitted 7/2 bob u2 100\n" /* under the new plan, too */
                   "seal 7/2\n");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    desk_expect(f, "");
    collector_sealed(f->collector, "7", 2, f->now_ms);
    desk_expect(f, "put 7/2\n");
    desk_plan(f, "7", 3, "m1", "ann bob"); /* ann is back: its update is still here */
    desk_expect(f, "store 7/3\n"
                   "reset 7/3\n"
                   "fold 7/3 bob u2\n"
                   "fold 7/3 ann u1\n");
}

/* -- a checkpoint is lost ---------------------------------------------------------------------- */

static struct fed_entry lost_entry(const char *client_id, const char *update_id)
{
    struct fed_entry entry = {.examples = 100};

    fed_id_copy(entry.client_id, client_id);
    fed_id_copy(entry.update_id, update_id);
    return entry;
}

static void test_who_was_in_a_lost_checkpoint_is_asked_again(void **state)
{
    struct desk *f = *state;
    const struct fed_entry lost[] = {lost_entry("ann", "u1"), lost_entry("bob", "u2")};

    desk_open_round(f);
    desk_attach(f, "cay", 13, 3);
    desk_plan(f, "7", 2, "m1", "ann bob cay");
    desk_admit(f, 1, "ann", "u1");
    desk_admit(f, 2, "bob", "u2");
    desk_admit(f, 3, "cay", "u3");
    desk_plan(f, "7", 3, "m1", "bob cay"); /* ann has moved, and was in it */
    desk_expect(f, "store 7/3\n"
                   "reset 7/3\n"
                   "fold 7/3 bob u2\n"
                   "fold 7/3 cay u3\n");
    desk_announce(f, 4, 2, "bob", "u2");
    desk_expect(f, "answer t4 OK\n"); /* not noticed yet */
    collector_lost(f->collector, "7", lost, 2, f->now_ms);
    desk_expect(f, "reset 7/3\n"
                   "fold 7/3 cay u3\n"
                   "up hello c1 ann:attached bob:attached cay:attached | "
                   "round 7/3 collecting +cay:u3\n"
                   "train bob on s12: round 7 from m1, data\n");
    desk_announce(f, 5, 2, "bob", "u2"); /* from what it has kept */
    desk_expect(f, "check t5 u2\n");
    desk_checked(f, 5, FED_REFUSAL_NONE);
    desk_logged(f, 5);
    desk_expect(f, "log t5 bob u2 100\n"
                   "fold 7/3 bob u2\n"
                   "up admitted 7/3 bob u2 100\n"
                   "answer t5 OK\n");
    desk_close_round(f, "7", 3);
    desk_folded(f, "7", 3, "cay");
    desk_expect(f, "");
    desk_folded(f, "7", 3, "bob");
    desk_expect(f, "seal 7/3\n");
    desk_plan(f, "7", 4, "m1", "ann bob cay"); /* hers is nowhere */
    desk_expect(f, "store 7/4\n"
                   "reset 7/4\n"
                   "fold 7/4 cay u3\n"
                   "fold 7/4 bob u2\n"
                   "train ann on s11: round 7 from m1, data\n");
}

static void test_a_checkpoint_lost_while_sealing_or_unlinked(void **state)
{
    struct desk *f = *state;
    const struct fed_entry lost[] = {lost_entry("ann", "u1"), lost_entry("bob", "another")};

    desk_open_round(f);
    desk_admit(f, 1, "ann", "u1");
    desk_admit(f, 2, "bob", "u2");
    collector_link_down(f->collector, f->now_ms);
    desk_close_round(f, "7", 1);
    desk_expect(f, "seal 7/1\n");
    collector_lost(f->collector, "7", lost, 2, f->now_ms); /* bob's is not that one */
    desk_expect(f, "reset 7/1\n"
                   "fold 7/1 bob u2\n"); /* no Hello, and no task: the round is closing */
    desk_folded(f, "7", 1, "bob");
    desk_expect(f, "seal 7/1\n");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 sealed +bob:u2\n");
    collector_lost(f->collector, "9", lost, 2, f->now_ms); /* a round that is over */
    desk_expect(f, "");
}

static void test_a_plan_for_another_base_of_the_same_round_is_ignored(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_plan(f, "7", 2, "m2", "ann bob");
    desk_expect(f, "");
}

static void test_sealed_partial_is_sent_again(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_admit(f, 1, "ann", "u1");
    desk_close_round(f, "7", 1);
    desk_pass_over(f);
    collector_link_down(f->collector, f->now_ms);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    desk_expect(f, "");
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 sealed +ann:u1\n");
    desk_close_round(f, "7", 1);
    desk_expect(f, "put 7/1\n");
    desk_close_round(f, "7", 1);
    desk_expect(f, ""); /* it is on its way */
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    desk_expect(f, "put 7/1\n");
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_close_round(f, "7", 1);
    desk_pass_over(f);
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    desk_expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    desk_expect(f, ""); /* three times: the reducer gives it up */
}

static void test_verdicts(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_close_round(f, "7", 1);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_STALE, f->now_ms);
    desk_pass_over(f);
    desk_close_round(f, "7", 1);
    desk_expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_DUPLICATE, f->now_ms);
    desk_close_round(f, "7", 1);
    desk_expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_OVER, f->now_ms);
    desk_expect(f, "drop round 7\n");
}

static void test_hello_says_it_all(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_admit(f, 1, "ann", "u1");
    desk_announce(f, 2, 2, "bob", "u2");
    desk_checked(f, 2, FED_REFUSAL_NOT_FINITE);
    collector_link_down(f->collector, f->now_ms);
    desk_pass_over(f);
    desk_attach(f, "cay", 13, 3);
    desk_expect(f, ""); /* hints are lost while the link is down */
    desk_beat(f, "ann", 1);
    desk_tick(f, f->now_ms + DESK_LIMIT_MS - 1);
    desk_beat(f, "ann", 1);
    desk_tick(f, f->now_ms + 1);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:silent cay:silent | "
                   "round 7/1 collecting +ann:u1 -bob:not_finite\n");
}

static void test_hello_leaves_out_who_is_not_in_the_new_sum_yet(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_admit(f, 1, "ann", "u1");
    desk_admit(f, 2, "bob", "u2");
    desk_plan(f, "7", 2, "m1", "ann bob");
    desk_pass_over(f);
    desk_folded(f, "7", 2, "bob");
    desk_expect(f, "up admitted 7/2 bob u2 100\n");
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/2 collecting +bob:u2\n");
    desk_folded(f, "7", 2, "ann");
    desk_expect(f, "up admitted 7/2 ann u1 100\n");
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f,
                "up hello c1 ann:attached bob:attached | round 7/2 collecting +ann:u1 +bob:u2\n");
}

/* A plan file of protocol 1: of its base nothing is asked before the plan is told again. */
static void test_a_base_of_unknown_xxh128_waits(void **state)
{
    struct desk *f = *state;
    struct fed_entry admitted[1] = {{"ann", "u1", 100}};
    struct collector_recovery recovery = {
        .plan = desk_make_plan("7", 1, "m1", "ann bob"), .admitted = admitted, .n_admitted = 1};
    struct fed_down down = {.type = FED_DOWN_PLAN, .plan = desk_make_plan("7", 1, "m1", "ann bob")};
    struct collector_action action;

    recovery.plan.lacks_xxh128 = true;
    assert_int_equal(collector_recover(f->collector, &recovery, f->now_ms, NULL), 0);
    desk_expect(f, "");
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 | round 7/1 planned +ann:u1\n");
    memset(down.plan.base_xxh128, 5, sizeof(down.plan.base_xxh128));
    collector_down(f->collector, &down, f->now_ms);
    assert_true(collector_take_action(f->collector, &action));
    assert_int_equal(action.type, COLLECTOR_FETCH_MODEL);
    assert_memory_equal(action.xxh128, down.plan.base_xxh128, sizeof(action.xxh128));
    collector_down(f->collector, &down, f->now_ms); /* it is known now */
    desk_expect(f, "");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "reset 7/1\n"
                   "fold 7/1 ann u1\n");
    fed_down_deinit(&down);
    fed_plan_deinit(&recovery.plan);
}

static void test_the_oldest_round_goes_when_there_are_too_many(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_plan(f, "1", 1, "m1", "ann");
    desk_plan(f, "2", 1, "m1", "ann");
    desk_plan(f, "3", 1, "m1", "ann");
    desk_plan(f, "4", 1, "m1", "ann");
    desk_pass_over(f);
    desk_plan(f, "5", 1, "m1", "ann");
    desk_expect(f, "drop round 1\n"
                   "store 5/1\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_set_up, desk_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_round),
        TEST(test_seal_waits_for_the_log_and_the_folds),
        TEST(test_close_before_the_base_is_here),
        TEST(test_an_update_waits_for_the_base),
        TEST(test_done_in_any_state),
        TEST(test_a_higher_plan_rebuilds_the_sum),
        TEST(test_who_was_in_a_lost_checkpoint_is_asked_again),
        TEST(test_a_checkpoint_lost_while_sealing_or_unlinked),
        TEST(test_a_plan_for_another_base_of_the_same_round_is_ignored),
        TEST(test_sealed_partial_is_sent_again),
        TEST(test_verdicts),
        TEST(test_hello_says_it_all),
        TEST(test_hello_leaves_out_who_is_not_in_the_new_sum_yet),
        TEST(test_a_base_of_unknown_xxh128_waits),
        TEST(test_the_oldest_round_goes_when_there_are_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
