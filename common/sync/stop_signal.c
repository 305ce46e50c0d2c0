#include "common/sync/stop_signal.h"

#include <signal.h>

static void fill_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
}

void fed_stop_signal_block(void)
{
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    sigset_t set;

    fill_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignored, NULL);
}

static void *watch(void *arg)
{
    struct fed_stop_signal *stop_signal = arg;
    sigset_t set;
    int number = 0;

    fill_set(&set);
    while (sigwait(&set, &number) == 0 && !atomic_load(&stop_signal->is_over)) {
        stop_signal->fn(stop_signal->arg);
    }
    return NULL;
}

int fed_stop_signal_start(struct fed_stop_signal *stop_signal,
                          fed_stop_fn fn,
                          void *arg,
                          struct fed_err *err)
{
    stop_signal->fn = fn;
    stop_signal->arg = arg;
    atomic_init(&stop_signal->is_over, false);
    if (pthread_create(&stop_signal->thread, NULL, watch, stop_signal) != 0) {
        return fed_err_set(err, FED_E_NOMEM, "no thread that waits for signals");
    }
    return 0;
}

void fed_stop_signal_end(struct fed_stop_signal *stop_signal)
{
    atomic_store(&stop_signal->is_over, true);
    (void)pthread_kill(stop_signal->thread, SIGINT); /* to that thread alone: it wakes and sees */
    (void)pthread_join(stop_signal->thread, NULL);
}
