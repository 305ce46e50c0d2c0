#include "common/model/values.h"

#include <math.h>

#include "common/model/vectors.h"

#define LANES 8U

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

static double highest(const double lanes[LANES])
{
    double most = 0;

    for (size_t k = 0; k < LANES; k++) {
        most = lanes[k] > most ? lanes[k] : most;
    }
    return most;
}

FED_VECTORS double fed_values_magnitude(const double *values, size_t n)
{
    double most[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            const double value = fabs(values[i + k]);
            most[k] = value > most[k] ? value : most[k];
        }
    }
    for (; i < n; i++) {
        const double value = fabs(values[i]);
        most[0] = value > most[0] ? value : most[0];
    }
    return highest(most);
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
