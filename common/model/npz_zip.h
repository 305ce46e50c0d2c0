/* The ZIP around the members that we write: stored, sizes and CRC-32 in the local headers, a fixed
 * date. For the files that write NPZ.
 *
 * Pure functions, any thread.
 */
#ifndef FED_COMMON_MODEL_NPZ_ZIP_H
#define FED_COMMON_MODEL_NPZ_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define NPZ_LOCAL_MAX (30U + 16U + 20U) /* bytes of a local header */

struct npz_written {
    size_t index; /* "INDEX.npy" */
    uint64_t local_offset;
    uint64_t size; /* of the NPY array, its header included */
    uint32_t crc;  /* of the same */
};

/* The member's local header; returns its size, which does not depend on the CRC-32. */
size_t npz_zip_local(const struct npz_written *member, uint8_t ret_bytes[NPZ_LOCAL_MAX]);

/* Append the member to the central directory. Fails with FED_E_NOMEM. */
FED_NODISCARD int
npz_zip_add(struct fed_buf *directory, const struct npz_written *member, struct fed_err *err);

/* Append what ends the file to the directory, which begins at `offset`. Fails with FED_E_NOMEM. */
FED_NODISCARD int
npz_zip_end(struct fed_buf *directory, size_t n_members, uint64_t offset, struct fed_err *err);

#endif /* FED_COMMON_MODEL_NPZ_ZIP_H */
