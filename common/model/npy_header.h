/* The header of an NPY array, parsed and never evaluated. */
#ifndef FED_COMMON_MODEL_NPY_HEADER_H
#define FED_COMMON_MODEL_NPY_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/model/layout.h"

#define FED_NPY_HEADER_MAX 4096U /* bytes, with magic and length */

/* `bytes`: the first bytes of the array, at most FED_NPY_HEADER_MAX. On 0 *ret_tensor (without
 * offset) and *ret_size, the header's length in bytes, are set. Else a fault: FED_FAULT_MALFORMED,
 * FED_FAULT_DTYPE, FED_FAULT_TOO_LARGE. */
FED_NODISCARD int fed_npy_header_parse(const void *bytes,
                                       size_t size,
                                       struct fed_tensor *ret_tensor,
                                       size_t *ret_size,
                                       struct fed_err *err);

/* A version 1.0 header, padded so that the data begins at a multiple of 64; returns its size. */
size_t fed_npy_header_format(const struct fed_tensor *tensor, char ret_bytes[FED_NPY_HEADER_MAX]);

#endif /* FED_COMMON_MODEL_NPY_HEADER_H */
