#include "combiner/rpc/status.h"

enum fed_rpc_status status_of(enum fed_code code)
{
    if (code == FED_OK) {
        return FED_RPC_OK;
    }
    return code == FED_E_CANCELLED ? FED_RPC_CANCELLED : FED_RPC_UNAVAILABLE;
}
