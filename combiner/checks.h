/* Uploads and what is found in them: judged as soon as they are whole, claimed by announcements.
 *
 *   upload:  (whole) --checks_begin()--> judged against the base of the open round, by a worker
 *   claim:   CHECK --> the judgement is there, or awaited, or made --> judged(reason)
 *            --> checks_take() for the log --> checks_end(gone) or checks_end(given back)
 *
 * Thread safety: none. Owned by the loop; reading files is a worker's.
 */
#ifndef COMBINER_CHECKS_H
#define COMBINER_CHECKS_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/models.h"
#include "combiner/spool/spool.h"
#include "combiner/spool/staging.h"
#include "common/base/err.h"
#include "common/model/npz.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct checks_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    const struct spool *spool;
    struct staging *staging;
    struct fed_npz_limits limits;
};

struct checks_ops {
    /* FED_REFUSAL_MAX: it could not be judged, and the upload is there again. */
    void (*judged)(void *arg, uint64_t token, enum fed_refusal reason, const char *detail);
    void (*settled)(void *arg); /* a job has ended */
};

struct checks;

FED_NODISCARD int checks_new(const struct checks_config *config,
                             const struct checks_ops *ops,
                             void *arg,
                             struct checks **ret_checks,
                             struct fed_err *err);
struct checks *checks_free(struct checks *checks); /* accepts NULL; must be idle */

/* Judge the upload against `base` ahead of its announcement. */
void checks_begin(struct checks *checks, struct staged *staged, struct model *base);

/* Claim upload `update_id` for `token` and judge it. judged() follows; never from inside. */
struct checks_claim {
    uint64_t token;
    const char *update_id;
    const struct fed_plan *plan; /* borrowed for the call */
    uint64_t examples;
    struct model *base;
};
void checks_claim(struct checks *checks, const struct checks_claim *claim);

/* The claimed upload, borrowed; NULL: there is none. */
const struct spool_upload *checks_find(const struct checks *checks, uint64_t token);

/* The claim is over: the upload is given back for another announcement, or gone. Harmless where
 * there is none. */
void checks_end(struct checks *checks, uint64_t token, bool is_given_back);

/* Carry out what the staging has dropped. */
void checks_sweep(struct checks *checks);

/* Let go of the judgements of unannounced uploads, and with them of the bases. When idle. */
void checks_stop(struct checks *checks);
bool checks_is_idle(const struct checks *checks);

#endif /* COMBINER_CHECKS_H */
