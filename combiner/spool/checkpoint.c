#include "combiner/spool/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

static void drop(const struct spool *spool, const char *round_id, const char *name)
{
    char path[FED_PATH_SIZE];

    if (spool_path_round(spool, round_id, name, path, NULL) == 0 && unlink(path) == 0 &&
        spool_is_synced(spool)) {
        (void)!fed_file_sync_folder(path, NULL); /* come again, it is looked at again */
    }
}

int checkpoint_publish(const struct spool *spool, const char *round_id, struct fed_err *err)
{
    char from[FED_PATH_SIZE];
    char to[FED_PATH_SIZE];
    int rc = spool_path_round(spool, round_id, CHECKPOINT_NEW, from, err);

    rc = rc < 0 ? rc : spool_path_round(spool, round_id, CHECKPOINT, to, err);
    if (rc < 0) {
        return rc;
    }
    rc = spool_is_synced(spool) ? fed_file_sync(from, err) : 0;
    if (rc == 0 && rename(from, to) != 0) {
        rc = fed_file_error(err, "rename to", to);
    }
    if (rc < 0) {
        (void)unlink(from);
        return rc;
    }
    return spool_is_synced(spool) ? fed_file_sync_folder(to, err) : 0;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_for(const struct fed_partial *partial, const struct fed_plan *plan)
{
    bool is = strcmp(partial->round_id, plan->round_id) == 0 &&
              memcmp(partial->base_sha256, plan->base_sha256, FED_SHA256_SIZE) == 0 &&
              partial->n_tensors == plan->n_tensors &&
              (plan->n_tensors == 0 || memcmp(partial->scale_bits, plan->scale_bits,
                                              plan->n_tensors * sizeof(*plan->scale_bits)) == 0);

    for (size_t i = 0; i < partial->n_entries && is; i++) {
        is = plan->n_clients > 0 && bsearch(partial->entries[i].client_id, plan->client_ids,
                                            plan->n_clients, FED_ID_SIZE, compare_ids) != NULL;
    }
    return is;
}

int checkpoint_open(const struct spool *spool,
                    const struct fed_plan *plan,
                    struct fed_partial *ret_partial,
                    struct fed_err *err)
{
    struct fed_partial partial = {0};
    struct fed_err why = {0};
    char path[FED_PATH_SIZE];
    int rc = spool_path_round(spool, plan->round_id, CHECKPOINT, path, err);

    if (rc < 0) {
        return rc;
    }
    rc = fed_partial_open(path, &partial, &why);
    if (rc == -FED_E_NOT_FOUND) {
        return CHECKPOINT_NONE;
    }
    if (rc == -FED_E_CORRUPT || (rc == 0 && !is_for(&partial, plan))) {
        fed_partial_deinit(&partial);
        drop(spool, plan->round_id, CHECKPOINT);
        return CHECKPOINT_USELESS;
    }
    if (rc < 0) {
        return fed_err_set(err, why.code, "checkpoint: %s", why.msg);
    }
    *ret_partial = partial;
    return 0;
}

int checkpoint_recover(const struct spool *spool,
                       const struct fed_plan *plan,
                       struct fed_partial *ret_partial,
                       struct fed_err *err)
{
    int rc;

    drop(spool, plan->round_id, CHECKPOINT_NEW ".tmp");
    drop(spool, plan->round_id, CHECKPOINT_NEW);
    rc = checkpoint_open(spool, plan, ret_partial, err);
    if (rc < 0 && rc != -FED_E_NOMEM) {
        drop(spool, plan->round_id, CHECKPOINT);
        rc = CHECKPOINT_USELESS;
    }
    return rc;
}
