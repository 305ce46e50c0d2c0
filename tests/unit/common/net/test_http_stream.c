/* Against a real server (libmicrohttpd) in the same process. Broken connections, stalls and TLS are
 * tried where they matter: tests/contract/test_blob_s3.c. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/base/clock.h"
#include "common/net/http_stream.h"
#include "tests/lib/fixture.h"

#define BIG 3000000U

struct fixture {
    struct MHD_Daemon *server;
    struct fed_http_pool *pool;
    unsigned port;
    atomic_uint n_connections;
    char url[128];
    struct fed_err err;
};

/* -- the server: "METHOD SIZE SUM header", of what was sent; /none: 404; /moved: 302 ----------- */

struct seen {
    uint64_t n_bytes;
    uint64_t sum;
};

/* NOLINTNEXTLINE(readability-function-size): libmicrohttpd's signature */
static enum MHD_Result on_request(void *arg,
                                  struct MHD_Connection *connection,
                                  const char *url,
                                  const char *method,
                                  const char *version,
                                  const char *data,
                                  size_t *size,
                                  void **request)
{
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Name");
    const char *expect = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Expect");
    const unsigned status = strcmp(url, "/none") == 0    ? 404
                            : strcmp(url, "/moved") == 0 ? 302
                                                         : 200;
    struct seen *seen = *request;
    struct MHD_Response *response;
    char text[256];
    enum MHD_Result rc;

    (void)arg;
    (void)version;
    if (seen == NULL) {
        *request = calloc(1, sizeof(*seen));
        return *request == NULL ? MHD_NO : MHD_YES;
    }
    for (size_t i = 0; i < *size; i++) {
        seen->sum += (uint8_t)data[i] * ++seen->n_bytes;
    }
    if (*size > 0) {
        *size = 0;
        return MHD_YES;
    }
    (void)snprintf(text, sizeof(text), "%s %s%llu %llu %s", method, expect == NULL ? "" : "expect ",
                   (unsigned long long)seen->n_bytes, (unsigned long long)seen->sum,
                   header == NULL ? "-" : header);
    response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
    (void)MHD_add_response_header(response, "X-Long", url);
    (void)MHD_add_response_header(response, "ETag", "\"1\"");
    (void)MHD_add_response_header(response, "Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
    (void)MHD_add_response_header(response, "Location", "/echo");
    rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static void on_completed(void *arg,
                         struct MHD_Connection *connection,
                         void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)arg;
    (void)connection;
    (void)code;
    free(*request);
}

static void on_connection(void *arg,
                          struct MHD_Connection *connection,
                          void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct fixture *f = arg;

    (void)connection;
    (void)socket_context;
    (void)atomic_fetch_add(&f->n_connections, code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : 0);
}

static int set_up(void **state)
{
    static struct fixture f;
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct fed_http_pool_config config = {.connect_timeout_ms = TEST_WAIT_MS,
                                                .stall_ms = TEST_WAIT_MS};

    f = (struct fixture){0};
    f.server =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, &f,
                         MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                         NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, &f, MHD_OPTION_END);
    assert_non_null(f.server);
    f.port = MHD_get_daemon_info(f.server, MHD_DAEMON_INFO_BIND_PORT)->port;
    assert_int_equal(fed_http_pool_new(&config, &f.pool, NULL), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->pool = fed_http_pool_free(f->pool);
    MHD_stop_daemon(f->server);
    return 0;
}

static struct fed_http_exchange exchange_of(struct fixture *f, const char *method, const char *path)
{
    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u%s", f->port, path);
    return (struct fed_http_exchange){.method = method,
                                      .url = f->url,
                                      .timeout_ms = TEST_WAIT_MS,
                                      .text_max = 1000,
                                      .wanted = {"etag", "x-long", "x-absent"}};
}

static struct fed_http_answer run(struct fixture *f, const struct fed_http_exchange *exchange)
{
    struct fed_http_answer answer = {0};

    if (fed_http_exchange(f->pool, exchange, &answer, &f->err) < 0) {
        fail_msg("%s", f->err.msg);
    }
    return answer;
}

static void check(struct fixture *f, const struct fed_http_exchange *exchange, const char *want)
{
    struct fed_http_answer answer = run(f, exchange);

    assert_int_equal(answer.status, 200);
    assert_string_equal((const char *)answer.text.data, want);
    fed_http_answer_deinit(&answer);
}

static void test_methods_and_bodies(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/");
    uint8_t *bytes = calloc(BIG, 1);

    assert_non_null(bytes);
    check(f, &exchange, "GET 0 0 -");
    exchange.method = "DELETE";
    check(f, &exchange, "DELETE 0 0 -");
    exchange.method = "PUT"; /* without a body: a length of 0 is said */
    exchange.headers[exchange.n_headers++] = "X-Name: value";
    check(f, &exchange, "PUT 0 0 value");
    exchange.method = "POST";
    exchange.body = fed_view_str("\x01\x02\x03");
    check(f, &exchange, "POST 3 14 value");
    bytes[BIG - 1] = 1;
    exchange.method = "PUT";
    exchange.body = fed_view_of(bytes, BIG); /* and is not asked for first */
    check(f, &exchange, "PUT 3000000 3000000 value");
    assert_int_equal(atomic_load(&f->n_connections), 1); /* kept */
    free(bytes);
}

static void test_what_an_answer_says(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/none");
    struct fed_http_answer answer = run(f, &exchange);

    assert_int_equal(answer.status, 404);
    assert_int_equal(answer.size, strlen("GET 0 0 -"));
    assert_string_equal(answer.values[0], "\"1\"");
    assert_string_equal(answer.values[1], "/none");
    assert_string_equal(answer.values[2], "");
    assert_true(answer.date_utc_ms > 1700000000000U);
    assert_int_equal(answer.modified_utc_ms, 1445412480000U);
    fed_http_answer_deinit(&answer);
    exchange = exchange_of(f, "HEAD", "/");
    answer = run(f, &exchange);
    assert_int_equal(answer.size, strlen("HEAD 0 0 -"));
    assert_int_equal(answer.text.size, 0);
    fed_http_answer_deinit(&answer);
    exchange = exchange_of(f, "GET", "/moved");
    answer = run(f, &exchange);
    assert_int_equal(answer.status, 302); /* not followed */
    fed_http_answer_deinit(&answer);
}

static int
take(void *arg, const struct fed_http_answer *answer, struct fed_view data, struct fed_err *err)
{
    struct fed_buf *buf = arg;

    assert_int_equal(answer->status, 200);
    return buf->size_max == 1 ? fed_err_set(err, FED_E_CORRUPT, "not this")
                              : fed_buf_add(buf, data.data, data.size, err);
}

static void test_bodies_as_they_come(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/");
    struct fed_http_answer answer;
    struct fed_buf buf;

    fed_buf_init(&buf, 100);
    exchange.on_data = take;
    exchange.arg = &buf;
    answer = run(f, &exchange);
    assert_int_equal(answer.text.size, 0);
    assert_int_equal(buf.size, strlen("GET 0 0 -"));
    fed_http_answer_deinit(&answer);
    exchange = exchange_of(f, "GET", "/none"); /* a refusal's is no data */
    exchange.on_data = take;
    exchange.arg = &buf;
    answer = run(f, &exchange);
    assert_string_equal((const char *)answer.text.data, "GET 0 0 -");
    fed_http_answer_deinit(&answer);
    exchange = exchange_of(f, "GET", "/");
    exchange.on_data = take;
    exchange.arg = &buf;
    buf.size_max = 1;
    assert_int_equal(fed_http_exchange(f->pool, &exchange, &answer, &f->err), -FED_E_CORRUPT);
    assert_string_equal(f->err.msg, "not this");
    fed_buf_deinit(&buf);
}

static void test_bounds(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/");
    struct fed_http_answer answer;
    char path[100 + FED_HTTP_VALUE_SIZE];
    char url[sizeof(path) + 64];

    exchange.text_max = 3;
    assert_int_equal(fed_http_exchange(f->pool, &exchange, &answer, &f->err), -FED_E_LIMIT);
    exchange = exchange_of(f, "GET", "/none"); /* a refusal's text is cut */
    exchange.text_max = 3;
    answer = run(f, &exchange);
    assert_string_equal((const char *)answer.text.data, "GET");
    fed_http_answer_deinit(&answer);
    memset(path, 'p', sizeof(path) - 1); /* a header that is too long is none */
    path[sizeof(path) - 1] = '\0';
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/%s", f->port, path);
    exchange.url = url;
    exchange.text_max = 1000;
    answer = run(f, &exchange);
    assert_string_equal(answer.values[0], "\"1\"");
    assert_string_equal(answer.values[1], "");
    fed_http_answer_deinit(&answer);
}

/* A server whose answer's head never ends, a byte at a time. */
static void *trickle(void *arg)
{
    const int client = accept(*(int *)arg, NULL, NULL);
    const char *text = "HTTP/1.1 200 OK\r\nX-Long: ";

    while (send(client, *text == '\0' ? "x" : text, 1, MSG_NOSIGNAL) == 1) {
        text += *text == '\0' ? 0 : 1;
        (void)poll(NULL, 0, 20);
    }
    (void)close(client);
    return NULL;
}

static void test_a_head_that_never_ends(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const uint64_t start_ms = fed_clock_mono_ms();
    const uint64_t due_ms = start_ms + 300;
    struct fed_http_answer answer;
    char url[64];
    pthread_t thread;

    assert_int_equal(bind(listener, (struct sockaddr *)(void *)&address, size), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)(void *)&address, &size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, trickle, &listener), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
    exchange.url = url;
    exchange.due_ms = &due_ms;
    assert_int_equal(fed_http_exchange(f->pool, &exchange, &answer, &f->err), -FED_E_TIMEOUT);
    assert_in_range(fed_clock_mono_ms() - start_ms, 300, TEST_WAIT_MS / 2);
    (void)pthread_join(thread, NULL);
    (void)close(listener);
}

/* Who reads may give more time. */
static int give_time(void *arg,
                     const struct fed_http_answer *answer,
                     struct fed_view data,
                     struct fed_err *err)
{
    uint64_t *due_ms = arg;

    (void)answer;
    (void)data;
    (void)err;
    (void)poll(NULL, 0, 400);
    *due_ms += TEST_WAIT_MS;
    return 0;
}

static void test_time_is_given(void **state)
{
    struct fixture *f = *state;
    struct fed_http_exchange exchange = exchange_of(f, "GET", "/");
    uint64_t due_ms = fed_clock_mono_ms() + 300;
    struct fed_http_answer answer;

    exchange.on_data = give_time;
    exchange.arg = &due_ms;
    exchange.due_ms = &due_ms;
    exchange.timeout_ms = 0;
    answer = run(f, &exchange);
    assert_int_equal(answer.status, 200);
    fed_http_answer_deinit(&answer);
}

static void test_settings(void **state)
{
    struct fed_http_pool_config config = {.ca_file = "/nonexistent"};
    struct fed_http_pool *pool = NULL;
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(fed_http_pool_new(&config, &pool, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "/nonexistent"));
    assert_null(fed_http_pool_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_methods_and_bodies),     TEST(test_what_an_answer_says),
        TEST(test_bodies_as_they_come),    TEST(test_bounds),
        TEST(test_a_head_that_never_ends), TEST(test_time_is_given),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
