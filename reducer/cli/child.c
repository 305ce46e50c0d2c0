#include "reducer/cli/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net/retry.h"

#define RETRY_BASE_MS 200U
#define RETRY_MAX_MS  10000U
#define STEADY_MS     30000U /* after so long a death is the first one again */
#define EXEC_FAILED   127

void child_words_add(struct child_words *words, const char *fmt, ...)
{
    char text[FED_PATH_SIZE];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(text) || words->n == CHILD_WORDS_MAX) {
        words->is_short = true;
        return;
    }
    words->items[words->n] = strdup(text);
    if (words->items[words->n] == NULL) {
        words->is_short = true;
        return;
    }
    words->n++;
}

void child_words_deinit(struct child_words *words)
{
    for (size_t i = 0; i < words->n; i++) {
        free(words->items[i]);
    }
    *words = (struct child_words){0};
}

/* -- in the new process: only what is safe between fork and exec ------------------------------- */

struct start {
    const struct child *child;
    char *const *argv;
    pid_t parent;
    int log_fd;
    int out_fd;
    int report_fd; /* closed by a successful exec, else it carries errno */
};

static bool prepare(const struct start *start)
{
    sigset_t none;
    const int null_fd = open("/dev/null", O_RDONLY);

    (void)sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != start->parent || setpgid(0, 0) != 0 ||
        pthread_sigmask(SIG_SETMASK, &none, NULL) != 0 || null_fd < 0 ||
        dup2(null_fd, STDIN_FILENO) < 0) {
        return false;
    }
    if (!start->child->has_own_output) {
        if (dup2(start->log_fd, STDOUT_FILENO) < 0 || dup2(start->log_fd, STDERR_FILENO) < 0) {
            return false;
        }
    }
    if (start->out_fd >= 0 && dup2(start->out_fd, STDOUT_FILENO) < 0) {
        return false;
    }
    return start->child->keep_fd < 0 || fcntl(start->child->keep_fd, F_SETFD, 0) == 0;
}

static _Noreturn void become(const struct start *start)
{
    int failure;

    errno = 0;
    if (prepare(start)) {
        (void)execv(start->argv[0], start->argv);
    }
    failure = errno == 0 ? ECANCELED : errno;
    if (write(start->report_fd, &failure, sizeof(failure)) < 0) {
        _exit(EXEC_FAILED - 1);
    }
    _exit(EXEC_FAILED);
}

/* -- here -------------------------------------------------------------------------------------- */

static int open_outputs(struct child *child, struct start *start, struct fed_err *err)
{
    off_t size;

    start->log_fd = -1;
    start->out_fd = -1;
    if (!child->has_own_output) {
        start->log_fd = open(child->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (start->log_fd < 0) {
            return fed_file_error(err, "open", child->log_path);
        }
        size = lseek(start->log_fd, 0, SEEK_END);
        child->log_from = size > 0 ? (uint64_t)size : 0;
    }
    if (child->out_path[0] != '\0') {
        start->out_fd = open(child->out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (start->out_fd < 0) {
            return fed_file_error(err, "open", child->out_path);
        }
    }
    return 0;
}

/* Fork, and wait for the exec to have happened or failed. */
static int spawn(struct start *start, pid_t *ret_pid, struct fed_err *err)
{
    int report[2];
    int failure = 0;
    ssize_t n;
    pid_t pid;

    if (pipe(report) != 0) {
        return fed_file_error(err, "make", "pipe");
    }
    (void)fcntl(report[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(report[1], F_SETFD, FD_CLOEXEC);
    start->report_fd = report[1];
    pid = fork();
    if (pid == 0) {
        become(start);
    }
    (void)close(report[1]);
    if (pid < 0) {
        (void)close(report[0]);
        return fed_file_error(err, "start", start->argv[0]);
    }
    do {
        n = read(report[0], &failure, sizeof(failure));
    } while (n < 0 && errno == EINTR);
    (void)close(report[0]);
    if (n == (ssize_t)sizeof(failure)) {
        (void)waitpid(pid, NULL, 0);
        errno = failure;
        return fed_file_error(err, "start", start->argv[0]);
    }
    *ret_pid = pid;
    return 0;
}

int child_start(struct child *child,
                const struct child_words *words,
                uint64_t now_ms,
                struct fed_err *err)
{
    struct start start = {.child = child, .argv = words->items, .parent = getpid()};
    pid_t pid = 0;
    int rc;

    assert(!child_is_running(child));
    if (words->is_short || words->n == 0) {
        return fed_err_set(err, FED_E_NOMEM, "arguments of %s", child->name);
    }
    if (child->ready_path[0] != '\0' && unlink(child->ready_path) != 0 && errno != ENOENT) {
        return fed_file_error(err, "remove", child->ready_path);
    }
    rc = open_outputs(child, &start, err);
    rc = rc < 0 ? rc : spawn(&start, &pid, err);
    if (start.log_fd >= 0) {
        (void)close(start.log_fd);
    }
    if (start.out_fd >= 0) {
        (void)close(start.out_fd);
    }
    if (rc < 0) {
        return rc;
    }
    child->pid = pid;
    child->started_ms = now_ms;
    child->state = child->ready_path[0] == '\0' ? CHILD_READY : CHILD_STARTING;
    return 0;
}

bool child_reap(struct child *child, uint64_t now_ms)
{
    int status = 0;

    if (!child_is_running(child) || waitpid(child->pid, &status, WNOHANG) != child->pid) {
        return false;
    }
    child->n_deaths = now_ms - child->started_ms > STEADY_MS ? 0 : child->n_deaths;
    child->due_ms = now_ms + fed_retry_delay_ms(child->n_deaths, RETRY_BASE_MS, RETRY_MAX_MS,
                                                (uint64_t)child->pid);
    child->n_deaths++;
    child->status = status;
    child->state = CHILD_ENDED;
    child->pid = 0;
    return true;
}

bool child_look(struct child *child)
{
    if (child->state != CHILD_STARTING || access(child->ready_path, F_OK) != 0) {
        return false;
    }
    child->state = CHILD_READY;
    return true;
}

void child_signal(const struct child *child, int number)
{
    if (child_is_running(child)) {
        (void)kill(child->pid, number);
    }
}

const char *child_format_status(const struct child *child, char *ret_text, size_t text_size)
{
    if (WIFSIGNALED(child->status)) {
        (void)snprintf(ret_text, text_size, "signal %d", WTERMSIG(child->status));
    } else {
        (void)snprintf(ret_text, text_size, "exit status %d", WEXITSTATUS(child->status));
    }
    return ret_text;
}
