/* The core's actions, carried out.
 *
 * Messages go out at once; storage actions become entries of the journal, sums tasks of the line of
 * sums; both keep their order. What comes back feeds the core again.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "reducer/reducer_inside.h"
#include "reducer/rows.h"

/* -- messages -----------------------------------------------------------------------------------
 */

static char *dump_task(const struct reducer *reducer,
                       const char *task,
                       const char *round_id,
                       const char *model_id)
{
    const struct federation_session *session = federation_get_session(reducer->federation);
    const struct round *round = federation_get_round(reducer->federation);
    json_t *data =
        rows_task_data(reducer->session, task, round_id, round == NULL ? 0 : round->round_number,
                       model_id, session->round_timeout_ms);
    char *text = data == NULL ? NULL : json_dumps(data, JSON_COMPACT | JSON_SORT_KEYS);

    json_decref(data);
    return text;
}

static void send(struct reducer *reducer, struct federation_action *action)
{
    struct fed_down *down = &action->down;

    if (down->type == FED_DOWN_PLAN && action->link != 0) {
        free(down->plan.task_data);
        down->plan.task_data =
            dump_task(reducer, "training", down->plan.round_id, down->plan.base_model_id);
        reducer->plan_link = action->link;
    } else if (down->type == FED_DOWN_VALIDATE && action->link != 0) {
        free(down->validate.task_data);
        down->validate.task_data =
            dump_task(reducer, "validation", down->validate.round_id, down->validate.model_id);
    }
    if (action->link != 0) {
        federation_server_send(reducer->port, action->link, down);
    }
    fed_down_deinit(down);
}

/* -- storage ------------------------------------------------------------------------------------
 */

static unsigned long long ull(uint64_t value)
{
    return value;
}

static void log_round(struct reducer *reducer)
{
    const struct round *round = federation_get_round(reducer->federation);
    const uint64_t since_ms = round->planned_ms == 0 ? reducer->started_ms : round->planned_ms;
    const double seconds = (double)(reducer_now_ms(reducer) - since_ms) / 1000.0;
    size_t n = 0;

    for (size_t i = 0; i < round->n_parts; i++) {
        n += round->parts[i].n_entries;
    }
    switch (round->state) {
    case ROUND_PLANNED:
        counters_add(&reducer->counters, COUNTER_ROUNDS_PLANNED);
        fed_log(FED_LOG_INFO, "round", "planned",
                "session=%s round=%s number=%u clients=%zu combiners=%zu", round->session_id,
                round->round_id, round->round_number, round->n_clients, round->n_parts);
        break;
    case ROUND_COMMITTED:
        counters_add(&reducer->counters, COUNTER_ROUNDS_COMMITTED);
        fed_log(FED_LOG_INFO, "round", "committed",
                "session=%s round=%s number=%u model=%s updates=%zu refused=%llu seconds=%.3f",
                round->session_id, round->round_id, round->round_number, round->model_id, n,
                ull(round->n_refused + round->n_refused_more), seconds);
        break;
    case ROUND_FAILED:
    case ROUND_CANCELLED:
        counters_add(&reducer->counters, round->state == ROUND_FAILED ? COUNTER_ROUNDS_FAILED
                                                                      : COUNTER_ROUNDS_CANCELLED);
        fed_log(FED_LOG_WARNING, "round", round->state == ROUND_FAILED ? "failed" : "cancelled",
                "session=%s round=%s number=%u why=\"%s\" refused=%llu seconds=%.3f",
                round->session_id, round->round_id, round->round_number, round->failure,
                ull(round->n_refused + round->n_refused_more), seconds);
        break;
    case ROUND_OPEN:
    case ROUND_CLOSING:
    case ROUND_STATE_MAX:
        break; /* a changed plan */
    }
}

static void note_written(struct reducer *reducer, const struct journal_entry *entry)
{
    const struct round *round = federation_get_round(reducer->federation);

    if (entry->type == FEDERATION_STORE_ROUND) {
        log_round(reducer);
        if (round->state == ROUND_PLANNED) {
            FED_FAULT_POINT("reducer.planned");
        } else if (round->state == ROUND_COMMITTED) {
            FED_FAULT_POINT("reducer.committed");
        }
    } else if (entry->type == FEDERATION_STORE_START) {
        counters_add(&reducer->counters, COUNTER_SESSIONS_STARTED);
        fed_log(FED_LOG_INFO, "session", "started", "session=%s name=\"%s\" rounds=%llu",
                entry->session_id, rows_get_text(entry->session, "name", ""),
                ull(rows_get_u64(entry->session, "rounds_total", 0)));
    } else if (entry->type == FEDERATION_STORE_END) {
        fed_log(FED_LOG_INFO, "session", "ended",
                "session=%s status=%s rounds=%llu failed_rounds=%llu model=%s", entry->session_id,
                rows_get_text(entry->session, "status", ""),
                ull(rows_get_u64(entry->session, "rounds_done", 0)),
                ull(rows_get_u64(entry->session, "failed_rounds", 0)),
                rows_get_text(entry->session, "model_id", ""));
    }
}

static void on_written(struct journal_entry *entry, int rc, const struct fed_err *err, void *arg)
{
    struct reducer *reducer = arg;

    if (reducer->end.is_draining) {
        return; /* the next start goes on from what is written */
    }
    if (rc < 0) {
        reducer_fail(reducer, err->msg);
        return;
    }
    if (entry->session != NULL) {
        json_decref(reducer->session);
        reducer->session = json_incref(entry->session);
    }
    note_written(reducer, entry);
    if (entry->type == FEDERATION_STORE_SESSION) {
        reducer_answer(reducer, entry->token, 200, "Session is being stopped");
    } else {
        federation_done(reducer->federation, reducer_now_ms(reducer));
    }
    reducer_turn(reducer);
}

static void write_entry(struct reducer *reducer, struct journal_entry *entry)
{
    entry->done = on_written;
    entry->arg = reducer;
    journal_write(&reducer->journal, entry);
}

static struct rows_round_context round_context(const struct reducer *reducer)
{
    const struct federation_base *base = federation_get_base(reducer->federation);

    return (struct rows_round_context){
        .session = reducer->session,
        .roster = federation_get_roster(reducer->federation),
        .n_elements = base->n_elements,
        .round_timeout_ms = federation_get_session(reducer->federation)->round_timeout_ms,
        .now_ms = reducer_now_ms(reducer),
        .finish_ms = reducer->stamps.finish_ms,
        .commit_ms = reducer->stamps.commit_ms,
        .summed_ms = reducer->stamps.summed_ms,
    };
}

static json_t *encode_round(const struct reducer *reducer)
{
    const struct rows_round_context context = round_context(reducer);

    return rows_round_encode(federation_get_round(reducer->federation), &context);
}

static void store_round(struct reducer *reducer, struct journal_entry *entry)
{
    struct round *round = federation_get_round_mutable(reducer->federation);

    if (round->version == 0) {
        round->planned_utc_ms = fed_clock_utc_ms();
        FED_FAULT_POINT("reducer.before_planned");
    }
    entry->round_version = round->version;
    entry->round = encode_round(reducer);
}

static void store_derived(struct reducer *reducer, struct journal_entry *entry)
{
    const struct federation_session *session = federation_get_session(reducer->federation);
    const struct round *round = federation_get_round(reducer->federation);
    json_t *row;

    entry->changes = rows_session_progress(session);
    if (round->state != ROUND_COMMITTED) {
        return;
    }
    row = encode_round(reducer);
    entry->model = rows_model_encode(
        row, reducer->session,
        rows_get_u64(json_object_get(reducer->session, "_run"), "models_before", 0) +
            session->rounds_done - session->failed_rounds);
    json_decref(row);
}

static void store_session(struct reducer *reducer, struct journal_entry *entry, uint64_t token)
{
    entry->token = token;
    entry->changes = json_pack("{s:b}", "stopping", 1);
    if (federation_is_terminated(reducer->federation)) {
        (void)json_object_set_new(entry->changes, "status", json_string("Terminated"));
    }
}

static void store_end(struct reducer *reducer, struct journal_entry *entry)
{
    const struct federation_session *session = federation_get_session(reducer->federation);
    const uint64_t now_utc_ms = fed_clock_utc_ms();

    entry->changes = rows_session_end(session, reducer->session,
                                      federation_is_terminated(reducer->federation), now_utc_ms);
    entry->run = rows_run_end(reducer->session, session->base_model_id, now_utc_ms);
    entry->federation = json_pack("{s:s,s:I}", "running_session_id", "", "next_round_id",
                                  (json_int_t)federation_get_next_round_id(reducer->federation));
}

static void store(struct reducer *reducer, const struct federation_action *action)
{
    struct journal_entry *entry = action->type == FEDERATION_STORE_START
                                      ? FED_TAKE(reducer->start)
                                      : journal_entry_new(action->type);

    if (entry == NULL) {
        reducer_fail(reducer, "out of memory");
        return;
    }
    fed_id_copy(entry->session_id, federation_get_session(reducer->federation)->session_id);
    if (action->type == FEDERATION_STORE_ROUND) {
        store_round(reducer, entry);
    } else if (action->type == FEDERATION_STORE_DERIVED) {
        store_derived(reducer, entry);
    } else if (action->type == FEDERATION_STORE_SESSION) {
        store_session(reducer, entry, action->token);
    } else if (action->type == FEDERATION_STORE_END) {
        store_end(reducer, entry);
    } else {
        json_decref(reducer->session);
        reducer->session = FED_TAKE(entry->session);
    }
    write_entry(reducer, entry);
}

/* -- sums ---------------------------------------------------------------------------------------
 */

static void on_loaded(struct reducer *reducer, struct summing_task *task, int rc, const char *why)
{
    if (rc < 0) {
        fed_log(FED_LOG_ERROR, "model", "unreadable", "model=%s why=\"%s\"", task->model_id, why);
        federation_base_failed(reducer->federation, why, reducer_now_ms(reducer));
        return;
    }
    shelf_put(&reducer->shelf, task->base.model_id, task->slab);
    federation_base_loaded(reducer->federation, &task->base, reducer_now_ms(reducer));
}

static void on_made(struct summing_task *task, void *arg)
{
    struct reducer *reducer = arg;
    struct fed_ahead ahead = {.size_bytes = task->base.size_bytes};

    if (!reducer->end.is_draining) {
        fed_id_copy(ahead.model_id, task->base.model_id);
        memcpy(ahead.xxh128, task->base.xxh128, sizeof(ahead.xxh128));
        shelf_put(&reducer->shelf, task->base.model_id, task->slab);
        federation_made(reducer->federation, &ahead);
        reducer_turn(reducer);
    }
}

static void on_finished(struct reducer *reducer, struct summing_task *task)
{
    reducer->stamps.finish_ms = task->finish_ms;
    reducer->stamps.commit_ms = task->commit_ms;
    federation_finished(reducer->federation, &task->base, reducer_now_ms(reducer));
}

static void on_summed(struct summing_task *task, int rc, const struct fed_err *err, void *arg)
{
    struct reducer *reducer = arg;

    if (reducer->end.is_draining || rc == -FED_E_CANCELLED) {
        return;
    }
    switch (task->verb) {
    case SUMMING_LOAD:
        on_loaded(reducer, task, rc, err->msg);
        break;
    case SUMMING_ADD:
        federation_added(reducer->federation, task->token, reducer_now_ms(reducer));
        break;
    case SUMMING_FINISH:
        on_finished(reducer, task);
        break;
    case SUMMING_RESET:
        return;
    }
    reducer_turn(reducer);
}

static void submit(struct reducer *reducer, struct summing_task *task)
{
    task->done = on_summed;
    task->made = on_made;
    task->arg = reducer;
    summing_submit(&reducer->summing, task);
}

static bool fill_finish(struct reducer *reducer, struct summing_task *task)
{
    const struct round *round = federation_get_round(reducer->federation);

    fed_id_copy(task->model_id, round->base_model_id);
    memcpy(task->round_id, round->round_id, sizeof(task->round_id));
    task->n_tensors = round->n_tensors;
    task->scale_bits = calloc(round->n_tensors + 1, sizeof(*task->scale_bits));
    if (task->scale_bits == NULL || round_list_entries(round, &task->entries, &task->n_entries,
                                                       &task->sum_examples, NULL) < 0) {
        return false;
    }
    memcpy(task->scale_bits, round->scale_bits, round->n_tensors * sizeof(*task->scale_bits));
    return true;
}

static void sum(struct reducer *reducer, const struct federation_action *action)
{
    const enum summing_verb verb = action->type == FEDERATION_LOAD_BASE   ? SUMMING_LOAD
                                   : action->type == FEDERATION_RESET_SUM ? SUMMING_RESET
                                                                          : SUMMING_FINISH;
    struct summing_task *task = summing_task_new(verb);

    if (task == NULL) {
        reducer_fail(reducer, "out of memory");
        return;
    }
    if (verb == SUMMING_LOAD) {
        fed_id_copy(task->model_id, action->text);
    } else if (verb == SUMMING_RESET) {
        memset(&reducer->stamps, 0, sizeof(reducer->stamps));
    } else {
        reducer->stamps.summed_ms = reducer_now_ms(reducer);
        if (!fill_finish(reducer, task)) {
            (void)summing_task_free(task);
            reducer_fail(reducer, "out of memory");
            return;
        }
    }
    submit(reducer, task);
}

/* The partial that was just judged. */
static void settle_partial(struct reducer *reducer, const struct federation_action *action)
{
    struct summing_task *task = FED_TAKE(reducer->partial);

    if (task == NULL || task->token != action->token || action->type == FEDERATION_DROP_PARTIAL) {
        (void)summing_task_free(task);
        return;
    }
    submit(reducer, task);
}

/* -- all ----------------------------------------------------------------------------------------
 */

static void carry_out(struct reducer *reducer, struct federation_action *action)
{
    switch (action->type) {
    case FEDERATION_SEND:
        send(reducer, action);
        break;
    case FEDERATION_CLOSE_LINK:
        federation_server_close_link(reducer->port, action->link,
                                     "replaced by a newer link, or rejected");
        break;
    case FEDERATION_STORE_START:
    case FEDERATION_STORE_ROUND:
    case FEDERATION_STORE_DERIVED:
    case FEDERATION_STORE_SESSION:
    case FEDERATION_STORE_END:
        store(reducer, action);
        break;
    case FEDERATION_LOAD_BASE:
    case FEDERATION_RESET_SUM:
    case FEDERATION_FINISH:
        sum(reducer, action);
        break;
    case FEDERATION_ADD_PARTIAL:
    case FEDERATION_DROP_PARTIAL:
        settle_partial(reducer, action);
        break;
    case FEDERATION_ANSWER:
        reducer_answer(reducer, action->token, action->status, action->text);
        break;
    case FEDERATION_ACTION_MAX:
        break;
    }
}

void reducer_turn(struct reducer *reducer)
{
    struct federation_action action;
    uint64_t due_ms;

    while (!reducer->end.is_draining && federation_take_action(reducer->federation, &action)) {
        carry_out(reducer, &action);
    }
    if (reducer->end.is_draining) {
        return;
    }
    if (federation_get_state(reducer->federation) == FEDERATION_IDLE) {
        reducer->start = journal_entry_free(reducer->start); /* refused: nobody takes it */
    }
    due_ms = federation_due_ms(reducer->federation);
    if (due_ms == UINT64_MAX) {
        fed_timer_stop(&reducer->tick);
    } else {
        fed_timer_start(reducer->loop, &reducer->tick, due_ms);
    }
    if (reducer->live.change != federation_get_change(reducer->federation)) {
        reducer->live.change = federation_get_change(reducer->federation);
        reducer->live.seq++;
        reducer_look_live(reducer);
    }
}
