/* The rows of combiners and clients: who is there is written behind the events, the last word wins.
 *
 * A change waits in a map by id, and is merged with a later one of the same id; a batch at a time
 * is written. So a thousand clients that come and go cost memory by the number of clients, not of
 * events, and nobody waits for these rows. Loop only.
 */
#ifndef REDUCER_ATTENDANCE_H
#define REDUCER_ATTENDANCE_H

#include <stdbool.h>

#include <jansson.h>

#include "common/base/strmap.h"
#include "reducer/core/roster.h"
#include "reducer/errand.h"
#include "reducer/store/store.h"

#define ATTENDANCE_BATCH 64

struct attendance_change {
    struct fed_link link;
    enum store_collection in;
    json_t *row; /* owned: the keys to set */
    char key[FED_ID_SIZE];
};

struct attendance {
    struct errand errand;
    struct errand_line *line;     /* borrowed */
    struct store *store;          /* borrowed */
    struct fed_strmap waiting[2]; /* combiners, clients: id → struct attendance_change */
    /* client_id → mark of what was last put; dropped whole when it has more than the roster */
    struct fed_strmap shown;
    struct fed_list order;
    struct fed_list batch; /* the errand's */
    bool is_busy;
};

void attendance_init(struct attendance *attendance, struct errand_line *line, struct store *store);
void attendance_deinit(struct attendance *attendance);

/* A combiner has attached. */
void attendance_combiner(struct attendance *attendance, const struct roster_combiner *combiner);

/* A client's status: "available", "online", "offline". `package`, `preferred`: NULL as it was. */
struct attendance_client {
    const char *client_id;
    const char *name; /* "" as it was, likewise the following */
    const char *ip;
    const char *combiner; /* its name */
    const char *status;
    const char *package;
    const char *preferred;
};
void attendance_client(struct attendance *attendance, const struct attendance_client *client);

/* A client of the roster as it is there: written if that is news, or where it is not known any more
 * whether it is. */
void attendance_show(struct attendance *attendance,
                     const struct roster *roster,
                     const struct roster_client *client);

/* All clients of this combiner. */
void attendance_sync(struct attendance *attendance,
                     const struct roster *roster,
                     const struct roster_combiner *combiner);

#endif /* REDUCER_ATTENDANCE_H */
