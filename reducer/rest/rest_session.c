/* Sessions: REST validates and inserts them; from then on their rows are the reducer's loop's. */
#include <stdio.h>
#include <string.h>

#include "common/base/rand.h"
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_package.h"

#define AGGREGATOR       "fedavg"
#define COUNT_MAX        1000000 /* clients, updates, rounds */
#define TIMEOUT_MAX      2592000 /* seconds: 30 days */
#define SEED_MAX         (1LL << 53)
#define KWARGS_MAX       65536U /* bytes of JSON */
#define SETTINGS_MAX     16384U /* bytes of JSON */
#define SETTINGS_N       64U
#define WRITE_ATTEMPTS_N 5

/* -- validation ------------------------------------------------------------------------------- */

enum kind {
    KIND_TEXT,
    KIND_INTEGER,
    KIND_FLAG,
    KIND_KWARGS, /* object or text */
    KIND_NONE,   /* only null: not supported */
};

struct field {
    const char *name;
    const char *missing; /* FEDn's text where it is null, false or 0; NULL: may be absent */
    enum kind kind;
    int64_t range[2];
};

/* In the order of FEDn's checks. */
static const struct field fields[] = {
    {"aggregator", "Aggregator is required", KIND_TEXT, {0}},
    {"round_timeout", "Round timeout is required", KIND_INTEGER, {1, TIMEOUT_MAX}},
    {"buffer_size", "Buffer size is required", KIND_INTEGER, {-1, COUNT_MAX}},
    {"model_id", "Model ID is required", KIND_TEXT, {0}},
    {"delete_models_storage", "Delete models storage is required", KIND_FLAG, {0}},
    {"clients_required", "Clients required is required", KIND_INTEGER, {1, COUNT_MAX}},
    {"validate", "Validate is required", KIND_FLAG, {0}},
    {"helper_type", "Helper type is required", KIND_TEXT, {0}},
    {"aggregator_kwargs", NULL, KIND_KWARGS, {0}},
    {"rounds", NULL, KIND_INTEGER, {1, COUNT_MAX}},
    {"requested_clients", NULL, KIND_INTEGER, {0, COUNT_MAX}},
    {"server_functions", NULL, KIND_NONE, {0}},
    {"clients_per_round", NULL, KIND_INTEGER, {0, COUNT_MAX}},
    {"seed", NULL, KIND_INTEGER, {0, SEED_MAX}},
};
#define FIELDS_N (sizeof(fields) / sizeof(fields[0]))

static int fail_field(const char *name, const char *message, struct fed_err *err)
{
    return fed_err_set(err, FED_E_INVALID, "Validation failed for field '%s' with message: %s",
                       name, message);
}

static const struct field *find_field(const char *name)
{
    for (size_t i = 0; i < FIELDS_N; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static bool json_fits(const json_t *value, size_t size_max)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT) <= size_max;
}

/* Copy a field into the configuration, as the type it has; absent: null. */
static int
copy_field(const struct field *field, const json_t *given, json_t *config, struct fed_err *err)
{
    json_t *value = json_object_get(given, field->name);
    const char *text = NULL;
    int64_t number = 0;
    bool flag = false;
    int rc = 0;

    if (value == NULL || json_is_null(value)) {
        return json_object_set_new(config, field->name, json_null());
    }
    switch (field->kind) {
    case KIND_TEXT:
        rc = rest_json_text(given, field->name, FED_ID_SIZE - 1, &text, err);
        break;
    case KIND_INTEGER:
        rc = rest_json_integer(given, field->name, field->range, &number, err);
        return rc < 0 ? rc : json_object_set_new(config, field->name, json_integer(number));
    case KIND_FLAG:
        rc = rest_json_flag(given, field->name, &flag, err);
        break;
    case KIND_KWARGS:
        if ((!json_is_object(value) && !json_is_string(value)) || !json_fits(value, KWARGS_MAX)) {
            rc = fail_field(field->name, "an object or a text of bounded length is expected", err);
        }
        break;
    case KIND_NONE:
        rc = fail_field(field->name, "not supported", err);
        break;
    }
    return rc < 0 ? rc : json_object_set(config, field->name, value);
}

/* What FEDn finds missing: null, and 0 of a number, "" of a text. */
static bool is_missing(const struct field *field, const json_t *config)
{
    const json_t *value = json_object_get(config, field->name);

    return json_is_null(value) || (json_is_integer(value) && json_integer_value(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static int64_t integer_of(const json_t *config, const char *name)
{
    return json_integer_value(json_object_get(config, name));
}

static const char *text_of(const json_t *config, const char *name)
{
    return json_string_value(json_object_get(config, name));
}

/* What must fit together, and what we do not have. */
static int check_config(const json_t *config, struct fed_err *err)
{
    const int64_t quorum = integer_of(config, "clients_required");
    const int64_t buffer = integer_of(config, "buffer_size");
    const int64_t sampled = integer_of(config, "clients_per_round");

    if (strcmp(text_of(config, "aggregator"), AGGREGATOR) != 0) {
        return fail_field("aggregator", "not supported: Confed has " AGGREGATOR, err);
    }
    if (strcmp(text_of(config, "helper_type"), REST_HELPER) != 0) {
        return fail_field("helper_type", "not supported: Confed has " REST_HELPER, err);
    }
    if (!fed_id_is_valid(text_of(config, "model_id"))) {
        return fail_field("model_id", "it can be no model's id", err);
    }
    if (sampled > 0 && quorum > sampled) {
        return fail_field("clients_required", "it must not be above clients_per_round", err);
    }
    if (buffer > 0 && quorum > buffer) {
        return fail_field("clients_required", "it must not be above buffer_size", err);
    }
    return 0;
}

/* The texts that FEDn gives for what is not there. */
static int check_presence(json_t *given, struct fed_err *err)
{
    const char *name;
    json_t *value;

    for (size_t i = 0; i < FIELDS_N; i++) {
        if (fields[i].missing != NULL && json_object_get(given, fields[i].name) == NULL) {
            return fed_err_set(err, FED_E_INVALID, "Class 'SessionConfigDTO' is missing field %s",
                               fields[i].name);
        }
    }
    json_object_foreach(given, name, value)
    {
        if (find_field(name) == NULL) {
            return fed_err_set(err, FED_E_INVALID, "Invalid object");
        }
    }
    return 0;
}

/* A seed that was not given is drawn, and stands in the row: the draw can be repeated. */
static int set_seed(json_t *config, struct fed_err *err)
{
    uint32_t seed = 0;
    int rc;

    if (!json_is_null(json_object_get(config, "seed"))) {
        return 0;
    }
    rc = fed_rand_system(&seed, sizeof(seed), err);
    return rc < 0 ? rc : json_object_set_new(config, "seed", json_integer((json_int_t)seed));
}

static int read_config(json_t *given, json_t *config, struct fed_err *err)
{
    int rc = check_presence(given, err);

    for (size_t i = 0; rc == 0 && i < FIELDS_N; i++) {
        rc = copy_field(&fields[i], given, config, err);
    }
    for (size_t i = 0; rc == 0 && i < FIELDS_N; i++) {
        if (fields[i].missing != NULL && is_missing(&fields[i], config)) {
            rc = fail_field(fields[i].name, fields[i].missing, err);
        }
    }
    if (rc == 0) {
        rc = check_config(config, err);
    }
    return rc < 0 ? rc : set_seed(config, err);
}

/* task_settings: a few names with scalars. */
static int check_settings(json_t *settings, struct fed_err *err)
{
    const char *name;
    json_t *value;

    if (settings == NULL || json_is_null(settings)) {
        return 0;
    }
    if (!json_is_object(settings) || json_object_size(settings) > SETTINGS_N ||
        !json_fits(settings, SETTINGS_MAX)) {
        return fail_field("task_settings", "an object of at most 64 settings is expected", err);
    }
    json_object_foreach(settings, name, value)
    {
        if (json_is_object(value) || json_is_array(value)) {
            return fail_field("task_settings", "numbers, texts and flags are expected", err);
        }
    }
    return 0;
}

/* -- create ----------------------------------------------------------------------------------- */

struct session_input {
    const char *name;
    const char *seed_model_id;
    json_t *config;   /* borrowed from the body */
    json_t *settings; /* likewise, or NULL */
};

static int read_session(json_t *object, struct session_input *input, struct fed_err *err)
{
    static const char *const known[] = {"name",          "seed_model_id", "session_config",
                                        "task_settings", "status",        "session_id"};
    const char *key;
    json_t *value;
    int rc;

    input->config = json_object_get(object, "session_config");
    input->settings = json_object_get(object, "task_settings");
    if (!json_is_object(input->config)) {
        return fed_err_set(err, FED_E_INVALID,
                           "Class 'SessionDTO' is missing field "
                           "session_config");
    }
    json_object_foreach(object, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            is_known = is_known || strcmp(key, known[i]) == 0;
        }
        if (!is_known) {
            return fed_err_set(err, FED_E_INVALID, "Invalid object");
        }
    }
    rc = rest_json_text(object, "name", REST_NAME_MAX, &input->name, err);
    if (rc == 0) {
        rc = rest_json_text(object, "seed_model_id", FED_ID_SIZE - 1, &input->seed_model_id, err);
    }
    return rc < 0 ? rc : check_settings(input->settings, err);
}

/* A new session's row; `config` is taken. */
static json_t *session_row(const struct session_input *input, json_t *config, const char *id)
{
    const char *model_id = text_of(config, "model_id");
    json_t *settings = input->settings == NULL ? json_null() : json_incref(input->settings);

    return json_pack(
        "{s:s,s:s?,s:s,s:s,s:s,s:i,s:i,s:i,s:b,s:o,s:o}", "session_id", id, "name", input->name,
        "seed_model_id", input->seed_model_id == NULL ? model_id : input->seed_model_id, "model_id",
        model_id, "status", "Created", "rounds_total", 0, "rounds_done", 0, "failed_rounds", 0,
        "stopping", 0, "task_settings", settings, "session_config", config);
}

/* The row as the store has it, with its times. */
static int answer_session(struct rest_request *request,
                          int status,
                          const char *session_id,
                          struct fed_err *err)
{
    json_t *document = NULL;
    int rc = store_get(request->shared->host->store, STORE_SESSIONS, session_id, &document, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == 0) {
        rc = rest_answer_json(request, status, rest_json_row(document), err);
    }
    json_decref(document);
    return rc;
}

int rest_session_add(struct rest_request *request, struct fed_err *err)
{
    struct session_input input = {0};
    char session_id[FED_UUID_SIZE];
    json_t *object = NULL;
    json_t *config = json_object();
    json_t *row;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = read_session(object, &input, err);
    }
    if (rc == 0) {
        rc = read_config(input.config, config, err);
    }
    if (rc == 0) {
        rc = fed_uuid_new(session_id, err);
    }
    if (rc < 0) {
        json_decref(config);
        return rc;
    }
    row = session_row(&input, config, session_id);
    rc = row == NULL ? fed_err_set(err, FED_E_NOMEM, "session")
                     : store_insert(request->shared->host->store, STORE_SESSIONS, row, err);
    json_decref(row);
    if (rc > 0) {
        return fed_err_set(err, FED_E_CONFLICT, "a session of that id is there already");
    }
    return rc < 0 ? rc : answer_session(request, 201, session_id, err);
}

/* -- start ------------------------------------------------------------------------------------ */

/* "a,b,c" → ["a","b","c"], blanks around them gone. NULL: one of them is no id. */
static json_t *split_ids(const char *text)
{
    json_t *ids = json_array();

    while (ids != NULL && *text != '\0') {
        const size_t n = strcspn(text, ",");
        size_t first = strspn(text, " ");
        size_t last = n;
        char id[FED_ID_SIZE];
        first = first > n ? n : first;
        while (last > first && text[last - 1] == ' ') {
            last--;
        }
        if (last - first >= FED_ID_SIZE) {
            json_decref(ids);
            return NULL;
        }
        memcpy(id, text + first, last - first);
        id[last - first] = '\0';
        if (!fed_id_is_valid(id) || json_array_append_new(ids, json_string(id)) < 0) {
            json_decref(ids);
            return NULL;
        }
        text += n + (text[n] == ',' ? 1 : 0);
    }
    return ids;
}

static int read_client_ids(json_t *object, json_t *input, struct fed_err *err)
{
    const json_t *value = json_object_get(object, "client_ids");
    const char *text = json_string_value(value);
    json_t *ids;

    if (value == NULL || json_is_null(value) || (text != NULL && *text == '\0')) {
        return 0;
    }
    ids = text == NULL ? NULL : split_ids(text);
    if (ids == NULL) {
        return fed_err_set(err, FED_E_INVALID, "client_ids must be a comma separated string");
    }
    return json_object_set_new(input, "client_ids", ids) < 0 ? fed_err_set(err, FED_E_NOMEM, "ask")
                                                             : 0;
}

/* An integer that is handed on where it is given. */
static int
read_count(json_t *object, const char *name, int64_t max, json_t *input, struct fed_err *err)
{
    const int64_t range[2] = {1, max};
    int64_t value = 0;
    const int rc = rest_json_integer(object, name, range, &value, err);

    if (rc < 0 || value == 0) {
        return rc;
    }
    return json_object_set_new(input, name, json_integer(value)) < 0
               ? fed_err_set(err, FED_E_NOMEM, "ask")
               : 0;
}

static int read_start(json_t *object, json_t *input, struct fed_err *err)
{
    const char *prefix = NULL;
    int rc = read_client_ids(object, input, err);

    if (rc == 0) {
        rc = read_count(object, "rounds", COUNT_MAX, input, err);
    }
    if (rc == 0) {
        rc = read_count(object, "round_timeout", TIMEOUT_MAX, input, err);
    }
    if (rc == 0) {
        rc = rest_json_text(object, "model_name_prefix", FED_ID_SIZE - 1, &prefix, err);
    }
    if (rc == 0 && prefix != NULL && *prefix != '\0') {
        rc = json_object_set_new(input, "model_name_prefix", json_string(prefix));
    }
    return rc;
}

/* The session to start: its id and rounds into `input`. Returns 0 or STORE_NOT_FOUND. */
static int load_start(struct rest_request *request, json_t *input, struct fed_err *err)
{
    const char *id = json_string_value(json_object_get(input, "session_id"));
    json_t *document = NULL;
    json_t *rounds;
    const int rc = fed_id_is_valid(id)
                       ? store_get(request->shared->host->store, STORE_SESSIONS, id, &document, err)
                       : STORE_NOT_FOUND;

    rounds = json_object_get(json_object_get(document, "session_config"), "rounds");
    if (rc == 0 && json_is_integer(rounds) && json_object_get(input, "rounds") == NULL) {
        (void)json_object_set(input, "rounds", rounds);
    }
    json_decref(document);
    return rc;
}

int rest_session_start(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *input;
    const char *id = NULL;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "session_id", FED_ID_SIZE - 1, &id, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (id == NULL || *id == '\0') {
        return rest_refuse(request, 400, "invalid", err, "Session ID is required");
    }
    input = json_pack("{s:s}", "session_id", id); /* the request's from here on */
    rc = rest_ask(request, HOST_SESSION_START, input, NULL, err);
    if (rc == REST_ASK) {
        rc = read_start(object, input, err);
    }
    if (rc == 0) {
        rc = load_start(request, input, err);
    }
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse(request, 400, "not_found", err,
                           "Session with specified ID does not exist");
    }
    return rc < 0 ? rc : REST_ASK;
}

int rest_session_split(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 400, "unsupported", err,
                       "Split learning is not supported: Confed has the aggregator " AGGREGATOR);
}

/* -- change, stop ----------------------------------------------------------------------------- */

static int answer_changed(struct rest_request *request, struct fed_err *err)
{
    if (request->ask.status != 200) {
        return rest_answer_host(request, err);
    }
    return answer_session(request, 200, request->id, err);
}

static int
ask_stop(struct rest_request *request, bool is_now, rest_step_fn then, struct fed_err *err)
{
    return rest_ask(request, HOST_SESSION_STOP,
                    json_pack("{s:s,s:b}", "session_id", request->id, "now", is_now), then, err);
}

/* Outcomes of try_change(). */
enum {
    CHANGE_RUNS = 1, /* it runs: the loop's to stop */
    CHANGE_MISSING,
    CHANGE_CONFLICT,
};

/* Write name and status into the row as it is. */
static int
try_change(struct rest_request *request, const char *name, const char *status, struct fed_err *err)
{
    json_t *document = NULL;
    const char *old;
    int rc = store_get(request->shared->host->store, STORE_SESSIONS, request->id, &document, err);

    if (rc != 0) {
        return rc < 0 ? rc : CHANGE_MISSING;
    }
    old = text_of(document, "status");
    if (name != NULL) {
        (void)json_object_set_new(document, "name", json_string(name));
    }
    if (status != NULL && old != NULL && strcmp(old, "Started") == 0) {
        json_decref(document);
        return CHANGE_RUNS;
    }
    if (status != NULL) {
        (void)json_object_set_new(document, "status", json_string(status));
    }
    rc = store_replace(request->shared->host->store, STORE_SESSIONS,
                       (uint64_t)integer_of(document, "version"), document, err);
    json_decref(document);
    if (rc > 0) {
        return rc == STORE_NOT_FOUND ? CHANGE_MISSING : CHANGE_CONFLICT;
    }
    return rc;
}

int rest_session_change(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    const char *name = NULL;
    const char *status = NULL;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "name", REST_NAME_MAX, &name, err);
    }
    if (rc == 0) {
        rc = rest_json_text(object, "status", REST_NAME_MAX, &status, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (status != NULL && strcmp(status, "Terminated") != 0) {
        return fed_err_set(err, FED_E_INVALID, "status can only be set to Terminated");
    }
    if (name == NULL && status == NULL) {
        return answer_session(request, 200, request->id, err);
    }
    rc = CHANGE_CONFLICT;
    for (int i = 0; rc == CHANGE_CONFLICT && i < WRITE_ATTEMPTS_N; i++) {
        rc = try_change(request, name, status, err);
    }
    if (rc == CHANGE_RUNS) {
        return ask_stop(request, true, answer_changed, err);
    }
    if (rc == CHANGE_MISSING) {
        return rest_refuse_missing(request, err);
    }
    if (rc > 0) {
        return fed_err_set(err, FED_E_CONFLICT, "the session is being changed: try again");
    }
    return rc < 0 ? rc : answer_session(request, 200, request->id, err);
}

int rest_session_stop(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *document = NULL;
    bool is_now = false;
    int rc = rest_request_json(request, true, &object, err);

    if (rc == 0) {
        rc = rest_json_flag(object, "now", &is_now, err);
    }
    if (rc == 0) {
        rc = store_get(request->shared->host->store, STORE_SESSIONS, request->id, &document, err);
    }
    json_decref(document);
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    return rc < 0 ? rc : ask_stop(request, is_now, NULL, err);
}
