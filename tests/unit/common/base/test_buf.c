#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "tests/lib/alloc_fault.h"

static void test_grows_and_keeps_its_content(void **state)
{
    struct fed_buf buf;
    uint8_t expected[1000];

    (void)state;
    fed_buf_init(&buf, 0);
    for (unsigned i = 0; i < 1000; i++) {
        const uint8_t byte = (uint8_t)i;
        expected[i] = byte;
        assert_int_equal(fed_buf_add(&buf, &byte, 1, NULL), 0);
    }
    assert_int_equal(buf.size, 1000);
    assert_memory_equal(buf.data, expected, 1000);
    fed_buf_clear(&buf);
    assert_int_equal(buf.size, 0);
    assert_true(buf.capacity >= 1000);
    fed_buf_deinit(&buf);
    assert_null(buf.data);
    assert_int_equal(fed_buf_add(&buf, "again", 5, NULL), 0);
    fed_buf_deinit(&buf);
}

static void test_the_bound_is_exact_and_leaves_the_content(void **state)
{
    struct fed_buf buf;
    struct fed_err err;

    (void)state;
    fed_buf_init(&buf, 5);
    assert_int_equal(fed_buf_add(&buf, "abcd", 4, NULL), 0);
    assert_int_equal(fed_buf_add(&buf, "ef", 2, &err), -FED_E_LIMIT);
    assert_string_equal(err.msg, "6 bytes, at most 5 are allowed");
    assert_int_equal(buf.size, 4);
    assert_int_equal(fed_buf_add(&buf, "e", 1, NULL), 0);
    assert_memory_equal(buf.data, "abcde", 5);
    assert_int_equal(fed_buf_add(&buf, NULL, 0, NULL), 0);
    assert_int_equal(fed_buf_add(&buf, buf.data, SIZE_MAX - 2, NULL), -FED_E_NOMEM);
    fed_buf_deinit(&buf);
    assert_int_equal(buf.size_max, 5);
}

static void test_formats_text_up_to_the_bound(void **state)
{
    struct fed_buf buf;

    (void)state;
    fed_buf_init(&buf, 8);
    assert_int_equal(fed_buf_addf(&buf, NULL, "%d-%s", 12, "ab"), 0);
    assert_int_equal(fed_buf_addf(&buf, NULL, "%s", "xyz"), 0);
    assert_int_equal(buf.size, 8);
    assert_memory_equal(buf.data, "12-abxyz", 8);
    assert_int_equal(fed_buf_addf(&buf, NULL, "!"), -FED_E_LIMIT);
    assert_int_equal(buf.size, 8);
    assert_int_equal(fed_buf_addf(&buf, NULL, "%s", ""), 0);
    fed_buf_deinit(&buf);
}

static void test_no_memory_leaves_the_content(void **state)
{
    struct fed_buf buf;

    (void)state;
    fed_buf_init(&buf, 0);
    assert_int_equal(fed_buf_add(&buf, "kept", 4, NULL), 0);
    alloc_fault_arm(1);
    assert_int_equal(fed_buf_reserve(&buf, 1000, NULL), -FED_E_NOMEM);
    assert_true(alloc_fault_disarm());
    assert_memory_equal(buf.data, "kept", 4);
    fed_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_keeps_its_content),
        cmocka_unit_test(test_the_bound_is_exact_and_leaves_the_content),
        cmocka_unit_test(test_formats_text_up_to_the_bound),
        cmocka_unit_test(test_no_memory_leaves_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
