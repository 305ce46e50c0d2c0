/* RPC messages without a connection: what one side packs, the other unpacks. */
#ifndef TESTS_LIB_RPC_MESSAGE_H
#define TESTS_LIB_RPC_MESSAGE_H

#include "common/rpc/rpc.h"

/* A message as if it had been received; the caller frees it. Aborts when there is no memory. */
struct fed_rpc_in *test_rpc_in_new(const void *data, size_t size);

/* The same in pieces of `part` bytes, each before an empty one. */
struct fed_rpc_in *test_rpc_in_cut(const void *data, size_t size, size_t part);

/* What was to be sent, as if it had been received. Takes `out`. */
struct fed_rpc_in *test_rpc_in_of(struct fed_rpc_out *out);

#endif /* TESTS_LIB_RPC_MESSAGE_H */
