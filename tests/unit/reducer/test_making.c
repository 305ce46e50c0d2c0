/* New models, against the same formed value by value and written by the other writer. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/num.h"
#include "common/base/rand.h"
#include "common/model/checksum.h"
#include "common/model/exact.h"
#include "reducer/making.h"
#include "tests/lib/fixture.h"
#include "tests/lib/model.h"

#define N_LARGE    (3U * FED_NPZ_RUN + 777U) /* four runs, the last no whole number of blocks */
#define N_ELEMENTS (N_LARGE + 1500U + 1U + FED_NPZ_RUN + 9U)
#define N_TENSORS  6U
#define N_PARTS    2U
#define EXAMPLES   12345U

static const struct fed_npz_limits limits = {1U << 24, 1U << 20};

static const struct fed_tensor shapes[N_TENSORS] = {
    {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {N_LARGE}, .n_elements = N_LARGE},
    {.dtype = FED_DTYPE_F8, .rank = 2, .shape = {30, 50}, .n_elements = 1500, .offset = N_LARGE},
    {.dtype = FED_DTYPE_I8, .rank = 0, .n_elements = 1, .offset = N_LARGE + 1500},
    {.dtype = FED_DTYPE_F2, .rank = 2, .shape = {0, 5}, .offset = N_LARGE + 1501},
    {.dtype = FED_DTYPE_I4,
     .rank = 2,
     .shape = {2, FED_NPZ_RUN / 2},
     .n_elements = FED_NPZ_RUN,
     .offset = N_LARGE + 1501},
    {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {9}, .n_elements = 9, .offset = N_ELEMENTS - 9},
};
static const int32_t scales[N_TENSORS] = {25, 25, 0, 25, 0, 20};

struct fixture {
    struct test_folder folder;
    char base_path[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    double values[N_ELEMENTS]; /* of the base */
    int64_t sums[N_ELEMENTS];  /* of all parts */
    int64_t parts[N_PARTS][N_ELEMENTS];
    double want[N_ELEMENTS];
    struct fed_err err;
};

static int create(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void fill(struct fixture *f)
{
    const uint64_t key = 7;
    struct fed_rand rand;

    fed_rand_init(&rand, &key, 1);
    for (size_t i = 0; i < N_ELEMENTS; i++) {
        f->values[i] = (double)(float)(fed_rand_unit(&rand) * 4 - 2);
        f->sums[i] = 0;
        for (size_t p = 0; p < N_PARTS; p++) {
            const int64_t part = (int64_t)fed_rand_below(&rand, 1U << 30) - (1 << 29);
            f->sums[i] += part;
            f->parts[p][i] = part;
        }
    }
    for (size_t i = 0; i < shapes[4].n_elements; i++) { /* integers */
        f->values[shapes[4].offset + i] = (double)((int64_t)fed_rand_below(&rand, 1000) - 500);
    }
    f->values[shapes[2].offset] = 77;
    f->values[FED_NPZ_RUN + 5] = 100; /* the highest of its tensor in a run between others */
    f->values[shapes[1].offset + 1499] = -9.5; /* and the last of a run */
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "base.npz", f->base_path);
    (void)test_path(&f->folder, "model.npz", f->path);
    fill(f);
    test_model_write(f->base_path, f->values, shapes, N_TENSORS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const size_t at = (size_t)shapes[i].offset;
        fed_exact_finish(f->want + at, f->sums + at, f->values + at, (size_t)shapes[i].n_elements,
                         EXAMPLES, scales[i]);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

static void map_part(struct fixture *f, size_t i, struct fed_partial_sums *ret_sums)
{
    struct fed_entry entry = {.client_id = "ann", .update_id = "u", .examples = EXAMPLES};
    struct fed_partial partial = {.round_id = "1",
                                  .combiner_id = "c",
                                  .n_params = N_ELEMENTS,
                                  .sum_examples = EXAMPLES,
                                  .entries = &entry,
                                  .n_entries = 1};
    char path[FED_PATH_SIZE];

    (void)test_path(&f->folder, i == 0 ? "partial-0" : "partial-1", path);
    assert_int_equal(fed_partial_write(path, &partial, f->parts[i], &f->err), 0);
    assert_int_equal(fed_partial_map(path, &partial, ret_sums, &f->err), 0);
}

static int make(struct fixture *f, bool is_trusted, int fd, int32_t *ret_exponents)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *base = NULL;
    struct fed_partial_sums mapped[N_PARTS] = {0};
    const struct fed_partial_sums *parts[N_PARTS] = {&mapped[0], &mapped[1]};
    const struct making_sums sums = {parts, N_PARTS, EXAMPLES, scales};
    int rc;

    for (size_t i = 0; i < N_PARTS; i++) {
        map_part(f, i, &mapped[i]);
    }
    assert_int_equal(fed_npz_open(f->base_path, &limits, &base, &f->err), 0);
    if (is_trusted) {
        fed_npz_trust(base);
    }
    assert_int_equal(fed_npz_map(base, &f->err), 0);
    rc = making_write(base, &sums, fd, ret_exponents, &f->err);
    (void)close(fd);
    for (size_t i = 0; i < N_PARTS; i++) {
        fed_partial_unmap(&mapped[i]);
    }
    return rc;
}

/* The model made holds what is wanted, byte for byte. */
static void check_file(struct fixture *f, const struct fed_tensor *tensors, size_t n)
{
    char path[FED_PATH_SIZE];
    struct fed_buf have = test_file_read(f->path);
    struct fed_buf other;

    test_model_write(test_path(&f->folder, "want.npz", path), f->want, tensors, n);
    other = test_file_read(path);
    assert_int_equal(have.size, other.size);
    assert_memory_equal(have.data, other.data, other.size);
    fed_buf_deinit(&have);
    fed_buf_deinit(&other);
}

/* What is the exponent of these float32? */
static int32_t highest(const struct fixture *f, size_t first, size_t n)
{
    double most = 0;

    for (size_t i = first; i < first + n; i++) {
        const double value = fabs((double)(float)f->want[i]);
        most = value > most ? value : most;
    }
    return fed_exact_exponent(most);
}

/* By all threads where the base is trusted, by one where each block of it is checked. */
static void test_the_same_bytes_on_every_way(void **state)
{
    struct fixture *f = *state;
    const int32_t want[N_TENSORS] = {highest(f, 0, N_LARGE),       4, -1, 0, -1,
                                     highest(f, N_ELEMENTS - 9, 9)};

    for (int is_trusted = 0; is_trusted < 2; is_trusted++) {
        int32_t exponents[N_TENSORS] = {0};
        assert_int_equal(make(f, is_trusted != 0, create(f->path), exponents), 0);
        check_file(f, shapes, N_TENSORS);
        assert_memory_equal(exponents, want, sizeof(want));
    }
}

static void test_a_damaged_base(void **state)
{
    struct fixture *f = *state;
    struct fed_buf file = test_file_read(f->base_path);
    int32_t exponents[N_TENSORS];

    file.data[4096] ^= 1;
    test_file_write(f->base_path, file.data, file.size);
    fed_buf_deinit(&file);
    assert_int_equal(make(f, false, create(f->path), exponents), -FED_E_CORRUPT);
}

/* A 64-bit integer that no double holds is found by whoever makes its run. */
static void test_a_base_out_of_range(void **state)
{
    struct fixture *f = *state;
    struct fed_buf file = test_file_read(f->base_path);
    int32_t exponents[N_TENSORS];
    uint64_t offset = 0;
    struct fed_npz *base = NULL;

    assert_int_equal(fed_npz_open(f->base_path, &limits, &base, &f->err), 0);
    assert_true(fed_npz_is_plain(base, 2, &offset));
    (void)fed_npz_free(base);
    fed_store_le64(file.data + offset, (1ULL << 53) + 1);
    test_file_write(f->base_path, file.data, file.size);
    fed_buf_deinit(&file);
    assert_int_equal(make(f, true, create(f->path), exponents), -FED_E_CORRUPT);
    assert_non_null(strstr(f->err.msg, "tensor 2"));
}

static void test_a_file_that_takes_nothing(void **state)
{
    struct fixture *f = *state;
    int32_t exponents[N_TENSORS];

    for (int is_trusted = 0; is_trusted < 2; is_trusted++) {
        (void)close(create(f->path));
        assert_int_equal(make(f, is_trusted != 0, open(f->path, O_RDONLY), exponents), -FED_E_IO);
    }
}

static uint8_t *find(uint8_t *bytes, const char *word)
{
    while (memcmp(bytes, word, strlen(word)) != 0) {
        bytes++;
    }
    return bytes;
}

/* The one member of a file, said to be in Fortran order. */
static void turn(const char *path)
{
    static const char was[] = "False";
    struct fed_buf file = test_file_read(path);
    uint8_t *member = file.data + 30 + 5; /* behind "0.npy" */
    const uint32_t size = fed_load_le32(file.data + 18);
    uint8_t *word = find(member, was);
    uint32_t crc;

    memcpy(word, "True ", 5);
    crc = fed_crc32(0, member, size);
    fed_store_le32(file.data + 14, crc);
    fed_store_le32(member + size + 16, crc); /* in the directory */
    test_file_write(path, file.data, file.size);
    fed_buf_deinit(&file);
}

static void test_a_base_in_fortran_order(void **state)
{
    struct fixture *f = *state;
    const struct fed_tensor tensor = {
        .dtype = FED_DTYPE_F4, .rank = 2, .shape = {300, 250}, .n_elements = 75000};

    test_model_write(f->base_path, f->values, &tensor, 1);
    turn(f->base_path);
    for (size_t i = 0; i < 75000; i++) { /* of row i / 250, column i % 250 */
        fed_exact_finish(&f->want[i], &f->sums[i], &f->values[i % 250 * 300 + i / 250], 1, EXAMPLES,
                         scales[0]);
    }
    for (int is_trusted = 0; is_trusted < 2; is_trusted++) {
        int32_t exponent = 0;
        assert_int_equal(make(f, is_trusted != 0, create(f->path), &exponent), 0);
        check_file(f, &tensor, 1);
        assert_int_equal(exponent, highest(f, 0, 75000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_same_bytes_on_every_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_base, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_base_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_takes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_base_in_fortran_order, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("making", tests, NULL, NULL);
}
