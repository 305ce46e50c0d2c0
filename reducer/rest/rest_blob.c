#include "reducer/rest/rest_blob.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

void rest_blobs_init(struct rest_blobs *blobs, struct blob_store *store, const char *temp_dir)
{
    *blobs = (struct rest_blobs){.store = store, .temp_dir = temp_dir};
    (void)pthread_mutex_init(&blobs->lock, NULL);
}

void rest_blobs_deinit(struct rest_blobs *blobs)
{
    for (size_t i = 0; i < REST_BLOBS_N; i++) {
        if (blobs->kept[i].key[0] != '\0') {
            (void)close(blobs->kept[i].fd);
        }
    }
    (void)pthread_mutex_destroy(&blobs->lock);
}

int rest_temp_open(const char *temp_dir, int *ret_fd, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int fd;
    const int rc = fed_path_format(path, err, "%s/confed-rest-XXXXXX", temp_dir);

    if (rc < 0) {
        return rc;
    }
    fd = mkstemp(path);
    if (fd < 0) {
        return fed_file_error(err, "make", path);
    }
    (void)unlink(path);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    *ret_fd = fd;
    return 0;
}

/* A descriptor of our own for a copy that is kept; -1: there is none. */
static int find_locked(struct rest_blobs *blobs, const char *key, uint64_t *ret_size)
{
    for (size_t i = 0; i < REST_BLOBS_N; i++) {
        struct rest_blob *kept = &blobs->kept[i];
        if (strcmp(kept->key, key) == 0) {
            kept->used = ++blobs->n_calls;
            *ret_size = kept->size_bytes;
            return fcntl(kept->fd, F_DUPFD_CLOEXEC, 0);
        }
    }
    return -1;
}

/* Keep a copy in the place of the one that was not asked for longest. */
static void keep_locked(struct rest_blobs *blobs, const char *key, int fd, uint64_t size)
{
    struct rest_blob *oldest = &blobs->kept[0];
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (own < 0) {
        return;
    }
    for (size_t i = 1; i < REST_BLOBS_N; i++) {
        oldest = blobs->kept[i].used < oldest->used ? &blobs->kept[i] : oldest;
    }
    if (oldest->key[0] != '\0') {
        (void)close(oldest->fd);
    }
    (void)snprintf(oldest->key, sizeof(oldest->key), "%s", key);
    oldest->fd = own;
    oldest->size_bytes = size;
    oldest->used = ++blobs->n_calls;
}

int rest_blobs_open(struct rest_blobs *blobs,
                    const char *key,
                    int *ret_fd,
                    uint64_t *ret_size,
                    struct fed_err *err)
{
    struct blob_info info;
    int fd;
    int rc;

    (void)pthread_mutex_lock(&blobs->lock);
    fd = find_locked(blobs, key, ret_size);
    (void)pthread_mutex_unlock(&blobs->lock);
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    rc = blob_stat(blobs->store, key, &info, err);
    if (rc == 0) {
        rc = rest_temp_open(blobs->temp_dir, &fd, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = blob_copy(blobs->store, key, fd, err);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    (void)pthread_mutex_lock(&blobs->lock);
    keep_locked(blobs, key, fd, info.size);
    (void)pthread_mutex_unlock(&blobs->lock);
    *ret_fd = fd;
    *ret_size = info.size;
    return 0;
}
