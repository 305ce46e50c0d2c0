/* Uploads on their way: written chunk by chunk, published whole, dropped. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "combiner/spool/spool.h"
#include "common/model/checksum.h"

static int path_incoming(const struct spool *spool,
                         uint64_t serial,
                         char ret_path[FED_PATH_SIZE],
                         struct fed_err *err)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%" PRIu64, serial);
    return spool_path(spool, "incoming", name, ret_path, err);
}

/* Opened for each chunk: thousands of unfinished uploads hold no descriptors. The first one of an
 * upload that will be worth it takes a spare file, whose bytes are written over. */
static int open_incoming(const struct spool *spool,
                         struct spool_file *file,
                         const char *path,
                         size_t first_size,
                         int *ret_fd,
                         struct fed_err *err)
{
    if (file->size_bytes == 0 && first_size >= FED_SPARE_MIN) {
        return fed_spare_take_lent(spool_get_spare(spool), path, ret_fd, &file->lent_bytes, err);
    }
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (*ret_fd < 0) {
        return fed_file_error(err, "create", path);
    }
    return 0;
}

/* On a full disk the spare files make room. */
static int write_chunk(const struct spool *spool,
                       const struct spool_file *file,
                       const struct fed_pieces *chunk,
                       int fd,
                       struct fed_err *err)
{
    struct fed_err why = {0};
    int rc = 0;

    for (unsigned i = 0; i < 2; i++) {
        if (lseek(fd, (off_t)file->size_bytes, SEEK_SET) < 0) {
            return fed_file_error(err, "write", "file");
        }
        rc = fed_file_write_pieces(fd, chunk, &why);
        if (rc == 0 || why.sys_errno != ENOSPC || !fed_spare_clear(spool_get_spare(spool))) {
            break;
        }
    }
    return rc < 0 ? fed_err_set(err, why.code, "%s", why.msg) : 0;
}

int spool_add(const struct spool *spool,
              struct spool_file *file,
              const struct fed_pieces *chunk,
              struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int fd = -1;
    int rc = path_incoming(spool, file->serial, path, err);

    rc = rc < 0 ? rc : open_incoming(spool, file, path, chunk->size, &fd, err);
    if (rc < 0) {
        return rc;
    }
    rc = write_chunk(spool, file, chunk, fd, err);
    if (close(fd) != 0 && rc == 0) {
        rc = fed_file_error(err, "close", path);
    }
    for (size_t i = 0; i < chunk->n && rc == 0; i++) {
        file->size_bytes += chunk->views[i].size;
        file->crc = fed_crc32(file->crc, chunk->views[i].data, chunk->views[i].size);
    }
    return rc;
}

static void settle(const struct spool *spool, struct spool_file *file)
{
    fed_spare_settle(spool_get_spare(spool), file->lent_bytes);
    file->lent_bytes = 0;
}

int spool_publish(const struct spool *spool, struct spool_upload *upload, struct fed_err *err)
{
    struct spool_file *file = &upload->file;
    char from[FED_PATH_SIZE];
    char to[FED_PATH_SIZE];
    int rc = path_incoming(spool, file->serial, from, err);

    rc = rc < 0 ? rc : spool_path_upload(spool, upload, to, err);
    if (rc < 0) {
        return rc;
    }
    if (file->size_bytes == 0) {
        return fed_file_replace(to, (struct fed_view){0}, false, err);
    }
    if (file->lent_bytes > file->size_bytes && truncate(from, (off_t)file->size_bytes) != 0) {
        return fed_file_error(err, "cut", from);
    }
    settle(spool, file);
    return rename(from, to) == 0 ? 0 : fed_file_error(err, "rename to", to);
}

void spool_drop_incoming(const struct spool *spool, struct spool_file *file)
{
    char path[FED_PATH_SIZE];

    if (path_incoming(spool, file->serial, path, NULL) == 0) {
        settle(spool, file);
        fed_spare_give(spool_get_spare(spool), path);
    }
}

void spool_drop_upload(const struct spool *spool, const struct spool_upload *upload)
{
    char path[FED_PATH_SIZE];

    if (spool_path_upload(spool, upload, path, NULL) == 0) {
        fed_spare_give(spool_get_spare(spool), path);
    }
}
