/* What is looked for in a block of values, eight at a time: every update is read by these.
 *
 * Pure functions, any thread. Cost: O(n), no allocation.
 */
#ifndef FED_COMMON_MODEL_VALUES_H
#define FED_COMMON_MODEL_VALUES_H

#include <stdbool.h>
#include <stddef.h>

/* Neither a NaN nor an infinity among them. */
bool fed_values_are_finite(const double *values, size_t n);

/* max |value|, of finite values; 0 when there are none. */
double fed_values_magnitude(const double *values, size_t n);

/* max |a - b|, of finite values; 0 when there are none. */
double fed_values_distance(const double *a, const double *b, size_t n);

#endif /* FED_COMMON_MODEL_VALUES_H */
