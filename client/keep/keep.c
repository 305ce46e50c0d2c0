#include "client/keep/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/json/agent_json.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"

#define RECORD_MAX 4096U

static inline void close_dir_p(DIR **dir)
{
    if (*dir != NULL) {
        (void)closedir(*dir);
    }
}

static inline void free_text_p(char **text)
{
    free(*text);
}

static int take_lock(struct keep *keep, struct fed_err *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(path, err, "%s/lock", keep->folder);

    if (rc < 0) {
        return rc;
    }
    keep->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (keep->lock_fd < 0) {
        return fed_file_error(err, "open", path);
    }
    if (fcntl(keep->lock_fd, F_SETLK, &lock) == 0) {
        return 0;
    }
    (void)fcntl(keep->lock_fd, F_GETLK, &lock);
    (void)close(keep->lock_fd);
    keep->lock_fd = -1;
    return fed_err_set(err, FED_E_CONFLICT,
                       "%s is in use by pid %ld: give this client another "
                       "--state",
                       keep->folder, (long)lock.l_pid);
}

/* Remove the files of STATE/part but for one. */
static int sweep(const struct keep *keep, const char *part, const char *but, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    const int rc = fed_path_format(path, err, "%s/%s", keep->folder, part);

    if (rc < 0) {
        return rc;
    }
    FED_CLEANUP(close_dir_p) DIR *dir = opendir(path);
    if (dir == NULL) {
        return fed_file_error(err, "open folder", path);
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one reader, a stream of its own */
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, but) != 0) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    return 0;
}

int keep_open(const char *folder, struct keep *ret_keep, struct fed_err *err)
{
    struct keep keep = {.lock_fd = -1};
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(keep.folder, err, "%s", folder);

    if (rc == 0) {
        rc = fed_path_format(path, err, "%s/updates", folder);
    }
    if (rc == 0) {
        rc = fed_folder_make(path, err);
    }
    if (rc == 0) {
        rc = fed_path_format(path, err, "%s/tmp", folder);
    }
    if (rc == 0) {
        rc = fed_folder_make(path, err);
    }
    if (rc == 0) {
        rc = take_lock(&keep, err);
    }
    if (rc == 0 && (rc = sweep(&keep, "tmp", "", err)) < 0) {
        keep_close(&keep);
    }
    if (rc == 0) {
        *ret_keep = keep;
    }
    return rc;
}

void keep_close(struct keep *keep)
{
    if (keep->lock_fd >= 0) {
        (void)close(keep->lock_fd);
    }
    keep->lock_fd = -1;
}

int keep_load_id(const struct keep *keep,
                 const char *id,
                 char ret_id[FED_ID_SIZE],
                 struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    char uuid[FED_UUID_SIZE];
    FED_CLEANUP(fed_buf_deinit) struct fed_buf buf = {0};
    int rc = fed_path_format(path, err, "%s/client_id", keep->folder);

    if (rc < 0) {
        return rc;
    }
    if (id[0] != '\0') {
        if (!fed_id_is_valid(id)) {
            return fed_err_set(err, FED_E_INVALID,
                               "'%s' is no id: 1 to 128 of A-Z a-z 0-9 . _ : "
                               "@ + -",
                               id);
        }
        fed_id_copy(ret_id, id);
        return 0;
    }
    rc = fed_file_load(path, FED_ID_SIZE - 1, &buf, err);
    if (rc == 0 && buf.size > 0) {
        char text[FED_ID_SIZE];
        memcpy(text, buf.data, buf.size);
        text[buf.size] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
        if (!fed_id_is_valid(text)) {
            return fed_err_set(err, FED_E_CORRUPT, "%s holds no id", path);
        }
        fed_id_copy(ret_id, text);
        return 0;
    }
    if (rc < 0 && rc != -FED_E_NOT_FOUND) {
        return rc;
    }
    rc = fed_uuid_new(uuid, err);
    if (rc == 0) {
        rc = fed_file_replace(path, fed_view_str(uuid), true, err);
    }
    if (rc == 0) {
        fed_id_copy(ret_id, uuid);
    }
    return rc;
}

bool keep_load_update(const struct keep *keep, struct agent_kept *ret_kept, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    struct agent_kept kept = {0};
    struct stat st;
    FED_CLEANUP(fed_buf_deinit) struct fed_buf buf = {0};
    int rc = fed_path_format(path, err, "%s/kept.json", keep->folder);

    *err = (struct fed_err){0};
    if (rc == 0) {
        rc = fed_file_load(path, RECORD_MAX, &buf, err);
    }
    if (rc == 0) {
        rc = agent_json_read_kept(fed_buf_view(&buf), &kept, err);
    }
    if (rc == 0) {
        rc = keep_format_path(keep, kept.update_id, path, err);
    }
    if (rc == 0 && (stat(path, &st) != 0 || (uint64_t)st.st_size != kept.size_bytes)) {
        rc = fed_err_set(err, FED_E_CORRUPT, "%s is not the file of its record", path);
    }
    if (rc < 0) {
        if (rc == -FED_E_NOT_FOUND) {
            *err = (struct fed_err){0};
        }
        (void)sweep(keep, "updates", "", NULL);
        return false;
    }
    *ret_kept = kept;
    return true;
}

int keep_format_path(const struct keep *keep,
                     const char *update_id,
                     char ret_path[FED_PATH_SIZE],
                     struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/updates/%s.npz", keep->folder, update_id);
}

int keep_format_tmp(const struct keep *keep,
                    const char *name,
                    char ret_path[FED_PATH_SIZE],
                    struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/tmp/%s", keep->folder, name);
}

int keep_save_update(const struct keep *keep, struct agent_kept *kept, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    char name[FED_ID_SIZE + 8];
    struct stat st = {0};
    FED_CLEANUP(free_text_p) char *text = NULL;
    int rc = keep_format_path(keep, kept->update_id, path, err);

    if (rc == 0 && stat(path, &st) != 0) {
        rc = fed_file_error(err, "stat", path);
    }
    if (rc == 0) {
        rc = fed_path_format(path, err, "%s/kept.json", keep->folder);
    }
    if (rc < 0) {
        return rc;
    }
    kept->size_bytes = (uint64_t)st.st_size;
    text = agent_json_kept(kept);
    if (text == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "record of the update");
    }
    rc = fed_file_replace(path, fed_view_str(text), false, err);
    if (rc < 0) {
        return rc;
    }
    (void)snprintf(name, sizeof(name), "%s.npz", kept->update_id);
    return sweep(keep, "updates", name, err);
}
