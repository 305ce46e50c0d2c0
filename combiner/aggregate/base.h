/* The base model of a round, checked once: its values by tensor and element, mapped from a file.
 *
 * A model that the reducer has made holds its values as they are wanted: its own file is mapped. Of
 * any other (compressed, big-endian, Fortran order) a raw file is made: the values in the model's
 * own dtypes, little-endian, C order, tensor after tensor; anew each time (a former process may
 * have left half of one).
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
    uint64_t *offsets;        /* (n_tensors,) bytes in the mapped file, owned */
    struct fed_map map;
};

/* Map the model file at `path`, or what is decoded of it to `raw_path`. Its bytes are known to be
 * the ones that are meant (XXH3); its values are checked. Returns 0, an enum fed_model_fault, or
 * < 0: FED_E_IO, FED_E_NOT_FOUND, FED_E_NOMEM. */
FED_NODISCARD int base_open(const char *path,
                            const char *raw_path,
                            const struct fed_npz_limits *limits,
                            struct base *ret_base,
                            struct fed_err *err);
void base_close(struct base *base); /* the files stay: the owner removes them */

/* The `n` values from element `index` (C order) of a tensor on; n <= FED_NPZ_BLOCK. */
void base_read(const struct base *base,
               size_t tensor,
               uint64_t index,
               size_t n,
               double *ret_values);

/* Where the values of a float32 tensor lie from element `index` on, 4 bytes each; NULL: it is of
 * another dtype. Good until base_close(). */
const uint8_t *base_singles(const struct base *base, size_t tensor, uint64_t index);

#endif /* COMBINER_AGGREGATE_BASE_H */
