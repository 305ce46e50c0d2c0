#include "common/sync/loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/blocking.h"
#include "common/base/clock.h"

struct fed_loop {
    struct { /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct fed_list inbox;
        bool is_stopped;
    } synced;
    struct {                    /* loop thread */
        struct fed_list timers; /* by due_ms */
        uint64_t now_ms;
    } own;
    pthread_t thread; /* valid while is_running */
    _Atomic bool is_running;
};

int fed_loop_new(struct fed_loop **ret_loop, struct fed_err *err)
{
    struct fed_loop *loop = calloc(1, sizeof(*loop));
    pthread_condattr_t attr;

    if (loop == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "loop");
    }
    (void)pthread_mutex_init(&loop->synced.lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&loop->synced.wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    fed_list_init(&loop->synced.inbox);
    fed_list_init(&loop->own.timers);
    loop->own.now_ms = fed_clock_mono_ms();
    *ret_loop = loop;
    return 0;
}

struct fed_loop *fed_loop_free(struct fed_loop *loop)
{
    if (loop != NULL) {
        assert(!atomic_load(&loop->is_running));
        (void)pthread_cond_destroy(&loop->synced.wake);
        (void)pthread_mutex_destroy(&loop->synced.lock);
        free(loop);
    }
    return NULL;
}

/* Take the next event, or wait for one until the first timer is due. Returns NULL when a timer is
 * due, or when the loop is stopped and the inbox empty (*ret_is_over). */
static struct fed_event *next_event(struct fed_loop *loop, bool *ret_is_over)
{
    struct fed_link *link = NULL;

    (void)pthread_mutex_lock(&loop->synced.lock);
    for (;;) {
        const struct fed_timer *first = NULL;

        link = fed_list_take(&loop->synced.inbox);
        *ret_is_over = link == NULL && loop->synced.is_stopped;
        if (link != NULL || *ret_is_over) {
            break;
        }
        loop->own.now_ms = fed_clock_mono_ms();
        if (fed_list_is_empty(&loop->own.timers)) {
            (void)pthread_cond_wait(&loop->synced.wake, &loop->synced.lock);
            continue;
        }
        first = FED_CONTAINER_OF(loop->own.timers.head.next, struct fed_timer, link);
        if (first->due_ms <= loop->own.now_ms) {
            break;
        }
        const struct timespec until = {.tv_sec = (time_t)(first->due_ms / 1000U),
                                       .tv_nsec = (long)(first->due_ms % 1000U) * 1000000L};
        (void)pthread_cond_timedwait(&loop->synced.wake, &loop->synced.lock, &until);
    }
    (void)pthread_mutex_unlock(&loop->synced.lock);
    return link == NULL ? NULL : FED_CONTAINER_OF(link, struct fed_event, link);
}

/* Run what is due now. What is started meanwhile waits for the next turn, even when it is due: a
 * timer that starts itself again must not keep events from running. */
static void run_timers(struct fed_loop *loop)
{
    struct fed_list due;
    struct fed_link *link;

    fed_list_init(&due);
    loop->own.now_ms = fed_clock_mono_ms();
    while (!fed_list_is_empty(&loop->own.timers)) {
        struct fed_timer *timer =
            FED_CONTAINER_OF(loop->own.timers.head.next, struct fed_timer, link);
        if (timer->due_ms > loop->own.now_ms) {
            break;
        }
        fed_link_remove(&timer->link);
        fed_list_add(&due, &timer->link);
    }
    while ((link = fed_list_take(&due)) != NULL) {
        struct fed_timer *timer = FED_CONTAINER_OF(link, struct fed_timer, link);
        timer->fn(timer->arg);
    }
}

void fed_loop_run(struct fed_loop *loop)
{
    bool is_over = false;

    loop->thread = pthread_self();
    atomic_store(&loop->is_running, true);
    fed_blocking_allow(false);
    while (!is_over) {
        struct fed_event *event = next_event(loop, &is_over);
        run_timers(loop);
        if (event != NULL) {
            event->fn(event->arg);
        }
    }
    fed_blocking_allow(true);
    atomic_store(&loop->is_running, false);
}

void fed_loop_stop(struct fed_loop *loop)
{
    (void)pthread_mutex_lock(&loop->synced.lock);
    loop->synced.is_stopped = true;
    (void)pthread_cond_signal(&loop->synced.wake);
    (void)pthread_mutex_unlock(&loop->synced.lock);
}

void fed_loop_post(struct fed_loop *loop, struct fed_event *event)
{
    bool is_first;

    assert(event->fn != NULL);
    (void)pthread_mutex_lock(&loop->synced.lock);
    is_first = fed_list_is_empty(&loop->synced.inbox); /* else it has been woken, or is at work */
    if (!fed_link_is_linked(&event->link)) {
        fed_list_add(&loop->synced.inbox, &event->link);
    }
    (void)pthread_mutex_unlock(&loop->synced.lock);
    if (is_first) { /* without the lock: who is woken wants it at once */
        (void)pthread_cond_signal(&loop->synced.wake);
    }
}

void fed_loop_cancel(struct fed_loop *loop, struct fed_event *event)
{
    (void)pthread_mutex_lock(&loop->synced.lock);
    fed_link_remove(&event->link);
    (void)pthread_mutex_unlock(&loop->synced.lock);
}

uint64_t fed_loop_now_ms(const struct fed_loop *loop)
{
    return loop->own.now_ms;
}

void fed_timer_start(struct fed_loop *loop, struct fed_timer *timer, uint64_t due_ms)
{
    struct fed_link *at = &loop->own.timers.head;

    assert(timer->fn != NULL);
    fed_link_remove(&timer->link);
    timer->due_ms = due_ms;
    while (at->prev != &loop->own.timers.head &&
           FED_CONTAINER_OF(at->prev, struct fed_timer, link)->due_ms > due_ms) {
        at = at->prev;
    }
    timer->link.next = at;
    timer->link.prev = at->prev;
    at->prev->next = &timer->link;
    at->prev = &timer->link;
}

void fed_timer_stop(struct fed_timer *timer)
{
    fed_link_remove(&timer->link);
}

bool fed_loop_is_current(const struct fed_loop *loop)
{
    return atomic_load(&loop->is_running) && pthread_equal(loop->thread, pthread_self()) != 0;
}
