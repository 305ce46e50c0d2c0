#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rand.h"

/* From tests/golden/rand.py. The first line is the published first output of xoshiro256** seeded
 * by SplitMix64 from 0. */
static void test_the_stream_is_a_function_of_the_key(void **state)
{
    static const struct {
        uint64_t key[4];
        size_t n_key;
        uint64_t draws[4];
    } golden[] = {
        {{0},
         0,
         {0x99EC5F36CB75F2B4U, 0xBF6E1F784956452AU, 0x1A5F849D4933E6E0U, 0x6AA594F1262D2D2CU}},
        {{0},
         1,
         {0xEE127FE613436E33U, 0xD6DAD8D34A1874EAU, 0x2A52C16CEC1116A9U, 0x9AF9091D9F77D551U}},
        {{1, 2, 3, 4},
         4,
         {0x8E90DD45F6189F75U, 0x0180730A9EEDDA9EU, 0x2AAA7F783C363B5BU, 0x493A0711C6BE1F6DU}},
        {{UINT64_MAX},
         1,
         {0x1F8A2D282F03A6DEU, 0x247C8C09AD15851FU, 0x774B13E97E3B6DA0U, 0x6AAA1642D6C07607U}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        struct fed_rand rand;
        fed_rand_init(&rand, golden[i].key, golden[i].n_key);
        for (size_t k = 0; k < 4; k++) {
            assert_true(fed_rand_next(&rand) == golden[i].draws[k]);
        }
    }
}

static void test_draws_below_a_bound_reach_all_of_it(void **state)
{
    const uint64_t key = 5;
    struct fed_rand rand;
    unsigned seen[10] = {0};

    (void)state;
    fed_rand_init(&rand, &key, 1);
    for (unsigned i = 0; i < 10000; i++) {
        seen[fed_rand_below(&rand, 10)]++;
    }
    for (unsigned i = 0; i < 10; i++) {
        assert_in_range(seen[i], 850, 1150); /* 5 sigma of a binomial (10000, 0.1) */
    }
    assert_int_equal(fed_rand_below(&rand, 1), 0);
    for (unsigned i = 0; i < 100; i++) { /* half of all draws are beyond this bound's multiple */
        assert_true(fed_rand_below(&rand, (UINT64_MAX / 2) + 2) <= UINT64_MAX / 2 + 1);
    }
}

static void test_unit_is_below_one(void **state)
{
    const uint64_t key = 6;
    struct fed_rand rand;
    double sum = 0;

    (void)state;
    fed_rand_init(&rand, &key, 1);
    for (unsigned i = 0; i < 10000; i++) {
        const double value = fed_rand_unit(&rand);
        assert_true(value >= 0 && value < 1);
        sum += value;
    }
    assert_true(sum > 4850 && sum < 5150); /* 5 sigma */
}

static void test_shuffle_keeps_every_item_and_repeats(void **state)
{
    const uint64_t key = 7;
    uint32_t a[100];
    uint32_t b[100];
    bool seen[100] = {false};
    struct fed_rand rand;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        a[i] = i;
        b[i] = i;
    }
    fed_rand_init(&rand, &key, 1);
    fed_rand_shuffle(&rand, a, 100);
    fed_rand_init(&rand, &key, 1);
    fed_rand_shuffle(&rand, b, 100);
    assert_memory_equal(a, b, sizeof(a));
    for (uint32_t i = 0; i < 100; i++) {
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
    }
    assert_true(a[0] != 0 || a[1] != 1 || a[2] != 2);
    fed_rand_shuffle(&rand, a, 0);
}

static void test_the_systems_bytes_differ(void **state)
{
    uint8_t a[1000] = {0};
    uint8_t b[1000] = {0};

    (void)state;
    assert_int_equal(fed_rand_system(a, sizeof(a), NULL), 0);
    assert_int_equal(fed_rand_system(b, sizeof(b), NULL), 0);
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 900, b + 900, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_stream_is_a_function_of_the_key),
        cmocka_unit_test(test_draws_below_a_bound_reach_all_of_it),
        cmocka_unit_test(test_unit_is_below_one),
        cmocka_unit_test(test_shuffle_keeps_every_item_and_repeats),
        cmocka_unit_test(test_the_systems_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
