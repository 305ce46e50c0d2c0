/* reducer/: sessions and rounds by a whole reducer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/model/npz.h"
#include "reducer/blob/blob.h"
#include "tests/unit/reducer/reducer_fixture.h"

static bool is_idle(const json_t *live)
{
    return strcmp(text_of(live, "state"), "idle") == 0;
}

static bool is_in_trouble(const json_t *live)
{
    return json_array_size(json_object_get(live, "trouble")) > 0;
}

static bool is_back(const json_t *live)
{
    const json_t *combiner = json_array_get(json_object_get(live, "combiners"), 0);

    return json_integer_value(json_object_get(combiner, "clients")) == FAKE_CLIENTS;
}

struct sum {
    double values[FAKE_PARAMS];
    size_t n;
};

static int
take_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    struct sum *sum = arg;

    (void)index;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        sum->values[sum->n++] = values[i];
    }
    return 0;
}

/* The model's values are the seed's, each moved by `moved`. */
static void check_model(struct fixture *fix, const char *model_id, double moved)
{
    const double seed[FAKE_PARAMS] = {0, 0.25, 0.5, 0.75, -1, -2, 3, 4, 5, 6};
    const struct fed_npz_limits limits = {1 << 20, 1000};
    struct fed_npz *npz = NULL;
    struct sum sum = {0};
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/check.npz", fix->folder);
    assert_int_equal(blob_get_file(fix->host->blobs, model_id, path, NULL), 0);
    assert_int_equal(fed_npz_open(path, &limits, &npz, NULL), 0);
    for (size_t t = 0; t < FAKE_TENSORS; t++) {
        assert_int_equal(fed_npz_read(npz, t, take_values, &sum, NULL), 0);
    }
    (void)fed_npz_free(npz);
    (void)unlink(path);
    assert_int_equal(sum.n, FAKE_PARAMS);
    for (size_t i = 0; i < FAKE_PARAMS; i++) {
        assert_int_equal((int)(4 * sum.values[i]),
                         (int)(4 * (seed[i] + moved))); /* multiples of 1/4: exact */
    }
}

/* -- what the fake combiner has seen ------------------------------------------------------------
 */

static bool is_welcome(const struct fake_counters *counters)
{
    return counters->n_welcomes > 0;
}

static bool has_plan(const struct fake_counters *counters)
{
    return counters->n_plans > 0;
}

static bool has_one_round(const struct fake_counters *counters)
{
    return counters->n_committed == 1;
}

static bool has_two_rounds(const struct fake_counters *counters)
{
    return counters->n_committed == 2;
}

static bool has_failed(const struct fake_counters *counters)
{
    return counters->n_failed == 1;
}

static bool is_cancelled(const struct fake_counters *counters)
{
    return counters->n_cancelled == 1;
}

static bool has_model(const struct fake_counters *counters)
{
    return counters->n_models == 1;
}

static bool are_records_acked(const struct fake_counters *counters)
{
    return counters->record_acked == 3;
}

static bool is_cut(const struct fake_counters *counters)
{
    return counters->n_link_ends > 0;
}

static void attach(struct fixture *fix)
{
    fake_start(&fix->fake, "combiner-1", reducer_get_rpc_port(fix->reducer), fix->folder);
    fake_await(&fix->fake, is_welcome);
}

/* A reducer that runs, with a seed and a session to be started. */
static void begin_with_session(struct fixture *fix)
{
    open_reducer(fix);
    put_seed(fix);
    put_session(fix, 30);
    begin_reducer(fix);
}

/* The session's first round of so many is open: its combiner has the plan and says nothing. */
static void hold_round(struct fixture *fix, int rounds)
{
    fix->fake.is_holding = true;
    attach(fix);
    start_well(fix, rounds);
    fake_await(&fix->fake, has_plan);
}

/* What was held comes, and the reducer ends: the store is another's. */
static void end_outdone(struct fixture *fix)
{
    fake_do(&fix->fake, fake_admit_all);
    (void)pthread_join(fix->thread, NULL);
    assert_int_equal(fix->status, FED_EXIT_FAILED);
}

/* -- tests --------------------------------------------------------------------------------------
 */

static void check_rounds(struct fixture *fix)
{
    json_t *first = get_row(fix, STORE_ROUNDS, "1");
    json_t *second = get_row(fix, STORE_ROUNDS, "2");
    const json_t *entry = json_array_get(json_object_get(first, "entries"), 1);

    assert_string_equal(text_of(first, "status"), "Finished");
    assert_string_equal(text_of(first, "phase"), "committed");
    assert_string_equal(text_of(first, "base_model_id"), "seed");
    assert_string_equal(text_of(second, "base_model_id"), text_of(first, "model_id"));
    assert_int_equal(json_array_size(json_object_get(first, "entries")), 2);
    assert_string_equal(text_of(entry, "client_id"), "combiner-1-client-1");
    assert_string_equal(text_of(entry, "update_id"), "u-1-1");
    assert_int_equal(json_integer_value(json_object_get(entry, "examples")), FAKE_EXAMPLES);
    assert_int_equal(json_array_size(json_object_get(first, "combiners")), 1);
    assert_int_equal(json_integer_value(json_object_get(second, "round_number")), 2);
    check_model(fix, text_of(first, "model_id"), FAKE_STEP);
    check_model(fix, text_of(second, "model_id"), 2 * FAKE_STEP);
    json_decref(first);
    json_decref(second);
}

static void check_ended(struct fixture *fix, const char *status, int rounds_done, int failed_rounds)
{
    json_t *session = get_row(fix, STORE_SESSIONS, "session-1");
    json_t *federation = get_row(fix, STORE_FEDERATION, "federation");

    assert_string_equal(text_of(session, "status"), status);
    assert_int_equal(json_integer_value(json_object_get(session, "rounds_done")), rounds_done);
    assert_int_equal(json_integer_value(json_object_get(session, "failed_rounds")), failed_rounds);
    assert_string_equal(text_of(federation, "running_session_id"), "");
    json_decref(session);
    json_decref(federation);
}

static void check_validations(struct fixture *fix)
{
    json_t *live;
    const json_t *validation;

    fake_do(&fix->fake, fake_send_validations);
    fake_await(&fix->fake, are_records_acked);
    assert_int_equal(count_rows(fix, STORE_VALIDATIONS), 2);
    live = await_live(fix, is_idle);
    validation = json_object_get(live, "validation");
    assert_int_equal(json_integer_value(json_object_get(validation, "received")), 2);
    json_decref(live);
}

static void runs_two_rounds(void **state)
{
    struct fixture *fix = *state;
    struct fake_counters seen;
    char message[256];
    json_t *live;
    json_t *model;

    open_reducer(fix);
    put_seed(fix);
    begin_reducer(fix);
    assert_int_equal(start_session(fix, 2, message, sizeof(message)), 400);
    assert_string_equal(message, "Session with specified ID does not exist");
    put_session(fix, 30);
    assert_int_equal(start_session(fix, 2, message, sizeof(message)), 400);
    assert_string_equal(message,
                        "Number of available clients is lower than the required minimum of 2");
    attach(fix);
    start_well(fix, 2);
    fake_await(&fix->fake, has_two_rounds);
    live = await_live(fix, is_idle);
    json_decref(live);
    check_rounds(fix);
    check_ended(fix, "Finished", 2, 0);
    seen = fake_look(&fix->fake);
    assert_int_equal(seen.n_verdicts[FED_VERDICT_ACCEPTED], 2);
    assert_true(seen.has_settings);
    model = get_row(fix, STORE_MODELS, seen.model_id);
    assert_string_equal(text_of(model, "name"), "m_2");
    assert_string_equal(text_of(model, "session_id"), "session-1");
    json_decref(model);
    check_validations(fix);
    fake_do(&fix->fake, fake_get_model);
    fake_await(&fix->fake, has_model);
    assert_true(fake_look(&fix->fake).model_bytes > (uint64_t)FAKE_PARAMS * 4);
    assert_true(fake_look(&fix->fake).is_model_right); /* of the round that was made here */
    fake_stop(&fix->fake);
    end_reducer(fix);
    assert_int_equal(fix->status, FED_EXIT_OK);
}

static void continues_a_finished_session(void **state)
{
    struct fixture *fix = *state;
    json_t *round;

    begin_with_session(fix);
    attach(fix);
    start_well(fix, 1);
    fake_await(&fix->fake, has_one_round);
    json_decref(await_live(fix, is_idle));
    start_well(fix, 1);
    fake_await(&fix->fake, has_two_rounds);
    json_decref(await_live(fix, is_idle));
    round = get_row(fix, STORE_ROUNDS, "2");
    assert_int_equal(json_integer_value(json_object_get(round, "round_number")), 2);
    check_model(fix, text_of(round, "model_id"), 2 * FAKE_STEP);
    assert_int_equal(count_rows(fix, STORE_RUNS), 2);
    json_decref(round);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

static void goes_on_with_a_planned_round(void **state)
{
    struct fixture *fix = *state;
    json_t *round;

    open_reducer(fix);
    put_seed(fix);
    put_session(fix, 60);
    begin_reducer(fix);
    hold_round(fix, 2);
    end_reducer(fix); /* the round stays open */
    fake_await(&fix->fake, is_cut);
    fake_stop(&fix->fake);

    open_reducer(fix);
    round = get_row(fix, STORE_ROUNDS, "1");
    assert_string_equal(text_of(round, "phase"), "planned");
    json_decref(round);
    begin_reducer(fix);
    attach(fix);
    fake_await(&fix->fake, has_two_rounds);
    json_decref(await_live(fix, is_idle));
    check_rounds(fix);
    check_ended(fix, "Finished", 2, 0);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

/* A store that is away for a while: its operations, with a switch in front. */
static const struct store_ops *real_ops;
static struct store_ops faulty_ops;
static atomic_bool is_store_away;

static int
faulty_insert(struct store *self, enum store_collection in, json_t *document, struct fed_err *err)
{
    return atomic_load(&is_store_away) ? fed_err_set(err, FED_E_UNAVAILABLE, "no store today")
                                       : real_ops->insert(self, in, document, err);
}

static int faulty_replace(struct store *self,
                          enum store_collection in,
                          uint64_t version,
                          json_t *document,
                          struct fed_err *err)
{
    return atomic_load(&is_store_away) ? fed_err_set(err, FED_E_UNAVAILABLE, "no store today")
                                       : real_ops->replace(self, in, version, document, err);
}

static void waits_for_the_store(void **state)
{
    struct fixture *fix = *state;
    json_t *live;
    const char *trouble;

    open_reducer(fix);
    put_seed(fix);
    put_session(fix, 30);
    real_ops = fix->host->store->ops;
    faulty_ops = *real_ops;
    faulty_ops.insert = faulty_insert;
    faulty_ops.replace = faulty_replace;
    fix->host->store->ops = &faulty_ops;
    begin_reducer(fix);
    hold_round(fix, 1);
    atomic_store(&is_store_away, true);
    fake_do(&fix->fake, fake_admit_all);
    live = await_live(fix, is_in_trouble);
    trouble = json_string_value(json_array_get(json_object_get(live, "trouble"), 0));
    assert_non_null(strstr(trouble, "no store today"));
    assert_int_equal(fake_look(&fix->fake).n_committed, 0);
    json_decref(live);
    atomic_store(&is_store_away, false);
    fake_await(&fix->fake, has_one_round);
    live = await_live(fix, is_idle);
    assert_int_equal(json_array_size(json_object_get(live, "trouble")), 0);
    json_decref(live);
    check_ended(fix, "Finished", 1, 0);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

static void asks_for_a_corrupt_partial_again(void **state)
{
    struct fixture *fix = *state;

    begin_with_session(fix);
    fix->fake.is_corrupting = true;
    attach(fix);
    start_well(fix, 1);
    fake_await(&fix->fake, has_one_round);
    assert_int_equal(fake_look(&fix->fake).n_verdicts[FED_VERDICT_CORRUPT], 1);
    assert_int_equal(fake_look(&fix->fake).n_verdicts[FED_VERDICT_ACCEPTED], 1);
    check_model(fix, fake_look(&fix->fake).model_id, FAKE_STEP);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

static void fails_a_round_without_quorum(void **state)
{
    struct fixture *fix = *state;
    json_t *round;
    const json_t *refused;

    open_reducer(fix);
    put_seed(fix);
    put_session(fix, 3);
    begin_reducer(fix);
    fix->fake.is_holding = true;
    fix->fake.is_silent = true;
    attach(fix);
    start_well(fix, 1);
    fake_await(&fix->fake, has_plan);
    fake_do(&fix->fake, fake_refuse_first);
    fake_await(&fix->fake, has_failed);
    json_decref(await_live(fix, is_idle));
    round = get_row(fix, STORE_ROUNDS, "1");
    refused = json_array_get(json_object_get(round, "refused"), 0);
    assert_string_equal(text_of(round, "status"), "Failed");
    assert_string_equal(text_of(refused, "client"), "combiner-1-client-0");
    assert_string_equal(text_of(refused, "reason"), "not_finite");
    assert_string_equal(text_of(refused, "detail"), "tensor 1 holds a NaN");
    assert_non_null(strstr(text_of(round, "failure"), "0 of 2 required updates"));
    json_decref(round);
    check_ended(fix, "Finished", 1, 1);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

static void stops_a_session_at_once(void **state)
{
    struct fixture *fix = *state;
    json_t *round;
    int status = 0;

    begin_with_session(fix);
    hold_round(fix, 3);
    json_decref(ask(fix, HOST_SESSION_STOP,
                    json_pack("{s:s,s:b}", "session_id", "session-1", "now", 1), &status));
    assert_int_equal(status, 200);
    fake_await(&fix->fake, is_cancelled);
    json_decref(await_live(fix, is_idle));
    round = get_row(fix, STORE_ROUNDS, "1");
    assert_string_equal(text_of(round, "status"), "Terminated");
    json_decref(round);
    check_ended(fix, "Terminated", 1, 0);
    json_decref(ask(fix, HOST_SESSION_STOP,
                    json_pack("{s:s,s:b}", "session_id", "session-1", "now", 1), &status));
    assert_int_equal(status, 400);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

static void gives_way_to_another_reducer(void **state)
{
    struct fixture *fix = *state;
    json_t *round;

    begin_with_session(fix);
    hold_round(fix, 1);
    round = get_row(fix, STORE_ROUNDS, "1");
    (void)json_object_set_new(round, "_epoch", json_integer(99));
    assert_int_equal(store_replace(fix->host->store, STORE_ROUNDS, 1, round, NULL), 0);
    json_decref(round);
    end_outdone(fix);
    fix->reducer = reducer_free(fix->reducer);
    fake_stop(&fix->fake);
}

/* Another reducer has entered this store since: we write nothing more, and end. */
static void writes_nothing_once_another_has_entered(void **state)
{
    struct fixture *fix = *state;
    json_t *federation;
    json_t *round;

    begin_with_session(fix);
    hold_round(fix, 2);
    federation = get_row(fix, STORE_FEDERATION, "federation");
    (void)json_object_set_new(federation, "reducer_epoch", json_integer(99));
    assert_int_equal(store_put(fix->host->store, STORE_FEDERATION, federation, NULL), 0);
    json_decref(federation);
    end_outdone(fix);
    assert_int_equal(count_rows(fix, STORE_ROUNDS), 1);
    round = get_row(fix, STORE_ROUNDS, "1");
    assert_string_equal(text_of(round, "phase"), "planned");
    json_decref(round);
    fix->reducer = reducer_free(fix->reducer);
    fake_stop(&fix->fake);
}

static void lets_the_newest_link_win(void **state)
{
    struct fixture *fix = *state;
    struct fake_combiner again = {0};

    begin_with_session(fix);
    attach(fix);
    fake_start(&again, "combiner-1", reducer_get_rpc_port(fix->reducer), fix->folder);
    fake_await(&again, is_welcome);
    fake_await(&fix->fake, is_cut);
    start_well(fix, 1);
    fake_await(&again, has_one_round);
    assert_int_equal(fake_look(&fix->fake).n_plans, 0);
    json_decref(await_live(fix, is_idle));
    fake_stop(&again);
    fake_stop(&fix->fake);
    end_reducer(fix);
}

/* Each part that may be missing when a start fails: the store, the blobs, a port. */
static void ends_a_start_that_fails(void **state)
{
    struct fixture *fix = *state;
    const struct settings good = fix->settings;
    struct reducer *reducer = NULL;
    struct fed_err err = {0};

    fix->settings.store = "sqlite:/proc/nowhere/confed.db";
    assert_true(reducer_new(&fix->settings, &reducer, &err) < 0);
    fix->settings = good;
    fix->settings.blob = "dir:/proc/nowhere";
    assert_true(reducer_new(&fix->settings, &reducer, &err) < 0);
    fix->settings = good;
    fix->settings.http = "nowhere";
    assert_int_equal(reducer_new(&fix->settings, &reducer, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "nowhere"));
    fix->settings = good;
    open_reducer(fix); /* nothing was left locked */
    assert_true(reducer_new(&fix->settings, &reducer, &err) < 0);
    assert_non_null(strstr(err.msg, "in use"));
    assert_null(reducer);
    fix->reducer = reducer_free(fix->reducer);
}

static void keeps_who_is_there(void **state)
{
    struct fixture *fix = *state;
    json_t *output;
    json_t *live;
    int status = 0;

    open_reducer(fix);
    begin_reducer(fix);
    output =
        ask(fix, HOST_ASSIGN, json_pack("{s:s,s:s}", "client_id", "c-9", "name", "nine"), &status);
    assert_int_equal(status, 203);
    json_decref(output);
    attach(fix);
    output =
        ask(fix, HOST_ASSIGN,
            json_pack("{s:s,s:s,s:s}", "client_id", "c-9", "name", "nine", "package", "remote"),
            &status);
    assert_int_equal(status, 200);
    assert_string_equal(text_of(output, "host"), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(output, "port")), 12080);
    assert_string_equal(text_of(output, "helper_type"), "numpyhelper");
    json_decref(output);
    live = await_live(fix, is_back);
    json_decref(live);
    fake_stop(&fix->fake);
    end_reducer(fix);
    open_reducer(fix); /* never run: it must end all the same */
    fix->reducer = reducer_free(fix->reducer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_two_rounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(continues_a_finished_session, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_with_a_planned_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waits_for_the_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(asks_for_a_corrupt_partial_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fails_a_round_without_quorum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_a_session_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_way_to_another_reducer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_nothing_once_another_has_entered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_the_newest_link_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends_a_start_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_who_is_there, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
