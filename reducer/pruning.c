#include "reducer/pruning.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "reducer/blob/blob.h"
#include "reducer/rows.h"
#include "reducer/store/store.h"

#define ATTEMPTS_N 5 /* of a row that somebody else changes at the same time */

struct walk {
    const struct pruning *pruning;
    json_t *wanted; /* {model_id: why it must stay}; owned */
    json_t *means;  /* {model_id: [sum, n]} of the metric; owned */
    json_t *models; /* rows that have their file, or should have lost it; oldest first; owned */
};

bool pruning_is_pruned(const json_t *model)
{
    return json_is_integer(json_object_get(model, "pruned_at"));
}

static void want(struct walk *walk, const char *model_id, const char *why)
{
    if (model_id[0] != '\0' && json_object_get(walk->wanted, model_id) == NULL) {
        (void)json_object_set_new(walk->wanted, model_id, json_string(why));
    }
}

/* -- what is there ------------------------------------------------------------------------------
 */

static int take_session(void *arg, json_t *session, struct fed_err *err)
{
    struct walk *walk = arg;
    const char *status = rows_get_text(session, "status", "");
    const bool is_over = strcmp(status, "Finished") == 0 || strcmp(status, "Terminated") == 0;

    (void)err;
    want(walk, rows_get_text(session, "seed_model_id", ""), "seed of a session");
    if (!is_over) {
        want(walk, rows_get_text(json_object_get(session, "session_config"), "model_id", ""),
             "seed of a session");
        want(walk, rows_get_text(session, "model_id", ""), "an open session stands on it");
    }
    return 0;
}

/* The metric of that name, or of FEDn's custom, "test_accuracy" for "accuracy". */
static const json_t *find_metric(const json_t *data, const char *metric)
{
    char name[96];
    const json_t *value = json_object_get(data, metric);

    (void)snprintf(name, sizeof(name), "test_%.80s", metric);
    return value != NULL ? value : json_object_get(data, name);
}

static int take_validation(void *arg, json_t *validation, struct fed_err *err)
{
    struct walk *walk = arg;
    const char *model_id = rows_get_text(validation, "model_id", "");
    json_t *data = json_loads(rows_get_text(validation, "data", ""), 0, NULL);
    const json_t *value = find_metric(data, walk->pruning->metric);
    json_t *mean = json_object_get(walk->means, model_id);

    (void)err;
    if (json_is_number(value)) {
        const double sum = json_number_value(json_array_get(mean, 0)) + json_number_value(value);
        const json_int_t n = json_integer_value(json_array_get(mean, 1)) + 1;
        (void)json_object_set_new(walk->means, model_id, json_pack("[f,I]", sum, n));
    }
    json_decref(data);
    return 0;
}

static int take_model(void *arg, json_t *model, struct fed_err *err)
{
    struct walk *walk = arg;

    return json_array_append(walk->models, model) == 0 ? 0
                                                       : fed_err_set(err, FED_E_NOMEM, "models");
}

static bool is_less_better(const char *metric)
{
    return strstr(metric, "loss") != NULL || strstr(metric, "error") != NULL;
}

/* The best of the models that have their file; the newer one of equals. */
static void want_best(struct walk *walk)
{
    const char *metric = walk->pruning->metric;
    const double sign = is_less_better(metric) ? -1.0 : 1.0;
    const char *best_id = NULL;
    double best = 0;
    char why[96];

    for (size_t i = 0; i < json_array_size(walk->models); i++) {
        const json_t *model = json_array_get(walk->models, i);
        const char *model_id = rows_get_text(model, "model_id", "");
        const json_t *mean = json_object_get(walk->means, model_id);
        double value;
        if (mean == NULL || pruning_is_pruned(model)) {
            continue;
        }
        value =
            json_number_value(json_array_get(mean, 0)) / json_number_value(json_array_get(mean, 1));
        if (best_id == NULL || sign * value >= sign * best) {
            best_id = model_id;
            best = value;
        }
    }
    if (best_id != NULL) {
        (void)snprintf(why, sizeof(why), "best %.60s: %.6g", metric, best);
        want(walk, best_id, why);
    }
}

static int read_all(struct walk *walk, struct fed_err *err)
{
    const struct store_query all = {.is_ascending = true};
    struct store *store = walk->pruning->store;
    int rc;

    walk->wanted = json_object();
    walk->means = json_object();
    walk->models = json_array();
    if (walk->wanted == NULL || walk->means == NULL || walk->models == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "pruning");
    }
    rc = store_each(store, STORE_MODELS, &all, take_model, walk, err);
    rc = rc < 0 ? rc : store_each(store, STORE_SESSIONS, &all, take_session, walk, err);
    want(walk, walk->pruning->in_use, "in use");
    if (rc == 0 && walk->pruning->metric[0] != '\0') {
        rc = store_each(store, STORE_VALIDATIONS, &all, take_validation, walk, err);
        want_best(walk);
    }
    return rc;
}

/* -- removing -----------------------------------------------------------------------------------
 */

/* Mark the row, unless it is marked. Returns 0, or STORE_NOT_FOUND where it went meanwhile. */
static int mark(struct store *store, const char *model_id, struct fed_err *err)
{
    int rc = STORE_CONFLICT;

    for (int i = 0; i < ATTEMPTS_N && rc == STORE_CONFLICT; i++) {
        json_t *row = NULL;
        rc = store_get(store, STORE_MODELS, model_id, &row, err);
        if (rc == 0 && !pruning_is_pruned(row)) {
            (void)json_object_set_new(row, "pruned_at",
                                      json_integer((json_int_t)fed_clock_utc_ms()));
            rc = store_replace(store, STORE_MODELS, rows_get_u64(row, "version", 0), row, err);
        }
        json_decref(row);
    }
    return rc == STORE_CONFLICT
               ? fed_err_set(err, FED_E_CONFLICT, "model %s is being changed", model_id)
               : rc;
}

static int drop_blob(struct blob_store *blobs, const char *model_id, struct fed_err *err)
{
    const int rc = blob_key_is_valid(model_id) ? blob_remove(blobs, model_id, err) : 0;

    return rc < 0 ? rc : 0; /* gone already is gone */
}

static int remove_model(const struct pruning *pruning, const char *model_id, struct fed_err *err)
{
    int rc = mark(pruning->store, model_id, err);

    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    FED_FAULT_POINT("reducer.pruned_row");
    rc = drop_blob(pruning->blobs, model_id, err);
    return rc < 0 ? fed_err_wrap(err, rc, "prune model %s", model_id) : rc;
}

static json_t *describe(const json_t *model, const char *why)
{
    static const char *const keys[] = {"model_id", "name", "session_id", "committed_at",
                                       "size_bytes"};
    json_t *about = json_object();

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        json_t *value = json_object_get(model, keys[i]);
        (void)json_object_set(about, keys[i], value == NULL ? json_null() : value);
    }
    if (why != NULL) {
        (void)json_object_set_new(about, "why", json_string(why));
    }
    return about;
}

/* Newest first: keep or remove each. */
static int sort_out(struct walk *walk, json_t *removed, json_t *kept, struct fed_err *err)
{
    const struct pruning *pruning = walk->pruning;
    uint64_t n_newest = 0;
    int rc = 0;

    for (size_t i = json_array_size(walk->models); rc == 0 && i > 0; i--) {
        const json_t *model = json_array_get(walk->models, i - 1);
        const char *model_id = rows_get_text(model, "model_id", "");
        const char *why = json_string_value(json_object_get(walk->wanted, model_id));
        if (pruning_is_pruned(model)) {
            /* a crash, or an object store that was away, may have left the file */
            rc = pruning->is_dry ? 0 : drop_blob(pruning->blobs, model_id, err);
            continue;
        }
        why = n_newest < pruning->keep && why == NULL ? "among the newest" : why;
        n_newest++;
        if (why != NULL) {
            (void)json_array_append_new(kept, describe(model, why));
            continue;
        }
        rc = pruning->is_dry ? 0 : remove_model(pruning, model_id, err);
        (void)json_array_append_new(removed, describe(model, NULL));
    }
    return rc;
}

int pruning_run(const struct pruning *pruning, json_t **ret_report, struct fed_err *err)
{
    struct walk walk = {.pruning = pruning};
    json_t *removed = json_array();
    json_t *kept = json_array();
    json_int_t bytes = 0;
    int rc = read_all(&walk, err);

    rc = rc < 0 ? rc : sort_out(&walk, removed, kept, err);
    for (size_t i = 0; i < json_array_size(removed); i++) {
        bytes += json_integer_value(json_object_get(json_array_get(removed, i), "size_bytes"));
    }
    json_decref(walk.wanted);
    json_decref(walk.means);
    json_decref(walk.models);
    if (rc < 0) {
        json_decref(removed);
        json_decref(kept);
        return rc;
    }
    *ret_report = json_pack("{s:b,s:o,s:I,s:o}", "dry_run", pruning->is_dry ? 1 : 0, "removed",
                            removed, "bytes", bytes, "kept", kept);
    return *ret_report == NULL ? fed_err_set(err, FED_E_NOMEM, "pruning") : 0;
}
