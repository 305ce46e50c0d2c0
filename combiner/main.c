/* confed-combiner: settings, signals, run. */
#include <stdio.h>

#include "combiner/combiner.h"
#include "combiner/settings.h"
#include "common/base/log.h"
#include "common/sync/stop_signal.h"

static void stop(void *arg)
{
    combiner_stop(arg);
}

/* SIGTERM and SIGINT drain; a second one, or one after the end, is nothing. */
static int run(struct combiner *combiner, struct fed_err *err)
{
    struct fed_stop_signal stop_signal;
    int status;

    if (fed_stop_signal_start(&stop_signal, stop, combiner, err) < 0) {
        return FED_EXIT_FAILED;
    }
    status = combiner_run(combiner);
    fed_stop_signal_end(&stop_signal);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct fed_conf conf = {0};
    struct fed_err err = {0};
    struct combiner *combiner = NULL;
    enum fed_log_level level = FED_LOG_INFO;
    int status = FED_EXIT_USAGE;
    int rc;

    fed_stop_signal_block();
    rc = fed_conf_load(&settings_spec, argc, argv, &settings, &conf, &err);
    rc = rc != 0 ? rc : settings_check(&settings, &err);
    if (rc == 0) {
        (void)fed_log_level_parse(settings.log_level, &level);
        fed_log_init(settings_spec.program, level, settings.log_json);
        fed_conf_log(&settings_spec, &settings);
        rc = combiner_new(&settings, &combiner, &err);
        status = rc == -FED_E_INVALID ? FED_EXIT_USAGE
                 : rc < 0             ? FED_EXIT_FAILED
                                      : run(combiner, &err);
        (void)combiner_free(combiner);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "confed-combiner: %s\n", err.msg);
    }
    fed_conf_deinit(&conf);
    return rc == FED_CONF_EXIT ? FED_EXIT_OK : status;
}
