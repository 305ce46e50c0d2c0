#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/net/retry.h"
#include "reducer/blob/s3_inside.h"
#include "reducer/blob/s3_xml.h"

#define BACKOFF_BASE_MS   100U
#define BACKOFF_MAX_MS    2000U
#define SKEW_TOLD_MS      60000U              /* a difference of the clocks that is worth telling */
#define HASHED_MAX        ((size_t)64 * 1024) /* bytes of a body that is hashed also over TLS */
#define LINE_SIZE         (S3_TOKEN_SIZE + 64U)
#define AUTHORIZATION_MAX 2048U

/* -- failures -----------------------------------------------------------------------------------
 */

struct refusal {
    long status;
    char code[64];
    char message[160]; /* for people, as the following */
    char region[S3_REGION_SIZE];
};

/* The first of each that is not empty, cut to its room. */
static int take_element(void *arg, const char *path, const char *text, struct fed_err *err)
{
    struct refusal *refusal = arg;
    const struct {
        const char *path;
        char *text;
        size_t size;
    } wanted[] = {{"Error/Code", refusal->code, sizeof(refusal->code)},
                  {"Error/Message", refusal->message, sizeof(refusal->message)},
                  {"Error/Region", refusal->region, sizeof(refusal->region)}};

    (void)err;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (strcmp(path, wanted[i].path) == 0 && wanted[i].text[0] == '\0') {
            fed_text_copy(wanted[i].text, wanted[i].size, fed_view_str(text));
        }
    }
    return 0;
}

static void read_refusal(const struct fed_http_answer *answer, struct refusal *ret_refusal)
{
    *ret_refusal = (struct refusal){.status = answer->status};
    if (s3_xml_read(fed_buf_view(&answer->text), take_element, ret_refusal, NULL) < 0) {
        *ret_refusal = (struct refusal){.status = answer->status};
    }
}

static bool is_code(const struct refusal *refusal, const char *code)
{
    return strcmp(refusal->code, code) == 0;
}

static void format_skew(const struct fed_http_answer *answer, char *ret_text, size_t size)
{
    const uint64_t now_ms = fed_clock_utc_ms();
    const bool is_ahead = now_ms > answer->date_utc_ms;
    const uint64_t skew_ms = is_ahead ? now_ms - answer->date_utc_ms : answer->date_utc_ms - now_ms;

    ret_text[0] = '\0';
    if (answer->date_utc_ms != 0 && skew_ms > SKEW_TOLD_MS) {
        (void)snprintf(ret_text, size, "; our clock is %llu s %s the server's",
                       (unsigned long long)(skew_ms / 1000), is_ahead ? "ahead of" : "behind");
    }
}

/* Status 403: what to look at. */
static int
deny(const struct refusal *refusal, const struct fed_http_answer *answer, struct fed_err *err)
{
    const char *check = "check the keys, and their rights on the bucket";
    char skew[64];

    format_skew(answer, skew, sizeof(skew));
    if (is_code(refusal, "InvalidAccessKeyId")) {
        check = "the server does not know this key: check blob_access_key";
    } else if (is_code(refusal, "SignatureDoesNotMatch")) {
        check = "check blob_secret_key, and blob_region";
    } else if (is_code(refusal, "RequestTimeTooSkewed")) {
        check = "set the clocks: the difference is too large";
    } else if (is_code(refusal, "AccessDenied")) {
        check = "the key has no right to do this: check its policy";
    } else if (is_code(refusal, "ExpiredToken") || is_code(refusal, "InvalidToken")) {
        check = "the session token is no longer good";
    }
    return fed_err_set(err, FED_E_DENIED, "%ld %s: %s%s", refusal->status, refusal->code, check,
                       skew);
}

static enum fed_code code_of(const struct refusal *refusal)
{
    static const char *const passing[] = {"RequestTimeout", "BadDigest",
                                          "SlowDown",       "XAmzContentSHA256Mismatch",
                                          "IncompleteBody", "OperationAborted"};

    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (is_code(refusal, passing[i])) {
            return FED_E_UNAVAILABLE;
        }
    }
    switch (refusal->status) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return FED_E_UNAVAILABLE;
    default:
        return FED_E_IO;
    }
}

static int refuse(const struct fed_http_answer *answer, struct fed_err *err)
{
    struct refusal refusal;

    read_refusal(answer, &refusal);
    switch (answer->status) {
    case 404:
        if (is_code(&refusal, "NoSuchUpload")) {
            break;
        }
        return is_code(&refusal, "NoSuchBucket") ? S3_NO_BUCKET : S3_NOT_FOUND;
    case 409:
        if (strncmp(refusal.code, "BucketAlready", strlen("BucketAlready")) == 0) {
            return S3_TAKEN;
        }
        break;
    case 416:
        return S3_BEYOND;
    case 401:
    case 403:
        return deny(&refusal, answer, err);
    default:
        break;
    }
    if (answer->status / 100 == 3 || is_code(&refusal, "AuthorizationHeaderMalformed")) {
        return fed_err_set(err, FED_E_DENIED,
                           "%ld %s: the bucket is elsewhere: set blob_region%s%s, or blob_endpoint",
                           refusal.status, refusal.code, refusal.region[0] == '\0' ? "" : " to ",
                           refusal.region);
    }
    return fed_err_set(err, code_of(&refusal), "%ld %s: %s", refusal.status, refusal.code,
                       refusal.message);
}

/* -- one request --------------------------------------------------------------------------------
 */

/* A request being signed: its texts. */
struct signing {
    struct sigv4_request request;
    char path[S3_PREFIX_SIZE + S3_BUCKET_SIZE + BLOB_KEY_MAX + 4];
    char url[S3_URL_SIZE];
    char time[SIGV4_TIME_SIZE];
    char hash[SIGV4_HASH_SIZE];
    struct fed_buf authorization; /* owned */
    char lines[SIGV4_HEADERS_MAX][LINE_SIZE];
};

static void add(struct signing *signing, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        signing->request.headers[signing->request.n_headers++] = (struct sigv4_header){name, value};
    }
}

/* Over TLS a large body is not hashed once more: TLS sees to what arrives. */
static void choose_hash(const struct s3 *self, const struct s3_request *request, char *ret_hash)
{
    if (request->hash != NULL) {
        (void)snprintf(ret_hash, SIGV4_HASH_SIZE, "%s", request->hash);
    } else if (self->is_tls && request->body.size > HASHED_MAX) {
        (void)snprintf(ret_hash, SIGV4_HASH_SIZE, "%s", SIGV4_UNSIGNED);
    } else {
        sigv4_hash_format(request->body, ret_hash);
    }
}

static int sign(const struct s3 *self,
                const struct s3_request *request,
                struct signing *signing,
                struct fed_err *err)
{
    const struct sigv4_key key = {self->access_key, self->secret_key, self->region, "s3"};
    const char *query = request->query == NULL ? "" : request->query;
    int n;

    sigv4_time_format(fed_clock_utc_ms(), signing->time);
    choose_hash(self, request, signing->hash);
    /* The characters that bucket, prefix and key may have stand for themselves. */
    (void)snprintf(signing->path, sizeof(signing->path), "%s/%s%s", self->bucket_path,
                   request->key == NULL ? "" : self->prefix,
                   request->key == NULL ? "" : request->key);
    n = snprintf(signing->url, sizeof(signing->url), "http%s://%s%s%s%s", self->is_tls ? "s" : "",
                 self->host, signing->path, query[0] == '\0' ? "" : "?", query);
    if (n < 0 || (size_t)n >= sizeof(signing->url)) {
        return fed_err_set(err, FED_E_LIMIT, "the URL is too long");
    }
    signing->request.method = request->method;
    signing->request.path = signing->path;
    signing->request.query = query;
    signing->request.payload_hash = signing->hash;
    signing->request.time = signing->time;
    add(signing, "host", self->host);
    add(signing, "range", request->range);
    add(signing, "x-amz-content-sha256", signing->hash);
    add(signing, "x-amz-date", signing->time);
    add(signing, "x-amz-meta-sha256", request->sha256);
    add(signing, "x-amz-security-token", self->token);
    fed_buf_init(&signing->authorization, AUTHORIZATION_MAX);
    n = fed_buf_addf(&signing->authorization, err, "Authorization: ");
    return n < 0 ? n : sigv4_sign(&key, &signing->request, &signing->authorization, err);
}

uint64_t s3_time_for(uint64_t size_bytes)
{
    return S3_GRACE_MS + size_bytes / 1024U * 1000U / S3_SLOWEST_KB_S;
}

static int exchange_signed(struct s3 *self,
                           const struct s3_request *request,
                           struct signing *signing,
                           struct fed_http_answer *ret_answer,
                           struct fed_err *err)
{
    struct fed_http_exchange exchange = {
        .method = request->method,
        .url = signing->url,
        .body = request->body,
        .timeout_ms = request->due_ms != NULL ? 0 : s3_time_for(request->body.size),
        .due_ms = request->due_ms,
        .text_max = S3_ANSWER_MAX,
        .wanted =
            {[S3_ETAG] = "etag", [S3_SHA256] = "x-amz-meta-sha256", [S3_RANGE] = "content-range"},
        .on_data = request->on_data,
        .arg = request->arg,
    };

    for (size_t i = 1; i < signing->request.n_headers; i++) { /* the first is Host, libcurl's */
        (void)snprintf(signing->lines[i], LINE_SIZE, "%s: %s", signing->request.headers[i].name,
                       signing->request.headers[i].value);
        exchange.headers[exchange.n_headers++] = signing->lines[i];
    }
    exchange.headers[exchange.n_headers++] = (const char *)signing->authorization.data;
    return fed_http_exchange(self->pool, &exchange, ret_answer, err);
}

int s3_try(struct s3 *self,
           const struct s3_request *request,
           struct fed_http_answer *ret_answer,
           struct fed_err *err)
{
    struct signing *signing = calloc(1, sizeof(*signing));
    struct fed_http_answer answer = {0};
    int rc;

    if (signing == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "S3 request");
    }
    rc = sign(self, request, signing, err);
    rc = rc < 0 ? rc : exchange_signed(self, request, signing, &answer, err);
    if (rc == 0 && answer.status / 100 != 2) {
        rc = refuse(&answer, err);
    }
    fed_buf_deinit(&signing->authorization);
    free(signing);
    if (rc == 0) {
        *ret_answer = answer;
        return 0;
    }
    fed_http_answer_deinit(&answer);
    return rc > 0 ? rc
                  : fed_err_wrap(err, rc, "object store %s: %s %s", self->host, request->method,
                                 request->key == NULL ? self->bucket : request->key);
}

/* -- repeating ----------------------------------------------------------------------------------
 */

bool s3_wait(const struct s3 *self, struct s3_patience *patience, int rc)
{
    const uint64_t now_ms = fed_clock_mono_ms();
    uint64_t delay_ms;

    if (rc != -FED_E_UNAVAILABLE) {
        return false;
    }
    if (patience->since_ms == 0) {
        patience->since_ms = now_ms;
    }
    delay_ms = fed_retry_delay_ms(patience->attempt++, BACKOFF_BASE_MS, BACKOFF_MAX_MS,
                                  fed_clock_mono_us());
    if (now_ms + delay_ms >= patience->since_ms + self->repeat_ms) {
        return false;
    }
    (void)poll(NULL, 0, (int)delay_ms); /* a worker's thread: it has nothing else to do */
    return true;
}

int s3_call(struct s3 *self,
            const struct s3_request *request,
            struct fed_http_answer *ret_answer,
            struct fed_err *err)
{
    struct s3_patience patience = {0};
    int rc;

    do {
        rc = s3_try(self, request, ret_answer, err);
    } while (s3_wait(self, &patience, rc));
    return rc;
}

static int make_bucket(struct s3 *self, struct fed_err *err)
{
    struct s3_request request = {.method = "PUT"};
    struct fed_http_answer answer = {0};
    char body[256];
    int rc;

    (void)snprintf(body, sizeof(body),
                   "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint>"
                   "</CreateBucketConfiguration>",
                   self->region);
    if (strcmp(self->region, "us-east-1") != 0) { /* which must not be named */
        request.body = fed_view_str(body);
    }
    rc = s3_call(self, &request, &answer, err);
    fed_http_answer_deinit(&answer);
    if (rc == S3_TAKEN) { /* made meanwhile; if it is a stranger's, the next write says so */
        return 0;
    }
    return rc <= 0 ? rc : fed_err_set(err, FED_E_IO, "bucket %s cannot be made", self->bucket);
}

int s3_call_write(struct s3 *self,
                  const struct s3_request *request,
                  struct fed_http_answer *ret_answer,
                  struct fed_err *err)
{
    int rc = s3_call(self, request, ret_answer, err);

    if (rc == S3_NO_BUCKET) {
        rc = make_bucket(self, err);
        rc = rc < 0 ? fed_err_wrap(err, rc, "the bucket is missing")
                    : s3_call(self, request, ret_answer, err);
    }
    return rc <= 0 ? rc
                   : fed_err_set(err, FED_E_IO, "object store %s: bucket %s cannot be written to",
                                 self->host, self->bucket);
}
