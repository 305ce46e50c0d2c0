/* `confed hold`: keeps a listening socket open over the crashes of the program that serves it.
 *
 *   start ──▶ RUNNING ──died──▶ waiting (back-off) ──▶ RUNNING
 *                │ SIGTERM, Ctrl-C: passed on; killed after the drain limit
 *                ▼
 *              ended: its exit status is ours
 *
 * What wakes it: signals (signalfd), the deadline of the restart or of the drain. One thread.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"
#include "reducer/cli/child.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/interrupt.h"
#include "reducer/cli/program.h"

#define BACKLOG  1024
#define DRAIN_MS 15000U /* the daemons' own limit is 10 s */

struct hold_options {
    struct cmd_common common;
    const char *listen;
};

static const struct fed_conf_item items[] = {
    {"listen", FED_CONF_TEXT, "127.0.0.1:12080", 0, 0, offsetof(struct hold_options, listen), false,
     "HOST:PORT", "where the program's clients connect; it is started with --listen fd:N"},
};
const struct args_table cmd_hold_options = {items, sizeof(items) / sizeof(items[0])};

struct hold {
    const struct cmd_call *call;
    struct child child;
    struct child_words words;
    int signal_fd;
    bool is_stopping;
    uint64_t kill_ms; /* when it is stopping; UINT64_MAX: sent already */
};

/* -- the socket -------------------------------------------------------------------------------- */

static int bind_one(const struct addrinfo *address)
{
    const int one = 1;
    const int fd =
        socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        const int failure = errno;
        (void)close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

static int listen_on(const char *text, int *ret_fd, struct fed_err *err)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[256];
    char service[8];
    uint16_t port = 0;
    int rc;

    if (!fed_address_parse(text, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "--listen is '%.60s', want HOST:PORT", text);
    }
    (void)snprintf(service, sizeof(service), "%u", port);
    rc = getaddrinfo(host, service, &wanted, &found);
    if (rc != 0) {
        return fed_err_set(err, FED_E_INVALID, "--listen %.60s: %s", text, gai_strerror(rc));
    }
    *ret_fd = bind_one(found);
    freeaddrinfo(found);
    return *ret_fd < 0 ? fed_file_error(err, "listen on", text) : 0;
}

/* -- the program ------------------------------------------------------------------------------- */

static int make_words(struct hold *hold, struct fed_err *err)
{
    const struct args *args = &hold->call->args;
    const int rc = program_words(&hold->words, args->words[0], err);

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 1; i < args->n_words; i++) {
        child_words_add(&hold->words, "%s", args->words[i]);
    }
    child_words_add(&hold->words, "--listen");
    child_words_add(&hold->words, "fd:%d", hold->child.keep_fd);
    return 0;
}

static void take_signals(struct hold *hold, uint64_t now_ms)
{
    for (int number = interrupt_take(hold->signal_fd); number != 0;
         number = interrupt_take(hold->signal_fd)) {
        if (number == SIGCHLD) {
            continue;
        }
        hold->kill_ms = hold->is_stopping ? now_ms : now_ms + DRAIN_MS; /* asked twice: at once */
        hold->is_stopping = true;
        child_signal(&hold->child, SIGTERM);
    }
}

/* Ends for good: told to, or by its settings, which the next start would not change. */
static bool is_over(const struct hold *hold)
{
    return !child_is_running(&hold->child) &&
           (hold->is_stopping ||
            (WIFEXITED(hold->child.status) && WEXITSTATUS(hold->child.status) == FED_EXIT_USAGE));
}

static void say_death(const struct hold *hold, uint64_t now_ms)
{
    const struct child *child = &hold->child;
    char status[32];

    if (!is_over(hold)) {
        (void)fprintf(hold->call->note.file, "%s died (%s); starting it again in %.1f s\n",
                      child->name, child_format_status(child, status, sizeof(status)),
                      (double)(child->due_ms - now_ms) / 1000.0);
        (void)fflush(hold->call->note.file);
    }
}

static int wait_ms(const struct hold *hold, uint64_t now_ms)
{
    uint64_t due_ms = hold->is_stopping ? hold->kill_ms : UINT64_MAX;

    if (!child_is_running(&hold->child)) {
        due_ms = hold->child.due_ms;
    }
    if (due_ms == UINT64_MAX) {
        return -1;
    }
    return due_ms <= now_ms ? 0 : (int)(due_ms - now_ms);
}

static int run(struct hold *hold, struct fed_err *err)
{
    uint64_t now_ms = fed_clock_mono_ms();
    int rc = child_start(&hold->child, &hold->words, now_ms, err);

    while (rc == 0 && !is_over(hold)) {
        struct pollfd pfd = {.fd = hold->signal_fd, .events = POLLIN};
        (void)poll(&pfd, 1, wait_ms(hold, now_ms));
        now_ms = fed_clock_mono_ms();
        take_signals(hold, now_ms);
        if (child_reap(&hold->child, now_ms)) {
            say_death(hold, now_ms);
        }
        if (hold->is_stopping && now_ms >= hold->kill_ms) {
            child_signal(&hold->child, SIGKILL);
            hold->kill_ms = UINT64_MAX;
        }
        if (!child_is_running(&hold->child) && !is_over(hold) && now_ms >= hold->child.due_ms) {
            rc = child_start(&hold->child, &hold->words, now_ms, err);
        }
    }
    return rc;
}

int cmd_hold(const struct cmd_call *call, struct fed_err *err)
{
    const struct hold_options *options = call->options;
    struct hold hold = {.call = call,
                        .child = {.has_own_output = true, .keep_fd = -1},
                        .signal_fd = -1,
                        .kill_ms = UINT64_MAX};
    int rc = listen_on(options->listen, &hold.child.keep_fd, err);

    (void)snprintf(hold.child.name, sizeof(hold.child.name), "%s", call->args.words[0]);
    rc = rc < 0 ? rc : interrupt_open(true, &hold.signal_fd, err);
    rc = rc < 0 ? rc : make_words(&hold, err);
    rc = rc < 0 ? rc : run(&hold, err);
    child_words_deinit(&hold.words);
    if (hold.signal_fd >= 0) {
        (void)close(hold.signal_fd);
    }
    if (hold.child.keep_fd >= 0) {
        (void)close(hold.child.keep_fd);
    }
    if (rc < 0) {
        return rc;
    }
    return WIFEXITED(hold.child.status) ? WEXITSTATUS(hold.child.status) : FED_EXIT_FAILED;
}
