/* The metadata store: JSON documents in collections.
 *
 * One contract, several back ends (store_sqlite.c, store_mongo.c, store_mem.c); all of them pass
 * tests/contract/store_contract.c. One document is the unit of atomicity: there is no transaction,
 * so that a document database serves as well.
 *
 * Documents are jansson objects. What a call is given is borrowed; what it returns is the caller's
 * (json_decref). The store sets committed_at (first insert) and updated_at (each write), both
 * milliseconds since 1970, and "version", 1 at the insert and one more at each replace.
 *
 * Thread safety: any thread. Every call may block, on disk or for a server (bounded by the URI's
 * times, some seconds; the name of a mongodb+srv by the resolver's): never from a loop's thread,
 * which is asserted.
 *
 * Failures of every call: FED_E_IO, FED_E_UNAVAILABLE (try again: FED_CODE's transient flag says
 * so), FED_E_NOMEM, FED_E_INVALID (a document without its key), FED_E_LIMIT (over
 * STORE_DOCUMENT_MAX). A write that failed as unavailable may have been applied. The same insert,
 * restore or replace, called again by this process, ends as the first one would have; a put may
 * then have counted two versions, and a remove find nothing.
 */
#ifndef REDUCER_STORE_STORE_H
#define REDUCER_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/err.h"

/* Bytes of a document's JSON: what MongoDB takes, less what is stored beside it. */
#define STORE_DOCUMENT_MAX (((size_t)16 * 1024 - 64) * 1024)
#define STORE_FILTERS_MAX  16U
#define STORE_PATH_SIZE    96U /* bytes of a field's path, with the NUL */

enum store_collection {
    STORE_FEDERATION, /* one document, key "federation" */
    STORE_COMBINERS,
    STORE_CLIENTS,
    STORE_SESSIONS,
    STORE_ROUNDS, /* also unique: (session_id, round_number) */
    STORE_MODELS,
    STORE_PACKAGES,
    STORE_RUNS,
    STORE_VALIDATIONS, /* also unique: (session_id, model_id, _sender_key) */
    STORE_STATUSES,    /* capped, as the following */
    STORE_PREDICTIONS,
    STORE_METRICS,
    STORE_ATTRIBUTES,
    STORE_TELEMETRY,
    STORE_COLLECTION_MAX,
};

/* Outcomes. */
enum {
    STORE_NOT_FOUND = 1,
    STORE_EXISTS,   /* the key, or another unique combination, is taken */
    STORE_CONFLICT, /* the version is not the expected one */
};

enum store_op {
    STORE_OP_EQ,
    STORE_OP_NE,
    STORE_OP_GT,
    STORE_OP_LT,
    STORE_OP_GTE,
    STORE_OP_LTE,
    STORE_OP_IN, /* value: texts with commas between */
};

/* A field compared with a literal; the value NULL means JSON null or absent.
 * EQ, NE, IN: a field that holds a number is compared as a number, a text letter by letter.
 * GT, LT, GTE, LTE, and the order of a sort: as numbers where both are written as decimal numbers
 * ("10" comes after "9"), else as texts. In a sort: null, then numbers, then texts. A sort by
 * committed_at is one by order of insertion. */
struct store_filter {
    char path[STORE_PATH_SIZE]; /* "sender.name" */
    enum store_op op;
    const char *value; /* borrowed */
};

struct store_query {
    struct store_filter filters[STORE_FILTERS_MAX];
    size_t n_filters;
    const char *sort_path; /* NULL: order of insertion */
    bool is_ascending;
    size_t skip;
    size_t limit; /* 0: all */
};

struct store;

/* What a server says of itself. */
struct store_about {
    char version[64];      /* "": it says none */
    uint64_t clock_utc_ms; /* 0: it says none */
};

/* The document is borrowed for the call. What is not 0 ends the walk. */
typedef int (*store_each_fn)(void *arg, json_t *document, struct fed_err *err);

/* What a back end supplies; each member has the contract of the store_*() function of its name. */
struct store_ops {
    const char *name;
    int (*insert)(struct store *self,
                  enum store_collection in,
                  json_t *document,
                  struct fed_err *err);
    /* May be NULL: one after the other by insert(). Of the outcomes those that are not 0 are
     * settled already. */
    int (*insert_many)(struct store *self,
                       enum store_collection in,
                       json_t *const *documents,
                       size_t n,
                       int *outcomes,
                       struct fed_err *err);
    int (*replace)(struct store *self,
                   enum store_collection in,
                   uint64_t version,
                   json_t *document,
                   struct fed_err *err);
    int (*put)(struct store *self, enum store_collection in, json_t *document, struct fed_err *err);
    /* NULL: as replace() and put() */
    int (*replace_soon)(struct store *self,
                        enum store_collection in,
                        uint64_t version,
                        json_t *document,
                        struct fed_err *err);
    int (*put_soon)(struct store *self,
                    enum store_collection in,
                    json_t *document,
                    struct fed_err *err);
    int (*restore)(struct store *self,
                   enum store_collection in,
                   json_t *document,
                   struct fed_err *err);
    int (*get)(struct store *self,
               enum store_collection in,
               const char *key,
               json_t **ret_document,
               struct fed_err *err);
    int (*find)(struct store *self,
                enum store_collection in,
                const struct store_query *query,
                json_t **ret_documents,
                size_t *ret_n_matches,
                struct fed_err *err);
    int (*each)(struct store *self,
                enum store_collection in,
                const struct store_query *query,
                store_each_fn fn,
                void *arg,
                struct fed_err *err);
    int (*remove)(struct store *self,
                  enum store_collection in,
                  const char *key,
                  struct fed_err *err);
    void (*close)(struct store *self);
    /* NULL: nothing to say */
    int (*about)(struct store *self, struct store_about *ret_about, struct fed_err *err);
};

/* Told of every write that has worked, on the thread that wrote; `document` (borrowed, not
 * to be changed) as it was given, NULL where it was removed. Must not block. */
struct store_watcher {
    void (*on_write)(void *arg, enum store_collection in, const char *key, json_t *document);
    void *arg;
};

struct store {
    const struct store_ops *ops;
    atomic_uint_fast64_t n_writes[STORE_COLLECTION_MAX];
    struct store_watcher watcher; /* on_write NULL: none */
};

/* Where the store is, and who we are there. */
struct store_config {
    const char *url;
    const char *user; /* these: MongoDB; NULL or "": as the URL says */
    const char *password;
    const char *ca_file; /* PEM */
};

/* Open by URL: "sqlite:FILE", "mongodb://…", "mongodb+srv://…" (the path names the database,
 * else "confed") or "mem:". An unknown kind is FED_E_INVALID and names those there are; a SQLite
 * file in use by another process is FED_E_CONFLICT and names the process. A MongoDB is not asked
 * before the first call: one that is away is that call's FED_E_UNAVAILABLE. */
FED_NODISCARD int
store_open_as(const struct store_config *config, struct store **ret_store, struct fed_err *err);

/* The same, with nothing but a URL. */
FED_NODISCARD int store_open(const char *url, struct store **ret_store, struct fed_err *err);
struct store *store_close(struct store *store); /* accepts NULL */

/* Before other threads use the store. */
void store_watch(struct store *store, const struct store_watcher *watcher);

/* Grows with every write to the collection through this handle, once it is done. */
uint64_t store_count_writes(struct store *store, enum store_collection in);

const char *store_collection_name(enum store_collection in); /* "sessions" */
const char *store_collection_key(enum store_collection in);  /* "session_id" */

/* Returns 0 or STORE_EXISTS. */
FED_NODISCARD int
store_insert(struct store *store, enum store_collection in, json_t *document, struct fed_err *err);

/* Insert n documents in this order, each by itself as store_insert() does: outcomes[i] is what that
 * would have returned (0, STORE_EXISTS, or an error code below 0 of a document that cannot be
 * stored). Cheaper than n calls: for records. Returns 0, or < 0 when the store has failed: some may
 * be stored then, and the outcomes say nothing. */
FED_NODISCARD int store_insert_many(struct store *store,
                                    enum store_collection in,
                                    json_t *const *documents,
                                    size_t n,
                                    int *ret_outcomes,
                                    struct fed_err *err);

/* Write if the stored version is still `version`. Returns 0, STORE_NOT_FOUND, STORE_CONFLICT, or
 * STORE_EXISTS where another document holds its unique combination. */
FED_NODISCARD int store_replace(struct store *store,
                                enum store_collection in,
                                uint64_t version,
                                json_t *document,
                                struct fed_err *err);

/* Insert or replace, whatever is there: for rows derived from others. Returns 0, or STORE_EXISTS
 * where another document holds a unique combination. */
FED_NODISCARD int
store_put(struct store *store, enum store_collection in, json_t *document, struct fed_err *err);

/* The same two where the write is soon followed by another: a power cut before that one has
 * returned may take this one back. A kill of the process does not. */
FED_NODISCARD int store_replace_soon(struct store *store,
                                     enum store_collection in,
                                     uint64_t version,
                                     json_t *document,
                                     struct fed_err *err);
FED_NODISCARD int store_put_soon(struct store *store,
                                 enum store_collection in,
                                 json_t *document,
                                 struct fed_err *err);

/* Insert exactly as it is, with the committed_at, updated_at and version it carries (FED_E_INVALID
 * where one of them is no integer, or the version is below 1): for a copy of another store. The
 * order of insertion is that of the calls; a capped collection keeps its newest, as after
 * store_insert(). Returns 0 or STORE_EXISTS. */
FED_NODISCARD int
store_restore(struct store *store, enum store_collection in, json_t *document, struct fed_err *err);

/* Returns 0 or STORE_NOT_FOUND. */
FED_NODISCARD int store_get(struct store *store,
                            enum store_collection in,
                            const char *key,
                            json_t **ret_document,
                            struct fed_err *err);

/* The documents that match, as an array, in the order asked for (ties: order of insertion, turned
 * likewise); *ret_n_matches (may be NULL) counts them without skip and limit. */
FED_NODISCARD int store_find(struct store *store,
                             enum store_collection in,
                             const struct store_query *query,
                             json_t **ret_documents,
                             size_t *ret_n_matches,
                             struct fed_err *err);

/* Give fn the documents that match, one by one, in order of insertion or against it: the query has
 * no sort_path, skip or limit. Each that is there all the while is given once; what comes, goes or
 * changes meanwhile may be given as it was or is, or left out. Of what is stored no more than a
 * page is in memory, and no lock is held while fn runs: it may call the store. Costs one look at
 * the collection, however many there are. Returns what fn has returned last, or < 0 when the store
 * has failed. */
FED_NODISCARD int store_each(struct store *store,
                             enum store_collection in,
                             const struct store_query *query,
                             store_each_fn fn,
                             void *arg,
                             struct fed_err *err);

/* Returns 0 or STORE_NOT_FOUND. */
FED_NODISCARD int
store_remove(struct store *store, enum store_collection in, const char *key, struct fed_err *err);

/* A back end without a server says nothing: an empty version, no clock. */
FED_NODISCARD int
store_about(struct store *store, struct store_about *ret_about, struct fed_err *err);

#endif /* REDUCER_STORE_STORE_H */
