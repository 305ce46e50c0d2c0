/* The rows of sessions, and what derives from them: models and runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "reducer/rows.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* A copy of a value, null where there is none. */
static json_t *copy_or_null(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return value == NULL ? json_null() : json_deep_copy(value);
}

json_t *rows_model_encode(const json_t *round, const json_t *session, uint64_t index)
{
    const json_t *run = json_object_get(session, "_run");
    const char *prefix = rows_get_text(run, "model_name_prefix", "");
    char name[FED_LINK_TEXT_SIZE + 24];
    json_t *row = json_object();

    (void)snprintf(name, sizeof(name), "%s_%llu", prefix, (unsigned long long)index);
    (void)json_object_set_new(row, "model", copy_or_null(round, "model_id"));
    (void)json_object_set_new(row, "model_id", copy_or_null(round, "model_id"));
    (void)json_object_set_new(row, "name", prefix[0] == '\0' ? json_null() : rows_text(name));
    (void)json_object_set_new(row, "parent_model", copy_or_null(round, "base_model_id"));
    (void)json_object_set_new(row, "session_id", copy_or_null(round, "session_id"));
    (void)json_object_set_new(row, "sha256", copy_or_null(round, "model_sha256"));
    (void)json_object_set_new(row, "size_bytes", copy_or_null(round, "model_size_bytes"));
    (void)json_object_set_new(row, "round_id", copy_or_null(round, "round_id"));
    (void)json_object_set_new(row, "round_number", copy_or_null(round, "round_number"));
    (void)json_object_set_new(row, "n_tensors",
                              number(json_array_size(json_object_get(round, "scale_bits"))));
    (void)json_object_set_new(row, "n_elements", copy_or_null(round, "n_elements"));
    return row;
}

json_t *rows_session_start(const json_t *session, const struct rows_run *run)
{
    json_t *changes =
        json_pack("{s:s,s:s,s:s,s:I,s:i,s:i,s:b}", "status", "Started", "model_id", run->model_id,
                  "_base_round_id", "", "rounds_total", (json_int_t)run->rounds, "rounds_done", 0,
                  "failed_rounds", 0, "stopping", 0);
    json_t *about = json_pack(
        "{s:s,s:s,s:o,s:I,s:I,s:I,s:I}", "run_id", run->run_id, "model_id", run->model_id,
        "model_name_prefix", rows_text(run->model_name_prefix), "rounds_total",
        (json_int_t)run->rounds, "rounds_before", (json_int_t)run->rounds_before, "models_before",
        (json_int_t)run->models_before, "round_timeout_s", (json_int_t)run->round_timeout_s);

    if (changes == NULL || about == NULL) {
        json_decref(changes);
        json_decref(about);
        return NULL;
    }
    (void)json_object_set_new(about, "client_ids",
                              run->client_ids == NULL ? json_null()
                                                      : json_deep_copy(run->client_ids));
    (void)json_object_set_new(changes, "_run", about);
    if (rows_get_text(session, "seed_model_id", "")[0] == '\0') {
        (void)json_object_set_new(changes, "seed_model_id", json_string(run->model_id));
    }
    return changes;
}

json_t *rows_session_progress(const struct federation_session *session)
{
    return json_pack("{s:s,s:s,s:i,s:i,s:b}", "model_id", session->base_model_id, "_base_round_id",
                     session->base_round_id, "rounds_done", (int)session->rounds_done,
                     "failed_rounds", (int)session->failed_rounds, "stopping",
                     session->is_stopping ? 1 : 0);
}

json_t *rows_session_end(const struct federation_session *session,
                         const json_t *row,
                         bool is_terminated,
                         uint64_t now_utc_ms)
{
    json_t *changes = rows_session_progress(session);
    json_t *config = json_deep_copy(json_object_get(row, "session_config"));

    if (config != NULL) {
        (void)json_object_set_new(config, "model_id", json_string(session->base_model_id));
        (void)json_object_set_new(changes, "session_config", config);
    }
    (void)json_object_set_new(changes, "status",
                              json_string(is_terminated ? "Terminated" : "Finished"));
    (void)json_object_set_new(changes, "_ended_utc_ms", number(now_utc_ms));
    return changes;
}

static int decode_client_ids(const json_t *list, struct federation_session *session)
{
    const size_t n = json_array_size(list);

    if (n == 0) {
        return 0;
    }
    session->client_ids = calloc(n, FED_ID_SIZE);
    if (session->client_ids == NULL) {
        return -FED_E_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_array_get(list, i));
        if (id == NULL || !fed_id_is_valid(id)) {
            return -FED_E_CORRUPT;
        }
        fed_id_copy(session->client_ids[session->n_client_ids++], id);
    }
    return 0;
}

int rows_session_decode(const json_t *row,
                        struct federation_session *ret_session,
                        struct fed_err *err)
{
    const json_t *config = json_object_get(row, "session_config");
    const json_t *run = json_object_get(row, "_run");
    const json_t *buffer_size = json_object_get(config, "buffer_size");
    const char *session_id = rows_get_text(row, "session_id", "");
    const char *model_id = rows_get_text(row, "model_id", "");
    struct federation_session session = {
        .seed = rows_get_u64(config, "seed", 0),
        .rounds_total = (uint32_t)rows_get_u64(run, "rounds_total", 0),
        .rounds_before = (uint32_t)rows_get_u64(run, "rounds_before", 0),
        .rounds_done = (uint32_t)rows_get_u64(row, "rounds_done", 0),
        .failed_rounds = (uint32_t)rows_get_u64(row, "failed_rounds", 0),
        .round_timeout_ms = rows_get_u64(run, "round_timeout_s", 0) * 1000,
        .buffer_size = json_is_integer(buffer_size) ? json_integer_value(buffer_size) : -1,
        .clients_required = (uint32_t)rows_get_u64(config, "clients_required", 1),
        .clients_per_round = (uint32_t)rows_get_u64(config, "clients_per_round", 0),
        .is_validating = json_is_true(json_object_get(config, "validate")),
        .is_stopping = json_is_true(json_object_get(row, "stopping")),
    };
    int rc;

    if (!fed_id_is_valid(session_id) || !fed_id_is_valid(model_id) ||
        session.round_timeout_ms == 0) {
        return fed_err_set(err, FED_E_CORRUPT, "the row of session %.128s does not say how to run",
                           session_id);
    }
    fed_id_copy(session.session_id, session_id);
    fed_id_copy(session.base_model_id, model_id);
    (void)snprintf(session.name, sizeof(session.name), "%s", rows_get_text(row, "name", ""));
    (void)snprintf(session.base_round_id, sizeof(session.base_round_id), "%s",
                   rows_get_text(row, "_base_round_id", ""));
    (void)snprintf(session.model_name_prefix, sizeof(session.model_name_prefix), "%s",
                   rows_get_text(run, "model_name_prefix", ""));
    rc = decode_client_ids(json_object_get(run, "client_ids"), &session);
    if (rc < 0) {
        federation_session_deinit(&session);
        return fed_err_set(err, (enum fed_code) - rc, "the client_ids of session %s", session_id);
    }
    *ret_session = session;
    return 0;
}

json_t *rows_run_encode(const json_t *session)
{
    const json_t *run = json_object_get(session, "_run");
    json_t *row = json_object();

    (void)json_object_set_new(row, "run_id", copy_or_null(run, "run_id"));
    (void)json_object_set_new(row, "session_id", copy_or_null(session, "session_id"));
    (void)json_object_set_new(row, "model_id", copy_or_null(run, "model_id"));
    (void)json_object_set_new(row, "rounds", copy_or_null(run, "rounds_total"));
    (void)json_object_set_new(row, "round_timeout", copy_or_null(run, "round_timeout_s"));
    (void)json_object_set_new(row, "completed_at", json_null());
    (void)json_object_set_new(row, "completed_at_model_id", json_null());
    return row;
}

json_t *rows_run_end(const json_t *session, const char *model_id, uint64_t now_utc_ms)
{
    json_t *row = rows_run_encode(session);

    (void)json_object_set_new(row, "completed_at", number(now_utc_ms));
    (void)json_object_set_new(row, "completed_at_model_id", json_string(model_id));
    return row;
}
