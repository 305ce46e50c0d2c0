/* One partial sum to the reducer: PutPartial, again and again until it is answered.
 *
 * It may begin while the file is being written: what is there is sent (handover_extend()), but for
 * the trailer, without which the reducer takes nothing: that follows at handover_release().
 *
 * Thread safety: none. Loop thread; opening the file is a worker's.
 */
#ifndef COMBINER_RPC_HANDOVER_H
#define COMBINER_RPC_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/link/link.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct handover_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc_channel *channel;
    const char *path;    /* NULL: `map` is it, to be released */
    struct fed_map *map; /* taken over where handover_start() does not fail */
    const char *combiner_id;
    const char *round_id;
    uint64_t plan_seq;
    uint64_t load_us; /* what the updates cost here, for the round's row */
    uint64_t sum_us;
    uint64_t seed; /* of the jitter */
};

/* Answered. On the loop, once; the handover is gone when it returns. */
typedef void (*handover_done_fn)(void *arg, enum fed_verdict verdict);

struct handover;

/* Fails with FED_E_NOMEM, FED_E_LIMIT (path). */
FED_NODISCARD int handover_start(const struct handover_config *config,
                                 handover_done_fn done,
                                 void *arg,
                                 struct handover **ret_handover,
                                 struct fed_err *err);

/* So many bytes of the mapped file are there. */
void handover_extend(struct handover *handover, uint64_t size);

/* The mapped file is sealed: the trailer may go. False: it was not held back. */
bool handover_release(struct handover *handover);

/* Not wanted any more: no done(); it frees itself when its call and its worker have ended, and
 * calls gone(arg) then. Once. */
void handover_cancel(struct handover *handover, fed_event_fn gone, void *arg);

#endif /* COMBINER_RPC_HANDOVER_H */
