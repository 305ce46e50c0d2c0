/* A plan as a file: "CONFEDPL" · u32 version · u32 size · u32 CRC-32 of the body · body.
 *
 * Numbers are little-endian; texts u32 length and bytes. Written whole, by rename. Version 1, which
 * a combiner of protocol 1 has left, is read too: it lacks the base's XXH3.
 */
#ifndef COMBINER_SPOOL_PLAN_FILE_H
#define COMBINER_SPOOL_PLAN_FILE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"
#include "common/link/link.h"

#define PLAN_FILE_MAX                                                 \
    (64U << 20) /* bytes: 100,000 clients with the longest ids, twice \
                 */

/* Append the plan, which has all. Fails with FED_E_NOMEM. */
FED_NODISCARD int
plan_file_encode(struct fed_buf *buf, const struct fed_plan *plan, struct fed_err *err);

/* Fails with FED_E_CORRUPT, FED_E_NOMEM. The caller deinits *ret_plan. */
FED_NODISCARD int
plan_file_decode(struct fed_view bytes, struct fed_plan *ret_plan, struct fed_err *err);

#endif /* COMBINER_SPOOL_PLAN_FILE_H */
