/* Once after the start: blobs that no row names (sweeping.h).
 *
 *   before REST listens: list ──▶ serving ──DELAY_MS──▶ a worker: remove ──▶ one line in the log
 *
 * Not where a round is open: its model may lie there already, and gets its row soon. The delay is
 * for an older reducer on the same store that is about to notice that it is one.
 */
#include "common/base/log.h"
#include "reducer/reducer_inside.h"

#define DELAY_MS 10000U

void reducer_list_blobs(struct reducer *reducer)
{
    struct sweeping *sweeping = &reducer->tidying.sweeping;
    struct fed_err err = {0};

    *sweeping = (struct sweeping){.store = reducer->store, .blobs = reducer->blobs};
    atomic_init(&sweeping->is_stopped, false);
    if (sweeping_list(sweeping, &err) < 0) {
        fed_log(FED_LOG_WARNING, "blobs", "not_swept", "why=\"%s\"", err.msg);
    }
}

static void work(void *arg)
{
    struct reducer *reducer = arg;

    reducer->tidying.rc = sweeping_run(&reducer->tidying.sweeping, &reducer->tidying.err);
}

static void on_worked(void *arg)
{
    struct reducer *reducer = arg;
    struct sweeping *sweeping = &reducer->tidying.sweeping;

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
    sweeping_deinit(sweeping);
    reducer_job_ended(reducer);
}

static void on_due(void *arg)
{
    struct reducer *reducer = arg;

    reducer->end.n_jobs++;
    fed_job_init(&reducer->tidying.job, work, on_worked, reducer);
    fed_workers_submit(reducer->workers, NULL, &reducer->tidying.job);
}

void reducer_tidy_later(struct reducer *reducer)
{
    fed_timer_init(&reducer->tidying.timer, on_due, reducer);
    if (reducer->tidying.sweeping.n_keys > 0 && federation_get_round(reducer->federation) == NULL) {
        fed_timer_start(reducer->loop, &reducer->tidying.timer, reducer_now_ms(reducer) + DELAY_MS);
    }
}

void reducer_stop_tidying(struct reducer *reducer)
{
    fed_timer_stop(&reducer->tidying.timer);
    sweeping_stop(&reducer->tidying.sweeping);
}
