#include "common/model/layout.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/num.h"
#include "common/model/vectors.h"

#define EXACT_MAX (1LL << 53) /* integers up to here are doubles */

static const struct {
    const char *name;
    size_t size;
    bool is_float;
    double min;
    double max;
} dtypes[FED_DTYPE_MAX] = {
    [FED_DTYPE_F2] = {"f2", 2, true, 0, 0},
    [FED_DTYPE_F4] = {"f4", 4, true, 0, 0},
    [FED_DTYPE_F8] = {"f8", 8, true, 0, 0},
    [FED_DTYPE_I1] = {"i1", 1, false, -128.0, 127.0},
    [FED_DTYPE_I2] = {"i2", 2, false, -32768.0, 32767.0},
    [FED_DTYPE_I4] = {"i4", 4, false, -2147483648.0, 2147483647.0},
    [FED_DTYPE_I8] = {"i8", 8, false, -0x1p53, 0x1p53},
    [FED_DTYPE_U1] = {"u1", 1, false, 0, 255.0},
    [FED_DTYPE_U2] = {"u2", 2, false, 0, 65535.0},
    [FED_DTYPE_U4] = {"u4", 4, false, 0, 4294967295.0},
    [FED_DTYPE_U8] = {"u8", 8, false, 0, 0x1p53},
};

size_t fed_dtype_size(enum fed_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *fed_dtype_name(enum fed_dtype dtype)
{
    return dtypes[dtype].name;
}

bool fed_dtype_is_float(enum fed_dtype dtype)
{
    return dtypes[dtype].is_float;
}

void fed_layout_deinit(struct fed_layout *layout)
{
    free(layout->tensors);
    *layout = (struct fed_layout){0};
}

void fed_shape_format(const struct fed_tensor *tensor, char *ret_text, size_t text_size)
{
    size_t used = 0;
    int n = snprintf(ret_text, text_size, "(");

    for (uint32_t i = 0; i < tensor->rank && n >= 0 && used + (size_t)n < text_size; i++) {
        used += (size_t)n;
        n = snprintf(ret_text + used, text_size - used, "%s%llu", i == 0 ? "" : ",",
                     (unsigned long long)tensor->shape[i]);
    }
    if (n >= 0 && used + (size_t)n < text_size) {
        used += (size_t)n;
        (void)snprintf(ret_text + used, text_size - used, ")");
    }
}

/* IEEE 754 binary16 to double, exact. */
static double decode_half(uint16_t half)
{
    const int exponent = (half >> 10) & 31;
    const int fraction = half & 1023;
    double value;

    if (exponent == 31) {
        value = fraction != 0 ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        value = ldexp(fraction, -24);
    } else {
        value = ldexp(fraction + 1024, exponent - 25);
    }
    return (half & 0x8000) != 0 ? -value : value;
}

/* Double to binary16, to nearest even, with gradual underflow. */
static uint16_t encode_half(double value)
{
    const uint16_t sign = signbit(value) != 0 ? 0x8000 : 0;
    const double magnitude = fabs(value);
    int exponent = 0;
    double scaled;

    if (isnan(value)) {
        return 0x7E00;
    }
    if (magnitude >= 65520.0) {
        return (uint16_t)(sign | 0x7C00);
    }
    if (magnitude <= 0x1p-25) { /* half the smallest subnormal, and zero */
        return sign;
    }
    (void)frexp(magnitude, &exponent);
    exponent = exponent < -13 ? -13 : exponent; /* below: subnormal, one fixed step */
    scaled = rint(ldexp(magnitude, 11 - exponent));
    if (exponent == -13 && scaled < 1024.0) {
        return (uint16_t)(sign | (uint16_t)scaled);
    }
    return (uint16_t)(sign + (unsigned)((exponent + 13) << 10) + (unsigned)scaled);
}

static uint64_t load_bits(const uint8_t *p, size_t size, bool is_big_endian)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < size; i++) {
        bits |= (uint64_t)p[is_big_endian ? size - 1 - i : i] << (8 * i);
    }
    return bits;
}

static double bits_to_double(enum fed_dtype dtype, uint64_t bits, bool *ok)
{
    float f4;
    double f8;
    uint32_t word = (uint32_t)bits;
    int64_t wide;

    switch (dtype) {
    case FED_DTYPE_F2:
        return decode_half((uint16_t)bits);
    case FED_DTYPE_F4:
        memcpy(&f4, &word, sizeof(f4));
        return (double)f4;
    case FED_DTYPE_F8:
        memcpy(&f8, &bits, sizeof(f8));
        return f8;
    case FED_DTYPE_I1:
        return (double)(int8_t)bits;
    case FED_DTYPE_I2:
        return (double)(int16_t)bits;
    case FED_DTYPE_I4:
        return (double)(int32_t)bits;
    case FED_DTYPE_I8:
        wide = (int64_t)bits;
        *ok = *ok && wide <= EXACT_MAX && wide >= -EXACT_MAX;
        return (double)wide;
    case FED_DTYPE_U8:
        *ok = *ok && bits <= (uint64_t)EXACT_MAX;
        return (double)bits;
    case FED_DTYPE_U1:
    case FED_DTYPE_U2:
    case FED_DTYPE_U4:
    case FED_DTYPE_MAX:
        break;
    }
    return (double)bits;
}

/* Nearly all there is is float32, little-endian: kept simple for the compiler. */

FED_VECTORS static void decode_singles(const uint8_t *bytes, size_t n, double *ret_values)
{
    for (size_t i = 0; i < n; i++) {
        float value;
        memcpy(&value, bytes + 4 * i, sizeof(value));
        ret_values[i] = (double)value;
    }
}

FED_VECTORS static void encode_singles(const double *values, size_t n, uint8_t *ret_bytes)
{
    for (size_t i = 0; i < n; i++) {
        const float value = (float)values[i];
        memcpy(ret_bytes + 4 * i, &value, sizeof(value));
    }
}

bool fed_dtype_decode(const struct fed_tensor *tensor,
                      const void *bytes,
                      size_t n,
                      double *ret_values)
{
    const size_t size = fed_dtype_size(tensor->dtype);
    const uint8_t *p = bytes;
    bool ok = true;

    if (tensor->dtype == FED_DTYPE_F4 && !tensor->is_big_endian) {
        decode_singles(p, n, ret_values);
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        ret_values[i] = bits_to_double(tensor->dtype,
                                       load_bits(p + i * size, size, tensor->is_big_endian), &ok);
    }
    return ok;
}

static uint64_t double_to_bits(enum fed_dtype dtype, double value)
{
    const float narrow = (float)value;
    uint64_t bits = 0;
    uint32_t word = 0;
    double held;

    if (dtype == FED_DTYPE_F2) {
        return encode_half(value);
    }
    if (dtype == FED_DTYPE_F4) {
        memcpy(&word, &narrow, sizeof(word));
        return word;
    }
    if (dtype == FED_DTYPE_F8) {
        memcpy(&bits, &value, sizeof(bits));
        return bits;
    }
    held = rint(value);
    held = held < dtypes[dtype].min ? dtypes[dtype].min : held;
    held = held > dtypes[dtype].max ? dtypes[dtype].max : held;
    return (uint64_t)(int64_t)held;
}

void fed_dtype_encode(enum fed_dtype dtype, const double *values, size_t n, void *ret_bytes)
{
    const size_t size = fed_dtype_size(dtype);
    uint8_t *p = ret_bytes;

    if (dtype == FED_DTYPE_F4) {
        encode_singles(values, n, p);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = double_to_bits(dtype, values[i]);
        for (size_t k = 0; k < size; k++) {
            p[i * size + k] = (uint8_t)(bits >> (8 * k));
        }
    }
}
