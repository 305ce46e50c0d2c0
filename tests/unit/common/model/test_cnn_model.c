#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/model/cnn_model.h"
#include "common/model/npz.h"

struct fixture {
    char folder[64];
    char path[128];
    float *params;
    float *back;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/cnn_model.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/model.npz", f->folder);
    f->params = calloc(FED_CNN_PARAMS, sizeof(*f->params));
    f->back = calloc(FED_CNN_PARAMS, sizeof(*f->back));
    assert_non_null(f->params);
    assert_non_null(f->back);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    assert_int_equal(fed_folder_remove(f->folder, &err), 0);
    free(f->params);
    free(f->back);
    free(f);
    return 0;
}

/* Write the model's layout with one dimension of one tensor changed, every value `value`. */
static void write_model(const char *path, size_t changed, enum fed_dtype dtype, double value)
{
    FED_CLEANUP(fed_layout_deinit) struct fed_layout layout = {0};
    FED_CLEANUP(fed_npz_writer_free_p) struct fed_npz_writer *writer = NULL;
    struct fed_err err;
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fed_cnn_layout(&layout, &err), 0);
    assert_int_equal(fed_npz_writer_new(fd, &writer, &err), 0);
    for (size_t i = 0; i < layout.n_tensors; i++) {
        struct fed_tensor *tensor = &layout.tensors[i];

        tensor->dtype = dtype;
        if (i == changed) {
            tensor->n_elements = tensor->n_elements / tensor->shape[0];
            tensor->shape[0] = 1;
        }
        assert_int_equal(fed_npz_writer_begin(writer, tensor, &err), 0);
        for (uint64_t k = 0; k < tensor->n_elements; k++) {
            assert_int_equal(fed_npz_writer_add(writer, &value, 1, &err), 0);
        }
    }
    assert_int_equal(fed_npz_writer_finish(writer, &err), 0);
    assert_int_equal(close(fd), 0);
}

static void test_layout_counts_every_parameter(void **state)
{
    FED_CLEANUP(fed_layout_deinit) struct fed_layout layout = {0};
    struct fed_err err;

    (void)state;
    assert_int_equal(fed_cnn_layout(&layout, &err), 0);
    assert_int_equal(layout.n_tensors, FED_CNN_TENSORS);
    assert_int_equal(layout.n_elements, FED_CNN_PARAMS);
    assert_int_equal(layout.tensors[4].offset, 52096);
    assert_int_equal(layout.tensors[7].offset + layout.tensors[7].n_elements, FED_CNN_PARAMS);
}

static void test_init_is_a_function_of_the_seed(void **state)
{
    struct fixture *f = *state;
    double sum = 0;
    double sum_of_squares = 0;
    double max = 0;

    fed_cnn_init(7, f->params);
    fed_cnn_init(7, f->back);
    assert_memory_equal(f->params, f->back, FED_CNN_PARAMS * sizeof(float));
    fed_cnn_init(8, f->back);
    assert_memory_not_equal(f->params, f->back, FED_CNN_PARAMS * sizeof(float));
    /* fc1.weight: uniform in ±1/sqrt(3136) = ±1/56, so mean 0 and variance 1/56² / 3. */
    for (size_t i = 52096; i < 1657728; i++) {
        const double value = (double)f->params[i] * 56;

        sum += value;
        sum_of_squares += value * value;
        max = fmax(max, fabs(value));
    }
    assert_true(fabs(sum / 1605632) < 0.002);
    assert_true(fabs(sum_of_squares / 1605632 - 1.0 / 3) < 0.001);
    assert_true(max <= 1.0 && max > 0.999);
    assert_true(fabsf(f->params[3]) <= 0.2F); /* conv1: ±1/sqrt(25) */
}

static void test_a_file_gives_the_same_bits_back(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    fed_cnn_init(3, f->params);
    assert_int_equal(fed_cnn_write(f->path, f->params, &err), 0);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), 0);
    assert_memory_equal(f->params, f->back, FED_CNN_PARAMS * sizeof(float));
}

static void test_other_dtypes_are_converted(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    write_model(f->path, SIZE_MAX, FED_DTYPE_F8, 0.1);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), 0);
    for (size_t i = 0; i < FED_CNN_PARAMS; i += 997) {
        assert_true(fabsf(f->back[i] - 0.1F) < 1e-9F);
    }
}

static void test_no_such_model_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fed_err err = {0};

    write_model(f->path, 2, FED_DTYPE_F4, 0);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "(64,32,5,5)")); /* says what was expected */
    write_model(f->path, SIZE_MAX, FED_DTYPE_F8, 1e39);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "tensor 0"));
    assert_int_equal(fed_cnn_read(f->folder, f->back, &err) < 0, 1);
    (void)snprintf(f->path, sizeof(f->path), "%s/none.npz", f->folder);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), -FED_E_NOT_FOUND);
    assert_int_equal(fed_cnn_read(f->path, f->back, NULL), -FED_E_NOT_FOUND);
}

static void test_a_flipped_bit_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct fed_err err = {0};
    uint8_t byte = 0;
    int fd;

    fed_cnn_init(3, f->params);
    assert_int_equal(fed_cnn_write(f->path, f->params, &err), 0);
    fd = open(f->path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 1000000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 1000000), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), -FED_E_CORRUPT);
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    struct fixture *f = *state;
    struct fed_err err = {0};
    char blocker[160];

    fed_cnn_init(3, f->params);
    assert_int_equal(fed_cnn_write(f->path, f->params, &err), 0);
    (void)snprintf(blocker, sizeof(blocker), "%s.tmp", f->path);
    assert_int_equal(mkdir(blocker, 0700), 0);
    assert_int_equal(fed_cnn_write(f->path, f->back, &err), -FED_E_IO);
    assert_int_equal(rmdir(blocker), 0);
    assert_int_equal(fed_cnn_read(f->path, f->back, &err), 0);
    assert_memory_equal(f->params, f->back, FED_CNN_PARAMS * sizeof(float));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_counts_every_parameter),
        cmocka_unit_test_setup_teardown(test_init_is_a_function_of_the_seed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_gives_the_same_bits_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_dtypes_are_converted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_such_model_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_flipped_bit_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_write_leaves_the_old_file, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
