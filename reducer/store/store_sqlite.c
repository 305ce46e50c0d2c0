/* SQLite back end: one file, one connection behind one mutex, write-ahead log, every write flushed.
 *
 * A document is a row: its JSON, its key, its version, and the text of its second unique
 * combination. `FILE.lock` keeps a second process out.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/base/file.h"
#include "reducer/store/store_inside.h"

#define SCHEMA_VERSION 1
#define BUSY_MS        5000
#define EACH_PAGE      64 /* documents that are read under one lock */
#define PRUNE_PART     32 /* a capped collection grows by this part between two prunings */

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS documents ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, id TEXT NOT NULL,"
    " version INTEGER NOT NULL, committed_at INTEGER NOT NULL, also_unique TEXT, body TEXT NOT NULL,"
    " UNIQUE (collection, id), UNIQUE (collection, also_unique));"
    "CREATE INDEX IF NOT EXISTS by_collection ON documents (collection, seq);";

enum statement {
    STATEMENT_GET,
    STATEMENT_INSERT,
    STATEMENT_UPDATE,
    STATEMENT_REMOVE,
    STATEMENT_COUNT,
    STATEMENT_PAGE_UP,
    STATEMENT_PAGE_DOWN,
    STATEMENT_EACH_UP,
    STATEMENT_EACH_DOWN,
    STATEMENT_PRUNE,
    STATEMENT_MAX,
};

static const char *const statements[STATEMENT_MAX] = {
    [STATEMENT_GET] =
        "SELECT body, version, committed_at FROM documents WHERE collection = ?1 AND id = ?2",
    [STATEMENT_INSERT] = "INSERT INTO documents (collection, id, version, committed_at,"
                         " also_unique, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [STATEMENT_UPDATE] = "UPDATE documents SET version = ?3, also_unique = ?5, body = ?6"
                         " WHERE collection = ?1 AND id = ?2 AND version = ?3 - 1",
    [STATEMENT_REMOVE] = "DELETE FROM documents WHERE collection = ?1 AND id = ?2",
    [STATEMENT_COUNT] = "SELECT count(*) FROM documents WHERE collection = ?1",
    [STATEMENT_PAGE_UP] =
        "SELECT body FROM documents WHERE collection = ?1 ORDER BY seq LIMIT ?2 OFFSET ?3",
    [STATEMENT_PAGE_DOWN] =
        "SELECT body FROM documents WHERE collection = ?1 ORDER BY seq DESC LIMIT ?2 OFFSET ?3",
    [STATEMENT_EACH_UP] = "SELECT body, seq FROM documents WHERE collection = ?1 AND seq > ?2"
                          " ORDER BY seq LIMIT ?3",
    [STATEMENT_EACH_DOWN] = "SELECT body, seq FROM documents WHERE collection = ?1 AND seq < ?2"
                            " ORDER BY seq DESC LIMIT ?3",
    [STATEMENT_PRUNE] = "DELETE FROM documents WHERE collection = ?1 AND seq <= (SELECT seq FROM"
                        " documents WHERE collection = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
};

/* When a write is flushed: at once, or with the next one that is, since that flushes the log of
 * writes up to its end. */
enum flush {
    FLUSH_NOW,
    FLUSH_SOON,
};

struct store_sqlite {
    struct store base;
    pthread_mutex_t lock;
    sqlite3 *db;      /* this and the following: under lock */
    enum flush flush; /* as the connection is set now */
    sqlite3_stmt *prepared[STATEMENT_MAX];
    size_t n_inserts[STORE_COLLECTION_MAX]; /* since the last pruning */
    int lock_fd;
};

static struct store_sqlite *self_of(struct store *store)
{
    return (struct store_sqlite *)(void *)store;
}

static int fail(struct store_sqlite *self, int code, const char *what, struct fed_err *err)
{
    const enum fed_code kind = code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_FULL
                                   ? FED_E_UNAVAILABLE
                                   : FED_E_IO;

    return fed_err_set(err, kind, "SQLite: %s: %s", what, sqlite3_errmsg(self->db));
}

/* Before every write: what a former one has set, or failed to set back, is not its own. */
static int set_flush_locked(struct store_sqlite *self, enum flush flush, struct fed_err *err)
{
    int rc = SQLITE_OK;

    if (self->flush != flush) {
        rc = sqlite3_exec(self->db,
                          flush == FLUSH_NOW ? "PRAGMA synchronous = FULL"
                                             : "PRAGMA synchronous = NORMAL",
                          NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        return fail(self, rc, "write", err);
    }
    self->flush = flush;
    return 0;
}

static sqlite3_stmt *begin_locked(struct store_sqlite *self, enum statement which)
{
    sqlite3_stmt *statement = self->prepared[which];

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return statement;
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    if (text != NULL) {
        (void)sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
    }
}

/* The statement's first column; borrowed until its next step. */
static const char *get_body(sqlite3_stmt *statement)
{
    return (const char *)sqlite3_column_text(statement, 0);
}

static int parse_body(const char *body, json_t **ret_document, struct fed_err *err)
{
    json_t *document = body == NULL ? NULL : json_loads(body, JSON_ALLOW_NUL, NULL);

    if (document == NULL) {
        return fed_err_set(err, FED_E_CORRUPT, "a document of the store is no JSON");
    }
    *ret_document = document;
    return 0;
}

struct stamp {
    uint64_t version; /* 0: there is none */
    uint64_t committed_ms;
};

static int stamp_locked(struct store_sqlite *self,
                        enum store_collection in,
                        const char *key,
                        struct stamp *ret_stamp,
                        struct fed_err *err)
{
    sqlite3_stmt *statement = begin_locked(self, STATEMENT_GET);
    int rc;

    bind_text(statement, 1, store_collections[in].name);
    bind_text(statement, 2, key);
    rc = sqlite3_step(statement);
    *ret_stamp = (struct stamp){0};
    if (rc == SQLITE_ROW) {
        ret_stamp->version = (uint64_t)sqlite3_column_int64(statement, 1);
        ret_stamp->committed_ms = (uint64_t)sqlite3_column_int64(statement, 2);
    }
    (void)sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(self, rc, "read", err);
}

static void prune_locked(struct store_sqlite *self, enum store_collection in)
{
    const size_t documents_max = store_collections[in].documents_max;
    sqlite3_stmt *statement;

    if (documents_max == 0 || ++self->n_inserts[in] <= documents_max / PRUNE_PART) {
        return;
    }
    self->n_inserts[in] = 0;
    statement = begin_locked(self, STATEMENT_PRUNE);
    bind_text(statement, 1, store_collections[in].name);
    (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)documents_max);
    (void)sqlite3_step(statement); /* the next insert tries again */
    (void)sqlite3_reset(statement);
}

/* Write a document with its stamps (NULL: out of memory); where it is not new, the UPDATE itself
 * compares the version. Takes the document. */
static int write_stamped_locked(struct store_sqlite *self,
                                enum store_collection in,
                                bool is_new,
                                json_t *stamped,
                                struct fed_err *err)
{
    char *body = stamped == NULL ? NULL : json_dumps(stamped, JSON_COMPACT | JSON_SORT_KEYS);
    char *unique = store_document_unique(in, stamped);
    sqlite3_stmt *statement = begin_locked(self, is_new ? STATEMENT_INSERT : STATEMENT_UPDATE);
    int rc = SQLITE_NOMEM;

    if (body != NULL && strlen(body) <= STORE_DOCUMENT_MAX) {
        bind_text(statement, 1, store_collections[in].name);
        bind_text(statement, 2, store_document_key(in, stamped));
        (void)sqlite3_bind_int64(statement, 3,
                                 json_integer_value(json_object_get(stamped, "version")));
        if (is_new) {
            (void)sqlite3_bind_int64(statement, 4,
                                     json_integer_value(json_object_get(stamped, "committed_at")));
        }
        bind_text(statement, 5, unique);
        bind_text(statement, 6, body);
        rc = sqlite3_step(statement);
        (void)sqlite3_reset(statement);
        (void)sqlite3_clear_bindings(statement);
    } else if (body != NULL) {
        rc = SQLITE_TOOBIG;
    }
    json_decref(stamped);
    free(body);
    free(unique);
    if (rc == SQLITE_CONSTRAINT) {
        return STORE_EXISTS;
    }
    if (rc == SQLITE_TOOBIG) {
        return fed_err_set(err, FED_E_LIMIT, "a document of %s is over %zu bytes",
                           store_collections[in].name, STORE_DOCUMENT_MAX);
    }
    if (rc != SQLITE_DONE) {
        return fail(self, rc, "write", err);
    }
    if (!is_new) {
        return sqlite3_changes(self->db) == 0 ? STORE_CONFLICT : 0;
    }
    prune_locked(self, in);
    return 0;
}

/* Write the document as version old.version + 1. */
static int write_locked(struct store_sqlite *self,
                        enum store_collection in,
                        const struct stamp *old,
                        const json_t *document,
                        struct fed_err *err)
{
    return write_stamped_locked(self, in, old->version == 0,
                                store_document_stamp(document, old->committed_ms, old->version + 1),
                                err);
}

static int
sqlite_insert(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    const struct stamp none = {0};
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, FLUSH_NOW, err);
    rc = rc < 0 ? rc : write_locked(self, in, &none, document, err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

/* One transaction, for its one flush: what a call has not returned may be lost. */
static int sqlite_insert_many(struct store *store,
                              enum store_collection in,
                              json_t *const *documents,
                              size_t n,
                              int *outcomes,
                              struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    const struct stamp none = {0};
    int step;
    int rc = 0;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, FLUSH_NOW, err);
    if (rc == 0) {
        step = sqlite3_exec(self->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        rc = step == SQLITE_OK ? 0 : fail(self, step, "write", err);
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (outcomes[i] == 0) {
            outcomes[i] = write_locked(self, in, &none, documents[i], err);
            rc = outcomes[i] >= 0 || store_is_of_document(outcomes[i]) ? 0 : outcomes[i];
        }
    }
    if (rc == 0) {
        step = sqlite3_exec(self->db, "COMMIT", NULL, NULL, NULL);
        rc = step == SQLITE_OK ? 0 : fail(self, step, "write", err);
    }
    if (rc < 0) {
        (void)sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL); /* also where none is open */
    }
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static int
sqlite_restore(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, FLUSH_NOW, err);
    rc = rc < 0 ? rc : write_stamped_locked(self, in, true, json_deep_copy(document), err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static int replace_locked(struct store_sqlite *self,
                          enum store_collection in,
                          uint64_t version,
                          json_t *document,
                          struct fed_err *err)
{
    struct stamp old;
    int rc;

    rc = stamp_locked(self, in, store_document_key(in, document), &old, err);
    if (rc == 0 && old.version == 0) {
        rc = STORE_NOT_FOUND;
    } else if (rc == 0 && old.version != version) {
        rc = STORE_CONFLICT;
    } else if (rc == 0) {
        rc = write_locked(self, in, &old, document, err);
    }
    return rc;
}

static int put_locked(struct store_sqlite *self,
                      enum store_collection in,
                      json_t *document,
                      struct fed_err *err)
{
    struct stamp old;
    const int rc = stamp_locked(self, in, store_document_key(in, document), &old, err);

    return rc == 0 ? write_locked(self, in, &old, document, err) : rc;
}

static int replace_as(struct store *store,
                      enum flush flush,
                      enum store_collection in,
                      uint64_t version,
                      json_t *document,
                      struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, flush, err);
    rc = rc < 0 ? rc : replace_locked(self, in, version, document, err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static int put_as(struct store *store,
                  enum flush flush,
                  enum store_collection in,
                  json_t *document,
                  struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, flush, err);
    rc = rc < 0 ? rc : put_locked(self, in, document, err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static int sqlite_replace(struct store *store,
                          enum store_collection in,
                          uint64_t version,
                          json_t *document,
                          struct fed_err *err)
{
    return replace_as(store, FLUSH_NOW, in, version, document, err);
}

static int
sqlite_put(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    return put_as(store, FLUSH_NOW, in, document, err);
}

static int sqlite_replace_soon(struct store *store,
                               enum store_collection in,
                               uint64_t version,
                               json_t *document,
                               struct fed_err *err)
{
    return replace_as(store, FLUSH_SOON, in, version, document, err);
}

static int sqlite_put_soon(struct store *store,
                           enum store_collection in,
                           json_t *document,
                           struct fed_err *err)
{
    return put_as(store, FLUSH_SOON, in, document, err);
}

static int sqlite_get(struct store *store,
                      enum store_collection in,
                      const char *key,
                      json_t **ret_document,
                      struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    sqlite3_stmt *statement;
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    statement = begin_locked(self, STATEMENT_GET);
    bind_text(statement, 1, store_collections[in].name);
    bind_text(statement, 2, key);
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        rc = parse_body(get_body(statement), ret_document, err);
    } else {
        rc = rc == SQLITE_DONE ? STORE_NOT_FOUND : fail(self, rc, "read", err);
    }
    (void)sqlite3_reset(statement);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

/* The matches of a statement's rows that are wanted: the others are only counted. */
struct window {
    size_t skip;
    size_t limit; /* SIZE_MAX: all */
    size_t n_matches;
};

static int collect_locked(struct store_sqlite *self,
                          sqlite3_stmt *statement,
                          const struct store_query *query,
                          struct window *window,
                          json_t *documents,
                          struct fed_err *err)
{
    int step = sqlite3_step(statement);
    int rc = 0;

    while (step == SQLITE_ROW && rc == 0) {
        json_t *document = NULL;
        rc = parse_body(get_body(statement), &document, err);
        if (rc == 0 && store_query_matches(query, document)) {
            const size_t place = window->n_matches++;
            if (place >= window->skip && place - window->skip < window->limit) {
                rc = json_array_append(documents, document) == 0
                         ? 0
                         : fed_err_set(err, FED_E_NOMEM, "query");
            }
        }
        json_decref(document);
        step = rc == 0 ? sqlite3_step(statement) : SQLITE_DONE;
    }
    (void)sqlite3_reset(statement);
    return rc < 0 || step == SQLITE_DONE ? rc : fail(self, step, "read", err);
}

static int count_locked(struct store_sqlite *self, enum store_collection in, size_t *ret_n)
{
    sqlite3_stmt *statement = begin_locked(self, STATEMENT_COUNT);

    bind_text(statement, 1, store_collections[in].name);
    *ret_n = sqlite3_step(statement) == SQLITE_ROW ? (size_t)sqlite3_column_int64(statement, 0) : 0;
    (void)sqlite3_reset(statement);
    return 0;
}

/* In order of insertion, or against it, the database pages what has no filters, and of what has
 * some no more is kept than is wanted; in another order all matches are sorted here. */
static int sqlite_find(struct store *store,
                       enum store_collection in,
                       const struct store_query *query,
                       json_t **ret_documents,
                       size_t *ret_n_matches,
                       struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    const bool is_in_order = store_query_is_by_insertion(query);
    const bool is_plain = is_in_order && query->n_filters == 0;
    struct window window = {.limit = SIZE_MAX};
    json_t *documents = json_array();
    sqlite3_stmt *statement;
    int rc;

    if (is_in_order && !is_plain) {
        window.skip = query->skip;
        window.limit = query->limit == 0 ? SIZE_MAX : query->limit;
    }
    (void)pthread_mutex_lock(&self->lock);
    statement = begin_locked(self, is_in_order && !query->is_ascending ? STATEMENT_PAGE_DOWN
                                                                       : STATEMENT_PAGE_UP);
    bind_text(statement, 1, store_collections[in].name);
    (void)sqlite3_bind_int64(statement, 2,
                             is_plain && query->limit > 0 ? (sqlite3_int64)query->limit : -1);
    (void)sqlite3_bind_int64(statement, 3, is_plain ? (sqlite3_int64)query->skip : 0);
    rc = documents == NULL ? fed_err_set(err, FED_E_NOMEM, "query")
                           : collect_locked(self, statement, query, &window, documents, err);
    if (rc == 0 && is_plain) {
        rc = count_locked(self, in, &window.n_matches);
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (rc == 0 && !is_in_order) {
        documents = store_query_arrange(query, documents);
        rc = documents == NULL ? fed_err_set(err, FED_E_NOMEM, "query") : 0;
    }
    if (rc < 0) {
        json_decref(documents);
        return rc;
    }
    *ret_documents = documents;
    if (ret_n_matches != NULL) {
        *ret_n_matches = window.n_matches;
    }
    return 0;
}

struct page {
    char *bodies[EACH_PAGE]; /* owned */
    size_t n;
    sqlite3_int64 last; /* seq of the last one; before the first page: of none */
};

static void clear_page(struct page *page)
{
    while (page->n > 0) {
        free(page->bodies[--page->n]);
    }
}

/* The documents next to page->last. */
static int read_page(struct store_sqlite *self,
                     enum store_collection in,
                     bool is_ascending,
                     struct page *page,
                     struct fed_err *err)
{
    sqlite3_stmt *statement;
    int step;
    int rc = 0;

    (void)pthread_mutex_lock(&self->lock);
    statement = begin_locked(self, is_ascending ? STATEMENT_EACH_UP : STATEMENT_EACH_DOWN);
    bind_text(statement, 1, store_collections[in].name);
    (void)sqlite3_bind_int64(statement, 2, page->last);
    (void)sqlite3_bind_int64(statement, 3, EACH_PAGE);
    step = sqlite3_step(statement);
    while (step == SQLITE_ROW && rc == 0) {
        const char *body = get_body(statement);
        page->bodies[page->n] = strdup(body == NULL ? "" : body);
        page->last = sqlite3_column_int64(statement, 1);
        rc = page->bodies[page->n++] == NULL ? fed_err_set(err, FED_E_NOMEM, "query") : 0;
        step = sqlite3_step(statement);
    }
    (void)sqlite3_reset(statement);
    rc = rc < 0 || step == SQLITE_DONE ? rc : fail(self, step, "read", err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static int give(const struct store_query *query,
                const char *body,
                store_each_fn fn,
                void *arg,
                struct fed_err *err)
{
    json_t *document = NULL;
    int rc = parse_body(body, &document, err);

    if (rc == 0 && store_query_matches(query, document)) {
        rc = fn(arg, document, err);
    }
    json_decref(document);
    return rc;
}

/* Page by page from one seq to the next, not by an offset: that would read again all before it. */
static int sqlite_each(struct store *store,
                       enum store_collection in,
                       const struct store_query *query,
                       store_each_fn fn,
                       void *arg,
                       struct fed_err *err)
{
    struct page page = {.last = query->is_ascending ? 0 : INT64_MAX};
    bool is_last = false;
    int rc = 0;

    while (rc == 0 && !is_last) {
        rc = read_page(self_of(store), in, query->is_ascending, &page, err);
        is_last = page.n < EACH_PAGE;
        for (size_t i = 0; i < page.n && rc == 0; i++) {
            rc = give(query, page.bodies[i], fn, arg, err);
        }
        clear_page(&page);
    }
    return rc;
}

static int remove_locked(struct store_sqlite *self,
                         enum store_collection in,
                         const char *key,
                         struct fed_err *err)
{
    sqlite3_stmt *statement = begin_locked(self, STATEMENT_REMOVE);
    int rc;

    bind_text(statement, 1, store_collections[in].name);
    bind_text(statement, 2, key);
    rc = sqlite3_step(statement);
    (void)sqlite3_reset(statement);
    if (rc != SQLITE_DONE) {
        return fail(self, rc, "remove", err);
    }
    return sqlite3_changes(self->db) == 0 ? STORE_NOT_FOUND : 0;
}

static int
sqlite_remove(struct store *store, enum store_collection in, const char *key, struct fed_err *err)
{
    struct store_sqlite *self = self_of(store);
    int rc;

    (void)pthread_mutex_lock(&self->lock);
    rc = set_flush_locked(self, FLUSH_NOW, err);
    rc = rc < 0 ? rc : remove_locked(self, in, key, err);
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static void sqlite_close(struct store *store)
{
    struct store_sqlite *self = self_of(store);

    for (size_t i = 0; i < STATEMENT_MAX; i++) {
        (void)sqlite3_finalize(self->prepared[i]);
    }
    (void)sqlite3_close(self->db);
    if (self->lock_fd >= 0) {
        (void)close(self->lock_fd);
    }
    (void)pthread_mutex_destroy(&self->lock);
    free(self);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .insert = sqlite_insert,
    .insert_many = sqlite_insert_many,
    .replace = sqlite_replace,
    .put = sqlite_put,
    .replace_soon = sqlite_replace_soon,
    .put_soon = sqlite_put_soon,
    .restore = sqlite_restore,
    .get = sqlite_get,
    .find = sqlite_find,
    .each = sqlite_each,
    .remove = sqlite_remove,
    .close = sqlite_close,
};

/* The lock lives as long as the descriptor, so it goes with the process, however that ends. */
static int take_lock(struct store_sqlite *self, const char *path, struct fed_err *err)
{
    char name[FED_PATH_SIZE];
    char pid[32] = "";
    int rc = fed_path_format(name, err, "%s.lock", path);

    if (rc < 0) {
        return rc;
    }
    self->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (self->lock_fd < 0) {
        return fed_file_error(err, "open", name);
    }
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (read(self->lock_fd, pid, sizeof(pid) - 1) < 0) {
            pid[0] = '\0';
        }
        return fed_err_set(err, FED_E_CONFLICT, "%s is in use by pid %s", path, pid);
    }
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    if (ftruncate(self->lock_fd, 0) != 0 || pwrite(self->lock_fd, pid, strlen(pid), 0) < 0) {
        return fed_file_error(err, "write", name);
    }
    return 0;
}

static int check_schema(struct store_sqlite *self, const char *path, struct fed_err *err)
{
    sqlite3_stmt *statement = NULL;
    int version = 0;

    if (sqlite3_prepare_v2(self->db, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        (void)sqlite3_finalize(statement);
        return fed_err_set(err, FED_E_IO, "%s is no SQLite database", path);
    }
    version = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    if (version != 0 && version != SCHEMA_VERSION) {
        return fed_err_set(err, FED_E_UNSUPPORTED,
                           "%s has schema version %d, this reducer knows %d: use the newer one",
                           path, version, SCHEMA_VERSION);
    }
    return 0;
}

static int prepare(struct store_sqlite *self, const char *path, struct fed_err *err)
{
    static const char pragmas[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                  "PRAGMA user_version = 1;";
    int rc = sqlite3_open_v2(path, &self->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

    if (rc != SQLITE_OK) {
        return fed_err_set(err, FED_E_IO, "cannot open %s: %s", path, sqlite3_errmsg(self->db));
    }
    (void)sqlite3_busy_timeout(self->db, BUSY_MS);
    rc = check_schema(self, path, err);
    if (rc < 0) {
        return rc;
    }
    if (sqlite3_exec(self->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(self->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        return fed_err_set(err, FED_E_IO, "cannot set up %s: %s", path, sqlite3_errmsg(self->db));
    }
    for (size_t i = 0; i < STATEMENT_MAX; i++) {
        if (sqlite3_prepare_v2(self->db, statements[i], -1, &self->prepared[i], NULL) !=
            SQLITE_OK) {
            return fed_err_set(err, FED_E_IO, "SQLite: %s", sqlite3_errmsg(self->db));
        }
    }
    return 0;
}

int store_sqlite_open(const char *path, struct store **ret_store, struct fed_err *err)
{
    struct store_sqlite *self = calloc(1, sizeof(*self));
    int rc;

    if (self == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "store");
    }
    self->base.ops = &sqlite_ops;
    self->lock_fd = -1;
    (void)pthread_mutex_init(&self->lock, NULL);
    rc = take_lock(self, path, err);
    if (rc == 0) {
        rc = prepare(self, path, err);
    }
    if (rc < 0) {
        sqlite_close(&self->base);
        return rc;
    }
    *ret_store = &self->base;
    return 0;
}
