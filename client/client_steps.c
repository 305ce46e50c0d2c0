/* The steps of a task, as the agent asks for them: on a worker or over the link.
 *
 * Happy path of training: fetch (or not: the model validated a moment ago is the base) · train on a
 * worker, update into STATE/updates, record · upload · SendModelUpdate until OK.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_inside.h"
#include "client/json/agent_json.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"

static inline void free_text_p(char **text)
{
    free(*text);
}

static double seconds_since(uint64_t since_us)
{
    return (double)(fed_clock_mono_us() - since_us) / 1e6;
}

/* -- fetching ---------------------------------------------------------------------------------- */

static void begin_fetch(struct client *client, const struct agent_task *task)
{
    if (strcmp(client->model_id, task->model_id) == 0) {
        fed_loop_post(client->loop, &client->fetched);
        return;
    }
    client->model_id[0] = '\0';
    link_download(client->link, task->model_id, client->model_path);
}

void client_fetched(void *arg)
{
    client_step_ended(AGENT_DONE, "", arg);
}

/* -- training and validating ------------------------------------------------------------------- */

static struct trainer_task make_trainer_task(struct client *client, const char *update_path)
{
    return (struct trainer_task){
        .base_path = client->model_path,
        .update_path = update_path,
        .round_number = client->task.round_number,
        .epochs = client->task.epochs,
        .batch = client->task.batch,
        .lr = client->task.lr,
        .is_cancelled = &client->is_cancelled,
    };
}

static void work_train(void *arg)
{
    struct client *client = arg;
    struct fed_err *err = &client->step_err;
    struct agent_kept *kept = &client->kept;
    struct trainer_result result = {0};
    char uuid[FED_UUID_SIZE];
    char path[FED_PATH_SIZE];
    const uint64_t started_us = fed_clock_mono_us();
    int rc = fed_uuid_new(uuid, err);

    *kept = (struct agent_kept){0};
    if (rc == 0) {
        rc = keep_format_path(&client->keep, uuid, path, err);
    }
    if (rc == 0) {
        const struct trainer_task task = make_trainer_task(client, path);
        rc = trainer_train(client->trainer, &task, &result, err);
    }
    if (rc == 0) {
        fed_id_copy(kept->session_id, client->task.session_id);
        fed_id_copy(kept->round_id, client->task.round_id);
        fed_id_copy(kept->model_id, client->task.model_id);
        fed_id_copy(kept->update_id, uuid);
        kept->n_examples = result.n_examples;
        kept->loss = result.loss;
        kept->train_s = (double)(fed_clock_mono_us() - started_us) / 1e6;
        rc = keep_save_update(&client->keep, kept, err);
    }
    client->step_rc = rc;
}

static void train_done(void *arg)
{
    struct client *client = arg;
    const struct agent_kept *kept = &client->kept;

    client->is_step_working = false;
    if (client->step_rc < 0) {
        client_step_ended(client->step_rc == -FED_E_CANCELLED ? AGENT_CANCELLED : AGENT_FAILED,
                          client->step_err.msg, client);
        return;
    }
    fed_log(FED_LOG_INFO, "round", "trained",
            "round=%s session=%s examples=%llu loss=%.4f seconds=%.2f update=%s", kept->round_id,
            kept->session_id, (unsigned long long)kept->n_examples, kept->loss, kept->train_s,
            kept->update_id);
    agent_trained(client->agent, kept, fed_loop_now_ms(client->loop));
    client_drive(client);
}

static void work_validate(void *arg)
{
    struct client *client = arg;
    const struct trainer_task task = make_trainer_task(client, NULL);

    client->step_rc = trainer_validate(client->trainer, &task, &client->scores, &client->step_err);
}

static void keep_scores(struct client *client)
{
    struct agent_score scores[TRAINER_SCORES_MAX];
    const struct trainer_scores *from = &client->scores;

    for (size_t i = 0; i < from->n_items; i++) {
        scores[i] = (struct agent_score){from->items[i].name, from->items[i].value};
    }
    free(client->report);
    client->report = agent_json_scores(scores, from->n_items);
}

static void validate_done(void *arg)
{
    struct client *client = arg;

    client->is_step_working = false;
    if (client->step_rc < 0) {
        client_step_ended(client->step_rc == -FED_E_CANCELLED ? AGENT_CANCELLED : AGENT_FAILED,
                          client->step_err.msg, client);
        return;
    }
    if (client->scores.n_items == 0) {
        client_step_ended(AGENT_NOTHING, "", client);
        return;
    }
    keep_scores(client);
    fed_log(FED_LOG_INFO, "model", "validated", "model=%s session=%s scores=%s seconds=%.2f",
            client->task.model_id, client->task.session_id,
            client->report == NULL ? "" : client->report, seconds_since(client->step_started_us));
    client_step_ended(client->report == NULL ? AGENT_AGAIN : AGENT_DONE, "", client);
}

static void submit(struct client *client, fed_job_fn work, fed_event_fn done)
{
    assert(!client->is_step_working);
    client->is_step_working = true;
    client->step_err = (struct fed_err){0};
    fed_job_init(&client->step_job, work, done, client);
    fed_workers_submit(client->workers, NULL, &client->step_job);
}

/* -- sending ----------------------------------------------------------------------------------- */

static void begin_upload(struct client *client)
{
    const struct agent_kept *kept = agent_get_kept(client->agent);
    char path[FED_PATH_SIZE];

    if (keep_format_path(&client->keep, kept->update_id, path, NULL) < 0) {
        path[0] = '\0'; /* longer than it was when it was written: cannot be */
    }
    link_upload(client->link, kept->update_id, path);
}

static void begin_report(struct client *client, const struct agent_task *task)
{
    const struct agent_kept *kept = agent_get_kept(client->agent);
    FED_CLEANUP(free_text_p) char *meta = NULL;

    if (task->type == AGENT_TASK_VALIDATE) {
        link_report_validation(client->link, task, client->report == NULL ? "{}" : client->report);
        return;
    }
    client->times.processing_s = seconds_since(client->task_started_us);
    meta = agent_json_meta(kept, &client->times, task->data == NULL ? "" : task->data);
    if (kept->loss >= 0) {
        link_send_metric(client->link, task, "train_loss", kept->loss);
    }
    link_report_update(client->link, task, kept->update_id, meta == NULL ? "" : meta);
}

/* -- all of them ------------------------------------------------------------------------------- */

void client_begin_step(struct client *client, enum agent_action_type type)
{
    const struct agent_task *task = agent_get_task(client->agent);

    atomic_store(&client->is_cancelled, false);
    client->step_started_us = fed_clock_mono_us();
    client->task = *task;
    client->task.data = NULL;
    switch ((int)type) {
    case AGENT_DO_FETCH:
        begin_fetch(client, task);
        break;
    case AGENT_DO_TRAIN:
        submit(client, work_train, train_done);
        break;
    case AGENT_DO_VALIDATE:
        submit(client, work_validate, validate_done);
        break;
    case AGENT_DO_UPLOAD:
        begin_upload(client);
        break;
    case AGENT_DO_REPORT:
        begin_report(client, task);
        break;
    default:
        assert(false); /* there is no other */
    }
}

void client_cancel_step(struct client *client)
{
    atomic_store(&client->is_cancelled, true);
    link_cancel_step(client->link);
}

static void step_succeeded(struct client *client)
{
    switch (agent_get_work(client->agent)) {
    case AGENT_FETCHING:
        client->times.fetch_s = seconds_since(client->step_started_us);
        fed_id_copy(client->model_id, client->task.model_id);
        break;
    case AGENT_UPLOADING:
        client->times.upload_s = seconds_since(client->step_started_us);
        FED_FAULT_POINT("client.uploaded");
        break;
    case AGENT_REPORTING:
        if (client->task.type == AGENT_TASK_TRAIN) {
            FED_FAULT_POINT("client.admitted");
            fed_log(FED_LOG_INFO, "round", "reported", "round=%s session=%s update=%s seconds=%.2f",
                    client->task.round_id, client->task.session_id,
                    agent_get_kept(client->agent)->update_id,
                    seconds_since(client->task_started_us));
        }
        break;
    case AGENT_IDLE:
    case AGENT_TRAINING:
    case AGENT_VALIDATING:
    case AGENT_WORK_MAX:
    default:
        break;
    }
}

void client_step_ended(enum agent_outcome outcome, const char *text, void *arg)
{
    struct client *client = arg;
    const char *work = agent_work_name(agent_get_work(client->agent));

    if (outcome == AGENT_DONE) {
        step_succeeded(client);
    } else if (outcome == AGENT_AGAIN || outcome == AGENT_FAILED) {
        fed_log(FED_LOG_WARNING, "task", outcome == AGENT_AGAIN ? "repeated" : "dropped",
                "step=%s round=%s model=%s error=\"%s\"", work, client->task.round_id,
                client->task.model_id, text);
    }
    if (outcome == AGENT_FAILED) {
        client->model_id[0] = '\0'; /* it may be the file: the next task fetches it anew */
    }
    agent_step_done(client->agent, outcome, fed_loop_now_ms(client->loop));
    client_drive(client);
}

/* FEDn's texts, which its users search their status lists for. */
void client_tell(struct client *client, const struct agent_action *action)
{
    const struct agent_task *task = &action->task;
    const struct agent_kept *kept = agent_get_kept(client->agent);
    const bool is_training = task->type == AGENT_TASK_TRAIN;
    FED_CLEANUP(free_text_p) char *data = NULL;
    FED_CLEANUP(free_text_p) char *meta = NULL;
    char text[FED_ID_SIZE + 96];
    enum link_level level = LINK_AUDIT;

    switch (action->tell) {
    case AGENT_TELL_RECEIVED:
        client->times = (struct agent_times){0};
        client->task_started_us = fed_clock_mono_us();
        (void)snprintf(text, sizeof(text), "Received request from combiner.");
        break;
    case AGENT_TELL_STARTED:
        level = LINK_INFO;
        (void)snprintf(text, sizeof(text),
                       is_training ? "\t Starting processing of training request for model_id %s"
                                   : "Processing validate request for model_id %s",
                       task->model_id);
        break;
    case AGENT_TELL_COMPLETED:
        (void)snprintf(text, sizeof(text),
                       is_training ? "Model update completed." : "Model validation completed.");
        break;
    case AGENT_TELL_FAILED:
    default:
        level = LINK_ERROR;
        (void)snprintf(text, sizeof(text), "%s failed for model_id %s",
                       is_training ? "Training" : "Validation", task->model_id);
    }
    if (action->tell == AGENT_TELL_COMPLETED && is_training && kept != NULL) {
        meta = agent_json_meta(kept, &client->times, NULL); /* the reducer's plots read the times */
        data = agent_json_about(task, kept->update_id, meta);
    } else {
        data = agent_json_about(task, NULL, NULL);
    }
    link_send_status(client->link, task, level, text, data == NULL ? "" : data);
}
