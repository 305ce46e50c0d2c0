/* Sweeping: blobs that no row names are removed. They are what is left of uploads and commits that
 * were cut off between a blob and its row.
 *
 *   sweeping_list(): the keys there are, before this process writes any
 *   sweeping_keep(): this one is about to be written, once more, and gets its row soon
 *   sweeping_run():  some time later, those among them that no row of a model or package names
 *
 * Only keys of our own making (a UUID, a package's ending behind it) are touched. Where more than
 * half of them are named by nobody, the rows are those of another federation, or lost: nothing is
 * removed. A round's model may be among the listed: its key is made from what it contains, so a
 * round that was cut off between blob and row writes the same one again. Hence sweeping_keep().
 *
 * Thread safety: one thread at a time, but for sweeping_keep() and sweeping_stop(), which any
 * thread may call between init and deinit. List and run block: the second on a worker.
 */
#ifndef REDUCER_SWEEPING_H
#define REDUCER_SWEEPING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "reducer/blob/blob.h"

#define SWEEPING_KEYS_MAX 10000U /* looked at, in byte order */

struct store;

/* Outcome of a run. */
enum {
    SWEEPING_DOUBTFUL = 1, /* too many are named by nobody */
};

struct sweeping {
    struct store *store;            /* borrowed */
    struct blob_store *blobs;       /* borrowed */
    pthread_mutex_t lock;           /* of the keys, against sweeping_keep(), and of a removal */
    char (*keys)[BLOB_KEY_MAX + 1]; /* (n_keys,) owned, in order */
    bool *is_kept;                  /* (n_keys,) owned */
    size_t n_keys;
    size_t n_unnamed; /* of them, after a run */
    size_t n_removed; /* by the last run */
    uint64_t bytes;   /* that they had */
    atomic_bool is_stopped;
};

void sweeping_init(struct sweeping *sweeping, struct store *store, struct blob_store *blobs);

/* Once. Fails as blob_list(), or with FED_E_NOMEM: there are no keys then. */
FED_NODISCARD int sweeping_list(struct sweeping *sweeping, struct fed_err *err);

/* Before a blob is put under a key that may have been there: it stays. Waits while one blob is
 * being removed. */
void sweeping_keep(struct sweeping *sweeping, const char *key);

/* Returns 0 or SWEEPING_DOUBTFUL. Fails as the stores do; what was removed until then stays so, and
 * another run goes on. */
FED_NODISCARD int sweeping_run(struct sweeping *sweeping, struct fed_err *err);

void sweeping_stop(struct sweeping *sweeping);   /* a run ends soon; any thread */
void sweeping_forget(struct sweeping *sweeping); /* the keys: nothing more will be removed */
void sweeping_deinit(struct sweeping *sweeping);

#endif /* REDUCER_SWEEPING_H */
