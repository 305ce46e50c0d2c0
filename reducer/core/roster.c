#include "reducer/core/roster.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void roster_init(struct roster *roster)
{
    *roster = (struct roster){0};
    fed_strmap_init(&roster->combiners);
    fed_strmap_init(&roster->clients);
}

static void free_values(struct fed_strmap *map)
{
    size_t cursor = 0;

    for (void *value = fed_strmap_next(map, &cursor, NULL); value != NULL;
         value = fed_strmap_next(map, &cursor, NULL)) {
        free(value);
    }
    fed_strmap_deinit(map);
}

void roster_deinit(struct roster *roster)
{
    free_values(&roster->clients);
    free_values(&roster->combiners);
}

struct roster_combiner *roster_find_combiner(const struct roster *roster, const char *combiner_id)
{
    return fed_strmap_find(&roster->combiners, combiner_id);
}

struct roster_client *roster_find_client(const struct roster *roster, const char *client_id)
{
    return fed_strmap_find(&roster->clients, client_id);
}

struct roster_combiner *roster_find_link(const struct roster *roster, uint64_t link)
{
    size_t cursor = 0;
    struct roster_combiner *combiner = NULL;

    do {
        combiner = fed_strmap_next(&roster->combiners, &cursor, NULL);
    } while (combiner != NULL && (link == 0 || combiner->link != link));
    return combiner;
}

bool roster_is_present(const struct roster_client *client)
{
    return client->phase == FED_CLIENT_ATTACHED && client->combiner->link != 0;
}

/* -- forgetting ---------------------------------------------------------------------------------
 */

static bool is_long_away(const struct roster_client *client, uint64_t now_ms)
{
    const struct roster_combiner *combiner = client->combiner;

    if (client->phase != FED_CLIENT_ATTACHED) {
        return now_ms - client->away_since_ms >= ROSTER_FORGET_MS;
    }
    return combiner->link == 0 && now_ms - combiner->down_since_ms >= ROSTER_FORGET_MS;
}

static bool is_forgotten(const struct roster_client *client,
                         const struct roster_combiner *left,
                         uint64_t now_ms)
{
    return left == NULL ? is_long_away(client, now_ms) : client->combiner == left;
}

static bool
has_forgotten(const struct roster *roster, const struct roster_combiner *left, uint64_t now_ms)
{
    const struct roster_client *client;
    size_t cursor = 0;

    do {
        client = fed_strmap_next(&roster->clients, &cursor, NULL);
    } while (client != NULL && !is_forgotten(client, left, now_ms));
    return client != NULL;
}

/* Those who were at this combiner last; NULL: those who are long away. False: out of memory, and
 * all stay. */
static bool
forget_clients(struct roster *roster, const struct roster_combiner *left, uint64_t now_ms)
{
    struct fed_strmap kept;
    struct roster_client *client;
    const char *key = NULL;
    size_t cursor = 0;

    if (!has_forgotten(roster, left, now_ms)) {
        return true;
    }
    fed_strmap_init(&kept);
    while ((client = fed_strmap_next(&roster->clients, &cursor, &key)) != NULL) {
        if (!is_forgotten(client, left, now_ms) &&
            fed_strmap_put(&kept, key, client, NULL, NULL) < 0) {
            fed_strmap_deinit(&kept);
            return false;
        }
    }
    cursor = 0;
    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        if (is_forgotten(client, left, now_ms)) {
            client->combiner->n_attached -= client->phase == FED_CLIENT_ATTACHED ? 1 : 0;
            free(client);
        }
    }
    fed_strmap_deinit(&roster->clients);
    roster->clients = kept;
    return true;
}

/* Those that are down for long and nobody is at any more. */
static void forget_combiners(struct roster *roster, uint64_t now_ms)
{
    struct roster_combiner *gone[ROSTER_COMBINERS_MAX];
    struct roster_combiner *combiner;
    const struct roster_client *client;
    size_t n_gone = 0;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        combiner->is_needed =
            combiner->link != 0 || now_ms - combiner->down_since_ms < ROSTER_FORGET_MS;
    }
    cursor = 0;
    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        client->combiner->is_needed = true;
        if (client->other != NULL) {
            client->other->is_needed = true;
        }
    }
    cursor = 0;
    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        if (!combiner->is_needed) {
            gone[n_gone++] = combiner;
        }
    }
    for (size_t i = 0; i < n_gone; i++) {
        free(fed_strmap_take(&roster->combiners, gone[i]->combiner_id));
    }
}

bool roster_forget_client(struct roster *roster, const char *client_id)
{
    struct roster_client *client = roster_find_client(roster, client_id);

    if (client == NULL) {
        return true;
    }
    if (roster_is_present(client)) {
        return false;
    }
    client->combiner->n_attached -= client->phase == FED_CLIENT_ATTACHED ? 1 : 0;
    free(fed_strmap_take(&roster->clients, client_id));
    return true;
}

bool roster_forget_combiner(struct roster *roster, const char *combiner_id)
{
    struct roster_combiner *combiner = roster_find_combiner(roster, combiner_id);
    struct roster_client *client;
    size_t cursor = 0;

    if (combiner == NULL) {
        return true;
    }
    if (combiner->link != 0) {
        return false;
    }
    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        client->other = client->other == combiner ? NULL : client->other;
    }
    if (!forget_clients(roster, combiner, 0)) {
        return false;
    }
    free(fed_strmap_take(&roster->combiners, combiner_id));
    return true;
}

static void make_room(struct roster *roster, uint64_t now_ms)
{
    if (roster->forgot_ms != 0 && now_ms - roster->forgot_ms < 1000) {
        return; /* looked through a moment ago: at the limit this would be for every arrival */
    }
    roster->forgot_ms = now_ms;
    (void)forget_clients(roster, NULL, now_ms);
    forget_combiners(roster, now_ms);
}

/* Find `key` in the map, or put a zeroed value of `size` bytes there. */
static int find_or_add(struct fed_strmap *map,
                       const char *key,
                       size_t size,
                       size_t items_max,
                       void **ret_value,
                       struct fed_err *err)
{
    void *value = fed_strmap_find(map, key);
    int rc;

    if (value != NULL) {
        *ret_value = value;
        return 0;
    }
    if (map->n_items >= items_max) {
        return fed_err_set(err, FED_E_LIMIT, "%s: more than %zu of its kind", key, items_max);
    }
    value = calloc(1, size);
    if (value == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%s", key);
    }
    rc = fed_strmap_put(map, key, value, NULL, err);
    if (rc < 0) {
        free(value);
        return rc;
    }
    *ret_value = value;
    return 0;
}

static void move_client(struct roster_client *client,
                        struct roster_combiner *combiner,
                        enum fed_client_phase phase,
                        uint64_t now_ms)
{
    if (client->combiner != NULL && client->phase == FED_CLIENT_ATTACHED) {
        assert(client->combiner->n_attached > 0);
        client->combiner->n_attached--;
    }
    if (phase != FED_CLIENT_ATTACHED &&
        (client->phase == FED_CLIENT_ATTACHED || client->combiner == NULL)) {
        client->away_since_ms = now_ms;
    }
    client->combiner = combiner;
    client->phase = phase;
    if (phase == FED_CLIENT_ATTACHED) {
        combiner->n_attached++;
        combiner->n_expected -= combiner->n_expected > 0 ? 1 : 0;
    }
}

/* The combiner says that the client is attached there; `is_news`: as it happens. */
static void claim_client(struct roster_client *client,
                         struct roster_combiner *combiner,
                         bool is_news,
                         uint64_t now_ms)
{
    struct roster_combiner *former = client->combiner;
    const bool is_elsewhere =
        former != NULL && former != combiner && client->phase == FED_CLIENT_ATTACHED;

    if (is_elsewhere && !is_news && former->link != 0) {
        client->other = combiner; /* one of the two streams is dead: time will tell which */
        return;
    }
    client->other = is_elsewhere ? former : NULL;
    move_client(client, combiner, FED_CLIENT_ATTACHED, now_ms);
}

/* It is not attached at the combiner, says that. */
static void disclaim_client(struct roster_client *client,
                            const struct roster_combiner *combiner,
                            enum fed_client_phase phase,
                            uint64_t now_ms)
{
    if (client->other == combiner) {
        client->other = NULL;
    } else if (client->combiner == combiner && client->other != NULL) {
        move_client(client, client->other, FED_CLIENT_ATTACHED, now_ms);
        client->other = NULL;
    } else if (client->combiner == combiner) {
        move_client(client, client->combiner, phase, now_ms);
    }
}

static int hear_client(struct roster *roster,
                       struct roster_combiner *combiner,
                       const struct fed_client_state *state,
                       bool is_news,
                       uint64_t now_ms,
                       struct fed_err *err)
{
    struct roster_client *client = roster_find_client(roster, state->client_id);
    void *value = NULL;
    int rc;

    if (state->phase != FED_CLIENT_ATTACHED) {
        if (client != NULL) {
            disclaim_client(client, combiner, state->phase, now_ms);
            client->hello_count = roster->hello_count;
        }
        return 0;
    }
    if (client == NULL && roster->clients.n_items >= ROSTER_CLIENTS_MAX) {
        make_room(roster, now_ms);
    }
    rc = find_or_add(&roster->clients, state->client_id, sizeof(*client), ROSTER_CLIENTS_MAX,
                     &value, err);
    if (rc < 0) {
        return rc;
    }
    client = value;
    fed_id_copy(client->client_id, state->client_id);
    if (state->name[0] != '\0') {
        memcpy(client->name, state->name, sizeof(client->name));
    }
    if (state->ip[0] != '\0') {
        memcpy(client->ip, state->ip, sizeof(client->ip));
    }
    claim_client(client, combiner, is_news, now_ms);
    client->hello_count = roster->hello_count;
    return 0;
}

int roster_client_state(struct roster *roster,
                        struct roster_combiner *combiner,
                        const struct fed_client_state *state,
                        uint64_t now_ms,
                        struct fed_err *err)
{
    return hear_client(roster, combiner, state, true, now_ms, err);
}

/* Whoever was at the combiner and is not in its Hello has left it. */
static void drop_unlisted(struct roster *roster, struct roster_combiner *combiner, uint64_t now_ms)
{
    size_t cursor = 0;
    struct roster_client *client;

    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        if (client->hello_count != roster->hello_count) {
            disclaim_client(client, combiner, FED_CLIENT_GONE, now_ms);
        }
    }
}

int roster_hello(struct roster *roster,
                 const struct fed_hello *hello,
                 uint64_t link,
                 uint64_t now_ms,
                 uint64_t *ret_old_link,
                 struct fed_err *err)
{
    struct roster_combiner *combiner;
    void *value = NULL;
    uint64_t old_link;
    int rc;

    assert(link != 0);
    if (roster->combiners.n_items >= ROSTER_COMBINERS_MAX &&
        roster_find_combiner(roster, hello->combiner_id) == NULL) {
        make_room(roster, now_ms);
    }
    rc = find_or_add(&roster->combiners, hello->combiner_id, sizeof(*combiner),
                     ROSTER_COMBINERS_MAX, &value, err);
    if (rc < 0) {
        return rc;
    }
    combiner = value;
    old_link = combiner->link == link ? 0 : combiner->link;
    if (combiner->boot_id[0] != '\0' && strcmp(combiner->boot_id, hello->boot_id) != 0) {
        combiner->reboot_ms = now_ms;
    }
    fed_id_copy(combiner->combiner_id, hello->combiner_id);
    fed_id_copy(combiner->boot_id, hello->boot_id);
    memcpy(combiner->name, hello->name, sizeof(combiner->name));
    memcpy(combiner->advertise, hello->advertise, sizeof(combiner->advertise));
    memcpy(combiner->version, hello->version, sizeof(combiner->version));
    combiner->clients_max = hello->clients_max;
    combiner->link = link;
    combiner->linked_ms = now_ms;
    roster->hello_count++;
    for (size_t i = 0; i < hello->n_clients && rc == 0; i++) {
        rc = hear_client(roster, combiner, &hello->clients[i], false, now_ms, err);
    }
    drop_unlisted(roster, combiner, now_ms);
    *ret_old_link = old_link;
    return rc;
}

struct roster_combiner *roster_link_closed(struct roster *roster, uint64_t link, uint64_t now_ms)
{
    struct roster_combiner *combiner = roster_find_link(roster, link);
    struct roster_client *client;
    size_t cursor = 0;

    if (combiner == NULL) {
        return NULL;
    }
    combiner->link = 0;
    combiner->down_since_ms = now_ms;
    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        if (client->combiner == combiner && client->other != NULL && client->other->link != 0 &&
            client->phase == FED_CLIENT_ATTACHED) {
            struct roster_combiner *other = client->other;
            client->other = combiner;
            move_client(client, other, FED_CLIENT_ATTACHED, now_ms);
        }
    }
    return combiner;
}

static uint32_t load_of(const struct roster_combiner *combiner)
{
    return combiner->n_attached + combiner->n_expected;
}

static bool has_room(const struct roster_combiner *combiner)
{
    return combiner->link != 0 &&
           (combiner->clients_max == 0 || combiner->n_attached < combiner->clients_max);
}

static bool is_named(const struct roster_combiner *combiner, const char *preferred)
{
    return preferred != NULL && (strcmp(preferred, combiner->name) == 0 ||
                                 strcmp(preferred, combiner->combiner_id) == 0);
}

static struct roster_combiner *
choose(const struct roster *roster, const char *preferred, uint64_t now_ms)
{
    struct roster_combiner *best = NULL;
    struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        if (now_ms - combiner->expected_ms > ROSTER_EXPECT_MS) {
            combiner->n_expected = 0;
        }
        if (!has_room(combiner)) {
            continue;
        }
        if (is_named(combiner, preferred)) {
            return combiner;
        }
        if (best == NULL || load_of(combiner) < load_of(best) ||
            (load_of(combiner) == load_of(best) &&
             strcmp(combiner->combiner_id, best->combiner_id) < 0)) {
            best = combiner;
        }
    }
    return best;
}

const struct roster_combiner *
roster_assign(struct roster *roster, const char *client_id, const char *preferred, uint64_t now_ms)
{
    const struct roster_client *client = roster_find_client(roster, client_id);
    struct roster_combiner *combiner;

    if (client != NULL && client->combiner->link != 0) {
        return client->combiner;
    }
    combiner = choose(roster, preferred, now_ms);
    if (combiner != NULL) {
        combiner->n_expected++;
        combiner->expected_ms = now_ms;
    }
    return combiner;
}
