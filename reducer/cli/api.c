#include "reducer/cli/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/net/http_client.h"
#include "reducer/cli/row.h"
#include "reducer/cli/table.h"

#define URL_SIZE       1024
#define HEADER_SIZE    80
#define ANSWER_MAX     (64U << 20)
#define TIMEOUT_MS     30000U
#define TRANSFER_MS    600000U /* a model or a package, either way */
#define PREFIXES_MAX   2000U   /* newest rows looked through for the beginning of an id */
#define ERROR_BODY_MAX 65536U

static int add_encoded(char *text, size_t text_size, const char *value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t used = strlen(text);

    for (const char *p = value; *p != '\0'; p++) {
        const bool is_plain = strchr(plain, *p) != NULL;
        if (used + 4 > text_size) {
            return -1;
        }
        (void)snprintf(text + used, text_size - used, is_plain ? "%c" : "%%%02X",
                       (unsigned char)*p);
        used += is_plain ? 1 : 3;
    }
    return 0;
}

int api_path(char ret_path[API_PATH_SIZE],
             struct fed_err *err,
             const char *before,
             const char *id,
             const char *after)
{
    char path[API_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s", before);
    if (add_encoded(path, sizeof(path), id) < 0 || strlen(path) + strlen(after) >= sizeof(path)) {
        return fed_err_set(err, FED_E_INVALID, "'%.40s...' is too long", id);
    }
    (void)snprintf(ret_path, API_PATH_SIZE, "%s%s", path, after);
    return 0;
}

static int
format_url(const struct api *api, const char *path, char ret_url[URL_SIZE], struct fed_err *err)
{
    size_t n = strlen(api->url);
    int size;

    while (n > 0 && api->url[n - 1] == '/') {
        n--;
    }
    if (strncmp(api->url, "http://", 7) != 0 && strncmp(api->url, "https://", 8) != 0) {
        return fed_err_set(err, FED_E_INVALID,
                           "--api-url is '%.100s', want http://HOST:PORT or https://HOST:PORT",
                           api->url);
    }
    size = snprintf(ret_url, URL_SIZE, "%.*s%s", (int)n, api->url, path);
    if (size < 0 || size >= URL_SIZE) {
        return fed_err_set(err, FED_E_INVALID, "--api-url is too long");
    }
    return 0;
}

static enum fed_code code_of(long status)
{
    if (status == 404) {
        return FED_E_NOT_FOUND;
    }
    if (status == 502 || status == 503 || status == 504) {
        return FED_E_UNAVAILABLE;
    }
    return status < 500 ? FED_E_CONFLICT : FED_E_INTERNAL;
}

/* A failure from an answer's body. */
static int refuse(long status, const char *body, const char *path, struct fed_err *err)
{
    json_t *json = json_loads(body, 0, NULL);
    char message[ROW_TEXT_SIZE];
    int rc;

    (void)row_format(json, "message", message);
    if (message[0] != '\0') {
        rc = fed_err_set(err, code_of(status), "%s", message);
    } else {
        rc = fed_err_set(err, code_of(status), "the reducer answers %ld to %.100s", status, path);
    }
    json_decref(json);
    return rc;
}

static int on_tick(void *arg)
{
    const struct api *api = arg;

    api->tick(api->arg);
    return 0;
}

/* Send the request, with what all requests have in common. */
static int exchange(const struct api *api,
                    const char *path,
                    struct fed_http_request *request,
                    struct fed_http_response *ret_response,
                    struct fed_err *err)
{
    struct api copy = *api;
    char url[URL_SIZE];
    int rc = format_url(api, path, url, err);

    if (rc < 0) {
        return rc;
    }
    request->url = url;
    request->cancel_fd = api->cancel_fd;
    request->is_cancelled = api->tick != NULL ? on_tick : NULL;
    request->arg = &copy;
    request->response_max = ANSWER_MAX;
    rc = fed_http_run(request, ret_response, err);
    request->url = NULL;
    if (rc == -FED_E_UNAVAILABLE) { /* the address is what people know, not the path */
        return fed_err_set(err, FED_E_UNAVAILABLE, "cannot reach the reducer at %.200s", api->url);
    }
    return rc;
}

static int take_json(const char *path,
                     struct fed_http_response *response,
                     json_t **ret_json,
                     struct fed_err *err)
{
    const char *body = (const char *)response->body.data;
    json_error_t error;
    json_t *json;
    int rc = 0;

    if (response->status >= 400) {
        rc = refuse(response->status, body, path, err);
    } else {
        json = json_loads(body, JSON_DECODE_ANY, &error);
        if (json == NULL) {
            rc = fed_err_set(err, FED_E_INTERNAL,
                             "the answer to %.100s is no JSON (%.80s): is this a reducer?", path,
                             error.text);
        } else {
            *ret_json = json;
        }
    }
    fed_http_response_deinit(response);
    return rc;
}

static int run_json(const struct api *api,
                    const char *path,
                    struct fed_http_request *request,
                    json_t **ret_json,
                    struct fed_err *err)
{
    struct fed_http_response response = {0};
    const int rc = exchange(api, path, request, &response, err);

    return rc < 0 ? rc : take_json(path, &response, ret_json, err);
}

int api_get(const struct api *api, const char *path, json_t **ret_json, struct fed_err *err)
{
    struct fed_http_request request = {.method = "GET", .timeout_ms = TIMEOUT_MS};

    return run_json(api, path, &request, ret_json, err);
}

int api_send(const struct api *api,
             const char *method,
             const char *path,
             const json_t *body,
             json_t **ret_json,
             struct fed_err *err)
{
    char *text = json_dumps(body, JSON_COMPACT);
    struct fed_http_request request = {
        .method = method, .content_type = "application/json", .timeout_ms = TIMEOUT_MS};
    int rc;

    if (text == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "request");
    }
    request.body = fed_view_str(text);
    rc = run_json(api, path, &request, ret_json, err);
    free(text);
    return rc;
}

int api_list(const struct api *api,
             const struct api_query *query,
             json_t **ret_rows,
             struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *json = NULL;
    struct fed_http_request request = {.method = "GET", .timeout_ms = TIMEOUT_MS};
    char headers[4][HEADER_SIZE];
    char path[API_PATH_SIZE];
    size_t n = 0;
    int rc;

    if (query->limit > 0) {
        (void)snprintf(headers[n++], HEADER_SIZE, "X-Limit: %llu",
                       (unsigned long long)query->limit);
    }
    if (query->skip > 0) {
        (void)snprintf(headers[n++], HEADER_SIZE, "X-Skip: %llu", (unsigned long long)query->skip);
    }
    if (query->sort_key != NULL) {
        (void)snprintf(headers[n++], HEADER_SIZE, "X-Sort-Key: %s", query->sort_key);
    }
    if (query->is_ascending) {
        (void)snprintf(headers[n++], HEADER_SIZE, "X-Sort-Order: asc");
    }
    for (; request.n_headers < n; request.n_headers++) {
        request.headers[request.n_headers] = headers[request.n_headers];
    }
    (void)snprintf(path, sizeof(path), "/api/v1/%s/", query->resource);
    if (query->filter_key != NULL) {
        char before[API_PATH_SIZE];
        (void)snprintf(before, sizeof(before), "/api/v1/%s/?%s=", query->resource,
                       query->filter_key);
        rc = api_path(path, err, before, query->filter_value, "");
        if (rc < 0) {
            return rc;
        }
    }
    rc = run_json(api, path, &request, &json, err);
    if (rc < 0) {
        return rc;
    }
    if (!json_is_array(json_object_get(json, "result"))) {
        return fed_err_set(err, FED_E_INTERNAL, "the answer to %.100s is no list", path);
    }
    *ret_rows = json_incref(json_object_get(json, "result"));
    return 0;
}

static int find_prefix(const json_t *rows,
                       const char *resource,
                       const char *id_key,
                       const char *id,
                       json_t **ret_row,
                       struct fed_err *err)
{
    json_t *found = NULL;
    json_t *row = NULL;
    size_t i = 0;

    json_array_foreach(rows, i, row)
    {
        if (strncmp(row_text(row, id_key), id, strlen(id)) != 0) {
            continue;
        }
        if (found != NULL) {
            return fed_err_set(err, FED_E_CONFLICT,
                               "'%.40s' fits several %s, among them %.40s and %.40s: give more "
                               "letters",
                               id, resource, row_text(found, id_key), row_text(row, id_key));
        }
        found = row;
    }
    if (found == NULL) {
        return fed_err_set(err, FED_E_NOT_FOUND, "there is no '%.60s' among the %s", id, resource);
    }
    *ret_row = json_incref(found);
    return 0;
}

int api_find(const struct api *api,
             const char *resource,
             const char *id_key,
             const char *id,
             json_t **ret_row,
             struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *rows = NULL;
    const bool is_latest = strcmp(id, "latest") == 0;
    const struct api_query query = {.resource = resource, .limit = is_latest ? 1 : PREFIXES_MAX};
    char before[API_PATH_SIZE];
    char path[API_PATH_SIZE];
    int rc;

    if (!is_latest) {
        (void)snprintf(before, sizeof(before), "/api/v1/%s/", resource);
        rc = api_path(path, err, before, id, "");
        rc = rc < 0 ? rc : api_get(api, path, ret_row, err);
        if (rc != -FED_E_NOT_FOUND) {
            return rc;
        }
    }
    rc = api_list(api, &query, &rows, err);
    if (rc < 0) {
        return rc;
    }
    if (!is_latest) {
        return find_prefix(rows, resource, id_key, id, ret_row, err);
    }
    if (json_array_size(rows) == 0) {
        return fed_err_set(err, FED_E_NOT_FOUND, "there are no %s yet", resource);
    }
    *ret_row = json_incref(json_array_get(rows, 0));
    return 0;
}

int api_live(const struct api *api,
             uint64_t after,
             uint64_t wait_ms,
             json_t **ret_live,
             struct fed_err *err)
{
    struct fed_http_request request = {.method = "GET", .timeout_ms = wait_ms + TIMEOUT_MS};
    char path[API_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "/api/v1/live?after=%llu&wait_ms=%llu",
                   (unsigned long long)after, (unsigned long long)wait_ms);
    return run_json(api, path, &request, ret_live, err);
}

int api_upload(const struct api *api,
               const char *path,
               const char *file_path,
               const struct api_text *texts,
               json_t **ret_json,
               struct fed_err *err)
{
    const char *slash = strrchr(file_path, '/');
    struct fed_http_form form = {.file_path = file_path,
                                 .file_name = slash == NULL ? file_path : slash + 1};
    struct fed_http_request request = {.method = "POST", .form = &form, .timeout_ms = TRANSFER_MS};

    if (access(file_path, R_OK) != 0) {
        return fed_file_error(err, "read", file_path);
    }
    for (; texts[form.n_texts].name != NULL; form.n_texts++) {
        form.names[form.n_texts] = texts[form.n_texts].name;
        form.values[form.n_texts] = texts[form.n_texts].value;
    }
    return run_json(api, path, &request, ret_json, err);
}

static int finish_download(const char *part,
                           const char *file_path,
                           long status,
                           const char *path,
                           struct fed_err *err)
{
    struct fed_buf body = {0};
    int rc;

    if (status < 400) {
        return rename(part, file_path) == 0 ? 0 : fed_file_error(err, "rename to", file_path);
    }
    rc = fed_file_load(part, ERROR_BODY_MAX, &body, err);
    rc = rc < 0 ? rc : fed_buf_add(&body, "", 1, err);
    if (rc == 0) {
        rc = refuse(status, (const char *)body.data, path, err);
    }
    fed_buf_deinit(&body);
    return rc;
}

int api_download(const struct api *api,
                 const char *path,
                 const char *file_path,
                 struct fed_err *err)
{
    struct fed_http_request request = {.method = "GET", .timeout_ms = TRANSFER_MS};
    struct fed_http_response response = {0};
    char part[FED_PATH_SIZE];
    int rc = fed_path_format(part, err, "%s.part", file_path);

    if (rc < 0) {
        return rc;
    }
    request.output_path = part;
    rc = exchange(api, path, &request, &response, err);
    if (rc == 0) {
        rc = finish_download(part, file_path, response.status, path, err);
    }
    fed_http_response_deinit(&response);
    if (rc < 0) {
        (void)unlink(part);
    }
    return rc;
}
