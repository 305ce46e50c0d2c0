#include "combiner/tally.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/spool/checkpoint.h"
#include "common/base/fault.h"

#define ROOM 64U /* for updates, at first; doubled from there */

void tally_init(struct tally *tally,
                const struct spool *spool,
                const struct fed_npz_limits *limits,
                struct summing_room *room,
                const char *round_id)
{
    *tally = (struct tally){.spool = spool, .limits = limits, .room = room};
    memcpy(tally->round_id, round_id, strlen(round_id) + 1);
}

void tally_clear(struct tally *tally)
{
    tally->sum = summing_free(tally->sum);
    tally->is_void = false;
    free(tally->updates);
    tally->updates = NULL;
    tally->n_updates = tally->n_loaded = tally->n_room = 0;
    tally->file_bytes = 0;
}

static int make_room(struct tally *tally, size_t n_room, struct fed_err *err)
{
    struct spool_update *grown = NULL;

    if (n_room > tally->n_room) {
        grown = realloc(tally->updates, n_room * sizeof(*grown));
        if (grown == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "a list of %zu updates", n_room);
        }
        tally->updates = grown;
        tally->n_room = n_room;
    }
    return 0;
}

/* -- reset and fold ---------------------------------------------------------------------------- */

/* The sum, still zero, begins with the checkpoint's. */
static int load(struct tally *tally, const struct fed_partial *held, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int rc = spool_path_round(tally->spool, tally->round_id, CHECKPOINT, path, err);

    rc = rc < 0 ? rc : make_room(tally, held->n_entries + ROOM, err);
    rc = rc < 0 ? rc : summing_load(tally->sum, path, held, err);
    for (size_t i = 0; i < held->n_entries && rc == 0; i++) {
        tally->updates[i] =
            (struct spool_update){.entry = held->entries[i], .is_checkpointed = true};
    }
    tally->n_updates = tally->n_loaded = rc < 0 ? 0 : held->n_entries;
    return rc;
}

int tally_reset(struct tally *tally,
                const struct fed_plan *plan,
                const struct base *base,
                struct fed_err *err)
{
    struct fed_partial held = {0};
    int rc;

    tally_clear(tally);
    rc = summing_new(base, plan, tally->room, &tally->sum, err);
    rc = rc < 0 ? rc : checkpoint_open(tally->spool, plan, &held, err);
    rc = rc != 0 ? rc : load(tally, &held, err);
    fed_partial_deinit(&held);
    if (rc < 0) {
        tally_clear(tally);
        return rc;
    }
    tally->is_void = rc == CHECKPOINT_USELESS;
    return rc == 0 ? 0 : tally->is_void ? TALLY_VOID : TALLY_ZERO;
}

static int compare_client(const void *key, const void *item)
{
    return strcmp(key, ((const struct spool_update *)item)->entry.client_id);
}

static const struct spool_update *find_loaded(const struct tally *tally, const char *client_id)
{
    return tally->n_loaded == 0 ? NULL
                                : bsearch(client_id, tally->updates, tally->n_loaded,
                                          sizeof(*tally->updates), compare_client);
}

int tally_fold(struct tally *tally, const struct spool_update *update, struct fed_err *err)
{
    const struct fed_entry *entry = &update->entry;
    const struct spool_update *loaded = find_loaded(tally, entry->client_id);
    char path[FED_PATH_SIZE];
    int rc;

    if (tally->is_void) {
        return TALLY_VOID;
    }
    if (tally->sum == NULL) {
        return fed_err_set(err, FED_E_INTERNAL, "there is no sum");
    }
    if (loaded != NULL) {
        return strcmp(loaded->entry.update_id, entry->update_id) == 0
                   ? 0
                   : fed_err_set(err, FED_E_INTERNAL, "%s of %s is in the checkpoint, not %s",
                                 loaded->entry.update_id, entry->client_id, entry->update_id);
    }
    rc = spool_path_update(tally->spool, tally->round_id, update->file.serial, path, err);
    if (rc == 0 && tally->n_updates == tally->n_room) {
        rc = make_room(tally, tally->n_room * 2 + ROOM, err);
    }
    rc = rc < 0 ? rc
                : summing_fold(tally->sum,
                               &(struct summing_update){path, entry->examples, update->is_checked},
                               tally->limits, err);
    if (rc == 0) {
        tally->updates[tally->n_updates++] = *update;
        tally->file_bytes += update->file.size_bytes;
    }
    return rc;
}

/* -- checkpoint and seal ----------------------------------------------------------------------- */

/* Sorts the entries. */
static int write_partial(const struct tally *tally,
                         const char *name,
                         const struct summing_partial *what,
                         uint8_t ret_digest[FED_DIGEST_SIZE],
                         struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    struct summing_partial partial = *what;
    const int rc = spool_path_round(tally->spool, tally->round_id, name, path, err);

    partial.path = path;
    partial.combiner_id = spool_get_id(tally->spool);
    partial.spare = spool_get_spare(tally->spool);
    return rc < 0 ? rc : summing_write(tally->sum, &partial, ret_digest, err);
}

static void sweep(struct tally *tally)
{
    for (size_t i = 0; i < tally->n_updates; i++) {
        struct spool_update *update = &tally->updates[i];
        if (!update->is_checkpointed) {
            spool_drop_update(tally->spool, tally->round_id, update->file.serial);
            update->is_checkpointed = true;
        }
    }
    tally->file_bytes = 0;
}

int tally_checkpoint(struct tally *tally,
                     const struct fed_plan *plan,
                     struct fed_entry **ret_entries,
                     size_t *ret_n_entries,
                     struct fed_err *err)
{
    struct fed_entry *entries;
    struct summing_partial what = {.plan = plan, .n_entries = tally->n_updates};
    uint8_t digest[FED_DIGEST_SIZE];
    int rc;

    *ret_entries = NULL;
    *ret_n_entries = 0;
    if (tally->sum == NULL || summing_is_broken(tally->sum) || tally->file_bytes == 0) {
        return 0;
    }
    entries = calloc(tally->n_updates, sizeof(*entries));
    if (entries == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "a list of %zu updates", tally->n_updates);
    }
    for (size_t i = 0; i < tally->n_updates; i++) {
        entries[i] = tally->updates[i].entry;
    }
    what.entries = entries;
    rc = write_partial(tally, CHECKPOINT_NEW, &what, digest, err);
    FED_FAULT_POINT("combiner.checkpoint_written");
    rc = rc < 0 ? rc : checkpoint_publish(tally->spool, tally->round_id, err);
    FED_FAULT_POINT("combiner.checkpointed");
    if (rc < 0) {
        free(entries);
        return rc;
    }
    sweep(tally);
    FED_FAULT_POINT("combiner.checkpoint_swept");
    *ret_entries = entries;
    *ret_n_entries = tally->n_updates;
    return 0;
}

int tally_seal(struct tally *tally,
               const struct summing_partial *what,
               uint8_t ret_digest[FED_DIGEST_SIZE],
               struct fed_err *err)
{
    int rc = what->n_entries == tally->n_updates
                 ? 0
                 : fed_err_set(err, FED_E_INTERNAL, "%zu are to be in the sum, %zu are",
                               what->n_entries, tally->n_updates);

    rc = rc < 0 ? rc : write_partial(tally, "partial", what, ret_digest, err);
    if (rc == 0) {
        tally_clear(tally); /* the file has it; another plan begins again */
    }
    return rc;
}
