#include "reducer/store/store.h"

#include <assert.h>
#include <string.h>

#include "common/base/blocking.h"
#include "common/base/text.h"
#include "reducer/store/store_inside.h"

#ifndef STORE_CAP            /* the contract's tests set a small one */
#    define STORE_CAP 20000U /* documents of a capped collection */
#endif

const struct store_collection_info store_collections[STORE_COLLECTION_MAX] = {
    [STORE_FEDERATION] = {"federation", "federation", 0, {NULL}},
    [STORE_COMBINERS] = {"combiners", "combiner_id", 0, {NULL}},
    [STORE_CLIENTS] = {"clients", "client_id", 0, {NULL}},
    [STORE_SESSIONS] = {"sessions", "session_id", 0, {NULL}},
    [STORE_ROUNDS] = {"rounds", "round_id", 0, {"session_id", "round_number", NULL}},
    [STORE_MODELS] = {"models", "model_id", 0, {NULL}},
    [STORE_PACKAGES] = {"packages", "package_id", 0, {NULL}},
    [STORE_RUNS] = {"runs", "run_id", 0, {NULL}},
    [STORE_VALIDATIONS] = {"validations",
                           "validation_id",
                           0,
                           {"session_id", "model_id", "_sender_key"}},
    [STORE_STATUSES] = {"statuses", "status_id", STORE_CAP, {NULL}},
    [STORE_PREDICTIONS] = {"predictions", "prediction_id", STORE_CAP, {NULL}},
    [STORE_METRICS] = {"metrics", "metric_id", STORE_CAP, {NULL}},
    [STORE_ATTRIBUTES] = {"attributes", "attribute_id", STORE_CAP, {NULL}},
    [STORE_TELEMETRY] = {"telemetry", "telemetry_id", STORE_CAP, {NULL}},
};

const char *const store_stamps[STORE_STAMP_MAX] = {
    [STORE_STAMP_COMMITTED_AT] = "committed_at",
    [STORE_STAMP_UPDATED_AT] = "updated_at",
    [STORE_STAMP_VERSION] = "version",
};

const char *store_collection_name(enum store_collection in)
{
    return store_collections[in].name;
}

const char *store_collection_key(enum store_collection in)
{
    return store_collections[in].key;
}

int store_open(const char *url, struct store **ret_store, struct fed_err *err)
{
    return store_open_as(&(struct store_config){.url = url}, ret_store, err);
}

int store_open_as(const struct store_config *config, struct store **ret_store, struct fed_err *err)
{
    const char *url = config->url;
    char blanked[256];

    if (strncmp(url, "sqlite:", 7) == 0 && url[7] != '\0') {
        return store_sqlite_open(url + 7, ret_store, err);
    }
    if (strcmp(url, "mem:") == 0) {
        return store_mem_open(ret_store, err);
    }
    if (strncmp(url, "mongodb://", 10) == 0 || strncmp(url, "mongodb+srv://", 14) == 0) {
        return store_mongo_open(config, ret_store, err);
    }
    fed_text_blank_url(url, blanked, sizeof(blanked));
    return fed_err_set(err, FED_E_INVALID,
                       "store '%s' is of no known kind: use sqlite:FILE or mongodb://HOST/DATABASE",
                       blanked);
}

struct store *store_close(struct store *store)
{
    if (store != NULL) {
        store->ops->close(store);
    }
    return NULL;
}

static int check_document(enum store_collection in, const json_t *document, struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    if (store_document_key(in, document) == NULL) {
        return fed_err_set(err, FED_E_INVALID, "a document of %s lacks its %s",
                           store_collections[in].name, store_collections[in].key);
    }
    return 0;
}

void store_watch(struct store *store, const struct store_watcher *watcher)
{
    store->watcher = *watcher;
}

uint64_t store_count_writes(struct store *store, enum store_collection in)
{
    return atomic_load(&store->n_writes[in]);
}

/* A write is over, or its outcome unknown. Returns rc. */
static int tell_write(struct store *store, int rc, enum store_collection in, json_t *document)
{
    (void)atomic_fetch_add(&store->n_writes[in], 1);
    if (rc == 0 && store->watcher.on_write != NULL) {
        store->watcher.on_write(store->watcher.arg, in, store_document_key(in, document), document);
    }
    return rc;
}

/* Insert, put and restore: what writes a document whatever its version. */
typedef int (*write_fn)(struct store *store,
                        enum store_collection in,
                        json_t *document,
                        struct fed_err *err);

static int write_by(write_fn write,
                    struct store *store,
                    enum store_collection in,
                    json_t *document,
                    struct fed_err *err)
{
    const int rc = check_document(in, document, err);

    return rc < 0 ? rc : tell_write(store, write(store, in, document, err), in, document);
}

int store_insert(struct store *store,
                 enum store_collection in,
                 json_t *document,
                 struct fed_err *err)
{
    return write_by(store->ops->insert, store, in, document, err);
}

bool store_is_of_document(int rc)
{
    return rc == -FED_E_INVALID || rc == -FED_E_LIMIT;
}

static int insert_each(struct store *store,
                       enum store_collection in,
                       json_t *const *documents,
                       size_t n,
                       int *outcomes,
                       struct fed_err *err)
{
    for (size_t i = 0; i < n; i++) {
        const int rc =
            outcomes[i] < 0 ? outcomes[i] : store->ops->insert(store, in, documents[i], err);
        if (rc < 0 && !store_is_of_document(rc)) {
            return rc;
        }
        outcomes[i] = rc;
    }
    return 0;
}

int store_insert_many(struct store *store,
                      enum store_collection in,
                      json_t *const *documents,
                      size_t n,
                      int *ret_outcomes,
                      struct fed_err *err)
{
    int rc;

    for (size_t i = 0; i < n; i++) {
        ret_outcomes[i] = check_document(in, documents[i], NULL);
    }
    rc = (store->ops->insert_many == NULL ? insert_each : store->ops->insert_many)(
        store, in, documents, n, ret_outcomes, err);
    (void)atomic_fetch_add(&store->n_writes[in], 1); /* of a batch that failed a part may be in */
    for (size_t i = 0; rc == 0 && i < n; i++) {
        (void)tell_write(store, ret_outcomes[i], in, documents[i]);
    }
    return rc;
}

typedef int (*replace_fn)(struct store *store,
                          enum store_collection in,
                          uint64_t version,
                          json_t *document,
                          struct fed_err *err);

static int replace_by(replace_fn replace,
                      struct store *store,
                      enum store_collection in,
                      uint64_t version,
                      json_t *document,
                      struct fed_err *err)
{
    const int rc = check_document(in, document, err);

    return rc < 0 ? rc
                  : tell_write(store, replace(store, in, version, document, err), in, document);
}

int store_replace(struct store *store,
                  enum store_collection in,
                  uint64_t version,
                  json_t *document,
                  struct fed_err *err)
{
    return replace_by(store->ops->replace, store, in, version, document, err);
}

int store_replace_soon(struct store *store,
                       enum store_collection in,
                       uint64_t version,
                       json_t *document,
                       struct fed_err *err)
{
    return replace_by(store->ops->replace_soon == NULL ? store->ops->replace
                                                       : store->ops->replace_soon,
                      store, in, version, document, err);
}

int store_put(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    return write_by(store->ops->put, store, in, document, err);
}

int store_put_soon(struct store *store,
                   enum store_collection in,
                   json_t *document,
                   struct fed_err *err)
{
    return write_by(store->ops->put_soon == NULL ? store->ops->put : store->ops->put_soon, store,
                    in, document, err);
}

int store_restore(struct store *store,
                  enum store_collection in,
                  json_t *document,
                  struct fed_err *err)
{
    const int rc = check_document(in, document, err);

    for (size_t i = 0; rc == 0 && i < STORE_STAMP_MAX; i++) {
        const json_t *stamp = json_object_get(document, store_stamps[i]);
        if (!json_is_integer(stamp) ||
            json_integer_value(stamp) < (i == STORE_STAMP_VERSION ? 1 : 0)) {
            return fed_err_set(err, FED_E_INVALID, "document %s of %s has no %s",
                               store_document_key(in, document), store_collections[in].name,
                               store_stamps[i]);
        }
    }
    return rc < 0 ? rc : write_by(store->ops->restore, store, in, document, err);
}

int store_get(struct store *store,
              enum store_collection in,
              const char *key,
              json_t **ret_document,
              struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    return store->ops->get(store, in, key, ret_document, err);
}

int store_find(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               json_t **ret_documents,
               size_t *ret_n_matches,
               struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    return store->ops->find(store, in, query, ret_documents, ret_n_matches, err);
}

int store_each(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               store_each_fn fn,
               void *arg,
               struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    assert(query->sort_path == NULL && query->skip == 0 && query->limit == 0);
    return store->ops->each(store, in, query, fn, arg, err);
}

int store_remove(struct store *store,
                 enum store_collection in,
                 const char *key,
                 struct fed_err *err)
{
    int rc;

    assert(fed_blocking_is_allowed());
    rc = store->ops->remove(store, in, key, err);
    (void)atomic_fetch_add(&store->n_writes[in], 1);
    if (rc == 0 && store->watcher.on_write != NULL) {
        store->watcher.on_write(store->watcher.arg, in, key, NULL);
    }
    return rc;
}

int store_about(struct store *store, struct store_about *ret_about, struct fed_err *err)
{
    assert(fed_blocking_is_allowed());
    *ret_about = (struct store_about){0};
    return store->ops->about == NULL ? 0 : store->ops->about(store, ret_about, err);
}
