#include "tests/lib/mongo_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bson/bson.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"

#define PAIRS_MAX 64

/* -- the server ---------------------------------------------------------------------------------
 */

static int listen_on(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);

    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&address, &size), 0);
    return ntohs(address.sin_port);
}

bool mongo_server_init(struct mongo_server *server)
{
    static char script[] = CONFED_SOURCE "/scripts/go-part";
    static char part[] = "ferretdb";
    char *const argv[] = {script, part, NULL};
    const char *given = fed_env_get("CONFED_TEST_MONGODB");
    struct fed_buf text = {0};
    int status;

    *server = (struct mongo_server){0};
    if (given != NULL && given[0] != '\0') {
        (void)snprintf(server->given, sizeof(server->given), "%s", given);
        return true;
    }
    status = test_program_run(argv, &text);
    (void)snprintf(server->program, sizeof(server->program), "%.*s",
                   (int)strcspn((const char *)text.data, "\n"), (const char *)text.data);
    fed_buf_deinit(&text);
    if (status != 0) {
        (void)printf("SKIP: FerretDB cannot be had here (scripts/go-part: status %d), and "
                     "CONFED_TEST_MONGODB names no server\n",
                     status);
        return false;
    }
    test_folder_make(&server->folder);
    server->port = test_port_free();
    return true;
}

bool mongo_server_is_ours(const struct mongo_server *server)
{
    return server->program[0] != '\0';
}

void mongo_server_start(struct mongo_server *server)
{
    char listen_addr[64];
    char data[FED_PATH_SIZE];
    char state[FED_PATH_SIZE];
    const char *argv[24] = {server->program,
                            "--handler=sqlite",
                            "--telemetry=disable",
                            "--log-level=error",
                            "--debug-addr=-",
                            listen_addr,
                            data,
                            state};
    size_t n = 8;

    if (!mongo_server_is_ours(server)) {
        return;
    }
    (void)snprintf(listen_addr, sizeof(listen_addr), "--listen-addr=127.0.0.1:%u", server->port);
    (void)snprintf(data, sizeof(data), "--sqlite-url=file:%s/", server->folder.path);
    (void)snprintf(state, sizeof(state), "--state-dir=%s", server->folder.path);
    for (size_t i = 0; i < 8 && server->extra[i] != NULL; i++) {
        argv[n++] = server->extra[i];
    }
    argv[n] = NULL;
    server->pid = test_server_start((char *const *)(const void *)argv, NULL);
}

void mongo_server_kill(struct mongo_server *server)
{
    if (server->pid > 0) {
        (void)kill(server->pid, SIGKILL);
        (void)test_child_wait(server->pid);
        server->pid = 0;
    }
}

void mongo_server_freeze(struct mongo_server *server, bool is_frozen)
{
    (void)kill(server->pid, is_frozen ? SIGSTOP : SIGCONT);
    if (is_frozen) {
        (void)waitpid(server->pid, NULL, WUNTRACED); /* its threads stop one by one */
    }
}

void mongo_server_deinit(struct mongo_server *server)
{
    mongo_server_kill(server);
    if (mongo_server_is_ours(server)) {
        test_folder_remove(&server->folder);
    }
}

void mongo_server_url(const struct mongo_server *server,
                      const char *database,
                      const char *options,
                      char ret_url[FED_PATH_SIZE])
{
    const char *query = strchr(server->given, '?');
    const char *host = strstr(server->given, "://");
    size_t n;

    if (mongo_server_is_ours(server)) {
        (void)snprintf(ret_url, FED_PATH_SIZE, "mongodb://127.0.0.1:%u/%s?%s", server->port,
                       database, options);
        return;
    }
    assert_non_null(host);
    n = (size_t)(host + 3 - server->given) + strcspn(host + 3, "/?");
    (void)snprintf(ret_url, FED_PATH_SIZE, "%.*s/%s?%s%s%s", (int)n, server->given, database,
                   query == NULL ? "" : query + 1, query == NULL ? "" : "&", options);
}

/* -- the proxy ----------------------------------------------------------------------------------
 */

struct pair {
    int client;
    int server; /* -1: this place is free */
    bool is_losing;
    bool is_doubted; /* the next answer */
    bool is_held;    /* what comes from the server stays there */
};

enum mode {
    MODE_LOSE,
    MODE_DOUBT,
    MODE_HOLD
};

struct mongo_proxy {
    int listener;
    int wake[2]; /* a pipe: a byte says release, its end stop */
    uint16_t to_port;
    pthread_t thread;
    struct pair pairs[PAIRS_MAX]; /* the thread's */
    pthread_mutex_t lock;
    char command[32]; /* under lock, as the following */
    enum mode mode;
    unsigned n_left;
    unsigned n_lost;
};

static void end_pair(struct pair *pair)
{
    (void)close(pair->client);
    (void)close(pair->server);
    *pair = (struct pair){.client = -1, .server = -1};
}

static void accept_pair(struct mongo_proxy *proxy)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(proxy->to_port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int client = accept(proxy->listener, NULL, NULL);
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (proxy->pairs[i].server < 0) {
            proxy->pairs[i] = (struct pair){.client = client, .server = server};
            if (connect(server, (const struct sockaddr *)(const void *)&address, sizeof(address)) !=
                0) {
                end_pair(&proxy->pairs[i]);
            }
            return;
        }
    }
    (void)close(client);
    (void)close(server);
}

/* A request begins with its command's name: a wanted one is counted. */
static void look(struct mongo_proxy *proxy, struct pair *pair, const char *block, size_t size)
{
    bool is_wanted = false;

    (void)pthread_mutex_lock(&proxy->lock);
    if (proxy->n_left > 0) {
        const size_t n = strlen(proxy->command) + 1;
        for (size_t i = 0; i + n <= size && !is_wanted; i++) {
            is_wanted = memcmp(block + i, proxy->command, n) == 0;
        }
    }
    if (is_wanted) {
        proxy->n_left--;
        proxy->n_lost += proxy->mode == MODE_LOSE ? 1 : 0;
        pair->is_losing = pair->is_losing || proxy->mode == MODE_LOSE;
        pair->is_doubted = pair->is_doubted || proxy->mode == MODE_DOUBT;
        pair->is_held = pair->is_held || proxy->mode == MODE_HOLD;
    }
    (void)pthread_mutex_unlock(&proxy->lock);
}

/* An OP_MSG (sizes and flags in 20 bytes, a 0, one document) with a doubt. */
static bool doubt(struct pair *pair)
{
    uint8_t block[16384];
    uint32_t size = 0;
    bson_t *answer;
    bson_t error;
    bool is_sent;

    if (recv(pair->server, &size, sizeof(size), MSG_PEEK | MSG_WAITALL) != sizeof(size)) {
        return false;
    }
    size = BSON_UINT32_FROM_LE(size);
    assert_in_range(size, 22, sizeof(block));
    if (recv(pair->server, block, size, MSG_WAITALL) != (ssize_t)size) {
        return false;
    }
    answer = bson_new_from_data(block + 21, size - 21);
    assert_non_null(answer);
    pair->is_doubted = false;
    (void)BSON_APPEND_DOCUMENT_BEGIN(answer, "writeConcernError", &error);
    (void)BSON_APPEND_INT32(&error, "code", 64);
    (void)BSON_APPEND_UTF8(&error, "errmsg", "waiting for replication timed out");
    (void)bson_append_document_end(answer, &error);
    size = BSON_UINT32_TO_LE(21 + answer->len);
    memcpy(block, &size, sizeof(size));
    is_sent = send(pair->client, block, 21, MSG_NOSIGNAL | MSG_MORE) == 21 &&
              send(pair->client, bson_get_data(answer), answer->len, MSG_NOSIGNAL) ==
                  (ssize_t)answer->len;
    bson_destroy(answer);
    return is_sent;
}

static bool move(int from, int to, char *block, size_t block_size, ssize_t *ret_n)
{
    ssize_t n = recv(from, block, block_size, 0);
    ssize_t sent = 0;

    *ret_n = n;
    while (n > 0 && to >= 0 && sent < n) {
        const ssize_t step = send(to, block + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (step <= 0) {
            return false;
        }
        sent += step;
    }
    return n > 0;
}

static void serve_pair(struct mongo_proxy *proxy, struct pair *pair, bool from_client)
{
    static _Thread_local char block[65536];
    ssize_t n = 0;

    if (from_client) {
        if (!move(pair->client, pair->server, block, sizeof(block), &n)) {
            end_pair(pair);
        } else {
            look(proxy, pair, block, (size_t)n);
        }
    } else if (pair->is_doubted) {
        if (!doubt(pair)) {
            end_pair(pair);
        }
    } else if (!move(pair->server, pair->is_losing ? -1 : pair->client, block, sizeof(block), &n) ||
               pair->is_losing) {
        end_pair(pair);
    }
}

static void *run_proxy(void *arg)
{
    struct mongo_proxy *proxy = arg;

    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = proxy->wake[0], .events = POLLIN},
                                                {.fd = proxy->listener, .events = POLLIN}};
        char word;
        for (size_t i = 0; i < PAIRS_MAX; i++) {
            const struct pair *pair = &proxy->pairs[i];
            fds[2 + 2 * i] = (struct pollfd){.fd = pair->client, .events = POLLIN};
            fds[3 + 2 * i] =
                (struct pollfd){.fd = pair->is_held ? -1 : pair->server, .events = POLLIN};
        }
        (void)poll(fds, 2 + 2 * PAIRS_MAX, -1);
        if (fds[0].revents != 0 && read(proxy->wake[0], &word, 1) == 0) {
            break;
        }
        for (size_t i = 0; i < PAIRS_MAX; i++) {
            proxy->pairs[i].is_held = proxy->pairs[i].is_held && fds[0].revents == 0;
            if (proxy->pairs[i].server >= 0 && fds[2 + 2 * i].revents != 0) {
                serve_pair(proxy, &proxy->pairs[i], true);
            }
            if (proxy->pairs[i].server >= 0 && fds[3 + 2 * i].revents != 0) {
                serve_pair(proxy, &proxy->pairs[i], false);
            }
        }
        if (fds[1].revents != 0) {
            accept_pair(proxy);
        }
    }
    return NULL;
}

struct mongo_proxy *mongo_proxy_start(uint16_t to_port)
{
    struct mongo_proxy *proxy = calloc(1, sizeof(*proxy));

    assert_non_null(proxy);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        proxy->pairs[i] = (struct pair){.client = -1, .server = -1};
    }
    proxy->listener = listen_on(0);
    proxy->to_port = to_port;
    (void)pthread_mutex_init(&proxy->lock, NULL);
    assert_int_equal(pipe(proxy->wake), 0);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run_proxy, proxy), 0);
    return proxy;
}

uint16_t mongo_proxy_port(const struct mongo_proxy *proxy)
{
    return port_of(proxy->listener);
}

static void set(struct mongo_proxy *proxy, const char *command, unsigned n, enum mode mode)
{
    (void)pthread_mutex_lock(&proxy->lock);
    (void)snprintf(proxy->command, sizeof(proxy->command), "%s", command);
    proxy->n_left = n;
    proxy->mode = mode;
    (void)pthread_mutex_unlock(&proxy->lock);
}

void mongo_proxy_lose(struct mongo_proxy *proxy, const char *command, unsigned n)
{
    set(proxy, command, n, MODE_LOSE);
}

void mongo_proxy_doubt(struct mongo_proxy *proxy, const char *command, unsigned n)
{
    set(proxy, command, n, MODE_DOUBT);
}

void mongo_proxy_hold(struct mongo_proxy *proxy, const char *command)
{
    set(proxy, command, 1, MODE_HOLD);
}

void mongo_proxy_await_held(struct mongo_proxy *proxy)
{
    const uint64_t until_ms = fed_clock_mono_ms() + TEST_WAIT_MS;
    bool is_held = false;

    while (!is_held) {
        assert_true(fed_clock_mono_ms() < until_ms);
        (void)poll(NULL, 0, 5);
        (void)pthread_mutex_lock(&proxy->lock);
        is_held = proxy->mode == MODE_HOLD && proxy->n_left == 0;
        (void)pthread_mutex_unlock(&proxy->lock);
    }
}

void mongo_proxy_release(struct mongo_proxy *proxy)
{
    assert_int_equal(write(proxy->wake[1], "", 1), 1);
}

unsigned mongo_proxy_n_lost(struct mongo_proxy *proxy)
{
    unsigned n;

    (void)pthread_mutex_lock(&proxy->lock);
    n = proxy->n_lost;
    (void)pthread_mutex_unlock(&proxy->lock);
    return n;
}

void mongo_proxy_stop(struct mongo_proxy *proxy)
{
    (void)close(proxy->wake[1]);
    (void)pthread_join(proxy->thread, NULL);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (proxy->pairs[i].server >= 0) {
            end_pair(&proxy->pairs[i]);
        }
    }
    (void)close(proxy->wake[0]);
    (void)close(proxy->listener);
    (void)pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}
