/* Soon after the start, and again and again: old blobs that no row names go (sweeping.h).
 *
 *   serving ──FIRST_MS──▶ a worker: sweeping_run() ──▶ a line in the log ──blob_sweep_after──┐
 *                              ▲─────────────────────────────────────────────────────────────┘
 *
 * Rounds go on meanwhile: the model that one makes is kept (summing.c). A store that is away is
 * asked again as any other time.
 */
#include "common/base/log.h"
#include "reducer/reducer_inside.h"

#define FIRST_MS 10000U /* the federation gathers first */

static void work(void *arg)
{
    struct reducer *reducer = arg;

    reducer->tidying.rc = sweeping_run(&reducer->tidying.sweeping, &reducer->tidying.err);
}

static void start_timer(struct reducer *reducer, uint64_t after_ms)
{
    fed_timer_start(reducer->loop, &reducer->tidying.timer, reducer_now_ms(reducer) + after_ms);
}

static void on_worked(void *arg)
{
    struct reducer *reducer = arg;
    const struct sweeping *sweeping = &reducer->tidying.sweeping;

    if (sweeping->n_removed > 0) {
        fed_log(FED_LOG_INFO, "blobs", "swept", "blobs=%zu bytes=%llu", sweeping->n_removed,
                (unsigned long long)sweeping->bytes);
    }
    if (reducer->tidying.rc == SWEEPING_DOUBTFUL) {
        fed_log(FED_LOG_WARNING, "blobs", "not_swept",
                "blobs=%zu unnamed=%zu why=\"most of the blobs are no model or package of this "
                "metadata store: is it the right one?\"",
                sweeping->n_keys, sweeping->n_unnamed);
    } else if (reducer->tidying.rc < 0) {
        fed_log(FED_LOG_WARNING, "blobs", "not_swept", "why=\"%s\"", reducer->tidying.err.msg);
    }
    if (!reducer->end.is_draining) {
        start_timer(reducer, reducer->settings->blob_sweep_after_ms);
    }
    reducer_job_ended(reducer);
}

static void on_due(void *arg)
{
    struct reducer *reducer = arg;

    reducer->end.n_jobs++;
    fed_job_init(&reducer->tidying.job, work, on_worked, reducer);
    fed_workers_submit(reducer->workers, NULL, &reducer->tidying.job);
}

void reducer_start_tidying(struct reducer *reducer)
{
    const uint64_t after_ms = reducer->settings->blob_sweep_after_ms;

    fed_timer_init(&reducer->tidying.timer, on_due, reducer);
    start_timer(reducer, after_ms < FIRST_MS ? after_ms : FIRST_MS);
}

void reducer_stop_tidying(struct reducer *reducer)
{
    fed_timer_stop(&reducer->tidying.timer);
    sweeping_stop(&reducer->tidying.sweeping);
}
