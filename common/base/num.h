/* Checked arithmetic for sizes that come from outside, and little-endian access to bytes. */
#ifndef FED_COMMON_BASE_NUM_H
#define FED_COMMON_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false, and leaves *ret alone, when the result does not fit. */
static inline bool fed_size_mul(size_t a, size_t b, size_t *ret)
{
    size_t out;

    if (__builtin_mul_overflow(a, b, &out)) {
        return false;
    }
    *ret = out;
    return true;
}

static inline bool fed_size_add(size_t a, size_t b, size_t *ret)
{
    size_t out;

    if (__builtin_add_overflow(a, b, &out)) {
        return false;
    }
    *ret = out;
    return true;
}

static inline uint16_t fed_load_le16(const void *data)
{
    const uint8_t *p = data;

    return (uint16_t)(p[0] | (p[1] << 8));
}

static inline uint32_t fed_load_le32(const void *data)
{
    const uint8_t *p = data;

    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}

static inline uint64_t fed_load_le64(const void *data)
{
    const uint8_t *p = data;

    return (uint64_t)fed_load_le32(p) | ((uint64_t)fed_load_le32(p + 4) << 32);
}

static inline void fed_store_le16(void *data, uint16_t value)
{
    uint8_t *p = data;

    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void fed_store_le32(void *data, uint32_t value)
{
    uint8_t *p = data;

    fed_store_le16(p, (uint16_t)value);
    fed_store_le16(p + 2, (uint16_t)(value >> 16));
}

static inline void fed_store_le64(void *data, uint64_t value)
{
    uint8_t *p = data;

    fed_store_le32(p, (uint32_t)value);
    fed_store_le32(p + 4, (uint32_t)(value >> 32));
}

#endif /* FED_COMMON_BASE_NUM_H */
