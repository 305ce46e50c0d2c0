/* Blobs as open files, to be sent by the kernel: a download costs no memory and holds no worker,
 * however slowly it is read.
 *
 * A blob is copied into an unlinked temporary file once; the last few copies are kept, so that a
 * thousand clients that fetch one package make one copy. Blobs are immutable, so a copy stays
 * right.
 *
 * Thread safety: any worker. Blocks.
 */
#ifndef REDUCER_REST_REST_BLOB_H
#define REDUCER_REST_REST_BLOB_H

#include <pthread.h>
#include <stdint.h>

#include "common/base/err.h"
#include "reducer/blob/blob.h"

#define REST_BLOBS_N 4U /* copies kept */

struct rest_blobs {
    struct blob_store *store; /* borrowed */
    const char *temp_dir;     /* borrowed */
    pthread_mutex_t lock;     /* of what follows; not held while copying */
    struct rest_blob {
        char key[BLOB_KEY_MAX + 1]; /* "": free */
        int fd;
        uint64_t size_bytes;
        uint64_t used; /* when, in calls */
    } kept[REST_BLOBS_N];
    uint64_t n_calls;
};

void rest_blobs_init(struct rest_blobs *blobs, struct blob_store *store, const char *temp_dir);
void rest_blobs_deinit(struct rest_blobs *blobs);

/* The caller owns *ret_fd. Returns 0 or BLOB_NOT_FOUND; fails as blob_copy() and file writes. */
FED_NODISCARD int rest_blobs_open(struct rest_blobs *blobs,
                                  const char *key,
                                  int *ret_fd,
                                  uint64_t *ret_size,
                                  struct fed_err *err);

/* A new file that is in no folder: it goes with its last descriptor. */
FED_NODISCARD int rest_temp_open(const char *temp_dir, int *ret_fd, struct fed_err *err);

#endif /* REDUCER_REST_REST_BLOB_H */
