/* Reading NPZ: the structure of the file. Values are read in npz_values.c.
 *
 * Happy path: end record → central directory → each member's local header and NPY header.
 * What can fail: anything; every offset and size is checked against the file's length first.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/num.h"
#include "common/base/text.h"
#include "common/model/npy_header.h"
#include "common/model/npz_inside.h"

#define END_SIZE      22U    /* end of central directory record */
#define END_SEARCH    65557U /* with the longest comment */
#define DIRECTORY_MAX ((uint64_t)FED_TENSORS_MAX * 256)
#define LOCAL_SIZE    30U
#define CENTRAL_SIZE  46U
#define NAME_MAX_SIZE 16U   /* "4095.npy" and some */
#define DEFLATE_RATIO 1100U /* deflate cannot do better than 1032 to 1 */

int npz_fault(struct fed_err *err, enum fed_model_fault code, const char *fmt, ...)
{
    char text[FED_ERR_MSG_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)!fed_err_set(err, FED_E_INVALID, "%s", text);
    return (int)code;
}

int npz_read_at(const struct fed_npz *npz,
                uint64_t offset,
                void *data,
                size_t size,
                struct fed_err *err)
{
    uint8_t *p = data;

    if (offset > npz->file_size || size > npz->file_size - offset) {
        (void)!npz_fault(err, FED_FAULT_MALFORMED, "the file ends before byte %llu",
                         (unsigned long long)offset + size);
        return FED_FAULT_MALFORMED;
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
                 ? npz_fault(err, FED_FAULT_MALFORMED, "ZIP64 locator is missing")
                 : npz_read_at(npz, end_offset - sizeof(locator), locator, sizeof(locator), err);

    if (rc == 0 && fed_load_le32(locator) != 0x07064B50) {
        rc = npz_fault(err, FED_FAULT_MALFORMED, "ZIP64 locator is missing");
    }
    if (rc == 0) {
        rc = npz_read_at(npz, fed_load_le64(locator + 8), end, sizeof(end), err);
    }
    if (rc == 0 && fed_load_le32(end) != 0x06064B50) {
        rc = npz_fault(err, FED_FAULT_MALFORMED, "ZIP64 end record is missing");
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
    rc = npz_read_at(npz, npz->file_size - size, tail, size, err);
    if (rc == 0) {
        rc = npz_fault(err, FED_FAULT_MALFORMED, "no ZIP archive: its end record is missing");
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
        return npz_fault(err, FED_FAULT_MALFORMED, "the ZIP directory is damaged");
    }
    name_size = fed_load_le16(entry + 28);
    extra_size = fed_load_le16(entry + 30);
    *ret_entry_size = CENTRAL_SIZE + name_size + extra_size + fed_load_le16(entry + 32);
    if (*ret_entry_size > size) {
        return npz_fault(err, FED_FAULT_MALFORMED, "the ZIP directory is cut short");
    }
    if (!parse_name(entry + CENTRAL_SIZE, name_size, &index)) {
        char name[41];
        fed_text_copy(name, sizeof(name), fed_view_of(entry + CENTRAL_SIZE, name_size));
        return npz_fault(err, FED_FAULT_MALFORMED, "member '%s' is not named 0.npy, 1.npy, …",
                         name);
    }
    if (index >= npz->layout.n_tensors || npz->members[index].is_present) {
        return npz_fault(err, FED_FAULT_MALFORMED,
                         "member %zu.npy is there twice, or another is missing", index);
    }
    member.crc = fed_load_le32(entry + 16);
    member.stored_size = fed_load_le32(entry + 20);
    member.size = fed_load_le32(entry + 24);
    member.local_offset = fed_load_le32(entry + 42);
    member.is_deflated = fed_load_le16(entry + 10) == 8;
    if ((fed_load_le16(entry + 8) & 1U) != 0 ||
        (!member.is_deflated && fed_load_le16(entry + 10) != 0)) {
        return npz_fault(err, FED_FAULT_MALFORMED,
                         "member %zu.npy is encrypted, or neither stored nor deflated", index);
    }
    if (!apply_extra64(entry + CENTRAL_SIZE + name_size, extra_size, &member) ||
        (!member.is_deflated && member.size != member.stored_size)) {
        return npz_fault(err, FED_FAULT_MALFORMED, "member %zu.npy has sizes that disagree", index);
    }
    if (member.size / DEFLATE_RATIO > member.stored_size ||
        member.size > npz->limits.elements_max * 8 + FED_NPY_HEADER_MAX) {
        return npz_fault(err, FED_FAULT_TOO_LARGE, "member %zu.npy would be %llu bytes", index,
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
    return left == 0 ? 0
                     : npz_fault(err, FED_FAULT_MALFORMED, "the ZIP directory is longer than told");
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
        return npz_fault(err, FED_FAULT_MALFORMED, "%llu members, want 1 to %u",
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
    rc = npz_read_at(npz, directory.offset, bytes, (size_t)directory.size, err);
    if (rc == 0) {
        rc = parse_directory(npz, &directory, bytes, err);
    }
    free(bytes);
    return rc;
}

/* The local header must tell the same member, and its data end before the directory. */
static int load_local(struct fed_npz *npz, size_t index, struct fed_err *err)
{
    struct member *member = &npz->members[index];
    uint8_t local[LOCAL_SIZE + NAME_MAX_SIZE];
    char name[NAME_MAX_SIZE + 8];
    const size_t name_size = (size_t)snprintf(name, sizeof(name), "%zu.npy", index);
    const int rc = npz_read_at(npz, member->local_offset, local, LOCAL_SIZE + name_size, err);

    if (rc != 0) {
        return rc;
    }
    if (fed_load_le32(local) != 0x04034B50 || fed_load_le16(local + 26) != name_size ||
        memcmp(local + LOCAL_SIZE, name, name_size) != 0 ||
        fed_load_le16(local + 8) != (member->is_deflated ? 8 : 0)) {
        return npz_fault(err, FED_FAULT_MALFORMED,
                         "its local header is not what the directory says");
    }
    member->data_offset = member->local_offset + LOCAL_SIZE + name_size + fed_load_le16(local + 28);
    if (member->data_offset > npz->directory_offset ||
        member->stored_size > npz->directory_offset - member->data_offset) {
        return npz_fault(err, FED_FAULT_MALFORMED, "its data goes beyond the end of all data");
    }
    return 0;
}

static int load_header(struct fed_npz *npz, size_t index, struct fed_err *err)
{
    struct member *member = &npz->members[index];
    struct fed_tensor *tensor = &npz->layout.tensors[index];
    uint8_t bytes[FED_NPY_HEADER_MAX];
    const size_t n = member->size < sizeof(bytes) ? (size_t)member->size : sizeof(bytes);
    int rc = load_local(npz, index, err);

    if (rc != 0) {
        return rc;
    }
    rc = npz_read_head(npz, index, bytes, n, err);
    if (rc == 0) {
        rc = fed_npy_header_parse(bytes, n, tensor, &member->header_size, err);
    }
    if (rc == 0 &&
        member->size != member->header_size + tensor->n_elements * fed_dtype_size(tensor->dtype)) {
        rc = npz_fault(err, FED_FAULT_MALFORMED, "array is longer or shorter than its shape says");
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
            return npz_fault(err, FED_FAULT_TOO_LARGE, "more than %llu parameters",
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
            rc = npz_fault(err, FED_FAULT_MALFORMED, "two members share bytes");
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
        return npz_fault(err, FED_FAULT_TOO_LARGE, "%llu bytes, at most %llu are allowed",
                         (unsigned long long)npz->file_size,
                         (unsigned long long)limits->file_size_max);
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
        fed_map_close(&npz->map);
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

void fed_npz_trust(struct fed_npz *npz)
{
    npz->is_trusted = true;
}

int fed_npz_map(struct fed_npz *npz, struct fed_err *err)
{
    return npz->map.data != NULL ? 0 : fed_map_fd(npz->fd, (size_t)npz->file_size, &npz->map, err);
}

bool fed_npz_is_plain(const struct fed_npz *npz, size_t tensor, uint64_t *ret_offset)
{
    const struct member *member = &npz->members[tensor];
    const struct fed_tensor *shape = &npz->layout.tensors[tensor];

    *ret_offset = member->data_offset + member->header_size;
    return !member->is_deflated && !shape->is_fortran &&
           (!shape->is_big_endian || fed_dtype_size(shape->dtype) == 1);
}

const uint8_t *fed_npz_get_bytes(const struct fed_npz *npz, size_t tensor)
{
    uint64_t offset;

    return fed_npz_is_plain(npz, tensor, &offset) && npz->is_trusted && npz->map.data != NULL
               ? npz->map.data + offset
               : NULL;
}

bool fed_npz_has_singles(const struct fed_npz *npz, size_t tensor)
{
    uint64_t offset;

    return npz->layout.tensors[tensor].dtype == FED_DTYPE_F4 &&
           fed_npz_is_plain(npz, tensor, &offset);
}
