/* Following a session: the live state by long polls, rows when rounds have ended, a line a round.
 *
 * Goes on over a restart of the reducer. Blocks until the session has ended.
 */
#ifndef REDUCER_CLI_FOLLOW_H
#define REDUCER_CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "reducer/cli/api.h"
#include "reducer/cli/term.h"
#include "reducer/cli/watch.h"

struct follow {
    const struct api *api; /* with cancel_fd: FED_E_CANCELLED when it can be read */
    const struct term *term;
    uint64_t validation_ms; /* how long the last validations are waited for: a round_timeout */
};

/* Follow the watch's session until it has ended and the last model is validated.
 * Fails with FED_E_CANCELLED, FED_E_UNAVAILABLE (the reducer is away for a minute), and what the
 * API refuses. */
FED_NODISCARD int
follow_session(const struct follow *follow, struct watch *watch, struct fed_err *err);

/* Wait until at least n clients are attached. Fails with FED_E_TIMEOUT: too few after wait_ms. */
FED_NODISCARD int
follow_clients(const struct api *api, uint64_t n, uint64_t wait_ms, struct fed_err *err);

#endif /* REDUCER_CLI_FOLLOW_H */
