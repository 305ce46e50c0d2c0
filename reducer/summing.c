#include "reducer/summing.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/model/checksum.h"
#include "common/model/exact.h"
#include "common/model/npz.h"
#include "common/model/values.h"
#include "reducer/making.h"
#include "reducer/rows.h"
#include "reducer/rpc/model_file.h"

#define APART_MIN 65536U /* bytes whose hash is worth a thread */

static const struct fed_npz_limits limits = {.file_size_max = UINT64_MAX / 2,
                                             .elements_max = FED_ELEMENTS_MAX};

void summing_init(struct summing *summing,
                  struct blob_store *blobs,
                  struct sweeping *sweeping,
                  const char *folder)
{
    summing->blobs = blobs;
    summing->sweeping = sweeping;
    (void)snprintf(summing->folder, sizeof(summing->folder), "%s", folder);
    atomic_init(&summing->n_rounds, 0);
}

/* Let go of all partial sums. */
static void reset(struct summing *summing)
{
    for (size_t i = 0; i < summing->own.n_added; i++) {
        (void)unlink(summing->own.added[i].path);
        fed_partial_deinit(&summing->own.added[i].partial);
    }
    free(summing->own.added);
    summing->own.added = NULL;
    summing->own.n_added = 0;
}

static int format_model(const struct summing *summing,
                        const char *model_id,
                        char ret_path[FED_PATH_SIZE],
                        struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/model-%s.npz", summing->folder, model_id);
}

static void unlink_model(const struct summing *summing, const char *model_id)
{
    char path[FED_PATH_SIZE];

    if (model_id[0] != '\0' && format_model(summing, model_id, path, NULL) == 0) {
        (void)unlink(path);
    }
}

void summing_deinit(struct summing *summing)
{
    reset(summing);
    for (size_t i = 0; i < SUMMING_FILES_MAX; i++) {
        unlink_model(summing, summing->own.models[i].id);
    }
}

/* -- files of models ----------------------------------------------------------------------------
 */

/* Where it is in `own.models`; SUMMING_FILES_MAX: nowhere. */
static size_t find_kept(const struct summing *summing, const char *model_id)
{
    size_t i = 0;

    while (i < SUMMING_FILES_MAX && strcmp(summing->own.models[i].id, model_id) != 0) {
        i++;
    }
    return i;
}

static bool is_kept(const struct summing *summing, const char *model_id)
{
    return find_kept(summing, model_id) < SUMMING_FILES_MAX;
}

static void set_checked(struct summing *summing, const char *model_id)
{
    const size_t i = find_kept(summing, model_id);

    if (i < SUMMING_FILES_MAX) {
        summing->own.models[i].is_checked = true;
    }
}

/* Its file is there from now on; the oldest goes. */
static void keep(struct summing *summing, const char *model_id)
{
    if (is_kept(summing, model_id)) {
        return;
    }
    unlink_model(summing, summing->own.models[SUMMING_FILES_MAX - 1].id);
    memmove(&summing->own.models[1], &summing->own.models[0],
            sizeof(summing->own.models) - sizeof(summing->own.models[0]));
    fed_id_copy(summing->own.models[0].id, model_id);
    summing->own.models[0].is_checked = false;
}

/* Open a model, from our copy of its blob, which is made if missing. */
static int open_model(struct summing *summing,
                      const char *model_id,
                      char ret_path[FED_PATH_SIZE],
                      struct fed_npz **ret_npz,
                      struct fed_err *err)
{
    int rc = format_model(summing, model_id, ret_path, err);

    if (rc == 0 && !is_kept(summing, model_id)) {
        rc = blob_get_file(summing->blobs, model_id, ret_path, err);
        if (rc == BLOB_NOT_FOUND) {
            return fed_err_set(err, FED_E_NOT_FOUND, "the blob of model %s is gone", model_id);
        }
        if (rc == 0) {
            keep(summing, model_id);
        }
    }
    rc = rc < 0 ? rc : fed_npz_open(ret_path, &limits, ret_npz, err);
    return rc <= 0 ? rc : fed_err_set(err, FED_E_CORRUPT, "model %s is damaged", model_id);
}

/* -- reading a base -----------------------------------------------------------------------------
 */

static int
raise_magnitude(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    double *magnitude = arg;
    const double most = fed_values_magnitude(values, n);

    (void)index;
    (void)err;
    *magnitude = most > *magnitude ? most : *magnitude;
    return 0;
}

static int measure(struct fed_npz *npz, struct federation_base *base, struct fed_err *err)
{
    const struct fed_layout *layout = fed_npz_get_layout(npz);

    base->n_elements = layout->n_elements;
    base->n_tensors = layout->n_tensors;
    base->exponents = calloc(layout->n_tensors + 1, sizeof(*base->exponents));
    if (base->exponents == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu tensors", layout->n_tensors);
    }
    for (size_t i = 0; i < layout->n_tensors; i++) {
        double magnitude = 0;
        const int rc = fed_npz_read(npz, i, raise_magnitude, &magnitude, err);
        if (rc != 0) {
            return rc < 0 ? rc : fed_err_set(err, FED_E_CORRUPT, "tensor %zu is damaged", i);
        }
        base->exponents[i] =
            fed_dtype_is_float(layout->tensors[i].dtype) ? fed_exact_exponent(magnitude) : -1;
    }
    return 0;
}

/* Take the model's bytes and their number. */
static int map_model(struct summing_task *task, const char *path, struct fed_err *err)
{
    int rc;

    task->slab = fed_slab_unref(task->slab); /* of an attempt before */
    rc = model_file_map(path, &task->slab, err);
    if (rc == 0) {
        task->base.size_bytes = fed_slab_view(task->slab).size;
    }
    return rc;
}

static int hash_model(struct summing_task *task, struct fed_err *err)
{
    const struct fed_view view = fed_slab_view(task->slab);

    return fed_both_once(view.data, view.size, task->base.sha256, task->base.xxh128, err);
}

static int load(struct summing_task *task, struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    char path[FED_PATH_SIZE];
    int rc = open_model(task->summing, task->model_id, path, &npz, err);

    federation_base_deinit(&task->base);
    fed_id_copy(task->base.model_id, task->model_id);
    rc = rc < 0 ? rc : map_model(task, path, err);
    rc = rc < 0 ? rc : hash_model(task, err);
    rc = rc < 0 ? rc : measure(npz, &task->base, err);
    if (rc == 0) {
        set_checked(task->summing, task->model_id);
    }
    return rc < 0 ? fed_err_wrap(err, rc, "read model %s", task->model_id) : 0;
}

/* -- partial sums -------------------------------------------------------------------------------
 */

static int add(struct summing_task *task, struct fed_err *err)
{
    struct summing *summing = task->summing;

    if (task->path[0] != '\0') { /* not yet on the list */
        struct summing_added *grown =
            realloc(summing->own.added, (summing->own.n_added + 1) * sizeof(*grown));
        if (grown == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "partial sum");
        }
        summing->own.added = grown;
        grown[summing->own.n_added] = (struct summing_added){.partial = task->partial};
        memcpy(grown[summing->own.n_added].path, task->path, sizeof(task->path));
        summing->own.n_added++;
        task->partial = (struct fed_partial){0};
        task->path[0] = '\0';
    }
    return 0;
}

static void close_sums(struct summing *summing)
{
    for (size_t i = 0; i < summing->own.n_added; i++) {
        fed_partial_unmap(&summing->own.added[i].sums);
    }
}

/* Map the sums of all partials: to be added block by block. close_sums() also after a failure. */
static int open_sums(struct summing *summing, uint64_t n_elements, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < summing->own.n_added && rc == 0; i++) {
        struct summing_added *added = &summing->own.added[i];
        if (added->partial.n_entries > 0 && added->partial.n_params != n_elements) {
            rc = fed_err_set(err, FED_E_INTERNAL, "a sum has %llu parameters, the base %llu",
                             (unsigned long long)added->partial.n_params,
                             (unsigned long long)n_elements);
        } else {
            rc = fed_partial_map(added->path, &added->partial, &added->sums, err);
        }
    }
    return rc;
}

/* -- the new model ------------------------------------------------------------------------------
 */

static int write_model(struct summing_task *task, struct fed_npz *npz, int fd, struct fed_err *err)
{
    const struct fed_layout *layout = fed_npz_get_layout(npz);
    const struct summing *summing = task->summing;
    const struct fed_partial_sums **parts = NULL;
    struct making_sums sums = {.examples = task->sum_examples, .scale_bits = task->scale_bits};
    int rc;

    if (task->n_tensors != layout->n_tensors) {
        return fed_err_set(err, FED_E_INTERNAL, "%zu scales, the base has %zu tensors",
                           task->n_tensors, layout->n_tensors);
    }
    task->base.n_elements = layout->n_elements;
    task->base.n_tensors = layout->n_tensors;
    task->base.exponents = calloc(layout->n_tensors + 1, sizeof(*task->base.exponents));
    parts = calloc(summing->own.n_added + 1, sizeof(const struct fed_partial_sums *));
    if (task->base.exponents == NULL || parts == NULL) {
        free(parts);
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    for (size_t i = 0; i < summing->own.n_added; i++) {
        if (summing->own.added[i].partial.n_entries > 0) {
            parts[sums.n_parts++] = &summing->own.added[i].sums;
        }
    }
    sums.parts = parts;
    rc = making_write(npz, &sums, fd, task->base.exponents, err);
    free(parts);
    return rc;
}

static int make_model(struct summing_task *task, const char *path, struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    char base_path[FED_PATH_SIZE];
    int fd;
    size_t kept;
    int rc = open_model(task->summing, task->model_id, base_path, &npz, err);

    if (rc < 0) {
        return rc;
    }
    kept = find_kept(task->summing, task->model_id);
    if (kept < SUMMING_FILES_MAX && task->summing->own.models[kept].is_checked) {
        fed_npz_trust(npz);
    }
    rc = fed_npz_map(npz, err);
    if (rc < 0) {
        return rc;
    }
    (void)unlink(path); /* never written over: an older one may be mapped */
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) {
        return fed_file_error(err, "create", path);
    }
    rc = open_sums(task->summing, fed_npz_get_layout(npz)->n_elements, err);
    rc = rc < 0 ? rc : write_model(task, npz, fd, err);
    (void)close(fd);
    if (rc == 0) {
        set_checked(task->summing, task->model_id);
    }
    return rc < 0 ? rc : map_model(task, path, err);
}

static void tell_made(void *arg)
{
    struct summing_task *task = arg;

    task->made(task, task->arg);
}

/* A thread's function; returns NULL. */
static void *hash_made(void *arg)
{
    struct summing_task *task = arg;
    const struct fed_view view = fed_slab_view(task->slab);

    fed_xxh128_once(view.data, view.size, task->base.xxh128);
    fed_event_init(&task->made_event, tell_made, task);
    fed_loop_post(task->summing->line.loop, &task->made_event);
    fed_sha256_once(view.data, view.size, task->base.sha256);
    return NULL;
}

/* Put the model into the store. A thread hashes while the disk writes, where the store takes the
 * file as it is; a small model, or no thread to be had: one after the other. */
static int store_model(struct summing_task *task, const char *path, struct fed_err *err)
{
    struct blob_store *blobs = task->summing->blobs;
    pthread_t thread;
    const bool is_apart =
        task->base.size_bytes >= APART_MIN && pthread_create(&thread, NULL, hash_made, task) == 0;
    int rc = blob_put_made(blobs, task->base.model_id, path, err);

    close_sums(task->summing); /* while the thread hashes: it takes a moment */
    if (is_apart) {
        (void)pthread_join(thread, NULL);
    } else {
        (void)hash_made(task);
    }
    return rc == -FED_E_UNSUPPORTED
               ? blob_put_file(blobs, task->base.model_id, path, task->base.sha256, err)
               : rc;
}

static int finish(struct summing_task *task, struct fed_err *err)
{
    const uint64_t begun_ms = fed_clock_mono_ms();
    char path[FED_PATH_SIZE];
    int rc;

    federation_base_deinit(&task->base);
    fed_model_id(task->round_id, task->model_id, ROWS_STRATEGY, task->entries, task->n_entries,
                 task->base.model_id);
    rc = format_model(task->summing, task->base.model_id, path, err);
    rc = rc < 0 ? rc : make_model(task, path, err);
    if (rc < 0) {
        close_sums(task->summing);
    }
    task->finish_ms = fed_clock_mono_ms() - begun_ms;
    if (rc == 0) {
        keep(task->summing, task->base.model_id);
        set_checked(task->summing, task->base.model_id);
        sweeping_keep(task->summing->sweeping, task->base.model_id);
        rc = store_model(task, path, err);
        task->commit_ms = fed_clock_mono_ms() - begun_ms - task->finish_ms;
    }
    if (rc == 0) {
        FED_FAULT_POINT("reducer.blob_written");
    }
    return rc;
}

/* -- tasks --------------------------------------------------------------------------------------
 */

struct summing_task *summing_task_new(enum summing_verb verb)
{
    struct summing_task *task = calloc(1, sizeof(*task));

    if (task != NULL) {
        task->verb = verb;
    }
    return task;
}

struct summing_task *summing_task_free(struct summing_task *task)
{
    if (task != NULL) {
        if (task->path[0] != '\0') {
            (void)unlink(task->path);
        }
        fed_partial_deinit(&task->partial);
        federation_base_deinit(&task->base);
        (void)fed_slab_unref(task->slab);
        free(task->entries);
        free(task->scale_bits);
        free(task);
    }
    return NULL;
}

static int work(struct errand *errand, struct fed_err *err)
{
    struct summing_task *task = FED_CONTAINER_OF(errand, struct summing_task, errand);

    if (task->verb == SUMMING_LOAD) {
        return load(task, err);
    }
    if (task->n_round != atomic_load(&task->summing->n_rounds)) {
        return fed_err_set(err, FED_E_CANCELLED, "the round is over");
    }
    switch (task->verb) {
    case SUMMING_RESET:
        reset(task->summing);
        return 0;
    case SUMMING_ADD:
        return add(task, err);
    case SUMMING_FINISH:
        return finish(task, err);
    case SUMMING_LOAD:
        break;
    }
    return 0;
}

static void done(struct errand *errand, int rc, const struct fed_err *err)
{
    struct summing_task *task = FED_CONTAINER_OF(errand, struct summing_task, errand);

    task->done(task, rc, err, task->arg);
    (void)summing_task_free(task);
}

void summing_submit(struct summing *summing, struct summing_task *task)
{
    static const char *const whats[] = {
        [SUMMING_LOAD] = "reading the base model",
        [SUMMING_RESET] = "clearing the sum",
        [SUMMING_ADD] = "adding a partial sum",
        [SUMMING_FINISH] = "writing the new model",
    };

    if (task->verb == SUMMING_RESET) {
        (void)atomic_fetch_add(&summing->n_rounds, 1);
    }
    task->summing = summing;
    task->n_round = atomic_load(&summing->n_rounds);
    task->errand.what = whats[task->verb];
    task->errand.is_stubborn = task->verb == SUMMING_ADD || task->verb == SUMMING_FINISH;
    task->errand.work = work;
    task->errand.done = done;
    errand_submit(&summing->line, &task->errand);
}
