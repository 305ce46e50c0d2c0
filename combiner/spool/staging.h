/* Which uploads are whole and not yet announced: an index over SPOOL/uploads, bounded by count and
 * bytes.
 *
 *   (published) --put--> KEPT --claim--> CLAIMED by an announcement --drop--> gone
 *                          |  <--give back, unless a newer one of that id has come--  |
 *                          +--too old, too many, replaced: an owner says so--> gone
 *
 * Room is made by letting the oldest go, once it has waited for age_ms; beyond that there is none,
 * and the client comes again.
 *
 * It decides; removing files is the caller's (staging_take_dropped()).
 *
 * Thread safety: none. Owned by the combiner's loop.
 */
#ifndef COMBINER_SPOOL_STAGING_H
#define COMBINER_SPOOL_STAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/spool/spool.h"
#include "common/base/list.h"
#include "common/base/strmap.h"

struct staging_limits {
    size_t uploads_max;
    uint64_t bytes_max;
    uint64_t age_ms; /* an upload that has waited so long may be dropped to make room */
};

struct staged {
    struct spool_upload upload;
    uint64_t put_ms;
    struct fed_link link; /* by put_ms */
    bool is_claimed;
    void *judgement; /* the owner's, of these bytes; NULL: none yet */
};

struct staging {
    struct staging_limits limits;
    struct fed_strmap by_id; /* id → struct staged that is not claimed */
    struct fed_list kept;
    struct fed_list dropped;
    size_t n_uploads;  /* kept and claimed */
    uint64_t n_bytes;  /* of these */
    uint64_t reserved; /* bytes of uploads under way */
};

void staging_init(struct staging *staging, const struct staging_limits *limits);
void staging_deinit(struct staging *staging); /* judgements must have been freed by the owner */

/* Room for `size_bytes` more of an upload under way; may drop old ones. False: there is none. */
bool staging_reserve(struct staging *staging, uint64_t size_bytes, uint64_t now_ms);
void staging_release(struct staging *staging, uint64_t size_bytes);

/* An upload is whole; its reservation becomes its size. One of the same id that is not claimed is
 * replaced. *ret_staged is valid until it is claimed and dropped. Fails with FED_E_NOMEM. */
FED_NODISCARD int staging_put(struct staging *staging,
                              const struct spool_upload *upload,
                              uint64_t now_ms,
                              struct staged **ret_staged,
                              struct fed_err *err);

struct staged *staging_find(const struct staging *staging, const char *id); /* not claimed */

/* It belongs to an announcement now: what is uploaded under its id after this is another. */
void staging_claim(struct staging *staging, struct staged *staged);

/* The announcement came to nothing, through no fault of the upload: it is there again. */
void staging_give_back(struct staging *staging, struct staged *staged);

/* Gone, claimed or not: comes out of staging_take_dropped(). */
void staging_drop(struct staging *staging, struct staged *staged);

/* What is to be removed from disk, and its judgement freed; free() it after. Or NULL. */
struct staged *staging_take_dropped(struct staging *staging);

#endif /* COMBINER_SPOOL_STAGING_H */
