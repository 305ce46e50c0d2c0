/* What a model looks like: its tensors' dtypes and shapes, in order. */
#ifndef FED_COMMON_MODEL_LAYOUT_H
#define FED_COMMON_MODEL_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define FED_TENSORS_MAX  4096U
#define FED_RANK_MAX     8U
#define FED_ELEMENTS_MAX (1ULL << 33) /* scalars of a model */

enum fed_dtype {
    FED_DTYPE_F2,
    FED_DTYPE_F4,
    FED_DTYPE_F8,
    FED_DTYPE_I1,
    FED_DTYPE_I2,
    FED_DTYPE_I4,
    FED_DTYPE_I8,
    FED_DTYPE_U1,
    FED_DTYPE_U2,
    FED_DTYPE_U4,
    FED_DTYPE_U8,
    FED_DTYPE_MAX,
};

size_t fed_dtype_size(enum fed_dtype dtype);      /* bytes of one element */
const char *fed_dtype_name(enum fed_dtype dtype); /* "f4" */
bool fed_dtype_is_float(enum fed_dtype dtype);

struct fed_tensor {
    enum fed_dtype dtype;
    bool is_big_endian; /* as stored; a layout that is written has neither of these two */
    bool is_fortran;
    uint32_t rank;
    uint64_t shape[FED_RANK_MAX];
    uint64_t n_elements; /* product of the shape; 1 for a scalar */
    uint64_t offset;     /* elements of the tensors before it */
};

struct fed_layout {
    struct fed_tensor *tensors; /* (n_tensors,) owned */
    size_t n_tensors;
    uint64_t n_elements; /* of all tensors */
};

void fed_layout_deinit(struct fed_layout *layout);

/* "(64,32,5,5)" */
void fed_shape_format(const struct fed_tensor *tensor, char *ret_text, size_t text_size);

/* The little-endian C-order bytes of `n` elements as doubles. Unaligned input is fine.
 * False when a 64-bit integer is beyond 2^53 and would lose bits. */
FED_NODISCARD bool
fed_dtype_decode(const struct fed_tensor *tensor, const void *bytes, size_t n, double *ret_values);

/* Doubles to little-endian bytes of `dtype`, each rounded once: floats to nearest even, integers by
 * rint() and held within the type. */
void fed_dtype_encode(enum fed_dtype dtype, const double *values, size_t n, void *ret_bytes);

#endif /* FED_COMMON_MODEL_LAYOUT_H */
