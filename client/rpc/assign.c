/* Happy path: two pipes · the helper starts · the body goes in · "STATUS\nBODY" comes out until its
 * end · the helper is waited for.
 *
 * What can fail: no helper, no answer in time, an answer that is none. Each is "ask again later".
 */
#include "client/rpc/assign.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/json/agent_json.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"

#define URL_SIZE 1024

extern char **environ;

static inline void free_text_p(char **text)
{
    free(*text);
}

static inline void close_p(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* -- the helper -------------------------------------------------------------------------------- */

/* The helper's program: beside our own. */
static int find_program(char ret_path[FED_PATH_SIZE], struct fed_err *err)
{
    char self[FED_PATH_SIZE];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n <= 0) {
        return fed_file_error(err, "read link", "/proc/self/exe");
    }
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return fed_path_format(ret_path, err, "%s/confed-client-join", self);
}

static int make_pipe(int *ret_read, int *ret_write, struct fed_err *err)
{
    int fds[2];

    if (pipe(fds) != 0) {
        return fed_file_error(err, "make", "pipe");
    }
    *ret_read = fds[0];
    *ret_write = fds[1];
    /* Not dup2()ed: closed at exec, so that no other child keeps our pipe open. */
    (void)fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

static int spawn(const char *url, int in, int out, pid_t *ret_pid, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    char url_copy[URL_SIZE];
    char *const argv[] = {path, url_copy, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int code;
    const int rc = find_program(path, err);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(url_copy, sizeof(url_copy), "%s", url);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    code = posix_spawn(ret_pid, path, &actions, &attributes, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    if (code != 0) {
        errno = code;
        return fed_file_error(err, "run", path);
    }
    return 0;
}

/* Read to the end, or until the deadline or the cancellation. */
static int read_all(int fd, int cancel_fd, struct fed_buf *answer, struct fed_err *err)
{
    const uint64_t deadline_ms = fed_clock_mono_ms() + ASSIGN_TIMEOUT_MS;
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
    char data[4096];

    for (;;) {
        const uint64_t now_ms = fed_clock_mono_ms();
        const int n_ready = now_ms >= deadline_ms ? 0 : poll(fds, 2, (int)(deadline_ms - now_ms));
        if (n_ready == 0) {
            return fed_err_set(err, FED_E_TIMEOUT, "no answer in %u ms", ASSIGN_TIMEOUT_MS);
        }
        if (n_ready > 0 && fds[1].revents != 0) {
            return fed_err_set(err, FED_E_CANCELLED, "cancelled");
        }
        const ssize_t n = n_ready < 0 ? -1 : read(fd, data, sizeof(data));
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return fed_file_error(err, "read", "pipe");
        }
        const int rc = n < 0 ? 0 : fed_buf_add(answer, data, (size_t)n, err);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Run the helper with the body; its output is NUL-terminated beyond its size. */
static int run_helper(const struct assign_request *request,
                      const char *url,
                      const char *body,
                      struct fed_buf *answer,
                      struct fed_err *err)
{
    FED_CLEANUP(close_p) int in_read = -1;
    FED_CLEANUP(close_p) int in_write = -1;
    FED_CLEANUP(close_p) int out_read = -1;
    FED_CLEANUP(close_p) int out_write = -1;
    pid_t pid = 0;
    int rc = make_pipe(&in_read, &in_write, err);

    if (rc == 0) {
        rc = make_pipe(&out_read, &out_write, err);
    }
    if (rc == 0) {
        rc = spawn(url, in_read, out_write, &pid, err);
    }
    if (rc < 0) {
        return rc;
    }
    close_p(&in_read);
    close_p(&out_write);
    /* The body is a few hundred bytes, below what a pipe takes without a reader. */
    rc = fed_file_write(in_write, body, strlen(body), err);
    close_p(&in_write);
    if (rc == 0) {
        rc = read_all(out_read, request->cancel_fd, answer, err);
    }
    if (rc < 0) {
        (void)kill(pid, SIGKILL);
    }
    (void)waitpid(pid, NULL, 0);
    return rc < 0 ? rc : fed_buf_add(answer, "", 1, err);
}

/* -- its answer -------------------------------------------------------------------------------- */

static void fail(struct assign_answer *answer, const char *text)
{
    answer->assignment = AGENT_ASSIGN_FAILED;
    (void)snprintf(answer->text, sizeof(answer->text), "%s", text);
}

static void read_address(struct fed_view body, struct assign_answer *answer)
{
    struct agent_joined joined;
    struct fed_err err = {0};
    bool is_ipv6;

    if (agent_json_read_joined(body, &joined, &err) < 0) {
        fail(answer, err.msg);
        return;
    }
    is_ipv6 = strchr(joined.host, ':') != NULL && joined.host[0] != '[';
    answer->assignment = AGENT_ASSIGNED;
    (void)snprintf(answer->address, sizeof(answer->address), is_ipv6 ? "[%s]:%u" : "%s:%u",
                   joined.host, joined.port);
}

static void read_answer(const char *text, struct assign_answer *answer)
{
    char message[192];
    char *end = NULL;
    const long status = strtol(text, &end, 10);

    if (end == text || *end != '\n') {
        fail(answer, "confed-client-join gave no answer");
        return;
    }
    const struct fed_view body = fed_view_str(end + 1);
    if (status == 0) {
        fail(answer, end + 1);
        return;
    }
    if (status == 200) {
        read_address(body, answer);
        return;
    }
    agent_json_read_message(body, message, sizeof(message));
    (void)snprintf(answer->text, sizeof(answer->text), "HTTP status %ld: %s", status, message);
    if (status == 203) {
        answer->assignment = AGENT_ASSIGN_LATER;
    } else if (status == 400 || status == 401) {
        answer->assignment = AGENT_ASSIGN_REFUSED;
    } else {
        answer->assignment = AGENT_ASSIGN_FAILED;
    }
}

void assign_run(const struct assign_request *request, struct assign_answer *ret_answer)
{
    FED_CLEANUP(free_text_p)
    char *body = agent_json_join(request->name, request->client_id, request->preferred_combiner);
    FED_CLEANUP(fed_buf_deinit) struct fed_buf answer = {.size_max = AGENT_JSON_MAX};
    struct fed_err err = {0};
    char url[URL_SIZE];
    size_t n = strlen(request->api_url);

    *ret_answer = (struct assign_answer){0};
    while (n > 0 && request->api_url[n - 1] == '/') {
        n--;
    }
    (void)snprintf(url, sizeof(url), "%.*s/api/v1/clients/add", (int)n, request->api_url);
    if (body == NULL) {
        fail(ret_answer, "out of memory");
        return;
    }
    if (run_helper(request, url, body, &answer, &err) < 0) {
        fail(ret_answer, err.msg);
        return;
    }
    read_answer((const char *)answer.data, ret_answer);
}
