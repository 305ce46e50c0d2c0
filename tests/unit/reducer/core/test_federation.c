/* reducer/core/federation: a session from its start to its end, links, restarts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/reducer/core/federation_fixture.h"

static void test_a_session_of_one_round(void **state)
{
    struct fixture *f = *state;

    f->rounds = 1;
    f->is_validating = true;
    hello(f, 1, "c1", "ann bob");
    hello(f, 2, "c2", "cay");
    expect(f, "L1 welcome\n"
              "L2 welcome\n");
    start(f, 1);
    expect(f, "load m0\n"
              "store start\n");
    loaded(f, "m0");
    done(f);
    expect(f, "answer t1 200 Session started\n"
              "reset\n"
              "store round 1 planned c1:1 c2:1\n");
    done(f);
    expect(f, "L1 plan 1/1 from m0, 60 s: ann bob\n"
              "L2 plan 1/1 from m0, 60 s: cay\n");
    admitted(f, 1, "1/1", "ann");
    refused(f, 1, "1/1", "bob", FED_REFUSAL_NOT_FINITE);
    expect(f, "");
    admitted(f, 2, "1/1", "cay"); /* nobody is left to wait for */
    expect(f, "L1 close 1/1\n"
              "L2 close 1/1\n");
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann"), FED_VERDICT_ACCEPTED);
    assert_int_equal(partial(f, "c2", "1/1", 12, "cay"), FED_VERDICT_ACCEPTED);
    assert_int_equal(partial(f, "c2", "1/1", 13, "cay"), FED_VERDICT_DUPLICATE);
    expect(f, "add t11\n"
              "add t12\n"
              "drop t13\n");
    federation_added(f->federation, 11, f->now_ms);
    expect(f, "");
    federation_added(f->federation, 12, f->now_ms);
    expect(f, "finish\n");
    finished(f, "m1");
    expect(f, "store round 1 committed c1:1 c2:1\n");
    /* Until that is written the round is not over: a crash would open it again. */
    assert_int_equal(partial(f, "c1", "1/1", 14, "ann"), FED_VERDICT_STALE);
    done(f);
    expect(f, "drop t14\n"
              "store derived\n");
    assert_int_equal(partial(f, "c1", "1/1", 15, "ann"), FED_VERDICT_OVER);
    done(f);
    expect(f, "drop t15\n"
              "L2 done 1 committed\n"
              "L1 done 1 committed\n"
              "L2 validate m1: cay\n"
              "L1 validate m1: ann bob\n"
              "store end\n");
    done(f);
    assert_int_equal(federation_get_state(f->federation), FEDERATION_IDLE);
    federation_validated(f->federation, "m1", "ann");
    federation_validated(f->federation, "m1", "ann");
    federation_validated(f->federation, "m0", "bob");
    assert_int_equal(federation_get_validation(f->federation)->n_received, 1);
    link_closed(f, 1);
    hello(f, 3, "c1", "ann bob"); /* asked again, but for who has answered */
    expect(f, "L3 welcome\n"
              "L3 validate m1: bob\n");
}

static void test_who_cannot_start(void **state)
{
    struct fixture *f = *state;

    hello(f, 1, "c1", "ann");
    start(f, 1);
    expect(f,
           "L1 welcome\n"
           "answer t1 400 Number of available clients is lower than the required minimum of 2\n");
    open_round(f);
    start(f, 2);
    expect(f, "answer t2 400 A session is already running!\n");
    federation_stop(f->federation, "other", true, 3, f->now_ms);
    expect(f, "answer t3 400 Session is not running\n");
}

static void test_a_start_waits_for_the_last_ones_end(void **state)
{
    struct fixture *f = *state;

    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    loaded(f, "m0");
    stop(f, 2, false);
    done(f);
    expect(f, "L1 welcome\n"
              "load m0\n"
              "store start\n"
              "store session\n"
              "answer t1 200 Session started\n"
              "store end\n");
    start(f, 3); /* its row may be read as Finished already */
    start(f, 4);
    expect(f, "answer t4 400 A session is already running!\n");
    done(f);
    expect(f, "load m0\n"
              "store start\n");
}

static void test_links(void **state)
{
    struct fixture *f = *state;
    struct fed_up up = {.type = FED_UP_ADMITTED};
    struct fed_up other = {.type = FED_UP_HELLO, .hello = {.protocol = 7, .combiner_id = "c9"}};

    federation_up(f->federation, 5, &up, f->now_ms);
    expect(f, "L5 reject: the first message must be Hello\n"
              "close link L5\n");
    federation_up(f->federation, 6, &other, f->now_ms);
    expect(f, "L6 reject: combiner speaks protocol 7, this reducer 2\n"
              "close link L6\n");
    hello(f, 1, "c1", "ann");
    hello(f, 2, "c1", "ann"); /* the newest wins */
    expect(f, "L1 welcome\n"
              "close link L1\n"
              "L2 welcome\n");
    link_closed(f, 1);
    assert_int_equal(roster_find_combiner(federation_get_roster(f->federation), "c1")->link, 2);
}

static void test_a_base_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;

    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    pass_over(f);
    federation_base_failed(f->federation, "model m0 is damaged", f->now_ms);
    done(f);
    expect(f, "answer t1 400 model m0 is damaged\n"
              "store end\n");
}

/* -- stopping, in each state ------------------------------------------------------------------ */

static void test_stop_after_the_open_round(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    stop(f, 9, false);
    expect(f, "store session\n"); /* the round goes on */
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    admitted(f, 2, "1/1", "cay");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    (void)partial(f, "c2", "1/1", 12, "cay");
    federation_added(f->federation, 11, f->now_ms);
    federation_added(f->federation, 12, f->now_ms);
    finished(f, "m1");
    done(f);
    pass_over(f);
    done(f);
    expect(f, "L2 done 1 committed\n"
              "L1 done 1 committed\n"
              "store end\n");
}

static void test_stop_now_while_collecting_and_closing(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2; i++) {
        restart(f);
        open_round(f);
        if (i == 1) {
            tick(f, f->now_ms + 60 * SECOND);
            pass_over(f); /* Close has gone */
        }
        stop(f, 9, true);
        expect(f, "store session\n"
                  "store round 1 cancelled c1:1 c2:1, the session was stopped\n");
        assert_int_equal(partial(f, "c1", "1/1", 11, "ann"), FED_VERDICT_STALE);
        done(f);
        done(f);
        expect(f, "drop t11\n"
                  "store derived\n"
                  "L2 done 1 cancelled\n"
                  "L1 done 1 cancelled\n"
                  "store end\n");
        done(f);
        assert_int_equal(federation_get_state(f->federation), FEDERATION_IDLE);
    }
}

static void test_stop_now_while_a_row_is_written(void **state)
{
    struct fixture *f = *state;

    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    pass_over(f);
    stop(f, 9, true); /* journaling */
    expect(f, "store session\n");
    done(f);
    expect(f, "store round 1 cancelled c1:1, the session was stopped\n");
}

static void test_stop_now_against_the_commit(void **state)
{
    struct fixture *f = *state;

    f->rounds = 1;
    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    done(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    pass_over(f);
    stop(f, 8, true); /* finishing: the stop was first */
    finished(f, "m1");
    expect(f, "store session\n"
              "store round 1 cancelled c1:1, the session was stopped\n");
    restart(f);
    hello(f, 1, "c1", "ann bob");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    done(f);
    admitted(f, 1, "1/1", "ann");
    admitted(f, 1, "1/1", "bob");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    finished(f, "m1");
    pass_over(f);
    stop(f, 8, true); /* committing: the commit was first, and stands */
    done(f);
    done(f);
    expect(f, "store session\n"
              "store derived\n"
              "L1 done 1 committed\n"
              "store end\n");
}

/* -- resuming: the reducer's rows of the crash table ------------------------------------------ */

/* The PLANNED row of the round that open_round() opens, as it stands in the store. */
static struct round *stored_round(struct fixture *f, bool is_c2_fenced)
{
    static const char ids[][FED_ID_SIZE] = {"ann", "bob", "cay"};
    struct roster roster;
    struct round *round = NULL;
    struct fed_hello hello = {.combiner_id = "c1"};
    struct fed_client_state states[3] = {{.client_id = "ann", .phase = FED_CLIENT_ATTACHED},
                                         {.client_id = "bob", .phase = FED_CLIENT_ATTACHED}};
    uint64_t old_link = 0;

    roster_init(&roster);
    hello.clients = states;
    hello.n_clients = 2;
    assert_int_equal(roster_hello(&roster, &hello, 1, 0, &old_link, NULL), 0);
    fed_id_copy(hello.combiner_id, "c2");
    fed_id_copy(states[0].client_id, "cay");
    hello.n_clients = 1;
    assert_int_equal(roster_hello(&roster, &hello, 2, 0, &old_link, NULL), 0);
    assert_int_equal(round_new(ids, 3, &roster, &round, NULL), 0);
    roster_deinit(&roster);
    (void)snprintf(round->round_id, sizeof(round->round_id), "1");
    fed_id_copy(round->session_id, "s");
    fed_id_copy(round->base_model_id, "m0");
    round->round_number = 1;
    round->version = 1;
    round->scale_bits = calloc(1, sizeof(*round->scale_bits));
    round->n_tensors = 1;
    round->deadline_ms = f->now_ms + 30 * SECOND;
    round->timeout_ms = 60 * SECOND;
    if (is_c2_fenced) {
        round_fence_part(&round->parts[1]);
    }
    return round;
}

static void resume_as(struct fixture *f, struct federation_standing *standing)
{
    assert_int_equal(federation_resume(f->federation, standing, f->now_ms, NULL), 0);
}

static void resume(struct fixture *f, struct round *round)
{
    static const char expected[][FED_ID_SIZE] = {"ann", "bob", "cay"};
    struct federation_standing standing = {.round = round, .expected = expected, .n_expected = 3};

    make_session(f, &standing.session);
    resume_as(f, &standing);
}

static void test_resume_before_the_planned_row(void **state)
{
    struct fixture *f = *state;

    resume(f, NULL);
    loaded(f, "m0");
    expect(f, "load m0\n");
    hello(f, 1, "c1", "ann bob"); /* enough, but the last round had cay as well */
    expect(f, "L1 welcome\n");
    hello(f, 2, "c2", "cay");
    expect(f, "L2 welcome\n"
              "reset\n"
              "store round 1 planned c1:1 c2:1\n");
}

static void test_resume_waits_no_longer_than_its_grace(void **state)
{
    struct fixture *f = *state;

    resume(f, NULL);
    loaded(f, "m0");
    hello(f, 1, "c1", "ann bob");
    pass_over(f);
    tick(f, f->now_ms + 30 * SECOND - 1);
    expect(f, "");
    tick(f, f->now_ms + 1);
    expect(f, "reset\n"
              "store round 1 planned c1:1\n");
}

static void test_resume_while_collecting(void **state)
{
    struct fixture *f = *state;

    resume(f, stored_round(f, false));
    expect(f, "load m0\n"
              "reset\n"
              "store round 1 planned c1:1 c2:1\n"); /* again, under a higher version */
    hello_with(f, 1, "c1", "ann bob", "1/1 collecting ann");
    expect(f, "L1 welcome\n");
    done(f);
    expect(f, ""); /* a plan says its base's XXH3: not before that is read */
    hello(f, 2, "c2", "cay");
    expect(f, "L2 welcome\n");
    loaded(f, "m0");
    expect(f, "L1 plan 1/1 from m0, 30 s: ann bob\n" /* it may not know the time left */
              "L2 plan 1/1 from m0, 30 s: cay\n");
    admitted(f, 1, "1/1", "bob");
    admitted(f, 2, "1/1", "cay");
    expect(f, "L1 close 1/1\n"
              "L2 close 1/1\n");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    (void)partial(f, "c2", "1/1", 12, "cay");
    federation_added(f->federation, 11, f->now_ms);
    federation_added(f->federation, 12, f->now_ms);
    expect(f, "add t11\n"
              "add t12\n"
              "finish\n");
}

static void test_resume_closes_before_the_base_is_read(void **state)
{
    struct fixture *f = *state;

    resume(f, stored_round(f, false));
    done(f);
    hello_with(f, 1, "c1", "ann bob", "1/1 collecting ann bob");
    hello_with(f, 2, "c2", "cay", NULL);
    pass_over(f);
    tick(f, f->now_ms + 30 * SECOND); /* the deadline */
    expect(f, "L1 close 1/1\n"
              "L2 close 1/1\n");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    federation_added(f->federation, 11, f->now_ms);
    expect(f, "add t11\n");
    loaded(f, "m0");
    expect(f, "L2 plan 1/1 from m0, 0 s: cay\n" /* now it can make a sum of nobody */
              "L2 close 1/1\n");
    (void)partial(f, "c2", "1/1", 12, "");
    federation_added(f->federation, 12, f->now_ms);
    expect(f, "add t12\n"
              "finish\n");
}

static void test_resume_makes_no_model_without_its_base(void **state)
{
    struct fixture *f = *state;

    resume(f, stored_round(f, false));
    done(f);
    hello_with(f, 1, "c1", "ann bob", "1/1 sealed ann bob");
    hello_with(f, 2, "c2", "cay", "1/1 sealed cay");
    (void)partial(f, "c1", "1/1", 11, "ann bob");
    (void)partial(f, "c2", "1/1", 12, "cay");
    federation_added(f->federation, 11, f->now_ms);
    federation_added(f->federation, 12, f->now_ms);
    pass_over(f);
    loaded(f, "m0");
    expect(f, "finish\n");
}

/* The store's bytes have changed since the round was planned. */
static void test_resume_with_another_base(void **state)
{
    struct fixture *f = *state;
    struct round *round = stored_round(f, false);

    round->base_sha256[31] ^= 1;
    resume(f, round);
    done(f);
    hello(f, 1, "c1", "ann bob");
    pass_over(f);
    loaded(f, "m0");
    expect(f, "store round 1 failed c1:1 c2:1, model m0 is not what round 1 was planned from\n");
    done(f);
    done(f);
    expect(f, "store derived\n"
              "L1 done 1 failed\n"
              "store end\n");
}

static void test_resume_when_sealed(void **state)
{
    struct fixture *f = *state;

    resume(f, stored_round(f, false));
    loaded(f, "m0");
    done(f);
    pass_over(f);
    hello_with(f, 1, "c1", "ann bob", "1/1 sealed ann bob");
    expect(f, "L1 welcome\n"
              "L1 plan 1/1 from m0, 30 s: ann bob\n"
              "L1 close 1/1\n");
    assert_int_equal(partial(f, "c1", "1/1", 11, "ann bob"), FED_VERDICT_ACCEPTED);
    federation_added(f->federation, 11, f->now_ms);
    tick(f, f->now_ms + 14 * SECOND); /* c2 is in its grace: its sum is waited for */
    expect(f, "add t11\n");
    hello_with(f, 2, "c2", "cay", "1/1 sealed cay");
    expect(f, "L2 welcome\n"
              "L2 close 1/1\n");
    assert_int_equal(partial(f, "c2", "1/1", 12, "cay"), FED_VERDICT_ACCEPTED);
    federation_added(f->federation, 12, f->now_ms);
    expect(f, "add t12\n"
              "finish\n");
}

static void test_resume_with_a_fenced_part(void **state)
{
    struct fixture *f = *state;

    resume(f, stored_round(f, true));
    loaded(f, "m0");
    hello_with(f, 2, "c2", "cay", "1/1 collecting cay"); /* while the row is being written */
    pass_over(f);
    done(f);
    expect(f, "store round 1 planned c1:1 c2:2(fenced 1)\n");
    done(f);
    expect(f, "L2 plan 1/2 from m0, 30 s: cay\n");
    admitted(f, 2, "1/1", "cay"); /* told before the new plan came: it is told again */
    hello_with(f, 1, "c1", "ann bob", "1/1 collecting ann bob");
    expect(f, "L1 welcome\n"
              "L1 plan 1/1 from m0, 30 s: ann bob\n");
    admitted(f, 2, "1/2", "cay");
    expect(f, "L1 close 1/1\n"
              "L2 close 1/2\n");
}

static void test_resume_of_a_session_that_was_being_stopped(void **state)
{
    struct fixture *f = *state;
    struct federation_standing standing = {.round = stored_round(f, false), .is_terminated = true};

    make_session(f, &standing.session);
    resume_as(f, &standing);
    pass_over(f);
    done(f);
    expect(f, "store round 1 cancelled c1:1 c2:1, the session was stopped\n");
}

static void test_resume_asks_for_the_validation_again(void **state)
{
    struct fixture *f = *state;
    struct federation_standing standing = {0};

    f->is_validating = true;
    make_session(f, &standing.session);
    (void)snprintf(standing.session.base_round_id, FED_ROUND_ID_SIZE, "7");
    resume_as(f, &standing);
    loaded(f, "m0");
    pass_over(f);
    hello(f, 1, "c1", "ann");
    expect(f, "L1 welcome\n"
              "L1 validate m0: ann\n");
}

static void test_a_round_of_the_past_is_over(void **state)
{
    struct fixture *f = *state;

    hello_with(f, 1, "c1", "ann bob", "7/1 collecting ann");
    expect(f, "L1 welcome\n"
              "L1 done 7 failed\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_session_of_one_round),
        TEST(test_who_cannot_start),
        TEST(test_a_start_waits_for_the_last_ones_end),
        TEST(test_links),
        TEST(test_a_base_that_cannot_be_read),
        TEST(test_stop_after_the_open_round),
        TEST(test_stop_now_while_collecting_and_closing),
        TEST(test_stop_now_while_a_row_is_written),
        TEST(test_stop_now_against_the_commit),
        TEST(test_resume_before_the_planned_row),
        TEST(test_resume_waits_no_longer_than_its_grace),
        TEST(test_resume_while_collecting),
        TEST(test_resume_closes_before_the_base_is_read),
        TEST(test_resume_makes_no_model_without_its_base),
        TEST(test_resume_with_another_base),
        TEST(test_resume_when_sealed),
        TEST(test_resume_with_a_fenced_part),
        TEST(test_resume_of_a_session_that_was_being_stopped),
        TEST(test_resume_asks_for_the_validation_again),
        TEST(test_a_round_of_the_past_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
