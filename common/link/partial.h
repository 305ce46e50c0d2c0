/* The partial sum of one combiner, as a file: what PutPartial carries (round protocol, section 6).
 *
 *   "CONFEDP3" · u64 header size · header · a width each block · packed blocks, tensor order ·
 *   digest of all before it
 *
 * Blocks and widths are packing.h's: a byte each, how many bytes a sum of it takes.
 *
 * The digest is XXH3's of 128 bits: it finds what a disk or a wire did to the bytes. Who made them
 * is known from the connection they came by.
 *
 * Numbers are little-endian, texts u16 length and bytes. A partial without entries has no blocks.
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

/* The most that the sums of so many parameters take in the file. */
uint64_t fed_partial_body_max(uint64_t n_params);

/* Read the header and verify the hash of the whole file and that the parts agree: sizes, widths,
 * order and uniqueness of entries, the sum of examples. Fails with FED_E_CORRUPT, FED_E_IO,
 * FED_E_NOMEM. The caller deinits *ret_partial. */
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

/* The sums of a partial, mapped: any of them without the others. */
struct fed_partial_sums {
    struct fed_map map;
    const uint8_t *widths; /* (n_blocks,) in the map */
    const uint8_t *blocks; /* in the map */
    uint64_t *starts;      /* (n_blocks,) bytes from `blocks` on; owned */
    uint64_t n;            /* sums; 0 without entries */
};

/* The file must have passed fed_partial_open(). The caller closes *ret_sums. Fails with
 * FED_E_CORRUPT (the file has changed), FED_E_IO, FED_E_NOT_FOUND, FED_E_NOMEM. */
FED_NODISCARD int fed_partial_map(const char *path,
                                  const struct fed_partial *partial,
                                  struct fed_partial_sums *ret_sums,
                                  struct fed_err *err);
void fed_partial_unmap(struct fed_partial_sums *sums); /* idempotent */

/* io_sums[i] += sum `first` + i, n of them, which are there. Any thread. Defined also where it
 * overflows, which no honest sum does. */
void fed_partial_sums_add(const struct fed_partial_sums *sums,
                          uint64_t first,
                          size_t n,
                          int64_t *io_sums);

/* The id of the model these entries (sorted by client_id) give: same contents, same id. */
void fed_model_id(const char *round_id,
                  const char *base_model_id,
                  const char *strategy,
                  const struct fed_entry *entries,
                  size_t n_entries,
                  char ret_id[FED_ID_SIZE]);

#endif /* FED_COMMON_LINK_PARTIAL_H */
