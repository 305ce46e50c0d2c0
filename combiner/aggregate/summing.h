/* The sum of a round at this combiner: int64 fixed point, the same bits in any order.
 *
 *     sum[i] += rint(n * (x[i] - b[i]) * 2^S)          common/model/exact.h
 *
 * It is a cache: a pure function of the plan, the log and the spool. Every update that is folded
 * has been checked (checking.h); should a fold fail all the same, half-way, what it added is taken
 * off again, value by value.
 *
 * Thread safety: none; one worker lane, for all that share a summing_room. Folding blocks on disk;
 * a large update is folded by two threads, of which one lives no longer than that.
 */
#ifndef COMBINER_AGGREGATE_SUMMING_H
#define COMBINER_AGGREGATE_SUMMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/aggregate/base.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/link/link.h"
#include "common/link/partial.h"
#include "common/model/npz.h"

struct summing;

/* The memory of the last sum, kept for the next one of its size: finding and clearing it anew costs
 * as much as folding two updates. Zero it to begin with. */
#define SUMMING_KEPT_MAX ((size_t)64 * 1024 * 1024) /* bytes; a larger sum's memory goes back */
struct summing_room {
    int64_t *sums; /* (n_sums,) owned; NULL: none is kept */
    size_t n_sums;
};
void summing_room_deinit(struct summing_room *room); /* may be used again */

/* Zero sums; `base` and `room` are borrowed for the sum's life. Takes 8 bytes a parameter, at the
 * first fold. Fails with FED_E_INVALID (another number of scales than tensors), FED_E_NOMEM. */
FED_NODISCARD int summing_new(const struct base *base,
                              const struct fed_plan *plan,
                              struct summing_room *room,
                              struct summing **ret_summing,
                              struct fed_err *err);
struct summing *summing_free(struct summing *summing); /* accepts NULL */
FED_DEFINE_CLEANUP(struct summing, summing_free);

/* Add the update in the file. On failure every bit of the sum is as it was; where that could not be
 * had, summing_is_broken(), and the sum is to be rebuilt from the start.
 * Fails with FED_E_CORRUPT (the file is not what was checked), FED_E_IO, FED_E_NOT_FOUND,
 * FED_E_NOMEM. */
struct summing_update {
    const char *path;
    uint64_t examples;
    bool is_checked; /* this process has read the file and found it whole: its CRC-32 and that its
                      * values are finite are not looked at again */
};
FED_NODISCARD int summing_fold(struct summing *summing,
                               const struct summing_update *update,
                               const struct fed_npz_limits *limits,
                               struct fed_err *err);

/* Begin from the sums of a partial that has passed fed_partial_open(): before the first fold.
 * Fails with FED_E_INVALID (another number of parameters), FED_E_CORRUPT, FED_E_IO, FED_E_NOMEM:
 * the sum is to be freed. */
FED_NODISCARD int summing_load(struct summing *summing,
                               const char *path,
                               const struct fed_partial *partial,
                               struct fed_err *err);
bool summing_is_broken(const struct summing *summing);

/* (n_elements,) borrowed; NULL while nothing has been folded. */
const int64_t *summing_get_sums(const struct summing *summing);

/* Write the partial sum of these entries (sorted here by client_id) under the plan; *ret_digest is
 * its trailer. Without entries there are no sums, and `summing` may be NULL.
 * Fails with FED_E_IO, FED_E_NOMEM, FED_E_INTERNAL (broken). */
struct summing_partial {
    const char *path;
    const char *combiner_id;
    const struct fed_plan *plan;
    struct fed_entry *entries; /* (n_entries,) */
    size_t n_entries;
    struct fed_spare *spare;             /* whose file it may be written over; may be NULL */
    const struct fed_partial_hook *hook; /* NULL: nobody reads along */
};
FED_NODISCARD int summing_write(const struct summing *summing,
                                const struct summing_partial *what,
                                uint8_t ret_digest[FED_DIGEST_SIZE],
                                struct fed_err *err);

#endif /* COMBINER_AGGREGATE_SUMMING_H */
