/* Closing a round: the closing rule, the partial sums, the quorum, the commit (round protocol,
 * section 7).
 *
 *   COLLECTING --rule--> CLOSING --all partials added or given up--> quorum? FINISHING : RECORDING
 *   FINISHING --model durable--> COMMITTING --row--> DERIVING --rows--> Done, Validate, next round
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/core/federation_inside.h"

#define BYTES_PER_MS 16384U /* at least this fast comes a partial sum: 16 MiB/s */

struct round_patience closing_patience(const struct federation *fed)
{
    return (struct round_patience){
        .heartbeat_limit_ms = fed->config.heartbeat_limit_ms,
        .reattach_grace_ms = fed->config.reattach_grace_ms,
        .combiner_grace_ms = fed->config.combiner_grace_ms,
        .restarted_ms = fed->restarted_ms,
    };
}

void closing_send(struct federation *fed, const struct round_part *part)
{
    const struct roster_combiner *combiner = roster_find_combiner(&fed->roster, part->combiner_id);
    struct federation_action *action;

    if (part->state != PART_WAITING || combiner == NULL || combiner->link == 0) {
        return;
    }
    action = federation_push(fed, FEDERATION_SEND);
    if (action != NULL) {
        action->link = combiner->link;
        action->down.type = FED_DOWN_CLOSE;
        memcpy(action->down.close.round_id, fed->round->round_id, FED_ROUND_ID_SIZE);
        action->down.close.plan_seq = part->plan_seq;
    }
}

/* How long a partial sum may be on its way. */
static uint64_t handing_ms(const struct federation *fed)
{
    return fed->config.close_timeout_ms + fed->base.n_elements * sizeof(int64_t) / BYTES_PER_MS;
}

/* Until when a missing partial is awaited: as long as its combiner is in its grace, but for that
 * never beyond the deadline. A link that stands may have been dead since before the Close: it takes
 * two unanswered pings, longer than close_timeout_ms, until that is known. */
static uint64_t part_ends_ms(const struct federation *fed, const struct round_part *part)
{
    const struct round *round = fed->round;
    const struct roster_combiner *combiner = roster_find_combiner(&fed->roster, part->combiner_id);
    uint64_t grace_ms = round->closed_ms;

    if (combiner == NULL) {
        grace_ms = fed->restarted_ms;
    } else if (combiner->link == 0) {
        grace_ms = combiner->down_since_ms;
    }
    grace_ms += fed->config.combiner_grace_ms;
    grace_ms = grace_ms < round->deadline_ms ? grace_ms : round->deadline_ms;
    return grace_ms > round->close_ms ? grace_ms : round->close_ms;
}

void closing_resume(struct federation *fed, uint64_t now_ms)
{
    struct round *round = fed->round;
    const uint64_t limit_ms = round->deadline_ms + handing_ms(fed);
    const uint64_t until_ms = now_ms + handing_ms(fed);

    if (round->close_ms < until_ms && round->close_ms < limit_ms) {
        round->close_ms = until_ms < limit_ms ? until_ms : limit_ms;
    }
}

/* Enough entries in the partials that are in: make the model; else the round has failed. */
static void decide(struct federation *fed, uint64_t now_ms)
{
    size_t n = 0;

    round_list_lost(fed->round);
    for (size_t i = 0; i < fed->round->n_parts; i++) {
        n += fed->round->parts[i].state == PART_ADDED ? fed->round->parts[i].n_entries : 0;
    }
    if (n == 0 || n < fed->session.clients_required) {
        char why[FED_LINK_DETAIL_SIZE];
        (void)snprintf(why, sizeof(why), "quorum missed: %zu of %u required updates, %llu refused",
                       n, fed->session.clients_required,
                       (unsigned long long)fed->round->n_refused + fed->round->n_refused_more);
        closing_fail(fed, why, now_ms);
        return;
    }
    if (fed->base.model_id[0] == '\0') {
        return; /* still being read after a restart; federation_base_loaded() looks again */
    }
    (void)federation_push(fed, FEDERATION_FINISH);
    federation_move(fed, FEDERATION_FINISHING);
}

static void look_closing(struct federation *fed, uint64_t now_ms)
{
    for (size_t i = 0; i < fed->round->n_parts; i++) {
        struct round_part *part = &fed->round->parts[i];
        if (part->state == PART_WAITING) {
            const uint64_t until_ms = part_ends_ms(fed, part);
            if (now_ms >= until_ms) {
                round_fence_part(part);
            } else {
                federation_want(fed, until_ms);
            }
        }
    }
    if (round_is_summed(fed->round)) {
        decide(fed, now_ms);
    }
}

void closing_begin(struct federation *fed, uint64_t now_ms)
{
    struct round *round = fed->round;

    round_move(round, ROUND_CLOSING);
    round->closed_ms = now_ms;
    round->close_ms = now_ms + handing_ms(fed);
    for (size_t i = 0; i < round->n_parts; i++) {
        closing_send(fed, &round->parts[i]);
    }
    federation_move(fed, FEDERATION_CLOSING);
    look_closing(fed, now_ms);
}

static void look_collecting(struct federation *fed, uint64_t now_ms)
{
    const struct round_patience patience = closing_patience(fed);
    uint64_t look_ms = UINT64_MAX;
    const bool is_full = fed->session.buffer_size > 0 &&
                         round_count_admitted(fed->round) >= (uint64_t)fed->session.buffer_size;

    planning_move_clients(fed, now_ms);
    if (fed->is_journaling) {
        return; /* the row's version is under way: federation_done() looks again */
    }
    if (is_full || fed->was_closed || now_ms >= fed->round->deadline_ms ||
        round_is_answered(fed->round, &fed->roster, &patience, now_ms, &look_ms)) {
        closing_begin(fed, now_ms);
        return;
    }
    federation_want(fed, fed->round->deadline_ms);
    federation_want(fed, look_ms);
}

void closing_look(struct federation *fed, uint64_t now_ms)
{
    if (fed->state == FEDERATION_COLLECTING) {
        look_collecting(fed, now_ms);
    } else if (fed->state == FEDERATION_CLOSING) {
        look_closing(fed, now_ms);
    }
}

void closing_fail(struct federation *fed, const char *why, uint64_t now_ms)
{
    fed->round->committed_ms = now_ms;
    (void)snprintf(fed->round->failure, sizeof(fed->round->failure), "%s", why);
    round_move(fed->round, ROUND_FAILED);
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
    federation_move(fed, FEDERATION_RECORDING);
}

void closing_cancel(struct federation *fed, uint64_t now_ms)
{
    fed->round->committed_ms = now_ms;
    (void)snprintf(fed->round->failure, sizeof(fed->round->failure), "the session was stopped");
    round_move(fed->round, ROUND_CANCELLED);
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
    federation_move(fed, FEDERATION_RECORDING);
}

void closing_recorded(struct federation *fed)
{
    fed->round->version++;
    fed->is_recorded = true;
    fed->session.rounds_done++;
    if (fed->round->state == ROUND_COMMITTED) {
        fed_id_copy(fed->session.base_model_id, fed->round->model_id);
        memcpy(fed->session.base_round_id, fed->round->round_id, FED_ROUND_ID_SIZE);
    } else {
        fed->session.failed_rounds += fed->round->state == ROUND_FAILED ? 1 : 0;
    }
    (void)federation_push(fed, FEDERATION_STORE_DERIVED);
    federation_move(fed, FEDERATION_DERIVING);
}

void closing_send_done(struct federation *fed, uint64_t link, const char *round_id)
{
    const struct round *round = fed->round;
    struct federation_action *action = federation_push(fed, FEDERATION_SEND);

    if (action == NULL) {
        return;
    }
    action->link = link;
    action->down.type = FED_DOWN_DONE;
    (void)snprintf(action->down.done.round_id, FED_ROUND_ID_SIZE, "%s", round_id);
    action->down.done.outcome = FED_ROUND_FAILED; /* of a round before this one: it is over */
    if (round != NULL && strcmp(round->round_id, round_id) == 0) {
        if (round->state == ROUND_COMMITTED) {
            action->down.done.outcome = FED_ROUND_COMMITTED;
            fed_id_copy(action->down.done.model_id, round->model_id);
        } else if (round->state == ROUND_CANCELLED) {
            action->down.done.outcome = FED_ROUND_CANCELLED;
        }
    }
}

void closing_send_ahead(struct federation *fed, const struct fed_ahead *ahead)
{
    const struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&fed->roster.combiners, &cursor, NULL)) != NULL) {
        struct federation_action *action =
            combiner->link == 0 ? NULL : federation_push(fed, FEDERATION_SEND);
        if (action != NULL) {
            action->link = combiner->link;
            action->down.type = FED_DOWN_AHEAD;
            action->down.ahead = *ahead;
        }
    }
}

/* Is this client to validate the newest model? */
static bool is_asked(const struct federation *fed,
                     const struct roster_client *client,
                     const struct roster_combiner *combiner)
{
    if (client->combiner != combiner || !roster_is_present(client) ||
        fed_strmap_find(&fed->validated, client->client_id) != NULL) {
        return false;
    }
    for (size_t i = 0; i < fed->session.n_client_ids; i++) {
        if (strcmp(fed->session.client_ids[i], client->client_id) == 0) {
            return true;
        }
    }
    return fed->session.n_client_ids == 0;
}

static uint32_t max_count(uint32_t a, size_t b)
{
    return b > a ? (uint32_t)b : a;
}

void closing_send_validate(struct federation *fed, const struct roster_combiner *combiner)
{
    struct federation_action *action = NULL;
    const struct roster_client *client;
    struct fed_validate *validate;
    size_t cursor = 0;

    if (combiner->link == 0 || fed->validation.model_id[0] == '\0' ||
        strcmp(fed->base.model_id, fed->validation.model_id) != 0 || /* being read: later */
        (action = federation_push(fed, FEDERATION_SEND)) == NULL) {
        return;
    }
    fed->validation.n_asked =
        max_count(fed->validation.n_asked, planning_count_candidates(fed, &fed->session));
    action->link = combiner->link;
    action->down.type = FED_DOWN_VALIDATE;
    validate = &action->down.validate;
    fed_id_copy(validate->session_id, fed->session.session_id);
    memcpy(validate->round_id, fed->validation.round_id, FED_ROUND_ID_SIZE);
    fed_id_copy(validate->model_id, fed->validation.model_id);
    memcpy(validate->sha256, fed->base.sha256, sizeof(validate->sha256));
    memcpy(validate->xxh128, fed->base.xxh128, sizeof(validate->xxh128));
    validate->size_bytes = fed->base.size_bytes;
    validate->time_left_ms = fed->session.round_timeout_ms;
    validate->client_ids = calloc((size_t)combiner->n_attached + 1, FED_ID_SIZE);
    while (validate->client_ids != NULL && validate->n_clients < combiner->n_attached &&
           (client = fed_strmap_next(&fed->roster.clients, &cursor, NULL)) != NULL) {
        if (is_asked(fed, client, combiner)) {
            fed_id_copy(validate->client_ids[validate->n_clients++], client->client_id);
        }
    }
    if (validate->n_clients == 0) {
        action->link = 0;
    }
}

void closing_send_validates(struct federation *fed)
{
    const struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&fed->roster.combiners, &cursor, NULL)) != NULL) {
        closing_send_validate(fed, combiner);
    }
}

static void begin_validation(struct federation *fed)
{
    fed_id_copy(fed->validation.model_id, fed->round->model_id);
    memcpy(fed->validation.round_id, fed->round->round_id, FED_ROUND_ID_SIZE);
    fed->validation.n_received = 0;
    fed->validation.n_asked = (uint32_t)planning_count_candidates(fed, &fed->session);
    fed_strmap_deinit(&fed->validated);
    closing_send_validates(fed);
}

void closing_derived(struct federation *fed, uint64_t now_ms)
{
    const struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&fed->roster.combiners, &cursor, NULL)) != NULL) {
        if (combiner->link != 0) {
            closing_send_done(fed, combiner->link, fed->round->round_id);
        }
    }
    if (fed->round->state == ROUND_COMMITTED && fed->session.is_validating) {
        begin_validation(fed);
    }
    planning_begin(fed, now_ms);
}
