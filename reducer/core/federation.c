#include "reducer/core/federation.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/core/federation_inside.h"

/* Places of the queue that messages leave to what must not be lost: between two turns of the caller
 * there are far fewer storage actions, sums and answers than that. */
#define QUEUE_RESERVE 16U

static const char *const state_names[FEDERATION_STATE_MAX] = {
    [FEDERATION_IDLE] = "idle",           [FEDERATION_STARTING] = "starting",
    [FEDERATION_PLANNING] = "planning",   [FEDERATION_JOURNALING] = "journaling",
    [FEDERATION_COLLECTING] = "open",     [FEDERATION_CLOSING] = "closing",
    [FEDERATION_FINISHING] = "finishing", [FEDERATION_COMMITTING] = "committing",
    [FEDERATION_RECORDING] = "recording", [FEDERATION_DERIVING] = "deriving",
    [FEDERATION_ENDING] = "ending",
};

const char *federation_state_name(enum federation_state state)
{
    return state_names[state];
}

void federation_base_deinit(struct federation_base *base)
{
    free(base->exponents);
    *base = (struct federation_base){0};
}

void federation_session_deinit(struct federation_session *session)
{
    free(session->client_ids);
    *session = (struct federation_session){0};
}

static bool grow_queue(struct federation *fed)
{
    const size_t former = fed->queue.capacity;
    const size_t capacity = former == 0 ? 2 * (size_t)QUEUE_RESERVE : former * 2;
    struct federation_action *items = calloc(capacity, sizeof(*items));

    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < fed->queue.n_items && former > 0; i++) {
        items[i] = fed->queue.items[(fed->queue.first + i) % former];
    }
    free(fed->queue.items);
    fed->queue.items = items;
    fed->queue.capacity = capacity;
    fed->queue.first = 0;
    return true;
}

int federation_new(const struct federation_config *config,
                   uint64_t next_round_id,
                   uint64_t now_ms,
                   struct federation **ret_federation,
                   struct fed_err *err)
{
    struct federation *fed = calloc(1, sizeof(*fed));

    if (fed == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "federation");
    }
    if (!grow_queue(fed)) {
        free(fed);
        return fed_err_set(err, FED_E_NOMEM, "federation");
    }
    fed->config = *config;
    fed->next_round_id = next_round_id;
    fed->due_ms = UINT64_MAX;
    fed->change = 1;
    roster_init(&fed->roster);
    fed_strmap_init(&fed->validated);
    fed->expected.until_ms = now_ms;
    *ret_federation = fed;
    return 0;
}

struct federation *federation_free(struct federation *fed)
{
    struct federation_action action;

    if (fed == NULL) {
        return NULL;
    }
    while (federation_take_action(fed, &action)) {
        fed_down_deinit(&action.down);
    }
    free(fed->queue.items);
    roster_deinit(&fed->roster);
    fed_strmap_deinit(&fed->validated);
    federation_session_deinit(&fed->session);
    federation_session_deinit(&fed->next_start.session);
    federation_base_deinit(&fed->base);
    (void)round_free(fed->round);
    free(fed->expected.client_ids);
    free(fed);
    return NULL;
}

struct federation_action *federation_push(struct federation *fed, enum federation_action_type type)
{
    struct federation_action *action;

    if (fed->queue.n_items + QUEUE_RESERVE >= fed->queue.capacity && !grow_queue(fed) &&
        (type == FEDERATION_SEND || fed->queue.n_items == fed->queue.capacity)) {
        return NULL;
    }
    action = &fed->queue.items[(fed->queue.first + fed->queue.n_items) % fed->queue.capacity];
    fed->queue.n_items++;
    *action = (struct federation_action){.type = type};
    return action;
}

bool federation_take_action(struct federation *fed, struct federation_action *ret_action)
{
    if (fed->queue.n_items == 0) {
        return false;
    }
    *ret_action = fed->queue.items[fed->queue.first];
    fed->queue.first = (fed->queue.first + 1) % fed->queue.capacity;
    fed->queue.n_items--;
    return true;
}

void federation_answer(struct federation *fed, uint64_t token, int status, const char *text)
{
    struct federation_action *action = federation_push(fed, FEDERATION_ANSWER);

    if (action != NULL) {
        action->token = token;
        action->status = status;
        (void)snprintf(action->text, sizeof(action->text), "%s", text);
    }
}

void federation_move(struct federation *fed, enum federation_state state)
{
    fed->state = state;
    fed->change++;
}

void federation_want(struct federation *fed, uint64_t due_ms)
{
    fed->due_ms = due_ms < fed->due_ms ? due_ms : fed->due_ms;
}

uint64_t federation_due_ms(const struct federation *fed)
{
    return fed->due_ms;
}

/* Something has changed, or a time has come: look at what may follow from it. */
static void look(struct federation *fed, uint64_t now_ms)
{
    fed->due_ms = UINT64_MAX;
    if (fed->state == FEDERATION_PLANNING) {
        planning_look(fed, now_ms);
    }
    closing_look(fed, now_ms);
}

void federation_tick(struct federation *fed, uint64_t now_ms)
{
    if (now_ms >= fed->due_ms) {
        look(fed, now_ms);
    }
}

/* -- sessions -------------------------------------------------------------------------------- */

static void load_base(struct federation *fed)
{
    struct federation_action *action = federation_push(fed, FEDERATION_LOAD_BASE);

    federation_base_deinit(&fed->base);
    if (action != NULL) {
        (void)snprintf(action->text, sizeof(action->text), "%s", fed->session.base_model_id);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sort_clients(struct federation_session *session)
{
    if (session->n_client_ids > 1) {
        qsort(session->client_ids, session->n_client_ids, FED_ID_SIZE, compare_ids);
    }
}

static void take_session(struct federation *fed, struct federation_session *session)
{
    federation_session_deinit(&fed->session);
    fed->session = *session;
    *session = (struct federation_session){0};
    sort_clients(&fed->session);
    fed->has_session = true;
    fed->is_terminated = false;
    fed->validation = (struct federation_validation){0};
}

void federation_start(struct federation *fed,
                      struct federation_session *session,
                      uint64_t token,
                      uint64_t now_ms)
{
    char text[128];

    (void)now_ms;
    if (fed->state == FEDERATION_ENDING && !fed->next_start.is_wanted) {
        fed->next_start.is_wanted = true; /* the last one's row may already say Finished */
        fed->next_start.session = *session;
        fed->next_start.token = token;
        *session = (struct federation_session){0};
        return;
    }
    if (fed->state != FEDERATION_IDLE) {
        federation_answer(fed, token, 400, "A session is already running!");
        federation_session_deinit(session);
        return;
    }
    sort_clients(session);
    if (planning_count_candidates(fed, session) < session->clients_required) {
        (void)snprintf(text, sizeof(text),
                       "Number of available clients is lower than the required minimum of %u",
                       session->clients_required);
        federation_answer(fed, token, 400, text);
        federation_session_deinit(session);
        return;
    }
    take_session(fed, session);
    fed->start_token = token;
    load_base(fed);
    (void)federation_push(fed, FEDERATION_STORE_START);
    federation_move(fed, FEDERATION_STARTING);
}

static int expect_clients(struct federation *fed,
                          const char (*expected)[FED_ID_SIZE],
                          size_t n_expected,
                          struct fed_err *err)
{
    free(fed->expected.client_ids);
    fed->expected.n_clients = 0;
    fed->expected.client_ids = calloc(n_expected + 1, FED_ID_SIZE);
    if (fed->expected.client_ids == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu clients", n_expected);
    }
    for (size_t i = 0; i < n_expected; i++) {
        fed_id_copy(fed->expected.client_ids[i], expected[i]);
    }
    fed->expected.n_clients = n_expected;
    return 0;
}

int federation_resume(struct federation *fed,
                      struct federation_standing *standing,
                      uint64_t now_ms,
                      struct fed_err *err)
{
    const int rc = expect_clients(fed, standing->expected, standing->n_expected, err);
    struct round *round = standing->round;

    assert(fed->state == FEDERATION_IDLE);
    if (rc < 0) {
        return rc;
    }
    take_session(fed, &standing->session);
    fed->is_terminated = standing->is_terminated;
    if (fed->session.base_round_id[0] != '\0' && fed->session.is_validating) {
        fed_id_copy(fed->validation.model_id, fed->session.base_model_id);
        memcpy(fed->validation.round_id, fed->session.base_round_id, FED_ROUND_ID_SIZE);
    }
    planning_expect(fed, now_ms);
    load_base(fed);
    if (round == NULL) {
        planning_begin(fed, now_ms);
        return 0;
    }
    fed->round = round;
    standing->round = NULL;
    fed->is_recorded = false;
    fed->restarted_ms = now_ms;
    for (size_t i = 0; i < round->n_parts; i++) {
        round->parts[i].is_sent = false;
    }
    /* Written again under a higher version: an older reducer on this store fails from now on. */
    (void)federation_push(fed, FEDERATION_RESET_SUM);
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
    federation_move(fed, FEDERATION_JOURNALING);
    return 0;
}

void federation_stop(struct federation *fed,
                     const char *session_id,
                     bool is_now,
                     uint64_t token,
                     uint64_t now_ms)
{
    struct federation_action *action;

    if (fed->state == FEDERATION_IDLE || fed->state == FEDERATION_ENDING ||
        strcmp(fed->session.session_id, session_id) != 0) {
        federation_answer(fed, token, 400, "Session is not running");
        return;
    }
    fed->session.is_stopping = true;
    fed->is_terminated = fed->is_terminated || is_now;
    fed->change++;
    action = federation_push(fed, FEDERATION_STORE_SESSION);
    if (action != NULL) {
        action->token = token;
    }
    if (fed->state == FEDERATION_PLANNING) {
        planning_end_session(fed);
    } else if (is_now && !fed->is_journaling &&
               (fed->state == FEDERATION_COLLECTING || fed->state == FEDERATION_CLOSING ||
                fed->state == FEDERATION_FINISHING)) {
        closing_cancel(fed, now_ms);
    }
}

/* -- combiners ------------------------------------------------------------------------------- */

static void send_welcome(struct federation *fed, uint64_t link)
{
    struct federation_action *action = federation_push(fed, FEDERATION_SEND);

    if (action != NULL) {
        action->link = link;
        action->down.type = FED_DOWN_WELCOME;
        fed_id_copy(action->down.welcome.reducer_boot_id, fed->config.boot_id);
        memcpy(action->down.welcome.version, fed->config.version, FED_LINK_TEXT_SIZE);
        action->down.welcome.heartbeat_limit_ms = fed->config.heartbeat_limit_ms;
    }
}

static void send_reject(struct federation *fed, uint64_t link, const char *reason)
{
    struct federation_action *action = federation_push(fed, FEDERATION_SEND);

    if (action != NULL) {
        action->link = link;
        action->down.type = FED_DOWN_REJECT;
        (void)snprintf(action->down.reject.reason, sizeof(action->down.reject.reason), "%s",
                       reason);
    }
    action = federation_push(fed, FEDERATION_CLOSE_LINK);
    if (action != NULL) {
        action->link = link;
    }
}

static bool is_round_live(const struct federation *fed)
{
    return fed->round != NULL && fed->round->state <= ROUND_CLOSING;
}

/* Is the combiners' round this one that is open here, or not yet recorded as over? */
static bool is_ours(const struct federation *fed, const char *round_id)
{
    return fed->round != NULL && !fed->is_recorded && strcmp(fed->round->round_id, round_id) == 0;
}

/* What the combiner's Hello says of our round; false when it does not have our present plan. */
static bool
hear_round(struct federation *fed, struct round_part *part, const struct fed_hello_round *heard)
{
    for (size_t i = 0; i < heard->n_admitted; i++) {
        round_admitted(fed->round, part, heard->plan_seq, &heard->admitted[i]);
    }
    for (size_t i = 0; i < heard->n_refused; i++) {
        round_refused(fed->round, part, &heard->refused[i]);
    }
    if (heard->plan_seq != part->plan_seq) {
        return false;
    }
    part->is_sent = true;
    if (heard->state >= FED_LINK_ROUND_SEALING) {
        fed->was_closed = true; /* by us, before we were restarted */
    }
    return true;
}

/* Bring a combiner that has just attached up to date about the open round: its plan, also when it
 * has it (a restarted one does not know the time that is left), and that it is to close. */
static void
brief_part(struct federation *fed, struct round_part *part, bool has_plan, uint64_t now_ms)
{
    if (part->state != PART_WAITING || fed->round->state == ROUND_PLANNED) {
        return;
    }
    if (fed->is_journaling) {
        part->is_sent = false; /* once that is written */
    } else if (fed->round->state == ROUND_OPEN || !has_plan) {
        planning_send(fed, part, now_ms);
    }
    if (fed->state == FEDERATION_CLOSING) {
        closing_resume(fed, now_ms);
        closing_send(fed, part);
    }
}

static void brief_combiner(struct federation *fed,
                           const struct fed_hello *hello,
                           uint64_t link,
                           uint64_t now_ms)
{
    struct round_part *part =
        is_round_live(fed) ? round_find_part(fed->round, hello->combiner_id) : NULL;
    bool has_plan = false;

    if (part != NULL && part->state == PART_FENCED && fed->round->state == ROUND_OPEN) {
        round_reopen_part(part);
        planning_journal(fed); /* a new plan_seq is written before it is sent */
    }
    if (part != NULL) {
        round_forget_admitted(fed->round, part);
    }
    for (size_t i = 0; i < hello->n_rounds; i++) {
        if (!is_ours(fed, hello->rounds[i].round_id)) {
            closing_send_done(fed, link, hello->rounds[i].round_id);
        } else if (part != NULL) {
            has_plan = hear_round(fed, part, &hello->rounds[i]);
        }
    }
    if (part != NULL) {
        brief_part(fed, part, has_plan, now_ms);
    }
}

static void
hear_hello(struct federation *fed, uint64_t link, const struct fed_hello *hello, uint64_t now_ms)
{
    const struct roster_combiner *combiner;
    struct fed_err err = {0};
    uint64_t old_link = 0;
    char text[256];

    if (hello->protocol != FED_LINK_PROTOCOL) {
        (void)snprintf(text, sizeof(text), "combiner speaks protocol %u, this reducer %u",
                       hello->protocol, FED_LINK_PROTOCOL);
        send_reject(fed, link, text);
        return;
    }
    if (roster_hello(&fed->roster, hello, link, now_ms, &old_link, &err) < 0 &&
        roster_find_link(&fed->roster, link) == NULL) {
        send_reject(fed, link, err.msg);
        return;
    }
    combiner = roster_find_link(&fed->roster, link);
    if (old_link != 0) {
        struct federation_action *action = federation_push(fed, FEDERATION_CLOSE_LINK);
        if (action != NULL) {
            action->link = old_link;
        }
    }
    send_welcome(fed, link);
    if (combiner->reboot_ms == now_ms) {
        planning_expect(fed, now_ms);
    }
    brief_combiner(fed, hello, link, now_ms);
    if (fed->has_session && fed->session.is_validating) {
        closing_send_validate(fed, combiner);
    }
}

static void hear_refused(struct federation *fed,
                         const struct roster_combiner *combiner,
                         const struct fed_up *up)
{
    if (fed->round != NULL && strcmp(fed->round->round_id, up->round_id) == 0) {
        const struct round_part *part = round_find_part(fed->round, combiner->combiner_id);
        round_refused(fed->round, part, &up->refused);
    }
}

static void hear_admitted(struct federation *fed,
                          const struct roster_combiner *combiner,
                          const struct fed_up *up)
{
    const struct round_part *part;

    if (fed->round == NULL || strcmp(fed->round->round_id, up->round_id) != 0) {
        return;
    }
    part = round_find_part(fed->round, combiner->combiner_id);
    if (part != NULL && up->plan_seq <= part->plan_seq) {
        round_admitted(fed->round, part, up->plan_seq, &up->admitted);
    }
}

void federation_up(struct federation *fed, uint64_t link, const struct fed_up *up, uint64_t now_ms)
{
    struct roster_combiner *combiner = roster_find_link(&fed->roster, link);

    if (up->type == FED_UP_HELLO) {
        hear_hello(fed, link, &up->hello, now_ms);
    } else if (combiner == NULL) {
        send_reject(fed, link, "the first message must be Hello");
    } else if (up->type == FED_UP_CLIENT_STATE) {
        if (roster_client_state(&fed->roster, combiner, &up->client_state, now_ms, NULL) < 0) {
            return; /* beyond the limit: the client is not known here, and not planned */
        }
    } else if (up->type == FED_UP_ADMITTED) {
        hear_admitted(fed, combiner, up);
    } else if (up->type == FED_UP_REFUSED) {
        hear_refused(fed, combiner, up);
    }
    fed->change++;
    look(fed, now_ms);
}

void federation_link_closed(struct federation *fed, uint64_t link, uint64_t now_ms)
{
    if (roster_link_closed(&fed->roster, link, now_ms) != NULL) {
        fed->change++;
        planning_expect(fed, now_ms);
        look(fed, now_ms);
        federation_want(fed, fed->expected.until_ms);
    }
}

enum fed_verdict federation_partial(struct federation *fed,
                                    struct federation_partial *partial,
                                    uint64_t now_ms,
                                    char ret_detail[FED_LINK_DETAIL_SIZE])
{
    enum fed_verdict verdict = FED_VERDICT_OVER;
    struct federation_action *action;

    ret_detail[0] = '\0';
    if (is_ours(fed, partial->round_id)) {
        const struct round_partial arrived = {
            .combiner_id = partial->combiner_id,
            .plan_seq = partial->plan_seq,
            .digest = partial->digest,
            .entries = &partial->entries,
            .n_entries = partial->n_entries,
            .token = partial->token,
            .load_us = partial->load_us,
            .sum_us = partial->sum_us,
        };
        verdict = round_take_partial(fed->round, &arrived, ret_detail);
        if (verdict == FED_VERDICT_OVER) {
            verdict = FED_VERDICT_STALE; /* until its row is written the round may come again */
        }
    }
    action = federation_push(fed, verdict == FED_VERDICT_ACCEPTED ? FEDERATION_ADD_PARTIAL
                                                                  : FEDERATION_DROP_PARTIAL);
    if (action != NULL) {
        action->token = partial->token;
    }
    free(partial->entries);
    partial->entries = NULL;
    fed->change++;
    look(fed, now_ms);
    return verdict;
}

/* -- what was asked for is done --------------------------------------------------------------- */

void federation_base_loaded(struct federation *fed, struct federation_base *base, uint64_t now_ms)
{
    char why[256];

    if (!fed->has_session || strcmp(base->model_id, fed->session.base_model_id) != 0) {
        federation_base_deinit(base);
        return;
    }
    if (is_round_live(fed) &&
        (strcmp(base->model_id, fed->round->base_model_id) != 0 ||
         memcmp(base->sha256, fed->round->base_sha256, sizeof(base->sha256)) != 0)) {
        (void)snprintf(why, sizeof(why), "model %s is not what round %s was planned from",
                       base->model_id, fed->round->round_id);
        federation_base_deinit(base);
        federation_base_failed(fed, why, now_ms);
        return;
    }
    federation_base_deinit(&fed->base);
    fed->base = *base;
    *base = (struct federation_base){0};
    closing_send_validates(fed); /* of a resumed session: who attached before this was read */
    if (fed->state == FEDERATION_COLLECTING || fed->state == FEDERATION_CLOSING) {
        planning_send_again(fed, now_ms);
    }
    look(fed, now_ms);
}

void federation_base_failed(struct federation *fed, const char *reason, uint64_t now_ms)
{
    fed->session.is_stopping = true;
    fed->is_terminated = true;
    if (fed->state == FEDERATION_STARTING) {
        federation_answer(fed, fed->start_token, 400, reason);
        fed->start_token = 0;
    } else if (fed->state == FEDERATION_PLANNING) {
        planning_end_session(fed);
    } else if (fed->state == FEDERATION_CLOSING ||
               (fed->state == FEDERATION_COLLECTING && !fed->is_journaling)) {
        closing_fail(fed, reason, now_ms);
    }
}

void federation_done(struct federation *fed, uint64_t now_ms)
{
    switch (fed->state) {
    case FEDERATION_STARTING:
        if (fed->start_token != 0) {
            federation_answer(fed, fed->start_token, 200, "Session started");
        }
        planning_begin(fed, now_ms);
        break;
    case FEDERATION_JOURNALING:
    case FEDERATION_COLLECTING:
        planning_journaled(fed, now_ms);
        break;
    case FEDERATION_COMMITTING:
    case FEDERATION_RECORDING:
        closing_recorded(fed);
        break;
    case FEDERATION_DERIVING:
        closing_derived(fed, now_ms);
        break;
    case FEDERATION_ENDING:
        federation_move(fed, FEDERATION_IDLE);
        if (fed->next_start.is_wanted) {
            fed->next_start.is_wanted = false;
            federation_start(fed, &fed->next_start.session, fed->next_start.token, now_ms);
        }
        break;
    case FEDERATION_IDLE:
    case FEDERATION_PLANNING:
    case FEDERATION_CLOSING:
    case FEDERATION_FINISHING:
    case FEDERATION_STATE_MAX:
        assert(0 && "no storage action was under way");
    }
}

void federation_added(struct federation *fed, uint64_t token, uint64_t now_ms)
{
    if (fed->round != NULL) {
        round_partial_added(fed->round, token);
        look(fed, now_ms);
    }
}

void federation_made(struct federation *fed, const struct fed_ahead *ahead)
{
    if (fed->state == FEDERATION_FINISHING) {
        closing_send_ahead(fed, ahead);
    }
}

void federation_finished(struct federation *fed, struct federation_base *base, uint64_t now_ms)
{
    struct round *round = fed->round;

    if (fed->state != FEDERATION_FINISHING) {
        federation_base_deinit(base); /* cancelled meanwhile; the sweep removes the blob */
        return;
    }
    fed_id_copy(round->model_id, base->model_id);
    memcpy(round->model_sha256, base->sha256, sizeof(round->model_sha256));
    round->model_size_bytes = base->size_bytes;
    round->committed_ms = now_ms;
    federation_base_deinit(&fed->base);
    fed->base = *base;
    *base = (struct federation_base){0};
    round_move(round, ROUND_COMMITTED);
    (void)federation_push(fed, FEDERATION_STORE_ROUND);
    federation_move(fed, FEDERATION_COMMITTING);
}

void federation_validated(struct federation *fed, const char *model_id, const char *client_id)
{
    if (strcmp(fed->validation.model_id, model_id) == 0 &&
        fed_strmap_find(&fed->validated, client_id) == NULL &&
        fed_strmap_put(&fed->validated, client_id, fed, NULL, NULL) == 0) {
        fed->validation.n_received++;
        fed->change++;
    }
}

/* -- for rows and for people ------------------------------------------------------------------ */

enum federation_state federation_get_state(const struct federation *fed)
{
    return fed->state;
}

const struct roster *federation_get_roster(const struct federation *fed)
{
    return &fed->roster;
}

struct roster *federation_get_roster_mutable(struct federation *fed)
{
    return &fed->roster;
}

const struct federation_session *federation_get_session(const struct federation *fed)
{
    return fed->has_session ? &fed->session : NULL;
}

const struct round *federation_get_round(const struct federation *fed)
{
    return fed->round;
}

struct round *federation_get_round_mutable(struct federation *fed)
{
    return fed->round;
}

const struct federation_base *federation_get_base(const struct federation *fed)
{
    return &fed->base;
}

uint64_t federation_get_next_round_id(const struct federation *fed)
{
    return fed->next_round_id;
}

bool federation_is_over(const struct federation *fed, const char *round_id)
{
    return !is_ours(fed, round_id);
}

uint64_t federation_get_change(const struct federation *fed)
{
    return fed->change;
}

bool federation_is_terminated(const struct federation *fed)
{
    return fed->is_terminated;
}

const struct federation_validation *federation_get_validation(const struct federation *fed)
{
    return &fed->validation;
}
