#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rand.h"
#include "common/model/packing.h"

#define BEHIND 0xEE /* what stands behind the packed bytes, and stays there */

/* Pack and take back; the width must be `want`. */
static void round_trip(const int64_t *values, size_t n, size_t want)
{
    uint8_t bytes[FED_PACK_BLOCK * FED_PACK_WIDTH_MAX + 1];
    int64_t sums[FED_PACK_BLOCK];
    const size_t width = fed_pack_width(values, n);

    assert_int_equal(width, want);
    memset(bytes, BEHIND, sizeof(bytes));
    fed_pack(bytes, values, n, width);
    assert_int_equal(bytes[n * width], BEHIND);
    for (size_t i = 0; i < n; i++) {
        sums[i] = (int64_t)i - 3;
    }
    fed_unpack_add(sums, bytes, n, width);
    for (size_t i = 0; i < n; i++) {
        assert_true(sums[i] == (int64_t)((uint64_t)values[i] + (uint64_t)i - 3U));
    }
}

/* The bounds of each width, of both signs, one among zeros at any place. */
static void test_a_block_is_as_wide_as_its_largest(void **state)
{
    static const size_t counts[] = {1, 2, 7, 8, 9, 15, 17, FED_PACK_BLOCK - 1, FED_PACK_BLOCK};

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        const size_t n = counts[c];
        int64_t values[FED_PACK_BLOCK] = {0};
        round_trip(values, n, 0);
        for (size_t width = 1; width <= FED_PACK_WIDTH_MAX; width++) {
            const int64_t most = (int64_t)(UINT64_MAX >> (65U - 8U * width));
            const size_t at = width * 131 % n;
            values[at] = most;
            round_trip(values, n, width);
            values[at] = -most - 1;
            round_trip(values, n, width);
            if (width < FED_PACK_WIDTH_MAX) {
                values[at] = most + 1;
                round_trip(values, n, width + 1);
                values[at] = -most - 2;
                round_trip(values, n, width + 1);
            }
            values[at] = 0;
        }
        values[0] = -1;
        round_trip(values, n, 1);
    }
}

static void test_random_values_come_back(void **state)
{
    const uint64_t key = 5;
    struct fed_rand rand;
    int64_t values[FED_PACK_BLOCK];

    (void)state;
    fed_rand_init(&rand, &key, 1);
    for (unsigned bits = 1; bits < 64; bits++) {
        for (size_t i = 0; i < FED_PACK_BLOCK; i++) {
            values[i] = (int64_t)(fed_rand_next(&rand) << (64U - bits)) >> (64U - bits);
        }
        values[17] = (int64_t)(1ULL << (bits - 1)) - 1; /* takes all its bits, whatever came */
        values[18] = -values[17] - 1;
        round_trip(values, FED_PACK_BLOCK, (bits + 7) / 8);
    }
}

/* No byte beyond the last is touched: at the very end of memory that is there. */
static void test_the_ends_of_memory(void **state)
{
    (void)state;
    for (size_t width = 1; width <= FED_PACK_WIDTH_MAX; width++) {
        for (size_t n = 1; n <= 20; n++) {
            int64_t values[20];
            int64_t sums[20] = {0};
            uint8_t *bytes = malloc(n * width); /* AddressSanitizer watches it */
            assert_non_null(bytes);
            for (size_t i = 0; i < n; i++) {
                values[i] = (int64_t)i - 10;
            }
            fed_pack(bytes, values, n, width);
            fed_unpack_add(sums, bytes, n, width);
            assert_memory_equal(sums, values, n * sizeof(*values));
            free(bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_block_is_as_wide_as_its_largest),
        cmocka_unit_test(test_random_values_come_back),
        cmocka_unit_test(test_the_ends_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
