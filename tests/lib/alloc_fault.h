/* Memory that runs out when a test says so.
 *
 *     for (unsigned n = 1; ; n++) {
 *         alloc_fault_arm(n);                  the n-th allocation from here on fails
 *         rc = thing_new(...);
 *         if (!alloc_fault_disarm()) break;    it needed fewer than n: all ways are walked
 *         assert_int_equal(rc, -FED_E_NOMEM);
 *     }
 *
 * Only code of ours that is linked into the test is meant: libraries keep the real malloc.
 */
#ifndef TESTS_LIB_ALLOC_FAULT_H
#define TESTS_LIB_ALLOC_FAULT_H

#include <stdbool.h>

void alloc_fault_arm(unsigned nth);

/* True when the allocation that should fail was reached. */
bool alloc_fault_disarm(void);

#endif /* TESTS_LIB_ALLOC_FAULT_H */
