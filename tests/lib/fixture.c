/* NOLINTNEXTLINE(readability-identifier-naming): libc's name; for nftw */
#define _XOPEN_SOURCE 700

#include "tests/lib/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"

#define FILE_MAX ((size_t)256 * 1024 * 1024)
#define FDS_MAX  1024

/* -- folders and files --------------------------------------------------------------------------
 */

void test_folder_make(struct test_folder *folder)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)snprintf(folder->path, sizeof(folder->path), "%s/confed-test-XXXXXX", base);
    assert_non_null(mkdtemp(folder->path));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_folder_remove(struct test_folder *folder)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): does not change the folder of the process */
    (void)nftw(folder->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_path(const struct test_folder *folder, const char *name, char *ret_path)
{
    (void)snprintf(ret_path, FED_PATH_SIZE, "%s/%s", folder->path, name);
    return ret_path;
}

void test_file_write(const char *path, const void *data, size_t size)
{
    struct fed_err err = {0};

    if (fed_file_replace(path, fed_view_of(data, size), false, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

struct fed_buf test_file_read(const char *path)
{
    struct fed_buf buf;
    struct fed_err err = {0};

    if (fed_file_load(path, FILE_MAX, &buf, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return buf;
}

/* -- children ------------------------------------------------------------------------------------
 */

int test_child_start(int (*fn)(void *arg), void *arg)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(fn(arg));
    }
    return pid;
}

int test_child_wait(int pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int test_child_run(int (*fn)(void *arg), void *arg)
{
    return test_child_wait(test_child_start(fn, arg));
}

int test_program_run(char *const *argv, struct fed_buf *ret_text)
{
    int ends[2];
    pid_t pid;
    char block[4096];
    ssize_t n = 1;

    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execv(argv[0], argv);
        _exit(127);
    }
    (void)close(ends[1]);
    if (ret_text != NULL) {
        fed_buf_init(ret_text, FILE_MAX);
    }
    while ((n = read(ends[0], block, sizeof(block))) > 0) {
        if (ret_text != NULL) {
            assert_int_equal(fed_buf_add(ret_text, block, (size_t)n, NULL), 0);
        }
    }
    (void)close(ends[0]);
    if (ret_text != NULL) {
        assert_int_equal(fed_buf_add(ret_text, "", 1, NULL), 0);
        ret_text->size--;
    }
    return test_child_wait(pid);
}

/* -- servers ------------------------------------------------------------------------------------
 */

uint16_t test_port_free(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *any = (struct sockaddr *)(void *)&address;
    socklen_t size = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, any, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, any, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

struct server {
    char *const *argv;
    char *const *environment;
};

static int serve(void *arg)
{
    const struct server *server = arg;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)freopen("/dev/null", "w", stdout);
    for (int fd = STDERR_FILENO + 1; fd < FDS_MAX; fd++) {
        (void)close(fd); /* the test's own connections would stay open with it */
    }
    if (server->environment == NULL) {
        (void)execv(server->argv[0], server->argv);
    } else {
        (void)execve(server->argv[0], server->argv, server->environment);
    }
    return 127;
}

int test_server_start(char *const *argv, char *const *environment)
{
    struct server server = {argv, environment};

    return test_child_start(serve, &server);
}

/* -- waiting -------------------------------------------------------------------------------------
 */

void test_gate_init(struct test_gate *gate)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&gate->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    gate->count = 0;
}

void test_gate_deinit(struct test_gate *gate)
{
    (void)pthread_cond_destroy(&gate->wake);
    (void)pthread_mutex_destroy(&gate->lock);
}

void test_gate_open(struct test_gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->count++;
    (void)pthread_cond_broadcast(&gate->wake);
    (void)pthread_mutex_unlock(&gate->lock);
}

void test_gate_wait(struct test_gate *gate, unsigned n)
{
    const uint64_t until_ms = fed_clock_mono_ms() + TEST_WAIT_MS;
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000U),
                                   .tv_nsec = (long)(until_ms % 1000U) * 1000000L};
    unsigned count;
    int rc = 0;

    (void)pthread_mutex_lock(&gate->lock);
    while (gate->count < n && rc == 0) {
        rc = pthread_cond_timedwait(&gate->wake, &gate->lock, &until);
    }
    count = gate->count;
    (void)pthread_mutex_unlock(&gate->lock);
    if (count < n) {
        fail_msg("waited for %u events, %u came", n, count);
    }
}

/* -- a loop in a thread --------------------------------------------------------------------------
 */

static void *run_loop(void *arg)
{
    fed_loop_run(arg);
    return NULL;
}

void test_loop_start(struct test_loop *loop)
{
    assert_int_equal(fed_loop_new(&loop->loop, NULL), 0);
    assert_int_equal(pthread_create(&loop->thread, NULL, run_loop, loop->loop), 0);
}

void test_loop_stop(struct test_loop *loop)
{
    fed_loop_stop(loop->loop);
    (void)pthread_join(loop->thread, NULL);
    loop->loop = fed_loop_free(loop->loop);
}

struct call {
    struct fed_event event;
    fed_event_fn fn;
    void *arg;
    struct test_gate gate;
};

static void run_call(void *arg)
{
    struct call *call = arg;

    call->fn(call->arg);
    test_gate_open(&call->gate);
}

void test_loop_call(struct test_loop *loop, fed_event_fn fn, void *arg)
{
    struct call call = {.fn = fn, .arg = arg};

    test_gate_init(&call.gate);
    fed_event_init(&call.event, run_call, &call);
    fed_loop_post(loop->loop, &call.event);
    test_gate_wait(&call.gate, 1);
    test_gate_deinit(&call.gate);
}
