/* A combiner's edge as a model, towards the reducer: models, partial sums, the link. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world_combiner.h"

/* -- calls to the reducer --------------------------------------------------------------------- */

static bool is_linked(const struct combiner *combiner)
{
    return combiner->link != NULL && !combiner->link->is_told[0];
}

static size_t find_wanted(const struct combiner *combiner, const char *model_id)
{
    size_t i = 0;

    while (i < WORLD_MODELS_MAX && strcmp(combiner->wanted[i].model_id, model_id) != 0) {
        i++;
    }
    return i;
}

bool uplink_wants_model(const struct combiner *combiner, const char *model_id)
{
    return find_wanted(combiner, model_id) < WORLD_MODELS_MAX;
}

/* Its last bytes have come, and are its. */
static void model_whole(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const char *model_id = data;
    const size_t place = combiner_find_model(combiner, "");
    const size_t wanted = find_wanted(combiner, model_id);

    if (wanted == WORLD_MODELS_MAX) {
        return; /* not wanted any more, or here by now */
    }
    if (combiner_find_model(combiner, model_id) == WORLD_MODELS_MAX) {
        assert(place < WORLD_MODELS_MAX);
        fed_id_copy(combiner->disk.models[place], model_id);
    }
    combiner->wanted[wanted].model_id[0] = '\0';
    collector_model_ready(combiner->core, model_id, combiner_now(combiner));
    combiner_turn(combiner);
}

/* Its first bytes; when the others do not follow it is asked for again. */
static void model_came(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    struct world *world = combiner->proc.world;

    if (!uplink_wants_model(combiner, data)) {
        return;
    }
    collector_model_coming(combiner->core, data, combiner_now(combiner));
    combiner_turn(combiner);
    if (!world_point(&combiner->proc, "combiner.model_coming") && !world_is_lost(world)) {
        world_after(&combiner->proc, world_delay(world, 1, 200), model_whole,
                    combiner_copy(data, FED_ID_SIZE));
    }
}

static void model_asked(struct conn *conn, void *data)
{
    struct world *world = conn->ends[1]->world;

    if (world_find_blob(world, data) != NULL && !world_is_lost(world)) {
        world_send(world, conn, conn->ends[1], model_came, combiner_copy(data, FED_ID_SIZE), free);
    }
}

static void fetch_model(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const char *model_id = data;

    if (find_wanted(combiner, model_id) == WORLD_MODELS_MAX) {
        return;
    }
    if (combiner_find_model(combiner, model_id) < WORLD_MODELS_MAX) {
        combiner->wanted[find_wanted(combiner, model_id)].model_id[0] = '\0';
        collector_model_ready(combiner->core, model_id, combiner_now(combiner));
        combiner_turn(combiner);
        return;
    }
    if (is_linked(combiner) && !world_is_lost(proc->world)) {
        world_send(proc->world, combiner->link, proc, model_asked, combiner_copy(data, FED_ID_SIZE),
                   free);
    }
    world_after(proc, 1000, fetch_model,
                combiner_copy(data, FED_ID_SIZE)); /* unless it comes before */
}

void uplink_want_model(struct combiner *combiner, const char *model_id)
{
    const size_t i = find_wanted(combiner, "");
    char *id = combiner_copy(model_id, FED_ID_SIZE);

    assert(i < WORLD_MODELS_MAX);
    fed_id_copy(combiner->wanted[i].model_id, model_id);
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 10), fetch_model, id);
}

void uplink_drop_model(struct combiner *combiner, const char *model_id)
{
    const size_t i = combiner_find_model(combiner, model_id);
    const size_t wanted = find_wanted(combiner, model_id);

    if (i < WORLD_MODELS_MAX) {
        combiner->disk.models[i][0] = '\0';
    }
    if (wanted < WORLD_MODELS_MAX) {
        combiner->wanted[wanted].model_id[0] = '\0';
    }
}

/* -- handing over a partial ------------------------------------------------------------------- */

struct put {
    struct federation_partial partial; /* its entries are owned */
    uint64_t values[WORLD_VALUES];
    enum fed_verdict verdict;
};

static void free_put(void *data)
{
    free(((struct put *)data)->partial.entries);
    free(data);
}

static void put_answered(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    const struct put *put = data;
    struct folder *folder = combiner_find_folder(combiner, put->partial.round_id);

    if (folder == NULL || folder->put_seq != put->partial.plan_seq || conn != combiner->link) {
        return;
    }
    folder->put_seq = 0;
    collector_partial_answered(combiner->core, put->partial.round_id, put->partial.plan_seq,
                               put->verdict, combiner_now(combiner));
    combiner_turn(combiner);
}

static void put_came(struct conn *conn, void *data)
{
    struct world *world = conn->ends[1]->world;
    struct put *put = data;
    struct put *answer = calloc(1, sizeof(*answer));
    const uint64_t boot = conn->ends[1]->boot;

    assert(answer != NULL);
    memcpy(answer->partial.round_id, put->partial.round_id, sizeof(put->partial.round_id));
    answer->partial.plan_seq = put->partial.plan_seq;
    answer->verdict = FED_VERDICT_CORRUPT;
    if (world->settings.is_gentle || !world_is_lost(world)) { /* else damaged on its way */
        answer->verdict = reducer_partial(&world->reducer, &put->partial, put->values);
    }
    if (conn->ends[1]->boot != boot || world_is_lost(world)) {
        free_put(answer);
        return;
    }
    world_send(world, conn, conn->ends[1], put_answered, answer, free_put);
}

static void digest_values(const uint64_t values[WORLD_VALUES], uint8_t ret_digest[FED_DIGEST_SIZE])
{
    uint64_t halves[FED_DIGEST_SIZE / sizeof(uint64_t)] = {0};

    for (size_t i = 0; i < WORLD_VALUES; i++) {
        halves[i % 2] = halves[i % 2] * UINT64_C(0x9E3779B97F4A7C15) + values[i];
    }
    memcpy(ret_digest, halves, sizeof(halves));
}

static void put_partial(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct put *key = data;
    struct folder *folder = combiner_find_folder(combiner, key->partial.round_id);
    struct put *put;

    if (folder == NULL || folder->put_seq != key->partial.plan_seq || !is_linked(combiner)) {
        return;
    }
    assert(folder->seal_seq == folder->put_seq);
    put = calloc(1, sizeof(*put));
    assert(put != NULL);
    put->partial.plan_seq = folder->seal_seq;
    memcpy(put->partial.round_id, folder->plan.round_id, sizeof(put->partial.round_id));
    fed_id_copy(put->partial.combiner_id, combiner->disk.id);
    put->partial.entries = calloc(folder->n_sealed + 1, sizeof(*put->partial.entries));
    assert(put->partial.entries != NULL);
    if (folder->n_sealed > 0) {
        memcpy(put->partial.entries, folder->sealed,
               folder->n_sealed * sizeof(*put->partial.entries));
    }
    put->partial.n_entries = folder->n_sealed;
    memcpy(put->values, folder->sealed_values, sizeof(put->values));
    digest_values(put->values, put->partial.digest);
    if (world_is_lost(proc->world)) { /* cut */
        free_put(put);
    } else {
        world_send(proc->world, combiner->link, proc, put_came, put, free_put);
    }
    world_after(proc, 2000, put_partial,
                combiner_copy(key, sizeof(*key))); /* unless it is answered */
}

void uplink_put(struct combiner *combiner, const struct collector_action *action)
{
    struct folder *folder = combiner_find_folder(combiner, action->round_id);
    struct put key = {.partial.plan_seq = action->plan_seq};

    assert(folder != NULL);
    folder->put_seq = action->plan_seq;
    memcpy(key.partial.round_id, action->round_id, sizeof(key.partial.round_id));
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 100), put_partial,
                combiner_copy(&key, sizeof(key)));
}

/* -- the link --------------------------------------------------------------------------------- */

struct up_message {
    struct fed_up up;
};

static void free_up(void *data)
{
    fed_up_deinit(&((struct up_message *)data)->up);
    free(data);
}

static void up_came(struct conn *conn, void *data)
{
    reducer_accept(&conn->ends[1]->world->reducer, conn, &((struct up_message *)data)->up);
}

void uplink_send(struct combiner *combiner, struct fed_up *up)
{
    struct up_message *message;

    if (!is_linked(combiner)) {
        fed_up_deinit(up);
        return;
    }
    message = calloc(1, sizeof(*message));
    assert(message != NULL);
    message->up = *up;
    world_send(combiner->proc.world, combiner->link, &combiner->proc, up_came, message, free_up);
}

void uplink_send_record(struct combiner *combiner, size_t i)
{
    struct fed_up up = {.type = FED_UP_RECORD};
    char text[2 * FED_ID_SIZE + 2];

    (void)snprintf(text, sizeof(text), "%s %s", combiner->disk.outbox[i].model_id,
                   combiner->disk.outbox[i].client_id);
    up.record.json = strdup(text);
    uplink_send(combiner, &up);
}

static void dial(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);

    (void)data;
    combiner->is_dialling = false;
    if (is_linked(combiner)) {
        return;
    }
    combiner->link = combiner_now(combiner) < combiner->cut_until_ms
                         ? NULL
                         : world_connect(proc->world, proc, &proc->world->reducer.proc);
    if (combiner->link == NULL) {
        combiner->is_dialling = true;
        world_after(proc, world_delay(proc->world, 500, 5000), dial, NULL);
        return;
    }
    collector_link_up(combiner->core, combiner_now(combiner));
    combiner_turn(combiner);
    for (size_t i = 0; i < combiner->disk.n_outbox; i++) {
        uplink_send_record(combiner, i);
    }
}

void uplink_dial(struct combiner *combiner)
{
    if (!combiner->is_dialling) {
        combiner->is_dialling = true;
        world_after(&combiner->proc, world_delay(combiner->proc.world, 100, 200), dial, NULL);
    }
}

void combiner_hear(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    const struct fed_down *down = data;

    if (conn != combiner->link) {
        return;
    }
    if (down->type == FED_DOWN_REJECT) {
        world_fail(conn->ends[0]->world, "%s is rejected: %s", combiner->proc.name,
                   down->reject.reason);
        return;
    }
    if (down->type == FED_DOWN_PLAN) {
        sim_say(&combiner->proc.world->sim, "%s hears plan %s/%u", combiner->proc.name,
                down->plan.round_id, (unsigned)down->plan.plan_seq);
    } else if (down->type == FED_DOWN_CLOSE) {
        sim_say(&combiner->proc.world->sim, "%s hears close %s/%u", combiner->proc.name,
                down->close.round_id, (unsigned)down->close.plan_seq);
    }
    collector_down(combiner->core, down, combiner_now(combiner));
    combiner_turn(combiner);
}
