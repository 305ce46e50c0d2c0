/* Channels to a server, and calls on them.
 *
 * A channel has a connection of its own. It reconnects by itself; a call on a broken connection
 * fails fast with UNAVAILABLE, and the caller decides when to try again (common/net/retry.h).
 */
#ifndef FED_COMMON_RPC_RPC_CLIENT_H
#define FED_COMMON_RPC_RPC_CLIENT_H

#include "common/rpc/rpc.h"

struct fed_rpc_channel_config {
    const char *target;      /* "HOST:PORT" */
    size_t message_size_max; /* bytes of one received message */
    uint64_t keepalive_ms;   /* ping that often, also without calls; 0: never */
    uint64_t keepalive_timeout_ms;
};

struct fed_rpc_metadata {
    const char *key; /* lower case */
    const char *value;
};

struct fed_rpc_channel;

/* Fails with FED_E_INVALID (bad target), FED_E_NOMEM. Does not wait for the connection. */
FED_NODISCARD int fed_rpc_channel_new(struct fed_rpc *rpc,
                                      const struct fed_rpc_channel_config *config,
                                      struct fed_rpc_channel **ret_channel,
                                      struct fed_err *err);

/* All calls must have been closed. Accepts NULL. Loop thread. */
struct fed_rpc_channel *fed_rpc_channel_free(struct fed_rpc_channel *channel);

/* Metadata sent with every later call; copied. At most 8. */
FED_NODISCARD int fed_rpc_channel_set_metadata(struct fed_rpc_channel *channel,
                                               const struct fed_rpc_metadata *metadata,
                                               size_t n_metadata,
                                               struct fed_err *err);

/* What is called. Borrowed until the function that takes it returns. */
struct fed_rpc_target {
    const char *path;    /* "/package.Service/Method" */
    uint64_t timeout_ms; /* 0: none (long streams only) */
};

/* Start a call: send and read as wanted, then on_closed.
 * *ret_call is borrowed until on_closed. Fails with FED_E_NOMEM. Loop thread. */
FED_NODISCARD int fed_rpc_channel_call(struct fed_rpc_channel *channel,
                                       const struct fed_rpc_target *target,
                                       const struct fed_rpc_call_ops *ops,
                                       void *arg,
                                       struct fed_rpc_call **ret_call,
                                       struct fed_err *err);

/* One request, one answer. `in` is the callee's to free; NULL unless end->code is 0. Exactly once,
 * on the loop. */
typedef void (*fed_rpc_answer_fn)(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg);

/* Takes `request`; the target has a timeout. `fn` is called in every case, also when the call could
 * not be started; for a caller that goes away earlier, *ret_call (may be NULL) takes
 * fed_rpc_call_cancel(). */
void fed_rpc_channel_unary(struct fed_rpc_channel *channel,
                           const struct fed_rpc_target *target,
                           struct fed_rpc_out *request,
                           fed_rpc_answer_fn fn,
                           void *arg,
                           struct fed_rpc_call **ret_call);

#endif /* FED_COMMON_RPC_RPC_CLIENT_H */
