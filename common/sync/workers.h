/* Worker threads for what may block or takes long: disk, database, hashing, folding, training.
 *
 * A job is embedded in what it belongs to. `work` runs on some worker, then `done` in the loop: on
 * the same thread if the loop is free and no other job waits (fed_loop_hand()).
 * Between submit and done the job's owner must not touch what `work` uses.
 *
 * A lane runs its jobs one after the other, in the order of submission (one accumulator, one
 * database); different lanes run side by side.
 */
#ifndef FED_COMMON_SYNC_WORKERS_H
#define FED_COMMON_SYNC_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/list.h"
#include "common/sync/loop.h"

typedef void (*fed_job_fn)(void *arg);

struct fed_job {
    struct fed_link link;  /* under the pool's lock */
    struct fed_event done; /* handed to the loop when the work has returned */
    fed_job_fn work;
    void *arg;
    struct fed_lane *lane; /* NULL: no order */
};

struct fed_lane {
    struct fed_list waiting; /* under the pool's lock */
    bool is_busy;
};

struct fed_workers;

/* Threads start at once. Jobs' `done` runs on `loop`, which must outlive the pool.
 * n_threads 0: one per core but one, at least one. Fails with FED_E_NOMEM. */
FED_NODISCARD int fed_workers_new(struct fed_loop *loop,
                                  unsigned n_threads,
                                  struct fed_workers **ret_workers,
                                  struct fed_err *err);

/* Wait for the running and the waiting jobs, then end the threads. The `done` events have been
 * posted by then: run the loop out, or never again. Never from a worker, nor in the loop, which a
 * worker may be running. Accepts NULL. */
struct fed_workers *fed_workers_free(struct fed_workers *workers);

void fed_lane_init(struct fed_lane *lane);

/* arg goes to both. done may be NULL. */
void fed_job_init(struct fed_job *job, fed_job_fn work, fed_event_fn done, void *arg);

/* Any thread. The job must not be waiting or running. */
void fed_workers_submit(struct fed_workers *workers, struct fed_lane *lane, struct fed_job *job);

#endif /* FED_COMMON_SYNC_WORKERS_H */
