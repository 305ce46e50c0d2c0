/* Where the federation stands, read from the store before the loop runs (round protocol, 7 to 9).
 *
 *   federation row ─▶ running session? ─▶ its newest round:
 *      PLANNED                       the round is open: go on with it
 *      COMMITTED, FAILED, CANCELLED  rows derived from it may be missing: they are written again
 *
 * Fails with FED_E_CORRUPT when a row cannot be read: a hand is needed then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "reducer/reducer_inside.h"
#include "reducer/rows.h"

struct standing {
    json_t *session; /* owned; NULL: none runs */
    json_t *round;   /* owned; its newest one, NULL: none yet */
};

static void drop_standing(struct standing *standing)
{
    json_decref(standing->session);
    json_decref(standing->round);
}

static int find_newest_round(struct store *store,
                             const char *session_id,
                             json_t **ret_round,
                             struct fed_err *err)
{
    struct store_query query = {.limit = 1};
    json_t *rows = NULL;
    int rc;

    if (session_id != NULL) {
        query.n_filters = 1;
        query.filters[0] = (struct store_filter){"session_id", STORE_OP_EQ, session_id};
    }
    rc = store_find(store, STORE_ROUNDS, &query, &rows, NULL, err);
    if (rc < 0) {
        return rc;
    }
    *ret_round = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return 0;
}

/* Ids go on after the newest round's: the federation's row is written at a session's start and end
 * only, a round's insert is what makes its id unique. */
static int find_next_round_id(const struct reducer *reducer, uint64_t *ret_id, struct fed_err *err)
{
    json_t *newest = NULL;
    const int rc = find_newest_round(reducer->store, NULL, &newest, err);
    const uint64_t used = strtoull(rows_get_text(newest, "round_id", "0"), NULL, 10);
    const uint64_t next = rows_get_u64(reducer->journal.federation, "next_round_id", 1);

    json_decref(newest);
    *ret_id = next > used ? next : used + 1;
    return rc;
}

/* Clients that were online when we went away come back by their combiners' Hellos. */
static int forget_attendance(struct reducer *reducer, struct fed_err *err)
{
    struct store_query query = {.n_filters = 1};
    json_t *rows = NULL;
    json_t *row;
    size_t i;
    int rc;

    query.filters[0] = (struct store_filter){"status", STORE_OP_EQ, "online"};
    rc = store_find(reducer->store, STORE_CLIENTS, &query, &rows, NULL, err);
    if (rc < 0) {
        return rc;
    }
    json_array_foreach(rows, i, row)
    {
        const struct attendance_client client = {.client_id = rows_get_text(row, "client_id", ""),
                                                 .status = "offline"};
        attendance_client(&reducer->attendance, &client);
    }
    json_decref(rows);
    return 0;
}

static int read_standing(struct reducer *reducer, struct standing *standing, struct fed_err *err)
{
    const char *session_id = rows_get_text(reducer->journal.federation, "running_session_id", "");
    int rc;

    if (session_id[0] == '\0') {
        return 0;
    }
    rc = store_get(reducer->store, STORE_SESSIONS, session_id, &standing->session, err);
    if (rc == STORE_NOT_FOUND) {
        fed_log(FED_LOG_WARNING, "session", "missing", "session=%s", session_id);
        return 0;
    }
    return rc < 0 ? rc : find_newest_round(reducer->store, session_id, &standing->round, err);
}

/* Bring the session's row up to date with a round that had ended when its derived rows were not yet
 * written: model, session. */
static int derive(struct reducer *reducer, struct standing *standing, struct fed_err *err)
{
    const json_t *run = json_object_get(standing->session, "_run");
    const uint64_t done = rows_get_u64(standing->session, "rounds_done", 0);
    const uint64_t number =
        rows_get_u64(standing->round, "round_number", 0) - rows_get_u64(run, "rounds_before", 0);
    const bool is_committed = strcmp(rows_get_text(standing->round, "phase", ""), "committed") == 0;
    uint64_t failed = rows_get_u64(standing->session, "failed_rounds", 0);
    json_t *changes;
    json_t *model;
    bool is_changed = true;
    int rc;

    if (number != done + 1) {
        return 0;
    }
    failed += strcmp(rows_get_text(standing->round, "phase", ""), "failed") == 0 ? 1 : 0;
    changes = json_pack("{s:I,s:I}", "rounds_done", (json_int_t)number, "failed_rounds",
                        (json_int_t)failed);
    if (is_committed) {
        json_t *base =
            json_pack("{s:O,s:O}", "model_id", json_object_get(standing->round, "model_id"),
                      "_base_round_id", json_object_get(standing->round, "round_id"));
        is_changed = json_object_update(changes, base) == 0;
        json_decref(base);
    }
    is_changed = is_changed && json_object_update(standing->session, changes) == 0;
    json_decref(changes);
    if (!is_changed) {
        return fed_err_set(err, FED_E_NOMEM, "the session's row");
    }
    if (is_committed) {
        model = rows_model_encode(standing->round, standing->session,
                                  rows_get_u64(run, "models_before", 0) + number - failed);
        rc = store_put(reducer->store, STORE_MODELS, model, err);
        json_decref(model);
        if (rc != 0) {
            return rc < 0 ? rc : fed_err_set(err, FED_E_CONFLICT, "model row");
        }
    }
    rc = store_replace(reducer->store, STORE_SESSIONS,
                       rows_get_u64(standing->session, "version", 0), standing->session, err);
    fed_log(FED_LOG_INFO, "round", "derived_again", "round=%s",
            rows_get_text(standing->round, "round_id", ""));
    return rc <= 0 ? rc : fed_err_set(err, FED_E_CONFLICT, "the session's row changed meanwhile");
}

/* When the open round is over, on our clock: a wrong UTC clock costs waiting, never the round. */
static uint64_t deadline_of(const struct reducer *reducer, const json_t *row, uint64_t timeout_ms)
{
    const uint64_t deadline_utc_ms = rows_get_u64(row, "deadline_utc_ms", 0);
    const uint64_t now_utc_ms = fed_clock_utc_ms();
    const uint64_t grace_ms = reducer->settings->reattach_grace_ms < timeout_ms
                                  ? reducer->settings->reattach_grace_ms
                                  : timeout_ms;
    uint64_t left_ms = deadline_utc_ms > now_utc_ms ? deadline_utc_ms - now_utc_ms : 0;

    left_ms = left_ms < grace_ms ? grace_ms : left_ms;
    left_ms = left_ms > timeout_ms ? timeout_ms : left_ms;
    return reducer_now_ms(reducer) + left_ms;
}

static int
list_clients(const json_t *round, char (**ret_ids)[FED_ID_SIZE], size_t *ret_n, struct fed_err *err)
{
    const json_t *clients = json_object_get(round, "clients");
    const size_t n = json_array_size(clients);
    char(*ids)[FED_ID_SIZE] = calloc(n + 1, FED_ID_SIZE);

    if (ids == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "clients");
    }
    for (size_t i = 0; i < n; i++) {
        fed_id_copy(ids[i], rows_get_text(json_array_get(clients, i), "client_id", ""));
    }
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

/* Who has validated the session's newest model already is not asked again. */
static int recall_validations(struct reducer *reducer, const json_t *session, struct fed_err *err)
{
    const char *model_id = rows_get_text(session, "model_id", "");
    struct store_query query = {.n_filters = 2};
    json_t *rows = NULL;
    json_t *row;
    size_t i;
    int rc;

    query.filters[0] =
        (struct store_filter){"session_id", STORE_OP_EQ, rows_get_text(session, "session_id", "")};
    query.filters[1] = (struct store_filter){"model_id", STORE_OP_EQ, model_id};
    rc = store_find(reducer->store, STORE_VALIDATIONS, &query, &rows, NULL, err);
    if (rc < 0) {
        return rc;
    }
    json_array_foreach(rows, i, row)
    {
        federation_validated(reducer->federation, model_id, rows_get_text(row, "_sender_key", ""));
    }
    json_decref(rows);
    return 0;
}

static int go_on(struct reducer *reducer, struct standing *standing, struct fed_err *err)
{
    const bool is_open = strcmp(rows_get_text(standing->round, "phase", ""), "planned") == 0;
    const bool is_terminated =
        strcmp(rows_get_text(standing->session, "status", ""), "Terminated") == 0;
    FED_CLEANUP(round_free_p) struct round *round = NULL;
    struct federation_session session = {0};
    char(*expected)[FED_ID_SIZE] = NULL;
    size_t n_expected = 0;
    int rc = rows_session_decode(standing->session, &session, err);

    if (rc < 0) {
        return rc;
    }
    if (is_open) {
        rc = rows_round_decode(standing->round, &round, err);
    }
    rc = rc < 0 ? rc : list_clients(standing->round, &expected, &n_expected, err);
    if (rc == 0 && round != NULL) {
        round->deadline_ms = deadline_of(reducer, standing->round, session.round_timeout_ms);
    }
    if (rc == 0) {
        reducer->session = json_incref(standing->session);
        fed_log(FED_LOG_INFO, "session", "resumed", "session=%s rounds_done=%u of=%u round=%s",
                session.session_id, session.rounds_done, session.rounds_total,
                round == NULL ? "none" : round->round_id);
        struct federation_standing found = {
            .session = session,
            .round = round,
            .expected = (const char(*)[FED_ID_SIZE])expected,
            .n_expected = n_expected,
            .is_terminated = is_terminated,
        };
        rc = federation_resume(reducer->federation, &found, reducer_now_ms(reducer), err);
        session = found.session; /* taken over, as the round, on success */
        round = found.round;
        rc = rc < 0 ? rc : recall_validations(reducer, standing->session, err);
    }
    federation_session_deinit(&session);
    free(expected);
    return rc;
}

/* A start that was cut off before the session's row said Started, or whose row is gone: it was
 * never answered. */
static int forget_start(struct reducer *reducer, struct fed_err *err)
{
    json_t *row = reducer->journal.federation;
    const uint64_t version = rows_get_u64(row, "version", 0);
    int rc;

    if (json_object_set_new(row, "running_session_id", json_string("")) != 0) {
        return fed_err_set(err, FED_E_NOMEM, "the federation's row");
    }
    rc = store_replace(reducer->store, STORE_FEDERATION, version, row, err);
    return rc <= 0 ? rc : fed_err_set(err, FED_E_CONFLICT, "the federation's row changed");
}

static bool has_begun(const json_t *session)
{
    const char *status = rows_get_text(session, "status", "");

    return json_object_get(session, "_run") != NULL && strcmp(status, "Created") != 0;
}

/* As it was before: the next try reads everything again. */
static void forget_all(struct reducer *reducer)
{
    journal_deinit(&reducer->journal);
    reducer->federation = federation_free(reducer->federation);
    json_decref(reducer->session);
    reducer->session = NULL;
}

int reducer_resume(struct reducer *reducer, struct fed_err *err)
{
    const struct federation_config config = {
        .heartbeat_limit_ms = reducer->settings->heartbeat_limit_ms,
        .reattach_grace_ms = reducer->settings->reattach_grace_ms,
        .combiner_grace_ms = reducer->settings->combiner_grace_ms,
        .close_timeout_ms = reducer->settings->close_timeout_ms,
        .examples_max = reducer->settings->examples_max,
        .version = CONFED_VERSION,
    };
    struct federation_config named = config;
    struct standing standing = {0};
    char boot_id[FED_UUID_SIZE];
    uint64_t next_round_id = 1;
    int rc = fed_uuid_new(boot_id, err);

    fed_id_copy(named.boot_id, rc < 0 ? "" : boot_id);
    rc = rc < 0 ? rc : journal_open(&reducer->journal, reducer->store, err);
    rc = rc < 0 ? rc : find_next_round_id(reducer, &next_round_id, err);
    rc = rc < 0 ? rc
                : federation_new(&named, next_round_id, reducer_now_ms(reducer),
                                 &reducer->federation, err);
    rc = rc < 0 ? rc : read_standing(reducer, &standing, err);
    if (rc == 0 && has_begun(standing.session)) {
        if (standing.round != NULL &&
            strcmp(rows_get_text(standing.round, "phase", ""), "planned") != 0) {
            rc = derive(reducer, &standing, err);
        }
        rc = rc < 0 ? rc : go_on(reducer, &standing, err);
    } else if (rc == 0 &&
               rows_get_text(reducer->journal.federation, "running_session_id", "")[0] != '\0') {
        rc = forget_start(reducer, err);
    }
    rc =
        rc < 0 ? rc : forget_attendance(reducer, err); /* begins to write: the last that can fail */
    drop_standing(&standing);
    if (rc < 0) {
        forget_all(reducer);
    }
    return rc;
}
