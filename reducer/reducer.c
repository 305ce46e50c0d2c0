#include "reducer/reducer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "reducer/opening.h"
#include "reducer/reducer_inside.h"
#include "reducer/rest/rest_server.h"

#define FILES_OTHER 1024UL /* open files that are no connection to http: links, uploads … */

uint64_t reducer_now_ms(const struct reducer *reducer)
{
    return fed_loop_now_ms(reducer->loop);
}

static void on_tick(void *arg)
{
    struct reducer *reducer = arg;

    federation_tick(reducer->federation, reducer_now_ms(reducer));
    reducer_turn(reducer);
}

/* -- the end ------------------------------------------------------------------------------------
 */

static bool is_quiet(const struct reducer *reducer)
{
    return reducer->end.is_port_gone && reducer->end.is_rest_gone && reducer->end.n_jobs == 0 &&
           errand_line_is_idle(&reducer->journal.line) &&
           errand_line_is_idle(&reducer->summing.line) && errand_line_is_idle(&reducer->side);
}

static void look_quiet(struct reducer *reducer)
{
    if (reducer->end.is_draining && is_quiet(reducer)) {
        fed_timer_stop(&reducer->end.limit);
        fed_loop_stop(reducer->loop);
    }
}

void reducer_job_ended(struct reducer *reducer)
{
    reducer->end.n_jobs--;
    look_quiet(reducer);
}

/* A line's trouble has changed, or it has been closed and is idle. */
static void on_line(void *arg)
{
    struct reducer *reducer = arg;

    reducer->live.seq++;
    if (!reducer->end.is_draining) {
        reducer_look_live(reducer);
    }
    look_quiet(reducer);
}

static void on_port_gone(void *arg)
{
    struct reducer *reducer = arg;

    reducer->end.is_port_gone = true;
    look_quiet(reducer);
}

static void free_rest(void *arg)
{
    struct reducer *reducer = arg;

    reducer->rest = rest_server_free(reducer->rest);
}

static void on_rest_gone(void *arg)
{
    struct reducer *reducer = arg;

    reducer->end.is_rest_gone = true;
    look_quiet(reducer);
}

static void on_limit(void *arg)
{
    struct reducer *reducer = arg;

    fed_log(FED_LOG_WARNING, "reducer", "drain_limit", "undone=\"%s%s%s%s\"",
            reducer->end.is_rest_gone ? "" : "REST requests, ",
            reducer->end.is_port_gone ? "" : "links, ",
            errand_line_is_idle(&reducer->journal.line) ? "" : "the journal, ",
            errand_line_is_idle(&reducer->summing.line) ? "" : "the sum, ");
    reducer->end.is_forced = true;
    fed_loop_stop(reducer->loop);
}

static void drain(struct reducer *reducer)
{
    if (reducer->end.is_draining) {
        return;
    }
    reducer->end.is_draining = true;
    fed_timer_stop(&reducer->tick);
    fed_timer_stop(&reducer->space.timer);
    reducer_stop_tidying(reducer);
    reducer_end_asks(reducer);
    if (reducer->rest != NULL) {
        rest_server_close(reducer->rest);
    }
    fed_job_init(&reducer->end.job, free_rest, on_rest_gone, reducer);
    fed_workers_submit(reducer->workers, NULL, &reducer->end.job);
    if (reducer->port != NULL) {
        federation_server_stop(reducer->port, on_port_gone, reducer);
    }
    reducer->end.is_port_gone = reducer->port == NULL;
    errand_line_close(&reducer->journal.line);
    errand_line_close(&reducer->summing.line);
    errand_line_close(&reducer->side);
    fed_timer_start(reducer->loop, &reducer->end.limit,
                    reducer_now_ms(reducer) + reducer->settings->drain_limit_ms);
}

static void on_stop(void *arg)
{
    struct reducer *reducer = arg;
    const struct round *round;

    if (!reducer->end.is_draining) {
        round = federation_get_round(reducer->federation);
        fed_log(FED_LOG_INFO, "reducer", "draining", "left_open=\"%s%s\"",
                round != NULL && round->state <= ROUND_CLOSING ? "round " : "nothing",
                round != NULL && round->state <= ROUND_CLOSING ? round->round_id : "");
        drain(reducer);
    }
}

void reducer_stop(struct reducer *reducer)
{
    reducer_stop_entering(reducer);
    fed_loop_post(reducer->loop, &reducer->end.event);
}

void reducer_fail(struct reducer *reducer, const char *why)
{
    if (!reducer->end.is_draining) {
        fed_log(FED_LOG_ERROR, "reducer", "failed", "why=\"%s\"", why);
        reducer->exit_status = FED_EXIT_FAILED;
        drain(reducer);
    }
}

/* -- life cycle ---------------------------------------------------------------------------------
 */

/* The folder for files of the moment, empty. */
static int make_work(struct reducer *reducer, struct fed_err *err)
{
    char place[FED_PATH_SIZE];
    int rc = space_find_work(reducer->settings, reducer->work, place, err);

    rc = rc < 0 ? rc : fed_folder_remove(reducer->work, err);
    return rc < 0 ? rc : fed_folder_make(reducer->work, err);
}

/* Before a file is made for settings that cannot be meant. */
static int check_address(const char *key, const char *address, struct fed_err *err)
{
    char host[256];
    uint16_t port = 0;

    return fed_address_parse(address, host, sizeof(host), &port)
               ? 0
               : fed_err_set(err, FED_E_INVALID, "%s is '%s', want HOST:PORT", key, address);
}

static int open_stores(struct reducer *reducer, struct fed_err *err)
{
    int rc = check_address("http", reducer->settings->http, err);

    rc = rc < 0 ? rc : check_address("rpc", reducer->settings->rpc, err);
    rc = rc < 0 ? rc : opening_store(reducer->settings, &reducer->store, err);
    rc = rc < 0 ? rc : opening_blobs(reducer->settings, &reducer->blobs, err);
    return rc < 0 ? rc : make_work(reducer, err);
}

static void init_parts(struct reducer *reducer)
{
    errand_line_init(&reducer->journal.line, reducer->loop, reducer->workers, "metadata store",
                     on_line, reducer);
    errand_line_init(&reducer->summing.line, reducer->loop, reducer->workers, "models", on_line,
                     reducer);
    errand_line_init(&reducer->side, reducer->loop, reducer->workers, "metadata store (records)",
                     on_line, reducer);
    errand_line_give_way(&reducer->side, &reducer->journal.line);
    attendance_init(&reducer->attendance, &reducer->side, reducer->store);
    records_init(&reducer->records, &reducer->side, reducer->store, &reducer_records_ops, reducer);
    sweeping_init(&reducer->tidying.sweeping, reducer->store, reducer->blobs,
                  reducer->settings->blob_sweep_after_ms);
    summing_init(&reducer->summing, reducer->blobs, &reducer->tidying.sweeping, reducer->work);
    reducer_host_init(reducer);
    news_init(&reducer->news, reducer->feed);
    store_watch(reducer->store, &(struct store_watcher){news_row, &reducer->news});
    fed_timer_init(&reducer->tick, on_tick, reducer);
    fed_timer_init(&reducer->space.timer, NULL, reducer);   /* until reducer_watch_space() */
    fed_timer_init(&reducer->tidying.timer, NULL, reducer); /* until reducer_start_tidying() */
    fed_timer_init(&reducer->end.limit, on_limit, reducer);
    fed_event_init(&reducer->end.event, on_stop, reducer);
    reducer->started_ms = reducer_now_ms(reducer);
    reducer->live.seq = fed_clock_utc_ms(); /* so that a seq of an earlier process is old */
}

int reducer_listen_rpc(struct reducer *reducer, struct fed_err *err)
{
    const struct federation_server_config config = {
        .listen = reducer->settings->rpc,
        .folder = reducer->work,
        .loop = reducer->loop,
        .rpc = reducer->rpc,
        .workers = reducer->workers,
        .blobs = reducer->blobs,
    };

    return federation_server_new(&config, &reducer_port_ops, reducer, &reducer->port, err);
}

/* How many connections to http there is room for, after the limit of open files has been raised as
 * far as it goes. */
static uint64_t raise_files(uint64_t connections_max)
{
    const rlim_t wanted = connections_max + FILES_OTHER;
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted) {
        return connections_max;
    }
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted) {
        return connections_max;
    }
    connections_max =
        limit.rlim_cur > 2 * FILES_OTHER ? limit.rlim_cur - FILES_OTHER : limit.rlim_cur / 2;
    fed_log(FED_LOG_WARNING, "reducer", "few_files",
            "limit=%llu wanted=%llu http_connections_max=%llu hint=\"raise the hard limit of open "
            "files (ulimit -Hn, LimitNOFILE=)\"",
            (unsigned long long)limit.rlim_cur, (unsigned long long)wanted,
            (unsigned long long)connections_max);
    return connections_max;
}

static int listen_http(struct reducer *reducer, struct fed_err *err)
{
    const struct rest_config config = {
        .listen = reducer->settings->http,
        .temp_dir = reducer->work,
        .connections_max = raise_files(reducer->settings->http_connections_max),
    };

    return rest_server_new(&config, &reducer->host, &reducer->rest, err);
}

int reducer_new(const struct settings *settings, struct reducer **ret_reducer, struct fed_err *err)
{
    FED_CLEANUP(reducer_free_p) struct reducer *reducer = calloc(1, sizeof(*reducer));
    int rc;

    if (reducer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "reducer");
    }
    reducer->settings = settings;
    reducer_entering_init(reducer);
    rc = open_stores(reducer, err);
    rc = rc < 0 ? rc : feed_new(&reducer->feed, err);
    rc = rc < 0 ? rc : fed_loop_new(&reducer->loop, err);
    rc = rc < 0
             ? rc
             : fed_workers_new(reducer->loop, (unsigned)settings->workers, &reducer->workers, err);
    if (rc < 0) {
        return rc;
    }
    init_parts(reducer);
    rc = fed_rpc_new(reducer->loop, &reducer->rpc, err);
    rc = rc < 0 ? rc : listen_http(reducer, err);
    rc = rc < 0 ? rc : reducer_enter(reducer, err);
    if (rc < 0) {
        return rc;
    }
    *ret_reducer = FED_TAKE(reducer);
    return 0;
}

static void write_ready(const struct reducer *reducer)
{
    struct fed_err err = {0};
    char http[280];
    char rpc[280];
    char text[700];
    char host[256];
    uint16_t port = 0;

    if (reducer->settings->ready_file[0] == '\0') {
        return;
    }
    (void)fed_address_parse(reducer->settings->http, host, sizeof(host), &port);
    (void)snprintf(http, sizeof(http), "%s:%u", host, rest_server_port(reducer->rest));
    (void)fed_address_parse(reducer->settings->rpc, host, sizeof(host), &port);
    (void)snprintf(rpc, sizeof(rpc), "%s:%u", host, federation_server_port(reducer->port));
    (void)snprintf(text, sizeof(text), "{\"http\":\"%s\",\"rpc\":\"%s\",\"pid\":%ld}\n", http, rpc,
                   (long)getpid());
    if (fed_file_replace(reducer->settings->ready_file, fed_view_str(text), false, &err) < 0) {
        fed_log(FED_LOG_ERROR, "reducer", "no_ready_file", "why=\"%s\"", err.msg);
    }
}

int reducer_run(struct reducer *reducer)
{
    struct fed_err err = {0};
    char why[sizeof(reducer->entering.why)];
    int rc = 0;

    if (!reducer_is_serving(reducer, why, sizeof(why))) {
        rc = reducer_await_store(reducer, &err);
    }
    if (rc != 0) {
        if (rc < 0) {
            fed_log(FED_LOG_ERROR, "reducer", "failed", "why=\"%s\"", err.msg);
        }
        return rc < 0 ? FED_EXIT_FAILED : FED_EXIT_OK;
    }
    fed_log(FED_LOG_INFO, "reducer", "serving", "http_port=%u rpc_port=%u epoch=%llu version=%s",
            rest_server_port(reducer->rest), federation_server_port(reducer->port),
            (unsigned long long)reducer->journal.epoch, CONFED_VERSION);
    write_ready(reducer);
    reducer_start_tidying(reducer);
    reducer->end.has_run = true;
    reducer_turn(reducer);
    fed_loop_run(reducer->loop);
    fed_log(FED_LOG_INFO, "reducer", "stopped", "status=%d", reducer->exit_status);
    return reducer->exit_status;
}

uint16_t reducer_get_rpc_port(const struct reducer *reducer)
{
    return federation_server_port(reducer->port);
}

uint16_t reducer_get_http_port(const struct reducer *reducer)
{
    return rest_server_port(reducer->rest);
}

struct host *reducer_get_host(struct reducer *reducer)
{
    return &reducer->host;
}

static void deinit_parts(struct reducer *reducer)
{
    summing_deinit(&reducer->summing);
    records_deinit(&reducer->records);
    attendance_deinit(&reducer->attendance);
    journal_deinit(&reducer->journal);
    shelf_deinit(&reducer->shelf);
    news_deinit(&reducer->news);
    sweeping_deinit(&reducer->tidying.sweeping);
}

struct reducer *reducer_free(struct reducer *reducer)
{
    bool has_parts; /* init_parts() follows the workers at once; a store may fail before */

    if (reducer == NULL) {
        return NULL;
    }
    if (reducer->workers != NULL && !reducer->end.has_run) {
        drain(reducer); /* it was opened, or half opened, and never ran */
        fed_loop_run(reducer->loop);
    }
    if (reducer->end.is_forced) {
        return NULL; /* threads are still busy with it; the process is about to end */
    }
    has_parts = reducer->workers != NULL;
    reducer->workers = fed_workers_free(reducer->workers);
    (void)federation_server_free(reducer->port);
    (void)fed_rpc_free(reducer->rpc);
    (void)summing_task_free(reducer->partial);
    (void)journal_entry_free(reducer->start);
    if (has_parts) {
        deinit_parts(reducer);
    }
    (void)federation_free(reducer->federation);
    json_decref(reducer->session);
    (void)fed_loop_free(reducer->loop);
    reducer_entering_deinit(reducer);
    (void)blob_close(reducer->blobs);
    (void)store_close(reducer->store);
    (void)feed_free(reducer->feed);
    if (reducer->work[0] != '\0' && fed_folder_remove(reducer->work, NULL) < 0) {
        fed_log(FED_LOG_WARNING, "reducer", "left_files", "folder=\"%s\"", reducer->work);
    }
    free(reducer);
    return NULL;
}
