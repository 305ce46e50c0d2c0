/* An IDX file, gzipped or not: open it, read its last item, and in a second pass all of it. */
#include <stdlib.h>

#include "client/data/idx.h"
#include "tests/fuzz/input.h"

#define ALL_MAX (1U << 20) /* bytes */

static void read_items(const char *path, bool is_all)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    struct fed_err err;
    uint8_t *data;

    if (idx_open(path, &idx, &err) != 0) {
        return;
    }
    const uint32_t last = (uint32_t)idx_get_count(idx) - 1;
    const size_t n = is_all ? idx_get_count(idx) : 1;
    if (n * idx_get_item_size(idx) > ALL_MAX) {
        return;
    }
    data = malloc(n * idx_get_item_size(idx));
    if (data != NULL) {
        (void)!idx_read(idx, is_all ? NULL : &last, n, data, &err);
    }
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_items(fuzz_file(data, size), false);
    read_items(fuzz_file(data, size), true);
    return 0;
}
