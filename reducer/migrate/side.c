#include "reducer/migrate/side.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reducer/blob/blob.h"
#include "reducer/opening.h"
#include "reducer/store/store.h"

#define WORDS_MAX 8

/* One that is not there is removed already. */
static int remove_file(const char *folder, const char *name, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(path, err, "%s/%s", folder, name);

    if (rc == 0 && unlink(path) != 0 && errno != ENOENT) {
        rc = fed_file_error(err, "remove", path);
    }
    return rc;
}

/* The metadata of a backup: one file, made under another name and renamed when it is whole. */
static int name_backup(struct side *side, const char *folder, struct fed_err *err)
{
    int rc = fed_path_format(side->backup, err, "%s", folder);

    rc = rc < 0 ? rc
                : fed_path_format(side->store_url, err, "sqlite:%s/confed.db%s", folder,
                                  side->is_target ? ".new" : "");
    return rc < 0 ? rc : fed_path_format(side->blob_url, err, "dir:%s/blobs", folder);
}

static int expect_backup(const struct side *side, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    const int rc = fed_path_format(path, err, "%s/confed.db", side->backup);

    if (rc == 0 && access(path, R_OK) != 0) {
        return fed_err_set(err, FED_E_NOT_FOUND, "%.200s is no backup: it has no confed.db",
                           side->backup);
    }
    return rc;
}

/* What one that was cut off has left is begun anew. */
static int make_backup(const struct side *side, struct fed_err *err)
{
    static const char *const leftovers[] = {"confed.db.new", "confed.db.new-wal",
                                            "confed.db.new-shm"};
    int rc = fed_folder_make(side->backup, err);

    for (size_t i = 0; rc == 0 && i < sizeof(leftovers) / sizeof(leftovers[0]); i++) {
        rc = remove_file(side->backup, leftovers[i], err);
    }
    return rc;
}

/* The file or folder of a URL; NULL: a server's. Lives as long as the URL. */
static const char *path_of(const char *url)
{
    static const char *const kinds[] = {"sqlite:", "dir:"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strncmp(url, kinds[i], strlen(kinds[i])) == 0) {
            return url + strlen(kinds[i]);
        }
    }
    return NULL;
}

/* The settings' own table: a file, the environment, then what was said here. */
static int load_settings(struct side *side,
                         const char *flag,
                         const struct side_words *words,
                         struct fed_err *err)
{
    const char *const pairs[][2] = {
        {"--config", words->file},
        {"--store", side->store_url[0] == '\0' ? words->store : side->store_url},
        {"--blob", side->blob_url[0] == '\0' ? words->blob : side->blob_url},
    };
    char texts[2 * WORDS_MAX][FED_PATH_SIZE] = {"confed-reducer"};
    char *argv[2 * WORDS_MAX + 1] = {texts[0]};
    int argc = 1;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i][1][0] == '\0') {
            continue;
        }
        rc = fed_path_format(texts[argc], err, "%s", pairs[i][0]);
        argv[argc] = texts[argc];
        argc++;
        rc = rc < 0 ? rc : fed_path_format(texts[argc], err, "%s", pairs[i][1]);
        argv[argc] = texts[argc];
        argc++;
    }
    rc = rc < 0 ? rc : fed_conf_load(&settings_spec, argc, argv, &side->settings, &side->conf, err);
    return rc < 0 ? fed_err_wrap(err, rc, "%s", flag) : rc;
}

/* Opened, a file or a folder that is not there would be made: an empty federation. */
static int find_source(const struct settings *settings, struct fed_err *err)
{
    const char *const urls[] = {settings->store, settings->blob};

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        const char *path = path_of(urls[i]);
        if (path != NULL && access(path, F_OK) != 0) {
            return errno == ENOENT
                       ? fed_err_set(err, FED_E_NOT_FOUND,
                                     "%.200s is not there: there is nothing to copy", urls[i])
                       : fed_file_error(err, "look for", path);
        }
    }
    return 0;
}

/* A server makes a database of any name: an empty one was not meant, and no backup is replaced by
 * nothing. */
static int expect_documents(const struct side *side, struct fed_err *err)
{
    const struct store_query one = {.limit = 1};
    size_t n = 0;
    int rc = 0;

    for (int in = 0; rc == 0 && n == 0 && in < STORE_COLLECTION_MAX; in++) {
        json_t *documents = NULL;
        rc = store_find(side->store, (enum store_collection)in, &one, &documents, &n, err);
        json_decref(documents);
    }
    return rc < 0 || n > 0 ? rc
                           : fed_err_set(err, FED_E_NOT_FOUND,
                                         "%.200s has no documents: there is nothing to copy",
                                         side->settings.store);
}

int side_load(struct side *side,
              const char *flag,
              const struct side_words *words,
              bool is_target,
              struct fed_err *err)
{
    int rc = 0;

    *side = (struct side){.is_target = is_target};
    if (words->backup[0] != '\0') {
        rc = name_backup(side, words->backup, err);
    } else if (words->file[0] == '\0' && (words->store[0] == '\0' || words->blob[0] == '\0')) {
        return fed_err_set(err, FED_E_INVALID,
                           "--%s FILE is missing (a reducer's settings), or --%s-store URL and "
                           "--%s-blob URL",
                           flag, flag, flag);
    }
    return rc < 0 ? rc : load_settings(side, flag, words, err);
}

int side_open_source(struct side *side, struct fed_err *err)
{
    int rc = side->backup[0] == '\0' ? 0 : expect_backup(side, err);

    rc = rc < 0 ? rc : find_source(&side->settings, err);
    rc = rc < 0 ? rc : opening_store(&side->settings, &side->store, err);
    rc = rc < 0 ? rc : expect_documents(side, err);
    return rc < 0 ? rc : opening_blobs(&side->settings, &side->blobs, err);
}

/* The same file or folder, however it is written; or the same words. */
static bool is_same_place(const char *a, const char *b)
{
    const char *path_a = path_of(a);
    const char *path_b = path_of(b);
    struct stat stat_a;
    struct stat stat_b;

    return strcmp(a, b) == 0 || (path_a != NULL && path_b != NULL && stat(path_a, &stat_a) == 0 &&
                                 stat(path_b, &stat_b) == 0 && stat_a.st_dev == stat_b.st_dev &&
                                 stat_a.st_ino == stat_b.st_ino);
}

static bool has_same_blobs(const struct settings *a, const struct settings *b)
{
    return is_same_place(a->blob, b->blob) && strcmp(a->blob_endpoint, b->blob_endpoint) == 0 &&
           strcmp(a->blob_region, b->blob_region) == 0;
}

int side_check_both(struct side *from, struct side *to, struct fed_err *err)
{
    const bool are_backups = from->backup[0] != '\0' && to->backup[0] != '\0';
    const bool is_same_store = is_same_place(from->settings.store, to->settings.store);

    if ((is_same_store || are_backups) && has_same_blobs(&from->settings, &to->settings)) {
        return fed_err_set(err, FED_E_INVALID, "both sides are the same");
    }
    to->has_same_store = is_same_store;
    return 0;
}

int side_open_target(struct side *side, const struct side *from, struct fed_err *err)
{
    int rc = side->backup[0] == '\0' ? 0 : make_backup(side, err);

    if (rc == 0 && side->has_same_store) {
        side->store = from->store;
    } else if (rc == 0) {
        rc = opening_store(&side->settings, &side->store, err);
    }
    return rc < 0 ? rc : opening_blobs(&side->settings, &side->blobs, err);
}

static void close_both(struct side *side)
{
    side->store = side->has_same_store ? NULL : store_close(side->store);
    side->blobs = blob_close(side->blobs);
}

/* The journal of a database that was closed whole is gone: what still lies beside the new one has
 * not all reached it. What lies beside the old one (a process that was killed had it open) is not
 * the new one's, and SQLite would read it as if it were. */
static int tidy_journals(const struct side *side, struct fed_err *err)
{
    static const char *const old[] = {"confed.db-wal", "confed.db-shm"};
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(path, err, "%s/confed.db.new-wal", side->backup);

    if (rc == 0 && access(path, F_OK) == 0) {
        return fed_err_set(
            err, FED_E_IO,
            "%.200s was not written whole: is the disk full, or does another program "
            "read it?",
            path);
    }
    for (size_t i = 0; rc == 0 && i < sizeof(old) / sizeof(old[0]); i++) {
        rc = remove_file(side->backup, old[i], err);
    }
    return rc;
}

int side_finish(struct side *side, struct fed_err *err)
{
    char from[FED_PATH_SIZE];
    char to[FED_PATH_SIZE];
    int rc;

    close_both(side);
    if (side->backup[0] == '\0') {
        return 0;
    }
    rc = fed_path_format(from, err, "%s/confed.db.new", side->backup);
    rc = rc < 0 ? rc : fed_path_format(to, err, "%s/confed.db", side->backup);
    rc = rc < 0 ? rc : tidy_journals(side, err);
    if (rc == 0 && rename(from, to) != 0) {
        rc = fed_file_error(err, "rename to", to);
    }
    rc = rc < 0 ? rc : fed_path_format(from, err, "%s/confed.db.new.lock", side->backup);
    if (rc == 0) {
        (void)unlink(from);
    }
    return rc < 0 ? rc : fed_file_sync_folder(to, err);
}

void side_close(struct side *side)
{
    close_both(side);
    fed_conf_deinit(&side->conf);
}
