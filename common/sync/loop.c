#include "common/sync/loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/blocking.h"
#include "common/base/clock.h"

#define HAND_MAX 16 /* events run by a hand, its own among them: its thread has work of its own */

struct fed_loop {
    struct { /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t wake; /* of the thread in fed_loop_run() */
        struct fed_list inbox;
        uint64_t asleep_until_ms; /* that thread waits for a wake, or this; 0: it does not */
        bool is_stopped;
        bool is_running; /* somebody is in fed_loop_run() */
        bool is_held;    /* somebody is in the loop */
    } synced;
    struct {                    /* whoever is in the loop; nobody is: under lock */
        struct fed_list timers; /* by due_ms */
        uint64_t now_ms;
    } own;
};

static _Thread_local const struct fed_loop *current; /* the loop that this thread is in */

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
        assert(!loop->synced.is_running);
        (void)pthread_cond_destroy(&loop->synced.wake);
        (void)pthread_mutex_destroy(&loop->synced.lock);
        free(loop);
    }
    return NULL;
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

static void enter_locked(struct fed_loop *loop)
{
    assert(!loop->synced.is_held && current == NULL);
    loop->synced.is_held = true;
    current = loop;
    fed_blocking_allow(false);
}

static void leave_locked(struct fed_loop *loop)
{
    fed_blocking_allow(true);
    current = NULL;
    loop->synced.is_held = false;
}

/* In the loop, without the lock: what is due, then the event, if there is one. */
static void run_turn(struct fed_loop *loop, struct fed_event *event)
{
    run_timers(loop);
    if (event != NULL) {
        event->fn(event->arg);
    }
}

static struct fed_event *take_locked(struct fed_loop *loop)
{
    struct fed_link *link = fed_list_take(&loop->synced.inbox);

    return link == NULL ? NULL : FED_CONTAINER_OF(link, struct fed_event, link);
}

/* When the first timer is due; UINT64_MAX: none runs. */
static uint64_t due_ms(const struct fed_loop *loop)
{
    return fed_list_is_empty(&loop->own.timers)
               ? UINT64_MAX
               : FED_CONTAINER_OF(loop->own.timers.head.next, struct fed_timer, link)->due_ms;
}

/* Wait for a wake, or until then. */
static void sleep_locked(struct fed_loop *loop, uint64_t until_ms)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000U),
                                   .tv_nsec = (long)(until_ms % 1000U) * 1000000L};

    loop->synced.asleep_until_ms = until_ms;
    if (until_ms == UINT64_MAX) {
        (void)pthread_cond_wait(&loop->synced.wake, &loop->synced.lock);
    } else {
        (void)pthread_cond_timedwait(&loop->synced.wake, &loop->synced.lock, &until);
    }
    loop->synced.asleep_until_ms = 0;
}

void fed_loop_run(struct fed_loop *loop)
{
    (void)pthread_mutex_lock(&loop->synced.lock);
    loop->synced.is_running = true;
    for (;;) {
        struct fed_event *event;

        if (loop->synced.is_held) { /* who holds it wakes us if anything is left to do */
            sleep_locked(loop, UINT64_MAX);
            continue;
        }
        event = take_locked(loop);
        if (event == NULL && loop->synced.is_stopped) {
            break;
        }
        if (event == NULL && due_ms(loop) > fed_clock_mono_ms()) {
            sleep_locked(loop, due_ms(loop));
            continue;
        }
        enter_locked(loop);
        (void)pthread_mutex_unlock(&loop->synced.lock);
        run_turn(loop, event);
        (void)pthread_mutex_lock(&loop->synced.lock);
        leave_locked(loop);
    }
    loop->synced.is_running = false;
    (void)pthread_mutex_unlock(&loop->synced.lock);
}

void fed_loop_stop(struct fed_loop *loop)
{
    (void)pthread_mutex_lock(&loop->synced.lock);
    loop->synced.is_stopped = true;
    (void)pthread_cond_signal(&loop->synced.wake);
    (void)pthread_mutex_unlock(&loop->synced.lock);
}

static void unlock(struct fed_loop *loop, bool is_wake)
{
    (void)pthread_mutex_unlock(&loop->synced.lock);
    if (is_wake) { /* without the lock: who is woken wants it at once */
        (void)pthread_cond_signal(&loop->synced.wake);
    }
}

/* True: the thread in fed_loop_run() is to be woken. */
static bool post_locked(struct fed_loop *loop, struct fed_event *event)
{
    const bool is_first = fed_list_is_empty(&loop->synced.inbox); /* else it has been woken */

    if (!fed_link_is_linked(&event->link)) {
        fed_list_add(&loop->synced.inbox, &event->link);
    }
    return is_first && !loop->synced.is_held; /* who holds the loop looks at the inbox in leaving */
}

void fed_loop_post(struct fed_loop *loop, struct fed_event *event)
{
    assert(event->fn != NULL);
    (void)pthread_mutex_lock(&loop->synced.lock);
    unlock(loop, post_locked(loop, event));
}

/* The event, and a bounded number of those that are posted meanwhile. True: as for post_locked().
 */
static bool hold_locked(struct fed_loop *loop, struct fed_event *event)
{
    enter_locked(loop);
    for (unsigned i = 0; event != NULL; event = ++i < HAND_MAX ? take_locked(loop) : NULL) {
        (void)pthread_mutex_unlock(&loop->synced.lock);
        run_turn(loop, event);
        (void)pthread_mutex_lock(&loop->synced.lock);
    }
    leave_locked(loop);
    return !fed_list_is_empty(&loop->synced.inbox) || loop->synced.is_stopped ||
           due_ms(loop) < loop->synced.asleep_until_ms;
}

void fed_loop_hand(struct fed_loop *loop, struct fed_event *event)
{
    bool is_wake;

    assert(event->fn != NULL);
    (void)pthread_mutex_lock(&loop->synced.lock);
    if (loop->synced.is_running && !loop->synced.is_held &&
        fed_list_is_empty(&loop->synced.inbox)) {
        is_wake = hold_locked(loop, event);
    } else {
        is_wake = post_locked(loop, event);
    }
    unlock(loop, is_wake);
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
    return current == loop;
}
