/* Writing NPZ: stored members, sizes and CRC-32 in the local headers, a fixed date. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/num.h"
#include "common/model/checksum.h"
#include "common/model/npy_header.h"
#include "common/model/npz.h"

#define STAGE_SIZE 262144U /* bytes gathered before a write */
#define DATE_1980  0x0021U /* 1 January 1980, as NumPy writes */

struct fed_npz_writer {
    int fd;
    uint64_t offset; /* of the next byte */
    struct fed_buf stage;
    struct fed_buf directory;
    size_t n_members;
    struct { /* the open member */
        uint64_t local_offset;
        uint64_t size;
        uint64_t left; /* elements still to come */
        enum fed_dtype dtype;
        uint32_t crc;
        bool is_open;
        char name[16];
    } member;
};

int fed_npz_writer_new(int fd, struct fed_npz_writer **ret_writer, struct fed_err *err)
{
    struct fed_npz_writer *writer = calloc(1, sizeof(*writer));

    if (writer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "NPZ writer");
    }
    writer->fd = fd;
    fed_buf_init(&writer->stage, 0);
    fed_buf_init(&writer->directory, 0);
    *ret_writer = writer;
    return 0;
}

struct fed_npz_writer *fed_npz_writer_free(struct fed_npz_writer *writer)
{
    if (writer != NULL) {
        fed_buf_deinit(&writer->stage);
        fed_buf_deinit(&writer->directory);
        free(writer);
    }
    return NULL;
}

static int flush(struct fed_npz_writer *writer, struct fed_err *err)
{
    const int rc = fed_file_write(writer->fd, writer->stage.data, writer->stage.size, err);

    fed_buf_clear(&writer->stage);
    return rc;
}

static int put(struct fed_npz_writer *writer, const void *data, size_t size, struct fed_err *err)
{
    int rc = fed_buf_add(&writer->stage, data, size, err);

    writer->offset += size;
    if (rc == 0 && writer->stage.size >= STAGE_SIZE) {
        rc = flush(writer, err);
    }
    return rc;
}

/* The fields that local and central headers share: version needed, flags, method, time, date, CRC,
 * sizes, name length (26 bytes). */
static void fill_common(const struct fed_npz_writer *writer, uint8_t *p, uint32_t crc)
{
    const uint32_t size =
        writer->member.size >= 0xFFFFFFFF ? 0xFFFFFFFF : (uint32_t)writer->member.size;

    fed_store_le16(p, 45);
    fed_store_le16(p + 2, 0);
    fed_store_le16(p + 4, 0);
    fed_store_le16(p + 6, 0);
    fed_store_le16(p + 8, DATE_1980);
    fed_store_le32(p + 10, crc);
    fed_store_le32(p + 14, size);
    fed_store_le32(p + 18, size);
    fed_store_le16(p + 22, (uint16_t)strlen(writer->member.name));
}

static int close_member(struct fed_npz_writer *writer, struct fed_err *err)
{
    const bool is_wide = writer->member.size >= 0xFFFFFFFF;
    const bool is_far = writer->member.local_offset >= 0xFFFFFFFF;
    const uint16_t extra_size = (uint16_t)((is_wide ? 16 : 0) + (is_far ? 8 : 0));
    uint8_t central[46 + 16 + 32] = {0};
    uint8_t crc[4];
    uint8_t *p = central + 46;
    int rc;

    if (!writer->member.is_open) {
        return 0;
    }
    assert(writer->member.left == 0);
    writer->member.is_open = false;
    rc = flush(writer, err);
    fed_store_le32(crc, writer->member.crc);
    if (rc == 0 && pwrite(writer->fd, crc, sizeof(crc), (off_t)writer->member.local_offset + 14) !=
                       (ssize_t)sizeof(crc)) {
        rc = fed_file_error(err, "write", "model");
    }
    fed_store_le32(central, 0x02014B50);
    fed_store_le16(central + 4, 45);
    fill_common(writer, central + 6, writer->member.crc);
    fed_store_le16(central + 30, extra_size == 0 ? 0 : (uint16_t)(extra_size + 4));
    fed_store_le32(central + 42, is_far ? 0xFFFFFFFF : (uint32_t)writer->member.local_offset);
    memcpy(p, writer->member.name, strlen(writer->member.name));
    p += strlen(writer->member.name);
    if (extra_size > 0) {
        fed_store_le16(p, 1);
        fed_store_le16(p + 2, extra_size);
        p += 4;
    }
    if (is_wide) {
        fed_store_le64(p, writer->member.size);
        fed_store_le64(p + 8, writer->member.size);
        p += 16;
    }
    if (is_far) {
        fed_store_le64(p, writer->member.local_offset);
        p += 8;
    }
    return rc < 0 ? rc : fed_buf_add(&writer->directory, central, (size_t)(p - central), err);
}

int fed_npz_writer_begin(struct fed_npz_writer *writer,
                         const struct fed_tensor *tensor,
                         struct fed_err *err)
{
    uint8_t local[30 + 16 + 20] = {0};
    char header[FED_NPY_HEADER_MAX];
    const size_t header_size = fed_npy_header_format(tensor, header);
    uint8_t *p = local + 30;
    int rc = close_member(writer, err);

    if (rc < 0) {
        return rc;
    }
    assert(writer->n_members < FED_TENSORS_MAX);
    (void)snprintf(writer->member.name, sizeof(writer->member.name), "%zu.npy",
                   writer->n_members++);
    writer->member.local_offset = writer->offset;
    writer->member.size = header_size + tensor->n_elements * fed_dtype_size(tensor->dtype);
    writer->member.left = tensor->n_elements;
    writer->member.dtype = tensor->dtype;
    writer->member.crc = 0;
    writer->member.is_open = true;
    fed_store_le32(local, 0x04034B50);
    fill_common(writer, local + 4, 0);
    memcpy(p, writer->member.name, strlen(writer->member.name));
    p += strlen(writer->member.name);
    if (writer->member.size >= 0xFFFFFFFF) {
        fed_store_le16(local + 28, 20);
        fed_store_le16(p, 1);
        fed_store_le16(p + 2, 16);
        fed_store_le64(p + 4, writer->member.size);
        fed_store_le64(p + 12, writer->member.size);
        p += 20;
    }
    rc = put(writer, local, (size_t)(p - local), err);
    if (rc == 0) {
        writer->member.crc = fed_crc32(0, header, header_size);
        rc = put(writer, header, header_size, err);
    }
    return rc;
}

int fed_npz_writer_add(struct fed_npz_writer *writer,
                       const double *values,
                       size_t n,
                       struct fed_err *err)
{
    uint8_t bytes[FED_NPZ_BLOCK * sizeof(double)];
    const size_t size = fed_dtype_size(writer->member.dtype);

    assert(writer->member.is_open && n <= writer->member.left);
    writer->member.left -= n;
    while (n > 0) {
        const size_t part = n < FED_NPZ_BLOCK ? n : FED_NPZ_BLOCK;
        int rc;
        fed_dtype_encode(writer->member.dtype, values, part, bytes);
        writer->member.crc = fed_crc32(writer->member.crc, bytes, part * size);
        rc = put(writer, bytes, part * size, err);
        if (rc < 0) {
            return rc;
        }
        values += part;
        n -= part;
    }
    return 0;
}

int fed_npz_writer_finish(struct fed_npz_writer *writer, struct fed_err *err)
{
    uint8_t end[56 + 20 + 22] = {0};
    uint8_t *p = end;
    uint64_t start;
    int rc = close_member(writer, err);

    if (rc < 0) {
        return rc;
    }
    start = writer->offset;
    rc = put(writer, writer->directory.data, writer->directory.size, err);
    if (start + writer->directory.size >= 0xFFFFFFFF) {
        fed_store_le32(p, 0x06064B50);
        fed_store_le64(p + 4, 44);
        fed_store_le16(p + 12, 45);
        fed_store_le16(p + 14, 45);
        fed_store_le64(p + 24, writer->n_members);
        fed_store_le64(p + 32, writer->n_members);
        fed_store_le64(p + 40, writer->directory.size);
        fed_store_le64(p + 48, start);
        p += 56;
        fed_store_le32(p, 0x07064B50);
        fed_store_le64(p + 8, start + writer->directory.size);
        fed_store_le32(p + 16, 1);
        p += 20;
        start = 0xFFFFFFFF;
    }
    fed_store_le32(p, 0x06054B50);
    fed_store_le16(p + 8, (uint16_t)writer->n_members);
    fed_store_le16(p + 10, (uint16_t)writer->n_members);
    fed_store_le32(p + 12, (uint32_t)writer->directory.size);
    fed_store_le32(p + 16, (uint32_t)start);
    p += 22;
    if (rc == 0) {
        rc = put(writer, end, (size_t)(p - end), err);
    }
    return rc < 0 ? rc : flush(writer, err);
}
