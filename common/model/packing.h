/* Sums in as few bytes as they need: blocks of int64, each value of a block in the bytes that its
 * largest one takes, little-endian, two's complement. What a round adds up to uses few of the 64
 * bits that it might: of 8 bytes a value two to five are left, more where there are more examples.
 *
 * Pure functions, any thread. Cost: O(n), no allocation.
 */
#ifndef FED_COMMON_MODEL_PACKING_H
#define FED_COMMON_MODEL_PACKING_H

#include <stddef.h>
#include <stdint.h>

#define FED_PACK_BLOCK     1024U /* values of a block; the last one has what is left */
#define FED_PACK_WIDTH_MAX 8U

/* Bytes a value, 0 (all are 0) to FED_PACK_WIDTH_MAX. */
size_t fed_pack_width(const int64_t *values, size_t n);

/* Exactly n * width bytes. */
void fed_pack(uint8_t *ret_bytes, const int64_t *values, size_t n, size_t width);

/* sums[i] += the i-th packed value. Defined also where it overflows, which no honest sum does. */
void fed_unpack_add(int64_t *sums, const uint8_t *bytes, size_t n, size_t width);

#endif /* FED_COMMON_MODEL_PACKING_H */
