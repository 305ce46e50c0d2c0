/* A listening TCP socket. */
#ifndef REDUCER_REST_REST_LISTEN_H
#define REDUCER_REST_REST_LISTEN_H

#include <stdint.h>

#include "common/base/err.h"

/* Listen on "HOST:PORT" or "[IPV6]:PORT"; port 0 takes a free one. The caller owns *ret_fd.
 * Fails with FED_E_INVALID (no such address), FED_E_IO (taken, not allowed). May block on DNS. */
FED_NODISCARD int
rest_listen(const char *address, int *ret_fd, uint16_t *ret_port, struct fed_err *err);

#endif /* REDUCER_REST_REST_LISTEN_H */
