/* One model from the reducer into a file: GetModel, again and again until it is whole.
 *
 *   (start) --> asking from where the file ends --> chunk, written by a worker --> … --> XXH3
 *                 ^                                  |                           holds --> done
 *                 +-- the call broke: back-off ------+                NOT_FOUND --> lost
 *
 * The file may be read while it comes: its map is handed out with the first chunk. A call that
 * broke is resumed where the file ends, and appends. What is thrown away (a chunk that could not be
 * written, a wrong XXH3) is an old file: what is begun anew has a file and a map of its own, so
 * bytes that have been handed out never change.
 *
 * Thread safety: none. Loop thread; writing is a worker's.
 */
#ifndef COMBINER_RPC_FETCH_H
#define COMBINER_RPC_FETCH_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/spare.h"
#include "common/link/link.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct fetch_config {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc_channel *channel;
    const char *model_id;
    uint8_t xxh128[FED_XXH128_SIZE];
    uint64_t size_bytes;
    const char *path;        /* of the whole file; under way it is PATH.part */
    struct fed_spare *spare; /* whose file it may be written over; may be NULL */
    uint64_t seed;           /* of the jitter */
};

/* On the loop. */
struct fetch_ops {
    /* `size` bytes of the file are there. With the first ones comes a map of the whole, the
     * callee's to close; else NULL. */
    void (*grown)(void *arg, struct fed_map *map, uint64_t size);
    /* What has come is thrown away, and is fetched anew. */
    void (*restarted)(void *arg);
    /* The file is there, or the reducer does not know the model. Once; the fetch is gone when it
     * returns. */
    void (*done)(void *arg, bool is_here);
};

struct fetch;

/* Fails with FED_E_NOMEM, FED_E_LIMIT (path). */
FED_NODISCARD int fetch_start(const struct fetch_config *config,
                              const struct fetch_ops *ops,
                              void *arg,
                              struct fetch **ret_fetch,
                              struct fed_err *err);

/* Not wanted any more: no op is called; it frees itself when its call and its worker have ended,
 * and calls gone(arg) then. Once; from an op, too, but not from done(). */
void fetch_cancel(struct fetch *fetch, fed_event_fn gone, void *arg);

#endif /* COMBINER_RPC_FETCH_H */
