#include "common/model/cnn_model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/rand.h"
#include "common/model/npz.h"

/* The tensors, and the inputs of one unit of their layer (fan-in), a bias's as its weight's. */
static const struct {
    uint32_t rank;
    uint32_t fan_in;
    uint64_t shape[4];
} tensors[FED_CNN_TENSORS] = {
    {4, 25, {32, 1, 5, 5}},   {1, 25, {32}},    /* conv1 */
    {4, 800, {64, 32, 5, 5}}, {1, 800, {64}},   /* conv2 */
    {2, 3136, {512, 3136}},   {1, 3136, {512}}, /* fc1 */
    {2, 512, {10, 512}},      {1, 512, {10}},   /* fc2 */
};

int fed_cnn_layout(struct fed_layout *ret_layout, struct fed_err *err)
{
    struct fed_tensor *tensor = calloc(FED_CNN_TENSORS, sizeof(*tensor));
    uint64_t offset = 0;

    if (tensor == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "layout of %u tensors", FED_CNN_TENSORS);
    }
    for (size_t i = 0; i < FED_CNN_TENSORS; i++) {
        tensor[i].dtype = FED_DTYPE_F4;
        tensor[i].rank = tensors[i].rank;
        tensor[i].n_elements = 1;
        for (uint32_t k = 0; k < tensors[i].rank; k++) {
            tensor[i].shape[k] = tensors[i].shape[k];
            tensor[i].n_elements *= tensors[i].shape[k];
        }
        tensor[i].offset = offset;
        offset += tensor[i].n_elements;
    }
    *ret_layout =
        (struct fed_layout){.tensors = tensor, .n_tensors = FED_CNN_TENSORS, .n_elements = offset};
    return 0;
}

void fed_cnn_init(uint64_t seed, float *ret_params)
{
    for (size_t i = 0; i < FED_CNN_TENSORS; i++) {
        const uint64_t key[2] = {seed, i};
        const double bound = 1.0 / sqrt((double)tensors[i].fan_in);
        struct fed_rand rand;
        size_t n = 1;

        fed_rand_init(&rand, key, 2);
        for (uint32_t k = 0; k < tensors[i].rank; k++) {
            n *= tensors[i].shape[k];
        }
        for (size_t k = 0; k < n; k++) {
            *ret_params++ = (float)(bound * (2.0 * fed_rand_unit(&rand) - 1.0));
        }
    }
}

static int write_tensor(struct fed_npz_writer *writer,
                        const struct fed_tensor *tensor,
                        const float *params,
                        struct fed_err *err)
{
    double block[FED_NPZ_BLOCK];
    int rc = fed_npz_writer_begin(writer, tensor, err);

    for (uint64_t done = 0; rc == 0 && done < tensor->n_elements;) {
        const uint64_t left = tensor->n_elements - done;
        const size_t n = left < FED_NPZ_BLOCK ? (size_t)left : FED_NPZ_BLOCK;

        for (size_t i = 0; i < n; i++) {
            block[i] = (double)params[done + i];
        }
        rc = fed_npz_writer_add(writer, block, n, err);
        done += n;
    }
    return rc;
}

static void close_fd_p(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

static int write_file(const char *path, const float *params, struct fed_err *err)
{
    FED_CLEANUP(close_fd_p) const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    FED_CLEANUP(fed_npz_writer_free_p) struct fed_npz_writer *writer = NULL;
    FED_CLEANUP(fed_layout_deinit) struct fed_layout layout = {0};
    int rc;

    if (fd < 0) {
        return fed_file_error(err, "create", path);
    }
    rc = fed_cnn_layout(&layout, err);
    if (rc == 0) {
        rc = fed_npz_writer_new(fd, &writer, err);
    }
    for (size_t i = 0; rc == 0 && i < layout.n_tensors; i++) {
        rc = write_tensor(writer, &layout.tensors[i], params + layout.tensors[i].offset, err);
    }
    return rc == 0 ? fed_npz_writer_finish(writer, err) : rc;
}

int fed_cnn_write(const char *path, const float *params, struct fed_err *err)
{
    char temporary[FED_PATH_SIZE];
    int rc = fed_path_format(temporary, err, "%s.tmp", path);

    if (rc < 0) {
        return rc;
    }
    rc = write_file(temporary, params, err);
    if (rc < 0) {
        rc = fed_err_wrap(err, rc, "write model %s", path);
    } else if (rename(temporary, path) != 0) {
        rc = fed_file_error(err, "rename to", path);
    }
    if (rc < 0) {
        (void)unlink(temporary);
    }
    return rc;
}

static int
take_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    float *params = (float *)arg + index;

    for (size_t i = 0; i < n; i++) {
        params[i] = (float)values[i];
        if (!isfinite(params[i])) {
            const unsigned long long element = index + i;

            return fed_err_set(err, FED_E_INVALID, "%g at element %llu is beyond float32",
                               values[i], element);
        }
    }
    return 0;
}

/* What a fault of the file is to the caller; *err keeps the text that names it. */
static int fault_to_code(int fault, const char *path, struct fed_err *err)
{
    const enum fed_code code = fault == FED_FAULT_CHECKSUM ? FED_E_CORRUPT : FED_E_INVALID;
    char text[FED_ERR_MSG_SIZE];

    (void)snprintf(text, sizeof(text), "%s", err->msg);
    return fed_err_set(err, code, "model %s: %s", path, text);
}

int fed_cnn_read(const char *path, float *ret_params, struct fed_err *err)
{
    const struct fed_npz_limits limits = {.file_size_max = FED_CNN_FILE_MAX,
                                          .elements_max = FED_CNN_PARAMS};
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    FED_CLEANUP(fed_layout_deinit) struct fed_layout layout = {0};
    struct fed_err inner = {0};
    int rc = fed_cnn_layout(&layout, &inner);

    if (rc == 0) {
        rc = fed_npz_open(path, &limits, &npz, &inner);
    }
    if (rc == 0) {
        rc = fed_layout_match(fed_npz_get_layout(npz), &layout, &inner);
    }
    for (size_t i = 0; rc == 0 && i < layout.n_tensors; i++) {
        rc = fed_npz_read(npz, i, take_values, ret_params + layout.tensors[i].offset, &inner);
        if (rc < 0) {
            rc = fed_err_wrap(&inner, rc, "tensor %zu", i);
        }
    }
    if (rc > 0) {
        rc = fault_to_code(rc, path, &inner);
    } else if (rc < 0) {
        rc = fed_err_wrap(&inner, rc, "model %s", path);
    }
    if (rc < 0 && err != NULL) {
        *err = inner;
    }
    return rc;
}
