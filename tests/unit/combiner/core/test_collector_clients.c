/* combiner/core/collector: connections, streams, validation, recovery and bounds. A test does
 * something and expects what is asked for, in order; the two read as one story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/combiner/core/desk.h"

/* -- who -------------------------------------------------------------------------------------- */

static void test_from_another_connection_it_does_not_count(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 66, "ann", "u1");
    desk_expect(f, "");
    assert_int_equal(collector_due_ms(f->collector), 1000 + DESK_LIMIT_MS);
    f->now_ms += 2000;
    desk_beat(f, "ann", 66); /* means nothing */
    desk_beat(f, "ann", 1);
    desk_beat(f, "bob", 2);
    desk_tick(f, 1000 + DESK_LIMIT_MS - 1);
    desk_expect(f, "");
    desk_tick(f, 1000 + DESK_LIMIT_MS);
    desk_expect(f, "up refused 7 ann u1 other_connection (foreign)\n"
                   "answer t1 OK\n");
    desk_announce(f, 2, 1, "ann", "u2"); /* ann's own counts all the same */
    desk_expect(f, "check t2 u2\n");
}

static void test_it_counts_when_the_old_stream_dies(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 5, "ann", "u1");
    desk_expect(f, "");
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "check t1 u1\n");
}

static void test_it_counts_when_the_old_stream_falls_silent(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    f->now_ms += 500;
    desk_announce(f, 1, 5, "ann", "u1");
    desk_tick(f, 1000 + DESK_LIMIT_MS);
    desk_expect(f, "check t1 u1\n"
                   "up bob is silent\n");
    desk_beat(f, "bob", 2);
    desk_expect(f, "up bob is attached\n");
}

static void test_it_counts_when_the_stream_comes_from_there(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 5, "ann", "u1");
    desk_announce(f, 2, 66, "ann", "u2"); /* somebody else tries, too */
    desk_attach(f, "ann", 15, 5);
    desk_expect(f, "end s11\n"
                   "up ann is attached\n"
                   "check t1 u1\n"); /* and no task: its update is being looked at */
    collector_detach(f->collector, 11, f->now_ms);
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_logged(f, 1);
    desk_expect(f, "log t1 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n"
                   "up refused 7 ann u2 duplicate (foreign)\n"
                   "answer t2 OK\n");
}

static void test_the_same_update_held_and_from_its_own_connection(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 5, "ann", "u1");
    desk_announce(f, 2, 1, "ann", "u1"); /* does not wait for what may be a forgery */
    desk_expect(f, "check t2 u1\n");
    desk_attach(f, "ann", 15, 5); /* the first is ann's as well: it shares the outcome */
    desk_expect(f, "end s11\n"
                   "up ann is attached\n");
    desk_checked(f, 2, FED_REFUSAL_NONE);
    desk_logged(f, 2);
    desk_expect(f, "log t2 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n"
                   "answer t2 OK\n");
}

static void test_without_a_stream_it_counts(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    collector_detach(f->collector, 11, f->now_ms);
    desk_pass_over(f);
    desk_announce(f, 1, 77, "ann", "u1");
    desk_expect(f, "check t1 u1\n");
    desk_checked(f, 1, FED_REFUSAL_MALFORMED); /* but it answers for nobody */
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 malformed (foreign)\n"
                   "answer t1 OK\n");
    desk_attach(f, "ann", 15, 5);
    desk_expect(f, "up ann is attached\n"
                   "train ann on s15: round 7 from m1, data\n");
}

static void test_without_binding_any_connection_will_do(void **state)
{
    struct desk *f = *state;

    desk_make(f, false, 3);
    desk_open_round(f);
    desk_announce(f, 1, 66, "ann", "u1");
    desk_expect(f, "check t1 u1\n");
    desk_checked(f, 1, FED_REFUSAL_NOT_FINITE);
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 not_finite\n"
                   "answer t1 OK\n");
}

static void test_the_newest_stream_wins(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_attach(f, "ann", 15, 5);
    desk_expect(f, "end s11\n"
                   "up ann is attached\n"
                   "train ann on s15: round 7 from m1, data\n");
    collector_detach(f->collector, 11, f->now_ms);
    desk_expect(f, "");
    assert_int_equal(collector_count_attached(f->collector), 2);
    assert_null(collector_find_client(f->collector, "ann's", 1));
    assert_string_equal(collector_find_client(f->collector, "ann's", 5), "ann");
    desk_attach(f, "cay", 16, 6);
    desk_pass_over(f);
    desk_attach(f, "dot", 17, 7); /* the fourth of three */
    desk_expect(f, "end s17\n");
}

static void test_no_task_after_the_deadline(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    collector_detach(f->collector, 11, f->now_ms);
    f->now_ms += 60000;
    desk_pass_over(f);
    desk_attach(f, "ann", 15, 5);
    desk_expect(f, "up ann is attached\n");
    desk_announce(f, 1, 5, "ann", "u1"); /* only the reducer closes */
    desk_expect(f, "check t1 u1\n");
}

/* -- validation ------------------------------------------------------------------------------- */

static void test_validation_comes_before_training(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_pass_over(f);
    desk_plan(f, "8", 1, "m2", "ann");
    desk_validate(f, "m2", "ann");
    desk_expect(f, "store 8/1\n"
                   "fetch m2\n");
    collector_model_ready(f->collector, "m2", f->now_ms);
    desk_expect(f, "reset 8/1\n"
                   "validate ann on s11: round 7 from m2, vdata\n"
                   "train ann on s11: round 8 from m2, data\n");
    desk_attach(f, "ann", 12, 2);
    desk_expect(f, "end s11\n"
                   "up ann is attached\n"
                   "validate ann on s12: round 7 from m2, vdata\n"
                   "train ann on s12: round 8 from m2, data\n");
    collector_validated(f->collector, "ann", "m2");
    collector_validated(f->collector, "eve", "m2");
    desk_validate(f, "m2", "ann"); /* told again: it has been done */
    desk_attach(f, "ann", 13, 3);
    desk_expect(f, "end s12\n"
                   "up ann is attached\n"
                   "train ann on s13: round 8 from m2, data\n");
    desk_tick(f, f->now_ms + 60000);
    desk_expect(f, "up ann is silent\n");
    desk_attach(f, "ann", 14, 4);
    desk_expect(f, "end s13\n"
                   "up ann is attached\n"); /* both times are over */
}

/* -- a model on its way ----------------------------------------------------------------------- */

static void test_tasks_go_out_while_their_model_comes(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_plan(f, "7", 1, "m1", "ann bob");
    desk_validate(f, "m1", "ann");
    desk_pass_over(f);
    collector_model_coming(f->collector, "m1", f->now_ms);
    desk_expect(f, "validate ann on s11: round 7 from m1, vdata\n"
                   "train ann on s11: round 7 from m1, data\n");
    collector_model_coming(f->collector, "m1", f->now_ms); /* fetched anew */
    desk_expect(f, "");
    desk_attach(f, "bob", 12, 2);
    desk_expect(f, "up bob is attached\n"
                   "train bob on s12: round 7 from m1, data\n");
    desk_announce(f, 1, 1, "ann", "u1");
    desk_expect(f, ""); /* nothing can be checked before the base is whole */
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "reset 7/1\n"
                   "check t1 u1\n");
}

static void test_tasks_of_a_lost_model_go_out_again(void **state)
{
    struct desk *f = *state;

    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_plan(f, "7", 1, "m1", "ann bob");
    desk_validate(f, "m1", "ann");
    collector_model_coming(f->collector, "m1", f->now_ms);
    desk_pass_over(f);
    collector_model_lost(f->collector, "m1", f->now_ms);
    desk_attach(f, "bob", 12, 2);
    desk_expect(f, "up bob is attached\n"); /* and nothing he could not download */
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 planned\n"
                   "fetch m1\n");
    collector_model_coming(f->collector, "m1", f->now_ms);
    desk_expect(f, "validate ann on s11: round 7 from m1, vdata\n"
                   "train ann on s11: round 7 from m1, data\n"
                   "train bob on s12: round 7 from m1, data\n");
}

static void test_models_stay_while_they_are_needed(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    assert_true(collector_is_model(f->collector, "m1"));
    desk_validate(f, "m0", "ann");
    desk_pass_over(f);
    collector_model_lost(f->collector, "m0", f->now_ms);
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/1 collecting\n"
                   "fetch m0\n");
    desk_done(f, "7", FED_ROUND_COMMITTED);
    desk_expect(f, "drop round 7\n"
                   "drop m1\n"); /* m0 is the newest, and is validated */
    desk_validate(f, "m2", "ann");
    desk_expect(f, "fetch m2\n");
    desk_validate(f, "m3", "ann"); /* the third: the oldest goes */
    desk_expect(f, "drop m0\n"
                   "fetch m3\n");
    assert_false(collector_is_model(f->collector, "m1"));
}

/* A model is fetched while the reducer stores it: the next round's tasks go out with its plan. One
 * that has come to nothing goes with the next. */
static void test_a_model_is_fetched_ahead_of_its_plan(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_pass_over(f);
    desk_ahead(f, "m2");
    desk_expect(f, "fetch m2\n");
    desk_ahead(f, "m3"); /* the round is made again, of others */
    desk_expect(f, "drop m2\n"
                   "fetch m3\n");
    desk_ahead(f, "m3");
    collector_model_coming(f->collector, "m3", f->now_ms);
    collector_model_ready(f->collector, "m3", f->now_ms);
    desk_expect(f, "");
    assert_true(collector_is_model(f->collector, "m1")); /* the open round's */
    desk_done(f, "7", FED_ROUND_COMMITTED);
    desk_pass_over(f);
    desk_plan(f, "8", 1, "m3", "ann bob");
    desk_expect(f, "store 8/1\n"
                   "reset 8/1\n"
                   "train ann on s11: round 8 from m3, data\n"
                   "train bob on s12: round 8 from m3, data\n");
    desk_ahead(f, "m4");
    desk_done(f, "8", FED_ROUND_FAILED);
    desk_pass_over(f);
    desk_plan(f, "9", 1, "m3", "ann bob");
    assert_false(collector_is_model(f->collector, "m4"));
}

/* -- a restart -------------------------------------------------------------------------------- */

static void recover(struct desk *f, bool is_sealed)
{
    static const struct fed_entry entries[] = {
        {.client_id = "bob", .update_id = "u2", .examples = 5},
        {.client_id = "eve", .update_id = "u9", .examples = 5}, /* of a former plan */
        {.client_id = "bob", .update_id = "u8", .examples = 5},
    };
    struct collector_recovery recovery = {.plan = desk_make_plan("7", 3, "m1", "ann bob"),
                                          .admitted = entries,
                                          .n_admitted = 3,
                                          .is_sealed = is_sealed};

    recovery.plan.time_left_ms = 0;
    assert_int_equal(collector_recover(f->collector, &recovery, f->now_ms, NULL), 0);
}

static void test_recovery_while_collecting(void **state)
{
    struct desk *f = *state;

    recover(f, false);
    desk_attach(f, "ann", 11, 1);
    desk_attach(f, "bob", 12, 2);
    desk_expect(f, "fetch m1\n");
    desk_announce(f, 1, 2, "bob", "u2"); /* its answer was lost in the crash */
    desk_expect(f, "answer t1 OK\n");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "reset 7/3\n"
                   "fold 7/3 bob u2\n"); /* no task before the reducer has spoken */
    collector_link_up(f->collector, f->now_ms);
    desk_expect(f, "up hello c1 ann:attached bob:attached | round 7/3 collecting +bob:u2\n");
    desk_plan(f, "7", 3, "m1", "ann bob"); /* the same again: there is time left */
    desk_expect(f, "train ann on s11: round 7 from m1, data\n");
    desk_plan(f, "7", 4, "m1", "ann bob eve");
    desk_expect(f, "store 7/4\n"
                   "reset 7/4\n"
                   "fold 7/4 bob u2\n"
                   "fold 7/4 eve u9\n");
}

static void test_recovery_when_sealed(void **state)
{
    struct desk *f = *state;

    recover(f, true);
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_expect(f, "fetch m1\n");
    collector_link_up(f->collector, f->now_ms);
    desk_close_round(f, "7", 3);
    desk_expect(f, "up hello c1 | round 7/3 sealed +bob:u2\n"
                   "put 7/3\n");
    desk_announce(f, 1, 1, "ann", "u1");
    desk_expect(f, "up refused 7 ann u1 late (foreign)\n"
                   "answer t1 OK\n");
}

static void test_recovery_has_a_bound(void **state)
{
    struct desk *f = *state;
    struct fed_err err = {0};

    for (unsigned i = 0; i <= COLLECTOR_ROUNDS_MAX; i++) {
        char round_id[FED_ROUND_ID_SIZE];
        struct collector_recovery recovery = {0};
        (void)snprintf(round_id, sizeof(round_id), "%u", i + 1);
        recovery.plan = desk_make_plan(round_id, 1, "m1", "ann");
        assert_int_equal(collector_recover(f->collector, &recovery, f->now_ms, &err),
                         i < COLLECTOR_ROUNDS_MAX ? 0 : -FED_E_LIMIT);
        fed_plan_deinit(&recovery.plan);
    }
    assert_string_equal(err.msg, "round 5: more than 4 rounds");
}

static void test_floods_have_bounds(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    for (uint64_t token = 1; token <= 1024; token++) {
        desk_announce(f, token, 66, "ann", "u1");
    }
    desk_expect(f, "");
    desk_announce(f, 2000, 66, "ann", "u1");
    desk_expect(f, "answer t2000 UNAVAILABLE\n");
    desk_announce(f, 2001, 1, "ann", "u2"); /* ann itself is not in the way of the forger */
    desk_expect(f, "check t2001 u2\n");
}

static void test_one_line_for_people(void **state)
{
    struct desk *f = *state;
    char text[128];

    collector_format(f->collector, text, sizeof(text));
    assert_string_equal(text, "no round, 0 clients attached");
    desk_open_round(f);
    desk_admit(f, 1, "ann", "u1");
    desk_announce(f, 2, 2, "bob", "u2");
    collector_format(f->collector, text, sizeof(text));
    assert_string_equal(text, "round 7 collecting: 1 of 2 admitted, 1 being checked");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_set_up, desk_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_from_another_connection_it_does_not_count),
        TEST(test_it_counts_when_the_old_stream_dies),
        TEST(test_it_counts_when_the_old_stream_falls_silent),
        TEST(test_it_counts_when_the_stream_comes_from_there),
        TEST(test_the_same_update_held_and_from_its_own_connection),
        TEST(test_without_a_stream_it_counts),
        TEST(test_without_binding_any_connection_will_do),
        TEST(test_the_newest_stream_wins),
        TEST(test_no_task_after_the_deadline),
        TEST(test_validation_comes_before_training),
        TEST(test_tasks_go_out_while_their_model_comes),
        TEST(test_tasks_of_a_lost_model_go_out_again),
        TEST(test_models_stay_while_they_are_needed),
        TEST(test_a_model_is_fetched_ahead_of_its_plan),
        TEST(test_recovery_while_collecting),
        TEST(test_recovery_when_sealed),
        TEST(test_recovery_has_a_bound),
        TEST(test_floods_have_bounds),
        TEST(test_one_line_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
