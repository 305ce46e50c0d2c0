/* The combiner: its parts, wired.
 *
 *   clients → front (rpc/) → collector (core/) → actions → ledger · checks · models (workers)
 *                  ↘ mailer ↘                          ↘ front (tasks, answers)
 *   reducer ← reducer_link ← handover · fetch           ↘ reducer_link (hints, Hello)
 *
 *   SERVING --combiner_stop()--> DRAINING --nothing open, or drain_limit--> CLOSING --port closed,
 *   link closed--> SETTLING --workers idle--> (returns)
 *
 * Threads: the loop (combiner_run's caller) owns everything; workers carry out jobs; gRPC's own
 * thread moves bytes.
 */
#ifndef COMBINER_COMBINER_H
#define COMBINER_COMBINER_H

#include "combiner/settings.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

struct combiner;

/* Take the spool, recover, listen. `settings` outlives it. Blocks on disk.
 * Fails with FED_E_CONFLICT (spool in use), FED_E_IO, FED_E_INVALID, FED_E_NOMEM. */
FED_NODISCARD int
combiner_new(const struct settings *settings, struct combiner **ret_combiner, struct fed_err *err);

/* Serve until combiner_stop(); on the calling thread. Returns an enum fed_exit. */
int combiner_run(struct combiner *combiner);

void combiner_stop(struct combiner *combiner); /* any thread; idempotent */

struct combiner *combiner_free(struct combiner *combiner); /* accepts NULL; after combiner_run() */
FED_DEFINE_CLEANUP(struct combiner, combiner_free);

/* The address clients are sent to, and the port in use; for tests. */
const char *combiner_get_advertise(const struct combiner *combiner);

#endif /* COMBINER_COMBINER_H */
