#include "common/link/partial.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/num.h"
#include "common/model/checksum.h"
#include "common/model/layout.h"
#include "common/model/packing.h"

#define MAGIC       "CONFEDP3"
#define PREFIX_SIZE 16U
#define HEADER_MAX  ((size_t)64 * 1024 * 1024)
#define PIECE       ((size_t)1024 * 1024) /* bytes written and hashed at once */
#define ENTRY_MIN   14U                   /* bytes of the shortest entry */

void fed_partial_deinit(struct fed_partial *partial)
{
    free(partial->scale_bits);
    free(partial->entries);
    *partial = (struct fed_partial){0};
}

/* -- writing ---------------------------------------------------------------------------------- */

static int add_u64(struct fed_buf *buf, uint64_t value, struct fed_err *err)
{
    uint8_t bytes[8];

    fed_store_le64(bytes, value);
    return fed_buf_add(buf, bytes, sizeof(bytes), err);
}

static int add_text(struct fed_buf *buf, const char *text, struct fed_err *err)
{
    uint8_t bytes[2];
    int rc;

    fed_store_le16(bytes, (uint16_t)strlen(text));
    rc = fed_buf_add(buf, bytes, sizeof(bytes), err);
    return rc < 0 ? rc : fed_buf_add(buf, text, strlen(text), err);
}

static int
encode_header(struct fed_buf *buf, const struct fed_partial *partial, struct fed_err *err)
{
    int rc = add_text(buf, partial->round_id, err);

    rc = rc < 0 ? rc : add_text(buf, partial->combiner_id, err);
    rc = rc < 0 ? rc : add_u64(buf, partial->plan_seq, err);
    rc = rc < 0 ? rc : fed_buf_add(buf, partial->base_sha256, FED_SHA256_SIZE, err);
    rc = rc < 0 ? rc : add_u64(buf, partial->n_params, err);
    rc = rc < 0 ? rc : add_u64(buf, partial->sum_examples, err);
    rc = rc < 0 ? rc : add_u64(buf, partial->n_tensors, err);
    for (size_t i = 0; i < partial->n_tensors && rc == 0; i++) {
        rc = add_u64(buf, (uint64_t)(int64_t)partial->scale_bits[i], err);
    }
    rc = rc < 0 ? rc : add_u64(buf, partial->n_entries, err);
    for (size_t i = 0; i < partial->n_entries && rc == 0; i++) {
        rc = add_text(buf, partial->entries[i].client_id, err);
        rc = rc < 0 ? rc : add_text(buf, partial->entries[i].update_id, err);
        rc = rc < 0 ? rc : add_u64(buf, partial->entries[i].examples, err);
    }
    return rc;
}

/* A partial sum being written. */
struct writing {
    const char *file;
    const struct fed_partial_hook *hook; /* may be NULL */
    struct fed_spare *spare;             /* may be NULL */
    int fd;
    uint64_t size; /* so far */
    struct fed_xxh128 *hash;
    uint8_t *buffer; /* (PIECE and a block,) packed sums that are not in the file yet */
    size_t n_buffered;
};

/* The sums as they will be packed. */
struct body {
    uint64_t n_params;
    uint64_t n_blocks;
    uint64_t size;   /* bytes of widths and blocks */
    uint8_t *widths; /* (n_blocks,) owned */
};

static int put(struct writing *writing, const void *data, size_t size, struct fed_err *err)
{
    int rc = fed_file_write(writing->fd, data, size, err);

    if (rc == 0) {
        fed_xxh128_add(writing->hash, data, size);
        writing->size += size;
    }
    return rc;
}

/* Write what is in the buffer, but for what is beyond the end of the chunk in which it is sent;
 * that too, if it `is_last`. */
static int flush(struct writing *writing, bool is_last, struct fed_err *err)
{
    const size_t room = PIECE - (size_t)(writing->size % PIECE);
    int rc = 0;

    if (writing->n_buffered >= room) {
        rc = put(writing, writing->buffer, room, err);
        writing->n_buffered -= room;
        memmove(writing->buffer, writing->buffer + room, writing->n_buffered);
        if (rc == 0 && writing->hook != NULL) {
            writing->hook->grown(writing->hook->arg, writing->file, writing->size);
        }
    }
    if (rc == 0 && is_last) {
        rc = put(writing, writing->buffer, writing->n_buffered, err);
    }
    return rc;
}

/* The sums of a block, of `n_params`. */
static size_t count_in_block(uint64_t n_params, uint64_t block)
{
    const uint64_t left = n_params - block * FED_PACK_BLOCK;

    return left < FED_PACK_BLOCK ? (size_t)left : FED_PACK_BLOCK;
}

static uint64_t count_blocks(uint64_t n_params)
{
    return n_params / FED_PACK_BLOCK + (n_params % FED_PACK_BLOCK != 0 ? 1 : 0);
}

uint64_t fed_partial_body_max(uint64_t n_params)
{
    return count_blocks(n_params) + n_params * FED_PACK_WIDTH_MAX;
}

/* Look at all sums: how wide each block is, and how large all that makes the body. */
static int measure(const int64_t *sums, uint64_t n_params, struct body *body, struct fed_err *err)
{
    body->n_params = n_params;
    body->n_blocks = count_blocks(n_params);
    body->size = body->n_blocks;
    body->widths = malloc((size_t)body->n_blocks + 1);
    if (body->widths == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "partial sum");
    }
    for (uint64_t i = 0; i < body->n_blocks; i++) {
        const size_t n = count_in_block(n_params, i);
        const size_t width = fed_pack_width(sums + i * FED_PACK_BLOCK, n);
        body->widths[i] = (uint8_t)width;
        body->size += n * width;
    }
    return 0;
}

static int
put_body(struct writing *writing, const int64_t *sums, const struct body *body, struct fed_err *err)
{
    int rc = put(writing, body->widths, (size_t)body->n_blocks, err);

    writing->buffer = malloc(PIECE + (size_t)FED_PACK_BLOCK * FED_PACK_WIDTH_MAX);
    if (rc == 0 && writing->buffer == NULL) {
        rc = fed_err_set(err, FED_E_NOMEM, "partial sum");
    }
    for (uint64_t i = 0; i < body->n_blocks && rc == 0; i++) {
        const size_t n = count_in_block(body->n_params, i);
        fed_pack(writing->buffer + writing->n_buffered, sums + i * FED_PACK_BLOCK, n,
                 body->widths[i]);
        writing->n_buffered += n * body->widths[i];
        rc = flush(writing, false, err);
    }
    rc = rc < 0 ? rc : flush(writing, true, err);
    free(writing->buffer);
    return rc;
}

static int write_all(struct writing *writing,
                     struct fed_partial *partial,
                     const int64_t *sums,
                     struct fed_err *err)
{
    uint8_t prefix[PREFIX_SIZE];
    struct body body = {0};
    struct fed_buf header;
    int rc;

    fed_buf_init(&header, HEADER_MAX);
    rc = encode_header(&header, partial, err);
    if (rc == 0 && partial->n_entries > 0) {
        rc = measure(sums, partial->n_params, &body, err);
    }
    memcpy(prefix, MAGIC, 8); /* NOLINT(bugprone-not-null-terminated-result): no text */
    fed_store_le64(prefix + 8, header.size);
    rc = rc < 0 ? rc
                : fed_spare_take(writing->spare, writing->file,
                                 PREFIX_SIZE + header.size + body.size + FED_DIGEST_SIZE,
                                 &writing->fd, err);
    rc = rc < 0 ? rc : put(writing, prefix, PREFIX_SIZE, err);
    rc = rc < 0 ? rc : put(writing, header.data, header.size, err);
    if (rc == 0 && partial->n_entries > 0) {
        rc = put_body(writing, sums, &body, err);
    }
    free(body.widths);
    fed_buf_deinit(&header);
    if (rc == 0) {
        fed_xxh128_finish(writing->hash, partial->digest);
        rc = fed_file_write(writing->fd, partial->digest, FED_DIGEST_SIZE, err);
    }
    return rc;
}

static int write_file(struct writing *writing,
                      struct fed_partial *partial,
                      const int64_t *sums,
                      struct fed_err *err)
{
    int rc = fed_xxh128_new(&writing->hash, err);

    if (rc < 0) {
        return rc;
    }
    (void)unlink(writing->file); /* never written over: somebody may have it mapped */
    rc = write_all(writing, partial, sums, err);
    if (writing->fd >= 0) {
        (void)close(writing->fd);
    }
    (void)fed_xxh128_free(writing->hash);
    return rc;
}

int fed_partial_write(const char *path,
                      struct fed_partial *partial,
                      const int64_t *sums,
                      struct fed_err *err)
{
    return fed_partial_write_with(path, partial, sums, NULL, NULL, err);
}

int fed_partial_write_with(const char *path,
                           struct fed_partial *partial,
                           const int64_t *sums,
                           struct fed_spare *spare,
                           const struct fed_partial_hook *hook,
                           struct fed_err *err)
{
    char temporary[FED_PATH_SIZE];
    struct writing writing = {.file = temporary, .hook = hook, .spare = spare, .fd = -1};
    int rc = fed_path_format(temporary, err, "%s.tmp", path);

    if (rc < 0) {
        return rc;
    }
    rc = write_file(&writing, partial, sums, err);
    if (rc == 0 && rename(temporary, path) != 0) {
        rc = fed_file_error(err, "rename to", path);
    }
    if (rc < 0) {
        (void)unlink(temporary);
    }
    return rc;
}

/* -- reading ---------------------------------------------------------------------------------- */

struct cursor {
    const uint8_t *p;
    size_t left;
    bool ok;
};

static uint64_t take_u64(struct cursor *c)
{
    uint64_t value = 0;

    c->ok = c->ok && c->left >= 8;
    if (c->ok) {
        value = fed_load_le64(c->p);
        c->p += 8;
        c->left -= 8;
    }
    return value;
}

static void take_bytes(struct cursor *c, void *ret_bytes, size_t size)
{
    c->ok = c->ok && c->left >= size;
    if (c->ok) {
        memcpy(ret_bytes, c->p, size);
        c->p += size;
        c->left -= size;
    }
}

static void take_text(struct cursor *c, char *ret_text, size_t text_size)
{
    uint8_t size[2] = {0};
    size_t n;

    take_bytes(c, size, sizeof(size));
    n = fed_load_le16(size);
    c->ok = c->ok && n < text_size;
    if (c->ok) {
        take_bytes(c, ret_text, n);
        ret_text[c->ok ? n : 0] = '\0';
        c->ok = c->ok && fed_id_is_valid(ret_text);
    }
}

static int decode_entries(struct cursor *c, struct fed_partial *partial, struct fed_err *err)
{
    uint64_t sum = 0;

    partial->entries = calloc(partial->n_entries + 1, sizeof(*partial->entries));
    if (partial->entries == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu entries", partial->n_entries);
    }
    for (size_t i = 0; i < partial->n_entries && c->ok; i++) {
        struct fed_entry *entry = &partial->entries[i];
        take_text(c, entry->client_id, sizeof(entry->client_id));
        take_text(c, entry->update_id, sizeof(entry->update_id));
        entry->examples = take_u64(c);
        c->ok = c->ok && !__builtin_add_overflow(sum, entry->examples, &sum) &&
                (i == 0 || strcmp(partial->entries[i - 1].client_id, entry->client_id) < 0);
    }
    c->ok = c->ok && sum == partial->sum_examples;
    return 0;
}

static int decode_header(struct cursor *c, struct fed_partial *partial, struct fed_err *err)
{
    take_text(c, partial->round_id, sizeof(partial->round_id));
    take_text(c, partial->combiner_id, sizeof(partial->combiner_id));
    partial->plan_seq = take_u64(c);
    take_bytes(c, partial->base_sha256, FED_SHA256_SIZE);
    partial->n_params = take_u64(c);
    partial->sum_examples = take_u64(c);
    partial->n_tensors = (size_t)take_u64(c);
    c->ok = c->ok && partial->n_tensors <= FED_TENSORS_MAX && partial->n_params <= FED_ELEMENTS_MAX;
    if (c->ok) {
        partial->scale_bits = calloc(partial->n_tensors + 1, sizeof(*partial->scale_bits));
        if (partial->scale_bits == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "%zu tensors", partial->n_tensors);
        }
        for (size_t i = 0; i < partial->n_tensors; i++) {
            const int64_t bits = (int64_t)take_u64(c);
            partial->scale_bits[i] = (int32_t)bits;
            c->ok = c->ok && partial->scale_bits[i] == bits;
        }
    }
    partial->n_entries = (size_t)take_u64(c);
    c->ok = c->ok && partial->n_entries <= FED_LINK_CLIENTS_MAX &&
            partial->n_entries <= c->left / ENTRY_MIN;
    return c->ok ? decode_entries(c, partial, err) : 0;
}

/* Do the widths make the `size` bytes that there are of widths and blocks? */
static bool is_body_whole(const struct fed_partial *partial, const uint8_t *body, size_t size)
{
    const uint64_t n_params = partial->n_entries == 0 ? 0 : partial->n_params;
    const uint64_t n_blocks = count_blocks(n_params);
    uint64_t n_bytes = n_blocks;
    bool ok = n_blocks <= size;

    for (uint64_t i = 0; ok && i < n_blocks; i++) {
        n_bytes += (uint64_t)count_in_block(n_params, i) * body[i];
        ok = body[i] <= FED_PACK_WIDTH_MAX;
    }
    return ok && n_bytes == size;
}

static int load_header(const struct fed_map *map, struct fed_partial *partial, struct fed_err *err)
{
    struct cursor c = {.ok = false};
    uint64_t header_size = 0;
    int rc;

    if (map->size >= PREFIX_SIZE + FED_DIGEST_SIZE && memcmp(map->data, MAGIC, 8) == 0) {
        header_size = fed_load_le64(map->data + 8);
    }
    if (header_size == 0 || header_size > HEADER_MAX ||
        header_size > map->size - PREFIX_SIZE - FED_DIGEST_SIZE) {
        return fed_err_set(err, FED_E_CORRUPT, "no partial sum");
    }
    c = (struct cursor){map->data + PREFIX_SIZE, (size_t)header_size, true};
    rc = decode_header(&c, partial, err);
    if (rc < 0) {
        return rc;
    }
    if (!c.ok || c.left != 0 ||
        !is_body_whole(partial, map->data + PREFIX_SIZE + header_size,
                       map->size - PREFIX_SIZE - (size_t)header_size - FED_DIGEST_SIZE)) {
        return fed_err_set(err, FED_E_CORRUPT, "the partial sum's parts do not fit together");
    }
    return 0;
}

int fed_partial_open(const char *path, struct fed_partial *ret_partial, struct fed_err *err)
{
    return fed_partial_open_hashed(path, NULL, ret_partial, err);
}

int fed_partial_open_hashed(const char *path,
                            const uint8_t *digest,
                            struct fed_partial *ret_partial,
                            struct fed_err *err)
{
    struct fed_partial partial = {0};
    struct fed_map map = {0};
    int rc = fed_map_open(path, &map, err);

    if (rc < 0) {
        return rc;
    }
    rc = load_header(&map, &partial, err);
    if (rc == 0) {
        if (digest != NULL) {
            memcpy(partial.digest, digest, FED_DIGEST_SIZE);
        } else {
            fed_xxh128_once(map.data, map.size - FED_DIGEST_SIZE, partial.digest);
        }
        if (memcmp(partial.digest, map.data + map.size - FED_DIGEST_SIZE, FED_DIGEST_SIZE) != 0) {
            rc = fed_err_set(err, FED_E_CORRUPT, "the partial sum's digest is wrong");
        }
    }
    fed_map_close(&map);
    if (rc < 0) {
        fed_partial_deinit(&partial);
        return rc;
    }
    *ret_partial = partial;
    return 0;
}

/* Where each block begins, and whether they end where the trailer does. */
static int find_blocks(struct fed_partial_sums *sums, uint64_t n_blocks, struct fed_err *err)
{
    const uint8_t *end = sums->map.data + sums->map.size - FED_DIGEST_SIZE;
    uint64_t at = 0;

    sums->starts = calloc((size_t)n_blocks + 1, sizeof(*sums->starts));
    if (sums->starts == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%llu blocks", (unsigned long long)n_blocks);
    }
    for (uint64_t i = 0; i < n_blocks; i++) {
        sums->starts[i] = at;
        at += (uint64_t)count_in_block(sums->n, i) * sums->widths[i];
    }
    return sums->blocks <= end && at == (uint64_t)(end - sums->blocks)
               ? 0
               : fed_err_set(err, FED_E_CORRUPT, "the partial sum has changed");
}

int fed_partial_map(const char *path,
                    const struct fed_partial *partial,
                    struct fed_partial_sums *ret_sums,
                    struct fed_err *err)
{
    struct fed_partial_sums sums = {.n = partial->n_entries == 0 ? 0 : partial->n_params};
    const uint64_t n_blocks = count_blocks(sums.n);
    uint64_t header_size = 0;
    int rc = fed_map_open(path, &sums.map, err);

    if (rc < 0) {
        return rc;
    }
    if (sums.map.size >= PREFIX_SIZE + FED_DIGEST_SIZE) {
        header_size = fed_load_le64(sums.map.data + 8);
    }
    if (header_size == 0 || header_size > HEADER_MAX ||
        PREFIX_SIZE + header_size + n_blocks + FED_DIGEST_SIZE > sums.map.size) {
        rc = fed_err_set(err, FED_E_CORRUPT, "%s has changed", path);
    } else {
        sums.widths = sums.map.data + PREFIX_SIZE + header_size;
        sums.blocks = sums.widths + n_blocks;
        rc = find_blocks(&sums, n_blocks, err);
    }
    if (rc < 0) {
        fed_partial_unmap(&sums);
        return rc;
    }
    *ret_sums = sums;
    return 0;
}

void fed_partial_unmap(struct fed_partial_sums *sums)
{
    fed_map_close(&sums->map);
    free(sums->starts);
    *sums = (struct fed_partial_sums){0};
}

void fed_partial_sums_add(const struct fed_partial_sums *sums,
                          uint64_t first,
                          size_t n,
                          int64_t *io_sums)
{
    assert(first <= sums->n && n <= sums->n - first);
    while (n > 0) {
        const uint64_t block = first / FED_PACK_BLOCK;
        const size_t at = (size_t)(first % FED_PACK_BLOCK);
        const size_t room = count_in_block(sums->n, block) - at;
        const size_t part = n < room ? n : room;
        const size_t width = sums->widths[block];
        fed_unpack_add(io_sums, sums->blocks + sums->starts[block] + at * width, part, width);
        first += part;
        io_sums += part;
        n -= part;
    }
}

int fed_partial_add(const char *path,
                    const struct fed_partial *partial,
                    int64_t *sums,
                    struct fed_err *err)
{
    struct fed_partial_sums mapped = {0};
    const int rc = fed_partial_map(path, partial, &mapped, err);

    if (rc == 0) {
        fed_partial_sums_add(&mapped, 0, (size_t)mapped.n, sums);
    }
    fed_partial_unmap(&mapped);
    return rc;
}

void fed_model_id(const char *round_id,
                  const char *base_model_id,
                  const char *strategy,
                  const struct fed_entry *entries,
                  size_t n_entries,
                  char ret_id[FED_ID_SIZE])
{
    uint8_t digest[FED_SHA256_SIZE];
    struct fed_buf buf;
    int rc;

    fed_buf_init(&buf, 0);
    rc = fed_buf_addf(&buf, NULL, "%s\n%s\n%s\n", round_id, base_model_id, strategy);
    for (size_t i = 0; i < n_entries && rc == 0; i++) {
        rc = fed_buf_addf(&buf, NULL, "%s %s %llu\n", entries[i].client_id, entries[i].update_id,
                          (unsigned long long)entries[i].examples);
    }
    if (rc < 0) {
        abort(); /* a few kilobytes that cannot be had */
    }
    fed_sha256_once(buf.data, buf.size, digest);
    fed_buf_deinit(&buf);
    fed_uuid_from_hash(digest, ret_id);
}
