#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rand.h"
#include "common/model/exact.h"
#include "tests/golden/exact.inc"

#define N_UPDATES 3

static void test_numpys_numbers(void **state)
{
    int64_t sum[GOLDEN_N] = {0};
    double values[GOLDEN_N];
    double examples = 0;

    (void)state;
    for (size_t i = 0; i < N_UPDATES; i++) {
        assert_int_equal(fed_exact_check(golden_updates[i], golden_base, GOLDEN_N,
                                         golden_examples[i], GOLDEN_SCALE, GOLDEN_LIMIT),
                         GOLDEN_N);
        fed_exact_add(sum, golden_updates[i], golden_base, GOLDEN_N, golden_examples[i],
                      GOLDEN_SCALE);
        examples += golden_examples[i];
    }
    assert_memory_equal(sum, golden_sum, sizeof(sum));
    fed_exact_finish(values, sum, golden_base, GOLDEN_N, examples, GOLDEN_SCALE);
    assert_memory_equal(values, golden_result, sizeof(values));
}

/* -- properties, over many random updates ---------------------------------------------------- */

#define N_MANY   20
#define N_VALUES 257

static double many[N_MANY][N_VALUES];
static double many_base[N_VALUES];
static double many_examples[N_MANY];

static void fill_many(void)
{
    const uint64_t key = 42;
    struct fed_rand rand;

    fed_rand_init(&rand, &key, 1);
    for (size_t k = 0; k < N_VALUES; k++) {
        many_base[k] = (double)(float)(fed_rand_unit(&rand) * 4 - 2);
    }
    for (size_t i = 0; i < N_MANY; i++) {
        many_examples[i] = (double)(1 + fed_rand_below(&rand, 60000));
        for (size_t k = 0; k < N_VALUES; k++) {
            many[i][k] = (double)(float)(many_base[k] + (fed_rand_unit(&rand) - 0.5) * 0.01);
        }
    }
}

static void add_in_order(int64_t *sum, const uint32_t *order, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        fed_exact_add(sum, many[order[i]], many_base, N_VALUES, many_examples[order[i]], 23);
    }
}

static void test_any_order_and_grouping_gives_the_same_bits(void **state)
{
    const uint64_t key = 43;
    struct fed_rand rand;
    uint32_t order[N_MANY];
    int64_t want[N_VALUES] = {0};

    (void)state;
    fill_many();
    fed_rand_init(&rand, &key, 1);
    for (uint32_t i = 0; i < N_MANY; i++) {
        order[i] = i;
    }
    add_in_order(want, order, 0, N_MANY);
    for (unsigned trial = 0; trial < 20; trial++) {
        const size_t cut = fed_rand_below(&rand, N_MANY + 1);
        int64_t a[N_VALUES] = {0};
        int64_t b[N_VALUES] = {0};

        fed_rand_shuffle(&rand, order, N_MANY);
        add_in_order(a, order, 0, cut); /* two combiners */
        add_in_order(b, order, cut, N_MANY);
        for (size_t k = 0; k < N_VALUES; k++) {
            a[k] += b[k];
        }
        assert_memory_equal(a, want, sizeof(want));
    }
}

static void test_subtracting_restores_every_bit(void **state)
{
    const uint32_t order[] = {0, 1, 2};
    int64_t sum[N_VALUES] = {0};
    int64_t before[N_VALUES];

    (void)state;
    fill_many();
    add_in_order(sum, order, 0, 3);
    memcpy(before, sum, sizeof(sum));
    fed_exact_add(sum, many[7], many_base, N_VALUES, many_examples[7], 23);
    assert_memory_not_equal(sum, before, sizeof(sum));
    fed_exact_subtract(sum, many[7], many_base, N_VALUES, many_examples[7], 23);
    assert_memory_equal(sum, before, sizeof(sum));
}

static void test_singles_give_the_same_bits(void **state)
{
    uint8_t base[4 * N_VALUES + 1];
    uint8_t bytes[4 * N_VALUES + 3];

    (void)state;
    fill_many();
    for (size_t n = 0; n <= N_VALUES; n += n < 20 ? 1 : 79) {
        int64_t want[N_VALUES] = {0};
        int64_t sum[N_VALUES] = {0};
        for (size_t k = 0; k < N_VALUES; k++) {
            const float values[] = {(float)many_base[k], (float)many[5][k]};
            memcpy(base + 1 + 4 * k, &values[0], sizeof(values[0])); /* at odd addresses */
            memcpy(bytes + 3 + 4 * k, &values[1], sizeof(values[1]));
        }
        fed_exact_add(want, many[5], many_base, n, many_examples[5], 23);
        fed_exact_add_singles(sum, bytes + 3, base + 1, n, many_examples[5], 23);
        assert_memory_equal(sum, want, sizeof(want));
        fed_exact_subtract_singles(sum, bytes + 3, base + 1, n, many_examples[5], 23);
        for (size_t k = 0; k < N_VALUES; k++) {
            assert_int_equal(sum[k], 0);
        }
    }
}

/* Round protocol, section 4: bit for bit, the sign of zero too. */
static void test_an_update_equal_to_the_base_gives_the_base(void **state)
{
    const double base[] = {-0.0, 0.0, 1.5, -3.25e-30, 4e-320, -1e30};
    const size_t n = sizeof(base) / sizeof(base[0]);
    int64_t sum[sizeof(base) / sizeof(base[0])] = {0};
    double values[sizeof(base) / sizeof(base[0])];

    (void)state;
    fed_exact_add(sum, base, base, n, 1000, 20);
    fed_exact_finish(values, sum, base, n, 1000, 20);
    assert_memory_equal(values, base, sizeof(base));
}

static void test_one_client_alone_gives_its_values(void **state)
{
    int64_t sum[N_VALUES] = {0};
    double values[N_VALUES];

    (void)state;
    fill_many();
    fed_exact_add(sum, many[3], many_base, N_VALUES, many_examples[3], 23);
    fed_exact_finish(values, sum, many_base, N_VALUES, many_examples[3], 23);
    for (size_t k = 0; k < N_VALUES; k++) { /* half a step of 2^-23, over its examples */
        assert_true(fabs(values[k] - many[3][k]) <= ldexp(0.5, -23) / many_examples[3] + 1e-15);
    }
}

/* -- edges ---------------------------------------------------------------------------------------
 */

static int64_t quantized(double x, double examples, int32_t scale_bits)
{
    const double base = 0;
    int64_t sum = 0;

    fed_exact_add(&sum, &x, &base, 1, examples, scale_bits);
    return sum;
}

static void test_halves_go_to_even(void **state)
{
    (void)state;
    assert_int_equal(quantized(0.5, 1, 0), 0);
    assert_int_equal(quantized(1.5, 1, 0), 2);
    assert_int_equal(quantized(2.5, 1, 0), 2);
    assert_int_equal(quantized(-0.5, 1, 0), 0);
    assert_int_equal(quantized(-1.5, 1, 0), -2);
    assert_int_equal(quantized(-2.5, 1, 0), -2);
    assert_int_equal(quantized(0.75, 2, 0), 2);
    assert_int_equal(quantized(3.0, 1, -1), 2);
}

static void test_the_limit_is_exact(void **state)
{
    static const double inside[] = {0x1p51,        -0x1p51,       0x1p51 - 0.5, -0x1p51 + 0.5,
                                    0x1p51 + 0.25, -0x1p51 - 0.5, 0x1p51 + 0.5};
    static const double outside[] = {0x1p51 + 1,       -0x1p51 - 1, 0x1p60,
                                     (double)INFINITY, (double)NAN, -(double)INFINITY};
    const double base = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        assert_int_equal(fed_exact_check(&inside[i], &base, 1, 1, 0, 51), 1);
        assert_true(quantized(inside[i], 1, 0) == (int64_t)rint(inside[i]));
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        assert_int_equal(fed_exact_check(&outside[i], &base, 1, 1, 0, 51), 0);
    }
    const double two[] = {1.0, 5.0, 9.0};
    const double none[] = {0, 0, 0};
    assert_int_equal(fed_exact_check(two, none, 3, 1, 0, 2), 1); /* the first beyond 2^2 */
}

static void test_exponents(void **state)
{
    (void)state;
    assert_int_equal(fed_exact_exponent(0), 0);
    assert_int_equal(fed_exact_exponent(0.3), 0);
    assert_int_equal(fed_exact_exponent(1), 0);
    assert_int_equal(fed_exact_exponent(1.0000001), 1);
    assert_int_equal(fed_exact_exponent(2), 1);
    assert_int_equal(fed_exact_exponent(2.5), 2);
    assert_int_equal(fed_exact_exponent(1024), 10);
    assert_int_equal(fed_exact_exponent(1025), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpys_numbers),
        cmocka_unit_test(test_any_order_and_grouping_gives_the_same_bits),
        cmocka_unit_test(test_subtracting_restores_every_bit),
        cmocka_unit_test(test_singles_give_the_same_bits),
        cmocka_unit_test(test_an_update_equal_to_the_base_gives_the_base),
        cmocka_unit_test(test_one_client_alone_gives_its_values),
        cmocka_unit_test(test_halves_go_to_even),
        cmocka_unit_test(test_the_limit_is_exact),
        cmocka_unit_test(test_exponents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
