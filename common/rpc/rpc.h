/* Remote procedure calls over gRPC, seen from the loop.
 *
 * One struct fed_rpc a process: it owns the completion queue and its thread. That thread moves
 * bytes and hands what is done to the loop; every callback of this folder runs in the loop, so
 * those who use it need no locks.
 *
 *   server:  method fn(call, request)  --set-->  on_message* / on_sent*  -->  on_closed (once,
 * last) client:  fed_rpc_channel_call()             on_message* / on_sent*  -->  on_closed (once,
 * last)
 *
 * Flow: a message is read only when fed_rpc_call_read() asks for it, and one send is under way at a
 * time: that is the back-pressure in both directions. A call lives until on_closed has returned;
 * whoever keeps the pointer drops it there. Nothing is called from inside the call that caused it.
 *
 * The only includers of <grpc/…> stand in this folder; generated messages travel as
 * ProtobufCMessage.
 */
#ifndef FED_COMMON_RPC_RPC_H
#define FED_COMMON_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "common/base/err.h"
#include "common/base/view.h"
#include "common/sync/loop.h"

#define FED_RPC_CHUNK_SIZE  (1U << 20)                    /* bytes of a model in one message */
#define FED_RPC_MESSAGE_MAX (4U * 1024U * 1024U + 65536U) /* bytes, on the client port */
#define FED_RPC_CONTROL_MAX (1024U * 1024U + 65536U)      /* bytes, on confed.v1 */
#define FED_RPC_DETAIL_SIZE 256                           /* bytes of a status text, with the NUL */

/* The statuses we speak of, with gRPC's numbers. */
enum fed_rpc_status {
    FED_RPC_OK = 0,
    FED_RPC_CANCELLED = 1,
    FED_RPC_UNKNOWN = 2,
    FED_RPC_INVALID_ARGUMENT = 3,
    FED_RPC_DEADLINE_EXCEEDED = 4,
    FED_RPC_NOT_FOUND = 5,
    FED_RPC_RESOURCE_EXHAUSTED = 8,
    FED_RPC_UNIMPLEMENTED = 12,
    FED_RPC_INTERNAL = 13,
    FED_RPC_UNAVAILABLE = 14,
};

struct fed_rpc;
struct fed_rpc_call;
struct fed_rpc_in;  /* a received message; owned */
struct fed_rpc_out; /* a message to send; owned until given to a call */

/* How a call ended. At a server `code` is FED_RPC_CANCELLED when the peer went away first. */
struct fed_rpc_end {
    int code;
    const char *detail; /* borrowed for the callback */
};

struct fed_rpc_call_ops {
    /* What fed_rpc_call_read() asked for. `in` is the callee's to free; NULL: the peer sends no
     * more (server: it half-closed; client: the status follows in on_closed). May be NULL when
     * nothing is ever read. */
    void (*on_message)(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg);
    /* The last fed_rpc_call_send() is out: the next may be given. May be NULL. */
    void (*on_sent)(struct fed_rpc_call *call, void *arg);
    /* Exactly once, and nothing after it; the call is freed when it returns. */
    void (*on_closed)(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg);
};

/* Start the completion-queue thread. Fails with FED_E_NOMEM. Not from the loop of another fed_rpc.
 */
FED_NODISCARD int fed_rpc_new(struct fed_loop *loop, struct fed_rpc **ret_rpc, struct fed_err *err);

/* Waits for the thread, and after the last one of the process for gRPC's own, up to 5 s. All
 * servers and channels must have been freed, and the loop must not run any more. Accepts NULL. */
struct fed_rpc *fed_rpc_free(struct fed_rpc *rpc);

/* -- a call, either side; loop thread only ------------------------------------------------- */

void fed_rpc_call_set(struct fed_rpc_call *call, const struct fed_rpc_call_ops *ops, void *arg);

/* Ask for one message. No effect while one is asked for, and after the end. */
void fed_rpc_call_read(struct fed_rpc_call *call);

/* Send one message; takes `out` in every case. A second one before on_sent waits behind the first
 * (at most FED_RPC_SENDS_MAX wait: beyond it returns FED_E_LIMIT and the message is dropped). */
#define FED_RPC_SENDS_MAX 256 /* a Hello of 100,000 clients and two full rounds */
FED_NODISCARD int
fed_rpc_call_send(struct fed_rpc_call *call, struct fed_rpc_out *out, struct fed_err *err);

/* Client: no more messages from us (after those that wait). Idempotent. */
void fed_rpc_call_send_end(struct fed_rpc_call *call);

/* Server: end the call with a status after the messages that wait. Idempotent: the first counts. */
void fed_rpc_call_finish(struct fed_rpc_call *call, enum fed_rpc_status status, const char *detail);

/* Server, unary and client streaming: send `out` and finish with OK. Takes `out`. */
void fed_rpc_call_reply(struct fed_rpc_call *call, struct fed_rpc_out *out);

/* Either side: end at once. on_closed follows. Idempotent. */
void fed_rpc_call_cancel(struct fed_rpc_call *call);

/* Server: request metadata by lower-case key, or NULL; borrowed for the life of the call. At most 8
 * different keys of one call. */
const char *fed_rpc_call_metadata(const struct fed_rpc_call *call, const char *key);

/* Server: the address of the peer, "127.0.0.1" or "::1", without port; and a number that names the
 * connection: equal for calls on one connection, never used again in this process. */
const char *fed_rpc_call_ip(const struct fed_rpc_call *call);
uint64_t fed_rpc_call_connection(const struct fed_rpc_call *call);

/* -- messages; any thread, one at a time ---------------------------------------------------- */

struct fed_rpc_in *fed_rpc_in_free(struct fed_rpc_in *in); /* accepts NULL */
size_t fed_rpc_in_size(const struct fed_rpc_in *in);       /* bytes on the wire */

/* Decode. Memory is bounded to 4 MiB + 16 times the message, whatever the message says.
 * *ret_message is the caller's: fed_rpc_message_free(). Texts are checked to be UTF-8 without NUL
 * inside. Fails with FED_E_INVALID (malformed) or FED_E_LIMIT. */
FED_NODISCARD int fed_rpc_in_unpack(struct fed_rpc_in *in,
                                    const ProtobufCMessageDescriptor *descriptor,
                                    ProtobufCMessage **ret_message,
                                    struct fed_err *err);

/* The same, but top-level bytes field `bulk_field` is not copied: *ret_bulk shows where it lies, as
 * it has come (empty when absent), and is valid until `in` is freed; in the message that field is
 * empty. Any field order. A message in very many pieces is put together first. */
FED_NODISCARD int fed_rpc_in_unpack_pieces(struct fed_rpc_in *in,
                                           const ProtobufCMessageDescriptor *descriptor,
                                           uint32_t bulk_field,
                                           ProtobufCMessage **ret_message,
                                           struct fed_pieces *ret_bulk,
                                           struct fed_err *err);

/* The same in one piece, for who can't do with several: the message is copied once. */
FED_NODISCARD int fed_rpc_in_unpack_bulk(struct fed_rpc_in *in,
                                         const ProtobufCMessageDescriptor *descriptor,
                                         uint32_t bulk_field,
                                         ProtobufCMessage **ret_message,
                                         struct fed_view *ret_bulk,
                                         struct fed_err *err);

void fed_rpc_message_free(ProtobufCMessage *message); /* accepts NULL */

/* Encode. NULL when out of memory: sending NULL is FED_E_NOMEM, so only the send is checked. */
struct fed_rpc_out *fed_rpc_out_pack(const ProtobufCMessage *message);
struct fed_rpc_out *fed_rpc_out_free(struct fed_rpc_out *out); /* accepts NULL */

/* A further reference to the same bytes, for the next receiver. */
struct fed_rpc_out *fed_rpc_out_copy(const struct fed_rpc_out *out);

/* Immutable bytes that are sent without a copy, to any number of receivers: a mapped model. */
struct fed_slab;
/* `release(arg)` runs once, on any thread, when the last reference has gone. NULL: out of memory,
 * and release has not run. */
struct fed_slab *fed_slab_new(const void *data, size_t size, void (*release)(void *arg), void *arg);
struct fed_slab *fed_slab_ref(struct fed_slab *slab);
struct fed_slab *fed_slab_unref(struct fed_slab *slab); /* accepts NULL, returns NULL */
struct fed_view fed_slab_view(const struct fed_slab *slab);

/* `message` plus bytes field `bulk_field` holding size bytes of the slab from offset, not copied.
 */
struct fed_rpc_out *fed_rpc_out_pack_bulk(const ProtobufCMessage *message,
                                          uint32_t bulk_field,
                                          struct fed_slab *slab,
                                          size_t offset,
                                          size_t size);

#endif /* FED_COMMON_RPC_RPC_H */
