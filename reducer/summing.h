/* The round's sum: base models are read, partial sums taken, the new model made and stored.
 *
 *   load(model) … reset, add(partial) …, finish: base + sums / examples → NPZ file → blob
 *
 * All of it happens on one line of errands, in the order it was asked for. Models and partials are
 * read and written in blocks: the whole sum is never in memory. The partials' files stay until the
 * next reset, so that a finish that has failed can be repeated.
 *
 * Loop only; `struct summing`'s second part belongs to the running errand.
 */
#ifndef REDUCER_SUMMING_H
#define REDUCER_SUMMING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/file.h"
#include "common/link/partial.h"
#include "common/rpc/rpc.h"
#include "reducer/blob/blob.h"
#include "reducer/core/federation.h"
#include "reducer/errand.h"
#include "reducer/sweeping.h"

#define SUMMING_FILES_MAX 2 /* base and newest model */

struct summing_added {
    char path[FED_PATH_SIZE];
    struct fed_partial partial;
    struct fed_partial_sums sums; /* mapped while a model is made */
};

struct summing {
    struct errand_line line;
    struct blob_store *blobs;        /* borrowed */
    struct sweeping *sweeping;       /* borrowed: is told what is written */
    char folder[FED_PATH_SIZE];      /* for files of the moment */
    atomic_uint_fast64_t n_rounds;   /* resets asked for: older additions are given up */
    struct {                         /* the running errand's */
        struct summing_added *added; /* (n_added,) owned */
        size_t n_added;
        struct { /* whose files are there; newest first */
            char id[FED_ID_SIZE];
            bool is_checked; /* all its values have been read, or written, here */
        } models[SUMMING_FILES_MAX];
    } own;
};

enum summing_verb {
    SUMMING_LOAD,
    SUMMING_RESET,
    SUMMING_ADD,
    SUMMING_FINISH,
};

/* One thing to do. The caller fills in what its verb needs. */
struct summing_task {
    struct errand errand;
    struct summing *summing;
    enum summing_verb verb;
    uint64_t n_round;
    char model_id[FED_ID_SIZE]; /* LOAD: which; FINISH: the base */
    /* ADD */
    char path[FED_PATH_SIZE];   /* of the partial; the file is ours from now on */
    struct fed_partial partial; /* owned */
    uint64_t token;
    /* FINISH */
    char round_id[FED_ROUND_ID_SIZE];
    struct fed_entry *entries; /* (n_entries,) owned, sorted */
    size_t n_entries;
    uint64_t sum_examples;
    int32_t *scale_bits; /* (n_tensors,) owned */
    size_t n_tensors;
    /* results of LOAD and FINISH: the model, and its bytes as they lie in the store */
    struct federation_base base; /* owned */
    struct fed_slab *slab;       /* owned */
    uint64_t finish_ms;
    uint64_t commit_ms;
    /* FINISH: the model is made, `base` but for its SHA-256 and `slab` say what it is; the store
     * has yet to take it. On the loop, before done(), again where the errand is repeated. */
    void (*made)(struct summing_task *task, void *arg);
    struct fed_event made_event;
    /* rc < 0: for good (LOAD: gone or damaged), or FED_E_CANCELLED. Then the task is freed. */
    void (*done)(struct summing_task *task, int rc, const struct fed_err *err, void *arg);
    void *arg;
};

void summing_init(struct summing *summing,
                  struct blob_store *blobs,
                  struct sweeping *sweeping,
                  const char *folder);
void summing_deinit(struct summing *summing); /* after the line is idle */

struct summing_task *summing_task_new(enum summing_verb verb); /* NULL: out of memory */
struct summing_task *summing_task_free(struct summing_task *task);

/* Takes the task. */
void summing_submit(struct summing *summing, struct summing_task *task);

#endif /* REDUCER_SUMMING_H */
