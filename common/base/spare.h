/* Files whose room is there already: what was written, read and is needed no more is written over
 * instead of removed and made anew. Its pages are in the page cache, its blocks on the disk: the
 * kernel neither finds nor frees them again.
 *
 *   fed_spare_take(path) --the owner writes, reads, renames …--> fed_spare_give(path)
 *        ^                                                              |
 *        +---------------- FOLDER/spare-<number> <----------------------+
 *
 * Ownership: a file at the path it was taken to is the caller's, as one it has made. A given one is
 * the folder's; nobody opens it by its name any more. The folder may hold other files.
 *
 * Who still reads. A given file may be mapped or open, as one that is unlinked may be: it is
 * written over only when the kernel says that nobody has it (a write lease is granted to the only
 * one who has a file open; a mapping counts, whoever made it and whatever became of its
 * descriptor), and only if it has no second name. Until then it waits in the folder. Where the
 * kernel cannot tell (no leases, or a file system whose mappings they do not see: overlayfs), which
 * fed_spare_open() tries out, nothing is kept.
 *
 * Crashes. A taken file has its old bytes until it is written. After a kill that shows nowhere: the
 * page cache outlives the process, and a file gets the name by which it counts after it has been
 * written. After a power cut the old bytes may lie under the new name, with the right length. So
 * only a file whose bytes are checked before they are used after a start (by a hash that its name
 * or a record beside it holds), or that does not outlive the process, may be a taken one. Nothing
 * is flushed here; fdatasync of such a file flushes what was written over, as of any other.
 *
 * Bounds: `files_max` files; `bytes_max` bytes of them and of those lent to files that have not got
 * their own size yet. The oldest go first. None is kept, and those there are go, while the disk has
 * less than `free_min` free: looked at whenever a file is given.
 *
 * Errors: a spare file that has vanished, cannot be opened or renamed is passed over, and a fresh
 * one is made; only that can fail. What cannot be kept is unlinked.
 *
 * Thread safety: any thread. They block on the disk, as open() and unlink() do.
 */
#ifndef FED_COMMON_BASE_SPARE_H
#define FED_COMMON_BASE_SPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

#define FED_SPARE_MIN 65536U /* bytes; smaller files are not worth it */

struct fed_spare_limits {
    size_t files_max;
    uint64_t bytes_max;
    uint64_t free_min; /* bytes free on the disk, below which nothing is kept */
};

struct fed_spare;

/* Make the folder where it is missing, and remove what a former process has left in it. Who calls
 * has made sure that there is no other one. Fails with FED_E_IO, FED_E_NOMEM, FED_E_LIMIT. */
FED_NODISCARD int fed_spare_open(const char *folder,
                                 const struct fed_spare_limits *limits,
                                 struct fed_spare **ret_spare,
                                 struct fed_err *err);
struct fed_spare *fed_spare_close(struct fed_spare *spare); /* accepts NULL; the files go */
FED_DEFINE_CLEANUP(struct fed_spare, fed_spare_close);

/* False: here nothing is kept. */
bool fed_spare_is_on(const struct fed_spare *spare);

/* -- below `spare` may be NULL: then files are made and unlinked --------------------------------
 */

/* A file of size_bytes at `path`, where there is none, open for reading and writing at its
 * beginning; what is in it is not said. Fails with FED_E_IO, FED_E_NOT_FOUND (no such folder). */
FED_NODISCARD int fed_spare_take(struct fed_spare *spare,
                                 const char *path,
                                 uint64_t size_bytes,
                                 int *ret_fd,
                                 struct fed_err *err);

/* The same where the size is not known yet: the file has *ret_lent bytes, 0 if it is a fresh one.
 * It is cut to what was written before it is read, and what was lent told to fed_spare_settle()
 * then, or when it is given as it is. */
FED_NODISCARD int fed_spare_take_lent(struct fed_spare *spare,
                                      const char *path,
                                      int *ret_fd,
                                      uint64_t *ret_lent,
                                      struct fed_err *err);
void fed_spare_settle(struct fed_spare *spare, uint64_t lent);

/* The file is needed no more; done when there is none. */
void fed_spare_give(struct fed_spare *spare, const char *path);

/* Let them go: the disk is full. False: there were none. */
bool fed_spare_clear(struct fed_spare *spare);

#endif /* FED_COMMON_BASE_SPARE_H */
