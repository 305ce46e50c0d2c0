/* Who is there: the combiners with their links, and the clients with the combiner each is at.
 *
 *   combiner:  (unknown) --hello--> UP --link closed--> DOWN --hello--> UP
 *   client:    (unknown) --hello, client_state--> ATTACHED <--> SILENT, GONE
 *
 * A client is at the combiner where it attached last: its TaskStream is there. Two may claim one
 * client, as a stream that broke silently looks alive for a while: what a Hello lists is older than
 * what was told as it happened, and where the client was believed to be and is not any more, the
 * other claim holds. A combiner that is down keeps its clients, marked away. Where a limit is
 * reached, who has been away for ROSTER_FORGET_MS is forgotten: FEDn's clients make themselves a
 * new id at each start. Pure: the time is an argument. Owned by the loop.
 */
#ifndef REDUCER_CORE_ROSTER_H
#define REDUCER_CORE_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/strmap.h"
#include "common/link/link.h"

#define ROSTER_COMBINERS_MAX 256U
#define ROSTER_CLIENTS_MAX   200000U
#define ROSTER_EXPECT_MS     30000U /* how long an assignment counts as load */
#define ROSTER_FORGET_MS \
    UINT64_C(600000) /* who is away longer makes room where a limit is reached */

struct roster_combiner {
    char combiner_id[FED_ID_SIZE];
    char boot_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char advertise[FED_LINK_ADDRESS_SIZE];
    char version[FED_LINK_TEXT_SIZE];
    uint64_t link;          /* the link's number; 0 while it is down */
    uint64_t down_since_ms; /* valid while down */
    uint64_t linked_ms;     /* when its present, or last, link came */
    uint64_t reboot_ms;     /* when it last came back as another process; 0: never */
    uint32_t clients_max;
    uint32_t n_attached;
    uint32_t n_expected;  /* sent here and not yet attached: counts as load for a while */
    uint64_t expected_ms; /* when the last one was sent */
    bool is_needed;       /* while room is made: up, down for a moment, or somebody's */
};

struct roster_client {
    char client_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char ip[64];
    struct roster_combiner *combiner; /* borrowed from the roster */
    struct roster_combiner *other; /* the same; says that the client is attached there; or NULL */
    enum fed_client_phase phase;
    uint64_t away_since_ms; /* valid unless ATTACHED: not waited for after its grace */
    uint64_t hello_count;   /* the roster's, when its combiner last listed it */
};

struct roster {
    struct fed_strmap combiners; /* combiner_id → struct roster_combiner, owned */
    struct fed_strmap clients;   /* client_id → struct roster_client, owned */
    uint64_t hello_count;
    uint64_t forgot_ms; /* when it was last looked who is away for long; 0: never */
};

void roster_init(struct roster *roster);
void roster_deinit(struct roster *roster);

struct roster_combiner *roster_find_combiner(const struct roster *roster, const char *combiner_id);
struct roster_combiner *roster_find_link(const struct roster *roster, uint64_t link);
struct roster_client *roster_find_client(const struct roster *roster, const char *client_id);

/* A combiner's whole state came over `link`. *ret_old_link is the link it replaces, or 0. Clients
 * it does not list and that were at it are GONE from now on.
 * Fails with FED_E_LIMIT (too many combiners or clients; what came before the limit is kept),
 * FED_E_NOMEM. */
FED_NODISCARD int roster_hello(struct roster *roster,
                               const struct fed_hello *hello,
                               uint64_t link,
                               uint64_t now_ms,
                               uint64_t *ret_old_link,
                               struct fed_err *err);

/* One client's change, told by the combiner behind `link`. A GONE or SILENT from a combiner the
 * client is not at any more is ignored. Fails with FED_E_LIMIT, FED_E_NOMEM. */
FED_NODISCARD int roster_client_state(struct roster *roster,
                                      struct roster_combiner *combiner,
                                      const struct fed_client_state *state,
                                      uint64_t now_ms,
                                      struct fed_err *err);

/* Returns the combiner that is down now, or NULL when the link was not the current one. */
struct roster_combiner *roster_link_closed(struct roster *roster, uint64_t link, uint64_t now_ms);

/* Somebody has deleted its row: forget a client, or a combiner with the clients that were at it.
 * Returns false, and forgets nobody, where it is attached, or without memory; done where it is not
 * known. */
bool roster_forget_client(struct roster *roster, const char *client_id);
bool roster_forget_combiner(struct roster *roster, const char *combiner_id);

/* The combiner a joining client is sent to: its former one if that is up, else the preferred one
 * (by name or id), else the least loaded; NULL when none is up with room. */
const struct roster_combiner *
roster_assign(struct roster *roster, const char *client_id, const char *preferred, uint64_t now_ms);

/* Attached now, at a combiner that is up. */
bool roster_is_present(const struct roster_client *client);

#endif /* REDUCER_CORE_ROSTER_H */
