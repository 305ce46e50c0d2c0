/* SIGTERM and SIGINT as a call: a thread of its own waits for them.
 *
 *     fed_stop_signal_block();                      in main(), before there are other threads
 *     fed_stop_signal_start(&signal, stop, daemon, &err);
 *     … run …
 *     fed_stop_signal_end(&signal);
 *
 * Thread safety: start and end belong to one thread.
 */
#ifndef FED_COMMON_SYNC_STOP_SIGNAL_H
#define FED_COMMON_SYNC_STOP_SIGNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/err.h"

/* Runs on the watching thread, once for each signal; it may come again: idempotent. */
typedef void (*fed_stop_fn)(void *arg);

struct fed_stop_signal {
    pthread_t thread;
    atomic_bool is_over;
    fed_stop_fn fn;
    void *arg;
};

/* Block both signals, for this thread and all that it starts, and ignore SIGPIPE. */
void fed_stop_signal_block(void);

/* Call fn(arg) when a signal comes, until fed_stop_signal_end(). `stop_signal` must not move
 * meanwhile. Fails with FED_E_NOMEM (no thread). */
FED_NODISCARD int fed_stop_signal_start(struct fed_stop_signal *stop_signal,
                                        fed_stop_fn fn,
                                        void *arg,
                                        struct fed_err *err);

/* Ends the thread; fn is not called any more when it returns. */
void fed_stop_signal_end(struct fed_stop_signal *stop_signal);

#endif /* FED_COMMON_SYNC_STOP_SIGNAL_H */
