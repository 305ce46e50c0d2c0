/* An announcement's way to its answer.
 *
 * Happy path: announced → judged: nothing against it → CHECK its bytes → judged again, the plan
 * may have changed → LOG → admitted, its fold queued → Admitted, OK.
 *
 * It waits while its round's base is not here (QUEUED), while it came from another connection
 * than its client's (HELD), while another update of its client is being logged (CHECKED), and
 * while the same update is on its way already (JOINED).
 *
 * What can fail: it is refused (answered OK, with a hint to the reducer), or nothing can be said
 * (answered UNAVAILABLE: the client comes again).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/core/collector_inside.h"

/* What judge() finds. */
enum verdict {
    VERDICT_GO,      /* nothing against it */
    VERDICT_REFUSE,  /* `reason`, `detail` */
    VERDICT_COUNTED, /* it has been admitted before: OK, no effect */
    VERDICT_WAIT,    /* the base is not here */
};

struct judgement {
    enum verdict verdict;
    enum fed_refusal reason;
    char detail[FED_LINK_DETAIL_SIZE];
};

static struct judgement refuse(enum fed_refusal reason, const char *detail)
{
    struct judgement judgement = {.verdict = VERDICT_REFUSE, .reason = reason};

    (void)snprintf(judgement.detail, sizeof(judgement.detail), "%s",
                   detail[0] == '\0' ? fed_refusal_text(reason) : detail);
    return judgement;
}

static struct collector_round *open_round(const struct collector *collector)
{
    return collector->n_rounds == 0 ? NULL : collector->rounds[collector->n_rounds - 1];
}

static bool is_same(const struct fed_entry *entry,
                    const struct collector_announcement *announcement)
{
    return strcmp(entry->client_id, announcement->client_id) == 0 &&
           strcmp(entry->update_id, announcement->update_id) == 0;
}

/* Why an update does not count whose round is not here. */
static struct judgement judge_without_round(const struct collector *collector,
                                            const struct collector_announcement *announcement)
{
    const struct collector_past *past = rounds_find_past(collector, announcement->round_id);
    const struct collector_round *open = open_round(collector);
    char detail[FED_LINK_DETAIL_SIZE];

    (void)snprintf(detail, sizeof(detail), "round %s", announcement->round_id);
    if (past != NULL) {
        for (size_t i = 0; i < past->n_entries; i++) {
            if (is_same(&past->entries[i], announcement)) {
                return (struct judgement){.verdict = VERDICT_COUNTED};
            }
        }
        return refuse(past->outcome == FED_ROUND_CANCELLED ? FED_REFUSAL_SESSION_OVER
                                                           : FED_REFUSAL_LATE,
                      detail);
    }
    if (open != NULL && announcement->session_id[0] != '\0' &&
        strcmp(open->plan.session_id, announcement->session_id) != 0) {
        return refuse(FED_REFUSAL_OTHER_SESSION, detail);
    }
    return refuse(FED_REFUSAL_OTHER_ROUND, detail);
}

/* What the message itself says, whatever its round. */
static struct judgement judge_message(const struct collector *collector,
                                      const struct collector_announcement *announcement)
{
    if (announcement->client_id[0] == '\0') {
        return refuse(FED_REFUSAL_NO_SENDER, "");
    }
    if (!fed_id_is_valid(announcement->client_id)) {
        return refuse(FED_REFUSAL_NO_SENDER, "a client id with characters that are not allowed");
    }
    if (!fed_id_is_valid(announcement->update_id)) {
        return refuse(FED_REFUSAL_BAD_ID, "");
    }
    if (collector_is_model(collector, announcement->update_id)) {
        return refuse(FED_REFUSAL_RESERVED_ID, "");
    }
    if (announcement->fault != FED_REFUSAL_NONE) {
        return refuse(announcement->fault, announcement->detail);
    }
    if (announcement->round_id[0] == '\0') {
        return refuse(FED_REFUSAL_NO_ROUND, "");
    }
    return (struct judgement){.verdict = VERDICT_GO};
}

/* Step (1) of admission: everything against the plan, but for the bytes. */
static struct judgement judge(const struct collector *collector,
                              const struct collector_announcement *announcement)
{
    const struct collector_round *round = rounds_find(collector, announcement->round_id);
    struct judgement judgement = judge_message(collector, announcement);
    const struct fed_entry *entry;

    if (judgement.verdict != VERDICT_GO) {
        return judgement;
    }
    if (round == NULL) {
        return judge_without_round(collector, announcement);
    }
    if (announcement->session_id[0] != '\0' &&
        strcmp(announcement->session_id, round->plan.session_id) != 0) {
        return refuse(FED_REFUSAL_OTHER_SESSION, "");
    }
    if (strcmp(announcement->model_id, round->plan.base_model_id) != 0) {
        return refuse(FED_REFUSAL_WRONG_BASE, "");
    }
    entry = rounds_find_entry(round, announcement->client_id);
    if (entry != NULL && is_same(entry, announcement)) {
        return (struct judgement){.verdict = VERDICT_COUNTED};
    }
    if (rounds_find_seat(round, announcement->client_id) == NULL) {
        return refuse(clients_find(collector, announcement->client_id) == NULL
                          ? FED_REFUSAL_NO_SENDER
                          : FED_REFUSAL_NOT_ASKED,
                      "");
    }
    if (entry != NULL) {
        return refuse(FED_REFUSAL_DUPLICATE, "");
    }
    if (clients_is_set_aside(collector, announcement->client_id)) {
        return refuse(FED_REFUSAL_SET_ASIDE, "");
    }
    if (round->state == FED_LINK_ROUND_SEALING || round->state == FED_LINK_ROUND_SEALED) {
        return refuse(FED_REFUSAL_LATE, "");
    }
    if (announcement->examples == 0 || announcement->examples > round->plan.examples_max) {
        return refuse(FED_REFUSAL_EXAMPLES, "");
    }
    return (struct judgement){.verdict = round->state == FED_LINK_ROUND_PLANNED ? VERDICT_WAIT
                                                                                : VERDICT_GO};
}

/* -- refusals --------------------------------------------------------------------------------- */

/* Does such a refusal of a client's own update answer for it in the round it stands in? What comes
 * from another round says nothing of this one; who has been counted has been counted. */
static bool is_final(enum fed_refusal reason)
{
    return reason != FED_REFUSAL_LATE && reason != FED_REFUSAL_OTHER_ROUND &&
           reason != FED_REFUSAL_OTHER_SESSION && reason != FED_REFUSAL_SESSION_OVER &&
           reason != FED_REFUSAL_DUPLICATE && reason != FED_REFUSAL_NOT_ASKED;
}

/* Note the refusal, and tell the reducer: for the round it names, or for the open one. */
static void tell_refused(struct collector *collector,
                         const struct collector_announcement *announcement,
                         const struct judgement *judgement)
{
    struct collector_round *round = rounds_find(collector, announcement->round_id);
    const bool is_named = round != NULL;
    struct fed_refused refused = {.reason = judgement->reason};
    struct collector_seat *seat;
    struct fed_up *up;

    refused.is_own_connection =
        clients_is_own(collector, announcement->client_id, announcement->connection);
    fed_id_copy(refused.client_id, announcement->client_id);
    fed_id_copy(refused.update_id, announcement->update_id);
    memcpy(refused.detail, judgement->detail, sizeof(refused.detail));
    if (refused.is_own_connection) {
        clients_count_refusal(collector, refused.client_id, refused.update_id, refused.reason);
    }
    round = is_named ? round : open_round(collector);
    if (round == NULL) {
        return;
    }
    seat = rounds_find_seat(round, refused.client_id);
    if (seat != NULL && refused.is_own_connection && !seat->is_admitted &&
        is_final(refused.reason)) {
        seat->refusal = refused.reason;
    }
    rounds_list_refused(round, &refused);
    up = collector_push_up(collector, FED_UP_REFUSED);
    if (up != NULL) {
        memcpy(up->round_id, round->plan.round_id, sizeof(up->round_id));
        up->refused = refused;
    }
}

/* -- announcements on their way --------------------------------------------------------------- */

static struct collector_pending *find_token(const struct collector *collector, uint64_t token)
{
    char key[COLLECTOR_KEY_SIZE];

    collector_format_key(token, key);
    return fed_strmap_find(&collector->pending_tokens, key);
}

static bool
is_of(const struct collector_pending *pending, const char *round_id, const char *client_id)
{
    return strcmp(pending->announcement.client_id, client_id) == 0 &&
           strcmp(pending->announcement.round_id, round_id) == 0;
}

static bool is_logging(const struct collector *collector,
                       const struct collector_announcement *announcement)
{
    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *pending =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->state == PENDING_LOGGING &&
            is_of(pending, announcement->round_id, announcement->client_id)) {
            return true;
        }
    }
    return false;
}

bool admission_is_busy(const struct collector *collector,
                       const char *round_id,
                       const char *client_id)
{
    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *pending =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->state != PENDING_HELD && is_of(pending, round_id, client_id)) {
            return true;
        }
    }
    return false;
}

/* Is it undecided, and its client's, and its round open? */
static bool may_count(const struct collector *collector, const struct collector_pending *pending)
{
    const struct collector_round *round = rounds_find(collector, pending->announcement.round_id);

    return pending->state != PENDING_HELD && round != NULL &&
           (round->state == FED_LINK_ROUND_PLANNED || round->state == FED_LINK_ROUND_COLLECTING);
}

bool admission_await(struct collector *collector, const char *client_id)
{
    bool is_any = false;

    fed_list_for_each (link, &collector->pending) {
        struct collector_pending *pending = FED_CONTAINER_OF(link, struct collector_pending, link);
        if (strcmp(pending->announcement.client_id, client_id) == 0 &&
            may_count(collector, pending)) {
            pending->is_awaited = true;
            is_any = true;
        }
    }
    return is_any;
}

static bool is_awaited(const struct collector *collector, const char *client_id)
{
    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *pending =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->is_awaited && strcmp(pending->announcement.client_id, client_id) == 0) {
            return true;
        }
    }
    return false;
}

size_t admission_count(const struct collector *collector, const char *round_id)
{
    size_t n = 0;

    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *pending =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        n += strcmp(pending->announcement.round_id, round_id) == 0 ? 1 : 0;
    }
    return n;
}

static void answer(struct collector *collector, uint64_t token, bool is_ok)
{
    struct collector_action *action = collector_push(collector, COLLECTOR_ANSWER);

    if (action != NULL) {
        action->token = token;
        action->is_ok = is_ok;
    }
}

static void remove_pending(struct collector *collector, struct collector_pending *pending)
{
    char key[COLLECTOR_KEY_SIZE];

    collector->n_held -= pending->state == PENDING_HELD ? 1 : 0;
    collector_format_key(pending->announcement.token, key);
    (void)fed_strmap_take(&collector->pending_tokens, key);
    fed_link_remove(&pending->link);
    free(pending);
}

/* The end of an announcement, and of those that joined it; what came of it has been told. */
static void finish(struct collector *collector, struct collector_pending *pending, bool is_ok)
{
    const struct collector_announcement announcement = pending->announcement;
    const bool is_held = pending->state == PENDING_HELD; /* nobody joins what may be forged */
    bool was_awaited = false;

    fed_list_for_each (link, &collector->pending) {
        struct collector_pending *other = FED_CONTAINER_OF(link, struct collector_pending, link);
        const bool is_joined = !is_held && other->state == PENDING_JOINED &&
                               is_of(other, announcement.round_id, announcement.client_id) &&
                               strcmp(other->announcement.update_id, announcement.update_id) == 0;
        if (other == pending || is_joined) {
            if (!other->is_forgotten) {
                answer(collector, other->announcement.token, is_ok);
            }
            was_awaited = was_awaited || other->is_awaited;
            remove_pending(collector, other);
        }
    }
    if (was_awaited && !is_awaited(collector, announcement.client_id)) {
        clients_decided(collector, announcement.client_id);
    }
}

static void drop_update(struct collector *collector, const struct collector_pending *pending)
{
    struct collector_action *action = collector_push(collector, COLLECTOR_DROP_UPDATE);

    if (action != NULL) {
        action->token = pending->announcement.token;
        fed_id_copy(action->id, pending->announcement.update_id);
    }
}

static void push_for(struct collector *collector,
                     enum collector_action_type type,
                     const struct collector_announcement *announcement)
{
    struct collector_action *action = collector_push(collector, type);

    if (action != NULL) {
        action->token = announcement->token;
        action->examples = announcement->examples;
        memcpy(action->round_id, announcement->round_id, sizeof(action->round_id));
        fed_id_copy(action->client_id, announcement->client_id);
        fed_id_copy(action->id, announcement->update_id);
    }
}

/* It ends without an update admitted or refused: its client may have to be asked (again). */
static void give_up(struct collector *collector, struct collector_pending *pending, uint64_t now_ms)
{
    const struct collector_client *client =
        clients_find(collector, pending->announcement.client_id);

    finish(collector, pending, false);
    if (client != NULL) {
        tasks_send(collector, client, now_ms);
    }
}

/* Steps (1) and (2) for what has no claim on its file yet. */
static void look_before_check(struct collector *collector, struct collector_pending *pending)
{
    const struct collector_announcement *announcement = &pending->announcement;
    const struct judgement judgement = judge(collector, announcement);

    switch (judgement.verdict) {
    case VERDICT_COUNTED:
        finish(collector, pending, true);
        break;
    case VERDICT_REFUSE:
        tell_refused(collector, announcement, &judgement);
        finish(collector, pending, true);
        break;
    case VERDICT_WAIT:
        if (pending->state != PENDING_HELD) {
            pending->state = PENDING_QUEUED;
        }
        break;
    case VERDICT_GO:
        if (pending->state != PENDING_HELD) {
            pending->state = PENDING_CHECKING;
            push_for(collector, COLLECTOR_CHECK, announcement);
        }
        break;
    }
}

static void begin_log(struct collector *collector, struct collector_pending *pending)
{
    struct collector_round *round = rounds_find(collector, pending->announcement.round_id);

    assert(round != NULL);
    round->n_logging++;
    pending->round_instance = round->instance;
    pending->state = PENDING_LOGGING;
    push_for(collector, COLLECTOR_LOG, &pending->announcement);
}

/* Step (2), the decision: its bytes fit. */
static void decide(struct collector *collector, struct collector_pending *pending)
{
    const struct judgement judgement = judge(collector, &pending->announcement);

    switch (judgement.verdict) {
    case VERDICT_COUNTED:
        drop_update(collector, pending);
        finish(collector, pending, true);
        break;
    case VERDICT_REFUSE:
        drop_update(collector, pending);
        tell_refused(collector, &pending->announcement, &judgement);
        finish(collector, pending, true);
        break;
    case VERDICT_WAIT: /* another plan came, and its base is not here: it fits all the same */
    case VERDICT_GO:
        if (is_logging(collector, &pending->announcement)) {
            pending->state = PENDING_CHECKED;
            break;
        }
        begin_log(collector, pending);
        break;
    }
}

/* Is its client attached elsewhere, with a stream that lives? */
static bool is_foreign(const struct collector *collector,
                       const struct collector_announcement *announcement)
{
    const struct collector_client *client = clients_find(collector, announcement->client_id);

    return collector->config.is_binding && client != NULL &&
           client->state.phase == FED_CLIENT_ATTACHED &&
           client->connection != announcement->connection;
}

/* Another announcement of the same update whose outcome this one shares. */
static bool is_joining(const struct collector *collector,
                       const struct collector_announcement *announcement)
{
    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *other =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        if (other->state != PENDING_HELD && other->state != PENDING_JOINED &&
            other->announcement.token != announcement->token &&
            is_of(other, announcement->round_id, announcement->client_id) &&
            strcmp(other->announcement.update_id, announcement->update_id) == 0) {
            return true;
        }
    }
    return false;
}

static void look_at(struct collector *collector, struct collector_pending *pending)
{
    switch (pending->state) {
    case PENDING_HELD:
        if (!is_foreign(collector, &pending->announcement)) {
            pending->state = PENDING_QUEUED;
            collector->n_held--;
        }
        if (pending->state == PENDING_QUEUED && is_joining(collector, &pending->announcement)) {
            pending->state = PENDING_JOINED;
        } else {
            look_before_check(collector, pending);
        }
        break;
    case PENDING_QUEUED:
        look_before_check(collector, pending);
        break;
    case PENDING_CHECKED:
        decide(collector, pending);
        break;
    case PENDING_CHECKING:
    case PENDING_LOGGING:
    case PENDING_JOINED:
        break; /* something else ends these */
    }
}

/* The next that is to be looked at and has not been: looking at one may end several. */
static struct collector_pending *
next_unlooked(struct collector *collector, const char *client_id, uint64_t look)
{
    fed_list_for_each (link, &collector->pending) {
        struct collector_pending *pending = FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->look != look &&
            (client_id == NULL || strcmp(pending->announcement.client_id, client_id) == 0)) {
            return pending;
        }
    }
    return NULL;
}

void admission_look(struct collector *collector, const char *client_id, uint64_t now_ms)
{
    const uint64_t look = ++collector->n_looks;
    struct collector_pending *pending;

    (void)now_ms;
    while ((pending = next_unlooked(collector, client_id, look)) != NULL) {
        pending->look = look;
        look_at(collector, pending);
    }
}

static struct collector_pending *add_pending(struct collector *collector,
                                             const struct collector_announcement *announcement)
{
    struct collector_pending *pending = NULL;
    char key[COLLECTOR_KEY_SIZE];

    if (collector->pending_tokens.n_items >= COLLECTOR_PENDING_MAX) {
        return NULL;
    }
    pending = calloc(1, sizeof(*pending));
    collector_format_key(announcement->token, key);
    if (pending == NULL ||
        fed_strmap_put(&collector->pending_tokens, key, pending, NULL, NULL) < 0) {
        free(pending);
        return NULL;
    }
    pending->announcement = *announcement;
    fed_list_add(&collector->pending, &pending->link);
    return pending;
}

void collector_announce(struct collector *collector,
                        const struct collector_announcement *announcement,
                        uint64_t now_ms)
{
    struct collector_client *client = clients_find(collector, announcement->client_id);
    struct collector_pending *pending;
    bool is_held;

    assert(find_token(collector, announcement->token) == NULL);
    if (client != NULL &&
        clients_is_own(collector, announcement->client_id, announcement->connection)) {
        clients_heard(collector, client, now_ms);
    }
    is_held = is_foreign(collector, announcement);
    pending = is_held && collector->n_held >= COLLECTOR_HELD_MAX
                  ? NULL
                  : add_pending(collector, announcement);
    if (pending == NULL) {
        answer(collector, announcement->token, false);
        return;
    }
    if (is_joining(collector, announcement)) {
        pending->state = PENDING_JOINED;
        return;
    }
    if (is_held) {
        collector->n_held++;
        pending->state = PENDING_HELD;
        pending->held_until_ms = now_ms + collector->config.heartbeat_limit_ms;
    }
    look_before_check(collector, pending);
}

void collector_forget(struct collector *collector, uint64_t token)
{
    struct collector_pending *pending = find_token(collector, token);

    if (pending != NULL) {
        pending->is_forgotten = true; /* what was begun goes on: it may count */
    }
}

/* It was admitted, its client has not heard the OK, and it went with a checkpoint or in a power
 * cut: that is no refusal. Its task, which the client may have taken for the one it was busy with,
 * is sent again behind the answer. */
static bool
ask_again(struct collector *collector, struct collector_pending *pending, uint64_t now_ms)
{
    const struct collector_announcement announcement = pending->announcement;
    struct collector_round *round = rounds_find(collector, announcement.round_id);
    const struct collector_client *client = clients_find(collector, announcement.client_id);
    struct collector_seat *seat =
        round == NULL ? NULL : rounds_find_seat(round, announcement.client_id);

    if (seat == NULL || seat->is_admitted ||
        !rounds_is_lost(round, announcement.client_id, announcement.update_id)) {
        return false;
    }
    drop_update(collector, pending);
    finish(collector, pending, true);
    seat->task_stream = 0;
    if (client != NULL) {
        tasks_send(collector, client, now_ms);
    }
    return true;
}

void collector_checked(struct collector *collector,
                       uint64_t token,
                       enum fed_refusal reason,
                       const char *detail,
                       uint64_t now_ms)
{
    struct collector_pending *pending = find_token(collector, token);
    struct judgement judgement;

    assert(pending != NULL);
    assert(pending->state == PENDING_CHECKING);
    if (reason == FED_REFUSAL_NONE) {
        pending->state = PENDING_CHECKED;
        decide(collector, pending);
        return;
    }
    if (reason == FED_REFUSAL_MAX) {
        give_up(collector, pending, now_ms);
        return;
    }
    if (reason == FED_REFUSAL_NOT_UPLOADED && ask_again(collector, pending, now_ms)) {
        return;
    }
    judgement = judge(collector, &pending->announcement);
    if (judgement.verdict == VERDICT_GO || judgement.verdict == VERDICT_WAIT) {
        judgement = refuse(reason, detail == NULL ? "" : detail);
    }
    drop_update(collector, pending);
    if (judgement.verdict == VERDICT_REFUSE) {
        tell_refused(collector, &pending->announcement, &judgement);
    }
    finish(collector, pending, true);
}

/* ADMIT is in the log: step (4). */
static void
admit(struct collector *collector, struct collector_round *round, struct collector_pending *pending)
{
    struct fed_entry entry = {.examples = pending->announcement.examples};
    bool is_ok = true;

    fed_id_copy(entry.client_id, pending->announcement.client_id);
    fed_id_copy(entry.update_id, pending->announcement.update_id);
    if (rounds_find_entry(round, entry.client_id) == NULL) {
        is_ok = rounds_admit(collector, round, &entry);
        if (is_ok && rounds_find_seat(round, entry.client_id) != NULL) {
            rounds_tell_admitted(collector, round, &entry);
        }
    }
    finish(collector, pending, is_ok);
}

void collector_logged(struct collector *collector, uint64_t token, bool is_ok, uint64_t now_ms)
{
    struct collector_pending *pending = find_token(collector, token);
    struct collector_round *round;
    char client_id[FED_ID_SIZE];

    assert(pending != NULL);
    assert(pending->state == PENDING_LOGGING);
    fed_id_copy(client_id, pending->announcement.client_id);
    round = rounds_find(collector, pending->announcement.round_id);
    if (round == NULL || round->instance != pending->round_instance) {
        /* done meanwhile, and its folder gone */
        const struct judgement judgement = refuse(FED_REFUSAL_LATE, "");
        tell_refused(collector, &pending->announcement, &judgement);
        finish(collector, pending, true);
        return;
    }
    assert(round->n_logging > 0);
    round->n_logging--;
    if (is_ok) {
        admit(collector, round, pending);
    } else {
        give_up(collector, pending, now_ms);
    }
    admission_look(collector, client_id, now_ms);
    rounds_try_seal(collector, round);
}

/* Held for as long as a heartbeat may take, and its client was heard meanwhile: it is not its. */
void admission_tick(struct collector *collector, uint64_t now_ms)
{
    fed_list_for_each (link, &collector->pending) {
        struct collector_pending *pending = FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->state == PENDING_HELD && now_ms >= pending->held_until_ms) {
            const struct judgement judgement = refuse(FED_REFUSAL_OTHER_CONNECTION, "");
            tell_refused(collector, &pending->announcement, &judgement);
            finish(collector, pending, true);
        }
    }
}

uint64_t admission_due_ms(const struct collector *collector)
{
    fed_list_for_each (link, &collector->pending) {
        const struct collector_pending *pending =
            FED_CONTAINER_OF(link, struct collector_pending, link);
        if (pending->state == PENDING_HELD) {
            return pending->held_until_ms; /* they stand in the order of their arrival */
        }
    }
    return UINT64_MAX;
}

void admission_free(struct collector *collector)
{
    struct fed_link *link;

    while ((link = fed_list_take(&collector->pending)) != NULL) {
        free(FED_CONTAINER_OF(link, struct collector_pending, link));
    }
    fed_strmap_deinit(&collector->pending_tokens);
}
