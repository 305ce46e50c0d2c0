/* A new model from its base and the partial sums: new value = base + sum / examples, every tensor,
 * in one pass that several threads share.
 *
 * Runs of elements go through the processor's caches once: sums added, the values formed, encoded,
 * checked off with CRC-32 and written. Which thread made what doesn't show in the file. Memory: a
 * run a thread, and a whole tensor where the base has it in Fortran order.
 *
 * Blocks on disk: worker only.
 */
#ifndef REDUCER_MAKING_H
#define REDUCER_MAKING_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/link/partial.h"
#include "common/model/npz.h"

#define MAKING_THREADS_MAX 4U

struct making_sums {
    const struct fed_partial_sums *const *parts; /* (n_parts,) each of all elements */
    size_t n_parts;
    uint64_t examples;
    const int32_t *scale_bits; /* (n_tensors,) */
};

/* Write the model to an open, empty file. A base that is mapped and trusted is read by all threads
 * where its tensors are plain; the rest of it is read by the calling one.
 * Sets ret_exponents[n_tensors]: fed_exact_exponent() of each float tensor as written, -1 of the
 * others. Fails with FED_E_CORRUPT (the base), FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int making_write(struct fed_npz *base,
                               const struct making_sums *sums,
                               int fd,
                               int32_t *ret_exponents,
                               struct fed_err *err);

#endif /* REDUCER_MAKING_H */
