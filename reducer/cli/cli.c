#include "reducer/cli/cli.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/cli/cmd.h"

#define NAMES_MAX   64
#define REAL_DIGITS 15 /* 81.356, not 81.355999999999995 */
#define URL         "http://127.0.0.1:8092"

static const struct fed_conf_item common_items[] = {
    {"api_url", FED_CONF_TEXT, "", 0, 0, offsetof(struct cmd_common, api_url), false, "URL",
     "the reducer's address; without it FED_API_URL of the environment, else " URL},
    {"json", FED_CONF_BOOL, "false", 0, 0, offsetof(struct cmd_common, is_json), false, "",
     "one JSON object or array on standard output, and nothing else there"},
};

static const struct args_table common_options = {common_items,
                                                 sizeof(common_items) / sizeof(common_items[0])};

static const char exit_text[] = "Exit status:\n"
                                "  0  done\n"
                                "  1  failed; the message says why\n"
                                "  2  bad option or argument\n"
                                "  3  the reducer cannot be reached\n"
                                "  4  rounds failed, or the session was stopped\n";

/* -- help -------------------------------------------------------------------------------------- */

static void print_name(FILE *file, const struct cmd *cmd)
{
    (void)fprintf(file, "confed%s%s %s", cmd->group[0] == '\0' ? "" : " ", cmd->group, cmd->name);
}

static void print_commands(FILE *file, const char *group)
{
    for (size_t i = 0; i < cmd_count; i++) {
        const struct cmd *cmd = &cmd_all[i];
        char name[64];
        if (group != NULL && strcmp(cmd->group, group) != 0) {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s%s%s%s%s", cmd->group,
                       cmd->group[0] == '\0' ? "" : " ", cmd->name,
                       cmd->words[0] == '\0' ? "" : " ", cmd->words);
        (void)fprintf(file, "  %-26s  %s\n", name, cmd->summary);
    }
}

static void print_overview(FILE *file)
{
    (void)fprintf(file, "confed - federated learning: start it, watch it, ask it\n\n"
                        "Usage:\n  confed COMMAND [WORD...] [OPTION...]\n  confed help COMMAND\n\n"
                        "Commands:\n");
    print_commands(file, NULL);
    (void)fprintf(
        file,
        "\nAn ID may be given by its first letters; `latest` is the newest.\n"
        "Options of all commands: --api-url URL, --json, --help. The whole program: --version.\n\n"
        "%s\n"
        "Environment:\n"
        "  FED_API_URL  the reducer's address [" URL "]\n"
        "  NO_COLOR     no colours on a terminal\n\n"
        "First steps:\n"
        "  confed up --data DIR                       a federation on this machine\n"
        "  confed session start --model cnn --wait    five rounds from a fresh model\n"
        "  confed status                              what goes on\n",
        exit_text);
}

static void print_help(FILE *file, const struct cmd *cmd)
{
    struct fed_buf buf;

    print_name(file, cmd);
    (void)fprintf(file, " - %s\n\nUsage:\n  ", cmd->summary);
    print_name(file, cmd);
    (void)fprintf(file, " [OPTION...]%s%s\n\n%s\n\n", cmd->words[0] == '\0' ? "" : " ", cmd->words,
                  cmd->text);
    fed_buf_init(&buf, 0);
    if (args_format(cmd->options, &buf, NULL) == 0 && buf.size > 0) {
        (void)fprintf(file, "Options:\n%.*s\n", (int)buf.size, (const char *)buf.data);
    }
    fed_buf_clear(&buf);
    if (args_format(&common_options, &buf, NULL) == 0) {
        (void)fprintf(file, "Options of all commands:\n%.*s  --help\n\n%s", (int)buf.size,
                      (const char *)buf.data, exit_text);
    }
    fed_buf_deinit(&buf);
    if (cmd->examples[0] != '\0') {
        (void)fprintf(file, "\nExamples:\n%s", cmd->examples);
    }
}

/* -- finding ----------------------------------------------------------------------------------- */

static const struct cmd *find_command(const char *group, const char *name)
{
    for (size_t i = 0; i < cmd_count; i++) {
        if (strcmp(cmd_all[i].group, group) == 0 && strcmp(cmd_all[i].name, name) == 0) {
            return &cmd_all[i];
        }
    }
    return NULL;
}

static bool is_group(const char *name)
{
    for (size_t i = 0; i < cmd_count; i++) {
        if (cmd_all[i].group[0] != '\0' && strcmp(cmd_all[i].group, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The nearest of what could stand after `group`, or of the first words. */
static const char *nearest(const char *group, const char *word)
{
    const char *names[NAMES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < cmd_count && n < NAMES_MAX; i++) {
        const struct cmd *cmd = &cmd_all[i];
        if (group[0] == '\0') {
            names[n++] = cmd->group[0] == '\0' ? cmd->name : cmd->group;
        } else if (strcmp(cmd->group, group) == 0) {
            names[n++] = cmd->name;
        }
    }
    return fed_nearest(word, names, n);
}

static int unknown_command(FILE *errors, const char *group, const char *word)
{
    const char *near = nearest(group, word);
    const char *blank = group[0] == '\0' ? "" : " ";

    (void)fprintf(errors, "confed: unknown command '%s%s%.60s'", group, blank, word);
    if (near != NULL) {
        (void)fprintf(errors, ", did you mean `confed %s%s%s`?\n", group, blank, near);
    } else {
        (void)fprintf(errors, "; `confed help%s%s` lists them\n", blank, group);
    }
    return FED_EXIT_USAGE;
}

/* Find the command at argv[1..]. Returns how many words named it, 0 when the answer has been given:
 * then *ret_status is the exit status. */
static int find_words(int argc,
                      char **argv,
                      const struct cmd **ret_cmd,
                      int *ret_status,
                      FILE *out,
                      FILE *errors)
{
    const bool is_plain = argc > 1 && !is_group(argv[1]);
    const char *name = is_plain ? argv[1] : argc > 2 ? argv[2] : "--help";

    *ret_status = FED_EXIT_OK;
    if (argc > 1 && !is_plain && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)) {
        FILE *file = argc > 2 ? out : errors;
        (void)fprintf(file, "Usage:\n  confed %s COMMAND [OPTION...]\n\nCommands:\n", argv[1]);
        print_commands(file, argv[1]);
        (void)fprintf(file, "\n`confed %s COMMAND --help` says what one takes.\n", argv[1]);
        *ret_status = argc > 2 ? FED_EXIT_OK : FED_EXIT_USAGE;
        return 0;
    }
    if (argc < 2 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_overview(argc < 2 ? errors : out);
        *ret_status = argc < 2 ? FED_EXIT_USAGE : FED_EXIT_OK;
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        (void)fprintf(out, "confed %s\n", CONFED_VERSION);
        return 0;
    }
    *ret_cmd = find_command(is_plain ? "" : argv[1], name);
    if (*ret_cmd == NULL) {
        *ret_status = unknown_command(errors, is_plain ? "" : argv[1], name);
        return 0;
    }
    return is_plain ? 1 : 2;
}

/* -- running ----------------------------------------------------------------------------------- */

static int exit_status(const struct fed_err *err)
{
    if (err->code == FED_E_UNAVAILABLE || err->code == FED_E_TIMEOUT) {
        return FED_EXIT_UNREACHABLE;
    }
    return err->code == FED_E_INVALID ? FED_EXIT_USAGE : FED_EXIT_FAILED;
}

/* What to do next, for failures that people meet. */
static const char *hint_of(const struct fed_err *err, int status)
{
    static const struct {
        const char *part;
        const char *hint;
    } hints[] = {
        {"session is already running",
         "watch it with `confed session watch`, or end it with `confed session stop`"},
        {"available clients is lower",
         "see `confed client list`; start clients, wait for them with --clients-wait 60s, or "
         "lower --clients-required"},
        {"clients are attached after", "see `confed client list`"},
        {"seed model not found", "see `confed model list`, or make one: --model cnn"},
        {"there are no models yet", "make one with `confed model new cnn --upload`"},
        {"there are no sessions yet", "start one with `confed session start --model cnn`"},
        {"there are no rounds yet", "start a session with `confed session start --model cnn`"},
    };

    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strstr(err->msg, hints[i].part) != NULL) {
            return hints[i].hint;
        }
    }
    return status == FED_EXIT_UNREACHABLE
               ? "is the reducer running? start one with `confed up`, or say where it is with "
                 "--api-url URL"
               : NULL;
}

static int fail(const struct cmd *cmd, const struct fed_err *err, FILE *errors)
{
    const int status = exit_status(err);
    const char *hint = hint_of(err, status);

    (void)fprintf(errors, "confed: %s\n", err->msg);
    if (hint != NULL) {
        (void)fprintf(errors, "        %s\n", hint);
    } else if (status == FED_EXIT_USAGE) {
        (void)fprintf(errors, "        `");
        print_name(errors, cmd);
        (void)fprintf(errors, " --help` says what it takes\n");
    }
    return status;
}

static int check_words(const struct cmd *cmd, const struct args *args, struct fed_err *err)
{
    if (args->n_words < cmd->words_min) {
        return fed_err_set(err, FED_E_INVALID, "%s%s%s needs %s", cmd->group,
                           cmd->group[0] == '\0' ? "" : " ", cmd->name, cmd->words);
    }
    if (args->n_words > cmd->words_max) {
        return fed_err_set(err, FED_E_INVALID, "unexpected word '%.60s'",
                           args->words[cmd->words_max]);
    }
    return 0;
}

static const char *default_url(void)
{
    const char *url = fed_env_get("FED_API_URL");

    return url == NULL || url[0] == '\0' ? URL : url;
}

static int run_command(const struct cmd *cmd,
                       int argc,
                       char **argv,
                       const char *program,
                       FILE *out,
                       FILE *errors)
{
    _Alignas(max_align_t) unsigned char options[CMD_OPTIONS_SIZE] = {0};
    const struct args_table tables[ARGS_TABLES_MAX] = {*cmd->options, common_options};
    struct cmd_call call = {.cmd = cmd, .program = program, .options = options};
    struct cmd_common common;
    struct fed_err err = {0};
    int rc = args_parse(tables, argc, argv, options, &call.args, &err);

    if (rc == 0 && call.args.wants_help) {
        print_help(out, cmd);
        return FED_EXIT_OK;
    }
    rc = rc < 0 ? rc : check_words(cmd, &call.args, &err);
    if (rc == 0) {
        memcpy(&common, options, sizeof(common));
        call.api.url = common.api_url[0] == '\0' ? default_url() : common.api_url;
        call.is_json = common.is_json;
        term_init(&call.out, out);
        term_init(&call.note, common.is_json ? errors : out);
        rc = cmd->run(&call, &err);
    }
    return rc < 0 ? fail(cmd, &err, errors) : rc;
}

/* `confed help session start` is `confed session start --help`. */
static int run_help(int argc, char **argv, FILE *out, FILE *errors)
{
    const struct cmd *cmd = NULL;
    char help[] = "--help";
    char *words[5] = {argv[0]};
    int n = 1;
    int status;

    for (int i = 2; i < argc && n < 3; i++) {
        words[n++] = argv[i];
    }
    words[n++] = help;
    if (find_words(n, words, &cmd, &status, out, errors) == 0) {
        return status;
    }
    print_help(out, cmd);
    return FED_EXIT_OK;
}

/* Options of all commands may stand before the command: move them behind it. The caller frees the
 * copy. */
static char **move_options(int argc, char **argv)
{
    char **moved = calloc((size_t)argc + 1, sizeof(*moved));
    int n_before = 1;
    int n = 1;

    if (moved == NULL) {
        return NULL;
    }
    while (n_before < argc) {
        const char *word = argv[n_before];
        if (strcmp(word, "--json") == 0 || strncmp(word, "--api-url=", 10) == 0) {
            n_before++;
        } else if (strcmp(word, "--api-url") == 0 && n_before + 1 < argc) {
            n_before += 2;
        } else {
            break;
        }
    }
    moved[0] = argv[0];
    for (int i = n_before; i < argc; i++) {
        moved[n++] = argv[i];
    }
    for (int i = 1; i < n_before; i++) {
        moved[n++] = argv[i];
    }
    return moved;
}

static int run_words(int argc, char **argv, FILE *out, FILE *errors)
{
    const struct cmd *cmd = NULL;
    int status;
    int n;

    if (argc > 1 && strcmp(argv[1], "help") == 0) {
        return run_help(argc, argv, out, errors);
    }
    n = find_words(argc, argv, &cmd, &status, out, errors);
    if (n == 0) {
        return status;
    }
    return run_command(cmd, argc - 1 - n, argv + 1 + n, argv[0], out, errors);
}

int cli_run(int argc, char **argv, FILE *out, FILE *errors)
{
    char **moved = move_options(argc, argv);
    int status;

    if (moved == NULL) {
        (void)fprintf(errors, "confed: out of memory\n");
        return FED_EXIT_FAILED;
    }
    status = run_words(argc, moved, out, errors);
    free((void *)moved);
    return status;
}

/* -- for the commands -------------------------------------------------------------------------- */

const char *cmd_word(const struct cmd_call *call, size_t n, const char *fallback)
{
    return n < call->args.n_words ? call->args.words[n] : fallback;
}

int cmd_print_json(const struct cmd_call *call, const json_t *json, struct fed_err *err)
{
    char *text =
        json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(REAL_DIGITS));

    if (text == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "JSON");
    }
    (void)fprintf(call->out.file, "%s\n", text);
    free(text);
    return FED_EXIT_OK;
}
