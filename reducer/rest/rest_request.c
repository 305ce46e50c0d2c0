#include "reducer/rest/rest_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "reducer/rest/rest_csv.h"
#include "reducer/rest/rest_json.h"

#define VALUES_MAX 20000U
#define SPILL_MIN  (256UL * 1024UL) /* bytes */

void rest_request_init(struct rest_request *request, struct rest_shared *shared, size_t body_max)
{
    *request = (struct rest_request){.shared = shared};
    request->upload.fd = -1;
    request->answer.fd = -1;
    fed_buf_init(&request->body, body_max);
    fed_buf_init(&request->answer.body, 0);
}

static void deinit_answer(struct rest_answer *answer)
{
    fed_buf_deinit(&answer->body);
    rest_bytes_drop(answer->kept);
    answer->kept = NULL;
    free(answer->location);
    answer->location = NULL;
    if (answer->fd >= 0) {
        (void)close(answer->fd);
        answer->fd = -1;
    }
}

void rest_request_deinit(struct rest_request *request)
{
    rest_texts_deinit(&request->query);
    rest_texts_deinit(&request->form);
    fed_buf_deinit(&request->body);
    json_decref(request->json);
    json_decref(request->ask.input);
    json_decref(request->ask.output);
    json_decref(request->kept);
    request->upload.hash = fed_sha256_free(request->upload.hash);
    if (request->upload.fd >= 0) {
        (void)close(request->upload.fd);
    }
    deinit_answer(&request->answer);
}

/* -- what came -------------------------------------------------------------------------------- */

void rest_texts_deinit(struct rest_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++) {
        free(texts->items[i].name);
        free(texts->items[i].value);
    }
    *texts = (struct rest_texts){0};
}

static int start_text(struct rest_texts *texts, const char *name, struct fed_err *err)
{
    struct rest_text *item = &texts->items[texts->n];

    if (texts->n == REST_TEXTS_MAX) {
        return fed_err_set(err, FED_E_INVALID, "more than %u arguments", REST_TEXTS_MAX);
    }
    item->name = strdup(name);
    item->value = strdup("");
    texts->n++;
    return item->name == NULL || item->value == NULL ? fed_err_set(err, FED_E_NOMEM, "arguments")
                                                     : 0;
}

int rest_texts_add(struct rest_texts *texts,
                   const char *name,
                   const char *piece,
                   size_t piece_size,
                   bool is_new,
                   struct fed_err *err)
{
    size_t used;
    char *value;
    int rc;

    if (is_new || texts->n == 0) {
        rc = start_text(texts, name, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (piece_size > REST_FORM_MAX - texts->size) {
        return fed_err_set(err, FED_E_INVALID, "arguments of more than %lu bytes", REST_FORM_MAX);
    }
    used = strlen(texts->items[texts->n - 1].value);
    value = realloc(texts->items[texts->n - 1].value, used + piece_size + 1);
    if (value == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "arguments");
    }
    if (piece_size > 0) {
        memcpy(value + used, piece, piece_size);
    }
    value[used + piece_size] = '\0';
    texts->items[texts->n - 1].value = value;
    texts->size += piece_size;
    return 0;
}

const char *rest_texts_find(const struct rest_texts *texts, const char *name)
{
    for (size_t i = 0; i < texts->n; i++) {
        if (strcmp(texts->items[i].name, name) == 0) {
            return texts->items[i].value;
        }
    }
    return NULL;
}

/* Values in a JSON text: a million of them would be forty times its bytes in memory. */
static size_t count_values(const struct fed_buf *body)
{
    bool is_text = false;
    size_t n = 1;

    for (size_t i = 0; i < body->size; i++) {
        const uint8_t c = body->data[i];
        if (is_text && c == '\\') {
            i++;
        } else if (c == '"') {
            is_text = !is_text;
        } else if (!is_text && (c == ',' || c == '[' || c == '{')) {
            n++;
        }
    }
    return n;
}

int rest_request_json(struct rest_request *request,
                      bool is_optional,
                      json_t **ret_object,
                      struct fed_err *err)
{
    json_error_t error;

    if (request->has_form && request->has_body) {
        return fed_err_set(err, FED_E_INVALID, "the body must be a JSON object, not a form");
    }
    if (request->json == NULL && request->body.size == 0 && is_optional) {
        request->json = json_object();
    } else if (request->json == NULL) {
        if (count_values(&request->body) > VALUES_MAX) {
            return fed_err_set(err, FED_E_INVALID, "the body has more than %u values", VALUES_MAX);
        }
        request->json = json_loadb((const char *)request->body.data, request->body.size, 0, &error);
        if (request->json == NULL) {
            return request->body.size == 0
                       ? fed_err_set(err, FED_E_INVALID, "the body must be a JSON object")
                       : fed_err_set(err, FED_E_INVALID, "the body is no JSON: line %d: %.120s",
                                     error.line, error.text);
        }
    }
    if (!json_is_object(request->json)) {
        return fed_err_set(err, FED_E_INVALID, "the body must be a JSON object");
    }
    *ret_object = request->json;
    return 0;
}

bool rest_request_wants_csv(const struct rest_request *request)
{
    const char *format = rest_texts_find(&request->query, "format");

    return format == NULL ? request->accepts_csv : strcmp(format, "csv") == 0;
}

/* -- uploads ---------------------------------------------------------------------------------- */

int rest_upload_begin(struct rest_upload *upload,
                      const char *temp_dir,
                      const char *file_name,
                      struct fed_err *err)
{
    const int rc = rest_temp_open(temp_dir, &upload->fd, err);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(upload->path, sizeof(upload->path), "/proc/self/fd/%d", upload->fd);
    (void)snprintf(upload->file_name, sizeof(upload->file_name), "%s", file_name);
    return fed_sha256_new(&upload->hash, err);
}

int rest_upload_add(struct rest_upload *upload, const void *data, size_t size, struct fed_err *err)
{
    const int rc = fed_file_write(upload->fd, data, size, err);

    if (rc == 0) {
        fed_sha256_add(upload->hash, data, size);
        upload->size_bytes += size;
    }
    return rc;
}

void rest_upload_finish(struct rest_upload *upload)
{
    if (upload->hash != NULL) {
        fed_sha256_finish(upload->hash, upload->sha256);
        upload->hash = fed_sha256_free(upload->hash);
    }
}

/* -- the host --------------------------------------------------------------------------------- */

int rest_ask(struct rest_request *request,
             enum host_verb verb,
             json_t *input,
             rest_step_fn then,
             struct fed_err *err)
{
    if (input == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "ask");
    }
    request->ask.verb = verb;
    request->ask.input = input;
    request->then = then;
    return REST_ASK;
}

/* -- the answer ------------------------------------------------------------------------------- */

/* A long answer waits in a file: who reads slowly holds no memory. */
int rest_answer_flush(struct rest_request *request, bool is_end, struct fed_err *err)
{
    struct rest_answer *answer = &request->answer;
    int rc = 0;

    if (answer->body.size < SPILL_MIN && (!is_end || answer->fd < 0)) {
        return 0;
    }
    if (answer->fd < 0) {
        answer->size_bytes = 0;
        rc = rest_temp_open(request->shared->temp_dir, &answer->fd, err);
    }
    if (rc == 0) {
        rc = fed_file_write(answer->fd, answer->body.data, answer->body.size, err);
    }
    answer->size_bytes += answer->body.size;
    if (is_end) {
        fed_buf_deinit(&answer->body);
    } else {
        fed_buf_clear(&answer->body);
    }
    return rc;
}

int rest_answer_json(struct rest_request *request, int status, json_t *value, struct fed_err *err)
{
    int rc;

    if (value == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "answer");
    }
    fed_buf_clear(&request->answer.body);
    rc = rest_json_format(value, &request->answer.body, err);
    json_decref(value);
    request->answer.status = status;
    request->answer.type = NULL;
    return rc < 0 ? rc : rest_answer_flush(request, true, err);
}

int rest_answer_csv(struct rest_request *request,
                    const json_t *rows,
                    const char *name,
                    struct fed_err *err)
{
    struct rest_answer *answer = &request->answer;
    const size_t n = json_array_size(rows);
    struct rest_csv csv;
    int rc = 0;

    answer->status = 200;
    answer->type = REST_CSV_TYPE;
    (void)snprintf(answer->file_name, sizeof(answer->file_name), "%s.csv", name);
    rest_csv_init(&csv);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = rest_csv_learn(&csv, json_array_get(rows, i), err);
    }
    rc = rc < 0 ? rc : rest_csv_add_head(&csv, &answer->body, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = rest_csv_add_row(&csv, json_array_get(rows, i), &answer->body, err);
        rc = rc < 0 ? rc : rest_answer_flush(request, false, err);
    }
    rest_csv_deinit(&csv);
    return rc < 0 ? rc : rest_answer_flush(request, true, err);
}

int rest_answer_blob(struct rest_request *request,
                     const char *key,
                     const char *type,
                     const char *file_name,
                     struct fed_err *err)
{
    struct rest_answer *answer = &request->answer;
    char etag[REST_ETAG_SIZE];
    struct blob_info info;
    bool is_known;
    int rc;

    (void)snprintf(etag, sizeof(etag), "\"%.*s\"", (int)FED_ID_SIZE, key);
    is_known = strstr(request->if_none_match, etag) != NULL;
    /* It may be gigabytes, and must come over the network first: not for an answer without it. */
    rc = is_known
             ? blob_stat(request->shared->blobs.store, key, &info, err)
             : rest_blobs_open(&request->shared->blobs, key, &answer->fd, &answer->size_bytes, err);
    if (rc == 0) {
        (void)snprintf(answer->etag, sizeof(answer->etag), "%s", etag);
        answer->status = is_known ? 304 : 200;
        answer->type = type;
        (void)snprintf(answer->file_name, sizeof(answer->file_name), "%s", file_name);
    }
    return rc;
}

int rest_answer_message(struct rest_request *request,
                        int status,
                        const char *message,
                        struct fed_err *err)
{
    return rest_answer_json(request, status, json_pack("{s:s}", "message", message), err);
}

int rest_refuse(struct rest_request *request,
                int status,
                const char *code,
                struct fed_err *err,
                const char *fmt,
                ...)
{
    char message[FED_ERR_MSG_SIZE * 2];
    json_t *text;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    /* Cut in the middle of a character, or given as no UTF-8 at all: still an answer. */
    text = json_string(message);
    if (text == NULL) {
        text = json_string(fed_code_text(FED_E_INVALID));
    }
    return rest_answer_json(request, status, json_pack("{s:s,s:o}", "code", code, "message", text),
                            err);
}

int rest_refuse_missing(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 404, "not_found", err, "Entity with id: %s not found", request->id);
}

int rest_answer_text(struct rest_request *request,
                     int status,
                     const char *text,
                     struct fed_err *err)
{
    fed_buf_clear(&request->answer.body);
    request->answer.status = status;
    request->answer.type = "text/plain; charset=utf-8";
    return fed_buf_add(&request->answer.body, text, strlen(text), err);
}

static const char *code_word(enum fed_code code)
{
    static const char *const words[FED_CODE_MAX] = {
        [FED_OK] = "internal",
        [FED_E_NOMEM] = "busy",
        [FED_E_INVALID] = "invalid",
        [FED_E_CORRUPT] = "corrupt",
        [FED_E_UNAVAILABLE] = "unavailable",
        [FED_E_TIMEOUT] = "timeout",
        [FED_E_LIMIT] = "limit",
        [FED_E_IO] = "io",
        [FED_E_INTERNAL] = "internal",
        [FED_E_NOT_FOUND] = "not_found",
        [FED_E_CONFLICT] = "conflict",
        [FED_E_CANCELLED] = "cancelled",
        [FED_E_UNSUPPORTED] = "unsupported",
        [FED_E_DENIED] = "denied",
    };

    return words[code];
}

void rest_answer_failure(struct rest_request *request, const struct fed_err *err)
{
    struct fed_err second = {0};
    const char *message = err->msg[0] != '\0' ? err->msg : fed_code_text(err->code);

    deinit_answer(&request->answer); /* of an answer that was begun, nothing stays */
    request->answer.file_name[0] = '\0';
    if (rest_refuse(request, fed_code_http(err->code), code_word(err->code), &second, "%s",
                    message) < 0) {
        fed_buf_deinit(&request->answer.body);
        request->answer.status = 503; /* out of memory: an empty body */
    }
}

int rest_answer_host(struct rest_request *request, struct fed_err *err)
{
    if (request->ask.status >= 400 && rest_json_is_null(request->ask.output, "code")) {
        (void)json_object_set_new(request->ask.output, "code",
                                  json_string(request->ask.status >= 500   ? "unavailable"
                                              : request->ask.status == 404 ? "not_found"
                                              : request->ask.status == 409 ? "conflict"
                                                                           : "refused"));
    }
    return rest_answer_json(request, request->ask.status, json_incref(request->ask.output), err);
}
