/* fedn.Connector: signs of life, statuses, and who is here. */
#include <stdlib.h>

#include "combiner/rpc/front_inside.h"
#include "combiner/rpc/record.h"

#define LIST_MAX 10000U /* clients in one answer: below 4 MiB with the longest ids */

static void send_status(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    char client_id[FED_ID_SIZE];
    Fedn__Status *status;

    if (fed_rpc_in_size(in) > FRONT_UNARY_MAX) { /* a status must never fail: it is not kept */
        (void)fed_rpc_in_free(in);
        front_respond(call, "too long");
        return;
    }
    status = (void *)front_unpack(call, in, &fedn__status__descriptor);
    if (status == NULL) {
        return;
    }
    (void)front_sender(front, call, status->sender, client_id);
    mailer_post(front->parts.mailer, FED_RECORD_STATUS, record_status(status, client_id));
    fed_rpc_message_free(&status->base);
    front_respond_stored(front, call);
}

/* -- heartbeats -------------------------------------------------------------------------------- */

/* A heartbeat whose answer is held back: its client waits for it before it beats again. */
struct beat {
    struct front *front;
    struct fed_rpc_call *call;
    uint64_t due_ms;
    struct fed_link link;
};

static void beat_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct beat *beat = arg;

    (void)call;
    (void)end;
    beat->front->n_beats--;
    fed_link_remove(&beat->link);
    free(beat);
}

static const struct fed_rpc_call_ops beat_ops = {NULL, NULL, beat_closed};

static void answer_beat(struct fed_rpc_call *call)
{
    front_respond(call, "Heartbeat received");
}

static void start_beat_timer(struct front *front)
{
    if (!fed_list_is_empty(&front->beats)) {
        const struct beat *first = FED_CONTAINER_OF(front->beats.head.next, struct beat, link);
        fed_timer_start(front->parts.loop, &front->beat_timer, first->due_ms);
    }
}

void svc_connector_on_timer(void *arg)
{
    struct front *front = arg;
    const uint64_t now_ms = fed_loop_now_ms(front->parts.loop);

    fed_list_for_each (link, &front->beats) {
        struct beat *beat = FED_CONTAINER_OF(link, struct beat, link);
        if (beat->due_ms > now_ms) {
            break;
        }
        fed_link_remove(&beat->link);
        answer_beat(beat->call);
    }
    start_beat_timer(front);
}

void svc_connector_release_beats(struct front *front)
{
    struct fed_link *link;

    while ((link = fed_list_take(&front->beats)) != NULL) {
        answer_beat(FED_CONTAINER_OF(link, struct beat, link)->call);
    }
}

/* Hold the answer back for the pace: always the same wait, so the list stays in order. */
static void hold_beat(struct front *front, struct fed_rpc_call *call, uint64_t now_ms)
{
    struct beat *beat;

    if (front->is_draining) {
        answer_beat(call);
        return;
    }
    beat = front->n_beats < FRONT_BEATS_MAX ? calloc(1, sizeof(*beat)) : NULL;
    if (beat == NULL) {
        front_fail(call, FED_E_LIMIT, "too many heartbeats");
        return;
    }
    front->n_beats++;
    beat->front = front;
    beat->call = call;
    beat->due_ms = now_ms + front->config.beat_pace_ms;
    fed_rpc_call_set(call, &beat_ops, beat);
    fed_list_add(&front->beats, &beat->link);
    if (front->beats.head.next == &beat->link) {
        start_beat_timer(front);
    }
}

/* 0.27.0 beats as fast as it is answered (a thousand times a second); the others every 2 s. A
 * client that is not attached is nobody whose life is watched, and waits as well. */
static void send_heartbeat(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    const uint64_t now_ms = fed_loop_now_ms(front->parts.loop);
    char client_id[FED_ID_SIZE];
    Fedn__Heartbeat *heartbeat = (void *)front_unpack(call, in, &fedn__heartbeat__descriptor);
    struct stream *stream = NULL;
    bool is_fast;

    if (heartbeat == NULL) {
        return;
    }
    if (front_sender(front, call, heartbeat->sender, client_id)) {
        stream = fed_strmap_find(&front->by_client, client_id);
    }
    fed_rpc_message_free(&heartbeat->base);
    is_fast = stream == NULL ||
              (stream->beat_ms != 0 && now_ms < stream->beat_ms + front->config.beat_pace_ms);
    if (stream != NULL) {
        stream->beat_ms = is_fast ? now_ms + front->config.beat_pace_ms : now_ms;
        collector_heartbeat(front->parts.collector, client_id, fed_rpc_call_connection(call),
                            now_ms);
    }
    if (is_fast) {
        hold_beat(front, call, now_ms);
    } else {
        answer_beat(call);
    }
    front->ops->acted(front->arg);
}

/* -- who is here ------------------------------------------------------------------------------- */

static void list_active_clients(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    const size_t n_attached = collector_count_attached(front->parts.collector);
    const size_t n_room = n_attached < LIST_MAX ? n_attached : LIST_MAX;
    Fedn__ClientList list = FEDN__CLIENT_LIST__INIT;
    Fedn__Client *clients = calloc(n_room + 1, sizeof(*clients));
    const struct fed_client_state *state;
    size_t cursor = 0;

    (void)fed_rpc_in_free(in);
    list.client = calloc(n_room + 1, sizeof(Fedn__Client *));
    if (clients == NULL || list.client == NULL) {
        front_fail(call, FED_E_NOMEM, "out of memory");
    } else {
        while (list.n_client < n_room &&
               (state = collector_next_client(front->parts.collector, &cursor)) != NULL) {
            Fedn__Client *client = &clients[list.n_client];
            fedn__client__init(client);
            client->role = FEDN__ROLE__CLIENT;
            client->name = front_text(state->client_id); /* as at FEDn: the id in both */
            client->client_id = front_text(state->client_id);
            list.client[list.n_client++] = client;
        }
        front_reply(call, &list.base);
    }
    free(list.client);
    free(clients);
}

static void accepting_clients(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    const struct front *front = arg;
    Fedn__ConnectionResponse response = FEDN__CONNECTION_RESPONSE__INIT;

    (void)fed_rpc_in_free(in);
    response.status = collector_count_attached(front->parts.collector) < front->config.clients_max
                          ? FEDN__CONNECTION_STATUS__ACCEPTING
                          : FEDN__CONNECTION_STATUS__NOT_ACCEPTING;
    front_reply(call, &response.base);
}

/* -- of no effect ------------------------------------------------------------------------------ */

static void no_stream(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    (void)arg;
    (void)fed_rpc_in_free(in);
    front_fail(call, FED_OK, "");
}

static void no_effect(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    (void)arg;
    (void)fed_rpc_in_free(in);
    front_respond(call, "of no effect here");
}

static const struct fed_rpc_method methods[] = {
    {"/fedn.Connector/AllianceStatusStream", false, true, no_stream},
    {"/fedn.Connector/SendStatus", false, false, send_status},
    {"/fedn.Connector/ListActiveClients", false, false, list_active_clients},
    {"/fedn.Connector/AcceptingClients", false, false, accepting_clients},
    {"/fedn.Connector/SendHeartbeat", false, false, send_heartbeat},
    {"/fedn.Connector/ReassignClient", false, false, no_effect},
    {"/fedn.Connector/ReconnectClient", false, false, no_effect},
};

struct front_methods svc_connector_methods(void)
{
    return (struct front_methods){methods, sizeof(methods) / sizeof(methods[0])};
}
