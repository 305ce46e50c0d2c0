/* Happy path: settings → client_new() → client_run(): the agent asks for an assignment, a
 * connection, a stream; tasks come; client_steps.c carries their steps out; SIGTERM ends it.
 *
 * Shutting down, in order: the agent says END · training and REST are told to end · the link's
 * calls are cancelled · when the last of them is over the loop stops · workers, then gRPC, are
 * freed.
 */
#include "client/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/client_inside.h"
#include "client/json/agent_json.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/rand.h"
#include "common/sync/stop_signal.h"

#define N_WORKERS    2U     /* training, and beside it disk and REST */
#define KEEPALIVE_MS 10000U /* no server takes a ping every 10 s amiss */

static inline void free_text_p(char **text)
{
    free(*text);
}

static uint64_t now_ms(const struct client *client)
{
    return fed_loop_now_ms(client->loop);
}

/* -- the reducer ------------------------------------------------------------------------------- */

static void work_assign(void *arg)
{
    struct client *client = arg;
    const struct assign_request request = {
        .api_url = client->settings->api_url,
        .name = client->name,
        .client_id = client->client_id,
        .preferred_combiner = client->settings->preferred_combiner,
        .cancel_fd = client->cancel_fd,
    };

    assign_run(&request, &client->answer);
}

static void check_ended(struct client *client)
{
    if (client->is_link_stopped && !client->is_assigning && !client->is_writing_ready &&
        !client->is_step_working) {
        fed_loop_stop(client->loop);
    }
}

static void assign_done(void *arg)
{
    static const enum fed_log_level levels[] = {FED_LOG_INFO, FED_LOG_INFO, FED_LOG_ERROR,
                                                FED_LOG_WARNING};
    static const char *const events[] = {"assigned", "assigned_later", "refused", "unreachable"};
    struct client *client = arg;
    const struct assign_answer *answer = &client->answer;

    client->is_assigning = false;
    if (!client->is_ending) {
        fed_log(levels[answer->assignment], "reducer", events[answer->assignment],
                "url=%s combiner=%s answer=\"%s\"", client->settings->api_url, answer->address,
                answer->text);
    }
    agent_assigned(client->agent, answer->assignment, answer->address, now_ms(client));
    client_drive(client);
}

static void begin_assign(struct client *client)
{
    assert(!client->is_assigning);
    client->is_assigning = true;
    fed_job_init(&client->assign_job, work_assign, assign_done, client);
    fed_workers_submit(client->workers, NULL, &client->assign_job);
}

/* -- the ready file ---------------------------------------------------------------------------- */

static void work_ready(void *arg)
{
    struct client *client = arg;
    struct fed_err err = {0};
    FED_CLEANUP(free_text_p)
    char *text = agent_json_ready(client->client_id, client->ready_address, (long)getpid());

    if (text == NULL ||
        fed_file_replace(client->settings->ready_file, fed_view_str(text), false, &err) < 0) {
        fed_log(FED_LOG_ERROR, "client", "no_ready_file", "error=\"%s\"", err.msg);
    }
}

static void ready_done(void *arg)
{
    struct client *client = arg;

    client->is_writing_ready = false;
    if (client->is_ending) {
        check_ended(client);
    }
}

static void announce(struct client *client)
{
    const char *address = agent_get_address(client->agent);

    fed_log(FED_LOG_INFO, "combiner", "attached", "combiner=%s", address);
    if (client->settings->ready_file[0] != '\0' && !client->is_writing_ready) {
        client->is_writing_ready = true;
        (void)snprintf(client->ready_address, sizeof(client->ready_address), "%s", address);
        fed_job_init(&client->ready_job, work_ready, ready_done, client);
        fed_workers_submit(client->workers, NULL, &client->ready_job);
    }
}

/* -- the end ----------------------------------------------------------------------------------- */

static void link_stopped(void *arg)
{
    struct client *client = arg;

    client->is_link_stopped = true;
    check_ended(client);
}

static void end(struct client *client, bool is_refused)
{
    const char *round_id = "";
    const enum agent_work work = agent_get_undone(client->agent, &round_id);

    if (client->is_ending) {
        return;
    }
    client->is_ending = true;
    client->exit_status = is_refused ? FED_EXIT_FAILED : FED_EXIT_OK;
    fed_log(FED_LOG_INFO, "client", "ending", "undone=%s round=%s waiting=%zu",
            work == AGENT_IDLE ? "nothing" : agent_work_name(work), round_id,
            agent_count_waiting(client->agent));
    fed_timer_stop(&client->tick);
    fed_timer_stop(&client->drain);
    atomic_store(&client->is_cancelled, true);
    (void)eventfd_write(client->cancel_fd, 1);
    fed_loop_cancel(client->loop, &client->fetched);
    link_stop(client->link, link_stopped, client);
}

/* -- the agent's actions ----------------------------------------------------------------------- */

static void connect_to(struct client *client)
{
    struct fed_err err = {0};

    if (link_connect(client->link, agent_get_address(client->agent), &err) < 0) {
        fed_log(FED_LOG_ERROR, "combiner", "bad_address", "error=\"%s\"", err.msg);
    }
}

static void perform(struct client *client, const struct agent_action *action)
{
    switch (action->type) {
    case AGENT_DO_ASSIGN:
        begin_assign(client);
        break;
    case AGENT_DO_CONNECT:
        connect_to(client);
        break;
    case AGENT_DO_OPEN_STREAM:
        link_open_stream(client->link);
        break;
    case AGENT_DO_CLOSE_STREAM:
        link_close_stream(client->link);
        break;
    case AGENT_DO_HEARTBEAT:
        link_heartbeat(client->link);
        break;
    case AGENT_DO_ANNOUNCE:
        announce(client);
        break;
    case AGENT_DO_FETCH:
    case AGENT_DO_TRAIN:
    case AGENT_DO_VALIDATE:
    case AGENT_DO_UPLOAD:
    case AGENT_DO_REPORT:
        client_begin_step(client, action->type);
        break;
    case AGENT_DO_CANCEL:
        client_cancel_step(client);
        break;
    case AGENT_DO_TELL:
        client_tell(client, action);
        break;
    case AGENT_DO_END:
        end(client, action->is_refused);
        break;
    case AGENT_DO_MAX:
    default:
        assert(false); /* there is no other */
    }
}

void client_drive(struct client *client)
{
    struct agent_action action;
    uint64_t due_ms;

    while (!client->is_ending && agent_take_action(client->agent, &action)) {
        perform(client, &action);
    }
    if (client->is_ending) {
        check_ended(client);
        return;
    }
    due_ms = agent_due_ms(client->agent);
    if (due_ms == UINT64_MAX) {
        fed_timer_stop(&client->tick);
    } else {
        fed_timer_start(client->loop, &client->tick, due_ms);
    }
}

/* -- what happens ------------------------------------------------------------------------------ */

static void on_tick(void *arg)
{
    struct client *client = arg;

    agent_tick(client->agent, now_ms(client));
    client_drive(client);
}

static void on_task(const struct agent_task *task, void *arg)
{
    static const char *const words[] = {"received", "already_there", "stale"};
    struct client *client = arg;
    struct agent_task copy = *task;
    const char *type = task->type == AGENT_TASK_TRAIN ? "train" : "validate";
    const enum agent_taken taken = agent_give(client->agent, &copy, now_ms(client));

    fed_log(FED_LOG_INFO, "task", words[taken], "type=%s round=%s session=%s model=%s", type,
            task->round_id, task->session_id, task->model_id);
    client_drive(client);
}

static void on_stream_closed(int code, const char *detail, void *arg)
{
    struct client *client = arg;

    if (agent_get_place(client->agent) == AGENT_ATTACHED) {
        fed_log(FED_LOG_WARNING, "combiner", "lost", "combiner=%s code=%d detail=\"%s\"",
                agent_get_address(client->agent), code, detail);
    } else {
        fed_log(FED_LOG_DEBUG, "combiner", "not_attached", "combiner=%s code=%d detail=\"%s\"",
                agent_get_address(client->agent), code, detail);
    }
    agent_stream_closed(client->agent, now_ms(client));
    client_drive(client);
}

static void on_heartbeat(bool is_answered, void *arg)
{
    struct client *client = arg;

    agent_heartbeat_done(client->agent, is_answered, now_ms(client));
    client_drive(client);
}

static const struct link_ops link_ops = {on_task, on_stream_closed, on_heartbeat,
                                         client_step_ended};

/* -- signals ----------------------------------------------------------------------------------- */

static void post_signal(void *arg)
{
    struct client *client = arg;

    fed_loop_post(client->loop, &client->signalled);
}

static void on_signal(void *arg)
{
    struct client *client = arg;

    if (client->is_ending) {
        return;
    }
    fed_log(FED_LOG_INFO, "client", "stopping", "work=%s",
            agent_work_name(agent_get_work(client->agent)));
    agent_stop(client->agent, now_ms(client));
    fed_timer_start(client->loop, &client->drain,
                    now_ms(client) + client->settings->drain_limit_ms);
    client_drive(client);
}

static void on_drain_over(void *arg)
{
    struct client *client = arg;

    agent_stop(client->agent, now_ms(client));
    client_drive(client);
}

/* -- life -------------------------------------------------------------------------------------- */

static int open_trainer(struct client *client, struct fed_err *err)
{
    const struct client_settings *settings = client->settings;
    const struct trainer_config config = {
        .data = settings->data,
        .partition = settings->partition,
        .kernel = settings->kernel,
        .shard = settings->shard_index,
        .n_shards = settings->n_shards,
        .seed = settings->seed,
        .epochs = (uint32_t)settings->epochs,
        .batch = (uint32_t)settings->batch,
        .lr = settings->lr,
        .is_validating_on_shard = strcmp(settings->validate_on, "shard") == 0,
        .examples = settings->echo_examples,
    };

    return trainer_new(settings->trainer, &config, &client->trainer, err);
}

static int open_agent(struct client *client, struct fed_err *err)
{
    const struct client_settings *settings = client->settings;
    struct agent_config config = {
        .heartbeat_ms = settings->heartbeat_ms,
        .attach_timeout_ms = settings->attach_timeout_ms,
        .reassign_after_ms = settings->reassign_after_ms,
        .retry_min_ms = 100,
        .retry_max_ms = 5000,
        .assign_retry_ms = 3000,
        .heartbeats_missed = 3,
        .validation_tries = 20,
        .is_fixed = settings->combiner[0] != '\0',
    };
    struct agent_kept kept;
    struct fed_err kept_err = {0};
    int rc = fed_rand_system(&config.seed, sizeof(config.seed), err);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(config.address, sizeof(config.address), "%s", settings->combiner);
    rc = agent_new(&config, &client->agent, err);
    if (rc == 0 && keep_load_update(&client->keep, &kept, &kept_err)) {
        fed_log(FED_LOG_INFO, "round", "update_found", "round=%s session=%s update=%s",
                kept.round_id, kept.session_id, kept.update_id);
        agent_set_kept(client->agent, &kept);
    } else if (kept_err.code != FED_OK) {
        fed_log(FED_LOG_WARNING, "round", "update_dropped", "error=\"%s\"", kept_err.msg);
    }
    return rc;
}

static int open_identity(struct client *client, struct fed_err *err)
{
    int rc = keep_open(client->settings->state, &client->keep, err);

    if (rc == 0) {
        rc = keep_load_id(&client->keep, client->settings->id, client->client_id, err);
    }
    if (rc == 0) {
        rc = keep_format_tmp(&client->keep, "model.npz", client->model_path, err);
    }
    if (client->settings->name[0] != '\0') {
        (void)snprintf(client->name, sizeof(client->name), "%s", client->settings->name);
    } else {
        (void)snprintf(client->name, sizeof(client->name), "client%.8s", client->client_id);
    }
    return rc;
}

static int open_threads(struct client *client, struct fed_err *err)
{
    const struct link_config config = {
        .loop = NULL,
        .client_id = client->client_id,
        .name = client->name,
        .model_max = client->settings->model_max,
        .call_timeout_ms = client->settings->call_timeout_ms,
        .transfer_limit_ms = client->settings->transfer_limit_ms,
        .keepalive_ms = KEEPALIVE_MS,
    };
    struct link_config full = config;
    int rc = fed_loop_new(&client->loop, err);

    client->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && client->cancel_fd < 0) {
        rc = fed_file_error(err, "make", "eventfd");
    }
    if (rc == 0) {
        rc = fed_workers_new(client->loop, N_WORKERS, &client->workers, err);
    }
    if (rc == 0) {
        rc = fed_rpc_new(client->loop, &client->rpc, err);
    }
    if (rc == 0) {
        full.loop = client->loop;
        rc = link_new(client->rpc, client->workers, &full, &link_ops, client, &client->link);
    }
    return rc;
}

int client_new(const struct client_settings *settings,
               struct client **ret_client,
               struct fed_err *err)
{
    FED_CLEANUP(client_free_p) struct client *client = calloc(1, sizeof(*client));
    int rc;

    if (client == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "client");
    }
    client->settings = settings;
    client->keep.lock_fd = -1;
    client->cancel_fd = -1;
    rc = open_identity(client, err);
    if (rc == 0) {
        rc = open_trainer(client, err);
    }
    if (rc == 0) {
        rc = open_agent(client, err);
    }
    if (rc == 0) {
        rc = open_threads(client, err);
    }
    if (rc < 0) {
        return rc;
    }
    fed_timer_init(&client->tick, on_tick, client);
    fed_timer_init(&client->drain, on_drain_over, client);
    fed_event_init(&client->signalled, on_signal, client);
    fed_event_init(&client->fetched, client_fetched, client);
    *ret_client = FED_TAKE(client);
    return 0;
}

struct client *client_free(struct client *client)
{
    if (client != NULL) {
        (void)fed_workers_free(client->workers);
        (void)link_free(client->link);
        (void)fed_rpc_free(client->rpc);
        (void)fed_loop_free(client->loop);
        (void)agent_free(client->agent);
        (void)trainer_free(client->trainer);
        keep_close(&client->keep);
        if (client->cancel_fd >= 0) {
            (void)close(client->cancel_fd);
        }
        free(client->report);
        free(client);
    }
    return NULL;
}

int client_run(struct client *client)
{
    struct fed_stop_signal stop_signal;
    struct fed_err err = {0};

    if (fed_stop_signal_start(&stop_signal, post_signal, client, &err) < 0) {
        fed_log(FED_LOG_ERROR, "client", "no_thread", "error=\"%s\"", err.msg);
        return FED_EXIT_FAILED;
    }
    fed_log(FED_LOG_INFO, "client", "starting", "client=%s name=\"%s\" trainer=%s state=%s",
            client->client_id, client->name, client->settings->trainer, client->settings->state);
    agent_start(client->agent, now_ms(client));
    client_drive(client);
    fed_loop_run(client->loop);
    fed_stop_signal_end(&stop_signal);
    fed_log(FED_LOG_INFO, "client", "ended", "status=%d", client->exit_status);
    return client->exit_status;
}
