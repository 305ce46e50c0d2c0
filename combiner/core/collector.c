#include "combiner/core/collector.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/core/collector_inside.h"

int collector_new(const struct collector_config *config,
                  struct collector **ret_collector,
                  struct fed_err *err)
{
    struct collector *collector = calloc(1, sizeof(*collector));

    if (collector == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "collector");
    }
    collector->config = *config;
    fed_strmap_init(&collector->clients);
    fed_strmap_init(&collector->streams);
    fed_strmap_init(&collector->names);
    fed_strmap_init(&collector->untold);
    fed_strmap_init(&collector->standings);
    fed_strmap_init(&collector->pending_tokens);
    fed_list_init(&collector->attached);
    fed_list_init(&collector->pending);
    *ret_collector = collector;
    return 0;
}

struct collector *collector_free(struct collector *collector)
{
    struct collector_action action;

    if (collector == NULL) {
        return NULL;
    }
    while (collector_take_action(collector, &action)) {
        fed_up_deinit(&action.up);
    }
    free(collector->queue.items);
    admission_free(collector);
    tasks_free(collector);
    rounds_free(collector);
    clients_free(collector);
    free(collector);
    return NULL;
}

void collector_format_key(uint64_t number, char ret_key[COLLECTOR_KEY_SIZE])
{
    (void)snprintf(ret_key, COLLECTOR_KEY_SIZE, "%" PRIx64, number);
}

/* -- actions ---------------------------------------------------------------------------------- */

static bool grow_queue(struct collector *collector)
{
    const size_t capacity = collector->queue.capacity == 0 ? 16 : collector->queue.capacity * 2;
    struct collector_action *items = calloc(capacity, sizeof(*items));

    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < collector->queue.n_items; i++) {
        items[i] = collector->queue.items[(collector->queue.first + i) % collector->queue.capacity];
    }
    free(collector->queue.items);
    collector->queue.items = items;
    collector->queue.capacity = capacity;
    collector->queue.first = 0;
    return true;
}

struct collector_action *collector_push(struct collector *collector,
                                        enum collector_action_type type)
{
    struct collector_action *action;

    assert(type < COLLECTOR_ACTION_MAX);
    if (collector->queue.n_items == collector->queue.capacity && !grow_queue(collector)) {
        return NULL;
    }
    action = &collector->queue.items[(collector->queue.first + collector->queue.n_items) %
                                     collector->queue.capacity];
    collector->queue.n_items++;
    *action = (struct collector_action){.type = type};
    return action;
}

struct collector_action *collector_push_round(struct collector *collector,
                                              enum collector_action_type type,
                                              const struct collector_round *round)
{
    struct collector_action *action = collector_push(collector, type);

    if (action != NULL) {
        memcpy(action->round_id, round->plan.round_id, sizeof(action->round_id));
        action->plan_seq = round->plan.plan_seq;
    }
    return action;
}

struct fed_up *collector_push_up(struct collector *collector, enum fed_up_type type)
{
    struct collector_action *action =
        collector->is_linked ? collector_push(collector, COLLECTOR_SEND_UP) : NULL;

    if (action == NULL) {
        return NULL;
    }
    action->up.type = type;
    return &action->up;
}

/* The data of a task, from the round or the validation it is of; NULL: that is over. */
static const char *find_task_data(const struct collector *collector,
                                  const struct collector_task *task)
{
    if (task->type == COLLECTOR_TRAIN) {
        const struct collector_round *round = rounds_find(collector, task->round_id);
        return round == NULL ? NULL : round->plan.task_data;
    }
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        const struct fed_validate *validate = &collector->validations[i].validate;
        if (validate->model_id[0] != '\0' && strcmp(validate->model_id, task->model_id) == 0) {
            return validate->task_data;
        }
    }
    return NULL;
}

bool collector_take_action(struct collector *collector, struct collector_action *ret_action)
{
    while (collector->queue.n_items > 0) {
        *ret_action = collector->queue.items[collector->queue.first];
        collector->queue.first = (collector->queue.first + 1) % collector->queue.capacity;
        collector->queue.n_items--;
        if (ret_action->type != COLLECTOR_SEND_TASK) {
            return true;
        }
        ret_action->task.data = find_task_data(collector, &ret_action->task);
        if (ret_action->task.data != NULL) {
            return true;
        }
    }
    return false;
}

/* -- time ------------------------------------------------------------------------------------- */

void collector_tick(struct collector *collector, uint64_t now_ms)
{
    clients_tick(collector, now_ms); /* first: whose client has fallen silent is not foreign */
    admission_tick(collector, now_ms);
    tasks_tick(collector, now_ms);
}

uint64_t collector_due_ms(const struct collector *collector)
{
    const uint64_t clients_ms = clients_due_ms(collector);
    const uint64_t admission_ms = admission_due_ms(collector);
    const uint64_t tasks_ms = tasks_due_ms(collector);
    const uint64_t due_ms = clients_ms < admission_ms ? clients_ms : admission_ms;

    return due_ms < tasks_ms ? due_ms : tasks_ms;
}

/* -- the reducer ------------------------------------------------------------------------------ */

static int compare_states(const void *a, const void *b)
{
    return strcmp(((const struct fed_client_state *)a)->client_id,
                  ((const struct fed_client_state *)b)->client_id);
}

/* Who is away and not to be known for it yet is listed as attached, whether its stream is here or
 * not. */
static bool hello_clients(const struct collector *collector, struct fed_hello *hello)
{
    const size_t n_max = collector->clients.n_items + collector->untold.n_items;
    const struct fed_client_state *state;
    size_t cursor = 0;

    hello->clients = calloc(n_max + 1, sizeof(*hello->clients));
    while (hello->clients != NULL && (state = collector_next_client(collector, &cursor)) != NULL) {
        if (fed_strmap_find(&collector->untold, state->client_id) == NULL) {
            hello->clients[hello->n_clients++] = *state;
        }
    }
    cursor = 0;
    while (hello->clients != NULL &&
           (state = fed_strmap_next(&collector->untold, &cursor, NULL)) != NULL) {
        hello->clients[hello->n_clients] = *state;
        hello->clients[hello->n_clients++].phase = FED_CLIENT_ATTACHED;
    }
    if (hello->clients != NULL && hello->n_clients > 1) {
        qsort(hello->clients, hello->n_clients, sizeof(*hello->clients), compare_states);
    }
    return hello->clients != NULL;
}

/* Those who are not in the present plan's sum yet are left out: they count again when they are told
 * of, which collector_folded() does. */
static bool hello_round(const struct collector_round *round, struct fed_hello_round *ret_heard)
{
    struct fed_hello_round heard = {.plan_seq = round->plan.plan_seq, .state = round->state};

    memcpy(heard.round_id, round->plan.round_id, sizeof(heard.round_id));
    heard.admitted = calloc(round->n_admitted + 1, sizeof(*heard.admitted));
    heard.refused = calloc(round->n_refused + 1, sizeof(*heard.refused));
    *ret_heard = heard;
    if (heard.admitted == NULL || heard.refused == NULL) {
        return false;
    }
    for (size_t i = 0; i < round->n_admitted; i++) {
        if (!round->marks[i].is_untold) {
            heard.admitted[ret_heard->n_admitted++] = round->entries[i];
        }
    }
    if (round->n_refused > 0) {
        memcpy(heard.refused, round->refused, round->n_refused * sizeof(*heard.refused));
    }
    ret_heard->n_refused = round->n_refused;
    return true;
}

static bool fill_hello(const struct collector *collector, struct fed_hello *hello)
{
    hello->protocol = FED_LINK_PROTOCOL;
    hello->clients_max = collector->config.clients_max;
    fed_id_copy(hello->combiner_id, collector->config.combiner_id);
    fed_id_copy(hello->boot_id, collector->config.boot_id);
    memcpy(hello->name, collector->config.name, sizeof(hello->name));
    memcpy(hello->advertise, collector->config.advertise, sizeof(hello->advertise));
    memcpy(hello->version, collector->config.version, sizeof(hello->version));
    if (!hello_clients(collector, hello)) {
        return false;
    }
    hello->rounds = calloc(COLLECTOR_ROUNDS_MAX, sizeof(*hello->rounds));
    if (hello->rounds == NULL) {
        return false;
    }
    hello->n_rounds = collector->n_rounds;
    for (size_t i = 0; i < collector->n_rounds; i++) {
        if (!hello_round(collector->rounds[i], &hello->rounds[i])) {
            return false;
        }
    }
    return true;
}

void collector_say_hello(struct collector *collector)
{
    struct fed_up *up = collector_push_up(collector, FED_UP_HELLO);

    if (up != NULL && !fill_hello(collector, &up->hello)) {
        /* Out of memory. Half a Hello would tell lies: this one is refused, and the link ends. */
        fed_hello_deinit(&up->hello);
    }
}

void collector_link_up(struct collector *collector, uint64_t now_ms)
{
    (void)now_ms;
    collector->is_linked = true;
    rounds_link_down(collector); /* the former link may have gone unnoticed */
    collector_say_hello(collector);
    tasks_ask_models(collector);
}

void collector_link_down(struct collector *collector, uint64_t now_ms)
{
    (void)now_ms;
    collector->is_linked = false;
    rounds_link_down(collector);
}

void collector_down(struct collector *collector, const struct fed_down *down, uint64_t now_ms)
{
    switch (down->type) {
    case FED_DOWN_WELCOME:
        if (down->welcome.heartbeat_limit_ms > 0) {
            collector->config.heartbeat_limit_ms = down->welcome.heartbeat_limit_ms;
        }
        break;
    case FED_DOWN_PLAN:
        rounds_plan(collector, &down->plan, now_ms);
        break;
    case FED_DOWN_CLOSE:
        rounds_close(collector, down, now_ms);
        break;
    case FED_DOWN_DONE:
        rounds_done(collector, down, now_ms);
        break;
    case FED_DOWN_VALIDATE:
        tasks_validate(collector, &down->validate, now_ms);
        break;
    case FED_DOWN_AHEAD:
        tasks_need_model(collector, down->ahead.model_id, down->ahead.xxh128,
                         down->ahead.size_bytes);
        break;
    case FED_DOWN_REJECT:
    case FED_DOWN_RECORD_ACK:
        break; /* the caller's */
    }
}

/* -- for people ------------------------------------------------------------------------------- */

void collector_format(const struct collector *collector, char *ret_text, size_t text_size)
{
    static const char *const states[] = {
        [FED_LINK_ROUND_PLANNED] = "waits for its base",
        [FED_LINK_ROUND_COLLECTING] = "collecting",
        [FED_LINK_ROUND_SEALING] = "sealing",
        [FED_LINK_ROUND_SEALED] = "sealed",
    };
    const struct collector_round *round;

    if (collector->n_rounds == 0) {
        (void)snprintf(ret_text, text_size, "no round, %zu clients attached",
                       collector_count_attached(collector));
        return;
    }
    round = collector->rounds[collector->n_rounds - 1];
    (void)snprintf(ret_text, text_size, "round %s %s: %zu of %zu admitted, %zu being checked",
                   round->plan.round_id, states[round->state], round->n_admitted,
                   round->plan.n_clients, admission_count(collector, round->plan.round_id));
}
