/* confed-reducer: settings, signals, run. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "common/base/log.h"
#include "reducer/reducer.h"
#include "reducer/settings.h"

struct watcher {
    struct reducer *reducer;
    sigset_t signals;
};

static void *watch(void *arg)
{
    const struct watcher *watcher = arg;
    int number = 0;

    (void)sigwait(&watcher->signals, &number);
    reducer_stop(watcher->reducer);
    return NULL;
}

/* SIGTERM and SIGINT drain; a second one, or one after the end, is nothing. */
static int run(struct reducer *reducer, const sigset_t *signals)
{
    struct watcher watcher = {reducer, *signals};
    pthread_t thread;
    int status;

    if (pthread_create(&thread, NULL, watch, &watcher) != 0) {
        return FED_EXIT_FAILED;
    }
    status = reducer_run(reducer);
    (void)pthread_kill(thread, SIGUSR1);
    (void)pthread_join(thread, NULL);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct fed_conf conf = {0};
    struct fed_err err = {0};
    struct reducer *reducer = NULL;
    enum fed_log_level level = FED_LOG_INFO;
    sigset_t signals;
    int status = FED_EXIT_USAGE;
    int rc;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGUSR1);               /* ends the watcher */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are other threads */
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    rc = fed_conf_load(&settings_spec, argc, argv, &settings, &conf, &err);
    if (rc == 0 && !fed_log_level_parse(settings.log_level, &level)) {
        rc = fed_err_set(&err, FED_E_INVALID, "log_level: error, warning, info or debug");
    }
    if (rc == 0) {
        fed_log_init(settings_spec.program, level, settings.log_json);
        fed_conf_log(&settings_spec, &settings);
        rc = reducer_new(&settings, &reducer, &err);
        status = rc == -FED_E_INVALID ? FED_EXIT_USAGE
                 : rc < 0             ? FED_EXIT_FAILED
                                      : run(reducer, &signals);
        (void)reducer_free(reducer);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "confed-reducer: %s\n", err.msg);
    }
    fed_conf_deinit(&conf);
    return rc == FED_CONF_EXIT ? FED_EXIT_OK : status;
}
