/* The client port: FEDn's services, for whoever calls.
 *
 * One file a service (svc_*.c) turns calls into words for the collector and records for the
 * mailer; this is what they share, and what the daemon asks of the port. The daemon is asked back
 * through struct front_ops.
 *
 *   port:  SERVING --front_drain()--> DRAINING --front_stop()--> STOPPED
 *
 * Whatever happens, a client sees OK, UNAVAILABLE or CANCELLED (status.h). Everything is bounded:
 * calls, uploads under way (the longest idle makes way), waiting heartbeats, sizes.
 *
 * Thread safety: none. Loop thread.
 */
#ifndef COMBINER_RPC_FRONT_H
#define COMBINER_RPC_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/core/collector.h"
#include "combiner/rpc/feed.h"
#include "combiner/rpc/mailer.h"
#include "combiner/spool/spool.h"
#include "combiner/spool/staging.h"
#include "common/base/err.h"
#include "common/rpc/rpc.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct front_config {
    const char *name;   /* of the combiner: TaskRequest.sender.name */
    const char *listen; /* "HOST:PORT" or "fd:N" */
    uint32_t calls_max;
    uint32_t connections_max;
    uint32_t clients_max;
    uint64_t rpc_memory_bytes; /* gRPC's own buffers */
    uint32_t uploads_max;      /* under way at once */
    uint32_t upload_turns_max; /* read from or written at once: a chunk in memory each */
    uint64_t upload_size_max;  /* bytes of one */
    uint64_t upload_idle_ms;   /* without a chunk for so long: ended */
    uint64_t beat_pace_ms;     /* a client that beats faster waits so long for its answer */
};

struct front_ops {
    /* The collector has been told something: carry out what it asks for. */
    void (*acted)(void *arg);
    /* The bytes of a global model, here or coming; borrowed until it is joined. NULL: unknown. */
    struct feed *(*find_feed)(void *arg, const char *id);
    /* An upload is whole: it will be announced soon. */
    void (*uploaded)(void *arg, struct staged *staged);
    /* Uploads were dropped: take them out of the staging. */
    void (*dropped)(void *arg);
    /* While draining: a call or an upload has ended. */
    void (*settled)(void *arg);
};

struct front_parts {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc *rpc;
    struct collector *collector;
    struct spool *spool;
    struct staging *staging;
    struct mailer *mailer;
};

struct front;

/* Listen. The parts, the texts and the ops outlive the port. Fails as fed_rpc_server_new(). */
FED_NODISCARD int front_start(const struct front_config *config,
                              const struct front_parts *parts,
                              const struct front_ops *ops,
                              void *arg,
                              struct front **ret_front,
                              struct fed_err *err);
uint16_t front_port(const struct front *front);

/* The collector (parts.collector may be NULL until now); before the loop runs. */
void front_set_collector(struct front *front, struct collector *collector);

/* -- what the collector asks for --------------------------------------------------------------- */

void front_send_task(struct front *front, uint64_t stream, const struct collector_task *task);
void front_end_stream(struct front *front, uint64_t stream);
void front_answer(struct front *front, uint64_t token, bool is_ok);

/* -- the end ----------------------------------------------------------------------------------- */

/* Accept nothing new, end the TaskStreams with UNAVAILABLE; uploads and announcements go on. */
void front_drain(struct front *front);
size_t front_count_open(const struct front *front); /* uploads and announcements under way */
size_t front_count_uploads(const struct front *front);

/* End what is left; done(arg) on the loop. Then front_free(). */
void front_stop(struct front *front, fed_event_fn done, void *arg);
struct front *front_free(struct front *front); /* accepts NULL */

#endif /* COMBINER_RPC_FRONT_H */
