/* Records of the combiners (statuses, validations, metrics …): stored in order, then acknowledged.
 *
 * A record comes at least once and is stored once: its id was made by the combiner, a validation is
 * unique by (session, model, client). What can never be stored (no JSON object, no id) is dropped,
 * said in the log, and acknowledged: it would block its outbox for ever. The queue is bounded by
 * not reading a link while RECORDS_LINK_MAX of its records wait. Loop only.
 *
 * What comes after a quiet moment is stored at once; what comes on its heels is gathered for
 * RECORDS_PACE_MS from then on, or until it is a batch: each call of the store is a flush of the
 * disk, which a round's own rows and its model wait for.
 */
#ifndef REDUCER_RECORDS_H
#define REDUCER_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/link/link.h"
#include "reducer/errand.h"
#include "reducer/store/store.h"

#define RECORDS_BATCH \
    32 /* stored at a time, in one call a collection: the journal may wait for one */
#define RECORDS_PACE_MS  50U  /* between the beginnings of two batches that are not full */
#define RECORDS_LINK_MAX 128U /* of one link that may wait */

struct records_ops {
    /* All records of this link up to `seq` are stored. */
    void (*on_stored)(void *arg, uint64_t link, uint64_t seq);
    /* One record is stored, or refused. */
    void (*on_judged)(void *arg, bool is_refused);
    /* A validation was stored for the first time. */
    void (*on_validated)(void *arg, const char *model_id, const char *client_id);
};

struct record {
    struct fed_link link;
    uint64_t link_number;
    uint64_t seq;
    enum fed_record_kind kind;
    json_t *document; /* owned; NULL: dropped */
    bool is_stored;   /* in this errand, for the first time */
    bool is_refused;
};

struct records {
    struct errand errand;
    struct errand_line *line; /* borrowed */
    struct store *store;      /* borrowed */
    const struct records_ops *ops;
    void *arg;
    struct fed_list waiting;
    struct fed_list batch; /* the errand's */
    unsigned n_waiting;    /* with the batch */
    uint64_t began_ms;     /* the last batch */
    struct fed_timer pace; /* for the next one */
    bool is_busy;
};

void records_init(struct records *records,
                  struct errand_line *line,
                  struct store *store,
                  const struct records_ops *ops,
                  void *arg);
void records_deinit(struct records *records);

/* Take the record's text over into the queue. Fails with FED_E_NOMEM: the link should be closed,
 * the record comes again. */
FED_NODISCARD int records_put(struct records *records,
                              uint64_t link,
                              const struct fed_record *record,
                              struct fed_err *err);

/* Records of this link that wait. */
unsigned records_count(const struct records *records, uint64_t link);

#endif /* REDUCER_RECORDS_H */
