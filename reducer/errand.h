/* Errands: work for a worker that is repeated until it has worked, one after the other in a line.
 *
 *   WAITING --first in line--> RUNNING --worked, or failed for good--> done()
 *                                 ^ |
 *                back-off over    | v  failed for now
 *                               PAUSED
 *
 * The line keeps the order: what stands behind an errand that is repeated waits. Back-off is
 * common/net/retry.h's, 0.1 s doubling to 5 s. Owned by the loop; only `work` runs on a worker.
 */
#ifndef REDUCER_ERRAND_H
#define REDUCER_ERRAND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/sync/workers.h"

struct errand;

/* On a worker; may block. < 0: failed, again later if errand->is_stubborn or the failure is a
 * transient one; else done() gets what it returned. */
typedef int (*errand_work_fn)(struct errand *errand, struct fed_err *err);

/* On the loop, exactly once, and the errand's memory is its owner's again. rc as `work` returned
 * it; FED_E_CANCELLED when the line was closed first. */
typedef void (*errand_done_fn)(struct errand *errand, int rc, const struct fed_err *err);

struct errand {
    struct fed_link link;
    errand_work_fn work;
    errand_done_fn done;
    const char *what;  /* static; for people: "writing the round's row" */
    bool is_stubborn;  /* nothing but FED_E_CONFLICT and FED_E_CANCELLED ends it */
    const void *owner; /* the doer's own */
};

struct errand_line {
    struct fed_loop *loop;       /* borrowed */
    struct fed_workers *workers; /* borrowed */
    const char *name;            /* static; "metadata store" */
    void (*on_change)(
        void *arg); /* `trouble` has changed, or the closed line is idle; on the loop */
    void *arg;
    struct errand_line *first;    /* whom it gives way to, or NULL */
    struct errand_line *follower; /* who gives way to it, or NULL */
    bool is_yielding;             /* its head waits for `first` to be idle */
    struct fed_list waiting;
    unsigned n_waiting;
    struct errand *head; /* running or paused; NULL: idle */
    bool is_running;     /* its work is on a worker */
    bool is_closed;
    uint32_t attempt;
    uint64_t seed;
    uint64_t since_ms; /* the head has failed since then */
    struct fed_job job;
    struct fed_timer timer;
    int rc;             /* of the work; the worker's until the job is done */
    struct fed_err err; /* same */
    char trouble[384];  /* empty: none */
};

/* The line's callbacks and names are set here; the line must outlive its errands. */
void errand_line_init(struct errand_line *line,
                      struct fed_loop *loop,
                      struct fed_workers *workers,
                      const char *name,
                      void (*on_change)(void *arg),
                      void *arg);

/* From now on `line` begins no errand while `first` has any: what a round waits for comes before
 * what nobody waits for, on one store. One gives way to one. */
void errand_line_give_way(struct errand_line *line, struct errand_line *first);

void errand_submit(struct errand_line *line, struct errand *errand);

/* Nothing is repeated any more: what waits or is paused ends with FED_E_CANCELLED, what is
 * submitted later too; what runs on a worker ends when it returns. Idempotent. */
void errand_line_close(struct errand_line *line);

bool errand_line_is_idle(const struct errand_line *line);

#endif /* REDUCER_ERRAND_H */
