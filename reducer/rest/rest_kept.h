/* Encoded answers to lists, kept while what they show stays the same.
 *
 * A dashboard and a command ask for the same lists again and again, and writing a thousand rows as
 * JSON takes a hundred times as long as sending them. An answer is good until the next write to its
 * collection, and for REST_KEPT_AGE_MS, so that what was changed in the database by hand is seen.
 *
 * Thread safety: any thread.
 */
#ifndef REDUCER_REST_REST_KEPT_H
#define REDUCER_REST_REST_KEPT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

#define REST_KEPT_MAX       64U
#define REST_KEPT_BYTES_MAX ((size_t)8 * 1024 * 1024)
#define REST_KEPT_ONE_MAX   ((size_t)2 * 1024 * 1024) /* bytes of one answer */
#define REST_BYTES_MAX      ((size_t)32 * 1024 * 1024) /* of all, with old ones that are being sent */
#define REST_KEPT_AGE_MS    1000U

/* The bytes of an answer, shared by those it is sent to. */
struct rest_bytes {
    atomic_uint n_references;
    atomic_size_t *total; /* the keeper's */
    size_t size;
    uint8_t *data; /* owned */
};

void rest_bytes_drop(struct rest_bytes *bytes); /* accepts NULL */

struct rest_kept_entry {
    char *key; /* owned; NULL: free */
    struct rest_bytes *bytes;
    uint64_t n_writes; /* of the collection, when the rows were read */
    uint64_t made_ms;
    uint64_t used;
};

struct rest_kept {
    pthread_mutex_t lock;
    struct rest_kept_entry entries[REST_KEPT_MAX];
    size_t size;
    uint64_t n_uses;
    atomic_size_t total; /* bytes of all rest_bytes there are */
};

void rest_kept_init(struct rest_kept *kept);
void rest_kept_deinit(struct rest_kept *kept); /* when all references are dropped */

/* The answer under this key, a reference of the caller's; NULL: none that is still good. */
struct rest_bytes *
rest_kept_find(struct rest_kept *kept, const char *key, uint64_t n_writes, uint64_t now_ms);

/* Keep the bytes of `body`, which are taken where that works. Returns a reference for the caller,
 * or NULL: it is too long to be kept, too much is being sent, or there is no memory, and `body` is
 * as it was. */
struct rest_bytes *rest_kept_put(struct rest_kept *kept,
                                 const char *key,
                                 uint64_t n_writes,
                                 uint64_t now_ms,
                                 struct fed_buf *body);

#endif /* REDUCER_REST_REST_KEPT_H */
