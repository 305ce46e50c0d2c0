/* What the files that read NPZ share. Nobody else includes this. */
#ifndef FED_COMMON_MODEL_NPZ_INSIDE_H
#define FED_COMMON_MODEL_NPZ_INSIDE_H

#include "common/base/file.h"
#include "common/model/npz.h"

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
    bool is_trusted;
    struct fed_map map;     /* of the whole file; data NULL: it is read */
    struct member *members; /* (layout.n_tensors,) owned */
    struct fed_layout layout;
};

/* Say what is wrong in *err; returns `code`. */
__attribute__((format(printf, 3, 4))) int
npz_fault(struct fed_err *err, enum fed_model_fault code, const char *fmt, ...);

/* Read from the file. Returns 0, FED_FAULT_MALFORMED beyond its end, or < 0. */
FED_NODISCARD int npz_read_at(const struct fed_npz *npz,
                              uint64_t offset,
                              void *data,
                              size_t size,
                              struct fed_err *err);

/* The first `size` bytes of a member, whose place is known: its NPY header and what follows. */
FED_NODISCARD int
npz_read_head(struct fed_npz *npz, size_t index, void *ret_bytes, size_t size, struct fed_err *err);

#endif /* FED_COMMON_MODEL_NPZ_INSIDE_H */
