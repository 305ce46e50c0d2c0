#include "client/train/cnn/softmax.h"

#include <math.h>

#include "client/train/cnn/cnn_kernel.h"

/* e^x for x <= 0: x = k ln 2 + r with |r| <= ln 2 / 2, and Taylor's series of e^r to r^13
 * (remainder below 5e-18). ln 2 in two parts (Cody and Waite), so that k ln 2 is exact enough. */
static double exp_negative(double x)
{
    static const double ln2_high = 0x1.62e42fee00000p-1;
    static const double ln2_low = 0x1.a39ef35793c76p-33;
    double sum = 1;

    if (x < -700) {
        return 0;
    }
    const double k = rint(x * 0x1.71547652b82fep+0);
    const double r = (x - k * ln2_high) - k * ln2_low;
    for (int i = 13; i > 0; i--) {
        sum = 1 + sum * r / i;
    }
    return ldexp(sum, (int)k);
}

/* ln x for 1 <= x <= 10: x = m 2^k with m in [sqrt(1/2), sqrt(2)), and ln m as
 * 2 artanh((m - 1) / (m + 1)), a series in a square of at most 0.0295. */
static double log_small(double x)
{
    int k = 0;
    double m = frexp(x, &k);

    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        k--;
    }
    const double s = (m - 1) / (m + 1);
    double sum = 0;
    for (int i = 21; i > 0; i -= 2) {
        sum = sum * (s * s) + 1.0 / i;
    }
    return 2 * s * sum + k * 0x1.62e42fefa39efp-1;
}

float softmax_cross_entropy(const float *logits,
                            const uint8_t *labels,
                            size_t n,
                            float *ret_gradient)
{
    double loss = 0;

    for (size_t i = 0; i < n; i++) {
        const float *o = logits + i * CNN_CLASSES;
        double e[CNN_CLASSES];
        double sum = 0;
        float max = o[0];

        for (int j = 1; j < CNN_CLASSES; j++) {
            max = o[j] > max ? o[j] : max;
        }
        for (int j = 0; j < CNN_CLASSES; j++) {
            e[j] = exp_negative((double)o[j] - (double)max);
            sum += e[j];
        }
        for (int j = 0; j < CNN_CLASSES; j++) {
            const double target = j == labels[i] ? 1 : 0;

            ret_gradient[i * CNN_CLASSES + (size_t)j] = (float)((e[j] / sum - target) / (double)n);
        }
        loss += log_small(sum) + (double)max - (double)o[labels[i]];
    }
    return (float)(loss / (double)n);
}
