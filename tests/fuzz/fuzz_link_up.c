/* What a combiner says: messages one after the other, each behind two bytes of length. */
#include "common/base/num.h"
#include "common/link/link_codec.h"
#include "tests/fuzz/input.h"
#include "tests/lib/rpc_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fed_hello_joiner joiner = {0};
    struct fed_err err;

    while (size >= 2) {
        size_t n = fed_load_le16(data);
        struct fed_up up = {0};
        struct fed_rpc_in *in;

        n = n < size - 2 ? n : size - 2;
        in = test_rpc_in_new(data + 2, n);
        if (fed_up_decode(in, &joiner, &up, &err) == 0) {
            fed_up_deinit(&up);
        }
        (void)fed_rpc_in_free(in);
        data += 2 + n;
        size -= 2 + n;
    }
    fed_hello_joiner_deinit(&joiner);
    return 0;
}
