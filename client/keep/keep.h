/* What a client keeps on disk, in one folder: its id, and the update of its last round.
 *
 *   STATE/lock            held by the one process that uses the folder
 *   STATE/client_id       the id, where none was given: the same after a restart
 *   STATE/kept.json       the record of the kept update; written after the file it names
 *   STATE/updates/ID.npz  its bytes
 *   STATE/tmp/            models on their way; emptied at start
 *
 * The record is replaced as a whole (temporary file, rename), so a crash leaves the old update or
 * the new one. There is no flush: the page cache outlives kill -9, and after a power cut an update
 * that does not fit its record is dropped and trained again.
 *
 * Thread safety: one thread at a time. Blocks on disk: worker, or before the loop runs.
 */
#ifndef CLIENT_KEEP_KEEP_H
#define CLIENT_KEEP_KEEP_H

#include <stdbool.h>

#include "client/core/agent_state.h"
#include "common/base/err.h"
#include "common/base/file.h"

struct keep {
    char folder[FED_PATH_SIZE];
    int lock_fd;
};

/* Make the folder where it is missing, and take its lock. Fails with FED_E_CONFLICT (another
 * process has it: says which), FED_E_IO. */
FED_NODISCARD int keep_open(const char *folder, struct keep *ret_keep, struct fed_err *err);
void keep_close(struct keep *keep);

/* `id` where it is not empty, else the one in the folder, else a new one that is put there. */
FED_NODISCARD int keep_load_id(const struct keep *keep,
                               const char *id,
                               char ret_id[FED_ID_SIZE],
                               struct fed_err *err);

/* The kept update; false: none. A record that is damaged or lacks its file is none, and *err says
 * why (err->code stays FED_OK where there simply is none). */
bool keep_load_update(const struct keep *keep, struct agent_kept *ret_kept, struct fed_err *err);

/* Where the bytes of an update lie, or are to be written. Fails with FED_E_LIMIT. */
FED_NODISCARD int keep_format_path(const struct keep *keep,
                                   const char *update_id,
                                   char ret_path[FED_PATH_SIZE],
                                   struct fed_err *err);

/* A file for a model on its way. Fails with FED_E_LIMIT. */
FED_NODISCARD int keep_format_tmp(const struct keep *keep,
                                  const char *name,
                                  char ret_path[FED_PATH_SIZE],
                                  struct fed_err *err);

/* The update's file is written: remember it in place of the former one, whose file goes. Fills in
 * kept->size_bytes. */
FED_NODISCARD int
keep_save_update(const struct keep *keep, struct agent_kept *kept, struct fed_err *err);

#endif /* CLIENT_KEEP_KEEP_H */
