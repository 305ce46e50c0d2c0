/* Who is attached, on which stream and connection, how long since it was heard, how it behaves. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/core/collector_inside.h"

#define NAME_KEY_SIZE (COLLECTOR_KEY_SIZE + FED_LINK_TEXT_SIZE)

struct collector_client *clients_find(const struct collector *collector, const char *client_id)
{
    return fed_strmap_find(&collector->clients, client_id);
}

static void format_name_key(uint64_t connection, const char *name, char ret_key[NAME_KEY_SIZE])
{
    (void)snprintf(ret_key, NAME_KEY_SIZE, "%" PRIx64 "/%s", connection, name);
}

static struct collector_client *find_stream(const struct collector *collector, uint64_t stream)
{
    char key[COLLECTOR_KEY_SIZE];

    collector_format_key(stream, key);
    return fed_strmap_find(&collector->streams, key);
}

bool clients_is_own(const struct collector *collector, const char *client_id, uint64_t connection)
{
    const struct collector_client *client = clients_find(collector, client_id);

    return client != NULL && (!collector->config.is_binding || client->connection == connection);
}

static void tell_state(struct collector *collector, const struct fed_client_state *state)
{
    struct fed_up *up = collector_push_up(collector, FED_UP_CLIENT_STATE);

    if (up != NULL) {
        up->client_state = *state;
    }
}

/* False: the reducer believes it attached already. */
static bool forget_untold(struct collector *collector, const char *client_id)
{
    struct fed_client_state *state = fed_strmap_take(&collector->untold, client_id);

    free(state);
    return state != NULL;
}

/* Out of memory: false, and it is told at once. */
static bool keep_untold(struct collector *collector, const struct fed_client_state *state)
{
    struct fed_client_state *kept = fed_strmap_find(&collector->untold, state->client_id);

    if (kept == NULL) {
        kept = calloc(1, sizeof(*kept));
        if (kept == NULL ||
            fed_strmap_put(&collector->untold, state->client_id, kept, NULL, NULL) < 0) {
            free(kept);
            return false;
        }
    }
    *kept = *state;
    return true;
}

/* It is SILENT or GONE. The reducer does not wait long, or not at all, for who is away: it would
 * close the round over an update that is here, whole and in time, and not decided yet. So it hears
 * of that update first. What comes later puts nothing off any more. */
static void tell_away(struct collector *collector, const struct fed_client_state *state)
{
    if (admission_await(collector, state->client_id) && keep_untold(collector, state)) {
        return;
    }
    (void)forget_untold(collector, state->client_id);
    tell_state(collector, state);
}

void clients_decided(struct collector *collector, const char *client_id)
{
    struct fed_client_state *state = fed_strmap_take(&collector->untold, client_id);

    if (state != NULL) {
        tell_state(collector, state);
        free(state);
    }
}

void clients_heard(struct collector *collector, struct collector_client *client, uint64_t now_ms)
{
    client->heard_ms = now_ms;
    fed_link_remove(&client->link);
    fed_list_add(&collector->attached, &client->link);
    if (client->state.phase != FED_CLIENT_ATTACHED) {
        client->state.phase = FED_CLIENT_ATTACHED;
        if (!forget_untold(collector, client->state.client_id)) {
            tell_state(collector, &client->state);
        }
    }
}

static void drop_stream(struct collector *collector, struct collector_client *client)
{
    char key[NAME_KEY_SIZE];

    collector_format_key(client->stream, key);
    (void)fed_strmap_take(&collector->streams, key);
    format_name_key(client->connection, client->state.name, key);
    if (fed_strmap_find(&collector->names, key) == client) {
        (void)fed_strmap_take(&collector->names, key);
    }
}

static void remove_client(struct collector *collector, struct collector_client *client)
{
    drop_stream(collector, client);
    fed_link_remove(&client->link);
    (void)fed_strmap_take(&collector->clients, client->state.client_id);
    free(client);
}

static void end_stream(struct collector *collector, uint64_t stream)
{
    struct collector_action *action = collector_push(collector, COLLECTOR_END_STREAM);

    if (action != NULL) {
        action->stream = stream;
    }
}

/* A client that was not here; NULL: there is no room for it. */
static struct collector_client *add_client(struct collector *collector, const char *client_id)
{
    struct collector_client *client;

    if (collector->config.clients_max != 0 &&
        collector->clients.n_items >= collector->config.clients_max) {
        return NULL;
    }
    client = calloc(1, sizeof(*client));
    if (client == NULL || fed_strmap_put(&collector->clients, client_id, client, NULL, NULL) < 0) {
        free(client);
        return NULL;
    }
    fed_id_copy(client->state.client_id, client_id);
    return client;
}

void collector_attach(struct collector *collector,
                      const struct collector_attach *attach,
                      uint64_t now_ms)
{
    struct collector_client *client = clients_find(collector, attach->client_id);
    char key[NAME_KEY_SIZE];

    assert(attach->stream != 0);
    assert(find_stream(collector, attach->stream) == NULL);
    if (client != NULL) {
        end_stream(collector, client->stream);
        drop_stream(collector, client);
    } else {
        client = add_client(collector, attach->client_id);
        if (client == NULL) {
            end_stream(collector, attach->stream);
            return;
        }
    }
    memcpy(client->state.name, attach->name, sizeof(client->state.name));
    memcpy(client->state.ip, attach->ip, sizeof(client->state.ip));
    client->stream = attach->stream;
    client->connection = attach->connection;
    collector_format_key(client->stream, key);
    if (fed_strmap_put(&collector->streams, key, client, NULL, NULL) < 0) {
        remove_client(collector, client);
        end_stream(collector, attach->stream);
        return;
    }
    format_name_key(client->connection, client->state.name, key);
    if (fed_strmap_put(&collector->names, key, client, NULL, NULL) < 0) {
        client->state.name[0] = '\0'; /* not to be found by its name: its statuses are nobody's */
    }
    client->state.phase = FED_CLIENT_ATTACHED;
    clients_heard(collector, client, now_ms);
    (void)forget_untold(collector, client->state.client_id);
    tell_state(collector, &client->state);
    admission_look(collector, client->state.client_id, now_ms);
    tasks_send(collector, client, now_ms);
}

void collector_detach(struct collector *collector, uint64_t stream, uint64_t now_ms)
{
    struct collector_client *client = find_stream(collector, stream);
    struct fed_client_state state;

    if (client == NULL) {
        return; /* replaced by a newer one, and ended by us */
    }
    state = client->state;
    state.phase = FED_CLIENT_GONE;
    remove_client(collector, client);
    admission_look(collector, state.client_id, now_ms); /* what was held is its now */
    tell_away(collector, &state);
}

void collector_heartbeat(struct collector *collector,
                         const char *client_id,
                         uint64_t connection,
                         uint64_t now_ms)
{
    if (clients_is_own(collector, client_id, connection)) {
        clients_heard(collector, clients_find(collector, client_id), now_ms);
    }
}

static struct collector_client *longest_unheard(const struct collector *collector)
{
    return fed_list_is_empty(&collector->attached)
               ? NULL
               : FED_CONTAINER_OF(collector->attached.head.next, struct collector_client, link);
}

void clients_tick(struct collector *collector, uint64_t now_ms)
{
    const uint64_t limit_ms = collector->config.heartbeat_limit_ms;
    struct collector_client *client = longest_unheard(collector);

    while (client != NULL && now_ms - client->heard_ms >= limit_ms) {
        fed_link_remove(&client->link);
        client->state.phase = FED_CLIENT_SILENT;
        admission_look(collector, client->state.client_id, now_ms); /* what was held is its now */
        tell_away(collector, &client->state);
        client = longest_unheard(collector);
    }
}

uint64_t clients_due_ms(const struct collector *collector)
{
    const struct collector_client *client = longest_unheard(collector);

    return client == NULL ? UINT64_MAX : client->heard_ms + collector->config.heartbeat_limit_ms;
}

/* -- standing --------------------------------------------------------------------------------- */

/* What no client sends that means well: neither lateness, nor a retry, nor a lost upload. */
static bool is_harmful(enum fed_refusal reason)
{
    static const bool harmful[FED_REFUSAL_MAX] = {
        [FED_REFUSAL_NO_ROUND] = true,     [FED_REFUSAL_WRONG_BASE] = true,
        [FED_REFUSAL_BAD_ID] = true,       [FED_REFUSAL_MALFORMED] = true,
        [FED_REFUSAL_CHECKSUM] = true,     [FED_REFUSAL_TENSOR_COUNT] = true,
        [FED_REFUSAL_TENSOR_SHAPE] = true, [FED_REFUSAL_NOT_FINITE] = true,
        [FED_REFUSAL_OUT_OF_RANGE] = true, [FED_REFUSAL_TOO_LARGE] = true,
        [FED_REFUSAL_EXAMPLES] = true,     [FED_REFUSAL_BAD_META] = true,
        [FED_REFUSAL_RESERVED_ID] = true,
    };

    return reason < FED_REFUSAL_MAX && harmful[reason];
}

static void free_standings(struct collector *collector)
{
    size_t cursor = 0;
    void *standing;

    while ((standing = fed_strmap_next(&collector->standings, &cursor, NULL)) != NULL) {
        free(standing);
    }
    fed_strmap_deinit(&collector->standings);
}

void clients_begin_session(struct collector *collector, const char *session_id)
{
    if (strcmp(collector->standings_session_id, session_id) != 0) {
        free_standings(collector);
        fed_id_copy(collector->standings_session_id, session_id);
    }
}

bool clients_is_set_aside(const struct collector *collector, const char *client_id)
{
    const struct collector_standing *standing = fed_strmap_find(&collector->standings, client_id);

    return standing != NULL && standing->n_harmful >= COLLECTOR_SET_ASIDE;
}

void clients_count_refusal(struct collector *collector,
                           const char *client_id,
                           const char *update_id,
                           enum fed_refusal reason)
{
    struct collector_standing *standing = fed_strmap_find(&collector->standings, client_id);

    if (!is_harmful(reason)) {
        return;
    }
    if (standing == NULL) {
        if (collector->standings.n_items >= FED_LINK_CLIENTS_MAX) {
            return;
        }
        standing = calloc(1, sizeof(*standing));
        if (standing == NULL ||
            fed_strmap_put(&collector->standings, client_id, standing, NULL, NULL) < 0) {
            free(standing);
            return;
        }
    } else if (update_id[0] != '\0' && strcmp(standing->update_id, update_id) == 0) {
        return; /* a retry */
    }
    standing->n_harmful++;
    fed_id_copy(standing->update_id, update_id);
}

/* -- getters ---------------------------------------------------------------------------------- */

size_t collector_count_attached(const struct collector *collector)
{
    return collector->clients.n_items;
}

const char *
collector_find_client(const struct collector *collector, const char *name, uint64_t connection)
{
    const struct collector_client *client;
    char key[NAME_KEY_SIZE];

    format_name_key(connection, name, key);
    client = fed_strmap_find(&collector->names, key);
    return client == NULL ? NULL : client->state.client_id;
}

const struct fed_client_state *collector_next_client(const struct collector *collector,
                                                     size_t *cursor)
{
    const struct collector_client *client = fed_strmap_next(&collector->clients, cursor, NULL);

    return client == NULL ? NULL : &client->state;
}

void clients_free(struct collector *collector)
{
    size_t cursor = 0;
    void *client;
    void *state;

    while ((client = fed_strmap_next(&collector->clients, &cursor, NULL)) != NULL) {
        free(client);
    }
    cursor = 0;
    while ((state = fed_strmap_next(&collector->untold, &cursor, NULL)) != NULL) {
        free(state);
    }
    fed_strmap_deinit(&collector->untold);
    fed_strmap_deinit(&collector->clients);
    fed_strmap_deinit(&collector->streams);
    fed_strmap_deinit(&collector->names);
    free_standings(collector);
}
