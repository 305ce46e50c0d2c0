/* A model's bytes as they come, for any number of readers: all of them read one mapped file.
 *
 *   COMING --feed_open(), feed_grow() …--> --feed_complete()--> WHOLE
 *      ^                                |
 *      +---------- feed_reset() --------+
 *
 * `at_hand` bytes of the slab may be read. It only grows, and what is below it never changes: a
 * file that is begun anew is another file with another slab, and feed_reset() turns away those who
 * have read of the old one. WHOLE is for ever: then the bytes are known to be the model's, and
 * stay for those who read them though the owner goes.
 *
 * Thread safety: none. Owned by the loop; references count.
 */
#ifndef COMBINER_RPC_FEED_H
#define COMBINER_RPC_FEED_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/list.h"
#include "common/rpc/rpc.h"
#include "common/sync/loop.h"

struct feed {
    unsigned refs;
    struct fed_slab *slab; /* of the whole file; NULL: none of it has come */
    size_t at_hand;        /* bytes of it that are there */
    bool is_whole;
    struct fed_list readers;
};

/* Stands in who reads. */
struct feed_reader {
    struct feed *feed; /* a reference; NULL: turned away, or it has left */
    struct fed_link link;
    fed_event_fn on_change; /* more is at hand, it is whole, or we are turned away */
    void *arg;
};

/* The caller's reference; NULL: out of memory. */
struct feed *feed_new(void);
struct feed *feed_unref(struct feed *feed); /* accepts NULL, returns NULL; the last one frees it */

/* The file, mapped to the size it will have, of which nothing is at hand yet; takes the map in
 * every case. Fails with FED_E_NOMEM. */
FED_NODISCARD int feed_open(struct feed *feed, struct fed_map *map, struct fed_err *err);

/* So many bytes are there; no fewer than before. */
void feed_grow(struct feed *feed, size_t at_hand);

/* All are there, and are the model's. */
void feed_complete(struct feed *feed);

/* It does not come on: who reads is turned away; the bytes stay, and others may join. */
void feed_turn_away(struct feed *feed);

/* The same, and what has come is forgotten. */
void feed_reset(struct feed *feed);

/* From now on on_change(arg), on the loop, from inside the calls above; it may leave, and joins
 * nothing. */
void feed_join(struct feed *feed, struct feed_reader *reader, fed_event_fn on_change, void *arg);
void feed_leave(struct feed_reader *reader); /* idempotent */

#endif /* COMBINER_RPC_FEED_H */
