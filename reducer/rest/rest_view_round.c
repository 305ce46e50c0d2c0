/* Rounds as flat rows: their outcomes, the times of clients and combiners in them, timelines.
 *
 * The instants of a timeline are the reducer's own clock, so that clients whose clocks differ stand
 * on one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_view.h"

static json_int_t get_integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* The rounds of the session asked for, one after the other. */
static int each_round(struct rest_request *request,
                      view_fn fn,
                      void *arg,
                      json_t **ret_rows,
                      struct fed_err *err)
{
    const struct view_maker maker = {fn, arg};
    struct store_query query = {0};
    char session_id[FED_ID_SIZE] = "";
    const int rc = view_read_session(request, session_id, err);

    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    return rc < 0 ? rc : view_each(request, STORE_ROUNDS, &query, &maker, ret_rows, err);
}

/* -- rounds ------------------------------------------------------------------------------------ */

/* Beyond the refusals that are kept with their text there are counts. */
static json_int_t count_refused(const json_t *round)
{
    json_int_t n = (json_int_t)json_array_size(json_object_get(round, "refused"));
    const char *reason;
    json_t *more;

    json_object_foreach(json_object_get(round, "refused_more"), reason, more)
    {
        n += json_integer_value(more);
    }
    return n;
}

static json_t *encode_round(const json_t *round)
{
    const json_t *total_ms = json_object_get(json_object_get(round, "timings"), "total_ms");

    return json_pack(
        "{s:s,s:s,s:I,s:s,s:i,s:i,s:I,s:o,s:I,s:s,s:s,s:s}", "session_id",
        view_text(round, "session_id"), "round_id", view_text(round, "round_id"), "round_number",
        get_integer(round, "round_number"), "status", view_text(round, "status"), "asked",
        (int)json_array_size(json_object_get(round, "clients")), "counted",
        (int)json_array_size(json_object_get(round, "entries")), "refused", count_refused(round),
        "seconds",
        json_is_number(total_ms) ? json_real(json_number_value(total_ms) / 1000) : json_null(),
        "planned_utc_ms", get_integer(round, "planned_utc_ms"), "base_model_id",
        view_text(round, "base_model_id"), "model_id", view_text(round, "model_id"), "failure",
        view_text(round, "failure"));
}

static void add_round(void *arg, json_t *rows, const json_t *round)
{
    (void)arg;
    (void)json_array_append_new(rows, encode_round(round));
}

int rest_view_rounds(struct rest_request *request, struct fed_err *err)
{
    json_t *rows = NULL;
    const int rc = each_round(request, add_round, NULL, &rows, err);

    return rc < 0 ? rc : view_answer(request, rows, NULL, err);
}

/* -- one client's rounds ----------------------------------------------------------------------- */

static json_t *describe_client(const json_t *round, const json_t *asked)
{
    const char *client_id = view_text(asked, "client_id");
    const json_t *entry = view_find_by(json_object_get(round, "entries"), "client_id", client_id);
    const json_t *refused = view_find_by(json_object_get(round, "refused"), "client", client_id);
    const bool is_over = strcmp(view_text(round, "status"), "Pending") != 0;
    const char *outcome = entry != NULL     ? "counted"
                          : refused != NULL ? "refused"
                          : is_over         ? "no answer"
                                            : "asked";

    return json_pack("{s:s,s:s,s:s,s:s,s:s}", "client_id", client_id, "combiner_id",
                     view_text(asked, "combiner_id"), "outcome", outcome, "reason",
                     view_text(refused, "reason"), "detail", view_text(refused, "detail"));
}

/* `arg` points to the client's id, here and below. */
static void add_client_round(void *arg, json_t *rows, const json_t *round)
{
    const char *client_id = *(const char **)arg;
    const json_t *asked = view_find_by(json_object_get(round, "clients"), "client_id", client_id);
    const json_t *entry = view_find_by(json_object_get(round, "entries"), "client_id", client_id);
    json_t *row;

    if (asked == NULL) {
        return;
    }
    row = describe_client(round, asked);
    (void)json_object_set_new(row, "session_id", json_string(view_text(round, "session_id")));
    (void)json_object_set_new(row, "round_id", json_string(view_text(round, "round_id")));
    (void)json_object_set_new(row, "round_number",
                              json_integer(get_integer(round, "round_number")));
    (void)json_object_set_new(row, "planned_utc_ms",
                              json_integer(get_integer(round, "planned_utc_ms")));
    (void)json_object_set_new(row, "examples",
                              entry == NULL ? json_null()
                                            : json_integer(get_integer(entry, "examples")));
    (void)json_array_append_new(rows, row);
}

/* Every refused update of the client, asked or not, as a row of its own. */
static void add_refusals(void *arg, json_t *rows, const json_t *round)
{
    const char *client_id = *(const char **)arg;
    const json_t *refused;
    size_t i;

    for (i = 0; i < json_array_size(json_object_get(round, "refused")); i++) {
        refused = json_array_get(json_object_get(round, "refused"), i);
        if (strcmp(view_text(refused, "client"), client_id) == 0) {
            (void)json_array_append_new(
                rows,
                json_pack("{s:s,s:s,s:I,s:s,s:s,s:s}", "session_id", view_text(round, "session_id"),
                          "round_id", view_text(round, "round_id"), "round_number",
                          get_integer(round, "round_number"), "update_id",
                          view_text(refused, "update"), "reason", view_text(refused, "reason"),
                          "detail", view_text(refused, "detail")));
        }
    }
}

static int answer_client(struct rest_request *request, view_fn fn, struct fed_err *err)
{
    const char *client_id = rest_texts_find(&request->query, "client_id");
    json_t *rows = NULL;
    int rc;

    if (client_id == NULL) {
        return fed_err_set(err, FED_E_INVALID, "client_id is missing");
    }
    rc = each_round(request, fn, &client_id, &rows, err);
    return rc < 0 ? rc : view_answer(request, rows, NULL, err);
}

int rest_view_client_rounds(struct rest_request *request, struct fed_err *err)
{
    return answer_client(request, add_client_round, err);
}

int rest_view_refusals(struct rest_request *request, struct fed_err *err)
{
    return answer_client(request, add_refusals, err);
}

/* -- times of clients -------------------------------------------------------------------------- */

/* A round's id counts over all sessions, its number within its own: null where it has no row. */
static void number_trainings(json_t *rows, const json_t *numbers)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        json_t *number = json_object_get(numbers, view_text(row, "round_id"));
        (void)json_object_set(row, "round_number", number == NULL ? json_null() : number);
    }
}

int rest_view_client_times(struct rest_request *request, struct fed_err *err)
{
    const char *client_id = rest_texts_find(&request->query, "client_id");
    struct store_query query = {0};
    char session_id[FED_ID_SIZE] = "";
    json_t *numbers = NULL;
    json_t *rows = NULL;
    int rc = view_read_session(request, session_id, err);

    rc = rc < 0 ? rc : view_read_numbers(request, session_id, "round_id", &numbers, err);
    view_add_filter(&query, "session_id", STORE_OP_EQ, session_id);
    if (client_id != NULL) {
        view_add_filter(&query, "sender.client_id", STORE_OP_EQ, client_id);
    }
    rc = rc < 0 ? rc : view_read_trainings(request, &query, &rows, err);
    number_trainings(rows, numbers);
    json_decref(numbers);
    return rc < 0 ? rc : view_answer(request, rows, NULL, err);
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
        json_pack("{s:s,s:s,s:I,s:s,s:I,s:f,s:f,s:f}", "session_id", view_text(round, "session_id"),
                  "round_id", view_text(round, "round_id"), "round_number", number, "combiner",
                  view_text(combiner, "name"), "updates",
                  json_integer_value(json_object_get(inside, "nr_aggregated_models")), "waiting_s",
                  waiting_s > 0 ? waiting_s : 0.0, "aggregation_s", sum_s, "loading_s", load_s));
}

static void add_combiners(void *arg, json_t *rows, const json_t *round)
{
    json_t *combiner;
    size_t i;

    (void)arg;
    json_array_foreach(json_object_get(round, "combiners"), i, combiner)
    {
        add_combiner_times(rows, round, combiner, get_integer(round, "round_number"));
    }
}

int rest_view_combiner_times(struct rest_request *request, struct fed_err *err)
{
    json_t *rows = NULL;
    const int rc = each_round(request, add_combiners, NULL, &rows, err);

    return rc < 0 ? rc : view_answer(request, rows, NULL, err);
}

/* -- the timeline of a round ------------------------------------------------------------------- */

struct timeline {
    json_t *rows;
    const json_t *round;
    double start_ms;
    double end_s;
};

static void
add_span(struct timeline *timeline, json_t *about, const char *phase, double start_s, double end_s)
{
    json_t *row = json_pack("{s:s,s:f,s:f}", "phase", phase, "start_s", start_s < 0 ? 0.0 : start_s,
                            "end_s", end_s < 0 ? 0.0 : end_s);

    (void)json_object_update(row, about);
    (void)json_array_append_new(timeline->rows, row);
}

/* Its download, training and upload, backwards from when its last status was stored. */
static void add_work(struct timeline *timeline, json_t *about, const json_t *training)
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
static void add_client(struct timeline *timeline, const json_t *asked, const json_t *trainings)
{
    const char *round_id = view_text(timeline->round, "round_id");
    json_t *about = describe_client(timeline->round, asked);
    const size_t before = json_array_size(timeline->rows);
    size_t i;
    json_t *training;

    json_array_foreach(trainings, i, training)
    {
        if (strcmp(view_text(training, "round_id"), round_id) == 0 &&
            strcmp(view_text(training, "client_id"), view_text(asked, "client_id")) == 0) {
            add_work(timeline, about, training);
        }
    }
    if (json_array_size(timeline->rows) == before) {
        add_span(timeline, about, "asked", 0, timeline->end_s);
    }
    json_decref(about);
}

/* Trainings of the round end after its plan; a late one within another deadline. */
static int
read_timeline(struct rest_request *request, struct timeline *timeline, struct fed_err *err)
{
    const json_int_t planned_ms = get_integer(timeline->round, "planned_utc_ms");
    const json_int_t deadline_ms = get_integer(timeline->round, "deadline_utc_ms");
    struct store_query query = {0};
    json_t *trainings = NULL;
    json_t *asked;
    char from[24];
    char until[24];
    size_t i;
    int rc;

    (void)snprintf(from, sizeof(from), "%lld", (long long)planned_ms);
    (void)snprintf(until, sizeof(until), "%lld", (long long)(2 * deadline_ms - planned_ms));
    view_add_filter(&query, "session_id", STORE_OP_EQ, view_text(timeline->round, "session_id"));
    view_add_filter(&query, "committed_at", STORE_OP_GTE, from);
    view_add_filter(&query, "committed_at", STORE_OP_LTE, until);
    rc = view_read_trainings(request, &query, &trainings, err);
    timeline->start_ms = (double)planned_ms;
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

int rest_view_timeline(struct rest_request *request, struct fed_err *err)
{
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
    return view_answer(request, timeline.rows, NULL, err);
}
