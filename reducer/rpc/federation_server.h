/* The reducer's port for combiners: confed.v1.Federation and the standard health service.
 *
 * Links are numbered from 1 and named by their number; a number is never used again. Everything
 * here happens on the loop but for files and blobs, which are read and written by workers.
 *
 * Source: proto/confed/v1/federation.proto; round protocol, section 2.
 */
#ifndef REDUCER_RPC_FEDERATION_SERVER_H
#define REDUCER_RPC_FEDERATION_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/file.h"
#include "common/link/link.h"
#include "common/link/partial.h"
#include "common/rpc/rpc_server.h"
#include "common/sync/workers.h"
#include "reducer/blob/blob.h"

#define FEDERATION_LINKS_MAX 512U
#define FEDERATION_PUTS_MAX  256U
#define FEDERATION_GETS_MAX  512U
#define FEDERATION_HELLO_MS  10000U /* a link without a whole Hello is closed after that */
#define FEDERATION_PUT_IDLE_MS                                        \
    30000U /* a partial sum that does not move is given up after that \
            */

/* What the owner decides. All on the loop. */
struct federation_server_ops {
    /* A message came over a link; borrowed. */
    void (*on_up)(void *arg, uint64_t link, const struct fed_up *up);
    /* The link has ended; nothing follows. */
    void (*on_link_closed)(void *arg, uint64_t link);
    /* What was sent last over the link is out. */
    void (*on_link_sent)(void *arg, uint64_t link);
    /* False: the link is not read until federation_server_resume(). */
    bool (*may_read)(void *arg, uint64_t link);
    /* A reference to the bytes of a model that is at hand, or NULL. */
    struct fed_slab *(*find_model)(void *arg, const char *model_id);
    /* The bytes of a model that was not at hand; borrowed. */
    void (*on_model_read)(void *arg, const char *model_id, struct fed_slab *slab);
    /* May this partial sum be sent? Then its greatest size in bytes is returned; else 0, and
     * *ret_verdict says why (0: not yet, try again). */
    uint64_t (*check_partial)(void *arg,
                              const char *round_id,
                              const char *combiner_id,
                              uint64_t plan_seq,
                              enum fed_verdict *ret_verdict);
    /* It has come whole, its hash holds, it is what it was announced as. Takes over both the file
     * and *partial. */
    enum fed_verdict (*on_partial)(void *arg,
                                   const char *path,
                                   struct fed_partial *partial,
                                   char ret_detail[FED_LINK_DETAIL_SIZE]);
};

struct federation_server_config {
    const char *listen;
    const char *folder; /* for files of the moment */
    struct fed_loop *loop;
    struct fed_rpc *rpc;
    struct fed_workers *workers;
    struct blob_store *blobs;
};

struct federation_server;

/* Listen. The ops and what the config points to are borrowed for the server's life. Fails as
 * fed_rpc_server_new(). */
FED_NODISCARD int federation_server_new(const struct federation_server_config *config,
                                        const struct federation_server_ops *ops,
                                        void *arg,
                                        struct federation_server **ret_server,
                                        struct fed_err *err);

uint16_t federation_server_port(const struct federation_server *server);

/* Send over a link. One that is gone, or so slow that its queue is full (it is cancelled then:
 * its next Hello brings it up to date), loses the message. */
void federation_server_send(struct federation_server *server,
                            uint64_t link,
                            const struct fed_down *down);

/* End a link after what waits to be sent. */
void federation_server_close_link(struct federation_server *server,
                                  uint64_t link,
                                  const char *reason);

/* may_read() may have become true. */
void federation_server_resume(struct federation_server *server, uint64_t link);

/* No new calls; what lives is cancelled; done(arg) once all has ended. Then free. */
void federation_server_stop(struct federation_server *server, fed_event_fn done, void *arg);
struct federation_server *federation_server_free(struct federation_server *server);

#endif /* REDUCER_RPC_FEDERATION_SERVER_H */
