#include "common/model/packing.h"

#include <assert.h>
#include <string.h>

#include "common/model/vectors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are packed as they lie in memory");

#define SLACK 8U /* the last values: no 8 bytes may be touched where one of them begins */

FED_VECTORS size_t fed_pack_width(const int64_t *values, size_t n)
{
    uint64_t bits = 0; /* where a bit differs from the one below it (a 0 below the lowest): from
                        * the highest of these places on up, all are the sign */

    for (size_t i = 0; i < n; i++) {
        bits |= (uint64_t)values[i] ^ (uint64_t)values[i] << 1;
    }
    return bits == 0 ? 0 : (64U - (size_t)__builtin_clzll(bits) + 7U) / 8U;
}

/* Each with its width known where it is compiled. */
__attribute__((always_inline)) static inline void
pack(uint8_t *bytes, const int64_t *values, size_t n, size_t width)
{
    const size_t n_whole = n < SLACK ? 0 : n - SLACK;

    for (size_t i = 0; i < n_whole; i++) { /* what is written too much the next one covers */
        memcpy(bytes + i * width, &values[i], sizeof(values[i]));
    }
    for (size_t i = n_whole; i < n; i++) {
        memcpy(bytes + i * width, &values[i], width);
    }
}

/* `above`: bits of `value` that are another's. */
static inline void add_one(int64_t *sum, uint64_t value, unsigned above)
{
    *sum = (int64_t)((uint64_t)*sum + (uint64_t)((int64_t)(value << above) >> above));
}

__attribute__((always_inline)) static inline void
add(int64_t *sums, const uint8_t *bytes, size_t n, size_t width)
{
    const size_t n_whole = n < SLACK ? 0 : n - SLACK;
    const unsigned above = 64U - 8U * (unsigned)width;

    for (size_t i = 0; i < n_whole; i++) {
        uint64_t value;
        memcpy(&value, bytes + i * width, sizeof(value));
        add_one(&sums[i], value, above);
    }
    for (size_t i = n_whole; i < n; i++) {
        uint64_t value = 0;
        memcpy(&value, bytes + i * width, width);
        add_one(&sums[i], value, above);
    }
}

#define EACH_WIDTH(run) \
    switch (width) {    \
    case 1:             \
        run(1);         \
        break;          \
    case 2:             \
        run(2);         \
        break;          \
    case 3:             \
        run(3);         \
        break;          \
    case 4:             \
        run(4);         \
        break;          \
    case 5:             \
        run(5);         \
        break;          \
    case 6:             \
        run(6);         \
        break;          \
    case 7:             \
        run(7);         \
        break;          \
    case 8:             \
        run(8);         \
        break;          \
    default:            \
        break;          \
    }

void fed_pack(uint8_t *ret_bytes, const int64_t *values, size_t n, size_t width)
{
#define PACK(w) pack(ret_bytes, values, n, w)
    assert(width <= FED_PACK_WIDTH_MAX);
    EACH_WIDTH(PACK)
#undef PACK
}

void fed_unpack_add(int64_t *sums, const uint8_t *bytes, size_t n, size_t width)
{
#define ADD(w) add(sums, bytes, n, w)
    assert(width <= FED_PACK_WIDTH_MAX);
    EACH_WIDTH(ADD)
#undef ADD
}
