/* The combiner's folder: what outlives a kill.
 *
 *   SPOOL/lock                        held while a process uses the folder; says who
 *   SPOOL/identity                    combiner_id
 *   SPOOL/outbox                      records waiting for RecordAck (outbox.h)
 *   SPOOL/models/<id>[.raw|.part]     global models, as they came; decoded; on their way
 *   SPOOL/incoming/<serial>           uploads under way; gone after a restart
 *   SPOOL/uploads/<id>~<serial>~<bytes>~<crc32>   whole uploads, not yet announced
 *   SPOOL/rounds/<round_id>/plan      the plan, as plan_file.h writes it
 *   SPOOL/rounds/<round_id>/log       ADMIT and SEAL records (log.h)
 *   SPOOL/rounds/<round_id>/update-<serial>       admitted updates
 *   SPOOL/rounds/<round_id>/checkpoint   the sum of those whose files have gone (checkpoint.h)
 *   SPOOL/rounds/<round_id>/partial      the sealed sum
 *   SPOOL/spare/                      files that uploads, models and sums are written over
 *                                     (common/base/spare.h); emptied at a start
 *
 * Each of these is checked before it is used after a start, so that it may be a spare file, which
 * after a power cut may have its old bytes: an upload and an update by the CRC-32 and the size in
 * name and log, a checkpoint and a partial by their digests (the partial's is in the log, too), a
 * model by the plan's XXH3. Files under way are removed.
 *
 * Nothing here is flushed: the page cache outlives the process. After a power cut, records and
 * files whose length or CRC-32 does not hold are dropped. A spool opened with is_synced flushes
 * what an admission consists of, so that it outlives a power cut, too.
 *
 * Serials name files; they rise, also over restarts, and are never used twice.
 *
 * Thread safety: the struct is read-only but for the serial, which is atomic. Functions may block:
 * worker only, or before the loop runs.
 */
#ifndef COMBINER_SPOOL_SPOOL_H
#define COMBINER_SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/spare.h"
#include "common/link/link.h"

/* A whole uploaded file: in uploads/ until its announcement, then in its round's folder. */
struct spool_file {
    uint64_t serial;
    uint64_t size_bytes;
    uint32_t crc;        /* CRC-32 of all its bytes */
    uint64_t lent_bytes; /* of the spare file it is written over, until it is cut or dropped */
};

struct spool_upload {
    char id[FED_ID_SIZE];
    struct spool_file file;
    uint64_t check_us; /* reading and checking it took; 0: not yet. In memory alone */
};

struct spool_update {
    struct fed_entry entry;
    struct spool_file file;
    bool is_checkpointed; /* in the round's checkpoint: there is no file */
    bool is_checked;      /* this process has read the file whole. In memory alone */
};

/* What the folder of a round says. */
struct spool_round {
    struct fed_plan plan;
    struct spool_update *updates; /* (n_updates,) owned; one a client: the checkpoint's, then the
                                   * others in the order of admission */
    size_t n_updates;
    struct fed_entry *lost; /* (n_lost,) owned: logged, and neither a file nor in the checkpoint */
    size_t n_lost;
    bool is_sealed; /* under the plan's plan_seq, and the partial is whole */
};

struct spool;

/* Take the folder: make it, lock it, keep or make the identity, remove what was under way.
 * Fails with FED_E_CONFLICT (says which process holds it), FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int
spool_open(const char *folder, bool is_synced, struct spool **ret_spool, struct fed_err *err);
struct spool *spool_close(struct spool *spool); /* accepts NULL */
FED_DEFINE_CLEANUP(struct spool, spool_close);

const char *spool_get_id(const struct spool *spool); /* combiner_id */
struct fed_spare *spool_get_spare(const struct spool *spool);
bool spool_is_synced(const struct spool *spool);
uint64_t spool_take_serial(struct spool *spool); /* any thread */

/* -- paths; ids are valid ids ------------------------------------------------------------------ */

FED_NODISCARD int spool_path(const struct spool *spool,
                             const char *folder,
                             const char *name,
                             char ret_path[FED_PATH_SIZE],
                             struct fed_err *err);
FED_NODISCARD int spool_path_upload(const struct spool *spool,
                                    const struct spool_upload *upload,
                                    char ret_path[FED_PATH_SIZE],
                                    struct fed_err *err);
FED_NODISCARD int spool_path_round(const struct spool *spool,
                                   const char *round_id,
                                   const char *name, /* may be NULL: the folder */
                                   char ret_path[FED_PATH_SIZE],
                                   struct fed_err *err);
FED_NODISCARD int spool_path_update(const struct spool *spool,
                                    const char *round_id,
                                    uint64_t serial,
                                    char ret_path[FED_PATH_SIZE],
                                    struct fed_err *err);

/* -- uploads ----------------------------------------------------------------------------------- */

/* Append to incoming/<serial>, carrying on file->size_bytes and file->crc. Fails with FED_E_IO:
 * then the upload is over. */
FED_NODISCARD int spool_add(const struct spool *spool,
                            struct spool_file *file,
                            const struct fed_pieces *chunk,
                            struct fed_err *err);

/* incoming/<serial> becomes the whole upload; an upload without bytes is made an empty file. */
FED_NODISCARD int
spool_publish(const struct spool *spool, struct spool_upload *upload, struct fed_err *err);

void spool_drop_incoming(const struct spool *spool, struct spool_file *file);
void spool_drop_upload(const struct spool *spool, const struct spool_upload *upload);

/* The uploads found, oldest first; of those with one id only the newest is kept. Free *ret_uploads.
 */
FED_NODISCARD int spool_list_uploads(const struct spool *spool,
                                     struct spool_upload **ret_uploads,
                                     size_t *ret_n_uploads,
                                     struct fed_err *err);

/* -- rounds ------------------------------------------------------------------------------------ */

FED_NODISCARD int
spool_store_plan(const struct spool *spool, const struct fed_plan *plan, struct fed_err *err);

/* Move the upload into the round's folder and append ADMIT. On failure the upload is where it was
 * and the log as it was. */
FED_NODISCARD int spool_admit(const struct spool *spool,
                              const char *round_id,
                              const struct spool_upload *upload,
                              const struct fed_entry *entry,
                              struct fed_err *err);

/* Append SEAL: the partial of plan_seq is whole. */
FED_NODISCARD int spool_seal(const struct spool *spool,
                             const char *round_id,
                             uint64_t plan_seq,
                             const uint8_t digest[FED_DIGEST_SIZE],
                             struct fed_err *err);

/* Its file goes; the log keeps its record. */
void spool_drop_update(const struct spool *spool, const char *round_id, uint64_t serial);

void spool_drop_round(const struct spool *spool, const char *round_id);

/* Every round found with a readable plan, by round id; others are removed. Free each with
 * spool_round_deinit(), and the array. */
FED_NODISCARD int spool_list_rounds(const struct spool *spool,
                                    struct spool_round **ret_rounds,
                                    size_t *ret_n_rounds,
                                    struct fed_err *err);

/* Remove the models that are no base of these rounds. */
void spool_sweep_models(const struct spool *spool,
                        const struct spool_round *rounds,
                        size_t n_rounds);
void spool_round_deinit(struct spool_round *round);

#endif /* COMBINER_SPOOL_SPOOL_H */
