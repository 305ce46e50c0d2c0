/* confed-combiner: settings, signals, run. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "combiner/combiner.h"
#include "combiner/settings.h"
#include "common/base/log.h"

struct watcher {
    struct combiner *combiner;
    sigset_t signals;
};

static void *watch(void *arg)
{
    const struct watcher *watcher = arg;
    int number = 0;

    (void)sigwait(&watcher->signals, &number);
    combiner_stop(watcher->combiner);
    return NULL;
}

/* SIGTERM and SIGINT drain; a second one, or one after the end, is nothing. */
static int run(struct combiner *combiner, const sigset_t *signals)
{
    struct watcher watcher = {combiner, *signals};
    pthread_t thread;
    int status;

    if (pthread_create(&thread, NULL, watch, &watcher) != 0) {
        return FED_EXIT_FAILED;
    }
    status = combiner_run(combiner);
    (void)pthread_kill(thread, SIGUSR1);
    (void)pthread_join(thread, NULL);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct fed_conf conf = {0};
    struct fed_err err = {0};
    struct combiner *combiner = NULL;
    enum fed_log_level level = FED_LOG_INFO;
    sigset_t signals;
    int status = FED_EXIT_USAGE;
    int rc;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGUSR1);               /* our own: the run is over */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are other threads */
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    rc = fed_conf_load(&settings_spec, argc, argv, &settings, &conf, &err);
    rc = rc != 0 ? rc : settings_check(&settings, &err);
    if (rc == 0) {
        (void)fed_log_level_parse(settings.log_level, &level);
        fed_log_init(settings_spec.program, level, settings.log_json);
        fed_conf_log(&settings_spec, &settings);
        rc = combiner_new(&settings, &combiner, &err);
        status = rc == -FED_E_INVALID ? FED_EXIT_USAGE
                 : rc < 0             ? FED_EXIT_FAILED
                                      : run(combiner, &signals);
        (void)combiner_free(combiner);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "confed-combiner: %s\n", err.msg);
    }
    fed_conf_deinit(&conf);
    return rc == FED_CONF_EXIT ? FED_EXIT_OK : status;
}
