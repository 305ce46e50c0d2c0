/* The exact weighted sum: int64 fixed point, the same bits in any order and grouping.
 *
 *     q = rint(n_k * (x - b) * 2^S)            each step one IEEE double operation, never fused
 *     new value = b + sum(q) / (2^S * sum(n))  formed once, at the end
 *
 * with x a client's value, b the base's, n_k its examples and S the tensor's scale, fixed by the
 * reducer before the first update: S = L - 26 - ceil(log2(max(1, max|b|))) for a float tensor, 0
 * for an integer one; |q| <= 2^L keeps any sum of the asked clients within int64. Integer addition
 * is associative; subtracting an update restores every bit.
 *
 * Pure functions, any thread. Cost: O(n), no allocation.
 */
#ifndef FED_COMMON_MODEL_EXACT_H
#define FED_COMMON_MODEL_EXACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The index of the first value with |q| > 2^limit_bits, or n. limit_bits <= 51. */
size_t fed_exact_check(const double *x,
                       const double *b,
                       size_t n,
                       double examples,
                       int32_t scale_bits,
                       uint32_t limit_bits);

/* sum += q (add) or sum -= q. Every value must have passed fed_exact_check(). */
void fed_exact_add(int64_t *sum,
                   const double *x,
                   const double *b,
                   size_t n,
                   double examples,
                   int32_t scale_bits);
void fed_exact_subtract(int64_t *sum,
                        const double *x,
                        const double *b,
                        size_t n,
                        double examples,
                        int32_t scale_bits);

/* The same of float32, little-endian, as they lie in a file (4 bytes each, at any address): a value
 * taken to a double is exact, so the bits are those of the above. */
void fed_exact_add_singles(int64_t *sum,
                           const uint8_t *x,
                           const uint8_t *b,
                           size_t n,
                           double examples,
                           int32_t scale_bits);
void fed_exact_subtract_singles(int64_t *sum,
                                const uint8_t *x,
                                const uint8_t *b,
                                size_t n,
                                double examples,
                                int32_t scale_bits);

/* The new values; examples is the sum over all updates, > 0. */
void fed_exact_finish(double *ret_values,
                      const int64_t *sum,
                      const double *b,
                      size_t n,
                      double examples,
                      int32_t scale_bits);

/* ceil(log2(max(1, magnitude))) */
int32_t fed_exact_exponent(double magnitude);

#endif /* FED_COMMON_MODEL_EXACT_H */
