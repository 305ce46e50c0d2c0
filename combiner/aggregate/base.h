/* The base model of a round, decoded once: its values by tensor and element, mapped from a file.
 *
 * The raw file holds the values in the model's own dtypes, little-endian, C order, tensor after
 * tensor; it is made anew each time (a former process may have left half of one).
 *
 * Thread safety: read-only once open. base_open() blocks: worker only.
 */
#ifndef COMBINER_AGGREGATE_BASE_H
#define COMBINER_AGGREGATE_BASE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/model/layout.h"
#include "common/model/npz.h"

struct base {
    struct fed_layout layout; /* plain: little-endian, C order */
    uint64_t *offsets;        /* (n_tensors,) bytes in the raw file, owned */
    struct fed_map raw;
};

/* Decode the model file at `path` into `raw_path` and map it.
 * Returns 0, an enum fed_model_fault, or < 0: FED_E_IO, FED_E_NOT_FOUND, FED_E_NOMEM. */
FED_NODISCARD int base_open(const char *path,
                            const char *raw_path,
                            const struct fed_npz_limits *limits,
                            struct base *ret_base,
                            struct fed_err *err);
void base_close(struct base *base); /* the raw file stays: the owner removes it */

/* The `n` values from element `index` (C order) of a tensor on; n <= FED_NPZ_BLOCK. */
void base_read(const struct base *base,
               size_t tensor,
               uint64_t index,
               size_t n,
               double *ret_values);

#endif /* COMBINER_AGGREGATE_BASE_H */
