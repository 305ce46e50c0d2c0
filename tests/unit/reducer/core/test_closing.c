/* reducer/core/closing: when a round closes, what it waits for then, what it contains. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/reducer/core/federation_fixture.h"

#define CLOSED "L1 close 1/1\nL2 close 1/1\n"

static void test_closes_at_the_deadline(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    tick(f, 1000 + 60 * SECOND - 1);
    expect(f, "");
    tick(f, 1000 + 60 * SECOND);
    expect(f, CLOSED);
}

static void test_closes_at_a_count(void **state)
{
    struct fixture *f = *state;

    f->buffer_size = 2;
    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "ann");
    expect(f, "");
    admitted(f, 2, "1/1", "cay");
    expect(f, CLOSED);
    /* What was admitted before Close came counts too. */
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann bob"), FED_VERDICT_ACCEPTED);
}

static void test_a_quorum_does_not_close(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    expect(f, "");
}

static void test_the_silent_and_the_gone_are_not_waited_for(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 2, "1/1", "cay");
    state_of(f, 1, "ann", FED_CLIENT_SILENT);
    expect(f, ""); /* bob is there */
    state_of(f, 1, "bob", FED_CLIENT_GONE);
    tick(f, f->now_ms + 10 * SECOND - 1);
    expect(f, ""); /* its stream broke: it may be back */
    tick(f, f->now_ms + 1);
    expect(f, CLOSED);
}

static void test_who_was_gone_before_the_link_has_time_to_come_back(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 2, "1/1", "cay");
    state_of(f, 1, "bob", FED_CLIENT_GONE);
    link_closed(f, 1);
    f->now_ms += 9 * SECOND;
    hello_with(f, 3, "c1", "ann", "1/1 collecting ann");
    pass_over(f);
    tick(f, f->now_ms + 10 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "L3 close 1/1\n"
              "L2 close 1/1\n");
}

static void test_refusals_answer_unless_they_are_of_another_round(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    refused(f, 2, "1/1", "cay", FED_REFUSAL_LATE); /* of the round before */
    refused(f, 2, "1/1", "cay", FED_REFUSAL_OTHER_ROUND);
    refused(f, 2, "1/1", "cay", FED_REFUSAL_NOT_ASKED);  /* before the plan that gave it to c2 */
    refused(f, 1, "1/1", "cay", FED_REFUSAL_NOT_FINITE); /* not cay's combiner */
    expect(f, "");
    refused(f, 2, "1/1", "cay", FED_REFUSAL_NOT_FINITE);
    expect(f, CLOSED);
    assert_int_equal(federation_get_round(f->federation)->n_refused, 4);
}

static void test_a_forgery_answers_for_nobody(void **state)
{
    struct fixture *f = *state;
    struct fed_up up = {.type = FED_UP_REFUSED,
                        .round_id = "1",
                        .refused = {.client_id = "cay", .reason = FED_REFUSAL_OTHER_CONNECTION}};

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    federation_up(f->federation, 2, &up, f->now_ms);
    expect(f, "");
    assert_int_equal(federation_get_round(f->federation)->n_refused, 1);
}

/* A power cut took what the combiner had not flushed: its Hello says what is left. */
static void test_who_is_not_in_a_hello_any_more_is_waited_for_again(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    link_closed(f, 1);
    hello_with(f, 3, "c1", "ann bob", "1/1 collecting bob");
    pass_over(f);
    admitted(f, 2, "1/1", "cay");
    expect(f, "");
    admitted(f, 3, "1/1", "ann");
    expect(f, "L3 close 1/1\n"
              "L2 close 1/1\n");
}

static void test_a_combiner_in_its_grace_is_waited_for(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    link_closed(f, 2); /* it may hold cay's update; or cay looks for another combiner */
    tick(f, f->now_ms + 30 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "L1 close 1/1\n");
}

static void test_a_combiner_without_clients_to_wait_for_has_its_own_grace(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 2, "1/1", "cay");
    admitted(f, 1, "1/1", "bob");
    link_closed(f, 2);
    admitted(f, 1, "1/1", "ann"); /* nobody is missing, but cay's update lies at c2 */
    tick(f, f->now_ms + 15 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "L1 close 1/1\n");
}

static void test_clients_of_a_restarted_combiner_are_waited_for(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    link_closed(f, 2);
    f->now_ms += 2 * SECOND;
    hello_again(f, 3, "c2", "", "1/1 collecting"); /* FEDn's first retry is at 10 s */
    pass_over(f);
    tick(f, f->now_ms + 30 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "L1 close 1/1\n"
              "L3 close 1/1\n");
}

/* -- partial sums ----------------------------------------------------------------------------- */

static void all_admitted(struct fixture *f)
{
    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    admitted(f, 2, "1/1", "cay");
    pass_over(f);
}

static void test_a_missing_partial_is_given_up(void **state)
{
    struct fixture *f = *state;

    all_admitted(f);
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    tick(f, f->now_ms + 15 * SECOND - 1); /* it may have gone unnoticed: there is time */
    expect(f, "add t11\n");
    tick(f, f->now_ms + 1);
    expect(f, "finish\n"); /* two of three: the quorum */
    assert_int_equal(partial(f, "c2", "1/1", 12, "cay"), FED_VERDICT_STALE);
    finished(f, "m1");
    expect(f, "drop t12\n"
              "store round 1 committed c1:1 c2:1(fenced 1)\n");
    assert_int_equal(federation_get_round(f->federation)->n_refused, 1);
    assert_string_equal(fed_refusal_word(federation_get_round(f->federation)->refused[0].reason),
                        "combiner_lost");
}

/* Whoever is linked may fetch the model while it is stored; once it is no more, nobody is told. */
static void test_a_made_model_is_told_of_ahead(void **state)
{
    struct fixture *f = *state;
    const struct fed_ahead ahead = {.model_id = "m1", .size_bytes = 8};

    all_admitted(f);
    federation_made(f->federation, &ahead);
    expect(f, "");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    (void)partial(f, "c2", "1/1", 12, "cay");
    federation_added(f->federation, 12, f->now_ms);
    pass_over(f);
    federation_made(f->federation, &ahead);
    expect(f, "L2 ahead m1\n"
              "L1 ahead m1\n");
    finished(f, "m1");
    pass_over(f);
    federation_made(f->federation, &ahead);
    expect(f, "");
}

static void test_after_the_deadline_there_is_less_time(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    tick(f, 1000 + 60 * SECOND);
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    pass_over(f);
    tick(f, f->now_ms + 5 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "finish\n");
}

static void test_a_closing_round_waits_for_a_combiner_that_restarts(void **state)
{
    struct fixture *f = *state;

    all_admitted(f);
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    link_closed(f, 2);
    tick(f, f->now_ms + 14 * SECOND);
    expect(f, "add t11\n");
    hello_again(f, 3, "c2", "", "1/1 sealed cay");
    expect(f, "L3 welcome\n"
              "L3 close 1/1\n");
    tick(f, f->now_ms + 4 * SECOND);
    assert_int_equal(partial(f, "c2", "1/1", 12, "cay"), FED_VERDICT_ACCEPTED);
    federation_added(f->federation, 12, f->now_ms);
    expect(f, "add t12\n"
              "finish\n");
}

static void test_but_not_much_beyond_the_deadline(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    f->now_ms = 1000 + 58 * SECOND;
    link_closed(f, 2);
    tick(f, 1000 + 60 * SECOND);
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    expect(f, "L1 close 1/1\n"
              "add t11\n");
    tick(f, 1000 + 65 * SECOND);
    expect(f, "finish\n");
}

static void test_damaged_entries_are_given_up_after_three_times(void **state)
{
    struct fixture *f = *state;

    all_admitted(f);
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann cay"), FED_VERDICT_CORRUPT); /* not its */
    assert_int_equal(partial(f, "c1", "1/1", 12, "bob ann"), FED_VERDICT_CORRUPT); /* unsorted */
    assert_int_equal(partial(f, "c1", "1/1", 13, "ann ann"), FED_VERDICT_CORRUPT); /* double */
    assert_int_equal(partial(f, "c1", "1/1", 14, "ann bob"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c9", "1/1", 15, "ann"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c2", "1/2", 16, "cay"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c2", "1/1", 17, "cay"), FED_VERDICT_ACCEPTED);
    federation_added(f->federation, 17, f->now_ms);
    expect(f, "drop t11\n"
              "drop t12\n"
              "drop t13\n"
              "drop t14\n"
              "drop t15\n"
              "drop t16\n"
              "add t17\n"
              "store round 1 failed c1:1(fenced 1) c2:1, "
              "quorum missed: 1 of 2 required updates, 2 refused\n");
}

static void test_the_same_key_with_other_contents_is_not_added(void **state)
{
    struct fixture *f = *state;

    all_admitted(f);
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann bob"), FED_VERDICT_ACCEPTED);
    assert_int_equal(partial(f, "c1", "1/1", 12, "ann"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c1", "1/1", 13, "ann bob"), FED_VERDICT_DUPLICATE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_closes_at_the_deadline),
        TEST(test_closes_at_a_count),
        TEST(test_a_quorum_does_not_close),
        TEST(test_the_silent_and_the_gone_are_not_waited_for),
        TEST(test_who_was_gone_before_the_link_has_time_to_come_back),
        TEST(test_refusals_answer_unless_they_are_of_another_round),
        TEST(test_a_forgery_answers_for_nobody),
        TEST(test_who_is_not_in_a_hello_any_more_is_waited_for_again),
        TEST(test_a_combiner_in_its_grace_is_waited_for),
        TEST(test_a_combiner_without_clients_to_wait_for_has_its_own_grace),
        TEST(test_clients_of_a_restarted_combiner_are_waited_for),
        TEST(test_a_missing_partial_is_given_up),
        TEST(test_a_made_model_is_told_of_ahead),
        TEST(test_after_the_deadline_there_is_less_time),
        TEST(test_a_closing_round_waits_for_a_combiner_that_restarts),
        TEST(test_but_not_much_beyond_the_deadline),
        TEST(test_damaged_entries_are_given_up_after_three_times),
        TEST(test_the_same_key_with_other_contents_is_not_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
