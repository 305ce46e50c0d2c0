#include "client/train/trainer.h"

#include <assert.h>
#include <string.h>

#include "client/train/trainer_inside.h"

static const struct trainer_ops *const back_ends[] = {&trainer_cnn, &trainer_echo};

int trainer_new(const char *name,
                const struct trainer_config *config,
                struct trainer **ret_trainer,
                struct fed_err *err)
{
    for (size_t i = 0; i < sizeof(back_ends) / sizeof(back_ends[0]); i++) {
        if (strcmp(back_ends[i]->name, name) == 0) {
            return back_ends[i]->make(config, ret_trainer, err);
        }
    }
    return fed_err_set(err, FED_E_INVALID, "no trainer '%s': there are cnn, echo", name);
}

struct trainer *trainer_free(struct trainer *trainer)
{
    if (trainer != NULL) {
        trainer->ops->drop(trainer);
    }
    return NULL;
}

int trainer_train(struct trainer *trainer,
                  const struct trainer_task *task,
                  struct trainer_result *ret_result,
                  struct fed_err *err)
{
    assert(task->update_path != NULL);
    const int rc = trainer->ops->train(trainer, task, ret_result, err);

    assert(rc < 0 || ret_result->n_examples > 0);
    return rc;
}

int trainer_validate(struct trainer *trainer,
                     const struct trainer_task *task,
                     struct trainer_scores *ret_scores,
                     struct fed_err *err)
{
    *ret_scores = (struct trainer_scores){0};
    return trainer->ops->validate(trainer, task, ret_scores, err);
}
