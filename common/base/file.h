/* Files: whole reads with a bound, atomic writes, folders. All may block: never from a loop.
 *
 * Failures are FED_E_IO with the path and errno's text, FED_E_NOT_FOUND where the file is missing,
 * FED_E_LIMIT above a bound, FED_E_NOMEM.
 */
#ifndef FED_COMMON_BASE_FILE_H
#define FED_COMMON_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

#define FED_PATH_SIZE 1024 /* bytes, with the NUL */

/* Raise FED_E_IO for `what` on `path`, with errno's text. */
FED_NODISCARD int fed_file_error(struct fed_err *err, const char *what, const char *path);

/* Format a path. Fails with FED_E_LIMIT when it does not fit. */
FED_NODISCARD FED_PRINTF(3, 4) int fed_path_format(char ret_path[FED_PATH_SIZE],
                                                   struct fed_err *err,
                                                   const char *fmt,
                                                   ...);

/* Read a whole file of at most size_max bytes; *ret_buf is initialised here, the caller deinits. */
FED_NODISCARD int
fed_file_load(const char *path, size_t size_max, struct fed_buf *ret_buf, struct fed_err *err);

/* Write all of it to an open file. */
FED_NODISCARD int fed_file_write(int fd, const void *data, size_t size, struct fed_err *err);
FED_NODISCARD int
fed_file_write_pieces(int fd, const struct fed_pieces *pieces, struct fed_err *err);

/* Replace `path` as a whole: temporary file, rename; with is_durable also fsync of file and folder.
 * A crash leaves the old file or the new one. */
FED_NODISCARD int
fed_file_replace(const char *path, struct fed_view content, bool is_durable, struct fed_err *err);

/* fdatasync the file at `path`. Fails with FED_E_IO, FED_E_NOT_FOUND. */
FED_NODISCARD int fed_file_sync(const char *path, struct fed_err *err);

/* fsync the folder that holds `path`, so that a rename in it survives a power cut. */
FED_NODISCARD int fed_file_sync_folder(const char *path, struct fed_err *err);

/* Make a folder and those above it; done when it is there already. */
FED_NODISCARD int fed_folder_make(const char *path, struct fed_err *err);

/* Remove a folder with the files in it (one level); done when it is not there. */
FED_NODISCARD int fed_folder_remove(const char *path, struct fed_err *err);

/* Read-only mapping of a whole file. */
struct fed_map {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
};

FED_NODISCARD int fed_map_open(const char *path, struct fed_map *ret_map, struct fed_err *err);

/* The same of an open file of this size, > 0; it may be closed afterwards. */
FED_NODISCARD int fed_map_fd(int fd, size_t size, struct fed_map *ret_map, struct fed_err *err);

void fed_map_close(struct fed_map *map);

#endif /* FED_COMMON_BASE_FILE_H */
