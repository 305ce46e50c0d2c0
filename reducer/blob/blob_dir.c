/* A directory: one file a blob; written under a temporary name, flushed, renamed, folder flushed.
 * A file made on the same file system is only linked to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/model/checksum.h"
#include "reducer/blob/blob_inside.h"

struct blob_dir {
    struct blob_store base;
    char path[FED_PATH_SIZE / 2];
    atomic_uint n_writers; /* for temporary names */
};

struct dir_writer {
    struct blob_writer base;
    struct fed_sha256 *hash;
    int fd;
    char temporary[FED_PATH_SIZE];
    char final[FED_PATH_SIZE];
};

static struct blob_dir *self_of(struct blob_store *store)
{
    return (struct blob_dir *)(void *)store;
}

static struct dir_writer *writer_of(struct blob_writer *writer)
{
    return (struct dir_writer *)(void *)writer;
}

static void end_writer(struct dir_writer *writer, bool is_kept)
{
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    if (!is_kept) {
        (void)unlink(writer->temporary);
    }
    (void)fed_sha256_free(writer->hash);
    free(writer);
}

static int format_names(struct blob_dir *self,
                        const char *key,
                        char ret_temporary[FED_PATH_SIZE],
                        char ret_final[FED_PATH_SIZE],
                        struct fed_err *err)
{
    const int rc = fed_path_format(ret_final, err, "%s/%s", self->path, key);

    return rc < 0 ? rc
                  : fed_path_format(ret_temporary, err, "%s/.tmp-%ld-%u", self->path,
                                    (long)getpid(), atomic_fetch_add(&self->n_writers, 1));
}

static int dir_put_begin(struct blob_store *store,
                         const char *key,
                         const uint8_t *sha256,
                         struct blob_writer **ret_writer,
                         struct fed_err *err)
{
    struct blob_dir *self = self_of(store);
    struct dir_writer *writer = calloc(1, sizeof(*writer));
    int rc;

    (void)sha256;
    if (writer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "blob");
    }
    writer->base.store = store;
    writer->fd = -1;
    rc = format_names(self, key, writer->temporary, writer->final, err);
    if (rc == 0) {
        rc = fed_sha256_new(&writer->hash, err);
    }
    if (rc == 0) {
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        rc = writer->fd < 0 ? fed_file_error(err, "create", writer->temporary) : 0;
    }
    if (rc < 0) {
        end_writer(writer, true);
        return rc;
    }
    *ret_writer = &writer->base;
    return 0;
}

static int
dir_put_chunk(struct blob_writer *base, const void *data, size_t size, struct fed_err *err)
{
    struct dir_writer *writer = writer_of(base);
    const int rc = fed_file_write(writer->fd, data, size, err);

    if (rc < 0) {
        return fed_err_wrap(err, rc, "%s", writer->final);
    }
    fed_sha256_add(writer->hash, data, size);
    return 0;
}

static int dir_put_commit(struct blob_writer *base, const uint8_t sha256[32], struct fed_err *err)
{
    struct dir_writer *writer = writer_of(base);
    uint8_t digest[FED_SHA256_BYTES];
    bool is_kept = false;
    int rc = 0;

    fed_sha256_finish(writer->hash, digest);
    if (memcmp(digest, sha256, sizeof(digest)) != 0) {
        rc = fed_err_set(err, FED_E_CORRUPT, "%s: SHA-256 is not the expected one", writer->final);
    } else if (fdatasync(writer->fd) != 0) {
        rc = fed_file_error(err, "flush", writer->temporary);
    } else if (rename(writer->temporary, writer->final) != 0) {
        rc = fed_file_error(err, "rename to", writer->final);
    } else {
        is_kept = true;
        rc = fed_file_sync_folder(writer->final, err);
    }
    end_writer(writer, is_kept);
    return rc;
}

static void dir_put_abort(struct blob_writer *writer)
{
    end_writer(writer_of(writer), false);
}

static int
dir_put_made(struct blob_store *store, const char *key, const char *path, struct fed_err *err)
{
    char temporary[FED_PATH_SIZE];
    char final[FED_PATH_SIZE];
    int rc = format_names(self_of(store), key, temporary, final, err);

    if (rc < 0) {
        return rc;
    }
    if (link(path, temporary) != 0) {
        /* Another file system, or one without links? Then it is copied. */
        return errno == ENOENT ? fed_file_error(err, "link to", path) : -FED_E_UNSUPPORTED;
    }
    rc = fed_file_sync(temporary, err);
    if (rc == 0 && rename(temporary, final) != 0) {
        rc = fed_file_error(err, "rename to", final);
    }
    (void)unlink(temporary); /* it is there still after a failure, and where `final` was the file */
    return rc < 0 ? rc : fed_file_sync_folder(final, err);
}

static int dir_read(struct blob_store *store,
                    const char *key,
                    uint64_t offset,
                    void *ret_data,
                    size_t *io_size,
                    struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    uint8_t *p = ret_data;
    size_t size = *io_size;
    size_t done = 0;
    ssize_t n = 1;
    int rc = fed_path_format(path, err, "%s/%s", self_of(store)->path, key);
    const int fd = rc < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);

    if (rc < 0) {
        return rc;
    }
    if (fd < 0) {
        return errno == ENOENT ? BLOB_NOT_FOUND : fed_file_error(err, "open", path);
    }
    if (offset > (uint64_t)INT64_MAX - size) {
        size = 0; /* beyond the end of any file */
    }
    while (rc == 0 && n > 0 && done < size) {
        n = pread(fd, p + done, size - done, (off_t)(offset + done));
        if (n < 0) {
            rc = fed_file_error(err, "read", path);
        } else {
            done += (size_t)n;
        }
    }
    (void)close(fd);
    if (rc == 0) {
        *io_size = done;
    }
    return rc;
}

static int
dir_stat(struct blob_store *store, const char *key, struct blob_info *ret_info, struct fed_err *err)
{
    const uint64_t now_ms = fed_clock_utc_ms();
    uint64_t modified_ms;
    char path[FED_PATH_SIZE];
    struct stat st;
    const int rc = fed_path_format(path, err, "%s/%s", self_of(store)->path, key);

    if (rc < 0) {
        return rc;
    }
    if (stat(path, &st) != 0) {
        return errno == ENOENT ? BLOB_NOT_FOUND : fed_file_error(err, "stat", path);
    }
    modified_ms = (uint64_t)st.st_mtim.tv_sec * 1000U + (uint64_t)st.st_mtim.tv_nsec / 1000000U;
    *ret_info = (struct blob_info){.size = (uint64_t)st.st_size,
                                   .age_ms = now_ms > modified_ms ? now_ms - modified_ms : 0};
    return 0;
}

static int dir_remove(struct blob_store *store, const char *key, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    const int rc = fed_path_format(path, err, "%s/%s", self_of(store)->path, key);

    if (rc < 0) {
        return rc;
    }
    if (unlink(path) != 0) {
        return errno == ENOENT ? BLOB_NOT_FOUND : fed_file_error(err, "remove", path);
    }
    return 0;
}

static int dir_list(struct blob_store *store,
                    const char *after,
                    char (*ret_keys)[BLOB_KEY_MAX + 1],
                    size_t *io_n,
                    struct fed_err *err)
{
    const char *path = self_of(store)->path;
    DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t n = 0;
    int rc = 0;

    if (dir == NULL) {
        return fed_file_error(err, "open", path);
    }
    errno = 0;
    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (blob_key_is_valid(entry->d_name) && strcmp(entry->d_name, after) > 0) {
            blob_keys_add(ret_keys, &n, *io_n, entry->d_name);
        }
    }
    if (errno != 0) {
        rc = fed_file_error(err, "read", path);
    }
    (void)closedir(dir);
    if (rc == 0) {
        *io_n = n;
    }
    return rc;
}

static void dir_close(struct blob_store *store)
{
    free(self_of(store));
}

static const struct blob_ops dir_ops = {
    .name = "dir",
    .put_begin = dir_put_begin,
    .put_chunk = dir_put_chunk,
    .put_commit = dir_put_commit,
    .put_abort = dir_put_abort,
    .put_made = dir_put_made,
    .read = dir_read,
    .stat = dir_stat,
    .remove = dir_remove,
    .list = dir_list,
    .close = dir_close,
};

/* What a killed process left half written. */
static void sweep(const struct blob_dir *self)
{
    DIR *dir = opendir(self->path);

    if (dir == NULL) {
        return;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strncmp(entry->d_name, ".tmp-", 5) == 0) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    (void)closedir(dir);
}

int blob_dir_open(const char *path, struct blob_store **ret_store, struct fed_err *err)
{
    struct blob_dir *self;
    int rc;

    if (strlen(path) >= sizeof(self->path)) {
        return fed_err_set(err, FED_E_INVALID, "folder name is too long");
    }
    rc = fed_folder_make(path, err);
    if (rc < 0) {
        return rc;
    }
    self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "blob store");
    }
    self->base.ops = &dir_ops;
    (void)snprintf(self->path, sizeof(self->path), "%s", path);
    sweep(self);
    *ret_store = &self->base;
    return 0;
}
