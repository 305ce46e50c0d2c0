#include "reducer/errand.h"

#include <assert.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/retry.h"

#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS  5000

static void begin_next(struct errand_line *line);
static void run_head(void *arg);

static void work(void *arg)
{
    struct errand_line *line = arg;

    line->err = (struct fed_err){0};
    line->rc = line->head->work(line->head, &line->err);
}

static void set_trouble(struct errand_line *line, bool is_in_trouble)
{
    if (is_in_trouble) {
        (void)snprintf(line->trouble, sizeof(line->trouble), "%s: %s: %s (tried %u times, %llu s)",
                       line->name, line->head->what, line->err.msg, line->attempt,
                       (unsigned long long)((fed_clock_mono_ms() - line->since_ms) / 1000));
    } else if (line->trouble[0] == '\0') {
        return;
    } else {
        line->trouble[0] = '\0';
    }
    line->on_change(line->arg);
}

static bool is_repeated(const struct errand_line *line)
{
    const int code = -line->rc;

    if (line->rc >= 0 || line->is_closed) {
        return false;
    }
    if (line->head->is_stubborn) {
        return code != FED_E_CONFLICT && code != FED_E_CANCELLED;
    }
    return fed_code_is_transient((enum fed_code)code) && code != FED_E_CANCELLED;
}

static void end_head(struct errand_line *line, int rc)
{
    struct errand *errand = line->head;
    const struct fed_err err = line->err;

    line->head = NULL;
    line->attempt = 0;
    set_trouble(line, false);
    errand->done(errand, rc, &err);
    begin_next(line);
    if (line->head == NULL && line->follower != NULL && line->follower->is_yielding) {
        run_head(line->follower);
    }
    if (line->is_closed && line->head == NULL) {
        line->on_change(line->arg);
    }
}

static void on_worked(void *arg)
{
    struct errand_line *line = arg;

    line->is_running = false;
    if (!is_repeated(line)) {
        if (line->attempt > 0 && line->rc >= 0) {
            fed_log(FED_LOG_INFO, "errand", "recovered", "line=\"%s\" what=\"%s\" tries=%u",
                    line->name, line->head->what, line->attempt + 1);
        }
        end_head(line, line->rc);
        return;
    }
    if (line->attempt == 0) {
        line->since_ms = fed_loop_now_ms(line->loop);
        fed_log(FED_LOG_WARNING, "errand", "waiting", "line=\"%s\" what=\"%s\" why=\"%s\"",
                line->name, line->head->what, line->err.msg);
    }
    fed_timer_start(line->loop, &line->timer,
                    fed_loop_now_ms(line->loop) + fed_retry_delay_ms(line->attempt, BACKOFF_BASE_MS,
                                                                     BACKOFF_MAX_MS, line->seed));
    line->attempt++;
    set_trouble(line, true);
}

static void run_head(void *arg)
{
    struct errand_line *line = arg;

    assert(!line->is_running);
    line->is_yielding = line->first != NULL && !errand_line_is_idle(line->first);
    if (line->is_yielding) {
        return;
    }
    line->is_running = true;
    fed_workers_submit(line->workers, NULL, &line->job);
}

static void begin_next(struct errand_line *line)
{
    struct fed_link *link;

    if (line->head != NULL || (link = fed_list_take(&line->waiting)) == NULL) {
        return;
    }
    line->n_waiting--;
    line->head = FED_CONTAINER_OF(link, struct errand, link);
    run_head(line);
}

void errand_line_init(struct errand_line *line,
                      struct fed_loop *loop,
                      struct fed_workers *workers,
                      const char *name,
                      void (*on_change)(void *arg),
                      void *arg)
{
    *line = (struct errand_line){.loop = loop,
                                 .workers = workers,
                                 .name = name,
                                 .on_change = on_change,
                                 .arg = arg,
                                 .seed = fed_clock_mono_us()};
    fed_list_init(&line->waiting);
    fed_job_init(&line->job, work, on_worked, line);
    fed_timer_init(&line->timer, run_head, line);
}

void errand_line_give_way(struct errand_line *line, struct errand_line *first)
{
    assert(line->first == NULL && first->follower == NULL);
    line->first = first;
    first->follower = line;
}

static void cancel(struct errand *errand)
{
    struct fed_err err = {0};
    const int rc = fed_err_set(&err, FED_E_CANCELLED, "the reducer is stopping");

    errand->done(errand, rc, &err);
}

void errand_submit(struct errand_line *line, struct errand *errand)
{
    assert(!fed_link_is_linked(&errand->link));
    if (line->is_closed) {
        cancel(errand);
        return;
    }
    fed_list_add(&line->waiting, &errand->link);
    line->n_waiting++;
    begin_next(line);
}

void errand_line_close(struct errand_line *line)
{
    struct fed_link *link;

    line->is_closed = true;
    line->is_yielding = false;
    fed_timer_stop(&line->timer);
    while ((link = fed_list_take(&line->waiting)) != NULL) {
        line->n_waiting--;
        cancel(FED_CONTAINER_OF(link, struct errand, link));
    }
    if (line->head != NULL && !line->is_running) {
        end_head(line, fed_err_set(&line->err, FED_E_CANCELLED, "the reducer is stopping"));
    }
}

bool errand_line_is_idle(const struct errand_line *line)
{
    return line->head == NULL;
}
