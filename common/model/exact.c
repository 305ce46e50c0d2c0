#include "common/model/exact.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "common/model/values.h"
#include "common/model/vectors.h"

/* Adding 1.5 * 2^52 leaves a double of |s| <= 2^51 rounded to an integer, half to even, in the low
 * bits: rint() and the conversion in one addition that every compiler can put in vectors. */
#define ROUNDER 0x1.8p52
#define LOWEST  (-0x1p51) /* -2^51 - 1/2, which rint() takes there, would leave the binade */

static int64_t quantize(double x, double b, double examples, double scale)
{
    const double difference = x - b;
    const double weighted = examples * difference;
    const double scaled = weighted * scale;
    const double rounded = (scaled < LOWEST ? LOWEST : scaled) + ROUNDER;
    const double rounder = ROUNDER;
    int64_t bits;
    int64_t zero;

    memcpy(&bits, &rounded, sizeof(bits));
    memcpy(&zero, &rounder, sizeof(zero));
    return bits - zero;
}

size_t fed_exact_check(const double *x,
                       const double *b,
                       size_t n,
                       double examples,
                       int32_t scale_bits,
                       uint32_t limit_bits)
{
    const double scale = ldexp(1.0, scale_bits);
    const double limit = ldexp(1.0, (int)limit_bits);

    assert(limit_bits <= 51);
    for (size_t i = 0; i < n; i++) {
        const double difference = x[i] - b[i];
        const double weighted = examples * difference;
        if (!(fabs(rint(weighted * scale)) <= limit)) { /* also when it is not finite */
            return i;
        }
    }
    return n;
}

FED_VECTORS void fed_exact_add(int64_t *sum,
                               const double *x,
                               const double *b,
                               size_t n,
                               double examples,
                               int32_t scale_bits)
{
    const double scale = ldexp(1.0, scale_bits);

    for (size_t i = 0; i < n; i++) {
        sum[i] += quantize(x[i], b[i], examples, scale);
    }
}

FED_VECTORS void fed_exact_subtract(int64_t *sum,
                                    const double *x,
                                    const double *b,
                                    size_t n,
                                    double examples,
                                    int32_t scale_bits)
{
    const double scale = ldexp(1.0, scale_bits);

    for (size_t i = 0; i < n; i++) {
        sum[i] -= quantize(x[i], b[i], examples, scale);
    }
}

FED_VECTORS void fed_exact_add_singles(int64_t *sum,
                                       const uint8_t *x,
                                       const uint8_t *b,
                                       size_t n,
                                       double examples,
                                       int32_t scale_bits)
{
    const double scale = ldexp(1.0, scale_bits);

    for (size_t i = 0; i < n; i++) {
        sum[i] += quantize(fed_single_at(x + 4 * i), fed_single_at(b + 4 * i), examples, scale);
    }
}

FED_VECTORS void fed_exact_subtract_singles(int64_t *sum,
                                            const uint8_t *x,
                                            const uint8_t *b,
                                            size_t n,
                                            double examples,
                                            int32_t scale_bits)
{
    const double scale = ldexp(1.0, scale_bits);

    for (size_t i = 0; i < n; i++) {
        sum[i] -= quantize(fed_single_at(x + 4 * i), fed_single_at(b + 4 * i), examples, scale);
    }
}

/* `value` where the sum isn't 0, else the base, which may be -0: -0 + 0 would be 0. By bits: with a
 * branch in it no compiler makes vectors of the division. */
static double choose(int64_t sum, double value, double b)
{
    const uint64_t mask = sum == 0 ? UINT64_MAX : 0;
    uint64_t value_bits;
    uint64_t b_bits;
    double chosen;

    memcpy(&value_bits, &value, sizeof(value_bits));
    memcpy(&b_bits, &b, sizeof(b_bits));
    value_bits = (value_bits & ~mask) | (b_bits & mask);
    memcpy(&chosen, &value_bits, sizeof(chosen));
    return chosen;
}

FED_VECTORS void fed_exact_finish(double *ret_values,
                                  const int64_t *sum,
                                  const double *b,
                                  size_t n,
                                  double examples,
                                  int32_t scale_bits)
{
    const double divisor = ldexp(1.0, scale_bits) * examples;

    for (size_t i = 0; i < n; i++) {
        const double change = (double)sum[i] / divisor;
        ret_values[i] = choose(sum[i], b[i] + change, b[i]);
    }
}

int32_t fed_exact_exponent(double magnitude)
{
    int exponent = 0;
    const double fraction = frexp(magnitude < 1.0 ? 1.0 : magnitude, &exponent);

    return fraction > 0.5 ? exponent : exponent - 1;
}
