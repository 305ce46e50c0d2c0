/* What the files of this folder share. Nobody else includes this.
 *
 * Every batch is started on the loop thread, and every completion is handled there: the completion
 * thread only stamps the op and hands it over. So a call's fields need no lock.
 */
#ifndef FED_COMMON_RPC_RPC_INSIDE_H
#define FED_COMMON_RPC_RPC_INSIDE_H

#include <pthread.h>

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>

#include "common/base/list.h"
#include "common/rpc/rpc.h"

#define RPC_CONNECT_MS 3000 /* for an attempt to connect, to the peer's settings */

struct fed_rpc {
    struct fed_loop *loop; /* borrowed */
    grpc_completion_queue *queue;
    pthread_t thread;
};

/* One thing asked of gRPC: its tag. */
struct rpc_op {
    struct fed_event event; /* on the loop, when it is done */
    bool is_ok;
    bool is_busy;
};

struct fed_rpc_in {
    grpc_byte_buffer *buffer; /* owned */
    grpc_slice flat;          /* the bytes in one piece, once somebody wanted them so */
    bool is_flat;
    struct fed_view *pieces; /* of the bulk field, owned */
};

struct fed_rpc_out {
    grpc_byte_buffer *buffer; /* owned */
    struct fed_link link;     /* in its call's queue */
};

struct fed_rpc_call {
    struct fed_rpc *rpc; /* borrowed */
    grpc_call *call;
    struct fed_list *owner; /* calls of the server or channel */
    struct fed_link link;
    const struct fed_rpc_call_ops *ops;
    void *arg;
    struct rpc_op op_end;     /* server: RECV_CLOSE; client: RECV_STATUS */
    struct rpc_op op_initial; /* client: RECV_INITIAL_METADATA */
    struct rpc_op op_recv;
    struct rpc_op op_send;
    unsigned n_busy; /* ops under way */
    struct fed_list sends;
    unsigned n_sends;
    bool is_server;
    bool is_initial_sent;
    bool is_message_sent; /* op_send carries a message */
    bool is_send_end;     /* wanted: client half-close, server status */
    bool is_finished;     /* given to gRPC */
    bool is_ended;        /* op_end is done */
    bool is_input_over;
    grpc_byte_buffer *in;
    grpc_metadata_array metadata; /* server: the request's; client: initial metadata */
    grpc_metadata_array trailing; /* client */
    grpc_slice detail;            /* client: status text */
    grpc_status_code code;        /* server: to send; client: received */
    char finish_detail[FED_RPC_DETAIL_SIZE];
    int is_cancelled; /* server: from RECV_CLOSE */
    char ip[64];
    uint64_t connection;
    struct {         /* metadata values handed out as texts */
        size_t item; /* index in metadata */
        char *text;  /* owned */
    } texts[8];
    unsigned n_texts;
    void (*on_freed)(void *owner, struct fed_rpc_call *call); /* owner's bookkeeping; may be NULL */
    void *on_freed_arg;
};

/* TSan does not see the hand-over through gRPC's uninstrumented queue. */
#if defined(__SANITIZE_THREAD__)
#    include <sanitizer/tsan_interface.h>
#    define RPC_PUBLISH(op) __tsan_release(op)
#    define RPC_CONSUME(op) __tsan_acquire(op)
#else
#    define RPC_PUBLISH(op) ((void)(op))
#    define RPC_CONSUME(op) ((void)(op))
#endif

void rpc_op_init(struct rpc_op *op, fed_event_fn fn, void *arg);

/* A call object without a grpc_call yet; NULL: out of memory. */
struct fed_rpc_call *rpc_call_new(struct fed_rpc *rpc, struct fed_list *owner, bool is_server);
void rpc_call_free(struct fed_rpc_call *call);

/* Start a batch; false: gRPC refused it, and the call is cancelled. */
bool rpc_call_batch(struct fed_rpc_call *call, const grpc_op *ops, size_t n_ops, struct rpc_op *op);
void rpc_call_pump(struct fed_rpc_call *call);
void rpc_call_settle(struct fed_rpc_call *call); /* closed and quiet: tell, and free */

struct fed_rpc_in *rpc_in_new(grpc_byte_buffer *buffer); /* takes it; NULL: out of memory */

/* Channel arguments, filled one by one. */
struct rpc_args {
    grpc_arg items[24];
    grpc_channel_args args;
};
void rpc_args_init(struct rpc_args *args);
void rpc_args_int(struct rpc_args *args, const char *key, uint64_t value);
void rpc_args_pointer(struct rpc_args *args,
                      const char *key,
                      void *pointer,
                      const grpc_arg_pointer_vtable *vtable);

#endif /* FED_COMMON_RPC_RPC_INSIDE_H */
