/* Writing NPZ in runs: where each byte comes to lie follows from the layout, the CRC-32 of a member
 * is joined from those of its parts. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/model/checksum.h"
#include "common/model/npy_header.h"
#include "common/model/npz.h"
#include "common/model/npz_zip.h"

struct piece {
    struct fed_npz_run run;
    uint64_t offset; /* of its bytes in the file */
    size_t size;
    uint32_t crc;
    bool is_written;
};

struct fed_npz_runs {
    int fd;
    struct fed_layout layout;    /* of what is written */
    struct npz_written *members; /* (layout.n_tensors,) owned */
    struct piece *pieces;        /* (n_pieces,) owned; in the file's order */
    size_t n_pieces;
    uint64_t end; /* of the last member */
};

struct fed_npz_runs *fed_npz_runs_free(struct fed_npz_runs *runs)
{
    if (runs != NULL) {
        fed_layout_deinit(&runs->layout);
        free(runs->members);
        free(runs->pieces);
        free(runs);
    }
    return NULL;
}

static int write_at(int fd, uint64_t offset, const void *data, size_t size, struct fed_err *err)
{
    const uint8_t *p = data;

    while (size > 0) {
        const ssize_t n = pwrite(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fed_file_error(err, "write", "model");
        }
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int
make_room(struct fed_npz_runs *runs, const struct fed_layout *layout, struct fed_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < layout->n_tensors; i++) {
        n += (size_t)((layout->tensors[i].n_elements + FED_NPZ_RUN - 1) / FED_NPZ_RUN);
    }
    runs->layout.tensors = calloc(layout->n_tensors + 1, sizeof(*runs->layout.tensors));
    runs->members = calloc(layout->n_tensors + 1, sizeof(*runs->members));
    runs->pieces = calloc(n + 1, sizeof(*runs->pieces));
    if (runs->layout.tensors == NULL || runs->members == NULL || runs->pieces == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu runs", n);
    }
    return 0;
}

/* Cut the tensor, whose values begin at `offset`. */
static void cut(struct fed_npz_runs *runs, size_t i, uint64_t offset)
{
    const struct fed_tensor *tensor = &runs->layout.tensors[i];
    const size_t size = fed_dtype_size(tensor->dtype);

    for (uint64_t first = 0; first < tensor->n_elements; first += FED_NPZ_RUN) {
        const uint64_t left = tensor->n_elements - first;
        struct piece *piece = &runs->pieces[runs->n_pieces++];
        piece->run.tensor = i;
        piece->run.first = first;
        piece->run.n = left < FED_NPZ_RUN ? (size_t)left : FED_NPZ_RUN;
        piece->offset = offset + first * size;
        piece->size = piece->run.n * size;
    }
}

static void lay_out(struct fed_npz_runs *runs, const struct fed_layout *layout)
{
    uint8_t local[NPZ_LOCAL_MAX];
    char header[FED_NPY_HEADER_MAX];

    runs->layout.n_tensors = layout->n_tensors;
    for (size_t i = 0; i < layout->n_tensors; i++) {
        struct fed_tensor *tensor = &runs->layout.tensors[i];
        struct npz_written *member = &runs->members[i];
        size_t header_size;
        *tensor = layout->tensors[i];
        tensor->is_big_endian = false;
        tensor->is_fortran = false;
        header_size = fed_npy_header_format(tensor, header);
        member->index = i;
        member->local_offset = runs->end;
        member->size = header_size + tensor->n_elements * fed_dtype_size(tensor->dtype);
        runs->end += npz_zip_local(member, local);
        cut(runs, i, runs->end + header_size);
        runs->end += member->size;
    }
}

int fed_npz_runs_new(int fd,
                     const struct fed_layout *layout,
                     struct fed_npz_runs **ret_runs,
                     struct fed_err *err)
{
    struct fed_npz_runs *runs = calloc(1, sizeof(*runs));
    const int rc =
        runs == NULL ? fed_err_set(err, FED_E_NOMEM, "NPZ writer") : make_room(runs, layout, err);

    if (rc < 0) {
        (void)fed_npz_runs_free(runs);
        return rc;
    }
    runs->fd = fd;
    lay_out(runs, layout);
    *ret_runs = runs;
    return 0;
}

size_t fed_npz_runs_count(const struct fed_npz_runs *runs)
{
    return runs->n_pieces;
}

struct fed_npz_run fed_npz_runs_get(const struct fed_npz_runs *runs, size_t i)
{
    assert(i < runs->n_pieces);
    return runs->pieces[i].run;
}

int fed_npz_runs_put(struct fed_npz_runs *runs, size_t i, const void *bytes, struct fed_err *err)
{
    struct piece *piece = &runs->pieces[i];

    assert(i < runs->n_pieces);
    piece->crc = fed_crc32(0, bytes, piece->size);
    piece->is_written = true;
    return write_at(runs->fd, piece->offset, bytes, piece->size, err);
}

/* The member's headers, its CRC-32 known; io_piece: its first piece, then the next member's. */
static int write_headers(struct fed_npz_runs *runs, size_t i, size_t *io_piece, struct fed_err *err)
{
    struct npz_written *member = &runs->members[i];
    uint8_t headers[NPZ_LOCAL_MAX + FED_NPY_HEADER_MAX];
    char header[FED_NPY_HEADER_MAX];
    const size_t size = fed_npy_header_format(&runs->layout.tensors[i], header);
    size_t local_size;

    member->crc = fed_crc32(0, header, size);
    for (; *io_piece < runs->n_pieces && runs->pieces[*io_piece].run.tensor == i; ++*io_piece) {
        const struct piece *piece = &runs->pieces[*io_piece];
        assert(piece->is_written);
        member->crc = (uint32_t)crc32_combine(member->crc, piece->crc, (z_off_t)piece->size);
    }
    local_size = npz_zip_local(member, headers);
    memcpy(headers + local_size, header, size);
    return write_at(runs->fd, member->local_offset, headers, local_size + size, err);
}

int fed_npz_runs_finish(struct fed_npz_runs *runs, struct fed_err *err)
{
    struct fed_buf directory;
    size_t piece = 0;
    int rc = 0;

    fed_buf_init(&directory, 0);
    for (size_t i = 0; i < runs->layout.n_tensors && rc == 0; i++) {
        rc = write_headers(runs, i, &piece, err);
        rc = rc < 0 ? rc : npz_zip_add(&directory, &runs->members[i], err);
    }
    rc = rc < 0 ? rc : npz_zip_end(&directory, runs->layout.n_tensors, runs->end, err);
    rc = rc < 0 ? rc : write_at(runs->fd, runs->end, directory.data, directory.size, err);
    fed_buf_deinit(&directory);
    return rc;
}
