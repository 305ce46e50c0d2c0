#include "client/rpc/assign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json/agent_json.h"
#include "common/base/cleanup.h"
#include "common/net/http_client.h"

static inline void free_text_p(char **text)
{
    free(*text);
}

static void fail(struct assign_answer *answer, const char *text)
{
    answer->assignment = AGENT_ASSIGN_FAILED;
    (void)snprintf(answer->text, sizeof(answer->text), "%s", text);
}

static void read_address(const struct fed_http_response *response, struct assign_answer *answer)
{
    struct agent_joined joined;
    struct fed_err err = {0};
    bool is_ipv6;

    if (agent_json_read_joined(fed_buf_view(&response->body), &joined, &err) < 0) {
        fail(answer, err.msg);
        return;
    }
    is_ipv6 = strchr(joined.host, ':') != NULL && joined.host[0] != '[';
    answer->assignment = AGENT_ASSIGNED;
    (void)snprintf(answer->address, sizeof(answer->address), is_ipv6 ? "[%s]:%u" : "%s:%u",
                   joined.host, joined.port);
}

static void read_answer(const struct fed_http_response *response, struct assign_answer *answer)
{
    char message[192];

    if (response->status == 200) {
        read_address(response, answer);
        return;
    }
    agent_json_read_message(fed_buf_view(&response->body), message, sizeof(message));
    (void)snprintf(answer->text, sizeof(answer->text), "HTTP status %ld: %s", response->status,
                   message);
    if (response->status == 203) {
        answer->assignment = AGENT_ASSIGN_LATER;
    } else if (response->status == 400 || response->status == 401) {
        answer->assignment = AGENT_ASSIGN_REFUSED;
    } else {
        answer->assignment = AGENT_ASSIGN_FAILED;
    }
}

void assign_run(const struct assign_request *request, struct assign_answer *ret_answer)
{
    FED_CLEANUP(free_text_p)
    char *body = agent_json_join(request->name, request->client_id, request->preferred_combiner);
    char url[1024];
    struct fed_http_response response = {0};
    struct fed_err err = {0};
    size_t n = strlen(request->api_url);

    *ret_answer = (struct assign_answer){0};
    while (n > 0 && request->api_url[n - 1] == '/') {
        n--;
    }
    (void)snprintf(url, sizeof(url), "%.*s/api/v1/clients/add", (int)n, request->api_url);
    if (body == NULL) {
        fail(ret_answer, "out of memory");
        return;
    }
    const struct fed_http_request http = {
        .method = "POST",
        .url = url,
        .body = fed_view_str(body),
        .content_type = "application/json",
        .timeout_ms = request->timeout_ms,
        .response_max = AGENT_JSON_MAX,
        .is_cancelled = request->is_cancelled,
        .arg = request->arg,
    };
    if (fed_http_run(&http, &response, &err) < 0) {
        fail(ret_answer, err.msg);
        return;
    }
    read_answer(&response, ret_answer);
    fed_http_response_deinit(&response);
}
