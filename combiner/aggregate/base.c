#include "combiner/aggregate/base.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/num.h"
#include "common/model/values.h"

static int copy_layout(const struct fed_layout *layout, struct base *base, struct fed_err *err)
{
    base->layout = (struct fed_layout){
        .tensors = calloc(layout->n_tensors + 1, sizeof(*layout->tensors)),
        .n_tensors = layout->n_tensors,
        .n_elements = layout->n_elements,
    };
    base->offsets = calloc(layout->n_tensors + 1, sizeof(*base->offsets));
    if (base->layout.tensors == NULL || base->offsets == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "base");
    }
    for (size_t i = 0; i < layout->n_tensors; i++) {
        base->layout.tensors[i] = layout->tensors[i];
        base->layout.tensors[i].is_big_endian = false;
        base->layout.tensors[i].is_fortran = false;
    }
    return 0;
}

/* Say where each tensor begins in the raw file; returns the file's size. */
static int plan_raw(struct base *base, size_t *ret_size, struct fed_err *err)
{
    size_t size = 0;

    for (size_t i = 0; i < base->layout.n_tensors; i++) {
        const struct fed_tensor *tensor = &base->layout.tensors[i];
        size_t bytes = 0;
        base->offsets[i] = size;
        if (!fed_size_mul((size_t)tensor->n_elements, fed_dtype_size(tensor->dtype), &bytes) ||
            !fed_size_add(size, bytes, &size)) {
            return fed_err_set(err, FED_E_LIMIT, "the model is too large");
        }
    }
    *ret_size = size;
    return 0;
}

struct target {
    uint8_t *bytes; /* of the tensor */
    enum fed_dtype dtype;
};

static int
take_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    const struct target *target = arg;

    (void)err;
    fed_dtype_encode(target->dtype, values, n,
                     target->bytes + index * fed_dtype_size(target->dtype));
    return 0;
}

static int decode(struct fed_npz *npz, const struct base *base, void *bytes, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < base->layout.n_tensors && rc == 0; i++) {
        struct target target = {(uint8_t *)bytes + base->offsets[i], base->layout.tensors[i].dtype};
        rc = fed_npz_read(npz, i, take_values, &target, err);
    }
    return rc;
}

static int
skip_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    (void)arg;
    (void)index;
    (void)values;
    (void)n;
    (void)err;
    return 0; /* fed_npz_read() has looked at them */
}

/* The model's own file, when its values can be used where they stand. */
static bool find_plain(const struct fed_npz *npz, struct base *base)
{
    bool is_plain = true;

    for (size_t i = 0; i < base->layout.n_tensors && is_plain; i++) {
        is_plain = fed_npz_is_plain(npz, i, &base->offsets[i]);
    }
    return is_plain;
}

/* The file's SHA-256 is the reducer's: of float32 only that it is finite is looked at, and what is
 * not is read for its words. */
static int check_values(struct fed_npz *npz, const struct base *base, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < base->layout.n_tensors && rc == 0; i++) {
        const struct fed_tensor *tensor = &base->layout.tensors[i];
        if (tensor->dtype != FED_DTYPE_F4 ||
            !fed_singles_are_finite(base->map.data + base->offsets[i],
                                    (size_t)tensor->n_elements)) {
            rc = fed_npz_read(npz, i, skip_values, NULL, err);
        }
    }
    return rc;
}

/* Room first: a mapping of a file without blocks ends in SIGBUS on a full disk. */
static int write_raw(const char *raw_path,
                     size_t size,
                     struct fed_npz *npz,
                     const struct base *base,
                     struct fed_err *err)
{
    const int fd = open(raw_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    void *bytes = MAP_FAILED;
    int rc = 0;

    if (fd < 0) {
        return fed_file_error(err, "create", raw_path);
    }
    if (size > 0) {
        if (posix_fallocate(fd, 0, (off_t)size) == 0) {
            bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        if (bytes == MAP_FAILED) {
            rc = fed_err_set(err, FED_E_IO, "no room for %s, %zu bytes", raw_path, size);
        } else {
            rc = decode(npz, base, bytes, err);
            (void)munmap(bytes, size);
        }
    }
    (void)close(fd);
    return rc;
}

int base_open(const char *path,
              const char *raw_path,
              const struct fed_npz_limits *limits,
              struct base *ret_base,
              struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct base base = {0};
    size_t size = 0;
    int rc = fed_npz_open(path, limits, &npz, err);

    rc = rc != 0 ? rc : copy_layout(fed_npz_get_layout(npz), &base, err);
    if (rc == 0 && find_plain(npz, &base)) {
        rc = fed_map_open(path, &base.map, err);
        rc = rc != 0 ? rc : check_values(npz, &base, err);
    } else if (rc == 0) {
        rc = plan_raw(&base, &size, err);
        rc = rc != 0 ? rc : write_raw(raw_path, size, npz, &base, err);
        rc = rc != 0 ? rc : fed_map_open(raw_path, &base.map, err);
    }
    if (rc != 0) {
        base_close(&base);
        return rc;
    }
    *ret_base = base;
    return 0;
}

void base_close(struct base *base)
{
    fed_map_close(&base->map);
    fed_layout_deinit(&base->layout);
    free(base->offsets);
    *base = (struct base){0};
}

void base_read(const struct base *base, size_t tensor, uint64_t index, size_t n, double *ret_values)
{
    const struct fed_tensor *shape = &base->layout.tensors[tensor];
    const uint8_t *bytes =
        base->map.data + base->offsets[tensor] + index * fed_dtype_size(shape->dtype);
    bool is_exact;

    assert(index <= shape->n_elements && n <= shape->n_elements - index);
    is_exact = fed_dtype_decode(shape, bytes, n, ret_values);
    assert(is_exact); /* fed_npz_read() refused larger integers */
}

const uint8_t *base_singles(const struct base *base, size_t tensor, uint64_t index)
{
    return base->layout.tensors[tensor].dtype == FED_DTYPE_F4
               ? base->map.data + base->offsets[tensor] + index * sizeof(float)
               : NULL;
}
