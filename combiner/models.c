#include "combiner/models.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "combiner/rpc/fetch.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/model/checksum.h"

enum model_phase {
    MODEL_WAITING, /* for one of the same id to go */
    MODEL_PROBING,
    MODEL_FETCHING,
    MODEL_OPENING,
    MODEL_READY,
    MODEL_FAILED,
    MODEL_REMOVING,
};

struct model {
    struct models *models;
    struct fed_link link;
    enum model_phase phase;
    bool is_dropped;
    bool is_lingering; /* nobody needs it but a client that is late with its task */
    bool is_kept;      /* on disk, after removal */
    unsigned refs;
    char id[FED_ID_SIZE];
    uint8_t xxh128[FED_XXH128_SIZE];
    uint64_t size_bytes;
    char path[FED_PATH_SIZE];
    char raw_path[FED_PATH_SIZE];
    struct feed *feed; /* a reference, until REMOVING */
    struct fetch *fetch;
    struct fed_timer idle; /* while FETCHING */
    struct fed_job job;
    struct fed_map map; /* of the probed file, until it is the feed's */
    struct base base;
    int rc; /* of the job: 0, a fault, < 0 */
    struct fed_err err;
};

struct models {
    struct models_config config;
    const struct models_ops *ops;
    void *arg;
    struct fed_lane lane;
    struct fed_list list;
    bool is_stopped;
};

int models_new(const struct models_config *config,
               const struct models_ops *ops,
               void *arg,
               struct models **ret_models,
               struct fed_err *err)
{
    struct models *models = calloc(1, sizeof(*models));

    if (models == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "models");
    }
    models->config = *config;
    models->ops = ops;
    models->arg = arg;
    fed_list_init(&models->list);
    fed_lane_init(&models->lane);
    *ret_models = models;
    return 0;
}

static struct model *find_any(const struct models *models, const char *model_id)
{
    fed_list_for_each (link, &models->list) {
        struct model *model = FED_CONTAINER_OF(link, struct model, link);
        if (!model->is_dropped && strcmp(model->id, model_id) == 0) {
            return model;
        }
    }
    return NULL;
}

static void submit(struct model *model, fed_job_fn work, fed_event_fn done)
{
    fed_job_init(&model->job, work, done, model);
    fed_workers_submit(model->models->config.workers, &model->models->lane, &model->job);
}

/* -- removing ---------------------------------------------------------------------------------- */

static void probe(struct model *model);

static void do_remove(void *arg)
{
    struct model *model = arg;

    base_close(&model->base);
    if (!model->is_kept) {
        fed_spare_give(spool_get_spare(model->models->config.spool), model->path);
        (void)unlink(model->raw_path);
    }
}

static void after_remove(void *arg)
{
    struct model *model = arg;
    struct models *models = model->models;
    struct model *next = NULL;

    fed_link_remove(&model->link);
    fed_list_for_each (link, &models->list) {
        struct model *other = FED_CONTAINER_OF(link, struct model, link);
        if (other->phase == MODEL_WAITING && strcmp(other->id, model->id) == 0) {
            next = other;
        }
    }
    free(model);
    if (next != NULL) {
        probe(next);
    }
    models->ops->settled(models->arg);
}

/* Not wanted and not used: it goes, once no worker and no call has it. */
static void look_unused(struct model *model)
{
    if (!model->is_dropped || model->refs > 0) {
        return;
    }
    if (model->phase == MODEL_READY || model->phase == MODEL_FAILED ||
        model->phase == MODEL_WAITING) {
        const bool is_known = model->phase != MODEL_WAITING;
        model->phase = MODEL_REMOVING;
        model->feed = feed_unref(model->feed);
        model->is_kept = model->is_kept || !is_known;
        submit(model, do_remove, after_remove);
    }
}

/* -- opening ----------------------------------------------------------------------------------- */

static void do_open(void *arg)
{
    struct model *model = arg;

    model->rc = base_open(model->path, model->raw_path, &model->models->config.limits, &model->base,
                          &model->err);
}

static void fail(struct model *model)
{
    struct models *models = model->models;

    fed_log(FED_LOG_ERROR, "model", "unusable", "model=%s error=\"%s\"", model->id, model->err.msg);
    feed_reset(model->feed);
    model->phase = MODEL_FAILED;
    if (model->is_dropped) {
        look_unused(model);
        return;
    }
    model->is_dropped = true;
    models->ops->lost(models->arg, model->id);
    look_unused(model);
}

static void after_open(void *arg)
{
    struct model *model = arg;
    struct models *models = model->models;

    if (model->rc == 0 && model->feed->slab == NULL) {
        model->rc = fed_err_set(&model->err, FED_E_NOMEM, "map");
    }
    if (model->rc != 0) {
        fail(model);
    } else {
        model->phase = MODEL_READY;
        feed_complete(model->feed);
        fed_log(FED_LOG_DEBUG, "model", "ready", "model=%s bytes=%llu", model->id,
                (unsigned long long)model->size_bytes);
        if (model->is_dropped) {
            look_unused(model);
        } else {
            models->ops->ready(models->arg, model->id);
        }
    }
    models->ops->settled(models->arg);
}

static void open_model(struct model *model)
{
    model->phase = MODEL_OPENING;
    submit(model, do_open, after_open);
}

/* -- having it --------------------------------------------------------------------------------- */

/* `size` bytes of the file are there; `map` as the feed's, with the first ones. Without memory for
 * it nobody reads along, and it can't be opened. */
static void take_bytes(struct model *model, struct fed_map *map, uint64_t size)
{
    struct models *models = model->models;

    if (map != NULL && feed_open(model->feed, map, NULL) < 0) {
        return;
    }
    if (model->feed->slab != NULL) {
        feed_grow(model->feed, (size_t)size);
    }
    if (map != NULL && !model->is_dropped) {
        models->ops->coming(models->arg, model->id);
    }
}

static void watch(struct model *model)
{
    struct fed_loop *loop = model->models->config.loop;

    fed_timer_start(loop, &model->idle, fed_loop_now_ms(loop) + model->models->config.idle_ms);
}

static void on_idle(void *arg)
{
    struct model *model = arg;

    feed_turn_away(model->feed);
    watch(model);
}

static void grown(void *arg, struct fed_map *map, uint64_t size)
{
    watch(arg);
    take_bytes(arg, map, size);
}

static void restarted(void *arg)
{
    struct model *model = arg;

    feed_reset(model->feed);
}

static void fetched(void *arg, bool is_here)
{
    struct model *model = arg;

    model->fetch = NULL;
    fed_timer_stop(&model->idle);
    if (is_here) {
        open_model(model);
    } else {
        (void)!fed_err_set(&model->err, FED_E_NOT_FOUND, "the reducer does not know it");
        fail(model);
    }
}

static const struct fetch_ops fetch_ops = {grown, restarted, fetched};

static void fetch_gone(void *arg)
{
    struct model *model = arg;

    model->fetch = NULL;
    model->phase = MODEL_FAILED;
    model->is_dropped = true;
    look_unused(model);
}

static void fetch_model(struct model *model)
{
    const struct models_config *config = &model->models->config;
    struct fetch_config fetch = {
        .loop = config->loop,
        .workers = config->workers,
        .channel = config->channel,
        .model_id = model->id,
        .size_bytes = model->size_bytes,
        .path = model->path,
        .spare = spool_get_spare(config->spool),
        .seed = config->seed,
    };

    memcpy(fetch.xxh128, model->xxh128, sizeof(fetch.xxh128));
    model->phase = MODEL_FETCHING;
    if (fetch_start(&fetch, &fetch_ops, model, &model->fetch, &model->err) < 0) {
        fail(model);
    } else {
        watch(model);
    }
}

/* rc 0: the file is there and is the one. */
static void do_probe(void *arg)
{
    struct model *model = arg;
    uint8_t digest[FED_XXH128_SIZE];
    uint64_t size = 0;

    model->rc = fed_xxh128_file(model->path, digest, &size, NULL);
    if (model->rc == 0 &&
        (size != model->size_bytes || memcmp(digest, model->xxh128, sizeof(digest)) != 0)) {
        model->rc = -FED_E_CORRUPT;
    }
    if (model->rc == 0) {
        model->rc = fed_map_open(model->path, &model->map, NULL);
    }
}

static void after_probe(void *arg)
{
    struct model *model = arg;

    if (model->is_dropped) {
        fed_map_close(&model->map);
        model->phase = MODEL_FAILED;
        look_unused(model);
    } else if (model->rc == 0) {
        open_model(model);
        take_bytes(model, &model->map, model->map.size);
    } else {
        fetch_model(model);
    }
}

static void probe(struct model *model)
{
    if (model->is_dropped) {
        look_unused(model);
        return;
    }
    model->phase = MODEL_PROBING;
    submit(model, do_probe, after_probe);
}

/* For what cannot even be begun, or is here already: never from inside models_want(). */
static void do_nothing(void *arg)
{
    (void)arg;
}

static void after_nothing(void *arg)
{
    struct model *model = arg;
    struct models *models = model->models;

    model->refs--;
    if (model->phase != MODEL_READY) {
        fail(model);
    } else if (model->is_dropped) {
        look_unused(model);
    } else if (!model->is_lingering) {
        models->ops->ready(models->arg, model->id);
    }
    models->ops->settled(models->arg);
}

static void answer_later(struct model *model)
{
    model->refs++;
    submit(model, do_nothing, after_nothing);
}

void models_want(struct models *models,
                 const char *model_id,
                 const uint8_t xxh128[FED_XXH128_SIZE],
                 uint64_t size_bytes)
{
    struct model *model = find_any(models, model_id);
    bool is_alone = true;

    if (model != NULL && model->is_lingering) {
        model->is_lingering = false;
        answer_later(model);
    }
    if (model != NULL || models->is_stopped) {
        return;
    }
    model = calloc(1, sizeof(*model));
    if (model != NULL) {
        model->feed = feed_new();
    }
    if (model == NULL || model->feed == NULL) {
        free(model);
        return; /* asked for again with the next link or plan */
    }
    fed_timer_init(&model->idle, on_idle, model);
    fed_list_for_each (link, &models->list) {
        is_alone =
            is_alone && strcmp(FED_CONTAINER_OF(link, struct model, link)->id, model_id) != 0;
    }
    model->models = models;
    fed_id_copy(model->id, model_id);
    memcpy(model->xxh128, xxh128, sizeof(model->xxh128));
    model->size_bytes = size_bytes;
    fed_list_add(&models->list, &model->link);
    if (spool_path(models->config.spool, "models", model_id, model->path, &model->err) < 0 ||
        fed_path_format(model->raw_path, &model->err, "%s.raw", model->path) < 0) {
        model->phase = MODEL_PROBING;
        answer_later(model);
    } else if (is_alone) {
        probe(model);
    }
}

static void cancel(struct model *model)
{
    struct fetch *fetch = model->fetch;

    model->is_dropped = true;
    if (!model->feed->is_whole) {
        feed_turn_away(model->feed);
    }
    if (model->phase == MODEL_FETCHING && fetch != NULL) {
        model->fetch = NULL;
        fed_timer_stop(&model->idle);
        fetch_cancel(fetch, fetch_gone, model);
    } else {
        look_unused(model);
    }
}

void models_drop(struct models *models, const char *model_id)
{
    struct model *model = find_any(models, model_id);

    if (model == NULL || model->is_lingering) {
        return;
    }
    if (model->phase != MODEL_READY) {
        cancel(model);
        return;
    }
    fed_list_for_each (link, &models->list) {
        struct model *other = FED_CONTAINER_OF(link, struct model, link);
        if (other->is_lingering && !other->is_dropped) {
            cancel(other);
        }
    }
    model->is_lingering = true;
}

void models_stop(struct models *models)
{
    models->is_stopped = true;
    fed_list_for_each (link, &models->list) {
        struct model *model = FED_CONTAINER_OF(link, struct model, link);
        if (!model->is_dropped) {
            model->is_kept = true; /* the next process finds it */
            cancel(model);
        }
    }
}

bool models_is_idle(const struct models *models)
{
    return fed_list_is_empty(&models->list);
}

struct models *models_free(struct models *models)
{
    if (models != NULL) {
        assert(models_is_idle(models));
        free(models);
    }
    return NULL;
}

/* -- using it ---------------------------------------------------------------------------------- */

struct model *models_find(const struct models *models, const char *model_id)
{
    struct model *model = find_any(models, model_id);

    return model == NULL || model->phase != MODEL_READY ? NULL : model;
}

struct feed *models_find_feed(const struct models *models, const char *model_id)
{
    const struct model *model = find_any(models, model_id);

    return model == NULL ? NULL : model->feed;
}

struct model *model_ref(struct model *model)
{
    model->refs++;
    return model;
}

void model_unref(struct model *model)
{
    if (model != NULL) {
        assert(model->refs > 0);
        model->refs--;
        look_unused(model);
    }
}

const char *model_get_id(const struct model *model)
{
    return model->id;
}

const struct base *model_get_base(const struct model *model)
{
    return &model->base;
}
