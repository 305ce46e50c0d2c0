/* What the collector asks for, and what comes back to it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/combiner_inside.h"
#include "common/base/log.h"

static uint64_t now_ms(const struct combiner *combiner)
{
    return fed_loop_now_ms(combiner->loop);
}

/* -- partials ---------------------------------------------------------------------------------- */

static void delivery_free(struct delivery *delivery)
{
    fed_link_remove(&delivery->link);
    free(delivery);
}

static void delivered(void *arg, enum fed_verdict verdict)
{
    struct delivery *delivery = arg;
    struct combiner *combiner = delivery->combiner;
    char round_id[FED_ROUND_ID_SIZE];
    const uint64_t plan_seq = delivery->plan_seq;

    memcpy(round_id, delivery->round_id, sizeof(round_id));
    delivery_free(delivery);
    collector_partial_answered(combiner->collector, round_id, plan_seq, verdict, now_ms(combiner));
    combiner_act(combiner);
    combiner_settled(combiner);
}

static void delivery_gone(void *arg)
{
    struct delivery *delivery = arg;
    struct combiner *combiner = delivery->combiner;

    delivery_free(delivery);
    combiner_settled(combiner);
}

static void cancel_delivery(struct delivery *delivery)
{
    struct handover *handover = delivery->handover;

    if (handover != NULL) {
        delivery->handover = NULL;
        handover_cancel(handover, delivery_gone, delivery);
    }
}

void combiner_cancel_deliveries(struct combiner *combiner)
{
    fed_list_for_each (link, &combiner->deliveries) {
        cancel_delivery(FED_CONTAINER_OF(link, struct delivery, link));
    }
}

static void cancel_round(struct combiner *combiner, const char *round_id)
{
    fed_list_for_each (link, &combiner->deliveries) {
        struct delivery *delivery = FED_CONTAINER_OF(link, struct delivery, link);
        if (strcmp(delivery->round_id, round_id) == 0) {
            cancel_delivery(delivery);
        }
    }
}

/* Send the file at `path`, or what is mapped already. Not begun: the reducer says Close again, or
 * goes on without us. */
static int deliver(struct combiner *combiner,
                   const char *round_id,
                   uint64_t plan_seq,
                   const char *path,
                   struct fed_map *map)
{
    struct delivery *delivery = calloc(1, sizeof(*delivery));
    struct handover_config config = {
        .loop = combiner->loop,
        .workers = combiner->workers,
        .channel = combiner->bulk,
        .path = path,
        .map = map,
        .combiner_id = spool_get_id(combiner->spool),
        .round_id = round_id,
        .plan_seq = plan_seq,
        .seed = combiner->seed,
    };
    struct fed_err err = {0};

    ledger_get_times(combiner->ledger, round_id, &config.load_us, &config.sum_us);
    cancel_round(combiner, round_id); /* of an older plan */
    if (delivery == NULL) {
        return -FED_E_NOMEM;
    }
    delivery->combiner = combiner;
    delivery->plan_seq = plan_seq;
    memcpy(delivery->round_id, round_id, strlen(round_id) + 1);
    if (handover_start(&config, delivered, delivery, &delivery->handover, &err) < 0) {
        fed_log(FED_LOG_ERROR, "round", "partial_not_sent", "round=%s error=\"%s\"", round_id,
                err.msg);
        free(delivery);
        return -FED_E_NOMEM;
    }
    fed_list_add(&combiner->deliveries, &delivery->link);
    return 0;
}

static struct delivery *
find_delivery(const struct combiner *combiner, const char *round_id, uint64_t plan_seq)
{
    fed_list_for_each (link, &combiner->deliveries) {
        struct delivery *delivery = FED_CONTAINER_OF(link, struct delivery, link);
        if (delivery->handover != NULL && delivery->plan_seq == plan_seq &&
            strcmp(delivery->round_id, round_id) == 0) {
            return delivery;
        }
    }
    return NULL;
}

/* Send it while it is written and hashed. */
static void
growing(void *arg, const char *round_id, uint64_t plan_seq, struct fed_map *map, uint64_t size)
{
    struct combiner *combiner = arg;
    const struct delivery *delivery;

    if (map != NULL && (combiner->phase >= COMBINER_CLOSING ||
                        deliver(combiner, round_id, plan_seq, NULL, map) < 0)) {
        fed_map_close(map);
    }
    delivery = find_delivery(combiner, round_id, plan_seq);
    if (delivery != NULL) {
        handover_extend(delivery->handover, size);
    }
}

/* The round stays unsealed, and the reducer's close timeout goes on without us. */
static void unsealed(void *arg, const char *round_id, uint64_t plan_seq)
{
    struct delivery *delivery = find_delivery(arg, round_id, plan_seq);

    if (delivery != NULL) {
        cancel_delivery(delivery);
    }
}

static void put_partial(struct combiner *combiner, const struct collector_action *action)
{
    const struct delivery *delivery = find_delivery(combiner, action->round_id, action->plan_seq);
    char path[FED_PATH_SIZE];

    if (delivery != NULL && handover_release(delivery->handover)) {
        return;
    }
    if (spool_path_round(combiner->spool, action->round_id, "partial", path, NULL) == 0) {
        (void)deliver(combiner, action->round_id, action->plan_seq, path, NULL);
    }
}

/* -- updates ----------------------------------------------------------------------------------- */

static void check(struct combiner *combiner, const struct collector_action *action)
{
    const struct fed_plan *plan = collector_get_plan(combiner->collector, action->round_id);
    struct model *base = plan == NULL ? NULL : models_find(combiner->models, plan->base_model_id);
    const struct checks_claim claim = {
        .token = action->token,
        .update_id = action->id,
        .plan = plan,
        .examples = action->examples,
        .base = base,
    };

    if (base == NULL) {
        collector_checked(combiner->collector, action->token, FED_REFUSAL_MAX,
                          "the base is not here", now_ms(combiner));
    } else {
        checks_claim(combiner->checks, &claim);
    }
}

static void judged(void *arg, uint64_t token, enum fed_refusal reason, const char *detail)
{
    struct combiner *combiner = arg;

    collector_checked(combiner->collector, token, reason, detail, now_ms(combiner));
    combiner_act(combiner);
}

static void log_update(struct combiner *combiner, const struct collector_action *action)
{
    const struct spool_upload *upload = checks_find(combiner->checks, action->token);
    struct ledger_admission admission = {
        .token = action->token,
        .round_id = action->round_id,
        .upload = upload,
        .entry.examples = action->examples,
    };

    assert(upload != NULL); /* it has been judged */
    fed_id_copy(admission.entry.client_id, action->client_id);
    fed_id_copy(admission.entry.update_id, action->id);
    ledger_log(combiner->ledger, &admission);
}

static void logged(void *arg, uint64_t token, bool is_ok)
{
    struct combiner *combiner = arg;

    checks_end(combiner->checks, token, !is_ok);
    collector_logged(combiner->collector, token, is_ok, now_ms(combiner));
    combiner_act(combiner);
}

static void folded(void *arg, const char *round_id, uint64_t plan_seq, const char *client_id)
{
    struct combiner *combiner = arg;

    collector_folded(combiner->collector, round_id, plan_seq, client_id, now_ms(combiner));
    combiner_act(combiner);
}

static void lost(void *arg, const char *round_id, const struct fed_entry *entries, size_t n_entries)
{
    struct combiner *combiner = arg;

    fed_log(FED_LOG_WARNING, "round", "checkpoint_lost", "round=%s updates=%zu", round_id,
            n_entries);
    collector_lost(combiner->collector, round_id, entries, n_entries, now_ms(combiner));
    combiner_act(combiner);
}

static void sealed(void *arg, const char *round_id, uint64_t plan_seq)
{
    struct combiner *combiner = arg;

    fed_log(FED_LOG_INFO, "round", "sealed", "round=%s plan_seq=%llu", round_id,
            (unsigned long long)plan_seq);
    collector_sealed(combiner->collector, round_id, plan_seq, now_ms(combiner));
    combiner_act(combiner);
}

static void uploaded(void *arg, struct staged *staged)
{
    struct combiner *combiner = arg;
    struct model *base = models_find(combiner->models, combiner->open_base);

    if (base != NULL) {
        checks_begin(combiner->checks, staged, base);
    }
}

static void dropped(void *arg)
{
    struct combiner *combiner = arg;

    checks_sweep(combiner->checks);
}

/* -- rounds ------------------------------------------------------------------------------------ */

static void reset_sum(struct combiner *combiner, const struct collector_action *action)
{
    const struct fed_plan *plan = collector_get_plan(combiner->collector, action->round_id);
    struct model *base = plan == NULL ? NULL : models_find(combiner->models, plan->base_model_id);

    if (base != NULL) {
        fed_id_copy(combiner->open_base, plan->base_model_id);
        ledger_reset(combiner->ledger, plan, base);
    }
}

static void seal(struct combiner *combiner, const struct collector_action *action)
{
    const struct fed_plan *plan = collector_get_plan(combiner->collector, action->round_id);
    size_t n_entries = 0;
    const struct fed_entry *entries =
        collector_get_admitted(combiner->collector, action->round_id, &n_entries);

    if (plan != NULL && plan->plan_seq == action->plan_seq) {
        ledger_seal(combiner->ledger, plan, entries, n_entries);
    }
}

static void store_plan(struct combiner *combiner, const struct collector_action *action)
{
    const struct fed_plan *plan = collector_get_plan(combiner->collector, action->round_id);

    if (plan != NULL) {
        fed_log(FED_LOG_INFO, "round", "planned",
                "round=%s session=%s plan_seq=%llu clients=%zu base=%s", plan->round_id,
                plan->session_id, (unsigned long long)plan->plan_seq, plan->n_clients,
                plan->base_model_id);
        ledger_store_plan(combiner->ledger, plan);
    }
}

static void drop_round(struct combiner *combiner, const struct collector_action *action)
{
    fed_log(FED_LOG_INFO, "round", "done", "round=%s", action->round_id);
    cancel_round(combiner, action->round_id);
    ledger_drop(combiner->ledger, action->round_id);
}

/* -- models ------------------------------------------------------------------------------------ */

static void model_coming(void *arg, const char *model_id)
{
    struct combiner *combiner = arg;

    collector_model_coming(combiner->collector, model_id, now_ms(combiner));
    combiner_act(combiner);
}

static void model_ready(void *arg, const char *model_id)
{
    struct combiner *combiner = arg;

    collector_model_ready(combiner->collector, model_id, now_ms(combiner));
    combiner_act(combiner);
}

static void model_lost(void *arg, const char *model_id)
{
    struct combiner *combiner = arg;

    collector_model_lost(combiner->collector, model_id, now_ms(combiner));
    combiner_act(combiner);
}

static struct feed *find_feed(void *arg, const char *id)
{
    const struct combiner *combiner = arg;

    return models_find_feed(combiner->models, id);
}

/* -- the reducer ------------------------------------------------------------------------------- */

static void send_up(struct combiner *combiner, struct collector_action *action)
{
    if (action->up.type == FED_UP_REFUSED) {
        const struct fed_refused *refused = &action->up.refused;
        fed_log(FED_LOG_INFO, "update", "refused",
                "round=%s client=%s update=%s reason=%s own=%d detail=\"%s\"", action->up.round_id,
                refused->client_id, refused->update_id, fed_refusal_word(refused->reason),
                (int)refused->is_own_connection, refused->detail);
    }
    if (combiner->link != NULL) {
        reducer_link_send(combiner->link, &action->up);
    }
    fed_up_deinit(&action->up);
}

static void link_up(void *arg)
{
    struct combiner *combiner = arg;

    collector_link_up(combiner->collector, now_ms(combiner));
    combiner_act(combiner);
}

static void link_down(void *arg)
{
    struct combiner *combiner = arg;

    combiner_cancel_deliveries(combiner);
    collector_link_down(combiner->collector, now_ms(combiner));
    combiner_act(combiner);
}

static void link_message(void *arg, const struct fed_down *down)
{
    struct combiner *combiner = arg;

    if (down->type == FED_DOWN_WELCOME) {
        combiner_note_welcome(combiner);
    }
    collector_down(combiner->collector, down, now_ms(combiner));
    combiner_act(combiner);
}

void combiner_on_unsent(void *arg)
{
    struct combiner *combiner = arg;

    if (combiner->link != NULL) {
        reducer_link_pump(combiner->link);
    }
}

/* -- all of them ------------------------------------------------------------------------------- */

static void act(struct combiner *combiner, struct collector_action *action)
{
    switch (action->type) {
    case COLLECTOR_SEND_UP:
        send_up(combiner, action);
        break;
    case COLLECTOR_SEND_TASK:
        front_send_task(combiner->front, action->stream, &action->task);
        break;
    case COLLECTOR_END_STREAM:
        front_end_stream(combiner->front, action->stream);
        break;
    case COLLECTOR_FETCH_MODEL:
        models_want(combiner->models, action->id, action->xxh128, action->size_bytes);
        break;
    case COLLECTOR_DROP_MODEL:
        models_drop(combiner->models, action->id);
        break;
    case COLLECTOR_STORE_PLAN:
        store_plan(combiner, action);
        break;
    case COLLECTOR_CHECK:
        check(combiner, action);
        break;
    case COLLECTOR_LOG:
        log_update(combiner, action);
        break;
    case COLLECTOR_ANSWER:
        front_answer(combiner->front, action->token, action->is_ok);
        break;
    case COLLECTOR_DROP_UPDATE:
        checks_end(combiner->checks, action->token, false);
        break;
    case COLLECTOR_RESET_SUM:
        reset_sum(combiner, action);
        break;
    case COLLECTOR_FOLD:
        ledger_fold(combiner->ledger, action->round_id, action->plan_seq, action->client_id);
        break;
    case COLLECTOR_SEAL:
        seal(combiner, action);
        break;
    case COLLECTOR_PUT_PARTIAL:
        put_partial(combiner, action);
        break;
    case COLLECTOR_DROP_ROUND:
        drop_round(combiner, action);
        break;
    case COLLECTOR_ACTION_MAX:
        break;
    }
}

void combiner_act(void *arg)
{
    struct combiner *combiner = arg;
    struct collector_action action;
    uint64_t due_ms;

    if (combiner->is_acting) {
        return; /* the loop below goes on */
    }
    combiner->is_acting = true;
    while (collector_take_action(combiner->collector, &action)) {
        act(combiner, &action);
    }
    combiner->is_acting = false;
    due_ms = collector_due_ms(combiner->collector);
    if (due_ms == UINT64_MAX || combiner->phase > COMBINER_DRAINING) {
        fed_timer_stop(&combiner->tick);
    } else {
        fed_timer_start(combiner->loop, &combiner->tick, due_ms);
    }
}

const struct front_ops combiner_front_ops = {combiner_act, find_feed, uploaded, dropped,
                                             combiner_settled};
const struct models_ops combiner_models_ops = {model_coming, model_ready, model_lost,
                                               combiner_settled};
const struct ledger_ops combiner_ledger_ops = {logged,   folded, growing,         sealed,
                                               unsealed, lost,   combiner_settled};
const struct checks_ops combiner_checks_ops = {judged, combiner_settled};
const struct reducer_link_ops combiner_link_ops = {link_up, link_down, link_message};
