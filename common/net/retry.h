/* Back-off as a pure function: base, doubling, up to max, with jitter so that many do not come back
 * at once. */
#ifndef FED_COMMON_NET_RETRY_H
#define FED_COMMON_NET_RETRY_H

#include <stdint.h>

/* Milliseconds to wait before try number `attempt` (0, 1, …): between half and the whole of
 * min(base_ms * 2^attempt, max_ms), by `seed`. */
uint64_t fed_retry_delay_ms(uint32_t attempt, uint64_t base_ms, uint64_t max_ms, uint64_t seed);

#endif /* FED_COMMON_NET_RETRY_H */
