/* The agent in virtual time: what happens, and what it says to do about it, as a trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/core/agent_state.h"

struct fixture {
    struct agent *agent;
    uint64_t now_ms;
    char trace[8192];
};

static const struct agent_config basic = {
    .heartbeat_ms = 2000,
    .attach_timeout_ms = 10000,
    .reassign_after_ms = 10000,
    .retry_min_ms = 100,
    .retry_max_ms = 5000,
    .assign_retry_ms = 3000,
    .heartbeats_missed = 3,
    .validation_tries = 20,
    .seed = 1,
};

/* Write down what the agent asks for, and where it stands then. */
static void settle(struct fixture *f)
{
    static const char *const names[] = {"assign",   "connect", "open",  "close",    "beat",
                                        "announce", "fetch",   "train", "validate", "upload",
                                        "report",   "cancel",  "tell",  "END"};
    static const char *const tells[] = {"received", "started", "completed", "failed"};
    struct agent_action action;
    size_t used = strlen(f->trace);

    _Static_assert(sizeof(names) / sizeof(names[0]) == AGENT_DO_MAX, "a name for each");
    while (agent_take_action(f->agent, &action)) {
        used += (size_t)snprintf(f->trace + used, sizeof(f->trace) - used, "%s%s%s ",
                                 names[action.type], action.type == AGENT_DO_TELL ? ":" : "",
                                 action.type == AGENT_DO_TELL ? tells[action.tell] : "");
        assert_true(used < sizeof(f->trace));
    }
    (void)snprintf(f->trace + used, sizeof(f->trace) - used, "[%s %s]\n",
                   agent_place_name(agent_get_place(f->agent)),
                   agent_work_name(agent_get_work(f->agent)));
}

static void assert_trace(struct fixture *f, const char *want)
{
    assert_string_equal(f->trace, want);
    f->trace[0] = '\0';
}

static void make(struct fixture *f, const struct agent_config *config)
{
    struct fed_err err;

    assert_int_equal(agent_new(config, &f->agent, &err), 0);
    f->now_ms = 1000;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    make(f, &basic);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)agent_free(f->agent);
    free(f);
    return 0;
}

/* Let time go to the agent's next date, as the loop's timer does. */
static void tick(struct fixture *f)
{
    const uint64_t due_ms = agent_due_ms(f->agent);

    assert_true(due_ms != UINT64_MAX);
    f->now_ms = due_ms > f->now_ms ? due_ms : f->now_ms;
    agent_tick(f->agent, f->now_ms);
    settle(f);
}

static void assigned(struct fixture *f, enum agent_assignment assignment, const char *address)
{
    agent_assigned(f->agent, assignment, address, f->now_ms);
    settle(f);
}

static void heartbeat(struct fixture *f, bool is_answered)
{
    agent_heartbeat_done(f->agent, is_answered, f->now_ms);
    settle(f);
}

static void closed(struct fixture *f)
{
    agent_stream_closed(f->agent, f->now_ms);
    settle(f);
}

static void step(struct fixture *f, enum agent_outcome outcome)
{
    agent_step_done(f->agent, outcome, f->now_ms);
    settle(f);
}

static struct agent_task
task_of(enum agent_task_type type, const char *round_id, const char *model_id)
{
    struct agent_task task = {.type = type, .session_id = "s"};

    (void)snprintf(task.round_id, sizeof(task.round_id), "%s", round_id);
    (void)snprintf(task.model_id, sizeof(task.model_id), "%s", model_id);
    task.data = strdup("{}");
    return task;
}

static enum agent_taken train(struct fixture *f, const char *round_id, const char *model_id)
{
    struct agent_task task = task_of(AGENT_TASK_TRAIN, round_id, model_id);
    const enum agent_taken taken = agent_give(f->agent, &task, f->now_ms);

    settle(f);
    return taken;
}

static enum agent_taken validate(struct fixture *f, const char *model_id)
{
    struct agent_task task = task_of(AGENT_TASK_VALIDATE, "", model_id);
    const enum agent_taken taken = agent_give(f->agent, &task, f->now_ms);

    settle(f);
    return taken;
}

static void trained(struct fixture *f)
{
    const struct agent_task *task = agent_get_task(f->agent);
    struct agent_kept kept = {.n_examples = 10};

    (void)snprintf(kept.session_id, sizeof(kept.session_id), "%s", task->session_id);
    (void)snprintf(kept.round_id, sizeof(kept.round_id), "%s", task->round_id);
    (void)snprintf(kept.model_id, sizeof(kept.model_id), "%s", task->model_id);
    (void)snprintf(kept.update_id, sizeof(kept.update_id), "u-%.32s", task->round_id);
    agent_trained(f->agent, &kept, f->now_ms);
    settle(f);
}

static void attach(struct fixture *f)
{
    agent_start(f->agent, f->now_ms);
    settle(f);
    assigned(f, AGENT_ASSIGNED, "a:1");
    heartbeat(f, true);
    f->trace[0] = '\0';
}

/* -- attached where ---------------------------------------------------------------------------- */

static void test_calm_round(void **state)
{
    struct fixture *f = *state;

    agent_start(f->agent, f->now_ms);
    settle(f);
    assigned(f, AGENT_ASSIGNED, "a:1");
    heartbeat(f, true);
    assert_string_equal(agent_get_address(f->agent), "a:1");
    validate(f, "m0");
    train(f, "1", "m0");
    step(f, AGENT_DONE); /* fetched */
    step(f, AGENT_DONE); /* validated */
    step(f, AGENT_DONE); /* reported; training begins */
    step(f, AGENT_DONE); /* fetched */
    trained(f);
    step(f, AGENT_DONE); /* uploaded */
    step(f, AGENT_DONE); /* admitted */
    assert_trace(f, "assign [joining idle]\n"
                    "connect open beat [attaching idle]\n"
                    "announce [attached idle]\n"
                    "tell:received fetch [attached fetching]\n"
                    "[attached fetching]\n"
                    "tell:started validate [attached validating]\n"
                    "report [attached reporting]\n"
                    "tell:completed tell:received fetch [attached fetching]\n"
                    "tell:started train [attached training]\n"
                    "upload [attached uploading]\n"
                    "report [attached reporting]\n"
                    "tell:completed [attached idle]\n");
    assert_string_equal(agent_get_kept(f->agent)->update_id, "u-1");
}

static void test_reducer_says_not_yet_then_fails_then_refuses(void **state)
{
    struct fixture *f = *state;

    agent_start(f->agent, f->now_ms);
    settle(f);
    assigned(f, AGENT_ASSIGN_LATER, "");
    assert_int_equal(agent_due_ms(f->agent), f->now_ms + 3000);
    tick(f);
    assigned(f, AGENT_ASSIGN_FAILED, "");
    assert_true(agent_due_ms(f->agent) <= f->now_ms + 100);
    tick(f);
    assigned(f, AGENT_ASSIGN_REFUSED, "");
    assert_trace(f, "assign [joining idle]\n"
                    "[backoff idle]\n"
                    "assign [joining idle]\n"
                    "[backoff idle]\n"
                    "assign [joining idle]\n"
                    "END [over idle]\n");
    assert_true(agent_due_ms(f->agent) == UINT64_MAX);
}

static void test_heartbeats_go_on_while_training(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    tick(f);
    assert_int_equal(f->now_ms, 3000);
    assert_true(agent_due_ms(f->agent) == UINT64_MAX); /* one at a time */
    heartbeat(f, true);
    tick(f);
    assert_int_equal(f->now_ms, 5000);
    assert_trace(f, "tell:received fetch [attached fetching]\n"
                    "tell:started train [attached training]\n"
                    "beat [attached training]\n"
                    "[attached training]\n"
                    "beat [attached training]\n");
}

static void test_lost_stream_backs_off_doubling(void **state)
{
    struct fixture *f = *state;
    uint64_t waited_ms[8];

    attach(f);
    heartbeat(f, true);
    closed(f);
    for (unsigned i = 0; i < 8; i++) {
        const uint64_t before_ms = f->now_ms;
        tick(f);
        waited_ms[i] = f->now_ms - before_ms;
        if (agent_get_place(f->agent) == AGENT_JOINING) {
            break;
        }
        assert_int_equal(agent_get_place(f->agent), AGENT_ATTACHING);
        heartbeat(f, false);
        closed(f);
    }
    for (unsigned i = 0; i < 7; i++) { /* 100, 200, 400 … each between the half and the whole */
        const uint64_t whole_ms = 100ULL << i < 5000 ? 100ULL << i : 5000;
        assert_in_range(waited_ms[i], whole_ms / 2, whole_ms);
    }
}

static void test_failing_too_long_asks_the_reducer_again_and_moves(void **state)
{
    struct fixture *f = *state;
    unsigned n_tries = 0;

    attach(f);
    closed(f);
    while (agent_get_place(f->agent) != AGENT_JOINING) {
        tick(f);
        if (agent_get_place(f->agent) == AGENT_ATTACHING) {
            heartbeat(f, false);
            closed(f);
        }
        assert_true(++n_tries < 50);
    }
    assert_true(f->now_ms - 1000 >= 10000);
    assert_true(f->now_ms - 1000 <= 10000 + 5000 + 5000);
    f->trace[0] = '\0';
    /* The reducer is away too: our old combiner is tried before it is asked again. */
    assigned(f, AGENT_ASSIGN_FAILED, "");
    tick(f);
    heartbeat(f, false);
    closed(f);
    tick(f);
    assigned(f, AGENT_ASSIGNED, "b:2");
    heartbeat(f, true);
    assert_trace(f, "[backoff idle]\n"
                    "open beat [attaching idle]\n"
                    "[attaching idle]\n"
                    "[backoff idle]\n"
                    "assign [joining idle]\n"
                    "connect open beat [attaching idle]\n"
                    "announce [attached idle]\n");
    assert_string_equal(agent_get_address(f->agent), "b:2");
}

static void test_fixed_combiner_never_asks_the_reducer(void **state)
{
    struct fixture *f = *state;
    struct agent_config config = basic;

    (void)agent_free(f->agent);
    config.is_fixed = true;
    (void)snprintf(config.address, sizeof(config.address), "c:3");
    make(f, &config);
    agent_start(f->agent, f->now_ms);
    settle(f);
    for (unsigned i = 0; i < 100; i++) {
        heartbeat(f, false);
        closed(f);
        tick(f);
        assert_int_equal(agent_get_place(f->agent), AGENT_ATTACHING);
    }
    assert_true(f->now_ms > 100000);
    assert_null(strstr(f->trace, "assign"));
}

static void test_unanswered_heartbeats_drop_the_connection(void **state)
{
    struct fixture *f = *state;

    attach(f);
    for (unsigned i = 0; i < 3; i++) {
        tick(f);
        heartbeat(f, false);
    }
    tick(f);
    assert_trace(f, "beat [attached idle]\n"
                    "[attached idle]\n"
                    "beat [attached idle]\n"
                    "[attached idle]\n"
                    "beat [attached idle]\n"
                    "close connect [backoff idle]\n"
                    "open beat [attaching idle]\n");
}

static void test_silent_server_is_given_up_after_the_attach_timeout(void **state)
{
    struct fixture *f = *state;

    agent_start(f->agent, f->now_ms);
    settle(f);
    assigned(f, AGENT_ASSIGNED, "a:1");
    tick(f);
    assert_int_equal(f->now_ms, 11000);
    assert_trace(f, "assign [joining idle]\n"
                    "connect open beat [attaching idle]\n"
                    "close connect [backoff idle]\n");
}

/* Two clients of one id: each attaches, and is put off by the other. */
static void test_flapping_stream_backs_off_all_the_same(void **state)
{
    struct fixture *f = *state;
    uint64_t before_ms;

    attach(f);
    for (unsigned i = 0; i < 8; i++) {
        closed(f);
        tick(f);
        heartbeat(f, true);
    }
    before_ms = f->now_ms;
    closed(f);
    tick(f);
    assert_true(f->now_ms - before_ms >= 2500);
    heartbeat(f, true);
    f->now_ms += 10000; /* it held */
    before_ms = f->now_ms;
    closed(f);
    tick(f);
    assert_true(f->now_ms - before_ms <= 100);
}

/* -- working on what --------------------------------------------------------------------------- */

static void test_training_survives_a_lost_stream_and_waits_to_upload(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    closed(f);
    trained(f);
    tick(f);
    heartbeat(f, true);
    step(f, AGENT_AGAIN);
    tick(f);
    step(f, AGENT_DONE);
    assert_trace(f, "tell:received fetch [attached fetching]\n"
                    "tell:started train [attached training]\n"
                    "[backoff training]\n"
                    "[backoff uploading]\n"
                    "open beat [attaching uploading]\n"
                    "announce upload [attached uploading]\n"
                    "[attached uploading]\n"
                    "upload [attached uploading]\n"
                    "report [attached reporting]\n");
}

/* Its combiner is gone for good, and the uploaded bytes with it. */
static void test_moved_between_upload_and_report_uploads_again(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    trained(f);
    step(f, AGENT_DONE);
    closed(f);
    step(f, AGENT_AGAIN);
    f->now_ms += 10000;
    while (agent_get_place(f->agent) != AGENT_JOINING) {
        tick(f);
        heartbeat(f, false);
        closed(f);
    }
    f->trace[0] = '\0';
    assigned(f, AGENT_ASSIGNED, "b:2");
    heartbeat(f, true);
    step(f, AGENT_DONE);
    step(f, AGENT_DONE);
    assert_trace(f, "connect open beat [attaching reporting]\n"
                    "announce upload [attached uploading]\n"
                    "report [attached reporting]\n"
                    "tell:completed [attached idle]\n");
}

static void test_report_is_repeated_until_ok(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    trained(f);
    step(f, AGENT_DONE);
    f->trace[0] = '\0';
    for (unsigned i = 0; i < 200; i++) {
        step(f, AGENT_AGAIN);
        do { /* heartbeats in between */
            tick(f);
            if (strstr(f->trace, "beat") != NULL) {
                heartbeat(f, true);
            }
        } while (strstr(f->trace, "report [") == NULL);
        f->trace[0] = '\0';
    }
    step(f, AGENT_DONE);
    assert_trace(f, "tell:completed [attached idle]\n");
}

static void test_same_round_is_not_trained_twice(void **state)
{
    struct fixture *f = *state;

    attach(f);
    assert_int_equal(train(f, "1", "m0"), AGENT_TAKEN);
    assert_int_equal(train(f, "1", "m0"), AGENT_TAKEN_DUPLICATE);
    step(f, AGENT_DONE);
    assert_int_equal(train(f, "1", "m0"), AGENT_TAKEN_DUPLICATE);
    trained(f);
    step(f, AGENT_DONE);
    step(f, AGENT_DONE);
    f->trace[0] = '\0';
    assert_int_equal(train(f, "1", "m0"), AGENT_TAKEN); /* it was lost there: answered from here */
    assert_string_equal(agent_get_kept(f->agent)->update_id, "u-1");
    assert_trace(f, "tell:received upload [attached uploading]\n");
}

static void test_kept_update_of_an_earlier_process_answers(void **state)
{
    struct fixture *f = *state;
    const struct agent_kept kept = {.session_id = "s",
                                    .round_id = "4",
                                    .model_id = "m3",
                                    .update_id = "u-old",
                                    .n_examples = 5};

    agent_set_kept(f->agent, &kept);
    attach(f);
    train(f, "4", "m3");
    assert_trace(f, "tell:received upload [attached uploading]\n");
}

static void test_kept_update_of_another_base_does_not_answer(void **state)
{
    struct fixture *f = *state;
    const struct agent_kept kept = {.session_id = "s",
                                    .round_id = "4",
                                    .model_id = "m2",
                                    .update_id = "u-old",
                                    .n_examples = 5};

    agent_set_kept(f->agent, &kept);
    attach(f);
    train(f, "4", "m3");
    assert_trace(f, "tell:received fetch [attached fetching]\n");
}

static void test_later_round_supersedes_training(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    train(f, "2", "m1");
    assert_int_equal(train(f, "2", "m1"), AGENT_TAKEN_DUPLICATE);
    assert_int_equal(train(f, "1", "m0"), AGENT_TAKEN_STALE);
    step(f, AGENT_CANCELLED);
    assert_trace(f, "tell:received fetch [attached fetching]\n"
                    "tell:started train [attached training]\n"
                    "cancel [attached training]\n"
                    "[attached training]\n"
                    "[attached training]\n"
                    "tell:received fetch [attached fetching]\n");
    assert_string_equal(agent_get_task(f->agent)->round_id, "2");
}

/* The upload of a round that is over must not stand in the way of the next one. */
static void test_later_round_supersedes_a_waiting_upload(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    trained(f);
    step(f, AGENT_AGAIN);
    f->trace[0] = '\0';
    train(f, "2", "m1");
    assert_trace(f, "tell:received fetch [attached fetching]\n");
}

static void test_validation_is_not_superseded(void **state)
{
    struct fixture *f = *state;

    attach(f);
    validate(f, "m1");
    train(f, "2", "m1");
    train(f, "3", "m1");
    assert_int_equal(agent_count_waiting(f->agent), 1);
    assert_string_equal(agent_get_task(f->agent)->model_id, "m1");
    assert_int_equal(agent_get_work(f->agent), AGENT_FETCHING);
    assert_int_equal(agent_get_task(f->agent)->type, AGENT_TASK_VALIDATE);
}

static void test_failed_task_is_dropped_and_the_next_begins(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    validate(f, "m0");
    step(f, AGENT_FAILED);
    step(f, AGENT_DONE);
    step(f, AGENT_NOTHING); /* no scores: nothing to report */
    assert_trace(f, "tell:received fetch [attached fetching]\n"
                    "[attached fetching]\n"
                    "tell:failed tell:received fetch [attached fetching]\n"
                    "tell:started validate [attached validating]\n"
                    "[attached idle]\n");
}

static void test_validation_is_given_up_in_the_end(void **state)
{
    struct fixture *f = *state;

    attach(f);
    validate(f, "m0");
    for (unsigned i = 0; i < 19; i++) {
        step(f, AGENT_AGAIN);
        f->now_ms += 5000;
        agent_tick(f->agent, f->now_ms);
        settle(f);
        heartbeat(f, true);
    }
    f->trace[0] = '\0';
    step(f, AGENT_AGAIN);
    assert_trace(f, "tell:failed [attached idle]\n");
}

static void test_waiting_tasks_are_bounded(void **state)
{
    struct fixture *f = *state;
    char model_id[16];

    attach(f);
    train(f, "1", "m0");
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(model_id, sizeof(model_id), "v%u", i);
        assert_int_equal(validate(f, model_id), AGENT_TAKEN);
    }
    assert_int_equal(agent_count_waiting(f->agent), AGENT_TASKS_MAX);
    train(f, "2", "m1");
    assert_int_equal(agent_count_waiting(f->agent), AGENT_TASKS_MAX);
}

/* -- the end ----------------------------------------------------------------------------------- */

static void test_stop_when_idle_is_at_once(void **state)
{
    struct fixture *f = *state;

    attach(f);
    agent_stop(f->agent, f->now_ms);
    settle(f);
    assert_trace(f, "END [over idle]\n");
}

static void test_stop_cancels_training(void **state)
{
    struct fixture *f = *state;
    const char *round_id = NULL;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    f->trace[0] = '\0';
    agent_stop(f->agent, f->now_ms);
    settle(f);
    assert_int_equal(train(f, "2", "m1"), AGENT_TAKEN); /* and dropped */
    step(f, AGENT_CANCELLED);
    assert_trace(f, "cancel [attached training]\n"
                    "[attached training]\n"
                    "END [over idle]\n");
    assert_int_equal(agent_get_undone(f->agent, &round_id), AGENT_TRAINING);
    assert_string_equal(round_id, "1");
}

static void test_stop_lets_an_upload_finish(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    trained(f);
    f->trace[0] = '\0';
    agent_stop(f->agent, f->now_ms);
    settle(f);
    step(f, AGENT_DONE);
    step(f, AGENT_DONE);
    assert_trace(f, "[attached uploading]\n"
                    "report [attached reporting]\n"
                    "tell:completed END [over idle]\n");
}

static void test_stop_twice_does_not_wait(void **state)
{
    struct fixture *f = *state;

    attach(f);
    train(f, "1", "m0");
    step(f, AGENT_DONE);
    trained(f);
    agent_stop(f->agent, f->now_ms);
    settle(f);
    f->trace[0] = '\0';
    agent_stop(f->agent, f->now_ms);
    settle(f);
    assert_trace(f, "END [over uploading]\n");
}

static void test_stop_while_joining(void **state)
{
    struct fixture *f = *state;

    agent_start(f->agent, f->now_ms);
    agent_stop(f->agent, f->now_ms);
    settle(f);
    assigned(f, AGENT_ASSIGNED, "a:1"); /* too late */
    assert_trace(f, "assign END [over idle]\n"
                    "[over idle]\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calm_round),
        TEST(test_reducer_says_not_yet_then_fails_then_refuses),
        TEST(test_heartbeats_go_on_while_training),
        TEST(test_lost_stream_backs_off_doubling),
        TEST(test_failing_too_long_asks_the_reducer_again_and_moves),
        TEST(test_fixed_combiner_never_asks_the_reducer),
        TEST(test_unanswered_heartbeats_drop_the_connection),
        TEST(test_silent_server_is_given_up_after_the_attach_timeout),
        TEST(test_flapping_stream_backs_off_all_the_same),
        TEST(test_training_survives_a_lost_stream_and_waits_to_upload),
        TEST(test_moved_between_upload_and_report_uploads_again),
        TEST(test_report_is_repeated_until_ok),
        TEST(test_same_round_is_not_trained_twice),
        TEST(test_kept_update_of_an_earlier_process_answers),
        TEST(test_kept_update_of_another_base_does_not_answer),
        TEST(test_later_round_supersedes_training),
        TEST(test_later_round_supersedes_a_waiting_upload),
        TEST(test_validation_is_not_superseded),
        TEST(test_failed_task_is_dropped_and_the_next_begins),
        TEST(test_validation_is_given_up_in_the_end),
        TEST(test_waiting_tasks_are_bounded),
        TEST(test_stop_when_idle_is_at_once),
        TEST(test_stop_cancels_training),
        TEST(test_stop_lets_an_upload_finish),
        TEST(test_stop_twice_does_not_wait),
        TEST(test_stop_while_joining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
