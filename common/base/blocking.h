/* Which threads must not block: those that run a loop. What waits for a disk or a server asserts
 * that it is on another one.
 */
#ifndef FED_COMMON_BASE_BLOCKING_H
#define FED_COMMON_BASE_BLOCKING_H

#include <stdbool.h>

/* For the calling thread; at first it may. */
void fed_blocking_allow(bool is_allowed);
bool fed_blocking_is_allowed(void);

#endif /* FED_COMMON_BASE_BLOCKING_H */
