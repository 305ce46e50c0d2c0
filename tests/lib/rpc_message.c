#include "tests/lib/rpc_message.h"

#include <stdlib.h>

#include "common/rpc/rpc_inside.h"

struct fed_rpc_in *test_rpc_in_new(const void *data, size_t size)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(data, size);
    struct fed_rpc_in *in = rpc_in_new(grpc_raw_byte_buffer_create(&slice, 1));

    grpc_slice_unref(slice);
    if (in == NULL) {
        abort();
    }
    return in;
}

struct fed_rpc_in *test_rpc_in_of(struct fed_rpc_out *out)
{
    struct fed_rpc_in *in = rpc_in_new(grpc_byte_buffer_copy(out->buffer));

    (void)fed_rpc_out_free(out);
    if (in == NULL) {
        abort();
    }
    return in;
}
