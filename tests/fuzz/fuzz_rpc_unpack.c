/* A message of any kind: the first byte says which, the rest is the message. */
#include <confed/v1/federation.pb-c.h>
#include <fedn.pb-c.h>

#include "tests/fuzz/input.h"
#include "tests/lib/rpc_message.h"

static const ProtobufCMessageDescriptor *const descriptors[] = {
    &fedn__model_update__descriptor,     &fedn__model_validation__descriptor,
    &fedn__task_request__descriptor,     &fedn__model_metric__descriptor,
    &fedn__status__descriptor,           &fedn__heartbeat__descriptor,
    &confed__v1__up__descriptor,         &confed__v1__down__descriptor,
    &confed__v1__partial_ack__descriptor};

/* The messages that carry bulk, and in which field. */
static const struct {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t field;
} bulks[] = {{&fedn__model_request__descriptor, 3},
             {&confed__v1__model_chunk__descriptor, 3},
             {&confed__v1__partial_chunk__descriptor, 5}};

#define N_PLAIN (sizeof(descriptors) / sizeof(descriptors[0]))
#define N_BULK  (sizeof(bulks) / sizeof(bulks[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t which = size == 0 ? 0 : data[0] % (N_PLAIN + N_BULK);
    struct fed_rpc_in *in =
        test_rpc_in_cut(data + (size == 0 ? 0 : 1), size == 0 ? 0 : size - 1, 1 + size % 7);
    ProtobufCMessage *message = NULL;
    struct fed_pieces bulk = {0};
    struct fed_err err;

    if (which < N_PLAIN) {
        (void)!fed_rpc_in_unpack(in, descriptors[which], &message, &err);
    } else {
        (void)!fed_rpc_in_unpack_pieces(in, bulks[which - N_PLAIN].descriptor,
                                        bulks[which - N_PLAIN].field, &message, &bulk, &err);
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    return 0;
}
