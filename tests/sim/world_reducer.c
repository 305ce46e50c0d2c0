/* The reducer's edge as a model: rows, blobs, sums, links. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

/* -- rows ------------------------------------------------------------------------------------- */

static void *copy(const void *items, size_t n_items, size_t item_size)
{
    void *out = calloc(n_items + 1, item_size);

    assert(out != NULL);
    if (n_items > 0) {
        memcpy(out, items, n_items * item_size);
    }
    return out;
}

/* What a row holds of a round. */
static struct round *copy_round(const struct round *round)
{
    struct round *out = copy(round, 1, sizeof(*round));

    out->clients = copy(round->clients, round->n_clients, sizeof(*round->clients));
    out->refused = NULL;
    if (round->n_refused > 0) {
        out->refused = calloc(ROUND_REFUSALS_MAX, sizeof(*out->refused));
        assert(out->refused != NULL);
        memcpy(out->refused, round->refused, round->n_refused * sizeof(*out->refused));
    }
    out->scale_bits = copy(round->scale_bits, round->n_tensors, sizeof(*round->scale_bits));
    out->parts = calloc(ROSTER_COMBINERS_MAX, sizeof(*out->parts));
    assert(out->parts != NULL);
    memcpy(out->parts, round->parts, round->n_parts * sizeof(*round->parts));
    for (size_t i = 0; i < round->n_parts; i++) {
        struct round_part *part = &out->parts[i];
        part->entries = part->state == PART_ADDED
                            ? copy(part->entries, part->n_entries, sizeof(*part->entries))
                            : NULL;
        part->n_entries = part->entries == NULL ? 0 : part->n_entries;
    }
    return out;
}

/* As it is read again by another process: what was only heard is gone. */
static struct round *read_round(const struct round *row)
{
    struct round *round = copy_round(row);

    round->state = ROUND_PLANNED;
    round->planned_ms = 0;
    for (size_t i = 0; i < round->n_clients; i++) {
        round->clients[i].is_admitted = false;
        round->clients[i].refusal = FED_REFUSAL_NONE;
        round->clients[i].update_id[0] = '\0';
    }
    for (size_t i = 0; i < round->n_parts; i++) {
        struct round_part *part = &round->parts[i];
        free(part->entries);
        part->entries = NULL;
        part->n_entries = 0;
        part->state = part->plan_seq <= part->fenced_plan_seq ? PART_FENCED : PART_WAITING;
        part->n_corrupt = 0;
        part->is_sent = false;
    }
    return round;
}

static bool is_final(const struct round *row)
{
    return row->state >= ROUND_COMMITTED;
}

static struct round *newest_row(const struct reducer *reducer)
{
    return reducer->disk.n_rounds == 0 ? NULL : reducer->disk.rounds[reducer->disk.n_rounds - 1];
}

static void write_row(struct reducer *reducer, struct round *row)
{
    const size_t id = strtoull(row->round_id, NULL, 10);
    struct world *world = reducer->proc.world;
    struct round *before;

    while (reducer->disk.n_rounds < id) {
        const size_t n = reducer->disk.n_rounds + 1;
        reducer->disk.rounds = realloc(reducer->disk.rounds, n * sizeof(struct round *));
        reducer->disk.ended_ms = realloc(reducer->disk.ended_ms, n * sizeof(uint64_t));
        reducer->disk.planned_ms = realloc(reducer->disk.planned_ms, n * sizeof(uint64_t));
        assert(reducer->disk.rounds != NULL);
        assert(reducer->disk.ended_ms != NULL);
        assert(reducer->disk.planned_ms != NULL);
        reducer->disk.rounds[n - 1] = NULL;
        reducer->disk.planned_ms[n - 1] = world->sim.now_ms;
        reducer->disk.n_rounds = n;
    }
    before = reducer->disk.rounds[id - 1];
    if (before != NULL && before->version != row->version) {
        world_fail(world, "round %s: its row has version %u, written over %u", row->round_id,
                   (unsigned)before->version, (unsigned)row->version);
    }
    row->version++;
    reducer->disk.ended_ms[id - 1] = world->sim.now_ms;
    reducer->disk.rounds[id - 1] = row;
    reducer->disk.next_round_id =
        id + 1 > reducer->disk.next_round_id ? id + 1 : reducer->disk.next_round_id;
    check_round_written(world, before, row);
    (void)round_free(before);
}

/* -- errands ---------------------------------------------------------------------------------- */

static void free_errand(struct errand *errand)
{
    (void)round_free(errand->round);
    free(errand);
}

static void free_line(struct line *line)
{
    while (line->first != NULL) {
        struct errand *next = line->first->next;
        free_errand(line->first);
        line->first = next;
    }
    *line = (struct line){0};
}

static struct federation_base make_base(const char *model_id)
{
    struct federation_base base = {.n_tensors = 1, .n_elements = WORLD_VALUES};

    fed_id_copy(base.model_id, model_id);
    (void)snprintf((char *)base.sha256, sizeof(base.sha256), "%.31s", model_id);
    world_hash_model(model_id, base.xxh128);
    base.exponents = calloc(1, sizeof(*base.exponents));
    assert(base.exponents != NULL);
    return base;
}

static uint64_t mix(uint64_t hash, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001B3);
    }
    return hash * UINT64_C(0x9E3779B97F4A7C15);
}

/* The id of a model is a function of what it contains. */
static void name_model(const struct round *round,
                       const struct fed_entry *entries,
                       size_t n_entries,
                       char ret_id[FED_UUID_SIZE])
{
    uint64_t hash[2] = {mix(1, round->round_id), mix(2, round->base_model_id)};

    for (size_t i = 0; i < n_entries; i++) {
        hash[0] = mix(mix(hash[0], entries[i].client_id), entries[i].update_id);
        hash[1] = mix(hash[1], entries[i].update_id) + entries[i].examples;
    }
    fed_uuid_from_hash((const uint8_t *)hash, ret_id);
}

/* base + sum → blob. False: the process died. */
static bool
finish(struct reducer *reducer, const struct round *round, struct federation_base *ret_base)
{
    const struct blob *base = world_find_blob(reducer->proc.world, round->base_model_id);
    struct fed_entry *entries = NULL;
    uint64_t values[WORLD_VALUES];
    char model_id[FED_UUID_SIZE];
    struct fed_ahead ahead = {0};
    size_t n_entries = 0;
    uint64_t sum = 0;

    assert(base != NULL);
    assert(round_list_entries(round, &entries, &n_entries, &sum, NULL) == 0);
    name_model(round, entries, n_entries, model_id);
    free(entries);
    for (unsigned i = 0; i < WORLD_VALUES; i++) {
        values[i] = base->values[i] + reducer->sum[i];
    }
    world_put_blob(reducer->proc.world, model_id, values);
    *ret_base = make_base(model_id);
    fed_id_copy(ahead.model_id, model_id);
    memcpy(ahead.xxh128, ret_base->xxh128, sizeof(ahead.xxh128));
    ahead.size_bytes = ret_base->size_bytes;
    federation_made(reducer->core, &ahead);
    reducer_turn(reducer);
    if (world_point(&reducer->proc, "reducer.blob_written")) {
        federation_base_deinit(ret_base);
        return false;
    }
    return true;
}

static void derive(struct reducer *reducer, const struct round *row, uint32_t done, uint32_t failed)
{
    reducer->disk.rounds_done = done;
    reducer->disk.failed_rounds = failed;
    if (row->state == ROUND_COMMITTED) {
        fed_id_copy(reducer->disk.base_model_id, row->model_id);
    }
}

/* Before the rows are written, and after: false: the process died. */
static bool write_errand(struct reducer *reducer, struct errand *errand)
{
    struct proc *proc = &reducer->proc;
    const bool is_new = errand->round != NULL && errand->round->version == 0;
    const bool is_last = errand->round != NULL && is_final(errand->round);

    if ((is_new && world_point(proc, "reducer.before_planned")) ||
        (is_last && world_point(proc, "reducer.before_committed"))) {
        return false;
    }
    if (errand->type == FEDERATION_STORE_START) {
        reducer->disk.is_running = true;
    } else if (errand->type == FEDERATION_STORE_ROUND) {
        write_row(reducer, errand->round);
        errand->round = NULL;
    } else if (errand->type == FEDERATION_STORE_DERIVED) {
        derive(reducer, errand->round, errand->rounds_done, errand->failed_rounds);
    } else if (errand->type == FEDERATION_STORE_SESSION) {
        reducer->disk.is_terminated = errand->is_terminated;
    } else {
        assert(errand->type == FEDERATION_STORE_END);
        reducer->disk.is_running = false;
        reducer->disk.is_ended = true;
        sim_say(&proc->world->sim, "the session has ended: %u rounds, %u of them failed",
                reducer->disk.rounds_done, reducer->disk.failed_rounds);
    }
    if (errand->type == FEDERATION_STORE_ROUND && is_last) {
        return !world_point(proc, "reducer.committed");
    }
    if (is_new) {
        return !world_point(proc, "reducer.planned");
    }
    return !world_point(proc, "reducer.written");
}

static void sum_errand(struct reducer *reducer, struct errand *errand)
{
    const uint64_t now_ms = reducer->proc.world->sim.now_ms;
    struct federation_base base;

    if (errand->type == FEDERATION_LOAD_BASE) {
        base = make_base(errand->model_id);
        federation_base_loaded(reducer->core, &base, now_ms);
    } else if (errand->type == FEDERATION_RESET_SUM) {
        memset(reducer->sum, 0, sizeof(reducer->sum));
    } else if (errand->type == FEDERATION_ADD_PARTIAL) {
        for (unsigned i = 0; i < WORLD_VALUES; i++) {
            reducer->sum[i] += errand->values[i];
        }
        federation_added(reducer->core, errand->token, now_ms);
    } else {
        assert(errand->type == FEDERATION_FINISH);
        if (finish(reducer, errand->round, &base)) {
            federation_finished(reducer->core, &base, now_ms);
        }
    }
}

static void kick(struct reducer *reducer, struct line *line);

static struct errand *take_errand(struct line *line)
{
    struct errand *errand = line->first;

    line->first = errand->next;
    line->last = line->first == NULL ? NULL : line->last;
    line->is_busy = false;
    return errand;
}

static bool is_away(struct reducer *reducer)
{
    return reducer->proc.world->sim.now_ms < reducer->disk.away_until_ms;
}

static void work_journal(struct proc *proc, void *data)
{
    struct reducer *reducer = &proc->world->reducer;
    struct errand *errand;

    (void)data;
    if (is_away(reducer)) {
        world_after(proc, world_delay(proc->world, 200, 1000), work_journal, NULL);
        return;
    }
    errand = take_errand(&reducer->journal);
    if (write_errand(reducer, errand)) {
        if (errand->type != FEDERATION_STORE_SESSION) {
            federation_done(reducer->core, proc->world->sim.now_ms);
        }
        reducer_turn(reducer);
        kick(reducer, &reducer->journal);
    }
    free_errand(errand);
}

static void work_sums(struct proc *proc, void *data)
{
    struct reducer *reducer = &proc->world->reducer;
    struct errand *errand;

    (void)data;
    if (is_away(reducer)) {
        world_after(proc, world_delay(proc->world, 200, 1000), work_sums, NULL);
        return;
    }
    errand = take_errand(&reducer->sums);
    sum_errand(reducer, errand);
    if (reducer->core != NULL) {
        reducer_turn(reducer);
        kick(reducer, &reducer->sums);
    }
    free_errand(errand);
}

static void kick(struct reducer *reducer, struct line *line)
{
    if (reducer->core != NULL && !line->is_busy && line->first != NULL) {
        line->is_busy = true;
        world_after(&reducer->proc, world_delay(reducer->proc.world, 1, 12),
                    line == &reducer->journal ? work_journal : work_sums, NULL);
    }
}

static void submit(struct reducer *reducer, struct line *line, struct errand *errand)
{
    if (line->last == NULL) {
        line->first = errand;
    } else {
        line->last->next = errand;
    }
    line->last = errand;
    kick(reducer, line);
}

/* -- actions ---------------------------------------------------------------------------------- */

static void free_down(void *data)
{
    fed_down_deinit(data);
    free(data);
}

static struct conn *find_link(struct reducer *reducer, uint64_t link)
{
    struct world *world = reducer->proc.world;

    return link == 0 || link > world->n_conns ? NULL : world->conns[link - 1];
}

static bool send_down(struct reducer *reducer, struct federation_action *action)
{
    struct conn *conn = find_link(reducer, action->link);
    struct fed_down *down;

    if (conn == NULL || conn->is_told[1]) {
        fed_down_deinit(&action->down);
        return true;
    }
    if (action->down.type == FED_DOWN_PLAN) {
        const struct roster_combiner *combiner =
            roster_find_link(federation_get_roster(reducer->core), action->link);
        check_plan_sent(reducer->proc.world, &action->down.plan,
                        combiner == NULL ? "" : combiner->combiner_id);
    }
    down = copy(&action->down, 1, sizeof(*down));
    world_send(reducer->proc.world, conn, &reducer->proc, combiner_hear, down, free_down);
    return action->down.type != FED_DOWN_PLAN || !world_point(&reducer->proc, "reducer.plan_sent");
}

static struct errand *make_errand(struct reducer *reducer, const struct federation_action *action)
{
    struct errand *errand = calloc(1, sizeof(*errand));
    const struct federation_session *session = federation_get_session(reducer->core);
    const struct round *round = federation_get_round(reducer->core);

    assert(errand != NULL);
    errand->type = action->type;
    errand->token = action->token;
    if (action->type == FEDERATION_LOAD_BASE) {
        fed_id_copy(errand->model_id, action->text);
    }
    if (action->type == FEDERATION_STORE_ROUND || action->type == FEDERATION_STORE_DERIVED ||
        action->type == FEDERATION_FINISH) {
        errand->round = copy_round(round);
    }
    if (session != NULL) {
        errand->rounds_done = session->rounds_done;
        errand->failed_rounds = session->failed_rounds;
        errand->is_terminated = federation_is_terminated(reducer->core);
    }
    return errand;
}

static void carry_out(struct reducer *reducer, struct federation_action *action)
{
    struct errand *errand;

    switch (action->type) {
    case FEDERATION_SEND:
        (void)send_down(reducer, action);
        break;
    case FEDERATION_CLOSE_LINK:
        if (find_link(reducer, action->link) != NULL) {
            world_disconnect(reducer->proc.world, find_link(reducer, action->link), false);
        }
        break;
    case FEDERATION_STORE_START:
    case FEDERATION_STORE_ROUND:
    case FEDERATION_STORE_DERIVED:
    case FEDERATION_STORE_SESSION:
    case FEDERATION_STORE_END:
        submit(reducer, &reducer->journal, make_errand(reducer, action));
        break;
    case FEDERATION_LOAD_BASE:
    case FEDERATION_RESET_SUM:
    case FEDERATION_FINISH:
        submit(reducer, &reducer->sums, make_errand(reducer, action));
        break;
    case FEDERATION_ADD_PARTIAL:
        assert(reducer->partial.token == action->token);
        errand = make_errand(reducer, action);
        memcpy(errand->values, reducer->partial.values, sizeof(errand->values));
        submit(reducer, &reducer->sums, errand);
        break;
    case FEDERATION_DROP_PARTIAL:
    case FEDERATION_ANSWER:
    case FEDERATION_ACTION_MAX:
        break;
    }
}

static void tick(struct proc *proc, void *data)
{
    struct reducer *reducer = &proc->world->reducer;

    (void)data;
    reducer->tick_ms = UINT64_MAX;
    federation_tick(reducer->core, proc->world->sim.now_ms);
    reducer_turn(reducer);
}

static void arm(struct reducer *reducer)
{
    const uint64_t due_ms = federation_due_ms(reducer->core);
    const uint64_t now_ms = reducer->proc.world->sim.now_ms;

    if (due_ms < reducer->tick_ms) {
        reducer->tick_ms = due_ms;
        world_after(&reducer->proc, due_ms > now_ms ? due_ms - now_ms : 0, tick, NULL);
    }
}

void reducer_turn(struct reducer *reducer)
{
    struct federation_action action;

    while (reducer->core != NULL && federation_take_action(reducer->core, &action)) {
        carry_out(reducer, &action);
    }
    if (reducer->core != NULL) {
        arm(reducer);
    }
}

/* -- from combiners and clients --------------------------------------------------------------- */

void reducer_accept(struct reducer *reducer, struct conn *conn, struct fed_up *up)
{
    struct world *world = reducer->proc.world;
    bool is_new = true;

    if (up->type != FED_UP_RECORD) {
        federation_up(reducer->core, conn->id, up, world->sim.now_ms);
        if (up->type != FED_UP_ADMITTED || !world_point(&reducer->proc, "reducer.collecting")) {
            reducer_turn(reducer);
        }
        return;
    }
    /* json: "model client" */
    const char *blank = strchr(up->record.json, ' ');
    for (size_t i = 0; i < reducer->disk.n_validations && is_new; i++) {
        is_new = strcmp(reducer->disk.validations[i].client_id, blank + 1) != 0 ||
                 strncmp(reducer->disk.validations[i].model_id, up->record.json,
                         (size_t)(blank - up->record.json)) != 0;
    }
    if (is_new) {
        const size_t n = ++reducer->disk.n_validations;
        reducer->disk.validations =
            realloc(reducer->disk.validations, n * sizeof(*reducer->disk.validations));
        assert(reducer->disk.validations != NULL);
        (void)snprintf(reducer->disk.validations[n - 1].model_id, FED_ID_SIZE, "%.*s",
                       (int)(blank - up->record.json), up->record.json);
        fed_id_copy(reducer->disk.validations[n - 1].client_id, blank + 1);
        federation_validated(reducer->core, reducer->disk.validations[n - 1].model_id, blank + 1);
        reducer_turn(reducer);
    }
}

static const char *verdict_word(enum fed_verdict verdict)
{
    static const char *const words[] = {[FED_VERDICT_ACCEPTED] = "accepted",
                                        [FED_VERDICT_DUPLICATE] = "known",
                                        [FED_VERDICT_STALE] = "stale",
                                        [FED_VERDICT_OVER] = "over",
                                        [FED_VERDICT_CORRUPT] = "corrupt"};

    return words[verdict];
}

enum fed_verdict
reducer_partial(struct reducer *reducer, struct federation_partial *partial, const uint64_t *values)
{
    struct world *world = reducer->proc.world;
    char detail[FED_LINK_DETAIL_SIZE];
    enum fed_verdict verdict;

    partial->token = ++reducer->next_token;
    reducer->partial.token = partial->token;
    memcpy(reducer->partial.values, values, sizeof(reducer->partial.values));
    sim_say(&world->sim, "%s hands over round %s/%u, %zu updates", partial->combiner_id,
            partial->round_id, (unsigned)partial->plan_seq, partial->n_entries);
    verdict = federation_partial(reducer->core, partial, world->sim.now_ms, detail);
    sim_say(&world->sim, "  %s", verdict_word(verdict));
    if (verdict == FED_VERDICT_ACCEPTED &&
        world_point(&reducer->proc, "reducer.partial_received")) {
        return verdict;
    }
    reducer_turn(reducer);
    return verdict;
}

int reducer_assign(struct reducer *reducer, const char *client_id)
{
    struct world *world = reducer->proc.world;
    const struct roster_combiner *combiner;

    if (reducer->core == NULL) {
        return -1;
    }
    combiner = roster_assign(federation_get_roster_mutable(reducer->core), client_id, NULL,
                             world->sim.now_ms);
    for (unsigned i = 0; i < world->settings.n_combiners && combiner != NULL; i++) {
        if (strcmp(world->combiners[i].disk.id, combiner->combiner_id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* -- life ------------------------------------------------------------------------------------- */

static struct federation_session make_session(const struct reducer *reducer)
{
    const struct world_settings *settings = &reducer->proc.world->settings;
    struct federation_session session = {
        .session_id = "s",
        .seed = 1,
        .rounds_total = settings->rounds,
        .rounds_done = reducer->disk.rounds_done,
        .failed_rounds = reducer->disk.failed_rounds,
        .round_timeout_ms = settings->round_timeout_ms,
        .buffer_size = settings->buffer_size,
        .clients_required = settings->clients_required,
        .clients_per_round = settings->clients_per_round,
        .is_validating = settings->is_validating,
    };

    fed_id_copy(session.base_model_id, reducer->disk.base_model_id);
    return session;
}

/* The user: tries until the session has started. */
static void ask_start(struct proc *proc, void *data)
{
    struct reducer *reducer = &proc->world->reducer;
    struct federation_session session;

    (void)data;
    if (reducer->disk.is_running || reducer->disk.is_ended ||
        federation_get_state(reducer->core) != FEDERATION_IDLE) {
        return;
    }
    session = make_session(reducer);
    federation_start(reducer->core, &session, 1, proc->world->sim.now_ms);
    reducer_turn(reducer);
    world_after(proc, 1000, ask_start, NULL);
}

static void resume(struct reducer *reducer)
{
    const struct round *row = newest_row(reducer);
    const uint64_t now_ms = reducer->proc.world->sim.now_ms;
    const uint64_t timeout_ms = reducer->proc.world->settings.round_timeout_ms;
    struct federation_session session;
    struct federation_standing standing;
    struct round *round = NULL;
    char(*expected)[FED_ID_SIZE] = calloc(WORLD_CLIENTS_MAX, FED_ID_SIZE);
    size_t n_expected = 0;

    assert(expected != NULL);
    if (row != NULL && is_final(row) && row->round_number == reducer->disk.rounds_done + 1) {
        derive(reducer, row, row->round_number,
               reducer->disk.failed_rounds + (row->state == ROUND_FAILED ? 1 : 0));
    }
    session = make_session(reducer);
    if (row != NULL && row->state == ROUND_COMMITTED) {
        memcpy(session.base_round_id, row->round_id, sizeof(session.base_round_id));
    }
    if (row != NULL && !is_final(row)) {
        const uint64_t grace_ms = timeout_ms < 30 * SECOND ? timeout_ms : 30 * SECOND;
        uint64_t left_ms = row->deadline_ms > now_ms ? row->deadline_ms - now_ms : 0;
        left_ms = left_ms < grace_ms ? grace_ms : left_ms;
        round = read_round(row);
        round->deadline_ms = now_ms + (left_ms > timeout_ms ? timeout_ms : left_ms);
        /* the model's clock is one for all: what the row says next is judged by this */
    }
    for (size_t i = 0; row != NULL && i < row->n_clients; i++) {
        fed_id_copy(expected[n_expected++], row->clients[i].client_id);
    }
    standing = (struct federation_standing){
        .session = session,
        .round = round,
        .expected = (const char(*)[FED_ID_SIZE])expected,
        .n_expected = n_expected,
        .is_terminated = reducer->disk.is_terminated,
    };
    assert(federation_resume(reducer->core, &standing, now_ms, NULL) == 0);
    free(expected);
}

static void start(struct proc *proc)
{
    struct reducer *reducer = &proc->world->reducer;
    struct federation_config config = {
        .heartbeat_limit_ms = 10 * SECOND,
        .reattach_grace_ms = 30 * SECOND,
        .combiner_grace_ms = 15 * SECOND,
        .close_timeout_ms = 5 * SECOND,
        .examples_max = 1000,
    };

    (void)snprintf(config.boot_id, sizeof(config.boot_id), "%u", (unsigned)proc->boot);
    assert(federation_new(&config, reducer->disk.next_round_id, proc->world->sim.now_ms,
                          &reducer->core, NULL) == 0);
    reducer->tick_ms = UINT64_MAX;
    if (reducer->disk.is_running) {
        resume(reducer);
    }
    reducer_turn(reducer);
    world_after(proc, 500, ask_start, NULL);
}

static void stop(struct proc *proc)
{
    struct reducer *reducer = &proc->world->reducer;

    reducer->core = federation_free(reducer->core);
    free_line(&reducer->journal);
    free_line(&reducer->sums);
    memset(reducer->sum, 0xEE, sizeof(reducer->sum));
}

static void lost(struct proc *proc, struct conn *conn)
{
    struct reducer *reducer = &proc->world->reducer;

    federation_link_closed(reducer->core, conn->id, proc->world->sim.now_ms);
    reducer_turn(reducer);
}

bool reducer_is_over(const struct reducer *reducer)
{
    return reducer->disk.is_ended && reducer->core != NULL &&
           federation_get_state(reducer->core) == FEDERATION_IDLE;
}

void reducer_init(struct world *world)
{
    world->reducer.proc = (struct proc){
        .world = world, .name = "reducer", .start = start, .stop = stop, .lost = lost};
    world->reducer.disk.next_round_id = 1;
    fed_id_copy(world->reducer.disk.base_model_id, "seed");
}

void reducer_deinit(struct reducer *reducer)
{
    stop(&reducer->proc);
    for (size_t i = 0; i < reducer->disk.n_rounds; i++) {
        (void)round_free(reducer->disk.rounds[i]);
    }
    free(reducer->disk.rounds);
    free(reducer->disk.ended_ms);
    free(reducer->disk.planned_ms);
    free(reducer->disk.validations);
}
