/* A client's agent, as a pure state machine: it is told what happened and says what to do.
 *
 * It does no I/O, starts no thread, reads no clock and logs nothing: the time is an argument, the
 * work is in the actions. client.c feeds it from the loop; the tests feed it by hand.
 *
 * Two things go on side by side, so there are two states. Where it is attached:
 *
 *            ASSIGN answered                  heartbeat answered
 *   JOINING ----------------> ATTACHING ------------------------> ATTACHED
 *      ^                        ^   | stream lost                    | stream lost,
 *      | failing for too long   |   v                                v heartbeats unanswered
 *      +------------------- BACKOFF <-------------------------------+
 *
 *   any --refused by the reducer, or stopped--> OVER
 *
 * And what it works on, one task after the other:
 *
 *   IDLE --task--> FETCHING --model is here--> TRAINING ----> UPLOADING --> REPORTING --> IDLE
 *     |                |                                          ^             ^
 *     |                +-------------> VALIDATING ----------------|-------------+
 *     +--the kept update answers the task-------------------------+
 *
 * FETCHING, UPLOADING and REPORTING need a combiner: while detached they wait, and are repeated
 * until they have worked; who has moved to another combiner uploads there before it reports.
 * TRAINING and VALIDATING go on whatever the network does.
 *
 * Who is asked for the same round again does not train again: the update of a round is kept until
 * that of another one is there, and goes out with the same id and the same bytes (round protocol,
 * sections 1 and 9). A task of a later round supersedes the training of an earlier one: late
 * updates never count (rule 8).
 *
 * Thread safety: none. Owned by the client's loop thread.
 */
#ifndef CLIENT_CORE_AGENT_STATE_H
#define CLIENT_CORE_AGENT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/id.h"

#define AGENT_TASKS_MAX     16  /* tasks that wait; beyond: the oldest validation goes */
#define AGENT_ADDRESS_SIZE  264 /* bytes of "host:port", with the NUL */
#define AGENT_NAME_SIZE     129 /* bytes, with the NUL */
#define AGENT_TASK_DATA_MAX ((size_t)256 * 1024) /* bytes of a task's data */

enum agent_place {
    AGENT_JOINING,
    AGENT_BACKOFF,
    AGENT_ATTACHING,
    AGENT_ATTACHED,
    AGENT_OVER,
    AGENT_PLACE_MAX,
};

enum agent_work {
    AGENT_IDLE,
    AGENT_FETCHING,
    AGENT_TRAINING,
    AGENT_VALIDATING,
    AGENT_UPLOADING,
    AGENT_REPORTING,
    AGENT_WORK_MAX,
};

const char *agent_place_name(enum agent_place place); /* "joining" */
const char *agent_work_name(enum agent_work work);    /* "idle" */

struct agent_config {
    uint64_t heartbeat_ms;      /* between heartbeats: 2 000 */
    uint64_t attach_timeout_ms; /* from opening the stream to the first answer: 10 000 */
    uint64_t reassign_after_ms; /* failing that long: ask the reducer again: 10 000 */
    uint64_t retry_min_ms;      /* back-off: 100 … */
    uint64_t retry_max_ms;      /* … 5 000 */
    uint64_t assign_retry_ms;   /* the reducer said "not yet": 3 000 */
    unsigned heartbeats_missed; /* unanswered ones that make a connection dead: 3 */
    unsigned validation_tries;  /* transient failures after which a validation is dropped: 20 */
    uint64_t seed;              /* of the jitter */
    bool is_fixed;              /* `address` was given: never ask the reducer */
    char address[AGENT_ADDRESS_SIZE]; /* with is_fixed */
};

enum agent_task_type {
    AGENT_TASK_TRAIN,
    AGENT_TASK_VALIDATE,
};

/* What a combiner asks for. */
struct agent_task {
    enum agent_task_type type;
    char model_id[FED_ID_SIZE];
    char session_id[FED_ID_SIZE];
    char round_id[FED_ID_SIZE]; /* training: never empty */
    char correlation_id[FED_ID_SIZE];
    char sender[AGENT_NAME_SIZE]; /* the combiner's name */
    uint64_t round_number;        /* in its session, from 1 */
    uint32_t epochs;              /* 0: the client's own setting */
    uint32_t batch;               /* 0: the same */
    double lr;                    /* 0: the same */
    char *data;                   /* owned: the task's data, word for word */
};
void agent_task_deinit(struct agent_task *task);

/* The update of one round, as it is remembered: the file is called after update_id. */
struct agent_kept {
    char session_id[FED_ID_SIZE];
    char round_id[FED_ID_SIZE];
    char model_id[FED_ID_SIZE]; /* trained from */
    char update_id[FED_ID_SIZE];
    uint64_t n_examples;
    uint64_t size_bytes; /* of its file */
    double loss;         /* mean of the last epoch; negative: none */
    double train_s;
};

enum agent_action_type {
    AGENT_DO_ASSIGN,       /* ask the reducer for a combiner; then agent_assigned() */
    AGENT_DO_CONNECT,      /* drop the connection there is, and make one to `address` */
    AGENT_DO_OPEN_STREAM,  /* TaskStream; then agent_stream_closed() once it is over */
    AGENT_DO_CLOSE_STREAM, /* drop it, and report nothing of it any more */
    AGENT_DO_HEARTBEAT,    /* then agent_heartbeat_done() */
    AGENT_DO_ANNOUNCE,     /* tell the world that the client is attached */
    AGENT_DO_FETCH,        /* get the task's model; then agent_step_done() */
    AGENT_DO_TRAIN,        /* and keep the update; then agent_trained() or agent_step_done() */
    AGENT_DO_VALIDATE,     /* then agent_step_done() */
    AGENT_DO_UPLOAD,       /* the kept update's bytes; then agent_step_done() */
    AGENT_DO_REPORT,       /* the update or the validation; then agent_step_done() */
    AGENT_DO_CANCEL,       /* end the step under way soon; agent_step_done() comes all the same */
    AGENT_DO_TELL,         /* SendStatus about the task: `tell` */
    AGENT_DO_END,          /* nothing will be done any more; `is_refused`: the reducer said no */
    AGENT_DO_MAX,
};

enum agent_tell {
    AGENT_TELL_RECEIVED,
    AGENT_TELL_STARTED,
    AGENT_TELL_COMPLETED,
    AGENT_TELL_FAILED,
};

struct agent_action {
    enum agent_action_type type;
    bool is_refused;        /* END */
    enum agent_tell tell;   /* TELL */
    struct agent_task task; /* TELL: which, without its data */
};

enum agent_assignment {
    AGENT_ASSIGNED,
    AGENT_ASSIGN_LATER,   /* 203: ask again in a while */
    AGENT_ASSIGN_REFUSED, /* 400, 401: for good */
    AGENT_ASSIGN_FAILED,  /* anything else */
};

enum agent_outcome {
    AGENT_DONE,
    AGENT_AGAIN,     /* transient: repeat */
    AGENT_NOTHING,   /* done, and there is nothing to report */
    AGENT_FAILED,    /* this task cannot be done: drop it */
    AGENT_CANCELLED, /* as asked by AGENT_DO_CANCEL, or by the end */
};

struct agent;

/* Fails with FED_E_NOMEM. */
FED_NODISCARD int
agent_new(const struct agent_config *config, struct agent **ret_agent, struct fed_err *err);
struct agent *agent_free(struct agent *agent); /* accepts NULL */
FED_DEFINE_CLEANUP(struct agent, agent_free);

/* Before agent_start(): the update that an earlier process of this client left. */
void agent_set_kept(struct agent *agent, const struct agent_kept *kept);

/* The next thing to do, or false. Take them all after each event. */
bool agent_take_action(struct agent *agent, struct agent_action *ret_action);

/* -- events ---------------------------------------------------------------------------------- */

void agent_start(struct agent *agent, uint64_t now_ms);
void agent_tick(struct agent *agent, uint64_t now_ms); /* at agent_due_ms(); early is harmless */
uint64_t agent_due_ms(const struct agent *agent);      /* UINT64_MAX: none */

/* `address` only with AGENT_ASSIGNED. */
void agent_assigned(struct agent *agent,
                    enum agent_assignment assignment,
                    const char *address,
                    uint64_t now_ms);
void agent_heartbeat_done(struct agent *agent, bool is_answered, uint64_t now_ms);
void agent_stream_closed(struct agent *agent, uint64_t now_ms);

/* What agent_give() made of a task. */
enum agent_taken {
    AGENT_TAKEN,
    AGENT_TAKEN_DUPLICATE, /* it waits or is worked on already */
    AGENT_TAKEN_STALE,     /* of an earlier round than the one worked on */
};

/* A task came over the stream; takes over *task in every case. */
enum agent_taken agent_give(struct agent *agent, struct agent_task *task, uint64_t now_ms);

void agent_trained(struct agent *agent, const struct agent_kept *kept, uint64_t now_ms);
void agent_step_done(struct agent *agent, enum agent_outcome outcome, uint64_t now_ms);

/* Stop: an upload or a report under way may still finish, everything else is cancelled.
 * AGENT_DO_END follows. A second call does not wait for the first. */
void agent_stop(struct agent *agent, uint64_t now_ms);

/* -- getters --------------------------------------------------------------------------------- */

enum agent_place agent_get_place(const struct agent *agent);
enum agent_work agent_get_work(const struct agent *agent);
const char *agent_get_address(const struct agent *agent);
const struct agent_task *agent_get_task(const struct agent *agent); /* NULL when idle */
const struct agent_kept *agent_get_kept(const struct agent *agent); /* NULL: none */
/* After the end: the step that was not finished, AGENT_IDLE: none; and its round ("" none). */
enum agent_work agent_get_undone(const struct agent *agent, const char **ret_round_id);
size_t agent_count_waiting(const struct agent *agent);

#endif /* CLIENT_CORE_AGENT_STATE_H */
