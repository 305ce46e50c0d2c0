/* Sweeping: blobs that no row names are removed once they are old. They are what is left of uploads
 * and commits that were cut off between a blob and its row.
 *
 *   sweeping_keep(): this one is about to be written, and gets its row however late
 *   sweeping_run():  every key there is; what no row of a model or package names goes
 *
 * Only keys of our own making (a UUID, a package's ending behind it) are touched. Where more than
 * half of them are named by nobody, the rows are those of another federation, or lost: nothing is
 * removed.
 *
 * A blob that is younger than `age_ms` may get its row yet. A round's model may be older: its row
 * waits for the metadata store as long as it takes, and its key is made from what it contains, so a
 * round that was cut off between blob and row writes the same one again. Hence sweeping_keep().
 *
 * Thread safety: one thread at a time, but for sweeping_keep() and sweeping_stop(), which any
 * thread may call between init and deinit. A run blocks: on a worker.
 */
#ifndef REDUCER_SWEEPING_H
#define REDUCER_SWEEPING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "reducer/blob/blob.h"

#define SWEEPING_UNNAMED_MAX 1000U /* looked at in a run, in byte order */

struct store;

/* Outcome of a run. */
enum {
    SWEEPING_DOUBTFUL = 1, /* too many are named by nobody */
};

struct sweeping {
    struct store *store;         /* borrowed */
    struct blob_store *blobs;    /* borrowed */
    uint64_t age_ms;             /* younger ones stay */
    pthread_mutex_t lock;        /* of `kept`, and of a removal */
    char kept[BLOB_KEY_MAX + 1]; /* the newest that was announced; "": none */
    /* of the last run */
    size_t n_keys; /* of our own making */
    size_t n_unnamed;
    size_t n_removed;
    uint64_t bytes; /* that these had */
    atomic_bool is_stopped;
};

void sweeping_init(struct sweeping *sweeping,
                   struct store *store,
                   struct blob_store *blobs,
                   uint64_t age_ms);

/* Before the model of a round is put: it stays until the next one is announced, when it has its
 * row, or never gets one. Waits while one blob is looked at and removed. */
void sweeping_keep(struct sweeping *sweeping, const char *key);

/* Returns 0 or SWEEPING_DOUBTFUL. Fails as the stores do, or with FED_E_NOMEM; what was removed
 * until then stays so, and another run goes on. */
FED_NODISCARD int sweeping_run(struct sweeping *sweeping, struct fed_err *err);

void sweeping_stop(struct sweeping *sweeping); /* a run ends soon, and so does any later one */
void sweeping_deinit(struct sweeping *sweeping);

#endif /* REDUCER_SWEEPING_H */
