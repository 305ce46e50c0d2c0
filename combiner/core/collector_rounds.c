/* The rounds: their plans, what was admitted, the sum, closing and sealing.
 *
 *   Plan → PLANNED, the base is fetched → COLLECTING: the sum is reset, what is in the log folded
 *   Close → SEALING → all folded: SEAL → SEALED: PUT_PARTIAL, again at each Close → Done
 *
 * A higher plan_seq begins again from PLANNED: the sum is a function of plan, log and spool.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/core/collector_inside.h"

#define TO(state) (1U << FED_LINK_ROUND_##state)

/* Which states may follow which; move() asserts it. */
static const unsigned next_states[] = {
    [FED_LINK_ROUND_PLANNED] = TO(PLANNED) | TO(COLLECTING) | TO(SEALING),
    [FED_LINK_ROUND_COLLECTING] = TO(PLANNED) | TO(SEALING),
    [FED_LINK_ROUND_SEALING] = TO(PLANNED) | TO(SEALED),
    [FED_LINK_ROUND_SEALED] = TO(PLANNED),
};

#undef TO

static void check(const struct collector_round *round)
{
    assert(round->n_admitted <= round->n_entries);
    assert(round->n_admitted <= round->plan.n_clients);
    assert(round->n_folded <= round->n_admitted);
    assert(round->n_folded == 0 || round->is_summing);
    assert(round->state != FED_LINK_ROUND_SEALED || round->n_logging == 0);
}

static void move(struct collector_round *round, enum fed_link_round_state next)
{
    assert((next_states[round->state] & (1U << next)) != 0);
    round->state = next;
    check(round);
}

/* -- finding ---------------------------------------------------------------------------------- */

struct collector_round *rounds_find(const struct collector *collector, const char *round_id)
{
    for (size_t i = 0; i < collector->n_rounds; i++) {
        if (strcmp(collector->rounds[i]->plan.round_id, round_id) == 0) {
            return collector->rounds[i];
        }
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

struct collector_seat *rounds_find_seat(const struct collector_round *round, const char *client_id)
{
    const char(*ids)[FED_ID_SIZE] = (const char(*)[FED_ID_SIZE])round->plan.client_ids;
    const char(*found)[FED_ID_SIZE] =
        round->plan.n_clients == 0
            ? NULL
            : bsearch(client_id, ids, round->plan.n_clients, FED_ID_SIZE, compare_ids);

    return found == NULL ? NULL : &round->seats[found - ids];
}

const struct fed_entry *rounds_find_entry(const struct collector_round *round,
                                          const char *client_id)
{
    const struct collector_seat *seat = rounds_find_seat(round, client_id);

    if (seat != NULL) {
        return seat->is_admitted ? &round->entries[seat->entry] : NULL;
    }
    for (size_t i = round->n_admitted; i < round->n_entries; i++) {
        if (strcmp(round->entries[i].client_id, client_id) == 0) {
            return &round->entries[i];
        }
    }
    return NULL;
}

const struct collector_past *rounds_find_past(const struct collector *collector,
                                              const char *round_id)
{
    for (size_t i = 0; i < COLLECTOR_PAST_MAX; i++) {
        if (round_id[0] != '\0' && strcmp(collector->past[i].round_id, round_id) == 0) {
            return &collector->past[i];
        }
    }
    return NULL;
}

const struct fed_plan *collector_get_plan(const struct collector *collector, const char *round_id)
{
    const struct collector_round *round = rounds_find(collector, round_id);

    return round == NULL ? NULL : &round->plan;
}

const struct fed_entry *collector_get_admitted(const struct collector *collector,
                                               const char *round_id,
                                               size_t *ret_n_admitted)
{
    const struct collector_round *round = rounds_find(collector, round_id);

    *ret_n_admitted = round == NULL ? 0 : round->n_admitted;
    return round == NULL ? NULL : round->entries;
}

/* -- the sum ---------------------------------------------------------------------------------- */

static void fold(struct collector *collector,
                 const struct collector_round *round,
                 const struct fed_entry *entry)
{
    struct collector_action *action = collector_push_round(collector, COLLECTOR_FOLD, round);

    if (action != NULL) {
        fed_id_copy(action->client_id, entry->client_id);
        fed_id_copy(action->id, entry->update_id);
        action->examples = entry->examples;
    }
}

/* The base is here: begin the sum of the present plan with what the log holds. */
static void begin_sum(struct collector *collector, struct collector_round *round)
{
    if (round->is_summing || !tasks_is_model_ready(collector, round->plan.base_model_id) ||
        round->state == FED_LINK_ROUND_SEALED) {
        return;
    }
    round->is_summing = true;
    (void)collector_push_round(collector, COLLECTOR_RESET_SUM, round);
    for (size_t i = 0; i < round->n_admitted; i++) {
        fold(collector, round, &round->entries[i]);
    }
    if (round->state == FED_LINK_ROUND_PLANNED) {
        move(round, FED_LINK_ROUND_COLLECTING);
    }
    rounds_try_seal(collector, round);
}

void rounds_model_ready(struct collector *collector, const char *model_id)
{
    for (size_t i = 0; i < collector->n_rounds; i++) {
        if (strcmp(collector->rounds[i]->plan.base_model_id, model_id) == 0) {
            begin_sum(collector, collector->rounds[i]);
        }
    }
}

/* What went out names what can't be downloaded: it goes out again when it can. */
void rounds_model_lost(struct collector *collector, const char *model_id)
{
    for (size_t i = 0; i < collector->n_rounds; i++) {
        struct collector_round *round = collector->rounds[i];
        const bool is_its = strcmp(round->plan.base_model_id, model_id) == 0;
        for (size_t k = 0; is_its && k < round->plan.n_clients; k++) {
            round->seats[k].task_stream = 0;
        }
    }
}

void rounds_try_seal(struct collector *collector, struct collector_round *round)
{
    if (round->state == FED_LINK_ROUND_SEALING && !round->is_seal_asked && round->n_logging == 0 &&
        round->n_folded == round->n_admitted) {
        round->is_seal_asked = true;
        (void)collector_push_round(collector, COLLECTOR_SEAL, round);
    }
}

/* Room for one more entry. */
static bool grow(struct collector_round *round)
{
    const size_t capacity = round->capacity == 0 ? 16 : round->capacity * 2;
    struct fed_entry *entries;
    struct collector_mark *marks;

    if (round->n_entries < round->capacity) {
        return true;
    }
    entries = realloc(round->entries, capacity * sizeof(*entries));
    round->entries = entries == NULL ? round->entries : entries;
    marks = realloc(round->marks, capacity * sizeof(*marks));
    round->marks = marks == NULL ? round->marks : marks;
    if (entries == NULL || marks == NULL) {
        return false;
    }
    round->capacity = capacity;
    return true;
}

bool rounds_admit(struct collector *collector,
                  struct collector_round *round,
                  const struct fed_entry *entry)
{
    struct collector_seat *seat = rounds_find_seat(round, entry->client_id);

    assert(rounds_find_entry(round, entry->client_id) == NULL);
    if (!grow(round)) {
        return false;
    }
    round->n_entries++;
    if (seat == NULL) {
        round->entries[round->n_entries - 1] = *entry;
        round->marks[round->n_entries - 1] = (struct collector_mark){0};
        return true;
    }
    round->entries[round->n_entries - 1] = round->entries[round->n_admitted];
    round->marks[round->n_entries - 1] = (struct collector_mark){0};
    round->entries[round->n_admitted] = *entry;
    round->marks[round->n_admitted] = (struct collector_mark){0};
    seat->entry = round->n_admitted++;
    seat->is_admitted = true;
    seat->refusal = FED_REFUSAL_NONE;
    if (round->is_summing) {
        fold(collector, round, entry);
    }
    check(round);
    return true;
}

void rounds_tell_admitted(struct collector *collector,
                          const struct collector_round *round,
                          const struct fed_entry *entry)
{
    struct fed_up *up = collector_push_up(collector, FED_UP_ADMITTED);

    if (up != NULL) {
        memcpy(up->round_id, round->plan.round_id, sizeof(up->round_id));
        up->plan_seq = round->plan.plan_seq;
        up->admitted = *entry;
    }
}

void collector_folded(struct collector *collector,
                      const char *round_id,
                      uint64_t plan_seq,
                      const char *client_id,
                      uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, round_id);
    const struct collector_seat *seat;
    struct collector_mark *mark;

    (void)now_ms;
    if (round == NULL || plan_seq != round->plan.plan_seq) {
        return; /* into a sum that is thrown away */
    }
    seat = rounds_find_seat(round, client_id);
    mark = seat != NULL && seat->is_admitted ? &round->marks[seat->entry] : NULL;
    if (mark != NULL && !mark->is_folded) {
        mark->is_folded = true;
        round->n_folded++;
    }
    if (mark != NULL && mark->is_untold) {
        mark->is_untold = false;
        rounds_tell_admitted(collector, round, &round->entries[seat->entry]);
    }
    rounds_try_seal(collector, round);
}

/* Put the entries of the plan's clients first, the others behind them. All are to be folded, and
 * those that are untold to be told. */
static void sort_entries(struct collector_round *round, bool is_untold)
{
    round->n_admitted = 0;
    round->n_folded = 0;
    for (size_t i = 0; i < round->n_entries; i++) {
        struct collector_seat *seat = rounds_find_seat(round, round->entries[i].client_id);
        round->marks[i] = (struct collector_mark){.is_untold = is_untold};
        if (seat != NULL) {
            const struct fed_entry held = round->entries[i];
            round->entries[i] = round->entries[round->n_admitted];
            round->entries[round->n_admitted] = held;
            seat->entry = round->n_admitted++;
            seat->is_admitted = true;
            seat->refusal = FED_REFUSAL_NONE;
        }
    }
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
}

/* Take those entries out of the round, and what stands between their clients and their tasks. */
static void
forget_entries(struct collector_round *round, const struct fed_entry *entries, size_t n_entries)
{
    size_t n = 0;

    assert(round->seats != NULL); /* there is a plan */
    for (size_t i = 0; i < round->n_entries; i++) {
        const struct fed_entry *entry = &round->entries[i];
        struct collector_seat *seat = rounds_find_seat(round, entry->client_id);
        const struct fed_entry *lost =
            n_entries == 0 ? NULL
                           : bsearch(entry, entries, n_entries, sizeof(*entries), compare_entries);
        if (lost == NULL || strcmp(lost->update_id, entry->update_id) != 0) {
            round->entries[n++] = *entry;
        } else if (seat != NULL) {
            seat->task_stream = 0;
        }
    }
    round->n_entries = n;
    for (size_t i = 0; i < round->plan.n_clients; i++) {
        round->seats[i].is_admitted = false;
    }
    sort_entries(round, false); /* Hello tells of them */
}

/* Out of memory, or with more than can be: who announces one of these is refused. */
static void
note_lost(struct collector_round *round, const struct fed_entry *entries, size_t n_entries)
{
    struct fed_entry *grown =
        n_entries == 0 || n_entries > FED_LINK_CLIENTS_MAX - round->n_lost
            ? NULL
            : realloc(round->lost, (round->n_lost + n_entries) * sizeof(*grown));

    if (grown != NULL) {
        memcpy(grown + round->n_lost, entries, n_entries * sizeof(*grown));
        round->lost = grown;
        round->n_lost += n_entries;
    }
}

bool rounds_is_lost(const struct collector_round *round,
                    const char *client_id,
                    const char *update_id)
{
    for (size_t i = 0; i < round->n_lost; i++) {
        if (strcmp(round->lost[i].client_id, client_id) == 0 &&
            strcmp(round->lost[i].update_id, update_id) == 0) {
            return true;
        }
    }
    return false;
}

void collector_lost(struct collector *collector,
                    const char *round_id,
                    const struct fed_entry *entries,
                    size_t n_entries,
                    uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, round_id);

    if (round == NULL) {
        return;
    }
    forget_entries(round, entries, n_entries);
    note_lost(round, entries, n_entries);
    round->is_summing = false;
    round->is_seal_asked = false;
    begin_sum(collector, round);
    collector_say_hello(collector);
    tasks_send_all(collector, now_ms);
}

static void hand_over(struct collector *collector, struct collector_round *round)
{
    if (collector->is_linked && !round->is_handing && round->n_corrupt < COLLECTOR_CORRUPT_MAX) {
        round->is_handing = true;
        (void)collector_push_round(collector, COLLECTOR_PUT_PARTIAL, round);
    }
}

void collector_sealed(struct collector *collector,
                      const char *round_id,
                      uint64_t plan_seq,
                      uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, round_id);

    (void)now_ms;
    if (round != NULL && plan_seq == round->plan.plan_seq &&
        round->state == FED_LINK_ROUND_SEALING && round->is_seal_asked) {
        move(round, FED_LINK_ROUND_SEALED);
        hand_over(collector, round);
    }
}

/* -- refusals --------------------------------------------------------------------------------- */

void rounds_list_refused(struct collector_round *round, const struct fed_refused *refused)
{
    /* Half of the room is kept for what answers for a client: a flood of forgeries leaves it. */
    const size_t n_max =
        refused->is_own_connection ? COLLECTOR_REFUSED_MAX : COLLECTOR_REFUSED_MAX / 2;

    for (size_t i = 0; i < round->n_refused; i++) {
        const struct fed_refused *other = &round->refused[i];
        if (other->reason == refused->reason &&
            other->is_own_connection == refused->is_own_connection &&
            strcmp(other->client_id, refused->client_id) == 0 &&
            strcmp(other->update_id, refused->update_id) == 0) {
            return;
        }
    }
    if (round->refused == NULL) {
        round->refused = calloc(COLLECTOR_REFUSED_MAX, sizeof(*round->refused));
    }
    if (round->refused != NULL && round->n_refused < n_max) {
        round->refused[round->n_refused++] = *refused;
    }
}

/* A client that was set aside need not be waited for. */
static void refuse_set_aside(struct collector *collector, struct collector_round *round)
{
    for (size_t i = 0; i < round->plan.n_clients; i++) {
        const char *client_id = round->plan.client_ids[i];
        struct fed_refused refused = {.reason = FED_REFUSAL_SET_ASIDE, .is_own_connection = true};
        struct fed_up *up;

        if (round->seats[i].is_admitted || !clients_is_set_aside(collector, client_id)) {
            continue;
        }
        round->seats[i].refusal = FED_REFUSAL_SET_ASIDE;
        fed_id_copy(refused.client_id, client_id);
        rounds_list_refused(round, &refused);
        up = collector_push_up(collector, FED_UP_REFUSED);
        if (up != NULL) {
            memcpy(up->round_id, round->plan.round_id, sizeof(up->round_id));
            up->refused = refused;
        }
    }
}

/* -- plans ------------------------------------------------------------------------------------ */

static struct collector_round *free_round(struct collector_round *round)
{
    if (round != NULL) {
        fed_plan_deinit(&round->plan);
        free(round->seats);
        free(round->entries);
        free(round->marks);
        free(round->lost);
        free(round->refused);
        free(round);
    }
    return NULL;
}

/* Take the plan's copy over, with a seat for each of its clients. */
static bool take_plan(struct collector_round *round, struct fed_plan *plan)
{
    struct collector_seat *seats = calloc(plan->n_clients + 1, sizeof(*seats));

    if (seats == NULL) {
        return false;
    }
    if (plan->n_clients > 1) {
        qsort(plan->client_ids, plan->n_clients, FED_ID_SIZE, compare_ids);
    }
    for (size_t i = 0; i < plan->n_clients; i++) {
        const struct collector_seat *seat = rounds_find_seat(round, plan->client_ids[i]);
        if (seat != NULL) {
            seats[i] = *seat;
        }
        seats[i].is_admitted = false;
    }
    fed_plan_deinit(&round->plan);
    free(round->seats);
    round->plan = *plan;
    *plan = (struct fed_plan){0};
    round->seats = seats;
    return true;
}

static void forget_round(struct collector *collector,
                         struct collector_round *round,
                         enum fed_round_outcome outcome,
                         uint64_t now_ms);

/* A new, empty round; when there is no room the oldest goes: the reducer has one open at a time. */
static struct collector_round *add_round(struct collector *collector, uint64_t now_ms)
{
    struct collector_round *round = calloc(1, sizeof(*round));

    if (round == NULL) {
        return NULL;
    }
    if (collector->n_rounds == COLLECTOR_ROUNDS_MAX) {
        forget_round(collector, collector->rounds[0], FED_ROUND_FAILED, now_ms);
    }
    round->state = FED_LINK_ROUND_PLANNED;
    round->instance = ++collector->n_instances;
    collector->rounds[collector->n_rounds++] = round;
    return round;
}

static void drop_from_list(struct collector *collector, const struct collector_round *round)
{
    size_t n = 0;

    for (size_t i = 0; i < collector->n_rounds; i++) {
        if (collector->rounds[i] != round) {
            collector->rounds[n++] = collector->rounds[i];
        }
    }
    collector->n_rounds = n;
}

/* Of a base whose XXH3 is not known nothing is fetched or opened before it is. */
static void need_base(struct collector *collector, const struct collector_round *round)
{
    if (!round->plan.lacks_xxh128) {
        tasks_need_model(collector, round->plan.base_model_id, round->plan.base_xxh128,
                         round->plan.base_size_bytes);
    }
}

/* The plan is told again after an attach: how much time is left, and what a plan file of protocol 1
 * does not say. */
static void
hear_again(struct collector *collector, struct collector_round *round, const struct fed_plan *plan)
{
    if (round->plan.lacks_xxh128) {
        memcpy(round->plan.base_xxh128, plan->base_xxh128, sizeof(round->plan.base_xxh128));
        round->plan.lacks_xxh128 = false;
        need_base(collector, round);
        begin_sum(collector, round);
    }
}

/* The plan's statement, whole: a new round, or another plan of one that is here. */
static void adopt_plan(struct collector *collector, struct fed_plan *plan, uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, plan->round_id);
    const uint64_t deadline_ms = now_ms + plan->time_left_ms;

    if (round == NULL) {
        round = add_round(collector, now_ms);
    }
    if (round == NULL) {
        return;
    }
    if (!take_plan(round, plan)) {
        if (round->plan.plan_seq == 0) {
            drop_from_list(collector, round);
            (void)free_round(round);
        }
        return;
    }
    round->deadline_ms = deadline_ms;
    sort_entries(round, true);
    round->is_summing = false;
    round->is_seal_asked = false;
    round->is_handing = false;
    round->n_corrupt = 0;
    move(round, FED_LINK_ROUND_PLANNED);
    clients_begin_session(collector, round->plan.session_id);
    (void)collector_push_round(collector, COLLECTOR_STORE_PLAN, round);
    refuse_set_aside(collector, round);
    need_base(collector, round);
    begin_sum(collector, round);
    admission_look(collector, NULL, now_ms);
    tasks_send_all(collector, now_ms);
}

void rounds_plan(struct collector *collector, const struct fed_plan *plan, uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, plan->round_id);
    struct fed_plan copy;

    if (round != NULL && plan->plan_seq == round->plan.plan_seq) {
        round->deadline_ms = now_ms + plan->time_left_ms;
        hear_again(collector, round, plan);
        tasks_send_all(collector, now_ms);
        return;
    }
    if (round != NULL &&
        (plan->plan_seq < round->plan.plan_seq ||
         strcmp(plan->base_model_id, round->plan.base_model_id) != 0 ||
         memcmp(plan->base_sha256, round->plan.base_sha256, FED_SHA256_SIZE) != 0)) {
        return;
    }
    if (plan->plan_seq == 0 || plan->round_id[0] == '\0' || plan->base_model_id[0] == '\0' ||
        fed_plan_copy(&copy, plan, NULL) < 0) {
        return;
    }
    adopt_plan(collector, &copy, now_ms);
    fed_plan_deinit(&copy);
}

/* The round as the spool has it, not yet in the collector's list; NULL: out of memory. */
static struct collector_round *
recover_round(struct collector *collector, struct collector_recovery *recovery, uint64_t now_ms)
{
    struct collector_round *round = calloc(1, sizeof(*round));
    bool is_ok = round != NULL && take_plan(round, &recovery->plan);

    for (size_t i = 0; i < recovery->n_admitted && is_ok; i++) {
        const struct fed_entry *entry = &recovery->admitted[i];
        is_ok = rounds_find_entry(round, entry->client_id) != NULL ||
                rounds_admit(collector, round, entry);
    }
    if (!is_ok) {
        if (round != NULL && round->plan.plan_seq != 0) {
            recovery->plan = round->plan; /* given back */
            round->plan = (struct fed_plan){0};
        }
        return free_round(round);
    }
    note_lost(round, recovery->lost, recovery->n_lost);
    round->state = recovery->is_sealed ? FED_LINK_ROUND_SEALED : FED_LINK_ROUND_PLANNED;
    round->instance = ++collector->n_instances;
    round->deadline_ms = now_ms + round->plan.time_left_ms;
    check(round);
    return round;
}

int collector_recover(struct collector *collector,
                      struct collector_recovery *recovery,
                      uint64_t now_ms,
                      struct fed_err *err)
{
    struct collector_round *round;

    assert(!collector->is_linked);
    assert(rounds_find(collector, recovery->plan.round_id) == NULL);
    if (collector->n_rounds == COLLECTOR_ROUNDS_MAX) {
        return fed_err_set(err, FED_E_LIMIT, "round %s: more than %u rounds",
                           recovery->plan.round_id, COLLECTOR_ROUNDS_MAX);
    }
    round = recover_round(collector, recovery, now_ms);
    if (round == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "round %s", recovery->plan.round_id);
    }
    collector->rounds[collector->n_rounds++] = round;
    clients_begin_session(collector, round->plan.session_id);
    need_base(collector, round);
    begin_sum(collector, round);
    return 0;
}

/* -- closing ---------------------------------------------------------------------------------- */

void rounds_close(struct collector *collector, const struct fed_down *down, uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, down->close.round_id);

    if (round == NULL || down->close.plan_seq != round->plan.plan_seq) {
        return; /* the reducer learns from our Hello, or from our silence, what we have */
    }
    if (round->state == FED_LINK_ROUND_SEALED) {
        hand_over(collector, round);
    } else if (round->state != FED_LINK_ROUND_SEALING) {
        move(round, FED_LINK_ROUND_SEALING);
        admission_look(collector, NULL, now_ms);
        rounds_try_seal(collector, round);
    }
}

/* Keep what tells a late update from nonsense. */
static void
remember(struct collector *collector, struct collector_round *round, enum fed_round_outcome outcome)
{
    struct collector_past *past = &collector->past[collector->next_past];

    collector->next_past = (collector->next_past + 1) % COLLECTOR_PAST_MAX;
    for (size_t i = 0; i < COLLECTOR_PAST_MAX; i++) {
        free(collector->past[i].entries); /* of the last one only */
        collector->past[i].entries = NULL;
        collector->past[i].n_entries = 0;
    }
    *past = (struct collector_past){
        .outcome = outcome, .entries = round->entries, .n_entries = round->n_entries};
    memcpy(past->round_id, round->plan.round_id, sizeof(past->round_id));
    fed_id_copy(past->session_id, round->plan.session_id);
    round->entries = NULL;
    round->n_entries = 0;
}

static void forget_round(struct collector *collector,
                         struct collector_round *round,
                         enum fed_round_outcome outcome,
                         uint64_t now_ms)
{
    (void)collector_push_round(collector, COLLECTOR_DROP_ROUND, round);
    drop_from_list(collector, round);
    remember(collector, round, outcome);
    (void)free_round(round);
    admission_look(collector, NULL, now_ms);
    tasks_sweep_models(collector);
}

void rounds_done(struct collector *collector, const struct fed_down *down, uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, down->done.round_id);

    if (round != NULL) {
        forget_round(collector, round, down->done.outcome, now_ms);
    }
}

void collector_partial_answered(struct collector *collector,
                                const char *round_id,
                                uint64_t plan_seq,
                                enum fed_verdict verdict,
                                uint64_t now_ms)
{
    struct collector_round *round = rounds_find(collector, round_id);

    if (round == NULL || plan_seq != round->plan.plan_seq || !round->is_handing) {
        return;
    }
    round->is_handing = false;
    switch (verdict) {
    case FED_VERDICT_OVER:
        forget_round(collector, round, FED_ROUND_FAILED, now_ms);
        break;
    case FED_VERDICT_CORRUPT:
        round->n_corrupt++;
        hand_over(collector, round);
        break;
    case FED_VERDICT_ACCEPTED:
    case FED_VERDICT_DUPLICATE:
    case FED_VERDICT_STALE:
        break; /* kept until Done, or the next Plan */
    }
}

void rounds_link_down(struct collector *collector)
{
    for (size_t i = 0; i < collector->n_rounds; i++) {
        collector->rounds[i]->is_handing = false;
    }
}

void rounds_free(struct collector *collector)
{
    for (size_t i = 0; i < collector->n_rounds; i++) {
        collector->rounds[i] = free_round(collector->rounds[i]);
    }
    for (size_t i = 0; i < COLLECTOR_PAST_MAX; i++) {
        free(collector->past[i].entries);
    }
}
