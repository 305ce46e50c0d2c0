/* What is looked for in a block of values, eight at a time: every update is read by these.
 *
 * Pure functions, any thread. Cost: O(n), no allocation.
 */
#ifndef FED_COMMON_MODEL_VALUES_H
#define FED_COMMON_MODEL_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Neither a NaN nor an infinity among them. */
bool fed_values_are_finite(const double *values, size_t n);

/* The same of float32, little-endian, as they lie in a file: at the speed of reading them. */
bool fed_singles_are_finite(const uint8_t *bytes, size_t n);

/* max |value|, of finite values; 0 when there are none. */
double fed_values_magnitude(const double *values, size_t n);

/* max |a - b|, of finite values; 0 when there are none. */
double fed_values_distance(const double *a, const double *b, size_t n);

/* The float32 at any address, as a double: exact. */
static inline double fed_single_at(const uint8_t *bytes)
{
    float value;

    memcpy(&value, bytes, sizeof(value));
    return (double)value;
}

/* The same of float32 as they lie in a file, each taken to a double first. Where a or b are not
 * finite it is not finite either: NaN or infinity. */
double fed_singles_distance(const uint8_t *a, const uint8_t *b, size_t n);

#endif /* FED_COMMON_MODEL_VALUES_H */
