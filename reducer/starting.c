/* HOST_SESSION_START: read what the session's row says, then ask the core.
 *
 *   loop: ask ──job──▶ worker: session row, seed model, what earlier starts left ──▶ loop:
 *   federation_start() ──▶ STORE_START with the row's changes ──▶ answer
 *
 * Fails: no such session, no seed model (400, FEDn's texts), the store is away (503).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "reducer/pruning.h"
#include "reducer/reducer_inside.h"
#include "reducer/rows.h"

#define ROUNDS_DEFAULT 5 /* as FEDn's */

/* Outcomes of the job. BAD_INPUT: the text of `err` says what is wrong. */
enum {
    NO_SESSION = 1,
    NO_MODEL,
    BAD_INPUT,
};

struct starting {
    struct fed_job job;
    struct reducer *reducer;
    struct host_ask *ask; /* in reducer->pending, or NULL once that was ended */
    uint64_t token;
    /* the job's */
    json_t *input; /* a copy; owned, as the following */
    int rc;
    struct fed_err err;
    struct journal_entry *entry;
    json_t *row; /* of the session, as started */
    struct federation_session session;
};

static void free_starting(struct starting *starting)
{
    json_decref(starting->input);
    json_decref(starting->row);
    (void)journal_entry_free(starting->entry);
    federation_session_deinit(&starting->session);
    free(starting);
}

/* The newest document of a collection with field = value (NULL: any); NULL when there is none.
 * *ret_n counts them all. */
static int find_newest(struct store *store,
                       enum store_collection in,
                       const char *session_id,
                       json_t **ret_row,
                       size_t *ret_n,
                       struct fed_err *err)
{
    struct store_query query = {.limit = 1};
    json_t *rows = NULL;
    int rc;

    if (session_id != NULL) {
        query.n_filters = 1;
        query.filters[0] = (struct store_filter){"session_id", STORE_OP_EQ, session_id};
    }
    rc = store_find(store, in, &query, &rows, ret_n, err);
    if (rc < 0) {
        return rc;
    }
    *ret_row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return 0;
}

/* The model to start from: where the session stands, else its seed, else the newest one. */
static int choose_model(struct store *store, const json_t *row, char *ret_id, struct fed_err *err)
{
    const bool is_new = strcmp(rows_get_text(row, "status", ""), "Created") == 0;
    const char *candidates[] = {
        is_new ? "" : rows_get_text(row, "model_id", ""),
        rows_get_text(row, "seed_model_id", ""),
        rows_get_text(json_object_get(row, "session_config"), "model_id", ""),
    };
    json_t *newest = NULL;
    int rc;

    ret_id[0] = '\0';
    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        if (candidates[i][0] != '\0') {
            fed_id_copy(ret_id, candidates[i]);
            return 0;
        }
    }
    rc = find_newest(store, STORE_MODELS, NULL, &newest, NULL, err);
    if (rc == 0) {
        fed_id_copy(ret_id, rows_get_text(newest, "model_id", ""));
    }
    json_decref(newest);
    return rc;
}

static int check_model(const struct reducer *reducer, const char *model_id, struct fed_err *err)
{
    json_t *row = NULL;
    struct blob_info info;
    bool is_pruned;
    int rc;

    if (!fed_id_is_valid(model_id)) {
        return NO_MODEL;
    }
    rc = store_get(reducer->store, STORE_MODELS, model_id, &row, err);
    is_pruned = pruning_is_pruned(row);
    json_decref(row);
    if (rc == 0 && is_pruned) {
        return NO_MODEL; /* its file may be there still, but not for long */
    }
    if (rc != 0) {
        return rc < 0 ? rc : NO_MODEL;
    }
    rc = blob_stat(reducer->blobs, model_id, &info, err);
    return rc == BLOB_NOT_FOUND || rc == -FED_E_INVALID ? NO_MODEL : rc;
}

static int bad_input(struct starting *starting, const char *text)
{
    (void)snprintf(starting->err.msg, sizeof(starting->err.msg), "%s", text);
    return BAD_INPUT;
}

static int check_client_ids(struct starting *starting)
{
    const json_t *ids = json_object_get(starting->input, "client_ids");
    const json_t *id;
    size_t i;

    if (ids == NULL || json_is_null(ids)) {
        return 0;
    }
    if (!json_is_array(ids) || json_array_size(ids) > FED_LINK_CLIENTS_MAX) {
        return bad_input(starting, "client_ids must be a comma separated string");
    }
    json_array_foreach(ids, i, id)
    {
        if (!json_is_string(id) || !fed_id_is_valid(json_string_value(id))) {
            return bad_input(starting, "client_ids: an entry is no id");
        }
    }
    return 0;
}

static int check_numbers(struct starting *starting, const struct rows_run *run)
{
    if (run->rounds == 0 || run->rounds > INT32_MAX) {
        return bad_input(starting, "rounds must be a number from 1 on");
    }
    if (run->round_timeout_s == 0 || run->round_timeout_s > INT32_MAX) {
        return bad_input(starting, "round_timeout must be a number of seconds from 1 on");
    }
    return 0;
}

/* The row as it will be once started, and the entry that writes it. */
static int prepare(struct starting *starting, const struct rows_run *run)
{
    struct journal_entry *entry = journal_entry_new(FEDERATION_STORE_START);

    starting->entry = entry;
    if (entry == NULL) {
        return fed_err_set(&starting->err, FED_E_NOMEM, "session");
    }
    entry->is_federation_first = true;
    entry->changes = rows_session_start(starting->row, run);
    if (entry->changes == NULL || json_object_update(starting->row, entry->changes) != 0) {
        return fed_err_set(&starting->err, FED_E_NOMEM, "session");
    }
    entry->run = rows_run_encode(starting->row);
    entry->session = starting->row; /* what the task data is made from */
    starting->row = NULL;
    entry->federation =
        json_pack("{s:s}", "running_session_id", rows_get_text(entry->session, "session_id", ""));
    return rows_session_decode(entry->session, &starting->session, &starting->err);
}

static int read_past(struct starting *starting, const char *session_id, struct rows_run *run)
{
    struct store *store = starting->reducer->store;
    json_t *newest = NULL;
    size_t n = 0;
    int rc = find_newest(store, STORE_ROUNDS, session_id, &newest, NULL, &starting->err);

    if (rc < 0) {
        return rc;
    }
    run->rounds_before = rows_get_u64(newest, "round_number", 0);
    json_decref(newest);
    newest = NULL;
    rc = find_newest(store, STORE_MODELS, session_id, &newest, &n, &starting->err);
    json_decref(newest);
    run->models_before = n;
    return rc;
}

static int read_all(struct starting *starting)
{
    struct store *store = starting->reducer->store;
    const char *session_id = rows_get_text(starting->input, "session_id", "");
    const json_t *client_ids = json_object_get(starting->input, "client_ids");
    char model_id[FED_ID_SIZE];
    char run_id[FED_UUID_SIZE];
    struct rows_run run = {.run_id = run_id, .model_id = model_id};
    const json_t *config;
    int rc = store_get(store, STORE_SESSIONS, session_id, &starting->row, &starting->err);

    if (rc != 0) {
        return rc < 0 ? rc : NO_SESSION;
    }
    config = json_object_get(starting->row, "session_config");
    run.client_ids = json_array_size(client_ids) == 0 ? NULL : client_ids;
    run.model_name_prefix = rows_get_text(starting->input, "model_name_prefix", "");
    run.rounds =
        rows_get_u64(starting->input, "rounds", rows_get_u64(config, "rounds", ROUNDS_DEFAULT));
    run.round_timeout_s =
        rows_get_u64(starting->input, "round_timeout", rows_get_u64(config, "round_timeout", 0));
    rc = check_client_ids(starting);
    rc = rc != 0 ? rc : check_numbers(starting, &run);
    rc = rc != 0 ? rc : choose_model(store, starting->row, model_id, &starting->err);
    rc = rc != 0 ? rc : check_model(starting->reducer, model_id, &starting->err);
    rc = rc != 0 ? rc : read_past(starting, session_id, &run);
    rc = rc != 0 ? rc : fed_uuid_new(run_id, &starting->err);
    return rc != 0 ? rc : prepare(starting, &run);
}

static void work(void *arg)
{
    struct starting *starting = arg;

    starting->rc = read_all(starting);
}

static void refuse(const struct starting *starting, struct host_ask *ask)
{
    switch (starting->rc) {
    case NO_SESSION:
        reducer_ask_fail(ask, 400, "no_session", "Session with specified ID does not exist");
        break;
    case NO_MODEL:
        reducer_ask_fail(ask, 400, "no_model", "Session seed model not found");
        break;
    case BAD_INPUT:
        reducer_ask_fail(ask, 400, "bad_input", starting->err.msg);
        break;
    default:
        fed_log(FED_LOG_ERROR, "session", "not_started", "why=\"%s\"", starting->err.msg);
        reducer_ask_fail(ask, fed_code_http((enum fed_code) - starting->rc), "store",
                         starting->err.msg);
        break;
    }
}

/* The asker's, unless it was ended meanwhile. */
static struct host_ask *find_ask(const struct reducer *reducer, const struct host_ask *wanted)
{
    for (struct fed_link *it = reducer->pending.head.next; it != &reducer->pending.head;
         it = it->next) {
        struct host_ask *ask = FED_CONTAINER_OF(it, struct host_ask, link);
        if (ask == wanted) {
            return ask;
        }
    }
    return NULL;
}

static void on_read(void *arg)
{
    struct starting *starting = arg;
    struct reducer *reducer = starting->reducer;
    struct host_ask *ask = find_ask(reducer, starting->ask);

    reducer->n_starting--;
    if (ask == NULL || reducer->end.is_draining) {
        free_starting(starting);
    } else if (starting->rc != 0) {
        refuse(starting, ask);
        free_starting(starting);
    } else if (reducer->start != NULL) {
        reducer_ask_fail(ask, 400, "session_running", "A session is already running!");
        free_starting(starting);
    } else {
        reducer->start = FED_TAKE(starting->entry);
        federation_start(reducer->federation, &starting->session, starting->token,
                         reducer_now_ms(reducer));
        free_starting(starting);
        reducer_turn(reducer);
    }
    reducer_job_ended(reducer);
}

void reducer_start_session(struct reducer *reducer, struct host_ask *ask)
{
    struct starting *starting = NULL;
    const enum federation_state state = federation_get_state(reducer->federation);

    if (reducer->start != NULL || (state != FEDERATION_IDLE && state != FEDERATION_ENDING)) {
        reducer_ask_fail(ask, 400, "session_running", "A session is already running!");
        return;
    }
    if (reducer->is_pruning) {
        reducer_ask_fail(ask, 503, "pruning", "Models are being pruned: try again");
        return;
    }
    starting = calloc(1, sizeof(*starting));
    if (starting == NULL || (starting->input = json_deep_copy(ask->input)) == NULL) {
        free(starting);
        reducer_ask_fail(ask, 503, "out_of_memory", "out of memory");
        return;
    }
    starting->reducer = reducer;
    starting->ask = ask;
    starting->token = (uint64_t)(uintptr_t)ask;
    fed_list_add(&reducer->pending, &ask->link);
    reducer->end.n_jobs++;
    reducer->n_starting++;
    fed_job_init(&starting->job, work, on_read, starting);
    fed_workers_submit(reducer->workers, NULL, &starting->job);
}
