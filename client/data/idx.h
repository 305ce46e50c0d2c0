/* IDX files, MNIST's format: a magic number, sizes (big endian), bytes.
 *
 *   labels  00 00 08 01  n                   n bytes
 *   images  00 00 08 03  n  rows  columns    n * rows * columns bytes
 *
 * Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File
 * formats". Files may be gzipped (RFC 1952) or not; both are told apart by their first bytes.
 * Reading is streamed and bounded: memory is taken for what is wanted, after the header has been
 * checked, and never for what a header claims.
 *
 * Failures name the file, the offset (in the unpacked bytes) and what was expected there:
 * FED_E_INVALID, FED_E_CORRUPT (gzip's checksum), FED_E_NOT_FOUND, FED_E_IO, FED_E_NOMEM.
 *
 * Thread safety: any thread. Blocks: worker only.
 */
#ifndef CLIENT_DATA_IDX_H
#define CLIENT_DATA_IDX_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

#define IDX_ITEMS_MAX 10000000U /* images or labels of one file */

/* One file, read from its beginning to its end. */
struct idx;

/* Open, and read the header. The caller closes. */
FED_NODISCARD int idx_open(const char *path, struct idx **ret_idx, struct fed_err *err);

/* The same for an open file, which the struct takes over, also on failure; `name` is for messages.
 */
FED_NODISCARD int idx_open_fd(int fd, const char *name, struct idx **ret_idx, struct fed_err *err);

struct idx *idx_close(struct idx *idx); /* accepts NULL */
FED_DEFINE_CLEANUP(struct idx, idx_close);

size_t idx_get_count(const struct idx *idx);
size_t
idx_get_item_size(const struct idx *idx); /* bytes: 1 for labels, rows * columns for images */

/* Read the items called for, and go to the end of the file, where nothing may follow.
 *
 * rows      (n_rows,) ascending, each below idx_get_count(); NULL: all, n_rows = idx_get_count()
 * ret_data  (n_rows, idx_get_item_size()) bytes, the caller's
 *
 * Once for each open file. */
FED_NODISCARD int idx_read(struct idx *idx,
                           const uint32_t *rows,
                           size_t n_rows,
                           uint8_t *ret_data,
                           struct fed_err *err);

#endif /* CLIENT_DATA_IDX_H */
