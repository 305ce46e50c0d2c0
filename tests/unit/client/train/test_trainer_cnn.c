/* The built-in trainer on a small dataset that it can learn: a bright bar, whose height is the
 * label. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/train/trainer.h"
#include "common/base/file.h"
#include "common/base/rand.h"
#include "common/model/cnn_model.h"

#define N_TRAIN 40U /* under sanitizers the plain kernel takes 30 ms for each */
#define N_TEST  20U

struct fixture {
    char folder[64];
    char base[128];
    struct trainer *trainer;
    atomic_bool is_cancelled;
};

static void put_be32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static void write_set(const struct fixture *f, const char *name, uint32_t n, uint64_t seed)
{
    uint8_t *images = calloc(1, 16 + (size_t)n * 784);
    uint8_t *marks = calloc(1, 8 + (size_t)n);
    char path[256];
    struct fed_rand rand;

    fed_rand_init(&rand, &seed, 1);
    put_be32(images, 0x803);
    put_be32(images + 4, n);
    put_be32(images + 8, 28);
    put_be32(images + 12, 28);
    put_be32(marks, 0x801);
    put_be32(marks + 4, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t label = (uint8_t)(i % 10);
        marks[8 + i] = label;
        for (size_t p = 0; p < 784; p++) {
            const bool is_bar = p / 28 == 2U * label + 4;
            images[16 + i * 784 + p] = (uint8_t)((is_bar ? 200U : 0U) + fed_rand_below(&rand, 40));
        }
    }
    (void)snprintf(path, sizeof(path), "%s/%s-images-idx3-ubyte", f->folder, name);
    assert_int_equal(fed_file_replace(path, fed_view_of(images, 16 + (size_t)n * 784), false, NULL),
                     0);
    (void)snprintf(path, sizeof(path), "%s/%s-labels-idx1-ubyte", f->folder, name);
    assert_int_equal(fed_file_replace(path, fed_view_of(marks, 8 + (size_t)n), false, NULL), 0);
    free(images);
    free(marks);
}

static struct trainer_config basic(const struct fixture *f)
{
    return (struct trainer_config){.data = f->folder,
                                   .partition = "iid",
                                   .kernel = "auto",
                                   .shard = 0,
                                   .n_shards = 2,
                                   .seed = 1,
                                   .epochs = 1,
                                   .batch = 10,
                                   .lr = 0.05};
}

static void make(struct fixture *f, const struct trainer_config *config)
{
    struct fed_err err = {0};

    f->trainer = trainer_free(f->trainer);
    if (trainer_new("cnn", config, &f->trainer, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    float *params = malloc(FED_CNN_PARAMS * sizeof(*params));

    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/confed-trainer-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    write_set(f, "train", N_TRAIN, 1);
    write_set(f, "t10k", N_TEST, 2);
    (void)snprintf(f->base, sizeof(f->base), "%s/base.npz", f->folder);
    fed_cnn_init(7, params);
    assert_int_equal(fed_cnn_write(f->base, params, NULL), 0);
    free(params);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)trainer_free(f->trainer);
    assert_int_equal(fed_folder_remove(f->folder, NULL), 0);
    free(f);
    return 0;
}

static struct trainer_task
task_of(const struct fixture *f, const char *base, const char *update, uint64_t round_number)
{
    return (struct trainer_task){.base_path = base,
                                 .update_path = update,
                                 .round_number = round_number,
                                 .is_cancelled = &f->is_cancelled};
}

/* Train, and load what came of it. */
static struct fed_buf train(struct fixture *f, uint64_t round_number, struct trainer_result *result)
{
    char path[128];
    struct fed_buf buf;
    struct fed_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/update.npz", f->folder);
    const struct trainer_task task = task_of(f, f->base, path, round_number);
    if (trainer_train(f->trainer, &task, result, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(fed_file_load(path, FED_CNN_FILE_MAX, &buf, NULL), 0);
    return buf;
}

static void test_same_key_same_bytes_whatever_was_before(void **state)
{
    struct fixture *f = *state;
    const struct trainer_config config = basic(f);
    struct trainer_result result;

    make(f, &config);
    struct fed_buf first = train(f, 3, &result);
    assert_int_equal(result.n_examples, N_TRAIN / 2);
    struct fed_buf other_round = train(f, 4, &result);
    struct fed_buf again = train(f, 3, &result);
    make(f, &config); /* a new process */
    struct fed_buf restarted = train(f, 3, &result);
    assert_true(fed_view_equal(fed_buf_view(&first), fed_buf_view(&again)));
    assert_true(fed_view_equal(fed_buf_view(&first), fed_buf_view(&restarted)));
    assert_false(fed_view_equal(fed_buf_view(&first), fed_buf_view(&other_round)));
    fed_buf_deinit(&first);
    fed_buf_deinit(&other_round);
    fed_buf_deinit(&again);
    fed_buf_deinit(&restarted);
}

static void test_other_shard_or_seed_other_bytes(void **state)
{
    struct fixture *f = *state;
    struct trainer_config config = basic(f);
    struct trainer_result result;

    make(f, &config);
    struct fed_buf first = train(f, 1, &result);
    config.shard = 1;
    make(f, &config);
    struct fed_buf shard = train(f, 1, &result);
    config.shard = 0;
    config.seed = 2;
    make(f, &config);
    struct fed_buf seed = train(f, 1, &result);
    assert_false(fed_view_equal(fed_buf_view(&first), fed_buf_view(&shard)));
    assert_false(fed_view_equal(fed_buf_view(&first), fed_buf_view(&seed)));
    fed_buf_deinit(&first);
    fed_buf_deinit(&shard);
    fed_buf_deinit(&seed);
}

static void test_it_learns_and_the_task_has_the_last_word(void **state)
{
    struct fixture *f = *state;
    struct trainer_config config = basic(f);
    struct trainer_result result;
    struct trainer_scores before;
    struct trainer_scores after;
    char path[128];

    config.n_shards = 1;
    config.lr = 1e-6; /* with its own settings it would learn nothing */
    make(f, &config);
    (void)snprintf(path, sizeof(path), "%s/update.npz", f->folder);
    struct trainer_task task = task_of(f, f->base, path, 1);
    task.epochs = 5;
    task.batch = 3; /* the last batch of an epoch is a small one */
    task.lr = 0.1;
    assert_int_equal(trainer_validate(f->trainer, &task, &before, NULL), 0);
    assert_int_equal(trainer_train(f->trainer, &task, &result, NULL), 0);
    task = task_of(f, path, NULL, 1);
    assert_int_equal(trainer_validate(f->trainer, &task, &after, NULL), 0);
    assert_int_equal(after.n_items, 2);
    assert_string_equal(after.items[0].name, "test_loss");
    assert_string_equal(after.items[1].name, "test_accuracy");
    assert_true(before.items[0].value > 2.0);
    assert_true(after.items[0].value < 0.5);
    assert_true(after.items[1].value > 0.9);
    assert_true(result.loss < 1.0);
}

static void test_no_test_set_no_scores(void **state)
{
    struct fixture *f = *state;
    const struct trainer_config config = basic(f);
    const struct trainer_task task = task_of(f, f->base, NULL, 1);
    struct trainer_scores scores;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/t10k-images-idx3-ubyte", f->folder);
    assert_int_equal(unlink(path), 0);
    make(f, &config);
    assert_int_equal(trainer_validate(f->trainer, &task, &scores, NULL), 0);
    assert_int_equal(scores.n_items, 0);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    const struct trainer_config config = basic(f);
    struct trainer_result result;
    struct trainer_scores scores;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/update.npz", f->folder);
    const struct trainer_task task = task_of(f, f->base, path, 1);
    make(f, &config);
    atomic_store(&f->is_cancelled, true);
    assert_int_equal(trainer_train(f->trainer, &task, &result, NULL), -FED_E_CANCELLED);
    assert_int_equal(trainer_validate(f->trainer, &task, &scores, NULL), -FED_E_CANCELLED);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_failures_leave_it_usable(void **state)
{
    struct fixture *f = *state;
    const struct trainer_config config = basic(f);
    struct trainer_result result;
    struct fed_err err = {0};
    char path[128];
    char labels[128];

    (void)snprintf(path, sizeof(path), "%s/update.npz", f->folder);
    (void)snprintf(labels, sizeof(labels), "%s/train-labels-idx1-ubyte", f->folder);
    struct trainer_task task = task_of(f, "/nonexistent.npz", path, 1);
    make(f, &config);
    assert_true(trainer_train(f->trainer, &task, &result, &err) < 0);
    assert_non_null(strstr(err.msg, "/nonexistent.npz"));
    task = task_of(f, labels, path, 1); /* no model at all */
    assert_true(trainer_train(f->trainer, &task, &result, &err) < 0);
    task = task_of(f, f->base, path, 1);
    task.lr = 1e30; /* diverges */
    task.epochs = 2;
    assert_int_equal(trainer_train(f->trainer, &task, &result, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "not finite"));
    assert_int_not_equal(access(path, F_OK), 0);
    struct fed_buf update = train(f, 1, &result);
    fed_buf_deinit(&update);
}

static void test_damaged_data_is_named(void **state)
{
    struct fixture *f = *state;
    const struct trainer_config config = basic(f);
    struct trainer_result result;
    struct fed_err err = {0};
    char images[128];
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/update.npz", f->folder);
    (void)snprintf(images, sizeof(images), "%s/train-images-idx3-ubyte", f->folder);
    assert_int_equal(truncate(images, 5000), 0);
    const struct trainer_task task = task_of(f, f->base, path, 1);
    make(f, &config);
    assert_int_equal(trainer_train(f->trainer, &task, &result, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "train-images-idx3-ubyte: offset 5000: the file ends, want "
                                    "item 6 of 40"));
    write_set(f, "train", N_TRAIN + 1, 1);
    assert_int_equal(truncate(images, 16 + 784 * (N_TRAIN + 1)), 0);
    (void)snprintf(images, sizeof(images), "%s/train-labels-idx1-ubyte", f->folder);
    assert_int_equal(
        fed_file_replace(images, fed_view_of("\0\0\x08\x01\0\0\0\x02\x01\x0b", 10), false, NULL),
        0);
    assert_int_equal(trainer_train(f->trainer, &task, &result, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "offset 9: label 11, want 0 to 9"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_key_same_bytes_whatever_was_before),
        TEST(test_other_shard_or_seed_other_bytes),
        TEST(test_it_learns_and_the_task_has_the_last_word),
        TEST(test_no_test_set_no_scores),
        TEST(test_cancelled),
        TEST(test_failures_leave_it_usable),
        TEST(test_damaged_data_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
