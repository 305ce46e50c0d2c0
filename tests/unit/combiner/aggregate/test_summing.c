/* Checks and sums over real files, against an int64 oracle written out in plain C. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/aggregate/checking.h"
#include "combiner/aggregate/summing.h"
#include "common/base/rand.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"
#include "tests/lib/fixture.h"
#include "tests/lib/model.h"

#define N_TENSORS  3U
#define N_ELEMENTS (6000U + 50U + 1U) /* more than a block, a small one, a scalar */
#define LIMIT_BITS 51U

static const struct fed_npz_limits limits = {1U << 24, 1U << 20};

struct fixture {
    struct test_folder folder;
    char base_path[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    struct base base;
    double values[N_ELEMENTS]; /* of the base */
    struct summing_room room;
    struct fed_plan plan;
    int32_t scales[N_TENSORS];
    struct fed_rand rand;
    struct fed_err err;
};

static const struct fed_tensor shapes[N_TENSORS] = {
    {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {100, 60}, .n_elements = 6000, .offset = 0},
    {.dtype = FED_DTYPE_F8, .rank = 1, .shape = {50}, .n_elements = 50, .offset = 6000},
    {.dtype = FED_DTYPE_I8, .rank = 0, .n_elements = 1, .offset = 6050},
};

/* What the file holds of a value: its dtype's rounding. */
static double stored(size_t element, double value)
{
    return element < 6000 ? (double)(float)value : element < 6050 ? value : rint(value);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char raw[FED_PATH_SIZE];
    const uint64_t key = 7;

    assert_non_null(f);
    test_folder_make(&f->folder);
    fed_rand_init(&f->rand, &key, 1);
    for (size_t i = 0; i < N_ELEMENTS; i++) {
        f->values[i] = stored(i, (fed_rand_unit(&f->rand) - 0.5) * 8);
    }
    (void)test_path(&f->folder, "base", f->base_path);
    (void)test_path(&f->folder, "base.raw", raw);
    (void)test_path(&f->folder, "update", f->path);
    test_model_write(f->base_path, f->values, shapes, N_TENSORS);
    assert_int_equal(base_open(f->base_path, raw, &limits, &f->base, &f->err), 0);
    f->scales[0] = f->scales[1] = (int32_t)LIMIT_BITS - 26 - 2;
    f->scales[2] = 0;
    f->plan = (struct fed_plan){.round_id = "7",
                                .plan_seq = 1,
                                .scale_bits = f->scales,
                                .n_tensors = N_TENSORS,
                                .limit_bits = LIMIT_BITS,
                                .examples_max = 1000000000};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    summing_room_deinit(&f->room);
    base_close(&f->base);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

static enum fed_refusal judge(struct fixture *f, uint64_t examples, char detail[])
{
    struct checking checking = {0};
    enum fed_refusal reason;

    detail[0] = '\0';
    assert_int_equal(checking_run(f->path, &f->base, &limits, &checking, &f->err), 0);
    reason = checking_judge(&checking, &f->plan, examples, detail);
    checking_deinit(&checking);
    return reason;
}

static int fold(struct fixture *f, struct summing *sum, const char *path, uint64_t examples)
{
    return summing_fold(sum, &(struct summing_update){path, examples, false}, &limits, &f->err);
}

static void test_the_base_is_read_back_as_it_is(void **state)
{
    struct fixture *f = *state;
    double got[100];

    base_read(&f->base, 0, 4090, 100, got);
    assert_memory_equal(got, f->values + 4090, sizeof(got));
    base_read(&f->base, 1, 10, 40, got);
    assert_memory_equal(got, f->values + 6010, 40 * sizeof(double));
    base_read(&f->base, 2, 0, 1, got);
    assert_memory_equal(got, f->values + 6050, sizeof(double));
}

/* q = rint(n * (x - b) * 2^S), each step one rounding. */
static int64_t oracle(double x, double b, double examples, int32_t scale)
{
    volatile double difference = x - b;
    volatile double weighted = examples * difference;
    volatile double scaled = weighted * ldexp(1.0, scale);

    return (int64_t)llrint(scaled);
}

static void test_the_sum_is_the_oracles_in_any_order(void **state)
{
    static const uint64_t examples[] = {1, 240, 1000000000, 7};
    static const size_t orders[][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}};
    struct fixture *f = *state;
    int64_t *want = calloc(N_ELEMENTS, sizeof(*want));
    double *values = calloc(N_ELEMENTS, sizeof(*values));
    char paths[4][FED_PATH_SIZE];

    assert_non_null(want);
    assert_non_null(values);
    for (size_t k = 0; k < 4; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "update-%zu", k);
        (void)test_path(&f->folder, name, paths[k]);
        for (size_t i = 0; i < N_ELEMENTS; i++) {
            values[i] = stored(i, f->values[i] + (fed_rand_unit(&f->rand) - 0.5) * 0.01);
            want[i] += oracle(values[i], f->values[i], (double)examples[k],
                              f->scales[i < 6000   ? 0
                                        : i < 6050 ? 1
                                                   : 2]);
        }
        test_model_write(paths[k], values, shapes, N_TENSORS);
    }
    for (size_t o = 0; o < 2; o++) {
        struct summing *sum = NULL;
        assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
        for (size_t k = 0; k < 4; k++) {
            assert_int_equal(fold(f, sum, paths[orders[o][k]], examples[orders[o][k]]), 0);
        }
        assert_memory_equal(summing_get_sums(sum), want, N_ELEMENTS * sizeof(*want));
        (void)summing_free(sum);
    }
    free(want);
    free(values);
}

/* The judgement by the largest distance is that of testing every value. */
static void test_the_range_is_judged_as_value_by_value(void **state)
{
    struct fixture *f = *state;
    double *values = malloc(sizeof(f->values));
    char detail[FED_LINK_DETAIL_SIZE];

    assert_non_null(values);
    for (int round = 0; round < 40; round++) {
        const uint64_t examples = 1 + fed_rand_below(&f->rand, 1000000);
        const double spread = ldexp(1.0, (int)fed_rand_below(&f->rand, 24));
        bool fits = true;
        for (size_t i = 0; i < N_ELEMENTS; i++) {
            const int32_t scale = f->scales[i < 6000 ? 0 : i < 6050 ? 1 : 2];
            values[i] = stored(i, f->values[i] + (fed_rand_unit(&f->rand) - 0.5) * spread);
            fits = fits &&
                   fabs(rint((double)examples * (values[i] - f->values[i]) * ldexp(1.0, scale))) <=
                       ldexp(1.0, LIMIT_BITS);
        }
        test_model_write(f->path, values, shapes, N_TENSORS);
        assert_int_equal(judge(f, examples, detail),
                         fits ? FED_REFUSAL_NONE : FED_REFUSAL_OUT_OF_RANGE);
    }
    free(values);
}

static void test_exactly_at_the_limit(void **state)
{
    struct fixture *f = *state;
    double *values = malloc(sizeof(f->values));
    char detail[FED_LINK_DETAIL_SIZE];

    assert_non_null(values);
    memcpy(values, f->values, sizeof(f->values));
    f->scales[2] = 0;
    values[6050] = f->values[6050] + 0x1p51;
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_NONE);
    assert_int_equal(judge(f, 2, detail), FED_REFUSAL_OUT_OF_RANGE);
    assert_non_null(strstr(detail, "2.npy"));
    values[6050] += 1;
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_OUT_OF_RANGE);
    free(values);
}

static void test_every_fault_has_its_reason(void **state)
{
    struct fixture *f = *state;
    struct fed_tensor tensors[N_TENSORS];
    double *values = malloc(sizeof(f->values));
    char detail[FED_LINK_DETAIL_SIZE];

    assert_non_null(values);
    memcpy(values, f->values, sizeof(f->values));
    test_file_write(f->path, "no archive", 10);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_MALFORMED);
    test_model_write(f->path, values, shapes, 2);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_TENSOR_COUNT);
    assert_non_null(strstr(detail, "2"));
    memcpy(tensors, shapes, sizeof(tensors));
    tensors[0].shape[0] = 60;
    tensors[0].shape[1] = 100; /* transposed */
    test_model_write(f->path, values, tensors, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_TENSOR_SHAPE);
    values[6010] = (double)NAN;
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_NOT_FINITE);
    values[5017] = -(double)INFINITY; /* among float32, which are read where they lie */
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_NOT_FINITE);
    assert_string_equal(detail, "0.npy: element 5017 is infinite");
    values[5017] = f->values[5017];
    values[6010] = -1e300; /* finite, and its distance from the base is, too */
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_OUT_OF_RANGE);
    memcpy(values, f->values, sizeof(f->values));
    test_model_write(f->path, values, shapes, N_TENSORS);
    struct fed_buf bytes = test_file_read(f->path);
    bytes.data[1000] ^= 1;
    test_file_write(f->path, bytes.data, bytes.size);
    assert_int_equal(judge(f, 1, detail), FED_REFUSAL_CHECKSUM);
    fed_buf_deinit(&bytes);
    for (int fault = FED_FAULT_MALFORMED; fault <= FED_FAULT_TOO_LARGE; fault++) {
        assert_int_not_equal(checking_refusal((enum fed_model_fault)fault), FED_REFUSAL_NONE);
    }
    free(values);
}

static void test_a_missing_file_is_no_judgement(void **state)
{
    struct fixture *f = *state;
    struct checking checking = {0};

    assert_int_equal(checking_run(f->path, &f->base, &limits, &checking, &f->err),
                     -FED_E_NOT_FOUND);
    assert_null(checking.distances);
}

/* A file that is not what was checked, damaged in each tensor: every bit of the sum is as before.
 */
static void test_a_failed_fold_leaves_every_bit(void **state)
{
    struct fixture *f = *state;
    double *values = malloc(sizeof(f->values));
    int64_t *before = malloc(N_ELEMENTS * sizeof(*before));
    struct summing *sum = NULL;
    struct fed_buf bytes;

    assert_non_null(values);
    assert_non_null(before);
    for (size_t i = 0; i < N_ELEMENTS; i++) {
        values[i] = stored(i, f->values[i] + 0.125 * (double)(i % 7));
    }
    test_model_write(f->path, values, shapes, N_TENSORS);
    bytes = test_file_read(f->path);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    assert_int_equal(fold(f, sum, f->path, 3), 0);
    memcpy(before, summing_get_sums(sum), N_ELEMENTS * sizeof(*before));
    for (size_t at = 500; at < bytes.size - 400; at += 977) {
        bytes.data[at] ^= 4;
        test_file_write(f->path, bytes.data, bytes.size);
        bytes.data[at] ^= 4;
        if (fold(f, sum, f->path, 5) == 0) {
            continue; /* between the members: nothing that counts */
        }
        assert_false(summing_is_broken(sum));
        assert_memory_equal(summing_get_sums(sum), before, N_ELEMENTS * sizeof(*before));
    }
    test_file_write(f->path, bytes.data, bytes.size / 2);
    assert_int_equal(fold(f, sum, f->path, 5), -FED_E_CORRUPT);
    assert_memory_equal(summing_get_sums(sum), before, N_ELEMENTS * sizeof(*before));
    (void)summing_free(sum);
    fed_buf_deinit(&bytes);
    free(before);
    free(values);
}

/* The same with a CRC-32 that holds. */
static void test_what_is_not_finite_is_not_folded(void **state)
{
    static const size_t places[] = {0, 1024, 5999, 6049}; /* of float32, and a double */
    struct fixture *f = *state;
    struct summing *sum = NULL;
    int64_t *before = malloc(N_ELEMENTS * sizeof(*before));
    double *values = malloc(sizeof(f->values));

    assert_non_null(before);
    assert_non_null(values);
    memcpy(values, f->values, sizeof(f->values));
    values[3] += 0.5;
    test_model_write(f->path, values, shapes, N_TENSORS);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    assert_int_equal(fold(f, sum, f->path, 3), 0);
    memcpy(before, summing_get_sums(sum), N_ELEMENTS * sizeof(*before));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const double was = values[places[i]];
        values[places[i]] = (double)NAN;
        test_model_write(f->path, values, shapes, N_TENSORS);
        values[places[i]] = was;
        assert_int_equal(fold(f, sum, f->path, 5), -FED_E_CORRUPT);
        assert_non_null(strstr(f->err.msg, "is NaN"));
        assert_false(summing_is_broken(sum));
        assert_memory_equal(summing_get_sums(sum), before, N_ELEMENTS * sizeof(*before));
    }
    (void)summing_free(sum);
    free(values);
    free(before);
}

/* What a former sum has left in the memory is in no later one, also when a first fold fails. */
static void test_kept_memory_begins_at_zero(void **state)
{
    struct fixture *f = *state;
    int64_t *want = malloc(N_ELEMENTS * sizeof(*want));
    const int64_t *kept = NULL;
    struct summing *sum = NULL;
    struct fed_buf bytes;

    assert_non_null(want);
    f->values[7] += 1;
    test_model_write(f->path, f->values, shapes, N_TENSORS);
    bytes = test_file_read(f->path);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    assert_null(summing_get_sums(sum));
    assert_int_equal(fold(f, sum, f->path, 3), 0);
    kept = summing_get_sums(sum);
    memcpy(want, kept, N_ELEMENTS * sizeof(*want));
    (void)summing_free(sum);
    assert_ptr_equal(f->room.sums, kept);
    memset(f->room.sums, 0xA5, f->room.n_sums * sizeof(*f->room.sums));

    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    bytes.data[bytes.size / 2] ^= 4;
    test_file_write(f->path, bytes.data, bytes.size);
    assert_int_equal(fold(f, sum, f->path, 3), -FED_E_CORRUPT);
    assert_null(summing_get_sums(sum));
    assert_false(summing_is_broken(sum));
    bytes.data[bytes.size / 2] ^= 4;
    test_file_write(f->path, bytes.data, bytes.size);
    assert_int_equal(fold(f, sum, f->path, 3), 0);
    assert_ptr_equal(summing_get_sums(sum), kept);
    assert_null(f->room.sums);
    assert_memory_equal(summing_get_sums(sum), want, N_ELEMENTS * sizeof(*want));
    (void)summing_free(sum);
    fed_buf_deinit(&bytes);
    free(want);
}

/* What this process has read whole is not read for faults once more; what it has not, is. */
static void test_a_checked_file_is_not_checked_again(void **state)
{
    struct fixture *f = *state;
    struct summing *sum = NULL;
    struct fed_buf bytes;

    test_model_write(f->path, f->values, shapes, N_TENSORS);
    bytes = test_file_read(f->path);
    bytes.data[1000] ^= 1; /* a bit of a value */
    test_file_write(f->path, bytes.data, bytes.size);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    assert_int_equal(fold(f, sum, f->path, 3), -FED_E_CORRUPT);
    assert_int_equal(
        summing_fold(sum, &(struct summing_update){f->path, 3, true}, &limits, &f->err), 0);
    (void)summing_free(sum);
    fed_buf_deinit(&bytes);
}

/* A large update that has been checked is folded by two threads: the bits are those of one, also
 * where the halves meet inside a tensor, and an empty tensor stands between. */
static void test_two_threads_give_the_same_bits(void **state)
{
    enum {
        N_LARGE = (1 << 19) + 4097
    };
    static const struct fed_tensor large[] = {
        {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {100}, .n_elements = 100},
        {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {0, 3}, .offset = 100},
        {.dtype = FED_DTYPE_F4,
         .rank = 1,
         .shape = {N_LARGE - 100},
         .n_elements = N_LARGE - 100,
         .offset = 100},
    };
    struct fixture *f = *state;
    double *values = malloc(N_LARGE * sizeof(*values));
    struct summing_room rooms[2] = {0};
    struct summing *sums[2] = {0};
    struct base base;
    char path[FED_PATH_SIZE];
    char raw[FED_PATH_SIZE];

    assert_non_null(values);
    for (size_t i = 0; i < N_LARGE; i++) {
        values[i] = (double)(float)(fed_rand_unit(&f->rand) - 0.5);
    }
    test_model_write(test_path(&f->folder, "large", path), values, large, 3);
    (void)test_path(&f->folder, "large.raw", raw);
    assert_int_equal(base_open(path, raw, &limits, &base, &f->err), 0);
    for (size_t i = 0; i < N_LARGE; i++) {
        values[i] += (double)(float)(fed_rand_unit(&f->rand) * 0.001);
    }
    test_model_write(f->path, values, large, 3);
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(summing_new(&base, &f->plan, &rooms[k], &sums[k], &f->err), 0);
        for (uint64_t n = 1; n < 4; n++) { /* the first finds no sum yet */
            const struct summing_update update = {f->path, n * 7, k == 1};
            assert_int_equal(summing_fold(sums[k], &update, &limits, &f->err), 0);
        }
    }
    assert_memory_equal(summing_get_sums(sums[0]), summing_get_sums(sums[1]),
                        N_LARGE * sizeof(int64_t));
    for (size_t k = 0; k < 2; k++) {
        (void)summing_free(sums[k]);
        summing_room_deinit(&rooms[k]);
    }
    base_close(&base);
    free(values);
}

static void test_the_partial_holds_what_was_folded(void **state)
{
    struct fixture *f = *state;
    struct fed_entry entries[2] = {{.client_id = "bob", .update_id = "u2", .examples = 5},
                                   {.client_id = "alice", .update_id = "u1", .examples = 3}};
    struct fed_partial partial = {0};
    struct summing *sum = NULL;
    char path[FED_PATH_SIZE];
    const struct summing_partial what = {
        .path = path, .combiner_id = "me", .plan = &f->plan, .entries = entries, .n_entries = 2};
    uint8_t digest[FED_DIGEST_SIZE];
    int64_t *sums = calloc(N_ELEMENTS, sizeof(*sums));

    assert_non_null(sums);
    (void)test_path(&f->folder, "partial", path);
    assert_int_equal(summing_new(&f->base, &f->plan, &f->room, &sum, &f->err), 0);
    /* Entries without a sum: that would be a lie. */
    assert_int_equal(summing_write(sum, &what, digest, &f->err), -FED_E_INTERNAL);
    f->values[5] += 1;
    test_model_write(f->path, f->values, shapes, N_TENSORS);
    assert_int_equal(fold(f, sum, f->path, 3), 0);
    assert_int_equal(fold(f, sum, f->base_path, 5), 0);
    assert_int_equal(summing_write(sum, &what, digest, &f->err), 0);
    assert_int_equal(fed_partial_open(path, &partial, &f->err), 0);
    assert_memory_equal(partial.digest, digest, sizeof(digest));
    assert_int_equal(partial.sum_examples, 8);
    assert_string_equal(partial.entries[0].client_id, "alice");
    assert_int_equal(fed_partial_add(path, &partial, sums, &f->err), 0);
    assert_memory_equal(sums, summing_get_sums(sum), N_ELEMENTS * sizeof(*sums));
    assert_int_equal(sums[5], 3LL << f->scales[0]);
    fed_partial_deinit(&partial);
    (void)summing_free(sum);
    free(sums);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_base_is_read_back_as_it_is),
        TEST(test_the_sum_is_the_oracles_in_any_order),
        TEST(test_the_range_is_judged_as_value_by_value),
        TEST(test_exactly_at_the_limit),
        TEST(test_every_fault_has_its_reason),
        TEST(test_a_missing_file_is_no_judgement),
        TEST(test_a_failed_fold_leaves_every_bit),
        TEST(test_what_is_not_finite_is_not_folded),
        TEST(test_kept_memory_begins_at_zero),
        TEST(test_a_checked_file_is_not_checked_again),
        TEST(test_two_threads_give_the_same_bits),
        TEST(test_the_partial_holds_what_was_folded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
