/* Asking a daemon whether it is well. Blocks, 3 s at most. */
#ifndef COMBINER_PROBE_PROBE_H
#define COMBINER_PROBE_PROBE_H

#include <stdbool.h>

#include "common/base/err.h"

/* Does the gRPC health service at "HOST:PORT" say SERVING? Where it does not, *err has why, as far
 * as that is known. */
bool probe_port(const char *address, struct fed_err *err);

/* Is this ready file there, and does the process that it names live? */
bool probe_file(const char *path, struct fed_err *err);

#endif /* COMBINER_PROBE_PROBE_H */
