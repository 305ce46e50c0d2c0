/* The log of a round: what was admitted, and that its sum is sealed.
 *
 *   record = u32 size of the body · u32 CRC-32 of the body · body
 *   body   = u8 1 · client_id · update_id · u64 examples · u64 serial · u64 bytes · u32 CRC-32
 *          | u8 2 · u64 plan_seq · digest of the partial
 *
 * A record is appended by one write. What a full disk or a power cut tore has no CRC-32 that holds,
 * and is stepped over: what was written after it was answered OK, too.
 */
#ifndef COMBINER_SPOOL_LOG_H
#define COMBINER_SPOOL_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/spool/spool.h"
#include "common/base/err.h"

#define LOG_SIZE_MAX (256U << 20) /* bytes read back at most */

enum log_type {
    LOG_ADMIT = 1,
    LOG_SEAL = 2,
};

struct log_record {
    enum log_type type;
    struct spool_update update;      /* ADMIT */
    uint64_t plan_seq;               /* SEAL */
    uint8_t digest[FED_DIGEST_SIZE]; /* SEAL */
};

/* Append one record to the file, and flush it where is_durable; on failure its length is as before.
 * Fails with FED_E_IO. */
FED_NODISCARD int
log_append(const char *path, const struct log_record *record, bool is_durable, struct fed_err *err);

typedef int (*log_record_fn)(void *arg, const struct log_record *record, struct fed_err *err);

/* Give every whole record to fn, and cut off a torn tail. A missing file has none. Returns 0, or
 * what fn returned to stop with, or < 0: FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int log_read(const char *path, log_record_fn fn, void *arg, struct fed_err *err);

#endif /* COMBINER_SPOOL_LOG_H */
