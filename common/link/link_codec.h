/* Link messages to bytes and back: common/link/link.h ↔ proto/confed/v1/federation.proto.
 *
 * Decoding takes nothing on trust: ids are checked, numbers held to their ranges, counts to the
 * bounds of link.h. A failure is FED_E_INVALID with the field in the text.
 *
 * Thread safety: none needed; pure but for memory.
 */
#ifndef FED_COMMON_LINK_LINK_CODEC_H
#define FED_COMMON_LINK_LINK_CODEC_H

#include "common/link/link.h"
#include "common/rpc/rpc.h"

/* Sends one message of a sequence: a Hello goes in parts of at most 1 MiB, the rest as one. Takes
 * `out`. Returns as fed_rpc_call_send(). */
typedef int (*fed_link_send_fn)(void *arg, struct fed_rpc_out *out, struct fed_err *err);

FED_NODISCARD int
fed_up_encode(const struct fed_up *up, fed_link_send_fn send, void *arg, struct fed_err *err);
FED_NODISCARD int
fed_down_encode(const struct fed_down *down, fed_link_send_fn send, void *arg, struct fed_err *err);

FED_NODISCARD int
fed_down_decode(struct fed_rpc_in *in, struct fed_down *ret_down, struct fed_err *err);

/* The parts of a Hello that have come so far, for one link. Zeroed to begin with. */
struct fed_hello_joiner {
    struct fed_hello hello;
    uint32_t n_parts;
};
void fed_hello_joiner_deinit(struct fed_hello_joiner *joiner);

/* Outcome: a part of a Hello was kept, more are to come; *ret_up is not set. */
enum {
    FED_LINK_MORE = 1,
};

/* Returns 0, FED_LINK_MORE, or < 0. */
FED_NODISCARD int fed_up_decode(struct fed_rpc_in *in,
                                struct fed_hello_joiner *joiner,
                                struct fed_up *ret_up,
                                struct fed_err *err);

#endif /* FED_COMMON_LINK_LINK_CODEC_H */
