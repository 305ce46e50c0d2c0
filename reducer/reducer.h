/* The reducer: wiring. It owns the loop, feeds the core (core/federation.h) with what happens, and
 * carries out the core's actions in their order.
 *
 *   REST threads ──ask──▶ ┌────────────── loop ──────────────┐ ──errand──▶ workers
 *   combiners ──message──▶│ federation_*() ─▶ actions ─▶ …   │ ◀──done──── store, blobs, sums
 *                         └──────────────────────────────────┘
 *
 * Threads: the loop is the caller of reducer_run(); only reducer_stop() may come from elsewhere.
 * At the start the store is read before the loop runs, and awaited if it is away (entering.c).
 */
#ifndef REDUCER_REDUCER_H
#define REDUCER_REDUCER_H

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "reducer/settings.h"

struct host;
struct reducer;

/* Open everything, read where the federation stands, listen. `settings` is borrowed. Fails as
 * store_open(), blob_open(), with FED_E_CORRUPT (rows that cannot be read), FED_E_IO (a port is
 * taken). A store that is away is no failure: reducer_run() waits for it. Blocks. */
FED_NODISCARD int
reducer_new(const struct settings *settings, struct reducer **ret_reducer, struct fed_err *err);

/* Wait for the store if it is away, then run until reducer_stop(), or until another reducer has
 * taken the store over. Returns the process's exit status (enum fed_exit). */
int reducer_run(struct reducer *reducer);

/* Drain and end; any thread, idempotent. The open round stays open for the next start. */
void reducer_stop(struct reducer *reducer);

/* After reducer_run() has returned. Accepts NULL. */
struct reducer *reducer_free(struct reducer *reducer);
FED_DEFINE_CLEANUP(struct reducer, reducer_free);

uint16_t reducer_get_rpc_port(const struct reducer *reducer);
uint16_t reducer_get_http_port(const struct reducer *reducer);
struct host *reducer_get_host(struct reducer *reducer); /* as REST uses it; for tests */

#endif /* REDUCER_REDUCER_H */
