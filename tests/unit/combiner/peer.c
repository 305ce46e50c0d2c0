#include "tests/unit/combiner/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"

#define TASKS_MAX 16U

struct peer {
    struct test_loop *loop;
    struct fed_rpc *rpc;
    struct fed_rpc_channel *channel;
    char address[64];
    char client_id[FED_ID_SIZE];
    unsigned n_calls;      /* live; loop */
    struct test_gate idle; /* opened at peer_free() when no call is left */
    bool is_closing;
    struct fed_event freed;
    struct fed_rpc_call *stream;
    struct test_gate tasks;
    struct test_gate stream_ends;
    int stream_end;
    char models[TASKS_MAX][FED_ID_SIZE];
    char data[TASKS_MAX][512];
};

/* One call the test waits for. */
struct exchange {
    struct peer *peer;
    const char *path;
    const ProtobufCMessage *request;
    struct test_gate gate;
    int code;
    /* chunks */
    const char *id;
    struct fed_slab *slab;
    size_t offset;
    bool is_whole;
    bool is_ended;
    int status;
    struct fed_buf bytes; /* of a download */
    struct test_gate chunks;
    struct fed_rpc_call *call;
};

static void free_channel(void *arg)
{
    struct peer *peer = arg;

    peer->channel = fed_rpc_channel_free(peer->channel);
    test_gate_open(&peer->idle);
}

/* A call is its channel's until its callback has returned. */
static void look_idle(struct peer *peer)
{
    if (peer->is_closing && peer->n_calls == 0) {
        fed_loop_post(peer->loop->loop, &peer->freed);
    }
}

static void open_channel(void *arg)
{
    struct peer *peer = arg;
    const struct fed_rpc_channel_config config = {.target = peer->address,
                                                  .message_size_max = FED_RPC_MESSAGE_MAX};
    const struct fed_rpc_metadata metadata = {"client", peer->client_id};

    if (fed_rpc_channel_new(peer->rpc, &config, &peer->channel, NULL) == 0 &&
        peer->client_id[0] != '\0') {
        (void)!fed_rpc_channel_set_metadata(peer->channel, &metadata, 1, NULL);
    }
}

struct peer *
peer_new(struct test_loop *loop, struct fed_rpc *rpc, const char *address, const char *client_id)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    assert_non_null(peer);
    peer->loop = loop;
    peer->rpc = rpc;
    (void)snprintf(peer->address, sizeof(peer->address), "%s", address);
    fed_id_copy(peer->client_id, client_id);
    fed_event_init(&peer->freed, free_channel, peer);
    test_gate_init(&peer->idle);
    test_gate_init(&peer->tasks);
    test_gate_init(&peer->stream_ends);
    test_loop_call(loop, open_channel, peer);
    assert_non_null(peer->channel);
    return peer;
}

static void close_channel(void *arg)
{
    struct peer *peer = arg;

    peer->is_closing = true;
    if (peer->stream != NULL) {
        fed_rpc_call_cancel(peer->stream);
    }
    look_idle(peer);
}

void peer_free(struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    test_loop_call(peer->loop, close_channel, peer);
    test_gate_wait(&peer->idle, 1);
    test_gate_deinit(&peer->idle);
    test_gate_deinit(&peer->tasks);
    test_gate_deinit(&peer->stream_ends);
    free(peer);
}

static void fill_sender(const struct peer *peer, Fedn__Client *sender)
{
    fedn__client__init(sender);
    sender->role = FEDN__ROLE__CLIENT;
    sender->name = peer_text(peer->client_id);
    sender->client_id = peer_text(peer->client_id);
}

/* -- TaskStream -------------------------------------------------------------------------------- */

static void stream_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct peer *peer = arg;
    ProtobufCMessage *message = NULL;

    if (in == NULL) {
        return;
    }
    if (fed_rpc_in_unpack(in, &fedn__task_request__descriptor, &message, NULL) == 0) {
        const Fedn__TaskRequest *task = (const void *)message;
        const unsigned n = peer->tasks.count;
        if (n < TASKS_MAX) {
            (void)snprintf(peer->models[n], sizeof(peer->models[n]), "%s", task->model_id);
            (void)snprintf(peer->data[n], sizeof(peer->data[n]), "%d %d %s %s %s %s",
                           (int)task->type, (int)task->sender->role, task->sender->name,
                           task->receiver->client_id, task->session_id, task->data);
        }
        fed_rpc_message_free(message);
        test_gate_open(&peer->tasks);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call);
}

static void stream_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct peer *peer = arg;

    if (peer->stream == call) {
        peer->stream = NULL;
    }
    peer->stream_end = end->code;
    peer->n_calls--;
    test_gate_open(&peer->stream_ends);
    look_idle(peer);
}

static const struct fed_rpc_call_ops stream_ops = {stream_message, NULL, stream_closed};

static void attach(void *arg)
{
    struct peer *peer = arg;
    Fedn__ClientAvailableMessage message = FEDN__CLIENT_AVAILABLE_MESSAGE__INIT;
    Fedn__Client sender;

    fill_sender(peer, &sender);
    message.sender = &sender;
    if (fed_rpc_channel_call(peer->channel,
                             &(struct fed_rpc_target){"/fedn.Combiner/TaskStream", 0}, &stream_ops,
                             peer, &peer->stream, NULL) == 0) {
        peer->n_calls++;
        (void)!fed_rpc_call_send(peer->stream, fed_rpc_out_pack(&message.base), NULL);
        fed_rpc_call_send_end(peer->stream);
        fed_rpc_call_read(peer->stream);
    }
}

void peer_attach(struct peer *peer)
{
    test_loop_call(peer->loop, attach, peer);
}

const char *peer_wait_task(struct peer *peer, unsigned n, char ret_data[512])
{
    test_gate_wait(&peer->tasks, n);
    (void)snprintf(ret_data, 512, "%s", peer->data[n - 1]);
    return peer->models[n - 1];
}

int peer_wait_stream_end(struct peer *peer)
{
    test_gate_wait(&peer->stream_ends, 1);
    return peer->stream_end;
}

/* -- unary ------------------------------------------------------------------------------------- */

static void ended(struct exchange *exchange, int code)
{
    exchange->code = code;
    exchange->peer->n_calls--;
    look_idle(exchange->peer);
    test_gate_open(&exchange->gate);
}

static void answered(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg)
{
    (void)fed_rpc_in_free(in);
    ended(arg, end->code);
}

static void call(void *arg)
{
    struct exchange *exchange = arg;

    exchange->peer->n_calls++;
    fed_rpc_channel_unary(exchange->peer->channel,
                          &(struct fed_rpc_target){exchange->path, TEST_WAIT_MS},
                          fed_rpc_out_pack(exchange->request), answered, exchange, NULL);
}

static void run(struct exchange *exchange, fed_event_fn fn)
{
    test_gate_init(&exchange->gate);
    test_loop_call(exchange->peer->loop, fn, exchange);
    test_gate_wait(&exchange->gate, 1);
    test_gate_deinit(&exchange->gate);
}

int peer_call(struct peer *peer, const char *path, const ProtobufCMessage *request)
{
    struct exchange exchange = {.peer = peer, .path = path, .request = request};

    run(&exchange, call);
    return exchange.code;
}

int peer_heartbeat(struct peer *peer)
{
    Fedn__Heartbeat heartbeat = FEDN__HEARTBEAT__INIT;
    Fedn__Client sender;

    fill_sender(peer, &sender);
    heartbeat.sender = &sender;
    return peer_call(peer, "/fedn.Connector/SendHeartbeat", &heartbeat.base);
}

struct exchange *peer_begin_announce(struct peer *peer,
                                     const char *update_id,
                                     const char *model_id,
                                     const char *round_id,
                                     const char *examples)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    Fedn__ModelUpdate update = FEDN__MODEL_UPDATE__INIT;
    Fedn__Client sender;
    char meta[512];

    assert_non_null(exchange);
    fill_sender(peer, &sender);
    (void)snprintf(meta, sizeof(meta),
                   "{\"training_metadata\": {\"num_examples\": %s}, "
                   "\"config\": \"{\\\"round_id\\\": \\\"%s\\\"}\"}",
                   examples, round_id);
    update.sender = &sender;
    update.model_id = peer_text(model_id);
    update.model_update_id = peer_text(update_id);
    update.meta = meta;
    *exchange = (struct exchange){
        .peer = peer, .path = "/fedn.Combiner/SendModelUpdate", .request = &update.base};
    test_gate_init(&exchange->gate);
    test_loop_call(peer->loop, call, exchange);
    return exchange;
}

int peer_end_announce(struct exchange *exchange)
{
    int code;

    test_gate_wait(&exchange->gate, 1);
    test_gate_deinit(&exchange->gate);
    code = exchange->code;
    free(exchange);
    return code;
}

int peer_announce(struct peer *peer,
                  const char *update_id,
                  const char *model_id,
                  const char *round_id,
                  const char *examples)
{
    return peer_end_announce(peer_begin_announce(peer, update_id, model_id, round_id, examples));
}

/* -- Upload ------------------------------------------------------------------------------------ */

static void send_next(struct exchange *exchange)
{
    const size_t size = fed_slab_view(exchange->slab).size;
    Fedn__ModelRequest request = FEDN__MODEL_REQUEST__INIT;

    request.id = peer_text(exchange->id);
    if (exchange->offset < size) {
        const size_t left = size - exchange->offset;
        const size_t n = left < FED_RPC_CHUNK_SIZE ? left : FED_RPC_CHUNK_SIZE;
        request.status = FEDN__MODEL_STATUS__IN_PROGRESS;
        (void)!fed_rpc_call_send(
            exchange->call,
            fed_rpc_out_pack_bulk(&request.base, 3, exchange->slab, exchange->offset, n), NULL);
        exchange->offset += n;
    } else if (!exchange->is_ended) {
        exchange->is_ended = true;
        if (exchange->is_whole) {
            (void)!fed_rpc_call_send(exchange->call, fed_rpc_out_pack(&request.base), NULL);
        }
        fed_rpc_call_send_end(exchange->call);
    }
}

static void upload_message(struct fed_rpc_call *from, struct fed_rpc_in *in, void *arg)
{
    struct exchange *exchange = arg;
    ProtobufCMessage *message = NULL;

    if (in != NULL &&
        fed_rpc_in_unpack(in, &fedn__model_response__descriptor, &message, NULL) == 0) {
        exchange->status = (int)((const Fedn__ModelResponse *)(const void *)message)->status;
        fed_rpc_message_free(message);
    }
    if (in != NULL) {
        fed_rpc_call_read(from);
    }
    (void)fed_rpc_in_free(in);
}

static void upload_sent(struct fed_rpc_call *from, void *arg)
{
    (void)from;
    send_next(arg);
}

static void upload_closed(struct fed_rpc_call *from, const struct fed_rpc_end *end, void *arg)
{
    (void)from;
    ended(arg, end->code);
}

static const struct fed_rpc_call_ops upload_ops = {upload_message, upload_sent, upload_closed};

static void upload(void *arg)
{
    struct exchange *exchange = arg;

    exchange->peer->n_calls++;
    if (fed_rpc_channel_call(exchange->peer->channel,
                             &(struct fed_rpc_target){"/fedn.ModelService/Upload", TEST_WAIT_MS},
                             &upload_ops, exchange, &exchange->call, NULL) == 0) {
        fed_rpc_call_read(exchange->call);
        send_next(exchange);
    }
}

int peer_upload(struct peer *peer,
                const char *id,
                const void *data,
                size_t size,
                bool is_whole,
                int *ret_status)
{
    struct exchange exchange = {.peer = peer, .id = id, .is_whole = is_whole, .status = -1};

    exchange.slab = fed_slab_new(data, size, NULL, NULL);
    assert_non_null(exchange.slab);
    run(&exchange, upload);
    (void)fed_slab_unref(exchange.slab);
    *ret_status = exchange.status;
    return exchange.code;
}

/* -- Download ---------------------------------------------------------------------------------- */

static void download_message(struct fed_rpc_call *from, struct fed_rpc_in *in, void *arg)
{
    struct exchange *exchange = arg;
    ProtobufCMessage *message = NULL;

    if (in == NULL) {
        return;
    }
    if (fed_rpc_in_unpack(in, &fedn__model_response__descriptor, &message, NULL) == 0) {
        const Fedn__ModelResponse *response = (const void *)message;
        exchange->status = (int)response->status;
        (void)!fed_buf_add(&exchange->bytes, response->data.data, response->data.len, NULL);
        fed_rpc_message_free(message);
        test_gate_open(&exchange->chunks);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(from);
}

static const struct fed_rpc_call_ops download_ops = {download_message, NULL, upload_closed};

static void download(void *arg)
{
    struct exchange *exchange = arg;
    Fedn__ModelRequest request = FEDN__MODEL_REQUEST__INIT;

    request.id = peer_text(exchange->id);
    exchange->peer->n_calls++;
    if (fed_rpc_channel_call(exchange->peer->channel,
                             &(struct fed_rpc_target){"/fedn.ModelService/Download", TEST_WAIT_MS},
                             &download_ops, exchange, &exchange->call, NULL) == 0) {
        (void)!fed_rpc_call_send(exchange->call, fed_rpc_out_pack(&request.base), NULL);
        fed_rpc_call_send_end(exchange->call);
        fed_rpc_call_read(exchange->call);
    }
}

struct exchange *peer_begin_download(struct peer *peer, const char *id)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    assert_non_null(exchange);
    *exchange = (struct exchange){.peer = peer, .id = id, .status = -1};
    fed_buf_init(&exchange->bytes, 0);
    test_gate_init(&exchange->gate);
    test_gate_init(&exchange->chunks);
    test_loop_call(peer->loop, download, exchange);
    return exchange;
}

void peer_wait_chunks(struct exchange *exchange, unsigned n)
{
    test_gate_wait(&exchange->chunks, n);
}

int peer_end_download(struct exchange *exchange, struct fed_buf *ret_bytes, int *ret_status)
{
    int code;

    test_gate_wait(&exchange->gate, 1);
    test_gate_deinit(&exchange->gate);
    test_gate_deinit(&exchange->chunks);
    *ret_bytes = exchange->bytes;
    *ret_status = exchange->status;
    code = exchange->code;
    free(exchange);
    return code;
}

int peer_download(struct peer *peer, const char *id, struct fed_buf *ret_bytes, int *ret_status)
{
    return peer_end_download(peer_begin_download(peer, id), ret_bytes, ret_status);
}
