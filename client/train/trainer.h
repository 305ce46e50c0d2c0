/* A trainer: what turns a model into a better one with a client's private data.
 *
 * A back end is one file and one line in trainer.c's table. The contract, for all of them:
 *
 *  - train() reads the model at task->base_path, writes the trained one to task->update_path
 *    (replaced as a whole) and says on how many examples. The base file is never changed.
 *  - The result is a function of (base, data, settings, task->round_number): the same bits on every
 *    run of one kernel path, whatever was trained before.
 *  - validate() scores a model, at most TRAINER_SCORES_MAX values with static names.
 *  - Both ask task->is_cancelled at least every few 100 ms, and end with FED_E_CANCELLED soon after
 *    it says true.
 *  - Data is read at the first task, not before: an idle client is small.
 *
 * A failure leaves the trainer usable; the message names the file, the offset and what was
 * expected.
 *
 * Thread safety: one thread at a time, any. Blocks for as long as training takes: worker only.
 */
#ifndef CLIENT_TRAIN_TRAINER_H
#define CLIENT_TRAIN_TRAINER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

#define TRAINER_SCORES_MAX 8

struct trainer_config {
    const char *data; /* folder of the dataset; borrowed for the trainer's life, as all texts */
    const char *partition; /* "iid", "shards:2", "dirichlet:0.5": client/data/partition.h */
    const char *kernel;    /* "auto", "avx512", "avx2", "plain" */
    uint32_t shard;        /* 0 .. n_shards-1 */
    uint32_t n_shards;
    uint64_t seed;
    uint32_t epochs; /* where a task does not say */
    uint32_t batch;
    double lr;
    bool is_validating_on_shard; /* else on the whole test set */
    uint64_t examples;           /* echo: what it says it has trained on */
};

struct trainer_task {
    const char *base_path;
    const char *update_path; /* training only */
    uint64_t round_number;   /* in its session; keys the random numbers */
    uint32_t epochs;         /* 0: as configured; so for the two below */
    uint32_t batch;
    double lr;
    const atomic_bool *is_cancelled; /* borrowed */
};

struct trainer_result {
    uint64_t n_examples; /* the update's weight; at least 1 */
    double loss;         /* mean of the last epoch; negative: none */
};

struct trainer_score {
    const char *name; /* static: "test_loss", "test_accuracy" */
    double value;
};

struct trainer_scores {
    struct trainer_score items[TRAINER_SCORES_MAX];
    size_t n_items;
};

/* A back end. Members do as the functions below. */
struct trainer;
struct trainer_ops {
    const char *name;
    int (*make)(const struct trainer_config *config, struct trainer **ret, struct fed_err *err);
    int (*train)(struct trainer *trainer,
                 const struct trainer_task *task,
                 struct trainer_result *ret_result,
                 struct fed_err *err);
    int (*validate)(struct trainer *trainer,
                    const struct trainer_task *task,
                    struct trainer_scores *ret_scores,
                    struct fed_err *err);
    void (*drop)(struct trainer *trainer);
};

/* The first member of every back end's struct. */
struct trainer {
    const struct trainer_ops *ops;
};

/* Make the trainer called `name`; the caller frees it. Settings are checked here, and that the
 * data's files are there. Fails with FED_E_INVALID (says which names there are), FED_E_NOT_FOUND,
 * FED_E_UNSUPPORTED (kernel), FED_E_NOMEM. */
FED_NODISCARD int trainer_new(const char *name,
                              const struct trainer_config *config,
                              struct trainer **ret_trainer,
                              struct fed_err *err);
struct trainer *trainer_free(struct trainer *trainer); /* accepts NULL */
FED_DEFINE_CLEANUP(struct trainer, trainer_free);

/* Fails with FED_E_CANCELLED, FED_E_INVALID (the model does not fit the trainer), FED_E_CORRUPT,
 * FED_E_NOT_FOUND, FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int trainer_train(struct trainer *trainer,
                                const struct trainer_task *task,
                                struct trainer_result *ret_result,
                                struct fed_err *err);

/* Fails as trainer_train(). No scores at all is a result too: then nothing is reported. */
FED_NODISCARD int trainer_validate(struct trainer *trainer,
                                   const struct trainer_task *task,
                                   struct trainer_scores *ret_scores,
                                   struct fed_err *err);

#endif /* CLIENT_TRAIN_TRAINER_H */
