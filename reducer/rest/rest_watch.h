/* A deadline for every connection on which a request is still to arrive: who sends a byte a second
 * is never silent, but late.
 *
 * A connection whose deadline passes is shut down; the HTTP server then finds its end and closes
 * it.
 *
 * Thread safety: any thread.
 */
#ifndef REDUCER_REST_REST_WATCH_H
#define REDUCER_REST_REST_WATCH_H

#include <pthread.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/sync/loop.h"

struct rest_watch {
    struct fed_loop *loop; /* borrowed */
    uint64_t period_ms;    /* between two looks */
    struct fed_event start;
    struct fed_timer timer;
    struct { /* under lock */
        pthread_mutex_t lock;
        struct fed_list connections;
    } synced;
};

/* A connection; embedded. */
struct rest_watched {
    struct fed_link link;
    int fd;          /* open while it is watched */
    uint64_t due_ms; /* monotonic; 0: none */
};

/* Looks from now on, on `loop`, which must have ended before the watch does. */
void rest_watch_init(struct rest_watch *watch, struct fed_loop *loop, uint64_t period_ms);
void rest_watch_deinit(struct rest_watch *watch);

void rest_watch_add(struct rest_watch *watch, struct rest_watched *watched, uint64_t due_ms);
void rest_watch_set(struct rest_watch *watch, struct rest_watched *watched, uint64_t due_ms);
void rest_watch_remove(struct rest_watch *watch, struct rest_watched *watched);

#endif /* REDUCER_REST_REST_WATCH_H */
