/* reducer/core/planning: who is asked, which combiner gets whom, and who moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/reducer/core/federation_fixture.h"

static void test_a_plan_waits_for_enough_clients(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    state_of(f, 1, "ann", FED_CLIENT_GONE);
    state_of(f, 1, "bob", FED_CLIENT_GONE);
    tick(f, f->now_ms + 60 * SECOND); /* closed, and too few for the quorum */
    (void)partial(f, "c1", "1/1", 11, "");
    (void)partial(f, "c2", "1/1", 12, "");
    federation_added(f->federation, 11, f->now_ms);
    federation_added(f->federation, 12, f->now_ms);
    done(f);
    done(f);
    expect(f, "L1 close 1/1\n"
              "L2 close 1/1\n"
              "add t11\n"
              "add t12\n"
              "store round 1 failed c1:1 c2:1, quorum missed: 0 of 2 required updates, 0 refused\n"
              "store derived\n"
              "L2 done 1 failed\n"
              "L1 done 1 failed\n");
    assert_int_equal(federation_get_state(f->federation), FEDERATION_PLANNING);
    state_of(f, 1, "bob", FED_CLIENT_ATTACHED);
    expect(f, "reset\n"
              "store round 2 planned c1:1 c2:1\n"); /* from the same base */
    done(f);
    expect(f, "L1 plan 2/1 from m0, 60 s: bob\n"
              "L2 plan 2/1 from m0, 60 s: cay\n");
}

static void test_a_full_disk_stops_planning(void **state)
{
    struct fixture *f = *state;
    char text[256];

    hello(f, 1, "c1", "ann bob");
    federation_space(f->federation, true, f->now_ms);
    start(f, 1);
    loaded(f, "m0");
    done(f);
    pass_over(f);
    federation_format_wait(f->federation, f->now_ms, text, sizeof(text));
    assert_non_null(strstr(text, "disk space"));
    tick(f, f->now_ms + 600 * SECOND); /* no deadline runs: nobody could have answered */
    expect(f, "");
    federation_space(f->federation, true, f->now_ms);
    federation_space(f->federation, false, f->now_ms);
    expect(f, "reset\n"
              "store round 1 planned c1:1\n");
    done(f);
    expect(f, "L1 plan 1/1 from m0, 60 s: ann bob\n");
    federation_space(f->federation, true, f->now_ms); /* the open round goes on */
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    expect(f, "L1 close 1/1\n");
}

static void test_nobody_in_time(void **state)
{
    struct fixture *f = *state;

    f->rounds = 1;
    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    state_of(f, 1, "bob", FED_CLIENT_GONE);
    loaded(f, "m0");
    done(f);
    pass_over(f);
    tick(f, f->now_ms + 60 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "store round 1 failed, too_few_clients: 1 attached, 2 required\n");
    done(f);
    done(f);
    expect(f, "store derived\n"
              "L1 done 1 failed\n"
              "store end\n");
    assert_int_equal(federation_get_session(f->federation)->failed_rounds, 1);
}

static void test_after_a_lost_combiner_its_clients_are_waited_for(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    admitted(f, 2, "1/1", "cay");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    (void)partial(f, "c2", "1/1", 12, "cay");
    federation_added(f->federation, 11, f->now_ms);
    federation_added(f->federation, 12, f->now_ms);
    finished(f, "m1");
    link_closed(f, 2); /* a restart must not quietly shrink a round */
    done(f);
    done(f);
    pass_over(f);
    assert_int_equal(federation_get_state(f->federation), FEDERATION_PLANNING);
    f->now_ms += 5 * SECOND;
    hello_again(f, 3, "c2", "", NULL); /* it is back, its client not yet */
    expect(f, "L3 welcome\n");
    f->now_ms += 10 * SECOND;
    state_of(f, 3, "cay", FED_CLIENT_ATTACHED);
    expect(f, "reset\n"
              "store round 2 planned c1:1 c2:1\n");
}

static void test_a_draw_does_not_depend_on_the_combiners(void **state)
{
    struct fixture *f = *state;

    f->clients_per_round = 2;
    hello(f, 1, "c1", "ann bob cay dot");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    done(f);
    expect(f, "L1 welcome\n"
              "load m0\n"
              "store start\n"
              "answer t1 200 Session started\n"
              "reset\n"
              "store round 1 planned c1:1\n"
              "L1 plan 1/1 from m0, 60 s: bob dot\n");
    restart(f);
    hello(f, 1, "c1", "cay bob");
    hello(f, 2, "c2", "dot ann");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    pass_over(f);
    done(f);
    expect(f, "L1 plan 1/1 from m0, 60 s: bob\n"
              "L2 plan 1/1 from m0, 60 s: dot\n");
}

static void test_only_named_clients_are_asked(void **state)
{
    struct fixture *f = *state;
    struct federation_session session;

    make_session(f, &session);
    session.client_ids = calloc(2, FED_ID_SIZE);
    assert_non_null(session.client_ids);
    fed_id_copy(session.client_ids[0], "cay");
    fed_id_copy(session.client_ids[1], "ann");
    session.n_client_ids = 2;
    hello(f, 1, "c1", "ann bob cay");
    federation_start(f->federation, &session, 1, f->now_ms);
    loaded(f, "m0");
    done(f);
    pass_over(f);
    done(f);
    expect(f, "L1 plan 1/1 from m0, 60 s: ann cay\n");
}

/* -- moving ----------------------------------------------------------------------------------- */

static void test_a_client_moves_once_its_combiner_is_fenced(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    link_closed(f, 1);
    f->now_ms += 10 * SECOND;
    state_of(f, 2, "bob", FED_CLIENT_ATTACHED);
    expect(f, ""); /* c1 may come back, with bob's update */
    tick(f, 1000 + 15 * SECOND);
    expect(f, "store round 1 planned c1:1(fenced 1) c2:2\n");
    done(f);
    expect(f, "L2 plan 1/2 from m0, 45 s: bob cay\n");
    admitted(f, 2, "1/1", "cay"); /* under the former plan: it may have been in a checkpoint */
    f->now_ms += SECOND;
    hello_with(f, 3, "c1", "ann", "1/1 collecting ann bob"); /* it had bob's all the time */
    expect(f, "L3 welcome\n"
              "store round 1 planned c1:2(fenced 1) c2:2\n");
    done(f);
    expect(f, "L3 plan 1/2 from m0, 44 s: ann\n");
    admitted(f, 2, "1/2", "bob"); /* its kept update */
    admitted(f, 2, "1/2", "cay"); /* in the present sum, too */
    expect(f, "");
    admitted(f, 3, "1/2", "ann");
    expect(f, "L3 close 1/2\n"
              "L2 close 1/2\n");
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann bob"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c1", "1/2", 12, "ann bob"), FED_VERDICT_CORRUPT);
    assert_int_equal(partial(f, "c1", "1/2", 13, "ann"), FED_VERDICT_ACCEPTED);
    assert_int_equal(partial(f, "c2", "1/2", 14, "bob cay"), FED_VERDICT_ACCEPTED);
}

static void test_a_client_moves_between_two_that_are_up(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admitted(f, 1, "1/1", "ann");
    state_of(f, 2, "ann", FED_CLIENT_ATTACHED); /* has been counted: does not move */
    expect(f, "");
    state_of(f, 2, "bob", FED_CLIENT_ATTACHED);
    expect(f, "store round 1 planned c1:2 c2:2\n");
    done(f);
    expect(f, "L1 plan 1/2 from m0, 60 s: ann\n"
              "L2 plan 1/2 from m0, 60 s: bob cay\n");
    admitted(f, 1, "1/1", "bob"); /* old news: bob is c2's now */
    admitted(f, 2, "1/2", "cay");
    admitted(f, 2, "1/2", "bob");
    expect(f, "");
    admitted(f, 1, "1/2", "ann"); /* told again under the new plan */
    expect(f, "L1 close 1/2\n"
              "L2 close 1/2\n");
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann bob"), FED_VERDICT_STALE);
    assert_int_equal(partial(f, "c1", "1/2", 12, "ann"), FED_VERDICT_ACCEPTED);
}

static void test_back_within_its_grace_it_goes_on(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    link_closed(f, 1);
    f->now_ms += 14 * SECOND;
    hello_with(f, 3, "c1", "ann bob", "1/1 collecting ann");
    expect(f, "L3 welcome\n"
              "L3 plan 1/1 from m0, 46 s: ann bob\n");
    tick(f, f->now_ms + 2 * SECOND);
    expect(f, "");
}

static void test_a_plan_that_changes_while_it_is_written(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    link_closed(f, 1);
    f->now_ms += 15 * SECOND;
    state_of(f, 2, "bob", FED_CLIENT_ATTACHED);
    expect(f, "store round 1 planned c1:1(fenced 1) c2:2\n");
    hello_with(f, 3, "c1", "ann", "1/1 collecting");
    expect(f, "L3 welcome\n");
    done(f); /* c1's new plan_seq is not in the row yet */
    expect(f, "store round 1 planned c1:2(fenced 1) c2:2\n");
    done(f);
    expect(f, "L3 plan 1/2 from m0, 45 s: ann\n"
              "L2 plan 1/2 from m0, 45 s: bob cay\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_plan_waits_for_enough_clients),
        TEST(test_a_full_disk_stops_planning),
        TEST(test_nobody_in_time),
        TEST(test_after_a_lost_combiner_its_clients_are_waited_for),
        TEST(test_a_draw_does_not_depend_on_the_combiners),
        TEST(test_only_named_clients_are_asked),
        TEST(test_a_client_moves_once_its_combiner_is_fenced),
        TEST(test_a_client_moves_between_two_that_are_up),
        TEST(test_back_within_its_grace_it_goes_on),
        TEST(test_a_plan_that_changes_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
