#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/unconst.h"
#include "common/model/npz.h"
#include "common/model/values.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/fixture.h"

#define ELEMENTS_MAX 2000000U

static const struct fed_npz_limits limits = {16U << 20, ELEMENTS_MAX};

static const char *const fault_names[] = {
    [FED_FAULT_NONE] = "good",
    [FED_FAULT_MALFORMED] = "MALFORMED",
    [FED_FAULT_CHECKSUM] = "CHECKSUM",
    [FED_FAULT_COUNT] = "COUNT",
    [FED_FAULT_SHAPE] = "SHAPE",
    [FED_FAULT_DTYPE] = "DTYPE",
    [FED_FAULT_NOT_FINITE] = "NOT_FINITE",
    [FED_FAULT_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [FED_FAULT_TOO_LARGE] = "TOO_LARGE",
};

/* -- reading a whole file ------------------------------------------------------------------------
 */

struct sink {
    double *values; /* (ELEMENTS_MAX,) of all tensors, borrowed */
    uint64_t first; /* of this tensor */
    uint64_t n;     /* of this tensor */
    uint64_t n_seen;
    bool is_wild; /* an index outside, or a block that is too large */
};

static int
keep_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    struct sink *sink = arg;

    (void)err;
    if (n == 0 || n > FED_NPZ_BLOCK || index + n > sink->n) {
        sink->is_wild = true;
        return FED_FAULT_MALFORMED;
    }
    memcpy(sink->values + sink->first + index, values, n * sizeof(*values));
    sink->n_seen += n;
    return 0;
}

static int
keep_singles(void *arg, uint64_t index, const uint8_t *bytes, size_t n, struct fed_err *err)
{
    const struct fed_tensor tensor = {.dtype = FED_DTYPE_F4};
    double values[FED_NPZ_BLOCK];

    assert_in_range(n, 1, FED_NPZ_BLOCK);
    if (!fed_singles_are_finite(bytes, n)) {
        return FED_FAULT_NOT_FINITE;
    }
    assert_true(fed_dtype_decode(&tensor, bytes, n, values));
    return keep_values(arg, index, values, n, err);
}

/* All values of all tensors; `is_mapped`: where they lie in the file, as far as they can be had
 * so. Returns as fed_npz_open() and fed_npz_read(). */
/* NOLINTBEGIN(readability-non-const-parameter): filled by the callback */
static int
read_way(const char *path, bool is_mapped, double *values, uint64_t *ret_n, struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    int rc = fed_npz_open(path, &limits, &npz, err);

    *ret_n = 0;
    if (rc != 0) {
        return rc;
    }
    if (is_mapped) {
        assert_int_equal(fed_npz_map(npz, err), 0);
        assert_int_equal(fed_npz_map(npz, err), 0); /* is already */
    }
    const struct fed_layout *layout = fed_npz_get_layout(npz);
    for (size_t i = 0; i < layout->n_tensors && rc == 0; i++) {
        struct sink sink = {values, layout->tensors[i].offset, layout->tensors[i].n_elements, 0,
                            false};
        rc = is_mapped && fed_npz_has_singles(npz, i)
                 ? fed_npz_read_singles(npz, i, keep_singles, &sink, err)
                 : fed_npz_read(npz, i, keep_values, &sink, err);
        assert_false(sink.is_wild);
        assert_true(rc != 0 || sink.n_seen == sink.n);
    }
    *ret_n = layout->n_elements;
    return rc;
}
/* NOLINTEND(readability-non-const-parameter) */

static int read_all(const char *path, double *values, uint64_t *ret_n, struct fed_err *err)
{
    return read_way(path, false, values, ret_n, err);
}

/* The same in both ways, which find the same. */
static int read_both(const char *path, double *values, uint64_t *ret_n, struct fed_err *err)
{
    double *mapped = calloc(ELEMENTS_MAX, sizeof(*mapped));
    struct fed_err why = {0};
    uint64_t n = 0;
    const int rc = read_all(path, values, ret_n, err);

    assert_non_null(mapped);
    assert_int_equal(read_way(path, true, mapped, &n, &why), rc);
    if (rc == 0) {
        assert_int_equal(n, *ret_n);
        assert_memory_equal(mapped, values, n * sizeof(*mapped));
    } else {
        assert_string_equal(why.msg, err->msg);
    }
    free(mapped);
    return rc;
}

/* -- files made by NumPy --------------------------------------------------------------------- */

struct fixture {
    struct test_folder folder;
    struct fed_buf manifest; /* lines "fault name" */
    double *values;
    bool has_numpy;
};

static int set_up(void **state)
{
    static struct fixture f;
    char *argv[] = {fed_unconst("/usr/bin/python3"), fed_unconst(GOLDEN_FOLDER "/npz.py"),
                    f.folder.path, NULL};

    test_folder_make(&f.folder);
    f.values = malloc(ELEMENTS_MAX * sizeof(*f.values));
    f.has_numpy = test_program_run(argv, &f.manifest) == 0;
    if (!f.has_numpy) {
        print_message("SKIP: no files made by NumPy: python3-numpy is missing\n");
    }
    *state = &f;
    return f.values == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->values);
    fed_buf_deinit(&f->manifest);
    test_folder_remove(&f->folder);
    return 0;
}

static void check_good(struct fixture *f, const char *name, uint64_t n)
{
    char path[FED_PATH_SIZE];
    struct fed_buf want;

    (void)snprintf(path, sizeof(path), "%s/%s.f8", f->folder.path, name);
    want = test_file_read(path);
    assert_int_equal(want.size, n * sizeof(double));
    if (memcmp(f->values, want.data, want.size) != 0) {
        fail_msg("%s: other values than NumPy's", name);
    }
    fed_buf_deinit(&want);
}

static void check_file(struct fixture *f, const char *fault, const char *name)
{
    struct fed_err err = {0};
    char path[FED_PATH_SIZE];
    uint64_t n = 0;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s.npz", f->folder.path, name);
    rc = read_both(path, f->values, &n, &err);
    if (rc < 0 || strcmp(fault_names[rc], fault) != 0) {
        fail_msg("%s: %d (%s), want %s", name, rc, err.msg, fault);
    }
    if (rc == 0) {
        check_good(f, name, n);
    } else {
        assert_true(err.msg[0] != '\0');
        assert_true(fed_text_is_utf8(err.msg)); /* it goes to peers */
        assert_null(strpbrk(err.msg, "\n\x1b"));
    }
}

static void test_numpys_files(void **state)
{
    struct fixture *f = *state;
    char fault[32];
    char name[64];
    unsigned n_files = 0;
    const char *line;

    if (!f->has_numpy) {
        skip();
    }
    line = (const char *)f->manifest.data;
    while (sscanf(line, "%31s %63s", fault, name) == 2) {
        check_file(f, fault, name);
        line = strchr(line, '\n') + 1;
        n_files++;
    }
    assert_true(n_files > 60);
}

/* -- every byte, every bit -----------------------------------------------------------------------
 */

static const char small_path[] = "small.npz";

/* Stored members 0.npy (f4: 1.5, -2) and 1.npy (i8: 3), by our own writer. */
static struct fed_buf make_small(struct fixture *f, char ret_path[FED_PATH_SIZE])
{
    const struct fed_tensor tensors[] = {
        {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {2}, .n_elements = 2},
        {.dtype = FED_DTYPE_I8, .rank = 0, .n_elements = 1},
    };
    const double values[] = {1.5, -2, 3};
    FED_CLEANUP(fed_npz_writer_free_p) struct fed_npz_writer *writer = NULL;
    FILE *file = fopen(test_path(&f->folder, small_path, ret_path), "we");

    assert_non_null(file);
    assert_int_equal(fed_npz_writer_new(fileno(file), &writer, NULL), 0);
    assert_int_equal(fed_npz_writer_begin(writer, &tensors[0], NULL), 0);
    assert_int_equal(fed_npz_writer_add(writer, values, 2, NULL), 0);
    assert_int_equal(fed_npz_writer_begin(writer, &tensors[1], NULL), 0);
    assert_int_equal(fed_npz_writer_add(writer, values + 2, 1, NULL), 0);
    assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
    (void)fclose(file);
    return test_file_read(ret_path);
}

static void test_cut_at_every_byte(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    struct fed_buf small = make_small(f, path);
    uint64_t n = 0;

    assert_int_equal(read_all(path, f->values, &n, &err), 0);
    for (size_t cut = 0; cut < small.size; cut++) {
        test_file_write(path, small.data, cut);
        assert_in_range(read_both(path, f->values, &n, &err), 1, FED_FAULT_TOO_LARGE);
    }
    fed_buf_deinit(&small);
}

/* A flipped bit is found, or it changes nothing that counts (a date, a version). */
static void test_every_bit_flipped(void **state)
{
    const double want[] = {1.5, -2, 3};
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    struct fed_buf small = make_small(f, path);
    unsigned n_harmless = 0;
    uint64_t n = 0;

    for (size_t bit = 0; bit < small.size * 8; bit++) {
        small.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        test_file_write(path, small.data, small.size);
        const int rc = read_both(path, f->values, &n, &err);
        if (rc == 0) {
            n_harmless++;
            assert_int_equal(n, 3);
            assert_memory_equal(f->values, want, sizeof(want));
        } else {
            assert_in_range(rc, 1, FED_FAULT_TOO_LARGE);
        }
        small.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    assert_true(n_harmless < small.size * 2); /* dates, versions, attributes, comments' lengths */
    fed_buf_deinit(&small);
}

/* -- failures that are not the file's ------------------------------------------------------------
 */

static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    uint64_t n = 0;

    if (!f->has_numpy) {
        skip();
    }
    (void)test_path(&f->folder, "compressed.npz", path);
    for (unsigned nth = 1;; nth++) {
        alloc_fault_arm(nth);
        const int rc = read_all(path, f->values, &n, &err);
        if (!alloc_fault_disarm()) {
            assert_int_equal(rc, 0);
            assert_true(nth > 5);
            break;
        }
        assert_int_equal(rc, -FED_E_NOMEM);
    }
}

static void test_no_file(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    uint64_t n = 0;

    assert_int_equal(read_all(test_path(&f->folder, "none", path), f->values, &n, &err),
                     -FED_E_NOT_FOUND);
    assert_int_equal(read_all(f->folder.path, f->values, &n, &err), -FED_E_IO);
}

static int
refuse_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    (void)index;
    (void)values;
    (void)n;
    *(int *)arg += 1;
    (void)!fed_err_set(err, FED_E_INVALID, "not these");
    return FED_FAULT_OUT_OF_RANGE;
}

static void test_the_callback_ends_it(void **state)
{
    struct fixture *f = *state;
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    char path[FED_PATH_SIZE];
    struct fed_err err;
    struct fed_buf small = make_small(f, path);
    int n_calls = 0;

    fed_buf_deinit(&small);
    assert_int_equal(fed_npz_open(path, &limits, &npz, &err), 0);
    assert_int_equal(fed_npz_read(npz, 1, refuse_values, &n_calls, &err), FED_FAULT_OUT_OF_RANGE);
    assert_int_equal(n_calls, 1);
    assert_string_equal(err.msg, "1.npy: not these");
}

static void test_layouts_match_or_say_where_not(void **state)
{
    struct fed_tensor a[] = {{.rank = 2, .shape = {3, 4}}, {.rank = 1, .shape = {4}}};
    struct fed_tensor b[] = {{.rank = 2, .shape = {3, 4}}, {.rank = 1, .shape = {4}}};
    const struct fed_layout base = {.tensors = a, .n_tensors = 2};
    struct fed_layout other = {.tensors = b, .n_tensors = 2};
    struct fed_err err;

    (void)state;
    b[1].dtype = FED_DTYPE_F8;
    assert_int_equal(fed_layout_match(&other, &base, &err), 0);
    b[0].shape[0] = 4; /* transposed is not the same */
    b[0].shape[1] = 3;
    assert_int_equal(fed_layout_match(&other, &base, &err), FED_FAULT_SHAPE);
    assert_string_equal(err.msg, "0.npy has shape (4,3), the base (3,4)");
    b[0] = (struct fed_tensor){.rank = 1, .shape = {12}};
    assert_int_equal(fed_layout_match(&other, &base, &err), FED_FAULT_SHAPE);
    other.n_tensors = 1;
    assert_int_equal(fed_layout_match(&other, &base, &err), FED_FAULT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpys_files),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_every_bit_flipped),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_the_callback_ends_it),
        cmocka_unit_test(test_layouts_match_or_say_where_not),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
