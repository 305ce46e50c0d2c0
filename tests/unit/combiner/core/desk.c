#include "tests/unit/combiner/core/desk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void say(struct desk *f, const char *fmt, ...) FED_PRINTF(2, 3);
static void say(struct desk *f, const char *fmt, ...)
{
    const size_t used = strlen(f->trace);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(f->trace + used, sizeof(f->trace) - used, fmt, args);
    va_end(args);
}

static const char *const phases[] = {[FED_CLIENT_ATTACHED] = "attached",
                                     [FED_CLIENT_SILENT] = "silent",
                                     [FED_CLIENT_GONE] = "gone"};
static const char *const states[] = {[FED_LINK_ROUND_PLANNED] = "planned",
                                     [FED_LINK_ROUND_COLLECTING] = "collecting",
                                     [FED_LINK_ROUND_SEALING] = "sealing",
                                     [FED_LINK_ROUND_SEALED] = "sealed"};

static void say_hello(struct desk *f, const struct fed_hello *hello)
{
    say(f, "hello %s", hello->combiner_id);
    for (size_t i = 0; i < hello->n_clients; i++) {
        say(f, " %s:%s", hello->clients[i].client_id, phases[hello->clients[i].phase]);
    }
    for (size_t i = 0; i < hello->n_rounds; i++) {
        const struct fed_hello_round *round = &hello->rounds[i];
        say(f, " | round %s/%u %s", round->round_id, (unsigned)round->plan_seq,
            states[round->state]);
        for (size_t j = 0; j < round->n_admitted; j++) {
            say(f, " +%s:%s", round->admitted[j].client_id, round->admitted[j].update_id);
        }
        for (size_t j = 0; j < round->n_refused; j++) {
            say(f, " -%s:%s", round->refused[j].client_id,
                fed_refusal_word(round->refused[j].reason));
        }
    }
}

static void say_up(struct desk *f, const struct fed_up *up)
{
    switch (up->type) {
    case FED_UP_HELLO:
        say_hello(f, &up->hello);
        break;
    case FED_UP_CLIENT_STATE:
        say(f, "%s is %s", up->client_state.client_id, phases[up->client_state.phase]);
        break;
    case FED_UP_ADMITTED:
        say(f, "admitted %s/%u %s %s %u", up->round_id, (unsigned)up->plan_seq,
            up->admitted.client_id, up->admitted.update_id, (unsigned)up->admitted.examples);
        break;
    case FED_UP_REFUSED:
        say(f, "refused %s %s %s %s%s", up->round_id, up->refused.client_id, up->refused.update_id,
            fed_refusal_word(up->refused.reason),
            up->refused.is_own_connection ? "" : " (foreign)");
        break;
    case FED_UP_RECORD:
        say(f, "record");
        break;
    }
}

static void say_action(struct desk *f, const struct collector_action *a)
{
    const unsigned token = (unsigned)a->token;
    const unsigned seq = (unsigned)a->plan_seq;

    switch (a->type) {
    case COLLECTOR_SEND_UP:
        say(f, "up ");
        say_up(f, &a->up);
        break;
    case COLLECTOR_SEND_TASK:
        say(f, "%s %s on s%u: round %s from %s, %s",
            a->task.type == COLLECTOR_TRAIN ? "train" : "validate", a->task.client_id,
            (unsigned)a->stream, a->task.round_id, a->task.model_id, a->task.data);
        break;
    case COLLECTOR_END_STREAM:
        say(f, "end s%u", (unsigned)a->stream);
        break;
    case COLLECTOR_FETCH_MODEL:
        say(f, "fetch %s", a->id);
        break;
    case COLLECTOR_DROP_MODEL:
        say(f, "drop %s", a->id);
        break;
    case COLLECTOR_STORE_PLAN:
        say(f, "store %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_CHECK:
        say(f, "check t%u %s", token, a->id);
        break;
    case COLLECTOR_LOG:
        say(f, "log t%u %s %s %u", token, a->client_id, a->id, (unsigned)a->examples);
        break;
    case COLLECTOR_ANSWER:
        say(f, "answer t%u %s", token, a->is_ok ? "OK" : "UNAVAILABLE");
        break;
    case COLLECTOR_DROP_UPDATE:
        say(f, "drop update t%u", token);
        break;
    case COLLECTOR_RESET_SUM:
        say(f, "reset %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_FOLD:
        say(f, "fold %s/%u %s %s", a->round_id, seq, a->client_id, a->id);
        break;
    case COLLECTOR_SEAL:
        say(f, "seal %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_PUT_PARTIAL:
        say(f, "put %s/%u", a->round_id, seq);
        break;
    case COLLECTOR_DROP_ROUND:
        say(f, "drop round %s", a->round_id);
        break;
    case COLLECTOR_ACTION_MAX:
        fail();
    }
    say(f, "\n");
}

void desk_expect(struct desk *f, const char *trace)
{
    struct collector_action action;

    while (collector_take_action(f->collector, &action)) {
        say_action(f, &action);
        fed_up_deinit(&action.up);
    }
    assert_string_equal(f->trace, trace);
    f->trace[0] = '\0';
}

/* -- steps ------------------------------------------------------------------------------------ */

void desk_attach(struct desk *f, const char *client_id, uint64_t stream, uint64_t connection)
{
    struct collector_attach attach = {.stream = stream, .connection = connection};

    (void)snprintf(attach.client_id, sizeof(attach.client_id), "%s", client_id);
    (void)snprintf(attach.name, sizeof(attach.name), "%s's", client_id);
    collector_attach(f->collector, &attach, f->now_ms);
}

void desk_beat(struct desk *f, const char *client_id, uint64_t connection)
{
    collector_heartbeat(f->collector, client_id, connection, f->now_ms);
}

void desk_tick(struct desk *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    collector_tick(f->collector, now_ms);
}

struct fed_plan
desk_make_plan(const char *round_id, uint64_t plan_seq, const char *base, const char *clients)
{
    struct fed_plan plan = {
        .round_number = 1, .plan_seq = plan_seq, .examples_max = 1000, .time_left_ms = 60000};
    char ids[256];
    char *rest = ids;

    (void)snprintf(ids, sizeof(ids), "%s", clients);
    (void)snprintf(plan.session_id, sizeof(plan.session_id), "s");
    (void)snprintf(plan.round_id, sizeof(plan.round_id), "%s", round_id);
    (void)snprintf(plan.base_model_id, sizeof(plan.base_model_id), "%s", base);
    plan.task_data = strdup("data");
    plan.client_ids = calloc(16, FED_ID_SIZE);
    assert_non_null(plan.client_ids);
    for (char *id = strtok_r(ids, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        fed_id_copy(plan.client_ids[plan.n_clients++], id);
    }
    return plan;
}

void desk_plan(struct desk *f,
               const char *round_id,
               uint64_t seq,
               const char *base,
               const char *clients)
{
    struct fed_down down = {.type = FED_DOWN_PLAN,
                            .plan = desk_make_plan(round_id, seq, base, clients)};

    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
}

void desk_validate(struct desk *f, const char *model, const char *client_id)
{
    struct fed_down down = {.type = FED_DOWN_VALIDATE};

    (void)snprintf(down.validate.session_id, FED_ID_SIZE, "s");
    (void)snprintf(down.validate.round_id, FED_ROUND_ID_SIZE, "7");
    (void)snprintf(down.validate.model_id, FED_ID_SIZE, "%s", model);
    down.validate.task_data = strdup("vdata");
    down.validate.client_ids = calloc(1, FED_ID_SIZE);
    assert_non_null(down.validate.client_ids);
    fed_id_copy(down.validate.client_ids[0], client_id);
    down.validate.n_clients = 1;
    down.validate.time_left_ms = 60000;
    collector_down(f->collector, &down, f->now_ms);
    fed_down_deinit(&down);
}

void desk_close_round(struct desk *f, const char *round_id, uint64_t seq)
{
    struct fed_down down = {.type = FED_DOWN_CLOSE};

    (void)snprintf(down.close.round_id, FED_ROUND_ID_SIZE, "%s", round_id);
    down.close.plan_seq = seq;
    collector_down(f->collector, &down, f->now_ms);
}

void desk_ahead(struct desk *f, const char *model)
{
    struct fed_down down = {.type = FED_DOWN_AHEAD, .ahead.size_bytes = 8};

    fed_id_copy(down.ahead.model_id, model);
    collector_down(f->collector, &down, f->now_ms);
}

void desk_done(struct desk *f, const char *round_id, enum fed_round_outcome outcome)
{
    struct fed_down down = {.type = FED_DOWN_DONE};

    (void)snprintf(down.done.round_id, FED_ROUND_ID_SIZE, "%s", round_id);
    down.done.outcome = outcome;
    collector_down(f->collector, &down, f->now_ms);
}

struct collector_announcement
desk_make_update(uint64_t token, uint64_t connection, const char *client_id, const char *update_id)
{
    struct collector_announcement update = {
        .token = token, .connection = connection, .examples = 100};

    (void)snprintf(update.client_id, FED_ID_SIZE, "%s", client_id);
    (void)snprintf(update.update_id, FED_ID_SIZE, "%s", update_id);
    (void)snprintf(update.model_id, FED_ID_SIZE, "m1");
    (void)snprintf(update.session_id, FED_ID_SIZE, "s");
    (void)snprintf(update.round_id, FED_ROUND_ID_SIZE, "7");
    return update;
}

void desk_announce(struct desk *f,
                   uint64_t token,
                   uint64_t connection,
                   const char *client_id,
                   const char *update_id)
{
    const struct collector_announcement update =
        desk_make_update(token, connection, client_id, update_id);

    collector_announce(f->collector, &update, f->now_ms);
}

void desk_checked(struct desk *f, uint64_t token, enum fed_refusal reason)
{
    collector_checked(f->collector, token, reason, "", f->now_ms);
}

void desk_logged(struct desk *f, uint64_t token)
{
    collector_logged(f->collector, token, true, f->now_ms);
}

void desk_folded(struct desk *f, const char *round_id, uint64_t seq, const char *client_id)
{
    collector_folded(f->collector, round_id, seq, client_id, f->now_ms);
}

void desk_pass_over(struct desk *f)
{
    struct collector_action action;

    while (collector_take_action(f->collector, &action)) {
        fed_up_deinit(&action.up);
    }
    f->trace[0] = '\0';
}

void desk_admit(struct desk *f, uint64_t token, const char *client_id, const char *update_id)
{
    desk_announce(f, token, token, client_id, update_id);
    desk_checked(f, token, FED_REFUSAL_NONE);
    desk_logged(f, token);
    desk_folded(f, "7", 1, client_id);
    desk_pass_over(f);
}

void desk_open_round(struct desk *f)
{
    collector_link_up(f->collector, f->now_ms);
    desk_attach(f, "ann", 11, 1);
    desk_attach(f, "bob", 12, 2);
    desk_plan(f, "7", 1, "m1", "ann bob");
    collector_model_ready(f->collector, "m1", f->now_ms);
    desk_pass_over(f);
}

void desk_make(struct desk *f, bool is_binding, uint32_t clients_max)
{
    const struct collector_config config = {.combiner_id = "c1",
                                            .boot_id = "b1",
                                            .clients_max = clients_max,
                                            .heartbeat_limit_ms = DESK_LIMIT_MS,
                                            .is_binding = is_binding};

    f->collector = collector_free(f->collector);
    assert_int_equal(collector_new(&config, &f->collector, NULL), 0);
}

int desk_set_up(void **state)
{
    static struct desk f;

    f = (struct desk){.now_ms = 1000};
    desk_make(&f, true, 3);
    *state = &f;
    return 0;
}

int desk_tear_down(void **state)
{
    struct desk *f = *state;

    f->collector = collector_free(f->collector);
    return 0;
}
