/* Asks that a worker carries out: pruning, the check-up, disk use.
 *
 *   loop: ask ──job──▶ worker: does it ──▶ loop: answers, unless the ask was ended meanwhile
 *
 * One pruning at a time, and no session starts meanwhile: what a start has read stays there.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "reducer/checkup.h"
#include "reducer/pruning.h"
#include "reducer/reducer_inside.h"
#include "reducer/rows.h"

struct chore {
    struct fed_job job;
    struct reducer *reducer;
    struct host_ask *ask; /* in reducer->pending, or gone from it */
    enum host_verb verb;
    json_t *input; /* a copy; owned, as the following */
    json_t *output;
    char in_use[FED_ID_SIZE]; /* the model whose validation is open */
    int rc;
    struct fed_err err;
};

/* -- on the worker ------------------------------------------------------------------------------
 */

static int prune(struct chore *chore)
{
    const struct pruning pruning = {
        .store = chore->reducer->store,
        .blobs = chore->reducer->blobs,
        .keep = rows_get_u64(chore->input, "keep", 0),
        .metric = rows_get_text(chore->input, "keep_best", ""),
        .in_use = chore->in_use,
        .is_dry = json_is_true(json_object_get(chore->input, "dry_run")),
    };

    return pruning_run(&pruning, &chore->output, &chore->err);
}

static int check_up(struct chore *chore)
{
    json_t *findings = json_array();

    checkup_store(findings, chore->reducer->store);
    checkup_blobs(findings, chore->reducer->blobs);
    checkup_space(findings, &chore->reducer->space.places);
    checkup_clock(findings);
    chore->output = json_pack("{s:o,s:s}", "checks", findings, "version", CONFED_VERSION);
    return chore->output == NULL ? fed_err_set(&chore->err, FED_E_NOMEM, "checks") : 0;
}

struct usage {
    json_int_t n;
    json_int_t bytes;
};

static int add_usage(void *arg, json_t *row, struct fed_err *err)
{
    struct usage *usage = arg;

    (void)err;
    if (!pruning_is_pruned(row)) {
        usage->n++;
        usage->bytes += json_integer_value(json_object_get(row, "size_bytes"));
    }
    return 0;
}

static int measure(struct chore *chore)
{
    const struct reducer *reducer = chore->reducer;
    struct usage models = {0};
    const struct store_query all = {.is_ascending = true};
    int rc = store_each(reducer->store, STORE_MODELS, &all, add_usage, &models, &chore->err);

    if (rc < 0) {
        return rc;
    }
    chore->output = json_pack(
        "{s:I,s:I,s:o,s:o,s:I}", "models", models.n, "models_bytes", models.bytes, "metadata_bytes",
        space_measure_store(reducer->settings), "places", space_describe(&reducer->space.places),
        "reserve_bytes", (json_int_t)reducer->settings->disk_reserve);
    return chore->output == NULL ? fed_err_set(&chore->err, FED_E_NOMEM, "disk use") : 0;
}

static void work(void *arg)
{
    struct chore *chore = arg;

    chore->rc = chore->verb == HOST_PRUNE    ? prune(chore)
                : chore->verb == HOST_DOCTOR ? check_up(chore)
                                             : measure(chore);
}

/* -- on the loop --------------------------------------------------------------------------------
 */

static void add_attached(const struct reducer *reducer, json_t *output)
{
    const struct roster *roster = federation_get_roster(reducer->federation);
    const struct roster_combiner *combiner;
    const struct roster_client *client;
    json_t *findings = json_object_get(output, "checks");
    size_t cursor = 0;
    size_t n_up = 0;
    size_t n_present = 0;

    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        if (combiner->link != 0) {
            n_up++;
            checkup_add(findings, "combiner", "ok", "", "%s at %s, %u clients", combiner->name,
                        combiner->advertise, (unsigned)combiner->n_attached);
        } else {
            checkup_add(findings, "combiner", "warning", "start it, or see its log",
                        "%s at %s is not attached", combiner->name, combiner->advertise);
        }
    }
    if (n_up == 0) {
        checkup_add(
            findings, "combiner", "failed",
            "start confed-combiner with --reducer and this machine's port for combiners; is "
            "that port open?",
            "none is attached");
    }
    cursor = 0;
    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        n_present += roster_is_present(client) ? 1 : 0;
    }
    checkup_add(findings, "clients", n_present > 0 ? "ok" : "warning",
                n_present > 0
                    ? ""
                    : "start confed-client; its machine must reach REST and the combiner's "
                      "address above",
                "%zu attached", n_present);
}

static void add_troubles(const struct reducer *reducer, json_t *output)
{
    const struct live_view view = reducer_view_live(reducer);

    for (size_t i = 0; i < LIVE_TROUBLES_MAX; i++) {
        const char *trouble = view.troubles[i];
        if (trouble == NULL || trouble[0] == '\0' || trouble == reducer->space.trouble) {
            continue; /* of the disk checkup_space() tells */
        }
        checkup_add(json_object_get(output, "checks"), "waiting", "failed",
                    "it is tried again until it works: look at what it names", "%s", trouble);
    }
}

static void answer(struct chore *chore, struct host_ask *ask)
{
    const struct reducer *reducer = chore->reducer;

    if (chore->rc < 0) {
        fed_log(FED_LOG_ERROR, "chore", "failed", "why=\"%s\"", chore->err.msg);
        reducer_ask_fail(ask, fed_code_http((enum fed_code) - chore->rc), "store", chore->err.msg);
        return;
    }
    if (chore->verb == HOST_DOCTOR) {
        add_attached(reducer, chore->output);
        add_troubles(reducer, chore->output);
    }
    reducer_ask_done(ask, 200, FED_TAKE(chore->output));
}

static void on_worked(void *arg)
{
    struct chore *chore = arg;
    struct reducer *reducer = chore->reducer;

    if (chore->verb == HOST_PRUNE) {
        reducer->is_pruning = false;
        if (chore->rc == 0 && !json_is_true(json_object_get(chore->output, "dry_run"))) {
            fed_log(FED_LOG_INFO, "model", "pruned", "models=%zu bytes=%lld",
                    json_array_size(json_object_get(chore->output, "removed")),
                    (long long)json_integer_value(json_object_get(chore->output, "bytes")));
        }
    }
    fed_list_for_each (it, &reducer->pending) {
        struct host_ask *ask = FED_CONTAINER_OF(it, struct host_ask, link);
        if (ask == chore->ask) {
            answer(chore, ask);
            break;
        }
    }
    json_decref(chore->input);
    json_decref(chore->output);
    free(chore);
    reducer_job_ended(reducer);
}

void reducer_do_chore(struct reducer *reducer, struct host_ask *ask)
{
    struct chore *chore;

    if (ask->verb == HOST_PRUNE && (reducer->is_pruning || reducer->n_starting > 0)) {
        reducer_ask_fail(ask, 409, "busy",
                         reducer->is_pruning ? "Models are being pruned already"
                                             : "A session is being started: try again");
        return;
    }
    chore = calloc(1, sizeof(*chore));
    if (chore == NULL || (chore->input = json_deep_copy(ask->input)) == NULL) {
        free(chore);
        reducer_ask_fail(ask, 503, "out_of_memory", "out of memory");
        return;
    }
    chore->reducer = reducer;
    chore->ask = ask;
    chore->verb = ask->verb;
    fed_id_copy(chore->in_use, federation_get_validation(reducer->federation)->model_id);
    reducer->is_pruning = reducer->is_pruning || ask->verb == HOST_PRUNE;
    reducer->end.n_jobs++;
    fed_list_add(&reducer->pending, &ask->link);
    fed_job_init(&chore->job, work, on_worked, chore);
    fed_workers_submit(reducer->workers, NULL, &chore->job);
}

/* -- the disks' watch ---------------------------------------------------------------------------
 *
 * Nothing tells when a disk fills, so it is looked at: statvfs() of a few folders, on a worker.
 */

#define WATCH_MS 5000U

static void watch_work(void *arg)
{
    struct reducer *reducer = arg;

    reducer->space.found_short = space_look(&reducer->space.places, reducer->space.found);
}

static void note_space(struct reducer *reducer)
{
    if (strcmp(reducer->space.trouble, reducer->space.found) == 0) {
        return;
    }
    if (reducer->space.found_short != (reducer->space.trouble[0] != '\0')) {
        fed_log(reducer->space.found_short ? FED_LOG_WARNING : FED_LOG_INFO, "disk",
                reducer->space.found_short ? "short" : "recovered", "text=\"%s\"",
                reducer->space.found);
    }
    memcpy(reducer->space.trouble, reducer->space.found, sizeof(reducer->space.trouble));
    reducer->live.seq++;
    federation_space(reducer->federation, reducer->space.found_short, reducer_now_ms(reducer));
    reducer_turn(reducer);
    reducer_look_live(reducer);
}

static void on_watched(void *arg)
{
    struct reducer *reducer = arg;

    if (!reducer->end.is_draining) {
        note_space(reducer);
        fed_timer_start(reducer->loop, &reducer->space.timer, reducer_now_ms(reducer) + WATCH_MS);
    }
    reducer_job_ended(reducer);
}

static void on_watch(void *arg)
{
    struct reducer *reducer = arg;

    if (!reducer->end.is_draining) {
        reducer->end.n_jobs++;
        fed_workers_submit(reducer->workers, NULL, &reducer->space.job);
    }
}

void reducer_watch_space(struct reducer *reducer)
{
    space_init(&reducer->space.places, reducer->settings, reducer->work);
    fed_job_init(&reducer->space.job, watch_work, on_watched, reducer);
    fed_timer_init(&reducer->space.timer, on_watch, reducer);
    watch_work(reducer); /* before the loop runs: no round may be planned on a full disk */
    memcpy(reducer->space.trouble, reducer->space.found, sizeof(reducer->space.trouble));
    federation_space(reducer->federation, reducer->space.found_short, reducer_now_ms(reducer));
    fed_timer_start(reducer->loop, &reducer->space.timer, reducer_now_ms(reducer) + WATCH_MS);
}
