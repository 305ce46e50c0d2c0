/* Pruning: the files of old models are removed, their rows stay and say when.
 *
 * Kept are the newest `keep` models, the best one by a metric where that is asked for, every
 * session's seed, whatever a session that is not over stands on, and `in_use`. The row is marked
 * before its blob goes, so that a crash in between leaves a file too many, never a row that
 * promises one: the next pruning removes it.
 *
 * Thread safety: any thread; blocks on the stores. The caller keeps sessions from starting
 * meanwhile.
 */
#ifndef REDUCER_PRUNING_H
#define REDUCER_PRUNING_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/err.h"

struct store;
struct blob_store;

struct pruning {
    struct store *store;      /* borrowed, as the following */
    struct blob_store *blobs; /* where files are removed */
    uint64_t keep;            /* newest models */
    const char *metric;       /* "": none; a name with "loss" or "error" in it: less is better */
    const char *in_use;       /* a model's id that must stay; "": none */
    bool is_dry;              /* only say what would be done */
};

/* *ret_report: {"dry_run",
 * "removed":[{"model_id","name","session_id","committed_at","size_bytes"}], "bytes",
 * "kept":[{"model_id", …, "why"}]}, newest first. Fails as the stores do; what was removed until
 * then stays removed. */
FED_NODISCARD int
pruning_run(const struct pruning *pruning, json_t **ret_report, struct fed_err *err);

/* Has the model of this row been pruned? */
bool pruning_is_pruned(const json_t *model);

#endif /* REDUCER_PRUNING_H */
