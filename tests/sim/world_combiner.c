/* A combiner's edge as a model: its spool, its sums, its clients' calls. */
#include "tests/sim/world_combiner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct combiner *combiner_of(struct proc *proc)
{
    struct world *world = proc->world;

    for (unsigned i = 0; i < world->settings.n_combiners; i++) {
        if (&world->combiners[i].proc == proc) {
            return &world->combiners[i];
        }
    }
    assert(0 && "no combiner");
    return NULL;
}

uint64_t combiner_now(const struct combiner *combiner)
{
    return combiner->proc.world->sim.now_ms;
}

void *combiner_copy(const void *item, size_t size)
{
    void *out = calloc(1, size);

    assert(out != NULL);
    return memcpy(out, item, size);
}

/* -- the spool -------------------------------------------------------------------------------- */

struct folder *combiner_find_folder(struct combiner *combiner, const char *round_id)
{
    const size_t n = sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(combiner->disk.folders[i].plan.round_id, round_id) == 0) {
            return &combiner->disk.folders[i];
        }
    }
    return NULL;
}

static void drop_folder(struct folder *folder)
{
    fed_plan_deinit(&folder->plan);
    free(folder->entries);
    free(folder->lost);
    free(folder->sealed);
    *folder = (struct folder){0};
}

static void store_plan(struct combiner *combiner, const char *round_id)
{
    struct folder *folder = combiner_find_folder(combiner, round_id);
    struct fed_plan plan;

    folder = folder == NULL ? combiner_find_folder(combiner, "") : folder;
    assert(folder != NULL);
    assert(fed_plan_copy(&plan, collector_get_plan(combiner->core, round_id), NULL) == 0);
    fed_plan_deinit(&folder->plan);
    folder->plan = plan;
}

static struct upload *find_upload(struct combiner *combiner, const char *update_id)
{
    for (size_t i = 0; i < sizeof(combiner->disk.uploads) / sizeof(combiner->disk.uploads[0]);
         i++) {
        if (strcmp(combiner->disk.uploads[i].update_id, update_id) == 0) {
            return &combiner->disk.uploads[i];
        }
    }
    return NULL;
}

static struct upload *find_claim(struct combiner *combiner, uint64_t token)
{
    for (size_t i = 0; i < sizeof(combiner->disk.uploads) / sizeof(combiner->disk.uploads[0]);
         i++) {
        if (combiner->disk.uploads[i].token == token) {
            return &combiner->disk.uploads[i];
        }
    }
    return NULL;
}

static void keep_upload(struct combiner *combiner, const char *update_id)
{
    struct upload *upload = find_upload(combiner, update_id);

    upload = upload == NULL ? find_upload(combiner, "") : upload;
    if (upload == NULL) { /* the oldest that nobody claimed is swept */
        const size_t n = sizeof(combiner->disk.uploads) / sizeof(combiner->disk.uploads[0]);
        for (size_t i = 0; i + 1 < n; i++) {
            combiner->disk.uploads[i] = combiner->disk.uploads[i + 1];
        }
        upload = &combiner->disk.uploads[n - 1];
        *upload = (struct upload){0};
    }
    fed_id_copy(upload->update_id, update_id);
}

size_t combiner_find_model(const struct combiner *combiner, const char *model_id)
{
    size_t i = 0;

    while (i < WORLD_MODELS_MAX && strcmp(combiner->disk.models[i], model_id) != 0) {
        i++;
    }
    return i;
}

/* -- work that takes its time ----------------------------------------------------------------- */

static void work_check(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct collector_action *action = data;
    struct upload *upload = find_claim(combiner, action->token);
    const struct update *update =
        upload == NULL ? NULL : world_find_update(proc->world, upload->update_id);
    enum fed_refusal reason = FED_REFUSAL_NOT_UPLOADED;

    if (update != NULL) {
        reason = update->is_poison ? FED_REFUSAL_NOT_FINITE : FED_REFUSAL_NONE;
        if (world_is_lost(proc->world)) {
            reason = FED_REFUSAL_MAX;
            upload->token = 0;
        }
    }
    collector_checked(combiner->core, action->token, reason, "", combiner_now(combiner));
    combiner_turn(combiner);
}

static void begin_check(struct combiner *combiner, const struct collector_action *action)
{
    struct upload *upload = find_upload(combiner, action->id);

    if (upload != NULL && upload->token == 0) {
        upload->token = action->token;
    }
    world_after(&combiner->proc,
                world_delay(combiner->proc.world, 1, 40) + combiner->proc.world->settings.check_ms,
                work_check, combiner_copy(action, sizeof(*action)));
}

static void drop_update(struct combiner *combiner, uint64_t token)
{
    struct upload *upload = find_claim(combiner, token);

    if (upload != NULL) {
        *upload = (struct upload){0};
    }
}

static void append_admit(struct folder *folder, const struct collector_action *action)
{
    struct fed_entry *entry;

    folder->entries = realloc(folder->entries, (folder->n_entries + 1) * sizeof(*folder->entries));
    assert(folder->entries != NULL);
    entry = &folder->entries[folder->n_entries++];
    *entry = (struct fed_entry){.examples = action->examples};
    fed_id_copy(entry->client_id, action->client_id);
    fed_id_copy(entry->update_id, action->id);
}

static void work_log(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct collector_action *action = data;
    struct folder *folder = combiner_find_folder(combiner, action->round_id);
    struct upload *upload = find_claim(combiner, action->token);
    bool is_ok = folder != NULL && upload != NULL;

    if (world_point(proc, "combiner.before_log")) {
        return;
    }
    if (is_ok && proc->world->sim.now_ms < proc->world->settings.faults_until_ms &&
        sim_chance(&proc->world->sim, proc->world->settings.no_space)) {
        is_ok = false;
    }
    if (is_ok) {
        append_admit(folder, action);
        *upload = (struct upload){0};
        if (world_point(proc, "combiner.logged")) {
            return;
        }
    } else if (upload != NULL) {
        upload->token = 0;
    }
    collector_logged(combiner->core, action->token, is_ok, combiner_now(combiner));
    combiner_turn(combiner);
}

static void write_partial(struct combiner *combiner, struct folder *folder)
{
    struct world *world = combiner->proc.world;
    uint64_t values[WORLD_VALUES] = {0};
    size_t n = 0;
    const struct fed_entry *entries =
        collector_get_admitted(combiner->core, folder->plan.round_id, &n);

    free(folder->sealed);
    folder->sealed = calloc(n + 1, sizeof(*folder->sealed));
    assert(folder->sealed != NULL);
    if (n > 0) {
        memcpy(folder->sealed, entries, n * sizeof(*entries));
    }
    qsort(folder->sealed, n, sizeof(*entries), sum_compare_entries);
    folder->n_sealed = n;
    memset(folder->sealed_values, 0, sizeof(folder->sealed_values));
    for (size_t i = 0; i < n; i++) {
        world_add_update(values, world_find_update(world, folder->sealed[i].update_id));
    }
    if (n > 0) {
        memcpy(folder->sealed_values, folder->sum, sizeof(folder->sealed_values));
    }
    if (n > 0 && (folder->sum_seq != folder->plan.plan_seq ||
                  memcmp(values, folder->sum, sizeof(values)) != 0)) {
        world_fail(world, "%s seals round %s with a sum that is not its entries'",
                   combiner->proc.name, folder->plan.round_id);
    }
}

static void work_seal(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct collector_action *action = data;
    struct folder *folder = combiner_find_folder(combiner, action->round_id);

    if (folder == NULL || folder->plan.plan_seq != action->plan_seq ||
        world_point(proc, "combiner.sealing")) {
        return;
    }
    write_partial(combiner, folder);
    folder->n_summed = 0; /* the file has it */
    folder->seal_seq = action->plan_seq;
    if (world_point(proc, "combiner.sealed")) {
        return;
    }
    collector_sealed(combiner->core, action->round_id, action->plan_seq, combiner_now(combiner));
    combiner_turn(combiner);
}

/* -- clients' calls --------------------------------------------------------------------------- */

static void answer_call(struct combiner *combiner,
                        struct conn *conn,
                        const struct call_message *call,
                        bool is_ok)
{
    struct world *world = combiner->proc.world;
    struct call_message *answer;

    if (conn->ends[0] == &world->forger) {
        return;
    }
    answer = combiner_copy(call, sizeof(*call));

    answer->is_ok = is_ok && !world_is_lost(world); /* a lost answer is UNAVAILABLE to the client */
    world_send(world, conn, &combiner->proc, client_answered, answer, free);
}

static void
called_announce(struct combiner *combiner, struct conn *conn, const struct call_message *call)
{
    const struct update *update = world_find_update(combiner->proc.world, call->update_id);
    struct collector_announcement announcement = {
        .token = ++combiner->next_token, .connection = conn->id, .examples = update->examples};
    const size_t n = sizeof(combiner->callers) / sizeof(combiner->callers[0]);
    size_t i = 0;

    while (i < n && combiner->callers[i].conn != NULL) {
        i++;
    }
    assert(i < n);
    combiner->callers[i].conn = conn;
    combiner->callers[i].token = announcement.token;
    combiner->callers[i].message = combiner_copy(call, sizeof(*call));
    fed_id_copy(announcement.client_id, call->client_id);
    fed_id_copy(announcement.update_id, call->update_id);
    fed_id_copy(announcement.model_id, update->base_model_id);
    fed_id_copy(announcement.session_id, "s");
    memcpy(announcement.round_id, update->round_id, sizeof(announcement.round_id));
    collector_announce(combiner->core, &announcement, combiner_now(combiner));
}

static void answer_announcement(struct combiner *combiner, uint64_t token, bool is_ok)
{
    for (size_t i = 0; i < sizeof(combiner->callers) / sizeof(combiner->callers[0]); i++) {
        if (combiner->callers[i].conn != NULL && combiner->callers[i].token == token) {
            if (is_ok) {
                check_admitted(combiner->proc.world, combiner, combiner->callers[i].message);
            }
            answer_call(combiner, combiner->callers[i].conn, combiner->callers[i].message, is_ok);
            free(combiner->callers[i].message);
            combiner->callers[i].conn = NULL;
        }
    }
}

static void called_validate(struct combiner *combiner, const struct call_message *call)
{
    const size_t n = sizeof(combiner->disk.outbox) / sizeof(combiner->disk.outbox[0]);

    collector_validated(combiner->core, call->client_id, call->task.model_id);
    if (combiner->disk.n_outbox == n) {
        memmove(&combiner->disk.outbox[0], &combiner->disk.outbox[1],
                (n - 1) * sizeof(combiner->disk.outbox[0]));
        combiner->disk.n_outbox--;
    }
    fed_id_copy(combiner->disk.outbox[combiner->disk.n_outbox].model_id, call->task.model_id);
    fed_id_copy(combiner->disk.outbox[combiner->disk.n_outbox].client_id, call->client_id);
    uplink_send_record(combiner, combiner->disk.n_outbox++);
}

struct download {
    struct conn *conn;
    struct call_message call;
};

/* It ends when the model is whole, and fails when it does not come any more. */
static void work_download(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct download *download = data;
    const char *model_id = download->call.task.model_id;

    if (combiner_find_model(combiner, model_id) < WORLD_MODELS_MAX) {
        answer_call(combiner, download->conn, &download->call, true);
    } else if (!uplink_wants_model(combiner, model_id) || world_is_lost(proc->world)) {
        answer_call(combiner, download->conn, &download->call, false);
    } else if (download->conn->is_up) {
        world_after(proc, 50, work_download, combiner_copy(download, sizeof(*download)));
    }
}

static void
called_attach(struct combiner *combiner, struct conn *conn, const struct call_message *call)
{
    struct collector_attach attach = {.stream = conn->id, .connection = conn->id};

    conn->stream = conn->id;
    fed_id_copy(attach.client_id, call->client_id);
    collector_attach(combiner->core, &attach, combiner_now(combiner));
}

void combiner_called(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[1]);
    const struct call_message *call = data;
    struct download download = {conn, *call};

    if (call->call != CALL_ATTACH && world_is_lost(combiner->proc.world)) {
        answer_call(combiner, conn, call, false);
        return;
    }
    switch (call->call) {
    case CALL_ATTACH:
        called_attach(combiner, conn, call);
        combiner_turn(combiner);
        return; /* answered by what comes over the stream */
    case CALL_HEARTBEAT:
        collector_heartbeat(combiner->core, call->client_id, conn->id, combiner_now(combiner));
        break;
    case CALL_DOWNLOAD:
        work_download(&combiner->proc, &download);
        return;
    case CALL_UPLOAD:
        if (world_point(&combiner->proc, "combiner.upload_running")) {
            return;
        }
        keep_upload(combiner, call->update_id);
        if (world_point(&combiner->proc, "combiner.upload_published")) {
            return;
        }
        break;
    case CALL_ANNOUNCE:
        called_announce(combiner, conn, call);
        combiner_turn(combiner);
        return;
    case CALL_VALIDATE:
        called_validate(combiner, call);
        break;
    }
    answer_call(combiner, conn, call, true);
    combiner_turn(combiner);
}

/* -- actions ---------------------------------------------------------------------------------- */

static struct conn *find_stream(struct combiner *combiner, uint64_t stream)
{
    return combiner->proc.world->conns[stream - 1];
}

static void send_task(struct combiner *combiner, const struct collector_action *action)
{
    struct client_task task = {.is_validation = action->task.type == COLLECTOR_VALIDATE};

    assert(action->task.data != NULL);
    memcpy(task.round_id, action->task.round_id, sizeof(task.round_id));
    fed_id_copy(task.session_id, action->task.session_id);
    fed_id_copy(task.model_id, action->task.model_id);
    world_send(combiner->proc.world, find_stream(combiner, action->stream), &combiner->proc,
               client_given, combiner_copy(&task, sizeof(task)), free);
}

static void end_stream(struct combiner *combiner, uint64_t stream)
{
    world_send(combiner->proc.world, find_stream(combiner, stream), &combiner->proc,
               client_stream_ended, NULL, NULL);
    collector_detach(combiner->core, stream, combiner_now(combiner));
}

static void carry_out(struct combiner *combiner, struct collector_action *action)
{
    struct folder *folder;

    switch (action->type) {
    case COLLECTOR_SEND_UP:
        uplink_send(combiner, &action->up);
        break;
    case COLLECTOR_SEND_TASK:
        send_task(combiner, action);
        break;
    case COLLECTOR_END_STREAM:
        end_stream(combiner, action->stream);
        break;
    case COLLECTOR_FETCH_MODEL:
        check_model_wanted(combiner->proc.world, action->id, action->xxh128);
        uplink_want_model(combiner, action->id);
        break;
    case COLLECTOR_DROP_MODEL:
        uplink_drop_model(combiner, action->id);
        break;
    case COLLECTOR_STORE_PLAN:
        store_plan(combiner, action->round_id);
        (void)world_point(&combiner->proc, "combiner.plan_stored");
        break;
    case COLLECTOR_CHECK:
        begin_check(combiner, action);
        break;
    case COLLECTOR_LOG:
        world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 20), work_log,
                    combiner_copy(action, sizeof(*action)));
        break;
    case COLLECTOR_ANSWER:
        answer_announcement(combiner, action->token, action->is_ok);
        (void)world_point(&combiner->proc, "combiner.answered");
        break;
    case COLLECTOR_DROP_UPDATE:
        drop_update(combiner, action->token);
        break;
    case COLLECTOR_RESET_SUM:
        sum_reset(combiner, action);
        break;
    case COLLECTOR_FOLD:
        sum_fold(combiner, action);
        break;
    case COLLECTOR_SEAL:
        world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 50), work_seal,
                    combiner_copy(action, sizeof(*action)));
        break;
    case COLLECTOR_PUT_PARTIAL:
        uplink_put(combiner, action);
        break;
    case COLLECTOR_DROP_ROUND:
        folder = combiner_find_folder(combiner, action->round_id);
        assert(folder != NULL);
        drop_folder(folder);
        break;
    case COLLECTOR_ACTION_MAX:
        break;
    }
}

static void tick(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);

    (void)data;
    combiner->tick_ms = UINT64_MAX;
    collector_tick(combiner->core, combiner_now(combiner));
    combiner_turn(combiner);
}

void combiner_turn(struct combiner *combiner)
{
    struct collector_action action;
    uint64_t due_ms;

    while (combiner->core != NULL && collector_take_action(combiner->core, &action)) {
        carry_out(combiner, &action);
    }
    if (combiner->core == NULL) {
        return;
    }
    due_ms = collector_due_ms(combiner->core);
    if (due_ms < combiner->tick_ms) {
        combiner->tick_ms = due_ms;
        world_after(&combiner->proc,
                    due_ms > combiner_now(combiner) ? due_ms - combiner_now(combiner) : 0, tick,
                    NULL);
    }
}

/* -- life ------------------------------------------------------------------------------------- */

static void recover(struct combiner *combiner)
{
    for (size_t i = 0; i < sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);
         i++) {
        struct folder *folder = &combiner->disk.folders[i];
        struct collector_recovery recovery = {
            .is_sealed = folder->seal_seq == folder->plan.plan_seq,
        };
        if (folder->plan.round_id[0] == '\0') {
            continue;
        }
        sum_recover(combiner, folder);
        recovery.admitted = folder->entries;
        recovery.n_admitted = folder->n_entries;
        recovery.lost = folder->lost;
        recovery.n_lost = folder->n_lost;
        assert(fed_plan_copy(&recovery.plan, &folder->plan, NULL) == 0);
        recovery.plan.time_left_ms = 0;
        if (combiner->proc.world->settings.is_upgraded) {
            recovery.plan.lacks_xxh128 = true;
            memset(recovery.plan.base_xxh128, 0, sizeof(recovery.plan.base_xxh128));
        }
        assert(collector_recover(combiner->core, &recovery, combiner_now(combiner), NULL) == 0);
        fed_plan_deinit(&recovery.plan);
    }
}

static void start(struct proc *proc)
{
    struct combiner *combiner = combiner_of(proc);
    struct collector_config config = {
        .clients_max = 100, .heartbeat_limit_ms = 10 * SECOND, .is_binding = true};

    fed_id_copy(config.combiner_id, combiner->disk.id);
    (void)snprintf(config.boot_id, sizeof(config.boot_id), "%u", (unsigned)proc->boot);
    (void)snprintf(config.name, sizeof(config.name), "%s", proc->name);
    assert(collector_new(&config, &combiner->core, NULL) == 0);
    combiner->tick_ms = UINT64_MAX;
    combiner->link = NULL;
    combiner->is_dialling = false;
    recover(combiner);
    combiner_turn(combiner);
    uplink_dial(combiner);
}

static void forget_callers(struct combiner *combiner, const struct conn *conn)
{
    for (size_t i = 0; i < sizeof(combiner->callers) / sizeof(combiner->callers[0]); i++) {
        if (combiner->callers[i].conn != NULL &&
            (conn == NULL || combiner->callers[i].conn == conn)) {
            if (combiner->core != NULL) {
                collector_forget(combiner->core, combiner->callers[i].token);
            }
            free(combiner->callers[i].message);
            combiner->callers[i].conn = NULL;
        }
    }
}

static void stop(struct proc *proc)
{
    struct combiner *combiner = combiner_of(proc);

    combiner->core = collector_free(combiner->core);
    forget_callers(combiner, NULL);
    memset(combiner->wanted, 0, sizeof(combiner->wanted));
    combiner->link = NULL;
    for (size_t i = 0; i < sizeof(combiner->disk.uploads) / sizeof(combiner->disk.uploads[0]);
         i++) {
        combiner->disk.uploads[i].token = 0;
    }
    for (size_t i = 0; i < sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);
         i++) {
        combiner->disk.folders[i].sum_seq = 0;
        combiner->disk.folders[i].reset = 0;
        combiner->disk.folders[i].n_summed = 0;
        combiner->disk.folders[i].put_seq = 0;
        memset(combiner->disk.folders[i].sum, 0xEE, sizeof(combiner->disk.folders[i].sum));
    }
}

static void lost(struct proc *proc, struct conn *conn)
{
    struct combiner *combiner = combiner_of(proc);

    if (conn->ends[0] == proc) {
        if (conn == combiner->link) {
            combiner->link = NULL;
            collector_link_down(combiner->core, combiner_now(combiner));
            uplink_dial(combiner);
        }
    } else {
        forget_callers(combiner, conn);
        if (conn->stream != 0) {
            collector_detach(combiner->core, conn->stream, combiner_now(combiner));
        }
    }
    combiner_turn(combiner);
}

bool combiner_is_empty(const struct combiner *combiner)
{
    for (size_t i = 0; i < sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);
         i++) {
        if (combiner->disk.folders[i].plan.round_id[0] != '\0') {
            return false;
        }
    }
    return true;
}

void combiner_init(struct world *world, unsigned index)
{
    struct combiner *combiner = &world->combiners[index];

    combiner->index = index;
    combiner->proc = (struct proc){.world = world, .start = start, .stop = stop, .lost = lost};
    (void)snprintf(combiner->proc.name, sizeof(combiner->proc.name), "c%u", index + 1);
    fed_id_copy(combiner->disk.id, combiner->proc.name);
}

void combiner_deinit(struct combiner *combiner)
{
    stop(&combiner->proc);
    for (size_t i = 0; i < sizeof(combiner->disk.folders) / sizeof(combiner->disk.folders[0]);
         i++) {
        drop_folder(&combiner->disk.folders[i]);
    }
}
