/* The checkpoint of a round: the sum of updates whose files have gone and the list of who is in it,
 * as a partial sum (partial.h).
 *
 *   SPOOL/rounds/<round_id>/checkpoint[.new]
 *
 *   .new written whole --checkpoint_publish()--> checkpoint --> the files of its updates go
 *
 * Killed in between, a file is there beside the checkpoint that has its update: the checkpoint
 * counts, and the file goes at the next start.
 *
 * Thread safety: as spool.h. All may block: worker only, or before the loop runs.
 */
#ifndef COMBINER_SPOOL_CHECKPOINT_H
#define COMBINER_SPOOL_CHECKPOINT_H

#include "combiner/spool/spool.h"
#include "common/base/err.h"
#include "common/link/partial.h"

#define CHECKPOINT     "checkpoint"     /* names in the round's folder */
#define CHECKPOINT_NEW "checkpoint.new" /* whole, and not yet in force */

/* CHECKPOINT_NEW takes the place of the former one, durably where the spool is synced.
 * Fails with FED_E_IO: the updates' files must stay; whichever of the two is there is whole. */
FED_NODISCARD int
checkpoint_publish(const struct spool *spool, const char *round_id, struct fed_err *err);

/* Outcomes of checkpoint_open(). */
enum {
    CHECKPOINT_NONE = 1, /* there is none */
    CHECKPOINT_USELESS,  /* damaged, or not for this plan: it has been removed */
};

/* Verify the checkpoint of the plan's round, and that the plan (its clients sorted) has the same
 * base and scales and all of its clients. At 0 the caller deinits *ret_partial.
 * Fails with FED_E_IO, FED_E_NOMEM: the checkpoint is there as it was. */
FED_NODISCARD int checkpoint_open(const struct spool *spool,
                                  const struct fed_plan *plan,
                                  struct fed_partial *ret_partial,
                                  struct fed_err *err);

/* The same for a former process's round: what was being written goes, and so does a checkpoint that
 * cannot be read. Fails with FED_E_NOMEM. */
FED_NODISCARD int checkpoint_recover(const struct spool *spool,
                                     const struct fed_plan *plan,
                                     struct fed_partial *ret_partial,
                                     struct fed_err *err);

#endif /* COMBINER_SPOOL_CHECKPOINT_H */
