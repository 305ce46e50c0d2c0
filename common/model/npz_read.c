/* Reading NPZ.
 *
 * Happy path: end record → central directory → each member's local header and NPY header → values
 * in blocks, inflated where deflated → CRC-32.
 * What can fail: anything; every offset and size is checked against the file's length first.
 */
#include <assert.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base/file.h"
#include "common/base/num.h"
#include "common/base/text.h"
#include "common/model/checksum.h"
#include "common/model/npy_header.h"
#include "common/model/npz.h"
#include "common/model/values.h"

#define END_SIZE      22U    /* end of central directory record */
#define END_SEARCH    65557U /* with the longest comment */
#define DIRECTORY_MAX ((uint64_t)FED_TENSORS_MAX * 256)
#define LOCAL_SIZE    30U
#define CENTRAL_SIZE  46U
#define NAME_MAX_SIZE 16U /* "4095.npy" and some */
#define READ_SIZE     65536U
#define DEFLATE_RATIO 1100U /* deflate cannot do better than 1032 to 1 */

struct member {
    uint64_t data_offset; /* of the stored bytes, from the local header */
    uint64_t local_offset;
    uint64_t stored_size;
    uint64_t size; /* of the NPY array */
    uint32_t crc;
    bool is_deflated;
    bool is_present;
    size_t header_size; /* of the NPY header */
};

struct fed_npz {
    int fd;
    uint64_t file_size;
    uint64_t directory_offset;
    struct fed_npz_limits limits;
    struct member *members; /* (layout.n_tensors,) owned */
    struct fed_layout layout;
};

__attribute__((format(printf, 3, 4))) static int
fault(struct fed_err *err, enum fed_model_fault code, const char *fmt, ...)
{
    char text[FED_ERR_MSG_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)!fed_err_set(err, FED_E_INVALID, "%s", text);
    return (int)code;
}

static int
read_at(const struct fed_npz *npz, uint64_t offset, void *data, size_t size, struct fed_err *err)
{
    uint8_t *p = data;

    if (offset > npz->file_size || size > npz->file_size - offset) {
        return fault(err, FED_FAULT_MALFORMED, "the file ends before byte %llu",
                     (unsigned long long)offset + size);
    }
    while (size > 0) {
        const ssize_t n = pread(npz->fd, p, size, (off_t)offset);
        if (n <= 0) {
            return fed_file_error(err, "read", "model");
        }
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* -- structure ----------------------------------------------------------------------------------
 */

struct directory {
    uint64_t offset;
    uint64_t size;
    uint64_t n_members;
};

/* ZIP64 end record, by the locator right before the end record (APPNOTE 4.3.14, 4.3.15). */
static int find_end64(const struct fed_npz *npz,
                      uint64_t end_offset,
                      struct directory *directory,
                      struct fed_err *err)
{
    uint8_t locator[20] = {0};
    uint8_t end[56] = {0};
    int rc = end_offset < sizeof(locator)
                 ? fault(err, FED_FAULT_MALFORMED, "ZIP64 locator is missing")
                 : read_at(npz, end_offset - sizeof(locator), locator, sizeof(locator), err);

    if (rc == 0 && fed_load_le32(locator) != 0x07064B50) {
        rc = fault(err, FED_FAULT_MALFORMED, "ZIP64 locator is missing");
    }
    if (rc == 0) {
        rc = read_at(npz, fed_load_le64(locator + 8), end, sizeof(end), err);
    }
    if (rc == 0 && fed_load_le32(end) != 0x06064B50) {
        rc = fault(err, FED_FAULT_MALFORMED, "ZIP64 end record is missing");
    }
    if (rc == 0) {
        directory->n_members = fed_load_le64(end + 32);
        directory->size = fed_load_le64(end + 40);
        directory->offset = fed_load_le64(end + 48);
    }
    return rc;
}

static int find_end(const struct fed_npz *npz, struct directory *directory, struct fed_err *err)
{
    const size_t size = npz->file_size < END_SEARCH ? (size_t)npz->file_size : END_SEARCH;
    uint8_t *tail = malloc(size + 1);
    int rc;

    if (tail == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "end record");
    }
    rc = read_at(npz, npz->file_size - size, tail, size, err);
    if (rc == 0) {
        rc = fault(err, FED_FAULT_MALFORMED, "no ZIP archive: its end record is missing");
        for (size_t i = size < END_SIZE ? 0 : size - END_SIZE + 1; i-- > 0;) {
            const uint8_t *end = tail + i;
            if (fed_load_le32(end) != 0x06054B50 ||
                i + END_SIZE + fed_load_le16(end + 20) != size) {
                continue;
            }
            directory->n_members = fed_load_le16(end + 10);
            directory->size = fed_load_le32(end + 12);
            directory->offset = fed_load_le32(end + 16);
            rc = 0;
            if (directory->n_members == 0xFFFF || directory->offset == 0xFFFFFFFF ||
                directory->size == 0xFFFFFFFF) {
                rc = find_end64(npz, npz->file_size - size + i, directory, err);
            }
            break;
        }
    }
    free(tail);
    return rc;
}

/* "17.npy" → 17, plain digits without leading zeros only. */
static bool parse_name(const uint8_t *name, size_t size, size_t *ret_index)
{
    size_t index = 0;

    if (size < 5 || size > NAME_MAX_SIZE || memcmp(name + size - 4, ".npy", 4) != 0 ||
        (name[0] == '0' && size != 5)) {
        return false;
    }
    for (size_t i = 0; i < size - 4; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        index = index * 10 + (size_t)(name[i] - '0');
        if (index >= FED_TENSORS_MAX) {
            return false;
        }
    }
    *ret_index = index;
    return true;
}

/* Sizes and offset that do not fit 32 bits stand in extra field 1 (APPNOTE 4.5.3). */
static bool apply_extra64(const uint8_t *extra, size_t size, struct member *member)
{
    while (size >= 4) {
        const uint16_t id = fed_load_le16(extra);
        size_t n = fed_load_le16(extra + 2);
        const uint8_t *p = extra + 4;
        uint64_t *fields[] = {&member->size, &member->stored_size, &member->local_offset};
        if (n > size - 4) {
            return false;
        }
        extra += 4 + n;
        size -= 4 + n;
        for (size_t i = 0; id == 1 && i < 3; i++) {
            if (*fields[i] == 0xFFFFFFFF && n >= 8) {
                *fields[i] = fed_load_le64(p);
                p += 8;
                n -= 8;
            }
        }
    }
    return true;
}

/* One entry of the central directory; *ret_entry_size is how far to go on. */
static int parse_entry(struct fed_npz *npz,
                       const uint8_t *entry,
                       size_t size,
                       size_t *ret_entry_size,
                       struct fed_err *err)
{
    struct member member = {.is_present = true};
    size_t name_size;
    size_t extra_size;
    size_t index = 0;

    if (size < CENTRAL_SIZE || fed_load_le32(entry) != 0x02014B50) {
        return fault(err, FED_FAULT_MALFORMED, "the ZIP directory is damaged");
    }
    name_size = fed_load_le16(entry + 28);
    extra_size = fed_load_le16(entry + 30);
    *ret_entry_size = CENTRAL_SIZE + name_size + extra_size + fed_load_le16(entry + 32);
    if (*ret_entry_size > size) {
        return fault(err, FED_FAULT_MALFORMED, "the ZIP directory is cut short");
    }
    if (!parse_name(entry + CENTRAL_SIZE, name_size, &index)) {
        char name[41];
        fed_text_copy(name, sizeof(name), fed_view_of(entry + CENTRAL_SIZE, name_size));
        return fault(err, FED_FAULT_MALFORMED, "member '%s' is not named 0.npy, 1.npy, …", name);
    }
    if (index >= npz->layout.n_tensors || npz->members[index].is_present) {
        return fault(err, FED_FAULT_MALFORMED,
                     "member %zu.npy is there twice, or another is missing", index);
    }
    member.crc = fed_load_le32(entry + 16);
    member.stored_size = fed_load_le32(entry + 20);
    member.size = fed_load_le32(entry + 24);
    member.local_offset = fed_load_le32(entry + 42);
    member.is_deflated = fed_load_le16(entry + 10) == 8;
    if ((fed_load_le16(entry + 8) & 1U) != 0 ||
        (!member.is_deflated && fed_load_le16(entry + 10) != 0)) {
        return fault(err, FED_FAULT_MALFORMED,
                     "member %zu.npy is encrypted, or neither stored nor deflated", index);
    }
    if (!apply_extra64(entry + CENTRAL_SIZE + name_size, extra_size, &member) ||
        (!member.is_deflated && member.size != member.stored_size)) {
        return fault(err, FED_FAULT_MALFORMED, "member %zu.npy has sizes that disagree", index);
    }
    if (member.size / DEFLATE_RATIO > member.stored_size ||
        member.size > npz->limits.elements_max * 8 + FED_NPY_HEADER_MAX) {
        return fault(err, FED_FAULT_TOO_LARGE, "member %zu.npy would be %llu bytes", index,
                     (unsigned long long)member.size);
    }
    npz->members[index] = member;
    return 0;
}

static int parse_directory(struct fed_npz *npz,
                           const struct directory *directory,
                           const uint8_t *bytes,
                           struct fed_err *err)
{
    size_t left = (size_t)directory->size;

    for (uint64_t i = 0; i < directory->n_members; i++) {
        size_t entry_size = 0;
        const int rc = parse_entry(npz, bytes, left, &entry_size, err);
        if (rc != 0) {
            return rc;
        }
        bytes += entry_size;
        left -= entry_size;
    }
    return left == 0 ? 0 : fault(err, FED_FAULT_MALFORMED, "the ZIP directory is longer than told");
}

static int load_directory(struct fed_npz *npz, struct fed_err *err)
{
    struct directory directory = {0};
    uint8_t *bytes;
    int rc = find_end(npz, &directory, err);

    if (rc != 0) {
        return rc;
    }
    if (directory.n_members == 0 || directory.n_members > FED_TENSORS_MAX ||
        directory.size > DIRECTORY_MAX) {
        return fault(err, FED_FAULT_MALFORMED, "%llu members, want 1 to %u",
                     (unsigned long long)directory.n_members, FED_TENSORS_MAX);
    }
    npz->layout.n_tensors = (size_t)directory.n_members;
    npz->members = calloc(npz->layout.n_tensors, sizeof(*npz->members));
    npz->layout.tensors = calloc(npz->layout.n_tensors, sizeof(*npz->layout.tensors));
    bytes = malloc((size_t)directory.size + 1);
    if (npz->members == NULL || npz->layout.tensors == NULL || bytes == NULL) {
        free(bytes);
        return fed_err_set(err, FED_E_NOMEM, "ZIP directory");
    }
    npz->directory_offset = directory.offset;
    rc = read_at(npz, directory.offset, bytes, (size_t)directory.size, err);
    if (rc == 0) {
        rc = parse_directory(npz, &directory, bytes, err);
    }
    free(bytes);
    return rc;
}

/* -- values --------------------------------------------------------------------------------------
 */

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
    rc = read_at(stream->npz, stream->offset, stream->in, n, err);
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
            return fault(err, FED_FAULT_MALFORMED, "deflated data is damaged, or ends too early");
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
        return fault(err, FED_FAULT_MALFORMED, "deflated data goes on after the array");
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
        rc = read_at(stream->npz, stream->offset, data, size, err);
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
    if (stream->ahead_left == 0) {
        stream->ahead_at = 0;
        stream->ahead_left = stream->left < READ_SIZE ? (size_t)stream->left : READ_SIZE;
        rc = read_at(stream->npz, stream->offset, stream->in, stream->ahead_left, err);
        stream->offset += stream->ahead_left;
    }
    assert(size <= stream->ahead_left);
    *ret_data = stream->in + stream->ahead_at;
    stream->ahead_at += size;
    stream->ahead_left -= size;
    stream->left -= size;
    stream->crc = fed_crc32(stream->crc, *ret_data, rc == 0 ? size : 0);
    return rc;
}

/* The local header must tell the same member, and its data end before the directory. */
static int load_local(struct fed_npz *npz, size_t index, struct fed_err *err)
{
    struct member *member = &npz->members[index];
    uint8_t local[LOCAL_SIZE + NAME_MAX_SIZE];
    char name[NAME_MAX_SIZE + 8];
    const size_t name_size = (size_t)snprintf(name, sizeof(name), "%zu.npy", index);
    const int rc = read_at(npz, member->local_offset, local, LOCAL_SIZE + name_size, err);

    if (rc != 0) {
        return rc;
    }
    if (fed_load_le32(local) != 0x04034B50 || fed_load_le16(local + 26) != name_size ||
        memcmp(local + LOCAL_SIZE, name, name_size) != 0 ||
        fed_load_le16(local + 8) != (member->is_deflated ? 8 : 0)) {
        return fault(err, FED_FAULT_MALFORMED, "its local header is not what the directory says");
    }
    member->data_offset = member->local_offset + LOCAL_SIZE + name_size + fed_load_le16(local + 28);
    if (member->data_offset > npz->directory_offset ||
        member->stored_size > npz->directory_offset - member->data_offset) {
        return fault(err, FED_FAULT_MALFORMED, "its data goes beyond the end of all data");
    }
    return 0;
}

static int load_header(struct fed_npz *npz, size_t index, struct fed_err *err)
{
    struct member *member = &npz->members[index];
    struct fed_tensor *tensor = &npz->layout.tensors[index];
    uint8_t bytes[FED_NPY_HEADER_MAX];
    struct stream stream;
    const size_t n = member->size < sizeof(bytes) ? (size_t)member->size : sizeof(bytes);
    int rc = load_local(npz, index, err);

    if (rc != 0) {
        return rc;
    }
    rc = stream_open(npz, index, &stream, err);
    if (rc == 0) {
        rc = stream_read(&stream, bytes, n, err);
        stream_close(&stream);
    }
    if (rc == 0) {
        rc = fed_npy_header_parse(bytes, n, tensor, &member->header_size, err);
    }
    if (rc == 0 &&
        member->size != member->header_size + tensor->n_elements * fed_dtype_size(tensor->dtype)) {
        rc = fault(err, FED_FAULT_MALFORMED, "array is longer or shorter than its shape says");
    }
    return rc;
}

static int load_headers(struct fed_npz *npz, struct fed_err *err)
{
    for (size_t i = 0; i < npz->layout.n_tensors; i++) {
        const int rc = load_header(npz, i, err);
        if (rc != 0) {
            if (err != NULL) {
                (void)!fed_err_wrap(err, -1, "%zu.npy", i);
            }
            return rc;
        }
        npz->layout.tensors[i].offset = npz->layout.n_elements;
        npz->layout.n_elements += npz->layout.tensors[i].n_elements;
        if (npz->layout.n_elements > npz->limits.elements_max) {
            return fault(err, FED_FAULT_TOO_LARGE, "more than %llu parameters",
                         (unsigned long long)npz->limits.elements_max);
        }
    }
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct member *const *x = a;
    const struct member *const *y = b;

    return ((*x)->local_offset > (*y)->local_offset) - ((*x)->local_offset < (*y)->local_offset);
}

/* Bytes that belong to two members are how an archive grows without bound when it is unpacked. */
static int check_overlap(const struct fed_npz *npz, struct fed_err *err)
{
    const size_t n = npz->layout.n_tensors;
    const struct member **places = calloc(n + 1, sizeof(const struct member *));
    int rc = 0;

    if (places == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "ZIP directory");
    }
    for (size_t i = 0; i < n; i++) {
        places[i] = &npz->members[i];
    }
    qsort(places, n, sizeof(const struct member *), compare_places);
    for (size_t i = 1; i < n && rc == 0; i++) {
        if (places[i - 1]->data_offset + places[i - 1]->stored_size > places[i]->local_offset) {
            rc = fault(err, FED_FAULT_MALFORMED, "two members share bytes");
        }
    }
    free(places);
    return rc;
}

int fed_npz_open(const char *path,
                 const struct fed_npz_limits *limits,
                 struct fed_npz **ret_npz,
                 struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = calloc(1, sizeof(*npz));
    struct stat st;
    int rc;

    if (npz == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    npz->limits = *limits;
    npz->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (npz->fd < 0 || fstat(npz->fd, &st) != 0) {
        return fed_file_error(err, "open", path);
    }
    npz->file_size = (uint64_t)st.st_size;
    if (npz->file_size > limits->file_size_max) {
        return fault(err, FED_FAULT_TOO_LARGE, "%llu bytes, at most %llu are allowed",
                     (unsigned long long)npz->file_size, (unsigned long long)limits->file_size_max);
    }
    rc = load_directory(npz, err);
    if (rc == 0) {
        rc = load_headers(npz, err);
    }
    if (rc == 0) {
        rc = check_overlap(npz, err);
    }
    if (rc == 0) {
        *ret_npz = FED_TAKE(npz);
    }
    return rc;
}

struct fed_npz *fed_npz_free(struct fed_npz *npz)
{
    if (npz != NULL) {
        if (npz->fd >= 0) {
            (void)close(npz->fd);
        }
        free(npz->members);
        fed_layout_deinit(&npz->layout);
        free(npz);
    }
    return NULL;
}

const struct fed_layout *fed_npz_get_layout(const struct fed_npz *npz)
{
    return &npz->layout;
}

bool fed_npz_is_plain(const struct fed_npz *npz, size_t tensor, uint64_t *ret_offset)
{
    const struct member *member = &npz->members[tensor];
    const struct fed_tensor *shape = &npz->layout.tensors[tensor];

    *ret_offset = member->data_offset + member->header_size;
    return !member->is_deflated && !shape->is_fortran &&
           (!shape->is_big_endian || fed_dtype_size(shape->dtype) == 1);
}

static int check_finite(const double *values, size_t n, uint64_t index, struct fed_err *err)
{
    if (fed_values_are_finite(values, n)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return fault(err, FED_FAULT_NOT_FINITE, "element %llu is %s",
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
            rc = fault(err, FED_FAULT_OUT_OF_RANGE, "a 64-bit integer is beyond 2^53");
        }
        if (rc == 0) {
            rc = check_finite(values, n, first, err);
        }
        if (rc == 0) {
            rc = deliver(tensor, first, values, n, &sink, err);
        }
    }
    if (rc == 0) {
        rc = inflate_end(stream, err);
    }
    if (rc == 0 && stream->crc != stream->member->crc) {
        rc = fault(err, FED_FAULT_CHECKSUM, "CRC-32 is %08x, the archive says %08x", stream->crc,
                   stream->member->crc);
    }
    return rc;
}

int fed_npz_read(struct fed_npz *npz,
                 size_t tensor,
                 fed_npz_values_fn fn,
                 void *arg,
                 struct fed_err *err)
{
    uint8_t header[FED_NPY_HEADER_MAX];
    struct stream stream;
    int rc = stream_open(npz, tensor, &stream, err);

    if (rc != 0) {
        return rc;
    }
    rc = stream_read(&stream, header, npz->members[tensor].header_size, err);
    if (rc == 0) {
        rc = read_values(&stream, &npz->layout.tensors[tensor], fn, arg, err);
    }
    stream_close(&stream);
    if (rc != 0 && err != NULL) {
        (void)!fed_err_wrap(err, -1, "%zu.npy", tensor);
    }
    return rc;
}

int fed_layout_match(const struct fed_layout *layout,
                     const struct fed_layout *base,
                     struct fed_err *err)
{
    if (layout->n_tensors != base->n_tensors) {
        return fault(err, FED_FAULT_COUNT, "%zu tensors, the base has %zu", layout->n_tensors,
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
            return fault(err, FED_FAULT_SHAPE, "%zu.npy has shape %s, the base %s", i, have, want);
        }
    }
    return 0;
}
