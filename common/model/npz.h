/* NPZ files: a model as a ZIP archive of NPY arrays `0.npy … n-1.npy` (NumPy's format; ZIP after
 * PKWARE's APPNOTE 6.3.10, sections 4.3.7-4.3.16; NPY versions 1 to 3 after NEP 1).
 *
 * Reading takes nothing on trust: the end record and the central directory are found and bounded,
 * every member is matched with its local header, NPY headers are parsed and never evaluated, sizes,
 * ratios and offsets are checked before memory is taken, CRC-32 after. Memory does not grow with
 * the model: members are read in blocks.
 *
 * Thread safety: one thread at a time. Blocks on disk: call from a worker.
 */
#ifndef FED_COMMON_MODEL_NPZ_H
#define FED_COMMON_MODEL_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/model/layout.h"

#define FED_NPZ_BLOCK 1024U /* most values given to a callback at once: what the L1 cache holds */

/* Outcomes: what is wrong with a file. The text of *err names the member and what was expected. */
enum fed_model_fault {
    FED_FAULT_NONE = 0,
    FED_FAULT_MALFORMED,    /* no ZIP, no NPY, members that do not fit together, bad names */
    FED_FAULT_CHECKSUM,     /* CRC-32 */
    FED_FAULT_COUNT,        /* more or fewer tensors than the base */
    FED_FAULT_SHAPE,        /* another shape */
    FED_FAULT_DTYPE,        /* object, record, text, complex, bool */
    FED_FAULT_NOT_FINITE,   /* NaN, infinity */
    FED_FAULT_OUT_OF_RANGE, /* beyond the fixed point, or a 64-bit integer beyond 2^53 */
    FED_FAULT_TOO_LARGE,    /* larger than the limits */
};

struct fed_npz_limits {
    uint64_t file_size_max; /* bytes */
    uint64_t elements_max;  /* scalars, at most FED_ELEMENTS_MAX */
};

struct fed_npz;

/* Open and check the structure: all members, their headers, sizes; not yet the values.
 * Returns 0, a fault, or < 0: FED_E_IO, FED_E_NOT_FOUND, FED_E_NOMEM. Free with fed_npz_free(). */
FED_NODISCARD int fed_npz_open(const char *path,
                               const struct fed_npz_limits *limits,
                               struct fed_npz **ret_npz,
                               struct fed_err *err);
struct fed_npz *fed_npz_free(struct fed_npz *npz); /* accepts NULL */
FED_DEFINE_CLEANUP(struct fed_npz, fed_npz_free);

const struct fed_layout *fed_npz_get_layout(const struct fed_npz *npz);

/* All its values have been read before without a fault: from now on they are read without a look at
 * the CRC-32 and at what is finite. */
void fed_npz_trust(struct fed_npz *npz);

/* Use the file's bytes where the page cache has them, from now on. Only a file that nobody makes
 * shorter: reading what is gone ends the process. Fails with FED_E_IO. */
FED_NODISCARD int fed_npz_map(struct fed_npz *npz, struct fed_err *err);

/* Are the tensor's values in the file as they are: stored, little-endian, in C order? Then
 * *ret_offset is where they begin. */
bool fed_npz_is_plain(const struct fed_npz *npz, size_t tensor, uint64_t *ret_offset);

/* The bytes of the values of such a tensor where they lie, in a file that is mapped and trusted;
 * else NULL. Any thread, also while another reads. */
const uint8_t *fed_npz_get_bytes(const struct fed_npz *npz, size_t tensor);

/* `n` values of the tensor from element `index` (C order) on; borrowed. Returns 0 to go on, a fault
 * or a failure to stop with that. */
typedef int (*fed_npz_values_fn)(void *arg,
                                 uint64_t index,
                                 const double *values,
                                 size_t n,
                                 struct fed_err *err);

/* Read one tensor. In C order the indices rise without gaps; a Fortran-order array of rank >= 2
 * comes value by value. Every value is finite. The checksum is known only at the end: a fault after
 * callbacks means that all of them were worthless.
 * Returns 0, a fault (CHECKSUM, MALFORMED, NOT_FINITE, OUT_OF_RANGE, the callback's), or < 0. */
FED_NODISCARD int fed_npz_read(struct fed_npz *npz,
                               size_t tensor,
                               fed_npz_values_fn fn,
                               void *arg,
                               struct fed_err *err);

/* Is the tensor float32, stored, little-endian, in C order? Then the values of its file can be had
 * as they lie there, 4 bytes each: nothing is decoded or copied. */
bool fed_npz_has_singles(const struct fed_npz *npz, size_t tensor);
typedef int (*fed_npz_singles_fn)(void *arg,
                                  uint64_t index,
                                  const uint8_t *bytes,
                                  size_t n,
                                  struct fed_err *err);

/* fed_npz_read() of such a tensor: the same blocks, checks and outcomes, but that `fn` looks for
 * what is not finite, in the pass over a block that it makes anyhow: unless the file is trusted, it
 * returns FED_FAULT_NOT_FINITE where fed_singles_are_finite() is false. The words are found here.
 */
FED_NODISCARD int fed_npz_read_singles(struct fed_npz *npz,
                                       size_t tensor,
                                       fed_npz_singles_fn fn,
                                       void *arg,
                                       struct fed_err *err);

/* Does a model of this layout fit the base? Number and shapes must be equal; the dtype may differ.
 * Returns 0, FED_FAULT_COUNT or FED_FAULT_SHAPE. */
FED_NODISCARD int fed_layout_match(const struct fed_layout *layout,
                                   const struct fed_layout *base,
                                   struct fed_err *err);

/* -- writing ---------------------------------------------------------------------------------- */

struct fed_npz_writer;

/* Write to an open, empty, seekable file (borrowed). The bytes depend on the content alone.
 * Fails with FED_E_NOMEM. */
FED_NODISCARD int
fed_npz_writer_new(int fd, struct fed_npz_writer **ret_writer, struct fed_err *err);
struct fed_npz_writer *fed_npz_writer_free(struct fed_npz_writer *writer); /* accepts NULL */
FED_DEFINE_CLEANUP(struct fed_npz_writer, fed_npz_writer_free);

/* Start the next tensor (dtype, rank and shape of it count), give all its values in C order, each
 * rounded once to the dtype, then start the next or finish. */
FED_NODISCARD int fed_npz_writer_begin(struct fed_npz_writer *writer,
                                       const struct fed_tensor *tensor,
                                       struct fed_err *err);
FED_NODISCARD int fed_npz_writer_add(struct fed_npz_writer *writer,
                                     const double *values,
                                     size_t n,
                                     struct fed_err *err);
FED_NODISCARD int fed_npz_writer_finish(struct fed_npz_writer *writer, struct fed_err *err);

/* -- writing in runs: the same bytes, by several threads ----------------------------------------
 */

#define FED_NPZ_RUN 65536U /* most elements of a run: what the L2 cache holds */

struct fed_npz_runs;

struct fed_npz_run {
    size_t tensor;
    uint64_t first; /* element, C order */
    size_t n;       /* > 0 */
};

/* Write a model of this layout (dtype, rank and shape of its tensors count) to an open, empty file
 * (borrowed). Fails with FED_E_NOMEM. */
FED_NODISCARD int fed_npz_runs_new(int fd,
                                   const struct fed_layout *layout,
                                   struct fed_npz_runs **ret_runs,
                                   struct fed_err *err);
struct fed_npz_runs *fed_npz_runs_free(struct fed_npz_runs *runs); /* accepts NULL */
FED_DEFINE_CLEANUP(struct fed_npz_runs, fed_npz_runs_free);

/* The runs are in the order of the file. Any thread. */
size_t fed_npz_runs_count(const struct fed_npz_runs *runs);
struct fed_npz_run fed_npz_runs_get(const struct fed_npz_runs *runs, size_t i);

/* Write run i: its elements as they are to lie in the file, little-endian. Any thread, each run
 * once. Fails with FED_E_IO. */
FED_NODISCARD int
fed_npz_runs_put(struct fed_npz_runs *runs, size_t i, const void *bytes, struct fed_err *err);

/* After all runs, on one thread: the headers and the directory. */
FED_NODISCARD int fed_npz_runs_finish(struct fed_npz_runs *runs, struct fed_err *err);

#endif /* FED_COMMON_MODEL_NPZ_H */
