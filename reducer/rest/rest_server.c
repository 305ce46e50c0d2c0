/* Happy path of a request: begin() (head) → take_body()* → send_out(): suspended, worked on by the
 * dispatch → on_task_done(): resumed → queue_answer().
 *
 * What can fail: a body over its bound (413, before it is read), a form that is none (400), no
 * memory (503, or the connection is closed), the server closing (503).
 *
 * An exchange is passed between the HTTP thread and the dispatch with its phase, an atomic.
 */
#include "reducer/rest/rest_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/num.h"
#include "common/model/layout.h"
#include "reducer/rest/counters.h"
#include "reducer/rest/rest_dispatch.h"
#include "reducer/rest/rest_listen.h"
#include "reducer/rest/rest_request.h"
#include "reducer/rest/rest_response.h"
#include "reducer/rest/rest_watch.h"
#include "reducer/rest/routes.h"

#define HEAD_SIZE   (16UL * 1024UL) /* bytes of a connection's memory: request line, headers */
#define POST_BUFFER (16UL * 1024UL) /* bytes a form is parsed in */
#define RATE_MIN    16U             /* bytes a millisecond of what is long: 16 kB/s */
#define LINGER_US   1000000U
#define URI_MAX     2048U            /* bytes of a request's target kept for redirects */
#define FORM_EXTRA  (128UL * 1024UL) /* bytes of a form around its file */

struct rest_server {
    struct rest_shared shared;
    struct rest_config config; /* without NULL and 0 */
    char *listen;              /* owned: the texts of config */
    char *temp_dir;
    char *network_id;
    struct rest_dispatch *dispatch;
    struct MHD_Daemon *daemon;
    struct rest_watch watch;
    atomic_uint_fast64_t n_uploads;
    atomic_uint_fast64_t n_body_bytes; /* memory that bodies in arrival hold */
    struct {                           /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t idle;
        unsigned n_open; /* exchanges */
    } synced;
};

enum phase {
    PHASE_HEAD,    /* HTTP thread: nothing but the target yet */
    PHASE_BODY,    /* HTTP thread: the body arrives */
    PHASE_WORKING, /* suspended: a worker, the REST loop or the host has it */
    PHASE_ANSWER,  /* HTTP thread: the answer is there */
};

/* A connection, from its first byte on. */
struct connection {
    struct rest_watched watched;
};

struct exchange {
    struct rest_request request;
    struct rest_server *server;
    struct MHD_Connection *connection;
    struct connection *watched;     /* the same; NULL: out of memory */
    struct MHD_PostProcessor *post; /* while a form arrives */
    atomic_int phase;
    struct rest_task task;
    uint64_t received_bytes;
    uint64_t received_max;
    uint64_t reserved_bytes; /* of n_body_bytes */
    struct fed_err form_err; /* what was wrong with the form */
    bool is_upload;          /* counted in n_uploads */
    bool is_ignoring;        /* the answer is there: the rest of the body is of no interest */
    char uri[URI_MAX];
};

/* -- bounds ----------------------------------------------------------------------------------- */

/* The time for `size` bytes to come or go, at the least rate. */
static void set_deadline(struct exchange *exchange, uint64_t size_bytes)
{
    struct rest_server *server = exchange->server;

    if (exchange->watched != NULL) {
        rest_watch_set(&server->watch, &exchange->watched->watched,
                       fed_clock_mono_ms() + server->config.timeout_ms + size_bytes / RATE_MIN);
    }
}

static void clear_deadline(struct exchange *exchange)
{
    if (exchange->watched != NULL) {
        rest_watch_set(&exchange->server->watch, &exchange->watched->watched, 0);
    }
}

/* Memory for a body that arrives, out of what all of them may have. */
static int reserve(struct exchange *exchange, uint64_t size_bytes, struct fed_err *err)
{
    struct rest_server *server = exchange->server;

    if (atomic_fetch_add(&server->n_body_bytes, size_bytes) + size_bytes >
        server->config.bodies_max) {
        (void)atomic_fetch_sub(&server->n_body_bytes, size_bytes);
        return fed_err_set(err, FED_E_UNAVAILABLE, "too many requests arrive at a time");
    }
    exchange->reserved_bytes += size_bytes;
    return 0;
}

/* -- the answer ------------------------------------------------------------------------------- */

static enum MHD_Result queue_answer(struct exchange *exchange)
{
    struct MHD_Response *response = rest_response_new(
        &exchange->request.answer, exchange->server->shared.host->feed, exchange->connection);
    const int status = exchange->request.answer.status;
    enum MHD_Result result;

    if (status >= 400) {
        counters_add(exchange->server->shared.host->counters,
                     status >= 500 ? COUNTER_REST_FAILED : COUNTER_REST_REFUSED);
    }
    if (response == NULL) {
        return MHD_NO;
    }
    if (exchange->request.answer.is_stream) {
        clear_deadline(exchange); /* whoever takes nothing is shut out by the library's timeout */
    } else {
        set_deadline(exchange, exchange->request.answer.size_bytes);
    }
    result = MHD_queue_response(exchange->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static void refuse(struct exchange *exchange, enum fed_code code, const char *text)
{
    struct fed_err err = {.code = code};

    (void)snprintf(err.msg, sizeof(err.msg), "%s", text);
    rest_answer_failure(&exchange->request, &err);
}

/* The dispatch's loop: hand back to the HTTP thread. */
static void on_task_done(void *arg)
{
    struct exchange *exchange = arg;

    atomic_store_explicit(&exchange->phase, PHASE_ANSWER, memory_order_release);
    MHD_resume_connection(exchange->connection);
}

/* HTTP thread: the request is there. */
static enum MHD_Result send_out(struct exchange *exchange)
{
    if (exchange->post != NULL) {
        (void)MHD_destroy_post_processor(exchange->post);
        exchange->post = NULL;
    }
    if (exchange->form_err.code != FED_OK) {
        rest_answer_failure(&exchange->request, &exchange->form_err);
        return queue_answer(exchange);
    }
    rest_upload_finish(&exchange->request.upload);
    if (!rest_dispatch_enter(exchange->server->dispatch)) {
        refuse(exchange, FED_E_UNAVAILABLE, "the server is ending");
        return queue_answer(exchange);
    }
    clear_deadline(exchange);
    atomic_store_explicit(&exchange->phase, PHASE_WORKING, memory_order_release);
    MHD_suspend_connection(exchange->connection);
    counters_add(exchange->server->shared.host->counters, COUNTER_REST_REQUESTS);
    exchange->task = (struct rest_task){
        .request = &exchange->request,
        .step = exchange->request.route->handler,
        .done = on_task_done,
        .arg = exchange,
    };
    rest_dispatch_run(exchange->server->dispatch, &exchange->task);
    return MHD_YES;
}

/* -- bodies ----------------------------------------------------------------------------------- */

static int take_file(struct exchange *exchange,
                     const char *file_name,
                     struct fed_view piece,
                     bool is_first,
                     struct fed_err *err)
{
    struct rest_server *server = exchange->server;
    struct rest_upload *upload = &exchange->request.upload;
    int rc = 0;

    if (!exchange->request.route->is_upload) {
        return fed_err_set(err, FED_E_INVALID, "no file is expected here");
    }
    if (is_first && upload->fd >= 0) {
        return fed_err_set(err, FED_E_INVALID, "more than one file");
    }
    if (is_first) {
        rc = rest_upload_begin(upload, server->config.temp_dir, file_name, err);
    }
    if (rc == 0 && piece.size > server->config.upload_max - upload->size_bytes) {
        return fed_err_set(err, FED_E_INVALID, "the file is over %llu bytes",
                           (unsigned long long)server->config.upload_max);
    }
    return rc < 0 ? rc : rest_upload_add(upload, piece.data, piece.size, err);
}

/* NOLINTBEGIN(readability-function-size): the library gives it ten arguments. */
static enum MHD_Result on_form_part(void *arg,
                                    enum MHD_ValueKind kind,
                                    const char *key,
                                    const char *file_name,
                                    const char *content_type,
                                    const char *encoding,
                                    const char *data,
                                    uint64_t offset,
                                    size_t size)
{
    struct exchange *exchange = arg;
    struct fed_err *err = &exchange->form_err;
    int rc;

    (void)kind;
    (void)content_type;
    (void)encoding;
    if (err->code != FED_OK || key == NULL) {
        return MHD_NO;
    }
    rc = file_name != NULL && strcmp(key, "file") == 0
             ? take_file(exchange, file_name, fed_view_of(data, size), offset == 0, err)
             : rest_texts_add(&exchange->request.form, key, data, size, offset == 0, err);
    return rc < 0 ? MHD_NO : MHD_YES;
}
/* NOLINTEND(readability-function-size) */

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t *size)
{
    const size_t n = *size;
    struct fed_err *err = &exchange->form_err;
    int rc = 0; /* what is wrong stays in form_err until the request is there */

    *size = 0;
    exchange->received_bytes += n;
    exchange->request.has_body = true;
    if (exchange->received_bytes > exchange->received_max) {
        return MHD_NO; /* no length was given, and it is over the bound: no answer can be sent now
                        */
    }
    if (exchange->is_ignoring || err->code != FED_OK) {
        return MHD_YES;
    }
    if (exchange->post == NULL) {
        rc = reserve(exchange, n, err);
        rc = rc < 0 ? rc : fed_buf_add(&exchange->request.body, data, n, err);
    } else if (MHD_post_process(exchange->post, data, n) != MHD_YES && err->code == FED_OK) {
        rc = fed_err_set(err, FED_E_INVALID, "the form is malformed");
    }
    (void)rc;
    return MHD_YES;
}

/* -- heads ------------------------------------------------------------------------------------ */

static const char *header(const struct exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

/* FEDn: a positive number, else 0. */
static size_t header_count(const struct exchange *exchange, const char *name)
{
    const char *text = header(exchange, name);
    char *end = NULL;
    long long value;

    if (text == NULL) {
        return 0;
    }
    errno = 0;
    value = strtoll(text, &end, 10);
    return *end != '\0' || end == text || value < 0 || errno != 0 ? 0 : (size_t)value;
}

static void read_head(struct exchange *exchange)
{
    struct rest_request *request = &exchange->request;
    struct rest_page *page = &request->page;
    const char *key = header(exchange, "X-Sort-Key");
    const char *order = header(exchange, "X-Sort-Order");
    const char *reverse = header(exchange, "X-Reverse");
    const char *host = header(exchange, MHD_HTTP_HEADER_HOST);
    const char *last = header(exchange, "Last-Event-ID");
    const char *known = header(exchange, MHD_HTTP_HEADER_IF_NONE_MATCH);
    const char *accept = header(exchange, MHD_HTTP_HEADER_ACCEPT);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    size_t n;

    page->limit = header_count(exchange, "X-Limit");
    page->skip = header_count(exchange, "X-Skip");
    (void)snprintf(page->sort_key, sizeof(page->sort_key), "%s", key == NULL ? "" : key);
    page->is_ascending = order != NULL && strcmp(order, "asc") == 0;
    page->is_reverse = reverse != NULL && strcasecmp(reverse, "true") == 0;
    (void)snprintf(request->if_none_match, sizeof(request->if_none_match), "%s",
                   known == NULL ? "" : known);
    request->accepts_csv = accept != NULL && strncasecmp(accept, "text/csv", 8) == 0;
    (void)snprintf(request->last_event_id, sizeof(request->last_event_id), "%s",
                   last == NULL ? "" : last);
    if (info != NULL && info->client_addr != NULL) {
        const socklen_t size = info->client_addr->sa_family == AF_INET6
                                   ? sizeof(struct sockaddr_in6)
                                   : sizeof(struct sockaddr_in);
        (void)getnameinfo(info->client_addr, size, request->peer, sizeof(request->peer), NULL, 0,
                          NI_NUMERICHOST);
    }
    host = host == NULL ? "" : host;
    n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    n = n > REST_NAME_MAX ? REST_NAME_MAX : n;
    (void)snprintf(request->host_name, n + 1, "%s", host);
}

static enum MHD_Result
on_argument(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct exchange *exchange = arg;
    struct fed_err *err = &exchange->form_err;

    (void)kind;
    value = value == NULL ? "" : value;
    return rest_texts_add(&exchange->request.query, key, value, strlen(value), true, err) < 0
               ? MHD_NO
               : MHD_YES;
}

static bool is_form(const char *content_type)
{
    return content_type != NULL &&
           (strncasecmp(content_type, MHD_HTTP_POST_ENCODING_FORM_URLENCODED, 33) == 0 ||
            strncasecmp(content_type, MHD_HTTP_POST_ENCODING_MULTIPART_FORMDATA, 19) == 0);
}

/* The bounds of the body, before any of it is read. Returns false when it must not be read. */
static bool check_length(struct exchange *exchange)
{
    struct rest_server *server = exchange->server;
    const struct rest_request *request = &exchange->request;
    const char *text = header(exchange, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const uint64_t length = text == NULL ? 0 : strtoull(text, NULL, 10);

    exchange->received_max = request->route != NULL && request->route->is_upload
                                 ? server->config.upload_max + FORM_EXTRA
                                 : server->config.body_max;
    if (length > exchange->received_max) {
        return false;
    }
    if (request->route != NULL && request->route->is_upload) {
        set_deadline(exchange, length);
    }
    return true;
}

static int begin_body(struct exchange *exchange, struct fed_err *err)
{
    struct rest_request *request = &exchange->request;
    const char *type = header(exchange, MHD_HTTP_HEADER_CONTENT_TYPE);

    request->has_form = is_form(type) && request->method != REST_GET;
    if (request->route->is_upload && !request->has_form) {
        return fed_err_set(err, FED_E_INVALID, "a multipart form with a file is expected");
    }
    if (!request->has_form) {
        return 0;
    }
    if (reserve(exchange, POST_BUFFER, err) < 0) {
        return -FED_E_UNAVAILABLE;
    }
    if (request->route->is_upload) {
        if (atomic_fetch_add(&exchange->server->n_uploads, 1) >=
            exchange->server->config.uploads_max) {
            (void)atomic_fetch_sub(&exchange->server->n_uploads, 1);
            return fed_err_set(err, FED_E_UNAVAILABLE, "too many uploads at a time");
        }
        exchange->is_upload = true;
    }
    exchange->post =
        MHD_create_post_processor(exchange->connection, POST_BUFFER, on_form_part, exchange);
    return exchange->post == NULL ? fed_err_set(err, FED_E_INVALID, "the form is malformed") : 0;
}

/* A browser says which page a request that changes something comes from: another site's is refused.
 * Who is no browser says nothing. A name that was made to point here is no other site. */
static bool is_foreign(const struct exchange *exchange)
{
    const char *origin = header(exchange, "Origin");
    const char *host = header(exchange, MHD_HTTP_HEADER_HOST);
    const char *name = origin == NULL ? NULL : strstr(origin, "://");

    if (origin == NULL || exchange->request.method == REST_GET) {
        return false;
    }
    return host == NULL || name == NULL || strcasecmp(name + 3, host) != 0;
}

/* HTTP thread: the head is there. */
static enum MHD_Result begin(struct exchange *exchange, const char *url, const char *method)
{
    struct fed_err err = {0};
    const char *expect;

    exchange->is_ignoring = !rest_route_find(&exchange->request, method, url, exchange->uri);
    if (!exchange->is_ignoring && is_foreign(exchange)) {
        if (rest_refuse(&exchange->request, 403, "origin", &err,
                        "A page of another site may change nothing here") < 0) {
            rest_answer_failure(&exchange->request, &err);
        }
        return queue_answer(exchange);
    }
    if (!check_length(exchange)) {
        if (rest_refuse(&exchange->request, 413, "too_large", &err,
                        "The body is over the limit of %llu bytes",
                        (unsigned long long)exchange->received_max) < 0) {
            rest_answer_failure(&exchange->request, &err);
        }
        return queue_answer(exchange);
    }
    expect = header(exchange, MHD_HTTP_HEADER_EXPECT);
    if (exchange->is_ignoring) {
        atomic_store_explicit(&exchange->phase, PHASE_BODY, memory_order_relaxed);
        return expect != NULL ? queue_answer(exchange) : MHD_YES;
    }
    read_head(exchange);
    (void)MHD_get_connection_values(exchange->connection, MHD_GET_ARGUMENT_KIND, on_argument,
                                    exchange);
    if (begin_body(exchange, &err) < 0) {
        rest_answer_failure(&exchange->request, &err);
        exchange->is_ignoring = true;
        if (exchange->request.route->is_upload) {
            return queue_answer(exchange);
        }
    }
    atomic_store_explicit(&exchange->phase, PHASE_BODY, memory_order_relaxed);
    return MHD_YES;
}

/* -- the library's callbacks ------------------------------------------------------------------ */

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
    struct rest_server *server = arg;
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    if (exchange == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&server->synced.lock);
    server->synced.n_open++;
    (void)pthread_mutex_unlock(&server->synced.lock);
    exchange->watched = info == NULL ? NULL : info->socket_context;
    exchange->server = server;
    exchange->connection = connection;
    rest_request_init(&exchange->request, &server->shared, server->config.body_max);
    atomic_init(&exchange->phase, PHASE_HEAD);
    (void)snprintf(exchange->uri, sizeof(exchange->uri), "%s", uri);
    set_deadline(exchange, 0);
    return exchange;
}

static void on_connection(void *arg,
                          struct MHD_Connection *connection,
                          void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct rest_server *server = arg;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *watched = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED && info != NULL) {
        watched = calloc(1, sizeof(*watched));
        *context = watched;
        if (watched != NULL) {
            watched->watched.fd = info->connect_fd;
            rest_watch_add(&server->watch, &watched->watched,
                           fed_clock_mono_ms() + server->config.timeout_ms);
        }
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && watched != NULL) {
        rest_watch_remove(&server->watch, &watched->watched);
        free(watched);
        *context = NULL;
    }
}

static void end_exchange(struct exchange *exchange)
{
    struct rest_server *server = exchange->server;

    (void)atomic_fetch_sub(&server->n_body_bytes, exchange->reserved_bytes);
    if (exchange->post != NULL) {
        (void)MHD_destroy_post_processor(exchange->post);
    }
    if (exchange->is_upload) {
        (void)atomic_fetch_sub(&server->n_uploads, 1);
    }
    rest_request_deinit(&exchange->request);
    free(exchange);
}

/* The context of a connection that streams: streams are many, and need nothing of an exchange. */
static char streaming;

static enum MHD_Result answer_last(struct exchange *exchange, void **context)
{
    const bool is_stream = exchange->request.answer.is_stream;
    const enum MHD_Result result = queue_answer(exchange);

    if (is_stream && result == MHD_YES) {
        *context = &streaming;
        end_exchange(exchange);
    }
    return result;
}

/* NOLINTBEGIN(readability-function-size): the library's arguments. */
static enum MHD_Result on_access(void *arg,
                                 struct MHD_Connection *connection,
                                 const char *url,
                                 const char *method,
                                 const char *version,
                                 const char *data,
                                 size_t *size,
                                 void **context)
{
    struct exchange *exchange = *context;

    (void)arg;
    (void)connection;
    (void)version;
    if (exchange == NULL) {
        return MHD_NO;
    }
    switch ((enum phase)atomic_load_explicit(&exchange->phase, memory_order_acquire)) {
    case PHASE_HEAD:
        return begin(exchange, url, method);
    case PHASE_BODY:
        if (*size > 0) {
            return take_body(exchange, data, size);
        }
        return exchange->is_ignoring ? queue_answer(exchange) : send_out(exchange);
    case PHASE_WORKING:
        return MHD_YES;
    case PHASE_ANSWER:
        return answer_last(exchange, context);
    }
    return MHD_NO;
}
/* NOLINTEND(readability-function-size) */

static void on_completed(void *arg,
                         struct MHD_Connection *connection,
                         void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct rest_server *server = arg;

    (void)connection;
    (void)code;
    if (*context == NULL) {
        return;
    }
    if (*context != &streaming) {
        struct exchange *exchange = *context;
        set_deadline(exchange, 0); /* for the next request */
        end_exchange(exchange);
    }
    *context = NULL;
    (void)pthread_mutex_lock(&server->synced.lock);
    server->synced.n_open--;
    (void)pthread_cond_signal(&server->synced.idle);
    (void)pthread_mutex_unlock(&server->synced.lock);
}

/* -- life ------------------------------------------------------------------------------------- */

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value == 0 ? fallback : value;
}

static int
take_config(struct rest_server *server, const struct rest_config *config, struct fed_err *err)
{
    struct rest_config *own = &server->config;

    server->listen = strdup(config->listen == NULL ? "" : config->listen);
    server->temp_dir = strdup(config->temp_dir == NULL ? "/tmp" : config->temp_dir);
    server->network_id = strdup(config->network_id == NULL ? "fedn-network" : config->network_id);
    own->listen = server->listen;
    own->temp_dir = server->temp_dir;
    own->network_id = server->network_id;
    own->body_max = or_default(config->body_max, 1U << 20);
    own->upload_max = or_default(config->upload_max, 2ULL << 30);
    own->elements_max = or_default(config->elements_max, FED_ELEMENTS_MAX);
    own->bodies_max = or_default(config->bodies_max, 32U << 20);
    own->uploads_max = or_default(config->uploads_max, 16);
    own->connections_max = or_default(config->connections_max, 2048);
    own->timeout_ms = or_default(config->timeout_ms, 30000);
    own->workers_n = or_default(config->workers_n, 4);
    server->shared.network_id = own->network_id;
    server->shared.temp_dir = own->temp_dir;
    server->shared.elements_max = own->elements_max;
    server->shared.upload_max = own->upload_max;
    server->shared.started_ms = fed_clock_mono_ms();
    return own->listen == NULL || own->temp_dir == NULL || own->network_id == NULL
               ? fed_err_set(err, FED_E_NOMEM, "REST server")
               : 0;
}

static void ignore_log(void *arg, const char *fmt, va_list args)
{
    (void)arg;
    (void)fmt;
    (void)args; /* what peers do wrong on a connection is nobody's news */
}

static int start(struct rest_server *server, struct fed_err *err)
{
    int fd = -1;
    int rc = rest_listen(server->config.listen, &fd, &server->shared.port, err);

    if (rc < 0) {
        return rc;
    }
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, server, MHD_OPTION_EXTERNAL_LOGGER, ignore_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->config.connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_SIZE, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((server->config.timeout_ms + 999) / 1000), MHD_OPTION_URI_LOG_CALLBACK, on_uri,
        server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_END);
    if (server->daemon == NULL) {
        (void)close(fd);
        return fed_err_set(err, FED_E_NOMEM, "the HTTP server does not start");
    }
    return 0;
}

/* Everything but the daemon. */
static void destroy(struct rest_server *server)
{
    if (server->dispatch != NULL) {
        rest_dispatch_stop(server->dispatch);
        rest_watch_deinit(&server->watch);
        if (server->shared.host->feed != NULL) {
            feed_detach(server->shared.host->feed);
        }
        server->dispatch = rest_dispatch_free(server->dispatch);
    }
    rest_blobs_deinit(&server->shared.blobs);
    rest_kept_deinit(&server->shared.kept);
    (void)pthread_mutex_destroy(&server->synced.lock);
    (void)pthread_cond_destroy(&server->synced.idle);
    (void)pthread_mutex_destroy(&server->shared.package_lock);
    free(server->listen);
    free(server->temp_dir);
    free(server->network_id);
    free(server);
}

int rest_server_new(const struct rest_config *config,
                    struct host *host,
                    struct rest_server **ret_server,
                    struct fed_err *err)
{
    struct rest_server *server = calloc(1, sizeof(*server));
    pthread_condattr_t monotonic;
    sigset_t all;
    sigset_t old;
    int rc;

    if (server == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "REST server");
    }
    server->shared.host = host;
    (void)pthread_mutex_init(&server->shared.package_lock, NULL);
    (void)sigfillset(&all); /* signals are for main(): all our threads block them */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    (void)pthread_mutex_init(&server->synced.lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&server->synced.idle, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    rc = take_config(server, config, err);
    rest_kept_init(&server->shared.kept);
    rest_blobs_init(&server->shared.blobs, host->blobs, server->config.temp_dir);
    if (rc == 0) {
        rc = rest_dispatch_new(host, (unsigned)server->config.workers_n, &server->dispatch, err);
    }
    if (rc == 0) {
        rest_watch_init(&server->watch, rest_dispatch_loop(server->dispatch),
                        server->config.timeout_ms / 4);
        if (host->feed != NULL) {
            feed_open(host->feed, rest_dispatch_loop(server->dispatch));
        }
        rc = start(server, err);
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc < 0) {
        destroy(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

uint16_t rest_server_port(const struct rest_server *server)
{
    return server->shared.port;
}

void rest_server_close(struct rest_server *server)
{
    MHD_socket fd;

    if (!rest_dispatch_close(server->dispatch)) {
        return;
    }
    fd = MHD_quiesce_daemon(server->daemon);
    if (fd != MHD_INVALID_SOCKET) {
        (void)close(fd);
    }
    if (server->shared.host->feed != NULL) {
        feed_close(server->shared.host->feed);
    }
}

/* Give the last answers a moment to leave. */
static void wait_idle(struct rest_server *server)
{
    const uint64_t due_us = fed_clock_mono_us() + LINGER_US;
    const struct timespec due = {
        .tv_sec = (time_t)(due_us / 1000000),
        .tv_nsec = (long)(due_us % 1000000) * 1000,
    };
    int rc = 0;

    (void)pthread_mutex_lock(&server->synced.lock);
    while (server->synced.n_open > 0 && rc == 0) {
        rc = pthread_cond_timedwait(&server->synced.idle, &server->synced.lock, &due);
    }
    (void)pthread_mutex_unlock(&server->synced.lock);
}

struct rest_server *rest_server_free(struct rest_server *server)
{
    if (server != NULL) {
        rest_server_close(server);
        rest_dispatch_drain(server->dispatch);
        wait_idle(server);
        MHD_stop_daemon(server->daemon);
        destroy(server);
    }
    return NULL;
}
