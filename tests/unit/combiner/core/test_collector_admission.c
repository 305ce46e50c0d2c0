/* combiner/core/collector: which updates count, and why others do not. A test does something and
 * expects what is asked for, in order; the two read as one story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/combiner/core/desk.h"

/* -- one update of a client counts ------------------------------------------------------------ */

static void test_the_same_again_is_ok(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_announce(f, 2, 1, "ann", "u1"); /* while it is checked: one answer for both */
    desk_expect(f, "check t1 u1\n");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_announce(f, 3, 1, "ann", "u1"); /* while it is logged */
    desk_logged(f, 1);
    desk_expect(f, "log t1 ann u1 100\n"
                   "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n"
                   "answer t1 OK\n"
                   "answer t2 OK\n"
                   "answer t3 OK\n");
    desk_announce(f, 4, 1, "ann", "u1"); /* admitted */
    desk_folded(f, "7", 1, "ann");
    desk_announce(f, 5, 1, "ann", "u1"); /* folded */
    desk_expect(f, "answer t4 OK\n"
                   "answer t5 OK\n");
    desk_close_round(f, "7", 1);
    desk_announce(f, 6, 1, "ann", "u1");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    desk_announce(f, 7, 1, "ann", "u1");
    desk_expect(f, "seal 7/1\n"
                   "answer t6 OK\n"
                   "put 7/1\n"
                   "answer t7 OK\n");
    desk_done(f, "7", FED_ROUND_COMMITTED);
    desk_announce(f, 8, 1, "ann", "u1");
    desk_expect(f, "drop round 7\n"
                   "answer t8 OK\n"); /* and no refusal */
}

static void test_of_two_different_one_counts(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_announce(f, 2, 1, "ann", "u2");
    desk_expect(f, "check t1 u1\n"
                   "check t2 u2\n");
    desk_checked(f, 2, FED_REFUSAL_NONE); /* the first whose bytes fit */
    desk_checked(f, 1, FED_REFUSAL_NONE); /* waits for what comes of the other */
    desk_expect(f, "log t2 ann u2 100\n");
    desk_logged(f, 2);
    desk_expect(f, "fold 7/1 ann u2\n"
                   "up admitted 7/1 ann u2 100\n"
                   "answer t2 OK\n"
                   "drop update t1\n"
                   "up refused 7 ann u1 duplicate\n"
                   "answer t1 OK\n");
    desk_announce(f, 3, 1, "ann", "u3");
    desk_expect(f, "up refused 7 ann u3 duplicate\n"
                   "answer t3 OK\n");
}

static void test_when_the_first_cannot_be_logged_the_second_counts(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_announce(f, 2, 1, "ann", "u2");
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_checked(f, 2, FED_REFUSAL_NONE);
    desk_pass_over(f);
    collector_logged(f->collector, 1, false, f->now_ms);
    desk_expect(f, "answer t1 UNAVAILABLE\n"
                   "log t2 ann u2 100\n");
}

static void test_what_cannot_be_judged_is_unavailable(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_pass_over(f);
    desk_checked(f, 1, FED_REFUSAL_MAX);
    desk_expect(f, "answer t1 UNAVAILABLE\n");
    desk_announce(f, 2, 1, "ann", "u1"); /* and comes again */
    desk_expect(f, "check t2 u1\n");
}

static void test_a_caller_that_went_is_not_answered_but_counts(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    collector_forget(f->collector, 1);
    collector_forget(f->collector, 99); /* nobody */
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_pass_over(f);
    desk_logged(f, 1);
    desk_expect(f, "fold 7/1 ann u1\n"
                   "up admitted 7/1 ann u1 100\n");
}

/* -- refusals --------------------------------------------------------------------------------- */

static void test_refusals_by_the_core(void **state)
{
    struct desk *f = *state;
    struct collector_announcement update;

    desk_open_round(f);
    desk_plan(f, "6", 1, "m1", "ann"); /* a round that is over by now: see LATE */
    desk_done(f, "6", FED_ROUND_COMMITTED);
    desk_plan(f, "5", 1, "m1", "ann");
    desk_done(f, "5", FED_ROUND_CANCELLED);
    desk_pass_over(f);

#define TRY(change, expected)                                        \
    do {                                                             \
        update = desk_make_update(1, 1, "ann", "u1");                \
        change;                                                      \
        collector_announce(f->collector, &update, f->now_ms);        \
        desk_expect(f, "up refused 7 " expected "\nanswer t1 OK\n"); \
    } while (0)
#define SET(field, text) (void)snprintf(update.field, sizeof(update.field), "%s", text)

    TRY(SET(round_id, "6"), "ann u1 late");
    TRY(SET(round_id, "5"), "ann u1 session_over");
    TRY(SET(round_id, "99"), "ann u1 other_round");
    TRY(SET(session_id, "t"), "ann u1 other_session");
    TRY((SET(session_id, "t"), SET(round_id, "4")), "ann u1 other_session");
    TRY(SET(client_id, ""), " u1 no_sender (foreign)");
    TRY(SET(client_id, "../x"), "../x u1 no_sender (foreign)");
    TRY(SET(client_id, "eve"), "eve u1 no_sender (foreign)");
    TRY(update.examples = 0, "ann u1 examples");
    TRY(update.examples = 1001, "ann u1 examples");
    desk_attach(f, "cay", 13, 1);
    desk_pass_over(f);
    TRY(SET(client_id, "cay"), "cay u1 not_asked");
    TRY((SET(client_id, "bob"), SET(round_id, "")), "bob u1 no_round (foreign)");
    TRY((SET(client_id, "cay"), SET(round_id, "")), "cay u1 no_round");
    TRY((SET(client_id, "cay"), SET(update_id, "m1")), "cay m1 reserved_id");
    TRY((SET(client_id, "cay"), SET(update_id, "")), "cay  bad_id");
    TRY((SET(client_id, "cay"), SET(update_id, ".hidden")), "cay .hidden bad_id");
    TRY((SET(client_id, "bob"), SET(model_id, "m0")), "bob u1 wrong_base (foreign)");
    TRY((SET(client_id, "bob"), SET(model_id, "")), "bob u1 wrong_base (foreign)");
    TRY((SET(client_id, "bob"), update.fault = FED_REFUSAL_BAD_META), "bob u1 bad_meta (foreign)");
#undef SET
#undef TRY
}

static void test_what_the_check_says_is_passed_on(void **state)
{
    struct desk *f = *state;
    static const enum fed_refusal reasons[] = {
        FED_REFUSAL_NOT_UPLOADED, FED_REFUSAL_MALFORMED,    FED_REFUSAL_CHECKSUM,
        FED_REFUSAL_TENSOR_COUNT, FED_REFUSAL_TENSOR_SHAPE, FED_REFUSAL_TENSOR_DTYPE,
        FED_REFUSAL_NOT_FINITE,   FED_REFUSAL_OUT_OF_RANGE, FED_REFUSAL_TOO_LARGE,
    };
    char expected[256];

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        desk_make(f, true, 3);
        desk_open_round(f);
        desk_announce(f, 1, 1, "ann", "u1");
        desk_pass_over(f);
        desk_checked(f, 1, reasons[i]);
        (void)snprintf(expected, sizeof(expected),
                       "drop update t1\n"
                       "up refused 7 ann u1 %s\n"
                       "answer t1 OK\n",
                       fed_refusal_word(reasons[i]));
        desk_expect(f, expected);
        desk_attach(f, "ann", 14, 4); /* it has answered: it is not asked again */
        desk_expect(f, "end s11\n"
                       "up ann is attached\n");
    }
}

static void test_the_plan_has_changed_during_the_check(void **state)
{
    struct desk *f = *state;

    desk_open_round(f);
    desk_announce(f, 1, 1, "ann", "u1");
    desk_plan(f, "7", 2, "m1", "bob");
    desk_pass_over(f);
    desk_checked(f, 1, FED_REFUSAL_NONE);
    desk_expect(f, "drop update t1\n"
                   "up refused 7 ann u1 not_asked\n"
                   "answer t1 OK\n");
}

static void test_set_aside(void **state)
{
    struct desk *f = *state;
    char update_id[16];

    desk_open_round(f);
    for (uint64_t token = 1; token <= COLLECTOR_SET_ASIDE; token++) {
        (void)snprintf(update_id, sizeof(update_id), "u%u", (unsigned)token);
        desk_announce(f, token, 1, "ann", update_id);
        desk_checked(f, token, FED_REFUSAL_NOT_FINITE);
        if (token < COLLECTOR_SET_ASIDE) {
            desk_announce(f, 100 + token, 1, "ann", update_id); /* a retry does not count again */
            desk_checked(f, 100 + token, FED_REFUSAL_NOT_FINITE);
        }
    }
    desk_pass_over(f);
    desk_announce(f, 50, 1, "ann", "u50");
    desk_expect(f, "up refused 7 ann u50 set_aside\n"
                   "answer t50 OK\n");
    desk_attach(f, "ann", 21, 5); /* a new stream does not help */
    desk_pass_over(f);
    desk_plan(f, "8", 1, "m1", "ann bob");
    desk_expect(f, "store 8/1\n"
                   "up refused 8 ann  set_aside\n"
                   "reset 8/1\n"
                   "train bob on s12: round 8 from m1, data\n");
}

static void test_nobody_is_set_aside_for_lateness_or_by_others(void **state)
{
    struct desk *f = *state;
    struct collector_announcement update;

    desk_open_round(f);
    for (uint64_t token = 1; token <= 2 * (uint64_t)COLLECTOR_SET_ASIDE; token++) {
        update = desk_make_update(token, 1, "ann", "u1");
        (void)snprintf(update.update_id, FED_ID_SIZE, "u%u", (unsigned)token);
        (void)snprintf(update.round_id, FED_ROUND_ID_SIZE, "3");
        collector_announce(f->collector, &update, f->now_ms);
        desk_announce(f, 100 + token, 1, "ann", update.update_id);
        desk_checked(f, 100 + token,
                     token % 2 == 0 ? FED_REFUSAL_TENSOR_DTYPE : FED_REFUSAL_NOT_UPLOADED);
        update = desk_make_update(200 + token, 66, "ann", update.update_id); /* a forgery */
        update.fault = FED_REFUSAL_BAD_META;
        collector_announce(f->collector, &update, f->now_ms);
    }
    desk_pass_over(f);
    desk_announce(f, 50, 1, "ann", "u50");
    desk_expect(f, "check t50 u50\n");
}

static void test_a_new_session_begins_with_a_clean_slate(void **state)
{
    struct desk *f = *state;
    struct fed_down down = {.type = FED_DOWN_PLAN};
    char update_id[16];

    desk_open_round(f);
    for (uint64_t token = 1; token <= COLLECTOR_SET_ASIDE; token++) {
        (void)snprintf(update_id, sizeof(update_id), "u%u", (unsigned)token);
        desk_announce(f, token, 1, "ann", update_id);
        desk_checked(f, token, FED_REFUSAL_MALFORMED);
    }
    desk_pass_over(f);
    down.plan = desk_make_plan("8", 1, "m1", "ann");
    (void)snprintf(down.plan.session_id, FED_ID_SIZE, "s2");
    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
    desk_expect(f, "store 8/1\n"
                   "reset 8/1\n"
                   "train ann on s11: round 8 from m1, data\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_set_up, desk_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_again_is_ok),
        TEST(test_of_two_different_one_counts),
        TEST(test_when_the_first_cannot_be_logged_the_second_counts),
        TEST(test_what_cannot_be_judged_is_unavailable),
        TEST(test_a_caller_that_went_is_not_answered_but_counts),
        TEST(test_refusals_by_the_core),
        TEST(test_what_the_check_says_is_passed_on),
        TEST(test_the_plan_has_changed_during_the_check),
        TEST(test_set_aside),
        TEST(test_nobody_is_set_aside_for_lateness_or_by_others),
        TEST(test_a_new_session_begins_with_a_clean_slate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
