#include "common/base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/blocking.h"
#include "common/base/cleanup.h"
#include "common/base/unconst.h"

#define VECTORS 64U /* pieces written at once */

static void close_fd_p(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

int fed_file_error(struct fed_err *err, const char *what, const char *path)
{
    const int sys = errno;
    char text[128] = "";
    const enum fed_code code = sys == ENOENT ? FED_E_NOT_FOUND : FED_E_IO;

    if (strerror_r(sys, text, sizeof(text)) != 0) {
        (void)snprintf(text, sizeof(text), "errno %d", sys);
    }
    const int rc = fed_err_set(err, code, "%s %s: %s", what, path, text);
    if (err != NULL) {
        err->sys_errno = sys;
    }
    return rc;
}

int fed_path_format(char ret_path[FED_PATH_SIZE], struct fed_err *err, const char *fmt, ...)
{
    char path[FED_PATH_SIZE];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(path, sizeof(path), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return fed_err_set(err, FED_E_LIMIT, "path longer than %d bytes", FED_PATH_SIZE - 1);
    }
    memcpy(ret_path, path, (size_t)n + 1);
    return 0;
}

int fed_file_load(const char *path, size_t size_max, struct fed_buf *ret_buf, struct fed_err *err)
{
    FED_CLEANUP(close_fd_p)
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would hang us */
    struct fed_buf buf;
    struct stat st;
    int rc;

    if (fd < 0) {
        return fed_file_error(err, "open", path);
    }
    if (fstat(fd, &st) != 0) {
        return fed_file_error(err, "stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fed_err_set(err, FED_E_IO, "%s is not a regular file", path);
    }
    if ((uintmax_t)st.st_size > size_max) {
        return fed_err_set(err, FED_E_LIMIT, "%s has %jd bytes, at most %zu are allowed", path,
                           (intmax_t)st.st_size, size_max);
    }
    fed_buf_init(&buf, 0);
    rc = fed_buf_reserve(&buf, (size_t)st.st_size + 1, err);
    while (rc == 0 && buf.size < (size_t)st.st_size) {
        const ssize_t n = read(fd, buf.data + buf.size, (size_t)st.st_size - buf.size);
        if (n < 0) {
            rc = fed_file_error(err, "read", path);
        } else if (n == 0) {
            break;
        } else {
            buf.size += (size_t)n;
        }
    }
    if (rc < 0) {
        fed_buf_deinit(&buf);
        return rc;
    }
    *ret_buf = buf;
    return 0;
}

int fed_file_write(int fd, const void *data, size_t size, struct fed_err *err)
{
    const uint8_t *p = data;

    while (size > 0) {
        const ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fed_file_error(err, "write", "file");
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Write all of the first `n` views, of which `done` bytes are written already. */
static int
write_rest(int fd, const struct fed_view *views, size_t n, size_t done, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const size_t skip = done < views[i].size ? done : views[i].size;
        done -= skip;
        rc = fed_file_write(fd, (const uint8_t *)views[i].data + skip, views[i].size - skip, err);
    }
    return rc;
}

int fed_file_write_pieces(int fd, const struct fed_pieces *pieces, struct fed_err *err)
{
    struct iovec vectors[VECTORS];
    size_t i = 0;
    int rc = 0;

    while (i < pieces->n && rc == 0) {
        const size_t n = pieces->n - i < VECTORS ? pieces->n - i : VECTORS;
        size_t size = 0;
        ssize_t done;
        for (size_t k = 0; k < n; k++) {
            const struct fed_view *view = &pieces->views[i + k];
            vectors[k] = (struct iovec){fed_unconst(view->data), view->size};
            size += view->size;
        }
        done = writev(fd, vectors, (int)n);
        if (done < 0 && errno != EINTR) {
            return fed_file_error(err, "write", "file");
        }
        if (done < (ssize_t)size) { /* a signal, or a disk that is nearly full */
            rc = write_rest(fd, pieces->views + i, n, done < 0 ? 0 : (size_t)done, err);
        }
        i += n;
    }
    return rc;
}

int fed_file_sync(const char *path, struct fed_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = 0;

    assert(fed_blocking_is_allowed());
    if (fd < 0 || fdatasync(fd) != 0) {
        rc = fed_file_error(err, "sync", path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

int fed_file_sync_folder(const char *path, struct fed_err *err)
{
    char folder[FED_PATH_SIZE];
    char *slash;

    assert(fed_blocking_is_allowed());
    (void)snprintf(folder, sizeof(folder), "%s", path);
    slash = strrchr(folder, '/');
    if (slash == NULL) {
        (void)snprintf(folder, sizeof(folder), ".");
    } else if (slash == folder) {
        slash[1] = '\0';
    } else {
        *slash = '\0';
    }
    FED_CLEANUP(close_fd_p) const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return fed_file_error(err, "sync folder", folder);
    }
    return 0;
}

static int
write_temporary(const char *path, struct fed_view content, bool is_durable, struct fed_err *err)
{
    FED_CLEANUP(close_fd_p)
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    int rc;

    if (fd < 0) {
        return fed_file_error(err, "create", path);
    }
    rc = fed_file_write(fd, content.data, content.size, err);
    if (rc < 0) {
        return fed_err_wrap(err, rc, "%s", path);
    }
    if (is_durable && fdatasync(fd) != 0) {
        return fed_file_error(err, "sync", path);
    }
    return 0;
}

int fed_file_replace(const char *path,
                     struct fed_view content,
                     bool is_durable,
                     struct fed_err *err)
{
    char temporary[FED_PATH_SIZE];
    int rc = fed_path_format(temporary, err, "%s.tmp", path);

    if (rc < 0) {
        return rc;
    }
    rc = write_temporary(temporary, content, is_durable, err);
    if (rc == 0 && rename(temporary, path) != 0) {
        rc = fed_file_error(err, "rename to", path);
    }
    if (rc < 0) {
        (void)unlink(temporary);
        return rc;
    }
    return is_durable ? fed_file_sync_folder(path, err) : 0;
}

int fed_folder_make(const char *path, struct fed_err *err)
{
    char part[FED_PATH_SIZE];
    const size_t size = strlen(path);

    if (size == 0 || size >= sizeof(part)) {
        return fed_err_set(err, FED_E_INVALID, "bad folder name '%s'", path);
    }
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0750) != 0 && errno != EEXIST) {
            return fed_file_error(err, "make folder", part);
        }
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return fed_err_set(err, FED_E_IO, "%s is not a folder", path);
    }
    return 0;
}

int fed_folder_remove(const char *path, struct fed_err *err)
{
    DIR *dir = opendir(path);
    int rc = 0;

    if (dir == NULL) {
        return errno == ENOENT ? 0 : fed_file_error(err, "open folder", path);
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL && rc == 0;
         entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(dir), entry->d_name, 0) != 0 && errno != ENOENT) {
            rc = fed_file_error(err, "remove", entry->d_name);
        }
    }
    (void)closedir(dir);
    if (rc == 0 && rmdir(path) != 0 && errno != ENOENT) {
        rc = fed_file_error(err, "remove folder", path);
    }
    return rc;
}

static int
map_fd(int fd, const char *path, size_t size, struct fed_map *ret_map, struct fed_err *err)
{
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (data == MAP_FAILED) {
        return fed_file_error(err, "map", path);
    }
    *ret_map = (struct fed_map){data, size};
    return 0;
}

int fed_map_open(const char *path, struct fed_map *ret_map, struct fed_err *err)
{
    FED_CLEANUP(close_fd_p) const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        return fed_file_error(err, "open", path);
    }
    if (fstat(fd, &st) != 0) {
        return fed_file_error(err, "stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fed_err_set(err, FED_E_IO, "%s is not a regular file", path);
    }
    if (st.st_size == 0) {
        *ret_map = (struct fed_map){0};
        return 0;
    }
    return map_fd(fd, path, (size_t)st.st_size, ret_map, err);
}

int fed_map_fd(int fd, size_t size, struct fed_map *ret_map, struct fed_err *err)
{
    return map_fd(fd, "file", size, ret_map, err);
}

void fed_map_close(struct fed_map *map)
{
    if (map->data != NULL) {
        (void)munmap(fed_unconst(map->data), map->size);
    }
    *map = (struct fed_map){0};
}
