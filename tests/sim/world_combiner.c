/* A combiner's edge as a model: its spool, its sums, its clients' calls, its link. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

static struct combiner *combiner_of(struct proc *proc)
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

static uint64_t now(const struct combiner *combiner)
{
    return combiner->proc.world->sim.now_ms;
}

static void *copy(const void *item, size_t size)
{
    void *out = calloc(1, size);

    assert(out != NULL);
    return memcpy(out, item, size);
}

/* -- the spool -------------------------------------------------------------------------------- */

static struct folder *find_folder(struct combiner *combiner, const char *round_id)
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
    free(folder->sealed);
    *folder = (struct folder){0};
}

static void store_plan(struct combiner *combiner, const char *round_id)
{
    struct folder *folder = find_folder(combiner, round_id);
    struct fed_plan plan;

    folder = folder == NULL ? find_folder(combiner, "") : folder;
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
        upload = &combiner->disk.uploads[0];
        for (size_t i = 0; i + 1 < n; i++) {
            combiner->disk.uploads[i] = combiner->disk.uploads[i + 1];
        }
        upload = &combiner->disk.uploads[n - 1];
        *upload = (struct upload){0};
    }
    fed_id_copy(upload->update_id, update_id);
}

static size_t find_model(const struct combiner *combiner, const char *model_id)
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
    collector_checked(combiner->core, action->token, reason, "", now(combiner));
    combiner_turn(combiner);
}

static void begin_check(struct combiner *combiner, const struct collector_action *action)
{
    struct upload *upload = find_upload(combiner, action->id);

    if (upload != NULL && upload->token == 0) {
        upload->token = action->token;
    }
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 40), work_check,
                copy(action, sizeof(*action)));
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
    struct folder *folder = find_folder(combiner, action->round_id);
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
    collector_logged(combiner->core, action->token, is_ok, now(combiner));
    combiner_turn(combiner);
}

static void work_fold(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct collector_action *action = data;
    struct folder *folder = find_folder(combiner, action->round_id);
    const struct update *update = world_find_update(proc->world, action->id);

    if (folder == NULL || folder->sum_seq != action->plan_seq ||
        world_point(proc, "combiner.folding")) {
        return;
    }
    assert(update != NULL);
    world_add_update(folder->sum, update);
    collector_folded(combiner->core, action->round_id, action->plan_seq, action->client_id,
                     now(combiner));
    combiner_turn(combiner);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
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
    qsort(folder->sealed, n, sizeof(*entries), compare_entries);
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
    struct folder *folder = find_folder(combiner, action->round_id);

    if (folder == NULL || folder->plan.plan_seq != action->plan_seq ||
        world_point(proc, "combiner.sealing")) {
        return;
    }
    write_partial(combiner, folder);
    folder->seal_seq = action->plan_seq;
    if (world_point(proc, "combiner.sealed")) {
        return;
    }
    collector_sealed(combiner->core, action->round_id, action->plan_seq, now(combiner));
    combiner_turn(combiner);
}

/* -- calls to the reducer --------------------------------------------------------------------- */

static bool is_linked(const struct combiner *combiner)
{
    return combiner->link != NULL && !combiner->link->is_told[0];
}

static size_t find_wanted(const struct combiner *combiner, const char *model_id)
{
    size_t i = 0;

    while (i < WORLD_MODELS_MAX && strcmp(combiner->wanted[i].model_id, model_id) != 0) {
        i++;
    }
    return i;
}

static void model_came(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    const char *model_id = data;
    const size_t place = find_model(combiner, "");
    const size_t wanted = find_wanted(combiner, model_id);

    if (wanted == WORLD_MODELS_MAX) {
        return; /* not wanted any more, or here by now */
    }
    if (find_model(combiner, model_id) == WORLD_MODELS_MAX) {
        assert(place < WORLD_MODELS_MAX);
        fed_id_copy(combiner->disk.models[place], model_id);
    }
    combiner->wanted[wanted].model_id[0] = '\0';
    collector_model_ready(combiner->core, model_id, now(combiner));
    combiner_turn(combiner);
}

static void model_asked(struct conn *conn, void *data)
{
    struct world *world = conn->ends[1]->world;

    if (world_find_blob(world, data) != NULL && !world_is_lost(world)) {
        world_send(world, conn, conn->ends[1], model_came, copy(data, FED_ID_SIZE), free);
    }
}

static void fetch_model(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const char *model_id = data;

    if (find_wanted(combiner, model_id) == WORLD_MODELS_MAX) {
        return;
    }
    if (find_model(combiner, model_id) < WORLD_MODELS_MAX) {
        combiner->wanted[find_wanted(combiner, model_id)].model_id[0] = '\0';
        collector_model_ready(combiner->core, model_id, now(combiner));
        combiner_turn(combiner);
        return;
    }
    if (is_linked(combiner) && !world_is_lost(proc->world)) {
        world_send(proc->world, combiner->link, proc, model_asked, copy(data, FED_ID_SIZE), free);
    }
    world_after(proc, 1000, fetch_model, copy(data, FED_ID_SIZE)); /* unless it comes before */
}

static void want_model(struct combiner *combiner, const char *model_id)
{
    const size_t i = find_wanted(combiner, "");
    char *id = copy(model_id, FED_ID_SIZE);

    assert(i < WORLD_MODELS_MAX);
    fed_id_copy(combiner->wanted[i].model_id, model_id);
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 10), fetch_model, id);
}

static void drop_model(struct combiner *combiner, const char *model_id)
{
    const size_t i = find_model(combiner, model_id);
    const size_t wanted = find_wanted(combiner, model_id);

    if (i < WORLD_MODELS_MAX) {
        combiner->disk.models[i][0] = '\0';
    }
    if (wanted < WORLD_MODELS_MAX) {
        combiner->wanted[wanted].model_id[0] = '\0';
    }
}

/* -- handing over a partial ------------------------------------------------------------------- */

struct put {
    struct federation_partial partial; /* its entries are owned */
    uint64_t values[WORLD_VALUES];
    enum fed_verdict verdict;
};

static void free_put(void *data)
{
    free(((struct put *)data)->partial.entries);
    free(data);
}

static void put_answered(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    const struct put *put = data;
    struct folder *folder = find_folder(combiner, put->partial.round_id);

    if (folder == NULL || folder->put_seq != put->partial.plan_seq || conn != combiner->link) {
        return;
    }
    folder->put_seq = 0;
    collector_partial_answered(combiner->core, put->partial.round_id, put->partial.plan_seq,
                               put->verdict, now(combiner));
    combiner_turn(combiner);
}

static void put_came(struct conn *conn, void *data)
{
    struct world *world = conn->ends[1]->world;
    struct put *put = data;
    struct put *answer = calloc(1, sizeof(*answer));
    const uint64_t boot = conn->ends[1]->boot;

    assert(answer != NULL);
    memcpy(answer->partial.round_id, put->partial.round_id, sizeof(put->partial.round_id));
    answer->partial.plan_seq = put->partial.plan_seq;
    answer->verdict = FED_VERDICT_CORRUPT;
    if (world->settings.is_gentle || !world_is_lost(world)) { /* else damaged on its way */
        answer->verdict = reducer_partial(&world->reducer, &put->partial, put->values);
    }
    if (conn->ends[1]->boot != boot || world_is_lost(world)) {
        free_put(answer);
        return;
    }
    world_send(world, conn, conn->ends[1], put_answered, answer, free_put);
}

static void put_partial(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);
    const struct put *key = data;
    struct folder *folder = find_folder(combiner, key->partial.round_id);
    struct put *put;

    if (folder == NULL || folder->put_seq != key->partial.plan_seq || !is_linked(combiner)) {
        return;
    }
    assert(folder->seal_seq == folder->put_seq);
    put = calloc(1, sizeof(*put));
    assert(put != NULL);
    put->partial.plan_seq = folder->seal_seq;
    memcpy(put->partial.round_id, folder->plan.round_id, sizeof(put->partial.round_id));
    fed_id_copy(put->partial.combiner_id, combiner->disk.id);
    put->partial.entries = calloc(folder->n_sealed + 1, sizeof(*put->partial.entries));
    assert(put->partial.entries != NULL);
    if (folder->n_sealed > 0) {
        memcpy(put->partial.entries, folder->sealed,
               folder->n_sealed * sizeof(*put->partial.entries));
    }
    put->partial.n_entries = folder->n_sealed;
    memcpy(put->values, folder->sealed_values, sizeof(put->values));
    memcpy(put->partial.sha256, put->values, sizeof(put->partial.sha256));
    if (world_is_lost(proc->world)) { /* cut */
        free_put(put);
    } else {
        world_send(proc->world, combiner->link, proc, put_came, put, free_put);
    }
    world_after(proc, 2000, put_partial, copy(key, sizeof(*key))); /* unless it is answered */
}

static void begin_put(struct combiner *combiner, const struct collector_action *action)
{
    struct folder *folder = find_folder(combiner, action->round_id);
    struct put key = {.partial.plan_seq = action->plan_seq};

    assert(folder != NULL);
    folder->put_seq = action->plan_seq;
    memcpy(key.partial.round_id, action->round_id, sizeof(key.partial.round_id));
    world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 100), put_partial,
                copy(&key, sizeof(key)));
}

/* -- the link --------------------------------------------------------------------------------- */

struct up_message {
    struct fed_up up;
};

static void free_up(void *data)
{
    fed_up_deinit(&((struct up_message *)data)->up);
    free(data);
}

static void up_came(struct conn *conn, void *data)
{
    reducer_accept(&conn->ends[1]->world->reducer, conn, &((struct up_message *)data)->up);
}

static void send_up(struct combiner *combiner, struct fed_up *up)
{
    struct up_message *message;

    if (!is_linked(combiner)) {
        fed_up_deinit(up);
        return;
    }
    message = calloc(1, sizeof(*message));
    assert(message != NULL);
    message->up = *up;
    world_send(combiner->proc.world, combiner->link, &combiner->proc, up_came, message, free_up);
}

static void send_record(struct combiner *combiner, size_t i)
{
    struct fed_up up = {.type = FED_UP_RECORD};
    char text[2 * FED_ID_SIZE + 2];

    (void)snprintf(text, sizeof(text), "%s %s", combiner->disk.outbox[i].model_id,
                   combiner->disk.outbox[i].client_id);
    up.record.json = strdup(text);
    send_up(combiner, &up);
}

static void dial(struct proc *proc, void *data)
{
    struct combiner *combiner = combiner_of(proc);

    (void)data;
    combiner->is_dialling = false;
    if (is_linked(combiner)) {
        return;
    }
    combiner->link = now(combiner) < combiner->cut_until_ms
                         ? NULL
                         : world_connect(proc->world, proc, &proc->world->reducer.proc);
    if (combiner->link == NULL) {
        combiner->is_dialling = true;
        world_after(proc, world_delay(proc->world, 500, 5000), dial, NULL);
        return;
    }
    collector_link_up(combiner->core, now(combiner));
    combiner_turn(combiner);
    for (size_t i = 0; i < combiner->disk.n_outbox; i++) {
        send_record(combiner, i);
    }
}

static void redial(struct combiner *combiner)
{
    if (!combiner->is_dialling) {
        combiner->is_dialling = true;
        world_after(&combiner->proc, world_delay(combiner->proc.world, 100, 200), dial, NULL);
    }
}

void combiner_hear(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[0]);
    const struct fed_down *down = data;

    if (conn != combiner->link) {
        return;
    }
    if (down->type == FED_DOWN_REJECT) {
        world_fail(conn->ends[0]->world, "%s is rejected: %s", combiner->proc.name,
                   down->reject.reason);
        return;
    }
    if (down->type == FED_DOWN_PLAN) {
        sim_say(&combiner->proc.world->sim, "%s hears plan %s/%u", combiner->proc.name,
                down->plan.round_id, (unsigned)down->plan.plan_seq);
    } else if (down->type == FED_DOWN_CLOSE) {
        sim_say(&combiner->proc.world->sim, "%s hears close %s/%u", combiner->proc.name,
                down->close.round_id, (unsigned)down->close.plan_seq);
    }
    collector_down(combiner->core, down, now(combiner));
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
    answer = copy(call, sizeof(*call));

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
    combiner->callers[i].message = copy(call, sizeof(*call));
    fed_id_copy(announcement.client_id, call->client_id);
    fed_id_copy(announcement.update_id, call->update_id);
    fed_id_copy(announcement.model_id, update->base_model_id);
    fed_id_copy(announcement.session_id, "s");
    memcpy(announcement.round_id, update->round_id, sizeof(announcement.round_id));
    collector_announce(combiner->core, &announcement, now(combiner));
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
    send_record(combiner, combiner->disk.n_outbox++);
}

static void
called_attach(struct combiner *combiner, struct conn *conn, const struct call_message *call)
{
    struct collector_attach attach = {.stream = conn->id, .connection = conn->id};

    conn->stream = conn->id;
    fed_id_copy(attach.client_id, call->client_id);
    collector_attach(combiner->core, &attach, now(combiner));
}

void combiner_called(struct conn *conn, void *data)
{
    struct combiner *combiner = combiner_of(conn->ends[1]);
    const struct call_message *call = data;
    bool is_ok = true;

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
        collector_heartbeat(combiner->core, call->client_id, conn->id, now(combiner));
        break;
    case CALL_DOWNLOAD:
        is_ok = find_model(combiner, call->task.model_id) < WORLD_MODELS_MAX;
        break;
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
    answer_call(combiner, conn, call, is_ok);
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
               client_given, copy(&task, sizeof(task)), free);
}

static void end_stream(struct combiner *combiner, uint64_t stream)
{
    world_send(combiner->proc.world, find_stream(combiner, stream), &combiner->proc,
               client_stream_ended, NULL, NULL);
    collector_detach(combiner->core, stream, now(combiner));
}

static void reset_sum(struct combiner *combiner, const struct collector_action *action)
{
    struct folder *folder = find_folder(combiner, action->round_id);

    assert(folder != NULL);
    folder->sum_seq = action->plan_seq;
    memset(folder->sum, 0, sizeof(folder->sum));
}

static void carry_out(struct combiner *combiner, struct collector_action *action)
{
    struct folder *folder;

    switch (action->type) {
    case COLLECTOR_SEND_UP:
        send_up(combiner, &action->up);
        break;
    case COLLECTOR_SEND_TASK:
        send_task(combiner, action);
        break;
    case COLLECTOR_END_STREAM:
        end_stream(combiner, action->stream);
        break;
    case COLLECTOR_FETCH_MODEL:
        want_model(combiner, action->id);
        break;
    case COLLECTOR_DROP_MODEL:
        drop_model(combiner, action->id);
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
                    copy(action, sizeof(*action)));
        break;
    case COLLECTOR_ANSWER:
        answer_announcement(combiner, action->token, action->is_ok);
        (void)world_point(&combiner->proc, "combiner.answered");
        break;
    case COLLECTOR_DROP_UPDATE:
        drop_update(combiner, action->token);
        break;
    case COLLECTOR_RESET_SUM:
        reset_sum(combiner, action);
        break;
    case COLLECTOR_FOLD:
        world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 50), work_fold,
                    copy(action, sizeof(*action)));
        break;
    case COLLECTOR_SEAL:
        world_after(&combiner->proc, world_delay(combiner->proc.world, 1, 50), work_seal,
                    copy(action, sizeof(*action)));
        break;
    case COLLECTOR_PUT_PARTIAL:
        begin_put(combiner, action);
        break;
    case COLLECTOR_DROP_ROUND:
        folder = find_folder(combiner, action->round_id);
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
    collector_tick(combiner->core, now(combiner));
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
        world_after(&combiner->proc, due_ms > now(combiner) ? due_ms - now(combiner) : 0, tick,
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
            .admitted = folder->entries,
            .n_admitted = folder->n_entries,
            .is_sealed = folder->seal_seq == folder->plan.plan_seq,
        };
        if (folder->plan.round_id[0] == '\0') {
            continue;
        }
        assert(fed_plan_copy(&recovery.plan, &folder->plan, NULL) == 0);
        recovery.plan.time_left_ms = 0;
        assert(collector_recover(combiner->core, &recovery, now(combiner), NULL) == 0);
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
    redial(combiner);
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
            collector_link_down(combiner->core, now(combiner));
            redial(combiner);
        }
    } else {
        forget_callers(combiner, conn);
        if (conn->stream != 0) {
            collector_detach(combiner->core, conn->stream, now(combiner));
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
