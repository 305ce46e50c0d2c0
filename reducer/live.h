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

#endif /* REDUCER_LIVE_H */
