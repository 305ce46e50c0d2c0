/* Reading the values of an NPZ: a member's bytes, stored or inflated, in blocks, with their CRC-32.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/model/checksum.h"
#include "common/model/npy_header.h"
#include "common/model/npz_inside.h"
#include "common/model/values.h"

#define READ_SIZE 65536U

/* A member's bytes, one after the other: stored or inflated. */
struct stream {
    struct fed_npz *npz;
    const struct member *member;
    uint64_t offset; /* next stored byte in the file */
    uint64_t stored_left;
    uint64_t left; /* bytes of the array still to come */
    uint32_t crc;
    bool has_inflate;
    z_stream inflate;
    uint8_t *in;       /* (READ_SIZE,) owned: deflated bytes, or stored ones read ahead */
    size_t ahead_at;   /* the next of the latter */
    size_t ahead_left; /* and how many there are */
};

static int
stream_open(struct fed_npz *npz, size_t index, struct stream *stream, struct fed_err *err)
{
    const struct member *member = &npz->members[index];

    *stream = (struct stream){
        .npz = npz,
        .member = member,
        .offset = member->data_offset,
        .stored_left = member->stored_size,
        .left = member->size,
    };
    if (npz->map.data != NULL && !member->is_deflated) {
        return 0; /* its bytes are used where they lie */
    }
    stream->in = malloc(READ_SIZE);
    if (stream->in != NULL && member->is_deflated) {
        stream->has_inflate = inflateInit2(&stream->inflate, -MAX_WBITS) == Z_OK;
    }
    if (stream->has_inflate != member->is_deflated || stream->in == NULL) {
        free(stream->in);
        stream->in = NULL;
        return fed_err_set(err, FED_E_NOMEM, "stream");
    }
    return 0;
}

static void stream_close(struct stream *stream)
{
    if (stream->has_inflate) {
        (void)inflateEnd(&stream->inflate);
    }
    free(stream->in);
}

/* More input, while there is any: after the last of it zlib may still hold output back. */
static int refill(struct stream *stream, struct fed_err *err)
{
    const size_t n = stream->stored_left < READ_SIZE ? (size_t)stream->stored_left : READ_SIZE;
    int rc;

    if (n == 0) {
        return 0;
    }
    rc = npz_read_at(stream->npz, stream->offset, stream->in, n, err);
    stream->offset += n;
    stream->stored_left -= n;
    stream->inflate.next_in = stream->in;
    stream->inflate.avail_in = (uInt)n;
    return rc;
}

static int inflate_some(struct stream *stream, uint8_t *data, size_t size, struct fed_err *err)
{
    stream->inflate.next_out = data;
    stream->inflate.avail_out = (uInt)size;
    while (stream->inflate.avail_out > 0) {
        int rc = stream->inflate.avail_in == 0 ? refill(stream, err) : 0;
        if (rc != 0) {
            return rc;
        }
        rc = inflate(&stream->inflate, Z_NO_FLUSH);
        if (rc != Z_OK && !(rc == Z_STREAM_END && stream->inflate.avail_out == 0)) {
            return npz_fault(err, FED_FAULT_MALFORMED,
                             "deflated data is damaged, or ends too early");
        }
    }
    return 0;
}

/* After the last byte of the array: the deflated data must end there too. */
static int inflate_end(struct stream *stream, struct fed_err *err)
{
    uint8_t more;
    int rc = Z_OK;

    if (!stream->has_inflate) {
        return 0;
    }
    stream->inflate.next_out = &more;
    stream->inflate.avail_out = 1;
    while (rc == Z_OK && stream->inflate.avail_out > 0) {
        rc = stream->inflate.avail_in == 0 ? refill(stream, err) : 0;
        if (rc != 0) {
            return rc;
        }
        rc = inflate(&stream->inflate, Z_NO_FLUSH);
    }
    if (rc != Z_STREAM_END || stream->inflate.avail_out == 0 || stream->inflate.avail_in > 0 ||
        stream->stored_left > 0) {
        return npz_fault(err, FED_FAULT_MALFORMED, "deflated data goes on after the array");
    }
    return 0;
}

/* The next `size` bytes of the array (size <= left). */
static int stream_read(struct stream *stream, void *data, size_t size, struct fed_err *err)
{
    int rc;

    assert(size <= stream->left);
    if (stream->has_inflate) {
        rc = inflate_some(stream, data, size, err);
    } else {
        rc = npz_read_at(stream->npz, stream->offset, data, size, err);
        stream->offset += size;
    }
    stream->left -= size;
    stream->crc = fed_crc32(stream->crc, data, size);
    return rc;
}

/* The same without a copy where the bytes are stored: `size` divides READ_SIZE but for the last.
 * *ret_data is good until the next call. */
static int stream_view(struct stream *stream,
                       uint8_t *room,
                       size_t size,
                       const uint8_t **ret_data,
                       struct fed_err *err)
{
    int rc = 0;

    *ret_data = room;
    if (stream->has_inflate) {
        return stream_read(stream, room, size, err);
    }
    assert(size <= stream->left);
    if (stream->npz->map.data != NULL) {
        *ret_data = stream->npz->map.data + stream->offset;
        stream->offset += size;
    } else if (stream->ahead_left == 0) {
        stream->ahead_at = 0;
        stream->ahead_left = stream->left < READ_SIZE ? (size_t)stream->left : READ_SIZE;
        rc = npz_read_at(stream->npz, stream->offset, stream->in, stream->ahead_left, err);
        stream->offset += stream->ahead_left;
    }
    if (stream->npz->map.data == NULL) {
        assert(size <= stream->ahead_left);
        *ret_data = stream->in + stream->ahead_at;
        stream->ahead_at += size;
        stream->ahead_left -= size;
    }
    stream->left -= size;
    if (rc == 0 && !stream->npz->is_trusted) {
        stream->crc = fed_crc32(stream->crc, *ret_data, size);
    }
    return rc;
}

int npz_read_head(struct fed_npz *npz,
                  size_t index,
                  void *ret_bytes,
                  size_t size,
                  struct fed_err *err)
{
    struct stream stream;
    int rc = stream_open(npz, index, &stream, err);

    if (rc == 0) {
        rc = stream_read(&stream, ret_bytes, size, err);
        stream_close(&stream);
    }
    return rc;
}

static int check_finite(const double *values, size_t n, uint64_t index, struct fed_err *err)
{
    if (fed_values_are_finite(values, n)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return npz_fault(err, FED_FAULT_NOT_FINITE, "element %llu is %s",
                             (unsigned long long)index + i, isnan(values[i]) ? "NaN" : "infinite");
        }
    }
    return 0;
}

/* The C-order index of the k-th element in Fortran order. */
static uint64_t fortran_index(const struct fed_tensor *tensor, uint64_t k)
{
    uint64_t index = 0;
    uint64_t stride = tensor->n_elements;

    for (uint32_t d = 0; d < tensor->rank; d++) {
        stride /= tensor->shape[d];
        index += k % tensor->shape[d] * stride;
        k /= tensor->shape[d];
    }
    return index;
}

/* Who takes the values of a tensor. */
struct sink {
    fed_npz_values_fn fn;
    void *arg;
};

static int deliver(const struct fed_tensor *tensor,
                   uint64_t first,
                   const double *values,
                   size_t n,
                   const struct sink *sink,
                   struct fed_err *err)
{
    int rc = 0;

    if (!tensor->is_fortran) {
        return sink->fn(sink->arg, first, values, n, err);
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = sink->fn(sink->arg, fortran_index(tensor, first + i), &values[i], 1, err);
    }
    return rc;
}

/* All values of an opened stream, in blocks. */
static int read_values(struct stream *stream,
                       const struct fed_tensor *tensor,
                       fed_npz_values_fn fn,
                       void *arg,
                       struct fed_err *err)
{
    const struct sink sink = {fn, arg};
    const size_t size = fed_dtype_size(tensor->dtype);
    uint8_t room[FED_NPZ_BLOCK * sizeof(double)];
    double values[FED_NPZ_BLOCK];
    const uint8_t *bytes = room;
    int rc = 0;

    for (uint64_t first = 0; first < tensor->n_elements && rc == 0; first += FED_NPZ_BLOCK) {
        const uint64_t left = tensor->n_elements - first;
        const size_t n = left < FED_NPZ_BLOCK ? (size_t)left : FED_NPZ_BLOCK;
        rc = stream_view(stream, room, n * size, &bytes, err);
        if (rc == 0 && !fed_dtype_decode(tensor, bytes, n, values)) {
            rc = npz_fault(err, FED_FAULT_OUT_OF_RANGE, "a 64-bit integer is beyond 2^53");
        }
        if (rc == 0 && !stream->npz->is_trusted) {
            rc = check_finite(values, n, first, err);
        }
        if (rc == 0) {
            rc = deliver(tensor, first, values, n, &sink, err);
        }
    }
    return rc;
}

/* The same for float32 where it lies in the file, 4 bytes each. */
static int read_singles(struct stream *stream,
                        const struct fed_tensor *tensor,
                        fed_npz_singles_fn fn,
                        void *arg,
                        struct fed_err *err)
{
    double values[FED_NPZ_BLOCK];
    const uint8_t *bytes = NULL;
    int rc = 0;

    for (uint64_t first = 0; first < tensor->n_elements && rc == 0; first += FED_NPZ_BLOCK) {
        const uint64_t left = tensor->n_elements - first;
        const size_t n = left < FED_NPZ_BLOCK ? (size_t)left : FED_NPZ_BLOCK;
        rc = stream_view(stream, NULL, n * sizeof(float), &bytes, err);
        if (rc == 0) {
            rc = fn(arg, first, bytes, n, err);
        }
        if (rc == FED_FAULT_NOT_FINITE) {
            (void)!fed_dtype_decode(tensor, bytes, n, values);
            (void)!check_finite(values, n, first, err); /* in its words */
        }
    }
    return rc;
}

/* Who takes a tensor's values: one of the two. */
struct taker {
    fed_npz_values_fn values;
    fed_npz_singles_fn singles;
    void *arg;
};

static int
read_tensor(struct fed_npz *npz, size_t index, const struct taker *taker, struct fed_err *err)
{
    const struct fed_tensor *tensor = &npz->layout.tensors[index];
    uint8_t header[FED_NPY_HEADER_MAX];
    struct stream stream;
    int rc = stream_open(npz, index, &stream, err);

    assert(taker->singles != NULL || taker->values != NULL);
    if (rc != 0) {
        return rc;
    }
    rc = stream_read(&stream, header, npz->members[index].header_size, err);
    if (rc == 0) {
        rc = taker->singles != NULL ? read_singles(&stream, tensor, taker->singles, taker->arg, err)
                                    : read_values(&stream, tensor, taker->values, taker->arg, err);
    }
    if (rc == 0) {
        rc = inflate_end(&stream, err);
    }
    if (rc == 0 && !npz->is_trusted && stream.crc != stream.member->crc) {
        rc = npz_fault(err, FED_FAULT_CHECKSUM, "CRC-32 is %08x, the archive says %08x", stream.crc,
                       stream.member->crc);
    }
    stream_close(&stream);
    if (rc != 0 && err != NULL) {
        (void)!fed_err_wrap(err, -1, "%zu.npy", index);
    }
    return rc;
}

int fed_npz_read(struct fed_npz *npz,
                 size_t tensor,
                 fed_npz_values_fn fn,
                 void *arg,
                 struct fed_err *err)
{
    return read_tensor(npz, tensor, &(struct taker){.values = fn, .arg = arg}, err);
}

int fed_npz_read_singles(struct fed_npz *npz,
                         size_t tensor,
                         fed_npz_singles_fn fn,
                         void *arg,
                         struct fed_err *err)
{
    assert(fed_npz_has_singles(npz, tensor));
    return read_tensor(npz, tensor, &(struct taker){.singles = fn, .arg = arg}, err);
}

int fed_layout_match(const struct fed_layout *layout,
                     const struct fed_layout *base,
                     struct fed_err *err)
{
    if (layout->n_tensors != base->n_tensors) {
        return npz_fault(err, FED_FAULT_COUNT, "%zu tensors, the base has %zu", layout->n_tensors,
                         base->n_tensors);
    }
    for (size_t i = 0; i < base->n_tensors; i++) {
        const struct fed_tensor *a = &layout->tensors[i];
        const struct fed_tensor *b = &base->tensors[i];
        if (a->rank != b->rank || memcmp(a->shape, b->shape, a->rank * sizeof(a->shape[0])) != 0) {
            char have[96];
            char want[96];
            fed_shape_format(a, have, sizeof(have));
            fed_shape_format(b, want, sizeof(want));
            return npz_fault(err, FED_FAULT_SHAPE, "%zu.npy has shape %s, the base %s", i, have,
                             want);
        }
    }
    return 0;
}
