/* What the dashboard's plots draw: flat rows made from statuses, rounds and validations, as JSON or
 * with format=csv. Every path takes session_id (without: the newest session).
 *
 * A client's times are what it said itself, in the status that ends its training ("meta" in FEDn's
 * keys); the instants of a timeline are the reducer's own clock, so that clients whose clocks
 * differ stand on one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define ROWS_MAX    20000U /* documents an answer is made from, the newest */
#define METRICS_MAX 64U
#define TEXT_DEPTH  JSON_REJECT_DUPLICATES

/* The columns of one path, in the order of its CSV. */
struct columns {
    const char *const *names;
    size_t n;
};
#define COLUMNS(list) ((struct columns){(list), sizeof(list) / sizeof((list)[0])})

static const char *get_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

/* A JSON text inside a row; NULL where it is none. */
static json_t *parse_inside(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value)   ? json_loads(json_string_value(value), TEXT_DEPTH, NULL)
           : json_is_object(value) ? json_deep_copy(value)
                                   : NULL;
}

/* -- the answer -------------------------------------------------------------------------------- */

/* RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe. */
static int add_csv_text(struct fed_buf *buf, const char *text, struct fed_err *err)
{
    const bool is_formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL;
    int rc = fed_buf_addf(buf, err, is_formula ? "\"'" : "\"");

    for (; rc == 0 && *text != '\0'; text++) {
        rc = *text == '"' ? fed_buf_add(buf, "\"\"", 2, err) : fed_buf_add(buf, text, 1, err);
    }
    return rc < 0 ? rc : fed_buf_add(buf, "\"", 1, err);
}

static int add_csv_value(struct fed_buf *buf, const json_t *value, struct fed_err *err)
{
    if (json_is_string(value)) {
        return add_csv_text(buf, json_string_value(value), err);
    }
    if (json_is_integer(value)) {
        return fed_buf_addf(buf, err, "%lld", (long long)json_integer_value(value));
    }
    return json_is_real(value) ? fed_buf_addf(buf, err, "%.17g", json_real_value(value)) : 0;
}

static int
add_csv_row(struct fed_buf *buf, const json_t *row, struct columns columns, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < columns.n; i++) {
        rc = i == 0 ? 0 : fed_buf_add(buf, ",", 1, err);
        if (rc == 0 && row == NULL) {
            rc = add_csv_text(buf, columns.names[i], err);
        } else if (rc == 0) {
            rc = add_csv_value(buf, json_object_get(row, columns.names[i]), err);
        }
    }
    return rc < 0 ? rc : fed_buf_add(buf, "\r\n", 2, err);
}

static int answer_csv(struct rest_request *request,
                      const json_t *rows,
                      struct columns columns,
                      struct fed_err *err)
{
    struct fed_buf *body = &request->answer.body;
    int rc = add_csv_row(body, NULL, columns, err);
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        rc = rc < 0 ? rc : add_csv_row(body, row, columns, err);
        rc = rc < 0 ? rc : rest_answer_flush(request, false, err);
    }
    request->answer.status = 200;
    request->answer.type = "text/csv; charset=utf-8";
    (void)snprintf(request->answer.file_name, sizeof(request->answer.file_name), "%s.csv",
                   strrchr(request->path, '/') + 1);
    return rc < 0 ? rc : rest_answer_flush(request, true, err);
}

/* Rows, which are taken; `extra` (may be NULL), taken too, stands beside them in JSON. */
static int answer_rows(struct rest_request *request,
                       json_t *rows,
                       json_t *extra,
                       struct columns columns,
                       struct fed_err *err)
{
    const char *format = rest_texts_find(&request->query, "format");
    json_t *answer = extra == NULL ? json_object() : extra;
    int rc;

    if (rows == NULL || answer == NULL) {
        rc = fed_err_set(err, FED_E_NOMEM, "plot");
    } else if (format != NULL && strcmp(format, "csv") == 0) {
        rc = answer_csv(request, rows, columns, err);
    } else if (format != NULL && strcmp(format, "json") != 0) {
        rc = fed_err_set(err, FED_E_INVALID, "format must be json or csv");
    } else {
        (void)json_object_set_new(answer, "count", json_integer((json_int_t)json_array_size(rows)));
        (void)json_object_set(answer, "result", rows);
        json_decref(rows);
        return rest_answer_json(request, 200, answer, err);
    }
    json_decref(rows);
    json_decref(answer);
    return rc;
}

/* -- what is read ------------------------------------------------------------------------------ */

static int find(struct rest_request *request,
                enum store_collection in,
                const struct store_query *query,
                json_t **ret_documents,
                struct fed_err *err)
{
    return store_find(request->shared->host->store, in, query, ret_documents, NULL, err);
}

static void add_filter(struct store_query *query, const char *path, const char *value)
{
    struct store_filter *filter = &query->filters[query->n_filters++];

    (void)snprintf(filter->path, sizeof(filter->path), "%s", path);
    filter->op = STORE_OP_EQ;
    filter->value = value;
}

/* The session asked for, or the newest; "" where there is none. */
static int read_session(struct rest_request *request, char ret_id[FED_ID_SIZE], struct fed_err *err)
{
    const char *asked = rest_texts_find(&request->query, "session_id");
    const struct store_query newest = {.limit = 1};
    json_t *documents = NULL;
    int rc;

    if (asked != NULL) {
        (void)snprintf(ret_id, FED_ID_SIZE, "%s", asked);
        return 0;
    }
    rc = find(request, STORE_SESSIONS, &newest, &documents, err);
    (void)snprintf(ret_id, FED_ID_SIZE, "%s", get_text(json_array_get(documents, 0), "session_id"));
    json_decref(documents);
    return rc;
}

/* Documents of a session, oldest first. */
static int find_of_session(struct rest_request *request,
                           enum store_collection in,
                           const char *session_id,
                           json_t **ret_documents,
                           struct fed_err *err)
{
    struct store_query query = {.is_ascending = true, .limit = ROWS_MAX};

    add_filter(&query, "session_id", session_id);
    return find(request, in, &query, ret_documents, err);
}

/* The statuses with which clients end their trainings, oldest first. */
static int find_trainings(struct rest_request *request,
                          const char *session_id,
                          json_t **ret_documents,
                          struct fed_err *err)
{
    struct store_query query = {.is_ascending = true, .limit = ROWS_MAX};

    add_filter(&query, "session_id", session_id);
    add_filter(&query, "type", "MODEL_UPDATE");
    add_filter(&query, "log_level", "AUDIT");
    return find(request, STORE_STATUSES, &query, ret_documents, err);
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
    const char *named = get_text(data, "roundId");
    json_t *config = named[0] == '\0' ? parse_inside(meta, "config") : NULL;
    json_t *round_id = json_string(named[0] == '\0' ? get_text(config, "round_id") : named);

    json_decref(config);
    return round_id;
}

/* NULL: a status that tells no times. */
static json_t *encode_training(const json_t *status)
{
    const json_t *sender = json_object_get(status, "sender");
    json_t *data = parse_inside(status, "data");
    json_t *meta = parse_inside(data, "meta");
    json_t *row = NULL;

    if (meta != NULL) {
        row = json_pack("{s:s,s:o,s:s,s:s,s:s,s:I}", "session_id", get_text(status, "session_id"),
                        "round_id", round_of(data, meta), "client_id",
                        get_text(sender, "client_id"), "client", get_text(sender, "name"),
                        "update_id", get_text(data, "modelUpdateId"), "ended_utc_ms",
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

static int read_trainings(struct rest_request *request,
                          const char *session_id,
                          json_t **ret_rows,
                          struct fed_err *err)
{
    json_t *documents = NULL;
    json_t *rows = json_array();
    const int rc = find_trainings(request, session_id, &documents, err);
    size_t i;
    json_t *document;

    json_array_foreach(documents, i, document)
    {
        json_t *row = encode_training(document);
        if (row != NULL) {
            (void)json_array_append_new(rows, row);
        }
    }
    json_decref(documents);
    *ret_rows = rows;
    return rc < 0 || rows != NULL ? rc : fed_err_set(err, FED_E_NOMEM, "plot");
}

int rest_plot_client_times(struct rest_request *request, struct fed_err *err)
{
    static const char *const names[] = {"session_id",   "round_id",    "client_id",  "client",
                                        "update_id",    "download_s",  "training_s", "upload_s",
                                        "processing_s", "ended_utc_ms"};
    char session_id[FED_ID_SIZE] = "";
    json_t *rows = NULL;
    int rc = read_session(request, session_id, err);

    rc = rc < 0 ? rc : read_trainings(request, session_id, &rows, err);
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    return answer_rows(request, rows, NULL, COLUMNS(names), err);
}

/* -- times of combiners ------------------------------------------------------------------------ */

static void
add_combiner_times(json_t *rows, const json_t *round, const json_t *combiner, json_int_t number)
{
    const json_t *data = json_object_get(combiner, "data");
    const json_t *inside = json_object_get(data, "aggregation_time");
    const double total_s = json_number_value(json_object_get(data, "time_combination"));
    const double load_s = json_number_value(json_object_get(inside, "time_model_load"));
    const double sum_s = json_number_value(json_object_get(inside, "time_model_aggregation"));
    const double waiting_s = total_s - load_s - sum_s;

    (void)json_array_append_new(
        rows,
        json_pack("{s:s,s:s,s:I,s:s,s:I,s:f,s:f,s:f}", "session_id", get_text(round, "session_id"),
                  "round_id", get_text(round, "round_id"), "round_number", number, "combiner",
                  get_text(combiner, "name"), "updates",
                  json_integer_value(json_object_get(inside, "nr_aggregated_models")), "waiting_s",
                  waiting_s > 0 ? waiting_s : 0.0, "aggregation_s", sum_s, "loading_s", load_s));
}

int rest_plot_combiner_times(struct rest_request *request, struct fed_err *err)
{
    static const char *const names[] = {"session_id", "round_id",  "round_number",  "combiner",
                                        "updates",    "waiting_s", "aggregation_s", "loading_s"};
    char session_id[FED_ID_SIZE] = "";
    json_t *documents = NULL;
    json_t *rows = json_array();
    size_t i;
    size_t j;
    json_t *round;
    json_t *combiner;
    int rc = read_session(request, session_id, err);

    rc = rc < 0 ? rc : find_of_session(request, STORE_ROUNDS, session_id, &documents, err);
    json_array_foreach(documents, i, round)
    {
        const json_int_t number = json_integer_value(json_object_get(round, "round_number"));
        json_array_foreach(json_object_get(round, "combiners"), j, combiner)
        {
            add_combiner_times(rows, round, combiner, number);
        }
    }
    json_decref(documents);
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    return answer_rows(request, rows, NULL, COLUMNS(names), err);
}

/* -- the timeline of a round ------------------------------------------------------------------- */

static const json_t *find_by(const json_t *list, const char *key, const char *value)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        if (strcmp(get_text(item, key), value) == 0) {
            return item;
        }
    }
    return NULL;
}

struct timeline {
    json_t *rows;
    const json_t *round;
    double start_ms;
    double end_s;
};

static void add_span(struct timeline *timeline,
                     const json_t *about,
                     const char *phase,
                     double start_s,
                     double end_s)
{
    json_t *row = json_pack("{s:s,s:f,s:f}", "phase", phase, "start_s", start_s < 0 ? 0.0 : start_s,
                            "end_s", end_s < 0 ? 0.0 : end_s);

    (void)json_object_update(row, (json_t *)(uintptr_t)about);
    (void)json_array_append_new(timeline->rows, row);
}

/* Its download, training and upload, backwards from when its last status was stored. */
static void add_work(struct timeline *timeline, const json_t *about, const json_t *training)
{
    static const char *const phases[] = {"upload", "training", "download"};
    static const char *const keys[] = {"upload_s", "training_s", "download_s"};
    double end_s =
        (json_number_value(json_object_get(training, "ended_utc_ms")) - timeline->start_ms) / 1000;

    for (size_t i = 0; i < 3; i++) {
        const double took_s = json_number_value(json_object_get(training, keys[i]));
        if (took_s > 0) {
            add_span(timeline, about, phases[i], end_s - took_s, end_s);
        }
        end_s -= took_s;
    }
}

/* What came of a client: counted, refused and why, or no answer. */
static json_t *describe_client(const struct timeline *timeline, const json_t *asked)
{
    const char *client_id = get_text(asked, "client_id");
    const json_t *entry =
        find_by(json_object_get(timeline->round, "entries"), "client_id", client_id);
    const json_t *refused =
        find_by(json_object_get(timeline->round, "refused"), "client", client_id);
    const bool is_over = strcmp(get_text(timeline->round, "status"), "Pending") != 0;
    const char *outcome = entry != NULL     ? "counted"
                          : refused != NULL ? "refused"
                          : is_over         ? "no answer"
                                            : "asked";

    return json_pack("{s:s,s:s,s:s,s:s,s:s}", "client_id", client_id, "combiner_id",
                     get_text(asked, "combiner_id"), "outcome", outcome, "reason",
                     get_text(refused, "reason"), "detail", get_text(refused, "detail"));
}

static void add_client(struct timeline *timeline, const json_t *asked, const json_t *trainings)
{
    const char *round_id = get_text(timeline->round, "round_id");
    json_t *about = describe_client(timeline, asked);
    const size_t before = json_array_size(timeline->rows);
    size_t i;
    json_t *training;

    json_array_foreach(trainings, i, training)
    {
        if (strcmp(get_text(training, "round_id"), round_id) == 0 &&
            strcmp(get_text(training, "client_id"), get_text(asked, "client_id")) == 0) {
            add_work(timeline, about, training);
        }
    }
    if (json_array_size(timeline->rows) == before) {
        add_span(timeline, about, "asked", 0, timeline->end_s);
    }
    json_decref(about);
}

static int read_timeline(struct rest_request *request,
                         struct timeline *timeline,
                         struct fed_err *err)
{
    json_t *trainings = NULL;
    json_t *asked;
    size_t i;
    const int rc =
        read_trainings(request, get_text(timeline->round, "session_id"), &trainings, err);

    timeline->start_ms = json_number_value(json_object_get(timeline->round, "planned_utc_ms"));
    timeline->end_s = json_number_value(json_object_get(json_object_get(timeline->round, "timings"),
                                                        "total_ms")) /
                      1000;
    json_array_foreach(json_object_get(timeline->round, "clients"), i, asked)
    {
        add_client(timeline, asked, trainings);
    }
    json_decref(trainings);
    return rc;
}

int rest_plot_timeline(struct rest_request *request, struct fed_err *err)
{
    static const char *const names[] = {"client_id", "combiner_id", "phase",  "start_s",
                                        "end_s",     "outcome",     "reason", "detail"};
    const char *round_id = rest_texts_find(&request->query, "round_id");
    struct timeline timeline = {0};
    json_t *round = NULL;
    int rc;

    if (round_id == NULL) {
        return fed_err_set(err, FED_E_INVALID, "round_id is missing");
    }
    rc = store_get(request->shared->host->store, STORE_ROUNDS, round_id, &round, err);
    if (rc != 0) {
        return rc < 0 ? rc
                      : rest_refuse(request, 404, "not_found", err, "Entity with id: %s not found",
                                    round_id);
    }
    timeline.rows = json_array();
    timeline.round = round;
    rc = read_timeline(request, &timeline, err);
    json_decref(round);
    if (rc < 0) {
        json_decref(timeline.rows);
        return rc;
    }
    return answer_rows(request, timeline.rows, NULL, COLUMNS(names), err);
}

/* -- validations ------------------------------------------------------------------------------- */

/* The session's models by id: the number of the round that made each. The seed's is 0. */
static int read_numbers(struct rest_request *request,
                        const char *session_id,
                        json_t **ret_numbers,
                        struct fed_err *err)
{
    json_t *documents = NULL;
    json_t *numbers = json_object();
    const int rc = find_of_session(request, STORE_ROUNDS, session_id, &documents, err);
    size_t i;
    json_t *round;

    json_array_foreach(documents, i, round)
    {
        const char *model_id = get_text(round, "model_id");
        if (model_id[0] != '\0') {
            (void)json_object_set(numbers, model_id, json_object_get(round, "round_number"));
        }
    }
    json_decref(documents);
    *ret_numbers = numbers;
    return rc;
}

/* Names of the numbers that validations hold, in the order in which they came. */
static void add_metrics(json_t *metrics, const json_t *data)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)data, key, value)
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
    const char *model_id = get_text(validation, "model_id");
    const json_t *sender = json_object_get(validation, "sender");
    json_t *number = json_object_get(numbers, model_id);

    return json_pack("{s:s,s:s,s:O,s:s,s:s,s:O}", "session_id", get_text(validation, "session_id"),
                     "model_id", model_id, "round_number", number == NULL ? json_null() : number,
                     "client_id", get_text(sender, "client_id"), "client", get_text(sender, "name"),
                     "value", value);
}

int rest_plot_validations(struct rest_request *request, struct fed_err *err)
{
    static const char *const names[] = {"session_id", "model_id", "round_number",
                                        "client_id",  "client",   "value"};
    const char *metric = rest_texts_find(&request->query, "metric");
    char session_id[FED_ID_SIZE] = "";
    json_t *documents = NULL;
    json_t *numbers = NULL;
    json_t *rows = json_array();
    json_t *metrics = json_array();
    size_t i;
    json_t *validation;
    int rc = read_session(request, session_id, err);

    rc = rc < 0 ? rc : read_numbers(request, session_id, &numbers, err);
    rc = rc < 0 ? rc : find_of_session(request, STORE_VALIDATIONS, session_id, &documents, err);
    json_array_foreach(documents, i, validation)
    {
        json_t *data = parse_inside(validation, "data");
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
    return answer_rows(request, rows, json_pack("{s:o,s:s?}", "metrics", metrics, "metric", metric),
                       COLUMNS(names), err);
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
            if (json_is_number(count) && json_array_size(rows) < ROWS_MAX) {
                (void)json_array_append_new(rows,
                                            json_pack("{s:s,s:s,s:i,s:i,s:O}", "client_id",
                                                      get_text(sender, "client_id"), "client",
                                                      get_text(sender, "name"), "actual", (int)i,
                                                      "predicted", (int)j, "count", count));
            }
        }
    }
}

int rest_plot_confusion(struct rest_request *request, struct fed_err *err)
{
    static const char *const names[] = {"client_id", "client", "actual", "predicted", "count"};
    const char *model_id = rest_texts_find(&request->query, "model_id");
    struct store_query query = {.is_ascending = true, .limit = ROWS_MAX};
    json_t *documents = NULL;
    json_t *rows = json_array();
    size_t i;
    json_t *validation;
    int rc;

    add_filter(&query, "model_id", model_id);
    rc = model_id == NULL ? fed_err_set(err, FED_E_INVALID, "model_id is missing")
                          : find(request, STORE_VALIDATIONS, &query, &documents, err);
    json_array_foreach(documents, i, validation)
    {
        json_t *data = parse_inside(validation, "data");
        add_matrix(rows, validation, json_object_get(data, "confusion_matrix"));
        json_decref(data);
    }
    json_decref(documents);
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    return answer_rows(request, rows, NULL, COLUMNS(names), err);
}
