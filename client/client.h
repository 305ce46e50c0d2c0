/* The client daemon: settings in, exit status out.
 *
 * Wiring only: the agent (client/core) decides, the link (client/rpc) talks, the trainer
 * (client/train) trains on a worker, the keep (client/keep) remembers.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "client/settings.h"
#include "common/base/cleanup.h"

struct client;

/* Everything that can be wrong at the start is found here. SIGTERM and SIGINT must be blocked, and
 * stay so in all threads. `settings` is borrowed. Fails with FED_E_INVALID, FED_E_NOT_FOUND,
 * FED_E_CONFLICT (the state folder is in use), FED_E_UNSUPPORTED, FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int
client_new(const struct client_settings *settings, struct client **ret_client, struct fed_err *err);
struct client *client_free(struct client *client); /* accepts NULL */
FED_DEFINE_CLEANUP(struct client, client_free);

/* Run until SIGTERM, SIGINT or the reducer's refusal. Returns an enum fed_exit. */
int client_run(struct client *client);

#endif /* CLIENT_CLIENT_H */
