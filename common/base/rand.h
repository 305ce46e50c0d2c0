/* Deterministic random numbers, and the system's.
 *
 * A struct fed_rand is a function of its key alone, so that a draw can be repeated by whoever
 * knows the key. Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) for keying and
 * xoshiro256** (Blackman and Vigna, ACM TOMS 47(4), 2021) for the stream.
 */
#ifndef FED_COMMON_BASE_RAND_H
#define FED_COMMON_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct fed_rand {
    uint64_t state[4];
};

/* Key the generator with n_key numbers, for instance (seed, shard, round_number, epoch). */
void fed_rand_init(struct fed_rand *rand, const uint64_t *key, size_t n_key);

uint64_t fed_rand_next(struct fed_rand *rand);

/* Uniform in 0..bound-1, without bias; bound > 0. */
uint64_t fed_rand_below(struct fed_rand *rand, uint64_t bound);

/* Uniform in [0, 1): 53 bits. */
double fed_rand_unit(struct fed_rand *rand);

/* Fisher-Yates over n indices. */
void fed_rand_shuffle(struct fed_rand *rand, uint32_t *items, size_t n_items);

/* Bytes from the kernel (getrandom). Fails with FED_E_IO. */
FED_NODISCARD int fed_rand_system(void *ret_data, size_t size, struct fed_err *err);

#endif /* FED_COMMON_BASE_RAND_H */
