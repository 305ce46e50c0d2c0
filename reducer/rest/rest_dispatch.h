/* Who works on a request: workers for handlers, the host for asks, one loop between them.
 *
 *   rest_dispatch_run() → handler (worker) → loop ─┬─ answered: task->done()
 *                            ▲                      └─ REST_ASK → host … → loop → `then` (worker) …
 *
 * Thread safety: any thread, but where a function says otherwise.
 */
#ifndef REDUCER_REST_REST_DISPATCH_H
#define REDUCER_REST_REST_DISPATCH_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/sync/workers.h"
#include "reducer/rest/rest_request.h"

struct rest_dispatch;

/* A request that is worked on; embedded in what it belongs to. */
struct rest_task {
    struct rest_request *request;
    rest_step_fn step; /* the first */
    /* The answer is set. Once, on the dispatch's loop, never from inside rest_dispatch_run(); the
     * task is not touched after it. */
    void (*done)(void *arg);
    void *arg;
    /* the dispatch's own: */
    struct rest_dispatch *dispatch;
    struct fed_job job;
    int step_rc;
    struct fed_err step_err;
};

/* Threads start at once. `host` is borrowed. Fails with FED_E_NOMEM. */
FED_NODISCARD int rest_dispatch_new(struct host *host,
                                    unsigned n_workers,
                                    struct rest_dispatch **ret_dispatch,
                                    struct fed_err *err);

/* Take part: every suspended connection is counted in, so that the end can wait for it. False when
 * closing. rest_dispatch_run() needs it, and leaves by itself. */
bool rest_dispatch_enter(struct rest_dispatch *dispatch);

/* Work on a request until it is answered. The caller fills in the task's first four fields. */
void rest_dispatch_run(struct rest_dispatch *dispatch, struct rest_task *task);

/* The loop that done() is called on. */
struct fed_loop *rest_dispatch_loop(struct rest_dispatch *dispatch);

/* Nobody enters any more; long polls that are out are answered 503 at once. Idempotent. Returns
 * false when it was closed already. */
bool rest_dispatch_close(struct rest_dispatch *dispatch);

/* After close: wait until all have left. */
void rest_dispatch_drain(struct rest_dispatch *dispatch);

/* End the loop: its timers run no more. After that, free. Both accept NULL. */
void rest_dispatch_stop(struct rest_dispatch *dispatch);
struct rest_dispatch *rest_dispatch_free(struct rest_dispatch *dispatch);

#endif /* REDUCER_REST_REST_DISPATCH_H */
