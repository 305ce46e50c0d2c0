/* `confed doctor`: what is wrong, a line each, and what to do about it. */
#include <stdio.h>
#include <string.h>

#include "common/conf/conf.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/program.h"
#include "reducer/cli/row.h"
#include "reducer/cli/table.h"

struct doctor_options {
    struct cmd_common common;
    const char *config;
};

static const struct fed_conf_item items[] = {
    {"config", FED_CONF_TEXT, "", 0, 0, offsetof(struct doctor_options, config), false, "FILE",
     "check these settings of a reducer that does not run: what confed-reducer --check does"},
};
const struct args_table cmd_doctor_options = {items, sizeof(items) / sizeof(items[0])};

/* Without a reducer that answers: its settings are checked where they are. */
static int check_settings(const struct cmd_call *call, const char *config, struct fed_err *err)
{
    struct child_words words = {0};
    int rc = program_words(&words, "confed-reducer", err);

    child_words_add(&words, call->is_json ? "--check=json" : "--check");
    child_words_add(&words, "--config");
    child_words_add(&words, "%s", config);
    rc = rc < 0 ? rc : program_become(&words, err);
    child_words_deinit(&words);
    return rc;
}

static void
add(json_t *checks, const char *name, const char *status, const char *text, const char *advice)
{
    (void)json_array_insert_new(checks, 0,
                                json_pack("{s:s,s:s,s:s,s:s}", "name", name, "status", status,
                                          "text", text, "advice", advice));
}

static void add_reducer(const struct cmd_call *call, const json_t *answer, json_t *checks)
{
    const char *version = row_text(answer, "version");
    char text[ROW_TEXT_SIZE];

    if (strcmp(version, CONFED_VERSION) != 0) {
        (void)snprintf(text, sizeof(text), "%.200s has version %.40s, this program " CONFED_VERSION,
                       call->api.url, version);
        add(checks, "reducer", "warning", text, "use the same version of both");
        return;
    }
    (void)snprintf(text, sizeof(text), "%.200s answers, version %.40s", call->api.url, version);
    add(checks, "reducer", "ok", text, "");
}

static void print(const struct cmd_call *call, const json_t *checks)
{
    FILE *file = call->out.file;
    const json_t *check;
    size_t i;

    json_array_foreach(checks, i, check)
    {
        char name[32];
        char status[32];
        char text[ROW_TEXT_SIZE];
        char advice[ROW_TEXT_SIZE];
        (void)table_clean(row_text(check, "name"), name, sizeof(name));
        (void)table_clean(row_text(check, "status"), status, sizeof(status));
        (void)table_clean(row_text(check, "text"), text, sizeof(text));
        (void)table_clean(row_text(check, "advice"), advice, sizeof(advice));
        (void)fprintf(file, "%-8s %-9s %s%s%s\n", status, name, text,
                      advice[0] == '\0' ? "" : "  ->  ", advice);
    }
}

static bool has_failed(const json_t *checks)
{
    const json_t *check;
    size_t i;

    json_array_foreach(checks, i, check)
    {
        if (strcmp(row_text(check, "status"), "failed") == 0) {
            return true;
        }
    }
    return false;
}

int cmd_doctor(const struct cmd_call *call, struct fed_err *err)
{
    const struct doctor_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    json_t *checks;
    int rc;

    if (options->config[0] != '\0') {
        return check_settings(call, options->config, err);
    }
    rc = api_get(&call->api, "/api/v1/doctor", &answer, err);
    if (rc < 0) {
        return rc;
    }
    checks = json_object_get(answer, "checks");
    if (!json_is_array(checks)) {
        return fed_err_set(err, FED_E_UNSUPPORTED, "the reducer's answer has no checks");
    }
    add_reducer(call, answer, checks);
    if (call->is_json) {
        rc = cmd_print_json(call, checks, err);
    } else {
        print(call, checks);
    }
    return rc < 0 ? rc : has_failed(checks) ? FED_EXIT_FAILED : FED_EXIT_OK;
}
