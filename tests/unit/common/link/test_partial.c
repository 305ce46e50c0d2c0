#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/num.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/fixture.h"

#define N_PARAMS 20000U /* more than two blocks */

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    int64_t sums[N_PARAMS];
};

static int32_t scale_bits[2] = {24, -7};
static struct fed_entry entries[3] = {{"a", "ua", 100}, {"b", "ub", 1}, {"c-3", "uc", 899}};

static struct fed_partial make_partial(uint64_t n_params, size_t n_entries)
{
    struct fed_partial partial = {
        .round_id = "41",
        .combiner_id = "comb-1",
        .plan_seq = 6,
        .scale_bits = scale_bits,
        .n_tensors = 2,
        .n_params = n_params,
        .entries = entries,
        .n_entries = n_entries,
    };

    memset(partial.base_sha256, 0xAB, sizeof(partial.base_sha256));
    for (size_t i = 0; i < n_entries; i++) {
        partial.sum_examples += entries[i].examples;
    }
    return partial;
}

static int set_up(void **state)
{
    static struct fixture f;

    test_folder_make(&f.folder);
    (void)test_path(&f.folder, "partial", f.path);
    for (size_t i = 0; i < N_PARAMS; i++) {
        f.sums[i] = (int64_t)i * 1000003 - 77;
    }
    f.sums[0] = INT64_MIN;
    f.sums[1] = INT64_MAX;
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    test_folder_remove(&f->folder);
    return 0;
}

static void test_what_is_written_is_read(void **state)
{
    struct fixture *f = *state;
    struct fed_partial out = make_partial(N_PARAMS, 3);
    struct fed_partial in = {0};
    int64_t *sums = calloc(N_PARAMS, sizeof(*sums));

    assert_non_null(sums);
    assert_int_equal(fed_partial_write(f->path, &out, f->sums, &f->err), 0);
    assert_int_equal(fed_partial_open(f->path, &in, &f->err), 0);
    assert_string_equal(in.round_id, "41");
    assert_string_equal(in.combiner_id, "comb-1");
    assert_int_equal(in.plan_seq, 6);
    assert_memory_equal(in.base_sha256, out.base_sha256, FED_SHA256_SIZE);
    assert_int_equal(in.n_tensors, 2);
    assert_memory_equal(in.scale_bits, scale_bits, sizeof(scale_bits));
    assert_int_equal(in.n_params, N_PARAMS);
    assert_int_equal(in.sum_examples, 1000);
    assert_int_equal(in.n_entries, 3);
    assert_memory_equal(in.digest, out.digest, FED_DIGEST_SIZE);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(in.entries[i].client_id, entries[i].client_id);
        assert_string_equal(in.entries[i].update_id, entries[i].update_id);
        assert_int_equal(in.entries[i].examples, entries[i].examples);
    }
    assert_int_equal(fed_partial_add(f->path, &in, sums, &f->err), 0);
    assert_memory_equal(sums, f->sums, N_PARAMS * sizeof(*sums));
    /* twice: also what overflows is defined, and the others are twice the sums */
    assert_int_equal(fed_partial_add(f->path, &in, sums, &f->err), 0);
    assert_true(sums[2] == 2 * f->sums[2] && sums[N_PARAMS - 1] == 2 * f->sums[N_PARAMS - 1]);
    fed_partial_deinit(&in);
    fed_partial_deinit(&in);
    /* the same by a hash that is known already, and not by another one */
    assert_int_equal(fed_partial_open_hashed(f->path, out.digest, &in, &f->err), 0);
    assert_memory_equal(in.digest, out.digest, FED_DIGEST_SIZE);
    fed_partial_deinit(&in);
    out.digest[15] ^= 1;
    assert_int_equal(fed_partial_open_hashed(f->path, out.digest, &in, &f->err), -FED_E_CORRUPT);
    free(sums);
}

static void test_the_bytes_are_a_function_of_the_content(void **state)
{
    struct fixture *f = *state;
    struct fed_partial out = make_partial(3, 3);
    struct fed_partial again = make_partial(3, 3);

    assert_int_equal(fed_partial_write(f->path, &out, f->sums, &f->err), 0);
    assert_int_equal(fed_partial_write(f->path, &again, f->sums, &f->err), 0);
    assert_memory_equal(out.digest, again.digest, FED_DIGEST_SIZE);
    f->sums[2] ^= 1;
    assert_int_equal(fed_partial_write(f->path, &again, f->sums, &f->err), 0);
    f->sums[2] ^= 1;
    assert_memory_not_equal(out.digest, again.digest, FED_DIGEST_SIZE);
}

static void test_without_entries_there_are_no_sums(void **state)
{
    struct fixture *f = *state;
    struct fed_partial out = make_partial(N_PARAMS, 0);
    struct fed_partial in = {0};
    struct fed_buf file;
    int64_t sums[1] = {5};

    assert_int_equal(fed_partial_write(f->path, &out, NULL, &f->err), 0);
    file = test_file_read(f->path);
    assert_true(file.size < 300);
    fed_buf_deinit(&file);
    assert_int_equal(fed_partial_open(f->path, &in, &f->err), 0);
    assert_int_equal(fed_partial_add(f->path, &in, sums, &f->err), 0);
    assert_int_equal(sums[0], 5);
    fed_partial_deinit(&in);
}

/* A partial of three sums and three entries, and its bytes. */
static struct fed_buf write_small(struct fixture *f)
{
    struct fed_partial out = make_partial(3, 3);

    assert_int_equal(fed_partial_write(f->path, &out, f->sums, &f->err), 0);
    return test_file_read(f->path);
}

static void test_cut_or_changed_anywhere_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct fed_partial in = {0};
    struct fed_buf file = write_small(f);

    for (size_t i = 0; i < file.size; i++) {
        test_file_write(f->path, file.data, i);
        assert_int_equal(fed_partial_open(f->path, &in, &f->err), -FED_E_CORRUPT);
        file.data[i] ^= 0x10;
        test_file_write(f->path, file.data, file.size);
        assert_int_equal(fed_partial_open(f->path, &in, &f->err), -FED_E_CORRUPT);
        file.data[i] ^= 0x10;
    }
    assert_int_equal(fed_buf_add(&file, "x", 1, NULL), 0);
    test_file_write(f->path, file.data, file.size);
    assert_int_equal(fed_partial_open(f->path, &in, &f->err), -FED_E_CORRUPT);
    fed_buf_deinit(&file);
    assert_int_equal(fed_partial_open("/nonexistent", &in, &f->err), -FED_E_NOT_FOUND);
}

/* The right digest for what is in the file. */
static void sign(struct fed_buf *file)
{
    const size_t size = file->size - FED_DIGEST_SIZE;

    fed_xxh128_once(file->data, size, file->data + size);
}

/* A right hash over wrong content: a broken or hostile combiner. */
static void check_refused(struct fixture *f, struct fed_partial *partial)
{
    struct fed_partial in = {0};

    assert_int_equal(fed_partial_write(f->path, partial, f->sums, &f->err), 0);
    assert_int_equal(fed_partial_open(f->path, &in, &f->err), -FED_E_CORRUPT);
}

static void test_contents_that_do_not_agree(void **state)
{
    struct fixture *f = *state;
    struct fed_entry wrong[2] = {{"b", "u", 5}, {"a", "u", 5}};
    struct fed_partial partial = make_partial(3, 3);

    partial.sum_examples++;
    check_refused(f, &partial);
    partial = make_partial(3, 2);
    partial.entries = wrong; /* not sorted */
    partial.sum_examples = 10;
    check_refused(f, &partial);
    (void)snprintf(wrong[1].client_id, FED_ID_SIZE, "b"); /* twice */
    check_refused(f, &partial);
    (void)snprintf(wrong[1].client_id, FED_ID_SIZE, "c");
    wrong[0].examples = UINT64_MAX; /* the sum overflows to what it says */
    wrong[1].examples = 11;
    check_refused(f, &partial);
    wrong[0].examples = 5;
    wrong[1].examples = 5;
    (void)snprintf(wrong[1].update_id, FED_ID_SIZE, "../u");
    check_refused(f, &partial);
    partial = make_partial(3, 3);
    (void)snprintf(partial.combiner_id, FED_ID_SIZE, "a\nb");
    check_refused(f, &partial);
}

/* Counts beyond all bounds, under a right hash: refused before memory is taken. */
static void test_widths_that_do_not_agree(void **state)
{
    struct fixture *f = *state;
    struct fed_partial in = {0};
    struct fed_buf file = write_small(f);

    const size_t at = file.size - FED_DIGEST_SIZE - sizeof(int64_t) * 3 - 1; /* of the only block */
    assert_int_equal(file.data[at], 8);
    for (unsigned width = 0; width < 256; width++) {
        file.data[at] = (uint8_t)width;
        sign(&file);
        test_file_write(f->path, file.data, file.size);
        assert_int_equal(fed_partial_open(f->path, &in, &f->err), width == 8 ? 0 : -FED_E_CORRUPT);
        fed_partial_deinit(&in);
    }
    fed_buf_deinit(&file);
}

struct growth {
    uint64_t size;
    unsigned n_calls;
};

static void grown(void *arg, const char *file, uint64_t size)
{
    struct growth *growth = arg;
    struct stat st;

    assert_int_equal(size % (1U << 20), 0);
    assert_true(size > growth->size);
    assert_int_equal(stat(file, &st), 0);
    assert_true((uint64_t)st.st_size > size); /* all that is to come has its place */
    growth->size = size;
    growth->n_calls++;
}

/* Blocks of every width, the parts of the file that may be read along, and any range alone. */
static void test_many_blocks(void **state)
{
    struct fixture *f = *state;
    const size_t n = 400 * 1024 + 77;
    int64_t *sums = calloc(n, sizeof(*sums));
    int64_t *part = calloc(n, sizeof(*part));
    struct fed_partial out = make_partial(n, 3);
    struct fed_partial in = {0};
    struct fed_partial_sums mapped = {0};
    struct growth growth = {0};
    const struct fed_partial_hook hook = {grown, &growth};
    struct fed_buf file;

    assert_non_null(sums);
    assert_non_null(part);
    for (size_t i = 0; i < n; i++) {
        const unsigned width = (unsigned)(i / 1024 % 9);
        sums[i] = width == 0 ? 0 : (int64_t)(i * 0x9E3779B97F4A7C15U) >> (64U - 8U * width);
    }
    assert_int_equal(fed_partial_write_with(f->path, &out, sums, NULL, &hook, &f->err), 0);
    file = test_file_read(f->path);
    assert_true(file.size < n * 9 / 2); /* every width alike: half of 8 bytes */
    assert_int_equal(growth.n_calls, file.size >> 20);
    fed_buf_deinit(&file);
    assert_int_equal(fed_partial_open(f->path, &in, &f->err), 0);
    assert_int_equal(fed_partial_map(f->path, &in, &mapped, &f->err), 0);
    assert_int_equal(mapped.n, n);
    for (size_t first = 0; first < n; first += first / 3 + 511) {
        const size_t count = n - first < 2500 ? n - first : 2500;
        memset(part, 0, count * sizeof(*part));
        fed_partial_sums_add(&mapped, first, count, part);
        assert_memory_equal(part, sums + first, count * sizeof(*part));
    }
    memset(part, 0, n * sizeof(*part));
    fed_partial_sums_add(&mapped, 0, n, part);
    assert_memory_equal(part, sums, n * sizeof(*part));
    fed_partial_unmap(&mapped);
    fed_partial_unmap(&mapped);
    fed_partial_deinit(&in);
    free(part);
    free(sums);
}

static void test_huge_counts(void **state)
{
    struct fixture *f = *state;
    struct fed_buf file = write_small(f);
    static const uint64_t values[] = {UINT64_MAX, 100001, 1ULL << 60};

    /* n_params, n_tensors, n_entries; after magic, size, two texts, plan_seq and base */
    const size_t start = 16 + 2 + 2 + 2 + 6 + 8 + 32;
    const size_t places[] = {start, start + 16, start + 24 + 16};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++) {
            struct fed_partial in = {0};
            const uint64_t before = fed_load_le64(file.data + places[i]);
            assert_int_equal(before, i == 1 ? 2 : 3);
            fed_store_le64(file.data + places[i], values[k]);
            sign(&file);
            test_file_write(f->path, file.data, file.size);
            assert_int_equal(fed_partial_open(f->path, &in, &f->err), -FED_E_CORRUPT);
            fed_store_le64(file.data + places[i], before);
        }
    }
    fed_buf_deinit(&file);
}

static void test_no_memory_and_no_space(void **state)
{
    struct fixture *f = *state;
    struct fed_partial out = make_partial(3, 3);
    struct fed_partial in = {0};

    for (unsigned n = 1;; n++) {
        alloc_fault_arm(n);
        int rc = fed_partial_write(f->path, &out, f->sums, &f->err);
        rc = rc < 0 ? rc : fed_partial_open(f->path, &in, &f->err);
        if (!alloc_fault_disarm()) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, -FED_E_NOMEM);
    }
    fed_partial_deinit(&in);
    assert_int_equal(fed_partial_write("/nonexistent/p", &out, f->sums, &f->err), -FED_E_NOT_FOUND);
}

static void test_model_ids(void **state)
{
    char a[FED_ID_SIZE];
    char b[FED_ID_SIZE];
    struct fed_entry other[3];

    (void)state;
    memcpy(other, entries, sizeof(other));
    fed_model_id("41", "base", "fedavg", entries, 3, a);
    assert_string_equal(a, "621efc7a-a066-86a8-b3ca-096b29bd0db3");
    fed_model_id("41", "base", "fedavg", other, 3, b);
    assert_string_equal(a, b);
    other[2].examples++;
    fed_model_id("41", "base", "fedavg", other, 3, b);
    assert_string_not_equal(a, b);
    fed_model_id("42", "base", "fedavg", entries, 3, b);
    assert_string_not_equal(a, b);
    fed_model_id("41", "base", "fedavg", entries, 2, b);
    assert_string_not_equal(a, b);
    fed_model_id("41", "base", "fedavg", NULL, 0, b);
    assert_true(fed_id_is_valid(b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_the_bytes_are_a_function_of_the_content),
        cmocka_unit_test(test_without_entries_there_are_no_sums),
        cmocka_unit_test(test_cut_or_changed_anywhere_is_corrupt),
        cmocka_unit_test(test_contents_that_do_not_agree),
        cmocka_unit_test(test_widths_that_do_not_agree),
        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_huge_counts),
        cmocka_unit_test(test_no_memory_and_no_space),
        cmocka_unit_test(test_model_ids),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
