/* From an open store to a serving reducer: read where the federation stands, then listen for
 * combiners. A store that is away is waited for, before the loop runs; REST is up meanwhile,
 * answers what the loop would be asked with 503, and says what is awaited.
 *
 *   reducer_new() ─▶ enter once ─▶ SERVING ─▶ reducer_run(): the loop
 *                      │ away                        ▲
 *                      ▼                             │ entered
 *                    AWAITING ─▶ reducer_run(): enter again, 0.1 s to 5 s apart ─▶ stopped, failed
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/retry.h"
#include "reducer/reducer_inside.h"

#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS  5000

void reducer_entering_init(struct reducer *reducer)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&reducer->entering.lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&reducer->entering.wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)snprintf(reducer->entering.why, sizeof(reducer->entering.why), "The reducer is starting");
}

void reducer_entering_deinit(struct reducer *reducer)
{
    (void)pthread_cond_destroy(&reducer->entering.wake);
    (void)pthread_mutex_destroy(&reducer->entering.lock);
}

static bool is_away(int rc)
{
    return rc == -FED_E_UNAVAILABLE || rc == -FED_E_TIMEOUT;
}

int reducer_enter(struct reducer *reducer, struct fed_err *err)
{
    int rc = reducer_resume(reducer, err);

    if (rc == 0) {
        reducer_watch_space(reducer);
    }
    rc = rc < 0 ? rc : reducer_listen_rpc(reducer, err);
    (void)pthread_mutex_lock(&reducer->entering.lock);
    reducer->entering.is_serving = rc == 0;
    if (is_away(rc)) {
        (void)snprintf(reducer->entering.why, sizeof(reducer->entering.why),
                       "The reducer waits for its metadata store: %s", err->msg);
    }
    (void)pthread_mutex_unlock(&reducer->entering.lock);
    return is_away(rc) ? REDUCER_AWAY : rc;
}

/* Until the back-off is over or the reducer is stopped; says which. */
static bool pause_is_over(struct reducer *reducer, uint64_t pause_ms)
{
    const uint64_t due_ms = fed_clock_mono_ms() + pause_ms;
    const struct timespec until = {.tv_sec = (time_t)(due_ms / 1000U),
                                   .tv_nsec = (long)(due_ms % 1000U) * 1000000L};
    int rc = 0;
    bool is_stopped;

    (void)pthread_mutex_lock(&reducer->entering.lock);
    while (rc == 0 && !reducer->entering.is_stopped) {
        rc = pthread_cond_timedwait(&reducer->entering.wake, &reducer->entering.lock, &until);
    }
    is_stopped = reducer->entering.is_stopped;
    (void)pthread_mutex_unlock(&reducer->entering.lock);
    return !is_stopped;
}

int reducer_await_store(struct reducer *reducer, struct fed_err *err)
{
    const uint64_t began_ms = fed_clock_mono_ms();
    int rc = REDUCER_AWAY;

    fed_log(FED_LOG_WARNING, "reducer", "waiting", "why=\"%s\"", reducer->entering.why);
    for (uint32_t attempt = 0; rc == REDUCER_AWAY; attempt++) {
        if (!pause_is_over(
                reducer, fed_retry_delay_ms(attempt, BACKOFF_BASE_MS, BACKOFF_MAX_MS, began_ms))) {
            return REDUCER_STOPPED;
        }
        rc = reducer_enter(reducer, err);
    }
    if (rc == 0) {
        fed_log(FED_LOG_INFO, "reducer", "store_reached", "waited_ms=%llu",
                (unsigned long long)(fed_clock_mono_ms() - began_ms));
    }
    return rc;
}

void reducer_stop_entering(struct reducer *reducer)
{
    (void)pthread_mutex_lock(&reducer->entering.lock);
    reducer->entering.is_stopped = true;
    (void)pthread_cond_signal(&reducer->entering.wake);
    (void)pthread_mutex_unlock(&reducer->entering.lock);
}

bool reducer_is_serving(struct reducer *reducer, char *ret_why, size_t why_size)
{
    bool is_serving;

    (void)pthread_mutex_lock(&reducer->entering.lock);
    is_serving = reducer->entering.is_serving;
    (void)snprintf(ret_why, why_size, "%s", reducer->entering.why);
    (void)pthread_mutex_unlock(&reducer->entering.lock);
    return is_serving;
}
