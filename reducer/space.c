#include "reducer/space.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"

static bool find_free(const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0) {
        return false;
    }
    *ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    *ret_total = (uint64_t)fs.f_blocks * fs.f_frsize;
    return true;
}

static void add_place(struct space *space, const char *what, const char *path)
{
    space->places[space->n_places].what = what;
    (void)snprintf(space->places[space->n_places].path, FED_PATH_SIZE, "%s", path);
    space->n_places++;
}

/* The SQLite file, or NULL where the store is none. */
static const char *find_file(const struct settings *settings)
{
    return strncmp(settings->store, "sqlite:", 7) == 0 ? settings->store + 7 : NULL;
}

static void copy_folder(const char *file, char ret_folder[FED_PATH_SIZE])
{
    char *slash;

    (void)snprintf(ret_folder, FED_PATH_SIZE, "%s", file);
    slash = strrchr(ret_folder, '/');
    if (slash == NULL) {
        (void)snprintf(ret_folder, FED_PATH_SIZE, ".");
    } else {
        slash[slash == ret_folder ? 1 : 0] = '\0';
    }
}

int space_find_work(const struct settings *settings,
                    char ret_work[FED_PATH_SIZE],
                    char ret_place[FED_PATH_SIZE],
                    struct fed_err *err)
{
    const char *file = find_file(settings);
    const char *temporary = fed_env_get("TMPDIR");
    int rc;

    if (settings->work[0] != '\0') {
        rc = fed_path_format(ret_place, err, "%s", settings->work);
        return rc < 0 ? rc : fed_path_format(ret_work, err, "%s", settings->work);
    }
    if (file != NULL) {
        copy_folder(file, ret_place);
        return fed_path_format(ret_work, err, "%s.work", file);
    }
    rc = fed_path_format(ret_place, err, "%s", temporary == NULL ? "/tmp" : temporary);
    return rc < 0 ? rc
                  : fed_path_format(ret_work, err, "%s/confed-reducer-%ld-%llu", ret_place,
                                    (long)getpid(), (unsigned long long)fed_clock_mono_us());
}

void space_init(struct space *space, const struct settings *settings, const char *work)
{
    const char *file = find_file(settings);
    char folder[FED_PATH_SIZE];

    *space = (struct space){.reserve = settings->disk_reserve};
    if (file != NULL) {
        copy_folder(file, folder);
        add_place(space, "metadata", folder);
    }
    if (strncmp(settings->blob, "dir:", 4) == 0) {
        add_place(space, "models", settings->blob + 4);
    }
    add_place(space, "work", work);
}

bool space_look(const struct space *space, char ret_text[SPACE_TEXT_SIZE])
{
    for (size_t i = 0; i < space->n_places; i++) {
        uint64_t n_free = 0;
        uint64_t n_total = 0;
        if (find_free(space->places[i].path, &n_free, &n_total) && n_free < space->reserve) {
            (void)snprintf(ret_text, SPACE_TEXT_SIZE,
                           "disk: %.1f MiB free at %.200s (%s), %.1f MiB wanted: no round is "
                           "planned; make room, or see `confed model prune`",
                           (double)n_free / 1048576.0, space->places[i].path, space->places[i].what,
                           (double)space->reserve / 1048576.0);
            return true;
        }
    }
    ret_text[0] = '\0';
    return false;
}

json_t *space_measure_store(const struct settings *settings)
{
    static const char *const ends[] = {"", "-wal"};
    const char *file = find_file(settings);
    char path[FED_PATH_SIZE];
    json_int_t size = 0;
    struct stat st;

    if (file == NULL) {
        return json_null();
    }
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (fed_path_format(path, NULL, "%s%s", file, ends[i]) == 0 && stat(path, &st) == 0) {
            size += st.st_size;
        }
    }
    return json_integer(size);
}

json_t *space_describe(const struct space *space)
{
    json_t *list = json_array();

    for (size_t i = 0; i < space->n_places; i++) {
        uint64_t n_free = 0;
        uint64_t n_total = 0;
        if (find_free(space->places[i].path, &n_free, &n_total)) {
            (void)json_array_append_new(
                list, json_pack("{s:s,s:s,s:I,s:I}", "what", space->places[i].what, "path",
                                space->places[i].path, "free_bytes", (json_int_t)n_free,
                                "total_bytes", (json_int_t)n_total));
        }
    }
    return list;
}
