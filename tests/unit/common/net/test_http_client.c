/* Against a real server (libmicrohttpd) in the same process, and against nobody. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/base/clock.h"
#include "common/base/unconst.h"
#include "common/net/http_client.h"
#include "tests/lib/fixture.h"

#define BIG 300000U

struct fixture {
    struct test_folder folder;
    struct MHD_Daemon *server;
    unsigned port;
    char url[128];
    struct test_gate slow; /* an answer to /slow waits for it */
    struct fed_err err;
};

/* -- the server ----------------------------------------------------------------------------------
 */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), fed_unconst(text), MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc;

    if (status == 302) {
        (void)MHD_add_response_header(response, "Location", "/echo");
    }
    rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result answer_big(struct MHD_Connection *connection)
{
    char *text = malloc(BIG + 1);
    enum MHD_Result rc;

    memset(text, 'b', BIG);
    text[BIG] = '\0';
    rc = answer(connection, 200, text);
    free(text);
    return rc;
}

/* "METHOD type header: body", of whatever was sent. */
static enum MHD_Result
answer_echo(struct MHD_Connection *connection, const char *method, const struct fed_buf *body)
{
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    const char *limit = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Limit");
    char text[2048];

    (void)snprintf(text, sizeof(text), "%s %.30s %s: %.*s", method, type == NULL ? "-" : type,
                   limit == NULL ? "-" : limit, (int)body->size, (const char *)body->data);
    return answer(connection, 200, text);
}

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
    struct fixture *f = arg;
    struct fed_buf *body = *request;

    (void)version;
    if (body == NULL) {
        *request = calloc(1, sizeof(*body));
        return *request == NULL ? MHD_NO : MHD_YES;
    }
    if (*size > 0) {
        const int rc = fed_buf_add(body, data, *size, NULL);
        *size = 0;
        return rc == 0 ? MHD_YES : MHD_NO;
    }
    if (strcmp(url, "/echo") == 0) {
        return answer_echo(connection, method, body);
    }
    if (strcmp(url, "/big") == 0) {
        return answer_big(connection);
    }
    if (strcmp(url, "/moved") == 0) {
        return answer(connection, 302, "");
    }
    if (strcmp(url, "/slow") == 0) {
        test_gate_wait(&f->slow, 1);
    }
    return answer(connection, strcmp(url, "/none") == 0 ? 404 : 200, "the answer");
}

static void on_completed(void *arg,
                         struct MHD_Connection *connection,
                         void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct fed_buf *body = *request;

    (void)arg;
    (void)connection;
    (void)code;
    if (body != NULL) {
        fed_buf_deinit(body);
        free(body);
    }
}

static int set_up(void **state)
{
    static struct fixture f;
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const union MHD_DaemonInfo *info;

    test_folder_make(&f.folder);
    test_gate_init(&f.slow);
    f.server = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, &f,
                                MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED,
                                on_completed, NULL, MHD_OPTION_END);
    assert_non_null(f.server);
    info = MHD_get_daemon_info(f.server, MHD_DAEMON_INFO_BIND_PORT);
    assert_non_null(info);
    f.port = info->port;
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    test_gate_open(&f->slow);
    MHD_stop_daemon(f->server);
    test_gate_deinit(&f->slow);
    test_folder_remove(&f->folder);
    return 0;
}

/* -- steps ---------------------------------------------------------------------------------------
 */

static struct fed_http_request get(struct fixture *f, const char *path)
{
    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u%s", f->port, path);
    return (struct fed_http_request){
        .method = "GET", .url = f->url, .timeout_ms = TEST_WAIT_MS, .response_max = 1000};
}

static void
check(struct fixture *f, const struct fed_http_request *request, long status, const char *want)
{
    struct fed_http_response response;

    if (fed_http_run(request, &response, &f->err) < 0) {
        fail_msg("%s", f->err.msg);
    }
    assert_int_equal(response.status, status);
    assert_string_equal((const char *)response.body.data, want);
    assert_int_equal(response.body.size, strlen(want));
    fed_http_response_deinit(&response);
}

static void check_failure(struct fixture *f, const struct fed_http_request *request, int want)
{
    struct fed_http_response response;
    const int rc = fed_http_run(request, &response, &f->err);

    if (rc != want) {
        fail_msg("%d (%s), want %d", rc, f->err.msg, want);
    }
}

static void test_answers_of_any_status(void **state)
{
    struct fixture *f = *state;
    struct fed_http_request request = get(f, "/x");

    check(f, &request, 200, "the answer");
    request = get(f, "/none");
    check(f, &request, 404, "the answer");
    request = get(f, "/moved");
    check(f, &request, 200, "GET - -: ");
}

static void test_methods_bodies_headers(void **state)
{
    struct fixture *f = *state;
    struct fed_http_request request = get(f, "/echo");

    request.method = "PATCH";
    request.headers[0] = "X-Limit: 5";
    request.n_headers = 1;
    request.content_type = "application/json";
    request.body = fed_view_str("{\"a\":1}");
    check(f, &request, 200, "PATCH application/json 5: {\"a\":1}");
    request.method = "POST";
    request.body = (struct fed_view){0};
    check(f, &request, 200, "POST application/json 5: ");
    request = get(f, "/echo");
    request.method = "DELETE";
    check(f, &request, 200, "DELETE - -: ");
}

static void test_forms(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    struct fed_http_form form = {.file_path = test_path(&f->folder, "in", path),
                                 .file_name = "model.npz",
                                 .names = {"helper"},
                                 .values = {"numpyhelper"},
                                 .n_texts = 1};
    struct fed_http_request request = get(f, "/echo");
    struct fed_http_response response;

    test_file_write(path, "the bytes", 9);
    request.method = "POST";
    request.form = &form;
    assert_int_equal(fed_http_run(&request, &response, &f->err), 0);
    assert_non_null(strstr((const char *)response.body.data, "POST multipart/form-data"));
    assert_non_null(strstr((const char *)response.body.data, "name=\"helper\""));
    assert_non_null(strstr((const char *)response.body.data, "filename=\"model.npz\""));
    assert_non_null(strstr((const char *)response.body.data, "the bytes"));
    fed_http_response_deinit(&response);
    form.file_path = "/nonexistent";
    check_failure(f, &request, -FED_E_IO);
}

static void test_answers_have_a_bound(void **state)
{
    struct fixture *f = *state;
    struct fed_http_request request = get(f, "/big");
    struct fed_http_response response;

    check_failure(f, &request, -FED_E_LIMIT);
    request.response_max = BIG;
    assert_int_equal(fed_http_run(&request, &response, &f->err), 0);
    assert_int_equal(response.body.size, BIG);
    fed_http_response_deinit(&response);
    request.response_max = 0; /* forgotten: not without a bound */
    check_failure(f, &request, -FED_E_LIMIT);
}

static void test_answers_into_files(void **state)
{
    struct fixture *f = *state;
    struct fed_http_request request = get(f, "/big");
    struct fed_http_response response;
    char path[FED_PATH_SIZE];
    struct fed_buf file;

    request.output_path = test_path(&f->folder, "out", path);
    assert_int_equal(fed_http_run(&request, &response, &f->err), 0);
    fed_http_response_deinit(&response);
    file = test_file_read(path);
    assert_int_equal(file.size, BIG);
    fed_buf_deinit(&file);
    request.output_path = "/nonexistent/out";
    check_failure(f, &request, -FED_E_IO);
    request.output_path = test_path(&f->folder, "full", path); /* never the device's own name */
    assert_int_equal(symlink("/dev/full", path), 0);
    check_failure(f, &request, -FED_E_IO);
}

static int never(void *arg)
{
    return *(int *)arg;
}

/* /slow blocks the server's one thread: the last test but those without it. */
static void test_time_limit_and_cancel(void **state)
{
    struct fixture *f = *state;
    struct fed_http_request request = get(f, "/slow");
    uint64_t start_ms = fed_clock_mono_ms();
    char path[FED_PATH_SIZE];
    int is_cancelled = 1;

    request.timeout_ms = 150;
    request.output_path = test_path(&f->folder, "half", path);
    check_failure(f, &request, -FED_E_TIMEOUT);
    assert_in_range(fed_clock_mono_ms() - start_ms, 140, 10000);
    assert_int_equal(access(path, F_OK), -1);
    request.output_path = NULL;
    request.timeout_ms = TEST_WAIT_MS;
    request.is_cancelled = never;
    request.arg = &is_cancelled;
    start_ms = fed_clock_mono_ms();
    check_failure(f, &request, -FED_E_CANCELLED);
    assert_true(fed_clock_mono_ms() - start_ms < 10000);
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: refuses */
    struct fed_http_request request = get(f, "/");

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
    check_failure(f, &request, -FED_E_UNAVAILABLE);
    (void)close(fd);
    request.url = "file:///etc/passwd";
    check_failure(f, &request, -FED_E_INVALID);
    request.url = "http://";
    check_failure(f, &request, -FED_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_of_any_status),
        cmocka_unit_test(test_methods_bodies_headers),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_answers_have_a_bound),
        cmocka_unit_test(test_answers_into_files),
        cmocka_unit_test(test_time_limit_and_cancel),
        cmocka_unit_test(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
