#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/num.h"

static void test_overflow_is_told_and_leaves_the_result(void **state)
{
    size_t value = 5;

    (void)state;
    assert_true(fed_size_mul(6, 7, &value));
    assert_int_equal(value, 42);
    assert_false(fed_size_mul(SIZE_MAX / 2 + 1, 2, &value));
    assert_int_equal(value, 42);
    assert_true(fed_size_add(SIZE_MAX - 1, 1, &value));
    assert_true(value == SIZE_MAX);
    assert_false(fed_size_add(SIZE_MAX, 1, &value));
    assert_true(value == SIZE_MAX);
}

static void test_little_endian_at_any_address(void **state)
{
    uint8_t bytes[16] = {0};

    (void)state;
    fed_store_le64(bytes + 1, 0x0102030405060708U);
    assert_int_equal(bytes[1], 8);
    assert_int_equal(bytes[8], 1);
    assert_true(fed_load_le64(bytes + 1) == 0x0102030405060708U);
    assert_int_equal(fed_load_le32(bytes + 1), 0x05060708U);
    assert_int_equal(fed_load_le16(bytes + 1), 0x0708U);
    fed_store_le32(bytes + 3, 0xFFFEFDFCU);
    assert_int_equal(fed_load_le32(bytes + 3), 0xFFFEFDFCU);
    fed_store_le16(bytes + 5, 0xABCD);
    assert_int_equal(fed_load_le16(bytes + 5), 0xABCD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflow_is_told_and_leaves_the_result),
        cmocka_unit_test(test_little_endian_at_any_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
