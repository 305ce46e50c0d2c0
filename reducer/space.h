/* Disk space of the folders that the reducer writes to. */
#ifndef REDUCER_SPACE_H
#define REDUCER_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/file.h"
#include "reducer/settings.h"

#define SPACE_PLACES_MAX 3
#define SPACE_TEXT_SIZE  384

struct space {
    struct {
        const char *what;         /* "metadata"; static */
        char path[FED_PATH_SIZE]; /* a folder */
    } places[SPACE_PLACES_MAX];
    size_t n_places;
    uint64_t reserve; /* bytes */
};

/* The folder for files of the moment: `work`, else beside the SQLite file, whose lock makes it this
 * process's, else a new one under TMPDIR; and one on the same disk that is there before it is made
 * (`work` itself need not be). Fails with FED_E_LIMIT (a path that does not fit). */
FED_NODISCARD int space_find_work(const struct settings *settings,
                                  char ret_work[FED_PATH_SIZE],
                                  char ret_place[FED_PATH_SIZE],
                                  struct fed_err *err);

/* The folders of the settings: the work folder, and where store and blobs are local. */
void space_init(struct space *space, const struct settings *settings, const char *work);

/* Is a place short of its reserve? Then ret_text says which, for people; else it is empty. A folder
 * that cannot be looked at counts as one with space. Blocks on the file systems: workers only. */
bool space_look(const struct space *space, char ret_text[SPACE_TEXT_SIZE]);

/* Bytes of the metadata's file; null where the store is no file here. Blocks. */
json_t *space_measure_store(const struct settings *settings);

/* [{"what","path","free_bytes","total_bytes"}]; the caller's. Blocks, as space_look(). */
json_t *space_describe(const struct space *space);

#endif /* REDUCER_SPACE_H */
