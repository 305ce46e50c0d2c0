#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rand.h"
#include "common/model/values.h"

#define N_MAX 67 /* every rest of eight, and some blocks before it */

static double a[N_MAX];
static double b[N_MAX];

static void fill(void)
{
    const uint64_t key = 7;
    struct fed_rand rand;

    fed_rand_init(&rand, &key, 1);
    for (size_t i = 0; i < N_MAX; i++) {
        a[i] = fed_rand_unit(&rand) * 4 - 2;
        b[i] = fed_rand_unit(&rand) * 4 - 2;
    }
}

static void test_finite_wherever_they_stand(void **state)
{
    static const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};

    (void)state;
    fill();
    a[3] = 1.7976931348623157e308;
    a[4] = 4.9e-324;
    for (size_t n = 0; n <= N_MAX; n++) {
        assert_true(fed_values_are_finite(a, n));
        for (size_t i = 0; i < n; i++) {
            const double was = a[i];
            a[i] = bad[(n + i) % 3];
            assert_false(fed_values_are_finite(a, n));
            a[i] = was;
        }
    }
}

static void test_singles_as_they_lie(void **state)
{
    static const float bad[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    uint8_t bytes[4 * N_MAX + 1];

    (void)state;
    fill();
    for (size_t i = 0; i < N_MAX; i++) {
        const float value = i == 5 ? 3.4028235e38F : i == 6 ? 1e-45F : (float)a[i];
        memcpy(bytes + 1 + 4 * i, &value, sizeof(value)); /* at odd addresses */
    }
    for (size_t n = 0; n <= N_MAX; n++) {
        assert_true(fed_singles_are_finite(bytes + 1, n));
        for (size_t i = 0; i < n; i++) {
            uint8_t was[4];
            memcpy(was, bytes + 1 + 4 * i, sizeof(was));
            memcpy(bytes + 1 + 4 * i, &bad[(n + i) % 3], sizeof(was));
            assert_false(fed_singles_are_finite(bytes + 1, n));
            memcpy(bytes + 1 + 4 * i, was, sizeof(was));
        }
    }
}

static void test_the_largest(void **state)
{
    (void)state;
    fill();
    for (size_t n = 0; n <= N_MAX; n++) {
        double magnitude = 0;
        double distance = 0;
        for (size_t i = 0; i < n; i++) {
            magnitude = fabs(a[i]) > magnitude ? fabs(a[i]) : magnitude;
            distance = fabs(a[i] - b[i]) > distance ? fabs(a[i] - b[i]) : distance;
        }
        assert_true(fed_values_magnitude(a, n) >= magnitude);
        assert_true(fed_values_magnitude(a, n) <= magnitude);
        assert_true(fed_values_distance(a, b, n) >= distance);
        assert_true(fed_values_distance(a, b, n) <= distance);
    }
}

static void test_singles_apart(void **state)
{
    uint8_t x[4 * N_MAX + 1];
    uint8_t y[4 * N_MAX + 3];

    (void)state;
    fill();
    for (size_t i = 0; i < N_MAX; i++) {
        const float values[] = {(float)a[i], (float)b[i]};
        memcpy(x + 1 + 4 * i, &values[0], sizeof(values[0]));
        memcpy(y + 3 + 4 * i, &values[1], sizeof(values[1]));
        a[i] = (double)values[0];
        b[i] = (double)values[1];
    }
    for (size_t n = 0; n <= N_MAX; n++) {
        const double have = fed_singles_distance(x + 1, y + 3, n);
        double want = 0;
        for (size_t i = 0; i < n; i++) {
            want = fabs(a[i] - b[i]) > want ? fabs(a[i] - b[i]) : want;
        }
        assert_memory_equal(&have, &want, sizeof(want));
    }
}

/* Wherever it stands, on either side or on both, and whatever is the largest beside it. */
static void test_no_finite_distance_of_what_is_not_finite(void **state)
{
    static const float bad[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    float x[N_MAX];
    float y[N_MAX];

    (void)state;
    fill();
    for (size_t i = 0; i < N_MAX; i++) {
        x[i] = i % 5 == 0 ? 3.4028235e38F : (float)a[i];
        y[i] = i % 7 == 0 ? -3.4028235e38F : (float)b[i];
    }
    for (size_t n = 0; n <= N_MAX; n++) {
        assert_true(isfinite(fed_singles_distance((uint8_t *)x, (uint8_t *)y, n)) != 0);
        for (size_t i = 0; i < n; i++) {
            const float was[] = {x[i], y[i]};
            x[i] = (n + i) % 4 == 3 ? x[i] : bad[(n + i) % 4];
            y[i] = (n + i) % 4 == 3 ? bad[i % 3] : i % 2 == 0 ? x[i] : y[i];
            assert_true(isfinite(fed_singles_distance((uint8_t *)x, (uint8_t *)y, n)) == 0);
            x[i] = was[0];
            y[i] = was[1];
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_wherever_they_stand),
        cmocka_unit_test(test_singles_as_they_lie),
        cmocka_unit_test(test_the_largest),
        cmocka_unit_test(test_singles_apart),
        cmocka_unit_test(test_no_finite_distance_of_what_is_not_finite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
