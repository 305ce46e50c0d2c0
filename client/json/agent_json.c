#include "client/json/agent_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/cleanup.h"

#define EPOCHS_MAX 1000.0
#define BATCH_MAX  1024.0
#define LR_MAX     1000.0

static inline void decref_p(json_t **json)
{
    json_decref(*json);
}

static json_t *decode(struct fed_view text, struct fed_err *err)
{
    json_error_t error;
    json_t *json =
        json_loadb(text.data == NULL ? "" : text.data, text.size, JSON_REJECT_DUPLICATES, &error);

    if (json == NULL) {
        (void)!fed_err_set(err, FED_E_INVALID, "no JSON: line %d, column %d: %s", error.line,
                           error.column, error.text);
        return NULL;
    }
    if (!json_is_object(json)) {
        json_decref(json);
        (void)!fed_err_set(err, FED_E_INVALID, "JSON, but not an object");
        return NULL;
    }
    return json;
}

/* Print and free the object. Keys stay in the order in which they were put. */
static char *encode(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(10));

    json_decref(json);
    return text;
}

static bool get_number(const json_t *object, const char *key, double *ret_value)
{
    const json_t *json = json_object_get(object, key);

    if (json_is_number(json)) {
        *ret_value = json_number_value(json);
        return true;
    }
    if (json_is_string(json)) {
        char *end = NULL;
        const double value = strtod(json_string_value(json), &end);
        if (end != json_string_value(json) && *end == '\0') {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* An id, as text or as a whole number. False when it is there but is none. */
static bool get_id(const json_t *object, const char *key, char ret_id[FED_ID_SIZE])
{
    const json_t *json = json_object_get(object, key);
    char text[32];

    if (json == NULL || json_is_null(json)) {
        return true;
    }
    if (json_is_integer(json)) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(json));
        fed_id_copy(ret_id, text);
        return fed_id_is_valid(ret_id);
    }
    if (!json_is_string(json) || !fed_id_is_valid(json_string_value(json))) {
        return false;
    }
    fed_id_copy(ret_id, json_string_value(json));
    return true;
}

/* -- tasks ------------------------------------------------------------------------------------- */

static int read_setting(const json_t *settings,
                        const char *const names[2],
                        double max,
                        double *ret_value,
                        struct fed_err *err)
{
    for (size_t i = 0; i < 2; i++) {
        const json_t *json = json_object_get(settings, names[i]);
        if (json == NULL || json_is_null(json)) {
            continue;
        }
        if (!get_number(settings, names[i], ret_value) || !(*ret_value > 0) || *ret_value > max) {
            return fed_err_set(err, FED_E_INVALID,
                               "client_settings.%s must be a number above 0, at most %g", names[i],
                               max);
        }
        return 0;
    }
    return 0;
}

static int read_settings(struct agent_task *task, const json_t *settings, struct fed_err *err)
{
    double epochs = 0;
    double batch = 0;
    int rc;

    rc = read_setting(settings, (const char *const[]){"epochs", "local_epochs"}, EPOCHS_MAX,
                      &epochs, err);
    if (rc == 0) {
        rc = read_setting(settings, (const char *const[]){"batch", "batch_size"}, BATCH_MAX, &batch,
                          err);
    }
    if (rc == 0) {
        rc = read_setting(settings, (const char *const[]){"lr", "learning_rate"}, LR_MAX, &task->lr,
                          err);
    }
    task->epochs = (uint32_t)epochs;
    task->batch = (uint32_t)batch;
    return rc;
}

int agent_json_read_task(struct agent_task *task, struct fed_err *err)
{
    FED_CLEANUP(decref_p) json_t *json = NULL;
    const json_t *settings;
    double number = 0;

    if (task->type == AGENT_TASK_VALIDATE && (task->data == NULL || task->data[0] == '\0')) {
        return 0;
    }
    json = decode(fed_view_str(task->data == NULL ? "" : task->data), err);
    if (json == NULL) {
        return fed_err_wrap(err, -FED_E_INVALID, "task data");
    }
    if (!get_id(json, "round_id", task->round_id) ||
        (task->session_id[0] == '\0' && !get_id(json, "session_id", task->session_id))) {
        return fed_err_set(err, FED_E_INVALID, "task data: round_id or session_id is no id");
    }
    if (task->type == AGENT_TASK_TRAIN && task->round_id[0] == '\0') {
        return fed_err_set(err, FED_E_INVALID, "task data: no round_id");
    }
    if (get_number(json, "round_number", &number) && number >= 1 && number < 1e15) {
        task->round_number = (uint64_t)number;
    }
    settings = json_object_get(json, "client_settings");
    return json_is_object(settings) ? read_settings(task, settings, err) : 0;
}

/* -- the reducer ------------------------------------------------------------------------------- */

char *agent_json_join(const char *name, const char *client_id, const char *preferred_combiner)
{
    const char *preferred = preferred_combiner[0] == '\0' ? NULL : preferred_combiner;

    return encode(json_pack("{s:s, s:s, s:s?, s:s}", "name", name, "client_id", client_id,
                            "preferred_combiner", preferred, "package", "local"));
}

int agent_json_read_joined(struct fed_view body,
                           struct agent_joined *ret_joined,
                           struct fed_err *err)
{
    FED_CLEANUP(decref_p) json_t *json = decode(body, err);
    const char *host;
    double port = 0;

    if (json == NULL) {
        return -FED_E_INVALID;
    }
    host = json_string_value(json_object_get(json, "host"));
    if (host == NULL || host[0] == '\0' || strlen(host) >= sizeof(ret_joined->host)) {
        return fed_err_set(err, FED_E_INVALID, "the answer names no host");
    }
    if (!get_number(json, "port", &port) || port < 1 || port > 65535) {
        return fed_err_set(err, FED_E_INVALID, "the answer names no port");
    }
    (void)snprintf(ret_joined->host, sizeof(ret_joined->host), "%s", host);
    ret_joined->port = (uint16_t)port;
    return 0;
}

void agent_json_read_message(struct fed_view body, char *ret_text, size_t text_size)
{
    FED_CLEANUP(decref_p) json_t *json = decode(body, NULL);
    const char *message = json == NULL ? NULL : json_string_value(json_object_get(json, "message"));

    (void)snprintf(ret_text, text_size, "%s", message == NULL ? "" : message);
}

/* -- reports ----------------------------------------------------------------------------------- */

char *agent_json_meta(const struct agent_kept *kept,
                      const struct agent_times *times,
                      const char *task_data)
{
    json_t *training = json_pack("{s:I}", "num_examples", (json_int_t)kept->n_examples);

    if (training != NULL && kept->loss >= 0) {
        (void)json_object_set_new(training, "train_loss", json_real(kept->loss));
    }
    return encode(json_pack("{s:f, s:o, s:f, s:f, s:f, s:s*}", "exec_training", kept->train_s,
                            "training_metadata", training, "processing_time", times->processing_s,
                            "upload_model", times->upload_s, "fetch_model", times->fetch_s,
                            "config", task_data));
}

char *agent_json_scores(const struct agent_score *scores, size_t n_scores)
{
    json_t *json = json_object();

    for (size_t i = 0; i < n_scores; i++) {
        (void)json_object_set_new(json, scores[i].name, json_real(scores[i].value));
    }
    return encode(json);
}

char *agent_json_about(const struct agent_task *task, const char *update_id, const char *meta)
{
    json_t *json = json_pack("{s:s, s:s, s:s}", "modelId", task->model_id, "correlationId",
                             task->correlation_id, "sessionId", task->session_id);

    if (task->round_id[0] != '\0') {
        (void)json_object_set_new(json, "roundId", json_string(task->round_id));
    }
    if (update_id != NULL) {
        (void)json_object_set_new(json, "modelUpdateId", json_string(update_id));
    }
    if (meta != NULL) {
        (void)json_object_set_new(json, "meta", json_string(meta));
    }
    return encode(json);
}

char *agent_json_ready(const char *client_id, const char *combiner, long pid)
{
    return encode(json_pack("{s:s, s:s, s:I}", "client_id", client_id, "combiner", combiner, "pid",
                            (json_int_t)pid));
}

/* -- the kept update --------------------------------------------------------------------------- */

char *agent_json_kept(const struct agent_kept *kept)
{
    return encode(
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f}", "session_id", kept->session_id,
                  "round_id", kept->round_id, "model_id", kept->model_id, "update_id",
                  kept->update_id, "num_examples", (json_int_t)kept->n_examples, "size_bytes",
                  (json_int_t)kept->size_bytes, "loss", kept->loss, "train_s", kept->train_s));
}

int agent_json_read_kept(struct fed_view text, struct agent_kept *ret_kept, struct fed_err *err)
{
    FED_CLEANUP(decref_p) json_t *json = decode(text, err);
    struct agent_kept kept = {0};
    double n_examples = 0;
    double size_bytes = 0;

    if (json == NULL) {
        return -FED_E_INVALID;
    }
    if (!get_id(json, "session_id", kept.session_id) || !get_id(json, "round_id", kept.round_id) ||
        !get_id(json, "model_id", kept.model_id) || !get_id(json, "update_id", kept.update_id) ||
        kept.round_id[0] == '\0' || kept.model_id[0] == '\0' || kept.update_id[0] == '\0') {
        return fed_err_set(err, FED_E_INVALID, "an id is missing or malformed");
    }
    if (!get_number(json, "num_examples", &n_examples) || n_examples < 1 || n_examples > 1e15 ||
        !get_number(json, "size_bytes", &size_bytes) || size_bytes < 1 || size_bytes > 1e15 ||
        !get_number(json, "loss", &kept.loss) || !get_number(json, "train_s", &kept.train_s)) {
        return fed_err_set(err, FED_E_INVALID, "a number is missing or out of range");
    }
    kept.n_examples = (uint64_t)n_examples;
    kept.size_bytes = (uint64_t)size_bytes;
    *ret_kept = kept;
    return 0;
}
