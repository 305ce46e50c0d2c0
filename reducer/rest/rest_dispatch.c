#include "reducer/rest/rest_dispatch.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/sync/loop.h"

struct rest_dispatch {
    struct host *host;
    struct fed_loop *loop; /* run by `thread` */
    pthread_t thread;
    bool is_running; /* the thread; the owner's */
    struct fed_workers *workers;
    struct fed_event close_event;
    struct fed_list polls; /* loop: long polls the host has */
    struct {               /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t idle;
        unsigned n_busy;
        bool is_closing;
    } synced;
};

/* An ask the host has. Outlives its task where the server closes before the host answers. */
struct rest_ask {
    struct host_ask ask;
    struct fed_event answered;
    struct fed_link link; /* in dispatch->polls, where it is a long poll */
    struct rest_dispatch *dispatch;
    struct rest_task *task; /* NULL: nobody waits any more */
};

bool rest_dispatch_enter(struct rest_dispatch *dispatch)
{
    bool is_open;

    (void)pthread_mutex_lock(&dispatch->synced.lock);
    is_open = !dispatch->synced.is_closing;
    dispatch->synced.n_busy += is_open ? 1U : 0U;
    (void)pthread_mutex_unlock(&dispatch->synced.lock);
    return is_open;
}

static void leave(struct rest_dispatch *dispatch)
{
    (void)pthread_mutex_lock(&dispatch->synced.lock);
    assert(dispatch->synced.n_busy > 0);
    dispatch->synced.n_busy--;
    (void)pthread_cond_signal(&dispatch->synced.idle);
    (void)pthread_mutex_unlock(&dispatch->synced.lock);
}

/* Loop: the task may be gone as soon as it is done. */
static void finish(struct rest_task *task)
{
    struct rest_dispatch *dispatch = task->dispatch;

    task->done(task->arg);
    leave(dispatch);
}

static void answer_ending(struct rest_task *task)
{
    const struct fed_err err = {.code = FED_E_UNAVAILABLE, .msg = "the server is ending"};

    rest_answer_failure(task->request, &err);
}

/* Worker. */
static void run_step(void *arg)
{
    struct rest_task *task = arg;
    struct rest_request *request = task->request;
    const rest_step_fn step = task->step;

    task->step_err = (struct fed_err){0};
    request->then = NULL;
    task->step_rc = step(request, &task->step_err);
    if (task->step_rc < 0) {
        if (fed_code_http(task->step_err.code) >= 500) {
            fed_log(FED_LOG_ERROR, "rest", "rest.request_failed", "path=\"%s\" error=\"%s\"",
                    request->path, task->step_err.msg);
        }
        rest_answer_failure(request, &task->step_err);
    }
}

static void on_step_done(void *arg);

static void submit_step(struct rest_task *task, rest_step_fn step)
{
    task->step = step;
    fed_job_init(&task->job, run_step, on_step_done, task);
    fed_workers_submit(task->dispatch->workers, NULL, &task->job);
}

/* The host's loop: pass on to ours. */
static void on_host_done(struct host_ask *ask)
{
    struct rest_ask *out = FED_CONTAINER_OF(ask, struct rest_ask, ask);

    fed_loop_post(out->dispatch->loop, &out->answered);
}

static void take_host_answer(struct rest_request *request, struct host_ask *ask)
{
    json_decref(request->ask.output);
    request->ask.status = ask->http_status;
    request->ask.output = ask->output == NULL ? json_object() : ask->output;
    ask->output = NULL;
}

/* Loop: the host has answered. */
static void on_answered(void *arg)
{
    struct rest_ask *out = arg;
    struct rest_task *task = out->task;
    struct rest_dispatch *dispatch = out->dispatch;

    fed_link_remove(&out->link);
    if (task != NULL) {
        take_host_answer(task->request, &out->ask);
        submit_step(task, task->request->then == NULL ? rest_answer_host : task->request->then);
    }
    json_decref(out->ask.input);
    json_decref(out->ask.output);
    free(out);
    leave(dispatch);
}

/* Loop: hand an ask over to the host. False: out of memory, or closing. */
static bool submit_ask(struct rest_task *task)
{
    struct rest_dispatch *dispatch = task->dispatch;
    struct rest_ask *out = calloc(1, sizeof(*out));

    if (out == NULL || !rest_dispatch_enter(dispatch)) {
        free(out);
        return false;
    }
    out->dispatch = dispatch;
    out->task = task;
    out->ask.verb = task->request->ask.verb;
    out->ask.input = task->request->ask.input;
    out->ask.done = on_host_done;
    task->request->ask.input = NULL;
    fed_event_init(&out->answered, on_answered, out);
    if (out->ask.verb == HOST_LIVE) {
        fed_list_add(&dispatch->polls, &out->link);
    }
    dispatch->host->submit(dispatch->host, &out->ask);
    return true;
}

static void on_step_done(void *arg)
{
    struct rest_task *task = arg;

    if (task->step_rc == REST_ASK) {
        if (submit_ask(task)) {
            return;
        }
        answer_ending(task);
    }
    finish(task);
}

void rest_dispatch_run(struct rest_dispatch *dispatch, struct rest_task *task)
{
    task->dispatch = dispatch;
    submit_step(task, task->step);
}

struct fed_loop *rest_dispatch_loop(struct rest_dispatch *dispatch)
{
    return dispatch->loop;
}

/* -- life ------------------------------------------------------------------------------------- */

/* Loop: nobody is kept waiting for news when the server ends. */
static void on_close(void *arg)
{
    struct rest_dispatch *dispatch = arg;

    fed_list_for_each (link, &dispatch->polls) {
        struct rest_ask *out = FED_CONTAINER_OF(link, struct rest_ask, link);
        struct rest_task *task = out->task;
        fed_link_remove(link);
        out->task = NULL;
        answer_ending(task);
        finish(task);
    }
}

static void *run_loop(void *arg)
{
    fed_loop_run(arg);
    return NULL;
}

/* Everything but the thread. */
static void destroy(struct rest_dispatch *dispatch)
{
    dispatch->workers = fed_workers_free(dispatch->workers);
    if (dispatch->loop != NULL) {
        dispatch->loop = fed_loop_free(dispatch->loop);
    }
    (void)pthread_mutex_destroy(&dispatch->synced.lock);
    (void)pthread_cond_destroy(&dispatch->synced.idle);
    free(dispatch);
}

int rest_dispatch_new(struct host *host,
                      unsigned n_workers,
                      struct rest_dispatch **ret_dispatch,
                      struct fed_err *err)
{
    struct rest_dispatch *dispatch = calloc(1, sizeof(*dispatch));
    int rc;

    if (dispatch == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "REST server");
    }
    dispatch->host = host;
    fed_list_init(&dispatch->polls);
    fed_event_init(&dispatch->close_event, on_close, dispatch);
    (void)pthread_mutex_init(&dispatch->synced.lock, NULL);
    (void)pthread_cond_init(&dispatch->synced.idle, NULL);
    rc = fed_loop_new(&dispatch->loop, err);
    if (rc == 0) {
        rc = fed_workers_new(dispatch->loop, n_workers, &dispatch->workers, err);
    }
    if (rc == 0 && pthread_create(&dispatch->thread, NULL, run_loop, dispatch->loop) != 0) {
        rc = fed_err_set(err, FED_E_NOMEM, "no thread for the REST server");
    }
    if (rc < 0) {
        destroy(dispatch);
        return rc;
    }
    dispatch->is_running = true;
    *ret_dispatch = dispatch;
    return 0;
}

bool rest_dispatch_close(struct rest_dispatch *dispatch)
{
    bool was_open;

    (void)pthread_mutex_lock(&dispatch->synced.lock);
    was_open = !dispatch->synced.is_closing;
    dispatch->synced.is_closing = true;
    (void)pthread_mutex_unlock(&dispatch->synced.lock);
    if (was_open) {
        fed_loop_post(dispatch->loop, &dispatch->close_event);
    }
    return was_open;
}

void rest_dispatch_drain(struct rest_dispatch *dispatch)
{
    (void)pthread_mutex_lock(&dispatch->synced.lock);
    while (dispatch->synced.n_busy > 0) {
        (void)pthread_cond_wait(&dispatch->synced.idle, &dispatch->synced.lock);
    }
    (void)pthread_mutex_unlock(&dispatch->synced.lock);
}

void rest_dispatch_stop(struct rest_dispatch *dispatch)
{
    if (dispatch != NULL && dispatch->is_running) {
        fed_loop_stop(dispatch->loop);
        (void)pthread_join(dispatch->thread, NULL);
        dispatch->is_running = false;
    }
}

struct rest_dispatch *rest_dispatch_free(struct rest_dispatch *dispatch)
{
    if (dispatch != NULL) {
        rest_dispatch_stop(dispatch);
        destroy(dispatch);
    }
    return NULL;
}
