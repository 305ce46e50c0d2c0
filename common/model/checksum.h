/* SHA-256 (FIPS 180-4), XXH3 (128 bits, xxHash 0.8) and CRC-32 (ISO-HDLC, as in ZIP), by OpenSSL,
 * libxxhash and ISA-L. Any thread. */
#ifndef FED_COMMON_MODEL_CHECKSUM_H
#define FED_COMMON_MODEL_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/view.h"

#define FED_SHA256_BYTES 32
#define FED_XXH128_BYTES 16

struct fed_sha256; /* a hash in the making */

/* Fails with FED_E_NOMEM. Free with fed_sha256_free(). */
FED_NODISCARD int fed_sha256_new(struct fed_sha256 **ret_hash, struct fed_err *err);
struct fed_sha256 *fed_sha256_free(struct fed_sha256 *hash); /* accepts NULL */
void fed_sha256_add(struct fed_sha256 *hash, const void *data, size_t size);

/* The first `size` bytes of the pieces. */
void fed_sha256_add_pieces(struct fed_sha256 *hash, const struct fed_pieces *pieces, size_t size);
void fed_sha256_finish(struct fed_sha256 *hash, uint8_t ret_digest[FED_SHA256_BYTES]);

void fed_sha256_once(const void *data, size_t size, uint8_t ret_digest[FED_SHA256_BYTES]);

/* Hash a whole file, in pieces. Blocks. Fails as fed_file_*; *ret_size is its length in bytes. */
FED_NODISCARD int fed_sha256_file(const char *path,
                                  uint8_t ret_digest[FED_SHA256_BYTES],
                                  uint64_t *ret_size,
                                  struct fed_err *err);

/* XXH3, in its canonical (big-endian) form: finds damage at the speed of memory, ten times that of
 * SHA-256. It says nothing about who made the bytes. */
struct fed_xxh128;

/* Fails with FED_E_NOMEM. Free with fed_xxh128_free(). */
FED_NODISCARD int fed_xxh128_new(struct fed_xxh128 **ret_hash, struct fed_err *err);
struct fed_xxh128 *fed_xxh128_free(struct fed_xxh128 *hash); /* accepts NULL */
void fed_xxh128_add(struct fed_xxh128 *hash, const void *data, size_t size);

/* The first `size` bytes of the pieces. */
void fed_xxh128_add_pieces(struct fed_xxh128 *hash, const struct fed_pieces *pieces, size_t size);
void fed_xxh128_finish(const struct fed_xxh128 *hash, uint8_t ret_digest[FED_XXH128_BYTES]);

void fed_xxh128_once(const void *data, size_t size, uint8_t ret_digest[FED_XXH128_BYTES]);

/* As fed_sha256_file(). */
FED_NODISCARD int fed_xxh128_file(const char *path,
                                  uint8_t ret_digest[FED_XXH128_BYTES],
                                  uint64_t *ret_size,
                                  struct fed_err *err);

/* SHA-256 and XXH3 of the same bytes, read once: each piece is in the cache for the second. Fails
 * with FED_E_NOMEM. */
FED_NODISCARD int fed_both_once(const void *data,
                                size_t size,
                                uint8_t ret_sha256[FED_SHA256_BYTES],
                                uint8_t ret_xxh128[FED_XXH128_BYTES],
                                struct fed_err *err);

/* Continue `crc` (0 at the start) over more bytes. */
uint32_t fed_crc32(uint32_t crc, const void *data, size_t size);

#endif /* FED_COMMON_MODEL_CHECKSUM_H */
