#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/id.h"
#include "common/model/checksum.h"
#include "common/model/layout.h"

static double decode_one(enum fed_dtype dtype, bool is_big_endian, const char *bytes, bool *ret_ok)
{
    const struct fed_tensor tensor = {.dtype = dtype, .is_big_endian = is_big_endian};
    double value = 0;

    *ret_ok = fed_dtype_decode(&tensor, bytes, 1, &value);
    return value;
}

static void check(enum fed_dtype dtype, const char *little, double want)
{
    const size_t size = fed_dtype_size(dtype);
    char big[8];
    char back[8] = {0};
    bool ok = false;

    for (size_t i = 0; i < size; i++) {
        big[i] = little[size - 1 - i];
    }
    const double a = decode_one(dtype, false, little, &ok);
    assert_true(ok);
    const double b = decode_one(dtype, true, big, &ok);
    assert_true(ok);
    assert_memory_equal(&a, &want, sizeof(want));
    assert_memory_equal(&b, &want, sizeof(want));
    fed_dtype_encode(dtype, &want, 1, back);
    assert_memory_equal(back, little, size);
}

static void test_every_dtype_both_byte_orders(void **state)
{
    (void)state;
    check(FED_DTYPE_F2, "\x00\x3c", 1.0);
    check(FED_DTYPE_F2, "\x01\x80", -0x1p-24);
    check(FED_DTYPE_F4, "\x00\x00\xc0\xbf", -1.5);
    check(FED_DTYPE_F4, "\x01\x00\x00\x00", 0x1p-149);
    check(FED_DTYPE_F8, "\x00\x00\x00\x00\x00\x00\xf8\x3f", 1.5);
    check(FED_DTYPE_F8, "\x00\x00\x00\x00\x00\x00\x00\x80", -0.0);
    check(FED_DTYPE_I1, "\x80", -128.0);
    check(FED_DTYPE_I2, "\xfe\xff", -2.0);
    check(FED_DTYPE_I4, "\x00\x00\x00\x80", -2147483648.0);
    check(FED_DTYPE_I8, "\xff\xff\xff\xff\xff\xff\xff\xff", -1.0);
    check(FED_DTYPE_I8, "\x00\x00\x00\x00\x00\x00\x20\x00", 0x1p53);
    check(FED_DTYPE_U1, "\xff", 255.0);
    check(FED_DTYPE_U2, "\xff\xff", 65535.0);
    check(FED_DTYPE_U4, "\xff\xff\xff\xff", 4294967295.0);
    check(FED_DTYPE_U8, "\x00\x00\x00\x00\x00\x00\x20\x00", 0x1p53);
}

static void test_integers_that_would_lose_bits_are_told(void **state)
{
    bool ok = true;

    (void)state;
    (void)decode_one(FED_DTYPE_I8, false, "\x01\x00\x00\x00\x00\x00\x20\x00", &ok);
    assert_false(ok);
    (void)decode_one(FED_DTYPE_I8, false, "\x00\x00\x00\x00\x00\x00\x00\x80", &ok);
    assert_false(ok);
    (void)decode_one(FED_DTYPE_U8, true, "\x00\x20\x00\x00\x00\x00\x00\x01", &ok);
    assert_false(ok);
    (void)decode_one(FED_DTYPE_U8, false, "\xff\xff\xff\xff\xff\xff\xff\xff", &ok);
    assert_false(ok);
}

static double half(uint32_t bits)
{
    const char bytes[2] = {(char)(bits & 0xFF), (char)(bits >> 8)};
    bool ok;

    return decode_one(FED_DTYPE_F2, false, bytes, &ok);
}

static uint32_t to_half(double value)
{
    uint8_t bytes[2];

    fed_dtype_encode(FED_DTYPE_F2, &value, 1, bytes);
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8);
}

/* All 65536, against NumPy: SHA-256 of arange(65536, dtype=u2).view(f2).astype(f8), NaN as 0. */
static void test_all_halves_are_numpys(void **state)
{
    double *values = calloc(65536, sizeof(*values));
    uint8_t digest[FED_SHA256_BYTES];
    char text[2 * FED_SHA256_BYTES + 1];

    (void)state;
    assert_non_null(values);
    for (uint32_t i = 0; i < 65536; i++) {
        values[i] = half(i);
        values[i] = isnan(values[i]) ? 0 : values[i];
    }
    fed_sha256_once(values, 65536 * sizeof(*values), digest);
    fed_hex_format(digest, sizeof(digest), text);
    assert_string_equal(text, "62dd074b90fef6531d8f6d66a4bb7b109b3e67f4c35521b7d520918eddd6cd97");
    free(values);
}

static void test_halves_come_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        if ((i & 0x7FFF) <= 0x7C00) {
            assert_int_equal(to_half(half(i)), i);
        }
    }
    assert_int_equal(to_half((double)NAN), 0x7E00);
}

/* Between any two neighbours: the middle goes to the even one, a hair beside it to the near one. */
static void test_halves_are_rounded_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7BFF; i++) {
        const double middle = (half(i) + half(i + 1)) / 2;
        assert_int_equal(to_half(middle), i + i % 2);
        assert_int_equal(to_half(nextafter(middle, 0)), i);
        assert_int_equal(to_half(nextafter(middle, (double)INFINITY)), i + 1);
        assert_int_equal(to_half(-middle), (i + i % 2) | 0x8000);
    }
    assert_int_equal(to_half(65519.99), 0x7BFF);
    assert_int_equal(to_half(65520), 0x7C00);
    assert_int_equal(to_half(-1e300), 0xFC00);
    assert_int_equal(to_half(1e-300), 0);
}

static void test_integers_are_rounded_and_held(void **state)
{
    static const struct {
        enum fed_dtype dtype;
        double value;
        double want;
    } cases[] = {
        {FED_DTYPE_I1, 2.5, 2},           {FED_DTYPE_I1, 3.5, 4},
        {FED_DTYPE_I1, -0.5, 0},          {FED_DTYPE_I1, 1000, 127},
        {FED_DTYPE_I1, -1000, -128},      {FED_DTYPE_U1, -3, 0},
        {FED_DTYPE_U1, 300, 255},         {FED_DTYPE_I2, 1e9, 32767},
        {FED_DTYPE_U2, 1e9, 65535},       {FED_DTYPE_I4, -1e30, -2147483648.0},
        {FED_DTYPE_U4, 1e30, 4294967295}, {FED_DTYPE_I8, 1e30, 0x1p53},
        {FED_DTYPE_I8, -1e30, -0x1p53},   {FED_DTYPE_U8, -1, 0},
        {FED_DTYPE_U8, 1e30, 0x1p53},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char bytes[8] = {0};
        bool ok = false;
        fed_dtype_encode(cases[i].dtype, &cases[i].value, 1, bytes);
        assert_true(fabs(decode_one(cases[i].dtype, false, bytes, &ok) - cases[i].want) < 0.1);
        assert_true(ok);
    }
}

static void test_names_and_shapes(void **state)
{
    struct fed_tensor tensor = {.rank = 4, .shape = {64, 32, 5, 5}};
    char text[64];
    char tiny[6];

    (void)state;
    fed_shape_format(&tensor, text, sizeof(text));
    assert_string_equal(text, "(64,32,5,5)");
    fed_shape_format(&tensor, tiny, sizeof(tiny));
    assert_true(strlen(tiny) < sizeof(tiny));
    tensor.rank = 0;
    fed_shape_format(&tensor, text, sizeof(text));
    assert_string_equal(text, "()");
    assert_string_equal(fed_dtype_name(FED_DTYPE_U8), "u8");
    assert_true(fed_dtype_is_float(FED_DTYPE_F2));
    assert_false(fed_dtype_is_float(FED_DTYPE_I1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype_both_byte_orders),
        cmocka_unit_test(test_integers_that_would_lose_bits_are_told),
        cmocka_unit_test(test_all_halves_are_numpys),
        cmocka_unit_test(test_halves_come_back),
        cmocka_unit_test(test_halves_are_rounded_to_nearest_even),
        cmocka_unit_test(test_integers_are_rounded_and_held),
        cmocka_unit_test(test_names_and_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
