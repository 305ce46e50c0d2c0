/* combiner/core/collector: every path of its drawings, with time in the test's hand. A test does
 * something and expects what is asked for, in order; the two read as one story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "combiner/core/collector.h"

#define LIMIT_MS 10000U

struct fixture {
    struct collector *collector;
    uint64_t now_ms;
    char trace[8192];
};

static void say(struct fixture *f, const char *fmt, ...) FED_PRINTF(2, 3);
static void say(struct fixture *f, const char *fmt, ...)
{
    const size_t used = strlen(f->trace);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(f->trace + used, sizeof(f->trace) - used, fmt, args);
    va_end(args);
}

static const char *const phases[] = {[FED_CLIENT_ATTACHED] = "attached",
                                     [FED_CLIENT_SILENT] = "silent",
                                     [FED_CLIENT_GONE] = "gone"};
static const char *const states[] = {[FED_LINK_ROUND_PLANNED] = "planned",
                                     [FED_LINK_ROUND_COLLECTING] = "collecting",
                                     [FED_LINK_ROUND_SEALING] = "sealing",
                                     [FED_LINK_ROUND_SEALED] = "sealed"};

static void say_hello(struct fixture *f, const struct fed_hello *hello)
{
    say(f, "hello %s", hello->combiner_id);
    for (size_t i = 0; i < hello->n_clients; i++) {
        say(f, " %s:%s", hello->clients[i].client_id, phases[hello->clients[i].phase]);
    }
    for (size_t i = 0; i < hello->n_rounds; i++) {
        const struct fed_hello_round *round = &hello->rounds[i];
        say(f, " | round %s/%u %s", round->round_id, (unsigned)round->plan_seq,
            states[round->state]);
        for (size_t j = 0; j < round->n_admitted; j++) {
            say(f, " +%s:%s", round->admitted[j].client_id, round->admitted[j].update_id);
        }
        for (size_t j = 0; j < round->n_refused; j++) {
            say(f, " -%s:%s", round->refused[j].client_id,
                fed_refusal_word(round->refused[j].reason));
        }
    }
}

static void say_up(struct fixture *f, const struct fed_up *up)
{
    switch (up->type) {
    case FED_UP_HELLO:
        say_hello(f, &up->hello);
        break;
    case FED_UP_CLIENT_STATE:
        say(f, "%s is %s", up->client_state.client_id, phases[up->client_state.phase]);
        break;
    case FED_UP_ADMITTED:
        say(f, "admitted %s/%u %s %s %u", up->round_id, (unsigned)up->plan_seq,
            up->admitted.client_id, up->admitted.update_id, (unsigned)up->admitted.examples);
        break;
    case FED_UP_REFUSED:
        say(f, "refused %s %s %s %s%s", up->round_id, up->refused.client_id, up->refused.update_id,
            fed_refusal_word(up->refused.reason),
            up->refused.is_own_connection ? "" : " (foreign)");
        break;
    case FED_UP_RECORD:
        say(f, "record");
        break;
    }
}

static void say_action(struct fixture *f, const struct collector_action *a)
{
    const unsigned token = (unsigned)a->token;
    const unsigned seq = (unsigned)a->plan_seq;

    switch (a->type) {
    case COLLECTOR_SEND_UP:
        say(f, "up ");
        say_up(f, &a->up);
        break;
    case COLLECTOR_SEND_TASK:
        say(f, "%s %s on s%u: round %s from %s, %s",
            a->task.type == COLLECTOR_TRAIN ? "train" : "validate", a->task.client_id,
            (unsigned)a->stream, a->task.round_id, a->task.model_id, a->task.data);
        break;
    case COLLECTOR_END_STREAM:
        say(f, "end s%u", (unsigned)a->stream);
        break;
    case COLLECTOR_FETCH_MODEL:
        say(f, "fetch %s", a->id);
        break;
    case COLLECTOR_DROP_MODEL:
        say(f, "drop %s", a->id);
        break;
    case COLLECTOR_STORE_PLAN:
        say(f, "store %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_CHECK:
        say(f, "check t%u %s", token, a->id);
        break;
    case COLLECTOR_LOG:
        say(f, "log t%u %s %s %u", token, a->client_id, a->id, (unsigned)a->examples);
        break;
    case COLLECTOR_ANSWER:
        say(f, "answer t%u %s", token, a->is_ok ? "OK" : "UNAVAILABLE");
        break;
    case COLLECTOR_DROP_UPDATE:
        say(f, "drop update t%u", token);
        break;
    case COLLECTOR_RESET_SUM:
        say(f, "reset %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_FOLD:
        say(f, "fold %s/%u %s %s", a->round_id, seq, a->client_id, a->id);
        break;
    case COLLECTOR_SEAL:
        say(f, "seal %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_PUT_PARTIAL:
        say(f, "put %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_DROP_ROUND:
        say(f, "drop round %s", a->round_id);
        break;
    case COLLECTOR_ACTION_MAX:
        fail();
    }
    say(f, "\n");
}

/* What has been asked for since the last time, a line each. */
static void expect(struct fixture *f, const char *trace)
{
    struct collector_action action;

    while (collector_take_action(f->collector, &action)) {
        say_action(f, &action);
        fed_up_deinit(&action.up);
    }
    assert_string_equal(f->trace, trace);
    f->trace[0] = '\0';
}

/* -- steps ------------------------------------------------------------------------------------ */

static void attach(struct fixture *f, const char *client_id, uint64_t stream, uint64_t connection)
{
    struct collector_attach attach = {.stream = stream, .connection = connection};

    (void)snprintf(attach.client_id, sizeof(attach.client_id), "%s", client_id);
    (void)snprintf(attach.name, sizeof(attach.name), "%s's", client_id);
    collector_attach(f->collector, &attach, f->now_ms);
}

static void beat(struct fixture *f, const char *client_id, uint64_t connection)
{
    collector_heartbeat(f->collector, client_id, connection, f->now_ms);
}

static void tick(struct fixture *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    collector_tick(f->collector, now_ms);
}

/* A plan of session s for the clients named, apart by blanks. */
static struct fed_plan
make_plan(const char *round_id, uint64_t plan_seq, const char *base, const char *clients)
{
    struct fed_plan plan = {
        .round_number = 1, .plan_seq = plan_seq, .examples_max = 1000, .time_left_ms = 60000};
    char ids[256];
    char *rest = ids;

    (void)snprintf(ids, sizeof(ids), "%s", clients);
    (void)snprintf(plan.session_id, sizeof(plan.session_id), "s");
    (void)snprintf(plan.round_id, sizeof(plan.round_id), "%s", round_id);
    (void)snprintf(plan.base_model_id, sizeof(plan.base_model_id), "%s", base);
    plan.task_data = strdup("data");
    plan.client_ids = calloc(16, FED_ID_SIZE);
    assert_non_null(plan.client_ids);
    for (char *id = strtok_r(ids, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        fed_id_copy(plan.client_ids[plan.n_clients++], id);
    }
    return plan;
}

static void
plan(struct fixture *f, const char *round_id, uint64_t seq, const char *base, const char *clients)
{
    struct fed_down down = {.type = FED_DOWN_PLAN, .plan = make_plan(round_id, seq, base, clients)};

    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
}

static void validate(struct fixture *f, const char *model, const char *client_id)
{
    struct fed_down down = {.type = FED_DOWN_VALIDATE};

    (void)snprintf(down.validate.session_id, FED_ID_SIZE, "s");
    (void)snprintf(down.validate.round_id, FED_ROUND_ID_SIZE, "7");
    (void)snprintf(down.validate.model_id, FED_ID_SIZE, "%s", model);
    down.validate.task_data = strdup("vdata");
    down.validate.client_ids = calloc(1, FED_ID_SIZE);
    assert_non_null(down.validate.client_ids);
    fed_id_copy(down.validate.client_ids[0], client_id);
    down.validate.n_clients = 1;
    down.validate.time_left_ms = 60000;
    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
}

static void close_round(struct fixture *f, const char *round_id, uint64_t seq)
{
    struct fed_down down = {.type = FED_DOWN_CLOSE};

    (void)snprintf(down.close.round_id, FED_ROUND_ID_SIZE, "%s", round_id);
    down.close.plan_seq = seq;
    collector_down(f->collector, &down, f->now_ms);
}

static void done(struct fixture *f, const char *round_id, enum fed_round_outcome outcome)
{
    struct fed_down down = {.type = FED_DOWN_DONE};

    (void)snprintf(down.done.round_id, FED_ROUND_ID_SIZE, "%s", round_id);
    down.done.outcome = outcome;
    collector_down(f->collector, &down, f->now_ms);
}

static struct collector_announcement
make_update(uint64_t token, uint64_t connection, const char *client_id, const char *update_id)
{
    struct collector_announcement update = {
        .token = token, .connection = connection, .examples = 100};

    (void)snprintf(update.client_id, FED_ID_SIZE, "%s", client_id);
    (void)snprintf(update.update_id, FED_ID_SIZE, "%s", update_id);
    (void)snprintf(update.model_id, FED_ID_SIZE, "m1");
    (void)snprintf(update.session_id, FED_ID_SIZE, "s");
    (void)snprintf(update.round_id, FED_ROUND_ID_SIZE, "7");
    return update;
}

static void announce(struct fixture *f,
                     uint64_t token,
                     uint64_t connection,
                     const char *client_id,
                     const char *update_id)
{
    const struct collector_announcement update =
        make_update(token, connection, client_id, update_id);

    collector_announce(f->collector, &update, f->now_ms);
}

static void checked(struct fixture *f, uint64_t token, enum fed_refusal reason)
{
    collector_checked(f->collector, token, reason, "", f->now_ms);
}

static void logged(struct fixture *f, uint64_t token)
{
    collector_logged(f->collector, token, true, f->now_ms);
}

static void folded(struct fixture *f, const char *round_id, uint64_t seq, const char *client_id)
{
    collector_folded(f->collector, round_id, seq, client_id, f->now_ms);
}

/* Forget what has been asked for so far: the story begins here. */
static void pass_over(struct fixture *f)
{
    struct collector_action action;

    while (collector_take_action(f->collector, &action)) {
        fed_up_deinit(&action.up);
    }
    f->trace[0] = '\0';
}

/* Announced, checked, logged and folded, from the client's own connection. */
static void admit(struct fixture *f, uint64_t token, const char *client_id, const char *update_id)
{
    announce(f, token, token, client_id, update_id);
    checked(f, token, FED_REFUSAL_NONE);
    logged(f, token);
    folded(f, "7", 1, client_id);
    pass_over(f);
}

/* Ann on connection 1, stream 11, and bob on 2, 12; round 7 from m1 is open for both. */
static void open_round(struct fixture *f)
{
    collector_link_up(f->collector, f->now_ms);
    attach(f, "ann", 11, 1);
    attach(f, "bob", 12, 2);
    plan(f, "7", 1, "m1", "ann bob");
    collector_model_ready(f->collector, "m1", f->now_ms);
    pass_over(f);
}

static void make(struct fixture *f, bool is_binding, uint32_t clients_max)
{
    const struct collector_config config = {.combiner_id = "c1",
                                            .boot_id = "b1",
                                            .clients_max = clients_max,
                                            .heartbeat_limit_ms = LIMIT_MS,
                                            .is_binding = is_binding};

    f->collector = collector_free(f->collector);
    assert_int_equal(collector_new(&config, &f->collector, NULL), 0);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){.now_ms = 1000};
    make(&f, true, 3);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->collector = collector_free(f->collector);
    return 0;
}

/* -- a round ---------------------------------------------------------------------------------- */

static void test_one_round(void **state)
{
    struct fixture *f = *state;

    collector_link_up(f->collector, f->now_ms);
    attach(f, "ann", 11, 1);
    attach(f, "bob", 12, 2);
    expect(f, "up hello c1\n"
              "up ann is attached\n"
              "up bob is attached\n");
    plan(f, "7", 1, "m1", "bob ann");
    expect(f, "store 7/1\n"
              "fetch m1\n");
    collector_model_ready(f->collector, "m1", f->now_ms);
    expect(f, "reset 7/1\n"
              "train ann on s11: round 7 from m1, data\n"
              "train bob on s12: round 7 from m1, data\n");
    announce(f, 1, 1, "ann", "u1");
    expect(f, "check t1 u1\n");
    checked(f, 1, FED_REFUSAL_NONE);
    expect(f, "log t1 ann u1 100\n");
    logged(f, 1);
    expect(f, "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n"
              "answer t1 OK\n");
    folded(f, "7", 1, "ann");
    admit(f, 2, "bob", "u2");
    close_round(f, "7", 1);
    expect(f, "seal 7/1\n");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_ACCEPTED, f->now_ms);
    expect(f, "");
    done(f, "7", FED_ROUND_COMMITTED);
    expect(f, "drop round 7\n");
    plan(f, "8", 1, "m2", "ann bob");
    expect(f, "store 8/1\n"
              "fetch m2\n"
              "drop m1\n");
}

static void test_seal_waits_for_the_log_and_the_folds(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    checked(f, 1, FED_REFUSAL_NONE);
    announce(f, 2, 2, "bob", "u2");
    pass_over(f);
    close_round(f, "7", 1);
    expect(f, ""); /* ann's was decided before the Close, bob's was not */
    checked(f, 2, FED_REFUSAL_NONE);
    expect(f, "drop update t2\n"
              "up refused 7 bob u2 late\n"
              "answer t2 OK\n");
    logged(f, 1);
    expect(f, "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n"
              "answer t1 OK\n");
    folded(f, "7", 1, "ann");
    expect(f, "seal 7/1\n");
}

static void test_close_before_the_base_is_here(void **state)
{
    struct fixture *f = *state;

    collector_link_up(f->collector, f->now_ms);
    attach(f, "ann", 11, 1);
    plan(f, "7", 1, "m1", "ann");
    announce(f, 1, 1, "ann", "u1");
    pass_over(f);
    close_round(f, "7", 1);
    expect(f, "up refused 7 ann u1 late\n"
              "answer t1 OK\n"
              "seal 7/1\n"); /* a header without sums */
    collector_sealed(f->collector, "7", 1, f->now_ms);
    collector_model_ready(f->collector, "m1", f->now_ms);
    expect(f, "put 7/1\n");
}

static void test_an_update_waits_for_the_base(void **state)
{
    struct fixture *f = *state;

    collector_link_up(f->collector, f->now_ms);
    attach(f, "ann", 11, 1);
    plan(f, "7", 1, "m1", "ann");
    pass_over(f);
    announce(f, 1, 1, "ann", "u1");
    expect(f, "");
    collector_model_ready(f->collector, "m1", f->now_ms);
    expect(f, "reset 7/1\n"
              "check t1 u1\n"); /* and no task: it has been done */
}

static void test_done_in_any_state(void **state)
{
    struct fixture *f = *state;

    open_round(f); /* collecting, with one checked, one logged */
    announce(f, 1, 1, "ann", "u1");
    checked(f, 1, FED_REFUSAL_NONE);
    announce(f, 2, 2, "bob", "u2");
    pass_over(f);
    done(f, "7", FED_ROUND_CANCELLED);
    expect(f, "drop round 7\n");
    logged(f, 1);
    checked(f, 2, FED_REFUSAL_NONE);
    expect(f, "answer t1 OK\n"
              "drop update t2\n"
              "answer t2 OK\n");  /* no round is open that could show the refusal */
    plan(f, "8", 1, "m9", "ann"); /* planned */
    done(f, "8", FED_ROUND_FAILED);
    plan(f, "9", 1, "m9", "ann");
    close_round(f, "9", 1); /* sealing */
    done(f, "9", FED_ROUND_FAILED);
    plan(f, "10", 1, "m9", "ann");
    close_round(f, "10", 1);
    collector_sealed(f->collector, "10", 1, f->now_ms); /* sealed */
    pass_over(f);
    done(f, "10", FED_ROUND_FAILED);
    done(f, "10", FED_ROUND_FAILED);
    expect(f, "drop round 10\n");
    collector_sealed(f->collector, "9", 1, f->now_ms); /* too late: means nothing */
    folded(f, "7", 1, "ann");
    expect(f, "");
}

/* -- what the reducer says again -------------------------------------------------------------- */

static void test_a_higher_plan_rebuilds_the_sum(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    attach(f, "cay", 13, 3);
    admit(f, 1, "ann", "u1");
    admit(f, 2, "bob", "u2");
    close_round(f, "7", 1);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    pass_over(f);
    plan(f, "7", 2, "m1", "bob cay");
    expect(f, "store 7/2\n"
              "reset 7/2\n"
              "fold 7/2 bob u2\n"
              "train cay on s13: round 7 from m1, data\n");
    folded(f, "7", 1, "ann"); /* of the former sum */
    plan(f, "7", 1, "m1", "ann bob");
    expect(f, ""); /* a lower plan_seq says nothing */
    close_round(f, "7", 1);
    expect(f, "");
    close_round(f, "7", 2);
    expect(f, "");
    folded(f, "7", 2, "bob");
    expect(f, "seal 7/2\n");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    expect(f, "");
    collector_sealed(f->collector, "7", 2, f->now_ms);
    expect(f, "put 7/2\n");
    plan(f, "7", 3, "m1", "ann bob"); /* ann is back: its update is still here */
    expect(f, "store 7/3\n"
              "reset 7/3\n"
              "fold 7/3 bob u2\n"
              "fold 7/3 ann u1\n");
}

static void test_a_plan_for_another_base_of_the_same_round_is_ignored(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    plan(f, "7", 2, "m2", "ann bob");
    expect(f, "");
}

static void test_sealed_partial_is_sent_again(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admit(f, 1, "ann", "u1");
    close_round(f, "7", 1);
    pass_over(f);
    collector_link_down(f->collector, f->now_ms);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    expect(f, "");
    collector_link_up(f->collector, f->now_ms);
    expect(f, "up hello c1 ann:attached bob:attached | round 7/1 sealed +ann:u1\n");
    close_round(f, "7", 1);
    expect(f, "put 7/1\n");
    close_round(f, "7", 1);
    expect(f, ""); /* it is on its way */
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    expect(f, "put 7/1\n");
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    close_round(f, "7", 1);
    pass_over(f);
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_CORRUPT, f->now_ms);
    expect(f, ""); /* three times: the reducer gives it up */
}

static void test_verdicts(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    close_round(f, "7", 1);
    collector_sealed(f->collector, "7", 1, f->now_ms);
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_STALE, f->now_ms);
    pass_over(f);
    close_round(f, "7", 1);
    expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_DUPLICATE, f->now_ms);
    close_round(f, "7", 1);
    expect(f, "put 7/1\n");
    collector_partial_answered(f->collector, "7", 1, FED_VERDICT_OVER, f->now_ms);
    expect(f, "drop round 7\n");
}

static void test_hello_says_it_all(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    admit(f, 1, "ann", "u1");
    announce(f, 2, 2, "bob", "u2");
    checked(f, 2, FED_REFUSAL_NOT_FINITE);
    collector_link_down(f->collector, f->now_ms);
    pass_over(f);
    attach(f, "cay", 13, 3);
    expect(f, ""); /* hints are lost while the link is down */
    beat(f, "ann", 1);
    tick(f, f->now_ms + LIMIT_MS - 1);
    beat(f, "ann", 1);
    tick(f, f->now_ms + 1);
    collector_link_up(f->collector, f->now_ms);
    expect(f, "up hello c1 ann:attached bob:silent cay:silent | "
              "round 7/1 collecting +ann:u1 -bob:not_finite\n");
}

static void test_the_oldest_round_goes_when_there_are_too_many(void **state)
{
    struct fixture *f = *state;

    collector_link_up(f->collector, f->now_ms);
    plan(f, "1", 1, "m1", "ann");
    plan(f, "2", 1, "m1", "ann");
    plan(f, "3", 1, "m1", "ann");
    plan(f, "4", 1, "m1", "ann");
    pass_over(f);
    plan(f, "5", 1, "m1", "ann");
    expect(f, "drop round 1\n"
              "store 5/1\n");
}

/* -- one update of a client counts ------------------------------------------------------------ */

static void test_the_same_again_is_ok(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    announce(f, 2, 1, "ann", "u1"); /* while it is checked: one answer for both */
    expect(f, "check t1 u1\n");
    checked(f, 1, FED_REFUSAL_NONE);
    announce(f, 3, 1, "ann", "u1"); /* while it is logged */
    logged(f, 1);
    expect(f, "log t1 ann u1 100\n"
              "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n"
              "answer t1 OK\n"
              "answer t2 OK\n"
              "answer t3 OK\n");
    announce(f, 4, 1, "ann", "u1"); /* admitted */
    folded(f, "7", 1, "ann");
    announce(f, 5, 1, "ann", "u1"); /* folded */
    expect(f, "answer t4 OK\n"
              "answer t5 OK\n");
    close_round(f, "7", 1);
    announce(f, 6, 1, "ann", "u1");
    collector_sealed(f->collector, "7", 1, f->now_ms);
    announce(f, 7, 1, "ann", "u1");
    expect(f, "seal 7/1\n"
              "answer t6 OK\n"
              "put 7/1\n"
              "answer t7 OK\n");
    done(f, "7", FED_ROUND_COMMITTED);
    announce(f, 8, 1, "ann", "u1");
    expect(f, "drop round 7\n"
              "answer t8 OK\n"); /* and no refusal */
}

static void test_of_two_different_one_counts(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    announce(f, 2, 1, "ann", "u2");
    expect(f, "check t1 u1\n"
              "check t2 u2\n");
    checked(f, 2, FED_REFUSAL_NONE); /* the first whose bytes fit */
    checked(f, 1, FED_REFUSAL_NONE); /* waits for what comes of the other */
    expect(f, "log t2 ann u2 100\n");
    logged(f, 2);
    expect(f, "fold 7/1 ann u2\n"
              "up admitted 7/1 ann u2 100\n"
              "answer t2 OK\n"
              "drop update t1\n"
              "up refused 7 ann u1 duplicate\n"
              "answer t1 OK\n");
    announce(f, 3, 1, "ann", "u3");
    expect(f, "up refused 7 ann u3 duplicate\n"
              "answer t3 OK\n");
}

static void test_when_the_first_cannot_be_logged_the_second_counts(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    announce(f, 2, 1, "ann", "u2");
    checked(f, 1, FED_REFUSAL_NONE);
    checked(f, 2, FED_REFUSAL_NONE);
    pass_over(f);
    collector_logged(f->collector, 1, false, f->now_ms);
    expect(f, "answer t1 UNAVAILABLE\n"
              "log t2 ann u2 100\n");
}

static void test_what_cannot_be_judged_is_unavailable(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    pass_over(f);
    checked(f, 1, FED_REFUSAL_MAX);
    expect(f, "answer t1 UNAVAILABLE\n");
    announce(f, 2, 1, "ann", "u1"); /* and comes again */
    expect(f, "check t2 u1\n");
}

static void test_a_caller_that_went_is_not_answered_but_counts(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    collector_forget(f->collector, 1);
    collector_forget(f->collector, 99); /* nobody */
    checked(f, 1, FED_REFUSAL_NONE);
    pass_over(f);
    logged(f, 1);
    expect(f, "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n");
}

/* -- refusals --------------------------------------------------------------------------------- */

static void test_refusals_by_the_core(void **state)
{
    struct fixture *f = *state;
    struct collector_announcement update;

    open_round(f);
    plan(f, "6", 1, "m1", "ann"); /* a round that is over by now: see LATE */
    done(f, "6", FED_ROUND_COMMITTED);
    plan(f, "5", 1, "m1", "ann");
    done(f, "5", FED_ROUND_CANCELLED);
    pass_over(f);

#define TRY(change, expected)                                   \
    do {                                                        \
        update = make_update(1, 1, "ann", "u1");                \
        change;                                                 \
        collector_announce(f->collector, &update, f->now_ms);   \
        expect(f, "up refused 7 " expected "\nanswer t1 OK\n"); \
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
    attach(f, "cay", 13, 1);
    pass_over(f);
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
    struct fixture *f = *state;
    static const enum fed_refusal reasons[] = {
        FED_REFUSAL_NOT_UPLOADED, FED_REFUSAL_MALFORMED,    FED_REFUSAL_CHECKSUM,
        FED_REFUSAL_TENSOR_COUNT, FED_REFUSAL_TENSOR_SHAPE, FED_REFUSAL_TENSOR_DTYPE,
        FED_REFUSAL_NOT_FINITE,   FED_REFUSAL_OUT_OF_RANGE, FED_REFUSAL_TOO_LARGE,
    };
    char expected[256];

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        make(f, true, 3);
        open_round(f);
        announce(f, 1, 1, "ann", "u1");
        pass_over(f);
        checked(f, 1, reasons[i]);
        (void)snprintf(expected, sizeof(expected),
                       "drop update t1\n"
                       "up refused 7 ann u1 %s\n"
                       "answer t1 OK\n",
                       fed_refusal_word(reasons[i]));
        expect(f, expected);
        attach(f, "ann", 14, 4); /* it has answered: it is not asked again */
        expect(f, "end s11\n"
                  "up ann is attached\n");
    }
}

static void test_the_plan_has_changed_during_the_check(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 1, "ann", "u1");
    plan(f, "7", 2, "m1", "bob");
    pass_over(f);
    checked(f, 1, FED_REFUSAL_NONE);
    expect(f, "drop update t1\n"
              "up refused 7 ann u1 not_asked\n"
              "answer t1 OK\n");
}

static void test_set_aside(void **state)
{
    struct fixture *f = *state;
    char update_id[16];

    open_round(f);
    for (uint64_t token = 1; token <= COLLECTOR_SET_ASIDE; token++) {
        (void)snprintf(update_id, sizeof(update_id), "u%u", (unsigned)token);
        announce(f, token, 1, "ann", update_id);
        checked(f, token, FED_REFUSAL_NOT_FINITE);
        if (token < COLLECTOR_SET_ASIDE) {
            announce(f, 100 + token, 1, "ann", update_id); /* a retry does not count again */
            checked(f, 100 + token, FED_REFUSAL_NOT_FINITE);
        }
    }
    pass_over(f);
    announce(f, 50, 1, "ann", "u50");
    expect(f, "up refused 7 ann u50 set_aside\n"
              "answer t50 OK\n");
    attach(f, "ann", 21, 5); /* a new stream does not help */
    pass_over(f);
    plan(f, "8", 1, "m1", "ann bob");
    expect(f, "store 8/1\n"
              "up refused 8 ann  set_aside\n"
              "reset 8/1\n"
              "train bob on s12: round 8 from m1, data\n");
}

static void test_nobody_is_set_aside_for_lateness_or_by_others(void **state)
{
    struct fixture *f = *state;
    struct collector_announcement update;

    open_round(f);
    for (uint64_t token = 1; token <= 2 * (uint64_t)COLLECTOR_SET_ASIDE; token++) {
        update = make_update(token, 1, "ann", "u1");
        (void)snprintf(update.update_id, FED_ID_SIZE, "u%u", (unsigned)token);
        (void)snprintf(update.round_id, FED_ROUND_ID_SIZE, "3");
        collector_announce(f->collector, &update, f->now_ms);
        announce(f, 100 + token, 1, "ann", update.update_id);
        checked(f, 100 + token,
                token % 2 == 0 ? FED_REFUSAL_TENSOR_DTYPE : FED_REFUSAL_NOT_UPLOADED);
        update = make_update(200 + token, 66, "ann", update.update_id); /* a forgery */
        update.fault = FED_REFUSAL_BAD_META;
        collector_announce(f->collector, &update, f->now_ms);
    }
    pass_over(f);
    announce(f, 50, 1, "ann", "u50");
    expect(f, "check t50 u50\n");
}

static void test_a_new_session_begins_with_a_clean_slate(void **state)
{
    struct fixture *f = *state;
    struct fed_down down = {.type = FED_DOWN_PLAN};
    char update_id[16];

    open_round(f);
    for (uint64_t token = 1; token <= COLLECTOR_SET_ASIDE; token++) {
        (void)snprintf(update_id, sizeof(update_id), "u%u", (unsigned)token);
        announce(f, token, 1, "ann", update_id);
        checked(f, token, FED_REFUSAL_MALFORMED);
    }
    pass_over(f);
    down.plan = make_plan("8", 1, "m1", "ann");
    (void)snprintf(down.plan.session_id, FED_ID_SIZE, "s2");
    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
    expect(f, "store 8/1\n"
              "reset 8/1\n"
              "train ann on s11: round 8 from m1, data\n");
}

/* -- who -------------------------------------------------------------------------------------- */

static void test_from_another_connection_it_does_not_count(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 66, "ann", "u1");
    expect(f, "");
    assert_int_equal(collector_due_ms(f->collector), 1000 + LIMIT_MS);
    f->now_ms += 2000;
    beat(f, "ann", 66); /* means nothing */
    beat(f, "ann", 1);
    beat(f, "bob", 2);
    tick(f, 1000 + LIMIT_MS - 1);
    expect(f, "");
    tick(f, 1000 + LIMIT_MS);
    expect(f, "up refused 7 ann u1 other_connection (foreign)\n"
              "answer t1 OK\n");
    announce(f, 2, 1, "ann", "u2"); /* ann's own counts all the same */
    expect(f, "check t2 u2\n");
}

static void test_it_counts_when_the_old_stream_dies(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 5, "ann", "u1");
    expect(f, "");
    collector_detach(f->collector, 11, f->now_ms);
    expect(f, "up ann is gone\n"
              "check t1 u1\n");
}

static void test_it_counts_when_the_old_stream_falls_silent(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    f->now_ms += 500;
    announce(f, 1, 5, "ann", "u1");
    tick(f, 1000 + LIMIT_MS);
    expect(f, "up ann is silent\n"
              "check t1 u1\n"
              "up bob is silent\n");
    beat(f, "bob", 2);
    expect(f, "up bob is attached\n");
}

static void test_it_counts_when_the_stream_comes_from_there(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 5, "ann", "u1");
    announce(f, 2, 66, "ann", "u2"); /* somebody else tries, too */
    attach(f, "ann", 15, 5);
    expect(f, "end s11\n"
              "up ann is attached\n"
              "check t1 u1\n"); /* and no task: its update is being looked at */
    collector_detach(f->collector, 11, f->now_ms);
    checked(f, 1, FED_REFUSAL_NONE);
    logged(f, 1);
    expect(f, "log t1 ann u1 100\n"
              "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n"
              "answer t1 OK\n"
              "up refused 7 ann u2 duplicate (foreign)\n"
              "answer t2 OK\n");
}

static void test_the_same_update_held_and_from_its_own_connection(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    announce(f, 1, 5, "ann", "u1");
    announce(f, 2, 1, "ann", "u1"); /* does not wait for what may be a forgery */
    expect(f, "check t2 u1\n");
    attach(f, "ann", 15, 5); /* the first is ann's as well: it shares the outcome */
    expect(f, "end s11\n"
              "up ann is attached\n");
    checked(f, 2, FED_REFUSAL_NONE);
    logged(f, 2);
    expect(f, "log t2 ann u1 100\n"
              "fold 7/1 ann u1\n"
              "up admitted 7/1 ann u1 100\n"
              "answer t1 OK\n"
              "answer t2 OK\n");
}

static void test_without_a_stream_it_counts(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    collector_detach(f->collector, 11, f->now_ms);
    pass_over(f);
    announce(f, 1, 77, "ann", "u1");
    expect(f, "check t1 u1\n");
    checked(f, 1, FED_REFUSAL_MALFORMED); /* but it answers for nobody */
    expect(f, "drop update t1\n"
              "up refused 7 ann u1 malformed (foreign)\n"
              "answer t1 OK\n");
    attach(f, "ann", 15, 5);
    expect(f, "up ann is attached\n"
              "train ann on s15: round 7 from m1, data\n");
}

static void test_without_binding_any_connection_will_do(void **state)
{
    struct fixture *f = *state;

    make(f, false, 3);
    open_round(f);
    announce(f, 1, 66, "ann", "u1");
    expect(f, "check t1 u1\n");
    checked(f, 1, FED_REFUSAL_NOT_FINITE);
    expect(f, "drop update t1\n"
              "up refused 7 ann u1 not_finite\n"
              "answer t1 OK\n");
}

static void test_the_newest_stream_wins(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    attach(f, "ann", 15, 5);
    expect(f, "end s11\n"
              "up ann is attached\n"
              "train ann on s15: round 7 from m1, data\n");
    collector_detach(f->collector, 11, f->now_ms);
    expect(f, "");
    assert_int_equal(collector_count_attached(f->collector), 2);
    assert_null(collector_find_client(f->collector, "ann's", 1));
    assert_string_equal(collector_find_client(f->collector, "ann's", 5), "ann");
    attach(f, "cay", 16, 6);
    pass_over(f);
    attach(f, "dot", 17, 7); /* the fourth of three */
    expect(f, "end s17\n");
}

static void test_no_task_after_the_deadline(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    collector_detach(f->collector, 11, f->now_ms);
    f->now_ms += 60000;
    pass_over(f);
    attach(f, "ann", 15, 5);
    expect(f, "up ann is attached\n");
    announce(f, 1, 5, "ann", "u1"); /* only the reducer closes */
    expect(f, "check t1 u1\n");
}

/* -- validation ------------------------------------------------------------------------------- */

static void test_validation_comes_before_training(void **state)
{
    struct fixture *f = *state;

    collector_link_up(f->collector, f->now_ms);
    attach(f, "ann", 11, 1);
    pass_over(f);
    plan(f, "8", 1, "m2", "ann");
    validate(f, "m2", "ann");
    expect(f, "store 8/1\n"
              "fetch m2\n");
    collector_model_ready(f->collector, "m2", f->now_ms);
    expect(f, "reset 8/1\n"
              "validate ann on s11: round 7 from m2, vdata\n"
              "train ann on s11: round 8 from m2, data\n");
    attach(f, "ann", 12, 2);
    expect(f, "end s11\n"
              "up ann is attached\n"
              "validate ann on s12: round 7 from m2, vdata\n"
              "train ann on s12: round 8 from m2, data\n");
    collector_validated(f->collector, "ann", "m2");
    collector_validated(f->collector, "eve", "m2");
    validate(f, "m2", "ann"); /* told again: it has been done */
    attach(f, "ann", 13, 3);
    expect(f, "end s12\n"
              "up ann is attached\n"
              "train ann on s13: round 8 from m2, data\n");
    tick(f, f->now_ms + 60000);
    expect(f, "up ann is silent\n");
    attach(f, "ann", 14, 4);
    expect(f, "end s13\n"
              "up ann is attached\n"); /* both times are over */
}

static void test_models_stay_while_they_are_needed(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    assert_true(collector_is_model(f->collector, "m1"));
    validate(f, "m0", "ann");
    pass_over(f);
    collector_model_lost(f->collector, "m0", f->now_ms);
    collector_link_down(f->collector, f->now_ms);
    collector_link_up(f->collector, f->now_ms);
    expect(f, "up hello c1 ann:attached bob:attached | round 7/1 collecting\n"
              "fetch m0\n");
    done(f, "7", FED_ROUND_COMMITTED);
    expect(f, "drop round 7\n"
              "drop m1\n"); /* m0 is the newest, and is validated */
    validate(f, "m2", "ann");
    expect(f, "fetch m2\n");
    validate(f, "m3", "ann"); /* the third: the oldest goes */
    expect(f, "drop m0\n"
              "fetch m3\n");
    assert_false(collector_is_model(f->collector, "m1"));
}

/* -- a restart -------------------------------------------------------------------------------- */

static void recover(struct fixture *f, bool is_sealed)
{
    static const struct fed_entry entries[] = {
        {.client_id = "bob", .update_id = "u2", .examples = 5},
        {.client_id = "eve", .update_id = "u9", .examples = 5}, /* of a former plan */
        {.client_id = "bob", .update_id = "u8", .examples = 5},
    };
    struct collector_recovery recovery = {.plan = make_plan("7", 3, "m1", "ann bob"),
                                          .admitted = entries,
                                          .n_admitted = 3,
                                          .is_sealed = is_sealed};

    recovery.plan.time_left_ms = 0;
    assert_int_equal(collector_recover(f->collector, &recovery, f->now_ms, NULL), 0);
}

static void test_recovery_while_collecting(void **state)
{
    struct fixture *f = *state;

    recover(f, false);
    attach(f, "ann", 11, 1);
    attach(f, "bob", 12, 2);
    expect(f, "fetch m1\n");
    announce(f, 1, 2, "bob", "u2"); /* its answer was lost in the crash */
    expect(f, "answer t1 OK\n");
    collector_model_ready(f->collector, "m1", f->now_ms);
    expect(f, "reset 7/3\n"
              "fold 7/3 bob u2\n"); /* no task before the reducer has spoken */
    collector_link_up(f->collector, f->now_ms);
    expect(f, "up hello c1 ann:attached bob:attached | round 7/3 collecting +bob:u2\n");
    plan(f, "7", 3, "m1", "ann bob"); /* the same again: there is time left */
    expect(f, "train ann on s11: round 7 from m1, data\n");
    plan(f, "7", 4, "m1", "ann bob eve");
    expect(f, "store 7/4\n"
              "reset 7/4\n"
              "fold 7/4 bob u2\n"
              "fold 7/4 eve u9\n");
}

static void test_recovery_when_sealed(void **state)
{
    struct fixture *f = *state;

    recover(f, true);
    collector_model_ready(f->collector, "m1", f->now_ms);
    expect(f, "fetch m1\n");
    collector_link_up(f->collector, f->now_ms);
    close_round(f, "7", 3);
    expect(f, "up hello c1 | round 7/3 sealed +bob:u2\n"
              "put 7/3\n");
    announce(f, 1, 1, "ann", "u1");
    expect(f, "up refused 7 ann u1 late (foreign)\n"
              "answer t1 OK\n");
}

static void test_recovery_has_a_bound(void **state)
{
    struct fixture *f = *state;
    struct fed_err err = {0};

    for (unsigned i = 0; i <= COLLECTOR_ROUNDS_MAX; i++) {
        char round_id[FED_ROUND_ID_SIZE];
        struct collector_recovery recovery = {0};
        (void)snprintf(round_id, sizeof(round_id), "%u", i + 1);
        recovery.plan = make_plan(round_id, 1, "m1", "ann");
        assert_int_equal(collector_recover(f->collector, &recovery, f->now_ms, &err),
                         i < COLLECTOR_ROUNDS_MAX ? 0 : -FED_E_LIMIT);
        fed_plan_deinit(&recovery.plan);
    }
    assert_string_equal(err.msg, "round 5: more than 4 rounds");
}

static void test_floods_have_bounds(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    for (uint64_t token = 1; token <= 1024; token++) {
        announce(f, token, 66, "ann", "u1");
    }
    expect(f, "");
    announce(f, 2000, 66, "ann", "u1");
    expect(f, "answer t2000 UNAVAILABLE\n");
    announce(f, 2001, 1, "ann", "u2"); /* ann itself is not in the way of the forger */
    expect(f, "check t2001 u2\n");
}

static void test_one_line_for_people(void **state)
{
    struct fixture *f = *state;
    char text[128];

    collector_format(f->collector, text, sizeof(text));
    assert_string_equal(text, "no round, 0 clients attached");
    open_round(f);
    admit(f, 1, "ann", "u1");
    announce(f, 2, 2, "bob", "u2");
    collector_format(f->collector, text, sizeof(text));
    assert_string_equal(text, "round 7 collecting: 1 of 2 admitted, 1 being checked");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_round),
        TEST(test_seal_waits_for_the_log_and_the_folds),
        TEST(test_close_before_the_base_is_here),
        TEST(test_an_update_waits_for_the_base),
        TEST(test_done_in_any_state),
        TEST(test_a_higher_plan_rebuilds_the_sum),
        TEST(test_a_plan_for_another_base_of_the_same_round_is_ignored),
        TEST(test_sealed_partial_is_sent_again),
        TEST(test_verdicts),
        TEST(test_hello_says_it_all),
        TEST(test_the_oldest_round_goes_when_there_are_too_many),
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
        TEST(test_models_stay_while_they_are_needed),
        TEST(test_recovery_while_collecting),
        TEST(test_recovery_when_sealed),
        TEST(test_recovery_has_a_bound),
        TEST(test_floods_have_bounds),
        TEST(test_one_line_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
