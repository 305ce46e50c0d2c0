#include "combiner/rpc/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/rpc/front_inside.h"
#include "combiner/rpc/status.h"
#include "common/base/log.h"

#define KEEPALIVE_MS     20000U /* an idle client is pinged that often, … */
#define KEEPALIVE_OUT_MS 10000U /* … and has so long to answer */

void front_key(uint64_t number, char ret_key[FRONT_KEY_SIZE])
{
    (void)snprintf(ret_key, FRONT_KEY_SIZE, "%" PRIu64, number);
}

void front_fail(struct fed_rpc_call *call, enum fed_code code, const char *detail)
{
    fed_rpc_call_finish(call, status_of(code), detail);
}

ProtobufCMessage *front_unpack(struct fed_rpc_call *call,
                               struct fed_rpc_in *in,
                               const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = NULL;
    struct fed_err err = {0};
    int rc;

    if (fed_rpc_in_size(in) > FRONT_UNARY_MAX) {
        rc = fed_err_set(&err, FED_E_LIMIT, "%s of %zu bytes, at most %u are taken",
                         descriptor->name, fed_rpc_in_size(in), FRONT_UNARY_MAX);
    } else {
        rc = fed_rpc_in_unpack(in, descriptor, &message, &err);
    }
    (void)fed_rpc_in_free(in);
    if (rc < 0) {
        fed_log(FED_LOG_DEBUG, "port", "unreadable", "ip=%s error=\"%s\"", fed_rpc_call_ip(call),
                err.msg);
        front_fail(call, err.code, err.msg);
        return NULL;
    }
    return message;
}

void front_reply(struct fed_rpc_call *call, const ProtobufCMessage *message)
{
    fed_rpc_call_reply(call, fed_rpc_out_pack(message));
}

void front_respond(struct fed_rpc_call *call, const char *words)
{
    Fedn__Response response = FEDN__RESPONSE__INIT;

    response.response = front_text(words);
    front_reply(call, &response.base);
}

bool front_sender(const struct front *front,
                  const struct fed_rpc_call *call,
                  const Fedn__Client *sender,
                  char ret_id[FED_ID_SIZE])
{
    const char *id = sender == NULL ? NULL : sender->client_id;

    ret_id[0] = '\0';
    if (id == NULL || id[0] == '\0') {
        id = fed_rpc_call_metadata(call, "client");
    }
    if ((id == NULL || !fed_id_is_valid(id)) && sender != NULL && sender->name != NULL) {
        id = collector_find_client(front->parts.collector, sender->name,
                                   fed_rpc_call_connection(call));
    }
    if (id == NULL || !fed_id_is_valid(id)) {
        return false;
    }
    fed_id_copy(ret_id, id);
    return true;
}

/* -- an answer that waits for the outbox ------------------------------------------------------- */

struct stored {
    struct mailer_wait wait;
    struct fed_rpc_call *call; /* NULL: it has gone */
    bool is_done;
};

static void stored_written(struct mailer_wait *wait)
{
    struct stored *stored = FED_CONTAINER_OF(wait, struct stored, wait);

    stored->is_done = true;
    front_respond(stored->call, "");
}

static void stored_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct stored *stored = arg;

    (void)call;
    (void)end;
    if (!stored->is_done) {
        mailer_forget(&stored->wait);
    }
    free(stored);
}

static const struct fed_rpc_call_ops stored_ops = {NULL, NULL, stored_closed};

void front_respond_stored(struct front *front, struct fed_rpc_call *call)
{
    struct stored *stored = calloc(1, sizeof(*stored));

    if (stored == NULL) {
        front_respond(call, "");
        return;
    }
    stored->call = call;
    stored->wait.fn = stored_written;
    fed_rpc_call_set(call, &stored_ops, stored);
    mailer_await(front->parts.mailer, &stored->wait);
}

/* -- life cycle -------------------------------------------------------------------------------- */

static size_t gather(struct fed_rpc_method *methods)
{
    const struct front_methods tables[] = {svc_combiner_methods(), svc_connector_methods(),
                                           svc_model_methods(), svc_control_methods(),
                                           svc_health_methods()};
    size_t n = 0;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (size_t k = 0; k < tables[i].n_methods && n < FRONT_METHODS_MAX; k++) {
            methods[n++] = tables[i].methods[k];
        }
    }
    return n;
}

int front_start(const struct front_config *config,
                const struct front_parts *parts,
                const struct front_ops *ops,
                void *arg,
                struct front **ret_front,
                struct fed_err *err)
{
    const struct fed_rpc_server_config server = {
        .listen = config->listen,
        .message_size_max = FED_RPC_MESSAGE_MAX,
        .memory_max = config->rpc_memory_bytes,
        .calls_max = config->calls_max,
        .connections_max = config->connections_max,
        .keepalive_ms = KEEPALIVE_MS,
        .keepalive_timeout_ms = KEEPALIVE_OUT_MS,
        .unknown_status = FED_RPC_UNAVAILABLE,
        .unknown_detail = "no such method here",
    };
    struct front *front = calloc(1, sizeof(*front));
    int rc;

    if (front == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "port");
    }
    front->config = *config;
    front->parts = *parts;
    front->ops = ops;
    front->arg = arg;
    fed_strmap_init(&front->streams);
    fed_strmap_init(&front->by_client);
    fed_strmap_init(&front->announced);
    fed_strmap_init(&front->shares);
    fed_list_init(&front->uploads);
    fed_list_init(&front->beats);
    fed_list_init(&front->line);
    fed_list_init(&front->turns);
    fed_timer_init(&front->turn_timer, svc_model_on_turn_timer, front);
    fed_timer_init(&front->upload_timer, svc_model_on_timer, front);
    fed_timer_init(&front->beat_timer, svc_connector_on_timer, front);
    rc = fed_rpc_server_new(parts->rpc, &server, front->methods, gather(front->methods), front,
                            &front->server, err);
    if (rc < 0) {
        free(front);
        return rc;
    }
    *ret_front = front;
    return 0;
}

uint16_t front_port(const struct front *front)
{
    return fed_rpc_server_port(front->server);
}

void front_set_collector(struct front *front, struct collector *collector)
{
    front->parts.collector = collector;
}

void front_drain(struct front *front)
{
    if (!front->is_draining) {
        front->is_draining = true;
        fed_rpc_server_close(front->server);
        svc_combiner_end_streams(front);
        svc_connector_release_beats(front);
    }
}

size_t front_count_open(const struct front *front)
{
    return front->n_uploads + front->announced.n_items;
}

size_t front_count_uploads(const struct front *front)
{
    return front->n_uploads;
}

void front_stop(struct front *front, fed_event_fn done, void *arg)
{
    front_drain(front);
    fed_rpc_server_stop(front->server, done, arg);
}

struct front *front_free(struct front *front)
{
    if (front != NULL) {
        (void)fed_rpc_server_free(front->server);
        fed_timer_stop(&front->upload_timer);
        fed_timer_stop(&front->turn_timer);
        fed_timer_stop(&front->beat_timer);
        fed_strmap_deinit(&front->streams);
        fed_strmap_deinit(&front->by_client);
        fed_strmap_deinit(&front->announced);
        fed_strmap_deinit(&front->shares);
        free(front);
    }
    return NULL;
}
