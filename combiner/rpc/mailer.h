/* Records from the client port to the reducer: written to the outbox file before their sender is
 * answered, sent after Welcome in order, forgotten at RecordAck.
 *
 *   (call) --post--> queued --written--> answered OK
 *                      |--link up, its turn--> sent --RecordAck--> gone;  link down: sent again
 *
 * Thread safety: none. Owned by the combiner's loop; writing is a worker's.
 */
#ifndef COMBINER_RPC_MAILER_H
#define COMBINER_RPC_MAILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/spool/outbox.h"
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/link/link.h"
#include "common/sync/workers.h"

#define MAILER_WINDOW 256U /* records sent and not yet acknowledged */

/* Somebody to be told when what was posted is in the file. Embedded; fn runs on the loop, once. */
struct mailer_wait {
    struct fed_link link;
    uint64_t seq;
    void (*fn)(struct mailer_wait *wait);
};

struct mailer_config {
    struct fed_workers *workers;
    const char *path; /* of the outbox */
    uint64_t bytes_max;
    void (*on_unsent)(void *arg); /* there is something for the link; from inside any call here */
    void *arg;
};

struct mailer;

/* Blocks (reads the outbox): before the loop runs. Fails as outbox_open(). */
FED_NODISCARD int
mailer_new(const struct mailer_config *config, struct mailer **ret_mailer, struct fed_err *err);
struct mailer *mailer_free(struct mailer *mailer); /* accepts NULL; no write may be under way */

/* Queue one record; takes `json`. NULL, or no room: it is dropped, counted and logged. */
void mailer_post(struct mailer *mailer, enum fed_record_kind kind, char *json);

/* Call wait->fn once everything posted so far is written, or was given up: never from inside. */
void mailer_await(struct mailer *mailer, struct mailer_wait *wait);
void mailer_forget(struct mailer_wait *wait);

/* The next record for the link, or NULL: nothing, or the window is full. Counts as sent. */
const struct outbox_record *mailer_take_unsent(struct mailer *mailer);
void mailer_link_down(struct mailer *mailer); /* all that was sent is unsent again */
void mailer_acknowledge(struct mailer *mailer, uint64_t seq);

uint64_t mailer_count(const struct mailer *mailer); /* records not acknowledged */
bool mailer_is_idle(const struct mailer *mailer);   /* nothing is being written or awaited */

#endif /* COMBINER_RPC_MAILER_H */
