#include "reducer/cli/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/file.h"

int interrupt_open(bool with_children, int *ret_fd, struct fed_err *err)
{
    sigset_t set;
    sigset_t blocked;
    int fd;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    if (with_children) {
        (void)sigaddset(&set, SIGCHLD);
    }
    blocked = set;
    (void)sigaddset(&blocked, SIGPIPE); /* a reader that went away is no reason to end */
    if (pthread_sigmask(SIG_BLOCK, &blocked, NULL) != 0) {
        return fed_err_set(err, FED_E_IO, "cannot block signals");
    }
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return fed_file_error(err, "open", "signalfd");
    }
    *ret_fd = fd;
    return 0;
}

int interrupt_take(int fd)
{
    struct signalfd_siginfo info;

    return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

bool interrupt_wait(int fd, uint64_t wait_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, (int)wait_ms) > 0;
}
