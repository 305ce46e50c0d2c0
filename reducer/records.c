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

/* Rule 24: validations count until the session's end and one round_timeout. */
static int check_time(struct store *store, struct record *record, struct fed_err *err)
{
    const char *session_id = rows_get_text(record->document, "session_id", "");
    json_t *session = NULL;
    const int rc = store_get(store, STORE_SESSIONS, session_id, &session, err);
    uint64_t ended_ms;
    uint64_t timeout_s;

    if (rc != 0) {
        record->is_refused = rc == STORE_NOT_FOUND;
        return rc < 0 ? rc : 0;
    }
    ended_ms = rows_get_u64(session, "_ended_utc_ms", 0);
    timeout_s = rows_get_u64(json_object_get(session, "_run"), "round_timeout_s", 0);
    record->is_refused = strcmp(rows_get_text(session, "status", ""), "Started") != 0 &&
                         fed_clock_utc_ms() > ended_ms + timeout_s * 1000;
    json_decref(session);
    return 0;
}

static int store_record(struct store *store, struct record *record, struct fed_err *err)
{
    int rc = 0;

    if (record->document == NULL) {
        return 0;
    }
    if (record->kind == FED_RECORD_VALIDATION) {
        (void)json_object_set_new(record->document, "_sender_key",
                                  rows_text(sender_of(record->document)));
        rc = check_time(store, record, err);
    }
    if (rc < 0 || record->is_refused) {
        return rc;
    }
    rc = store_insert(store, collection_of(record->kind), record->document, err);
    record->is_stored = record->is_stored || rc == 0;
    if (rc == -FED_E_INVALID || rc == -FED_E_LIMIT) {
        record->is_refused = true; /* it will never go in */
        return 0;
    }
    return rc < 0 ? rc : 0;
}

static int work(struct errand *errand, struct fed_err *err)
{
    struct records *records = FED_CONTAINER_OF(errand, struct records, errand);
    int rc = 0;

    fed_list_for_each (link, &records->batch) {
        rc = rc < 0
                 ? rc
                 : store_record(records->store, FED_CONTAINER_OF(link, struct record, link), err);
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

    if (records->is_busy || records->line->is_closed) {
        return;
    }
    for (int i = 0; i < RECORDS_BATCH && (link = fed_list_take(&records->waiting)) != NULL; i++) {
        fed_list_add(&records->batch, link);
    }
    if (!fed_list_is_empty(&records->batch)) {
        records->is_busy = true;
        errand_submit(records->line, &records->errand);
    }
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
    records->errand.work = work;
    records->errand.done = done;
    records->errand.what = "storing records";
}

void records_deinit(struct records *records)
{
    struct fed_link *link;

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
