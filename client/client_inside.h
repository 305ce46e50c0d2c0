/* What client.c and client_steps.c share. Nobody else includes this. */
#ifndef CLIENT_CLIENT_INSIDE_H
#define CLIENT_CLIENT_INSIDE_H

#include <stdatomic.h>

#include "client/client.h"
#include "client/core/agent_state.h"
#include "client/json/agent_json.h"
#include "client/keep/keep.h"
#include "client/rpc/assign.h"
#include "client/rpc/link.h"
#include "client/train/trainer.h"
#include "common/rpc/rpc.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

struct client {
    const struct client_settings *settings;
    char client_id[FED_ID_SIZE];
    char name[FED_ID_SIZE];
    struct keep keep;
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc *rpc;
    struct link *link;
    struct agent *agent;
    struct trainer *trainer;
    struct fed_timer tick;
    struct fed_timer drain;
    int exit_status;
    bool is_ending;
    bool is_link_stopped;

    struct fed_event signalled;

    /* Asking the reducer; between submit and done the worker's. */
    struct fed_job assign_job;
    bool is_assigning;
    int cancel_fd; /* an eventfd: readable when REST is to end */
    struct assign_answer answer;

    /* The ready file. */
    struct fed_job ready_job;
    bool is_writing_ready;
    char ready_address[AGENT_ADDRESS_SIZE];

    /* The task's step. */
    struct fed_event fetched;   /* the model was here already */
    char model_id[FED_ID_SIZE]; /* of the file tmp/model.npz; "" none */
    char model_path[FED_PATH_SIZE];
    uint64_t task_started_us;
    uint64_t step_started_us;
    struct agent_times times;
    char *report; /* what a validation found: JSON, owned */
    struct fed_job step_job;
    bool is_step_working;
    atomic_bool is_cancelled; /* asks training to end */
    /* Between submit and done the worker's: */
    struct agent_task task; /* its data is not copied */
    struct agent_kept kept;
    struct trainer_scores scores;
    int step_rc;
    struct fed_err step_err;
};

/* Carry out what the agent asks for, and look at its clock. After every event. */
void client_drive(struct client *client);

/* One of the task's steps. */
void client_begin_step(struct client *client, enum agent_action_type type);
void client_cancel_step(struct client *client);
void client_tell(struct client *client, const struct agent_action *action);
void client_step_ended(enum agent_outcome outcome, const char *text, void *arg);
void client_fetched(void *arg);

#endif /* CLIENT_CLIENT_INSIDE_H */
