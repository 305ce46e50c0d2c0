/* confed-reducer: settings, signals, run. */
#include <stdio.h>

#include "common/base/log.h"
#include "common/sync/stop_signal.h"
#include "reducer/preflight.h"
#include "reducer/reducer.h"
#include "reducer/settings.h"

static void stop(void *arg)
{
    reducer_stop(arg);
}

/* SIGTERM and SIGINT drain; a second one, or one after the end, is nothing. */
static int run(struct reducer *reducer, struct fed_err *err)
{
    struct fed_stop_signal stop_signal;
    int status;

    if (fed_stop_signal_start(&stop_signal, stop, reducer, err) < 0) {
        return FED_EXIT_FAILED;
    }
    status = reducer_run(reducer);
    fed_stop_signal_end(&stop_signal);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct fed_conf conf = {0};
    struct fed_err err = {0};
    struct reducer *reducer = NULL;
    enum fed_log_level level = FED_LOG_INFO;
    const enum preflight check = preflight_take(&argc, argv);
    int status = FED_EXIT_USAGE;
    int rc;

    fed_stop_signal_block();
    rc = fed_conf_load(&settings_spec, argc, argv, &settings, &conf, &err);
    if (rc == 0 && !fed_log_level_parse(settings.log_level, &level)) {
        rc = fed_err_set(&err, FED_E_INVALID, "log_level: error, warning, info or debug");
    }
    if (rc == 0 && check != PREFLIGHT_NONE) {
        fed_log_init(settings_spec.program, FED_LOG_WARNING, settings.log_json);
        status = preflight_run(&settings, check, stdout);
    } else if (rc == 0) {
        fed_log_init(settings_spec.program, level, settings.log_json);
        fed_conf_log(&settings_spec, &settings);
        rc = reducer_new(&settings, &reducer, &err);
        status = rc == -FED_E_INVALID ? FED_EXIT_USAGE
                 : rc < 0             ? FED_EXIT_FAILED
                                      : run(reducer, &err);
        (void)reducer_free(reducer);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "confed-reducer: %s\n", err.msg);
    }
    fed_conf_deinit(&conf);
    return rc == FED_CONF_EXIT ? FED_EXIT_OK : status;
}
