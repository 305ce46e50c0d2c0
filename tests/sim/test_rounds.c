/* Whole rounds that one can read: what is said and done, in order, and each row of the round
 * protocol's table of crash points (section 9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/world.h"

static struct world world;
static unsigned checkpoint_at; /* of the worlds that begin */

static int tear_down(void **state)
{
    (void)state;
    world_deinit(&world);
    world = (struct world){0};
    return 0;
}

static void begin(unsigned n_combiners, unsigned n_clients, uint32_t rounds)
{
    const struct world_settings settings = {
        .n_combiners = n_combiners,
        .n_clients = n_clients,
        .rounds = rounds,
        .clients_required = n_clients,
        .round_timeout_ms = 600 * SECOND,
        .is_validating = true,
        .is_gentle = true,
        .checkpoint_at = checkpoint_at,
    };

    (void)tear_down(NULL); /* the test's last world */
    world_init(&world, &settings, 1, true);
}

/* Run to the end; the law holds. */
static void end(void)
{
    world_run(&world, 3600 * SECOND);
    if (world.failure[0] != '\0') {
        print_message("%.*s", (int)world.sim.trace.size, (const char *)world.sim.trace.data);
        fail_msg("%s", world.failure);
    }
}

/* The trace from the first line that has `first` in it, against `expected`. */
static void expect_from(const char *first, const char *expected)
{
    const char *text;

    assert_int_equal(fed_buf_add(&world.sim.trace, "", 1, NULL), 0);
    text = strstr((const char *)world.sim.trace.data, first);
    assert_non_null(text);
    while (text > (const char *)world.sim.trace.data && text[-1] != '\n') {
        text--;
    }
    assert_string_equal(text, expected);
}

static void values_of_last(uint64_t *ret_values)
{
    const struct blob *blob = world_find_blob(&world, world.reducer.disk.base_model_id);

    assert_non_null(blob);
    memcpy(ret_values, blob->values, sizeof(blob->values));
}

static void test_one_round(void **state)
{
    (void)state;
    begin(1, 2, 1);
    end();
    expect_from("planned", "[   1.502] round 1 planned: ann bob\n"
                           "[   1.503] c1 hears plan 1/1\n"
                           "[   1.509] ann trains round 1\n"
                           "[   1.509] bob trains round 1\n"
                           "[   2.014] c1 answers ann OK\n"
                           "[   2.014] c1 answers bob OK\n"
                           "[   2.015] ann is done with round 1\n"
                           "[   2.015] bob is done with round 1\n"
                           "[   2.016] c1 hears close 1/1\n"
                           "[   2.019] c1 hands over round 1/1, 2 updates\n"
                           "[   2.019]   accepted\n"
                           "[   2.022] round 1 committed: ann bob\n"
                           "[   2.024] the session has ended: 1 rounds, 0 of them failed\n");
}

/* -- the table of crash points ---------------------------------------------------------------- */

struct row {
    const char *point;
    const char *what; /* the table's words */
};

static const struct row rows[] = {
    {"reducer.before_planned", "reducer, before the PLANNED row"},
    {"reducer.planned", "reducer, after PLANNED, no plan sent"},
    {"reducer.plan_sent", "reducer, after PLANNED, some plans sent"},
    {"reducer.collecting", "reducer, while collecting"},
    {"reducer.partial_received", "reducer, partials received"},
    {"reducer.blob_written", "reducer, blob written, not committed"},
    {"reducer.before_committed", "reducer, committing"},
    {"reducer.committed", "reducer, committed, derived rows missing"},
    {"combiner.plan_stored", "combiner, plan stored"},
    {"combiner.model_coming", "combiner, its base half here, tasks sent"},
    {"combiner.upload_running", "combiner, upload running"},
    {"combiner.upload_published", "combiner, upload OK, not announced"},
    {"combiner.before_log", "combiner, checked, not LOGGED"},
    {"combiner.logged", "combiner, LOGGED, OK not sent"},
    {"combiner.answered", "combiner, OK sent, not folded"},
    {"combiner.folding", "combiner, while folding"},
    {"combiner.checkpointing", "combiner, a checkpoint not written"},
    {"combiner.checkpointed", "combiner, a checkpoint written"},
    {"combiner.sealing", "combiner, not sealed"},
    {"combiner.sealed", "combiner, SEALED, partial on its way"},
    {"client.training", "client, while training"},
    {"client.uploaded", "client, uploaded, not announced"},
    {"client.admitted", "client, admitted"},
};

/* The calm run's world, with a kill at the point; true when it came to that. */
static bool kill_at(const struct row *row, unsigned hits, const uint64_t *calm)
{
    uint64_t values[WORLD_VALUES];

    begin(1 + hits % 3, 4, 3);
    world.traps[0] = (struct trap){
        .kind = TRAP_KILL, .point = row->point, .hits = hits, .down_ms = SECOND / 2 * hits};
    end();
    values_of_last(values);
    if (memcmp(values, calm, sizeof(values)) != 0) {
        print_message("%.*s", (int)world.sim.trace.size, (const char *)world.sim.trace.data);
        fail_msg("%s, pass %u: other bits", row->what, hits);
    }
    return world.traps[0].kind == TRAP_NONE;
}

/* With a kill at each point in each of its first passes, and 1, 2 or 3 combiners, the session ends
 * with the bits of the calm run, which has no checkpoints: the same set, everybody once. */
static void test_same_bits_after_a_kill_at_every_point(void **state)
{
    uint64_t calm[WORLD_VALUES];

    (void)state;
    begin(1, 4, 3);
    end();
    values_of_last(calm);
    checkpoint_at = 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool is_sprung = false;
        for (unsigned hits = 1; hits <= 4; hits++) {
            is_sprung = kill_at(&rows[i], hits, calm) || is_sprung;
        }
        if (!is_sprung) {
            fail_msg("%s is never passed", rows[i].point);
        }
    }
    checkpoint_at = 0;
}

/* Reducer and combiners are of protocol 1, end mid-round and start again as newer ones: everybody
 * counts, and nobody trains again. */
static void test_an_upgrade_mid_round(void **state)
{
    uint64_t calm[WORLD_VALUES];
    uint64_t values[WORLD_VALUES];

    (void)state;
    begin(1, 4, 3);
    end();
    values_of_last(calm);
    for (unsigned hits = 1; hits <= 4; hits++) {
        begin(1, 4, 3);
        world.settings.is_upgraded = true;
        world.traps[0] = (struct trap){.kind = TRAP_KILL_REDUCER,
                                       .point = "combiner.logged",
                                       .hits = hits,
                                       .down_ms = 2 * SECOND};
        world.traps[1] = (struct trap){.kind = TRAP_KILL_COMBINER,
                                       .point = "combiner.logged",
                                       .hits = hits,
                                       .down_ms = SECOND};
        end();
        values_of_last(values);
        assert_memory_equal(values, calm, sizeof(values));
        assert_int_equal(world.traps[1].kind, TRAP_NONE);
    }
}

/* A combiner and its disk are gone for good: its client attaches elsewhere, and answers from its
 * kept update. */
static void test_a_combiner_is_gone_for_good(void **state)
{
    (void)state;
    begin(2, 2, 1);
    while (world.sim.now_ms < 1800 && sim_step(&world.sim, 1800)) {
    } /* both are training */
    world.is_disk_lost = true;
    world_crash(&world, &world.combiners[0].proc, 0);
    world_run(&world, 120 * SECOND);
    assert_int_equal(world.reducer.disk.rounds[0]->state, ROUND_COMMITTED);
    assert_int_equal(world.reducer.disk.rounds[0]->parts[0].n_entries +
                         world.reducer.disk.rounds[0]->parts[1].n_entries,
                     2);
}

/* A client whose update is in a checkpoint has moved before the reducer heard of it: the plan
 * without it ends the checkpoint, and who else was in it is asked again. */
static void test_a_plan_ends_a_checkpoint(void **state)
{
    (void)state;
    checkpoint_at = 1;
    begin(2, 4, 1);
    checkpoint_at = 0;
    world.settings.roaming = 1;
    while (world.sim.now_ms < 1800 && sim_step(&world.sim, 1800)) {
    } /* all are training */
    world_cut(&world, 0, 20 * SECOND);
    while (world.sim.now_ms < 3000 && sim_step(&world.sim, 3000)) {
    } /* and those at the first combiner have been answered OK */
    world_break(&world, &world.clients[0].proc, &world.combiners[0].proc, false);
    end();
    expect_from("ann and c1", "[   3.000] ann and c1 lose their connection\n"
                              "[  17.801] round 1 planned: ann bob cay dot\n"
                              "[  17.802] c2 hears plan 1/2\n"
                              "[  17.808] c2 answers ann OK\n"
                              "[  17.809] ann is done with round 1\n"
                              "[  17.810] c2 makes a checkpoint of 3\n"
                              "[  21.902] round 1 planned: ann bob cay dot\n"
                              "[  21.903] c1 hears plan 1/2\n"
                              "[  21.903] c1 loses its checkpoint of round 1\n"
                              "[  21.906] c1 hears plan 1/2\n" /* to its new Hello */
                              "[  21.910] c1 answers bob OK\n"
                              "[  21.911] bob is done with round 1\n"
                              "[  21.912] c1 makes a checkpoint of 1\n"
                              "[  21.912] c1 hears close 1/2\n"
                              "[  21.912] c2 hears close 1/2\n"
                              "[  21.915] c1 hands over round 1/2, 1 updates\n"
                              "[  21.915]   accepted\n"
                              "[  21.915] c2 hands over round 1/2, 3 updates\n"
                              "[  21.915]   accepted\n"
                              "[  21.919] round 1 committed: ann bob cay dot\n"
                              "[  21.921] the session has ended: 1 rounds, 0 of them failed\n");
}

/* -- who is away before its update is decided ----------------------------------------------------
 */

/* All are training, and a check will take so long. */
static void begin_slow(unsigned n_clients, uint64_t check_ms)
{
    begin(1, n_clients, 1);
    world.settings.check_ms = check_ms;
    while (world.sim.now_ms < 1800 && sim_step(&world.sim, 1800)) {
    }
}

/* Ann's update by a connection that is not her stream's. */
static void announce_elsewhere(struct client *ann)
{
    struct conn *conn = world_connect(&world, &ann->proc, &world.combiners[0].proc);

    assert_non_null(conn);
    for (unsigned i = 0; i < 2; i++) {
        struct call_message *call = calloc(1, sizeof(*call));
        assert_non_null(call);
        call->call = i == 0 ? CALL_UPLOAD : CALL_ANNOUNCE;
        fed_id_copy(call->client_id, ann->proc.name);
        fed_id_copy(call->update_id, ann->update_id);
        world_send(&world, conn, &ann->proc, combiner_called, call, free);
    }
}

/* A NAT drop that nobody notices: what comes over the new connection is held until the old one is
 * silent, and that makes ann one whom nobody waits for while her update is being checked. */
static void test_silent_before_its_update_is_decided(void **state)
{
    struct client *ann = &world.clients[0];

    (void)state;
    begin_slow(2, 500);
    ann->conn->is_up = false;
    while (world.sim.now_ms < 5000 && sim_step(&world.sim, 5000)) {
    }
    announce_elsewhere(ann);
    end();
    expect_from("bob is done", "[   2.515] bob is done with round 1\n"
                               "[  11.604] c1 answers ann OK\n"
                               "[  11.606] c1 hears close 1/1\n"
                               "[  11.609] c1 hands over round 1/1, 2 updates\n"
                               "[  11.609]   accepted\n"
                               "[  11.612] round 1 committed: ann bob\n"
                               "[  11.614] the session has ended: 1 rounds, 0 of them failed\n");
}

/* She goes for good with her announcement made, and the check takes longer than one waits. */
static void test_gone_before_its_update_is_decided(void **state)
{
    (void)state;
    begin_slow(1, 25 * SECOND);
    while (world.sim.now_ms < 3000 && sim_step(&world.sim, 3000)) {
    }
    world.clients[0].is_gone = true;
    world_crash(&world, &world.clients[0].proc, 0);
    end();
    expect_from("ann is killed", "[   3.000] ann is killed\n"
                                 "[  27.016] c1 hears close 1/1\n"
                                 "[  27.019] c1 hands over round 1/1, 1 updates\n"
                                 "[  27.019]   accepted\n"
                                 "[  27.022] round 1 committed: ann\n"
                                 "[  27.024] the session has ended: 1 rounds, 0 of them failed\n");
}

/* -- stops ------------------------------------------------------------------------------------ */

static void test_the_store_is_away(void **state)
{
    (void)state;
    begin(2, 3, 2);
    world.traps[0] = (struct trap){
        .kind = TRAP_STORE_AWAY, .point = "combiner.sealed", .hits = 1, .ms = 60 * SECOND};
    end(); /* it waits as long as it takes, and what was fixed at Close is what counts */
    assert_int_equal(world.reducer.disk.failed_rounds, 0);
    assert_true(world.sim.now_ms > 60 * SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_round, tear_down),
        cmocka_unit_test_teardown(test_same_bits_after_a_kill_at_every_point, tear_down),
        cmocka_unit_test_teardown(test_an_upgrade_mid_round, tear_down),
        cmocka_unit_test_teardown(test_a_combiner_is_gone_for_good, tear_down),
        cmocka_unit_test_teardown(test_a_plan_ends_a_checkpoint, tear_down),
        cmocka_unit_test_teardown(test_silent_before_its_update_is_decided, tear_down),
        cmocka_unit_test_teardown(test_gone_before_its_update_is_decided, tear_down),
        cmocka_unit_test_teardown(test_the_store_is_away, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
