#include "reducer/blob/blob.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/blocking.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "reducer/blob/blob_inside.h"

#define COPY_SIZE ((size_t)256 * 1024)

int blob_open(const char *url, struct blob_store **ret_store, struct fed_err *err)
{
    return blob_open_with(url, NULL, ret_store, err);
}

int blob_open_with(const char *url,
                   const struct blob_options *options,
                   struct blob_store **ret_store,
                   struct fed_err *err)
{
    static const struct blob_options none = {0};
    char blanked[256];

    if (strncmp(url, "dir:", 4) == 0 && url[4] != '\0') {
        return blob_dir_open(url + 4, ret_store, err);
    }
    if (strcmp(url, "mem:") == 0) {
        return blob_mem_open(ret_store, err);
    }
    if (strncmp(url, "s3://", 5) == 0) {
        return blob_s3_open(url, options == NULL ? &none : options, ret_store, err);
    }
    fed_text_blank_url(url, blanked, sizeof(blanked));
    return fed_err_set(err, FED_E_INVALID,
                       "blob store '%s' is of no known kind: use dir:DIR or s3://BUCKET/PREFIX",
                       blanked);
}

struct blob_store *blob_close(struct blob_store *store)
{
    if (store != NULL) {
        store->ops->close(store);
    }
    return NULL;
}

bool blob_key_is_valid(const char *key)
{
    const size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n > 0 && n <= BLOB_KEY_MAX && key[n] == '\0' && key[0] != '.';
}

static int check_key(const char *key, struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    return blob_key_is_valid(key) ? 0
                                  : fed_err_set(err, FED_E_INVALID, "bad blob key '%.80s'", key);
}

int blob_put_begin(struct blob_store *store,
                   const char *key,
                   struct blob_writer **ret_writer,
                   struct fed_err *err)
{
    const int rc = check_key(key, err);

    return rc < 0 ? rc : store->ops->put_begin(store, key, NULL, ret_writer, err);
}

int blob_put_chunk(struct blob_writer *writer, const void *data, size_t size, struct fed_err *err)
{
    return writer->store->ops->put_chunk(writer, data, size, err);
}

int blob_put_commit(struct blob_writer *writer, const uint8_t sha256[32], struct fed_err *err)
{
    return writer->store->ops->put_commit(writer, sha256, err);
}

void blob_put_abort(struct blob_writer *writer)
{
    if (writer != NULL) {
        writer->store->ops->put_abort(writer);
    }
}

static int copy_in(int fd, struct blob_writer *writer, const char *path, struct fed_err *err)
{
    uint8_t *block = malloc(COPY_SIZE);
    ssize_t n = 1;
    int rc = block == NULL ? fed_err_set(err, FED_E_NOMEM, "copy") : 0;

    while (rc == 0 && n > 0) {
        n = read(fd, block, COPY_SIZE);
        if (n < 0) {
            rc = fed_file_error(err, "read", path);
        } else if (n > 0) {
            rc = blob_put_chunk(writer, block, (size_t)n, err);
        }
    }
    free(block);
    return rc;
}

int blob_put_file(struct blob_store *store,
                  const char *key,
                  const char *path,
                  const uint8_t sha256[32],
                  struct fed_err *err)
{
    struct blob_writer *writer = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0) {
        return fed_file_error(err, "open", path);
    }
    rc = check_key(key, err);
    rc = rc < 0 ? rc : store->ops->put_begin(store, key, sha256, &writer, err);
    if (rc == 0) {
        rc = copy_in(fd, writer, path, err);
        if (rc == 0) {
            rc = blob_put_commit(writer, sha256, err);
        } else {
            blob_put_abort(writer);
        }
    }
    (void)close(fd);
    return rc;
}

int blob_put_made(struct blob_store *store, const char *key, const char *path, struct fed_err *err)
{
    const int rc = check_key(key, err);

    if (rc < 0) {
        return rc;
    }
    return store->ops->put_made == NULL ? -FED_E_UNSUPPORTED
                                        : store->ops->put_made(store, key, path, err);
}

int blob_read(struct blob_store *store,
              const char *key,
              uint64_t offset,
              void *ret_data,
              size_t *io_size,
              struct fed_err *err)
{
    const int rc = check_key(key, err);

    return rc < 0 ? rc : store->ops->read(store, key, offset, ret_data, io_size, err);
}

/* By reads. */
static int copy_out(struct blob_store *store, const char *key, int fd, struct fed_err *err)
{
    uint8_t *block = malloc(COPY_SIZE);
    uint64_t offset = 0;
    size_t n = COPY_SIZE;
    int rc = block == NULL ? fed_err_set(err, FED_E_NOMEM, "copy") : 0;

    while (rc == 0 && n == COPY_SIZE) {
        rc = blob_read(store, key, offset, block, &n, err);
        if (rc == 0) {
            rc = fed_file_write(fd, block, n, err);
            offset += n;
        }
    }
    free(block);
    return rc;
}

int blob_copy(struct blob_store *store, const char *key, int fd, struct fed_err *err)
{
    const int rc = check_key(key, err);

    if (rc < 0) {
        return rc;
    }
    return store->ops->copy != NULL ? store->ops->copy(store, key, fd, err)
                                    : copy_out(store, key, fd, err);
}

int blob_get_file(struct blob_store *store, const char *key, const char *path, struct fed_err *err)
{
    char temporary[FED_PATH_SIZE];
    int fd;
    int rc = fed_path_format(temporary, err, "%s.tmp", path);

    if (rc < 0) {
        return rc;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return fed_file_error(err, "create", temporary);
    }
    rc = blob_copy(store, key, fd, err);
    (void)close(fd);
    if (rc == 0 && rename(temporary, path) != 0) {
        rc = fed_file_error(err, "rename to", path);
    }
    if (rc != 0) {
        (void)unlink(temporary);
    }
    return rc;
}

int blob_stat(struct blob_store *store,
              const char *key,
              struct blob_info *ret_info,
              struct fed_err *err)
{
    const int rc = check_key(key, err);

    return rc < 0 ? rc : store->ops->stat(store, key, ret_info, err);
}

int blob_remove(struct blob_store *store, const char *key, struct fed_err *err)
{
    const int rc = check_key(key, err);

    return rc < 0 ? rc : store->ops->remove(store, key, err);
}

int blob_list(struct blob_store *store,
              const char *after,
              char (*ret_keys)[BLOB_KEY_MAX + 1],
              size_t *io_n,
              struct fed_err *err)
{
    const int rc = *after == '\0' ? 0 : check_key(after, err);

    return rc < 0 ? rc : store->ops->list(store, after, ret_keys, io_n, err);
}

int blob_about(struct blob_store *store, struct blob_about *ret_about, struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    *ret_about = (struct blob_about){0};
    return store->ops->about == NULL ? 0 : store->ops->about(store, ret_about, err);
}

void blob_keys_add(char (*keys)[BLOB_KEY_MAX + 1], size_t *io_n, size_t max, const char *key)
{
    size_t at = *io_n;

    while (at > 0 && strcmp(key, keys[at - 1]) < 0) {
        at--;
    }
    if (at == max) {
        return;
    }
    *io_n += *io_n < max ? 1 : 0;
    memmove(keys + at + 1, keys + at, (*io_n - at - 1) * sizeof(*keys));
    (void)snprintf(keys[at], sizeof(*keys), "%s", key);
}
