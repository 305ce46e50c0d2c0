/* The live state as REST shows it: HOST_LIVE's object (reducer/rest/host.h). Pure but for memory.
 */
#ifndef REDUCER_LIVE_H
#define REDUCER_LIVE_H

#include <stdint.h>

#include <jansson.h>

#include "reducer/core/federation.h"

#define LIVE_TROUBLES_MAX 4

struct live_view {
    const struct federation *federation;
    uint64_t seq;
    uint64_t started_ms; /* when this reducer began; monotonic */
    uint64_t now_ms;
    const char *troubles[LIVE_TROUBLES_MAX]; /* NULL or empty: none */
};

json_t *live_encode(const struct live_view *view);

/* The same without the arrays: combiners, clients, round.clients; and an element of each. */
json_t *live_encode_summary(const struct live_view *view);
json_t *live_encode_combiner(const struct roster_combiner *combiner);
json_t *live_encode_client(const struct roster_client *client);
json_t *live_encode_asked(const struct round *round, size_t index, const struct roster *roster);

/* The round of which the clients are shown, or NULL. */
const struct round *live_round(const struct federation *federation);

/* "asked", "admitted" …, a constant; `known` may be NULL. */
const char *live_phase_of(const struct round_client *client, const struct roster_client *known);

#endif /* REDUCER_LIVE_H */
