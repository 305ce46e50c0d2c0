/* What the reducer counts for /metrics: counters.def is the table; and refused updates by reason.
 *
 * Thread safety: any thread, no lock.
 */
#ifndef REDUCER_REST_COUNTERS_H
#define REDUCER_REST_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/link/link.h"

enum counter {
#define COUNTER(name, metric, help) COUNTER_##name,
#include "reducer/rest/counters.def"
#undef COUNTER
    COUNTER_MAX,
};

struct counters {
    atomic_uint_fast64_t values[COUNTER_MAX];
    atomic_uint_fast64_t refused[FED_REFUSAL_MAX]; /* by enum fed_refusal */
};

static inline void counters_add(struct counters *counters, enum counter counter)
{
    (void)atomic_fetch_add_explicit(&counters->values[counter], 1, memory_order_relaxed);
}

static inline void counters_add_refused(struct counters *counters, enum fed_refusal reason)
{
    (void)atomic_fetch_add_explicit(&counters->refused[reason], 1, memory_order_relaxed);
}

/* Append all of them in Prometheus' text format. Fails as fed_buf_add(). */
FED_NODISCARD int
counters_format(const struct counters *counters, struct fed_buf *buf, struct fed_err *err);

#endif /* REDUCER_REST_COUNTERS_H */
