/* What comes in over the combiners' port, and what becomes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/log.h"
#include "reducer/reducer_inside.h"

#define HEADER_BASE_SIZE  4096U /* bytes of a partial sum's header without lists */
#define HEADER_ENTRY_SIZE (2U * (FED_ID_SIZE + 2U) + 8U)
#define HEADER_SCALE_SIZE 8U

/* -- links --------------------------------------------------------------------------------------
 */

static void hear_record(struct reducer *reducer, uint64_t link, const struct fed_record *record)
{
    if (roster_find_link(federation_get_roster(reducer->federation), link) == NULL) {
        federation_server_close_link(reducer->port, link, "the first message must be Hello");
    } else if (records_put(&reducer->records, link, record, NULL) < 0) {
        federation_server_close_link(reducer->port, link, "out of memory: come again");
    }
}

static void note_hello(struct reducer *reducer, uint64_t link)
{
    const struct roster *roster = federation_get_roster(reducer->federation);
    const struct roster_combiner *combiner = roster_find_link(roster, link);

    if (combiner == NULL) {
        fed_log(FED_LOG_WARNING, "combiner", "rejected", "link=%llu", (unsigned long long)link);
        return;
    }
    fed_log(FED_LOG_INFO, "combiner", "attached",
            "combiner=%s name=\"%s\" address=%s version=%s clients=%u", combiner->combiner_id,
            combiner->name, combiner->advertise, combiner->version, combiner->n_attached);
    attendance_combiner(&reducer->attendance, combiner);
    attendance_sync(&reducer->attendance, roster, combiner);
}

static void note_client(struct reducer *reducer, const struct fed_client_state *state)
{
    static const char *const phases[] = {[FED_CLIENT_ATTACHED] = "attached",
                                         [FED_CLIENT_SILENT] = "silent",
                                         [FED_CLIENT_GONE] = "gone"};
    const struct roster *roster = federation_get_roster(reducer->federation);
    const struct roster_client *client = roster_find_client(roster, state->client_id);

    if (client != NULL) {
        fed_log(FED_LOG_DEBUG, "client", phases[state->phase], "client=%s name=\"%s\" combiner=%s",
                client->client_id, client->name, client->combiner->combiner_id);
        attendance_show(&reducer->attendance, roster, client);
    }
}

static void on_up(void *arg, uint64_t link, const struct fed_up *up)
{
    struct reducer *reducer = arg;

    if (reducer->end.is_draining) {
        return;
    }
    if (up->type == FED_UP_RECORD) {
        hear_record(reducer, link, &up->record);
        return;
    }
    federation_up(reducer->federation, link, up, reducer_now_ms(reducer));
    if (up->type == FED_UP_HELLO) {
        note_hello(reducer, link);
    } else if (up->type == FED_UP_CLIENT_STATE) {
        note_client(reducer, &up->client_state);
    } else if (up->type == FED_UP_REFUSED) {
        counters_add_refused(&reducer->counters, up->refused.reason);
        fed_log(FED_LOG_INFO, "update", "refused", "round=%s client=%s update=%s reason=%s",
                up->round_id, up->refused.client_id, up->refused.update_id,
                fed_refusal_word(up->refused.reason));
    } else if (up->type == FED_UP_ADMITTED) {
        counters_add(&reducer->counters, COUNTER_UPDATES_ADMITTED);
        FED_FAULT_POINT("reducer.collecting");
    }
    reducer_turn(reducer);
}

static void on_link_closed(void *arg, uint64_t link)
{
    struct reducer *reducer = arg;
    const struct roster *roster = federation_get_roster(reducer->federation);
    const struct roster_combiner *combiner = roster_find_link(roster, link);

    if (reducer->end.is_draining) {
        return;
    }
    federation_link_closed(reducer->federation, link, reducer_now_ms(reducer));
    if (combiner != NULL) {
        counters_add(&reducer->counters, COUNTER_COMBINERS_LOST);
        fed_log(FED_LOG_WARNING, "combiner", "detached", "combiner=%s name=\"%s\"",
                combiner->combiner_id, combiner->name);
        attendance_sync(&reducer->attendance, roster, combiner);
    }
    reducer_turn(reducer);
}

static void on_link_sent(void *arg, uint64_t link)
{
    struct reducer *reducer = arg;

    if (reducer->plan_link == link) {
        reducer->plan_link = 0;
        FED_FAULT_POINT("reducer.plan_sent");
    }
}

static bool may_read(void *arg, uint64_t link)
{
    const struct reducer *reducer = arg;

    return records_count(&reducer->records, link) < RECORDS_LINK_MAX;
}

/* -- records ------------------------------------------------------------------------------------
 */

static void on_stored(void *arg, uint64_t link, uint64_t seq)
{
    struct reducer *reducer = arg;
    const struct fed_down ack = {.type = FED_DOWN_RECORD_ACK, .record_ack = {.seq = seq}};

    if (!reducer->end.is_draining) {
        federation_server_send(reducer->port, link, &ack);
        federation_server_resume(reducer->port, link);
    }
}

static void on_validated(void *arg, const char *model_id, const char *client_id)
{
    struct reducer *reducer = arg;

    if (!reducer->end.is_draining) {
        federation_validated(reducer->federation, model_id, client_id);
        reducer_turn(reducer);
    }
}

static void on_judged(void *arg, bool is_refused)
{
    struct reducer *reducer = arg;

    counters_add(&reducer->counters, is_refused ? COUNTER_RECORDS_REFUSED : COUNTER_RECORDS_STORED);
}

const struct records_ops reducer_records_ops = {
    .on_stored = on_stored,
    .on_judged = on_judged,
    .on_validated = on_validated,
};

/* -- models -------------------------------------------------------------------------------------
 */

static struct fed_slab *find_model(void *arg, const char *model_id)
{
    const struct reducer *reducer = arg;

    return shelf_find(&reducer->shelf, model_id);
}

static void on_model_read(void *arg, const char *model_id, struct fed_slab *slab)
{
    struct reducer *reducer = arg;

    shelf_put(&reducer->shelf, model_id, slab);
}

/* -- partial sums -------------------------------------------------------------------------------
 */

static uint64_t check_partial(void *arg,
                              const char *round_id,
                              const char *combiner_id,
                              uint64_t plan_seq,
                              enum fed_verdict *ret_verdict)
{
    const struct reducer *reducer = arg;
    const struct round *round = federation_get_round(reducer->federation);
    const struct federation_base *base = federation_get_base(reducer->federation);
    const struct round_part *part;

    if (reducer->end.is_draining) {
        return 0;
    }
    if (federation_is_over(reducer->federation, round_id)) {
        *ret_verdict = FED_VERDICT_OVER;
        return 0;
    }
    part = round_find_part(round, combiner_id);
    if (round->state > ROUND_CLOSING || part == NULL || plan_seq != part->plan_seq ||
        part->state == PART_FENCED) {
        *ret_verdict = FED_VERDICT_STALE;
        return 0;
    }
    if (base->n_elements == 0) {
        return 0; /* the base is being read: try again */
    }
    return HEADER_BASE_SIZE + round->n_tensors * HEADER_SCALE_SIZE +
           round->n_clients * HEADER_ENTRY_SIZE + fed_partial_body_max(base->n_elements);
}

/* Was it made from this round's base, with its scale? */
static bool is_of_round(const struct reducer *reducer, const struct fed_partial *partial)
{
    const struct round *round = federation_get_round(reducer->federation);

    return memcmp(partial->base_sha256, round->base_sha256, FED_SHA256_SIZE) == 0 &&
           partial->n_params == federation_get_base(reducer->federation)->n_elements &&
           partial->n_tensors == round->n_tensors &&
           memcmp(partial->scale_bits, round->scale_bits,
                  round->n_tensors * sizeof(*round->scale_bits)) == 0;
}

static enum fed_verdict judge(struct reducer *reducer, struct summing_task *task, char *ret_detail)
{
    struct federation_partial partial = {
        .plan_seq = task->partial.plan_seq,
        .n_entries = task->partial.n_entries,
        .load_us = task->partial.load_us,
        .sum_us = task->partial.sum_us,
        .token = ++reducer->next_token,
    };
    enum fed_verdict verdict;

    memcpy(partial.combiner_id, task->partial.combiner_id, sizeof(partial.combiner_id));
    memcpy(partial.round_id, task->partial.round_id, sizeof(partial.round_id));
    memcpy(partial.digest, task->partial.digest, sizeof(partial.digest));
    partial.entries = FED_TAKE(task->partial.entries);
    task->token = partial.token;
    reducer->partial = task;
    verdict =
        federation_partial(reducer->federation, &partial, reducer_now_ms(reducer), ret_detail);
    reducer_turn(reducer); /* ADD_PARTIAL or DROP_PARTIAL takes the task */
    return verdict;
}

static enum fed_verdict on_partial(void *arg,
                                   const char *path,
                                   struct fed_partial *partial,
                                   char ret_detail[FED_LINK_DETAIL_SIZE])
{
    struct reducer *reducer = arg;
    struct summing_task *task = summing_task_new(SUMMING_ADD);
    enum fed_verdict verdict = 0;
    uint64_t size_max;

    if (task == NULL) {
        (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "out of memory");
        fed_partial_deinit(partial);
        return FED_VERDICT_CORRUPT; /* send it again */
    }
    task->partial = *partial;
    *partial = (struct fed_partial){0};
    (void)snprintf(task->path, sizeof(task->path), "%s", path);
    size_max = check_partial(arg, task->partial.round_id, task->partial.combiner_id,
                             task->partial.plan_seq, &verdict);
    if (size_max == 0 || !is_of_round(reducer, &task->partial)) {
        (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "it is of another base, scale or plan");
        (void)summing_task_free(task);
        return size_max == 0 && verdict != 0 ? verdict : FED_VERDICT_CORRUPT;
    }
    verdict = judge(reducer, task, ret_detail);
    if (verdict == FED_VERDICT_ACCEPTED) {
        FED_FAULT_POINT("reducer.partial_received");
    } else {
        counters_add(&reducer->counters, COUNTER_PARTIALS_REFUSED);
        fed_log(FED_LOG_WARNING, "partial", "not_accepted", "verdict=%d why=\"%s\"", (int)verdict,
                ret_detail);
    }
    return verdict;
}

const struct federation_server_ops reducer_port_ops = {
    on_up,      on_link_closed, on_link_sent,  may_read,
    find_model, on_model_read,  check_partial, on_partial,
};
