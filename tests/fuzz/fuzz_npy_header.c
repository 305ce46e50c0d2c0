/* The header of an array. */
#include "common/model/npy_header.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fed_tensor tensor;
    struct fed_err err;
    size_t header_size = 0;

    if (size <= FED_NPY_HEADER_MAX) {
        (void)!fed_npy_header_parse(data, size, &tensor, &header_size, &err);
    }
    return 0;
}
