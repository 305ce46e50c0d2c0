#include "common/net/http_stream.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "common/base/blocking.h"
#include "common/base/clock.h"

#define IDLE_MAX       8U             /* connections kept while nobody needs them */
#define RECEIVE_SIZE   (256L * 1024L) /* bytes that libcurl hands on at a time */
#define SEND_SIZE      (1024L * 1024L)
#define LINE_MAX_BYTES 1024U /* of a header that is looked at */

struct fed_http_pool {
    char *ca_file; /* owned; NULL: the system's */
    long connect_timeout_ms;
    long stall_s;
    pthread_mutex_t lock;
    CURL *idle[IDLE_MAX]; /* under lock, as the following */
    size_t n_idle;
};

/* One exchange. */
struct run {
    const struct fed_http_exchange *exchange;
    struct fed_http_answer answer;
    CURL *curl;
    size_t n_sent;
    int rc; /* of on_data(), or FED_E_LIMIT, FED_E_TIMEOUT */
    struct fed_err err;
    char message[CURL_ERROR_SIZE];
};

/* -- pool ---------------------------------------------------------------------------------------
 */

int fed_http_pool_new(const struct fed_http_pool_config *config,
                      struct fed_http_pool **ret_pool,
                      struct fed_err *err)
{
    const bool has_ca = config->ca_file != NULL && config->ca_file[0] != '\0';
    struct fed_http_pool *pool;

    if (has_ca && access(config->ca_file, R_OK) != 0) {
        return fed_err_set(err, FED_E_INVALID, "CA file %s cannot be read", config->ca_file);
    }
    pool = calloc(1, sizeof(*pool));
    if (pool != NULL && has_ca) {
        pool->ca_file = strdup(config->ca_file);
    }
    if (pool == NULL || (has_ca && pool->ca_file == NULL) ||
        curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        if (pool != NULL) {
            free(pool->ca_file);
        }
        free(pool);
        return fed_err_set(err, FED_E_NOMEM, "HTTP connections");
    }
    pool->connect_timeout_ms = (long)config->connect_timeout_ms;
    pool->stall_s = (long)((config->stall_ms + 999) / 1000);
    (void)pthread_mutex_init(&pool->lock, NULL);
    *ret_pool = pool;
    return 0;
}

struct fed_http_pool *fed_http_pool_free(struct fed_http_pool *pool)
{
    if (pool != NULL) {
        for (size_t i = 0; i < pool->n_idle; i++) {
            curl_easy_cleanup(pool->idle[i]);
        }
        (void)pthread_mutex_destroy(&pool->lock);
        free(pool->ca_file);
        free(pool);
    }
    return NULL;
}

/* One with an open connection where there is one; NULL: out of memory. */
static CURL *take(struct fed_http_pool *pool)
{
    CURL *curl = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->n_idle > 0) {
        curl = pool->idle[--pool->n_idle];
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return curl == NULL ? curl_easy_init() : curl;
}

static void give_back(struct fed_http_pool *pool, CURL *curl)
{
    curl_easy_reset(curl); /* keeps its connections */
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->n_idle < IDLE_MAX) {
        pool->idle[pool->n_idle++] = curl;
        curl = NULL;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    curl_easy_cleanup(curl);
}

/* -- what libcurl calls -------------------------------------------------------------------------
 */

static bool is_success(const struct run *run)
{
    return run->answer.status >= 200 && run->answer.status < 300;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct run *run = arg;
    struct fed_buf *text = &run->answer.text;
    size_t room = run->exchange->text_max > text->size ? run->exchange->text_max - text->size : 0;

    (void)size; /* 1, by libcurl's contract */
    if (run->exchange->on_data != NULL && is_success(run)) {
        run->rc = run->exchange->on_data(run->exchange->arg, &run->answer, fed_view_of(data, n),
                                         &run->err);
        return run->rc == 0 ? n : 0;
    }
    if (n > room && is_success(run)) {
        run->rc = fed_err_set(&run->err, FED_E_LIMIT, "the answer is over %zu bytes",
                              run->exchange->text_max);
        return 0;
    }
    room = n < room ? n : room;
    run->rc = room == 0 ? 0 : fed_buf_add(text, data, room, &run->err);
    return run->rc == 0 ? n : 0;
}

static size_t on_wanted(char *buffer, size_t size, size_t n, void *arg)
{
    struct run *run = arg;
    const struct fed_view body = run->exchange->body;
    const size_t left = body.size - run->n_sent;

    n = size * n < left ? size * n : left;
    if (n > 0) {
        memcpy(buffer, (const uint8_t *)body.data + run->n_sent, n);
        run->n_sent += n;
    }
    return n;
}

/* A kept connection that turns out to be closed: libcurl begins again on a new one. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    struct run *run = arg;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > run->exchange->body.size) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    run->n_sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* UTC, in milliseconds; 0: it is none. */
static uint64_t read_date(const char *value)
{
    const time_t seconds = curl_getdate(value, NULL);

    return seconds > 0 ? (uint64_t)seconds * 1000U : 0;
}

/* A status line, or a header, without its line end. */
static void read_line(struct run *run, const char *line)
{
    struct fed_http_answer *answer = &run->answer;
    const char *value = strchr(line, ':');
    size_t n;

    if (strncmp(line, "HTTP/", 5) == 0) {
        (void)curl_easy_getinfo(run->curl, CURLINFO_RESPONSE_CODE, &answer->status);
        answer->size = UINT64_MAX;
        memset(answer->values, 0, sizeof(answer->values));
        return;
    }
    if (value == NULL) {
        return;
    }
    n = (size_t)(value - line);
    value += 1 + strspn(value + 1, " \t");
    if (n == 14 && strncasecmp(line, "content-length", n) == 0) {
        char *end = NULL;
        const unsigned long long size = strtoull(value, &end, 10);
        answer->size = end != value && *end == '\0' && *value != '-' ? size : UINT64_MAX;
    } else if (n == 4 && strncasecmp(line, "date", n) == 0) {
        answer->date_utc_ms = read_date(value);
    } else if (n == 13 && strncasecmp(line, "last-modified", n) == 0) {
        answer->modified_utc_ms = read_date(value);
    }
    for (size_t i = 0; i < FED_HTTP_WANTED_MAX && run->exchange->wanted[i] != NULL; i++) {
        if (strlen(run->exchange->wanted[i]) == n && strlen(value) < FED_HTTP_VALUE_SIZE &&
            strncasecmp(line, run->exchange->wanted[i], n) == 0) {
            (void)snprintf(answer->values[i], FED_HTTP_VALUE_SIZE, "%s", value);
        }
    }
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    char line[LINE_MAX_BYTES];
    size_t end = n;

    (void)size;
    while (end > 0 && (unsigned char)data[end - 1] <= ' ') {
        end--;
    }
    if (end < sizeof(line) && memchr(data, '\0', end) == NULL) {
        memcpy(line, data, end);
        line[end] = '\0';
        read_line(arg, line);
    }
    return n;
}

/* About once a second, also while no body comes. */
static int
on_progress(void *arg, curl_off_t n_down, curl_off_t down, curl_off_t n_up, curl_off_t up)
{
    struct run *run = arg;

    (void)n_down;
    (void)down;
    (void)n_up;
    (void)up;
    if (fed_clock_mono_ms() < *run->exchange->due_ms) {
        return 0;
    }
    run->rc = fed_err_set(&run->err, FED_E_TIMEOUT, "the answer comes too slowly");
    return 1;
}

/* -- an exchange --------------------------------------------------------------------------------
 */

static bool is_method(const struct run *run, const char *method)
{
    return strcmp(run->exchange->method, method) == 0;
}

/* NULL: out of memory. */
static struct curl_slist *list_headers(const struct fed_http_exchange *exchange)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:"); /* a body is sent at once */

    for (size_t i = 0; i < exchange->n_headers && headers != NULL; i++) {
        struct curl_slist *longer = curl_slist_append(headers, exchange->headers[i]);
        if (longer == NULL) {
            curl_slist_free_all(headers);
        }
        headers = longer;
    }
    return headers;
}

static void set_up(const struct fed_http_pool *pool, struct run *run)
{
    CURL *curl = run->curl;

    (void)curl_easy_setopt(curl, CURLOPT_URL, run->exchange->url);
    (void)curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)run->exchange->timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, pool->connect_timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, pool->stall_s);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, RECEIVE_SIZE);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, run->message);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, run);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, run);
    if (run->exchange->due_ms != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, run);
    }
    if (pool->ca_file != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, pool->ca_file);
    }
    if (is_method(run, "HEAD")) {
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (is_method(run, "PUT") || is_method(run, "POST")) {
        (void)curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, SEND_SIZE);
        (void)curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                               (curl_off_t)run->exchange->body.size);
        (void)curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_wanted);
        (void)curl_easy_setopt(curl, CURLOPT_READDATA, run);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_rewind);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKDATA, run);
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, run->exchange->method);
    } else {
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, run->exchange->method);
    }
}

static int convert(const struct run *run, CURLcode code, struct fed_err *err)
{
    const char *text = run->message[0] != '\0' ? run->message : curl_easy_strerror(code);

    if (run->rc < 0) {
        return fed_err_set(err, run->err.code, "%s", run->err.msg);
    }
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return fed_err_set(err, FED_E_TIMEOUT, "%s", text);
    case CURLE_URL_MALFORMAT:
        return fed_err_set(err, FED_E_INVALID, "bad URL: %s", text);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return fed_err_set(err, FED_E_DENIED, "TLS: %s", text);
    case CURLE_OUT_OF_MEMORY:
        return fed_err_set(err, FED_E_NOMEM, "HTTP request");
    default:
        return fed_err_set(err, FED_E_UNAVAILABLE, "%s", text);
    }
}

int fed_http_exchange(struct fed_http_pool *pool,
                      const struct fed_http_exchange *exchange,
                      struct fed_http_answer *ret_answer,
                      struct fed_err *err)
{
    struct run run = {.exchange = exchange, .answer.size = UINT64_MAX, .curl = take(pool)};
    struct curl_slist *headers = list_headers(exchange);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    int rc = 0;

    assert(fed_blocking_is_allowed());
    if (run.curl != NULL && headers != NULL) {
        set_up(pool, &run);
        (void)curl_easy_setopt(run.curl, CURLOPT_HTTPHEADER, headers);
        code = curl_easy_perform(run.curl);
    }
    if (code != CURLE_OK) {
        rc = convert(&run, code, err);
    } else {
        rc = fed_buf_add(&run.answer.text, "", 1, err);
        run.answer.text.size -= rc == 0 ? 1 : 0;
    }
    if (run.curl != NULL) {
        give_back(pool, run.curl);
    }
    curl_slist_free_all(headers);
    if (rc < 0) {
        fed_http_answer_deinit(&run.answer);
        return rc;
    }
    *ret_answer = run.answer;
    return 0;
}

void fed_http_answer_deinit(struct fed_http_answer *answer)
{
    fed_buf_deinit(&answer->text);
}
