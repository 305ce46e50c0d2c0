/* A partial sum that a combiner hands over. */
#include <stdlib.h>

#include "common/link/partial.h"
#include "tests/fuzz/input.h"

#define PARAMS_MAX 100000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    struct fed_partial partial;
    struct fed_err err;

    if (fed_partial_open(path, &partial, &err) == 0) {
        int64_t *sums = partial.n_params <= PARAMS_MAX
                            ? calloc((size_t)partial.n_params + 1, sizeof(*sums))
                            : NULL;
        if (sums != NULL) {
            (void)!fed_partial_add(path, &partial, sums, &err);
        }
        free(sums);
        fed_partial_deinit(&partial);
    }
    return 0;
}
