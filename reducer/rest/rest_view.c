#include "reducer/rest/rest_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

const char *view_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

/* A JSON text inside a row; NULL where it is none. */
json_t *view_parse(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value)
               ? json_loads(json_string_value(value), JSON_REJECT_DUPLICATES, NULL)
           : json_is_object(value) ? json_deep_copy(value)
                                   : NULL;
}

const json_t *view_find_by(const json_t *list, const char *key, const char *value)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (strcmp(view_text(item, key), value) == 0) {
            return item;
        }
    }
    return NULL;
}

/* -- the answer -------------------------------------------------------------------------------- */

int view_answer(struct rest_request *request, json_t *rows, json_t *extra, struct fed_err *err)
{
    json_t *answer = extra == NULL ? json_object() : extra;
    int rc;

    if (rows == NULL || answer == NULL) {
        rc = fed_err_set(err, FED_E_NOMEM, "view");
    } else if (rest_request_wants_csv(request)) {
        rc = rest_answer_csv(request, rows, strrchr(request->path, '/') + 1, err);
    } else {
        (void)json_object_set_new(answer, "count", json_integer((json_int_t)json_array_size(rows)));
        (void)json_object_set_new(answer, "result", rows);
        return rest_answer_json(request, 200, answer, err);
    }
    json_decref(rows);
    json_decref(answer);
    return rc;
}

/* -- what is read ------------------------------------------------------------------------------ */

void view_add_filter(struct store_query *query,
                     const char *path,
                     enum store_op op,
                     const char *value)
{
    struct store_filter *filter = &query->filters[query->n_filters++];

    (void)snprintf(filter->path, sizeof(filter->path), "%s", path);
    filter->op = op;
    filter->value = value;
}

int view_read_session(struct rest_request *request, char ret_id[FED_ID_SIZE], struct fed_err *err)
{
    const char *asked = rest_texts_find(&request->query, "session_id");
    const struct store_query newest = {.limit = 1};
    json_t *documents = NULL;
    int rc;

    if (asked != NULL) {
        (void)snprintf(ret_id, FED_ID_SIZE, "%s", asked);
        return 0;
    }
    rc = store_find(request->shared->host->store, STORE_SESSIONS, &newest, &documents, NULL, err);
    (void)snprintf(ret_id, FED_ID_SIZE, "%s",
                   view_text(json_array_get(documents, 0), "session_id"));
    json_decref(documents);
    return rc;
}

int view_find(struct rest_request *request,
              enum store_collection in,
              struct store_query *query,
              json_t **ret_documents,
              struct fed_err *err)
{
    json_t *newest = NULL;
    json_t *turned;
    int rc;

    query->limit = VIEW_ROWS_MAX;
    rc = store_find(request->shared->host->store, in, query, &newest, NULL, err);
    if (rc < 0) {
        return rc;
    }
    turned = rest_json_reversed(newest);
    json_decref(newest);
    *ret_documents = turned;
    return turned == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;
}

int view_read_numbers(struct rest_request *request,
                      const char *session_id,
                      const char *key,
                      json_t **ret_numbers,
                      struct fed_err *err)
{
    json_t *documents = NULL;
    json_t *numbers;
    struct store_query query = {0};
    int rc;
    size_t i;
    json_t *round;

    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    rc = view_find(request, STORE_ROUNDS, &query, &documents, err);
    if (rc < 0) {
        return rc;
    }
    numbers = json_object();
    json_array_foreach(documents, i, round)
    {
        const char *text = view_text(round, key);
        if (text[0] != '\0') {
            (void)json_object_set(numbers, text, json_object_get(round, "round_number"));
        }
    }
    json_decref(documents);
    *ret_numbers = numbers;
    return numbers == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;
}

/* -- times of clients -------------------------------------------------------------------------- */

static void copy_number(json_t *row, const char *key, const json_t *meta, const char *from)
{
    const json_t *value = json_object_get(meta, from);
    const double number = json_number_value(value);

    (void)json_object_set_new(
        row, key,
        json_is_number(value) && number >= 0 && number < 1e9 ? json_real(number) : json_null());
}

/* The round of a training: Confed's clients name it, FEDn's hand back the task's data. */
static json_t *round_of(const json_t *data, const json_t *meta)
{
    const char *named = view_text(data, "roundId");
    json_t *config = named[0] == '\0' ? view_parse(meta, "config") : NULL;
    json_t *round_id = json_string(named[0] == '\0' ? view_text(config, "round_id") : named);

    json_decref(config);
    return round_id;
}

/* NULL: a status that tells no times. */
static json_t *encode_training(const json_t *status)
{
    const json_t *sender = json_object_get(status, "sender");
    json_t *data = view_parse(status, "data");
    json_t *meta = view_parse(data, "meta");
    json_t *row = NULL;

    if (meta != NULL) {
        row = json_pack("{s:s,s:o,s:s,s:s,s:s,s:I}", "session_id", view_text(status, "session_id"),
                        "round_id", round_of(data, meta), "client_id",
                        view_text(sender, "client_id"), "client", view_text(sender, "name"),
                        "update_id", view_text(data, "modelUpdateId"), "ended_utc_ms",
                        json_integer_value(json_object_get(status, "committed_at")));
        copy_number(row, "download_s", meta, "fetch_model");
        copy_number(row, "training_s", meta, "exec_training");
        copy_number(row, "upload_s", meta, "upload_model");
        copy_number(row, "processing_s", meta, "processing_time");
    }
    json_decref(meta);
    json_decref(data);
    return row;
}

int view_read_trainings(struct rest_request *request,
                        struct store_query *query,
                        json_t **ret_rows,
                        struct fed_err *err)
{
    json_t *documents = NULL;
    json_t *rows;
    json_t *document;
    size_t i;
    int rc;

    view_add_filter(query, "type", STORE_OP_EQ, "MODEL_UPDATE");
    view_add_filter(query, "log_level", STORE_OP_EQ, "AUDIT");
    rc = view_find(request, STORE_STATUSES, query, &documents, err);
    if (rc < 0) {
        return rc;
    }
    rows = json_array();
    json_array_foreach(documents, i, document)
    {
        json_t *row = encode_training(document);
        if (row != NULL) {
            (void)json_array_append_new(rows, row);
        }
    }
    json_decref(documents);
    *ret_rows = rows;
    return rows == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;
}
