#include "combiner/combiner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "combiner/combiner_inside.h"
#include "common/base/log.h"
#include "common/base/rand.h"

#define KEEPALIVE_MS 5000U /* the reducer is pinged that often, and has so long to answer */
#define HOST_SIZE    256
#define JSON_SIZE    1024
#define TEXT_SIZE    256

/* -- making the parts -------------------------------------------------------------------------- */

static int open_channels(struct combiner *combiner, struct fed_err *err)
{
    struct fed_rpc_channel_config config = {
        .target = combiner->settings->reducer,
        .message_size_max = FED_RPC_CONTROL_MAX,
        .keepalive_ms = KEEPALIVE_MS,
        .keepalive_timeout_ms = KEEPALIVE_MS,
    };
    int rc = fed_rpc_channel_new(combiner->rpc, &config, &combiner->control, err);

    config.keepalive_ms = 0; /* its calls have deadlines */
    return rc < 0 ? rc : fed_rpc_channel_new(combiner->rpc, &config, &combiner->bulk, err);
}

static int open_spool(struct combiner *combiner, struct fed_err *err)
{
    const struct settings *settings = combiner->settings;
    const struct staging_limits limits = {
        .uploads_max = settings->staged_max,
        .bytes_max = settings->staged_bytes_max,
        .age_ms = settings->staged_age,
    };
    char path[FED_PATH_SIZE];
    const struct mailer_config mailer = {
        .workers = combiner->workers,
        .path = path,
        .bytes_max = settings->outbox_bytes_max,
        .on_unsent = combiner_on_unsent,
        .arg = combiner,
    };
    int rc = spool_open(settings->spool, settings_is_synced(settings), &combiner->spool, err);

    staging_init(&combiner->staging, &limits);
    combiner->is_staging = true;
    rc = rc < 0 ? rc : fed_path_format(path, err, "%s/outbox", settings->spool);
    return rc < 0 ? rc : mailer_new(&mailer, &combiner->mailer, err);
}

static int make_parts(struct combiner *combiner, struct fed_err *err)
{
    const struct settings *settings = combiner->settings;
    const struct fed_npz_limits limits = {settings->upload_size_max, settings->parameters_max};
    const struct models_config models = {
        .loop = combiner->loop,
        .workers = combiner->workers,
        .channel = combiner->bulk,
        .spool = combiner->spool,
        .limits = limits,
        .idle_ms = settings->upload_idle_limit,
        .seed = combiner->seed,
    };
    const struct ledger_config ledger = {combiner->loop, combiner->workers, combiner->spool, limits,
                                         settings->spool_bytes_max};
    const struct checks_config checks = {combiner->loop, combiner->workers, combiner->spool,
                                         &combiner->staging, limits};
    int rc = models_new(&models, &combiner_models_ops, combiner, &combiner->models, err);

    rc = rc < 0 ? rc : ledger_new(&ledger, &combiner_ledger_ops, combiner, &combiner->ledger, err);
    return rc < 0 ? rc
                  : checks_new(&checks, &combiner_checks_ops, combiner, &combiner->checks, err);
}

static int open_port(struct combiner *combiner, struct fed_err *err)
{
    const struct settings *settings = combiner->settings;
    const struct front_config config = {
        .name = settings->name,
        .listen = settings->listen,
        .calls_max = (uint32_t)settings->calls_max,
        .connections_max = (uint32_t)settings->connections_max,
        .clients_max = (uint32_t)settings->clients_max,
        .rpc_memory_bytes = settings->rpc_memory_max,
        .uploads_max = (uint32_t)settings->uploads_max,
        .upload_turns_max = (uint32_t)settings->upload_turns_max,
        .upload_size_max = settings->upload_size_max,
        .upload_idle_ms = settings->upload_idle_limit,
        .beat_pace_ms = settings->heartbeat_pace,
    };
    const struct front_parts parts = {
        .loop = combiner->loop,
        .workers = combiner->workers,
        .rpc = combiner->rpc,
        .spool = combiner->spool,
        .staging = &combiner->staging,
        .mailer = combiner->mailer,
    };

    return front_start(&config, &parts, &combiner_front_ops, combiner, &combiner->front, err);
}

static bool is_wildcard(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* Where we listen, and where clients are sent: what was set, with the port that came of it. */
static int name_addresses(struct combiner *combiner, struct fed_err *err)
{
    const struct settings *settings = combiner->settings;
    char host[HOST_SIZE] = "";
    char own[HOST_SIZE] = "localhost";
    uint16_t port = 0;
    const char *colons;

    if (strncmp(settings->listen, "fd:", 3) != 0 &&
        !fed_address_parse(settings->listen, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "listen is '%s'", settings->listen);
    }
    port = front_port(combiner->front);
    colons = strchr(host, ':') != NULL ? "[]" : "";
    (void)snprintf(combiner->listen, sizeof(combiner->listen), "%.1s%.200s%.1s:%u", colons,
                   host[0] == '\0' ? "0.0.0.0" : host, colons[0] == '\0' ? "" : colons + 1, port);
    if (settings->advertise[0] != '\0') {
        (void)snprintf(combiner->advertise, sizeof(combiner->advertise), "%.*s",
                       FED_LINK_ADDRESS_SIZE - 1, settings->advertise);
    } else if (is_wildcard(host)) {
        (void)gethostname(own, sizeof(own) - 1);
        (void)snprintf(combiner->advertise, sizeof(combiner->advertise), "%.200s:%u", own, port);
    } else {
        memcpy(combiner->advertise, combiner->listen, sizeof(combiner->advertise));
    }
    return 0;
}

static int make_collector(struct combiner *combiner, struct fed_err *err)
{
    const struct settings *settings = combiner->settings;
    struct collector_config config = {
        .clients_max = (uint32_t)settings->clients_max,
        .heartbeat_limit_ms = settings->heartbeat_limit,
        .is_binding = settings_is_binding(settings),
    };
    int rc;

    fed_id_copy(config.combiner_id, spool_get_id(combiner->spool));
    fed_id_copy(config.boot_id, combiner->boot_id);
    (void)snprintf(config.name, sizeof(config.name), "%.*s", FED_LINK_TEXT_SIZE - 1,
                   settings->name);
    memcpy(config.advertise, combiner->advertise, sizeof(config.advertise));
    (void)snprintf(config.version, sizeof(config.version), "%s", CONFED_VERSION);
    rc = collector_new(&config, &combiner->collector, err);
    if (rc == 0) {
        front_set_collector(combiner->front, combiner->collector);
    }
    return rc;
}

static int start_link(struct combiner *combiner, struct fed_err *err)
{
    const struct reducer_link_config config = {
        .loop = combiner->loop,
        .channel = combiner->control,
        .mailer = combiner->mailer,
        .welcome_timeout_ms = combiner->settings->welcome_timeout,
        .seed = combiner->seed,
    };

    return reducer_link_start(&config, &combiner_link_ops, combiner, &combiner->link, err);
}

/* -- the ready file ---------------------------------------------------------------------------- */

static void do_ready(void *arg)
{
    const struct combiner *combiner = arg;
    char json[JSON_SIZE];
    struct fed_err err = {0};
    const int n = snprintf(json, sizeof(json),
                           "{\"listen\":\"%s\",\"advertise\":\"%s\",\"combiner_id\":\"%s\","
                           "\"pid\":%ld}\n",
                           combiner->listen, combiner->advertise, spool_get_id(combiner->spool),
                           (long)getpid());

    if (n > 0 &&
        fed_file_replace(combiner->settings->ready_file, fed_view_str(json), false, &err) < 0) {
        fed_log(FED_LOG_ERROR, "combiner", "no_ready_file", "error=\"%s\"", err.msg);
    }
}

static void after_ready(void *arg)
{
    struct combiner *combiner = arg;

    combiner->n_jobs--;
    combiner_settled(combiner);
}

/* Served, and Welcomed for the first time. */
void combiner_note_welcome(struct combiner *combiner)
{
    if (combiner->is_ready) {
        return;
    }
    combiner->is_ready = true;
    fed_log(FED_LOG_INFO, "combiner", "ready", "listen=%s advertise=%s combiner=%s",
            combiner->listen, combiner->advertise, spool_get_id(combiner->spool));
    if (combiner->settings->ready_file[0] != '\0') {
        combiner->n_jobs++;
        fed_job_init(&combiner->ready_job, do_ready, after_ready, combiner);
        fed_workers_submit(combiner->workers, NULL, &combiner->ready_job);
    }
}

/* -- the end ----------------------------------------------------------------------------------- */

static void link_closed(void *arg)
{
    struct combiner *combiner = arg;

    combiner->is_link_closed = true;
    combiner_settled(combiner);
}

static void port_closed(void *arg)
{
    struct combiner *combiner = arg;

    combiner->is_port_closed = true;
    combiner_settled(combiner);
}

static void close_all(struct combiner *combiner)
{
    char text[TEXT_SIZE];

    combiner->phase = COMBINER_CLOSING;
    fed_timer_stop(&combiner->drain);
    fed_timer_stop(&combiner->tick);
    collector_format(combiner->collector, text, sizeof(text));
    fed_log(FED_LOG_INFO, "combiner", "stopped",
            "uploads_cut=%zu announcements_unanswered=%zu uploads_kept=%zu records_waiting=%llu "
            "state=\"%s\"",
            front_count_uploads(combiner->front),
            front_count_open(combiner->front) - front_count_uploads(combiner->front),
            combiner->staging.n_uploads, (unsigned long long)mailer_count(combiner->mailer), text);
    front_stop(combiner->front, port_closed, combiner);
    reducer_link_stop(combiner->link, link_closed, combiner);
    combiner_cancel_deliveries(combiner);
    models_stop(combiner->models);
}

static bool are_workers_idle(const struct combiner *combiner)
{
    return combiner->n_jobs == 0 && ledger_is_idle(combiner->ledger) &&
           checks_is_idle(combiner->checks) && mailer_is_idle(combiner->mailer) &&
           front_count_uploads(combiner->front) == 0 && fed_list_is_empty(&combiner->deliveries);
}

static void on_settle(void *arg)
{
    struct combiner *combiner = arg;

    if (combiner->phase == COMBINER_DRAINING && front_count_open(combiner->front) == 0) {
        close_all(combiner);
    }
    if (combiner->phase == COMBINER_CLOSING && combiner->is_port_closed &&
        combiner->is_link_closed && are_workers_idle(combiner)) {
        combiner->phase = COMBINER_SETTLING;
        checks_stop(combiner->checks);
        ledger_stop(combiner->ledger);
    }
    if (combiner->phase == COMBINER_SETTLING && are_workers_idle(combiner) &&
        models_is_idle(combiner->models)) {
        combiner->phase = COMBINER_OVER;
        fed_loop_stop(combiner->loop);
    }
}

/* Looked at from the loop, not from inside whatever has ended. */
void combiner_settled(void *arg)
{
    struct combiner *combiner = arg;

    if (combiner->phase != COMBINER_SERVING && combiner->phase != COMBINER_OVER) {
        fed_loop_post(combiner->loop, &combiner->settle);
    }
}

static void on_drained(void *arg)
{
    struct combiner *combiner = arg;

    if (combiner->phase == COMBINER_DRAINING) {
        close_all(combiner);
    }
}

static void on_stop(void *arg)
{
    struct combiner *combiner = arg;

    if (combiner->phase != COMBINER_SERVING) {
        return;
    }
    combiner->phase = COMBINER_DRAINING;
    fed_log(FED_LOG_INFO, "combiner", "draining", "open=%zu limit_ms=%llu",
            front_count_open(combiner->front), (unsigned long long)combiner->settings->drain_limit);
    fed_timer_start(combiner->loop, &combiner->drain,
                    fed_loop_now_ms(combiner->loop) + combiner->settings->drain_limit);
    front_drain(combiner->front);
    combiner_settled(combiner);
}

void combiner_stop(struct combiner *combiner)
{
    fed_loop_post(combiner->loop, &combiner->stop);
}

/* -- life cycle -------------------------------------------------------------------------------- */

static void on_tick(void *arg)
{
    struct combiner *combiner = arg;

    collector_tick(combiner->collector, fed_loop_now_ms(combiner->loop));
    combiner_act(combiner);
}

int combiner_new(const struct settings *settings,
                 struct combiner **ret_combiner,
                 struct fed_err *err)
{
    FED_CLEANUP(combiner_free_p) struct combiner *combiner = calloc(1, sizeof(*combiner));
    int rc;

    if (combiner == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "combiner");
    }
    combiner->settings = settings;
    fed_list_init(&combiner->deliveries);
    fed_timer_init(&combiner->tick, on_tick, combiner);
    fed_timer_init(&combiner->drain, on_drained, combiner);
    fed_event_init(&combiner->stop, on_stop, combiner);
    fed_event_init(&combiner->settle, on_settle, combiner);
    rc = fed_uuid_new(combiner->boot_id, err);
    rc = rc < 0 ? rc : fed_rand_system(&combiner->seed, sizeof(combiner->seed), err);
    rc = rc < 0 ? rc : fed_loop_new(&combiner->loop, err);
    rc = rc < 0 ? rc
                : fed_workers_new(combiner->loop, (unsigned)settings->threads, &combiner->workers,
                                  err);
    rc = rc < 0 ? rc : open_spool(combiner, err);
    rc = rc < 0 ? rc : fed_rpc_new(combiner->loop, &combiner->rpc, err);
    rc = rc < 0 ? rc : open_channels(combiner, err);
    rc = rc < 0 ? rc : make_parts(combiner, err);
    rc = rc < 0 ? rc : open_port(combiner, err);
    rc = rc < 0 ? rc : name_addresses(combiner, err);
    rc = rc < 0 ? rc : make_collector(combiner, err);
    rc = rc < 0 ? rc : combiner_recover(combiner, err);
    rc = rc < 0 ? rc : start_link(combiner, err);
    if (rc == 0) {
        *ret_combiner = FED_TAKE(combiner);
    }
    return rc;
}

int combiner_run(struct combiner *combiner)
{
    fed_log(FED_LOG_INFO, "combiner", "listening", "listen=%s spool=%s", combiner->listen,
            combiner->settings->spool);
    combiner_act(combiner);
    fed_loop_run(combiner->loop);
    return FED_EXIT_OK;
}

const char *combiner_get_advertise(const struct combiner *combiner)
{
    return combiner->advertise;
}

/* A port that was opened and never served: it is closed in a turn of the loop of its own. */
static void abandon(struct combiner *combiner)
{
    combiner->phase = COMBINER_CLOSING;
    combiner->is_link_closed = true;
    front_stop(combiner->front, port_closed, combiner);
    models_stop(combiner->models);
    fed_loop_run(combiner->loop);
}

struct combiner *combiner_free(struct combiner *combiner)
{
    if (combiner == NULL) {
        return NULL;
    }
    if (combiner->front != NULL && combiner->phase == COMBINER_SERVING) {
        abandon(combiner);
    }
    (void)reducer_link_free(combiner->link);
    (void)front_free(combiner->front);
    (void)fed_workers_free(combiner->workers);
    (void)checks_free(combiner->checks);
    (void)ledger_free(combiner->ledger);
    (void)models_free(combiner->models);
    (void)fed_rpc_channel_free(combiner->bulk);
    (void)fed_rpc_channel_free(combiner->control);
    (void)fed_rpc_free(combiner->rpc);
    (void)collector_free(combiner->collector);
    (void)mailer_free(combiner->mailer);
    if (combiner->is_staging) {
        staging_deinit(&combiner->staging);
    }
    (void)spool_close(combiner->spool);
    (void)fed_loop_free(combiner->loop);
    free(combiner);
    return NULL;
}
