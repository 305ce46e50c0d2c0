/* Once after the start: blobs that no row names (sweeping.h).
 *
 *   before REST listens: list ──▶ serving ──blob_sweep_after──▶ a worker: remove ──▶ one line in
 * the log ▲                                   │ └───── a store is away: again ──────┘
 *
 * Rounds go on meanwhile: the model that one makes is kept (summing.c). But the round that was open
 * at the start is waited for: its model may lie there already, and gets its row soon. The delay is
 * for whoever else writes here between a blob and its row: an older reducer that is about to notice
 * that it is one.
 */
#include <string.h>

#include "common/base/log.h"
#include "reducer/reducer_inside.h"

void reducer_list_blobs(struct reducer *reducer)
{
    struct sweeping *sweeping = &reducer->tidying.sweeping;
    struct fed_err err = {0};

    if (sweeping_list(sweeping, &err) < 0) {
        fed_log(FED_LOG_WARNING, "blobs", "not_swept", "why=\"%s\"", err.msg);
    }
}

static void work(void *arg)
{
    struct reducer *reducer = arg;

    reducer->tidying.rc = sweeping_run(&reducer->tidying.sweeping, &reducer->tidying.err);
}

static void start_timer(struct reducer *reducer)
{
    fed_timer_start(reducer->loop, &reducer->tidying.timer,
                    reducer_now_ms(reducer) + reducer->settings->blob_sweep_after_ms);
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
    if (reducer->tidying.rc < 0 && !reducer->end.is_draining) {
        start_timer(reducer);
    } else {
        sweeping_forget(sweeping);
    }
    reducer_job_ended(reducer);
}

static void on_due(void *arg)
{
    struct reducer *reducer = arg;
    const char *round_id = reducer->tidying.round_id;

    if (round_id[0] != '\0' && !federation_is_over(reducer->federation, round_id)) {
        start_timer(reducer);
        return;
    }
    reducer->end.n_jobs++;
    fed_job_init(&reducer->tidying.job, work, on_worked, reducer);
    fed_workers_submit(reducer->workers, NULL, &reducer->tidying.job);
}

void reducer_tidy_later(struct reducer *reducer)
{
    const struct round *round = federation_get_round(reducer->federation);

    fed_timer_init(&reducer->tidying.timer, on_due, reducer);
    if (round != NULL) {
        memcpy(reducer->tidying.round_id, round->round_id, sizeof(reducer->tidying.round_id));
    }
    if (reducer->tidying.sweeping.n_keys > 0) {
        start_timer(reducer);
    }
}

void reducer_stop_tidying(struct reducer *reducer)
{
    fed_timer_stop(&reducer->tidying.timer);
    sweeping_stop(&reducer->tidying.sweeping);
}
