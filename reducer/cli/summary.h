/* What is said at the end of a session: a table of its rounds, each client's validation of the last
 * model, and where that lies; or the same as one JSON object. */
#ifndef REDUCER_CLI_SUMMARY_H
#define REDUCER_CLI_SUMMARY_H

#include <stdint.h>

#include "common/base/err.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/watch.h"

/* The table of rounds. */
FED_NODISCARD int
summary_print_rounds(const struct term *term, const struct watch *watch, struct fed_err *err);

/* Everything, for people or as JSON; elapsed_ms is the session's. Returns the exit status. */
FED_NODISCARD int summary_print(const struct cmd_call *call,
                                const struct watch *watch,
                                uint64_t elapsed_ms,
                                struct fed_err *err);

/* FED_EXIT_OK, or FED_EXIT_ROUNDS when rounds have failed or the session was stopped. */
int summary_status(const struct watch *watch);

#endif /* REDUCER_CLI_SUMMARY_H */
