#include "tests/lib/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void sim_init(struct sim *sim, uint64_t seed, bool is_tracing)
{
    *sim = (struct sim){.is_tracing = is_tracing};
    fed_rand_init(&sim->rand, &seed, 1);
    fed_buf_init(&sim->trace, 0);
}

void sim_deinit(struct sim *sim)
{
    for (size_t i = 0; i < sim->n_heap; i++) {
        if (sim->heap[i].free_data != NULL) {
            sim->heap[i].free_data(sim->heap[i].data);
        }
    }
    free(sim->heap);
    fed_buf_deinit(&sim->trace);
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    const struct sim_event held = *a;

    *a = *b;
    *b = held;
}

void sim_after(struct sim *sim,
               uint64_t delay_ms,
               void (*run)(void *arg, void *data),
               void *arg,
               void *data,
               void (*free_data)(void *data))
{
    size_t i = sim->n_heap;

    if (sim->n_heap == sim->capacity) {
        sim->capacity = sim->capacity == 0 ? 64 : sim->capacity * 2;
        sim->heap = realloc(sim->heap, sim->capacity * sizeof(*sim->heap));
        assert(sim->heap != NULL);
    }
    sim->heap[sim->n_heap++] = (struct sim_event){
        .at_ms = sim->now_ms + delay_ms,
        .order = sim->order++,
        .run = run,
        .arg = arg,
        .data = data,
        .free_data = free_data,
    };
    while (i > 0 && is_before(&sim->heap[i], &sim->heap[(i - 1) / 2])) {
        swap(&sim->heap[i], &sim->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static struct sim_event take_first(struct sim *sim)
{
    const struct sim_event first = sim->heap[0];
    size_t i = 0;

    sim->heap[0] = sim->heap[--sim->n_heap];
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < sim->n_heap; child++) {
            least = is_before(&sim->heap[child], &sim->heap[least]) ? child : least;
        }
        if (least == i) {
            return first;
        }
        swap(&sim->heap[i], &sim->heap[least]);
        i = least;
    }
}

bool sim_step(struct sim *sim, uint64_t until_ms)
{
    struct sim_event event;

    if (sim->n_heap == 0 || sim->heap[0].at_ms > until_ms) {
        sim->now_ms = until_ms > sim->now_ms ? until_ms : sim->now_ms;
        return false;
    }
    event = take_first(sim);
    sim->now_ms = event.at_ms;
    sim->n_events++;
    event.run(event.arg, event.data);
    if (event.free_data != NULL) {
        event.free_data(event.data);
    }
    return true;
}

uint64_t sim_draw(struct sim *sim, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + fed_rand_below(&sim->rand, high - low + 1);
}

bool sim_chance(struct sim *sim, uint64_t n)
{
    return n > 0 && fed_rand_below(&sim->rand, n) == 0;
}

void sim_say(struct sim *sim, const char *fmt, ...)
{
    char line[512];
    va_list args;

    if (!sim->is_tracing) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (fed_buf_addf(&sim->trace, NULL, "[%8.3f] %s\n", (double)sim->now_ms / 1000.0, line) < 0) {
        sim->is_tracing = false;
    }
}
