#include "reducer/core/round.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_CLIENT_SIZE 120U /* bytes of a client in the row of a round, beside ids */

#define TO(state) (1U << ROUND_##state)

/* Which states may follow which; round_move() asserts it. */
static const struct {
    const char *name;
    unsigned next;
} states[ROUND_STATE_MAX] = {
    [ROUND_PLANNED] = {"planned", TO(OPEN) | TO(FAILED) | TO(CANCELLED)},
    [ROUND_OPEN] = {"open", TO(CLOSING) | TO(FAILED) | TO(CANCELLED)},
    [ROUND_CLOSING] = {"closing", TO(COMMITTED) | TO(FAILED) | TO(CANCELLED)},
    [ROUND_COMMITTED] = {"committed", 0},
    [ROUND_FAILED] = {"failed", 0},
    [ROUND_CANCELLED] = {"cancelled", 0},
};

#undef TO

const char *round_state_name(enum round_state state)
{
    return states[state].name;
}

void round_move(struct round *round, enum round_state next)
{
    assert((states[round->state].next & (1U << next)) != 0);
    round->state = next;
}

struct round *round_free(struct round *round)
{
    if (round != NULL) {
        for (size_t i = 0; i < round->n_parts; i++) {
            free(round->parts[i].entries);
        }
        free(round->parts);
        free(round->clients);
        free(round->refused);
        free(round->scale_bits);
        free(round);
    }
    return NULL;
}

static size_t part_for(struct round *round, const char *combiner_id)
{
    for (size_t i = 0; i < round->n_parts; i++) {
        if (strcmp(round->parts[i].combiner_id, combiner_id) == 0) {
            return i;
        }
    }
    fed_id_copy(round->parts[round->n_parts].combiner_id, combiner_id);
    round->parts[round->n_parts].plan_seq = 1;
    return round->n_parts++;
}

size_t round_clients_max(size_t client_id_size, size_t combiner_id_size)
{
    /* Both ids twice, the id of the update, as long as can be, the examples, and the keys. */
    return ROUND_ROW_MAX /
           (2 * client_id_size + 2 * combiner_id_size + FED_ID_SIZE + ROW_CLIENT_SIZE);
}

int round_new(const char (*client_ids)[FED_ID_SIZE],
              size_t n_clients,
              const struct roster *roster,
              struct round **ret_round,
              struct fed_err *err)
{
    FED_CLEANUP(round_free_p) struct round *round = calloc(1, sizeof(*round));

    if (round == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "round");
    }
    round->clients = calloc(n_clients + 1, sizeof(*round->clients));
    round->parts = calloc(ROSTER_COMBINERS_MAX, sizeof(*round->parts));
    if (round->clients == NULL || round->parts == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "round of %zu clients", n_clients);
    }
    for (size_t i = 0; i < n_clients; i++) {
        const struct roster_client *client = roster_find_client(roster, client_ids[i]);
        assert(client != NULL);
        assert(i == 0 || strcmp(client_ids[i - 1], client_ids[i]) < 0);
        fed_id_copy(round->clients[i].client_id, client_ids[i]);
        round->clients[i].part = part_for(round, client->combiner->combiner_id);
    }
    round->n_clients = n_clients;
    *ret_round = FED_TAKE(round);
    return 0;
}

static int compare_client(const void *key, const void *item)
{
    return strcmp(key, ((const struct round_client *)item)->client_id);
}

struct round_client *round_find_client(const struct round *round, const char *client_id)
{
    return bsearch(client_id, round->clients, round->n_clients, sizeof(*round->clients),
                   compare_client);
}

struct round_part *round_find_part(const struct round *round, const char *combiner_id)
{
    for (size_t i = 0; i < round->n_parts; i++) {
        if (strcmp(round->parts[i].combiner_id, combiner_id) == 0) {
            return &round->parts[i];
        }
    }
    return NULL;
}

static bool is_of_part(const struct round *round,
                       const struct round_client *client,
                       const struct round_part *part)
{
    return client != NULL && &round->parts[client->part] == part;
}

void round_admitted(struct round *round,
                    const struct round_part *part,
                    uint64_t plan_seq,
                    const struct fed_entry *entry)
{
    struct round_client *client = round_find_client(round, entry->client_id);

    if (!is_of_part(round, client, part) || part->state == PART_FENCED) {
        return;
    }
    client->is_admitted = true;
    client->admitted_seq = plan_seq;
    client->refusal = FED_REFUSAL_NONE;
    client->examples = entry->examples;
    fed_id_copy(client->update_id, entry->update_id);
}

void round_forget_admitted(struct round *round, const struct round_part *part)
{
    for (size_t i = 0; i < round->n_clients && part->state == PART_WAITING; i++) {
        if (is_of_part(round, &round->clients[i], part)) {
            round->clients[i].is_admitted = false;
        }
    }
}

static bool is_listed(const struct round *round, const struct fed_refused *refused)
{
    for (size_t i = 0; i < round->n_refused; i++) {
        const struct fed_refused *other = &round->refused[i];
        if (other->reason == refused->reason && strcmp(other->client_id, refused->client_id) == 0 &&
            strcmp(other->update_id, refused->update_id) == 0) {
            return true;
        }
    }
    return false;
}

static void list_refused(struct round *round, const struct fed_refused *refused)
{
    if (is_listed(round, refused)) {
        return;
    }
    if (round->refused == NULL) {
        round->refused = calloc(ROUND_REFUSALS_MAX, sizeof(*round->refused));
    }
    if (round->refused == NULL || round->n_refused == ROUND_REFUSALS_MAX) {
        round->n_refused_more++;
        round->refused_more[refused->reason]++;
        return;
    }
    round->refused[round->n_refused++] = *refused;
}

/* Does it say that the client has done its task for this round, badly? An update of another round,
 * or a second one, says nothing of that; nor does one that came to its new combiner before the plan
 * that asks it there. */
static bool is_answer(enum fed_refusal reason)
{
    return reason != FED_REFUSAL_LATE && reason != FED_REFUSAL_OTHER_ROUND &&
           reason != FED_REFUSAL_OTHER_SESSION && reason != FED_REFUSAL_SESSION_OVER &&
           reason != FED_REFUSAL_DUPLICATE && reason != FED_REFUSAL_NOT_ASKED;
}

void round_refused(struct round *round,
                   const struct round_part *part,
                   const struct fed_refused *refused)
{
    struct round_client *client = round_find_client(round, refused->client_id);

    list_refused(round, refused);
    if (refused->is_own_connection && is_answer(refused->reason) &&
        is_of_part(round, client, part) && !client->is_admitted) {
        client->refusal = refused->reason;
    }
}

void round_reopen_part(struct round_part *part)
{
    if (part->state == PART_FENCED) {
        assert(part->fenced_plan_seq >= part->plan_seq);
        part->plan_seq = part->fenced_plan_seq + 1;
        part->state = PART_WAITING;
        part->is_sent = false;
        part->n_corrupt = 0;
    }
}

static bool is_counted(const struct round *round, const struct round_client *client)
{
    return client->is_admitted && client->admitted_seq == round->parts[client->part].plan_seq;
}

size_t round_count_admitted(const struct round *round)
{
    size_t n = 0;

    for (size_t i = 0; i < round->n_clients; i++) {
        n += is_counted(round, &round->clients[i]) ? 1 : 0;
    }
    return n;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Until when a client is waited for that is away, or whose combiner is. */
static uint64_t patience_ends(const struct round_part *part,
                              const struct round_client *asked,
                              const struct roster *roster,
                              const struct round_patience *patience)
{
    const struct roster_combiner *combiner = roster_find_combiner(roster, part->combiner_id);
    const struct roster_client *client = roster_find_client(roster, asked->client_id);
    uint64_t until = 0;

    if (patience->restarted_ms != 0) {
        until = patience->restarted_ms + patience->reattach_grace_ms;
    }
    if (combiner == NULL) {
        return until;
    }
    if (combiner->link == 0) {
        /* Gone or restarting, nobody can tell: its clients may come back to it or elsewhere. */
        return later(until, combiner->down_since_ms +
                                later(patience->combiner_grace_ms, patience->reattach_grace_ms));
    }
    if (combiner->reboot_ms != 0) {
        until = later(until, combiner->reboot_ms + patience->reattach_grace_ms);
    }
    if (client == NULL) {
        return until;
    }
    if (client->phase == FED_CLIENT_SILENT) {
        return later(until, client->away_since_ms);
    }
    /* While its combiner had no link, nobody was sent there, and it could not come back. */
    return later(until,
                 later(client->away_since_ms, combiner->linked_ms) + patience->heartbeat_limit_ms);
}

bool round_awaits_client(const struct round *round,
                         const struct round_client *client,
                         const struct roster *roster,
                         const struct round_patience *patience,
                         uint64_t now_ms,
                         uint64_t *ret_until_ms)
{
    const struct round_part *part = &round->parts[client->part];
    const struct roster_client *known = roster_find_client(roster, client->client_id);

    if (is_counted(round, client) || client->refusal != FED_REFUSAL_NONE) {
        return false;
    }
    if (known != NULL && roster_is_present(known) &&
        strcmp(known->combiner->combiner_id, part->combiner_id) == 0) {
        *ret_until_ms = UINT64_MAX;
        return true;
    }
    *ret_until_ms = patience_ends(part, client, roster, patience);
    return now_ms < *ret_until_ms;
}

/* A combiner that is away may hold admissions we have not heard of: it is waited for. */
static bool awaits_part(const struct round_part *part,
                        const struct roster *roster,
                        const struct round_patience *patience,
                        uint64_t now_ms,
                        uint64_t *ret_until_ms)
{
    const struct roster_combiner *combiner = roster_find_combiner(roster, part->combiner_id);

    if (part->state == PART_FENCED || (combiner != NULL && combiner->link != 0)) {
        return false;
    }
    *ret_until_ms = combiner != NULL ? combiner->down_since_ms + patience->combiner_grace_ms
                                     : patience->restarted_ms + patience->reattach_grace_ms;
    return now_ms < *ret_until_ms;
}

bool round_is_answered(const struct round *round,
                       const struct roster *roster,
                       const struct round_patience *patience,
                       uint64_t now_ms,
                       uint64_t *ret_look_ms)
{
    uint64_t look_ms = UINT64_MAX;
    bool is_answered = true;

    for (size_t i = 0; i < round->n_clients; i++) {
        uint64_t until_ms = UINT64_MAX;
        if (round_awaits_client(round, &round->clients[i], roster, patience, now_ms, &until_ms)) {
            is_answered = false;
            look_ms = until_ms < look_ms ? until_ms : look_ms;
        }
    }
    for (size_t i = 0; i < round->n_parts; i++) {
        uint64_t until_ms = UINT64_MAX;
        if (awaits_part(&round->parts[i], roster, patience, now_ms, &until_ms)) {
            is_answered = false;
            look_ms = until_ms < look_ms ? until_ms : look_ms;
        }
    }
    *ret_look_ms = look_ms;
    return is_answered;
}

/* Is every entry one of this part's clients, and no client in two partials? */
static bool check_entries(const struct round *round,
                          const struct round_part *part,
                          const struct fed_entry *entries,
                          size_t n_entries,
                          char *ret_detail)
{
    for (size_t i = 0; i < n_entries; i++) {
        const struct round_client *client = round_find_client(round, entries[i].client_id);
        if (!is_of_part(round, client, part)) {
            (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "client %.64s is not in the plan",
                           entries[i].client_id);
            return false;
        }
        if (i > 0 && strcmp(entries[i - 1].client_id, entries[i].client_id) >= 0) {
            (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "entries are not sorted");
            return false;
        }
    }
    return true;
}

void round_fence_part(struct round_part *part)
{
    assert(part->state == PART_WAITING);
    part->state = PART_FENCED;
    part->fenced_plan_seq = part->plan_seq;
}

enum fed_verdict
round_take_partial(struct round *round, const struct round_partial *partial, char *ret_detail)
{
    struct round_part *part = round_find_part(round, partial->combiner_id);

    ret_detail[0] = '\0';
    if (states[round->state].next == 0) {
        return FED_VERDICT_OVER;
    }
    if (part == NULL || partial->plan_seq != part->plan_seq ||
        partial->plan_seq <= part->fenced_plan_seq || part->state == PART_FENCED ||
        round->state != ROUND_CLOSING) {
        (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "plan %llu is not awaited",
                       (unsigned long long)partial->plan_seq);
        return FED_VERDICT_STALE;
    }
    if (part->state != PART_WAITING) {
        return memcmp(part->digest, partial->digest, FED_DIGEST_SIZE) == 0 ? FED_VERDICT_DUPLICATE
                                                                           : FED_VERDICT_STALE;
    }
    if (!check_entries(round, part, *partial->entries, partial->n_entries, ret_detail)) {
        if (++part->n_corrupt >= ROUND_CORRUPT_MAX) {
            round_fence_part(part);
        }
        return FED_VERDICT_CORRUPT;
    }
    part->entries = *partial->entries;
    *partial->entries = NULL;
    part->n_entries = partial->n_entries;
    part->token = partial->token;
    part->load_us = partial->load_us;
    part->sum_us = partial->sum_us;
    part->state = PART_ADDING;
    memcpy(part->digest, partial->digest, FED_DIGEST_SIZE);
    return FED_VERDICT_ACCEPTED;
}

void round_partial_added(struct round *round, uint64_t token)
{
    for (size_t i = 0; i < round->n_parts; i++) {
        if (round->parts[i].state == PART_ADDING && round->parts[i].token == token) {
            round->parts[i].state = PART_ADDED;
        }
    }
}

void round_list_lost(struct round *round)
{
    for (size_t i = 0; i < round->n_clients; i++) {
        struct round_client *client = &round->clients[i];
        if (client->is_admitted && round->parts[client->part].state == PART_FENCED) {
            struct fed_refused refused = {.reason = FED_REFUSAL_COMBINER_LOST};
            fed_id_copy(refused.client_id, client->client_id);
            fed_id_copy(refused.update_id, client->update_id);
            (void)snprintf(refused.detail, sizeof(refused.detail), "combiner %s",
                           round->parts[client->part].combiner_id);
            list_refused(round, &refused);
            client->is_admitted = false;
            client->refusal = FED_REFUSAL_COMBINER_LOST;
        }
    }
}

bool round_is_summed(const struct round *round)
{
    for (size_t i = 0; i < round->n_parts; i++) {
        if (round->parts[i].state == PART_WAITING || round->parts[i].state == PART_ADDING) {
            return false;
        }
    }
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
}

int round_list_entries(const struct round *round,
                       struct fed_entry **ret_entries,
                       size_t *ret_n_entries,
                       uint64_t *ret_sum_examples,
                       struct fed_err *err)
{
    struct fed_entry *entries = calloc(round->n_clients + 1, sizeof(*entries));
    uint64_t sum = 0;
    size_t n = 0;

    if (entries == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu entries", round->n_clients);
    }
    for (size_t i = 0; i < round->n_parts; i++) {
        const struct round_part *part = &round->parts[i];
        for (size_t j = 0; part->state == PART_ADDED && j < part->n_entries; j++) {
            assert(n < round->n_clients);
            entries[n++] = part->entries[j];
            sum += part->entries[j].examples;
        }
    }
    qsort(entries, n, sizeof(*entries), compare_entries);
    *ret_entries = entries;
    *ret_n_entries = n;
    *ret_sum_examples = sum;
    return 0;
}

/* The plan's arrays; what is missing for lack of memory is NULL. */
static void
fill_plan(const struct round *round, const struct round_part *part, struct fed_plan *plan)
{
    plan->scale_bits = calloc(round->n_tensors + 1, sizeof(*plan->scale_bits));
    plan->client_ids = calloc(round->n_clients + 1, sizeof(*plan->client_ids));
    plan->task_data = strdup("");
    if (plan->scale_bits != NULL) {
        memcpy(plan->scale_bits, round->scale_bits, round->n_tensors * sizeof(*plan->scale_bits));
    }
    for (size_t i = 0; i < round->n_clients && plan->client_ids != NULL; i++) {
        if (is_of_part(round, &round->clients[i], part)) {
            fed_id_copy(plan->client_ids[plan->n_clients++], round->clients[i].client_id);
        }
    }
}

int round_make_plan(const struct round *round,
                    const struct round_part *part,
                    uint64_t examples_max,
                    uint64_t now_ms,
                    struct fed_plan *ret_plan,
                    struct fed_err *err)
{
    struct fed_plan plan = {
        .round_number = round->round_number,
        .plan_seq = part->plan_seq,
        .base_size_bytes = round->base_size_bytes,
        .n_tensors = round->n_tensors,
        .limit_bits = round->limit_bits,
        .examples_max = examples_max,
        .time_left_ms = round->deadline_ms > now_ms ? round->deadline_ms - now_ms : 0,
    };

    fed_id_copy(plan.session_id, round->session_id);
    memcpy(plan.round_id, round->round_id, sizeof(plan.round_id));
    fed_id_copy(plan.base_model_id, round->base_model_id);
    memcpy(plan.base_sha256, round->base_sha256, sizeof(plan.base_sha256));
    fill_plan(round, part, &plan);
    if (plan.scale_bits == NULL || plan.client_ids == NULL || plan.task_data == NULL) {
        fed_plan_deinit(&plan);
        return fed_err_set(err, FED_E_NOMEM, "plan of round %s", round->round_id);
    }
    *ret_plan = plan;
    return 0;
}
