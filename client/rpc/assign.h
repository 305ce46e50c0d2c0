/* Asking the reducer for a combiner: FEDn's POST /api/v1/clients/add.
 *
 * The request itself is made by confed-client-join, a process of its own (client/join/main.c says
 * why), which lies beside our own program.
 *
 * Blocks up to its timeout: worker only.
 */
#ifndef CLIENT_RPC_ASSIGN_H
#define CLIENT_RPC_ASSIGN_H

#include <stddef.h>
#include <stdint.h>

#include "client/core/agent_state.h"

#define ASSIGN_TIMEOUT_MS 12000U /* the helper's own is shorter */

struct assign_request {
    const char *api_url; /* "http://127.0.0.1:8092"; texts borrowed for the call */
    const char *name;
    const char *client_id;
    const char *preferred_combiner; /* "" none */
    int cancel_fd;                  /* readable: end at once */
};

struct assign_answer {
    enum agent_assignment assignment;
    char address[AGENT_ADDRESS_SIZE]; /* with AGENT_ASSIGNED */
    char text[256];                   /* else: why, for the log */
};

/* Every answer is one of four; nothing is a failure of the function. */
void assign_run(const struct assign_request *request, struct assign_answer *ret_answer);

#endif /* CLIENT_RPC_ASSIGN_H */
