#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/train/cnn/softmax.h"

/* libm is exact enough to judge float32 results. */
static void check_against_libm(const float *logits, uint8_t label)
{
    float gradient[10];
    double sum = 0;
    const float loss = softmax_cross_entropy(logits, &label, 1, gradient);

    for (int i = 0; i < 10; i++) {
        sum += exp((double)logits[i] - (double)logits[9]);
    }
    for (int i = 0; i < 10; i++) {
        const double want = exp((double)logits[i] - (double)logits[9]) / sum - (i == label);

        assert_true(fabs((double)gradient[i] - want) <= 1e-7 * fmax(fabs(want), 1e-30));
    }
    const double want = log(sum) - ((double)logits[label] - (double)logits[9]);
    assert_true(fabs((double)loss - want) <= 1e-7 * fabs(want));
}

static void test_is_what_libm_gives(void **state)
{
    float logits[10];

    (void)state;
    for (int spread = 0; spread < 60; spread++) {
        for (int i = 0; i < 10; i++) {
            logits[i] = (float)((i * 7 + spread) % 10 - 5) * (float)spread * 0.1F;
        }
        for (uint8_t label = 0; label < 10; label += 3) {
            check_against_libm(logits, label);
        }
    }
}

static void test_extremes_stay_finite(void **state)
{
    const float logits[10] = {3e38F, -3e38F, 0, 1, 2, 3, 4, 5, 6, 7};
    float gradient[10];
    const uint8_t label = 1;

    (void)state;
    (void)softmax_cross_entropy(logits, &label, 1, gradient);
    for (int i = 0; i < 10; i++) {
        assert_true(isfinite(gradient[i]));
    }
    assert_true(fabsf(gradient[0] - 1) < 1e-7F);
    assert_true(fabsf(gradient[1] + 1) < 1e-7F);
}

static void test_mean_over_images(void **state)
{
    const float logits[20] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const uint8_t labels[2] = {4, 9};
    float gradient[20];

    (void)state;
    assert_true(fabsf(softmax_cross_entropy(logits, labels, 2, gradient) - 2.302585093F) < 1e-6F);
    assert_true(fabsf(gradient[4] + 0.45F) < 1e-7F);
    assert_true(fabsf(gradient[10] - 0.05F) < 1e-8F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_what_libm_gives),
        cmocka_unit_test(test_extremes_stay_finite),
        cmocka_unit_test(test_mean_over_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
