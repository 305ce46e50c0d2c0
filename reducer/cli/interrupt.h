/* Ctrl-C and SIGTERM as a descriptor, for commands that wait. */
#ifndef REDUCER_CLI_INTERRUPT_H
#define REDUCER_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

/* Block SIGINT, SIGTERM and (with_children) SIGCHLD, and return them by *ret_fd (a signalfd).
 * SIGPIPE is blocked too.
 * Fails with FED_E_IO. */
FED_NODISCARD int interrupt_open(bool with_children, int *ret_fd, struct fed_err *err);

/* The next signal that has come, or 0. */
int interrupt_take(int fd);

/* Wait until one has come, at most wait_ms. True when there is one (not taken). */
bool interrupt_wait(int fd, uint64_t wait_ms);

#endif /* REDUCER_CLI_INTERRUPT_H */
