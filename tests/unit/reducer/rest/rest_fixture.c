#include "tests/unit/reducer/rest/rest_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/blocking.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/net/http_client.h"
#include "reducer/rest/feed.h"

#define ANSWER_MAX (64UL * 1024UL * 1024UL)
#define WAIT_S     20

/* -- the host --------------------------------------------------------------------------------- */

static void answer(struct host_ask *ask, int status, json_t *output)
{
    ask->http_status = status;
    ask->output = output;
    ask->done(ask);
}

static json_t *live_state(const struct fixture *fixture)
{
    json_t *live = json_pack("{s:i,s:s,s:[],s:[],s:n,s:n}", "seq", fixture->seq, "state",
                             fixture->is_running ? "monitoring" : "idle", "clients", "combiners",
                             "session", "round");

    if (fixture->online_client != NULL) {
        (void)json_array_append_new(
            json_object_get(live, "clients"),
            json_pack("{s:s,s:s}", "client_id", fixture->online_client, "status", "online"));
    }
    if (fixture->online_combiner != NULL) {
        (void)json_array_append_new(
            json_object_get(live, "combiners"),
            json_pack("{s:s,s:s}", "combiner_id", fixture->online_combiner, "status", "online"));
    }
    return live;
}

static void answer_assign(struct fixture *fixture, struct host_ask *ask)
{
    json_decref(fixture->assigned);
    fixture->assigned = json_incref(ask->input);
    if (!fixture->has_combiner) {
        answer(ask, 203,
               json_pack("{s:s,s:s,s:b}", "message", "No combiner available.", "status", "retry",
                         "success", 0));
        return;
    }
    answer(ask, 200,
           json_pack("{s:O,s:n,s:s,s:s,s:s,s:O,s:i,s:s}", "client_id",
                     json_object_get(ask->input, "client_id"), "fqdn", "helper_type", "", "host",
                     "127.0.0.1", "ip", "", "package", json_object_get(ask->input, "package"),
                     "port", 12080, "status", "assigned"));
}

/* The host's writing to the store, as the reducer's; here on its loop, since it is in memory. */
static void set_status(struct fixture *fixture, struct host_ask *ask, const char *status)
{
    const char *id = text_at(ask->input, "session_id");
    json_t *document = NULL;

    fed_blocking_allow(true);
    assert_int_equal(store_get(fixture->host.store, STORE_SESSIONS, id, &document, NULL), 0);
    (void)json_object_set_new(document, "status", json_string(status));
    (void)json_object_set(document, "_input", ask->input);
    assert_int_equal(store_put(fixture->host.store, STORE_SESSIONS, document, NULL), 0);
    fed_blocking_allow(false);
    json_decref(document);
}

static void answer_forget(const struct fixture *fixture, struct host_ask *ask)
{
    const char *id = json_string_value(json_object_get(ask->input, "client_id"));
    const char *online = id != NULL ? fixture->online_client : fixture->online_combiner;
    bool is_online;

    id = id != NULL ? id : text_at(ask->input, "combiner_id");
    is_online = online != NULL && strcmp(id, online) == 0;
    answer(ask, is_online ? 409 : 200, json_pack("{s:s}", "message", "as the host says"));
}

static void handle(void *arg)
{
    struct host_ask *ask = arg;
    struct fixture *fixture = ask->host;
    const json_int_t after = json_integer_value(json_object_get(ask->input, "after"));
    const json_int_t wait_ms = json_integer_value(json_object_get(ask->input, "wait_ms"));

    switch (ask->verb) {
    case HOST_ASSIGN:
        answer_assign(fixture, ask);
        break;
    case HOST_SESSION_START:
        if (fixture->is_running) {
            answer(ask, 400, json_pack("{s:s}", "message", "A session is already running!"));
            break;
        }
        set_status(fixture, ask, "Started");
        answer(ask, 200, json_pack("{s:s}", "message", "Session started"));
        break;
    case HOST_SESSION_STOP:
        set_status(fixture, ask, "Terminated");
        answer(ask, 200, json_pack("{s:s}", "message", "Session stopping"));
        break;
    case HOST_LIVE:
        if (wait_ms > 0 && after >= fixture->seq && !fixture->is_ending) {
            fed_list_add(&fixture->polls, &ask->link);
            (void)pthread_mutex_lock(&fixture->lock);
            fixture->n_polls++;
            (void)pthread_cond_signal(&fixture->arrived);
            (void)pthread_mutex_unlock(&fixture->lock);
            break;
        }
        answer(ask, 200, live_state(fixture));
        break;
    case HOST_FORGET:
        answer_forget(fixture, ask);
        break;
    case HOST_LISTEN:
        (void)feed_hear(fixture->host.feed);
        answer(ask, 200, json_object());
        break;
    case HOST_PRUNE:
    case HOST_DOCTOR:
    case HOST_DISK:
        answer(ask, 200, json_deep_copy(ask->input));
        break;
    }
}

static void submit(struct host *host, struct host_ask *ask)
{
    struct fixture *fixture = FED_CONTAINER_OF(host, struct fixture, host);

    ask->host = fixture;
    fed_event_init(&ask->event, handle, ask);
    fed_loop_post(fixture->loop, &ask->event);
}

static void answer_polls(struct fixture *fixture)
{
    struct fed_link *link;

    fixture->seq++;
    while ((link = fed_list_take(&fixture->polls)) != NULL) {
        struct host_ask *ask = FED_CONTAINER_OF(link, struct host_ask, link);
        answer(ask, fixture->is_ending ? 503 : 200,
               fixture->is_ending ? json_pack("{s:s}", "message", "ending") : live_state(fixture));
    }
    (void)pthread_mutex_lock(&fixture->lock);
    fixture->n_polls = 0;
    (void)pthread_mutex_unlock(&fixture->lock);
}

static void on_bump(void *arg)
{
    answer_polls(arg);
}

static void on_end(void *arg)
{
    struct fixture *fixture = arg;

    fixture->is_ending = true;
    answer_polls(fixture);
}

static void *run_loop(void *arg)
{
    fed_loop_run(arg);
    return NULL;
}

void fixture_bump(struct fixture *fixture)
{
    fed_loop_post(fixture->loop, &fixture->bump_event);
}

void fixture_wait_polls(struct fixture *fixture, size_t n)
{
    (void)pthread_mutex_lock(&fixture->lock);
    while (fixture->n_polls < n) {
        (void)pthread_cond_wait(&fixture->arrived, &fixture->lock); /* ctest has the deadline */
    }
    (void)pthread_mutex_unlock(&fixture->lock);
}

/* -- life ------------------------------------------------------------------------------------- */

void fixture_start(struct fixture *fixture, struct rest_config config)
{
    struct fed_err err = {0};

    config.listen = "127.0.0.1:0";
    fixture->is_ending = false;
    if (rest_server_new(&config, &fixture->host, &fixture->server, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    (void)snprintf(fixture->base, sizeof(fixture->base), "http://127.0.0.1:%u",
                   (unsigned)rest_server_port(fixture->server));
}

void fixture_stop(struct fixture *fixture)
{
    if (fixture->server != NULL) {
        rest_server_close(fixture->server);
        fed_loop_post(fixture->loop, &fixture->end_event);
        fixture->server = rest_server_free(fixture->server);
    }
}

int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    (void)pthread_mutex_init(&fixture->lock, NULL);
    (void)pthread_cond_init(&fixture->arrived, NULL);
    fed_list_init(&fixture->polls);
    fed_event_init(&fixture->bump_event, on_bump, fixture);
    fed_event_init(&fixture->end_event, on_end, fixture);
    fixture->seq = 1;
    fixture->has_combiner = true;
    fixture->host.submit = submit;
    fixture->host.counters = &fixture->counters;
    assert_int_equal(store_open("mem:", &fixture->host.store, NULL), 0);
    assert_int_equal(blob_open("mem:", &fixture->host.blobs, NULL), 0);
    assert_int_equal(feed_new(&fixture->host.feed, NULL), 0);
    assert_int_equal(fed_loop_new(&fixture->loop, NULL), 0);
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture->loop), 0);
    fixture_start(fixture, (struct rest_config){0});
    *state = fixture;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;

    fixture_stop(fixture);
    fed_loop_stop(fixture->loop);
    (void)pthread_join(fixture->thread, NULL);
    fixture->loop = fed_loop_free(fixture->loop);
    fixture->host.store = store_close(fixture->host.store);
    fixture->host.blobs = blob_close(fixture->host.blobs);
    fixture->host.feed = feed_free(fixture->host.feed);
    json_decref(fixture->assigned);
    (void)pthread_mutex_destroy(&fixture->lock);
    (void)pthread_cond_destroy(&fixture->arrived);
    free(fixture);
    return 0;
}

/* -- requests --------------------------------------------------------------------------------- */

void reply_deinit(struct reply *reply)
{
    free(reply->text);
    json_decref(reply->json);
    *reply = (struct reply){0};
}

static struct reply run(struct fed_http_request *request)
{
    struct fed_http_response response = {0};
    struct fed_err err = {0};
    struct reply reply = {0};

    request->timeout_ms = WAIT_S * 1000UL;
    request->response_max = ANSWER_MAX;
    if (fed_http_run(request, &response, &err) < 0) {
        fail_msg("%s %s: %s", request->method, request->url, err.msg);
    }
    reply.status = response.status;
    reply.size = response.body.size;
    reply.text = calloc(1, response.body.size + 1);
    assert_non_null(reply.text);
    if (response.body.size > 0) {
        memcpy(reply.text, response.body.data, response.body.size);
    }
    reply.json = json_loads(reply.text, JSON_DECODE_ANY, NULL);
    fed_http_response_deinit(&response);
    return reply;
}

struct reply call(struct fixture *fixture, const char *method, const char *path, const char *body)
{
    char url[1024];
    struct fed_http_request request = {.method = method, .url = url};

    (void)snprintf(url, sizeof(url), "%s%s", fixture->base, path);
    if (body != NULL) {
        request.body = fed_view_str(body);
        request.content_type = "application/json";
    }
    return run(&request);
}

struct reply
call_with(struct fixture *fixture, const char *method, const char *path, const char *header)
{
    char url[1024];
    struct fed_http_request request = {.method = method, .url = url};

    (void)snprintf(url, sizeof(url), "%s%s", fixture->base, path);
    request.headers[0] = header;
    request.n_headers = 1;
    return run(&request);
}

json_t *
expect(struct fixture *fixture, long status, const char *method, const char *path, const char *body)
{
    struct reply reply = call(fixture, method, path, body);
    json_t *json = json_incref(reply.json);

    if (reply.status != status) {
        fail_msg("%s %s %s: %ld, want %ld: %s", method, path, body == NULL ? "" : body,
                 reply.status, status, reply.text);
    }
    if (status >= 400 && status != 405) { /* every refusal says what and why */
        assert_non_null(text_at(json, "message"));
        assert_non_null(text_at(json, "code"));
    }
    reply_deinit(&reply);
    return json;
}

struct reply upload(struct fixture *fixture,
                    const char *path,
                    const char *file_name,
                    struct fed_view bytes,
                    const char *name)
{
    char url[256];
    char temp[] = "/tmp/confed-test-rest-XXXXXX";
    const int fd = mkstemp(temp);
    struct fed_http_form form = {
        .file_path = temp,
        .file_name = file_name,
        .names = {"name", "helper"},
        .values = {name, "numpyhelper"},
        .n_texts = 2,
    };
    struct fed_http_request request = {.method = "POST", .url = url, .form = &form};
    struct reply reply;

    assert_true(fd >= 0);
    assert_int_equal(fed_file_write(fd, bytes.data, bytes.size, NULL), 0);
    (void)close(fd);
    (void)snprintf(url, sizeof(url), "%s%s", fixture->base, path);
    reply = run(&request);
    (void)unlink(temp);
    return reply;
}

int raw_connect(const struct fixture *fixture)
{
    const struct timeval wait = {.tv_sec = WAIT_S};
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(rest_server_port(fixture->server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

char *raw(struct fixture *fixture, const void *bytes, size_t size)
{
    const int fd = raw_connect(fixture);
    char *text = calloc(1, 65536);
    size_t n = 0;
    ssize_t got;

    assert_non_null(text);
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    while (n < 65535 && (got = recv(fd, text + n, 65535 - n, 0)) > 0) {
        n += (size_t)got;
    }
    (void)close(fd);
    return text;
}

const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

void expect_head(struct fixture *fixture, const char *request, const char *head)
{
    char *answer = raw(fixture, request, strlen(request));

    if (strstr(answer, head) == NULL) {
        fail_msg("%.200s\n answered: %.400s\n want: %s", request, answer, head);
    }
    free(answer);
}
