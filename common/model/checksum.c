#include "common/model/checksum.h"

#include <assert.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <openssl/evp.h>

#include "common/base/file.h"

#define READ_SIZE  65536
#define PIECE_SIZE ((size_t)16 << 10) /* half of a first-level cache */

struct fed_sha256 {
    EVP_MD_CTX *context;
};

int fed_sha256_new(struct fed_sha256 **ret_hash, struct fed_err *err)
{
    struct fed_sha256 *hash = calloc(1, sizeof(*hash));

    if (hash != NULL) {
        hash->context = EVP_MD_CTX_new();
    }
    if (hash == NULL || hash->context == NULL ||
        EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        (void)fed_sha256_free(hash);
        return fed_err_set(err, FED_E_NOMEM, "SHA-256");
    }
    *ret_hash = hash;
    return 0;
}

struct fed_sha256 *fed_sha256_free(struct fed_sha256 *hash)
{
    if (hash != NULL) {
        EVP_MD_CTX_free(hash->context);
        free(hash);
    }
    return NULL;
}

void fed_sha256_add(struct fed_sha256 *hash, const void *data, size_t size)
{
    const int rc = EVP_DigestUpdate(hash->context, data, size);
    assert(rc == 1);
}

typedef void (*add_fn)(void *hash, const void *data, size_t size);

static void add_pieces(add_fn add, void *hash, const struct fed_pieces *pieces, size_t size)
{
    for (size_t i = 0; i < pieces->n && size > 0; i++) {
        const size_t n = pieces->views[i].size < size ? pieces->views[i].size : size;
        add(hash, pieces->views[i].data, n);
        size -= n;
    }
}

static void add_to_sha256(void *hash, const void *data, size_t size)
{
    fed_sha256_add(hash, data, size);
}

void fed_sha256_add_pieces(struct fed_sha256 *hash, const struct fed_pieces *pieces, size_t size)
{
    add_pieces(add_to_sha256, hash, pieces, size);
}

void fed_sha256_finish(struct fed_sha256 *hash, uint8_t ret_digest[FED_SHA256_BYTES])
{
    const int rc = EVP_DigestFinal_ex(hash->context, ret_digest, NULL);
    assert(rc == 1);
}

void fed_sha256_once(const void *data, size_t size, uint8_t ret_digest[FED_SHA256_BYTES])
{
    const int rc = EVP_Digest(data, size, ret_digest, NULL, EVP_sha256(), NULL);
    assert(rc == 1);
}

/* Add the bytes of a whole file, in pieces. */
static int
add_file(const char *path, add_fn add, void *hash, uint64_t *ret_size, struct fed_err *err)
{
    uint8_t block[READ_SIZE];
    uint64_t size = 0;
    ssize_t n = 1;
    int rc = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return fed_file_error(err, "open", path);
    }
    while (rc == 0 && n > 0) {
        n = read(fd, block, sizeof(block));
        if (n > 0) {
            add(hash, block, (size_t)n);
            size += (uint64_t)n;
        } else if (n < 0) {
            rc = fed_file_error(err, "read", path);
        }
    }
    (void)close(fd);
    *ret_size = rc == 0 ? size : *ret_size;
    return rc;
}

int fed_sha256_file(const char *path,
                    uint8_t ret_digest[FED_SHA256_BYTES],
                    uint64_t *ret_size,
                    struct fed_err *err)
{
    struct fed_sha256 *hash = NULL;
    int rc = fed_sha256_new(&hash, err);

    rc = rc < 0 ? rc : add_file(path, add_to_sha256, hash, ret_size, err);
    if (rc == 0) {
        fed_sha256_finish(hash, ret_digest);
    }
    (void)fed_sha256_free(hash);
    return rc;
}

int fed_xxh128_new(struct fed_xxh128 **ret_hash, struct fed_err *err)
{
    XXH3_state_t *state = XXH3_createState(); /* aligned as it wants to be */

    if (state == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "XXH3");
    }
    (void)XXH3_128bits_reset(state);
    *ret_hash = (struct fed_xxh128 *)state;
    return 0;
}

struct fed_xxh128 *fed_xxh128_free(struct fed_xxh128 *hash)
{
    (void)XXH3_freeState((XXH3_state_t *)hash);
    return NULL;
}

void fed_xxh128_add(struct fed_xxh128 *hash, const void *data, size_t size)
{
    (void)XXH3_128bits_update((XXH3_state_t *)hash, data, size);
}

static void add_to_xxh128(void *hash, const void *data, size_t size)
{
    fed_xxh128_add(hash, data, size);
}

void fed_xxh128_add_pieces(struct fed_xxh128 *hash, const struct fed_pieces *pieces, size_t size)
{
    add_pieces(add_to_xxh128, hash, pieces, size);
}

static void put_xxh128(XXH128_hash_t hash, uint8_t ret_digest[FED_XXH128_BYTES])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(ret_digest, canonical.digest, FED_XXH128_BYTES);
}

void fed_xxh128_finish(const struct fed_xxh128 *hash, uint8_t ret_digest[FED_XXH128_BYTES])
{
    put_xxh128(XXH3_128bits_digest((const XXH3_state_t *)hash), ret_digest);
}

void fed_xxh128_once(const void *data, size_t size, uint8_t ret_digest[FED_XXH128_BYTES])
{
    put_xxh128(XXH3_128bits(data, size), ret_digest);
}

int fed_xxh128_file(const char *path,
                    uint8_t ret_digest[FED_XXH128_BYTES],
                    uint64_t *ret_size,
                    struct fed_err *err)
{
    struct fed_xxh128 *hash = NULL;
    int rc = fed_xxh128_new(&hash, err);

    rc = rc < 0 ? rc : add_file(path, add_to_xxh128, hash, ret_size, err);
    if (rc == 0) {
        fed_xxh128_finish(hash, ret_digest);
    }
    (void)fed_xxh128_free(hash);
    return rc;
}

int fed_both_once(const void *data,
                  size_t size,
                  uint8_t ret_sha256[FED_SHA256_BYTES],
                  uint8_t ret_xxh128[FED_XXH128_BYTES],
                  struct fed_err *err)
{
    const uint8_t *bytes = data;
    struct fed_sha256 *sha256 = NULL;
    struct fed_xxh128 *xxh128 = NULL;
    int rc = fed_sha256_new(&sha256, err);

    rc = rc < 0 ? rc : fed_xxh128_new(&xxh128, err);
    for (size_t at = 0; at < size && rc == 0; at += PIECE_SIZE) {
        const size_t n = size - at < PIECE_SIZE ? size - at : PIECE_SIZE;
        fed_sha256_add(sha256, bytes + at, n);
        fed_xxh128_add(xxh128, bytes + at, n);
    }
    if (rc == 0) {
        fed_sha256_finish(sha256, ret_sha256);
        fed_xxh128_finish(xxh128, ret_xxh128);
    }
    (void)fed_sha256_free(sha256);
    (void)fed_xxh128_free(xxh128);
    return rc;
}

uint32_t fed_crc32(uint32_t crc, const void *data, size_t size)
{
    return crc32_gzip_refl(crc, data, size);
}
