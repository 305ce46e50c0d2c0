/* Records on their way to the reducer, in a file until they are acknowledged: at least once.
 *
 *   record = u32 size of the body · u32 CRC-32 of the body · u64 seq · u8 kind · JSON
 *
 * The loop owns the queue; a worker writes. While a write is under way records gather for the next
 * one. The file is appended to, and written anew when most of it has been acknowledged. It is
 * bounded: beyond the bound the oldest telemetry, status, metric and attribute go first; a
 * validation or prediction makes way for nothing but is refused when all the rest has gone.
 *
 * Thread safety: none but for outbox_write(). Owned by the combiner's loop.
 */
#ifndef COMBINER_SPOOL_OUTBOX_H
#define COMBINER_SPOOL_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/list.h"
#include "common/link/link.h"

struct outbox_record {
    struct fed_link link;
    uint64_t seq;
    enum fed_record_kind kind;
    size_t json_size;
    char *json; /* owned, NUL-terminated */
};

struct outbox {
    char path[FED_PATH_SIZE];
    uint64_t bytes_max;
    struct fed_list records; /* by seq */
    uint64_t next_seq;       /* of the next record */
    uint64_t written_seq;    /* up to here they are in the file */
    uint64_t n_bytes;        /* of the records */
    uint64_t n_records;
    uint64_t n_dropped;     /* ever, to make room */
    uint64_t file_bytes;    /* of the file, acknowledged ones included */
    bool is_rewrite_wanted; /* the file's end is not to be trusted */
    bool is_writing;
};

/* What a worker is to write. */
struct outbox_write {
    char path[FED_PATH_SIZE];
    struct fed_buf bytes; /* owned */
    bool is_rewrite;
    uint64_t last_seq;
    int rc;
    struct fed_err err;
};

/* Read what a former process left; a torn end is cut off. Blocks: before the loop runs.
 * Fails with FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int
outbox_open(struct outbox *outbox, const char *path, uint64_t bytes_max, struct fed_err *err);
void outbox_close(struct outbox *outbox);

/* Queue one record; takes `json` (malloc'ed) in every case. Fails with FED_E_LIMIT, FED_E_NOMEM. */
FED_NODISCARD int outbox_add(struct outbox *outbox,
                             enum fed_record_kind kind,
                             char *json,
                             uint64_t *ret_seq,
                             struct fed_err *err);

/* The first record after `seq`, or NULL. */
const struct outbox_record *outbox_next(const struct outbox *outbox, uint64_t seq);

/* The reducer has this one and all before it. */
void outbox_acknowledge(struct outbox *outbox, uint64_t seq);

/* Is there something to be written? Then fill *ret_write, hand it to a worker for outbox_write(),
 * and come back with outbox_end_write(). One at a time. */
bool outbox_begin_write(struct outbox *outbox, struct outbox_write *ret_write);
void outbox_write(struct outbox_write *write); /* worker */

/* On failure the records stay in memory, and the next write is of the whole file. */
void outbox_end_write(struct outbox *outbox, struct outbox_write *write);

#endif /* COMBINER_SPOOL_OUTBOX_H */
