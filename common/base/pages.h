/* Large zeroed memory straight from the kernel, in huge pages where it gives them: a sum of
 * millions of values costs a few page faults instead of thousands, all of them here, and goes back
 * at once.
 *
 * Any thread. Cost: O(n).
 */
#ifndef FED_COMMON_BASE_PAGES_H
#define FED_COMMON_BASE_PAGES_H

#include <stddef.h>

/* (n, size) zeroed elements; NULL when there is no room. The caller frees with the same numbers. */
void *fed_pages_new(size_t n, size_t size);

/* NULL is allowed. Returns NULL. */
void *fed_pages_free(void *pages, size_t n, size_t size);

#endif /* FED_COMMON_BASE_PAGES_H */
