/* Sweeping: blobs that no row names are removed. They are what is left of uploads and commits that
 * were cut off between a blob and its row.
 *
 *   sweeping_list(): the keys there are, before this process writes any
 *   sweeping_run():  some time later, those among them that no row of a model or package names
 *
 * Only keys of our own making (a UUID, a package's ending behind it) are touched. Where more than
 * half of them are named by nobody, the rows are those of another federation, or lost: nothing is
 * removed. The caller sees to it that no round is open whose model may be among the listed.
 *
 * Thread safety: one thread at a time, but for sweeping_stop(). Both steps block: the second on a
 * worker.
 */
#ifndef REDUCER_SWEEPING_H
#define REDUCER_SWEEPING_H

#include <stdatomic.h>
#include <stdint.h>

#include "reducer/blob/blob.h"

#define SWEEPING_KEYS_MAX 10000U /* looked at, in byte order */

struct store;

/* Outcome of a run. */
enum {
    SWEEPING_DOUBTFUL = 1, /* too many are named by nobody */
};

struct sweeping {
    struct store *store;            /* borrowed, as the next */
    struct blob_store *blobs;       /* set by the caller */
    char (*keys)[BLOB_KEY_MAX + 1]; /* (n_keys,) owned, in order */
    size_t n_keys;
    size_t n_unnamed; /* of them, after a run */
    size_t n_removed;
    uint64_t bytes; /* that they had */
    atomic_bool is_stopped;
};

/* Fails as blob_list(), or with FED_E_NOMEM. */
FED_NODISCARD int sweeping_list(struct sweeping *sweeping, struct fed_err *err);

/* Returns 0 or SWEEPING_DOUBTFUL. Fails as the stores do; what was removed until then stays so. */
FED_NODISCARD int sweeping_run(struct sweeping *sweeping, struct fed_err *err);

void sweeping_stop(struct sweeping *sweeping); /* a run ends soon; any thread */
void sweeping_deinit(struct sweeping *sweeping);

#endif /* REDUCER_SWEEPING_H */
