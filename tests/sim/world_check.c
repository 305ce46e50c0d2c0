/* The law, looked at from outside while the world runs (rules.md 1-3, 7; round-protocol.md 3-9). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

#define MARGIN_MS (2 * SECOND) /* messages, disks: what a round may take beyond its limits */

static bool is_held(const struct combiner *combiner, const struct update *update)
{
    const size_t n = sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);

    for (size_t i = 0; i < n; i++) {
        const struct folder *folder = &combiner->disk.folders[i];
        for (size_t k = 0; k < folder->n_entries; k++) {
            if (strcmp(folder->entries[k].update_id, update->update_id) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* An announcement is answered OK: if it was admitted, and has not just gone with a checkpoint, this
 * is a promise. */
void check_admitted(struct world *world,
                    const struct combiner *combiner,
                    const struct call_message *call)
{
    struct update *update = world_find_update(world, call->update_id);
    size_t n = 0;
    const struct fed_entry *entries = collector_get_admitted(combiner->core, update->round_id, &n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(entries[i].update_id, call->update_id) == 0 && is_held(combiner, update)) {
            update->is_ok = true;
            update->combiner = combiner->index;
            sim_say(&world->sim, "%s answers %s OK", combiner->proc.name, call->client_id);
        }
    }
}

/* A plan without one of a checkpoint's clients ends the promises of all that are in it, and nothing
 * else but damage does. */
void check_checkpoint_lost(struct world *world,
                           const struct combiner *combiner,
                           const struct folder *folder,
                           bool is_spoilt)
{
    const struct fed_plan *plan = &folder->plan;
    bool is_fitting = true;

    for (size_t i = 0; i < folder->checkpoint.n_entries; i++) {
        const struct fed_entry *entry = &folder->checkpoint.entries[i];
        struct update *update = world_find_update(world, entry->update_id);
        bool is_asked = false;
        for (size_t k = 0; k < plan->n_clients; k++) {
            is_asked = is_asked || strcmp(plan->client_ids[k], entry->client_id) == 0;
        }
        is_fitting = is_fitting && is_asked;
        if (update->is_ok && update->combiner == combiner->index) {
            update->is_ok = false;
            update->was_ok = true;
        }
    }
    world->n_checkpoints_lost++;
    sim_say(&world->sim, "%s loses its checkpoint of round %s", combiner->proc.name,
            plan->round_id);
    if (is_fitting && !is_spoilt) {
        world_fail(world, "%s drops a checkpoint of round %s/%u for no reason", combiner->proc.name,
                   plan->round_id, (unsigned)plan->plan_seq);
    }
}

/* A plan is journaled before it is sent: else a crash could give its number to another one. */
void check_plan_sent(struct world *world, const struct fed_plan *plan, const char *combiner_id)
{
    const size_t id = strtoull(plan->round_id, NULL, 10);
    const struct round *row =
        id > world->reducer.disk.n_rounds ? NULL : world->reducer.disk.rounds[id - 1];

    for (size_t i = 0; row != NULL && i < row->n_parts; i++) {
        if (strcmp(row->parts[i].combiner_id, combiner_id) == 0 &&
            row->parts[i].plan_seq >= plan->plan_seq) {
            return;
        }
    }
    world_fail(world, "plan %s/%u goes to %s and is not in the row", plan->round_id,
               (unsigned)plan->plan_seq, combiner_id);
}

/* By another hash its bytes would never be taken. */
void check_model_wanted(struct world *world,
                        const char *model_id,
                        const uint8_t xxh128[FED_XXH128_SIZE])
{
    uint8_t right[FED_XXH128_SIZE];

    world_hash_model(model_id, right);
    if (memcmp(xxh128, right, sizeof(right)) != 0) {
        world_fail(world, "model %s is wanted by a wrong XXH3", model_id);
    }
}

/* Nobody whose update was answered OK trains again. A Confed client that moves to another combiner
 * answers from its kept update, and so does one whose update went with a checkpoint; so nobody ever
 * trains twice but a FEDn client of such a one, unless a disk is gone. */
void check_trains(struct world *world, const struct client *client)
{
    for (size_t i = 0; i < world->n_updates; i++) {
        const struct update *update = &world->updates[i];
        if ((update->is_ok || (update->was_ok && !client->is_fedn)) &&
            strcmp(update->client_id, client->proc.name) == 0 &&
            strcmp(update->round_id, client->task.round_id) == 0 && !world->is_disk_lost) {
            world_fail(world, "%s trains round %s again: %s was answered OK", client->proc.name,
                       client->task.round_id, update->update_id);
        }
    }
}

static const struct fed_entry *find_entry(const struct round *row, const char *client_id)
{
    for (size_t i = 0; i < row->n_parts; i++) {
        for (size_t j = 0; j < row->parts[i].n_entries; j++) {
            if (strcmp(row->parts[i].entries[j].client_id, client_id) == 0) {
                return &row->parts[i].entries[j];
            }
        }
    }
    return NULL;
}

static bool is_lost(const struct round *row, const char *client_id)
{
    for (size_t i = 0; i < row->n_refused; i++) {
        if (row->refused[i].reason == FED_REFUSAL_COMBINER_LOST &&
            strcmp(row->refused[i].client_id, client_id) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_fenced(const struct world *world, const struct round *row, unsigned combiner)
{
    for (size_t i = 0; i < row->n_parts; i++) {
        if (strcmp(row->parts[i].combiner_id, world->combiners[combiner].disk.id) == 0) {
            return row->parts[i].fenced_plan_seq > 0;
        }
    }
    return false;
}

/* It was moved to a combiner that was given up then. */
static bool is_moved_and_lost(const struct round *row, const char *client_id)
{
    const struct round_client *client = round_find_client(row, client_id);

    return client != NULL && row->parts[client->part].fenced_plan_seq > 0;
}

static void check_entry(struct world *world,
                        const struct round *row,
                        const struct fed_entry *entry,
                        uint64_t *values)
{
    const struct update *update = world_find_update(world, entry->update_id);
    const struct round_client *client = round_find_client(row, entry->client_id);

    if (update == NULL || client == NULL || update->is_poison ||
        update->examples != entry->examples || strcmp(update->client_id, entry->client_id) != 0 ||
        strcmp(update->round_id, row->round_id) != 0 ||
        strcmp(update->base_model_id, row->base_model_id) != 0) {
        world_fail(world, "round %s counts %s of %s, which it must not", row->round_id,
                   entry->update_id, entry->client_id);
        return;
    }
    world_add_update(values, update);
}

/* The model is its base and each of its entries once; its entries are of different clients. */
static void check_model(struct world *world, const struct round *row)
{
    const struct blob *base = world_find_blob(world, row->base_model_id);
    const struct blob *model = world_find_blob(world, row->model_id);
    uint64_t values[WORLD_VALUES];
    size_t n = 0;

    if (base == NULL || model == NULL) {
        world_fail(world, "round %s: its model or base is not in the store", row->round_id);
        return;
    }
    memcpy(values, base->values, sizeof(values));
    for (size_t i = 0; i < row->n_parts; i++) {
        for (size_t j = 0; j < row->parts[i].n_entries; j++) {
            const struct fed_entry *entry = &row->parts[i].entries[j];
            check_entry(world, row, entry, values);
            if (find_entry(row, entry->client_id) != entry) {
                world_fail(world, "round %s counts %s twice", row->round_id, entry->client_id);
            }
            n++;
        }
    }
    if (memcmp(values, model->values, sizeof(values)) != 0) {
        world_fail(world, "round %s: its model is not the sum of its %zu entries", row->round_id,
                   n);
    }
    if (n < world->settings.clients_required) {
        world_fail(world, "round %s is committed with %zu updates", row->round_id, n);
    }
}

/* Who was admitted and answered OK counts, unless its combiner was given up. */
static void check_promises(struct world *world, const struct round *row)
{
    for (size_t i = 0; i < world->n_updates; i++) {
        const struct update *update = &world->updates[i];
        if (update->is_ok && strcmp(update->round_id, row->round_id) == 0 &&
            find_entry(row, update->client_id) == NULL && !is_lost(row, update->client_id) &&
            !is_fenced(world, row, update->combiner) &&
            !is_moved_and_lost(row, update->client_id) && !world->is_disk_lost) {
            world_fail(world, "round %s: %s of %s was answered OK and does not count",
                       row->round_id, update->update_id, update->client_id);
        }
    }
}

static void check_time(struct world *world, const struct round *row)
{
    const uint64_t limit_ms =
        row->deadline_ms + 5 * SECOND + MARGIN_MS + world->reducer.disk.away_ms;

    if (world->sim.now_ms > limit_ms) {
        world_fail(world, "round %s ended %u ms after its deadline", row->round_id,
                   (unsigned)(world->sim.now_ms - row->deadline_ms));
    }
}

static void check_base(struct world *world, const struct round *row)
{
    const char *base = "seed";

    for (size_t i = 0; i + 1 < world->reducer.disk.n_rounds; i++) {
        const struct round *earlier = world->reducer.disk.rounds[i];
        if (earlier != NULL && earlier->state == ROUND_COMMITTED) {
            base = earlier->model_id;
        }
        if (earlier != NULL && earlier->state < ROUND_COMMITTED) {
            world_fail(world, "round %s begins while round %s is open", row->round_id,
                       earlier->round_id);
        }
    }
    if (strcmp(base, row->base_model_id) != 0 && row->n_clients > 0) {
        world_fail(world, "round %s begins from %s, not from %s", row->round_id, row->base_model_id,
                   base);
    }
}

static void say_row(struct world *world, const struct round *row)
{
    char text[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < row->n_clients && used < sizeof(text); i++) {
        const struct round_client *client = &row->clients[i];
        const bool is_in =
            row->state != ROUND_COMMITTED || find_entry(row, client->client_id) != NULL;
        used += (size_t)snprintf(text + used, sizeof(text) - used, is_in ? " %s" : " (%s)",
                                 client->client_id);
    }
    sim_say(&world->sim, "round %s %s:%s%s%s", row->round_id,
            row->state < ROUND_COMMITTED ? "planned" : round_state_name(row->state), text,
            row->failure[0] == '\0' ? "" : ", ", row->failure);
}

/* When nothing is away for long everybody counts, and nobody is waited for in vain. */
static void check_gentle(struct world *world, const struct round *row)
{
    const size_t id = strtoull(row->round_id, NULL, 10);
    const uint64_t took_ms = world->sim.now_ms - world->reducer.disk.planned_ms[id - 1];

    if (row->state != ROUND_COMMITTED) {
        world_fail(world, "round %s has ended as %s", row->round_id, row->failure);
    }
    for (size_t i = 0; i < row->n_clients; i++) {
        if (find_entry(row, row->clients[i].client_id) == NULL) {
            world_fail(world, "round %s does not count %s, who had time enough", row->round_id,
                       row->clients[i].client_id);
        }
    }
    if (id > 1 && world->reducer.disk.rounds[id - 2] != NULL && !world->is_client_hit &&
        row->n_clients < world->reducer.disk.rounds[id - 2]->n_clients) {
        world_fail(world, "round %s has shrunk", row->round_id);
    }
    if (took_ms > 150 * SECOND) {
        world_fail(world, "round %s took %u s", row->round_id, (unsigned)(took_ms / SECOND));
    }
}

void check_round_written(struct world *world, const struct round *before, const struct round *after)
{
    say_row(world, after);
    if (before != NULL && before->state >= ROUND_COMMITTED) {
        world_fail(world, "round %s is written again after its end", after->round_id);
    }
    if (before == NULL) {
        check_base(world, after);
    }
    if (after->state == ROUND_COMMITTED) {
        check_model(world, after);
        check_promises(world, after);
    }
    if (after->state >= ROUND_COMMITTED && after->n_clients > 0) {
        check_time(world, after);
    }
    if (after->state >= ROUND_COMMITTED && world->settings.is_gentle) {
        check_gentle(world, after);
    }
}

void check_end(struct world *world)
{
    const struct reducer *reducer = &world->reducer;
    uint32_t n_final = 0;
    uint32_t n_failed = 0;

    if (!reducer_is_over(reducer)) {
        world_fail(world, "the session has not ended after %u s",
                   (unsigned)(world->sim.now_ms / SECOND));
        return;
    }
    for (size_t i = 0; i < reducer->disk.n_rounds; i++) {
        const struct round *row = reducer->disk.rounds[i];
        n_final += row != NULL && row->state >= ROUND_COMMITTED ? 1 : 0;
        n_failed += row != NULL && row->state == ROUND_FAILED ? 1 : 0;
        if (row != NULL && row->state < ROUND_COMMITTED) {
            world_fail(world, "round %s was left open", row->round_id);
        }
    }
    if (n_final != world->settings.rounds || n_failed != reducer->disk.failed_rounds ||
        n_final != reducer->disk.rounds_done) {
        world_fail(world, "%u rounds ended (%u failed), the session's row says %u (%u), wanted %u",
                   n_final, n_failed, reducer->disk.rounds_done, reducer->disk.failed_rounds,
                   world->settings.rounds);
    }
    for (unsigned i = 0; i < world->settings.n_combiners; i++) {
        if (!combiner_is_empty(&world->combiners[i])) {
            world_fail(world, "%s keeps a round that is over", world->combiners[i].proc.name);
        }
    }
}
