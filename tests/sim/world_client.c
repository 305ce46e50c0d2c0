/* Clients as models: Confed's (asks the reducer for a combiner again, keeps its update on disk,
 * drops a task of an earlier round) and FEDn's (one combiner for ever, 10 s between tries, forgets
 * its update at OK). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

static struct client *client_of(struct proc *proc)
{
    struct world *world = proc->world;

    for (unsigned i = 0; i < world->settings.n_clients; i++) {
        if (&world->clients[i].proc == proc) {
            return &world->clients[i];
        }
    }
    assert(0 && "no client");
    return NULL;
}

static void step(struct client *client);
static void dial(struct proc *proc, void *data);

static bool is_attached(const struct client *client)
{
    return client->conn != NULL && !client->conn->is_told[0];
}

/* -- calls ------------------------------------------------------------------------------------ */

static void call(struct client *client, enum call what)
{
    struct world *world = client->proc.world;
    struct call_message *message = calloc(1, sizeof(*message));

    assert(message != NULL);
    message->call = what;
    message->task = client->task;
    fed_id_copy(message->client_id, client->proc.name);
    fed_id_copy(message->update_id, client->update_id);
    if (what != CALL_ATTACH && what != CALL_HEARTBEAT) {
        message->op = ++client->op;
        client->is_calling = true;
    }
    world_send(world, client->conn, &client->proc, combiner_called, message, free);
}

static void step_later(struct proc *proc, void *data)
{
    (void)data;
    step(client_of(proc));
}

static void beat(struct proc *proc, void *data)
{
    struct client *client = client_of(proc);

    (void)data;
    if (is_attached(client)) {
        call(client, CALL_HEARTBEAT);
    }
    world_after(proc, 2000, beat, NULL);
}

/* -- tasks ------------------------------------------------------------------------------------ */

/* What training gives: a function of the client and the base's values, as Confed's is. */
static uint64_t draw_value(const struct client *client, const struct client_task *task, unsigned i)
{
    const struct blob *base = world_find_blob(client->proc.world, task->model_id);
    uint64_t hash = client->index * 31 + i;

    assert(base != NULL);
    for (unsigned j = 0; j < WORLD_VALUES; j++) {
        hash = (hash ^ base->values[j]) * UINT64_C(0x100000001B3);
        hash ^= hash >> 29;
    }
    return hash >> 8;
}

static void make_update(struct client *client)
{
    struct world *world = client->proc.world;
    struct update *update;

    world->updates = realloc(world->updates, (world->n_updates + 1) * sizeof(*world->updates));
    assert(world->updates != NULL);
    update = &world->updates[world->n_updates++];
    *update = (struct update){.examples = client->index + 1};
    (void)snprintf(update->update_id, sizeof(update->update_id), "u%zu-%s", world->n_updates,
                   client->proc.name);
    fed_id_copy(update->client_id, client->proc.name);
    fed_id_copy(update->base_model_id, client->task.model_id);
    memcpy(update->round_id, client->task.round_id, sizeof(update->round_id));
    for (unsigned i = 0; i < WORLD_VALUES; i++) {
        update->values[i] = draw_value(client, &client->task, i);
        if (client->is_fedn) {
            update->values[i] += world->n_updates; /* no two trainings of its are alike */
        }
    }
    update->is_poison = sim_chance(&world->sim, world->settings.poison);
    fed_id_copy(client->update_id, update->update_id);
}

static void trained(struct proc *proc, void *data)
{
    struct client *client = client_of(proc);
    const struct client_task *task = data;

    if (client->work != WORK_TRAINING || strcmp(client->task.round_id, task->round_id) != 0) {
        return; /* superseded */
    }
    if (world_point(proc, "client.training")) {
        return;
    }
    make_update(client);
    if (!client->is_fedn) {
        fed_id_copy(client->kept_update_id, client->update_id);
    }
    client->uploaded_at = 0;
    client->work = WORK_UPLOADING;
    step(client);
}

static void train(struct client *client)
{
    struct world *world = client->proc.world;
    struct client_task *task = malloc(sizeof(*task));

    assert(task != NULL);
    *task = client->task;
    client->work = WORK_TRAINING;
    check_trains(world, client);
    sim_say(&world->sim, "%s trains round %s", client->proc.name, client->task.round_id);
    world_after(&client->proc, world_delay(world, 500, 6000), trained, task);
}

/* Take the next task, if there is one. */
static void next_task(struct client *client)
{
    const struct update *kept;

    if (client->n_waiting == 0) {
        client->work = WORK_IDLE;
        return;
    }
    client->task = client->waiting[0];
    client->n_waiting--;
    memmove(&client->waiting[0], &client->waiting[1],
            client->n_waiting * sizeof(client->waiting[0]));
    kept = client->task.is_validation || client->kept_update_id[0] == '\0'
               ? NULL
               : world_find_update(client->proc.world, client->kept_update_id);
    client->uploaded_at = 0;
    if (kept != NULL && strcmp(kept->round_id, client->task.round_id) == 0 &&
        strcmp(kept->base_model_id, client->task.model_id) == 0) {
        fed_id_copy(client->update_id, kept->update_id);
        client->work = WORK_UPLOADING; /* the kept update answers */
    } else {
        client->work = WORK_FETCHING;
    }
}

/* Go on with the work: make the call that is due, unless one is under way. */
static void step(struct client *client)
{
    if (client->work == WORK_IDLE) {
        next_task(client);
    }
    if (client->work == WORK_IDLE || client->work == WORK_TRAINING || client->is_calling ||
        !is_attached(client)) {
        return;
    }
    if (client->work == WORK_ANNOUNCING && client->uploaded_at != client->home + 1) {
        client->work = WORK_UPLOADING; /* another combiner knows nothing of it */
    }
    switch (client->work) {
    case WORK_FETCHING:
    case WORK_VALIDATING:
        call(client, client->work == WORK_FETCHING ? CALL_DOWNLOAD : CALL_VALIDATE);
        break;
    case WORK_UPLOADING:
        call(client, CALL_UPLOAD);
        break;
    case WORK_ANNOUNCING:
        call(client, CALL_ANNOUNCE);
        break;
    case WORK_IDLE:
    case WORK_TRAINING:
        break;
    }
}

static bool is_same_task(const struct client_task *a, const struct client_task *b)
{
    return a->is_validation == b->is_validation && strcmp(a->round_id, b->round_id) == 0 &&
           strcmp(a->model_id, b->model_id) == 0;
}

/* A later round's task makes an earlier one's pointless: Confed's clients drop it. */
static void supersede(struct client *client, const struct client_task *task)
{
    const unsigned long long round = strtoull(task->round_id, NULL, 10);
    size_t n = 0;

    for (size_t i = 0; i < client->n_waiting; i++) {
        if (client->waiting[i].is_validation ||
            strtoull(client->waiting[i].round_id, NULL, 10) >= round) {
            client->waiting[n++] = client->waiting[i];
        }
    }
    client->n_waiting = n;
    if (client->work != WORK_IDLE && !client->task.is_validation &&
        strtoull(client->task.round_id, NULL, 10) < round) {
        client->op++; /* whatever is answered now is void */
        client->is_calling = false;
        client->work = WORK_IDLE;
    }
}

void client_given(struct conn *conn, void *data)
{
    struct client *client = client_of(conn->ends[0]);
    const struct client_task *task = data;

    if (conn != client->conn) {
        return;
    }
    client->trying_since_ms = 0;
    if (client->work != WORK_IDLE && is_same_task(&client->task, task)) {
        return;
    }
    for (size_t i = 0; i < client->n_waiting; i++) {
        if (is_same_task(&client->waiting[i], task)) {
            return;
        }
    }
    if (!client->is_fedn && !task->is_validation) {
        supersede(client, task);
    }
    if (client->n_waiting < WORLD_TASKS_MAX) {
        client->waiting[client->n_waiting++] = *task;
    }
    step(client);
}

/* The call that is due has worked. */
static void went_well(struct client *client, const struct call_message *message)
{
    struct world *world = client->proc.world;
    struct update *update;

    switch (message->call) {
    case CALL_DOWNLOAD:
        if (client->task.is_validation) {
            client->work = WORK_VALIDATING;
        } else {
            train(client);
        }
        break;
    case CALL_UPLOAD:
        client->uploaded_at = client->home + 1;
        client->work = WORK_ANNOUNCING;
        (void)world_point(&client->proc, "client.uploaded");
        break;
    case CALL_ANNOUNCE:
        update = world_find_update(world, client->update_id);
        sim_say(&world->sim, "%s is done with round %s", client->proc.name, update->round_id);
        client->work = WORK_IDLE;
        (void)world_point(&client->proc, "client.admitted");
        break;
    case CALL_VALIDATE:
        client->work = WORK_IDLE;
        break;
    case CALL_ATTACH:
    case CALL_HEARTBEAT:
        break;
    }
}

void client_answered(struct conn *conn, void *data)
{
    struct client *client = client_of(conn->ends[0]);
    const struct call_message *message = data;

    if (conn != client->conn) {
        return;
    }
    client->trying_since_ms = 0;
    client->retry_ms = 0;
    if (message->call == CALL_HEARTBEAT || message->op != client->op) {
        return;
    }
    client->is_calling = false;
    if (!message->is_ok) {
        world_after(&client->proc, client->is_fedn ? 10000 : 300, step_later, NULL);
        return;
    }
    went_well(client, message);
    if (client->proc.is_up) {
        step(client);
    }
}

/* -- attaching -------------------------------------------------------------------------------- */

static void try_again(struct client *client)
{
    struct world *world = client->proc.world;

    client->conn = NULL;
    client->is_calling = false;
    client->op++;
    if (client->trying_since_ms == 0) {
        client->trying_since_ms = world->sim.now_ms;
    }
    if (client->is_fedn) {
        client->retry_ms = 10000;
    } else {
        client->is_assigned =
            client->is_assigned && !sim_chance(&world->sim, world->settings.roaming);
        client->retry_ms = client->retry_ms == 0 ? 100 : client->retry_ms * 2;
        client->retry_ms = client->retry_ms > 5000 ? 5000 : client->retry_ms;
        if (world->sim.now_ms - client->trying_since_ms > 10000) {
            client->is_assigned = false; /* ask the reducer again */
        }
    }
    world_after(&client->proc, client->retry_ms + world_delay(world, 0, 100), dial, NULL);
}

static void dial(struct proc *proc, void *data)
{
    struct client *client = client_of(proc);
    struct world *world = proc->world;
    int home;

    (void)data;
    if (is_attached(client) || client->is_gone) {
        return;
    }
    if (!client->is_assigned) {
        home = reducer_assign(&world->reducer, proc->name);
        if (home < 0) {
            world_after(proc, world_delay(world, 1000, 3000), dial, NULL);
            return;
        }
        client->home = (unsigned)home;
        if (sim_chance(&world->sim, world->settings.roaming)) {
            client->home = (unsigned)sim_draw(&world->sim, 0, world->settings.n_combiners - 1);
        }
        client->is_assigned = true;
        client->trying_since_ms = 0;
    }
    client->conn = world_connect(world, proc, &world->combiners[client->home].proc);
    if (client->conn == NULL) {
        try_again(client);
        return;
    }
    call(client, CALL_ATTACH);
    step(client); /* what is due does not wait for the stream: calls race */
}

void client_stream_ended(struct conn *conn, void *data)
{
    struct client *client = client_of(conn->ends[0]);

    (void)data;
    if (conn == client->conn) {
        conn->is_told[0] = true;
        world_disconnect(client->proc.world, conn, false);
        try_again(client);
    }
}

static void lost(struct proc *proc, struct conn *conn)
{
    struct client *client = client_of(proc);

    if (conn == client->conn) {
        try_again(client);
    }
}

static void start(struct proc *proc)
{
    struct client *client = client_of(proc);

    client->conn = NULL;
    client->work = WORK_IDLE;
    client->n_waiting = 0;
    client->is_calling = false;
    client->trying_since_ms = 0;
    client->retry_ms = 0;
    client->is_assigned = client->is_fedn && client->is_assigned;
    world_after(proc, world_delay(proc->world, 1, 300), dial, NULL);
    world_after(proc, 2000, beat, NULL);
}

static void stop(struct proc *proc)
{
    (void)proc;
}

/* -- somebody who is none of them ------------------------------------------------------------- */

static void
make_forgery(struct world *world, const struct client *client, struct call_message *ret_message)
{
    struct update *update;

    world->updates = realloc(world->updates, (world->n_updates + 1) * sizeof(*world->updates));
    assert(world->updates != NULL);
    update = &world->updates[world->n_updates++];
    *update = (struct update){.examples = 7, .client_id = "forger"};
    (void)snprintf(update->update_id, sizeof(update->update_id), "u%zu-forger", world->n_updates);
    memcpy(update->round_id, client->task.round_id, sizeof(update->round_id));
    fed_id_copy(update->base_model_id, client->task.model_id);
    fed_id_copy(ret_message->client_id, client->proc.name);
    fed_id_copy(ret_message->update_id, update->update_id);
}

/* Uploads something of its own, and announces it in a client's name. */
static void forge(struct proc *proc, void *data)
{
    struct world *world = proc->world;
    const uint64_t at = sim_draw(&world->sim, 0, world->settings.n_combiners - 1);
    const uint64_t whose = sim_draw(&world->sim, 0, world->settings.n_clients - 1);
    struct conn *conn = world_connect(world, proc, &world->combiners[at].proc);
    struct call_message message = {.call = CALL_UPLOAD};

    (void)data;
    world_after(proc, world_delay(world, 200, 3000), forge, NULL);
    if (conn == NULL || world->clients[whose].task.round_id[0] == '\0') {
        return;
    }
    make_forgery(world, &world->clients[whose], &message);
    for (unsigned i = 0; i < 2; i++) {
        struct call_message *copy = malloc(sizeof(*copy));
        assert(copy != NULL);
        *copy = message;
        copy->call = i == 0 ? CALL_UPLOAD : CALL_ANNOUNCE;
        world_send(world, conn, proc, combiner_called, copy, free);
    }
}

static void start_forger(struct proc *proc)
{
    forge(proc, NULL);
}

static void lost_forger(struct proc *proc, struct conn *conn)
{
    (void)proc;
    (void)conn;
}

void client_init_forger(struct world *world)
{
    world->forger = (struct proc){
        .world = world, .name = "forger", .start = start_forger, .stop = stop, .lost = lost_forger};
}

void client_init(struct world *world, unsigned index)
{
    static const char *const names[WORLD_CLIENTS_MAX] = {"ann", "bob", "cay", "dot",
                                                         "eve", "fay", "gil", "hal"};
    struct client *client = &world->clients[index];

    client->index = index;
    client->is_fedn = index >= world->settings.n_clients - world->settings.n_fedn;
    client->proc = (struct proc){.world = world, .start = start, .stop = stop, .lost = lost};
    (void)snprintf(client->proc.name, sizeof(client->proc.name), "%s", names[index]);
}
