#include "common/base/rand.h"

#include <assert.h>
#include <sys/random.h>

static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15U);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void fed_rand_init(struct fed_rand *rand, const uint64_t *key, size_t n_key)
{
    uint64_t seed = n_key;

    for (size_t i = 0; i < n_key; i++) {
        seed ^= key[i];
        seed = mix(&seed);
    }
    for (size_t i = 0; i < 4; i++) {
        rand->state[i] = mix(&seed);
    }
}

uint64_t fed_rand_next(struct fed_rand *rand)
{
    uint64_t *s = rand->state;
    const uint64_t out = rotate(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return out;
}

uint64_t fed_rand_below(struct fed_rand *rand, uint64_t bound)
{
    assert(bound > 0);
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value = fed_rand_next(rand);

    while (value >= limit) {
        value = fed_rand_next(rand);
    }
    return value % bound;
}

double fed_rand_unit(struct fed_rand *rand)
{
    return (double)(fed_rand_next(rand) >> 11) * 0x1.0p-53;
}

void fed_rand_shuffle(struct fed_rand *rand, uint32_t *items, size_t n_items)
{
    for (size_t i = n_items; i > 1; i--) {
        const size_t j = fed_rand_below(rand, i);
        const uint32_t held = items[i - 1];

        items[i - 1] = items[j];
        items[j] = held;
    }
}

int fed_rand_system(void *ret_data, size_t size, struct fed_err *err)
{
    uint8_t *p = ret_data;

    while (size > 0) {
        const ssize_t n = getrandom(p, size, 0);
        if (n < 0) {
            return fed_err_set(err, FED_E_IO, "getrandom failed");
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}
