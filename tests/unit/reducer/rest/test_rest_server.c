#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/unit/reducer/rest/rest_fixture.h"

#define POLLS_N    200
#define PIECES_MAX 2048U

static void test_small_paths(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply = call(fixture, "GET", "/health", NULL);
    json_t *json;

    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.text, "OK");
    reply_deinit(&reply);
    json = expect(fixture, 200, "GET", "/version", NULL);
    assert_string_equal(text_at(json, "version"), CONFED_VERSION);
    json_decref(json);
    json_decref(expect(fixture, 200, "GET", "/ready", NULL));
    json = expect(fixture, 200, "GET", "/get_controller_status", NULL);
    assert_string_equal(text_at(json, "state"), "idle");
    json_decref(json);
    counters_add_refused(&fixture->counters, FED_REFUSAL_LATE);
    counters_add_refused(&fixture->counters, FED_REFUSAL_LATE);
    reply = call(fixture, "GET", "/metrics", NULL);
    assert_non_null(strstr(reply.text, "\nconfed_combiners_online 0\n"));
    assert_non_null(strstr(reply.text, "\nconfed_rest_failed_total 0\n"));
    assert_null(strstr(reply.text, "\nconfed_rest_requests_total 0\n"));
    assert_non_null(strstr(reply.text, "\nconfed_updates_refused_total{reason=\"late\"} 2\n"));
    assert_non_null(
        strstr(reply.text, "\nconfed_updates_refused_total{reason=\"not_finite\"} 0\n"));
    reply_deinit(&reply);
    json_decref(expect(fixture, 501, "POST", "/api/v1/graphql", "{\"query\":\"{a}\"}"));
    json_decref(expect(fixture, 410, "GET", "/list_models", NULL));
    json_decref(expect(fixture, 410, "PUT", "/api/v1/models/active", "{}"));
}

static void test_unknown_paths_and_methods(void **state)
{
    struct fixture *fixture = *state;

    json_decref(expect(fixture, 404, "GET", "/api/v1/statusesX", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/statuses/a/b", NULL));
    json_decref(expect(fixture, 404, "POST", "/nothing", "{}"));
    json_decref(expect(fixture, 405, "DELETE", "/api/v1/models/m", NULL));
    json_decref(expect(fixture, 405, "POST", "/health", "{}"));
    expect_head(fixture, "DELETE /api/v1/models/m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "Allow: PATCH, PUT, GET");
    expect_head(fixture, "BREW /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 405");
    expect_head(fixture, "OPTIONS /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 200");
    expect_head(fixture, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "Content-Length: 2");
}

static void test_collections_end_with_a_slash(void **state)
{
    struct fixture *fixture = *state;

    expect_head(fixture,
                "GET /api/v1/sessions?name=a%20b&x=1 HTTP/1.1\r\nHost: x\r\nConnection: "
                "close\r\n\r\n",
                "Location: /api/v1/sessions/?name=a%20b&x=1\r\n");
    expect_head(fixture,
                "POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
                "2\r\n\r\n{}",
                "HTTP/1.1 308");
    json_decref(expect(fixture, 200, "GET", "//api///v1/models/", NULL));
    json_decref(expect(fixture, 404, "GET", "//api/v1/packages/download", NULL));
}

static void test_authorization_is_of_no_interest(void **state)
{
    struct fixture *fixture = *state;
    static const char *const headers[] = {"Authorization: Bearer None", "Authorization: x",
                                          "Authorization: Basic YTpi"};

    for (size_t i = 0; i < 3; i++) {
        struct reply reply = call_with(fixture, "GET", "/api/v1/models/", headers[i]);
        assert_int_equal(reply.status, 200);
        reply_deinit(&reply);
    }
}

static void test_garbage_is_refused_and_harms_nobody(void **state)
{
    struct fixture *fixture = *state;
    static const char *const garbage[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /api/v1/models/ HTTP/9.9\r\nHost: x\r\n\r\n",
        "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
        "POST /api/v1/live HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
        "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"cut\":",
        "GET /api/v1/models/?%00%ff=%zz&&&=&=a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    };

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.timeout_ms = 1000});
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        char *answer = raw(fixture, garbage[i], strlen(garbage[i]));
        assert_null(strstr(answer, "HTTP/1.1 500"));
        free(answer);
        json_decref(expect(fixture, 200, "GET", "/api/v1/models/", NULL));
    }
}

static void test_heads_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    const size_t size = 1U << 20;
    char *head = malloc(size + 256);
    char *answer;
    int n;

    assert_non_null(head);
    n = snprintf(head, 256, "GET /api/v1/models/ HTTP/1.1\r\nHost: x\r\nX-Long: ");
    memset(head + n, 'a', size);
    memcpy(head + n + size, "\r\n\r\n", 5);
    answer = raw(fixture, head, strlen(head));
    assert_null(strstr(answer, "HTTP/1.1 2"));
    free(answer);
    free(head);
}

static void test_long_paths_are_nobodys(void **state)
{
    struct fixture *fixture = *state;
    char path[900] = "/api/v1/models/";

    memset(path + 15, 'a', 200);
    path[215] = '\0';
    json_decref(expect(fixture, 404, "GET", path, NULL));
    memset(path + 15, 'a', 800);
    path[815] = '\0';
    json_decref(expect(fixture, 404, "GET", path, NULL));
}

static void test_large_bodies_are_refused_unread(void **state)
{
    struct fixture *fixture = *state;

    expect_head(fixture,
                "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                "Content-Length: 1048577\r\n\r\n",
                "HTTP/1.1 413");
    expect_head(fixture,
                "POST /api/v1/models/ HTTP/1.1\r\nHost: x\r\nContent-Type: "
                "multipart/form-data; boundary=b\r\nContent-Length: 99999999999\r\n\r\n",
                "HTTP/1.1 413");
    expect_head(fixture, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
                "HTTP/1.1 413");
}

static void test_chunked_bodies_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    static const char head[] = "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n";
    const size_t piece = 65536;
    char *chunk = malloc(piece + 16);
    const int fd = raw_connect(fixture);
    size_t sent = 0;

    assert_non_null(chunk);
    (void)!send(fd, head, strlen(head), MSG_NOSIGNAL);
    memcpy(chunk, "10000\r\n", 7);
    memset(chunk + 7, ' ', piece);
    memcpy(chunk + 7 + piece, "\r\n", 2);
    while (sent < PIECES_MAX && send(fd, chunk, piece + 9, MSG_NOSIGNAL) > 0) {
        sent++;
    }
    assert_true(sent < PIECES_MAX); /* the server has closed after its limit, 16 of them */
    (void)close(fd);
    free(chunk);
    json_decref(expect(fixture, 200, "GET", "/api/v1/models/", NULL));
}

static void test_slow_requests_end(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t begin_ms = fed_clock_mono_ms();
    char byte;
    int fd;

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.timeout_ms = 1000});
    fd = raw_connect(fixture);
    (void)!send(fd, "GET /health HTT", 15, MSG_NOSIGNAL);
    assert_true(recv(fd, &byte, 1, 0) <= 0); /* silent: closed */
    assert_true(fed_clock_mono_ms() - begin_ms < 10000);
    (void)close(fd);
}

/* A byte now and then is not silence, but late all the same. */
static void test_dripping_requests_end(void **state)
{
    struct fixture *fixture = *state;
    const struct timeval pace = {.tv_usec = 200000};
    const uint64_t begin_ms = fed_clock_mono_ms();
    ssize_t got = -1;
    char byte;
    int fd;

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.timeout_ms = 1000});
    fd = raw_connect(fixture);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pace, sizeof(pace));
    while (got < 0 && fed_clock_mono_ms() - begin_ms < 10000 &&
           send(fd, "G", 1, MSG_NOSIGNAL) == 1) {
        got = recv(fd, &byte, 1, 0); /* -1: nothing yet; 0: closed */
    }
    assert_true(fed_clock_mono_ms() - begin_ms < 10000);
    (void)close(fd);
}

static void test_bodies_share_a_bound(void **state)
{
    struct fixture *fixture = *state;
    static const char head[] = "POST /api/v1/sessions/ HTTP/1.1\r\nHost: x\r\nContent-Length: "
                               "1000\r\n\r\n";
    char part[900];
    int fds[4];
    int n_refused = 0;

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.bodies_max = 3000});
    memset(part, ' ', sizeof(part));
    for (size_t i = 0; i < 4; i++) { /* one is too many, but is read to its end */
        fds[i] = raw_connect(fixture);
        assert_true(send(fds[i], head, strlen(head), MSG_NOSIGNAL) > 0);
        assert_true(send(fds[i], part, sizeof(part), MSG_NOSIGNAL) > 0);
    }
    for (size_t i = 4; i > 0; i--) {
        char answer[512] = "";
        assert_true(send(fds[i - 1], part, 100, MSG_NOSIGNAL) > 0);
        assert_true(recv(fds[i - 1], answer, sizeof(answer) - 1, 0) > 0);
        n_refused += strstr(answer, "HTTP/1.1 503") != NULL ? 1 : 0;
        (void)close(fds[i - 1]);
    }
    assert_int_equal(n_refused, 1);
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", "{}"));
}

static void test_values_of_a_body_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    const size_t size = 100000;
    char *body = malloc(size + 16);

    assert_non_null(body);
    memset(body, '[', size);
    body[size] = '\0';
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", body));
    memcpy(body, "{\"a\":\"", 6);
    memset(body + 6, ',', size - 8);
    memcpy(body + size - 2, "\"}", 3);
    json_decref(expect(fixture, 200, "POST", "/api/v1/models/list", body)); /* one long text */
    free(body);
}

/* Long polls cost a suspended connection each, no thread: others are served meanwhile. */
static void test_long_polls(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "GET /api/v1/live?after=1&wait_ms=30000 HTTP/1.1\r\nHost: x\r\n"
                                  "Connection: close\r\n\r\n";
    int fds[POLLS_N];

    for (size_t i = 0; i < POLLS_N; i++) {
        fds[i] = raw_connect(fixture);
        assert_true(send(fds[i], request, strlen(request), MSG_NOSIGNAL) > 0);
    }
    fixture_wait_polls(fixture, POLLS_N);
    json_decref(expect(fixture, 200, "GET", "/api/v1/models/", NULL));
    json_decref(expect(fixture, 200, "GET", "/api/v1/live", NULL));
    (void)close(fds[0]); /* one does not wait for it */
    fixture_bump(fixture);
    for (size_t i = 1; i < POLLS_N; i++) {
        char answer[1024] = "";
        size_t n = 0;
        ssize_t got;
        while (n < sizeof(answer) - 1 &&
               (got = recv(fds[i], answer + n, sizeof(answer) - 1 - n, 0)) > 0) {
            n += (size_t)got;
        }
        assert_non_null(strstr(answer, "HTTP/1.1 200"));
        assert_non_null(strstr(answer, "\"seq\":2"));
        (void)close(fds[i]);
    }
}

static void test_live_arguments(void **state)
{
    struct fixture *fixture = *state;

    json_decref(expect(fixture, 200, "GET", "/api/v1/live?after=0&wait_ms=99999999", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/live?after=x", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/live?after=-1", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/live?wait_ms=", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/live?wait_ms=99999999999999999999", NULL));
}

static void test_close_answers_long_polls(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "GET /api/v1/live?after=1&wait_ms=30000 HTTP/1.1\r\nHost: x\r\n"
                                  "Connection: close\r\n\r\n";
    const int fd = raw_connect(fixture);
    char answer[1024] = "";

    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
    fixture_wait_polls(fixture, 1);
    rest_server_close(fixture->server);
    /* The host still has the ask: the answer is the server's own. */
    assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
    assert_non_null(strstr(answer, "HTTP/1.1 503"));
    (void)close(fd);
    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){0});
}

/* free() sends what it has answered. */
static void test_end_with_a_poll_out(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "GET /api/v1/live?after=1&wait_ms=30000 HTTP/1.1\r\nHost: x\r\n"
                                  "Connection: close\r\n\r\n";
    const int fd = raw_connect(fixture);
    char answer[1024] = "";

    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
    fixture_wait_polls(fixture, 1);
    fixture_stop(fixture);
    assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
    assert_non_null(strstr(answer, "HTTP/1.1 503"));
    (void)close(fd);
}

static void test_other_sites_change_nothing(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *origin;
        const char *status;
    } cases[] = {
        {"Origin: http://evil.example\r\n", "HTTP/1.1 403"},
        {"Origin: null\r\n", "HTTP/1.1 403"},
        {"Origin: http://127.0.0.1:80@evil.example\r\n", "HTTP/1.1 403"},
        {"Origin: http://127.0.0.1:8092.evil.example\r\n", "HTTP/1.1 403"},
        {"Origin: http://127.0.0.1:8093\r\n", "HTTP/1.1 403"},
        {"Origin: \r\n", "HTTP/1.1 403"},
        {"Origin: http://127.0.0.1:8092\r\n", "HTTP/1.1 400"}, /* let in: it lacks its keys */
        {"Origin: https://127.0.0.1:8092\r\n", "HTTP/1.1 400"},
        {"", "HTTP/1.1 400"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char request[512];
        (void)snprintf(request, sizeof(request),
                       "POST /api/v1/sessions/start HTTP/1.1\r\nHost: 127.0.0.1:8092\r\n%s"
                       "Content-Type: application/json\r\nContent-Length: 2\r\n"
                       "Connection: close\r\n\r\n{}",
                       cases[i].origin);
        expect_head(fixture, request, cases[i].status);
    }
    expect_head(fixture, /* a page may be led here */
                "GET /health HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n"
                "Connection: close\r\n\r\n",
                "HTTP/1.1 200");
}

static void test_headers_for_browsers(void **state)
{
    struct fixture *fixture = *state;
    const char *request = "GET /version HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n"
                          "Connection: close\r\n\r\n";
    char *text = raw(fixture, request, strlen(request));

    assert_non_null(strstr(text, "X-Content-Type-Options: nosniff\r\n"));
    assert_null(strstr(text, "Access-Control-")); /* no other site's page may read it */
    free(text);
}

static void test_addresses(void **state)
{
    struct fixture *fixture = *state;
    static const char *const wrong[] = {
        "", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:99999999", "no.such.host.invalid:0"};
    struct host host = fixture->host;
    struct rest_server *server = NULL;
    struct rest_config config = {0};
    char taken[32];
    struct fed_err err;

    host.feed = NULL; /* that is the other server's */
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        config.listen = wrong[i];
        assert_true(rest_server_new(&config, &host, &server, &err) < 0);
        assert_int_equal(err.code, FED_E_INVALID);
    }
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u",
                   (unsigned)rest_server_port(fixture->server));
    config.listen = taken;
    assert_true(rest_server_new(&config, &host, &server, &err) < 0);
    assert_int_equal(err.code, FED_E_IO);
    assert_non_null(strstr(err.msg, taken));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_paths),
        TEST(test_unknown_paths_and_methods),
        TEST(test_collections_end_with_a_slash),
        TEST(test_authorization_is_of_no_interest),
        TEST(test_garbage_is_refused_and_harms_nobody),
        TEST(test_heads_are_bounded),
        TEST(test_long_paths_are_nobodys),
        TEST(test_large_bodies_are_refused_unread),
        TEST(test_chunked_bodies_are_bounded),
        TEST(test_slow_requests_end),
        TEST(test_dripping_requests_end),
        TEST(test_bodies_share_a_bound),
        TEST(test_values_of_a_body_are_bounded),
        TEST(test_long_polls),
        TEST(test_live_arguments),
        TEST(test_close_answers_long_polls),
        TEST(test_end_with_a_poll_out),
        TEST(test_addresses),
        TEST(test_other_sites_change_nothing),
        TEST(test_headers_for_browsers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
