/* The Link to the reducer: dialled by us, again and again.
 *
 *   DOWN --dial--> HELLO (sent) --Welcome--> UP
 *     ^               |                       |
 *     +--closed, no Welcome in time, Reject---+     after 0.1 s, doubling to 5 s, with jitter
 *
 * Messages go out in order, a few at a time; beyond the bound they are dropped, for what is lost
 * comes again in the next Hello. Records come from the mailer, when nothing else waits.
 *
 * Thread safety: none. Loop thread.
 */
#ifndef COMBINER_RPC_REDUCER_LINK_H
#define COMBINER_RPC_REDUCER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/rpc/mailer.h"
#include "common/base/err.h"
#include "common/link/link.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"

struct reducer_link_ops {
    /* A stream is open: say Hello. */
    void (*up)(void *arg);
    /* It is closed; after every up(), once. */
    void (*down)(void *arg);
    /* A message of the reducer's, Welcome included; borrowed. */
    void (*message)(void *arg, const struct fed_down *down);
};

struct reducer_link_config {
    struct fed_loop *loop;
    struct fed_rpc_channel *channel;
    struct mailer *mailer;
    uint64_t welcome_timeout_ms; /* for the reducer to say Welcome after Hello */
    uint64_t seed;               /* of the jitter */
};

struct reducer_link;

/* Dial at once. Fails with FED_E_NOMEM. */
FED_NODISCARD int reducer_link_start(const struct reducer_link_config *config,
                                     const struct reducer_link_ops *ops,
                                     void *arg,
                                     struct reducer_link **ret_link,
                                     struct fed_err *err);

/* No more dialling; done(arg) on the loop when the stream is closed. Then free. */
void reducer_link_stop(struct reducer_link *link, fed_event_fn done, void *arg);
struct reducer_link *reducer_link_free(struct reducer_link *link); /* accepts NULL */

bool reducer_link_is_welcome(const struct reducer_link *link);

/* Borrowed. Dropped while the link is down, or when too much waits. */
void reducer_link_send(struct reducer_link *link, const struct fed_up *up);

/* The mailer has something. */
void reducer_link_pump(struct reducer_link *link);

#endif /* COMBINER_RPC_REDUCER_LINK_H */
