/* Splits of a labelled dataset among N clients.
 *
 *   iid              shuffled, cut into N parts whose sizes differ by at most one
 *   shards[:K]       sorted by label and cut into K·N pieces, K (default 2) dealt to each client:
 *                    McMahan et al., AISTATS 2017, section 3, "pathological non-IID"
 *   dirichlet:ALPHA  each class divided by shares drawn from a symmetric Dirichlet distribution:
 *                    Yurochkin et al., ICML 2019, section 4.1
 *
 * A client that would be left with nothing is given one example of the one that has most, while
 * there are enough.
 *
 * A split is a function of (spec, seed, N, labels) alone: every client computes it for itself, and
 * each example is in exactly one part. (The Dirichlet one goes through libm's log, cos and pow: the
 * same for all machines with one libm.)
 *
 * Pure. Any thread.
 */
#ifndef CLIENT_DATA_PARTITION_H
#define CLIENT_DATA_PARTITION_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define PARTITION_PARTS_MAX 100000U

enum partition_kind {
    PARTITION_IID,
    PARTITION_SHARDS,
    PARTITION_DIRICHLET,
};

struct partition_spec {
    enum partition_kind kind;
    uint32_t per_client; /* SHARDS: 1 .. 1000 */
    double alpha;        /* DIRICHLET: 0.001 .. 10^6 */
};

/* Fails with FED_E_INVALID: says what there is. */
FED_NODISCARD int
partition_parse(const char *text, struct partition_spec *ret_spec, struct fed_err *err);

/* What is divided, and how. */
struct partition {
    struct partition_spec spec;
    uint64_t seed;
    uint32_t n_parts;      /* 1 .. PARTITION_PARTS_MAX */
    const uint8_t *labels; /* (n_labels,) borrowed */
    size_t n_labels;
};

/* Whose each example is: ret_owners (n_labels,), each below n_parts. Fails with FED_E_NOMEM.
 * Cost: O(n_labels log n_labels + n_parts · classes). */
FED_NODISCARD int
partition_owners(const struct partition *partition, uint32_t *ret_owners, struct fed_err *err);

/* The rows of one part, ascending: *ret_rows (*ret_n_rows,) is malloc()ed, the caller's to free().
 * Fails with FED_E_INVALID (the part is empty), FED_E_NOMEM. */
FED_NODISCARD int partition_rows(const struct partition *partition,
                                 uint32_t i_part,
                                 uint32_t **ret_rows,
                                 size_t *ret_n_rows,
                                 struct fed_err *err);

#endif /* CLIENT_DATA_PARTITION_H */
