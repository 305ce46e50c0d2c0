#include "reducer/live.h"

#include <string.h>

#include "reducer/rows.h"

#define WAIT_TEXT_SIZE 256

static const char *controller_state(enum federation_state state)
{
    return state == FEDERATION_IDLE       ? "idle"
           : state == FEDERATION_STARTING ? "instructing"
                                          : "monitoring";
}

static bool is_running(const struct live_view *view)
{
    return federation_get_state(view->federation) != FEDERATION_IDLE;
}

static json_t *encode_session(const struct live_view *view)
{
    const struct federation_session *session = federation_get_session(view->federation);
    const char *status = is_running(view)                             ? "Started"
                         : federation_is_terminated(view->federation) ? "Terminated"
                                                                      : "Finished";

    if (session == NULL) {
        return json_null();
    }
    return json_pack("{s:s,s:o,s:s,s:i,s:i,s:i,s:b,s:s}", "session_id", session->session_id, "name",
                     rows_text(session->name), "status", status, "rounds_total",
                     (int)session->rounds_total, "rounds_done", (int)session->rounds_done,
                     "failed_rounds", (int)session->failed_rounds, "stopping",
                     session->is_stopping ? 1 : 0, "model_id", session->base_model_id);
}

/* NULL: no round is under way. */
static const char *phase_of(enum federation_state state)
{
    switch (state) {
    case FEDERATION_PLANNING:
    case FEDERATION_JOURNALING:
        return "planning";
    case FEDERATION_COLLECTING:
        return "open";
    case FEDERATION_CLOSING:
        return "closing";
    case FEDERATION_FINISHING:
    case FEDERATION_COMMITTING:
    case FEDERATION_RECORDING:
    case FEDERATION_DERIVING:
        return "committing";
    case FEDERATION_IDLE:
    case FEDERATION_STARTING:
    case FEDERATION_ENDING:
    case FEDERATION_STATE_MAX:
        break;
    }
    return NULL;
}

const char *live_phase_of(const struct round_client *client, const struct roster_client *known)
{
    if (client->is_admitted) {
        return "admitted";
    }
    if (client->refusal != FED_REFUSAL_NONE) {
        return "refused";
    }
    if (known == NULL || known->phase == FED_CLIENT_GONE || known->combiner->link == 0) {
        return "gone";
    }
    return known->phase == FED_CLIENT_SILENT ? "silent" : "asked";
}

static const char *combiner_name(const struct roster *roster, const char *combiner_id)
{
    const struct roster_combiner *combiner = roster_find_combiner(roster, combiner_id);

    return combiner == NULL ? combiner_id : combiner->name;
}

json_t *live_encode_asked(const struct round *round, size_t index, const struct roster *roster)
{
    const struct round_client *client = &round->clients[index];
    const struct roster_client *known = roster_find_client(roster, client->client_id);
    json_t *entry =
        json_pack("{s:s,s:o,s:o,s:s}", "client_id", client->client_id, "name",
                  rows_text(known == NULL ? "" : known->name), "combiner",
                  rows_text(combiner_name(roster, round->parts[client->part].combiner_id)), "phase",
                  live_phase_of(client, known));

    if (client->refusal != FED_REFUSAL_NONE) {
        (void)json_object_set_new(entry, "reason", json_string(fed_refusal_word(client->refusal)));
    }
    return entry;
}

static json_t *encode_asked(const struct round *round, const struct roster *roster)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_clients; i++) {
        (void)json_array_append_new(list, live_encode_asked(round, i, roster));
    }
    return list;
}

/* Without its clients. */
static json_t *encode_round(const struct live_view *view)
{
    const enum federation_state state = federation_get_state(view->federation);
    const struct federation_session *session = federation_get_session(view->federation);
    const struct round *round = federation_get_round(view->federation);
    const char *phase = phase_of(state);
    uint64_t left_ms;

    if (phase == NULL || session == NULL) {
        return json_null();
    }
    if (state == FEDERATION_PLANNING || round == NULL) {
        return json_pack("{s:n,s:i,s:s,s:n,s:i}", "round_id", "round_number",
                         (int)(session->rounds_before + session->rounds_done + 1), "phase", phase,
                         "time_left_ms", "clients_asked", 0);
    }
    left_ms = state == FEDERATION_COLLECTING && round->deadline_ms > view->now_ms
                  ? round->deadline_ms - view->now_ms
                  : 0;
    return json_pack("{s:s,s:i,s:s,s:I,s:i}", "round_id", round->round_id, "round_number",
                     (int)round->round_number, "phase", phase, "time_left_ms", (json_int_t)left_ms,
                     "clients_asked", (int)round->n_clients);
}

const struct round *live_round(const struct federation *federation)
{
    const enum federation_state state = federation_get_state(federation);

    return phase_of(state) == NULL || state == FEDERATION_PLANNING ||
                   federation_get_session(federation) == NULL
               ? NULL
               : federation_get_round(federation);
}

static json_t *encode_validation(const struct live_view *view)
{
    const struct federation_validation *validation = federation_get_validation(view->federation);

    if (validation->model_id[0] == '\0') {
        return json_null();
    }
    return json_pack("{s:s,s:s,s:i,s:i}", "model_id", validation->model_id, "round_id",
                     validation->round_id, "asked", (int)validation->n_asked, "received",
                     (int)validation->n_received);
}

json_t *live_encode_combiner(const struct roster_combiner *combiner)
{
    return json_pack("{s:s,s:o,s:o,s:s,s:i,s:i,s:o}", "combiner_id", combiner->combiner_id, "name",
                     rows_text(combiner->name), "address", rows_text(combiner->advertise), "status",
                     combiner->link != 0 ? "online" : "offline", "clients",
                     (int)combiner->n_attached, "clients_max", (int)combiner->clients_max,
                     "version", rows_text(combiner->version));
}

static json_t *encode_combiners(const struct roster *roster)
{
    json_t *list = json_array();
    const struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        (void)json_array_append_new(list, live_encode_combiner(combiner));
    }
    return list;
}

json_t *live_encode_client(const struct roster_client *client)
{
    return json_pack("{s:s,s:o,s:o,s:o,s:s}", "client_id", client->client_id, "name",
                     rows_text(client->name), "combiner", rows_text(client->combiner->name), "ip",
                     rows_text(client->ip), "status",
                     roster_is_present(client) ? "online" : "offline");
}

static json_t *encode_clients(const struct roster *roster)
{
    json_t *list = json_array();
    const struct roster_client *client;
    size_t cursor = 0;

    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        (void)json_array_append_new(list, live_encode_client(client));
    }
    return list;
}

static json_t *encode_troubles(const struct live_view *view)
{
    json_t *list = json_array();

    for (size_t i = 0; i < LIVE_TROUBLES_MAX; i++) {
        if (view->troubles[i] != NULL && view->troubles[i][0] != '\0') {
            (void)json_array_append_new(list, rows_text(view->troubles[i]));
        }
    }
    return list;
}

json_t *live_encode_summary(const struct live_view *view)
{
    json_t *live = json_object();
    char waits_for[WAIT_TEXT_SIZE] = "";

    federation_format_wait(view->federation, view->now_ms, waits_for, sizeof(waits_for));
    (void)json_object_set_new(live, "seq", json_integer((json_int_t)view->seq));
    (void)json_object_set_new(
        live, "state", json_string(controller_state(federation_get_state(view->federation))));
    (void)json_object_set_new(live, "version", json_string(CONFED_VERSION));
    (void)json_object_set_new(live, "uptime_ms",
                              json_integer((json_int_t)(view->now_ms - view->started_ms)));
    (void)json_object_set_new(live, "waits_for", rows_text(waits_for));
    (void)json_object_set_new(live, "session", encode_session(view));
    (void)json_object_set_new(live, "round", encode_round(view));
    (void)json_object_set_new(live, "validation", encode_validation(view));
    (void)json_object_set_new(live, "trouble", encode_troubles(view));
    return live;
}

json_t *live_encode(const struct live_view *view)
{
    const struct roster *roster = federation_get_roster(view->federation);
    const struct round *round = live_round(view->federation);
    json_t *live = live_encode_summary(view);
    json_t *open = json_object_get(live, "round");

    if (json_is_object(open)) {
        (void)json_object_set_new(open, "clients",
                                  round == NULL ? json_array() : encode_asked(round, roster));
    }
    (void)json_object_set_new(live, "combiners", encode_combiners(roster));
    (void)json_object_set_new(live, "clients", encode_clients(roster));
    return live;
}
