/* A whole federation from one pair of back ends to another: metadata, then blobs.
 *
 * Documents keep their stamps, versions and order; blobs are hashed while they are read and checked
 * against the hash where they arrive, and against what their model's row says. What is there
 * already and equal is skipped, so that a copy that was cut off is started again and goes on; what
 * is there and differs ends it, and nothing of the target is written over. At the end every
 * document is read back and compared.
 *
 * Thread safety: one thread. Blocks.
 */
#ifndef REDUCER_COPYING_H
#define REDUCER_COPYING_H

#include <jansson.h>

#include "common/base/err.h"

struct store;
struct blob_store;

struct copying {
    struct store *from; /* borrowed, as the following */
    struct store *to;
    struct blob_store *from_blobs;
    struct blob_store *to_blobs;
    /* A line for people, a few times a second at most; may be NULL. */
    void (*tell)(void *arg, const char *line);
    void *arg;
};

/* *ret_report: {"documents":n, "documents_there":n, "blobs":n, "blobs_there":n, "bytes":n,
 * "missing":n}; *_there were there before, missing are models without their file at the source.
 * Fails as the back ends do; FED_E_CONFLICT: the target has something else in that place;
 * FED_E_CORRUPT: the source's blob is not what its model's row says, or the copy differs. */
FED_NODISCARD int
copying_run(const struct copying *copying, json_t **ret_report, struct fed_err *err);

#endif /* REDUCER_COPYING_H */
