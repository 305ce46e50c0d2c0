/* A model file: open it, read all of it. */
#include "common/model/npz.h"
#include "common/model/values.h"
#include "tests/fuzz/input.h"

static int drop(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    (void)arg;
    (void)index;
    (void)values;
    (void)n;
    (void)err;
    return 0;
}

static int
drop_singles(void *arg, uint64_t index, const uint8_t *bytes, size_t n, struct fed_err *err)
{
    unsigned *sum = arg;

    (void)index;
    (void)err;
    for (size_t i = 0; i < 4 * n; i++) {
        *sum += bytes[i]; /* all of them are there */
    }
    return fed_singles_are_finite(bytes, n) ? 0 : FED_FAULT_NOT_FINITE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct fed_npz_limits limits = {1U << 20, 1U << 16};
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct fed_err err;
    unsigned sum = 0;

    if (fed_npz_open(fuzz_file(data, size), &limits, &npz, &err) != 0) {
        return 0;
    }
    for (size_t i = 0; i < fed_npz_get_layout(npz)->n_tensors; i++) {
        if (fed_npz_read(npz, i, drop, NULL, &err) != 0) {
            break;
        }
    }
    for (size_t i = 0; fed_npz_map(npz, &err) == 0 && i < fed_npz_get_layout(npz)->n_tensors; i++) {
        const bool is_single = fed_npz_has_singles(npz, i);
        if ((is_single ? fed_npz_read_singles(npz, i, drop_singles, &sum, &err)
                       : fed_npz_read(npz, i, drop, NULL, &err)) != 0) {
            break;
        }
    }
    return 0;
}
