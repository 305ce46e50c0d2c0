#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/id.h"
#include "common/base/unconst.h"
#include "common/model/checksum.h"
#include "common/model/npz.h"
#include "tests/lib/fixture.h"

#define N_VALUES 9000 /* more than two blocks */

static double values[N_VALUES];

static const struct fed_tensor tensors[] = {
    {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {90, 100}, .n_elements = 9000},
    {.dtype = FED_DTYPE_F2, .rank = 1, .shape = {7}, .n_elements = 7},
    {.dtype = FED_DTYPE_F8, .rank = 3, .shape = {2, 3, 4}, .n_elements = 24},
    {.dtype = FED_DTYPE_I1, .rank = 1, .shape = {5}, .n_elements = 5},
    {.dtype = FED_DTYPE_I8, .rank = 0, .n_elements = 1},
    {.dtype = FED_DTYPE_U4, .rank = 1, .shape = {3}, .n_elements = 3},
    {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {0, 3}, .n_elements = 0},
};
#define N_TENSORS (sizeof(tensors) / sizeof(tensors[0]))

static int write_all(int fd, size_t step)
{
    FED_CLEANUP(fed_npz_writer_free_p) struct fed_npz_writer *writer = NULL;
    struct fed_err err;
    int rc = fed_npz_writer_new(fd, &writer, &err);

    for (size_t i = 0; i < N_TENSORS && rc == 0; i++) {
        rc = fed_npz_writer_begin(writer, &tensors[i], &err);
        for (size_t k = 0; k < tensors[i].n_elements && rc == 0; k += step) {
            const size_t left = (size_t)tensors[i].n_elements - k;
            rc = fed_npz_writer_add(writer, values + k, left < step ? left : step, &err);
        }
    }
    return rc < 0 ? rc : fed_npz_writer_finish(writer, &err);
}

static struct fed_buf write_file(const struct test_folder *folder, const char *name, size_t step)
{
    char path[FED_PATH_SIZE];
    const int fd = open(test_path(folder, name, path), O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, step), 0);
    (void)close(fd);
    return test_file_read(path);
}

static int set_up(void **state)
{
    static struct test_folder folder;

    test_folder_make(&folder);
    for (size_t i = 0; i < N_VALUES; i++) {
        values[i] = (double)(i % 120) / 8;
    }
    *state = &folder;
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(*state);
    return 0;
}

/* The bytes are a function of the content, not of how it was handed over, or when. */
static void test_bytes_are_reproducible(void **state)
{
    struct fed_buf a = write_file(*state, "a.npz", 9000);
    struct fed_buf b = write_file(*state, "b.npz", 37);
    uint8_t digest[FED_SHA256_BYTES];
    char text[2 * FED_SHA256_BYTES + 1];

    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    fed_sha256_once(a.data, a.size, digest);
    fed_hex_format(digest, sizeof(digest), text);
    assert_string_equal(text, "f04fa34bce12f8e34c3d7b95da2dd74c247dae3a99840b5ebff6f9d1d2525d8d");
    fed_buf_deinit(&a);
    fed_buf_deinit(&b);
}

/* Handed over in runs, the last one first, it is the same file. */
static void test_runs_give_the_same_bytes(void **state)
{
    static double many[2 * FED_NPZ_RUN + 5];
    const size_t n_many = sizeof(many) / sizeof(many[0]);
    static uint8_t bytes[FED_NPZ_RUN * sizeof(double)];
    struct fed_tensor shapes[N_TENSORS + 1];
    const struct fed_layout layout = {.tensors = shapes, .n_tensors = N_TENSORS + 1};
    struct fed_npz_writer *writer = NULL;
    struct fed_npz_runs *runs = NULL;
    struct fed_buf files[2];
    char path[FED_PATH_SIZE];

    memcpy(shapes, tensors, sizeof(tensors));
    shapes[N_TENSORS] = (struct fed_tensor){
        .dtype = FED_DTYPE_F4, .rank = 1, .shape = {n_many}, .n_elements = n_many};
    for (size_t i = 0; i < n_many; i++) {
        many[i] = i < N_VALUES ? values[i] : (double)i;
    }
    for (size_t k = 0; k < 2; k++) {
        const int fd = open(test_path(*state, "runs.npz", path), O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (k == 0) {
            assert_int_equal(fed_npz_writer_new(fd, &writer, NULL), 0);
            for (size_t i = 0; i <= N_TENSORS; i++) {
                assert_int_equal(fed_npz_writer_begin(writer, &shapes[i], NULL), 0);
                assert_int_equal(
                    fed_npz_writer_add(writer, many, (size_t)shapes[i].n_elements, NULL), 0);
            }
            assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
        } else {
            assert_int_equal(fed_npz_runs_new(fd, &layout, &runs, NULL), 0);
            assert_int_equal(fed_npz_runs_count(runs), N_TENSORS - 1 + 3);
            for (size_t i = fed_npz_runs_count(runs); i-- > 0;) {
                const struct fed_npz_run run = fed_npz_runs_get(runs, i);
                fed_dtype_encode(shapes[run.tensor].dtype, many + run.first, run.n, bytes);
                assert_int_equal(fed_npz_runs_put(runs, i, bytes, NULL), 0);
            }
            assert_int_equal(fed_npz_runs_finish(runs, NULL), 0);
        }
        (void)close(fd);
        files[k] = test_file_read(path);
    }
    (void)fed_npz_writer_free(writer);
    (void)fed_npz_runs_free(runs);
    assert_int_equal(files[0].size, files[1].size);
    assert_memory_equal(files[0].data, files[1].data, files[0].size);
    fed_buf_deinit(&files[0]);
    fed_buf_deinit(&files[1]);
}

static void test_a_run_that_cannot_be_written(void **state)
{
    struct fed_tensor tensor = {.dtype = FED_DTYPE_I1, .rank = 1, .shape = {3}, .n_elements = 3};
    const struct fed_layout layout = {.tensors = &tensor, .n_tensors = 1};
    struct fed_npz_runs *runs = NULL;
    struct fed_err err;
    char path[FED_PATH_SIZE];
    const int fd = open(test_path(*state, "taken.npz", path), O_RDONLY | O_CREAT, 0600);

    assert_int_equal(fed_npz_runs_new(fd, &layout, &runs, &err), 0);
    assert_int_equal(fed_npz_runs_put(runs, 0, "abc", &err), -FED_E_IO);
    assert_int_equal(fed_npz_runs_finish(runs, &err), -FED_E_IO);
    (void)fed_npz_runs_free(runs);
    (void)close(fd);
}

static int compare(void *arg, uint64_t index, const double *read, size_t n, struct fed_err *err)
{
    const struct fed_tensor *tensor = arg;
    char bytes[8];

    (void)err;
    for (size_t i = 0; i < n; i++) {
        double want = 0;
        fed_dtype_encode(tensor->dtype, &values[index + i], 1, bytes);
        assert_true(fed_dtype_decode(tensor, bytes, 1, &want));
        assert_memory_equal(&read[i], &want, sizeof(want));
    }
    return 0;
}

static void test_we_read_it_back(void **state)
{
    const struct fed_npz_limits limits = {1U << 20, 20000};
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct fed_buf file = write_file(*state, "c.npz", 4096);
    struct fed_err err;
    char path[FED_PATH_SIZE];

    fed_buf_deinit(&file);
    assert_int_equal(fed_npz_open(test_path(*state, "c.npz", path), &limits, &npz, &err), 0);
    assert_int_equal(fed_npz_get_layout(npz)->n_tensors, N_TENSORS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        struct fed_tensor tensor = tensors[i];
        assert_int_equal(fed_npz_get_layout(npz)->tensors[i].dtype, tensor.dtype);
        assert_int_equal(fed_npz_read(npz, i, compare, &tensor, &err), 0);
    }
}

/* NumPy opens it, sees the same dtypes, shapes and values; Python's zipfile finds no fault. */
static void test_numpy_reads_it(void **state)
{
    static const char script[] =
        "import sys, zipfile\n"
        "try:\n"
        "    import numpy as np\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "assert zipfile.ZipFile(sys.argv[1]).testzip() is None\n"
        "z = np.load(sys.argv[1])\n"
        "assert z.files == [str(i) for i in range(7)], z.files\n"
        "kinds = [z[k].dtype.str for k in z.files]\n"
        "assert kinds == ['<f4', '<f2', '<f8', '|i1', '<i8', '<u4', '<f4'], kinds\n"
        "shapes = [z[k].shape for k in z.files]\n"
        "assert shapes == [(90, 100), (7,), (2, 3, 4), (5,), (), (3,), (0, 3)], shapes\n"
        "for k in z.files:\n"
        "    v = np.arange(z[k].size) % 120 / 8\n"
        "    v = v if z[k].dtype.kind == 'f' else np.rint(v)\n"
        "    assert (z[k].ravel() == v.astype(z[k].dtype)).all(), k\n";
    struct fed_buf file = write_file(*state, "d.npz", 4096);
    char path[FED_PATH_SIZE];
    char *argv[] = {fed_unconst("/usr/bin/python3"), fed_unconst("-c"), fed_unconst(script), path,
                    NULL};
    int rc;

    fed_buf_deinit(&file);
    (void)test_path(*state, "d.npz", path);
    rc = test_program_run(argv, NULL);
    if (rc == 77 || rc == 127) {
        print_message("SKIP: python3-numpy is missing\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static void test_a_full_disk_is_told(void **state)
{
    const int fd = open("/dev/full", O_RDWR);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, 4096), -FED_E_IO);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_reproducible),
        cmocka_unit_test(test_runs_give_the_same_bytes),
        cmocka_unit_test(test_a_run_that_cannot_be_written),
        cmocka_unit_test(test_we_read_it_back),
        cmocka_unit_test(test_numpy_reads_it),
        cmocka_unit_test(test_a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
