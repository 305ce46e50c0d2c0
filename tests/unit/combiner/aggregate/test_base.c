/* Bases of every form that NumPy writes: mapped as they stand, or decoded first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "combiner/aggregate/base.h"
#include "common/base/unconst.h"
#include "tests/lib/fixture.h"

static const struct fed_npz_limits limits = {1U << 26, 1U << 22};

struct fixture {
    struct test_folder folder;
    struct fed_buf manifest; /* lines "fault name" */
    bool has_numpy;
};

static int set_up(void **state)
{
    static struct fixture f;
    char *argv[] = {fed_unconst("/usr/bin/python3"), fed_unconst(GOLDEN_FOLDER "/npz.py"),
                    f.folder.path, NULL};

    test_folder_make(&f.folder);
    f.has_numpy = test_program_run(argv, &f.manifest) == 0;
    if (!f.has_numpy) {
        print_message("SKIP: no files made by NumPy: python3-numpy is missing\n");
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fed_buf_deinit(&f->manifest);
    test_folder_remove(&f->folder);
    return 0;
}

static void check_tensor(const struct base *base, size_t i, const uint8_t *want, const char *name)
{
    const struct fed_tensor *tensor = &base->layout.tensors[i];
    double values[FED_NPZ_BLOCK];

    for (uint64_t at = 0; at < tensor->n_elements; at += FED_NPZ_BLOCK) {
        const uint64_t left = tensor->n_elements - at;
        const size_t n = left < FED_NPZ_BLOCK ? (size_t)left : FED_NPZ_BLOCK;
        base_read(base, i, at, n, values);
        if (memcmp(values, want + (tensor->offset + at) * 8, n * sizeof(double)) != 0) {
            fail_msg("%s: other values than NumPy's", name);
        }
    }
}

/* Every value is NumPy's. Returns whether a raw file was needed. */
static bool check_good(struct fixture *f, const char *name)
{
    char path[FED_PATH_SIZE];
    char raw[FED_PATH_SIZE];
    struct base base = {0};
    struct fed_buf want;

    (void)snprintf(path, sizeof(path), "%s/%s.f8", f->folder.path, name);
    want = test_file_read(path);
    (void)snprintf(path, sizeof(path), "%s/%s.npz", f->folder.path, name);
    (void)snprintf(raw, sizeof(raw), "%s/%s.raw", f->folder.path, name);
    assert_int_equal(base_open(path, raw, &limits, &base, NULL), 0);
    assert_int_equal(want.size, base.layout.n_elements * sizeof(double));
    for (size_t i = 0; i < base.layout.n_tensors; i++) {
        check_tensor(&base, i, want.data, name);
    }
    base_close(&base);
    fed_buf_deinit(&want);
    return access(raw, F_OK) == 0;
}

static void test_every_form(void **state)
{
    struct fixture *f = *state;
    size_t n_good = 0;
    char fault[32];
    char name[64];
    int used = 0;

    if (!f->has_numpy) {
        skip();
    }
    for (const char *p = (const char *)f->manifest.data;
         /* NOLINTNEXTLINE(cert-err34-c): words, and their number is checked */
         sscanf(p, "%31s %63s%n", fault, name, &used) == 2; p += used) {
        if (strcmp(fault, "good") == 0) {
            const bool is_raw = check_good(f, name);
            n_good++;
            assert_true(strcmp(name, "savez") != 0 || !is_raw);
            assert_true(strcmp(name, "compressed") != 0 || is_raw);
            assert_true(strcmp(name, "dtypes_little") != 0 || !is_raw);
            assert_true(strcmp(name, "dtypes_big") != 0 || is_raw);
            assert_true(strcmp(name, "fortran_little") != 0 || is_raw);
        }
    }
    assert_true(n_good >= 5);
}

static void test_a_fault_is_told(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    char raw[FED_PATH_SIZE];
    struct base base = {0};

    if (!f->has_numpy) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/name_nul.npz", f->folder.path);
    (void)snprintf(raw, sizeof(raw), "%s/fault.raw", f->folder.path);
    assert_int_equal(base_open(path, raw, &limits, &base, NULL), FED_FAULT_MALFORMED);
    assert_null(base.layout.tensors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form),
        cmocka_unit_test(test_a_fault_is_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
