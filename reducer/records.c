#include "reducer/records.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "reducer/rows.h"

#define DEPTH_FLAGS JSON_REJECT_DUPLICATES

static void pump(struct records *records);

static void free_record(struct record *record)
{
    json_decref(record->document);
    free(record);
}

static enum store_collection collection_of(enum fed_record_kind kind)
{
    switch (kind) {
    case FED_RECORD_VALIDATION:
        return STORE_VALIDATIONS;
    case FED_RECORD_METRIC:
        return STORE_METRICS;
    case FED_RECORD_TELEMETRY:
        return STORE_TELEMETRY;
    case FED_RECORD_ATTRIBUTE:
        return STORE_ATTRIBUTES;
    case FED_RECORD_PREDICTION:
        return STORE_PREDICTIONS;
    case FED_RECORD_STATUS:
        break;
    }
    return STORE_STATUSES;
}

/* The client behind a record: its id, or its name where a client of before 0.27 sent no id. */
static const char *sender_of(const json_t *document)
{
    const json_t *sender = json_object_get(document, "sender");
    const char *id = rows_get_text(sender, "client_id", "");

    return id[0] != '\0' ? id : rows_get_text(sender, "name", "");
}

/* The session that the last validation named: a batch is of one session, nearly always. */
struct known_session {
    const char *session_id; /* of a record of the batch; NULL: none yet */
    json_t *row;            /* owned; NULL: there is none */
};

static int find_session(struct store *store,
                        const char *session_id,
                        struct known_session *known,
                        struct fed_err *err)
{
    json_t *row = NULL;
    int rc;

    if (known->session_id != NULL && strcmp(known->session_id, session_id) == 0) {
        return 0;
    }
    rc = store_get(store, STORE_SESSIONS, session_id, &row, err);
    if (rc < 0) {
        return rc;
    }
    json_decref(known->row);
    *known = (struct known_session){session_id, row};
    return 0;
}

/* Rule 24: validations count until the session's end and one round_timeout. */
static int check_time(struct store *store,
                      struct record *record,
                      struct known_session *known,
                      struct fed_err *err)
{
    const int rc =
        find_session(store, rows_get_text(record->document, "session_id", ""), known, err);
    const uint64_t ended_ms = rows_get_u64(known->row, "_ended_utc_ms", 0);
    const uint64_t timeout_s =
        rows_get_u64(json_object_get(known->row, "_run"), "round_timeout_s", 0);

    record->is_refused =
        rc == 0 &&
        (known->row == NULL || (strcmp(rows_get_text(known->row, "status", ""), "Started") != 0 &&
                                fed_clock_utc_ms() > ended_ms + timeout_s * 1000));
    return rc;
}

static int check_batch(struct records *records, struct fed_err *err)
{
    struct known_session known = {0};
    int rc = 0;

    fed_list_for_each (link, &records->batch) {
        struct record *record = FED_CONTAINER_OF(link, struct record, link);
        if (rc == 0 && record->kind == FED_RECORD_VALIDATION && record->document != NULL) {
            (void)json_object_set_new(record->document, "_sender_key",
                                      rows_text(sender_of(record->document)));
            rc = check_time(records->store, record, &known, err);
        }
    }
    json_decref(known.row);
    return rc;
}

/* What the batch has for one collection, in its order. */
static int store_batch(struct records *records, enum store_collection in, struct fed_err *err)
{
    struct record *chosen[RECORDS_BATCH];
    json_t *documents[RECORDS_BATCH];
    int outcomes[RECORDS_BATCH];
    size_t n = 0;
    int rc;

    fed_list_for_each (link, &records->batch) {
        struct record *record = FED_CONTAINER_OF(link, struct record, link);
        if (record->document != NULL && !record->is_refused && collection_of(record->kind) == in) {
            chosen[n] = record;
            documents[n++] = record->document;
        }
    }
    rc = n == 0 ? 0 : store_insert_many(records->store, in, documents, n, outcomes, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        chosen[i]->is_stored = chosen[i]->is_stored || outcomes[i] == 0;
        chosen[i]->is_refused = outcomes[i] < 0; /* it will never go in */
    }
    return rc;
}

static int work(struct errand *errand, struct fed_err *err)
{
    static const enum store_collection all[] = {STORE_VALIDATIONS, STORE_STATUSES,
                                                STORE_PREDICTIONS, STORE_METRICS,
                                                STORE_ATTRIBUTES,  STORE_TELEMETRY};
    struct records *records = FED_CONTAINER_OF(errand, struct records, errand);
    int rc = check_batch(records, err);

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++) {
        rc = store_batch(records, all[i], err);
    }
    return rc;
}

static void tell(struct records *records, const struct record *record)
{
    if (record->is_refused || record->is_stored) {
        records->ops->on_judged(records->arg, record->is_refused);
    }
    if (record->is_refused) {
        fed_log(FED_LOG_INFO, "record", "refused", "kind=%d session=%s sender=%s",
                (int)record->kind, rows_get_text(record->document, "session_id", ""),
                sender_of(record->document));
    } else if (record->kind == FED_RECORD_VALIDATION && record->is_stored) {
        records->ops->on_validated(records->arg, rows_get_text(record->document, "model_id", ""),
                                   sender_of(record->document));
    }
}

static bool is_last_of_link(const struct records *records, const struct record *record)
{
    for (const struct fed_link *link = record->link.next; link != &records->batch.head;
         link = link->next) {
        const struct record *other =
            (const struct record *)(const void *)((const char *)link -
                                                  offsetof(struct record, link));
        if (other->link_number == record->link_number) {
            return false;
        }
    }
    return true;
}

static void done(struct errand *errand, int rc, const struct fed_err *err)
{
    struct records *records = FED_CONTAINER_OF(errand, struct records, errand);
    struct fed_link *link;

    if (rc < 0 && rc != -FED_E_CANCELLED) {
        fed_log(FED_LOG_ERROR, "record", "lost", "why=\"%s\"", err->msg);
    }
    while (!fed_list_is_empty(&records->batch)) {
        struct record *record = FED_CONTAINER_OF(records->batch.head.next, struct record, link);
        const bool is_last = is_last_of_link(records, record);
        link = fed_list_take(&records->batch);
        records->n_waiting--;
        if (rc != -FED_E_CANCELLED) {
            tell(records, record);
            if (is_last) {
                records->ops->on_stored(records->arg, record->link_number, record->seq);
            }
        }
        free_record(FED_CONTAINER_OF(link, struct record, link));
    }
    records->is_busy = false;
    pump(records);
}

static void pump(struct records *records)
{
    struct fed_link *link;

    const uint64_t now_ms = fed_loop_now_ms(records->line->loop);
    const uint64_t due_ms = records->began_ms + RECORDS_PACE_MS;

    if (records->is_busy || records->line->is_closed || fed_list_is_empty(&records->waiting)) {
        return;
    }
    if (now_ms < due_ms && records->n_waiting < RECORDS_BATCH) {
        fed_timer_start(records->line->loop, &records->pace, due_ms);
        return;
    }
    for (int i = 0; i < RECORDS_BATCH && (link = fed_list_take(&records->waiting)) != NULL; i++) {
        fed_list_add(&records->batch, link);
    }
    records->is_busy = true;
    records->began_ms = now_ms;
    errand_submit(records->line, &records->errand);
}

static void on_pace(void *arg)
{
    pump(arg);
}

void records_init(struct records *records,
                  struct errand_line *line,
                  struct store *store,
                  const struct records_ops *ops,
                  void *arg)
{
    *records = (struct records){.line = line, .store = store, .ops = ops, .arg = arg};
    fed_list_init(&records->waiting);
    fed_list_init(&records->batch);
    fed_timer_init(&records->pace, on_pace, records);
    records->errand.work = work;
    records->errand.done = done;
    records->errand.what = "storing records";
}

void records_deinit(struct records *records)
{
    struct fed_link *link;

    fed_timer_stop(&records->pace);
    while ((link = fed_list_take(&records->waiting)) != NULL ||
           (link = fed_list_take(&records->batch)) != NULL) {
        free_record(FED_CONTAINER_OF(link, struct record, link));
    }
}

int records_put(struct records *records,
                uint64_t link,
                const struct fed_record *from,
                struct fed_err *err)
{
    struct record *record = calloc(1, sizeof(*record));
    json_error_t why;

    if (record == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "record");
    }
    record->link_number = link;
    record->seq = from->seq;
    record->kind = from->kind;
    record->document = json_loads(from->json, DEPTH_FLAGS, &why);
    if (!json_is_object(record->document)) {
        fed_log(FED_LOG_WARNING, "record", "malformed", "link=%llu seq=%llu why=\"%s\"",
                (unsigned long long)link, (unsigned long long)from->seq, why.text);
        json_decref(record->document);
        record->document = NULL;
    }
    fed_list_add(&records->waiting, &record->link);
    records->n_waiting++;
    pump(records);
    return 0;
}

static unsigned count(const struct fed_list *list, uint64_t number)
{
    unsigned n = 0;

    for (const struct fed_link *link = list->head.next; link != &list->head; link = link->next) {
        const struct record *record =
            (const struct record *)(const void *)((const char *)link -
                                                  offsetof(struct record, link));
        n += record->link_number == number ? 1 : 0;
    }
    return n;
}

unsigned records_count(const struct records *records, uint64_t link)
{
    return count(&records->waiting, link) + count(&records->batch, link);
}
