#include "client/core/agent_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rand.h"

#define ACTIONS_MAX 32 /* between two calls of agent_take_action(); an event makes a handful */

struct agent {
    struct agent_config config;
    enum agent_place place;
    char address[AGENT_ADDRESS_SIZE]; /* of the combiner; "" while none is known */
    uint64_t place_due_ms;            /* BACKOFF: next try; ATTACHING: give it up */
    uint64_t failing_since_ms;        /* 0: not failing */
    uint64_t attached_at_ms;
    uint32_t n_attempts; /* to attach or to be assigned, since the last success */
    bool is_assign_next; /* after this back-off the reducer is asked */
    uint64_t beat_due_ms;
    unsigned n_missed;
    bool is_beating; /* a heartbeat is under way */

    enum agent_work work;
    bool is_running;    /* the step has been asked for */
    bool is_cancelling; /* the step has been told to end */
    uint64_t step_due_ms;
    uint32_t n_step_attempts;
    struct agent_task task;               /* while work is not IDLE */
    char uploaded_to[AGENT_ADDRESS_SIZE]; /* REPORTING: where the update's bytes are */
    struct agent_task waiting[AGENT_TASKS_MAX];
    size_t n_waiting;
    struct agent_kept kept;
    bool has_kept;
    bool is_stopping;
    enum agent_work undone; /* what the stop has cancelled */
    char undone_round_id[FED_ID_SIZE];

    struct agent_action actions[ACTIONS_MAX];
    size_t n_actions;
};

const char *agent_place_name(enum agent_place place)
{
    static const char *const names[] = {"joining", "backoff", "attaching", "attached", "over"};

    _Static_assert(sizeof(names) / sizeof(names[0]) == AGENT_PLACE_MAX, "a name for each");
    return names[place];
}

const char *agent_work_name(enum agent_work work)
{
    static const char *const names[] = {"idle",       "fetching",  "training",
                                        "validating", "uploading", "reporting"};

    _Static_assert(sizeof(names) / sizeof(names[0]) == AGENT_WORK_MAX, "a name for each");
    return names[work];
}

void agent_task_deinit(struct agent_task *task)
{
    free(task->data);
    *task = (struct agent_task){0};
}

/* -- life ------------------------------------------------------------------------------------ */

int agent_new(const struct agent_config *config, struct agent **ret_agent, struct fed_err *err)
{
    struct agent *agent = calloc(1, sizeof(*agent));

    assert(config->retry_min_ms > 0);
    assert(config->heartbeat_ms > 0);
    if (agent == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "agent");
    }
    agent->config = *config;
    agent->place = AGENT_JOINING;
    *ret_agent = agent;
    return 0;
}

struct agent *agent_free(struct agent *agent)
{
    if (agent != NULL) {
        agent_task_deinit(&agent->task);
        for (size_t i = 0; i < agent->n_waiting; i++) {
            agent_task_deinit(&agent->waiting[i]);
        }
        free(agent);
    }
    return NULL;
}

void agent_set_kept(struct agent *agent, const struct agent_kept *kept)
{
    agent->kept = *kept;
    agent->has_kept = true;
}

bool agent_take_action(struct agent *agent, struct agent_action *ret_action)
{
    if (agent->n_actions == 0) {
        return false;
    }
    *ret_action = agent->actions[0];
    agent->n_actions--;
    memmove(agent->actions, agent->actions + 1, agent->n_actions * sizeof(agent->actions[0]));
    return true;
}

static void act(struct agent *agent, enum agent_action_type type)
{
    assert(agent->n_actions < ACTIONS_MAX);
    agent->actions[agent->n_actions++] = (struct agent_action){.type = type};
}

static void tell(struct agent *agent, enum agent_tell what)
{
    act(agent, AGENT_DO_TELL);
    agent->actions[agent->n_actions - 1].tell = what;
    agent->actions[agent->n_actions - 1].task = agent->task;
    agent->actions[agent->n_actions - 1].task.data = NULL;
}

/* Doubling from retry_min to retry_max, between half and the whole of it. */
static uint64_t delay_ms(const struct agent *agent, uint32_t attempt)
{
    const uint64_t key[] = {agent->config.seed, attempt};
    const uint64_t doubled = agent->config.retry_min_ms << (attempt < 16 ? attempt : 16);
    const uint64_t whole =
        doubled < agent->config.retry_max_ms ? doubled : agent->config.retry_max_ms;
    struct fed_rand rand;

    fed_rand_init(&rand, key, 2);
    return whole - fed_rand_below(&rand, whole / 2 + 1);
}

/* -- attached where ---------------------------------------------------------------------------- */

static void beat(struct agent *agent, uint64_t now_ms)
{
    agent->is_beating = true;
    agent->beat_due_ms = now_ms + agent->config.heartbeat_ms;
    act(agent, AGENT_DO_HEARTBEAT);
}

static void join(struct agent *agent)
{
    agent->place = AGENT_JOINING;
    agent->place_due_ms = UINT64_MAX;
    act(agent, AGENT_DO_ASSIGN);
}

static void attach(struct agent *agent, uint64_t now_ms)
{
    agent->place = AGENT_ATTACHING;
    agent->place_due_ms = now_ms + agent->config.attach_timeout_ms;
    agent->n_missed = 0;
    agent->beat_due_ms = now_ms;
    act(agent, AGENT_DO_OPEN_STREAM);
    if (!agent->is_beating) {
        beat(agent, now_ms);
    }
}

static void back_off(struct agent *agent, uint64_t wait_ms, uint64_t now_ms)
{
    if (agent->failing_since_ms == 0) {
        agent->failing_since_ms = now_ms;
    }
    agent->place = AGENT_BACKOFF;
    agent->place_due_ms = now_ms + wait_ms;
}

/* The combiner cannot be had: try again soon, or have another one assigned. */
static void lose(struct agent *agent, uint64_t now_ms)
{
    /* Only what held for a while starts the back-off anew: two clients of one id must not chase
     * each other off the combiner ten times a second. */
    if (agent->place == AGENT_ATTACHED &&
        now_ms - agent->attached_at_ms >= 2 * agent->config.retry_max_ms) {
        agent->n_attempts = 0;
    }
    back_off(agent, delay_ms(agent, agent->n_attempts), now_ms);
    agent->n_attempts++;
    agent->is_assign_next = !agent->config.is_fixed &&
                            now_ms - agent->failing_since_ms >= agent->config.reassign_after_ms;
}

void agent_assigned(struct agent *agent,
                    enum agent_assignment assignment,
                    const char *address,
                    uint64_t now_ms)
{
    if (agent->place != AGENT_JOINING) {
        return;
    }
    switch (assignment) {
    case AGENT_ASSIGNED:
        if (strcmp(agent->address, address) != 0) {
            (void)snprintf(agent->address, sizeof(agent->address), "%s", address);
            agent->failing_since_ms = 0;
            act(agent, AGENT_DO_CONNECT);
        }
        attach(agent, now_ms);
        break;
    case AGENT_ASSIGN_LATER:
        back_off(agent, agent->config.assign_retry_ms, now_ms);
        agent->is_assign_next = false;
        break;
    case AGENT_ASSIGN_REFUSED:
        agent->place = AGENT_OVER;
        act(agent, AGENT_DO_END);
        agent->actions[agent->n_actions - 1].is_refused = true;
        break;
    case AGENT_ASSIGN_FAILED:
        back_off(agent, delay_ms(agent, agent->n_attempts), now_ms);
        agent->n_attempts++;
        agent->is_assign_next = false; /* our combiner may be back before the reducer is */
        break;
    default:
        assert(false); /* there is no other */
    }
}

/* -- working on what --------------------------------------------------------------------------- */

static bool is_same_round(const struct agent_task *a, const struct agent_task *b)
{
    return a->type == AGENT_TASK_TRAIN && b->type == AGENT_TASK_TRAIN &&
           strcmp(a->session_id, b->session_id) == 0 && strcmp(a->round_id, b->round_id) == 0;
}

static bool is_same_task(const struct agent_task *a, const struct agent_task *b)
{
    if (a->type == AGENT_TASK_TRAIN) {
        return is_same_round(a, b);
    }
    return a->type == b->type && strcmp(a->session_id, b->session_id) == 0 &&
           strcmp(a->model_id, b->model_id) == 0;
}

static void take_out_waiting(struct agent *agent, size_t i_task)
{
    agent_task_deinit(&agent->waiting[i_task]);
    agent->n_waiting--;
    memmove(agent->waiting + i_task, agent->waiting + i_task + 1,
            (agent->n_waiting - i_task) * sizeof(agent->waiting[0]));
}

static bool needs_combiner(enum agent_work work)
{
    return work == AGENT_FETCHING || work == AGENT_UPLOADING || work == AGENT_REPORTING;
}

static void enter(struct agent *agent, enum agent_work work)
{
    assert(!agent->is_running);
    agent->work = work;
    agent->step_due_ms = 0;
    agent->n_step_attempts = 0;
}

static bool is_answered_by_kept(const struct agent *agent)
{
    return agent->has_kept && strcmp(agent->kept.session_id, agent->task.session_id) == 0 &&
           strcmp(agent->kept.round_id, agent->task.round_id) == 0 &&
           strcmp(agent->kept.model_id, agent->task.model_id) == 0;
}

static void begin_next_task(struct agent *agent)
{
    agent->task = agent->waiting[0];
    agent->n_waiting--;
    memmove(agent->waiting, agent->waiting + 1, agent->n_waiting * sizeof(agent->waiting[0]));
    tell(agent, AGENT_TELL_RECEIVED);
    if (agent->task.type == AGENT_TASK_TRAIN && is_answered_by_kept(agent)) {
        enter(agent, AGENT_UPLOADING);
        return;
    }
    enter(agent, AGENT_FETCHING);
}

static void end_task(struct agent *agent)
{
    agent_task_deinit(&agent->task);
    enter(agent, AGENT_IDLE);
}

static void start_step(struct agent *agent)
{
    static const enum agent_action_type actions[] = {
        [AGENT_IDLE] = AGENT_DO_MAX,         [AGENT_FETCHING] = AGENT_DO_FETCH,
        [AGENT_TRAINING] = AGENT_DO_TRAIN,   [AGENT_VALIDATING] = AGENT_DO_VALIDATE,
        [AGENT_UPLOADING] = AGENT_DO_UPLOAD, [AGENT_REPORTING] = AGENT_DO_REPORT,
    };

    if (agent->work == AGENT_TRAINING || agent->work == AGENT_VALIDATING) {
        tell(agent, AGENT_TELL_STARTED);
    }
    if (agent->work == AGENT_REPORTING && agent->task.type == AGENT_TASK_TRAIN &&
        strcmp(agent->uploaded_to, agent->address) != 0) {
        enter(agent, AGENT_UPLOADING); /* we have moved: the bytes are at another combiner */
    }
    if (agent->work == AGENT_UPLOADING) {
        memcpy(agent->uploaded_to, agent->address, sizeof(agent->uploaded_to));
    }
    agent->is_running = true;
    act(agent, actions[agent->work]);
}

/* Stopping: what is worth finishing, and is not finished yet. */
static bool is_worth_waiting(const struct agent *agent)
{
    return agent->is_running ||
           ((agent->work == AGENT_UPLOADING || agent->work == AGENT_REPORTING) &&
            agent->place == AGENT_ATTACHED);
}

static void end(struct agent *agent)
{
    agent->place = AGENT_OVER;
    act(agent, AGENT_DO_END);
}

/* Do what can be done now. */
static void pump(struct agent *agent, uint64_t now_ms)
{
    if (agent->place == AGENT_OVER) {
        return;
    }
    if (agent->is_stopping && !is_worth_waiting(agent)) {
        end(agent);
        return;
    }
    if (agent->work == AGENT_IDLE && agent->n_waiting > 0 && !agent->is_stopping) {
        begin_next_task(agent);
    }
    if (agent->work == AGENT_IDLE || agent->is_running || now_ms < agent->step_due_ms) {
        return;
    }
    if (!needs_combiner(agent->work) || agent->place == AGENT_ATTACHED) {
        start_step(agent);
    }
}

static uint64_t round_number_of(const char *round_id)
{
    uint64_t number = 0;

    for (const char *p = round_id; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || number > UINT64_MAX / 10 - 1) {
            return 0;
        }
        number = number * 10 + (uint64_t)(*p - '0');
    }
    return number;
}

/* Of an earlier round of the session than `than`; round ids grow. */
static bool is_earlier(const struct agent_task *task, const struct agent_task *than)
{
    return task->type == AGENT_TASK_TRAIN && than->type == AGENT_TASK_TRAIN &&
           strcmp(task->session_id, than->session_id) == 0 &&
           round_number_of(task->round_id) < round_number_of(than->round_id);
}

static void cancel_step(struct agent *agent)
{
    if (agent->is_running && !agent->is_cancelling) {
        agent->is_cancelling = true;
        act(agent, AGENT_DO_CANCEL);
    } else if (!agent->is_running && agent->work != AGENT_IDLE) {
        end_task(agent);
    }
}

/* Training of another round came: what was to be trained before is of no use any more. */
static void supersede(struct agent *agent)
{
    for (size_t i = agent->n_waiting; i-- > 0;) {
        if (agent->waiting[i].type == AGENT_TASK_TRAIN) {
            take_out_waiting(agent, i);
        }
    }
    if (agent->work != AGENT_IDLE && agent->task.type == AGENT_TASK_TRAIN) {
        cancel_step(agent);
    }
}

static enum agent_taken look_at(const struct agent *agent, const struct agent_task *task)
{
    if (agent->work != AGENT_IDLE) {
        if (is_same_task(&agent->task, task) && !agent->is_cancelling) {
            return AGENT_TAKEN_DUPLICATE;
        }
        if (is_earlier(task, &agent->task)) {
            return AGENT_TAKEN_STALE;
        }
    }
    for (size_t i = 0; i < agent->n_waiting; i++) {
        if (is_same_task(&agent->waiting[i], task)) {
            return AGENT_TAKEN_DUPLICATE;
        }
        if (is_earlier(task, &agent->waiting[i])) {
            return AGENT_TAKEN_STALE;
        }
    }
    return AGENT_TAKEN;
}

enum agent_taken agent_give(struct agent *agent, struct agent_task *task, uint64_t now_ms)
{
    const enum agent_taken taken = look_at(agent, task);

    assert(task->type != AGENT_TASK_TRAIN || task->round_id[0] != '\0');
    if (taken != AGENT_TAKEN || agent->is_stopping || agent->place == AGENT_OVER) {
        agent_task_deinit(task);
        return taken;
    }
    if (task->type == AGENT_TASK_TRAIN) {
        supersede(agent);
    }
    if (agent->n_waiting == AGENT_TASKS_MAX) { /* of training at most one waits */
        take_out_waiting(agent, agent->waiting[0].type == AGENT_TASK_VALIDATE ? 0 : 1);
    }
    agent->waiting[agent->n_waiting++] = *task;
    *task = (struct agent_task){0};
    pump(agent, now_ms);
    return AGENT_TAKEN;
}

static void step_forward(struct agent *agent)
{
    switch (agent->work) {
    case AGENT_FETCHING:
        enter(agent, agent->task.type == AGENT_TASK_TRAIN ? AGENT_TRAINING : AGENT_VALIDATING);
        break;
    case AGENT_TRAINING:
        enter(agent, AGENT_UPLOADING);
        break;
    case AGENT_VALIDATING:
    case AGENT_UPLOADING:
        enter(agent, AGENT_REPORTING);
        break;
    case AGENT_REPORTING:
        tell(agent, AGENT_TELL_COMPLETED);
        end_task(agent);
        break;
    case AGENT_IDLE:
    case AGENT_WORK_MAX:
    default:
        assert(false); /* no step is under way */
    }
}

static void step_again(struct agent *agent, uint64_t now_ms)
{
    agent->step_due_ms = now_ms + delay_ms(agent, agent->n_step_attempts);
    agent->n_step_attempts++;
    if (agent->task.type == AGENT_TASK_VALIDATE &&
        agent->n_step_attempts >= agent->config.validation_tries) {
        tell(agent, AGENT_TELL_FAILED);
        end_task(agent);
    }
}

void agent_step_done(struct agent *agent, enum agent_outcome outcome, uint64_t now_ms)
{
    assert(agent->is_running);
    const bool is_dropped = agent->is_cancelling;

    agent->is_running = false;
    agent->is_cancelling = false;
    if (is_dropped && agent->is_stopping) {
        agent->undone = agent->work;
        fed_id_copy(agent->undone_round_id, agent->task.round_id);
    }
    if (is_dropped || outcome == AGENT_NOTHING) {
        end_task(agent);
    } else if (outcome == AGENT_DONE) {
        step_forward(agent);
    } else if (outcome == AGENT_AGAIN) {
        step_again(agent, now_ms);
    } else {
        tell(agent, AGENT_TELL_FAILED);
        end_task(agent);
    }
    pump(agent, now_ms);
}

void agent_trained(struct agent *agent, const struct agent_kept *kept, uint64_t now_ms)
{
    assert(agent->work == AGENT_TRAINING);
    agent->kept = *kept;
    agent->has_kept = true;
    agent_step_done(agent, AGENT_DONE, now_ms);
}

/* -- the other events ---------------------------------------------------------------------------
 */

void agent_start(struct agent *agent, uint64_t now_ms)
{
    if (agent->config.is_fixed) {
        memcpy(agent->address, agent->config.address, sizeof(agent->address));
        act(agent, AGENT_DO_CONNECT);
        attach(agent, now_ms);
    } else {
        join(agent);
    }
}

/* No answer where one was due: the connection is dead, whatever TCP thinks. */
static void drop_connection(struct agent *agent, uint64_t now_ms)
{
    act(agent, AGENT_DO_CLOSE_STREAM);
    act(agent, AGENT_DO_CONNECT);
    lose(agent, now_ms);
}

void agent_heartbeat_done(struct agent *agent, bool is_answered, uint64_t now_ms)
{
    agent->is_beating = false;
    if (agent->place != AGENT_ATTACHED && agent->place != AGENT_ATTACHING) {
        return;
    }
    if (is_answered) {
        agent->n_missed = 0;
        if (agent->place == AGENT_ATTACHING) {
            agent->place = AGENT_ATTACHED;
            agent->place_due_ms = UINT64_MAX;
            agent->failing_since_ms = 0;
            agent->attached_at_ms = now_ms;
            act(agent, AGENT_DO_ANNOUNCE);
        }
    } else if (++agent->n_missed >= agent->config.heartbeats_missed &&
               agent->place == AGENT_ATTACHED) {
        drop_connection(agent, now_ms);
    } else {
        agent->beat_due_ms = now_ms + delay_ms(agent, agent->n_missed);
    }
    pump(agent, now_ms);
}

void agent_stream_closed(struct agent *agent, uint64_t now_ms)
{
    if (agent->place == AGENT_ATTACHED || agent->place == AGENT_ATTACHING) {
        lose(agent, now_ms);
        pump(agent, now_ms);
    }
}

void agent_tick(struct agent *agent, uint64_t now_ms)
{
    if (agent->place == AGENT_BACKOFF && now_ms >= agent->place_due_ms) {
        if (agent->is_assign_next || agent->address[0] == '\0') {
            join(agent);
        } else {
            attach(agent, now_ms);
        }
    } else if (agent->place == AGENT_ATTACHING && now_ms >= agent->place_due_ms) {
        drop_connection(agent, now_ms);
    }
    if ((agent->place == AGENT_ATTACHED || agent->place == AGENT_ATTACHING) && !agent->is_beating &&
        now_ms >= agent->beat_due_ms) {
        beat(agent, now_ms);
    }
    pump(agent, now_ms);
}

uint64_t agent_due_ms(const struct agent *agent)
{
    uint64_t due_ms = UINT64_MAX;

    if (agent->place == AGENT_OVER) {
        return due_ms;
    }
    if (agent->place == AGENT_BACKOFF || agent->place == AGENT_ATTACHING) {
        due_ms = agent->place_due_ms;
    }
    if ((agent->place == AGENT_ATTACHED || agent->place == AGENT_ATTACHING) && !agent->is_beating &&
        agent->beat_due_ms < due_ms) {
        due_ms = agent->beat_due_ms;
    }
    if (agent->work != AGENT_IDLE && !agent->is_running && agent->place == AGENT_ATTACHED &&
        agent->step_due_ms < due_ms) {
        due_ms = agent->step_due_ms;
    }
    return due_ms;
}

void agent_stop(struct agent *agent, uint64_t now_ms)
{
    if (agent->place == AGENT_OVER) {
        return;
    }
    if (agent->is_stopping) {
        end(agent);
        return;
    }
    agent->is_stopping = true;
    if (agent->work != AGENT_UPLOADING && agent->work != AGENT_REPORTING && agent->is_running) {
        agent->is_cancelling = true;
        act(agent, AGENT_DO_CANCEL);
    }
    pump(agent, now_ms);
}

enum agent_place agent_get_place(const struct agent *agent)
{
    return agent->place;
}

enum agent_work agent_get_work(const struct agent *agent)
{
    return agent->work;
}

const char *agent_get_address(const struct agent *agent)
{
    return agent->address;
}

const struct agent_task *agent_get_task(const struct agent *agent)
{
    return agent->work == AGENT_IDLE ? NULL : &agent->task;
}

const struct agent_kept *agent_get_kept(const struct agent *agent)
{
    return agent->has_kept ? &agent->kept : NULL;
}

enum agent_work agent_get_undone(const struct agent *agent, const char **ret_round_id)
{
    if (agent->work != AGENT_IDLE) {
        *ret_round_id = agent->task.round_id;
        return agent->work;
    }
    *ret_round_id = agent->undone_round_id;
    return agent->undone;
}

size_t agent_count_waiting(const struct agent *agent)
{
    return agent->n_waiting;
}
