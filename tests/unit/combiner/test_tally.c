/* A round's sum over a real spool: the same bits with checkpoints and without, whatever is killed,
 * damaged or planned anew in between. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "combiner/spool/checkpoint.h"
#include "combiner/tally.h"
#include "tests/lib/fixture.h"
#include "tests/lib/model.h"

#define N_ELEMENTS 5000U
#define N_CLIENTS  5U
#define SCALE      20

static const struct fed_npz_limits limits = {1U << 24, 1U << 20};
static const struct fed_tensor shape = {.dtype = FED_DTYPE_F4,
                                        .rank = 1,
                                        .shape = {N_ELEMENTS},
                                        .n_elements = N_ELEMENTS};

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct base base;
    struct spool *spool;
    struct summing_room room;
    struct tally tally;
    struct fed_plan plan;
    int32_t scales[1];
    char clients[N_CLIENTS][FED_ID_SIZE]; /* sorted */
    const char *fault;
    struct fed_err err;
};

static struct fed_buf model(struct fixture *f, double change)
{
    double values[N_ELEMENTS];
    char path[FED_PATH_SIZE];

    for (size_t i = 0; i < N_ELEMENTS; i++) {
        values[i] = 0.001 * (double)i * change;
    }
    test_model_write(test_path(&f->folder, "model", path), values, &shape, 1);
    return test_file_read(path);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char base[FED_PATH_SIZE];
    char raw[FED_PATH_SIZE];
    struct fed_buf bytes;

    assert_non_null(f);
    test_folder_make(&f->folder);
    bytes = model(f, 1);
    test_file_write(test_path(&f->folder, "base", base), bytes.data, bytes.size);
    fed_buf_deinit(&bytes);
    (void)test_path(&f->folder, "base.raw", raw);
    assert_int_equal(base_open(base, raw, &limits, &f->base, &f->err), 0);
    (void)test_path(&f->folder, "spool", f->path);
    assert_int_equal(spool_open(f->path, false, &f->spool, &f->err), 0);
    f->scales[0] = SCALE;
    for (size_t i = 0; i < N_CLIENTS; i++) {
        (void)snprintf(f->clients[i], FED_ID_SIZE, "client-%zu", i);
    }
    f->plan = (struct fed_plan){.session_id = "s",
                                .round_id = "7",
                                .round_number = 1,
                                .plan_seq = 1,
                                .base_model_id = "base",
                                .base_sha256 = {1, 2, 3},
                                .scale_bits = f->scales,
                                .n_tensors = 1,
                                .limit_bits = 51,
                                .examples_max = 1000,
                                .client_ids = f->clients,
                                .n_clients = N_CLIENTS};
    assert_int_equal(spool_store_plan(f->spool, &f->plan, &f->err), 0);
    tally_init(&f->tally, f->spool, &limits, &f->room, "7");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    tally_clear(&f->tally);
    summing_room_deinit(&f->room);
    (void)spool_close(f->spool);
    base_close(&f->base);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

static struct fed_entry entry(const struct fixture *f, size_t i)
{
    struct fed_entry entry = {.examples = 10 + i};

    fed_id_copy(entry.client_id, f->clients[i]);
    (void)snprintf(entry.update_id, sizeof(entry.update_id), "update-%zu", i);
    return entry;
}

static struct spool_update admit(struct fixture *f, size_t i)
{
    struct fed_buf bytes = model(f, 1 + 0.1 * (double)(i + 1));
    struct spool_upload upload = {.file.serial = spool_take_serial(f->spool)};
    const struct fed_entry what = entry(f, i);
    const struct fed_view view = fed_buf_view(&bytes);

    fed_id_copy(upload.id, what.update_id);
    assert_int_equal(
        spool_add(f->spool, &upload.file, &(struct fed_pieces){&view, 1, view.size}, &f->err), 0);
    assert_int_equal(spool_publish(f->spool, &upload, &f->err), 0);
    assert_int_equal(spool_admit(f->spool, "7", &upload, &what, &f->err), 0);
    fed_buf_deinit(&bytes);
    return (struct spool_update){.entry = what, .file = upload.file};
}

static void reset(struct fixture *f, int want)
{
    assert_int_equal(tally_reset(&f->tally, &f->plan, &f->base, &f->err), want);
}

static void fold(struct fixture *f, const struct spool_update *update)
{
    assert_int_equal(tally_fold(&f->tally, update, &f->err), 0);
}

static size_t checkpoint(struct fixture *f)
{
    struct fed_entry *entries = NULL;
    size_t n = 0;

    assert_int_equal(tally_checkpoint(&f->tally, &f->plan, &entries, &n, &f->err), 0);
    free(entries);
    return n;
}

/* How many of the round's files have names that begin so. */
static unsigned count_files(struct fixture *f, const char *prefix)
{
    char path[FED_PATH_SIZE];
    const struct dirent *file;
    unsigned n = 0;
    DIR *dir;

    assert_int_equal(spool_path_round(f->spool, "7", NULL, path, &f->err), 0);
    dir = opendir(path);
    assert_non_null(dir);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one reader, a stream of its own */
    while ((file = readdir(dir)) != NULL) {
        n += strncmp(file->d_name, prefix, strlen(prefix)) == 0 ? 1 : 0;
    }
    (void)closedir(dir);
    return n;
}

/* Of the first n clients, and nobody else, each once: the bits that plain sums of their updates
 * have. */
static void expect_sum(struct fixture *f, size_t n)
{
    struct fed_entry entries[N_CLIENTS];
    const struct summing_partial what = {.plan = &f->plan, .entries = entries, .n_entries = n};
    uint8_t digest[FED_DIGEST_SIZE];
    struct fed_partial partial = {0};
    struct summing *plain = NULL;
    int64_t *sums = calloc(N_ELEMENTS, sizeof(*sums));
    char path[FED_PATH_SIZE];

    assert_non_null(sums);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &plain, &f->err), 0);
    for (size_t i = 0; i < n; i++) {
        struct fed_buf bytes = model(f, 1 + 0.1 * (double)(i + 1));
        fed_buf_deinit(&bytes);
        entries[i] = entry(f, i);
        assert_int_equal(summing_fold(plain,
                                      &(struct summing_update){test_path(&f->folder, "model", path),
                                                               entries[i].examples, false},
                                      &limits, &f->err),
                         0);
    }
    assert_int_equal(tally_seal(&f->tally, &what, digest, &f->err), 0);
    assert_int_equal(spool_path_round(f->spool, "7", "partial", path, &f->err), 0);
    assert_int_equal(fed_partial_open(path, &partial, &f->err), 0);
    assert_int_equal(partial.n_entries, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(partial.entries[i].client_id, f->clients[i]);
    }
    assert_int_equal(fed_partial_add(path, &partial, sums, &f->err), 0);
    assert_memory_equal(sums, summing_get_sums(plain), N_ELEMENTS * sizeof(*sums));
    fed_partial_deinit(&partial);
    (void)summing_free(plain);
    free(sums);
}

/* As a new process: what the spool says is folded again. */
static size_t recover(struct fixture *f)
{
    struct spool_round *rounds = NULL;
    size_t n = 0;
    size_t n_updates;

    tally_clear(&f->tally);
    assert_int_equal(spool_list_rounds(f->spool, &rounds, &n, &f->err), 0);
    assert_int_equal(n, 1);
    n_updates = rounds->n_updates;
    assert_true(tally_reset(&f->tally, &f->plan, &f->base, &f->err) != TALLY_VOID);
    for (size_t i = 0; i < n_updates; i++) {
        fold(f, &rounds->updates[i]);
    }
    spool_round_deinit(rounds);
    free(rounds);
    return n_updates;
}

/* -- killed ------------------------------------------------------------------------------------ */

/* Two checkpoints are made, the second is not survived. */
static int checkpoint_twice(void *arg)
{
    struct fixture *f = arg;
    struct spool_update update;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the child has one thread */
    (void)setenv("CONFED_FAULT", f->fault, 1);
    reset(f, TALLY_ZERO);
    for (size_t i = 0; i < 4; i++) {
        update = admit(f, i);
        fold(f, &update);
        if (i % 2 == 1) {
            (void)checkpoint(f);
        }
    }
    return 0;
}

/* These go before all others: a process reads the name of its fault point once, and a child has
 * what its parent has read. */
static void kill_at(struct fixture *f, const char *fault, unsigned n_files)
{
    f->fault = fault;
    assert_int_equal(test_child_run(checkpoint_twice, f), -9);
    assert_int_equal(count_files(f, "update-"), n_files);
    assert_int_equal(recover(f), 4);
    assert_int_equal(count_files(f, "checkpoint.new"), 0);
    expect_sum(f, 4);
}

static void test_killed_before_the_rename(void **state)
{
    struct fixture *f = *state;

    kill_at(f, "combiner.checkpoint_written:2", 2);
    assert_int_equal(count_files(f, "update-"), 2); /* the first checkpoint has the others */
}

static void test_killed_before_the_files_go(void **state)
{
    struct fixture *f = *state;

    kill_at(f, "combiner.checkpointed:2", 2);
    assert_int_equal(count_files(f, "update-"), 0); /* they would have counted twice */
}

static void test_killed_when_the_files_have_gone(void **state)
{
    struct fixture *f = *state;

    kill_at(f, "combiner.checkpoint_swept:2", 0);
}

/* -- in one life ------------------------------------------------------------------------------- */

static void test_the_same_bits_with_a_checkpoint_after_each_fold(void **state)
{
    struct fixture *f = *state;

    reset(f, TALLY_ZERO);
    assert_int_equal(checkpoint(f), 0); /* of nothing */
    for (size_t i = 0; i < N_CLIENTS; i++) {
        const struct spool_update update = admit(f, i);
        fold(f, &update);
        assert_int_equal(f->tally.file_bytes, update.file.size_bytes);
        assert_int_equal(checkpoint(f), i + 1);
        assert_int_equal(count_files(f, "update-"), 0);
        assert_int_equal(checkpoint(f), 0);
    }
    expect_sum(f, N_CLIENTS);
    assert_int_equal(checkpoint(f), 0); /* sealed */
}

static void test_a_reset_begins_from_the_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct spool_update updates[3];

    reset(f, TALLY_ZERO);
    for (size_t i = 0; i < 3; i++) {
        updates[i] = admit(f, i);
        fold(f, &updates[i]);
        if (i == 1) {
            (void)checkpoint(f);
        }
    }
    f->plan.plan_seq = 2;
    reset(f, 0);
    for (size_t i = 0; i < 3; i++) {
        fold(f, &updates[2 - i]); /* two of them are in it */
    }
    expect_sum(f, 3);
    f->plan.plan_seq = 3;
    reset(f, 0); /* sealed, and planned again */
    fold(f, &updates[2]);
    assert_int_equal(checkpoint(f), 3);
    expect_sum(f, 3);
}

static void test_another_update_of_one_in_the_checkpoint_is_not_folded(void **state)
{
    struct fixture *f = *state;
    struct spool_update update = admit(f, 0);

    reset(f, TALLY_ZERO);
    fold(f, &update);
    (void)checkpoint(f);
    reset(f, 0);
    fed_id_copy(update.entry.update_id, "another");
    assert_int_equal(tally_fold(&f->tally, &update, &f->err), -FED_E_INTERNAL);
    expect_sum(f, 1);
}

/* Two are in the checkpoint, a third is not; then `plan` holds or `spoil` has been done. */
static struct spool_update two_and_one(struct fixture *f)
{
    struct spool_update update;

    reset(f, TALLY_ZERO);
    for (size_t i = 0; i < 2; i++) {
        update = admit(f, i + 1);
        fold(f, &update);
    }
    (void)checkpoint(f);
    update = admit(f, 0);
    fold(f, &update);
    return update;
}

static void expect_lost(struct fixture *f, const struct spool_update *third)
{
    struct fed_entry *entries = NULL;
    size_t n = 0;

    reset(f, TALLY_VOID);
    assert_int_equal(tally_fold(&f->tally, third, &f->err), TALLY_VOID);
    assert_int_equal(tally_checkpoint(&f->tally, &f->plan, &entries, &n, &f->err), 0);
    assert_null(entries);
    assert_int_equal(count_files(f, "checkpoint"), 0);
    reset(f, TALLY_ZERO);
    fold(f, third);
    expect_sum(f, 1);
}

static void test_a_plan_without_one_of_its_clients_ends_it(void **state)
{
    struct fixture *f = *state;
    const struct spool_update third = two_and_one(f);

    f->plan.n_clients = 2; /* not client-2 */
    expect_lost(f, &third);
}

static void test_a_damaged_one_is_lost(void **state)
{
    struct fixture *f = *state;
    const struct spool_update third = two_and_one(f);
    char path[FED_PATH_SIZE];
    struct fed_buf bytes;

    assert_int_equal(spool_path_round(f->spool, "7", CHECKPOINT, path, &f->err), 0);
    bytes = test_file_read(path);
    bytes.data[bytes.size / 2] ^= 1;
    test_file_write(path, bytes.data, bytes.size);
    fed_buf_deinit(&bytes);
    expect_lost(f, &third);
}

static void test_one_of_other_scales_is_lost(void **state)
{
    struct fixture *f = *state;
    const struct spool_update third = two_and_one(f);

    f->scales[0]++;
    expect_lost(f, &third);
}

/* What a former process has left that is of no use: its clients are asked again. */
static void test_one_that_does_not_fit_is_not_recovered(void **state)
{
    struct fixture *f = *state;

    (void)two_and_one(f);
    f->plan.n_clients = 2;
    f->plan.plan_seq = 2;
    assert_int_equal(spool_store_plan(f->spool, &f->plan, &f->err), 0);
    assert_int_equal(recover(f), 1);
    assert_int_equal(count_files(f, "checkpoint"), 0);
    expect_sum(f, 1);
}

/* It cannot be written: the files stay, and it works the next time. */
static void test_no_room_for_it(void **state)
{
    struct fixture *f = *state;
    struct spool_update updates[2];
    struct fed_entry *entries = NULL;
    char path[FED_PATH_SIZE];
    size_t n = 0;

    reset(f, TALLY_ZERO);
    for (size_t i = 0; i < 2; i++) {
        updates[i] = admit(f, i);
        fold(f, &updates[i]);
    }
    assert_int_equal(spool_path_round(f->spool, "7", CHECKPOINT_NEW ".tmp", path, &f->err), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tally_checkpoint(&f->tally, &f->plan, &entries, &n, &f->err), -FED_E_IO);
    assert_null(entries);
    assert_int_equal(count_files(f, "update-"), 2);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(spool_path_round(f->spool, "7", CHECKPOINT, path, &f->err), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* the rename fails */
    assert_int_equal(tally_checkpoint(&f->tally, &f->plan, &entries, &n, &f->err), -FED_E_IO);
    assert_int_equal(count_files(f, "update-"), 2);
    assert_int_equal(count_files(f, "checkpoint.new"), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(checkpoint(f), 2);
    assert_int_equal(count_files(f, "update-"), 0);
    assert_int_equal(recover(f), 2);
    expect_sum(f, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_before_the_rename),
        TEST(test_killed_before_the_files_go),
        TEST(test_killed_when_the_files_have_gone),
        TEST(test_the_same_bits_with_a_checkpoint_after_each_fold),
        TEST(test_a_reset_begins_from_the_checkpoint),
        TEST(test_another_update_of_one_in_the_checkpoint_is_not_folded),
        TEST(test_a_plan_without_one_of_its_clients_ends_it),
        TEST(test_a_damaged_one_is_lost),
        TEST(test_one_of_other_scales_is_lost),
        TEST(test_one_that_does_not_fit_is_not_recovered),
        TEST(test_no_room_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
