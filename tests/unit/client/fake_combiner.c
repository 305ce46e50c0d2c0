#include "tests/unit/client/fake_combiner.h"

#include <assert.h>
#include <fedn.pb-c.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/rpc/rpc_server.h"

#define UPLOADS_MAX 64

struct upload {
    char id[FAKE_TEXT_SIZE];
    uint64_t size_bytes;
    uint64_t hash;
};

/* A call on its way. */
struct transfer {
    struct fake_combiner *fake;
    struct upload upload;
    bool is_terminated;
};

struct order { /* to the loop */
    struct fed_event event;
    struct fake_combiner *fake;
    struct fed_rpc_out *out; /* NULL: end the stream */
};

struct fake_combiner {
    struct fed_loop *loop;
    struct fed_rpc *rpc;
    struct fed_rpc_server *server;
    pthread_t thread;
    struct fed_event stop;
    struct fed_slab *model;
    char model_id[FAKE_TEXT_SIZE];
    struct fed_rpc_call *stream; /* the newest; loop */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned counts[FAKE_COUNT_MAX];
        unsigned faults[FAKE_FAULT_MAX];
        struct upload uploads[UPLOADS_MAX];
        size_t n_uploads;
        struct fake_update update;
        char validation[FAKE_TEXT_SIZE];
        char statuses[FAKE_HISTORY_SIZE];
    } synced;
};

static void copy(char to[FAKE_TEXT_SIZE], const char *from)
{
    (void)snprintf(to, FAKE_TEXT_SIZE, "%s", from == NULL ? "" : from);
}

static void count_locked(struct fake_combiner *fake, enum fake_count count)
{
    fake->synced.counts[count]++;
    (void)pthread_cond_broadcast(&fake->synced.changed);
}

static void count(struct fake_combiner *fake, enum fake_count what)
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    count_locked(fake, what);
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

/* True, once for each time it was asked for. */
static bool must_fail(struct fake_combiner *fake, enum fake_fault fault)
{
    bool is_failing;

    (void)pthread_mutex_lock(&fake->synced.lock);
    is_failing = fake->synced.faults[fault] > 0;
    if (is_failing) {
        fake->synced.faults[fault]--;
        count_locked(fake, FAKE_REFUSED);
    }
    (void)pthread_mutex_unlock(&fake->synced.lock);
    return is_failing;
}

uint64_t fake_hash(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    }
    return hash;
}

static uint64_t hash_more(uint64_t hash, struct fed_view view)
{
    const uint8_t *bytes = view.data;

    for (size_t i = 0; i < view.size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    }
    return hash;
}

/* -- unary calls ------------------------------------------------------------------------------- */

static void unary_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    (void)call;
    (void)end;
    (void)arg;
}

static const struct fed_rpc_call_ops unary_ops = {NULL, NULL, unary_closed};

static void answer(struct fed_rpc_call *call, bool is_failing)
{
    Fedn__Response response;

    fedn__response__init(&response);
    fed_rpc_call_set(call, &unary_ops, NULL);
    if (is_failing) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "told to fail");
    } else {
        fed_rpc_call_reply(call, fed_rpc_out_pack(&response.base));
    }
}

static void *unpack(struct fed_rpc_in *request, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = NULL;
    const int rc = fed_rpc_in_unpack(request, descriptor, &message, NULL);

    assert(rc == 0);
    (void)fed_rpc_in_free(request);
    return message;
}

static void drop(void *message)
{
    fed_rpc_message_free(message);
}

static void on_heartbeat(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;

    (void)fed_rpc_in_free(request);
    answer(call, must_fail(fake, FAKE_FAIL_HEARTBEAT));
    count(fake, FAKE_HEARTBEATS);
}

static void on_status(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;
    Fedn__Status *status = unpack(request, &fedn__status__descriptor);
    size_t used;

    (void)pthread_mutex_lock(&fake->synced.lock);
    used = strlen(fake->synced.statuses);
    (void)snprintf(fake->synced.statuses + used, sizeof(fake->synced.statuses) - used, "%d %d %s\n",
                   (int)status->log_level, (int)status->type, status->status);
    count_locked(fake, FAKE_STATUSES);
    (void)pthread_mutex_unlock(&fake->synced.lock);
    drop(status);
    answer(call, false);
}

static void on_metric(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    Fedn__ModelMetric *metric = unpack(request, &fedn__model_metric__descriptor);

    assert(metric->n_metrics > 0);
    drop(metric);
    answer(call, false);
    count(arg, FAKE_METRICS);
}

static void on_update(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;
    Fedn__ModelUpdate *update = unpack(request, &fedn__model_update__descriptor);
    struct fake_update seen = {0};
    const bool is_failing = must_fail(fake, FAKE_FAIL_UPDATE);

    copy(seen.client_id, update->sender == NULL ? "" : update->sender->client_id);
    copy(seen.name, update->sender == NULL ? "" : update->sender->name);
    copy(seen.receiver, update->receiver == NULL ? "" : update->receiver->name);
    copy(seen.model_id, update->model_id);
    copy(seen.update_id, update->model_update_id);
    copy(seen.meta, update->meta);
    copy(seen.timestamp, update->timestamp);
    copy(seen.metadata_client, fed_rpc_call_metadata(call, "client"));
    copy(seen.metadata_server, fed_rpc_call_metadata(call, "grpc-server"));
    drop(update);
    (void)pthread_mutex_lock(&fake->synced.lock);
    for (size_t i = 0; i < fake->synced.n_uploads; i++) {
        if (strcmp(fake->synced.uploads[i].id, seen.update_id) == 0) {
            seen.size_bytes = fake->synced.uploads[i].size_bytes;
            seen.hash = fake->synced.uploads[i].hash;
        }
    }
    fake->synced.update = seen;
    if (!is_failing) {
        count_locked(fake, FAKE_UPDATES);
    }
    (void)pthread_mutex_unlock(&fake->synced.lock);
    answer(call, is_failing);
}

static void on_validation(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;
    Fedn__ModelValidation *validation = unpack(request, &fedn__model_validation__descriptor);
    const bool is_failing = must_fail(fake, FAKE_FAIL_VALIDATION);

    (void)pthread_mutex_lock(&fake->synced.lock);
    copy(fake->synced.validation, validation->data);
    if (!is_failing) {
        count_locked(fake, FAKE_VALIDATIONS);
    }
    (void)pthread_mutex_unlock(&fake->synced.lock);
    drop(validation);
    answer(call, is_failing);
}

/* -- the stream -------------------------------------------------------------------------------- */

static void stream_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fake_combiner *fake = arg;

    (void)end;
    if (fake->stream == call) {
        fake->stream = NULL;
    }
}

static const struct fed_rpc_call_ops stream_ops = {NULL, NULL, stream_closed};

static void on_stream(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;

    (void)fed_rpc_in_free(request);
    fed_rpc_call_set(call, &stream_ops, fake);
    if (must_fail(fake, FAKE_FAIL_STREAM)) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "told to fail");
        return;
    }
    fake->stream = call;
    count(fake, FAKE_STREAMS);
}

static void run_order(void *arg)
{
    struct order *order = arg;
    struct fed_rpc_call *stream = order->fake->stream;

    assert(stream != NULL);
    if (order->out == NULL) {
        fed_rpc_call_finish(stream, FED_RPC_UNAVAILABLE, "told to end");
    } else {
        const int rc = fed_rpc_call_send(stream, order->out, NULL);
        assert(rc == 0);
    }
    free(order);
}

static void give_order(struct fake_combiner *fake, struct fed_rpc_out *out)
{
    struct order *order = calloc(1, sizeof(*order));

    assert(order != NULL);
    order->fake = fake;
    order->out = out;
    fed_event_init(&order->event, run_order, order);
    fed_loop_post(fake->loop, &order->event);
}

static void
send_task(struct fake_combiner *fake, Fedn__StatusType type, const char *model_id, const char *data)
{
    Fedn__Client sender;
    Fedn__TaskRequest task;
    char model[FAKE_TEXT_SIZE];
    char text[FAKE_TEXT_SIZE];
    char name[] = "fake";
    char session[] = "session-1";
    char correlation[] = "correlation-1";

    fedn__client__init(&sender);
    fedn__task_request__init(&task);
    copy(model, model_id);
    copy(text, data);
    sender.role = FEDN__ROLE__COMBINER;
    sender.name = name;
    task.sender = &sender;
    task.model_id = model;
    task.data = text;
    task.session_id = session;
    task.correlation_id = correlation;
    task.type = type;
    give_order(fake, fed_rpc_out_pack(&task.base));
}

void fake_send_train(struct fake_combiner *fake,
                     const char *model_id,
                     const char *round_id,
                     const char *more)
{
    char data[FAKE_TEXT_SIZE];

    (void)snprintf(data, sizeof(data), "{\"round_id\": \"%s\", \"round_number\": \"%s\"%s}",
                   round_id, round_id, more);
    send_task(fake, FEDN__STATUS_TYPE__MODEL_UPDATE, model_id, data);
}

void fake_send_validate(struct fake_combiner *fake, const char *model_id)
{
    send_task(fake, FEDN__STATUS_TYPE__MODEL_VALIDATION, model_id, "");
}

void fake_end_stream(struct fake_combiner *fake)
{
    give_order(fake, NULL);
}

/* -- transfers --------------------------------------------------------------------------------- */

static void transfer_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    (void)call;
    (void)end;
    free(arg);
}

static struct transfer *new_transfer(struct fake_combiner *fake)
{
    struct transfer *transfer = calloc(1, sizeof(*transfer));

    assert(transfer != NULL);
    transfer->fake = fake;
    transfer->upload.hash = fake_hash("", 0);
    return transfer;
}

static const struct fed_rpc_call_ops download_ops = {NULL, NULL, transfer_closed};

static void send_chunk(struct fed_rpc_call *call,
                       Fedn__ModelResponse *response,
                       struct fed_slab *slab,
                       size_t offset)
{
    const size_t size = fed_slab_view(slab).size;
    const size_t n =
        size - offset < (size_t)FED_RPC_CHUNK_SIZE ? size - offset : (size_t)FED_RPC_CHUNK_SIZE;
    const int rc =
        fed_rpc_call_send(call, fed_rpc_out_pack_bulk(&response->base, 1, slab, offset, n), NULL);

    assert(rc == 0);
}

static void send_model(struct fake_combiner *fake, struct fed_rpc_call *call, char *id)
{
    Fedn__ModelResponse response;
    const size_t size = fed_slab_view(fake->model).size;
    int rc;

    fedn__model_response__init(&response);
    response.id = id;
    response.status = FEDN__MODEL_STATUS__IN_PROGRESS;
    for (size_t offset = 0; offset < size; offset += (size_t)FED_RPC_CHUNK_SIZE) {
        send_chunk(call, &response, fake->model, offset);
        if (must_fail(fake, FAKE_FAIL_DOWNLOAD)) {
            fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "told to fail");
            return;
        }
    }
    if (must_fail(fake, FAKE_FAIL_DOWNLOAD_LONG)) {
        for (unsigned i = 0; i < 16; i++) {
            send_chunk(call, &response, fake->model, 0);
        }
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
        return;
    }
    if (!must_fail(fake, FAKE_FAIL_DOWNLOAD_SHORT)) {
        response.status = FEDN__MODEL_STATUS__OK;
        rc = fed_rpc_call_send(call, fed_rpc_out_pack(&response.base), NULL);
        assert(rc == 0);
    }
    fed_rpc_call_finish(call, FED_RPC_OK, NULL);
}

static void on_download(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct fake_combiner *fake = arg;
    Fedn__ModelRequest *wanted = unpack(request, &fedn__model_request__descriptor);
    Fedn__ModelResponse response;

    fedn__model_response__init(&response);
    fed_rpc_call_set(call, &download_ops, new_transfer(fake));
    if (strcmp(wanted->id, fake->model_id) == 0) {
        send_model(fake, call, wanted->id);
    } else {
        int rc;
        response.id = wanted->id;
        response.status = FEDN__MODEL_STATUS__UNKNOWN;
        rc = fed_rpc_call_send(call, fed_rpc_out_pack(&response.base), NULL);
        response.status = FEDN__MODEL_STATUS__FAILED;
        rc = rc == 0 ? fed_rpc_call_send(call, fed_rpc_out_pack(&response.base), NULL) : rc;
        assert(rc == 0);
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
    }
    drop(wanted);
    count(fake, FAKE_DOWNLOADS);
}

static void publish(struct transfer *transfer)
{
    struct fake_combiner *fake = transfer->fake;

    (void)pthread_mutex_lock(&fake->synced.lock);
    assert(fake->synced.n_uploads < UPLOADS_MAX);
    fake->synced.uploads[fake->synced.n_uploads++] = transfer->upload;
    count_locked(fake, FAKE_UPLOADS);
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

static void upload_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct transfer *transfer = arg;
    ProtobufCMessage *message = NULL;
    const Fedn__ModelRequest *request;
    Fedn__ModelResponse response;
    struct fed_view view = {0};
    int rc;

    fedn__model_response__init(&response);
    if (in == NULL) { /* FEDn's clients end with the terminator, and half-close */
        assert(transfer->is_terminated);
        fed_rpc_call_reply(call, fed_rpc_out_pack(&response.base));
        return;
    }
    rc = fed_rpc_in_unpack_bulk(in, &fedn__model_request__descriptor, 3, &message, &view, NULL);
    assert(rc == 0);
    request = (const Fedn__ModelRequest *)(const void *)message;
    copy(transfer->upload.id, request->id);
    transfer->upload.size_bytes += view.size;
    transfer->upload.hash = hash_more(transfer->upload.hash, view);
    transfer->is_terminated = request->status == FEDN__MODEL_STATUS__OK;
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    if (transfer->is_terminated) {
        publish(transfer);
    } else if (must_fail(transfer->fake, FAKE_FAIL_UPLOAD)) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "told to fail");
        return;
    }
    fed_rpc_call_read(call);
}

static const struct fed_rpc_call_ops upload_ops = {upload_message, NULL, transfer_closed};

static void on_upload(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    (void)request;
    fed_rpc_call_set(call, &upload_ops, new_transfer(arg));
    fed_rpc_call_read(call);
}

/* -- life -------------------------------------------------------------------------------------- */

static const struct fed_rpc_method methods[] = {
    {"/fedn.Combiner/TaskStream", false, true, on_stream},
    {"/fedn.Connector/SendHeartbeat", false, false, on_heartbeat},
    {"/fedn.Connector/SendStatus", false, false, on_status},
    {"/fedn.Combiner/SendModelMetric", false, false, on_metric},
    {"/fedn.Combiner/SendModelUpdate", false, false, on_update},
    {"/fedn.Combiner/SendModelValidation", false, false, on_validation},
    {"/fedn.ModelService/Download", false, true, on_download},
    {"/fedn.ModelService/Upload", true, false, on_upload},
};

static void *run(void *arg)
{
    fed_loop_run(((struct fake_combiner *)arg)->loop);
    return NULL;
}

struct fake_combiner *
fake_new(uint16_t port, const char *model_id, const void *model, size_t model_size)
{
    struct fake_combiner *fake = calloc(1, sizeof(*fake));
    struct fed_err err = {0};
    char listen[64];
    struct fed_rpc_server_config config = {
        .listen = listen,
        .message_size_max = (size_t)FED_RPC_MESSAGE_MAX,
        .memory_max = 64U << 20,
        .calls_max = 1000,
        .unknown_status = FED_RPC_UNAVAILABLE,
        .unknown_detail = "no such call",
    };
    int rc;

    assert(fake != NULL);
    copy(fake->model_id, model_id);
    (void)pthread_mutex_init(&fake->synced.lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&fake->synced.changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    fake->model = fed_slab_new(model, model_size, NULL, NULL);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
    rc = fed_loop_new(&fake->loop, &err);
    rc = rc == 0 ? fed_rpc_new(fake->loop, &fake->rpc, &err) : rc;
    rc = rc == 0
             ? fed_rpc_server_new(fake->rpc, &config, methods, sizeof(methods) / sizeof(methods[0]),
                                  fake, &fake->server, &err)
             : rc;
    if (rc < 0) {
        (void)fprintf(stderr, "fake combiner: %s\n", err.msg);
        abort();
    }
    rc = pthread_create(&fake->thread, NULL, run, fake);
    assert(rc == 0);
    return fake;
}

static void on_stopped(void *arg)
{
    fed_loop_stop(((struct fake_combiner *)arg)->loop);
}

static void on_stop(void *arg)
{
    struct fake_combiner *fake = arg;

    fed_rpc_server_close(fake->server);
    fed_rpc_server_stop(fake->server, on_stopped, fake);
}

struct fake_combiner *fake_free(struct fake_combiner *fake)
{
    fed_event_init(&fake->stop, on_stop, fake);
    fed_loop_post(fake->loop, &fake->stop);
    (void)pthread_join(fake->thread, NULL);
    (void)fed_rpc_server_free(fake->server);
    (void)fed_rpc_free(fake->rpc);
    (void)fed_loop_free(fake->loop);
    (void)fed_slab_unref(fake->model);
    (void)pthread_cond_destroy(&fake->synced.changed);
    (void)pthread_mutex_destroy(&fake->synced.lock);
    free(fake);
    return NULL;
}

uint16_t fake_port(const struct fake_combiner *fake)
{
    return fed_rpc_server_port(fake->server);
}

void fake_fail(struct fake_combiner *fake, enum fake_fault fault, unsigned times)
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    fake->synced.faults[fault] = times;
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

bool fake_wait(struct fake_combiner *fake, enum fake_count what, unsigned n)
{
    struct timespec until;
    uint64_t until_ms;
    bool is_there;
    int rc = 0;

    until_ms = fed_clock_mono_ms() + FAKE_WAIT_MS;
    until = (struct timespec){.tv_sec = (time_t)(until_ms / 1000U),
                              .tv_nsec = (long)(until_ms % 1000U) * 1000000L};
    (void)pthread_mutex_lock(&fake->synced.lock);
    while (fake->synced.counts[what] < n && rc == 0) {
        rc = pthread_cond_timedwait(&fake->synced.changed, &fake->synced.lock, &until);
    }
    is_there = fake->synced.counts[what] >= n;
    (void)pthread_mutex_unlock(&fake->synced.lock);
    return is_there;
}

unsigned fake_count(struct fake_combiner *fake, enum fake_count what)
{
    unsigned n;

    (void)pthread_mutex_lock(&fake->synced.lock);
    n = fake->synced.counts[what];
    (void)pthread_mutex_unlock(&fake->synced.lock);
    return n;
}

void fake_last_update(struct fake_combiner *fake, struct fake_update *ret_update)
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    *ret_update = fake->synced.update;
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

void fake_last_validation(struct fake_combiner *fake, char ret_data[FAKE_TEXT_SIZE])
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    copy(ret_data, fake->synced.validation);
    (void)pthread_mutex_unlock(&fake->synced.lock);
}

void fake_statuses(struct fake_combiner *fake, char ret_text[FAKE_HISTORY_SIZE])
{
    (void)pthread_mutex_lock(&fake->synced.lock);
    memcpy(ret_text, fake->synced.statuses, FAKE_HISTORY_SIZE);
    (void)pthread_mutex_unlock(&fake->synced.lock);
}
