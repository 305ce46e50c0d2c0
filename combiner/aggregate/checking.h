/* Does an uploaded file fit the base, and how far is it from it?
 *
 * The file is read once, in blocks: structure, names, shapes, dtypes, CRC-32, finiteness, and the
 * largest distance |x - b| of each tensor. Whether an announced weight keeps it within the fixed
 * point's range follows from these distances alone: every step of q = rint(n * (x - b) * 2^S) is
 * monotone, so |q| is largest where |x - b| is, and the answer is that of testing every value.
 *
 * Source: rules 9, 10, 12, 13; round protocol, section 4.
 *
 * Thread safety: none needed. checking_run() blocks: worker only.
 */
#ifndef COMBINER_AGGREGATE_CHECKING_H
#define COMBINER_AGGREGATE_CHECKING_H

#include <stddef.h>
#include <stdint.h>

#include "combiner/aggregate/base.h"
#include "common/base/err.h"
#include "common/link/link.h"
#include "common/model/npz.h"

struct checking_distance {
    double value;   /* max |x - b|, may be infinite */
    uint64_t index; /* of that element */
};

struct checking {
    enum fed_refusal reason; /* NONE: the bytes fit */
    char detail[FED_LINK_DETAIL_SIZE];
    struct checking_distance *distances; /* (n_tensors,) owned; NULL unless they fit */
    size_t n_tensors;
};

/* The refusal of a fault in a model file. */
enum fed_refusal checking_refusal(enum fed_model_fault fault);

/* Returns 0 with *ret_checking set (deinit it), or < 0 when the file could not be judged. */
FED_NODISCARD int checking_run(const char *path,
                               const struct base *base,
                               const struct fed_npz_limits *limits,
                               struct checking *ret_checking,
                               struct fed_err *err);
void checking_deinit(struct checking *checking);

/* With this weight under these scales ((n_tensors,)): NONE, or the reason, with *ret_detail set. */
enum fed_refusal checking_judge(const struct checking *checking,
                                const struct fed_plan *plan,
                                uint64_t examples,
                                char ret_detail[FED_LINK_DETAIL_SIZE]);

#endif /* COMBINER_AGGREGATE_CHECKING_H */
