/* Attributes, telemetry, predictions: what clients record comes by RPC; here it is read, and added
 * by hand as at FEDn. */
#include <string.h>

#include "common/base/clock.h"
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

/* The newest value of each key of a client; NULL: out of memory. */
static int load_attributes(struct rest_request *request,
                           const char *client_id,
                           json_t **ret_values,
                           struct fed_err *err)
{
    const struct store_query query = {
        .n_filters = 1,
        .filters = {{.path = "sender.client_id", .value = client_id}},
        .is_ascending = true,
    };
    json_t *documents = NULL;
    json_t *values = json_object();
    const int rc =
        store_find(request->shared->host->store, STORE_ATTRIBUTES, &query, &documents, NULL, err);

    for (size_t i = 0; rc == 0 && i < json_array_size(documents); i++) {
        const json_t *document = json_array_get(documents, i);
        const char *key = json_string_value(json_object_get(document, "key"));
        if (key != NULL) {
            (void)json_object_set(values, key, json_object_get(document, "value"));
        }
    }
    json_decref(documents);
    if (rc < 0) {
        json_decref(values);
        return rc;
    }
    *ret_values = values;
    return 0;
}

int rest_client_attributes(struct rest_request *request, struct fed_err *err)
{
    json_t *client = NULL;
    json_t *values = NULL;
    int rc = store_get(request->shared->host->store, STORE_CLIENTS, request->id, &client, err);

    json_decref(client);
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == 0) {
        rc = load_attributes(request, request->id, &values, err);
    }
    return rc < 0 ? rc : rest_answer_json(request, 200, values, err);
}

int rest_attributes_current(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *all;
    const json_t *ids;
    int rc = rest_request_json(request, false, &object, err);

    if (rc < 0) {
        return rc;
    }
    ids = json_object_get(object, "client_ids");
    if (!json_is_array(ids)) {
        return rest_refuse(request, 400, "invalid", err, "Missing required field: client_ids");
    }
    all = json_object();
    for (size_t i = 0; rc == 0 && i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        json_t *values = NULL;
        if (id == NULL || !fed_id_is_valid(id)) {
            rc = fed_err_set(err, FED_E_INVALID, "client_ids must be an array of ids");
            continue;
        }
        rc = load_attributes(request, id, &values, err);
        if (rc == 0 && json_object_size(values) > 0) {
            rc = json_object_set(all, id, values);
        }
        json_decref(values);
    }
    if (rc < 0) {
        json_decref(all);
        return rc;
    }
    return rest_answer_json(request, 200, all, err);
}

/* -- added by hand ---------------------------------------------------------------------------- */

static int read_sender(json_t *object, json_t *row, struct fed_err *err)
{
    json_t *sender = json_object_get(object, "sender");
    const char *texts[3] = {NULL, NULL, NULL};
    static const char *const names[] = {"name", "role", "client_id"};
    int rc = 0;

    if (!json_is_object(sender)) {
        return fed_err_set(err, FED_E_INVALID,
                           "sender must be an object with name, role and "
                           "client_id");
    }
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        rc = rest_json_text(sender, names[i], REST_NAME_MAX, &texts[i], err);
    }
    if (rc == 0 && (texts[0] == NULL || texts[1] == NULL)) {
        return fed_err_set(err, FED_E_INVALID, "sender must have a name and a role");
    }
    if (rc < 0) {
        return rc;
    }
    return json_object_set_new(
        row, "sender",
        json_pack("{s:s?,s:s?,s:s?}", "name", texts[0], "role", texts[1], "client_id", texts[2]));
}

static int
set_common(struct rest_request *request, json_t *object, json_t *row, struct fed_err *err)
{
    char id[FED_UUID_SIZE];
    char now[FED_TIME_TEXT_SIZE];
    const char *key = NULL;
    const char *timestamp = NULL;
    int rc = rest_json_text(object, "key", REST_NAME_MAX, &key, err);

    if (rc == 0 && (key == NULL || *key == '\0')) {
        rc = fed_err_set(err, FED_E_INVALID, "key is required");
    }
    if (rc == 0) {
        rc = rest_json_text(object, "timestamp", REST_NAME_MAX, &timestamp, err);
    }
    if (rc == 0) {
        rc = fed_uuid_new(id, err);
    }
    if (rc < 0) {
        return rc;
    }
    fed_time_format_iso(fed_clock_utc_us(), now);
    rc = json_object_set_new(row, store_collection_key(request->collection), json_string(id));
    rc |= json_object_set_new(row, "key", json_string(key));
    rc |= json_object_set_new(row, "timestamp", json_string(timestamp == NULL ? now : timestamp));
    return rc < 0 ? fed_err_set(err, FED_E_NOMEM, "record") : read_sender(object, row, err);
}

static int add_record(struct rest_request *request, json_t *row, struct fed_err *err)
{
    struct store *store = request->shared->host->store;
    const char *key_name = store_collection_key(request->collection);
    json_t *document = NULL;
    int rc = store_insert(store, request->collection, row, err);

    if (rc == 0) {
        rc = store_get(store, request->collection,
                       json_string_value(json_object_get(row, key_name)), &document, err);
    }
    if (rc > 0) {
        return fed_err_set(err, FED_E_CONFLICT, "the record was not kept");
    }
    if (rc == 0) {
        rc = rest_answer_json(request, 201, rest_json_row(document), err);
    }
    json_decref(document);
    return rc;
}

static int
add(struct rest_request *request, enum store_collection in, bool is_number, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *row = json_object();
    json_t *value;
    int rc;

    request->collection = in;
    rc = rest_request_json(request, false, &object, err);
    if (rc == 0) {
        rc = set_common(request, object, row, err);
    }
    value = rc == 0 ? json_object_get(object, "value") : NULL;
    if (rc == 0 && (is_number ? !json_is_number(value) : !json_is_string(value))) {
        rc = fed_err_set(err, FED_E_INVALID, "value must be a %s", is_number ? "number" : "text");
    }
    if (rc == 0 && json_string_length(value) > REST_FORM_MAX) {
        rc = fed_err_set(err, FED_E_INVALID, "value is too long");
    }
    if (rc == 0) {
        rc = json_object_set(row, "value", value);
    }
    if (rc == 0) {
        rc = add_record(request, row, err);
    }
    json_decref(row);
    return rc;
}

int rest_attribute_add(struct rest_request *request, struct fed_err *err)
{
    return add(request, STORE_ATTRIBUTES, false, err);
}

int rest_telemetry_add(struct rest_request *request, struct fed_err *err)
{
    return add(request, STORE_TELEMETRY, true, err);
}

int rest_prediction_start(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 400, "unsupported", err,
                       "Predictions are not supported: Confed trains and validates");
}
