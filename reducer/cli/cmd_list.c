/* The commands that list and show rows: rounds, clients, combiners, validations, packages. */
#include <stdio.h>
#include <string.h>

#include "reducer/cli/cmd.h"
#include "reducer/cli/listing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct fed_conf_item list_items[] = {
    {"session", FED_CONF_TEXT, "", 0, 0, offsetof(struct cmd_list_options, session), false, "ID",
     "only those of this session"},
    {"limit", FED_CONF_U64, "100", 0, 1000000, offsetof(struct cmd_list_options, limit), false, "N",
     "the newest N; 0 is all"},
};
const struct args_table cmd_list_options = {list_items, COUNT(list_items)};
const struct args_table cmd_no_options = {NULL, 0};

static const struct listing_field round_fields[] = {
    {"ROUND", "round_id", LISTING_NUMBER, 0},  {"SESSION", "session_id", LISTING_ID, 0},
    {"NO", "round_number", LISTING_NUMBER, 0}, {"STATUS", "status", LISTING_STATE, 0},
    {"ASKED", "clients", LISTING_COUNT, 0},    {"COUNTED", "entries", LISTING_COUNT, 0},
    {"REFUSED", "refused", LISTING_COUNT, 0},  {"TIME", "timings.total_ms", LISTING_MS, 0},
    {"MODEL", "model_id", LISTING_ID, 0},      {"FAILURE", "failure", LISTING_TEXT, 60},
};

static const struct listing_field round_details[] = {
    {"round", "round_id", LISTING_TEXT, 0},
    {"session", "session_id", LISTING_TEXT, 0},
    {"number", "round_number", LISTING_TEXT, 0},
    {"status", "status", LISTING_STATE, 0},
    {"phase", "phase", LISTING_STATE, 0},
    {"failure", "failure", LISTING_TEXT, 0},
    {"base model", "base_model_id", LISTING_TEXT, 0},
    {"model", "model_id", LISTING_TEXT, 0},
    {"sha256", "model_sha256", LISTING_TEXT, 0},
    {"size", "model_size_bytes", LISTING_BYTES, 0},
    {"quorum", "round_config.clients_required", LISTING_TEXT, 0},
    {"timeout (s)", "round_config.round_timeout", LISTING_TEXT, 0},
    {"collecting", "timings.collect_ms", LISTING_MS, 0},
    {"adding up", "timings.sum_ms", LISTING_MS, 0},
    {"writing model", "timings.finish_ms", LISTING_MS, 0},
    {"commit", "timings.commit_ms", LISTING_MS, 0},
    {"in all", "timings.total_ms", LISTING_MS, 0},
    {"combiners", "combiners", LISTING_NAMES, 0},
};

static const struct listing_field entry_fields[] = {
    {"CLIENT", "client_id", LISTING_ID, 40},
    {"EXAMPLES", "examples", LISTING_NUMBER, 0},
    {"COMBINER", "combiner_id", LISTING_ID, 0},
    {"UPDATE", "update_id", LISTING_ID, 0},
};

static const struct listing_field refused_fields[] = {
    {"CLIENT", "client", LISTING_ID, 40},
    {"REASON", "reason", LISTING_TEXT, 0},
    {"DETAIL", "detail", LISTING_TEXT, 0},
};

static const struct listing_field client_fields[] = {
    {"CLIENT", "client_id", LISTING_ID, 40}, {"NAME", "name", LISTING_TEXT, 40},
    {"STATUS", "status", LISTING_STATE, 0},  {"COMBINER", "combiner", LISTING_ID, 40},
    {"ADDRESS", "ip", LISTING_TEXT, 0},      {"LAST SEEN", "last_seen", LISTING_TIME, 0},
};

static const struct listing_field client_details[] = {
    {"client", "client_id", LISTING_TEXT, 0},
    {"name", "name", LISTING_TEXT, 0},
    {"status", "status", LISTING_STATE, 0},
    {"combiner", "combiner", LISTING_TEXT, 0},
    {"preferred", "combiner_preferred", LISTING_TEXT, 0},
    {"package", "package", LISTING_TEXT, 0},
    {"address", "ip", LISTING_TEXT, 0},
    {"last seen", "last_seen", LISTING_TIME, 0},
    {"since", "committed_at", LISTING_TIME, 0},
};

static const struct listing_field combiner_fields[] = {
    {"COMBINER", "combiner_id", LISTING_ID, 40}, {"NAME", "name", LISTING_TEXT, 40},
    {"STATUS", "status", LISTING_STATE, 0},      {"ADDRESS", "address", LISTING_TEXT, 0},
    {"CLIENTS", "clients", LISTING_NUMBER, 0},
};

static const struct listing_field validation_fields[] = {
    {"SESSION", "session_id", LISTING_ID, 0},    {"MODEL", "model_id", LISTING_ID, 0},
    {"CLIENT", "sender.name", LISTING_TEXT, 40}, {"TIME", "timestamp", LISTING_TEXT, 19},
    {"DATA", "data", LISTING_TEXT, 200},
};

static const struct listing_field package_fields[] = {
    {"PACKAGE", "package_id", LISTING_ID, 0},      {"NAME", "name", LISTING_TEXT, 40},
    {"FILE", "file_name", LISTING_TEXT, 40},       {"HELPER", "helper", LISTING_TEXT, 0},
    {"ACTIVE", "active", LISTING_TEXT, 0},         {"SIZE", "size_bytes", LISTING_BYTES, 0},
    {"UPLOADED", "committed_at", LISTING_TIME, 0},
};

/* -- listing ----------------------------------------------------------------------------------- */

static int
load_rows(const struct cmd_call *call, const char *resource, json_t **ret_rows, struct fed_err *err)
{
    const struct cmd_list_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *session = NULL;
    struct api_query query = {.resource = resource, .limit = options->limit};

    if (options->session[0] != '\0') {
        const int rc =
            api_find(&call->api, "sessions", "session_id", options->session, &session, err);
        if (rc < 0) {
            return rc;
        }
        query.filter_key = "session_id";
        query.filter_value = row_text(session, "session_id");
    }
    return api_list(&call->api, &query, ret_rows, err);
}

int cmd_print_list(const struct cmd_call *call, const struct cmd_list *list, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *rows = NULL;
    const int rc = load_rows(call, list->resource, &rows, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, rows, err);
    }
    return listing_print(&call->out, rows, list->fields, list->n_fields, list->empty, err);
}

int cmd_round_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {
        "rounds", round_fields, COUNT(round_fields),
        "There are no rounds yet: `confed session start --model cnn` makes some."};

    return cmd_print_list(call, &list, err);
}

int cmd_client_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {
        "clients", client_fields, COUNT(client_fields),
        "No client has come yet: start one with `confed-client --api-url URL --data DIR`."};

    return cmd_print_list(call, &list, err);
}

int cmd_validation_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {"validations", validation_fields, COUNT(validation_fields),
                                         "No client has validated a model yet."};

    return cmd_print_list(call, &list, err);
}

int cmd_package_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {
        "packages", package_fields, COUNT(package_fields),
        "There are no compute packages: `confed package upload FILE.tgz` brings one."};

    return cmd_print_list(call, &list, err);
}

/* Combiners come from the live state, which knows whether they are there; the rows' other keys
 * stay reachable by --json. */
int cmd_combiner_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {"combiners", NULL, 0, ""};
    FED_CLEANUP(api_json_free_p) json_t *live = NULL;
    int rc;

    if (call->is_json) {
        return cmd_print_list(call, &list, err);
    }
    rc = api_live(&call->api, 0, 0, &live, err);
    if (rc < 0) {
        return rc;
    }
    return listing_print(&call->out, json_object_get(live, "combiners"), combiner_fields,
                         COUNT(combiner_fields),
                         "No combiner has come yet: start one with `confed-combiner --reducer "
                         "HOST:PORT`.",
                         err);
}

/* -- showing ----------------------------------------------------------------------------------- */

static int print_section(const struct cmd_call *call,
                         const char *title,
                         const json_t *rows,
                         const struct listing_field *fields,
                         size_t n_fields,
                         struct fed_err *err)
{
    if (json_array_size(rows) == 0) {
        return 0;
    }
    (void)fprintf(call->out.file, "\n%s\n", title);
    return listing_print(&call->out, rows, fields, n_fields, "", err);
}

/* Refusals beyond the stored list are counted by reason only. */
static void print_refused_more(const struct cmd_call *call, const json_t *round)
{
    const char *reason = NULL;
    json_t *count = NULL;

    json_object_foreach(row_find(round, "refused_more"), reason, count)
    {
        if (json_integer_value(count) > 0) {
            (void)fprintf(call->out.file, "and %lld more: %s\n",
                          (long long)json_integer_value(count), reason);
        }
    }
}

int cmd_round_show(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *round = NULL;
    const char *id = cmd_word(call, 0, "latest");
    int rc = api_find(&call->api, "rounds", "round_id", id, &round, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, round, err);
    }
    listing_show(&call->out, round, round_details, COUNT(round_details));
    rc = print_section(call, "Updates that count", row_find(round, "entries"), entry_fields,
                       COUNT(entry_fields), err);
    if (rc == 0) {
        rc = print_section(call, "Refused updates", row_find(round, "refused"), refused_fields,
                           COUNT(refused_fields), err);
    }
    print_refused_more(call, round);
    return rc;
}

int cmd_client_show(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *client = NULL;
    const int rc =
        api_find(&call->api, "clients", "client_id", cmd_word(call, 0, ""), &client, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, client, err);
    }
    listing_show(&call->out, client, client_details, COUNT(client_details));
    return FED_EXIT_OK;
}
