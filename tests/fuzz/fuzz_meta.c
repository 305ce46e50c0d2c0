/* What a client says about its update: meta, a NUL, config. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/rpc/meta.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 2); /* two texts, also without a NUL in the input */
    struct meta meta;

    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    meta_parse(text, text + strlen(text) + 1, &meta);
    assert((meta.fault == FED_REFUSAL_NONE) == (meta.detail[0] == '\0'));
    assert(meta.fault != FED_REFUSAL_NONE ||
           (meta.examples > 0 && meta.examples <= META_EXAMPLES_MAX));
    assert(meta.round_id[0] == '\0' || fed_id_is_valid(meta.round_id));
    assert(meta.session_id[0] == '\0' || fed_id_is_valid(meta.session_id));
    free(text);
    return 0;
}
