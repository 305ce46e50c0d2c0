/* The live federation, and the server's own state. */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "reducer/rest/counters.h"
#include "reducer/rest/feed.h"
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define WAIT_MAX_MS 30000

static int read_argument(const struct rest_request *request,
                         const char *name,
                         long long max,
                         json_t *input,
                         struct fed_err *err)
{
    const char *text = rest_texts_find(&request->query, name);
    char *end = NULL;
    long long value;

    if (text == NULL) {
        return 0;
    }
    value = strtoll(text, &end, 10);
    if (*text == '\0' || strlen(text) > 18 || *end != '\0' || value < 0) {
        return fed_err_set(err, FED_E_INVALID, "%s must be a whole number, 0 or more", name);
    }
    value = value > max ? max : value;
    return json_object_set_new(input, name, json_integer(value)) < 0
               ? fed_err_set(err, FED_E_NOMEM, "ask")
               : 0;
}

int rest_live(struct rest_request *request, struct fed_err *err)
{
    json_t *input = json_object();
    int rc = read_argument(request, "after", INT64_MAX, input, err);

    if (rc == 0) {
        rc = read_argument(request, "wait_ms", WAIT_MAX_MS, input, err);
    }
    if (rc < 0) {
        json_decref(input);
        return rc;
    }
    return rest_ask(request, HOST_LIVE, input, NULL, err);
}

static int answer_state(struct rest_request *request, struct fed_err *err)
{
    const char *state = json_string_value(json_object_get(request->ask.output, "state"));

    if (request->ask.status != 200 || state == NULL) {
        return rest_answer_host(request, err);
    }
    return rest_answer_json(request, 200, json_pack("{s:s}", "state", state), err);
}

int rest_state(struct rest_request *request, struct fed_err *err)
{
    return rest_ask(request, HOST_LIVE, json_object(), answer_state, err);
}

/* Alive; a line more for each thing that is awaited: not yet started, a store that is away. */
static int answer_health(struct rest_request *request, struct fed_err *err)
{
    const json_t *troubles = json_object_get(request->ask.output, "trouble");
    const char *message = json_string_value(json_object_get(request->ask.output, "message"));
    int rc = rest_answer_text(request, 200, "OK", err);

    if (rc == 0 && request->ask.status != 200 && message != NULL) {
        rc = fed_buf_addf(&request->answer.body, err, "\n%s", message);
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(troubles); i++) {
        rc = fed_buf_addf(&request->answer.body, err, "\nwaits for %s",
                          json_string_value(json_array_get(troubles, i)));
    }
    return rc;
}

int rest_health(struct rest_request *request, struct fed_err *err)
{
    return rest_ask(request, HOST_LIVE, json_object(), answer_health, err);
}

static int answer_ready(struct rest_request *request, struct fed_err *err)
{
    if (request->ask.status != 200) {
        return rest_answer_host(request, err);
    }
    return rest_answer_json(request, 200,
                            json_pack("{s:b,s:O*,s:O*}", "ready", 1, "trouble",
                                      json_object_get(request->ask.output, "trouble"), "waits_for",
                                      json_object_get(request->ask.output, "waits_for")),
                            err);
}

/* Ready: the store answers and the loop does; and what it waits for. */
int rest_ready(struct rest_request *request, struct fed_err *err)
{
    const struct store_query query = {.limit = 1};
    json_t *documents = NULL;
    const int rc =
        store_find(request->shared->host->store, STORE_FEDERATION, &query, &documents, NULL, err);

    json_decref(documents);
    if (rc < 0) {
        return rc;
    }
    return rest_ask(request, HOST_LIVE, json_object(), answer_ready, err);
}

int rest_version(struct rest_request *request, struct fed_err *err)
{
    return rest_answer_json(request, 200, json_pack("{s:s}", "version", CONFED_VERSION), err);
}

static size_t count_status(const json_t *items, const char *status)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(items); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(items, i), "status"));
        n += text != NULL && strcmp(text, status) == 0 ? 1 : 0;
    }
    return n;
}

static int add_live_metrics(struct fed_buf *buf, const json_t *live, struct fed_err *err)
{
    static const char *const statuses[] = {"online", "offline", "available"};
    const json_t *session = json_object_get(live, "session");
    const json_t *round = json_object_get(live, "round");
    int rc = fed_buf_addf(buf, err,
                          "# HELP confed_clients Clients by status.\n"
                          "# TYPE confed_clients gauge\n");

    for (size_t i = 0; rc == 0 && i < 3; i++) {
        rc = fed_buf_addf(buf, err, "confed_clients{status=\"%s\"} %zu\n", statuses[i],
                          count_status(json_object_get(live, "clients"), statuses[i]));
    }
    if (rc == 0) {
        rc = fed_buf_addf(
            buf, err,
            "# HELP confed_combiners_online Combiners with a live link.\n"
            "# TYPE confed_combiners_online gauge\nconfed_combiners_online %zu\n"
            "# HELP confed_session_rounds_done Rounds ended in the running or last session.\n"
            "# TYPE confed_session_rounds_done gauge\nconfed_session_rounds_done %lld\n"
            "# HELP confed_session_failed_rounds Rounds failed in the running or last session.\n"
            "# TYPE confed_session_failed_rounds gauge\nconfed_session_failed_rounds %lld\n"
            "# HELP confed_round_open Whether a round is open.\n"
            "# TYPE confed_round_open gauge\nconfed_round_open %d\n",
            count_status(json_object_get(live, "combiners"), "online"),
            (long long)json_integer_value(json_object_get(session, "rounds_done")),
            (long long)json_integer_value(json_object_get(session, "failed_rounds")),
            json_is_object(round));
    }
    return rc;
}

static int answer_metrics(struct rest_request *request, struct fed_err *err)
{
    struct rest_answer *answer = &request->answer;
    const struct host *host = request->shared->host;
    const uint64_t up_ms = fed_clock_mono_ms() - request->shared->started_ms;
    int rc = rest_answer_text(request, 200, "", err);

    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    if (rc == 0) {
        rc = fed_buf_addf(&answer->body, err,
                          "# HELP confed_up_seconds Seconds since the server started.\n"
                          "# TYPE confed_up_seconds gauge\nconfed_up_seconds %llu\n"
                          "# HELP confed_event_streams Event streams that are open.\n"
                          "# TYPE confed_event_streams gauge\nconfed_event_streams %zu\n",
                          (unsigned long long)(up_ms / 1000),
                          host->feed == NULL ? 0 : feed_count_readers(host->feed));
    }
    rc = rc < 0 ? rc : counters_format(host->counters, &answer->body, err);
    if (rc == 0 && request->ask.status == 200) {
        rc = add_live_metrics(&answer->body, request->ask.output, err);
    }
    return rc;
}

int rest_metrics(struct rest_request *request, struct fed_err *err)
{
    return rest_ask(request, HOST_LIVE, json_object(), answer_metrics, err);
}
