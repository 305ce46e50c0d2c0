/* What clients found in models: their validations and confusion matrices as flat rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_view.h"

#define METRICS_MAX 64U

/* -- validations ------------------------------------------------------------------------------- */

/* Names of the numbers that validations hold, in the order in which they came. */
static void add_metrics(json_t *metrics, json_t *data)
{
    const char *key;
    json_t *value;

    json_object_foreach(data, key, value)
    {
        bool is_known = json_array_size(metrics) >= METRICS_MAX;
        for (size_t i = 0; !is_known && i < json_array_size(metrics); i++) {
            is_known = strcmp(json_string_value(json_array_get(metrics, i)), key) == 0;
        }
        if (!is_known && json_is_number(value)) {
            (void)json_array_append_new(metrics, json_string(key));
        }
    }
}

static json_t *encode_validation(const json_t *validation, const json_t *numbers, json_t *value)
{
    const char *model_id = view_text(validation, "model_id");
    const json_t *sender = json_object_get(validation, "sender");

    /* The seed was made by no round: its number is null. */
    return json_pack(
        "{s:s,s:s,s:O?,s:s,s:s,s:O}", "session_id", view_text(validation, "session_id"), "model_id",
        model_id, "round_number", json_object_get(numbers, model_id), "client_id",
        view_text(sender, "client_id"), "client", view_text(sender, "name"), "value", value);
}

int rest_view_validations(struct rest_request *request, struct fed_err *err)
{
    const char *metric = rest_texts_find(&request->query, "metric");
    struct store_query query = {0};
    char session_id[FED_ID_SIZE] = "";
    json_t *documents = NULL;
    json_t *numbers = NULL;
    json_t *rows = json_array();
    json_t *metrics = json_array();
    size_t i;
    json_t *validation;
    int rc = view_read_session(request, session_id, err);

    rc = rc < 0 ? rc : view_read_numbers(request, session_id, "model_id", &numbers, err);
    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    rc = rc < 0 ? rc : view_find(request, STORE_VALIDATIONS, &query, &documents, err);
    json_array_foreach(documents, i, validation)
    {
        json_t *data = view_parse(validation, "data");
        json_t *value;
        add_metrics(metrics, data);
        metric = metric == NULL ? json_string_value(json_array_get(metrics, 0)) : metric;
        value = metric == NULL ? NULL : json_object_get(data, metric);
        if (json_is_number(value)) {
            (void)json_array_append_new(rows, encode_validation(validation, numbers, value));
        }
        json_decref(data);
    }
    json_decref(documents);
    json_decref(numbers);
    if (rc < 0) {
        json_decref(rows);
        json_decref(metrics);
        return rc;
    }
    return view_answer(request, rows, json_pack("{s:o,s:s?}", "metrics", metrics, "metric", metric),
                       err);
}

/* -- confusion matrices ------------------------------------------------------------------------ */

static void add_matrix(json_t *rows, const json_t *validation, const json_t *matrix)
{
    const json_t *sender = json_object_get(validation, "sender");
    size_t i;
    size_t j;
    json_t *line;
    json_t *count;

    json_array_foreach(matrix, i, line)
    {
        json_array_foreach(line, j, count)
        {
            if (json_is_number(count) && json_array_size(rows) < VIEW_ROWS_MAX) {
                (void)json_array_append_new(rows,
                                            json_pack("{s:s,s:s,s:i,s:i,s:O}", "client_id",
                                                      view_text(sender, "client_id"), "client",
                                                      view_text(sender, "name"), "actual", (int)i,
                                                      "predicted", (int)j, "count", count));
            }
        }
    }
}

int rest_view_confusion(struct rest_request *request, struct fed_err *err)
{
    const char *model_id = rest_texts_find(&request->query, "model_id");
    struct store_query query = {0};
    json_t *documents = NULL;
    json_t *rows = json_array();
    size_t i;
    json_t *validation;
    int rc;

    view_add_filter(&query, "model_id", STORE_OP_EQ, model_id);
    rc = model_id == NULL ? fed_err_set(err, FED_E_INVALID, "model_id is missing")
                          : view_find(request, STORE_VALIDATIONS, &query, &documents, err);
    json_array_foreach(documents, i, validation)
    {
        json_t *data = view_parse(validation, "data");
        add_matrix(rows, validation, json_object_get(data, "confusion_matrix"));
        json_decref(data);
    }
    json_decref(documents);
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    return view_answer(request, rows, NULL, err);
}
