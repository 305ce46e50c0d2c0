/* Planning a round: who is asked, and which combiner gets whom (round protocol, section 3).
 *
 *   PLANNING: enough clients are attached, and those of the last round are back or their time is
 *   over → the row is written → plans are sent.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rand.h"
#include "reducer/core/federation_inside.h"

#define LIMIT_BITS_MAX 51 /* round protocol, section 4 */
#define LIMIT_MARGIN   26

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_wanted(const struct federation_session *session, const char *client_id)
{
    return session->n_client_ids == 0 ||
           bsearch(client_id, session->client_ids, session->n_client_ids, FED_ID_SIZE,
                   compare_ids) != NULL;
}

size_t planning_count_candidates(const struct federation *fed,
                                 const struct federation_session *session)
{
    const struct roster_client *client;
    size_t cursor = 0;
    size_t n = 0;

    while ((client = fed_strmap_next(&fed->roster.clients, &cursor, NULL)) != NULL) {
        n += roster_is_present(client) && is_wanted(session, client->client_id) ? 1 : 0;
    }
    return n;
}

/* The ids of all who could be asked, sorted; free() them. NULL: out of memory. */
static char (*list_candidates(const struct federation *fed, size_t *ret_n))[FED_ID_SIZE]
{
    const size_t n_max = fed->roster.clients.n_items;
    char(*ids)[FED_ID_SIZE] = calloc(n_max + 1, FED_ID_SIZE);
    const struct roster_client *client;
    size_t cursor = 0;
    size_t n = 0;

    while (ids != NULL && (client = fed_strmap_next(&fed->roster.clients, &cursor, NULL)) != NULL) {
        if (roster_is_present(client) && is_wanted(&fed->session, client->client_id)) {
            fed_id_copy(ids[n++], client->client_id);
        }
    }
    if (ids != NULL) {
        qsort(ids, n, FED_ID_SIZE, compare_ids);
    }
    *ret_n = n;
    return ids;
}

static uint32_t next_round_number(const struct federation *fed)
{
    return fed->session.rounds_before + fed->session.rounds_done + 1;
}

/* Keep n_wanted of the sorted ids: a draw that depends on the seed and the round number alone.
 * Returns how many are left, sorted again. */
static size_t
sample(const struct federation *fed, char (*ids)[FED_ID_SIZE], size_t n_ids, size_t n_wanted)
{
    const uint64_t key[] = {fed->session.seed, next_round_number(fed), 0x73616D706C65U};
    struct fed_rand rand;

    if (n_wanted == 0 || n_wanted >= n_ids) {
        return n_ids;
    }
    fed_rand_init(&rand, key, sizeof(key) / sizeof(key[0]));
    for (size_t i = 0; i < n_wanted; i++) {
        const size_t j = i + fed_rand_below(&rand, n_ids - i);
        char held[FED_ID_SIZE];

        memcpy(held, ids[i], FED_ID_SIZE);
        memmove(ids[i], ids[j], FED_ID_SIZE);
        memcpy(ids[j], held, FED_ID_SIZE);
    }
    qsort(ids, n_wanted, FED_ID_SIZE, compare_ids);
    return n_wanted;
}

static int ceil_log2(uint64_t value)
{
    return value <= 1 ? 0 : 64 - __builtin_clzll(value - 1);
}

/* The scale, from the base and the number of clients asked: round protocol, section 4. */
static bool set_scale(const struct federation *fed, struct round *round)
{
    const int limit = 62 - ceil_log2(round->n_clients);

    round->limit_bits = (uint32_t)(limit < LIMIT_BITS_MAX ? limit : LIMIT_BITS_MAX);
    round->n_tensors = fed->base.n_tensors;
    round->scale_bits = calloc(round->n_tensors + 1, sizeof(*round->scale_bits));
    for (size_t i = 0; i < round->n_tensors && round->scale_bits != NULL; i++) {
        const int32_t exponent = fed->base.exponents[i];
        round->scale_bits[i] =
            exponent < 0 ? 0 : (int32_t)round->limit_bits - LIMIT_MARGIN - exponent;
    }
    return round->scale_bits != NULL;
}

/* A new round over these clients, in fed->round. */
static bool
make_round(struct federation *fed, char (*ids)[FED_ID_SIZE], size_t n_ids, uint64_t now_ms)
{
    struct round *round = NULL;

    if (round_new((const char(*)[FED_ID_SIZE])ids, n_ids, &fed->roster, &round, NULL) < 0) {
        return false;
    }
    if (!set_scale(fed, round)) {
        (void)round_free(round);
        return false;
    }
    (void)round_free(fed->round);
    fed->round = round;
    fed_id_copy(round->session_id, fed->session.session_id);
    (void)snprintf(round->round_id, sizeof(round->round_id), "%llu",
                   (unsigned long long)fed->next_round_id);
    fed->next_round_id++;
    round->round_number = next_round_number(fed);
    fed_id_copy(round->base_model_id, fed->base.model_id);
    memcpy(round->base_sha256, fed->base.sha256, sizeof(round->base_sha256));
    round->base_size_bytes = fed->base.size_bytes;
    round->timeout_ms = fed->session.round_timeout_ms;
    round->planned_ms = now_ms;
    round->deadline_ms = now_ms + round->timeout_ms;
    fed->restarted_ms = 0;
    fed->was_closed = false;
    fed->is_recorded = false;
    fed->is_dirty = false;
    return true;
}

/* How many clients this round may ask. */
static size_t count_wanted(const struct federation *fed, char (*ids)[FED_ID_SIZE], size_t n_ids)
{
    const size_t wanted =
        fed->session.clients_per_round == 0 ? n_ids : fed->session.clients_per_round;
    const struct roster_combiner *combiner;
    size_t client_size = 0;
    size_t combiner_size = 0;
    size_t cursor = 0;
    size_t n_max;

    for (size_t i = 0; i < n_ids; i++) {
        const size_t size = strlen(ids[i]);
        client_size = size > client_size ? size : client_size;
    }
    while ((combiner = fed_strmap_next(&fed->roster.combiners, &cursor, NULL)) != NULL) {
        const size_t size = strlen(combiner->combiner_id);
        combiner_size = size > combiner_size ? size : combiner_size;
    }
    n_max = round_clients_max(client_size, combiner_size);
    return wanted < n_max ? wanted : n_max;
}

static void plan_round(struct federation *fed, char (*ids)[FED_ID_SIZE], size_t n, uint64_t now_ms)
{
    const size_t n_wanted = sample(fed, ids, n, count_wanted(fed, ids, n));

    if (!make_round(fed, ids, n_wanted, now_ms)) {
        federation_want(fed, now_ms + 1000);
        return;
    }
    (void)federation_push(fed, FEDERATION_RESET_SUM);
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
    federation_move(fed, FEDERATION_JOURNALING);
}

static bool are_expected_present(const struct federation *fed)
{
    for (size_t i = 0; i < fed->expected.n_clients; i++) {
        const struct roster_client *client =
            roster_find_client(&fed->roster, fed->expected.client_ids[i]);
        const bool is_present = client != NULL && roster_is_present(client);
        if (!is_present && is_wanted(&fed->session, fed->expected.client_ids[i])) {
            return false;
        }
    }
    return true;
}

void planning_expect(struct federation *fed, uint64_t now_ms)
{
    fed->expected.until_ms = now_ms + fed->config.reattach_grace_ms;
    federation_want(fed, fed->expected.until_ms);
}

void planning_end_session(struct federation *fed)
{
    (void)federation_push(fed, FEDERATION_STORE_END);
    federation_move(fed, FEDERATION_ENDING);
}

void planning_begin(struct federation *fed, uint64_t now_ms)
{
    if (fed->is_terminated || fed->session.is_stopping ||
        fed->session.rounds_done >= fed->session.rounds_total) {
        planning_end_session(fed);
        return;
    }
    fed->planning_since_ms = now_ms;
    federation_move(fed, FEDERATION_PLANNING);
    planning_look(fed, now_ms);
}

void planning_look(struct federation *fed, uint64_t now_ms)
{
    const uint64_t until_ms = fed->planning_since_ms + fed->session.round_timeout_ms;
    size_t n = 0;

    if (fed->base.model_id[0] == '\0') {
        return; /* being read; federation_base_loaded() looks again */
    }
    if (fed->is_short) {
        return; /* federation_space() looks again */
    }
    if (now_ms < fed->expected.until_ms && now_ms < until_ms && !are_expected_present(fed)) {
        federation_want(fed, fed->expected.until_ms);
        federation_want(fed, until_ms);
        return;
    }
    char(*ids)[FED_ID_SIZE] = list_candidates(fed, &n);
    if (ids != NULL && n > 0 && n >= fed->session.clients_required) {
        plan_round(fed, ids, n, now_ms);
    } else if (ids != NULL && now_ms >= until_ms && make_round(fed, ids, 0, now_ms)) {
        char why[FED_LINK_DETAIL_SIZE];
        (void)snprintf(why, sizeof(why), "too_few_clients: %zu attached, %u required", n,
                       fed->session.clients_required);
        closing_fail(fed, why, now_ms);
    } else {
        federation_want(fed, now_ms >= until_ms ? now_ms + 1000 : until_ms);
    }
    free(ids);
}

void federation_space(struct federation *fed, bool is_short, uint64_t now_ms)
{
    if (fed->is_short == is_short) {
        return;
    }
    fed->is_short = is_short;
    fed->change++;
    if (!is_short && fed->state == FEDERATION_PLANNING) {
        fed->planning_since_ms = now_ms; /* the clients have had no chance meanwhile */
        planning_look(fed, now_ms);
    }
}

void planning_send(struct federation *fed, struct round_part *part, uint64_t now_ms)
{
    const struct roster_combiner *combiner = roster_find_combiner(&fed->roster, part->combiner_id);
    struct federation_action *action;

    part->is_sent = true;
    if (combiner == NULL || combiner->link == 0) {
        return; /* its Hello will ask for it */
    }
    if (fed->base.model_id[0] == '\0') {
        return; /* being read after a restart: planning_send_again() */
    }
    action = federation_push(fed, FEDERATION_SEND);
    if (action == NULL) {
        return;
    }
    action->link = combiner->link;
    action->down.type = FED_DOWN_PLAN;
    if (round_make_plan(fed->round, part, fed->config.examples_max, now_ms, &action->down.plan,
                        NULL) < 0) {
        action->link =
            0; /* out of memory: as if lost on the way; the combiner's Hello repairs it */
        return;
    }
    assert(strcmp(fed->base.model_id, fed->round->base_model_id) == 0);
    memcpy(action->down.plan.base_xxh128, fed->base.xxh128, sizeof(fed->base.xxh128));
}

void planning_send_again(struct federation *fed, uint64_t now_ms)
{
    for (size_t i = 0; i < fed->round->n_parts; i++) {
        struct round_part *part = &fed->round->parts[i];
        if (part->is_sent && part->state == PART_WAITING) {
            planning_send(fed, part, now_ms);
            if (fed->state == FEDERATION_CLOSING) {
                closing_send(fed, part);
            }
        }
    }
}

static void remember_clients(struct federation *fed)
{
    const struct round *round = fed->round;
    char(*ids)[FED_ID_SIZE] = calloc(round->n_clients + 1, FED_ID_SIZE);

    free(fed->expected.client_ids);
    fed->expected.client_ids = ids;
    fed->expected.n_clients = ids == NULL ? 0 : round->n_clients;
    for (size_t i = 0; i < fed->expected.n_clients; i++) {
        fed_id_copy(ids[i], round->clients[i].client_id);
    }
}

void planning_journal(struct federation *fed)
{
    if (fed->is_journaling) {
        fed->is_dirty = true; /* what is being written is not the present plan */
        return;
    }
    fed->is_journaling = true;
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
}

/* The row is written for the first time by this process: the round is open. Combiners that were
 * given up before a restart of ours, and are back, are asked again. */
static void open_round(struct federation *fed)
{
    round_move(fed->round, ROUND_OPEN);
    remember_clients(fed);
    federation_move(fed, FEDERATION_COLLECTING);
    for (size_t i = 0; i < fed->round->n_parts; i++) {
        struct round_part *part = &fed->round->parts[i];
        const struct roster_combiner *combiner =
            roster_find_combiner(&fed->roster, part->combiner_id);
        part->is_sent = false; /* whoever has it is told the time that is left */
        if (part->state == PART_FENCED && combiner != NULL && combiner->link != 0) {
            round_reopen_part(part);
            fed->is_dirty = true;
        }
    }
}

void planning_journaled(struct federation *fed, uint64_t now_ms)
{
    fed->round->version++;
    fed->is_journaling = false;
    if (fed->state == FEDERATION_JOURNALING) {
        open_round(fed);
    }
    if (fed->is_terminated) {
        closing_cancel(fed, now_ms);
        return;
    }
    if (fed->is_dirty) {
        fed->is_dirty = false;
        planning_journal(fed);
        return;
    }
    for (size_t i = 0; i < fed->round->n_parts; i++) {
        struct round_part *part = &fed->round->parts[i];
        if (!part->is_sent && part->state == PART_WAITING) {
            planning_send(fed, part, now_ms);
        }
    }
    closing_look(fed, now_ms);
}

/* Give `client` to the part of the combiner it is at now; that part's plan changes. */
static void give_client(struct round *round, struct round_client *client, const char *combiner_id)
{
    struct round_part *part = round_find_part(round, combiner_id);

    if (part == NULL && round->n_parts < ROSTER_COMBINERS_MAX) {
        part = &round->parts[round->n_parts++];
        fed_id_copy(part->combiner_id, combiner_id);
    }
    if (part == NULL) {
        return;
    }
    round_reopen_part(part);
    if (part->state == PART_WAITING) {
        part->plan_seq += part->is_sent || part->plan_seq == 0 ? 1 : 0;
        part->is_sent = false;
        client->part = (size_t)(part - round->parts);
        client->refusal = FED_REFUSAL_NONE;
    }
}

/* May this part's combiner be given up: its link has been down for its grace? */
static bool is_lost(const struct federation *fed, const struct round_part *part, uint64_t now_ms)
{
    const struct roster_combiner *combiner = roster_find_combiner(&fed->roster, part->combiner_id);
    const uint64_t since_ms = combiner == NULL ? fed->restarted_ms : combiner->down_since_ms;

    return (combiner == NULL || combiner->link == 0) &&
           now_ms >= since_ms + fed->config.combiner_grace_ms;
}

/* Take a client from this part, if that may be done now: a combiner that is up gets a plan without
 * it (from then on no sum with it is accepted), one that has been down for its grace is fenced. */
static bool take_client(const struct federation *fed, struct round_part *part, uint64_t now_ms)
{
    const struct roster_combiner *combiner = roster_find_combiner(&fed->roster, part->combiner_id);

    if (combiner != NULL && combiner->link != 0 && part->state == PART_WAITING) {
        part->plan_seq += part->is_sent ? 1 : 0;
        part->is_sent = false;
        return true;
    }
    if (part->state == PART_WAITING && is_lost(fed, part, now_ms)) {
        round_fence_part(part);
    }
    return part->state == PART_FENCED;
}

void planning_move_clients(struct federation *fed, uint64_t now_ms)
{
    struct round *round = fed->round;
    bool is_changed = false;

    if (fed->state != FEDERATION_COLLECTING || fed->is_journaling) {
        return;
    }
    for (size_t i = 0; i < round->n_clients; i++) {
        struct round_client *client = &round->clients[i];
        struct round_part *part = &round->parts[client->part];
        const struct roster_client *known = roster_find_client(&fed->roster, client->client_id);
        if (client->is_admitted || known == NULL || !roster_is_present(known) ||
            strcmp(known->combiner->combiner_id, part->combiner_id) == 0 ||
            !take_client(fed, part, now_ms)) {
            continue;
        }
        give_client(round, client, known->combiner->combiner_id);
        is_changed = true;
    }
    if (is_changed) {
        planning_journal(fed);
    }
}
