/* Writing NPZ, one value after the other. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/num.h"
#include "common/model/checksum.h"
#include "common/model/npy_header.h"
#include "common/model/npz.h"
#include "common/model/npz_zip.h"

#define STAGE_SIZE 262144U /* bytes gathered before a write */

struct fed_npz_writer {
    int fd;
    uint64_t offset; /* of the next byte */
    struct fed_buf stage;
    struct fed_buf directory;
    size_t n_members;
    struct npz_written member; /* the open one */
    uint64_t left;             /* its elements still to come */
    enum fed_dtype dtype;
    bool is_open;
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

static int close_member(struct fed_npz_writer *writer, struct fed_err *err)
{
    uint8_t crc[4];
    int rc;

    if (!writer->is_open) {
        return 0;
    }
    assert(writer->left == 0);
    writer->is_open = false;
    rc = flush(writer, err);
    fed_store_le32(crc, writer->member.crc);
    if (rc == 0 && pwrite(writer->fd, crc, sizeof(crc), (off_t)writer->member.local_offset + 14) !=
                       (ssize_t)sizeof(crc)) {
        rc = fed_file_error(err, "write", "model");
    }
    return rc < 0 ? rc : npz_zip_add(&writer->directory, &writer->member, err);
}

int fed_npz_writer_begin(struct fed_npz_writer *writer,
                         const struct fed_tensor *tensor,
                         struct fed_err *err)
{
    uint8_t local[NPZ_LOCAL_MAX];
    char header[FED_NPY_HEADER_MAX];
    const size_t header_size = fed_npy_header_format(tensor, header);
    int rc = close_member(writer, err);

    if (rc < 0) {
        return rc;
    }
    assert(writer->n_members < FED_TENSORS_MAX);
    writer->member = (struct npz_written){
        .index = writer->n_members++,
        .local_offset = writer->offset,
        .size = header_size + tensor->n_elements * fed_dtype_size(tensor->dtype),
    };
    writer->left = tensor->n_elements;
    writer->dtype = tensor->dtype;
    writer->is_open = true;
    rc = put(writer, local, npz_zip_local(&writer->member, local), err);
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
    const size_t size = fed_dtype_size(writer->dtype);

    assert(writer->is_open && n <= writer->left);
    writer->left -= n;
    while (n > 0) {
        const size_t part = n < FED_NPZ_BLOCK ? n : FED_NPZ_BLOCK;
        int rc;
        fed_dtype_encode(writer->dtype, values, part, bytes);
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
    int rc = close_member(writer, err);

    rc = rc < 0 ? rc : npz_zip_end(&writer->directory, writer->n_members, writer->offset, err);
    rc = rc < 0 ? rc : put(writer, writer->directory.data, writer->directory.size, err);
    return rc < 0 ? rc : flush(writer, err);
}
