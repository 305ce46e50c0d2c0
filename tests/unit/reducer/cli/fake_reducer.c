#include "tests/unit/reducer/cli/fake_reducer.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#define ANSWERS_MAX 128
#define LOG_SIZE    65536
#define BODY_SIZE   16384

struct answer {
    const char *request;
    char *body; /* owned */
    unsigned status;
    bool is_given;
};

struct fake_reducer {
    struct MHD_Daemon *daemon;
    struct { /* under lock */
        pthread_mutex_t lock;
        struct MHD_Connection *held; /* suspended */
        bool is_closing;             /* requests are dropped */
        struct answer answers[ANSWERS_MAX];
        size_t n_answers;
        char log[LOG_SIZE];
    } synced;
    char taken[LOG_SIZE]; /* the test's thread */
};

struct request {
    char path[512];
    char body[BODY_SIZE];
    size_t n_body;
    bool is_begun;
};

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
    struct request *request = calloc(1, sizeof(*request));

    (void)arg;
    (void)connection;
    assert(request != NULL);
    (void)snprintf(request->path, sizeof(request->path), "%s", uri);
    return request;
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
    *request = NULL;
}

static const struct answer *
find_answer_locked(struct fake_reducer *fake, const char *method, const char *path)
{
    struct answer *last = NULL;
    char line[640];

    (void)snprintf(line, sizeof(line), "%s %s", method, path);
    for (size_t i = 0; i < fake->synced.n_answers; i++) {
        struct answer *answer = &fake->synced.answers[i];
        if (strcmp(answer->request, line) == 0) {
            last = answer;
            if (!answer->is_given) {
                break;
            }
        }
    }
    if (last != NULL) {
        last->is_given = true;
    }
    return last;
}

static void add_header(struct MHD_Connection *connection,
                       const char *header,
                       const char *label,
                       char *text,
                       size_t size)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, header);

    if (value != NULL) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, size - used, " %s=%s", label, value);
    }
}

static void write_down_locked(struct fake_reducer *fake,
                              struct MHD_Connection *connection,
                              const char *method,
                              const struct request *request)
{
    const size_t used = strlen(fake->synced.log);
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    const bool is_form = type != NULL && strncmp(type, "multipart/", 10) == 0;
    char headers[256] = "";

    add_header(connection, "X-Limit", "limit", headers, sizeof(headers));
    add_header(connection, "X-Skip", "skip", headers, sizeof(headers));
    add_header(connection, "X-Sort-Key", "sort", headers, sizeof(headers));
    add_header(connection, "X-Sort-Order", "order", headers, sizeof(headers));
    (void)snprintf(fake->synced.log + used, sizeof(fake->synced.log) - used, "%s %s%s%s%s\n",
                   method, request->path, headers, request->n_body > 0 ? " " : "",
                   is_form ? "(form)" : request->body);
}

/* No answer. A resumed request comes here once more, and its connection is closed. */
static enum MHD_Result hold(struct fake_reducer *fake, struct MHD_Connection *connection)
{
    bool is_closing;

    (void)pthread_mutex_lock(&fake->synced.lock);
    is_closing = fake->synced.is_closing;
    if (!is_closing) {
        fake->synced.held = connection;
        MHD_suspend_connection(connection);
    }
    (void)pthread_mutex_unlock(&fake->synced.lock);
    return !is_closing && kill(getpid(), SIGINT) == 0 ? MHD_YES : MHD_NO;
}

/* NOLINTNEXTLINE(readability-function-size): libmicrohttpd's signature */
static enum MHD_Result on_request(void *arg,
                                  struct MHD_Connection *connection,
                                  const char *url,
                                  const char *method,
                                  const char *version,
                                  const char *data,
                                  size_t *data_size,
                                  void **context)
{
    static char missing[] = "{\"message\":\"Entity not found\"}";
    struct fake_reducer *fake = arg;
    struct request *request = *context;
    const struct answer *answer;
    struct MHD_Response *response;
    enum MHD_Result result;
    unsigned status;

    (void)url;
    (void)version;
    if (!request->is_begun) {
        request->is_begun = true;
        return MHD_YES;
    }
    if (*data_size > 0) {
        for (size_t i = 0; i < *data_size && request->n_body + 1 < BODY_SIZE; i++) {
            request->body[request->n_body++] = data[i];
        }
        *data_size = 0;
        return MHD_YES;
    }
    (void)pthread_mutex_lock(&fake->synced.lock);
    write_down_locked(fake, connection, method, request);
    answer = find_answer_locked(fake, method, request->path);
    (void)pthread_mutex_unlock(&fake->synced.lock);
    status = answer == NULL ? 404 : answer->status;
    if (status == 0) {
        return hold(fake, connection);
    }
    response = MHD_create_response_from_buffer(strlen(answer == NULL ? missing : answer->body),
                                               answer == NULL ? missing : answer->body,
                                               MHD_RESPMEM_PERSISTENT);
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

struct fake_reducer *fake_reducer_new(char ret_url[FAKE_URL_SIZE])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct fake_reducer *fake = calloc(1, sizeof(*fake));
    const union MHD_DaemonInfo *info;

    assert(fake != NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)pthread_mutex_init(&fake->synced.lock, NULL);
    fake->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, fake,
        MHD_OPTION_SOCK_ADDR, (struct sockaddr *)(void *)&address, MHD_OPTION_URI_LOG_CALLBACK,
        on_uri, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    assert(fake->daemon != NULL);
    info = MHD_get_daemon_info(fake->daemon, MHD_DAEMON_INFO_BIND_PORT);
    assert(info != NULL);
    (void)snprintf(ret_url, FAKE_URL_SIZE, "http://127.0.0.1:%u", info->port);
    return fake;
}

void fake_reducer_free(struct fake_reducer *fake)
{
    struct MHD_Connection *held;

    (void)pthread_mutex_lock(&fake->synced.lock);
    fake->synced.is_closing = true;
    held = fake->synced.held;
    (void)pthread_mutex_unlock(&fake->synced.lock);
    if (held != NULL) {
        MHD_resume_connection(held);
    }
    MHD_stop_daemon(fake->daemon);
    for (size_t i = 0; i < fake->synced.n_answers; i++) {
        free(fake->synced.answers[i].body);
    }
    (void)pthread_mutex_destroy(&fake->synced.lock);
    free(fake);
}

void fake_reducer_answer(struct fake_reducer *fake,
                         const char *request,
                         unsigned status,
                         const char *body)
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    assert(fake->synced.n_answers < ANSWERS_MAX);
    fake->synced.answers[fake->synced.n_answers++] =
        (struct answer){.request = request, .body = strdup(body), .status = status};
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

const char *fake_reducer_take_log(struct fake_reducer *fake)
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    memcpy(fake->taken, fake->synced.log, sizeof(fake->taken));
    fake->synced.log[0] = '\0';
    (void)pthread_mutex_unlock(&fake->synced.lock);
    return fake->taken;
}
