/* The trainer that trains nothing: the update is the base, byte for byte. For tests and
 * measurements of everything around training. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/data/dataset.h"
#include "client/train/trainer_inside.h"
#include "common/base/fault.h"
#include "common/base/file.h"

struct echo {
    struct trainer base;
    struct trainer_config config;
    uint64_t n_examples; /* 0: not known yet */
};

static int echo_make(const struct trainer_config *config, struct trainer **ret, struct fed_err *err)
{
    struct echo *echo = calloc(1, sizeof(*echo));

    if (echo == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "trainer");
    }
    echo->base.ops = &trainer_echo;
    echo->config = *config;
    echo->n_examples = config->examples;
    if (echo->n_examples == 0 && config->data[0] == '\0') {
        echo->n_examples = 1;
    }
    *ret = &echo->base;
    return 0;
}

/* The size of the shard, where there is data and nothing else was said. */
static int count_examples(struct echo *echo, struct fed_err *err)
{
    uint32_t *rows = NULL;
    size_t n_rows = 0;
    const struct dataset_share share = {echo->config.data, echo->config.partition,
                                        echo->config.shard, echo->config.n_shards,
                                        echo->config.seed};
    const int rc = dataset_load_rows(&share, &rows, &n_rows, err);

    free(rows);
    if (rc == 0) {
        echo->n_examples = n_rows;
    }
    return rc;
}

/* The file is never changed in place, so that a second name for it is a copy. */
static int copy_file(const char *from, const char *to, struct fed_err *err)
{
    struct fed_map map;
    int rc;

    if (unlink(to) != 0 && errno != ENOENT) {
        return fed_file_error(err, "remove", to);
    }
    if (link(from, to) == 0) {
        return 0;
    }
    rc = fed_map_open(from, &map, err);
    if (rc == 0) {
        rc = fed_file_replace(to, fed_view_of(map.data, map.size), false, err);
        fed_map_close(&map);
    }
    return rc;
}

static int echo_train(struct trainer *trainer,
                      const struct trainer_task *task,
                      struct trainer_result *ret_result,
                      struct fed_err *err)
{
    struct echo *echo = (struct echo *)trainer;
    int rc = echo->n_examples == 0 ? count_examples(echo, err) : 0;

    FED_FAULT_POINT("client.training");
    if (rc == 0) {
        rc = copy_file(task->base_path, task->update_path, err);
    }
    if (rc == 0) {
        *ret_result = (struct trainer_result){.n_examples = echo->n_examples, .loss = -1};
    }
    return rc;
}

/* The whole path of a validation, without the work. */
static int echo_validate(struct trainer *trainer,
                         const struct trainer_task *task,
                         struct trainer_scores *ret_scores,
                         struct fed_err *err)
{
    (void)trainer;
    (void)task;
    (void)err;
    ret_scores->items[0] = (struct trainer_score){"test_loss", 0};
    ret_scores->n_items = 1;
    return 0;
}

static void echo_drop(struct trainer *trainer)
{
    free(trainer);
}

const struct trainer_ops trainer_echo = {"echo", echo_make, echo_train, echo_validate, echo_drop};
