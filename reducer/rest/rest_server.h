/* The REST server: FEDn 0.33's paths and ours beside them (routes.c has the table).
 *
 *   HTTP thread (libmicrohttpd, epoll)     REST loop                     workers (a few)
 *     parse, bound, receive bodies ──────────────────────────────────▶ handler: store, blobs
 *     connection suspended              done ◀───────────────────────── answer, or an ask
 *                                       ask ──▶ the reducer's loop ──▶ done ──▶ handler's next step
 *     answer ◀──────────────── resume ◀─┘
 *
 * The store and the blobs block, so no handler runs on the HTTP thread: one slow disk would hold up
 * every connection. While a handler or an ask is out, its connection is suspended, and costs a
 * socket and some 20 kB, no thread: long polls by the thousand are fine. Uploads go to an unlinked
 * temporary file as they arrive, hashed on the way; downloads and long answers come from such
 * files. So memory is connections_max times 20 kB, and bodies_max.
 *
 * A request must arrive whole within timeout_ms of its first line (an upload at 16 kB/s or more),
 * and an answer be taken as fast: who sends or reads a byte a second is shut out.
 *
 * Thread safety: rest_server_close() from any thread; the others from the thread that owns it.
 */
#ifndef REDUCER_REST_REST_SERVER_H
#define REDUCER_REST_REST_SERVER_H

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "reducer/rest/host.h"

/* 0 or NULL means the default. */
struct rest_config {
    const char *listen;       /* "HOST:PORT" or "[IPV6]:PORT"; port 0: a free one. Required */
    const char *temp_dir;     /* where uploads wait for their check: /tmp */
    const char *network_id;   /* as clients/config tells it: fedn-network */
    uint64_t body_max;        /* bytes of a request's body but uploads: 1 MiB */
    uint64_t bodies_max;      /* bytes of all such bodies at a time: 32 MiB; beyond: 503 */
    uint64_t upload_max;      /* bytes of an uploaded file, a model or a package: 2 GiB */
    uint64_t elements_max;    /* scalars of an uploaded model: FED_ELEMENTS_MAX */
    uint64_t uploads_max;     /* uploads at a time: 16; beyond: 503 */
    uint64_t connections_max; /* open at a time: 2048; beyond: they wait to be accepted */
    uint64_t timeout_ms;      /* of silence, and for a request to arrive whole but uploads: 30 s */
    uint64_t workers_n;       /* threads for handlers: 4 */
};

struct rest_server;

/* Listen and serve. `config` is copied; `host` is borrowed and outlives the server. On success the
 * caller owns *ret_server. Fails with FED_E_INVALID (listen), FED_E_IO (the port is taken),
 * FED_E_NOMEM. */
FED_NODISCARD int rest_server_new(const struct rest_config *config,
                                  struct host *host,
                                  struct rest_server **ret_server,
                                  struct fed_err *err);

uint16_t rest_server_port(const struct rest_server *server);

/* Stop accepting, answer the suspended long polls (503) and every later request (503). Does not
 * wait; idempotent. The host must still answer the asks that are out. */
void rest_server_close(struct rest_server *server);

/* Closes; waits for running handlers and for the asks that are out, which the host answers, then
 * ends. Blocks; never from the reducer's loop while asks are out. Accepts NULL, returns NULL. */
struct rest_server *rest_server_free(struct rest_server *server);
FED_DEFINE_CLEANUP(struct rest_server, rest_server_free);

#endif /* REDUCER_REST_REST_SERVER_H */
