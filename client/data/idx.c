#include "client/data/idx.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base/file.h"

#define ITEM_SIZE_MAX 65536U        /* bytes of one image */
#define BUFFER_SIZE   (64U * 1024U) /* zlib's, packed and unpacked */
#define MAGIC_LABELS  0x00000801U
#define MAGIC_IMAGES  0x00000803U

struct idx {
    gzFile file;
    char name[FED_PATH_SIZE];
    size_t n_items;
    size_t item_size; /* bytes */
    uint64_t offset;  /* of the next byte, unpacked */
};

/* Read exactly `size` bytes of `what`. */
static int
read_bytes(struct idx *idx, void *ret_data, size_t size, const char *what, struct fed_err *err)
{
    int code = Z_OK;
    const int n = gzread(idx->file, ret_data, (unsigned)size);

    assert(size <= INT32_MAX);
    if (n == (int)size) {
        idx->offset += size;
        return 0;
    }
    const char *text = gzerror(idx->file, &code);
    const unsigned long long at = idx->offset + (uint64_t)(n > 0 ? n : 0);
    if (code == Z_DATA_ERROR) {
        return fed_err_set(err, FED_E_CORRUPT,
                           "%s: offset %llu: want %s, but the gzip data is "
                           "damaged: %s",
                           idx->name, at, what, text);
    }
    if (code == Z_ERRNO) {
        return fed_err_set(err, FED_E_IO, "%s: offset %llu: cannot read: %s", idx->name, at, text);
    }
    if (code == Z_MEM_ERROR) {
        return fed_err_set(err, FED_E_NOMEM, "%s", idx->name);
    }
    return fed_err_set(err, FED_E_INVALID, "%s: offset %llu: the file ends, want %s", idx->name, at,
                       what);
}

static int read_be32(struct idx *idx, const char *what, uint32_t *ret_value, struct fed_err *err)
{
    uint8_t bytes[4];
    const int rc = read_bytes(idx, bytes, sizeof(bytes), what, err);

    if (rc == 0) {
        *ret_value = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                     bytes[3];
    }
    return rc;
}

static int read_image_size(struct idx *idx, struct fed_err *err)
{
    uint32_t rows = 0;
    uint32_t columns = 0;
    int rc = read_be32(idx, "the number of rows", &rows, err);

    if (rc == 0) {
        rc = read_be32(idx, "the number of columns", &columns, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (rows == 0 || columns == 0 || rows > ITEM_SIZE_MAX || columns > ITEM_SIZE_MAX / rows) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: offset 8: images of %u x %u, want 1 to %u pixels", idx->name, rows,
                           columns, ITEM_SIZE_MAX);
    }
    idx->item_size = (size_t)rows * columns;
    return 0;
}

static int read_header(struct idx *idx, struct fed_err *err)
{
    uint32_t magic = 0;
    uint32_t n_items = 0;
    int rc = read_be32(idx, "the magic number", &magic, err);

    if (rc < 0) {
        return rc;
    }
    if (magic != MAGIC_LABELS && magic != MAGIC_IMAGES) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: offset 0: magic number %08x, want %08x (labels) or %08x (images)",
                           idx->name, magic, MAGIC_LABELS, MAGIC_IMAGES);
    }
    rc = read_be32(idx, "the number of items", &n_items, err);
    if (rc < 0) {
        return rc;
    }
    if (n_items == 0 || n_items > IDX_ITEMS_MAX) {
        return fed_err_set(err, FED_E_INVALID, "%s: offset 4: %u items, want 1 to %u", idx->name,
                           n_items, IDX_ITEMS_MAX);
    }
    idx->n_items = n_items;
    idx->item_size = 1;
    return magic == MAGIC_IMAGES ? read_image_size(idx, err) : 0;
}

int idx_open_fd(int fd, const char *name, struct idx **ret_idx, struct fed_err *err)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = calloc(1, sizeof(*idx));
    int rc;

    if (idx == NULL) {
        (void)close(fd);
        return fed_err_set(err, FED_E_NOMEM, "%s", name);
    }
    (void)snprintf(idx->name, sizeof(idx->name), "%s", name);
    idx->file = gzdopen(fd, "rb");
    if (idx->file == NULL) {
        (void)close(fd);
        return fed_err_set(err, FED_E_NOMEM, "%s", name);
    }
    (void)gzbuffer(idx->file, BUFFER_SIZE);
    rc = read_header(idx, err);
    if (rc == 0) {
        *ret_idx = FED_TAKE(idx);
    }
    return rc;
}

int idx_open(const char *path, struct idx **ret_idx, struct fed_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return fed_file_error(err, "open", path);
    }
    return idx_open_fd(fd, path, ret_idx, err);
}

struct idx *idx_close(struct idx *idx)
{
    if (idx != NULL) {
        if (idx->file != NULL) {
            (void)gzclose_r(idx->file);
        }
        free(idx);
    }
    return NULL;
}

size_t idx_get_count(const struct idx *idx)
{
    return idx->n_items;
}

size_t idx_get_item_size(const struct idx *idx)
{
    return idx->item_size;
}

/* Nothing may follow; reading beyond the last item also makes zlib check the gzip trailer. */
static int read_end(struct idx *idx, struct fed_err *err)
{
    uint8_t byte;
    int code = Z_OK;
    const int n = gzread(idx->file, &byte, 1);

    if (n == 0 && gzerror(idx->file, &code) != NULL && code == Z_OK) {
        return 0;
    }
    if (n > 0) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: offset %llu: more bytes, want the end of the "
                           "file after %zu items of %zu bytes",
                           idx->name, (unsigned long long)idx->offset, idx->n_items,
                           idx->item_size);
    }
    return fed_err_set(err, FED_E_CORRUPT, "%s: offset %llu: want the end of the file: %s",
                       idx->name, (unsigned long long)idx->offset, gzerror(idx->file, &code));
}

int idx_read(struct idx *idx,
             const uint32_t *rows,
             size_t n_rows,
             uint8_t *ret_data,
             struct fed_err *err)
{
    uint8_t skipped[ITEM_SIZE_MAX];
    char what[64];
    size_t i_row = 0;

    assert(rows != NULL || n_rows == idx->n_items);
    for (size_t i = 0; i < idx->n_items; i++) {
        const bool is_wanted = rows == NULL || (i_row < n_rows && rows[i_row] == i);
        uint8_t *to = is_wanted ? ret_data + i_row * idx->item_size : skipped;
        (void)snprintf(what, sizeof(what), "item %zu of %zu", i, idx->n_items);
        const int rc = read_bytes(idx, to, idx->item_size, what, err);
        if (rc < 0) {
            return rc;
        }
        i_row += is_wanted ? 1 : 0;
    }
    assert(i_row == n_rows);
    return read_end(idx, err);
}
