#include "reducer/journal.h"

#include <stdlib.h>
#include <string.h>

#include "reducer/rows.h"

#define FEDERATION_KEY "federation"
#define ATTEMPTS_MAX   16 /* compare-and-sets of one row that lose against REST's changes */

static int changed(struct fed_err *err, const char *what)
{
    return fed_err_set(err, FED_E_CONFLICT, "%s was changed by another reducer on this store",
                       what);
}

/* -- the federation's document ------------------------------------------------------------------
 */

static int write_federation(struct journal *journal, json_t *changes, struct fed_err *err)
{
    json_t *stored = NULL;
    int rc = store_get(journal->store, STORE_FEDERATION, FEDERATION_KEY, &stored, err);

    if (rc < 0) {
        return rc;
    }
    if (rc == STORE_NOT_FOUND || rows_get_u64(stored, "reducer_epoch", 0) != journal->epoch) {
        json_decref(stored);
        return changed(err, "the federation's row");
    }
    if (json_object_update(stored, changes) != 0) {
        json_decref(stored);
        return fed_err_set(err, FED_E_NOMEM, "the federation's row");
    }
    rc = store_replace(journal->store, STORE_FEDERATION, rows_get_u64(stored, "version", 0), stored,
                       err);
    if (rc == 0) {
        json_decref(journal->federation);
        journal->federation = json_incref(stored);
    }
    json_decref(stored);
    return rc <= 0 ? rc : changed(err, "the federation's row");
}

/* A reducer that has been replaced writes nothing more: the other one reads the rows by now. What
 * slips through between this and the write, the write's own compare-and-set settles. */
static int check_epoch(struct journal *journal, struct fed_err *err)
{
    json_t *stored = NULL;
    int rc = store_get(journal->store, STORE_FEDERATION, FEDERATION_KEY, &stored, err);

    if (rc >= 0) {
        rc = rows_get_u64(stored, "reducer_epoch", 0) == journal->epoch
                 ? 0
                 : changed(err, "the federation's row");
    }
    json_decref(stored);
    return rc;
}

static int enter(struct journal *journal, json_t *stored, struct fed_err *err)
{
    const uint64_t version = rows_get_u64(stored, "version", 0);
    int rc;

    journal->epoch = rows_get_u64(stored, "reducer_epoch", 0) + 1;
    if (json_object_set_new(stored, "reducer_epoch", json_integer((json_int_t)journal->epoch)) !=
        0) {
        return fed_err_set(err, FED_E_NOMEM, "the federation's row");
    }
    rc = store_replace(journal->store, STORE_FEDERATION, version, stored, err);
    return rc <= 0 ? rc : changed(err, "the federation's row");
}

int journal_open(struct journal *journal, struct store *store, struct fed_err *err)
{
    json_t *stored = NULL;
    int rc;

    journal->store = store;
    rc = store_get(store, STORE_FEDERATION, FEDERATION_KEY, &stored, err);
    if (rc == STORE_NOT_FOUND) {
        journal->epoch = 1;
        stored =
            json_pack("{s:s,s:s,s:i,s:s,s:i}", "name", FEDERATION_KEY, "federation", FEDERATION_KEY,
                      "next_round_id", 1, "running_session_id", "", "reducer_epoch", 1);
        rc = store_insert(store, STORE_FEDERATION, stored, err);
        rc = rc <= 0 ? rc : changed(err, "the federation's row");
    } else if (rc == 0) {
        rc = enter(journal, stored, err);
    }
    if (rc < 0) {
        json_decref(stored);
        return rc;
    }
    journal->federation = stored;
    return 0;
}

void journal_deinit(struct journal *journal)
{
    json_decref(journal->federation);
    journal->federation = NULL;
}

/* -- entries ------------------------------------------------------------------------------------
 */

struct journal_entry *journal_entry_new(enum federation_action_type type)
{
    struct journal_entry *entry = calloc(1, sizeof(*entry));

    if (entry != NULL) {
        entry->type = type;
    }
    return entry;
}

struct journal_entry *journal_entry_free(struct journal_entry *entry)
{
    if (entry != NULL) {
        json_decref(entry->round);
        json_decref(entry->model);
        json_decref(entry->run);
        json_decref(entry->changes);
        json_decref(entry->federation);
        json_decref(entry->session);
        free(entry);
    }
    return NULL;
}

/* The row is there, in the version we were to write: was it us, whose answer got lost? */
static int
check_round(struct journal *journal, const struct journal_entry *entry, struct fed_err *err)
{
    const char *round_id = rows_get_text(entry->round, "round_id", "");
    json_t *stored = NULL;
    int rc = store_get(journal->store, STORE_ROUNDS, round_id, &stored, err);

    if (rc == 0 && (rows_get_u64(stored, "_epoch", 0) != journal->epoch ||
                    rows_get_u64(stored, "version", 0) != entry->round_version + 1 ||
                    strcmp(rows_get_text(stored, "phase", ""),
                           rows_get_text(entry->round, "phase", "")) != 0)) {
        rc = STORE_CONFLICT;
    }
    json_decref(stored);
    return rc <= 0 ? rc : changed(err, "the round's row");
}

static int
write_round(struct journal *journal, const struct journal_entry *entry, struct fed_err *err)
{
    int rc;

    if (json_object_set_new(entry->round, "_epoch", json_integer((json_int_t)journal->epoch)) !=
        0) {
        return fed_err_set(err, FED_E_NOMEM, "the round's row");
    }
    rc = entry->round_version == 0
             ? store_insert(journal->store, STORE_ROUNDS, entry->round, err)
             : store_replace(journal->store, STORE_ROUNDS, entry->round_version, entry->round, err);
    return rc <= 0 ? rc : check_round(journal, entry, err);
}

/* Derived rows are written again at a start that misses them: the next round's row, or the
 * session's end, flushes them with itself. */
static bool is_soon(const struct journal_entry *entry)
{
    return entry->type == FEDERATION_STORE_DERIVED;
}

static int write_model(struct journal *journal, struct journal_entry *entry, struct fed_err *err)
{
    const int rc = entry->model == NULL ? 0
                                        : (is_soon(entry) ? store_put_soon : store_put)(
                                              journal->store, STORE_MODELS, entry->model, err);

    return rc <= 0 ? rc : changed(err, "the model's row");
}

static int write_run(struct journal *journal, struct journal_entry *entry, struct fed_err *err)
{
    const int rc = entry->run == NULL ? 0 : store_put(journal->store, STORE_RUNS, entry->run, err);

    return rc <= 0 ? rc : changed(err, "the run's row");
}

static int write_session(struct journal *journal, struct journal_entry *entry, struct fed_err *err)
{
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        json_t *row = NULL;
        int rc = store_get(journal->store, STORE_SESSIONS, entry->session_id, &row, err);

        if (rc < 0) {
            return rc;
        }
        if (rc == STORE_NOT_FOUND) {
            return 0; /* somebody has removed it: nothing to keep up to date */
        }
        if (json_object_update(row, entry->changes) != 0) {
            json_decref(row);
            return fed_err_set(err, FED_E_NOMEM, "the session's row");
        }
        rc = (is_soon(entry) ? store_replace_soon : store_replace)(
            journal->store, STORE_SESSIONS, rows_get_u64(row, "version", 0), row, err);
        if (rc == 0) {
            json_decref(entry->session);
            entry->session = row;
            return 0;
        }
        json_decref(row);
        if (rc < 0) {
            return rc;
        }
    }
    return fed_err_set(err, FED_E_UNAVAILABLE, "the session's row changes all the time");
}

static int work(struct errand *errand, struct fed_err *err)
{
    struct journal_entry *entry = FED_CONTAINER_OF(errand, struct journal_entry, errand);
    struct journal *journal = entry->journal;
    int rc = check_epoch(journal, err);

    if (rc == 0 && entry->is_federation_first && entry->federation != NULL) {
        rc = write_federation(journal, entry->federation, err);
    }
    if (rc == 0 && entry->round != NULL) {
        rc = write_round(journal, entry, err);
    }
    rc = rc < 0 ? rc : write_model(journal, entry, err);
    if (rc == 0 && entry->changes != NULL) {
        rc = write_session(journal, entry, err);
    }
    rc = rc < 0 ? rc : write_run(journal, entry, err);
    if (rc == 0 && !entry->is_federation_first && entry->federation != NULL) {
        rc = write_federation(journal, entry->federation, err);
    }
    return rc;
}

static void done(struct errand *errand, int rc, const struct fed_err *err)
{
    struct journal_entry *entry = FED_CONTAINER_OF(errand, struct journal_entry, errand);

    entry->done(entry, rc, err, entry->arg);
    (void)journal_entry_free(entry);
}

void journal_write(struct journal *journal, struct journal_entry *entry)
{
    entry->journal = journal;
    entry->errand.work = work;
    entry->errand.done = done;
    entry->errand.is_stubborn = true;
    entry->errand.what = entry->round != NULL ? "writing the round's row" : "writing rows";
    errand_submit(&journal->line, &entry->errand);
}
