#include "tests/lib/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 64
#define BLOCK     65536

/* A connection: ends[0] is the client's, ends[1] the server's. */
struct pair {
    int ends[2];
    uint64_t n_passed[2]; /* bytes from the client, from the server, */
    unsigned setting;     /* since that setting */
    bool is_stalled;
    bool is_matched; /* what `match` says has been asked for */
};

struct proxying {
    struct test_proxy *proxy;
    struct pair pairs[PAIRS_MAX];
    size_t n_pairs;
};

static int connect_to(unsigned port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

static void close_pair(struct proxying *proxying, size_t i)
{
    (void)close(proxying->pairs[i].ends[0]);
    (void)close(proxying->pairs[i].ends[1]);
    proxying->pairs[i] = proxying->pairs[--proxying->n_pairs];
}

static void take(struct proxying *proxying)
{
    const int client = accept(proxying->proxy->listener, NULL, NULL);
    const int server =
        proxying->n_pairs < PAIRS_MAX ? connect_to(proxying->proxy->target_port) : -1;

    (void)atomic_fetch_add(&proxying->proxy->n_connections, 1);
    if (server < 0) {
        (void)close(client);
        return;
    }
    proxying->pairs[proxying->n_pairs++] = (struct pair){.ends = {client, server}};
}

/* Whether the fault is to happen in these bytes; at *ret_at of them. */
static bool is_due(struct proxying *proxying, struct pair *pair, int from, size_t n, size_t *ret_at)
{
    struct test_proxy *proxy = proxying->proxy;
    const uint64_t after = atomic_load(&proxy->after);
    const bool is_way = atomic_load(&proxy->is_upward) == (from == 0) &&
                        (atomic_load(&proxy->match) == NULL || pair->is_matched);

    if (atomic_load(&proxy->fault) == TEST_PROXY_NONE || !is_way ||
        pair->n_passed[from] + n <= after || atomic_load(&proxy->n_times) == 0) {
        return false;
    }
    *ret_at = after > pair->n_passed[from] ? (size_t)(after - pair->n_passed[from]) : 0;
    (void)atomic_fetch_sub(&proxy->n_times, 1);
    return true;
}

static void look(const struct proxying *proxying, struct pair *pair, int from, struct fed_view data)
{
    const char *match = atomic_load(&proxying->proxy->match);
    const char *text = data.data;
    const size_t n = match == NULL ? 0 : strlen(match);

    for (size_t i = 0; n > 0 && from == 0 && i + n <= data.size && !pair->is_matched; i++) {
        pair->is_matched = memcmp(text + i, match, n) == 0;
    }
}

/* Pass on what has come; false when the connection is over. */
static bool pass(struct proxying *proxying, struct pair *pair, int from)
{
    static char block[BLOCK];
    const ssize_t got = recv(pair->ends[from], block, sizeof(block), 0);
    size_t n = got > 0 ? (size_t)got : 0;
    size_t at = 0;

    if (n == 0) {
        return false;
    }
    if (pair->setting != atomic_load(&proxying->proxy->n_settings)) {
        pair->setting = atomic_load(&proxying->proxy->n_settings);
        memset(pair->n_passed, 0, sizeof(pair->n_passed));
    }
    look(proxying, pair, from, fed_view_of(block, n));
    if (is_due(proxying, pair, from, n, &at)) {
        const char *text = atomic_load(&proxying->proxy->text);
        switch ((enum test_proxy_fault)atomic_load(&proxying->proxy->fault)) {
        case TEST_PROXY_STALL:
            pair->is_stalled = true;
            n = at;
            break;
        case TEST_PROXY_CUT:
            (void)send_all(pair->ends[1 - from], block, at);
            return false;
        case TEST_PROXY_FLIP:
            block[at] = (char)(block[at] ^ 1);
            break;
        case TEST_PROXY_SAY:
            (void)send_all(pair->ends[0], text, strlen(text));
            return false;
        case TEST_PROXY_NONE:
            break;
        }
    }
    pair->n_passed[from] += n;
    return send_all(pair->ends[1 - from], block, n);
}

static void *run(void *arg)
{
    struct proxying proxying = {.proxy = arg};

    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS_MAX] = {{proxying.proxy->listener, POLLIN, 0},
                                                {proxying.proxy->stop[0], POLLIN, 0}};
        const size_t n = proxying.n_pairs;
        for (size_t i = 0; i < 2 * n; i++) {
            const struct pair *pair = &proxying.pairs[i / 2];
            fds[2 + i] = (struct pollfd){pair->is_stalled ? -1 : pair->ends[i % 2], POLLIN, 0};
        }
        (void)poll(fds, 2 + 2 * n, -1);
        if (fds[1].revents != 0) {
            break;
        }
        for (size_t i = n; i-- > 0;) { /* from the end: closing moves the last one */
            if ((fds[2 + 2 * i].revents != 0 && !pass(&proxying, &proxying.pairs[i], 0)) ||
                (fds[3 + 2 * i].revents != 0 && !proxying.pairs[i].is_stalled &&
                 !pass(&proxying, &proxying.pairs[i], 1))) {
                close_pair(&proxying, i);
            }
        }
        if (fds[0].revents != 0) {
            take(&proxying);
        }
    }
    while (proxying.n_pairs > 0) {
        close_pair(&proxying, 0);
    }
    return NULL;
}

void test_proxy_start(struct test_proxy *proxy, unsigned target_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *proxy = (struct test_proxy){.target_port = target_port};
    proxy->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(proxy->listener, 64), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &size), 0);
    proxy->port = ntohs(address.sin_port);
    assert_int_equal(pipe(proxy->stop), 0);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run, proxy), 0);
}

void test_proxy_stop(struct test_proxy *proxy)
{
    (void)close(proxy->stop[1]);
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->stop[0]);
    (void)close(proxy->listener);
}

void test_proxy_set(struct test_proxy *proxy,
                    enum test_proxy_fault fault,
                    bool is_upward,
                    uint64_t after,
                    int n_times)
{
    atomic_store(&proxy->fault, TEST_PROXY_NONE);
    atomic_store(&proxy->is_upward, is_upward);
    atomic_store(&proxy->after, after);
    atomic_store(&proxy->n_times, n_times);
    (void)atomic_fetch_add(&proxy->n_settings, 1);
    atomic_store(&proxy->fault, (int)fault);
}
