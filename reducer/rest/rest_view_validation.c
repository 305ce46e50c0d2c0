/* What clients found in models: their validations and confusion matrices as flat rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_view.h"

#define METRICS_MAX 64U

/* -- validations ------------------------------------------------------------------------------- */

/* Names of the numbers that validations hold, those of the newest first. */
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

struct validations {
    json_t *numbers;    /* of the rounds, by model */
    json_t *metrics;    /* names */
    const char *metric; /* whose values the rows are; "": nobody's */
};

static void add_validation(void *arg, json_t *rows, const json_t *validation)
{
    struct validations *all = arg;
    json_t *data = view_parse(validation, "data");
    json_t *value = json_object_get(data, all->metric);

    add_metrics(all->metrics, data);
    if (json_is_number(value)) {
        (void)json_array_append_new(rows, encode_validation(validation, all->numbers, value));
    }
    json_decref(data);
}

/* Ends with the first validation that holds a number. */
static int take_first(void *arg, json_t *validation, struct fed_err *err)
{
    json_t *data = view_parse(validation, "data");

    (void)err;
    add_metrics(arg, data);
    json_decref(data);
    return json_array_size(arg) > 0;
}

/* The metric asked for, or else the session's first: a text of the caller's. NULL: it has none. */
static int read_metric(struct rest_request *request,
                       const struct store_query *query,
                       json_t **ret_metric,
                       struct fed_err *err)
{
    const char *asked = rest_texts_find(&request->query, "metric");
    struct store_query oldest = *query;
    json_t *first = json_array();
    int rc = first == NULL ? fed_err_set(err, FED_E_NOMEM, "view") : 0;

    oldest.is_ascending = true;
    if (rc == 0 && asked == NULL) {
        rc = store_each(request->shared->host->store, STORE_VALIDATIONS, &oldest, take_first, first,
                        err);
    }
    if (rc >= 0) {
        *ret_metric = asked != NULL ? json_string(asked) : json_incref(json_array_get(first, 0));
    }
    json_decref(first);
    return rc < 0 ? rc : 0;
}

int rest_view_validations(struct rest_request *request, struct fed_err *err)
{
    struct validations all = {.metrics = json_array()};
    const struct view_maker maker = {add_validation, &all};
    struct store_query query = {0};
    char session_id[FED_ID_SIZE] = "";
    json_t *metric = NULL;
    json_t *rows = NULL;
    int rc = view_read_session(request, session_id, err);

    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    rc = rc < 0 ? rc : read_metric(request, &query, &metric, err);
    all.metric = metric == NULL ? "" : json_string_value(metric);
    rc = rc < 0 ? rc : view_read_numbers(request, session_id, "model_id", &all.numbers, err);
    rc = rc < 0 ? rc : view_each(request, STORE_VALIDATIONS, &query, &maker, &rows, err);
    json_decref(all.numbers);
    if (rc < 0) {
        json_decref(all.metrics);
        json_decref(metric);
        return rc;
    }
    return view_answer(request, rows,
                       json_pack("{s:o,s:o?}", "metrics", all.metrics, "metric", metric), err);
}

/* -- confusion matrices ------------------------------------------------------------------------ */

static void add_matrix(void *arg, json_t *rows, const json_t *validation)
{
    const json_t *sender = json_object_get(validation, "sender");
    json_t *data = view_parse(validation, "data");
    size_t i;
    size_t j;
    json_t *line;
    json_t *count;

    (void)arg;
    json_array_foreach(json_object_get(data, "confusion_matrix"), i, line)
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
    json_decref(data);
}

int rest_view_confusion(struct rest_request *request, struct fed_err *err)
{
    const char *model_id = rest_texts_find(&request->query, "model_id");
    const struct view_maker maker = {add_matrix, NULL};
    struct store_query query = {0};
    json_t *rows = NULL;
    int rc;

    view_add_filter(&query, "model_id", STORE_OP_EQ, model_id);
    rc = model_id == NULL ? fed_err_set(err, FED_E_INVALID, "model_id is missing")
                          : view_each(request, STORE_VALIDATIONS, &query, &maker, &rows, err);
    return rc < 0 ? rc : view_answer(request, rows, NULL, err);
}
