/* What the reducer says. */
#include "common/link/link_codec.h"
#include "tests/fuzz/input.h"
#include "tests/lib/rpc_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fed_rpc_in *in = test_rpc_in_new(data, size);
    struct fed_down down = {0};
    struct fed_err err;

    if (fed_down_decode(in, &down, &err) == 0) {
        fed_down_deinit(&down);
    }
    (void)fed_rpc_in_free(in);
    return 0;
}
