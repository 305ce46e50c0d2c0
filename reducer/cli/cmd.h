/* The commands: one row each of one table. A command is found by its group and name, its arguments
 * are parsed by its options, and its run function does the rest.
 */
#ifndef REDUCER_CLI_CMD_H
#define REDUCER_CLI_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/err.h"
#include "reducer/cli/api.h"
#include "reducer/cli/args.h"
#include "reducer/cli/term.h"

#define CMD_OPTIONS_SIZE 512 /* bytes of the largest options' struct */

/* What every command takes; the first member of every options' struct. */
struct cmd_common {
    const char *api_url;
    bool is_json; /* one object or array on standard output, and nothing else */
};

struct cmd;

struct cmd_call {
    const struct cmd *cmd;
    const char *program; /* argv[0] */
    const void *options; /* the command's struct */
    struct args args;
    struct api api;
    bool is_json;
    struct term out;  /* the result */
    struct term note; /* progress: standard error with --json, else as `out` */
};

/* Returns an enum fed_exit, or < 0. */
typedef int (*cmd_run_fn)(const struct cmd_call *call, struct fed_err *err);

struct cmd {
    const char *group; /* "" for those without */
    const char *name;
    const char *words; /* for the usage line: "[ID]" */
    size_t words_min;
    size_t words_max;
    const char *summary;  /* a line of the list of commands */
    const char *text;     /* paragraphs */
    const char *examples; /* lines; may be "" */
    const struct args_table *options;
    cmd_run_fn run;
};

extern const struct cmd cmd_all[];
extern const size_t cmd_count;

/* The n-th word, or `fallback`. */
const char *cmd_word(const struct cmd_call *call, size_t n, const char *fallback);

/* Print JSON on one line. */
FED_NODISCARD int
cmd_print_json(const struct cmd_call *call, const json_t *json, struct fed_err *err);

/* A list command: the newest rows of a resource, by struct cmd_list_options. */
struct listing_field;
struct cmd_list {
    const char *resource;
    const struct listing_field *fields;
    size_t n_fields;
    const char *empty; /* printed when there are no rows */
};
int cmd_print_list(const struct cmd_call *call, const struct cmd_list *list, struct fed_err *err);

/* -- the table's functions, one file a group -------------------------------------------------- */

int cmd_status(const struct cmd_call *call, struct fed_err *err);
int cmd_up(const struct cmd_call *call, struct fed_err *err);
int cmd_hold(const struct cmd_call *call, struct fed_err *err);
int cmd_doctor(const struct cmd_call *call, struct fed_err *err);
int cmd_migrate(const struct cmd_call *call, struct fed_err *err);
int cmd_backup(const struct cmd_call *call, struct fed_err *err);
int cmd_restore(const struct cmd_call *call, struct fed_err *err);

int cmd_session_start(const struct cmd_call *call, struct fed_err *err);
int cmd_session_watch(const struct cmd_call *call, struct fed_err *err);
int cmd_session_list(const struct cmd_call *call, struct fed_err *err);
int cmd_session_show(const struct cmd_call *call, struct fed_err *err);
int cmd_session_stop(const struct cmd_call *call, struct fed_err *err);

int cmd_round_list(const struct cmd_call *call, struct fed_err *err);
int cmd_round_show(const struct cmd_call *call, struct fed_err *err);

int cmd_model_new(const struct cmd_call *call, struct fed_err *err);
int cmd_model_list(const struct cmd_call *call, struct fed_err *err);
int cmd_model_show(const struct cmd_call *call, struct fed_err *err);
int cmd_model_download(const struct cmd_call *call, struct fed_err *err);
int cmd_model_prune(const struct cmd_call *call, struct fed_err *err);
int cmd_model_upload(const struct cmd_call *call, struct fed_err *err);

int cmd_client_list(const struct cmd_call *call, struct fed_err *err);
int cmd_client_show(const struct cmd_call *call, struct fed_err *err);
int cmd_combiner_list(const struct cmd_call *call, struct fed_err *err);
int cmd_validation_list(const struct cmd_call *call, struct fed_err *err);
int cmd_package_list(const struct cmd_call *call, struct fed_err *err);
int cmd_package_upload(const struct cmd_call *call, struct fed_err *err);

/* Options of commands that others' files offer too. */
extern const struct args_table cmd_no_options;
extern const struct args_table cmd_session_start_options;
extern const struct args_table cmd_session_stop_options;
extern const struct args_table cmd_list_options;
extern const struct args_table cmd_model_new_options;
extern const struct args_table cmd_model_download_options;
extern const struct args_table cmd_model_upload_options;
extern const struct args_table cmd_package_upload_options;
extern const struct args_table cmd_up_options;
extern const struct args_table cmd_hold_options;
extern const struct args_table cmd_doctor_options;
extern const struct args_table cmd_migrate_options;
extern const struct args_table cmd_backup_options;
extern const struct args_table cmd_model_prune_options;

/* Of the list commands. */
struct cmd_list_options {
    struct cmd_common common;
    const char *session; /* id, its beginning, or "latest"; "": all */
    uint64_t limit;      /* newest rows */
};

#endif /* REDUCER_CLI_CMD_H */
