/* The store's part of rounds with N clients: what the reducer writes in each, through its own
 * journal and records, with its own lines and workers, and nothing else.
 *
 *     store_round URL ROUNDS CLIENTS
 *
 * A round: its row planned (insert), then committed (replace), then the model's, the session's and
 * the run's rows; meanwhile, on their own line, 6 statuses and a validation a client, as C clients
 * send them. Prints for each round "waited_ms all_ms": how long the round waited for the journal,
 * and until the last record was stored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "reducer/journal.h"
#include "reducer/records.h"
#include "reducer/rows.h"

#define STATUSES 6U
#define WINDOW   128U

enum step {
    STEP_PLANNED,
    STEP_COMMITTED,
    STEP_DERIVED,
    STEP_MAX,
};

struct bench {
    struct fed_loop *loop;
    struct store *store;
    struct journal journal;
    struct errand_line side;
    struct records records;
    struct fed_event begin;
    unsigned n_rounds;
    unsigned n_clients;
    unsigned round;
    enum step step;
    bool has_failed;
    uint64_t n_put; /* records of this round */
    uint64_t n_stored;
    uint64_t seq;
    uint64_t began_us;
    uint64_t waited_us;
    char run[FED_UUID_SIZE];
};

/* The loop ends, and main() with it. */
static void give_up(struct bench *bench, const char *what, const struct fed_err *err)
{
    (void)fprintf(stderr, "store_round: %s: %s\n", what, err->msg);
    bench->has_failed = true;
    if (bench->loop != NULL) {
        fed_loop_stop(bench->loop);
    }
}

static void begin_round(void *arg);

/* -- records ------------------------------------------------------------------------------------
 */

static void put_record(struct bench *bench)
{
    const uint64_t client = bench->n_put / (STATUSES + 1);
    const bool is_validation = bench->n_put % (STATUSES + 1) == STATUSES;
    char json[1024];
    char id[FED_UUID_SIZE];
    struct fed_err err = {0};
    struct fed_record record = {.seq = ++bench->seq, .json = json};

    if (fed_uuid_new(id, &err) < 0) {
        give_up(bench, "id", &err);
    }
    (void)snprintf(json, sizeof(json),
                   "{\"%s\":\"%s\",\"session_id\":\"%s\",\"model_id\":\"m-%s-%u\","
                   "\"sender\":{\"client_id\":\"client-%llu\",\"name\":\"client-%llu\","
                   "\"role\":\"CLIENT\"},\"log_level\":\"AUDIT\",\"type\":\"MODEL_UPDATE\","
                   "\"status\":\"Model update completed.\",\"correlation_id\":\"%s\","
                   "\"timestamp\":\"2026-11-28T04:10:59.010411Z\",\"extra\":null,"
                   "\"data\":\"{\\\"test_loss\\\":0.25,\\\"test_accuracy\\\":0.91}\"}",
                   is_validation ? "validation_id" : "status_id", id, bench->run, bench->run,
                   bench->round, (unsigned long long)client, (unsigned long long)client, id);
    record.kind = is_validation ? FED_RECORD_VALIDATION : FED_RECORD_STATUS;
    if (records_put(&bench->records, 1, &record, &err) < 0) {
        give_up(bench, "record", &err);
    }
    bench->n_put++;
}

static void fill(struct bench *bench)
{
    const uint64_t n = (uint64_t)bench->n_clients * (STATUSES + 1);

    while (bench->n_put < n && bench->n_put - bench->n_stored < WINDOW) {
        put_record(bench);
    }
}

static void look_end(struct bench *bench)
{
    const uint64_t n = (uint64_t)bench->n_clients * (STATUSES + 1);

    if (bench->step == STEP_MAX && bench->n_stored == n) {
        (void)printf("%.3f %.3f\n", (double)bench->waited_us / 1000.0,
                     (double)(fed_clock_mono_us() - bench->began_us) / 1000.0);
        if (++bench->round == bench->n_rounds) {
            fed_loop_stop(bench->loop);
        } else {
            fed_loop_post(bench->loop, &bench->begin);
        }
    }
}

static void on_stored(void *arg, uint64_t link, uint64_t seq)
{
    struct bench *bench = arg;

    (void)link;
    bench->n_stored = bench->n_put - (bench->seq - seq);
    fill(bench);
    look_end(bench);
}

static void on_judged(void *arg, bool is_refused)
{
    (void)arg;
    (void)is_refused;
}

static void on_validated(void *arg, const char *model_id, const char *client_id)
{
    (void)arg;
    (void)model_id;
    (void)client_id;
}

/* -- the journal --------------------------------------------------------------------------------
 */

static json_t *encode_round(const struct bench *bench)
{
    json_t *clients = json_array();
    json_t *entries = json_array();

    for (unsigned i = 0; i < bench->n_clients; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "client-%u", i);
        (void)json_array_append_new(
            clients, json_pack("{s:s,s:s}", "client_id", name, "combiner_id", bench->run));
        if (bench->step == STEP_COMMITTED) {
            (void)json_array_append_new(entries,
                                        json_pack("{s:s,s:i,s:s,s:f,s:f}", "client_id", name,
                                                  "examples", 600, "combiner_id", bench->run,
                                                  "training_s", 1.25, "upload_s", 0.125));
        }
    }
    return json_pack("{s:o,s:s,s:i,s:s,s:o,s:o,s:s}", "round_id",
                     json_sprintf("%s-%u", bench->run, bench->round), "session_id", bench->run,
                     "round_number", (int)bench->round + 1, "phase",
                     bench->step == STEP_COMMITTED ? "committed" : "planned", "clients", clients,
                     "entries", entries, "model_id", bench->run);
}

static void write_step(struct bench *bench);

static void on_written(struct journal_entry *entry, int rc, const struct fed_err *err, void *arg)
{
    struct bench *bench = arg;

    (void)entry;
    if (rc < 0) {
        give_up(bench, "journal", err);
        return;
    }
    if (bench->step == STEP_PLANNED) {
        fill(bench);
    }
    bench->step++;
    if (bench->step < STEP_MAX) {
        write_step(bench);
        return;
    }
    bench->waited_us = fed_clock_mono_us() - bench->began_us;
    look_end(bench);
}

static void write_step(struct bench *bench)
{
    struct journal_entry *entry = journal_entry_new(FEDERATION_STORE_ROUND);

    if (entry == NULL) {
        abort();
    }
    if (bench->step == STEP_DERIVED) {
        entry->model = json_pack("{s:o,s:s,s:s}", "model_id",
                                 json_sprintf("m-%s-%u", bench->run, bench->round), "session_id",
                                 bench->run, "parent_model", bench->run);
        entry->changes = json_pack("{s:i}", "rounds_done", (int)bench->round + 1);
        entry->run = json_pack("{s:s,s:s,s:i}", "run_id", bench->run, "session_id", bench->run,
                               "rounds", (int)bench->round + 1);
        (void)snprintf(entry->session_id, sizeof(entry->session_id), "%s", bench->run);
    } else {
        entry->round_version = bench->step == STEP_COMMITTED ? 1 : 0;
        entry->round = encode_round(bench);
    }
    entry->done = on_written;
    entry->arg = bench;
    journal_write(&bench->journal, entry);
}

static void begin_round(void *arg)
{
    struct bench *bench = arg;

    bench->step = STEP_PLANNED;
    bench->n_put = 0;
    bench->n_stored = 0;
    bench->began_us = fed_clock_mono_us();
    write_step(bench);
}

static void on_line(void *arg)
{
    (void)arg;
}

int main(int argc, char **argv)
{
    static const struct records_ops ops = {
        .on_stored = on_stored, .on_judged = on_judged, .on_validated = on_validated};
    struct bench bench = {0};
    struct fed_workers *workers = NULL;
    struct fed_err err = {0};
    json_t *session;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: store_round URL ROUNDS CLIENTS\n");
        return 2;
    }
    bench.n_rounds = (unsigned)strtoul(argv[2], NULL, 10);
    bench.n_clients = (unsigned)strtoul(argv[3], NULL, 10);
    if (fed_uuid_new(bench.run, &err) < 0 || store_open(argv[1], &bench.store, &err) < 0 ||
        journal_open(&bench.journal, bench.store, &err) < 0 ||
        fed_loop_new(&bench.loop, &err) < 0 || fed_workers_new(bench.loop, 4, &workers, &err) < 0) {
        give_up(&bench, "start", &err);
        return 1;
    }
    session = json_pack("{s:s,s:s}", "session_id", bench.run, "status", "Started");
    if (store_insert(bench.store, STORE_SESSIONS, session, &err) != 0) {
        give_up(&bench, "session", &err);
        return 1;
    }
    json_decref(session);
    errand_line_init(&bench.journal.line, bench.loop, workers, "journal", on_line, NULL);
    errand_line_init(&bench.side, bench.loop, workers, "records", on_line, NULL);
    errand_line_give_way(&bench.side, &bench.journal.line);
    records_init(&bench.records, &bench.side, bench.store, &ops, &bench);
    fed_event_init(&bench.begin, begin_round, &bench);
    fed_loop_post(bench.loop, &bench.begin);
    fed_loop_run(bench.loop);
    records_deinit(&bench.records);
    (void)fed_workers_free(workers);
    journal_deinit(&bench.journal);
    (void)fed_loop_free(bench.loop);
    (void)store_close(bench.store);
    return bench.has_failed ? 1 : 0;
}
