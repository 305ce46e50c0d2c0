#include "reducer/attendance.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/conf/conf.h"
#include "reducer/mark.h"
#include "reducer/rows.h"

static void pump(struct attendance *attendance);

static void free_change(struct attendance_change *change)
{
    json_decref(change->row);
    free(change);
}

/* Keys that a row has from the beginning, null until known. */
static json_t *new_row(enum store_collection in)
{
    return in == STORE_CLIENTS
               ? json_pack("{s:n,s:n,s:n,s:s,s:n,s:s,s:s}", "name", "combiner",
                           "combiner_preferred", "ip", "", "last_seen", "package", "local",
                           "status", "offline")
               : json_pack("{s:n,s:s,s:s}", "fqdn", "ip", "", "parent", "localhost");
}

static int
write_change(struct store *store, const struct attendance_change *change, struct fed_err *err)
{
    json_t *row = NULL;
    int rc = store_get(store, change->in, change->key, &row, err);

    if (rc < 0) {
        return rc;
    }
    row = rc == STORE_NOT_FOUND ? new_row(change->in) : row;
    if (row == NULL || json_object_update(row, change->row) != 0) {
        json_decref(row);
        return fed_err_set(err, FED_E_NOMEM, "row of %s", change->key);
    }
    rc = store_put(store, change->in, row, err);
    json_decref(row);
    return rc < 0 ? rc : 0;
}

static int work(struct errand *errand, struct fed_err *err)
{
    struct attendance *attendance = FED_CONTAINER_OF(errand, struct attendance, errand);
    int rc = 0;

    fed_list_for_each (link, &attendance->batch) {
        rc = rc < 0 ? rc
                    : write_change(attendance->store,
                                   FED_CONTAINER_OF(link, struct attendance_change, link), err);
    }
    return rc;
}

static void done(struct errand *errand, int rc, const struct fed_err *err)
{
    struct attendance *attendance = FED_CONTAINER_OF(errand, struct attendance, errand);
    struct fed_link *link;

    if (rc < 0 && rc != -FED_E_CANCELLED) {
        fed_log(FED_LOG_ERROR, "attendance", "lost", "why=\"%s\"", err->msg);
    }
    while ((link = fed_list_take(&attendance->batch)) != NULL) {
        free_change(FED_CONTAINER_OF(link, struct attendance_change, link));
    }
    attendance->is_busy = false;
    pump(attendance);
}

static void pump(struct attendance *attendance)
{
    struct fed_link *link;

    if (attendance->is_busy || attendance->line->is_closed) {
        return;
    }
    for (int i = 0; i < ATTENDANCE_BATCH && (link = fed_list_take(&attendance->order)) != NULL;
         i++) {
        struct attendance_change *change = FED_CONTAINER_OF(link, struct attendance_change, link);
        (void)fed_strmap_take(&attendance->waiting[change->in == STORE_CLIENTS], change->key);
        fed_list_add(&attendance->batch, &change->link);
    }
    if (!fed_list_is_empty(&attendance->batch)) {
        attendance->is_busy = true;
        errand_submit(attendance->line, &attendance->errand);
    }
}

void attendance_init(struct attendance *attendance, struct errand_line *line, struct store *store)
{
    *attendance = (struct attendance){.line = line, .store = store};
    fed_list_init(&attendance->order);
    fed_list_init(&attendance->batch);
    fed_strmap_init(&attendance->waiting[0]);
    fed_strmap_init(&attendance->waiting[1]);
    fed_strmap_init(&attendance->shown);
    attendance->errand.work = work;
    attendance->errand.done = done;
    attendance->errand.what = "writing the rows of clients and combiners";
}

void attendance_deinit(struct attendance *attendance)
{
    struct fed_link *link;

    while ((link = fed_list_take(&attendance->order)) != NULL ||
           (link = fed_list_take(&attendance->batch)) != NULL) {
        free_change(FED_CONTAINER_OF(link, struct attendance_change, link));
    }
    fed_strmap_deinit(&attendance->waiting[0]);
    fed_strmap_deinit(&attendance->waiting[1]);
    fed_strmap_deinit(&attendance->shown);
}

/* Takes `row`. Lost when there is no memory: the next event of this id says it again. */
static void
put(struct attendance *attendance, enum store_collection in, const char *key, json_t *row)
{
    struct fed_strmap *waiting = &attendance->waiting[in == STORE_CLIENTS];
    struct attendance_change *change = fed_strmap_find(waiting, key);

    if (row == NULL) {
        return;
    }
    (void)json_object_set_new(row, store_collection_key(in), json_string(key));
    (void)json_object_set_new(row, "last_seen", json_integer((json_int_t)fed_clock_utc_ms()));
    if (change != NULL) {
        (void)json_object_update(change->row, row);
        json_decref(row);
        return;
    }
    change = calloc(1, sizeof(*change));
    if (change == NULL || fed_strmap_put(waiting, key, change, NULL, NULL) < 0) {
        free(change);
        json_decref(row);
        return;
    }
    change->in = in;
    change->row = row;
    fed_id_copy(change->key, key);
    fed_list_add(&attendance->order, &change->link);
    pump(attendance);
}

void attendance_combiner(struct attendance *attendance, const struct roster_combiner *combiner)
{
    char host[FED_LINK_ADDRESS_SIZE];
    uint16_t port = 0;

    if (!fed_address_parse(combiner->advertise, host, sizeof(host), &port)) {
        host[0] = '\0';
    }
    put(attendance, STORE_COMBINERS, combiner->combiner_id,
        json_pack("{s:o,s:o,s:i}", "name", rows_text(combiner->name), "address", rows_text(host),
                  "port", (int)port));
}

static void set_text(json_t *row, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        (void)json_object_set_new(row, key, rows_text(text));
    }
}

void attendance_client(struct attendance *attendance, const struct attendance_client *client)
{
    json_t *row = json_object();

    (void)fed_strmap_take(&attendance->shown, client->client_id);
    set_text(row, "name", client->name);
    set_text(row, "ip", client->ip);
    set_text(row, "combiner", client->combiner);
    set_text(row, "status", client->status);
    set_text(row, "package", client->package);
    set_text(row, "combiner_preferred", client->preferred);
    put(attendance, STORE_CLIENTS, client->client_id, row);
}

/* The combiner it is online at, or that it is offline. */
static void *mark_client(const struct roster_client *client, bool is_online)
{
    return mark_of(is_online ? mark_text(MARK_START, client->combiner->combiner_id) : 0);
}

void attendance_show(struct attendance *attendance,
                     const struct roster *roster,
                     const struct roster_client *client)
{
    const bool is_online = roster_is_present(client);
    void *mark = mark_client(client, is_online);
    const struct attendance_client shown = {
        .client_id = client->client_id,
        .name = client->name,
        .ip = client->ip,
        .combiner = client->combiner->name,
        .status = is_online ? "online" : "offline",
    };

    if (fed_strmap_find(&attendance->shown, client->client_id) == mark) {
        return;
    }
    if (attendance->shown.n_items > roster->clients.n_items) { /* the roster has forgotten some */
        fed_strmap_deinit(&attendance->shown);
    }
    attendance_client(attendance, &shown);
    if (fed_strmap_put(&attendance->shown, client->client_id, mark, NULL, NULL) < 0) {
        return; /* it will be written once more than needed */
    }
}

void attendance_sync(struct attendance *attendance,
                     const struct roster *roster,
                     const struct roster_combiner *combiner)
{
    const struct roster_client *client;
    size_t cursor = 0;

    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        if (client->combiner == combiner) {
            attendance_show(attendance, roster, client);
        }
    }
}
