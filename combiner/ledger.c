#include "combiner/ledger.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/tally.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/strmap.h"

#define REBUILDS_MAX 3U     /* of one plan's sum, after failed folds */
#define IDLE_MS      10000U /* without a round, for a sum's memory to go back */

struct round {
    struct fed_link link;
    char round_id[FED_ROUND_ID_SIZE];
    struct fed_strmap updates; /* client id → struct spool_update, owned */
    uint64_t load_us;          /* reading and checking the updates that are logged */
    uint64_t sum_us;           /* folding them */
    struct model *base;        /* a reference, from the first reset on */
    struct tally tally;        /* the sum lane's alone */
    uint64_t sum_seq;          /* plan_seq of the last reset */
    uint64_t generation;       /* of the sum: rises with each reset and rebuild */
    unsigned n_rebuilds;
    struct fed_plan plan;       /* of the last reset: for a rebuild */
    char (*asked)[FED_ID_SIZE]; /* (n_asked,) clients to be in the sum, under sum_seq */
    size_t n_asked;
    size_t asked_room;
    uint64_t file_bytes;     /* of the updates that are files, or are about to be */
    struct fed_list waiting; /* of struct task: admissions for which there is no room */
    unsigned n_jobs;
    bool is_dropped; /* its folder goes, and then it */
    bool is_ending;  /* its sum is being freed, or is */
    bool is_checkpointing;
};

struct ledger {
    struct ledger_config config;
    const struct ledger_ops *ops;
    void *arg;
    struct fed_lane files;
    struct fed_lane sums;
    struct fed_list rounds;
    struct summing_room room; /* the sum lane's, while there are rounds */
    struct fed_timer idle;    /* runs while there are none */
    unsigned n_jobs;
};

/* One thing asked for. */
struct task {
    struct fed_job job;
    struct fed_link link; /* LOG: in round.waiting */
    struct ledger *ledger;
    struct round *round;
    struct fed_plan plan;      /* STORE, RESET, SEAL; owned */
    struct fed_entry *entries; /* SEAL, CHECKPOINT: who is in it; owned */
    size_t n_entries;
    uint64_t file_bytes;        /* FOLD: of all that is folded; CHECKPOINT: that have gone */
    struct spool_update update; /* LOG, FOLD */
    struct spool_upload upload; /* LOG */
    uint64_t token;
    uint64_t plan_seq;
    uint64_t generation; /* FOLD: of an older one it says nothing */
    uint8_t digest[FED_DIGEST_SIZE];
    uint64_t took_us;         /* FOLD */
    struct fed_event growing; /* SEAL: the partial's file is being written, … */
    struct fed_map map;       /* … mapped when the first bytes were there, … */
    bool is_mapped;           /* … in the worker's words, … */
    _Atomic uint64_t grown;   /* … and has so many bytes by now */
    int rc;
    struct fed_err err;
};

/* No round, so nothing is in the sum lane. */
static void on_idle(void *arg)
{
    struct ledger *ledger = arg;

    summing_room_deinit(&ledger->room);
}

int ledger_new(const struct ledger_config *config,
               const struct ledger_ops *ops,
               void *arg,
               struct ledger **ret_ledger,
               struct fed_err *err)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));

    if (ledger == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "ledger");
    }
    ledger->config = *config;
    ledger->ops = ops;
    ledger->arg = arg;
    fed_list_init(&ledger->rounds);
    fed_lane_init(&ledger->files);
    fed_lane_init(&ledger->sums);
    fed_timer_init(&ledger->idle, on_idle, ledger);
    *ret_ledger = ledger;
    return 0;
}

/* -- rounds ------------------------------------------------------------------------------------ */

static struct round *find_round(const struct ledger *ledger, const char *round_id)
{
    fed_list_for_each (link, &ledger->rounds) {
        struct round *round = FED_CONTAINER_OF(link, struct round, link);
        if (!round->is_dropped && strcmp(round->round_id, round_id) == 0) {
            return round;
        }
    }
    return NULL;
}

static struct round *have_round(struct ledger *ledger, const char *round_id)
{
    struct round *round = find_round(ledger, round_id);

    if (round == NULL) {
        round = calloc(1, sizeof(*round));
        if (round != NULL) {
            memcpy(round->round_id, round_id, strlen(round_id) + 1);
            fed_strmap_init(&round->updates);
            fed_list_init(&round->waiting);
            tally_init(&round->tally, ledger->config.spool, &ledger->config.limits, &ledger->room,
                       round_id);
            fed_list_add(&ledger->rounds, &round->link);
            fed_timer_stop(&ledger->idle);
        }
    }
    return round;
}

static void free_round(struct round *round)
{
    struct spool_update *update;
    size_t cursor = 0;

    while ((update = fed_strmap_next(&round->updates, &cursor, NULL)) != NULL) {
        free(update);
    }
    fed_strmap_deinit(&round->updates);
    fed_plan_deinit(&round->plan);
    tally_clear(&round->tally);
    fed_link_remove(&round->link);
    model_unref(round->base);
    free(round->asked);
    free(round);
}

static int keep_update(struct round *round, const struct spool_update *update)
{
    struct spool_update *copy = calloc(1, sizeof(*copy));
    void *old = NULL;

    if (copy == NULL) {
        return -FED_E_NOMEM;
    }
    *copy = *update;
    if (fed_strmap_put(&round->updates, update->entry.client_id, copy, &old, NULL) < 0) {
        free(copy);
        return -FED_E_NOMEM;
    }
    free(old);
    return 0;
}

int ledger_recover(struct ledger *ledger, const struct spool_round *found, struct fed_err *err)
{
    struct round *round = have_round(ledger, found->plan.round_id);
    int rc = round == NULL ? -FED_E_NOMEM : 0;

    for (size_t i = 0; i < found->n_updates && rc == 0; i++) {
        rc = keep_update(round, &found->updates[i]);
        round->file_bytes += found->updates[i].file.size_bytes; /* 0 of one in the checkpoint */
    }
    return rc < 0 ? fed_err_set(err, FED_E_NOMEM, "round %s", found->plan.round_id) : 0;
}

/* -- tasks ------------------------------------------------------------------------------------- */

/* NULL: out of memory, and the caller has to do without. */
static struct task *task_new(struct ledger *ledger, struct round *round)
{
    struct task *task = calloc(1, sizeof(*task));

    if (task == NULL) {
        fed_log(FED_LOG_ERROR, "round", "no_memory", "round=%s", round->round_id);
        return NULL;
    }
    task->ledger = ledger;
    task->round = round;
    return task;
}

static void
task_submit(struct task *task, struct fed_lane *lane, fed_job_fn work, fed_event_fn done)
{
    task->ledger->n_jobs++;
    task->round->n_jobs++;
    fed_job_init(&task->job, work, done, task);
    fed_workers_submit(task->ledger->config.workers, lane, &task->job);
}

static void look_over(struct ledger *ledger, struct round *round);
static void release(struct ledger *ledger, struct round *round);

static void task_free(struct task *task)
{
    struct ledger *ledger = task->ledger;
    struct round *round = task->round;

    fed_plan_deinit(&task->plan);
    free(task->entries);
    free(task);
    ledger->n_jobs--;
    round->n_jobs--;
    release(ledger, round);
    look_over(ledger, round);
    ledger->ops->settled(ledger->arg);
}

static void tell_failed(const struct task *task, const char *what)
{
    if (task->rc < 0) {
        fed_log(FED_LOG_ERROR, "round", what, "round=%s error=\"%s\"", task->round->round_id,
                task->err.msg);
    }
}

/* -- the file lane ----------------------------------------------------------------------------- */

static void do_store(void *arg)
{
    struct task *task = arg;

    task->rc = spool_store_plan(task->ledger->config.spool, &task->plan, &task->err);
}

static void after_store(void *arg)
{
    tell_failed(arg, "plan_not_stored"); /* its updates cannot be logged, and are not admitted */
    task_free(arg);
}

void ledger_store_plan(struct ledger *ledger, const struct fed_plan *plan)
{
    struct round *round = have_round(ledger, plan->round_id);
    struct task *task = round == NULL ? NULL : task_new(ledger, round);

    if (task == NULL) {
        return;
    }
    if (fed_plan_copy(&task->plan, plan, NULL) < 0) {
        free(task);
        return;
    }
    task_submit(task, &ledger->files, do_store, after_store);
}

static void do_log(void *arg)
{
    struct task *task = arg;

    task->rc = spool_admit(task->ledger->config.spool, task->round->round_id, &task->upload,
                           &task->update.entry, &task->err);
    FED_FAULT_POINT("combiner.logged");
}

static void after_log(void *arg)
{
    struct task *task = arg;
    struct ledger *ledger = task->ledger;

    tell_failed(task, "not_logged");
    if (task->rc == 0 && keep_update(task->round, &task->update) < 0) {
        task->rc = -FED_E_NOMEM;
    }
    task->round->file_bytes -= task->rc < 0 ? task->update.file.size_bytes : 0;
    ledger->ops->logged(ledger->arg, task->token, task->rc == 0);
    task_free(task);
}

void ledger_log(struct ledger *ledger, const struct ledger_admission *admission)
{
    struct round *round = have_round(ledger, admission->round_id);
    struct task *task = round == NULL ? NULL : task_new(ledger, round);

    if (task == NULL) {
        abort(); /* not even the answer could be kept: the client finds a combiner restarted */
    }
    task->token = admission->token;
    round->load_us += admission->upload->check_us;
    task->upload = *admission->upload;
    task->update = (struct spool_update){
        .entry = admission->entry, .file = admission->upload->file, .is_checked = true};
    fed_list_add(&round->waiting, &task->link);
    release(ledger, round);
}

/* Is there room for one more file; or would waiting make none, because nothing is under way? */
static bool has_room(const struct ledger *ledger, const struct round *round)
{
    return round->file_bytes <= ledger->config.spool_bytes_max || round->n_jobs == 0 ||
           round->is_ending;
}

/* Let those go on that wait for room. */
static void release(struct ledger *ledger, struct round *round)
{
    struct fed_link *link;

    while (has_room(ledger, round) && (link = fed_list_take(&round->waiting)) != NULL) {
        struct task *task = FED_CONTAINER_OF(link, struct task, link);
        round->file_bytes += task->update.file.size_bytes;
        task_submit(task, &ledger->files, do_log, after_log);
    }
}

/* -- the sum lane ------------------------------------------------------------------------------ */

static void do_reset(void *arg)
{
    struct task *task = arg;
    struct round *round = task->round;

    task->rc = tally_reset(&round->tally, &task->plan, model_get_base(round->base), &task->err);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
}

/* Forget who was in the checkpoint. NULL: out of memory, and nobody has been forgotten. */
static struct fed_entry *take_checkpointed(struct round *round, size_t *ret_n)
{
    struct fed_entry *entries = calloc(round->updates.n_items + 1, sizeof(*entries));
    const struct spool_update *update;
    size_t cursor = 0;
    size_t n = 0;

    while (entries != NULL && (update = fed_strmap_next(&round->updates, &cursor, NULL)) != NULL) {
        if (update->is_checkpointed) {
            entries[n++] = update->entry;
        }
    }
    for (size_t i = 0; i < n; i++) {
        free(fed_strmap_take(&round->updates, entries[i].client_id));
    }
    if (n > 1) {
        qsort(entries, n, sizeof(*entries), compare_entries);
    }
    *ret_n = n;
    return entries;
}

static void after_reset(void *arg)
{
    struct task *task = arg;
    struct ledger *ledger = task->ledger;
    struct round *round = task->round;

    tell_failed(task, "no_sum");
    if (task->rc > 0 && !round->is_dropped) { /* who was in a checkpoint is nowhere now */
        size_t n = 0;
        struct fed_entry *entries = take_checkpointed(round, &n);
        if (n > 0 || task->rc == TALLY_VOID) {
            ledger->ops->lost(ledger->arg, round->round_id, entries, n);
        }
        free(entries);
    }
    task_free(task);
}

static void submit_reset(struct ledger *ledger, struct round *round)
{
    struct task *task = task_new(ledger, round);

    if (task == NULL || fed_plan_copy(&task->plan, &round->plan, NULL) < 0) {
        free(task);
        return; /* the folds fail, and the round is left unsealed */
    }
    task_submit(task, &ledger->sums, do_reset, after_reset);
}

void ledger_reset(struct ledger *ledger, const struct fed_plan *plan, struct model *base)
{
    struct round *round = have_round(ledger, plan->round_id);

    if (round == NULL) {
        return;
    }
    if (round->base == NULL) {
        round->base = model_ref(base);
    }
    fed_plan_deinit(&round->plan);
    if (fed_plan_copy(&round->plan, plan, NULL) < 0) {
        return;
    }
    round->sum_seq = plan->plan_seq;
    round->generation++;
    round->n_rebuilds = 0;
    round->n_asked = 0;
    submit_reset(ledger, round);
}

static void do_fold(void *arg)
{
    struct task *task = arg;
    const uint64_t began_us = fed_clock_mono_us();

    task->rc = tally_fold(&task->round->tally, &task->update, &task->err);
    task->file_bytes = task->round->tally.file_bytes;
    task->took_us = fed_clock_mono_us() - began_us;
}

static void submit_fold(struct ledger *ledger, struct round *round, const char *client_id);

/* Zero the sum and fold all that was asked for again, believing no file this time. What the lane
 * still holds of the former generation comes before the reset, and goes with it. */
static void rebuild(struct ledger *ledger, struct round *round)
{
    if (round->n_rebuilds == REBUILDS_MAX) {
        fed_log(FED_LOG_ERROR, "round", "left_unsealed", "round=%s rebuilds=%u", round->round_id,
                round->n_rebuilds);
        return;
    }
    round->n_rebuilds++;
    round->generation++;
    submit_reset(ledger, round);
    for (size_t i = 0; i < round->n_asked; i++) {
        submit_fold(ledger, round, round->asked[i]);
    }
}

static void submit_checkpoint(struct ledger *ledger, struct round *round);

static void after_fold(void *arg)
{
    struct task *task = arg;
    struct ledger *ledger = task->ledger;
    struct round *round = task->round;

    round->sum_us += task->took_us;
    if (!round->is_dropped && task->generation == round->generation && task->rc != TALLY_VOID) {
        tell_failed(task, "not_folded");
        if (task->rc == 0) {
            ledger->ops->folded(ledger->arg, round->round_id, round->sum_seq,
                                task->update.entry.client_id);
            if (task->file_bytes > ledger->config.spool_bytes_max) {
                submit_checkpoint(ledger, round);
            }
        } else {
            rebuild(ledger, round);
        }
    }
    task_free(task);
}

static void submit_fold(struct ledger *ledger, struct round *round, const char *client_id)
{
    const struct spool_update *update = fed_strmap_find(&round->updates, client_id);
    struct task *task = update == NULL ? NULL : task_new(ledger, round);

    if (task == NULL) {
        return;
    }
    task->update = *update;
    task->update.is_checked = update->is_checked && round->n_rebuilds == 0;
    task->generation = round->generation;
    task_submit(task, &ledger->sums, do_fold, after_fold);
}

static bool note_asked(struct round *round, const char *client_id)
{
    if (round->n_asked == round->asked_room) {
        const size_t room = round->asked_room == 0 ? 64 : round->asked_room * 2;
        void *grown = realloc(round->asked, room * sizeof(*round->asked));
        if (grown == NULL) {
            return false;
        }
        round->asked = grown;
        round->asked_room = room;
    }
    fed_id_copy(round->asked[round->n_asked++], client_id);
    return true;
}

void ledger_fold(struct ledger *ledger,
                 const char *round_id,
                 uint64_t plan_seq,
                 const char *client_id)
{
    struct round *round = find_round(ledger, round_id);

    if (round != NULL && round->sum_seq == plan_seq && note_asked(round, client_id)) {
        submit_fold(ledger, round, client_id);
    }
}

/* -- the checkpoint -----------------------------------------------------------------------------
 */

static void do_checkpoint(void *arg)
{
    struct task *task = arg;
    struct tally *tally = &task->round->tally;

    task->file_bytes = tally->file_bytes;
    task->rc = tally_checkpoint(tally, &task->plan, &task->entries, &task->n_entries, &task->err);
}

static void after_checkpoint(void *arg)
{
    struct task *task = arg;
    struct round *round = task->round;

    round->is_checkpointing = false;
    tell_failed(task, "no_checkpoint"); /* the next fold tries again */
    for (size_t i = 0; i < task->n_entries && task->rc == 0; i++) {
        struct spool_update *update = fed_strmap_find(&round->updates, task->entries[i].client_id);
        if (update != NULL) {
            update->is_checkpointed = true;
        }
    }
    if (task->n_entries > 0) {
        round->file_bytes -= task->file_bytes;
        fed_log(FED_LOG_INFO, "round", "checkpointed", "round=%s updates=%zu freed_bytes=%llu",
                round->round_id, task->n_entries, (unsigned long long)task->file_bytes);
    }
    task_free(task);
}

static void submit_checkpoint(struct ledger *ledger, struct round *round)
{
    struct task *task = NULL;

    if (round->is_checkpointing || round->is_dropped || round->is_ending) {
        return;
    }
    task = task_new(ledger, round);
    if (task == NULL || fed_plan_copy(&task->plan, &round->plan, NULL) < 0) {
        free(task);
        return; /* the next fold tries again */
    }
    round->is_checkpointing = true;
    task_submit(task, &ledger->sums, do_checkpoint, after_checkpoint);
}

/* -- sealing: the partial in the sum lane, then SEAL in the file lane ---------------------------
 */

/* Before the worker's job is done: the loop runs it before after_partial(). */
static void tell_growing(void *arg)
{
    struct task *task = arg;
    struct ledger *ledger = task->ledger;

    if (task->round->is_dropped) {
        fed_map_close(&task->map);
    } else {
        ledger->ops->growing(ledger->arg, task->round->round_id, task->plan.plan_seq,
                             task->map.data == NULL ? NULL : &task->map, atomic_load(&task->grown));
        task->map = (struct fed_map){0};
    }
}

/* On the worker. What cannot be mapped is sent when it is sealed. */
static void grown(void *arg, const char *file, uint64_t size)
{
    struct task *task = arg;

    if (atomic_exchange(&task->grown, size) == 0) {
        fed_event_init(&task->growing, tell_growing, task);
        task->is_mapped = fed_map_open(file, &task->map, NULL) == 0;
    }
    if (task->is_mapped) {
        fed_loop_post(task->ledger->config.loop, &task->growing);
    }
}

static void do_partial(void *arg)
{
    struct task *task = arg;
    const struct fed_partial_hook hook = {grown, task};
    const struct summing_partial what = {
        .plan = &task->plan,
        .entries = task->entries,
        .n_entries = task->n_entries,
        .hook = &hook,
    };

    task->rc = tally_seal(&task->round->tally, &what, task->digest, &task->err);
}

static void do_seal(void *arg)
{
    struct task *task = arg;

    task->rc = spool_seal(task->ledger->config.spool, task->round->round_id, task->plan.plan_seq,
                          task->digest, &task->err);
    FED_FAULT_POINT("combiner.sealed");
}

/* Say whether it is sealed, to whom still wants it. */
static void end_seal(struct task *task)
{
    const struct ledger *ledger = task->ledger;
    const struct round *round = task->round;

    if (!round->is_dropped && task->rc < 0) {
        ledger->ops->unsealed(ledger->arg, round->round_id, task->plan.plan_seq);
    } else if (!round->is_dropped) {
        ledger->ops->sealed(ledger->arg, round->round_id, task->plan.plan_seq);
    }
    task_free(task);
}

static void after_seal(void *arg)
{
    tell_failed(arg, "not_sealed");
    end_seal(arg);
}

static void after_partial(void *arg)
{
    struct task *task = arg;

    tell_failed(task, "partial_not_written");
    if (task->rc < 0 || task->round->is_dropped) {
        end_seal(task);
        return;
    }
    fed_job_init(&task->job, do_seal, after_seal, task);
    fed_workers_submit(task->ledger->config.workers, &task->ledger->files, &task->job);
}

void ledger_seal(struct ledger *ledger,
                 const struct fed_plan *plan,
                 const struct fed_entry *entries,
                 size_t n_entries)
{
    struct round *round = have_round(ledger, plan->round_id);
    struct task *task = round == NULL ? NULL : task_new(ledger, round);

    if (task == NULL) {
        return;
    }
    task->entries = calloc(n_entries + 1, sizeof(*task->entries));
    if (task->entries == NULL || fed_plan_copy(&task->plan, plan, NULL) < 0) {
        free(task->entries);
        free(task);
        return; /* the reducer's close timeout goes on without us */
    }
    if (n_entries > 0) {
        memcpy(task->entries, entries, n_entries * sizeof(*entries));
    }
    task->n_entries = n_entries;
    task_submit(task, &ledger->sums, do_partial, after_partial);
}

void ledger_get_times(const struct ledger *ledger,
                      const char *round_id,
                      uint64_t *ret_load_us,
                      uint64_t *ret_sum_us)
{
    const struct round *round = find_round(ledger, round_id);

    *ret_load_us = round == NULL ? 0 : round->load_us;
    *ret_sum_us = round == NULL ? 0 : round->sum_us;
}

/* -- the end ----------------------------------------------------------------------------------- */

static void do_free_sum(void *arg)
{
    struct task *task = arg;

    tally_clear(&task->round->tally);
}

static void do_remove(void *arg)
{
    struct task *task = arg;

    spool_drop_round(task->ledger->config.spool, task->round->round_id);
}

static void after_remove(void *arg)
{
    task_free(arg);
}

static void after_free_sum(void *arg)
{
    struct task *task = arg;
    struct ledger *ledger = task->ledger;

    if (!task->round->is_dropped || find_round(ledger, task->round->round_id) != NULL) {
        task_free(task); /* its folder stays, or is another's */
        return;
    }
    fed_job_init(&task->job, do_remove, after_remove, task);
    fed_workers_submit(ledger->config.workers, &ledger->files, &task->job);
}

/* Free the sum in its lane, behind what was asked of it before. */
static void end_sum(struct ledger *ledger, struct round *round)
{
    struct task *task = round->is_ending ? NULL : task_new(ledger, round);

    if (task != NULL) {
        round->is_ending = true;
        release(ledger, round); /* they are still to be answered */
        task_submit(task, &ledger->sums, do_free_sum, after_free_sum);
    }
}

static void look_over(struct ledger *ledger, struct round *round)
{
    if (round->is_ending && round->n_jobs == 0) {
        free_round(round);
        if (fed_list_is_empty(&ledger->rounds)) {
            fed_timer_start(ledger->config.loop, &ledger->idle,
                            fed_loop_now_ms(ledger->config.loop) + IDLE_MS);
        }
    }
}

void ledger_drop(struct ledger *ledger, const char *round_id)
{
    struct round *round = find_round(ledger, round_id);

    if (round != NULL) {
        round->is_dropped = true;
        end_sum(ledger, round);
    }
}

void ledger_stop(struct ledger *ledger)
{
    fed_list_for_each (link, &ledger->rounds) {
        end_sum(ledger, FED_CONTAINER_OF(link, struct round, link));
    }
}

bool ledger_is_idle(const struct ledger *ledger)
{
    return ledger->n_jobs == 0;
}

struct ledger *ledger_free(struct ledger *ledger)
{
    struct fed_link *link;

    if (ledger != NULL) {
        assert(ledger_is_idle(ledger));
        while ((link = ledger->rounds.head.next) != &ledger->rounds.head) {
            struct round *round = FED_CONTAINER_OF(link, struct round, link);
            free_round(round);
        }
        fed_timer_stop(&ledger->idle);
        summing_room_deinit(&ledger->room);
        free(ledger);
    }
    return NULL;
}
