/* NOLINTNEXTLINE(readability-identifier-naming): libc's name; for leases and renameat2 */
#define _GNU_SOURCE

#include "common/base/spare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/file.h"

#define PREFIX    "spare-"
#define TRIES_MAX 4U /* files that somebody still has, before a fresh one is made */

struct held {
    uint64_t number;
    uint64_t size_bytes;
};

struct fed_spare {
    char folder[FED_PATH_SIZE]; /* constant after open, as the next two */
    struct fed_spare_limits limits;
    bool is_on;
    struct {
        pthread_mutex_t lock;
        struct held *files; /* (n_files,) owned, room for files_max; oldest first */
        size_t n_files;
        uint64_t n_bytes; /* of them */
        uint64_t n_lent;
        uint64_t next_number;
    } own; /* its lock's */
};

static int format_name(const struct fed_spare *spare, uint64_t number, char ret_path[FED_PATH_SIZE])
{
    return fed_path_format(ret_path, NULL, "%s/" PREFIX "%" PRIu64, spare->folder, number);
}

static void unlink_number(const struct fed_spare *spare, uint64_t number)
{
    char path[FED_PATH_SIZE];

    if (format_name(spare, number, path) == 0) {
        (void)unlink(path);
    }
}

/* -- who else has it --------------------------------------------------------------------------- */

/* Has nobody but this descriptor the file open or mapped? SIGURG, which nobody hears: should
 * somebody open the file in this moment, the default signal would end us. */
static bool is_alone(int fd)
{
    if (fcntl(fd, F_SETSIG, SIGURG) != 0 || fcntl(fd, F_SETLEASE, F_WRLCK) != 0) {
        return false;
    }
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return true;
}

/* Does the kernel see a mapping whose descriptor is closed? */
static bool does_see_map(int fd, const char *path, int flags)
{
    const size_t size = FED_SPARE_MIN;
    const int other = open(path, flags | O_CLOEXEC);
    void *data;
    bool does_see;

    if (other < 0) {
        return false;
    }
    data = mmap(NULL, size, PROT_READ, MAP_SHARED, other, 0);
    (void)close(other);
    if (data == MAP_FAILED) {
        return false;
    }
    does_see = !is_alone(fd);
    (void)munmap(data, size);
    return does_see && is_alone(fd);
}

/* Try it out with a file. */
static bool can_tell(const struct fed_spare *spare)
{
    char path[FED_PATH_SIZE];
    bool can = false;
    int fd;

    if (format_name(spare, 0, path) < 0) {
        return false;
    }
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd >= 0) {
        can = ftruncate(fd, FED_SPARE_MIN) == 0 && does_see_map(fd, path, O_RDONLY) &&
              does_see_map(fd, path, O_RDWR);
        (void)close(fd);
        (void)unlink(path);
    }
    return can;
}

/* -- life -------------------------------------------------------------------------------------- */

static int empty(const char *folder, struct fed_err *err)
{
    DIR *dir = opendir(folder);

    if (dir == NULL) {
        return fed_file_error(err, "open folder", folder);
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one reader, a stream of its own */
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    (void)closedir(dir);
    return 0;
}

int fed_spare_open(const char *folder,
                   const struct fed_spare_limits *limits,
                   struct fed_spare **ret_spare,
                   struct fed_err *err)
{
    struct fed_spare *spare = calloc(1, sizeof(*spare));
    int rc = spare == NULL ? fed_err_set(err, FED_E_NOMEM, "spare files") : 0;

    if (rc < 0) {
        return rc;
    }
    spare->limits = *limits;
    spare->own.next_number = 1;
    spare->own.files = calloc(limits->files_max + 1, sizeof(*spare->own.files));
    rc = spare->own.files == NULL ? fed_err_set(err, FED_E_NOMEM, "spare files") : 0;
    rc = rc < 0 ? rc : fed_path_format(spare->folder, err, "%s", folder);
    rc = rc < 0 ? rc : fed_folder_make(folder, err);
    rc = rc < 0 ? rc : empty(folder, err);
    if (rc == 0 && pthread_mutex_init(&spare->own.lock, NULL) != 0) {
        rc = fed_err_set(err, FED_E_NOMEM, "spare files");
    }
    if (rc < 0) {
        free(spare->own.files);
        free(spare);
        return rc;
    }
    spare->is_on = can_tell(spare);
    *ret_spare = spare;
    return 0;
}

struct fed_spare *fed_spare_close(struct fed_spare *spare)
{
    if (spare != NULL) {
        (void)fed_spare_clear(spare);
        (void)pthread_mutex_destroy(&spare->own.lock);
        free(spare->own.files);
        free(spare);
    }
    return NULL;
}

bool fed_spare_is_on(const struct fed_spare *spare)
{
    return spare->is_on;
}

/* -- the list ---------------------------------------------------------------------------------- */

static struct held remove_locked(struct fed_spare *spare, size_t i)
{
    const struct held file = spare->own.files[i];

    spare->own.n_files--;
    spare->own.n_bytes -= file.size_bytes;
    memmove(&spare->own.files[i], &spare->own.files[i + 1],
            (spare->own.n_files - i) * sizeof(file));
    return file;
}

/* Is there room for one more of this size? */
static bool has_room_locked(const struct fed_spare *spare, uint64_t size_bytes)
{
    const uint64_t used = spare->own.n_bytes + spare->own.n_lent;

    return spare->own.n_files < spare->limits.files_max && used <= spare->limits.bytes_max &&
           size_bytes <= spare->limits.bytes_max - used;
}

/* Put it on the list; the oldest make room. Where all of them do not make enough, it goes. */
static void put(struct fed_spare *spare, struct held file)
{
    bool is_over = false;

    while (!is_over) {
        struct held gone = file;
        (void)pthread_mutex_lock(&spare->own.lock);
        is_over = true;
        if (has_room_locked(spare, file.size_bytes)) {
            spare->own.files[spare->own.n_files++] = file;
            spare->own.n_bytes += file.size_bytes;
            gone.number = 0;
        } else if (spare->own.n_files > 0) {
            gone = remove_locked(spare, 0);
            is_over = false;
        }
        (void)pthread_mutex_unlock(&spare->own.lock);
        if (gone.number != 0) {
            unlink_number(spare, gone.number);
        }
    }
}

/* The smallest that is large enough, else the largest; of equal ones the newest. Counts as lent
 * until it is settled, so that it is never out of the count. False: there is none. */
static bool pick(struct fed_spare *spare, uint64_t size_bytes, struct held *ret_file)
{
    const struct held *files = spare->own.files;
    size_t best = 0;
    bool is_one;

    (void)pthread_mutex_lock(&spare->own.lock);
    is_one = spare->own.n_files > 0;
    for (size_t i = 1; i < spare->own.n_files; i++) {
        const bool is_enough = files[i].size_bytes >= size_bytes;
        const bool is_larger = files[i].size_bytes >= files[best].size_bytes;
        const bool is_smaller = files[i].size_bytes <= files[best].size_bytes;
        if (files[best].size_bytes >= size_bytes ? is_enough && is_smaller : is_larger) {
            best = i;
        }
    }
    if (is_one) {
        *ret_file = remove_locked(spare, best);
        spare->own.n_lent += ret_file->size_bytes;
    }
    (void)pthread_mutex_unlock(&spare->own.lock);
    return is_one;
}

void fed_spare_settle(struct fed_spare *spare, uint64_t lent)
{
    if (spare != NULL && lent > 0) {
        (void)pthread_mutex_lock(&spare->own.lock);
        spare->own.n_lent -= lent;
        (void)pthread_mutex_unlock(&spare->own.lock);
    }
}

bool fed_spare_clear(struct fed_spare *spare)
{
    struct held file;
    bool is_one = false;

    while (spare != NULL && pick(spare, 0, &file)) {
        unlink_number(spare, file.number);
        fed_spare_settle(spare, file.size_bytes);
        is_one = true;
    }
    return is_one;
}

/* -- taking ------------------------------------------------------------------------------------ */

enum tried {
    TRIED_DONE,
    TRIED_BUSY, /* somebody has it, or it cannot be moved there: it stays */
    TRIED_GONE,
};

/* Give the file its new name and its descriptor. */
static enum tried
try_file(const struct fed_spare *spare, const struct held *file, const char *path, int *ret_fd)
{
    char name[FED_PATH_SIZE];
    struct stat st;
    enum tried tried = TRIED_BUSY;
    int fd;

    if (format_name(spare, file->number, name) < 0) {
        return TRIED_GONE;
    }
    fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        (void)unlink(name);
        return TRIED_GONE;
    }
    if (fstat(fd, &st) != 0 || st.st_nlink != 1 || (uint64_t)st.st_size != file->size_bytes) {
        (void)unlink(name); /* not what we have put there */
        tried = TRIED_GONE;
    } else if (is_alone(fd) && renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        *ret_fd = fd;
        return TRIED_DONE;
    }
    (void)close(fd);
    return tried;
}

/* A spare file at `path`, which counts as lent; 0: none. */
static uint64_t
take_spare(struct fed_spare *spare, const char *path, uint64_t size_bytes, int *ret_fd)
{
    struct held busy[TRIES_MAX];
    struct held file;
    uint64_t lent = 0;
    size_t n_busy = 0;

    while (lent == 0 && n_busy < TRIES_MAX && pick(spare, size_bytes, &file)) {
        switch (try_file(spare, &file, path, ret_fd)) {
        case TRIED_DONE:
            lent = file.size_bytes;
            break;
        case TRIED_BUSY:
            busy[n_busy++] = file;
            break;
        case TRIED_GONE:
            fed_spare_settle(spare, file.size_bytes);
            break;
        }
    }
    for (size_t i = 0; i < n_busy; i++) {
        fed_spare_settle(spare, busy[i].size_bytes);
        put(spare, busy[i]);
    }
    return lent;
}

static int make_file(const char *path, int *ret_fd, struct fed_err *err)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    if (fd < 0) {
        return fed_file_error(err, "create", path);
    }
    *ret_fd = fd;
    return 0;
}

int fed_spare_take_lent(struct fed_spare *spare,
                        const char *path,
                        int *ret_fd,
                        uint64_t *ret_lent,
                        struct fed_err *err)
{
    const uint64_t lent = spare == NULL ? 0 : take_spare(spare, path, 0, ret_fd);
    const int rc = lent > 0 ? 0 : make_file(path, ret_fd, err);

    if (rc == 0) {
        *ret_lent = lent;
    }
    return rc;
}

int fed_spare_take(struct fed_spare *spare,
                   const char *path,
                   uint64_t size_bytes,
                   int *ret_fd,
                   struct fed_err *err)
{
    const bool is_worth = spare != NULL && size_bytes >= FED_SPARE_MIN;
    int fd = -1;
    const uint64_t lent = is_worth ? take_spare(spare, path, size_bytes, &fd) : 0;
    int rc = lent > 0 ? 0 : make_file(path, &fd, err);

    if (rc == 0 && lent != size_bytes && ftruncate(fd, (off_t)size_bytes) != 0) {
        rc = fed_file_error(err, "size", path);
        (void)close(fd);
        (void)unlink(path);
    }
    fed_spare_settle(spare, lent);
    if (rc == 0) {
        *ret_fd = fd;
    }
    return rc;
}

/* -- giving ------------------------------------------------------------------------------------ */

static bool is_disk_short(const struct fed_spare *spare)
{
    struct statvfs fs;

    return statvfs(spare->folder, &fs) != 0 ||
           (uint64_t)fs.f_bavail * fs.f_frsize < spare->limits.free_min;
}

static uint64_t take_number(struct fed_spare *spare)
{
    uint64_t number;

    (void)pthread_mutex_lock(&spare->own.lock);
    number = spare->own.next_number++;
    (void)pthread_mutex_unlock(&spare->own.lock);
    return number;
}

/* Is it one to keep, of *ret_size bytes? A second name is another owner's. */
static bool is_worth_keeping(struct fed_spare *spare, const char *path, uint64_t *ret_size)
{
    struct stat st;

    if (spare == NULL || !spare->is_on || lstat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
        st.st_nlink != 1 || (uint64_t)st.st_size < FED_SPARE_MIN ||
        (uint64_t)st.st_size > spare->limits.bytes_max) {
        return false;
    }
    if (is_disk_short(spare)) {
        (void)fed_spare_clear(spare);
        return false;
    }
    *ret_size = (uint64_t)st.st_size;
    return true;
}

void fed_spare_give(struct fed_spare *spare, const char *path)
{
    char name[FED_PATH_SIZE];
    struct held file = {0};

    if (is_worth_keeping(spare, path, &file.size_bytes)) {
        file.number = take_number(spare);
        if (format_name(spare, file.number, name) == 0 && rename(path, name) == 0) {
            put(spare, file);
            return;
        }
    }
    (void)unlink(path);
}
