/* The partial sum of one combiner, as a file: what PutPartial carries (round protocol, section 6).
 *
 *   "CONFEDP2" · u64 header size · header · int64 sums, tensor order · digest of all before it
 *
 * The digest is XXH3's of 128 bits: it finds what a disk or a wire did to the bytes. Who made them
 * is known from the connection they came by.
 *
 * Numbers are little-endian, texts u16 length and bytes. A partial without entries has no sums.
 * Blocks on disk: worker only.
 */
#ifndef FED_COMMON_LINK_PARTIAL_H
#define FED_COMMON_LINK_PARTIAL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/spare.h"
#include "common/link/link.h"

struct fed_partial {
    char round_id[FED_ROUND_ID_SIZE];
    char combiner_id[FED_ID_SIZE];
    uint64_t plan_seq;
    uint8_t base_sha256[FED_SHA256_SIZE];
    int32_t *scale_bits; /* (n_tensors,) owned */
    size_t n_tensors;
    uint64_t n_params;
    uint64_t sum_examples;
    struct fed_entry *entries; /* (n_entries,) owned, sorted by client_id */
    size_t n_entries;
    uint8_t digest[FED_DIGEST_SIZE]; /* the trailer */
    uint64_t load_us; /* what it cost the combiner, told beside the file: PartialChunk */
    uint64_t sum_us;
};

void fed_partial_deinit(struct fed_partial *partial);

/* Write the file (temporary name, rename) and set partial->digest. `sums` (n_params,) may be NULL
 * without entries. Fails with FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int fed_partial_write(const char *path,
                                    struct fed_partial *partial,
                                    const int64_t *sums,
                                    struct fed_err *err);

/* The same, while somebody reads it already: `grown(arg, file, size)` is called, with a rising
 * size, when so many bytes of `file` are there. The file has its whole size before the first call,
 * and becomes `path` after the last, which comes before the trailer is written. It may be one of
 * `spare` (may be NULL): what is in a partial counts only with its digest. */
struct fed_partial_hook {
    void (*grown)(void *arg, const char *file, uint64_t size);
    void *arg;
};
FED_NODISCARD int fed_partial_write_with(const char *path,
                                         struct fed_partial *partial,
                                         const int64_t *sums,
                                         struct fed_spare *spare,
                                         const struct fed_partial_hook *hook,
                                         struct fed_err *err);

/* Read the header and verify the hash of the whole file and that the parts agree: sizes, order and
 * uniqueness of entries, the sum of examples. Fails with FED_E_CORRUPT, FED_E_IO, FED_E_NOMEM.
 * The caller deinits *ret_partial. */
FED_NODISCARD int
fed_partial_open(const char *path, struct fed_partial *ret_partial, struct fed_err *err);

/* The same where the hash of all but the trailer is known from writing the file; NULL: it is not.
 */
FED_NODISCARD int fed_partial_open_hashed(const char *path,
                                          const uint8_t *digest,
                                          struct fed_partial *ret_partial,
                                          struct fed_err *err);

/* sums[i] += the file's. The file must have passed fed_partial_open(). */
FED_NODISCARD int fed_partial_add(const char *path,
                                  const struct fed_partial *partial,
                                  int64_t *sums,
                                  struct fed_err *err);

/* Map the file's sums, which must have passed fed_partial_open(): sum i is in the 8 bytes at
 * *ret_sums + 8 * i, little-endian. None (0 bytes are mapped) without entries. The caller closes
 * the map. Fails with FED_E_CORRUPT (the file has changed), FED_E_IO, FED_E_NOT_FOUND. */
FED_NODISCARD int fed_partial_map(const char *path,
                                  const struct fed_partial *partial,
                                  struct fed_map *ret_map,
                                  const uint8_t **ret_sums,
                                  struct fed_err *err);

/* sums[i] += that of the bytes. Defined also where it overflows, which no honest sum does. */
void fed_partial_add_bytes(int64_t *sums, const uint8_t *bytes, size_t n);

/* The id of the model these entries (sorted by client_id) give: same contents, same id. */
void fed_model_id(const char *round_id,
                  const char *base_model_id,
                  const char *strategy,
                  const struct fed_entry *entries,
                  size_t n_entries,
                  char ret_id[FED_ID_SIZE]);

#endif /* FED_COMMON_LINK_PARTIAL_H */
