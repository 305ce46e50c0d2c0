/* The global models at this combiner: fetched, checked, decoded, mapped, until nobody needs them.
 *
 *   WAITING --probe--> PROBING --whole in the spool--> OPENING --> READY --dropped, last ref-->
 *                         |                              ^                          REMOVING
 *                         +--else--> FETCHING ---XXH3----+
 *
 * Who downloads a model reads its feed (rpc/feed.h), in every state: what has been fetched is given
 * out while the rest comes, and its end when the model is READY. Until then its readers are turned
 * away, to ask again:
 *   - when what came is thrown away: it could not be written, or its XXH3 is wrong. The fetch
 *     begins another file from its first byte, the feed another map of that file. A call that broke
 *     is resumed where the file ends; nothing that was given out is written or given out again;
 *   - when nothing has come for config.idle_ms;
 *   - when the model is unusable, unknown to the reducer, dropped, or the daemon stops.
 * Of a READY model that is dropped they read on: its feed is theirs.
 *
 * Thread safety: none. Owned by the loop; probing, opening and removing are a worker's, in one
 * lane.
 */
#ifndef COMBINER_MODELS_H
#define COMBINER_MODELS_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/aggregate/base.h"
#include "combiner/rpc/feed.h"
#include "combiner/spool/spool.h"
#include "common/base/err.h"
#include "common/model/npz.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct models_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc_channel *channel; /* to the reducer, for bulk */
    const struct spool *spool;
    struct fed_npz_limits limits;
    uint64_t idle_ms; /* who waits for more of a model waits so long */
    uint64_t seed;
};

struct models_ops {
    /* Some of it is here: clients may be sent for it. Again when it is fetched anew. */
    void (*coming)(void *arg, const char *model_id);
    void (*ready)(void *arg, const char *model_id);
    void (*lost)(void *arg, const char *model_id); /* the reducer has none, or it is unusable */
    void (*settled)(void *arg);                    /* something that was under way has ended */
};

struct models;
struct model;

FED_NODISCARD int models_new(const struct models_config *config,
                             const struct models_ops *ops,
                             void *arg,
                             struct models **ret_models,
                             struct fed_err *err);
struct models *models_free(struct models *models); /* accepts NULL; must be idle */

/* Have it here, of that size and XXH3: coming(), then ready() or lost(), never from inside. */
void models_want(struct models *models,
                 const char *model_id,
                 const uint8_t xxh128[FED_XXH128_SIZE],
                 uint64_t size_bytes);

/* Nobody needs it. The last one lingers, until another is dropped: a client that is late may still
 * be about to download what its task named. */
void models_drop(struct models *models, const char *model_id);

/* No fetch goes on; files stay. Idle when the workers are done. */
void models_stop(struct models *models);
bool models_is_idle(const struct models *models);

/* A READY one, or NULL; borrowed, unless referenced. */
struct model *models_find(const struct models *models, const char *model_id);

/* What a download of it reads, whatever its state; borrowed until it is joined. NULL: unknown. */
struct feed *models_find_feed(const struct models *models, const char *model_id);

struct model *model_ref(struct model *model);
void model_unref(struct model *model); /* accepts NULL */
const char *model_get_id(const struct model *model);
const struct base *model_get_base(const struct model *model);

#endif /* COMBINER_MODELS_H */
