/* `confed model prune`: says what would go, asks on a terminal, then does it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf/conf.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/listing.h"

struct prune_options {
    struct cmd_common common;
    uint64_t keep;
    const char *keep_best;
    bool is_sure;
};

static const struct fed_conf_item items[] = {
    {"keep", FED_CONF_U64, "0", 0, 1000000000, offsetof(struct prune_options, keep), false, "N",
     "so many of the newest models stay"},
    {"keep_best", FED_CONF_TEXT, "", 0, 0, offsetof(struct prune_options, keep_best), false,
     "METRIC", "and the best by the mean of its validations: accuracy, loss ..."},
    {"yes", FED_CONF_BOOL, "false", 0, 0, offsetof(struct prune_options, is_sure), false, "",
     "do it without asking; without a terminal nothing is removed otherwise"},
};
const struct args_table cmd_model_prune_options = {items, sizeof(items) / sizeof(items[0])};

static const struct listing_field fields[] = {
    {"MODEL", "model_id", LISTING_ID, 0},      {"NAME", "name", LISTING_TEXT, 40},
    {"SESSION", "session_id", LISTING_ID, 0},  {"SIZE", "size_bytes", LISTING_BYTES, 0},
    {"MADE", "committed_at", LISTING_TIME, 0},
};

static int prune(const struct cmd_call *call, bool is_dry, json_t **ret_report, struct fed_err *err)
{
    const struct prune_options *options = call->options;
    FED_CLEANUP(api_json_free_p)
    json_t *body = json_pack("{s:I,s:s,s:b}", "keep", (json_int_t)options->keep, "keep_best",
                             options->keep_best, "dry_run", is_dry ? 1 : 0);

    return api_send(&call->api, "POST", "/api/v1/models/prune", body, ret_report, err);
}

static bool is_sure(const struct cmd_call *call)
{
    char answer[8] = "";

    (void)fprintf(call->out.file, "Remove their files? [y/N] ");
    (void)fflush(call->out.file);
    return fgets(answer, sizeof(answer), stdin) != NULL &&
           (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0);
}

static void say_total(const struct cmd_call *call, const json_t *report, const char *verb)
{
    char bytes[32];

    const size_t n = json_array_size(row_find(report, "removed"));

    (void)fprintf(call->out.file, "%zu model%s %s, %s; %zu stay\n", n, n == 1 ? "" : "s", verb,
                  row_format_bytes(row_u64(report, "bytes"), bytes, sizeof(bytes)),
                  json_array_size(row_find(report, "kept")));
}

static int list(const struct cmd_call *call, const json_t *report, struct fed_err *err)
{
    return listing_print(&call->out, row_find(report, "removed"), fields,
                         sizeof(fields) / sizeof(fields[0]), "nothing to remove", err);
}

/* What would go, and whether it may. */
static int look(const struct cmd_call *call, bool *ret_goes_on, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *report = NULL;
    int rc = prune(call, true, &report, err);

    *ret_goes_on = false;
    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, report, err);
    }
    rc = list(call, report, err);
    say_total(call, report, "would go");
    if (rc < 0 || json_array_size(row_find(report, "removed")) == 0) {
        return rc;
    }
    *ret_goes_on = call->out.is_terminal && isatty(STDIN_FILENO) == 1 && is_sure(call);
    if (!*ret_goes_on) {
        (void)fprintf(call->out.file, "nothing was removed; --yes does it\n");
    }
    return 0;
}

int cmd_model_prune(const struct cmd_call *call, struct fed_err *err)
{
    const struct prune_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *report = NULL;
    bool goes_on = true;
    int rc;

    if (options->keep == 0) {
        return fed_err_set(err, FED_E_INVALID, "--keep N is missing: how many of the newest stay");
    }
    rc = options->is_sure ? 0 : look(call, &goes_on, err);
    if (rc < 0 || !goes_on) {
        return rc;
    }
    rc = prune(call, false, &report, err);
    if (rc == 0 && call->is_json) {
        return cmd_print_json(call, report, err);
    }
    rc = rc < 0 || !options->is_sure ? rc : list(call, report, err); /* else it was shown */
    if (rc < 0) {
        return rc;
    }
    say_total(call, report, "removed");
    return FED_EXIT_OK;
}
