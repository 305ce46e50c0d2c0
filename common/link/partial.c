#include "common/link/partial.h"

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

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "sums are written as they are in memory");

#define MAGIC       "CONFEDP2"
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

/* In pieces that end where the chunks end in which the file is sent. */
static int put_sums(struct writing *writing, const uint8_t *bytes, size_t size, struct fed_err *err)
{
    int rc = 0;

    while (size > 0 && rc == 0) {
        const size_t room = PIECE - (size_t)(writing->size % PIECE);
        const size_t part = size < room ? size : room;
        rc = put(writing, bytes, part, err);
        if (rc == 0 && writing->hook != NULL) {
            writing->hook->grown(writing->hook->arg, writing->file, writing->size);
        }
        bytes += part;
        size -= part;
    }
    return rc;
}

static int write_all(struct writing *writing,
                     struct fed_partial *partial,
                     const int64_t *sums,
                     struct fed_err *err)
{
    const size_t size = partial->n_entries == 0 ? 0 : (size_t)partial->n_params * sizeof(*sums);
    uint8_t prefix[PREFIX_SIZE];
    struct fed_buf header;
    int rc;

    fed_buf_init(&header, HEADER_MAX);
    rc = encode_header(&header, partial, err);
    memcpy(prefix, MAGIC, 8); /* NOLINT(bugprone-not-null-terminated-result): no text */
    fed_store_le64(prefix + 8, header.size);
    rc = rc < 0 ? rc
                : fed_spare_take(writing->spare, writing->file,
                                 PREFIX_SIZE + header.size + size + FED_DIGEST_SIZE, &writing->fd,
                                 err);
    rc = rc < 0 ? rc : put(writing, prefix, PREFIX_SIZE, err);
    rc = rc < 0 ? rc : put(writing, header.data, header.size, err);
    rc = rc < 0 ? rc : put_sums(writing, (const uint8_t *)sums, size, err);
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

static int load_header(const struct fed_map *map, struct fed_partial *partial, struct fed_err *err)
{
    struct cursor c = {.ok = false};
    uint64_t header_size = 0;
    uint64_t body_size;
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
    body_size = partial->n_entries == 0 ? 0 : partial->n_params * 8;
    if (!c.ok || c.left != 0 ||
        map->size != PREFIX_SIZE + header_size + body_size + FED_DIGEST_SIZE) {
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

int fed_partial_map(const char *path,
                    const struct fed_partial *partial,
                    struct fed_map *ret_map,
                    const uint8_t **ret_sums,
                    struct fed_err *err)
{
    const uint64_t n = partial->n_entries == 0 ? 0 : partial->n_params;
    struct fed_map map = {0};
    int rc = fed_map_open(path, &map, err);

    if (rc < 0) {
        return rc;
    }
    if (map.size < PREFIX_SIZE + n * 8 + FED_DIGEST_SIZE) {
        fed_map_close(&map);
        return fed_err_set(err, FED_E_CORRUPT, "%s has changed", path);
    }
    *ret_map = map;
    *ret_sums = map.data + map.size - FED_DIGEST_SIZE - n * 8;
    return 0;
}

void fed_partial_add_bytes(int64_t *sums, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value;
        memcpy(&value, bytes + 8 * i, sizeof(value));
        sums[i] = (int64_t)((uint64_t)sums[i] + value);
    }
}

int fed_partial_add(const char *path,
                    const struct fed_partial *partial,
                    int64_t *sums,
                    struct fed_err *err)
{
    const uint8_t *bytes = NULL;
    struct fed_map map = {0};
    const int rc = fed_partial_map(path, partial, &map, &bytes, err);

    if (rc == 0) {
        fed_partial_add_bytes(sums, bytes, partial->n_entries == 0 ? 0 : (size_t)partial->n_params);
    }
    fed_map_close(&map);
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
