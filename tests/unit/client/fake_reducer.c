#include "tests/unit/client/fake_reducer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

#define WAIT_MS    20000U
#define SILENT_MAX 16 /* connections that are never answered */

struct fake_reducer {
    const char *const *answers;
    int fd;
    uint16_t port;
    pthread_t thread;
    int silent[SILENT_MAX]; /* the thread's */
    size_t n_silent;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned n_requests;
        char request[FAKE_REQUEST_SIZE];
    } synced;
};

/* The head, and as much of the body as Content-Length says. */
static void read_request(int fd, char request[FAKE_REQUEST_SIZE])
{
    size_t size = 0;

    request[0] = '\0';
    while (size < FAKE_REQUEST_SIZE - 1) {
        const ssize_t n = read(fd, request + size, FAKE_REQUEST_SIZE - 1 - size);
        if (n <= 0) {
            return;
        }
        size += (size_t)n;
        request[size] = '\0';
        const char *body = strstr(request, "\r\n\r\n");
        const char *length = strstr(request, "Content-Length: ");
        if (body != NULL && length != NULL &&
            strlen(body + 4) >= (size_t)strtoul(length + 16, NULL, 10)) {
            return;
        }
    }
}

static void serve(struct fake_reducer *reducer, int fd)
{
    char request[FAKE_REQUEST_SIZE];
    const char *answer = *reducer->answers;

    read_request(fd, request);
    (void)pthread_mutex_lock(&reducer->synced.lock);
    memcpy(reducer->synced.request, request, sizeof(request));
    reducer->synced.n_requests++;
    (void)pthread_cond_broadcast(&reducer->synced.changed);
    (void)pthread_mutex_unlock(&reducer->synced.lock);
    if (answer == NULL && reducer->n_silent < SILENT_MAX) {
        reducer->silent[reducer->n_silent++] = fd;
        return;
    }
    if (answer != NULL) {
        (void)!fed_file_write(fd, answer, strlen(answer), NULL);
        reducer->answers++;
    }
    (void)close(fd);
}

static void *run(void *arg)
{
    struct fake_reducer *reducer = arg;

    for (;;) {
        const int fd = accept(reducer->fd, NULL, NULL);
        if (fd < 0) {
            return NULL; /* shut down */
        }
        serve(reducer, fd);
    }
}

struct fake_reducer *fake_reducer_new(const char *const *answers)
{
    struct fake_reducer *reducer = calloc(1, sizeof(*reducer));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    pthread_condattr_t attr;
    int rc;

    assert(reducer != NULL);
    reducer->answers = answers;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    reducer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = bind(reducer->fd, (const struct sockaddr *)&address, sizeof(address));
    assert(rc == 0);
    rc = listen(reducer->fd, 16);
    assert(rc == 0);
    rc = getsockname(reducer->fd, (struct sockaddr *)&address, &size);
    assert(rc == 0);
    reducer->port = ntohs(address.sin_port);
    (void)pthread_mutex_init(&reducer->synced.lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&reducer->synced.changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    rc = pthread_create(&reducer->thread, NULL, run, reducer);
    assert(rc == 0);
    return reducer;
}

struct fake_reducer *fake_reducer_free(struct fake_reducer *reducer)
{
    (void)shutdown(reducer->fd, SHUT_RDWR);
    (void)pthread_join(reducer->thread, NULL);
    (void)close(reducer->fd);
    for (size_t i = 0; i < reducer->n_silent; i++) {
        (void)close(reducer->silent[i]);
    }
    (void)pthread_cond_destroy(&reducer->synced.changed);
    (void)pthread_mutex_destroy(&reducer->synced.lock);
    free(reducer);
    return NULL;
}

uint16_t fake_reducer_port(const struct fake_reducer *reducer)
{
    return reducer->port;
}

bool fake_reducer_wait(struct fake_reducer *reducer, unsigned n_requests)
{
    const uint64_t until_ms = fed_clock_mono_ms() + WAIT_MS;
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000U),
                                   .tv_nsec = (long)(until_ms % 1000U) * 1000000L};
    bool is_there;
    int rc = 0;

    (void)pthread_mutex_lock(&reducer->synced.lock);
    while (reducer->synced.n_requests < n_requests && rc == 0) {
        rc = pthread_cond_timedwait(&reducer->synced.changed, &reducer->synced.lock, &until);
    }
    is_there = reducer->synced.n_requests >= n_requests;
    (void)pthread_mutex_unlock(&reducer->synced.lock);
    return is_there;
}

void fake_reducer_last_request(struct fake_reducer *reducer, char ret_text[FAKE_REQUEST_SIZE])
{
    (void)pthread_mutex_lock(&reducer->synced.lock);
    memcpy(ret_text, reducer->synced.request, FAKE_REQUEST_SIZE);
    (void)pthread_mutex_unlock(&reducer->synced.lock);
}

void fake_reducer_format_assigned(char *ret_text, size_t text_size, uint16_t port)
{
    char body[128];
    const int n = snprintf(body, sizeof(body),
                           "{\"status\":\"assigned\",\"host\":\"127.0.0.1\",\"fqdn\":null,"
                           "\"port\":%u}\n",
                           port);

    (void)snprintf(ret_text, text_size,
                   "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n, body);
}
