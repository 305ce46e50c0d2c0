/* `confed session …`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/follow.h"
#include "reducer/cli/interrupt.h"
#include "reducer/cli/listing.h"
#include "reducer/cli/seed_model.h"
#include "reducer/cli/summary.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct start_options {
    struct cmd_common common;
    const char *model;
    const char *name;
    const char *buffer_size;
    const char *client_ids;
    const char *model_name_prefix;
    uint64_t rounds;
    uint64_t clients_required;
    uint64_t clients_per_round;
    uint64_t round_timeout_ms;
    uint64_t seed;
    uint64_t epochs; /* 0: the clients' own */
    uint64_t batch;
    uint64_t clients_wait_ms;
    double lr;
    bool is_unvalidated;
    bool is_waiting;
};

#define AT(member) offsetof(struct start_options, member)

static const struct fed_conf_item start_items[] = {
    {"model", FED_CONF_TEXT, "", 0, 0, AT(model), false, "ID|FILE|cnn",
     "what to start from: a model of the reducer (its id, the beginning of it, or latest), a model "
     "file, or the built-in CNN for 28x28 images with fresh values from --seed"},
    {"rounds", FED_CONF_U64, "5", 1, 1000000, AT(rounds), false, "N", "how many"},
    {"clients_required", FED_CONF_U64, "1", 1, 1000000, AT(clients_required), false, "N",
     "the quorum: so many updates make a round valid, and so many clients are needed at the start"},
    {"min_clients", FED_CONF_U64, "", 1, 1000000, AT(clients_required), false, "N",
     "another name of --clients-required"},
    {"clients_per_round", FED_CONF_U64, "0", 0, 1000000, AT(clients_per_round), false, "N",
     "ask only so many, drawn anew each round; 0 asks all"},
    {"buffer_size", FED_CONF_TEXT, "-1", 0, 0, AT(buffer_size), false, "N",
     "close a round at that many updates; -1 waits for every client that was asked"},
    {"round_timeout", FED_CONF_DURATION, "180 s", 1, 0, AT(round_timeout_ms), false, "DURATION",
     "a round ends by then, whoever is missing"},
    {"no_validate", FED_CONF_BOOL, "false", 0, 0, AT(is_unvalidated), false, "",
     "do not ask the clients to validate each new model"},
    {"client_ids", FED_CONF_TEXT, "", 0, 0, AT(client_ids), false, "ID,ID,...",
     "ask exactly these clients, nobody else"},
    {"name", FED_CONF_TEXT, "", 0, 0, AT(name), false, "TEXT", "the session's name"},
    {"model_name_prefix", FED_CONF_TEXT, "", 0, 0, AT(model_name_prefix), false, "TEXT",
     "name the models TEXT_1, TEXT_2 ..."},
    {"seed", FED_CONF_U64, "1", 0, 0, AT(seed), false, "N",
     "for drawing clients, and for the values of --model cnn"},
    {"epochs", FED_CONF_U64, "", 1, 10000, AT(epochs), false, "N",
     "local epochs a round; without it the clients' own setting"},
    {"batch", FED_CONF_U64, "", 1, 65536, AT(batch), false, "N",
     "images a step; without it the clients' own setting"},
    {"lr", FED_CONF_REAL, "", 0, 0, AT(lr), false, "X",
     "learning rate; without it the clients' own setting"},
    {"clients_wait", FED_CONF_DURATION, "0", 0, 86400000, AT(clients_wait_ms), false, "DURATION",
     "wait so long for --clients-required clients to be attached, before the start"},
    {"wait", FED_CONF_BOOL, "false", 0, 0, AT(is_waiting), false, "",
     "show the rounds as they go, and end when the last model is validated (at most one "
     "--round-timeout after the last round)"},
};
const struct args_table cmd_session_start_options = {start_items, COUNT(start_items)};

struct stop_options {
    struct cmd_common common;
    bool is_now;
};

static const struct fed_conf_item stop_items[] = {
    {"now", FED_CONF_BOOL, "false", 0, 0, offsetof(struct stop_options, is_now), false, "",
     "end the open round at once, without a model; without this it runs to its end"},
};
const struct args_table cmd_session_stop_options = {stop_items, COUNT(stop_items)};

static const struct listing_field session_fields[] = {
    {"SESSION", "session_id", LISTING_ID, 0},   {"NAME", "name", LISTING_TEXT, 40},
    {"STATUS", "status", LISTING_STATE, 0},     {"ROUNDS", "rounds_total", LISTING_NUMBER, 0},
    {"DONE", "rounds_done", LISTING_NUMBER, 0}, {"FAILED", "failed_rounds", LISTING_NUMBER, 0},
    {"MODEL", "model_id", LISTING_ID, 0},       {"MADE", "committed_at", LISTING_TIME, 0},
};

static const struct listing_field session_details[] = {
    {"session", "session_id", LISTING_TEXT, 0},
    {"name", "name", LISTING_TEXT, 0},
    {"status", "status", LISTING_STATE, 0},
    {"rounds", "rounds_total", LISTING_TEXT, 0},
    {"done", "rounds_done", LISTING_TEXT, 0},
    {"failed", "failed_rounds", LISTING_TEXT, 0},
    {"seed model", "seed_model_id", LISTING_TEXT, 0},
    {"model", "model_id", LISTING_TEXT, 0},
    {"quorum", "session_config.clients_required", LISTING_TEXT, 0},
    {"per round", "session_config.clients_per_round", LISTING_TEXT, 0},
    {"buffer size", "session_config.buffer_size", LISTING_TEXT, 0},
    {"timeout (s)", "session_config.round_timeout", LISTING_TEXT, 0},
    {"validated", "session_config.validate", LISTING_TEXT, 0},
    {"seed", "session_config.seed", LISTING_TEXT, 0},
    {"epochs", "task_settings.epochs", LISTING_TEXT, 0},
    {"batch", "task_settings.batch", LISTING_TEXT, 0},
    {"learning rate", "task_settings.lr", LISTING_TEXT, 0},
    {"made", "committed_at", LISTING_TIME, 0},
};

/* -- start ------------------------------------------------------------------------------------- */

static int parse_buffer_size(const char *text, json_int_t *ret_value, struct fed_err *err)
{
    uint64_t value = 0;

    if (strcmp(text, "-1") == 0) {
        *ret_value = -1;
        return 0;
    }
    if (!fed_conf_parse_number(FED_CONF_U64, text, &value) || value == 0 || value > 1000000) {
        return fed_err_set(err, FED_E_INVALID,
                           "--buffer-size is '%.40s', want -1 (all) or 1 to 1000000", text);
    }
    *ret_value = (json_int_t)value;
    return 0;
}

static int check_start(const struct start_options *options, struct fed_err *err)
{
    if (options->model[0] == '\0') {
        return fed_err_set(err, FED_E_INVALID,
                           "--model is missing: an id, a file, or cnn for a fresh one");
    }
    if (options->clients_per_round > 0 && options->clients_required > options->clients_per_round) {
        return fed_err_set(err, FED_E_INVALID,
                           "--clients-required %llu can never come of --clients-per-round %llu",
                           (unsigned long long)options->clients_required,
                           (unsigned long long)options->clients_per_round);
    }
    return 0;
}

static json_t *make_settings(const struct start_options *options)
{
    json_t *settings = json_object();

    if (options->epochs > 0) {
        (void)json_object_set_new(settings, "epochs", json_integer((json_int_t)options->epochs));
    }
    if (options->batch > 0) {
        (void)json_object_set_new(settings, "batch", json_integer((json_int_t)options->batch));
    }
    if (options->lr > 0) {
        (void)json_object_set_new(settings, "lr", json_real(options->lr));
    }
    return settings;
}

static json_t *
make_session(const struct start_options *options, const char *model_id, json_int_t buffer_size)
{
    const uint64_t ms = options->round_timeout_ms;
    json_t *settings = make_settings(options);
    json_t *config = json_pack(
        "{s:s, s:o, s:I, s:b, s:I, s:b, s:s, s:s, s:I}", "aggregator", "fedavg", "round_timeout",
        ms % 1000 == 0 ? json_integer((json_int_t)(ms / 1000)) : json_real((double)ms / 1000.0),
        "buffer_size", buffer_size, "delete_models_storage", 1, "clients_required",
        (json_int_t)options->clients_required, "validate", options->is_unvalidated ? 0 : 1,
        "helper_type", "numpyhelper", "model_id", model_id, "seed", (json_int_t)options->seed);
    json_t *session = json_pack("{s:s, s:o}", "seed_model_id", model_id, "session_config", config);

    if (options->clients_per_round > 0) {
        (void)json_object_set_new(config, "clients_per_round",
                                  json_integer((json_int_t)options->clients_per_round));
    }
    if (options->name[0] != '\0') {
        (void)json_object_set_new(session, "name", json_string(options->name));
    }
    if (json_object_size(settings) > 0) {
        (void)json_object_set(session, "task_settings", settings);
    }
    json_decref(settings);
    return session;
}

static int create_session(const struct cmd_call *call,
                          const char *model_id,
                          char ret_session_id[FED_ID_SIZE],
                          struct fed_err *err)
{
    const struct start_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *body = NULL;
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    json_int_t buffer_size = 0;
    int rc = parse_buffer_size(options->buffer_size, &buffer_size, err);

    if (rc < 0) {
        return rc;
    }
    body = make_session(options, model_id, buffer_size);
    rc = api_send(&call->api, "POST", "/api/v1/sessions/", body, &row, err);
    if (rc < 0) {
        return rc;
    }
    fed_id_copy(ret_session_id, row_text(row, "session_id"));
    return 0;
}

static int start_session(const struct cmd_call *call, const char *session_id, struct fed_err *err)
{
    const struct start_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    FED_CLEANUP(api_json_free_p)
    json_t *body =
        json_pack("{s:s, s:I}", "session_id", session_id, "rounds", (json_int_t)options->rounds);

    if (options->client_ids[0] != '\0') {
        (void)json_object_set_new(body, "client_ids", json_string(options->client_ids));
    }
    if (options->model_name_prefix[0] != '\0') {
        (void)json_object_set_new(body, "model_name_prefix",
                                  json_string(options->model_name_prefix));
    }
    return api_send(&call->api, "POST", "/api/v1/sessions/start", body, &answer, err);
}

/* Ctrl-C: the session is the reducer's, not ours. */
static void print_left(const struct cmd_call *call, const char *session_id)
{
    (void)fprintf(call->note.file,
                  "\nsession %.8s goes on without you: `confed session watch %.8s` shows it again, "
                  "`confed session stop %.8s` ends it\n",
                  session_id, session_id, session_id);
    (void)fflush(call->note.file);
}

/* Follow a session to its end and sum it up. started_ms is 0 where it was not started here. */
static int follow_to_end(const struct cmd_call *call,
                         const char *session_id,
                         uint64_t started_ms,
                         int left_status,
                         struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    struct follow follow = {.api = &call->api, .term = &call->note};
    struct watch watch;
    int rc = api_find(&call->api, "sessions", "session_id", session_id, &row, err);

    if (rc < 0) {
        return rc;
    }
    watch_init(&watch, session_id);
    watch_session(&watch, row);
    follow.validation_ms = watch.round_timeout_ms;
    rc = follow_session(&follow, &watch, err);
    if (rc == 0) {
        const uint64_t elapsed_ms =
            started_ms > 0 ? fed_clock_mono_ms() - started_ms : watch_elapsed_ms(&watch);
        rc = summary_print(call, &watch, elapsed_ms, err);
    } else if (rc == -FED_E_CANCELLED) {
        if (interrupt_take(call->api.cancel_fd) == SIGINT) {
            print_left(call, session_id);
        }
        rc = left_status;
    }
    watch_deinit(&watch);
    return rc;
}

static int print_started(const struct cmd_call *call,
                         const char *session_id,
                         const char *model_id,
                         struct fed_err *err)
{
    const struct start_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *json = NULL;

    if (call->is_json && !options->is_waiting) {
        json = json_pack("{s:s, s:s, s:s}", "session_id", session_id, "model_id", model_id,
                         "status", "Started");
        return cmd_print_json(call, json, err);
    }
    (void)fprintf(call->note.file, "session %s: started, %llu rounds from model %s\n", session_id,
                  (unsigned long long)options->rounds, model_id);
    if (!options->is_waiting) {
        (void)fprintf(call->note.file, "watch it with `confed session watch`\n");
    }
    (void)fflush(call->note.file);
    return FED_EXIT_OK;
}

int cmd_session_start(const struct cmd_call *call, struct fed_err *err)
{
    const struct start_options *options = call->options;
    struct cmd_call waiting = *call;
    char model_id[FED_ID_SIZE];
    char session_id[FED_ID_SIZE];
    uint64_t started_ms;
    int rc = check_start(options, err);

    if (rc == 0 && options->is_waiting) {
        rc = interrupt_open(false, &waiting.api.cancel_fd, err);
    }
    rc = rc < 0 ? rc
                : seed_model_resolve(&waiting.api, options->model, options->seed, model_id, err);
    if (rc == 0 && options->clients_wait_ms > 0) {
        rc = follow_clients(&waiting.api, options->clients_required, options->clients_wait_ms, err);
    }
    rc = rc < 0 ? rc : create_session(&waiting, model_id, session_id, err);
    started_ms = fed_clock_mono_ms();
    rc = rc < 0 ? rc : start_session(&waiting, session_id, err);
    rc = rc < 0 ? rc : print_started(&waiting, session_id, model_id, err);
    if (rc == FED_EXIT_OK && options->is_waiting) {
        rc = follow_to_end(&waiting, session_id, started_ms, FED_EXIT_FAILED, err);
    }
    if (waiting.api.cancel_fd > 0) {
        (void)close(waiting.api.cancel_fd);
    }
    return rc;
}

/* -- watch, list, show, stop ------------------------------------------------------------------- */

/* The session that a word means; without one that of the live state, else the newest. */
static int find_session(const struct cmd_call *call, json_t **ret_row, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *live = NULL;
    const char *id = cmd_word(call, 0, "");
    int rc;

    if (id[0] == '\0') {
        rc = api_live(&call->api, 0, 0, &live, err);
        if (rc < 0) {
            return rc;
        }
        id = row_text(live, "session.session_id");
    }
    return api_find(&call->api, "sessions", "session_id", id[0] == '\0' ? "latest" : id, ret_row,
                    err);
}

int cmd_session_watch(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    struct cmd_call waiting = *call;
    int rc = interrupt_open(false, &waiting.api.cancel_fd, err);

    if (rc < 0) {
        return rc;
    }
    rc = find_session(&waiting, &row, err);
    if (rc == 0) {
        rc = follow_to_end(&waiting, row_text(row, "session_id"), 0, FED_EXIT_OK, err);
    }
    (void)close(waiting.api.cancel_fd);
    return rc;
}

int cmd_session_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {
        "sessions", session_fields, COUNT(session_fields),
        "There are no sessions yet: `confed session start --model cnn` starts one."};

    return cmd_print_list(call, &list, err);
}

int cmd_session_show(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    FED_CLEANUP(api_json_free_p) json_t *rounds = NULL;
    struct api_query query = {.resource = "rounds",
                              .filter_key = "session_id",
                              .sort_key = "round_number",
                              .is_ascending = true};
    struct watch watch;
    int rc = find_session(call, &row, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, row, err);
    }
    query.filter_value = row_text(row, "session_id");
    rc = api_list(&call->api, &query, &rounds, err);
    if (rc < 0) {
        return rc;
    }
    listing_show(&call->out, row, session_details, COUNT(session_details));
    if (json_array_size(rounds) > 0) {
        (void)fprintf(call->out.file, "\n");
        watch_init(&watch, query.filter_value);
        watch_rounds(&watch, rounds);
        rc = summary_print_rounds(&call->out, &watch, err);
        watch_deinit(&watch);
    }
    return rc;
}

int cmd_session_stop(const struct cmd_call *call, struct fed_err *err)
{
    const struct stop_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    FED_CLEANUP(api_json_free_p) json_t *body = json_pack("{s:b}", "now", options->is_now ? 1 : 0);
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    char path[API_PATH_SIZE];
    char text[ROW_TEXT_SIZE];
    int rc = find_session(call, &row, err);

    if (rc == 0) {
        rc = api_path(path, err, "/api/v1/sessions/", row_text(row, "session_id"), "/stop");
    }
    rc = rc < 0 ? rc : api_send(&call->api, "POST", path, body, &answer, err);
    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, answer, err);
    }
    (void)fprintf(call->out.file, "session %.8s: %s\n", row_text(row, "session_id"),
                  row_format(answer, "message", text));
    return FED_EXIT_OK;
}
