/* A model's file as bytes to be sent to any number of receivers: mapped, not read. */
#ifndef REDUCER_RPC_MODEL_FILE_H
#define REDUCER_RPC_MODEL_FILE_H

#include "common/base/err.h"
#include "common/rpc/rpc.h"

/* The file may be unlinked afterwards; it must not be written to. Blocks. Fails as fed_map_open(),
 * or with FED_E_NOMEM. */
FED_NODISCARD int model_file_map(const char *path, struct fed_slab **ret_slab, struct fed_err *err);

#endif /* REDUCER_RPC_MODEL_FILE_H */
