#include "common/model/values.h"

#include <math.h>
#include <string.h>

#include "common/model/vectors.h"

#define LANES    8U
#define EXPONENT 0x7F800000U /* of a float32: all ones in a NaN and an infinity */

FED_VECTORS bool fed_values_are_finite(const double *values, size_t n)
{
    double nothing[LANES] = {0}; /* a NaN or an infinity times 0 is a NaN, and stays one */
    double sum = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            nothing[k] += values[i + k] * 0.0;
        }
    }
    for (; i < n; i++) {
        sum += values[i] * 0.0;
    }
    for (size_t k = 0; k < LANES; k++) {
        sum += nothing[k];
    }
    return !isnan(sum);
}

FED_VECTORS bool fed_singles_are_finite(const uint8_t *bytes, size_t n)
{
    uint32_t found = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, bytes + 4 * i, sizeof(bits));
        found |= (bits & EXPONENT) == EXPONENT ? 1U : 0U;
    }
    return found == 0;
}

/* The bits of |value|: among values they rise as these do, an infinity is above them and a NaN
 * above all; and of integers the compiler finds the highest in vectors. */
static inline int64_t magnitude_bits(double value)
{
    int64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits & INT64_MAX;
}

static inline double value_of_bits(int64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

FED_VECTORS double fed_values_magnitude(const double *values, size_t n)
{
    int64_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const int64_t bits = magnitude_bits(values[i]);
        most = bits > most ? bits : most;
    }
    return value_of_bits(most);
}

FED_VECTORS double fed_values_distance(const double *a, const double *b, size_t n)
{
    int64_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const int64_t bits = magnitude_bits(a[i] - b[i]);
        most = bits > most ? bits : most;
    }
    return value_of_bits(most);
}

FED_VECTORS double fed_singles_distance(const uint8_t *a, const uint8_t *b, size_t n)
{
    int64_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const int64_t bits = magnitude_bits(fed_single_at(a + 4 * i) - fed_single_at(b + 4 * i));
        most = bits > most ? bits : most;
    }
    return value_of_bits(most);
}
