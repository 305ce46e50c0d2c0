#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/num.h"
#include "common/model/npy_header.h"
#include "common/model/npz.h"

static struct fed_tensor tensor;
static struct fed_err err;

/* Parse a dictionary behind magic and length. */
static int parse_version(uint8_t version, const char *text)
{
    char bytes[8192] = "\x93NUMPY";
    const size_t start = version == 1 ? 10 : 12;
    size_t size = 0;
    int rc;

    bytes[6] = (char)version;
    if (version == 1) {
        fed_store_le16(bytes + 8, (uint16_t)strlen(text));
    } else {
        fed_store_le32(bytes + 8, (uint32_t)strlen(text));
    }
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a header, no text */
    memcpy(bytes + start, text, strlen(text));
    rc = fed_npy_header_parse(bytes, start + strlen(text), &tensor, &size, &err);
    if (rc == 0) {
        assert_int_equal(size, start + strlen(text));
    }
    return rc;
}

static int parse(const char *text)
{
    return parse_version(1, text);
}

static void test_what_numpy_writes(void **state)
{
    (void)state;
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (64, 32), }   \n"),
                     0);
    assert_int_equal(tensor.dtype, FED_DTYPE_F4);
    assert_int_equal(tensor.rank, 2);
    assert_int_equal(tensor.shape[1], 32);
    assert_int_equal(tensor.n_elements, 2048);
    assert_false(tensor.is_fortran);
    assert_int_equal(parse("{'descr': '>i8', 'fortran_order': True, 'shape': (), }\n"), 0);
    assert_int_equal(tensor.dtype, FED_DTYPE_I8);
    assert_true(tensor.is_big_endian);
    assert_int_equal(tensor.n_elements, 1);
    assert_false(tensor.is_fortran); /* without meaning below rank 2 */
    assert_int_equal(parse("{'descr': '|u1', 'fortran_order': True, 'shape': (3, 0), }\n"), 0);
    assert_int_equal(tensor.n_elements, 0);
    assert_true(tensor.is_fortran);
    assert_int_equal(parse("{\"shape\": (7L,), \"descr\": \"<f8\", \"fortran_order\": False}"), 0);
    assert_int_equal(tensor.shape[0], 7);
    assert_int_equal(
        parse_version(2, "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }\n"), 0);
    assert_int_equal(
        parse_version(3, "{'descr': '=u2', 'fortran_order': False, 'shape': (1,), }\n"), 0);
}

static void test_what_is_refused_and_why(void **state)
{
    static const struct {
        int fault;
        const char *text;
    } cases[] = {
        {FED_FAULT_DTYPE, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': '<U5', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': 'f4', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_DTYPE, "{'descr': __import__('os').system('x'), 'shape': (1,), }"},
        {FED_FAULT_MALFORMED, ""},
        {FED_FAULT_MALFORMED, "{}"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': 1, }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,), }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (,), }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }"},
        {FED_FAULT_MALFORMED,
         "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x"},
        {FED_FAULT_MALFORMED, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}"},
        {FED_FAULT_MALFORMED,
         "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_MALFORMED, "{'desc\\x72': '<f4', 'fortran_order': False, 'shape': (1,), }"},
        {FED_FAULT_TOO_LARGE,
         "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"},
        {FED_FAULT_TOO_LARGE, "{'descr': '<f4', 'fortran_order': False, 'shape': (8589934593,), }"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int rc = parse(cases[i].text);
        if (rc != cases[i].fault) {
            fail_msg("%s: %d, want %d", cases[i].text, rc, cases[i].fault);
        }
        assert_true(err.msg[0] != '\0');
    }
}

static void test_prefixes_and_bounds(void **state)
{
    char bytes[FED_NPY_HEADER_MAX];
    const struct fed_tensor out = {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {3}};
    const size_t n = fed_npy_header_format(&out, bytes);
    size_t size = 0;

    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(fed_npy_header_parse(bytes, cut, &tensor, &size, &err),
                         FED_FAULT_MALFORMED);
    }
    bytes[6] = 4;
    assert_int_equal(fed_npy_header_parse(bytes, n, &tensor, &size, &err), FED_FAULT_MALFORMED);
    bytes[6] = 2; /* a length of four bytes, of which two are text */
    assert_int_equal(fed_npy_header_parse(bytes, n, &tensor, &size, &err), FED_FAULT_MALFORMED);
}

static void test_format_is_aligned_and_read_back(void **state)
{
    struct fed_tensor out = {.dtype = FED_DTYPE_U1, .rank = 8};
    char bytes[FED_NPY_HEADER_MAX];
    size_t size = 0;
    size_t n;

    (void)state;
    for (uint32_t rank = 0; rank <= FED_RANK_MAX; rank++) {
        out.rank = rank;
        out.shape[rank == 0 ? 0 : rank - 1] = rank + 1;
        n = fed_npy_header_format(&out, bytes);
        assert_int_equal(n % 64, 0);
        assert_int_equal(bytes[n - 1], '\n');
        assert_int_equal(fed_npy_header_parse(bytes, n, &tensor, &size, &err), 0);
        assert_int_equal(size, n);
        assert_int_equal(tensor.rank, rank);
        assert_int_equal(tensor.dtype, FED_DTYPE_U1);
    }
    out = (struct fed_tensor){.dtype = FED_DTYPE_F4, .rank = 1, .shape = {12}};
    n = fed_npy_header_format(&out, bytes);
    bytes[n - 1] = '\0';
    assert_non_null(
        strstr(bytes + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (12,), }"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_numpy_writes),
        cmocka_unit_test(test_what_is_refused_and_why),
        cmocka_unit_test(test_prefixes_and_bounds),
        cmocka_unit_test(test_format_is_aligned_and_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
