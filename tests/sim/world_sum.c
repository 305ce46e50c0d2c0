/* A round's sum at a combiner, as a model: what tally.h and the ledger's sum lane promise. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world_combiner.h"

int sum_compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
}

static const struct fed_entry *
find(const struct fed_entry *entries, size_t n_entries, const char *client_id)
{
    for (size_t i = 0; i < n_entries; i++) {
        if (strcmp(entries[i].client_id, client_id) == 0) {
            return &entries[i];
        }
    }
    return NULL;
}

static bool is_in_plan(const struct fed_plan *plan, const char *client_id)
{
    for (size_t i = 0; i < plan->n_clients; i++) {
        if (strcmp(plan->client_ids[i], client_id) == 0) {
            return true;
        }
    }
    return false;
}

/* -- a checkpoint is lost ---------------------------------------------------------------------- */

struct loss {
    char round_id[FED_ROUND_ID_SIZE];
    struct fed_entry entries[WORLD_CLIENTS_MAX];
    size_t n_entries;
};

static void work_lost(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct loss *loss = data;

    if (world_point(proc, "combiner.checkpoint_lost")) {
        return;
    }
    collector_lost(combiner->core, loss->round_id, loss->entries, loss->n_entries,
                   combiner_now(combiner));
    combiner_turn(combiner);
}

/* It goes, and with it what was in it: their files have gone before. */
static struct loss lose(struct combiner *combiner, struct folder *folder, bool is_spoilt)
{
    struct checkpoint *checkpoint = &folder->checkpoint;
    struct loss loss = {.n_entries = checkpoint->n_entries};
    size_t n = 0;

    check_checkpoint_lost(combiner->proc.world, combiner, folder, is_spoilt);
    memcpy(loss.round_id, folder->plan.round_id, sizeof(loss.round_id));
    memcpy(loss.entries, checkpoint->entries, sizeof(loss.entries));
    for (size_t i = 0; i < folder->n_entries; i++) {
        if (find(loss.entries, loss.n_entries, folder->entries[i].client_id) == NULL) {
            folder->entries[n++] = folder->entries[i];
        }
    }
    folder->n_entries = n;
    folder->lost = realloc(folder->lost, (folder->n_lost + loss.n_entries) * sizeof(*folder->lost));
    assert(folder->lost != NULL);
    memcpy(folder->lost + folder->n_lost, loss.entries, loss.n_entries * sizeof(*loss.entries));
    folder->n_lost += loss.n_entries;
    *checkpoint = (struct checkpoint){0};
    return loss;
}

static bool fits(const struct folder *folder)
{
    bool fits = true;

    for (size_t i = 0; i < folder->checkpoint.n_entries; i++) {
        fits = fits && is_in_plan(&folder->plan, folder->checkpoint.entries[i].client_id);
    }
    return fits;
}

static bool is_spoilt(struct combiner *combiner)
{
    struct world *world = combiner->proc.world;
    const struct federation *reducer = world->reducer.core;
    const struct round *round = reducer == NULL ? NULL : federation_get_round(reducer);

    /* A gentle world does it only while there is time to ask again. */
    return world->sim.now_ms < world->settings.faults_until_ms &&
           (!world->settings.is_gentle || (round != NULL && round->state == ROUND_OPEN)) &&
           sim_chance(&world->sim, world->settings.spoil);
}

void sum_recover(struct combiner *combiner, struct folder *folder)
{
    const bool is_bad = is_spoilt(combiner);

    if (folder->checkpoint.n_entries > 0 && (is_bad || !fits(folder))) {
        (void)lose(combiner, folder, is_bad);
    }
}

/* -- reset, fold, checkpoint ------------------------------------------------------------------- */

void sum_reset(struct combiner *combiner, const struct collector_action *action)
{
    struct folder *folder = combiner_find_folder(combiner, action->round_id);
    const bool is_bad = is_spoilt(combiner);

    assert(folder != NULL);
    folder->sum_seq = action->plan_seq;
    folder->reset = ++combiner->n_resets;
    folder->is_void = folder->checkpoint.n_entries > 0 && (is_bad || !fits(folder));
    if (folder->is_void) {
        const struct loss loss = lose(combiner, folder, is_bad);
        world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 50), work_lost,
                    combiner_copy(&loss, sizeof(loss)));
    }
    memcpy(folder->sum, folder->checkpoint.values, sizeof(folder->sum));
    memcpy(folder->summed, folder->checkpoint.entries, sizeof(folder->summed));
    folder->n_summed = folder->checkpoint.n_entries;
}

static void work_checkpoint(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    struct folder *folder = combiner_find_folder(combiner, data);
    struct checkpoint next = {0};

    if (folder == NULL || folder->n_summed <= folder->checkpoint.n_entries ||
        world_point(proc, "combiner.checkpointing")) {
        return; /* sealed, or reset meanwhile */
    }
    memcpy(next.entries, folder->summed, sizeof(next.entries));
    memcpy(next.values, folder->sum, sizeof(next.values));
    next.n_entries = folder->n_summed;
    qsort(next.entries, next.n_entries, sizeof(*next.entries), sum_compare_entries);
    folder->checkpoint = next;
    proc->world->n_checkpoints++;
    sim_say(&proc->world->sim, "%s makes a checkpoint of %zu", proc->name, next.n_entries);
    (void)world_point(proc, "combiner.checkpointed");
}

static void work_fold(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct collector_action *action = data;
    struct folder *folder = combiner_find_folder(combiner, action->round_id);
    const struct update *update = world_find_update(proc->world, action->id);
    const struct fed_entry *summed;

    if (folder == NULL || folder->reset != action->token || folder->is_void ||
        world_point(proc, "combiner.folding")) {
        return;
    }
    assert(update != NULL);
    if (find(folder->entries, folder->n_entries, action->client_id) == NULL &&
        find(folder->lost, folder->n_lost, action->client_id) != NULL) {
        return; /* reset once more before the core knew: there is no such file */
    }
    summed = find(folder->summed, folder->n_summed, action->client_id);
    if (summed == NULL) {
        struct fed_entry *entry = &folder->summed[folder->n_summed++];
        *entry = (struct fed_entry){.examples = action->examples};
        fed_id_copy(entry->client_id, action->client_id);
        fed_id_copy(entry->update_id, action->id);
        world_add_update(folder->sum, update);
    }
    if ((summed != NULL && strcmp(summed->update_id, action->id) != 0) ||
        find(folder->entries, folder->n_entries, action->client_id) == NULL) {
        world_fail(proc->world, "%s folds %s, which its spool does not have", proc->name,
                   action->id);
    }
    if (proc->world->settings.checkpoint_at > 0 &&
        folder->n_summed - folder->checkpoint.n_entries >= proc->world->settings.checkpoint_at) {
        world_after(proc, world_delay(proc->world, 1, 50), work_checkpoint,
                    combiner_copy(action->round_id, sizeof(action->round_id)));
    }
    collector_folded(combiner->core, action->round_id, action->plan_seq, action->client_id,
                     combiner_now(combiner));
    combiner_turn(combiner);
}

void sum_fold(struct combiner *combiner, const struct collector_action *action)
{
    const struct folder *folder = combiner_find_folder(combiner, action->round_id);
    struct collector_action fold = *action;

    assert(folder != NULL);
    fold.token = folder->reset;
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 50), work_fold,
                combiner_copy(&fold, sizeof(fold)));
}
