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

static double highest(const double lanes[LANES])
{
    double most = 0;

    for (size_t k = 0; k < LANES; k++) {
        most = lanes[k] > most ? lanes[k] : most;
    }
    return most;
}

/* Without their sign finite values rise as their bits do, and of integers the compiler finds the
 * highest in vectors. */
FED_VECTORS double fed_values_magnitude(const double *values, size_t n)
{
    int64_t most = 0;
    double magnitude;

    for (size_t i = 0; i < n; i++) {
        int64_t bits;
        memcpy(&bits, values + i, sizeof(bits));
        bits &= INT64_MAX;
        most = bits > most ? bits : most;
    }
    memcpy(&magnitude, &most, sizeof(magnitude));
    return magnitude;
}

FED_VECTORS double fed_values_distance(const double *a, const double *b, size_t n)
{
    double most[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            const double value = fabs(a[i + k] - b[i + k]);
            most[k] = value > most[k] ? value : most[k];
        }
    }
    for (; i < n; i++) {
        const double value = fabs(a[i] - b[i]);
        most[0] = value > most[0] ? value : most[0];
    }
    return highest(most);
}

FED_VECTORS double fed_singles_distance(const uint8_t *a, const uint8_t *b, size_t n)
{
    double most[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            const double value =
                fabs(fed_single_at(a + 4 * (i + k)) - fed_single_at(b + 4 * (i + k)));
            most[k] = value > most[k] ? value : most[k];
        }
    }
    for (; i < n; i++) {
        const double value = fabs(fed_single_at(a + 4 * i) - fed_single_at(b + 4 * i));
        most[0] = value > most[0] ? value : most[0];
    }
    return highest(most);
}
