/* The sum of a round with the list of who is in it, over the spool.
 *
 *   reset: from the checkpoint, or from zero → folds → checkpoint: the files of what was folded go
 *   → folds → … → seal: the partial is written, the memory freed
 *
 * A reset whose checkpoint is of no use leaves it void: nothing is folded until the next reset, for
 * which what went with the checkpoint is not asked for any more.
 *
 * Thread safety: none; the ledger's sum lane's alone, as the room is. All but init may block:
 * worker only.
 */
#ifndef COMBINER_TALLY_H
#define COMBINER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/aggregate/summing.h"
#include "combiner/spool/spool.h"
#include "common/base/err.h"
#include "common/model/npz.h"

struct tally {
    const struct spool *spool;           /* borrowed */
    const struct fed_npz_limits *limits; /* borrowed */
    struct summing_room *room;           /* borrowed */
    char round_id[FED_ROUND_ID_SIZE];
    struct summing *sum; /* owned; NULL: there is none */
    bool is_void;
    struct spool_update *updates; /* (n_updates,) owned: who is in the sum */
    size_t n_updates;
    size_t n_loaded; /* of them the first, by client_id: who the sum began with */
    size_t n_room;
    uint64_t file_bytes; /* of the updates that are files still */
};

void tally_init(struct tally *tally,
                const struct spool *spool,
                const struct fed_npz_limits *limits,
                struct summing_room *room,
                const char *round_id);
void tally_clear(struct tally *tally); /* no sum, and nobody in it */

/* Outcomes. */
enum {
    TALLY_ZERO = 1, /* reset: there was no checkpoint to begin from */
    TALLY_VOID,     /* reset: it was of no use and has been removed; fold: not done */
};

/* Begin again under the plan, its clients sorted; `base` is borrowed until the next reset or clear.
 * 0: all who are in the checkpoint are in the sum. Fails with FED_E_INVALID (scales or parameters
 * in another number), FED_E_IO, FED_E_NOMEM: then there is no sum. */
FED_NODISCARD int tally_reset(struct tally *tally,
                              const struct fed_plan *plan,
                              const struct base *base,
                              struct fed_err *err);

/* Add the update from its file, unless the sum began with it. Fails as summing_fold(); with
 * FED_E_INTERNAL where there is no sum, or it began with another update of the client. */
FED_NODISCARD int
tally_fold(struct tally *tally, const struct spool_update *update, struct fed_err *err);

/* Write the checkpoint, and remove the files of the updates that are in it. *ret_entries, owned by
 * the caller, are those in it; NULL where there is nothing to do: no sum, a broken one, no file.
 * Fails with FED_E_IO, FED_E_NOMEM: the files are there as before. */
FED_NODISCARD int tally_checkpoint(struct tally *tally,
                                   const struct fed_plan *plan,
                                   struct fed_entry **ret_entries,
                                   size_t *ret_n_entries,
                                   struct fed_err *err);

/* Write the partial of these entries (sorted here), which are all in the sum and all that is; then
 * clear. Path and combiner_id of `what` are the tally's to say. Fails as summing_write(), and with
 * FED_E_INTERNAL where others are in the sum: it is as it was. */
FED_NODISCARD int tally_seal(struct tally *tally,
                             const struct summing_partial *what,
                             uint8_t ret_digest[FED_DIGEST_SIZE],
                             struct fed_err *err);

#endif /* COMBINER_TALLY_H */
