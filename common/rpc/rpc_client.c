#include "common/rpc/rpc_client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/rpc/rpc_inside.h"

#define METADATA_MAX 8

struct fed_rpc_channel {
    struct fed_rpc *rpc; /* borrowed */
    grpc_channel *channel;
    struct fed_list calls;
    grpc_metadata metadata[METADATA_MAX]; /* slices owned */
    size_t n_metadata;
};

int fed_rpc_channel_new(struct fed_rpc *rpc,
                        const struct fed_rpc_channel_config *config,
                        struct fed_rpc_channel **ret_channel,
                        struct fed_err *err)
{
    struct fed_rpc_channel *channel = calloc(1, sizeof(*channel));
    grpc_channel_credentials *credentials;
    struct rpc_args args;

    if (channel == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "channel");
    }
    rpc_args_init(&args);
    rpc_args_int(&args, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, config->message_size_max);
    rpc_args_int(&args, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    rpc_args_int(&args, GRPC_ARG_ENABLE_RETRIES, 0);
    rpc_args_int(&args, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    /* No pause, whatever its name: how long an attempt may take. */
    rpc_args_int(&args, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, RPC_CONNECT_MS);
    rpc_args_int(&args, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
    if (config->keepalive_ms > 0) {
        rpc_args_int(&args, GRPC_ARG_KEEPALIVE_TIME_MS, config->keepalive_ms);
        rpc_args_int(&args, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, config->keepalive_timeout_ms);
        rpc_args_int(&args, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
        rpc_args_int(&args, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    }
    credentials = grpc_insecure_credentials_create();
    channel->channel = grpc_channel_create(config->target, credentials, &args.args);
    grpc_channel_credentials_release(credentials);
    if (channel->channel == NULL) {
        free(channel);
        return fed_err_set(err, FED_E_INVALID, "bad address '%s', want HOST:PORT", config->target);
    }
    channel->rpc = rpc;
    fed_list_init(&channel->calls);
    *ret_channel = channel;
    return 0;
}

static void drop_metadata(struct fed_rpc_channel *channel)
{
    for (size_t i = 0; i < channel->n_metadata; i++) {
        grpc_slice_unref(channel->metadata[i].key);
        grpc_slice_unref(channel->metadata[i].value);
    }
    channel->n_metadata = 0;
}

struct fed_rpc_channel *fed_rpc_channel_free(struct fed_rpc_channel *channel)
{
    if (channel != NULL) {
        assert(fed_list_is_empty(&channel->calls));
        drop_metadata(channel);
        grpc_channel_destroy(channel->channel);
        free(channel);
    }
    return NULL;
}

int fed_rpc_channel_set_metadata(struct fed_rpc_channel *channel,
                                 const struct fed_rpc_metadata *metadata,
                                 size_t n_metadata,
                                 struct fed_err *err)
{
    if (n_metadata > METADATA_MAX) {
        return fed_err_set(err, FED_E_LIMIT, "%zu metadata, at most %d", n_metadata, METADATA_MAX);
    }
    for (size_t i = 0; i < n_metadata; i++) {
        const grpc_slice key = grpc_slice_from_static_string(metadata[i].key);
        const grpc_slice value = grpc_slice_from_static_string(metadata[i].value);
        if (grpc_header_key_is_legal(key) == 0 || grpc_header_nonbin_value_is_legal(value) == 0) {
            return fed_err_set(err, FED_E_INVALID, "metadata %s cannot be sent", metadata[i].key);
        }
    }
    drop_metadata(channel);
    for (size_t i = 0; i < n_metadata; i++) {
        channel->metadata[i] = (grpc_metadata){
            .key = grpc_slice_from_copied_string(metadata[i].key),
            .value = grpc_slice_from_copied_string(metadata[i].value),
        };
    }
    channel->n_metadata = n_metadata;
    return 0;
}

static gpr_timespec deadline_in(uint64_t timeout_ms)
{
    return timeout_ms == 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                           : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                          gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
}

/* Post what must always stand: the status, the initial metadata both ways. */
static void start_call(struct fed_rpc_channel *channel, struct fed_rpc_call *call)
{
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    grpc_op received = {.op = GRPC_OP_RECV_INITIAL_METADATA};
    grpc_op sent = {.op = GRPC_OP_SEND_INITIAL_METADATA};

    status.data.recv_status_on_client.status = &call->code;
    status.data.recv_status_on_client.status_details = &call->detail;
    status.data.recv_status_on_client.trailing_metadata = &call->trailing;
    (void)rpc_call_batch(call, &status, 1, &call->op_end);
    sent.data.send_initial_metadata.count = channel->n_metadata;
    sent.data.send_initial_metadata.metadata = channel->metadata;
    call->is_initial_sent = true;
    (void)rpc_call_batch(call, &sent, 1, &call->op_send);
    received.data.recv_initial_metadata.recv_initial_metadata = &call->metadata;
    (void)rpc_call_batch(call, &received, 1, &call->op_initial);
}

int fed_rpc_channel_call(struct fed_rpc_channel *channel,
                         const struct fed_rpc_target *target,
                         const struct fed_rpc_call_ops *ops,
                         void *arg,
                         struct fed_rpc_call **ret_call,
                         struct fed_err *err)
{
    struct fed_rpc_call *call = rpc_call_new(channel->rpc, &channel->calls, false);

    if (call == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "call");
    }
    const grpc_slice method = grpc_slice_from_copied_string(target->path);
    call->call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                          channel->rpc->queue, method, NULL,
                                          deadline_in(target->timeout_ms), NULL);
    grpc_slice_unref(method); /* gRPC has taken a reference of its own */
    fed_list_add(&channel->calls, &call->link);
    fed_rpc_call_set(call, ops, arg);
    start_call(channel, call);
    *ret_call = call;
    return 0;
}

/* -- one request, one answer ------------------------------------------------------------------- */

struct unary {
    fed_rpc_answer_fn fn;
    void *arg;
    struct fed_rpc_in *answer;
    struct fed_event failed; /* when the call could not be started */
};

static void unary_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct unary *unary = arg;

    if (in != NULL && unary->answer == NULL) {
        unary->answer = in;
        fed_rpc_call_read(call); /* to the end, else the status does not come */
    } else {
        (void)fed_rpc_in_free(in);
    }
}

static void unary_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct unary *unary = arg;
    struct fed_rpc_end seen = *end;
    struct fed_rpc_in *answer = unary->answer;

    (void)call;
    if (seen.code == FED_RPC_OK && answer == NULL) {
        seen = (struct fed_rpc_end){FED_RPC_INTERNAL, "the answer is empty"};
    }
    if (seen.code != FED_RPC_OK) {
        answer = fed_rpc_in_free(answer);
    }
    unary->fn(&seen, answer, unary->arg);
    free(unary);
}

static const struct fed_rpc_call_ops unary_ops = {unary_message, NULL, unary_closed};

static void unary_failed(void *arg)
{
    struct unary *unary = arg;
    const struct fed_rpc_end end = {FED_RPC_RESOURCE_EXHAUSTED, "out of memory"};

    unary->fn(&end, NULL, unary->arg);
    free(unary);
}

void fed_rpc_channel_unary(struct fed_rpc_channel *channel,
                           const struct fed_rpc_target *target,
                           struct fed_rpc_out *request,
                           fed_rpc_answer_fn fn,
                           void *arg,
                           struct fed_rpc_call **ret_call)
{
    struct unary *unary = calloc(1, sizeof(*unary));
    struct fed_rpc_call *call = NULL;

    if (ret_call != NULL) {
        *ret_call = NULL; /* there is none when it cannot be started */
    }
    assert(target->timeout_ms > 0);
    if (unary == NULL) {
        abort(); /* not even the callback could be kept */
    }
    unary->fn = fn;
    unary->arg = arg;
    fed_event_init(&unary->failed, unary_failed, unary);
    if (request == NULL ||
        fed_rpc_channel_call(channel, target, &unary_ops, unary, &call, NULL) < 0) {
        (void)fed_rpc_out_free(request);
        fed_loop_post(channel->rpc->loop, &unary->failed);
        return;
    }
    if (fed_rpc_call_send(call, request, NULL) < 0) {
        fed_rpc_call_cancel(call);
    }
    fed_rpc_call_send_end(call);
    fed_rpc_call_read(call);
    if (ret_call != NULL) {
        *ret_call = call;
    }
}
