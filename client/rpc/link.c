#include "client/rpc/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json/agent_json.h"
#include "client/rpc/link_inside.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/conf/conf.h"

#define TOLD_MAX 32U /* statuses and metrics under way; beyond: dropped */

struct stream {
    struct ask ask;
    bool is_dropped; /* closed by us: report nothing */
};

enum unary_kind {
    UNARY_HEARTBEAT,
    UNARY_TOLD,
    UNARY_REPORT,
};

struct unary {
    struct ask ask;
    struct link *owner;
    enum unary_kind kind;
};

/* -- connections ------------------------------------------------------------------------------- */

void ask_add(struct conn *conn, struct ask *ask)
{
    ask->conn = conn;
    ask->call = NULL;
    fed_list_add(&conn->asks, &ask->link);
}

void ask_remove(struct ask *ask)
{
    struct conn *conn = ask->conn;

    fed_link_remove(&ask->link);
    ask->call = NULL;
    if (conn->is_left && fed_list_is_empty(&conn->asks)) {
        fed_loop_post(conn->owner->loop, &conn->gone);
    }
}

static void check_stopped(struct link *link)
{
    if (link->is_stopping && link->n_conns == 0 && link->step.kind == STEP_NONE) {
        fed_loop_post(link->loop, &link->stopped);
    }
}

static void on_gone(void *arg)
{
    struct conn *conn = arg;
    struct link *link = conn->owner;

    (void)fed_rpc_channel_free(conn->channel);
    free(conn);
    link->n_conns--;
    check_stopped(link);
}

static void leave(struct link *link)
{
    struct conn *conn = link->conn;

    if (conn == NULL) {
        return;
    }
    link->conn = NULL;
    conn->is_left = true;
    fed_list_for_each (it, &conn->asks) {
        struct ask *ask = FED_CONTAINER_OF(it, struct ask, link);
        if (ask->call != NULL) {
            fed_rpc_call_cancel(ask->call);
        }
    }
    if (fed_list_is_empty(&conn->asks)) {
        fed_loop_post(link->loop, &conn->gone);
    }
}

static int
set_metadata(struct link *link, struct conn *conn, const char *address, struct fed_err *err)
{
    char host[AGENT_ADDRESS_SIZE];
    uint16_t port = 0;

    if (!fed_address_parse(address, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "bad address '%s', want HOST:PORT", address);
    }
    const struct fed_rpc_metadata metadata[] = {
        {"client", link->config.client_id},
        {"grpc-server", host},
    };
    return fed_rpc_channel_set_metadata(conn->channel, metadata, 2, err);
}

int link_connect(struct link *link, const char *address, struct fed_err *err)
{
    const struct fed_rpc_channel_config config = {
        .target = address,
        .message_size_max = (size_t)FED_RPC_MESSAGE_MAX,
        .keepalive_ms = link->config.keepalive_ms,
        .keepalive_timeout_ms = link->config.keepalive_ms,
    };
    struct conn *conn = calloc(1, sizeof(*conn));
    int rc;

    leave(link);
    if (conn == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "connection");
    }
    conn->owner = link;
    fed_list_init(&conn->asks);
    fed_event_init(&conn->gone, on_gone, conn);
    rc = fed_rpc_channel_new(link->rpc, &config, &conn->channel, err);
    if (rc < 0) {
        free(conn);
        return rc;
    }
    rc = set_metadata(link, conn, address, err);
    if (rc < 0) {
        (void)fed_rpc_channel_free(conn->channel);
        free(conn);
        return rc;
    }
    link->conn = conn;
    link->n_conns++;
    return 0;
}

/* -- life -------------------------------------------------------------------------------------- */

int link_new(struct fed_rpc *rpc,
             struct fed_workers *workers,
             const struct link_config *config,
             const struct link_ops *ops,
             void *arg,
             struct link **ret_link)
{
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL) {
        return -FED_E_NOMEM;
    }
    link->rpc = rpc;
    link->workers = workers;
    link->loop = config->loop;
    link->config = *config;
    link->ops = ops;
    link->arg = arg;
    link->step.fd = -1;
    fed_lane_init(&link->lane);
    *ret_link = link;
    return 0;
}

struct link *link_free(struct link *link)
{
    if (link != NULL) {
        assert(link->n_conns == 0);
        assert(link->step.kind == STEP_NONE);
        free(link);
    }
    return NULL;
}

void link_stop(struct link *link, fed_event_fn done, void *arg)
{
    assert(!link->is_stopping);
    link->is_stopping = true;
    fed_event_init(&link->stopped, done, arg);
    link_close_stream(link);
    link_cancel_step(link);
    leave(link);
    check_stopped(link);
}

/* -- the task stream --------------------------------------------------------------------------- */

static bool copy_id(char ret_id[FED_ID_SIZE], const char *id)
{
    if (id[0] != '\0' && !fed_id_is_valid(id)) {
        return false;
    }
    fed_id_copy(ret_id, id);
    return true;
}

static int read_task(const Fedn__TaskRequest *request, struct agent_task *task, struct fed_err *err)
{
    task->type =
        request->type == FEDN__STATUS_TYPE__MODEL_UPDATE ? AGENT_TASK_TRAIN : AGENT_TASK_VALIDATE;
    if (!copy_id(task->model_id, request->model_id) || task->model_id[0] == '\0' ||
        !copy_id(task->session_id, request->session_id)) {
        return fed_err_set(err, FED_E_INVALID, "model_id or session_id is no id");
    }
    if (!copy_id(task->correlation_id, request->correlation_id)) {
        task->correlation_id[0] = '\0';
    }
    fed_text_copy(task->sender, sizeof(task->sender), fed_view_str(request->sender->name));
    if (strlen(request->data) > AGENT_TASK_DATA_MAX) {
        return fed_err_set(err, FED_E_LIMIT, "data of %zu bytes, at most %zu",
                           strlen(request->data), AGENT_TASK_DATA_MAX);
    }
    task->data = strdup(request->data);
    if (task->data == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "task");
    }
    return agent_json_read_task(task, err);
}

static void take_task(struct link *link, const Fedn__TaskRequest *request)
{
    struct agent_task task = {0};
    struct fed_err err = {0};

    if (request->sender == NULL || request->sender->role != FEDN__ROLE__COMBINER) {
        return; /* as FEDn's clients do */
    }
    if (request->type != FEDN__STATUS_TYPE__MODEL_UPDATE &&
        request->type != FEDN__STATUS_TYPE__MODEL_VALIDATION) {
        fed_log(FED_LOG_WARNING, "task", "unknown", "type=%d", (int)request->type);
        return;
    }
    if (read_task(request, &task, &err) < 0) {
        fed_log(FED_LOG_WARNING, "task", "malformed", "error=\"%s\"", err.msg);
        agent_task_deinit(&task);
        return;
    }
    link->ops->on_task(&task, link->arg);
}

static void stream_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct stream *stream = arg;
    struct link *link = stream->ask.conn->owner;
    ProtobufCMessage *message = NULL;
    struct fed_err err = {0};

    if (in == NULL) {
        return;
    }
    if (stream->is_dropped) {
        (void)fed_rpc_in_free(in);
        return;
    }
    if (fed_rpc_in_unpack(in, &fedn__task_request__descriptor, &message, &err) < 0) {
        fed_log(FED_LOG_WARNING, "task", "malformed", "error=\"%s\"", err.msg);
    } else {
        take_task(link, (const Fedn__TaskRequest *)(const void *)message);
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call);
}

static void stream_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct stream *stream = arg;
    struct link *link = stream->ask.conn->owner;
    const bool is_dropped = stream->is_dropped || stream->ask.conn->is_left;

    (void)call;
    ask_remove(&stream->ask);
    if (link->stream == stream) {
        link->stream = NULL;
    }
    free(stream);
    if (!is_dropped) {
        link->ops->on_stream_closed(end->code, end->detail, link->arg);
    }
}

static const struct fed_rpc_call_ops stream_ops = {stream_message, NULL, stream_closed};

void link_open_stream(struct link *link)
{
    Fedn__Client sender;
    Fedn__ClientAvailableMessage message;
    struct stream *stream = calloc(1, sizeof(*stream));

    fedn__client__init(&sender);
    fedn__client_available_message__init(&message);
    assert(link->conn != NULL);
    link_close_stream(link);
    if (stream == NULL) {
        return; /* the attach timeout tries again */
    }
    ask_add(link->conn, &stream->ask);
    if (fed_rpc_channel_call(link->conn->channel, "/fedn.Combiner/TaskStream", 0, &stream_ops,
                             stream, &stream->ask.call, NULL) < 0) {
        ask_remove(&stream->ask);
        free(stream);
        return;
    }
    link->stream = stream;
    sender.role = FEDN__ROLE__CLIENT;
    sender.name = message_text(link->config.name);
    sender.client_id = message_text(link->config.client_id);
    message.sender = &sender;
    if (fed_rpc_call_send(stream->ask.call, fed_rpc_out_pack(&message.base), NULL) < 0) {
        fed_rpc_call_cancel(stream->ask.call);
    }
    fed_rpc_call_send_end(stream->ask.call);
    fed_rpc_call_read(stream->ask.call);
}

void link_close_stream(struct link *link)
{
    if (link->stream != NULL) {
        link->stream->is_dropped = true;
        fed_rpc_call_cancel(link->stream->ask.call);
        link->stream = NULL;
    }
}

/* -- small calls ------------------------------------------------------------------------------- */

static void unary_done(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg)
{
    struct unary *unary = arg;
    struct link *link = unary->owner;
    const enum unary_kind kind = unary->kind;
    const bool is_left = unary->ask.conn->is_left;

    (void)fed_rpc_in_free(in);
    ask_remove(&unary->ask);
    free(unary);
    switch (kind) {
    case UNARY_HEARTBEAT:
        link->ops->on_heartbeat(end->code == FED_RPC_OK && !is_left, link->arg);
        break;
    case UNARY_REPORT:
        step_finish_call(link, end);
        break;
    case UNARY_TOLD:
    default:
        link->n_told--;
        if (end->code != FED_RPC_OK) {
            fed_log(FED_LOG_DEBUG, "combiner", "not_told", "code=%d detail=\"%s\"", end->code,
                    end->detail);
        }
    }
}

/* The memory of a call that could not even be begun: the heartbeat will be missed, the rest is told
 * to nobody. A report must end its step, so it has its struct beforehand. */
static void call_unary(struct link *link,
                       enum unary_kind kind,
                       const char *path,
                       const ProtobufCMessage *message)
{
    struct unary *unary = calloc(1, sizeof(*unary));

    assert(link->conn != NULL);
    if (unary == NULL) {
        abort(); /* as common/rpc does: not even the callback could be kept */
    }
    unary->owner = link;
    unary->kind = kind;
    ask_add(link->conn, &unary->ask);
    fed_rpc_channel_unary(link->conn->channel, path, fed_rpc_out_pack(message),
                          link->config.call_timeout_ms, unary_done, unary, &unary->ask.call);
    if (kind == UNARY_REPORT) {
        link->step.ask.call = unary->ask.call;
    }
}

static void fill_sender(const struct link *link, Fedn__Client *sender)
{
    sender->role = FEDN__ROLE__CLIENT;
    sender->name = message_text(link->config.name);
    sender->client_id = message_text(link->config.client_id);
}

static void fill_time(Google__Protobuf__Timestamp *timestamp)
{
    const uint64_t now_us = fed_clock_utc_us();

    timestamp->seconds = (int64_t)(now_us / 1000000U);
    timestamp->nanos = (int32_t)(now_us % 1000000U) * 1000;
}

void link_heartbeat(struct link *link)
{
    Fedn__Client sender;
    Fedn__Heartbeat message;

    fedn__client__init(&sender);
    fedn__heartbeat__init(&message);
    fill_sender(link, &sender);
    message.sender = &sender;
    call_unary(link, UNARY_HEARTBEAT, "/fedn.Connector/SendHeartbeat", &message.base);
}

static bool may_tell(struct link *link)
{
    if (link->conn == NULL || link->n_told >= TOLD_MAX) {
        return false;
    }
    link->n_told++;
    return true;
}

void link_send_status(struct link *link,
                      const struct agent_task *task,
                      enum link_level level,
                      const char *text,
                      const char *data)
{
    Fedn__Client sender;
    Fedn__Status message;
    Google__Protobuf__Timestamp timestamp;

    fedn__client__init(&sender);
    fedn__status__init(&message);
    google__protobuf__timestamp__init(&timestamp);
    if (!may_tell(link)) {
        return;
    }
    fill_sender(link, &sender);
    fill_time(&timestamp);
    message.sender = &sender;
    message.status = message_text(text);
    message.log_level = (Fedn__LogLevel)level;
    message.data = message_text(data);
    message.timestamp = &timestamp;
    message.type = task->type == AGENT_TASK_TRAIN ? FEDN__STATUS_TYPE__MODEL_UPDATE
                                                  : FEDN__STATUS_TYPE__MODEL_VALIDATION;
    message.session_id = message_text(task->session_id);
    call_unary(link, UNARY_TOLD, "/fedn.Connector/SendStatus", &message.base);
}

void link_send_metric(struct link *link,
                      const struct agent_task *task,
                      const char *key,
                      double value)
{
    Fedn__Client sender;
    Fedn__MetricElem metric;
    Fedn__MetricElem *metrics[] = {&metric};
    Fedn__ModelMetric message;
    Google__Protobuf__Timestamp timestamp;
    Google__Protobuf__UInt32Value step;

    fedn__client__init(&sender);
    fedn__metric_elem__init(&metric);
    fedn__model_metric__init(&message);
    google__protobuf__timestamp__init(&timestamp);
    google__protobuf__uint32_value__init(&step);
    if (!may_tell(link)) {
        return;
    }
    fill_sender(link, &sender);
    fill_time(&timestamp);
    metric.key = message_text(key);
    metric.value = (float)value;
    message.sender = &sender;
    message.metrics = metrics;
    message.n_metrics = 1;
    message.timestamp = &timestamp;
    message.step = &step;
    message.model_id = message_text(task->model_id);
    message.round_id = message_text(task->round_id);
    message.session_id = message_text(task->session_id);
    call_unary(link, UNARY_TOLD, "/fedn.Combiner/SendModelMetric", &message.base);
}

/* -- reports ----------------------------------------------------------------------------------- */

static void begin_report(struct link *link)
{
    assert(link->step.kind == STEP_NONE);
    link->step.kind = STEP_REPORT;
    link->step.is_cancelled = false;
}

/* "2026-11-22 08:55:48.355054+00:00", as Python prints it. */
static void format_python_time(char ret_text[FED_TIME_TEXT_SIZE])
{
    char iso[FED_TIME_TEXT_SIZE];

    fed_time_format_iso(fed_clock_utc_us(), iso);
    iso[strcspn(iso, "T")] = ' ';
    iso[strcspn(iso, "Z")] = '\0';
    (void)snprintf(ret_text, FED_TIME_TEXT_SIZE, "%.64s+00:00", iso);
}

void link_report_update(struct link *link,
                        const struct agent_task *task,
                        const char *update_id,
                        const char *meta)
{
    Fedn__Client sender;
    Fedn__Client receiver;
    Fedn__ModelUpdate message;
    char timestamp[FED_TIME_TEXT_SIZE];

    fedn__client__init(&sender);
    fedn__client__init(&receiver);
    fedn__model_update__init(&message);
    begin_report(link);
    format_python_time(timestamp);
    fill_sender(link, &sender);
    receiver.role = FEDN__ROLE__COMBINER;
    receiver.name = message_text(task->sender);
    message.sender = &sender;
    message.receiver = &receiver;
    message.model_id = message_text(task->model_id);
    message.model_update_id = message_text(update_id);
    message.timestamp = timestamp;
    message.meta = message_text(meta);
    call_unary(link, UNARY_REPORT, "/fedn.Combiner/SendModelUpdate", &message.base);
}

void link_report_validation(struct link *link, const struct agent_task *task, const char *data)
{
    Fedn__Client sender;
    Fedn__Client receiver;
    Fedn__ModelValidation message;
    Google__Protobuf__Timestamp timestamp;

    fedn__client__init(&sender);
    fedn__client__init(&receiver);
    fedn__model_validation__init(&message);
    google__protobuf__timestamp__init(&timestamp);
    begin_report(link);
    fill_sender(link, &sender);
    fill_time(&timestamp);
    receiver.role = FEDN__ROLE__COMBINER;
    receiver.name = message_text(task->sender);
    message.sender = &sender;
    message.receiver = &receiver;
    message.model_id = message_text(task->model_id);
    message.data = message_text(data);
    message.correlation_id = message_text(task->correlation_id);
    message.timestamp = &timestamp;
    message.session_id = message_text(task->session_id);
    call_unary(link, UNARY_REPORT, "/fedn.Combiner/SendModelValidation", &message.base);
}

/* -- steps ------------------------------------------------------------------------------------- */

void step_finish(struct link *link, enum agent_outcome outcome, const char *text)
{
    struct step *step = &link->step;
    const enum agent_outcome told = step->is_cancelled ? AGENT_CANCELLED : outcome;
    char copy[FED_ERR_MSG_SIZE];

    assert(step->kind != STEP_NONE);
    (void)snprintf(copy, sizeof(copy), "%s", text);
    *step = (struct step){.fd = -1};
    link->ops->on_step(told, copy, link->arg);
    check_stopped(link);
}

void step_finish_call(struct link *link, const struct fed_rpc_end *end)
{
    char text[FED_ERR_MSG_SIZE];

    link->step.ask.call = NULL;
    if (end->code == FED_RPC_OK) {
        step_finish(link, AGENT_DONE, "");
        return;
    }
    (void)snprintf(text, sizeof(text), "gRPC status %d: %.200s", end->code, end->detail);
    step_finish(link, AGENT_AGAIN, text);
}

void link_cancel_step(struct link *link)
{
    if (link->step.kind != STEP_NONE) {
        link->step.is_cancelled = true;
        if (link->step.ask.call != NULL) {
            fed_rpc_call_cancel(link->step.ask.call);
        }
    }
}
