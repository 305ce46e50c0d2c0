#include "tests/sim/world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t world_delay(struct world *world, uint64_t low_ms, uint64_t high_ms)
{
    return world->settings.is_random ? sim_draw(&world->sim, low_ms, high_ms) : low_ms;
}

static bool is_faulty(const struct world *world)
{
    return world->sim.now_ms < world->settings.faults_until_ms;
}

bool world_is_lost(struct world *world)
{
    return is_faulty(world) && sim_chance(&world->sim, world->settings.rpc_loss);
}

void world_fail(struct world *world, const char *fmt, ...)
{
    va_list args;

    if (world->failure[0] != '\0') {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(world->failure, sizeof(world->failure), fmt, args);
    va_end(args);
    sim_say(&world->sim, "FAILURE: %s", world->failure);
}

/* -- processes -------------------------------------------------------------------------------- */

struct after {
    struct proc *proc;
    uint64_t boot;
    void (*run)(struct proc *proc, void *data);
    void *data;
};

static void free_after(void *data)
{
    free(((struct after *)data)->data);
    free(data);
}

static void run_after(void *arg, void *data)
{
    struct after *after = data;

    (void)arg;
    if (after->proc->boot == after->boot) {
        after->run(after->proc, after->data);
    }
}

void world_after(struct proc *proc,
                 uint64_t delay_ms,
                 void (*run)(struct proc *proc, void *data),
                 void *data)
{
    struct after *after = calloc(1, sizeof(*after));

    assert(after != NULL);
    *after = (struct after){proc, proc->boot, run, data};
    sim_after(&proc->world->sim, delay_ms, run_after, NULL, after, free_after);
}

static void start_proc(struct proc *proc, void *data)
{
    (void)data;
    if (!proc->is_up) {
        sim_say(&proc->world->sim, "%s starts", proc->name);
        proc->boot++;
        proc->is_up = true;
        proc->start(proc);
    }
}

void world_crash(struct world *world, struct proc *proc, uint64_t down_ms)
{
    const bool is_silent = world->settings.is_random && sim_chance(&world->sim, 4);

    if (!proc->is_up) {
        return;
    }
    sim_say(&world->sim, "%s is killed", proc->name);
    world->is_client_hit = world->is_client_hit || world_find_client(world, proc->name) != NULL;
    proc->is_up = false;
    proc->boot++;
    proc->stop(proc);
    for (size_t i = 0; i < world->n_conns; i++) {
        struct conn *conn = world->conns[i];
        if (conn->is_up && (conn->ends[0] == proc || conn->ends[1] == proc)) {
            world_disconnect(world, conn, is_silent);
        }
    }
    if (down_ms > 0) {
        world_after(proc, down_ms, start_proc, NULL);
    }
}

uint64_t world_down_ms(struct world *world)
{
    return !world->settings.is_gentle && sim_chance(&world->sim, 4)
               ? sim_draw(&world->sim, 4000, 40000)
               : world_delay(world, 50, 4000);
}

static void kill_soon(void *arg, void *data)
{
    struct world *world = arg;
    const struct trap *trap = data;
    struct proc *proc = trap->kind == TRAP_KILL_REDUCER ? &world->reducer.proc
                                                        : &world->combiners[trap->combiner].proc;

    world_crash(world, proc, trap->down_ms);
}

/* True: the process that passed is dead. */
static bool spring(struct proc *proc, const struct trap *trap)
{
    struct world *world = proc->world;
    struct trap *copy;

    switch (trap->kind) {
    case TRAP_KILL:
        world_crash(world, proc, trap->down_ms);
        return true;
    case TRAP_STORE_AWAY:
        world_take_store(world, trap->ms);
        return false;
    case TRAP_BREAK_LINK:
        world_break(world, &world->combiners[trap->combiner].proc, &world->reducer.proc,
                    trap->ms % 2 == 0);
        return false;
    case TRAP_KILL_REDUCER:
    case TRAP_KILL_COMBINER:
        copy = malloc(sizeof(*copy));
        assert(copy != NULL);
        *copy = *trap;
        sim_after(&world->sim, trap->ms, kill_soon, world, copy, free);
        return false;
    case TRAP_NONE:
    case TRAP_MAX:
        break;
    }
    return false;
}

bool world_point(struct proc *proc, const char *name)
{
    struct world *world = proc->world;

    for (unsigned i = 0; i < WORLD_TRAPS_MAX; i++) {
        struct trap *trap = &world->traps[i];
        if (trap->kind != TRAP_NONE && strcmp(trap->point, name) == 0 && --trap->hits == 0) {
            const struct trap sprung = *trap;
            trap->kind = TRAP_NONE;
            sim_say(&world->sim, "fault point %s", name);
            if (spring(proc, &sprung)) {
                return true;
            }
        }
    }
    if (is_faulty(world) && sim_chance(&world->sim, world->settings.crash)) {
        sim_say(&world->sim, "fault point %s", name);
        world_crash(world, proc, world_down_ms(world));
        return true;
    }
    return false;
}

/* -- the network ------------------------------------------------------------------------------ */

struct conn *world_connect(struct world *world, struct proc *from, struct proc *to)
{
    struct conn *conn;

    if (!to->is_up) {
        return NULL;
    }
    conn = calloc(1, sizeof(*conn));
    world->conns = realloc(world->conns, (world->n_conns + 1) * sizeof(struct conn *));
    assert(conn != NULL);
    assert(world->conns != NULL);
    world->conns[world->n_conns++] = conn;
    *conn = (struct conn){
        .id = world->n_conns,
        .is_up = true,
        .ends = {from, to},
        .boots = {from->boot, to->boot},
    };
    return conn;
}

static bool is_there(const struct conn *conn, unsigned end)
{
    return conn->ends[end]->is_up && conn->ends[end]->boot == conn->boots[end];
}

struct notice {
    struct conn *conn;
    unsigned end;
};

static void notice(void *arg, void *data)
{
    const struct notice *told = data;
    struct conn *conn = told->conn;

    (void)arg;
    if (is_there(conn, told->end) && !conn->is_told[told->end]) {
        conn->is_told[told->end] = true;
        conn->ends[told->end]->lost(conn->ends[told->end], conn);
    }
}

void world_disconnect(struct world *world, struct conn *conn, bool is_silent)
{
    if (!conn->is_up) {
        return;
    }
    conn->is_up = false;
    for (unsigned end = 0; end < 2; end++) {
        struct notice *told = calloc(1, sizeof(*told));
        assert(told != NULL);
        *told = (struct notice){conn, end};
        sim_after(&world->sim,
                  is_silent ? world_delay(world, 1000, 10000) : world_delay(world, 1, 50), notice,
                  world, told, free);
    }
}

void world_break(struct world *world, const struct proc *a, const struct proc *b, bool is_silent)
{
    for (size_t i = 0; i < world->n_conns; i++) {
        struct conn *conn = world->conns[i];
        if (conn->is_up && ((conn->ends[0] == a && conn->ends[1] == b) ||
                            (conn->ends[0] == b && conn->ends[1] == a))) {
            sim_say(&world->sim, "%s and %s lose their connection%s", a->name, b->name,
                    is_silent ? ", silently" : "");
            world_disconnect(world, conn, is_silent);
        }
    }
}

struct message {
    struct conn *conn;
    unsigned end;
    void (*run)(struct conn *conn, void *data);
    void *data;
    void (*free_data)(void *data);
};

static void free_message(void *data)
{
    struct message *message = data;

    if (message->free_data != NULL) {
        message->free_data(message->data);
    }
    free(message);
}

static void arrive(void *arg, void *data)
{
    struct message *message = data;

    (void)arg;
    if (message->conn->is_up && is_there(message->conn, message->end)) {
        message->run(message->conn, message->data);
    }
}

void world_send(struct world *world,
                struct conn *conn,
                const struct proc *from,
                void (*run)(struct conn *conn, void *data),
                void *data,
                void (*free_data)(void *data))
{
    struct message *message = calloc(1, sizeof(*message));
    const unsigned end = conn->ends[0] == from ? 1 : 0;
    uint64_t at_ms =
        world->sim.now_ms + world_delay(world, 1, sim_chance(&world->sim, 20) ? 400 : 20);

    assert(message != NULL);
    *message = (struct message){conn, end, run, data, free_data};
    at_ms = at_ms < conn->arrivals[end] ? conn->arrivals[end] : at_ms;
    conn->arrivals[end] = at_ms;
    sim_after(&world->sim, at_ms - world->sim.now_ms, arrive, world, message, free_message);
}

/* -- faults ----------------------------------------------------------------------------------- */

void world_lose_disk(struct world *world, unsigned combiner)
{
    struct combiner *lost = &world->combiners[combiner];

    sim_say(&world->sim, "%s loses its disk", lost->proc.name);
    world->is_disk_lost = true;
    world_crash(world, &lost->proc, 0);
    combiner_deinit(lost);
    memset(&lost->disk, 0, sizeof(lost->disk));
    (void)snprintf(lost->disk.id, sizeof(lost->disk.id), "c%u-%u", combiner + 1,
                   (unsigned)lost->proc.boot);
    world_after(&lost->proc, 3000, start_proc, NULL);
}

void world_cut(struct world *world, unsigned combiner, uint64_t ms)
{
    struct combiner *cut = &world->combiners[combiner];

    sim_say(&world->sim, "%s is cut off for %u ms", cut->proc.name, (unsigned)ms);
    cut->cut_until_ms = world->sim.now_ms + ms;
    world_break(world, &cut->proc, &world->reducer.proc, true);
}

void world_take_store(struct world *world, uint64_t ms)
{
    const uint64_t until_ms = world->sim.now_ms + ms;

    sim_say(&world->sim, "the store is away for %u ms", (unsigned)ms);
    if (until_ms > world->reducer.disk.away_until_ms) {
        world->reducer.disk.away_until_ms = until_ms;
        world->reducer.disk.away_ms += ms;
    }
}

/* -- what is really there --------------------------------------------------------------------- */

struct update *world_find_update(const struct world *world, const char *update_id)
{
    for (size_t i = world->n_updates; i > 0; i--) {
        if (strcmp(world->updates[i - 1].update_id, update_id) == 0) {
            return &world->updates[i - 1];
        }
    }
    return NULL;
}

struct blob *world_find_blob(const struct world *world, const char *model_id)
{
    for (size_t i = 0; i < world->n_blobs; i++) {
        if (strcmp(world->blobs[i].model_id, model_id) == 0) {
            return &world->blobs[i];
        }
    }
    return NULL;
}

void world_hash_model(const char *model_id, uint8_t ret_xxh128[FED_XXH128_SIZE])
{
    memset(ret_xxh128, 0, FED_XXH128_SIZE);
    memcpy(ret_xxh128, model_id, strnlen(model_id, FED_XXH128_SIZE));
}

void world_put_blob(struct world *world, const char *model_id, const uint64_t *values)
{
    struct blob *blob = world_find_blob(world, model_id);

    if (blob != NULL) {
        if (memcmp(blob->values, values, sizeof(blob->values)) != 0) {
            world_fail(world, "model %s: the same set of updates gave other bits", model_id);
        }
        return;
    }
    world->blobs = realloc(world->blobs, (world->n_blobs + 1) * sizeof(*world->blobs));
    assert(world->blobs != NULL);
    blob = &world->blobs[world->n_blobs++];
    fed_id_copy(blob->model_id, model_id);
    memcpy(blob->values, values, sizeof(blob->values));
}

void world_add_update(uint64_t *values, const struct update *update)
{
    for (unsigned i = 0; i < WORLD_VALUES; i++) {
        values[i] += update->examples * update->values[i];
    }
}

struct client *world_find_client(struct world *world, const char *client_id)
{
    for (unsigned i = 0; i < world->settings.n_clients; i++) {
        if (strcmp(world->clients[i].proc.name, client_id) == 0) {
            return &world->clients[i];
        }
    }
    return NULL;
}

/* -- the whole -------------------------------------------------------------------------------- */

void world_init(struct world *world,
                const struct world_settings *settings,
                uint64_t seed,
                bool is_tracing)
{
    const uint64_t values[WORLD_VALUES] = {1, 2, 3, 5};

    *world = (struct world){.settings = *settings};
    sim_init(&world->sim, seed, is_tracing);
    assert(settings->n_combiners <= WORLD_COMBINERS_MAX);
    assert(settings->n_clients <= WORLD_CLIENTS_MAX);
    world_put_blob(world, "seed", values);
    reducer_init(world);
    for (unsigned i = 0; i < settings->n_combiners; i++) {
        combiner_init(world, i);
    }
    for (unsigned i = 0; i < settings->n_clients; i++) {
        client_init(world, i);
    }
    if (settings->is_forged) {
        client_init_forger(world);
        world_after(&world->forger, 3000, start_proc, NULL);
    }
    world_after(&world->reducer.proc, 0, start_proc, NULL);
    for (unsigned i = 0; i < settings->n_combiners; i++) {
        world_after(&world->combiners[i].proc, 10, start_proc, NULL);
    }
    for (unsigned i = 0; i < settings->n_clients; i++) {
        world_after(&world->clients[i].proc, 100 + i, start_proc, NULL);
    }
}

void world_deinit(struct world *world)
{
    if (world->reducer.proc.world == NULL) {
        return; /* never begun */
    }
    reducer_deinit(&world->reducer);
    for (unsigned i = 0; i < world->settings.n_combiners; i++) {
        combiner_deinit(&world->combiners[i]);
    }
    for (size_t i = 0; i < world->n_conns; i++) {
        free(world->conns[i]);
    }
    free(world->conns);
    free(world->updates);
    free(world->blobs);
    sim_deinit(&world->sim);
}

static bool is_quiet(const struct world *world)
{
    bool is_quiet = reducer_is_over(&world->reducer);

    for (unsigned i = 0; i < world->settings.n_combiners; i++) {
        is_quiet = is_quiet && combiner_is_empty(&world->combiners[i]);
    }
    return is_quiet;
}

void world_run(struct world *world, uint64_t until_ms)
{
    while (world->failure[0] == '\0' && !is_quiet(world) && sim_step(&world->sim, until_ms)) {
    }
    if (world->failure[0] == '\0') {
        check_end(world);
    }
}
