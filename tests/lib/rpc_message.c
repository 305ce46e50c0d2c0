#include "tests/lib/rpc_message.h"

#include <stdlib.h>
#include <string.h>

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

struct fed_rpc_in *test_rpc_in_cut(const void *data, size_t size, size_t part)
{
    const size_t n = 2 * ((size + part - 1) / part);
    grpc_slice *slices = calloc(n + 1, sizeof(*slices));
    struct fed_rpc_in *in;

    if (slices == NULL) {
        abort();
    }
    for (size_t i = 0; i < n; i += 2) {
        const size_t at = i / 2 * part;
        slices[i] = grpc_slice_malloc_large(size - at < part ? size - at : part);
        memcpy(GRPC_SLICE_START_PTR(slices[i]), (const char *)data + at,
               GRPC_SLICE_LENGTH(slices[i])); /* gRPC joins small ones that are not so made */
        slices[i + 1] = grpc_empty_slice();
    }
    in = rpc_in_new(grpc_raw_byte_buffer_create(slices, n));
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(slices[i]);
    }
    free(slices);
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
