/* A client by raw gRPC, for what a good client does and for what it never would. Its calls wait
 * for their end; each peer has a connection of its own.
 */
#ifndef TESTS_UNIT_COMBINER_PEER_H
#define TESTS_UNIT_COMBINER_PEER_H

#include <fedn.pb-c.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/id.h"
#include "common/rpc/rpc.h"
#include "common/rpc/rpc_client.h"
#include "tests/lib/fixture.h"

struct peer;

/* protobuf-c's structs hold char *; it does not write through them. */
static inline char *peer_text(const char *text)
{
    char *plain;

    memcpy(&plain, &text, sizeof(plain));
    return plain;
}

struct peer *
peer_new(struct test_loop *loop, struct fed_rpc *rpc, const char *address, const char *client_id);
void peer_free(struct peer *peer);

/* Open the TaskStream; tasks come by peer_wait_task(). */
void peer_attach(struct peer *peer);

/* The n-th task (from 1) on any of its streams: "TYPE ROUND_DATA" is in `ret_data`; the model. */
const char *peer_wait_task(struct peer *peer, unsigned n, char ret_data[512]);

/* Until a stream of its ends; the status. */
int peer_wait_stream_end(struct peer *peer);

/* One unary call: the status. `ret_answer` may be NULL. */
int peer_call(struct peer *peer, const char *path, const ProtobufCMessage *request);

int peer_heartbeat(struct peer *peer);
int peer_announce(struct peer *peer,
                  const char *update_id,
                  const char *model_id,
                  const char *round_id,
                  const char *examples);

/* The same in two steps; the second waits for the answer, and frees. */
struct exchange;
struct exchange *peer_begin_announce(struct peer *peer,
                                     const char *update_id,
                                     const char *model_id,
                                     const char *round_id,
                                     const char *examples);
int peer_end_announce(struct exchange *exchange);

/* Upload `size` bytes under `id` in chunks of at most 1 MiB; the gRPC status, and FEDn's in
 * *ret_status (-1: none). Without is_whole the terminator is left out. */
int peer_upload(struct peer *peer,
                const char *id,
                const void *data,
                size_t size,
                bool is_whole,
                int *ret_status);

/* Download; the gRPC status, FEDn's last one in *ret_status, and the bytes (the caller deinits). */
int peer_download(struct peer *peer, const char *id, struct fed_buf *ret_bytes, int *ret_status);

/* The same in steps: begin, wait until so many messages have come, and for the end, which frees. */
struct exchange *peer_begin_download(struct peer *peer, const char *id);
void peer_wait_chunks(struct exchange *exchange, unsigned n);
int peer_end_download(struct exchange *exchange, struct fed_buf *ret_bytes, int *ret_status);

#endif /* TESTS_UNIT_COMBINER_PEER_H */
