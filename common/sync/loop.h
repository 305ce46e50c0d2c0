/* The loop: what a daemon's mutable state is owned by. One thread at a time is in it.
 *
 * Whoever wants to reach that state posts an event; events run in the order they were posted, and
 * timers when they are due. Events and timers are embedded in what they belong to: posting
 * allocates nothing and cannot fail, and the inbox is bounded by the number of things that exist.
 *
 *     struct upload { struct fed_event ev; ... };
 *     fed_event_init(&upload->ev, on_chunk, upload);
 *     fed_loop_post(loop, &upload->ev);           any thread
 *
 * The thread in fed_loop_run() is in the loop whenever nobody else is. A thread that has nothing
 * else to do with what it found (gRPC's, a worker with its job done) hands its event over instead,
 * and runs it itself if the loop is free: nobody has to be woken for it.
 *
 *           fed_loop_run(): something to do           none left
 *     free ---------------------------------> in run ----------> free, asleep until a timer is due
 *     free --fed_loop_hand()--> in hand: runs its event, then those posted meanwhile --> free
 *
 * "The loop thread" in this tree is the thread that is in the loop.
 *
 * An event that is still waiting may be posted again: it runs once. An event must outlive its run:
 * take it out with fed_loop_cancel() before its memory goes.
 */
#ifndef FED_COMMON_SYNC_LOOP_H
#define FED_COMMON_SYNC_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/list.h"

/* Runs in the loop, never from inside the call that posted or started it: only fed_loop_hand() may
 * run what it was given. */
typedef void (*fed_event_fn)(void *arg);

struct fed_event {
    struct fed_link link; /* under the loop's lock */
    fed_event_fn fn;
    void *arg;
};

struct fed_timer {
    struct fed_link link; /* loop thread only */
    uint64_t due_ms;
    fed_event_fn fn;
    void *arg;
};

struct fed_loop;

static inline void fed_event_init(struct fed_event *event, fed_event_fn fn, void *arg)
{
    *event = (struct fed_event){.fn = fn, .arg = arg};
}

static inline void fed_timer_init(struct fed_timer *timer, fed_event_fn fn, void *arg)
{
    *timer = (struct fed_timer){.fn = fn, .arg = arg};
}

/* The caller owns *ret_loop and frees it with fed_loop_free(), after fed_loop_run() has returned
 * and no other thread is in fed_loop_post() or fed_loop_hand(), or comes there any more. Fails with
 * FED_E_NOMEM. */
FED_NODISCARD int fed_loop_new(struct fed_loop **ret_loop, struct fed_err *err);
struct fed_loop *fed_loop_free(struct fed_loop *loop); /* accepts NULL */

/* Until fed_loop_stop(): run on the calling thread what no other one runs that hands it over. What
 * is posted before the stop still runs; when it returns nobody is in the loop any more. */
void fed_loop_run(struct fed_loop *loop);

void fed_loop_stop(struct fed_loop *loop); /* any thread; idempotent */

void fed_loop_post(struct fed_loop *loop, struct fed_event *event); /* any thread */

/* fed_loop_post(), or run the event at once, on this thread, if the loop is free, and with it what
 * is posted meanwhile (a bounded number). From a thread that holds no lock, may be kept for as long
 * as events run, and is not joined by any of them. Inside the loop it posts. */
void fed_loop_hand(struct fed_loop *loop, struct fed_event *event);

void fed_loop_cancel(struct fed_loop *loop, struct fed_event *event); /* loop thread; idempotent */

/* Monotonic milliseconds, read once per turn of the loop. Loop thread. */
uint64_t fed_loop_now_ms(const struct fed_loop *loop);

/* One-shot: run timer->fn at or after due_ms (monotonic). A timer that runs already is moved.
 * Loop thread (or before fed_loop_run()). Cost: O(timers): a daemon has a handful; things by the
 * thousand share one timer. */
void fed_timer_start(struct fed_loop *loop, struct fed_timer *timer, uint64_t due_ms);
void fed_timer_stop(struct fed_timer *timer); /* loop thread; idempotent */

/* True on the thread that is in the loop. For asserts in what must not block. */
bool fed_loop_is_current(const struct fed_loop *loop);

#endif /* FED_COMMON_SYNC_LOOP_H */
