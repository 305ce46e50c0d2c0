/* fedn.Combiner: tasks down, updates and records up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/rpc/front_inside.h"
#include "combiner/rpc/meta.h"
#include "combiner/rpc/record.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"

/* -- TaskStream -------------------------------------------------------------------------------- */

static void stream_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct stream *stream = arg;
    struct front *front = stream->front;
    char key[FRONT_KEY_SIZE];

    (void)call;
    (void)end;
    front_key(stream->number, key);
    (void)fed_strmap_take(&front->streams, key);
    if (fed_strmap_find(&front->by_client, stream->client_id) == stream) {
        (void)fed_strmap_take(&front->by_client, stream->client_id);
    }
    collector_detach(front->parts.collector, stream->number, fed_loop_now_ms(front->parts.loop));
    free(stream);
    front->ops->acted(front->arg);
}

static const struct fed_rpc_call_ops stream_ops = {NULL, NULL, stream_closed};

/* Make the stream known; NULL when there is no memory for it. */
static struct stream *
open_stream(struct front *front, struct fed_rpc_call *call, const char *client_id)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    char key[FRONT_KEY_SIZE];

    if (stream == NULL) {
        return NULL;
    }
    stream->front = front;
    stream->call = call;
    stream->number = ++front->next_number;
    fed_id_copy(stream->client_id, client_id);
    front_key(stream->number, key);
    if (fed_strmap_put(&front->streams, key, stream, NULL, NULL) < 0) {
        free(stream);
        return NULL;
    }
    if (fed_strmap_put(&front->by_client, client_id, stream, NULL, NULL) < 0) {
        (void)fed_strmap_take(&front->streams, key);
        free(stream);
        return NULL;
    }
    fed_rpc_call_set(call, &stream_ops, stream);
    return stream;
}

static void task_stream(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    Fedn__ClientAvailableMessage *message =
        (void *)front_unpack(call, in, &fedn__client_available_message__descriptor);
    struct collector_attach attach = {.connection = fed_rpc_call_connection(call)};
    const struct stream *stream;

    if (message == NULL) {
        return;
    }
    if (!front_sender(front, call, message->sender, attach.client_id)) {
        fed_rpc_message_free(&message->base);
        front_fail(call, FED_E_INVALID,
                   "a TaskStream needs sender.client_id, an id of 1 to 128 "
                   "letters, digits and ._:@+-");
        return;
    }
    (void)snprintf(attach.name, sizeof(attach.name), "%s",
                   message->sender == NULL ? "" : message->sender->name);
    (void)snprintf(attach.ip, sizeof(attach.ip), "%s", fed_rpc_call_ip(call));
    fed_rpc_message_free(&message->base);
    stream = open_stream(front, call, attach.client_id);
    if (stream == NULL) {
        front_fail(call, FED_E_NOMEM, "out of memory");
        return;
    }
    attach.stream = stream->number;
    collector_attach(front->parts.collector, &attach, fed_loop_now_ms(front->parts.loop));
    front->ops->acted(front->arg);
}

static struct stream *find_stream(const struct front *front, uint64_t number)
{
    char key[FRONT_KEY_SIZE];

    front_key(number, key);
    return fed_strmap_find(&front->streams, key);
}

/* "2026-01-01 00:00:00.000000", as Python's str(datetime.now()) has it. */
static void format_now(char ret_text[FED_TIME_TEXT_SIZE])
{
    char iso[FED_TIME_TEXT_SIZE];

    fed_time_format_iso(fed_clock_utc_us(), iso);
    iso[strcspn(iso, "T")] = ' ';
    (void)snprintf(ret_text, FED_TIME_TEXT_SIZE, "%.*s", (int)strcspn(iso, "Z"), iso);
}

void front_send_task(struct front *front, uint64_t stream_number, const struct collector_task *task)
{
    struct stream *stream = find_stream(front, stream_number);
    Fedn__TaskRequest request = FEDN__TASK_REQUEST__INIT;
    Fedn__Client sender = FEDN__CLIENT__INIT;
    Fedn__Client receiver = FEDN__CLIENT__INIT;
    char timestamp[FED_TIME_TEXT_SIZE];
    char correlation_id[FED_UUID_SIZE] = "";
    struct fed_err err = {0};

    if (stream == NULL || stream->is_ended) {
        return;
    }
    sender.role = FEDN__ROLE__COMBINER;
    sender.name = front_text(front->config.name);
    receiver.role = FEDN__ROLE__CLIENT;
    receiver.client_id = front_text(task->client_id);
    format_now(timestamp);
    request.sender = &sender;
    request.receiver = &receiver;
    request.model_id = front_text(task->model_id);
    request.data = front_text(task->data);
    request.session_id = front_text(task->session_id);
    request.timestamp = timestamp;
    request.type = task->type == COLLECTOR_TRAIN ? FEDN__STATUS_TYPE__MODEL_UPDATE
                                                 : FEDN__STATUS_TYPE__MODEL_VALIDATION;
    if (fed_uuid_new(correlation_id, NULL) == 0) {
        request.correlation_id = correlation_id;
    }
    if (fed_rpc_call_send(stream->call, fed_rpc_out_pack(&request.base), &err) < 0) {
        /* A client that takes nothing: it attaches again, and its task goes out again. */
        fed_log(FED_LOG_WARNING, "port", "task_not_sent", "client=%s error=\"%s\"",
                stream->client_id, err.msg);
        fed_rpc_call_cancel(stream->call);
    }
}

static void end_stream(struct stream *stream, const char *why)
{
    if (!stream->is_ended) {
        stream->is_ended = true;
        fed_rpc_call_finish(stream->call, FED_RPC_UNAVAILABLE, why);
    }
}

void front_end_stream(struct front *front, uint64_t stream_number)
{
    struct stream *stream = find_stream(front, stream_number);

    if (stream != NULL) {
        end_stream(stream, "another stream of this client took over, or there is no room");
    }
}

void svc_combiner_end_streams(struct front *front)
{
    size_t cursor = 0;
    struct stream *stream;

    while ((stream = fed_strmap_next(&front->streams, &cursor, NULL)) != NULL) {
        end_stream(stream, "the combiner is going down");
    }
}

/* -- SendModelUpdate --------------------------------------------------------------------------- */

struct announced {
    struct front *front;
    struct fed_rpc_call *call;
    uint64_t token;
    bool is_answered;
};

static void announced_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct announced *announced = arg;
    struct front *front = announced->front;
    char key[FRONT_KEY_SIZE];

    (void)call;
    (void)end;
    front_key(announced->token, key);
    (void)fed_strmap_take(&front->announced, key);
    if (announced->is_answered) {
        FED_FAULT_POINT("combiner.answered");
    } else {
        collector_forget(front->parts.collector, announced->token);
        front->ops->acted(front->arg);
    }
    free(announced);
    front->ops->settled(front->arg);
}

static const struct fed_rpc_call_ops announced_ops = {NULL, NULL, announced_closed};

void front_answer(struct front *front, uint64_t token, bool is_ok)
{
    char key[FRONT_KEY_SIZE];
    struct announced *announced;

    front_key(token, key);
    announced = fed_strmap_find(&front->announced, key);
    if (announced == NULL || announced->is_answered) {
        return;
    }
    announced->is_answered = true;
    if (is_ok) {
        front_respond(announced->call, "");
    } else {
        fed_rpc_call_finish(announced->call, FED_RPC_UNAVAILABLE, "not now: try again");
    }
}

static void copy_id(char ret_id[FED_ID_SIZE], const char *id)
{
    if (id != NULL && fed_id_is_valid(id)) {
        fed_id_copy(ret_id, id);
    }
}

static void fill_announcement(struct collector_announcement *announcement,
                              const Fedn__ModelUpdate *update)
{
    struct meta meta;

    copy_id(announcement->update_id, update->model_update_id);
    copy_id(announcement->model_id, update->model_id);
    meta_parse(update->meta, update->config, &meta);
    announcement->examples = meta.examples;
    announcement->fault = meta.fault;
    memcpy(announcement->detail, meta.detail, sizeof(announcement->detail));
    memcpy(announcement->session_id, meta.session_id, sizeof(announcement->session_id));
    memcpy(announcement->round_id, meta.round_id, sizeof(announcement->round_id));
    if (announcement->update_id[0] == '\0' && announcement->fault == FED_REFUSAL_NONE) {
        announcement->fault = FED_REFUSAL_BAD_ID;
    }
}

static void announce(struct front *front,
                     struct fed_rpc_call *call,
                     const struct collector_announcement *announcement)
{
    struct announced *announced = calloc(1, sizeof(*announced));
    char key[FRONT_KEY_SIZE];

    if (announced == NULL) {
        front_fail(call, FED_E_NOMEM, "out of memory");
        return;
    }
    announced->front = front;
    announced->call = call;
    announced->token = announcement->token;
    front_key(announced->token, key);
    if (fed_strmap_put(&front->announced, key, announced, NULL, NULL) < 0) {
        free(announced);
        front_fail(call, FED_E_NOMEM, "out of memory");
        return;
    }
    fed_rpc_call_set(call, &announced_ops, announced);
    collector_announce(front->parts.collector, announcement, fed_loop_now_ms(front->parts.loop));
    front->ops->acted(front->arg);
}

static void send_model_update(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    struct collector_announcement announcement = {
        .token = ++front->next_number,
        .connection = fed_rpc_call_connection(call),
    };
    const bool is_long = fed_rpc_in_size(in) > FRONT_UNARY_MAX;
    Fedn__ModelUpdate *update;

    if (is_long) { /* read by nobody, refused in its sender's name */
        (void)fed_rpc_in_free(in);
        (void)front_sender(front, call, NULL, announcement.client_id);
        announcement.fault = FED_REFUSAL_BAD_META;
        (void)snprintf(announcement.detail, sizeof(announcement.detail),
                       "the message is longer than %u bytes", FRONT_UNARY_MAX);
    } else {
        update = (void *)front_unpack(call, in, &fedn__model_update__descriptor);
        if (update == NULL) {
            return;
        }
        (void)front_sender(front, call, update->sender, announcement.client_id);
        fill_announcement(&announcement, update);
        fed_rpc_message_free(&update->base);
    }
    announce(front, call, &announcement);
}

/* -- records ----------------------------------------------------------------------------------- */

static void send_model_validation(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__ModelValidation *validation =
        (void *)front_unpack(call, in, &fedn__model_validation__descriptor);

    if (validation == NULL) {
        return;
    }
    (void)front_sender(front, call, validation->sender, client_id);
    mailer_post(front->parts.mailer, FED_RECORD_VALIDATION,
                record_validation(validation, client_id));
    if (client_id[0] != '\0' && fed_id_is_valid(validation->model_id)) {
        collector_validated(front->parts.collector, client_id, validation->model_id);
    }
    fed_rpc_message_free(&validation->base);
    front_respond_stored(front, call);
    front->ops->acted(front->arg);
}

static void send_model_prediction(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__ModelPrediction *prediction =
        (void *)front_unpack(call, in, &fedn__model_prediction__descriptor);

    if (prediction == NULL) {
        return;
    }
    (void)front_sender(front, call, prediction->sender, client_id);
    mailer_post(front->parts.mailer, FED_RECORD_PREDICTION,
                record_prediction(prediction, client_id));
    fed_rpc_message_free(&prediction->base);
    front_respond_stored(front, call);
}

/* Split learning, which we have not: heard, and of no effect. */
static void send_backward_completion(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    (void)arg;
    (void)fed_rpc_in_free(in);
    front_respond(call, "");
}

static size_t elements(size_t n)
{
    return n < FRONT_ELEMENTS_MAX ? n : FRONT_ELEMENTS_MAX;
}

static void send_model_metric(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__ModelMetric *metric = (void *)front_unpack(call, in, &fedn__model_metric__descriptor);

    if (metric == NULL) {
        return;
    }
    (void)front_sender(front, call, metric->sender, client_id);
    for (size_t i = 0; i < elements(metric->n_metrics); i++) {
        mailer_post(front->parts.mailer, FED_RECORD_METRIC, record_metric(metric, i, client_id));
    }
    fed_rpc_message_free(&metric->base);
    front_respond_stored(front, call);
}

static void send_attribute_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__AttributeMessage *message =
        (void *)front_unpack(call, in, &fedn__attribute_message__descriptor);

    if (message == NULL) {
        return;
    }
    (void)front_sender(front, call, message->sender, client_id);
    for (size_t i = 0; i < elements(message->n_attributes); i++) {
        mailer_post(front->parts.mailer, FED_RECORD_ATTRIBUTE,
                    record_attribute(message, i, client_id));
    }
    fed_rpc_message_free(&message->base);
    front_respond_stored(front, call);
}

static void send_telemetry_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__TelemetryMessage *message =
        (void *)front_unpack(call, in, &fedn__telemetry_message__descriptor);

    if (message == NULL) {
        return;
    }
    (void)front_sender(front, call, message->sender, client_id);
    for (size_t i = 0; i < elements(message->n_telemetries); i++) {
        mailer_post(front->parts.mailer, FED_RECORD_TELEMETRY,
                    record_telemetry(message, i, client_id));
    }
    fed_rpc_message_free(&message->base);
    front_respond_stored(front, call);
}

static const struct fed_rpc_method methods[] = {
    {"/fedn.Combiner/TaskStream", false, true, task_stream},
    {"/fedn.Combiner/SendModelUpdate", false, false, send_model_update},
    {"/fedn.Combiner/SendModelValidation", false, false, send_model_validation},
    {"/fedn.Combiner/SendModelPrediction", false, false, send_model_prediction},
    {"/fedn.Combiner/SendBackwardCompletion", false, false, send_backward_completion},
    {"/fedn.Combiner/SendModelMetric", false, false, send_model_metric},
    {"/fedn.Combiner/SendAttributeMessage", false, false, send_attribute_message},
    {"/fedn.Combiner/SendTelemetryMessage", false, false, send_telemetry_message},
    /* 0.26.0 sends its metrics here. */
    {"/fedn.Connector/SendModelMetric", false, false, send_model_metric},
};

struct front_methods svc_combiner_methods(void)
{
    return (struct front_methods){methods, sizeof(methods) / sizeof(methods[0])};
}
