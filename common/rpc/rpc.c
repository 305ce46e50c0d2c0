#include "common/rpc/rpc.h"

#include <assert.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/unconst.h"
#include "common/rpc/rpc_inside.h"

#define SHUTDOWN_WAIT_MAX \
    (RPC_CONNECT_MS / 10 + 200)   /* times 10 ms for gRPC's own threads to end */
#define MMAP_THRESHOLD (8 << 20)  /* bytes: chunks come from the heap, not from fresh pages, … */
#define TRIM_THRESHOLD (16 << 20) /* … and so much of it is kept for the next ones */
#define ARENA_MAX      1 /* what one thread frees another takes: an arena each keeps its own peak */

static atomic_uint n_open; /* of fed_rpc_new(): gRPC's own threads end with the last of them */

void rpc_op_init(struct rpc_op *op, fed_event_fn fn, void *arg)
{
    *op = (struct rpc_op){0};
    fed_event_init(&op->event, fn, arg);
}

static void *run_thread(void *arg)
{
    struct fed_rpc *rpc = arg;

    for (;;) {
        const grpc_event event =
            grpc_completion_queue_next(rpc->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct rpc_op *op = event.tag;
            RPC_CONSUME(op);
            op->is_ok = event.success != 0;
            fed_loop_hand(rpc->loop, &op->event);
        }
    }
}

int fed_rpc_new(struct fed_loop *loop, struct fed_rpc **ret_rpc, struct fed_err *err)
{
    struct fed_rpc *rpc = calloc(1, sizeof(*rpc));
    sigset_t all;
    sigset_t old;
    int rc;

    if (rpc == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "rpc");
    }
    /* c-ares needs half a second to look up "localhost". */
    /* NOLINTBEGIN(concurrency-mt-unsafe): before gRPC starts its threads */
    (void)setenv("GRPC_DNS_RESOLVER", "native", 0);
    (void)setenv("GRPC_VERBOSITY", "NONE", 0);
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    (void)mallopt(M_ARENA_MAX, ARENA_MAX);
    /* NOLINTEND(concurrency-mt-unsafe) */
    rpc->loop = loop;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* gRPC's threads take no signals */
    grpc_init();
    rpc->queue = grpc_completion_queue_create_for_next(NULL);
    rc = pthread_create(&rpc->thread, NULL, run_thread, rpc);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        grpc_completion_queue_shutdown(rpc->queue);
        grpc_completion_queue_destroy(rpc->queue);
        grpc_shutdown();
        free(rpc);
        return fed_err_set(err, FED_E_NOMEM, "no thread for gRPC");
    }
    (void)atomic_fetch_add(&n_open, 1);
    *ret_rpc = rpc;
    return 0;
}

struct fed_rpc *fed_rpc_free(struct fed_rpc *rpc)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    bool is_last;

    if (rpc == NULL) {
        return NULL;
    }
    grpc_completion_queue_shutdown(rpc->queue);
    (void)pthread_join(rpc->thread, NULL);
    grpc_completion_queue_destroy(rpc->queue);
    grpc_shutdown();
    /* The library offers no event for the end of its own threads. */
    is_last = atomic_fetch_sub(&n_open, 1) == 1;
    for (int i = 0; is_last && i < SHUTDOWN_WAIT_MAX && grpc_is_initialized() != 0; i++) {
        (void)nanosleep(&pause, NULL);
    }
    free(rpc);
    return NULL;
}

void rpc_args_init(struct rpc_args *args)
{
    args->args = (grpc_channel_args){0, args->items};
}

static grpc_arg *next_arg(struct rpc_args *args, const char *key)
{
    grpc_arg *arg = &args->items[args->args.num_args++];

    assert(args->args.num_args <= sizeof(args->items) / sizeof(args->items[0]));
    arg->key = fed_unconst(key);
    return arg;
}

void rpc_args_int(struct rpc_args *args, const char *key, uint64_t value)
{
    grpc_arg *arg = next_arg(args, key);

    arg->type = GRPC_ARG_INTEGER;
    arg->value.integer = value > INT32_MAX ? INT32_MAX : (int)value;
}

void rpc_args_pointer(struct rpc_args *args,
                      const char *key,
                      void *pointer,
                      const grpc_arg_pointer_vtable *vtable)
{
    grpc_arg *arg = next_arg(args, key);

    arg->type = GRPC_ARG_POINTER;
    arg->value.pointer.p = pointer;
    arg->value.pointer.vtable = vtable;
}

/* -- a call ---------------------------------------------------------------------------------- */

static void op_returned(struct fed_rpc_call *call, struct rpc_op *op)
{
    assert(op->is_busy && call->n_busy > 0);
    op->is_busy = false;
    call->n_busy--;
}

static void drop_sends(struct fed_rpc_call *call)
{
    struct fed_link *link;

    while ((link = fed_list_take(&call->sends)) != NULL) {
        (void)fed_rpc_out_free(FED_CONTAINER_OF(link, struct fed_rpc_out, link));
    }
    call->n_sends = 0;
}

static void on_end(void *arg)
{
    struct fed_rpc_call *call = arg;

    op_returned(call, &call->op_end);
    call->is_ended = true;
    call->is_finished = true;
    drop_sends(call);
    rpc_call_settle(call);
}

static void on_initial(void *arg)
{
    struct fed_rpc_call *call = arg;

    op_returned(call, &call->op_initial);
    rpc_call_settle(call);
}

static void on_recv(void *arg)
{
    struct fed_rpc_call *call = arg;
    struct fed_rpc_in *in = NULL;

    op_returned(call, &call->op_recv);
    if (call->in != NULL) {
        in = rpc_in_new(call->in);
        call->in = NULL;
        if (in == NULL) {
            fed_rpc_call_cancel(call);
            rpc_call_settle(call);
            return;
        }
    } else {
        call->is_input_over = true;
    }
    if (call->ops != NULL && call->ops->on_message != NULL) {
        call->ops->on_message(call, in, call->arg);
    } else {
        (void)fed_rpc_in_free(in);
    }
    rpc_call_settle(call);
}

static void on_send(void *arg)
{
    struct fed_rpc_call *call = arg;
    const bool was_message = call->is_message_sent;
    const bool is_ok = call->op_send.is_ok;

    op_returned(call, &call->op_send);
    if (!is_ok) {
        drop_sends(call); /* the connection is gone: the end follows */
    } else if (was_message && !call->is_finished && call->ops != NULL &&
               call->ops->on_sent != NULL) {
        call->ops->on_sent(call, call->arg);
    }
    if (is_ok) {
        rpc_call_pump(call);
    }
    rpc_call_settle(call);
}

struct fed_rpc_call *rpc_call_new(struct fed_rpc *rpc, struct fed_list *owner, bool is_server)
{
    struct fed_rpc_call *call = calloc(1, sizeof(*call));

    if (call == NULL) {
        return NULL;
    }
    call->rpc = rpc;
    call->owner = owner;
    call->is_server = is_server;
    call->detail = grpc_empty_slice();
    rpc_op_init(&call->op_end, on_end, call);
    rpc_op_init(&call->op_initial, on_initial, call);
    rpc_op_init(&call->op_recv, on_recv, call);
    rpc_op_init(&call->op_send, on_send, call);
    fed_list_init(&call->sends);
    grpc_metadata_array_init(&call->metadata);
    grpc_metadata_array_init(&call->trailing);
    return call;
}

void rpc_call_free(struct fed_rpc_call *call)
{
    assert(call->n_busy == 0);
    drop_sends(call);
    fed_link_remove(&call->link);
    if (call->on_freed != NULL) {
        call->on_freed(call->on_freed_arg, call);
    }
    for (unsigned i = 0; i < call->n_texts; i++) {
        gpr_free(call->texts[i].text);
    }
    if (call->in != NULL) {
        grpc_byte_buffer_destroy(call->in);
    }
    grpc_metadata_array_destroy(&call->metadata);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->detail);
    if (call->call != NULL) {
        grpc_call_unref(call->call);
    }
    free(call);
}

bool rpc_call_batch(struct fed_rpc_call *call, const grpc_op *ops, size_t n_ops, struct rpc_op *op)
{
    assert(!op->is_busy);
    op->is_busy = true;
    call->n_busy++;
    RPC_PUBLISH(op);
    if (grpc_call_start_batch(call->call, ops, n_ops, op, NULL) != GRPC_CALL_OK) {
        op_returned(call, op);
        fed_rpc_call_cancel(call);
        return false;
    }
    return true;
}

void rpc_call_settle(struct fed_rpc_call *call)
{
    char detail[FED_RPC_DETAIL_SIZE] = "";
    struct fed_rpc_end end = {.detail = detail};

    if (!call->is_ended || call->n_busy > 0) {
        return;
    }
    if (call->is_server) {
        end.code = call->is_cancelled != 0 ? FED_RPC_CANCELLED : FED_RPC_OK;
    } else {
        const size_t size = GRPC_SLICE_LENGTH(call->detail);
        const size_t n = size < sizeof(detail) - 1 ? size : sizeof(detail) - 1;
        memcpy(detail, GRPC_SLICE_START_PTR(call->detail), n);
        end.code = (int)call->code;
    }
    if (call->ops != NULL && call->ops->on_closed != NULL) {
        call->ops->on_closed(call, &end, call->arg);
    }
    rpc_call_free(call);
}

/* Give gRPC the next thing to send: a waiting message, and the end behind the last one. */
void rpc_call_pump(struct fed_rpc_call *call)
{
    grpc_op ops[3] = {0};
    size_t n = 0;
    struct fed_rpc_out *out = NULL;
    grpc_slice detail = grpc_empty_slice();
    struct fed_link *link;

    if (call->op_send.is_busy || call->is_finished || call->is_ended) {
        return;
    }
    link = fed_list_take(&call->sends);
    if (link == NULL && !call->is_send_end) {
        return;
    }
    if (call->is_server && !call->is_initial_sent) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->is_initial_sent = true;
    }
    if (link != NULL) {
        out = FED_CONTAINER_OF(link, struct fed_rpc_out, link);
        call->n_sends--;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = out->buffer;
    }
    call->is_message_sent = link != NULL;
    if (call->is_send_end && fed_list_is_empty(&call->sends)) {
        call->is_finished = true;
        if (call->is_server) {
            detail = grpc_slice_from_copied_string(call->finish_detail);
            ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
            ops[n].data.send_status_from_server.status = call->code;
            ops[n++].data.send_status_from_server.status_details = &detail;
        } else {
            ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        }
    }
    (void)rpc_call_batch(call, ops, n, &call->op_send);
    grpc_slice_unref(detail);
    (void)fed_rpc_out_free(out);
}

void fed_rpc_call_set(struct fed_rpc_call *call, const struct fed_rpc_call_ops *ops, void *arg)
{
    call->ops = ops;
    call->arg = arg;
}

void fed_rpc_call_read(struct fed_rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    if (call->op_recv.is_busy || call->is_ended || call->is_input_over) {
        return;
    }
    op.data.recv_message.recv_message = &call->in;
    (void)rpc_call_batch(call, &op, 1, &call->op_recv);
}

int fed_rpc_call_send(struct fed_rpc_call *call, struct fed_rpc_out *out, struct fed_err *err)
{
    if (out == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "message");
    }
    if (call->is_ended || call->is_send_end) {
        (void)fed_rpc_out_free(out);
        return fed_err_set(err, FED_E_CANCELLED, "the call has ended");
    }
    if (call->n_sends >= FED_RPC_SENDS_MAX) {
        (void)fed_rpc_out_free(out);
        return fed_err_set(err, FED_E_LIMIT, "%d messages wait already", FED_RPC_SENDS_MAX);
    }
    fed_list_add(&call->sends, &out->link);
    call->n_sends++;
    rpc_call_pump(call);
    return 0;
}

void fed_rpc_call_send_end(struct fed_rpc_call *call)
{
    assert(!call->is_server);
    if (!call->is_send_end) {
        call->is_send_end = true;
        rpc_call_pump(call);
    }
}

void fed_rpc_call_finish(struct fed_rpc_call *call, enum fed_rpc_status status, const char *detail)
{
    assert(call->is_server);
    if (!call->is_send_end) {
        call->is_send_end = true;
        call->code = (grpc_status_code)status;
        (void)snprintf(call->finish_detail, sizeof(call->finish_detail), "%s",
                       detail == NULL ? "" : detail);
        rpc_call_pump(call);
    }
}

void fed_rpc_call_reply(struct fed_rpc_call *call, struct fed_rpc_out *out)
{
    if (out == NULL) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "out of memory");
        return;
    }
    if (call->is_send_end || call->is_ended) {
        (void)fed_rpc_out_free(out);
        return;
    }
    fed_list_add(&call->sends, &out->link);
    call->n_sends++;
    fed_rpc_call_finish(call, FED_RPC_OK, NULL);
}

void fed_rpc_call_cancel(struct fed_rpc_call *call)
{
    if (!call->is_ended) {
        (void)grpc_call_cancel(call->call, NULL);
    }
}

/* The text of one item, made once however often it is asked for. */
static const char *metadata_text(struct fed_rpc_call *call, size_t i)
{
    for (unsigned k = 0; k < call->n_texts; k++) {
        if (call->texts[k].item == i) {
            return call->texts[k].text;
        }
    }
    if (call->n_texts == sizeof(call->texts) / sizeof(call->texts[0])) {
        return NULL;
    }
    call->texts[call->n_texts].item = i;
    call->texts[call->n_texts].text = grpc_slice_to_c_string(call->metadata.metadata[i].value);
    return call->texts[call->n_texts++].text;
}

const char *fed_rpc_call_metadata(const struct fed_rpc_call *call, const char *key)
{
    struct fed_rpc_call *mutable_call = fed_unconst(call);

    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *item = &call->metadata.metadata[i];
        if (grpc_slice_str_cmp(item->key, key) != 0) {
            continue;
        }
        return metadata_text(mutable_call, i);
    }
    return NULL;
}

const char *fed_rpc_call_ip(const struct fed_rpc_call *call)
{
    return call->ip;
}

uint64_t fed_rpc_call_connection(const struct fed_rpc_call *call)
{
    return call->connection;
}
