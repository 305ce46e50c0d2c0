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

/* Newest first, as they come. */
struct walk {
    const struct view_maker *maker;
    json_t *rows;
    json_t *own; /* of one document */
    size_t n_documents;
};

static int take_document(void *arg, json_t *document, struct fed_err *err)
{
    struct walk *walk = arg;
    size_t n = json_array_size(walk->rows);
    int rc = 0;

    walk->maker->fn(walk->maker->arg, walk->own, document);
    for (size_t i = json_array_size(walk->own); i > 0 && n < VIEW_ROWS_MAX && rc == 0; i--, n++) {
        rc = json_array_append(walk->rows, json_array_get(walk->own, i - 1));
    }
    (void)json_array_clear(walk->own);
    walk->n_documents++;
    return rc < 0 ? fed_err_set(err, FED_E_NOMEM, "view")
                  : walk->n_documents >= VIEW_ROWS_MAX || n >= VIEW_ROWS_MAX;
}

int view_each(struct rest_request *request,
              enum store_collection in,
              const struct store_query *query,
              const struct view_maker *maker,
              json_t **ret_rows,
              struct fed_err *err)
{
    struct walk walk = {.maker = maker, .rows = json_array(), .own = json_array()};
    json_t *rows = NULL;
    int rc = walk.rows == NULL || walk.own == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;

    rc = rc < 0 ? rc
                : store_each(request->shared->host->store, in, query, take_document, &walk, err);
    if (rc >= 0) {
        rows = rest_json_reversed(walk.rows);
        rc = rows == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;
    }
    json_decref(walk.own);
    json_decref(walk.rows);
    if (rc < 0) {
        return rc;
    }
    *ret_rows = rows;
    return 0;
}

struct numbers {
    const char *key;
    json_t *found;
};

static void add_number(void *arg, json_t *rows, const json_t *round)
{
    const struct numbers *numbers = arg;
    const char *text = view_text(round, numbers->key);

    (void)rows;
    if (text[0] != '\0') {
        (void)json_object_set(numbers->found, text, json_object_get(round, "round_number"));
    }
}

int view_read_numbers(struct rest_request *request,
                      const char *session_id,
                      const char *key,
                      json_t **ret_numbers,
                      struct fed_err *err)
{
    struct numbers numbers = {key, json_object()};
    const struct view_maker maker = {add_number, &numbers};
    struct store_query query = {0};
    json_t *rows = NULL;
    int rc = numbers.found == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;

    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    rc = rc < 0 ? rc : view_each(request, STORE_ROUNDS, &query, &maker, &rows, err);
    json_decref(rows);
    if (rc < 0) {
        json_decref(numbers.found);
        return rc;
    }
    *ret_numbers = numbers.found;
    return 0;
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

static void add_training(void *arg, json_t *rows, const json_t *status)
{
    json_t *row = encode_training(status);

    (void)arg;
    if (row != NULL) {
        (void)json_array_append_new(rows, row);
    }
}

int view_read_trainings(struct rest_request *request,
                        struct store_query *query,
                        json_t **ret_rows,
                        struct fed_err *err)
{
    const struct view_maker maker = {add_training, NULL};

    view_add_filter(query, "type", STORE_OP_EQ, "MODEL_UPDATE");
    view_add_filter(query, "log_level", STORE_OP_EQ, "AUDIT");
    return view_each(request, STORE_STATUSES, query, &maker, ret_rows, err);
}
