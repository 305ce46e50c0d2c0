/* The journal: what the core wants written is written, in order, until it has worked.
 *
 * An entry is a set of single-document writes that belong together; each is idempotent, so that an
 * entry whose outcome is unknown is simply written again:
 *
 *   round       insert at version 0, else compare-and-set: the round protocol's commit points
 *   model, run  put: derived rows
 *   session     its changed keys, by compare-and-set on what is there (REST may change its name)
 *   federation  our one document, by compare-and-set
 *
 * FED_E_CONFLICT is the one failure that comes back: another reducer has taken over this store.
 * Loop only, but for journal_open(), which blocks and comes before the loop.
 */
#ifndef REDUCER_JOURNAL_H
#define REDUCER_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "reducer/core/federation.h"
#include "reducer/errand.h"
#include "reducer/store/store.h"

struct journal {
    struct errand_line line;
    struct store *store; /* borrowed */
    uint64_t epoch;      /* of this reducer: constant once open */
    json_t *federation;  /* the document as last written; the running errand's */
};

struct journal_entry {
    struct errand errand;
    struct journal *journal;
    enum federation_action_type type; /* what it carries out */
    uint64_t token;                   /* of a STORE_SESSION */
    bool is_federation_first;         /* else last */
    uint64_t round_version;
    json_t *round; /* owned, as the following; NULL: not written */
    json_t *model;
    json_t *run;
    json_t *changes;    /* of the session's row */
    json_t *federation; /* changed keys of the federation's document */
    char session_id[FED_ID_SIZE];
    json_t *session; /* the session's row as written; set when `changes` were */
    void (*done)(struct journal_entry *entry, int rc, const struct fed_err *err, void *arg);
    void *arg;
};

/* Read the federation's document, or make it, and enter as its next reducer: reducer_epoch + 1.
 * Blocks. Fails as store_*(), or with FED_E_CONFLICT. */
FED_NODISCARD int journal_open(struct journal *journal, struct store *store, struct fed_err *err);
void journal_deinit(struct journal *journal);

/* A zeroed entry; NULL: out of memory. Given to journal_write() or freed. */
struct journal_entry *journal_entry_new(enum federation_action_type type);
struct journal_entry *journal_entry_free(struct journal_entry *entry); /* accepts NULL */

/* Takes the entry; `done` gets it back for the call, then it is freed. */
void journal_write(struct journal *journal, struct journal_entry *entry);

#endif /* REDUCER_JOURNAL_H */
