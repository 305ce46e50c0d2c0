#include "combiner/spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "combiner/spool/checkpoint.h"
#include "combiner/spool/log.h"
#include "combiner/spool/plan_file.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strmap.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"

#define READ_SIZE      65536U
#define IDENTITY_MAX   256U   /* bytes of the identity file */
#define UPLOADS_MAX    65536U /* found in the folder at a start; beyond it they are removed */
#define ROUNDS_MAX     64U    /* as above */
#define SERIAL_SPACING 1024U  /* serials a millisecond of the clock makes room for */

/* Spare files: about twice what a round of 16 clients with the CNN writes. */
#define SPARE_FILES_MAX 32U
#define SPARE_BYTES_MAX (256ULL * 1024 * 1024)
#define SPARE_FREE_MIN  (2 * SPARE_BYTES_MAX)

struct spool {
    char folder[FED_PATH_SIZE];
    char combiner_id[FED_ID_SIZE];
    int lock_fd;
    bool is_synced;                /* an admission is flushed before it is one */
    _Atomic uint64_t *next_serial; /* owned; changes, as the next does inside */
    struct fed_spare *spare;       /* owned */
};

/* -- paths ------------------------------------------------------------------------------------- */

int spool_path(const struct spool *spool,
               const char *folder,
               const char *name,
               char ret_path[FED_PATH_SIZE],
               struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/%s/%s", spool->folder, folder, name);
}

int spool_path_upload(const struct spool *spool,
                      const struct spool_upload *upload,
                      char ret_path[FED_PATH_SIZE],
                      struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/uploads/%s~%" PRIu64 "~%" PRIu64 "~%08" PRIx32,
                           spool->folder, upload->id, upload->file.serial, upload->file.size_bytes,
                           upload->file.crc);
}

int spool_path_round(const struct spool *spool,
                     const char *round_id,
                     const char *name,
                     char ret_path[FED_PATH_SIZE],
                     struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/rounds/%s%s%s", spool->folder, round_id,
                           name == NULL ? "" : "/", name == NULL ? "" : name);
}

int spool_path_update(const struct spool *spool,
                      const char *round_id,
                      uint64_t serial,
                      char ret_path[FED_PATH_SIZE],
                      struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/rounds/%s/update-%" PRIu64, spool->folder, round_id,
                           serial);
}

/* -- taking the folder ------------------------------------------------------------------------- */

static int take_lock(struct spool *spool, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    char holder[32] = "";
    char text[32];
    int rc = fed_path_format(path, err, "%s/lock", spool->folder);

    if (rc < 0) {
        return rc;
    }
    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (spool->lock_fd < 0) {
        return fed_file_error(err, "open", path);
    }
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        const ssize_t n = pread(spool->lock_fd, holder, sizeof(holder) - 1, 0);
        holder[n > 0 ? n : 0] = '\0';
        holder[strcspn(holder, "\n")] = '\0';
        return fed_err_set(err, FED_E_CONFLICT, "the spool %s is in use by process %s",
                           spool->folder, holder[0] == '\0' ? "(unknown)" : holder);
    }
    (void)snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(spool->lock_fd, 0) != 0) {
        return fed_file_error(err, "write", path);
    }
    return fed_file_write(spool->lock_fd, text, strlen(text), err);
}

static int load_identity(struct spool *spool, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    char uuid[FED_UUID_SIZE];
    struct fed_buf buf;
    int rc = fed_path_format(path, err, "%s/identity", spool->folder);

    if (rc < 0) {
        return rc;
    }
    rc = fed_file_load(path, IDENTITY_MAX, &buf, err);
    if (rc == 0) {
        const int n = buf.size < FED_ID_SIZE ? (int)buf.size : FED_ID_SIZE - 1;
        (void)snprintf(spool->combiner_id, sizeof(spool->combiner_id), "%.*s", n,
                       (const char *)buf.data);
        spool->combiner_id[strcspn(spool->combiner_id, "\r\n")] = '\0';
        fed_buf_deinit(&buf);
        return fed_id_is_valid(spool->combiner_id)
                   ? 0
                   : fed_err_set(err, FED_E_CORRUPT, "%s holds no id", path);
    }
    if (rc != -FED_E_NOT_FOUND) {
        return rc;
    }
    rc = fed_uuid_new(uuid, err);
    if (rc < 0) {
        return rc;
    }
    fed_id_copy(spool->combiner_id, uuid);
    return fed_file_replace(path, fed_view_of(uuid, strlen(uuid)), true, err);
}

static const struct dirent *next_entry(DIR *dir)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one reader, a stream of its own */
    return readdir(dir);
}

typedef bool (*wanted_fn)(const char *name);

static bool is_any(const char *name)
{
    return name[0] != '.';
}

static bool is_partly(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && (strcmp(dot, ".part") == 0 || strcmp(dot, ".tmp") == 0);
}

/* Remove the files of a folder whose names are wanted. */
static int
sweep(const struct spool *spool, const char *folder, wanted_fn wanted, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(path, err, "%s/%s", spool->folder, folder);
    DIR *dir = rc < 0 ? NULL : opendir(path);

    if (dir == NULL) {
        return rc < 0 ? rc : fed_file_error(err, "open folder", path);
    }
    for (const struct dirent *entry = next_entry(dir); entry != NULL; entry = next_entry(dir)) {
        if (wanted(entry->d_name)) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    (void)closedir(dir);
    return 0;
}

static int make_folders(const struct spool *spool, struct fed_err *err)
{
    static const char *const names[] = {"models", "incoming", "uploads", "rounds"};
    char path[FED_PATH_SIZE];
    int rc = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        rc = fed_path_format(path, err, "%s/%s", spool->folder, names[i]);
        rc = rc < 0 ? rc : fed_folder_make(path, err);
    }
    return rc;
}

static int open_spare(struct spool *spool, struct fed_err *err)
{
    static const struct fed_spare_limits limits = {SPARE_FILES_MAX, SPARE_BYTES_MAX,
                                                   SPARE_FREE_MIN};
    char path[FED_PATH_SIZE];
    const int rc = fed_path_format(path, err, "%s/spare", spool->folder);

    return rc < 0 ? rc : fed_spare_open(path, &limits, &spool->spare, err);
}

int spool_open(const char *folder, bool is_synced, struct spool **ret_spool, struct fed_err *err)
{
    FED_CLEANUP(spool_close_p) struct spool *spool = calloc(1, sizeof(*spool));
    int rc;

    if (spool == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "spool");
    }
    spool->lock_fd = -1;
    spool->is_synced = is_synced;
    spool->next_serial = calloc(1, sizeof(*spool->next_serial));
    if (spool->next_serial == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "spool");
    }
    /* Serials rise over restarts without being written down: no process makes a thousand uploads
     * a millisecond. spool_list_*() raise it further should the clock have gone back. */
    atomic_init(spool->next_serial, fed_clock_utc_ms() * SERIAL_SPACING);
    rc = fed_path_format(spool->folder, err, "%s", folder);
    rc = rc < 0 ? rc : fed_folder_make(folder, err);
    rc = rc < 0 ? rc : take_lock(spool, err);
    rc = rc < 0 ? rc : load_identity(spool, err);
    rc = rc < 0 ? rc : make_folders(spool, err);
    rc = rc < 0 ? rc : sweep(spool, "incoming", is_any, err);
    rc = rc < 0 ? rc : sweep(spool, "models", is_partly, err);
    rc = rc < 0 ? rc : open_spare(spool, err);
    if (rc == 0) {
        *ret_spool = FED_TAKE(spool);
    }
    return rc;
}

struct spool *spool_close(struct spool *spool)
{
    if (spool != NULL) {
        if (spool->lock_fd >= 0) {
            (void)close(spool->lock_fd);
        }
        (void)fed_spare_close(spool->spare);
        free(spool->next_serial);
        free(spool);
    }
    return NULL;
}

const char *spool_get_id(const struct spool *spool)
{
    return spool->combiner_id;
}

struct fed_spare *spool_get_spare(const struct spool *spool)
{
    return spool->spare;
}

bool spool_is_synced(const struct spool *spool)
{
    return spool->is_synced;
}

uint64_t spool_take_serial(struct spool *spool)
{
    return atomic_fetch_add(spool->next_serial, 1) + 1;
}

static void note_serial(const struct spool *spool, uint64_t serial)
{
    if (serial < UINT64_MAX / 2 && atomic_load(spool->next_serial) <= serial) {
        atomic_store(spool->next_serial, serial + 1);
    }
}

/* -- uploads ----------------------------------------------------------------------------------- */

/* "<id>~<serial>~<bytes>~<crc32>" */
static bool parse_upload(const char *name, struct spool_upload *ret_upload)
{
    const char *tilde = strchr(name, '~');
    struct spool_upload upload = {0};
    int n = 0;

    if (tilde == NULL || (size_t)(tilde - name) >= sizeof(upload.id)) {
        return false;
    }
    memcpy(upload.id, name, (size_t)(tilde - name));
    /* NOLINTNEXTLINE(cert-err34-c): digits only, and the length is checked */
    if (sscanf(tilde, "~%" SCNu64 "~%" SCNu64 "~%" SCNx32 "%n", &upload.file.serial,
               &upload.file.size_bytes, &upload.file.crc, &n) != 3 ||
        tilde[n] != '\0' || !fed_id_is_valid(upload.id)) {
        return false;
    }
    *ret_upload = upload;
    return true;
}

/* Does the file have the length and the CRC-32 it should have? */
static bool is_whole(const char *path, const struct spool_file *file)
{
    uint8_t bytes[READ_SIZE];
    uint64_t size = 0;
    uint32_t crc = 0;
    ssize_t n = 1;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return false;
    }
    while (n > 0 && size <= file->size_bytes) {
        n = read(fd, bytes, sizeof(bytes));
        if (n > 0) {
            crc = fed_crc32(crc, bytes, (size_t)n);
            size += (uint64_t)n;
        }
    }
    (void)close(fd);
    return n == 0 && size == file->size_bytes && crc == file->crc;
}

static int compare_uploads(const void *a, const void *b)
{
    const struct spool_upload *one = a;
    const struct spool_upload *two = b;

    return (one->file.serial > two->file.serial) - (one->file.serial < two->file.serial);
}

/* Names of a folder, at most n_max; the rest is told by *ret_n > n_max. */
static int list_names(const char *path,
                      size_t n_max,
                      char (**ret_names)[NAME_MAX + 1],
                      size_t *ret_n,
                      struct fed_err *err)
{
    char(*names)[NAME_MAX + 1] = NULL;
    size_t n = 0;
    DIR *dir = opendir(path);

    if (dir == NULL) {
        return fed_file_error(err, "open folder", path);
    }
    for (const struct dirent *entry = next_entry(dir); entry != NULL && n < n_max;
         entry = next_entry(dir)) {
        void *grown;
        if (entry->d_name[0] == '.') {
            continue;
        }
        grown = n % 64 == 0 ? realloc(names, (n + 64) * sizeof(*names)) : names;
        if (grown == NULL) {
            free(names);
            (void)closedir(dir);
            return fed_err_set(err, FED_E_NOMEM, "names in %s", path);
        }
        names = grown;
        (void)snprintf(names[n++], sizeof(*names), "%s", entry->d_name);
    }
    (void)closedir(dir);
    *ret_names = names;
    *ret_n = n;
    return 0;
}

int spool_list_uploads(const struct spool *spool,
                       struct spool_upload **ret_uploads,
                       size_t *ret_n_uploads,
                       struct fed_err *err)
{
    char folder[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    char(*names)[NAME_MAX + 1] = NULL;
    struct spool_upload *uploads;
    size_t n_names = 0;
    size_t n = 0;
    int rc = fed_path_format(folder, err, "%s/uploads", spool->folder);

    rc = rc < 0 ? rc : list_names(folder, UPLOADS_MAX, &names, &n_names, err);
    if (rc < 0) {
        return rc;
    }
    uploads = calloc(n_names + 1, sizeof(*uploads));
    for (size_t i = 0; i < n_names && uploads != NULL; i++) {
        if (fed_path_format(path, NULL, "%s/%s", folder, names[i]) < 0) {
            continue;
        }
        if (parse_upload(names[i], &uploads[n]) && is_whole(path, &uploads[n].file)) {
            note_serial(spool, uploads[n].file.serial);
            n++;
        } else {
            (void)unlink(path);
        }
    }
    free(names);
    if (uploads == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "uploads");
    }
    qsort(uploads, n, sizeof(*uploads), compare_uploads);
    *ret_uploads = uploads;
    *ret_n_uploads = n;
    return 0;
}

/* -- rounds ------------------------------------------------------------------------------------ */

/* Make the log and flush the name of its folder: the plan's replacement flushes the names in it. */
static int sync_round(const struct spool *spool, const char *round_id, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int rc = spool_path_round(spool, round_id, NULL, path, err);
    int fd;

    rc = rc < 0 ? rc : fed_file_sync_folder(path, err);
    rc = rc < 0 ? rc : spool_path_round(spool, round_id, "log", path, err);
    if (rc < 0) {
        return rc;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return fed_file_error(err, "make", path);
    }
    (void)close(fd);
    return 0;
}

int spool_store_plan(const struct spool *spool, const struct fed_plan *plan, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    struct fed_buf buf;
    int rc = spool_path_round(spool, plan->round_id, NULL, path, err);

    rc = rc < 0 ? rc : fed_folder_make(path, err);
    if (rc == 0 && spool->is_synced) {
        rc = sync_round(spool, plan->round_id, err);
    }
    rc = rc < 0 ? rc : spool_path_round(spool, plan->round_id, "plan", path, err);
    fed_buf_init(&buf, PLAN_FILE_MAX);
    rc = rc < 0 ? rc : plan_file_encode(&buf, plan, err);
    rc = rc < 0 ? rc : fed_file_replace(path, fed_buf_view(&buf), spool->is_synced, err);
    fed_buf_deinit(&buf);
    return rc;
}

/* The file is in both places until the log names it: killed in between, the client's repetition
 * finds its upload. EEXIST is what such an attempt has left. */
int spool_admit(const struct spool *spool,
                const char *round_id,
                const struct spool_upload *upload,
                const struct fed_entry *entry,
                struct fed_err *err)
{
    const struct log_record record = {
        .type = LOG_ADMIT,
        .update = {.entry = *entry, .file = upload->file},
    };
    char from[FED_PATH_SIZE];
    char to[FED_PATH_SIZE];
    char log[FED_PATH_SIZE];
    int rc = spool_path_upload(spool, upload, from, err);

    rc = rc < 0 ? rc : spool_path_update(spool, round_id, upload->file.serial, to, err);
    rc = rc < 0 ? rc : spool_path_round(spool, round_id, "log", log, err);
    if (rc < 0) {
        return rc;
    }
    if (link(from, to) != 0 && (errno != EEXIST || unlink(to) != 0 || link(from, to) != 0)) {
        return fed_file_error(err, "link to", to);
    }
    FED_FAULT_POINT("combiner.linked");
    if (spool->is_synced) {
        rc = fed_file_sync(to, err);
        rc = rc < 0 ? rc : fed_file_sync_folder(to, err);
    }
    rc = rc < 0 ? rc : log_append(log, &record, spool->is_synced, err);
    /* One left over is evicted as an upload that was never announced. */
    (void)!unlink(rc < 0 ? to : from);
    return rc;
}

int spool_seal(const struct spool *spool,
               const char *round_id,
               uint64_t plan_seq,
               const uint8_t digest[FED_DIGEST_SIZE],
               struct fed_err *err)
{
    struct log_record record = {.type = LOG_SEAL, .plan_seq = plan_seq};
    char log[FED_PATH_SIZE];
    const int rc = spool_path_round(spool, round_id, "log", log, err);

    memcpy(record.digest, digest, sizeof(record.digest));
    return rc < 0 ? rc : log_append(log, &record, spool->is_synced, err);
}

void spool_drop_update(const struct spool *spool, const char *round_id, uint64_t serial)
{
    char path[FED_PATH_SIZE];

    if (spool_path_update(spool, round_id, serial, path, NULL) == 0) {
        fed_spare_give(spool->spare, path);
    }
}

/* Plan and log are too small to be kept. */
static void give_all(const struct spool *spool, const char *folder)
{
    char path[FED_PATH_SIZE];
    DIR *dir = opendir(folder);

    if (dir == NULL) {
        return;
    }
    for (const struct dirent *entry = next_entry(dir); entry != NULL; entry = next_entry(dir)) {
        if (is_any(entry->d_name) &&
            fed_path_format(path, NULL, "%s/%s", folder, entry->d_name) == 0) {
            fed_spare_give(spool->spare, path);
        }
    }
    (void)closedir(dir);
}

void spool_drop_round(const struct spool *spool, const char *round_id)
{
    char path[FED_PATH_SIZE];

    if (spool_path_round(spool, round_id, NULL, path, NULL) == 0) {
        give_all(spool, path);
        (void)!fed_folder_remove(path, NULL);
    }
}

struct recovery {
    const struct spool *spool;
    struct spool_round *round;
    size_t n_room;
    uint64_t sealed_seq;
    uint8_t sealed_digest[FED_DIGEST_SIZE];
};

static int recover_admit(struct recovery *recovery, const struct spool_update *update)
{
    struct spool_round *round = recovery->round;

    note_serial(recovery->spool, update->file.serial);
    if (round->n_updates == recovery->n_room) {
        const size_t n_room = recovery->n_room == 0 ? 64 : recovery->n_room * 2;
        struct spool_update *grown = realloc(round->updates, n_room * sizeof(*grown));
        if (grown == NULL) {
            return -FED_E_NOMEM;
        }
        round->updates = grown;
        recovery->n_room = n_room;
    }
    round->updates[round->n_updates++] = *update;
    return 0;
}

static int recover_record(void *arg, const struct log_record *record, struct fed_err *err)
{
    struct recovery *recovery = arg;

    if (record->type == LOG_SEAL) {
        recovery->sealed_seq = record->plan_seq;
        memcpy(recovery->sealed_digest, record->digest, sizeof(recovery->sealed_digest));
        return 0;
    }
    return recover_admit(recovery, &record->update) < 0 ? fed_err_set(err, FED_E_NOMEM, "log") : 0;
}

static bool
is_there(const struct spool *spool, const char *round_id, const struct spool_update *update)
{
    char path[FED_PATH_SIZE];

    return update->is_checkpointed ||
           (spool_path_update(spool, round_id, update->file.serial, path, NULL) == 0 &&
            is_whole(path, &update->file));
}

/* Keep what is whole; of one client the first, as the collector does. The checkpoint's come first:
 * a file of one of its clients is one that a kill has left. */
static int keep_whole_updates(const struct spool *spool, struct spool_round *round)
{
    struct fed_strmap seen;
    size_t n = 0;
    int rc;

    round->lost = calloc(round->n_updates + 1, sizeof(*round->lost));
    rc = round->lost == NULL ? -FED_E_NOMEM : 0;
    fed_strmap_init(&seen);
    for (size_t i = 0; i < round->n_updates && rc == 0; i++) {
        const struct spool_update update = round->updates[i];
        const struct spool_update *first = fed_strmap_find(&seen, update.entry.client_id);
        if (first != NULL && first->is_checkpointed) {
            spool_drop_update(spool, round->plan.round_id, update.file.serial);
        } else if (first == NULL && is_there(spool, round->plan.round_id, &update)) {
            round->updates[n] = update;
            rc = fed_strmap_put(&seen, update.entry.client_id, &round->updates[n++], NULL, NULL);
        } else if (first == NULL) {
            round->lost[round->n_lost++] = update.entry;
        }
    }
    fed_strmap_deinit(&seen);
    round->n_updates = n;
    return rc;
}

/* What is in the checkpoint counts without a file. */
static int recover_checkpoint(struct recovery *recovery, struct fed_err *err)
{
    struct fed_partial held = {0};
    int rc = checkpoint_recover(recovery->spool, &recovery->round->plan, &held, err);

    for (size_t i = 0; i < held.n_entries && rc == 0; i++) {
        rc = recover_admit(
            recovery, &(struct spool_update){.entry = held.entries[i], .is_checkpointed = true});
    }
    fed_partial_deinit(&held);
    return rc < 0 ? fed_err_set(err, FED_E_NOMEM, "checkpoint") : 0;
}

static bool is_partial_whole(const struct recovery *recovery)
{
    const struct fed_plan *plan = &recovery->round->plan;
    struct fed_partial partial = {0};
    char path[FED_PATH_SIZE];
    bool is;

    if (recovery->sealed_seq == 0 || recovery->sealed_seq != plan->plan_seq ||
        spool_path_round(recovery->spool, plan->round_id, "partial", path, NULL) < 0 ||
        fed_partial_open(path, &partial, NULL) < 0) {
        return false;
    }
    is = partial.plan_seq == plan->plan_seq && strcmp(partial.round_id, plan->round_id) == 0 &&
         memcmp(partial.digest, recovery->sealed_digest, FED_DIGEST_SIZE) == 0;
    fed_partial_deinit(&partial);
    return is;
}

static int load_round(const struct spool *spool,
                      const char *round_id,
                      struct spool_round *ret_round,
                      struct fed_err *err)
{
    struct spool_round round = {0};
    struct recovery recovery = {.spool = spool, .round = &round};
    char path[FED_PATH_SIZE];
    struct fed_buf buf;
    int rc = spool_path_round(spool, round_id, "plan", path, err);

    rc = rc < 0 ? rc : fed_file_load(path, PLAN_FILE_MAX, &buf, err);
    if (rc < 0) {
        return rc;
    }
    rc = plan_file_decode(fed_buf_view(&buf), &round.plan, err);
    fed_buf_deinit(&buf);
    if (rc == 0 && strcmp(round.plan.round_id, round_id) != 0) {
        rc = fed_err_set(err, FED_E_CORRUPT, "a plan of another round");
    }
    rc = rc < 0 ? rc : recover_checkpoint(&recovery, err);
    rc = rc < 0 ? rc : spool_path_round(spool, round_id, "log", path, err);
    rc = rc < 0 ? rc : log_read(path, recover_record, &recovery, err);
    if (rc == 0 && keep_whole_updates(spool, &round) < 0) {
        rc = fed_err_set(err, FED_E_NOMEM, "round %s", round_id);
    }
    if (rc < 0) {
        spool_round_deinit(&round);
        return rc;
    }
    round.is_sealed = is_partial_whole(&recovery);
    *ret_round = round;
    return 0;
}

/* Round ids are decimal numbers. */
static int compare_names(const void *a, const void *b)
{
    const size_t size_a = strlen(a);
    const size_t size_b = strlen(b);

    return size_a != size_b ? (size_a > size_b) - (size_a < size_b) : strcmp(a, b);
}

int spool_list_rounds(const struct spool *spool,
                      struct spool_round **ret_rounds,
                      size_t *ret_n_rounds,
                      struct fed_err *err)
{
    char folder[FED_PATH_SIZE];
    char(*names)[NAME_MAX + 1] = NULL;
    struct spool_round *rounds;
    size_t n_names = 0;
    size_t n = 0;
    int rc = fed_path_format(folder, err, "%s/rounds", spool->folder);

    rc = rc < 0 ? rc : list_names(folder, ROUNDS_MAX, &names, &n_names, err);
    if (rc < 0) {
        return rc;
    }
    if (n_names > 1) {
        qsort(names, n_names, sizeof(*names), compare_names);
    }
    rounds = calloc(n_names + 1, sizeof(*rounds));
    rc = rounds == NULL ? fed_err_set(err, FED_E_NOMEM, "rounds") : 0;
    for (size_t i = 0; i < n_names && rc == 0; i++) {
        rc = load_round(spool, names[i], &rounds[n], err);
        if (rc == 0) {
            n++;
        } else if (rc != -FED_E_NOMEM) { /* what cannot be read cannot be used */
            spool_drop_round(spool, names[i]);
            rc = 0;
        }
    }
    free(names);
    if (rc < 0) {
        for (size_t i = 0; i < n; i++) {
            spool_round_deinit(&rounds[i]);
        }
        free(rounds);
        return rc;
    }
    *ret_rounds = rounds;
    *ret_n_rounds = n;
    return 0;
}

void spool_sweep_models(const struct spool *spool,
                        const struct spool_round *rounds,
                        size_t n_rounds)
{
    char folder[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    char(*names)[NAME_MAX + 1] = NULL;
    size_t n_names = 0;

    if (fed_path_format(folder, NULL, "%s/models", spool->folder) < 0 ||
        list_names(folder, UPLOADS_MAX, &names, &n_names, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < n_names; i++) {
        bool is_base = false;
        for (size_t k = 0; k < n_rounds; k++) {
            is_base = is_base || strcmp(names[i], rounds[k].plan.base_model_id) == 0;
        }
        if (!is_base && fed_path_format(path, NULL, "%s/%s", folder, names[i]) == 0) {
            (void)unlink(path);
        }
    }
    free(names);
}

void spool_round_deinit(struct spool_round *round)
{
    fed_plan_deinit(&round->plan);
    free(round->updates);
    free(round->lost);
    *round = (struct spool_round){0};
}
