/* A gRPC server: a table of methods, each call handed to the loop.
 *
 * A call to a method that is not in the table is answered with config.unknown_status at once: a
 * call is never left unanswered, because gRPC would keep it without a bound.
 */
#ifndef FED_COMMON_RPC_RPC_SERVER_H
#define FED_COMMON_RPC_RPC_SERVER_H

#include "common/rpc/rpc.h"

/* A new call. `request` is the one request of a unary or server-streaming method (the callee's to
 * free), NULL where requests are streamed (use fed_rpc_call_read()). The callee calls
 * fed_rpc_call_set() before it returns, or finishes the call. Loop thread. */
typedef void (*fed_rpc_method_fn)(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);

struct fed_rpc_method {
    const char *path; /* "/fedn.Combiner/TaskStream" */
    bool is_request_streamed;
    bool is_response_streamed;
    fed_rpc_method_fn fn;
};

struct fed_rpc_server_config {
    const char *listen;       /* "HOST:PORT", port 0 for a free one; "fd:N": a listening socket we
                               * inherited, accepted here, left open for our successor */
    size_t message_size_max;  /* bytes of one received message */
    size_t memory_max;        /* bytes for gRPC's own buffers (resource quota) */
    uint32_t calls_max;       /* live calls; beyond it a call ends with UNAVAILABLE */
    uint32_t connections_max; /* with fd:N only: beyond it a connection is closed */
    uint64_t keepalive_ms;    /* ping an idle peer that often; 0: never */
    uint64_t keepalive_timeout_ms;
    enum fed_rpc_status unknown_status; /* for methods that are not in the table */
    const char *unknown_detail;
};

/* What is served. */
struct fed_rpc_service {
    const struct fed_rpc_method *methods; /* static: borrowed for the server's life */
    size_t n_methods;
    void *arg; /* goes to every method */
};

struct fed_rpc_server;

/* Listen. The texts are borrowed for the server's life.
 * Fails with FED_E_INVALID (bad address), FED_E_IO (cannot bind: says who may hold it). */
FED_NODISCARD int fed_rpc_server_new(struct fed_rpc *rpc,
                                     const struct fed_rpc_server_config *config,
                                     const struct fed_rpc_service *service,
                                     struct fed_rpc_server **ret_server,
                                     struct fed_err *err);

uint16_t fed_rpc_server_port(const struct fed_rpc_server *server); /* the port in use */

/* Stop accepting; live calls go on, new ones end with UNAVAILABLE. Idempotent. Loop thread. */
void fed_rpc_server_close(struct fed_rpc_server *server);

/* After close: cancel what still lives and call done(arg) on the loop when all calls have been
 * closed. Loop thread, once. */
void fed_rpc_server_stop(struct fed_rpc_server *server, fed_event_fn done, void *arg);

/* After `done`. Accepts NULL. */
struct fed_rpc_server *fed_rpc_server_free(struct fed_rpc_server *server);

#endif /* FED_COMMON_RPC_RPC_SERVER_H */
