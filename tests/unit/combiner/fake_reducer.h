/* A reducer that says what the test wants said, and notes what it hears.
 *
 * What comes is noted as one line an event:
 *   hello clients=N rounds=ID/seq/state/admitted/refused …    client ID phase
 *   admitted ROUND/SEQ CLIENT UPDATE EXAMPLES                  refused ROUND CLIENT REASON own=0|1
 *   record KIND JSON                                           link closed
 *   get MODEL OFFSET                 get ended                 partial ROUND/SEQ entries=N bytes=N
 */
#ifndef TESTS_UNIT_COMBINER_FAKE_REDUCER_H
#define TESTS_UNIT_COMBINER_FAKE_REDUCER_H

#include "common/base/buf.h"
#include "common/link/link.h"
#include "common/rpc/rpc.h"
#include "tests/lib/fixture.h"

struct fake_reducer;

/* On the test's loop and rpc. `model` is what GetModel gives, whatever the id. */
struct fake_reducer *
fake_start(struct test_loop *loop, struct fed_rpc *rpc, const char *partial_path);
void fake_stop(struct fake_reducer *fake);

const char *fake_address(const struct fake_reducer *fake);
void fake_set_model(struct fake_reducer *fake, const void *data, size_t size); /* copied */
void fake_lose_model(struct fake_reducer *fake);

/* GetModel gives `hold` bytes of it from now on and stands still there, until it is let go on, to
 * its end and for good, or is broken off, to hold again at the next. */
void fake_hold(struct fake_reducer *fake, size_t hold);
void fake_go_on(struct fake_reducer *fake);
void fake_break_off(struct fake_reducer *fake);

void fake_set_verdict(struct fake_reducer *fake, enum fed_verdict verdict);
unsigned fake_count_puts(const struct fake_reducer *fake); /* calls of PutPartial under way */

/* Records are acknowledged as they come, or not. */
void fake_set_acknowledging(struct fake_reducer *fake, bool is_acknowledging);

/* Over the newest link; copied. */
void fake_send(struct fake_reducer *fake, const struct fed_down *down);
void fake_cut_link(struct fake_reducer *fake);

/* Until a line with this text has come since the last wait for one; the line. Fails the test after
 * TEST_WAIT_MS. Lines before it are skipped. */
const char *fake_wait(struct fake_reducer *fake, const char *text);

/* Has such a line come at all? */
bool fake_has(struct fake_reducer *fake, const char *text);

#endif /* TESTS_UNIT_COMBINER_FAKE_REDUCER_H */
