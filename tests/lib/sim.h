/* Virtual time for tests: things that are to happen, in the order of their time.
 *
 * Nothing sleeps and nothing runs in parallel: sim_run() takes the next event, sets the clock to
 * its time and carries it out. The same seed gives the same run, so that a failure can be played
 * again and read.
 *
 * Thread safety: none.
 */
#ifndef TESTS_LIB_SIM_H
#define TESTS_LIB_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/rand.h"

struct sim_event {
    uint64_t at_ms;
    uint64_t order;                     /* of two at one time the older is first */
    void (*run)(void *arg, void *data); /* may add events */
    void *arg;                          /* borrowed */
    void *data;                         /* owned */
    void (*free_data)(void *data);      /* after `run`, or instead of it at the end */
};

struct sim {
    uint64_t now_ms;
    uint64_t n_events; /* carried out */
    uint64_t order;
    struct sim_event *heap; /* owned, a binary heap */
    size_t n_heap;
    size_t capacity;
    struct fed_rand rand;
    bool is_tracing;
    struct fed_buf trace;
};

void sim_init(struct sim *sim, uint64_t seed, bool is_tracing);
void sim_deinit(struct sim *sim);

/* Call run(arg, data) in `delay_ms`; data is freed with free_data (NULL: nothing is to be freed).
 * Ends the program when out of memory. */
void sim_after(struct sim *sim,
               uint64_t delay_ms,
               void (*run)(void *arg, void *data),
               void *arg,
               void *data,
               void (*free_data)(void *data));

/* Carry out the next event, unless there is none up to `until_ms`; then the clock is set to that.
 */
bool sim_step(struct sim *sim, uint64_t until_ms);

/* Uniform in low..high. */
uint64_t sim_draw(struct sim *sim, uint64_t low, uint64_t high);
/* True once in `n` times; n = 0: never. */
bool sim_chance(struct sim *sim, uint64_t n);

/* Add a line to the trace, with the time in front. */
FED_PRINTF(2, 3) void sim_say(struct sim *sim, const char *fmt, ...);

#endif /* TESTS_LIB_SIM_H */
