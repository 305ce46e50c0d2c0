/* One HTTP request to the reducer, for confed-client, in a process of its own: libcurl and what it
 * brings take 7 MB, and a client that waits for work has no use for them.
 *
 *   confed-client-join URL   the body comes from standard input; the HTTP status, a line end and
 * the answer's body go to standard output (status 0: the body says why)
 */
#include <stdio.h>
#include <unistd.h>

#include "client/json/agent_json.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/conf/conf.h"
#include "common/net/http_client.h"

#define TIMEOUT_MS 10000U

static int read_input(struct fed_buf *buf, struct fed_err *err)
{
    char data[4096];
    ssize_t n;
    int rc = 0;

    while (rc == 0 && (n = read(STDIN_FILENO, data, sizeof(data))) > 0) {
        rc = fed_buf_add(buf, data, (size_t)n, err);
    }
    return rc;
}

static int ask(const char *url, struct fed_buf *answer, struct fed_err *err)
{
    FED_CLEANUP(fed_buf_deinit) struct fed_buf body = {.size_max = AGENT_JSON_MAX};
    struct fed_http_response response;
    int rc = read_input(&body, err);

    if (rc < 0) {
        return rc;
    }
    const struct fed_http_request request = {
        .method = "POST",
        .url = url,
        .body = fed_buf_view(&body),
        .content_type = "application/json",
        .timeout_ms = TIMEOUT_MS,
        .response_max = AGENT_JSON_MAX - 16U,
    };
    rc = fed_http_run(&request, &response, err);
    if (rc < 0) {
        return rc;
    }
    rc = fed_buf_addf(answer, err, "%ld\n", response.status);
    if (rc == 0) {
        rc = fed_buf_add(answer, response.body.data, response.body.size, err);
    }
    fed_http_response_deinit(&response);
    return rc;
}

int main(int argc, char **argv)
{
    FED_CLEANUP(fed_buf_deinit) struct fed_buf answer = {.size_max = AGENT_JSON_MAX};
    struct fed_err err = {0};

    if (argc != 2) {
        (void)fprintf(stderr, "usage: confed-client-join URL < BODY\n");
        return FED_EXIT_USAGE;
    }
    if (ask(argv[1], &answer, &err) < 0) {
        fed_buf_clear(&answer);
        if (fed_buf_addf(&answer, NULL, "0\n%s", err.msg) < 0) {
            return FED_EXIT_FAILED;
        }
    }
    return fed_file_write(STDOUT_FILENO, answer.data, answer.size, NULL) < 0 ? FED_EXIT_FAILED
                                                                             : FED_EXIT_OK;
}
