/* The built-in model on a client's shard of an MNIST-like dataset.
 *
 * Plain SGD with the mean cross-entropy of a batch. Each epoch goes once through the shard, in an
 * order drawn from (seed, shard, round number, epoch) alone; the last batch may be smaller. So the
 * update is a function of base, data and settings: who trains again sends the same bits.
 *
 * Memory: the shard as bytes from the first task on; the network only while it is used.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/data/dataset.h"
#include "client/data/partition.h"
#include "client/train/cnn/cnn.h"
#include "client/train/trainer_inside.h"
#include "common/base/fault.h"
#include "common/base/rand.h"
#include "common/model/cnn_model.h"

#define VALIDATION_BATCH 256U

struct trainer_of_cnn {
    struct trainer base;
    struct trainer_config config;
    enum cnn_kernel kernel;
    bool is_loaded;
    struct dataset train;
    struct dataset test; /* n_items 0: none */
};

/* What one task needs, and is given back after it. */
struct bench {
    struct cnn *cnn;
    float *params; /* (FED_CNN_PARAMS,) */
    float *images; /* (batch_max, FED_CNN_PIXELS) */
    uint8_t *labels;
    uint32_t *order; /* (train.n_items,), training only */
    size_t batch_max;
};

_Static_assert(DATASET_PIXELS == FED_CNN_PIXELS, "the images are the model's");
_Static_assert(DATASET_CLASSES == FED_CNN_CLASSES, "and so are the labels");

static void bench_deinit(struct bench *bench)
{
    (void)cnn_free(bench->cnn);
    free(bench->params);
    free(bench->images);
    free(bench->labels);
    free(bench->order);
    *bench = (struct bench){0};
}

static int bench_init(struct bench *bench,
                      const struct trainer_of_cnn *trainer,
                      size_t batch_max,
                      bool is_training,
                      struct fed_err *err)
{
    bench->batch_max = batch_max;
    bench->params = malloc(FED_CNN_PARAMS * sizeof(*bench->params));
    bench->images = malloc(batch_max * FED_CNN_PIXELS * sizeof(*bench->images));
    bench->labels = malloc(batch_max);
    bench->order = is_training ? malloc(trainer->train.n_items * sizeof(*bench->order)) : NULL;
    if (bench->params == NULL || bench->images == NULL || bench->labels == NULL ||
        (is_training && bench->order == NULL)) {
        return fed_err_set(err, FED_E_NOMEM, "network");
    }
    return cnn_new(trainer->kernel, batch_max, is_training, &bench->cnn, err);
}

static int make(const struct trainer_config *config, struct trainer **ret, struct fed_err *err)
{
    struct partition_spec spec;
    enum cnn_kernel kernel = CNN_KERNEL_PLAIN;
    struct trainer_of_cnn *trainer;
    int rc = cnn_kernel_choose(config->kernel, &kernel, err);

    if (rc == 0) {
        rc = partition_parse(config->partition, &spec, err);
    }
    if (rc == 0 && config->data[0] == '\0') {
        rc = fed_err_set(err, FED_E_INVALID,
                         "the cnn trainer needs --data: a folder with MNIST's "
                         "four files");
    }
    if (rc == 0) {
        rc = dataset_check(config->data, err);
    }
    if (rc == 0 && (config->batch == 0 || config->batch > CNN_BATCH_MAX)) {
        rc = fed_err_set(err, FED_E_INVALID, "a batch of %u, want 1 to %u", config->batch,
                         CNN_BATCH_MAX);
    }
    if (rc < 0) {
        return rc;
    }
    trainer = calloc(1, sizeof(*trainer));
    if (trainer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "trainer");
    }
    trainer->base.ops = &trainer_cnn;
    trainer->config = *config;
    trainer->kernel = kernel;
    *ret = &trainer->base;
    return 0;
}

static int load(struct trainer_of_cnn *trainer, struct fed_err *err)
{
    struct dataset_share share = {trainer->config.data, trainer->config.partition,
                                  trainer->config.shard, trainer->config.n_shards,
                                  trainer->config.seed};
    int rc;

    if (trainer->is_loaded) {
        return 0;
    }
    rc = dataset_load_share(&share, &trainer->train, err);
    if (rc < 0) {
        return rc;
    }
    if (!trainer->config.is_validating_on_shard) {
        share.shard = 0;
        share.n_shards = 1;
    }
    rc = dataset_load_test(&share, &trainer->test, err);
    if (rc < 0) {
        dataset_deinit(&trainer->train);
        return rc;
    }
    trainer->is_loaded = true;
    return 0;
}

static void put_example(struct bench *bench, size_t at, const struct dataset *set, size_t row)
{
    const uint8_t *pixels = set->images + row * FED_CNN_PIXELS;
    float *to = bench->images + at * FED_CNN_PIXELS;

    for (size_t i = 0; i < FED_CNN_PIXELS; i++) {
        to[i] = (float)pixels[i] / 255.0F;
    }
    bench->labels[at] = set->labels[row];
}

/* One pass over the shard; *ret_loss is the mean over its examples. */
static int run_epoch(const struct trainer_of_cnn *trainer,
                     struct bench *bench,
                     const struct trainer_task *task,
                     uint64_t epoch,
                     double *ret_loss,
                     struct fed_err *err)
{
    const uint64_t key[] = {trainer->config.seed, trainer->config.shard, task->round_number, epoch};
    const size_t n_items = trainer->train.n_items;
    struct fed_rand rand;
    double sum = 0;

    for (size_t i = 0; i < n_items; i++) {
        bench->order[i] = (uint32_t)i;
    }
    fed_rand_init(&rand, key, sizeof(key) / sizeof(key[0]));
    fed_rand_shuffle(&rand, bench->order, n_items);
    for (size_t begin = 0; begin < n_items; begin += bench->batch_max) {
        const size_t n = n_items - begin < bench->batch_max ? n_items - begin : bench->batch_max;
        if (atomic_load(task->is_cancelled)) {
            return fed_err_set(err, FED_E_CANCELLED, "cancelled");
        }
        for (size_t i = 0; i < n; i++) {
            put_example(bench, i, &trainer->train, bench->order[begin + i]);
        }
        sum += (double)n *
               (double)cnn_step(bench->cnn, bench->images, bench->labels, n, (float)task->lr);
        FED_FAULT_POINT("client.training");
    }
    *ret_loss = sum / (double)n_items;
    if (!isfinite(*ret_loss)) {
        return fed_err_set(err, FED_E_INVALID,
                           "the loss is not finite after epoch %llu: a smaller "
                           "lr than %g may help",
                           (unsigned long long)epoch + 1, task->lr);
    }
    return 0;
}

static int train(struct trainer *base,
                 const struct trainer_task *task,
                 struct trainer_result *ret_result,
                 struct fed_err *err)
{
    struct trainer_of_cnn *trainer = (struct trainer_of_cnn *)base;
    FED_CLEANUP(bench_deinit) struct bench bench = {0};
    struct trainer_task full = *task;
    double loss = -1;
    int rc = load(trainer, err);

    full.epochs = task->epochs != 0 ? task->epochs : trainer->config.epochs;
    full.batch = task->batch != 0 ? task->batch : trainer->config.batch;
    full.lr = task->lr > 0 ? task->lr : trainer->config.lr;
    if (rc == 0 && full.batch > CNN_BATCH_MAX) {
        rc = fed_err_set(err, FED_E_INVALID, "a batch of %u, want 1 to %u", full.batch,
                         CNN_BATCH_MAX);
    }
    if (rc == 0) {
        rc = bench_init(&bench, trainer, full.batch, true, err);
    }
    if (rc == 0) {
        rc = fed_cnn_read(task->base_path, bench.params, err);
    }
    if (rc < 0) {
        return rc;
    }
    cnn_set_params(bench.cnn, bench.params);
    for (uint32_t epoch = 0; rc == 0 && epoch < full.epochs; epoch++) {
        rc = run_epoch(trainer, &bench, &full, epoch, &loss, err);
    }
    if (rc == 0) {
        cnn_get_params(bench.cnn, bench.params);
        rc = fed_cnn_write(task->update_path, bench.params, err);
    }
    if (rc == 0) {
        *ret_result = (struct trainer_result){.n_examples = trainer->train.n_items, .loss = loss};
    }
    return rc;
}

/* -- validation -------------------------------------------------------------------------------- */

/* Cross-entropy of one example, by the logarithm of the sum of exponentials. */
static double example_loss(const float *logits, uint8_t label, bool *ret_is_right)
{
    size_t best = 0;
    double sum = 0;

    for (size_t c = 1; c < FED_CNN_CLASSES; c++) {
        best = logits[c] > logits[best] ? c : best;
    }
    for (size_t c = 0; c < FED_CNN_CLASSES; c++) {
        sum += exp((double)logits[c] - (double)logits[best]);
    }
    *ret_is_right = best == label;
    return log(sum) + (double)logits[best] - (double)logits[label];
}

static int score(struct bench *bench,
                 const struct dataset *set,
                 const struct trainer_task *task,
                 double *ret_loss,
                 double *ret_accuracy,
                 struct fed_err *err)
{
    float logits[VALIDATION_BATCH * FED_CNN_CLASSES];
    double loss = 0;
    size_t n_right = 0;

    assert(bench->batch_max <= VALIDATION_BATCH);
    for (size_t begin = 0; begin < set->n_items; begin += bench->batch_max) {
        const size_t left = set->n_items - begin;
        const size_t n = left < bench->batch_max ? left : bench->batch_max;
        if (atomic_load(task->is_cancelled)) {
            return fed_err_set(err, FED_E_CANCELLED, "cancelled");
        }
        for (size_t i = 0; i < n; i++) {
            put_example(bench, i, set, begin + i);
        }
        cnn_infer(bench->cnn, bench->images, n, logits);
        for (size_t i = 0; i < n; i++) {
            bool is_right = false;
            loss += example_loss(logits + i * FED_CNN_CLASSES, bench->labels[i], &is_right);
            n_right += is_right ? 1U : 0U;
        }
    }
    *ret_loss = loss / (double)set->n_items;
    *ret_accuracy = (double)n_right / (double)set->n_items;
    return 0;
}

static int validate(struct trainer *base,
                    const struct trainer_task *task,
                    struct trainer_scores *ret_scores,
                    struct fed_err *err)
{
    struct trainer_of_cnn *trainer = (struct trainer_of_cnn *)base;
    FED_CLEANUP(bench_deinit) struct bench bench = {0};
    double loss = 0;
    double accuracy = 0;
    int rc = load(trainer, err);

    if (rc < 0 || trainer->test.n_items == 0) {
        return rc;
    }
    rc = bench_init(&bench, trainer, VALIDATION_BATCH, false, err);
    if (rc == 0) {
        rc = fed_cnn_read(task->base_path, bench.params, err);
    }
    if (rc < 0) {
        return rc;
    }
    cnn_set_params(bench.cnn, bench.params);
    rc = score(&bench, &trainer->test, task, &loss, &accuracy, err);
    if (rc == 0) {
        ret_scores->items[0] = (struct trainer_score){"test_loss", loss};
        ret_scores->items[1] = (struct trainer_score){"test_accuracy", accuracy};
        ret_scores->n_items = 2;
    }
    return rc;
}

static void drop(struct trainer *base)
{
    struct trainer_of_cnn *trainer = (struct trainer_of_cnn *)base;

    dataset_deinit(&trainer->train);
    dataset_deinit(&trainer->test);
    free(trainer);
}

const struct trainer_ops trainer_cnn = {"cnn", make, train, validate, drop};
