/* The whole federation under whatever may go wrong, seed by seed.
 *
 *     sim.seeds              the usual number of seeds
 *     sim.seeds 5000         so many
 *     sim.seeds - 1234       seed 1234 alone, with its trace
 *
 * A seed that breaks the law (world_check.c) is played again with its trace, and fails the test.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/sim/world.h"

#define SEEDS     2000U
#define FAULTS_MS (150 * SECOND)
#define END_MS    (3600 * SECOND)

struct totals {
    unsigned committed;
    unsigned failed;
    unsigned checkpoints;
    unsigned checkpoints_lost;
    uint64_t events;
};

static const char *const points[] = {
    "reducer.before_planned",   "reducer.planned",          "reducer.written",
    "reducer.plan_sent",        "reducer.collecting",       "reducer.partial_received",
    "reducer.blob_written",     "reducer.before_committed", "reducer.committed",
    "combiner.model_coming",    "combiner.upload_running",  "combiner.upload_published",
    "combiner.plan_stored",     "combiner.before_log",      "combiner.logged",
    "combiner.answered",        "combiner.folding",         "combiner.sealing",
    "combiner.sealed",          "combiner.checkpointing",   "combiner.checkpointed",
    "combiner.checkpoint_lost", "client.training",          "client.uploaded",
    "client.admitted",
};

/* Little goes wrong and nothing for long: see world_settings.is_gentle. */
static void make_gentle(struct world_settings *settings, struct fed_rand *rand)
{
    settings->is_gentle = true;
    settings->round_timeout_ms = 600 * SECOND;
    settings->buffer_size = 0;
    settings->rpc_loss = fed_rand_below(rand, 2) == 0 ? 0 : 30;
    settings->poison = 0;
    settings->no_space = 0;
    settings->crash = 0;
}

static struct world_settings draw_settings(struct fed_rand *rand)
{
    const bool is_calm = fed_rand_below(rand, 10) == 0;
    struct world_settings settings = {
        .n_combiners = 1 + (unsigned)fed_rand_below(rand, WORLD_COMBINERS_MAX),
        .n_clients = 2 + (unsigned)fed_rand_below(rand, WORLD_CLIENTS_MAX - 1),
        .rounds = 1 + (uint32_t)fed_rand_below(rand, 4),
        .round_timeout_ms = (20 + fed_rand_below(rand, 60)) * SECOND,
        .is_validating = fed_rand_below(rand, 2) == 0,
        .is_random = true,
        .faults_until_ms = FAULTS_MS,
    };

    settings.n_fedn = (unsigned)fed_rand_below(rand, settings.n_clients + 1);
    settings.clients_required = 1 + (uint32_t)fed_rand_below(rand, settings.n_clients);
    if (fed_rand_below(rand, 4) == 0) {
        settings.buffer_size = settings.clients_required;
    }
    if (fed_rand_below(rand, 4) == 0) {
        settings.clients_per_round = settings.clients_required;
    }
    if (!is_calm) {
        settings.rpc_loss = fed_rand_below(rand, 2) == 0 ? 0 : 30;
        settings.poison = fed_rand_below(rand, 3) == 0 ? 8 : 0;
        settings.no_space = fed_rand_below(rand, 3) == 0 ? 10 : 0;
        settings.crash =
            fed_rand_below(rand, 2) == 0 ? 0 : 60 + (unsigned)fed_rand_below(rand, 200);
    }
    settings.roaming = fed_rand_below(rand, 2) == 0 ? 0 : 2;
    if (fed_rand_below(rand, 2) == 0) {
        make_gentle(&settings, rand);
    }
    if (fed_rand_below(rand, 20) == 0) {
        make_gentle(&settings, rand);
        settings.is_forged = true;
        settings.poison = 4;
        settings.is_gentle = false;
    }
    settings.checkpoint_at =
        fed_rand_below(rand, 2) == 0 ? 0 : 1 + (unsigned)fed_rand_below(rand, 3);
    settings.spoil = fed_rand_below(rand, 3) == 0 ? 4 : 0;
    settings.check_ms = fed_rand_below(rand, 5) == 0 ? fed_rand_below(rand, 15 * SECOND) : 0;
    return settings;
}

static void set_trap(struct world *world, struct trap *trap, struct fed_rand *rand)
{
    trap->kind = (enum trap_kind)(1 + fed_rand_below(rand, TRAP_MAX - 1));
    trap->point = points[fed_rand_below(rand, sizeof(points) / sizeof(points[0]))];
    trap->hits = 1 + (unsigned)fed_rand_below(rand, 4);
    trap->combiner = (unsigned)fed_rand_below(rand, world->settings.n_combiners);
    trap->ms = 1 + fed_rand_below(rand, fed_rand_below(rand, 2) == 0 ? 20 : 3000);
    trap->down_ms = world_down_ms(world);
}

/* The narrowest place: the model is written, its row is not, and everything happens at once. */
static void squeeze_commit(struct world *world, struct fed_rand *rand)
{
    static const enum trap_kind kinds[WORLD_TRAPS_MAX] = {TRAP_STORE_AWAY, TRAP_BREAK_LINK,
                                                          TRAP_KILL_REDUCER};
    const unsigned hits = 1 + (unsigned)fed_rand_below(rand, 2);

    for (unsigned i = 0; i < WORLD_TRAPS_MAX; i++) {
        set_trap(world, &world->traps[i], rand);
        world->traps[i].kind = kinds[i];
        world->traps[i].point = "reducer.blob_written";
        world->traps[i].hits = hits;
        world->traps[i].ms = 500 + fed_rand_below(rand, 2500);
    }
}

/* What even a gentle world has. */
static void small_fault(struct world *world, struct combiner *combiner, struct client *client)
{
    switch (sim_draw(&world->sim, 0, 3)) {
    case 0:
        world_crash(world, &world->reducer.proc, world_down_ms(world));
        break;
    case 1:
        world_crash(world, &combiner->proc, world_down_ms(world));
        break;
    case 2:
        world_crash(world, &client->proc, world_down_ms(world));
        break;
    default:
        world_break(world, &combiner->proc, &world->reducer.proc, sim_chance(&world->sim, 2));
        break;
    }
}

static void one_fault(void *arg, void *data)
{
    struct world *world = arg;
    const unsigned combiner = (unsigned)sim_draw(&world->sim, 0, world->settings.n_combiners - 1);
    const unsigned client = (unsigned)sim_draw(&world->sim, 0, world->settings.n_clients - 1);
    struct combiner *c = &world->combiners[combiner];

    (void)data;
    if (world->settings.is_gentle || sim_chance(&world->sim, 2)) {
        small_fault(world, c, &world->clients[client]);
        return;
    }
    switch (sim_draw(&world->sim, 0, 4)) {
    case 0:
    case 1:
        world_break(world, &world->clients[client].proc, &c->proc, sim_chance(&world->sim, 2));
        break;
    case 2:
        world_cut(world, combiner, sim_draw(&world->sim, 1000, 30000));
        break;
    case 3:
        world_take_store(world, sim_draw(&world->sim, 500, 20000));
        break;
    default:
        if (sim_chance(&world->sim, 6)) {
            world_lose_disk(world, combiner);
        }
        break;
    }
}

static void
play(uint64_t seed, bool is_tracing, char *ret_failure, size_t size, struct totals *totals)
{
    static struct world world;
    const uint64_t key[] = {seed, 1};
    struct world_settings settings;
    struct fed_rand rand;
    uint64_t n_faults;

    fed_rand_init(&rand, key, 2);
    settings = draw_settings(&rand);
    world_init(&world, &settings, seed, is_tracing);
    n_faults = settings.is_forged ? 0 : fed_rand_below(&rand, settings.is_gentle ? 4 : 13);
    for (unsigned i = 0; i < WORLD_TRAPS_MAX && !settings.is_forged; i++) {
        if (fed_rand_below(&rand, 3) != 0) {
            set_trap(&world, &world.traps[i], &rand);
        }
    }
    if (fed_rand_below(&rand, 8) == 0 && !settings.is_forged) {
        squeeze_commit(&world, &rand);
    }
    for (uint64_t i = 0; i < n_faults; i++) {
        sim_after(&world.sim,
                  2000 + fed_rand_below(&rand, settings.is_gentle ? 20 * SECOND : FAULTS_MS),
                  one_fault, &world, NULL, NULL);
    }
    sim_say(&world.sim,
            "seed %" PRIu64 ": %u combiners, %u clients (%u FEDn's), %u rounds of %u s, quorum %u",
            seed, settings.n_combiners, settings.n_clients, settings.n_fedn, settings.rounds,
            (unsigned)(settings.round_timeout_ms / SECOND), settings.clients_required);
    world_run(&world, END_MS);
    for (size_t i = 0; i < world.reducer.disk.n_rounds; i++) {
        const struct round *row = world.reducer.disk.rounds[i];
        totals->committed += row != NULL && row->state == ROUND_COMMITTED ? 1 : 0;
        totals->failed += row != NULL && row->state == ROUND_FAILED ? 1 : 0;
    }
    totals->checkpoints += world.n_checkpoints;
    totals->checkpoints_lost += world.n_checkpoints_lost;
    totals->events += world.sim.n_events;
    (void)snprintf(ret_failure, size, "%s", world.failure);
    if (is_tracing) {
        (void)printf("%.*s", (int)world.sim.trace.size, (const char *)world.sim.trace.data);
    }
    world_deinit(&world);
}

int main(int argc, char **argv)
{
    const uint64_t n_seeds = argc == 2 ? strtoull(argv[1], NULL, 10) : SEEDS;
    const uint64_t since_ms = fed_clock_mono_ms();
    struct totals totals = {0};
    char failure[512];
    unsigned n_failures = 0;

    if (argc == 3) {
        play(strtoull(argv[2], NULL, 10), true, failure, sizeof(failure), &totals);
        return failure[0] == '\0' ? 0 : 1;
    }
    for (uint64_t seed = 1; seed <= n_seeds && n_failures < 10; seed++) {
        (void)fprintf(stderr, "\rseed %" PRIu64, seed); /* an assertion's last word */
        play(seed, false, failure, sizeof(failure), &totals);
        if (failure[0] != '\0') {
            (void)printf("\nseed %" PRIu64 ": %s\n", seed, failure);
            if (n_failures++ == 0) {
                play(seed, true, failure, sizeof(failure), &totals);
            }
        }
    }
    (void)printf("\n%" PRIu64
                 " seeds: %u rounds committed, %u failed, %u checkpoints made, %u lost, %" PRIu64
                 " events, %" PRIu64 " ms\n",
                 n_seeds, totals.committed, totals.failed, totals.checkpoints,
                 totals.checkpoints_lost, totals.events, fed_clock_mono_ms() - since_ms);
    return n_failures == 0 ? 0 : 1;
}
