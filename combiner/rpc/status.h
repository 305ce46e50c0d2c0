/* What leaves the client port: OK, UNAVAILABLE or CANCELLED, and nothing else.
 *
 * An unmodified FEDn client ends itself at any other status, so a code of ours never becomes
 * gRPC's own number here (rule 18). What a retry cannot mend is answered OK and refused in words
 * elsewhere; this is for what a retry may mend, and for what nobody should have asked.
 */
#ifndef COMBINER_RPC_STATUS_H
#define COMBINER_RPC_STATUS_H

#include "common/base/err.h"
#include "common/rpc/rpc.h"

enum fed_rpc_status status_of(enum fed_code code);

#endif /* COMBINER_RPC_STATUS_H */
