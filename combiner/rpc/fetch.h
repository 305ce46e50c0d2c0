/* One model from the reducer into a file: GetModel, again and again until it is whole.
 *
 *   (start) → asking from where the file ends → chunk, written by a worker → … → SHA-256 holds →
 * done ^                                |
 *                 +--the call broke: back-off------+      NOT_FOUND: lost
 *
 * Thread safety: none. Loop thread; writing is a worker's.
 */
#ifndef COMBINER_RPC_FETCH_H
#define COMBINER_RPC_FETCH_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/link/link.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct fetch_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc_channel *channel;
    const char *model_id;
    uint8_t sha256[FED_SHA256_SIZE];
    uint64_t size_bytes;
    const char *path; /* of the whole file; under way it is PATH.part */
    uint64_t seed;    /* of the jitter */
};

/* The file is there, or the reducer does not know the model. On the loop, once; the fetch is gone
 * when it returns. */
typedef void (*fetch_done_fn)(void *arg, bool is_here);

struct fetch;

/* Fails with FED_E_NOMEM, FED_E_LIMIT (path). */
FED_NODISCARD int fetch_start(const struct fetch_config *config,
                              fetch_done_fn done,
                              void *arg,
                              struct fetch **ret_fetch,
                              struct fed_err *err);

/* Not wanted any more: no done(); it frees itself when its call and its worker have ended, and
 * calls gone(arg) then. Once. */
void fetch_cancel(struct fetch *fetch, fed_event_fn gone, void *arg);

#endif /* COMBINER_RPC_FETCH_H */
