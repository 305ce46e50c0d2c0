/* The rounds at this combiner as files and sums: what the collector asks to be written, folded and
 * sealed, carried out by workers.
 *
 *   file lane:  plan · ADMIT · SEAL · removal of the folder
 *   sum lane:   reset · fold · checkpoint · partial · end of the sum
 *
 * each in the order they were asked for. So an answer (ADMIT) never waits for a fold. A sum that
 * breaks (summing.h) is rebuilt from the spool, a few times; then the round is left unsealed, and
 * the reducer goes on without it.
 *
 * When the files of folded updates take more than spool_bytes_max, the sum becomes a checkpoint
 * (checkpoint.h) and the files go; a reset begins from it. Above that bound an admission waits
 * until the folds and the checkpoint under way have made room. When nothing is under way and there
 * still is none (the checkpoint could not be written, or nothing is folded), one is let through,
 * and the next when that is done: so the bound may be passed by more than one update. Where a
 * checkpoint is no use any more - damaged, or under a plan without one of its clients - all that
 * was in it is lost().
 *
 * Thread safety: none. Owned by the loop.
 */
#ifndef COMBINER_LEDGER_H
#define COMBINER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/models.h"
#include "combiner/spool/spool.h"
#include "common/base/err.h"
#include "common/base/file.h"
#include "common/model/npz.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct ledger_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    const struct spool *spool;
    struct fed_npz_limits limits;
    uint64_t spool_bytes_max; /* of a round's updates as files; above it, one at a time */
};

struct ledger_ops {
    void (*logged)(void *arg, uint64_t token, bool is_ok);
    void (*folded)(void *arg, const char *round_id, uint64_t plan_seq, const char *client_id);
    /* The partial is being written to a file, of which `size` bytes are there: more, and then
     * sealed() or unsealed() follow, unless the round is dropped. Takes over *map, the file's,
     * where it is not NULL: the first time. */
    void (*growing)(void *arg,
                    const char *round_id,
                    uint64_t plan_seq,
                    struct fed_map *map,
                    uint64_t size);
    void (*sealed)(void *arg, const char *round_id, uint64_t plan_seq);
    /* The partial, or its SEAL, could not be written: what is growing comes to nothing. */
    void (*unsealed)(void *arg, const char *round_id, uint64_t plan_seq);
    /* These, sorted by client_id, are in the spool no more: the sum is to be reset without them.
     * Borrowed. */
    void (*lost)(void *arg,
                 const char *round_id,
                 const struct fed_entry *entries,
                 size_t n_entries);
    void (*settled)(void *arg); /* a job has ended */
};

struct ledger;

FED_NODISCARD int ledger_new(const struct ledger_config *config,
                             const struct ledger_ops *ops,
                             void *arg,
                             struct ledger **ret_ledger,
                             struct fed_err *err);
struct ledger *ledger_free(struct ledger *ledger); /* accepts NULL; must be idle */

/* What a round found in the spool holds; before the loop runs. Fails with FED_E_NOMEM. */
FED_NODISCARD int
ledger_recover(struct ledger *ledger, const struct spool_round *round, struct fed_err *err);

void ledger_store_plan(struct ledger *ledger, const struct fed_plan *plan);

/* logged(token) follows, never from inside. */
struct ledger_admission {
    uint64_t token;
    const char *round_id;
    const struct spool_upload *upload;
    struct fed_entry entry;
};
void ledger_log(struct ledger *ledger, const struct ledger_admission *admission);

/* The plan's clients are sorted. lost() may follow, never from inside: until the next reset nothing
 * is folded then. */
void ledger_reset(struct ledger *ledger, const struct fed_plan *plan, struct model *base);
/* folded() follows, never from inside; at once for who is in the checkpoint. */
void ledger_fold(struct ledger *ledger,
                 const char *round_id,
                 uint64_t plan_seq,
                 const char *client_id);
void ledger_seal(struct ledger *ledger,
                 const struct fed_plan *plan,
                 const struct fed_entry *entries,
                 size_t n_entries);

/* What the round's updates have cost since this process began it: reading and checking them;
 * folding them. 0 where nothing is known. */
void ledger_get_times(const struct ledger *ledger,
                      const char *round_id,
                      uint64_t *ret_load_us,
                      uint64_t *ret_sum_us);
void ledger_drop(struct ledger *ledger, const char *round_id);

/* Let go of the sums and the bases; files stay. Idle when the workers are done. */
void ledger_stop(struct ledger *ledger);
bool ledger_is_idle(const struct ledger *ledger);

#endif /* COMBINER_LEDGER_H */
