/* `confed up`. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/program.h"
#include "reducer/cli/row.h"
#include "reducer/cli/up.h"

#define RESULT_MAX 65536U

struct up_options {
    struct cmd_common common;
    struct up_settings up;
};

#define AT(member) offsetof(struct up_options, up.member)

static const struct fed_conf_item items[] = {
    {"dir", FED_CONF_TEXT, "confed-data", 0, 0, AT(dir), false, "DIR",
     "where everything lies: reducer/ (metadata, models), combiners/, clients/, logs/"},
    {"fresh", FED_CONF_BOOL, "false", 0, 0, AT(is_fresh), false, "",
     "remove what an earlier `confed up` left in --dir"},
    {"clients", FED_CONF_U64, "2", 1, UP_CLIENTS_MAX, AT(n_clients), false, "N", "how many"},
    {"combiners", FED_CONF_U64, "1", 1, UP_COMBINERS_MAX, AT(n_combiners), false, "N", "how many"},
    {"data", FED_CONF_TEXT, "", 0, 0, AT(data), false, "DIR",
     "MNIST's four files (IDX, gzipped or not); each client gets a part of them"},
    {"partition", FED_CONF_TEXT, "", 0, 0, AT(partition), false, "P",
     "how the data is divided: iid, shards[:PER_CLIENT] or dirichlet:ALPHA; without it iid"},
    {"trainer", FED_CONF_TEXT, "cnn", 0, 0, AT(trainer), false, "cnn|echo",
     "what the clients do: train the CNN, or send the model straight back"},
    {"kernel", FED_CONF_TEXT, "", 0, 0, AT(kernel), false, "auto|avx512|avx2|plain",
     "the arithmetic of the training; without it the best of this machine"},
    {"seed", FED_CONF_U64, "1", 0, 0, AT(seed), false, "N",
     "of the division, the training and the initial values"},
    {"epochs", FED_CONF_U64, "", 1, 1000, AT(epochs), false, "N", "local epochs a round"},
    {"batch", FED_CONF_U64, "", 1, 1024, AT(batch), false, "N", "images a step"},
    {"lr", FED_CONF_REAL, "", 0, 0, AT(lr), false, "X", "learning rate"},
    {"rounds", FED_CONF_U64, "0", 0, 1000000, AT(n_rounds), false, "N",
     "run a session of so many rounds, show it, and end; 0 starts no session and stays"},
    {"model", FED_CONF_TEXT, "cnn", 0, 0, AT(model), false, "ID|FILE|cnn",
     "what that session starts from"},
    {"round_timeout", FED_CONF_DURATION, "600 s", 1, 0, AT(round_timeout_ms), false, "DURATION",
     "of that session"},
    {"keep", FED_CONF_BOOL, "false", 0, 0, AT(is_kept), false, "",
     "stay after that session, until Ctrl-C"},
    {"http", FED_CONF_TEXT, "", 0, 0, AT(http), false, "HOST:PORT",
     "the reducer's REST API; without it 127.0.0.1:8092, or a free port where that is taken"},
    {"rpc", FED_CONF_TEXT, "127.0.0.1:0", 0, 0, AT(rpc), false, "HOST:PORT",
     "where combiners dial in; port 0 is a free one"},
    {"client_port", FED_CONF_U64, "0", 0, 65535, AT(client_port), false, "PORT",
     "where clients attach to the first combiner, the others follow; 0 takes free ones"},
    {"start_timeout", FED_CONF_DURATION, "60 s", 1000, 3600000, AT(start_limit_ms), false,
     "DURATION", "until everything is ready"},
};
const struct args_table cmd_up_options = {items, sizeof(items) / sizeof(items[0])};

_Static_assert(sizeof(struct up_options) <= CMD_OPTIONS_SIZE, "the options fit");

static int check_address(const char *flag, const char *text, struct fed_err *err)
{
    char host[256];
    uint16_t port = 0;

    if (text[0] != '\0' && !fed_address_parse(text, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "%s is '%.60s', want HOST:PORT", flag, text);
    }
    return 0;
}

static int check(const struct up_settings *settings, struct fed_err *err)
{
    int rc = check_address("--http", settings->http, err);

    rc = rc < 0 ? rc : check_address("--rpc", settings->rpc, err);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(settings->trainer, "cnn") == 0 && settings->data[0] == '\0') {
        return fed_err_set(err, FED_E_INVALID,
                           "--data is missing: the folder of MNIST's files; or --trainer echo");
    }
    if (settings->data[0] != '\0' && access(settings->data, R_OK | X_OK) != 0) {
        return fed_file_error(err, "open", settings->data);
    }
    return 0;
}

/* The folder that this program lies in: the daemons lie beside it. */
static int
find_programs(char ret_folder[FED_PATH_SIZE], char ret_self[FED_PATH_SIZE], struct fed_err *err)
{
    static const char *const names[] = {"confed-reducer", "confed-combiner", "confed-client"};
    char path[FED_PATH_SIZE];
    int rc = program_self(ret_self, err);

    if (rc < 0) {
        return rc;
    }
    memcpy(ret_folder, ret_self, strlen(ret_self) + 1);
    *strrchr(ret_folder, '/') = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        rc = fed_path_format(path, err, "%s/%s", ret_folder, names[i]);
        if (rc < 0) {
            return rc;
        }
        if (access(path, X_OK) != 0) {
            return fed_err_set(err, FED_E_NOT_FOUND,
                               "%s is not in %.150s, beside this program: build or install it",
                               names[i], ret_folder);
        }
    }
    return 0;
}

/* The session's result, with the figures that say what was run. */
static int print_result(const struct cmd_call *call, const char *dir, struct fed_err *err)
{
    static const char *const keys[] = {"rounds", "clients", "combiners", "accuracy",
                                       "loss",   "seconds", "model_id",  "model_sha256"};
    FED_CLEANUP(api_json_free_p) json_t *json = NULL;
    FED_CLEANUP(api_json_free_p) json_t *result = json_object();
    char path[FED_PATH_SIZE];
    struct fed_buf buf;
    int rc = fed_path_format(path, err, "%s/run/session.out", dir);

    rc = rc < 0 ? rc : fed_file_load(path, RESULT_MAX, &buf, err);
    if (rc < 0) {
        return rc;
    }
    json = json_loadb((const char *)buf.data, buf.size, 0, NULL);
    fed_buf_deinit(&buf);
    if (!json_is_object(json)) {
        return 0; /* the session did not come to an end, and has said why */
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        json_t *value = json_object_get(json, keys[i]);
        (void)json_object_set(result, keys[i], value == NULL ? json_null() : value);
    }
    return cmd_print_json(call, result, err);
}

int cmd_up(const struct cmd_call *call, struct fed_err *err)
{
    const struct up_options *options = call->options;
    struct up_settings settings = options->up;
    char programs[FED_PATH_SIZE];
    char self[FED_PATH_SIZE];
    char data[PATH_MAX];
    int status;
    int rc = check(&settings, err);

    rc = rc < 0 ? rc : find_programs(programs, self, err);
    if (rc < 0) {
        return rc;
    }
    if (settings.data[0] != '\0' && realpath(settings.data, data) != NULL) {
        settings.data = data;
    }
    settings.is_json = call->is_json;
    settings.ready_file = call->is_json && settings.n_rounds == 0 ? call->out.file : NULL;
    status = up_run(&settings, programs, self, &call->note, err);
    if (status < 0) {
        return status;
    }
    if (settings.n_rounds > 0 && call->is_json) {
        rc = print_result(call, settings.dir, err);
    } else if (settings.n_rounds > 0) {
        (void)fprintf(call->out.file, "the models lie in %s/reducer/blobs, the logs in %s/logs\n",
                      settings.dir, settings.dir);
    }
    return rc < 0 ? rc : status;
}
