/* The loop: the one thread of a daemon that owns its mutable state.
 *
 * Other threads reach it by posting events; it runs them in the order they were posted, and timers
 * when they are due. Events and timers are embedded in what they belong to: posting allocates
 * nothing and cannot fail, and the inbox is bounded by the number of things that exist.
 *
 *     struct upload { struct fed_event ev; ... };
 *     fed_event_init(&upload->ev, on_chunk, upload);
 *     fed_loop_post(loop, &upload->ev);           any thread
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

/* Runs on the loop thread, never from inside the call that posted or started it. */
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
 * and no other thread posts any more, or is in fed_loop_post(). Fails with FED_E_NOMEM. */
FED_NODISCARD int fed_loop_new(struct fed_loop **ret_loop, struct fed_err *err);
struct fed_loop *fed_loop_free(struct fed_loop *loop); /* accepts NULL */

/* Run on the calling thread until fed_loop_stop(). What is posted before the stop still runs. */
void fed_loop_run(struct fed_loop *loop);

void fed_loop_stop(struct fed_loop *loop); /* any thread; idempotent */

void fed_loop_post(struct fed_loop *loop, struct fed_event *event);   /* any thread */
void fed_loop_cancel(struct fed_loop *loop, struct fed_event *event); /* loop thread; idempotent */

/* Monotonic milliseconds, read once per turn of the loop. Loop thread. */
uint64_t fed_loop_now_ms(const struct fed_loop *loop);

/* One-shot: run timer->fn at or after due_ms (monotonic). A timer that runs already is moved.
 * Loop thread (or before fed_loop_run()). Cost: O(timers): a daemon has a handful; things by the
 * thousand share one timer. */
void fed_timer_start(struct fed_loop *loop, struct fed_timer *timer, uint64_t due_ms);
void fed_timer_stop(struct fed_timer *timer); /* loop thread; idempotent */

/* True on the thread that is in fed_loop_run(). For asserts in what must not block. */
bool fed_loop_is_current(const struct fed_loop *loop);

#endif /* FED_COMMON_SYNC_LOOP_H */
