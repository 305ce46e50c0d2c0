#include "common/sync/workers.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 64

struct fed_workers {
    struct fed_loop *loop; /* borrowed */
    struct {               /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct fed_list ready; /* jobs that may run now */
        bool is_closing;
    } synced;
    pthread_t threads[THREADS_MAX];
    unsigned n_threads;
};

void fed_lane_init(struct fed_lane *lane)
{
    fed_list_init(&lane->waiting);
    lane->is_busy = false;
}

static void no_done(void *arg)
{
    (void)arg;
}

void fed_job_init(struct fed_job *job, fed_job_fn work, fed_event_fn done, void *arg)
{
    *job = (struct fed_job){.work = work, .arg = arg};
    fed_event_init(&job->done, done == NULL ? no_done : done, arg);
}

/* Nobody is woken: the caller takes the next job itself, or one that somebody was woken for. */
static void leave_lane_locked(struct fed_workers *workers, struct fed_lane *lane)
{
    struct fed_link *next = fed_list_take(&lane->waiting);

    lane->is_busy = next != NULL;
    if (next != NULL) {
        fed_list_add(&workers->synced.ready, next);
    }
}

static void *run_thread(void *arg)
{
    struct fed_workers *workers = arg;

    (void)pthread_mutex_lock(&workers->synced.lock);
    for (;;) {
        struct fed_link *link = fed_list_take(&workers->synced.ready);
        if (link == NULL && workers->synced.is_closing) {
            break;
        }
        if (link == NULL) {
            (void)pthread_cond_wait(&workers->synced.wake, &workers->synced.lock);
            continue;
        }
        struct fed_job *job = FED_CONTAINER_OF(link, struct fed_job, link);
        struct fed_lane *lane = job->lane;
        bool is_more; /* another job is ready: the loop is left to others */

        (void)pthread_mutex_unlock(&workers->synced.lock);
        job->work(job->arg);
        (void)pthread_mutex_lock(&workers->synced.lock);
        if (lane != NULL) {
            leave_lane_locked(workers, lane);
        }
        is_more = !fed_list_is_empty(&workers->synced.ready);
        (void)pthread_mutex_unlock(&workers->synced.lock);
        /* The loop may free the job as soon as it is handed over: it is not touched after. */
        (is_more ? fed_loop_post : fed_loop_hand)(workers->loop, &job->done);
        (void)pthread_mutex_lock(&workers->synced.lock);
    }
    (void)pthread_cond_broadcast(&workers->synced.wake);
    (void)pthread_mutex_unlock(&workers->synced.lock);
    return NULL;
}

/* Signals belong to main(): worker threads block them all. */
static int start_thread(struct fed_workers *workers)
{
    sigset_t all;
    sigset_t old;
    int rc;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&workers->threads[workers->n_threads], NULL, run_thread, workers);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int fed_workers_new(struct fed_loop *loop,
                    unsigned n_threads,
                    struct fed_workers **ret_workers,
                    struct fed_err *err)
{
    struct fed_workers *workers = calloc(1, sizeof(*workers));

    if (workers == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "workers");
    }
    if (n_threads == 0) {
        const long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
        n_threads = n_cores > 1 ? (unsigned)n_cores - 1 : 1;
    }
    n_threads = n_threads > THREADS_MAX ? THREADS_MAX : n_threads;
    workers->loop = loop;
    (void)pthread_mutex_init(&workers->synced.lock, NULL);
    (void)pthread_cond_init(&workers->synced.wake, NULL);
    fed_list_init(&workers->synced.ready);
    while (workers->n_threads < n_threads && start_thread(workers) == 0) {
        workers->n_threads++;
    }
    if (workers->n_threads == 0) {
        (void)fed_workers_free(workers);
        return fed_err_set(err, FED_E_NOMEM, "no worker thread could be started");
    }
    *ret_workers = workers;
    return 0;
}

struct fed_workers *fed_workers_free(struct fed_workers *workers)
{
    if (workers == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&workers->synced.lock);
    workers->synced.is_closing = true;
    (void)pthread_cond_broadcast(&workers->synced.wake);
    (void)pthread_mutex_unlock(&workers->synced.lock);
    for (unsigned i = 0; i < workers->n_threads; i++) {
        (void)pthread_join(workers->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&workers->synced.wake);
    (void)pthread_mutex_destroy(&workers->synced.lock);
    free(workers);
    return NULL;
}

void fed_workers_submit(struct fed_workers *workers, struct fed_lane *lane, struct fed_job *job)
{
    bool is_ready = true;

    assert(!fed_link_is_linked(&job->link));
    job->lane = lane;
    (void)pthread_mutex_lock(&workers->synced.lock);
    if (lane != NULL && lane->is_busy) {
        fed_list_add(&lane->waiting, &job->link);
        is_ready = false;
    } else {
        if (lane != NULL) {
            lane->is_busy = true;
        }
        fed_list_add(&workers->synced.ready, &job->link);
    }
    (void)pthread_mutex_unlock(&workers->synced.lock);
    if (is_ready) { /* without the lock: who is woken wants it at once */
        (void)pthread_cond_signal(&workers->synced.wake);
    }
}
