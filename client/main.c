#include <stdio.h>

#include "client/client.h"
#include "common/sync/stop_signal.h"

static int run(const struct client_settings *settings)
{
    FED_CLEANUP(client_free_p) struct client *client = NULL;
    struct fed_err err = {0};

    if (client_new(settings, &client, &err) < 0) {
        fed_log(FED_LOG_ERROR, "client", "not_started", "error=\"%s\"", err.msg);
        return err.code == FED_E_INVALID || err.code == FED_E_UNSUPPORTED ? FED_EXIT_USAGE
                                                                          : FED_EXIT_FAILED;
    }
    return client_run(client);
}

int main(int argc, char **argv)
{
    struct client_settings settings = {0};
    FED_CLEANUP(fed_conf_deinit) struct fed_conf conf = {0};
    struct fed_err err = {0};
    int rc;

    fed_stop_signal_block();
    rc = fed_conf_load(&client_conf_spec, argc, argv, &settings, &conf, &err);
    if (rc == FED_CONF_EXIT) {
        return FED_EXIT_OK;
    }
    if (rc == 0) {
        rc = client_settings_check(&settings, &err);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "confed-client: %s\n", err.msg);
        return FED_EXIT_USAGE;
    }
    fed_log_init("confed-client", settings.log_level_value, settings.log_json);
    fed_conf_log(&client_conf_spec, &settings);
    return run(&settings);
}
