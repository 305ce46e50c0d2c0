/* The reference back end: blobs in memory, one mutex. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/strmap.h"
#include "common/model/checksum.h"
#include "reducer/blob/blob_inside.h"

struct blob_mem {
    struct blob_store base;
    pthread_mutex_t lock;
    struct fed_strmap blobs; /* key → struct mem_blob, owned; under lock */
};

struct mem_blob {
    struct fed_buf buf;
    uint64_t committed_ms;
};

struct mem_writer {
    struct blob_writer base;
    struct mem_blob *blob;
    char key[BLOB_KEY_MAX + 1];
};

static struct blob_mem *self_of(struct blob_store *store)
{
    return (struct blob_mem *)(void *)store;
}

static void free_blob(struct mem_blob *blob)
{
    if (blob != NULL) {
        fed_buf_deinit(&blob->buf);
        free(blob);
    }
}

static int mem_put_begin(struct blob_store *store,
                         const char *key,
                         const uint8_t *sha256,
                         struct blob_writer **ret_writer,
                         struct fed_err *err)
{
    struct mem_writer *writer = calloc(1, sizeof(*writer));

    (void)sha256;
    if (writer != NULL) {
        writer->blob = calloc(1, sizeof(*writer->blob));
    }
    if (writer == NULL || writer->blob == NULL) {
        free(writer);
        return fed_err_set(err, FED_E_NOMEM, "blob");
    }
    writer->base.store = store;
    (void)snprintf(writer->key, sizeof(writer->key), "%s", key);
    *ret_writer = &writer->base;
    return 0;
}

static int
mem_put_chunk(struct blob_writer *base, const void *data, size_t size, struct fed_err *err)
{
    return fed_buf_add(&((struct mem_writer *)(void *)base)->blob->buf, data, size, err);
}

static void mem_put_abort(struct blob_writer *base)
{
    struct mem_writer *writer = (struct mem_writer *)(void *)base;

    free_blob(writer->blob);
    free(writer);
}

static int mem_put_commit(struct blob_writer *base, const uint8_t sha256[32], struct fed_err *err)
{
    struct mem_writer *writer = (struct mem_writer *)(void *)base;
    struct blob_mem *self = self_of(base->store);
    uint8_t digest[FED_SHA256_BYTES];
    void *old = NULL;
    int rc;

    fed_sha256_once(writer->blob->buf.data, writer->blob->buf.size, digest);
    if (memcmp(digest, sha256, sizeof(digest)) != 0) {
        rc = fed_err_set(err, FED_E_CORRUPT, "%s: SHA-256 is not the expected one", writer->key);
    } else {
        writer->blob->committed_ms = fed_clock_mono_ms();
        (void)pthread_mutex_lock(&self->lock);
        rc = fed_strmap_put(&self->blobs, writer->key, writer->blob, &old, err);
        (void)pthread_mutex_unlock(&self->lock);
    }
    if (rc == 0) {
        writer->blob = old;
    }
    mem_put_abort(base);
    return rc;
}

static int mem_read(struct blob_store *store,
                    const char *key,
                    uint64_t offset,
                    void *ret_data,
                    size_t *io_size,
                    struct fed_err *err)
{
    struct blob_mem *self = self_of(store);
    const struct mem_blob *blob;
    size_t n = 0;

    (void)err;
    (void)pthread_mutex_lock(&self->lock);
    blob = fed_strmap_find(&self->blobs, key);
    if (blob != NULL && offset < blob->buf.size) {
        n = blob->buf.size - (size_t)offset;
        n = n < *io_size ? n : *io_size;
        memcpy(ret_data, blob->buf.data + offset, n);
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (blob == NULL) {
        return BLOB_NOT_FOUND;
    }
    *io_size = n;
    return 0;
}

static int
mem_stat(struct blob_store *store, const char *key, struct blob_info *ret_info, struct fed_err *err)
{
    struct blob_mem *self = self_of(store);
    const struct mem_blob *blob;

    (void)err;
    (void)pthread_mutex_lock(&self->lock);
    blob = fed_strmap_find(&self->blobs, key);
    if (blob != NULL) {
        *ret_info = (struct blob_info){.size = blob->buf.size,
                                       .age_ms = fed_clock_mono_ms() - blob->committed_ms};
    }
    (void)pthread_mutex_unlock(&self->lock);
    return blob == NULL ? BLOB_NOT_FOUND : 0;
}

static int mem_remove(struct blob_store *store, const char *key, struct fed_err *err)
{
    struct blob_mem *self = self_of(store);
    struct mem_blob *blob;

    (void)err;
    (void)pthread_mutex_lock(&self->lock);
    blob = fed_strmap_take(&self->blobs, key);
    (void)pthread_mutex_unlock(&self->lock);
    if (blob == NULL) {
        return BLOB_NOT_FOUND;
    }
    free_blob(blob);
    return 0;
}

static int mem_list(struct blob_store *store,
                    const char *after,
                    char (*ret_keys)[BLOB_KEY_MAX + 1],
                    size_t *io_n,
                    struct fed_err *err)
{
    struct blob_mem *self = self_of(store);
    const char *key = NULL;
    size_t cursor = 0;
    size_t n = 0;

    (void)err;
    (void)pthread_mutex_lock(&self->lock);
    while (fed_strmap_next(&self->blobs, &cursor, &key) != NULL) {
        if (strcmp(key, after) > 0) {
            blob_keys_add(ret_keys, &n, *io_n, key);
        }
    }
    (void)pthread_mutex_unlock(&self->lock);
    *io_n = n;
    return 0;
}

static void mem_close(struct blob_store *store)
{
    struct blob_mem *self = self_of(store);
    size_t cursor = 0;
    struct mem_blob *blob;

    while ((blob = fed_strmap_next(&self->blobs, &cursor, NULL)) != NULL) {
        free_blob(blob);
    }
    fed_strmap_deinit(&self->blobs);
    (void)pthread_mutex_destroy(&self->lock);
    free(self);
}

static const struct blob_ops mem_ops = {
    .name = "mem",
    .put_begin = mem_put_begin,
    .put_chunk = mem_put_chunk,
    .put_commit = mem_put_commit,
    .put_abort = mem_put_abort,
    .read = mem_read,
    .stat = mem_stat,
    .remove = mem_remove,
    .list = mem_list,
    .close = mem_close,
};

int blob_mem_open(struct blob_store **ret_store, struct fed_err *err)
{
    struct blob_mem *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "blob store");
    }
    self->base.ops = &mem_ops;
    (void)pthread_mutex_init(&self->lock, NULL);
    fed_strmap_init(&self->blobs);
    *ret_store = &self->base;
    return 0;
}
