/* The reference back end: documents in memory, one mutex. For tests, and for trying things out. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/store/store_inside.h"

struct store_mem {
    struct store base;
    pthread_mutex_t lock;
    json_t *collections[STORE_COLLECTION_MAX]; /* arrays, in order of insertion; under lock */
};

static struct store_mem *self_of(struct store *store)
{
    return (struct store_mem *)(void *)store;
}

static bool is_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Index of the document with this key; else SIZE_MAX. */
static size_t find_locked(const struct store_mem *mem, enum store_collection in, const char *key)
{
    const size_t n = json_array_size(mem->collections[in]);

    for (size_t i = 0; i < n; i++) {
        if (is_same(store_document_key(in, json_array_get(mem->collections[in], i)), key)) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Does a document other than the one at `self` hold the unique combination of this one? */
static bool is_taken_locked(const struct store_mem *mem,
                            enum store_collection in,
                            size_t self,
                            const json_t *document)
{
    char *unique = store_document_unique(in, document);
    bool is_taken = false;

    for (size_t i = 0; unique != NULL && !is_taken && i < json_array_size(mem->collections[in]);
         i++) {
        char *other = store_document_unique(in, json_array_get(mem->collections[in], i));
        is_taken = i != self && is_same(other, unique);
        free(other);
    }
    free(unique);
    return is_taken;
}

enum mode {
    INSERT,
    REPLACE,
    PUT,
    RESTORE,
};

static int write_locked(struct store_mem *mem,
                        enum store_collection in,
                        enum mode mode,
                        uint64_t version,
                        json_t *document,
                        struct fed_err *err)
{
    const size_t i = find_locked(mem, in, store_document_key(in, document));
    const json_t *old = i == SIZE_MAX ? NULL : json_array_get(mem->collections[in], i);
    const uint64_t old_version =
        old == NULL ? 0 : (uint64_t)json_integer_value(json_object_get(old, "version"));
    const uint64_t committed_ms =
        old == NULL ? 0 : (uint64_t)json_integer_value(json_object_get(old, "committed_at"));
    json_t *copy;

    if (old != NULL && (mode == INSERT || mode == RESTORE)) {
        return STORE_EXISTS;
    }
    if (mode == REPLACE && old == NULL) {
        return STORE_NOT_FOUND;
    }
    if (mode == REPLACE && old_version != version) {
        return STORE_CONFLICT;
    }
    if (is_taken_locked(mem, in, i, document)) {
        return STORE_EXISTS;
    }
    copy = mode == RESTORE ? json_deep_copy(document)
                           : store_document_stamp(document, committed_ms, old_version + 1);
    if (copy != NULL && json_dumpb(copy, NULL, 0, JSON_COMPACT) > STORE_DOCUMENT_MAX) {
        json_decref(copy);
        return fed_err_set(err, FED_E_LIMIT, "a document of %s is over %zu bytes",
                           store_collections[in].name, STORE_DOCUMENT_MAX);
    }
    if (copy == NULL || (old == NULL ? json_array_append_new(mem->collections[in], copy)
                                     : json_array_set_new(mem->collections[in], i, copy)) != 0) {
        return fed_err_set(err, FED_E_NOMEM, "document");
    }
    if (store_collections[in].documents_max > 0 &&
        json_array_size(mem->collections[in]) > store_collections[in].documents_max) {
        (void)json_array_remove(mem->collections[in], 0);
    }
    return 0;
}

static int write_document(struct store *store,
                          enum store_collection in,
                          enum mode mode,
                          uint64_t version,
                          json_t *document,
                          struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    int rc;

    (void)pthread_mutex_lock(&mem->lock);
    rc = write_locked(mem, in, mode, version, document, err);
    (void)pthread_mutex_unlock(&mem->lock);
    return rc;
}

static int
mem_insert(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    return write_document(store, in, INSERT, 0, document, err);
}

static int mem_replace(struct store *store,
                       enum store_collection in,
                       uint64_t version,
                       json_t *document,
                       struct fed_err *err)
{
    return write_document(store, in, REPLACE, version, document, err);
}

static int
mem_put(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    return write_document(store, in, PUT, 0, document, err);
}

static int
mem_restore(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    return write_document(store, in, RESTORE, 0, document, err);
}

static int mem_get(struct store *store,
                   enum store_collection in,
                   const char *key,
                   json_t **ret_document,
                   struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    size_t i;
    json_t *copy = NULL;

    (void)pthread_mutex_lock(&mem->lock);
    i = find_locked(mem, in, key);
    if (i != SIZE_MAX) {
        copy = json_deep_copy(json_array_get(mem->collections[in], i));
    }
    (void)pthread_mutex_unlock(&mem->lock);
    if (i == SIZE_MAX) {
        return STORE_NOT_FOUND;
    }
    if (copy == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "document");
    }
    *ret_document = copy;
    return 0;
}

static int mem_find(struct store *store,
                    enum store_collection in,
                    const struct store_query *query,
                    json_t **ret_documents,
                    size_t *ret_n_matches,
                    struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    json_t *matches = json_array();
    bool is_done = matches != NULL;
    size_t n;

    (void)pthread_mutex_lock(&mem->lock);
    n = json_array_size(mem->collections[in]);
    for (size_t i = 0; i < n && is_done; i++) {
        const json_t *document = json_array_get(mem->collections[in], i);
        if (store_query_matches(query, document)) {
            is_done = json_array_append_new(matches, json_deep_copy(document)) == 0;
        }
    }
    (void)pthread_mutex_unlock(&mem->lock);
    n = json_array_size(matches);
    if (is_done) {
        matches = store_query_arrange(query, matches);
    }
    if (!is_done || matches == NULL) {
        json_decref(matches);
        return fed_err_set(err, FED_E_NOMEM, "query");
    }
    *ret_documents = matches;
    if (ret_n_matches != NULL) {
        *ret_n_matches = n;
    }
    return 0;
}

/* What is given is a copy in any case: all of it at once. */
static int mem_each(struct store *store,
                    enum store_collection in,
                    const struct store_query *query,
                    store_each_fn fn,
                    void *arg,
                    struct fed_err *err)
{
    json_t *documents = NULL;
    int rc = mem_find(store, in, query, &documents, NULL, err);
    const size_t n = json_array_size(documents);

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = fn(arg, json_array_get(documents, i), err);
    }
    json_decref(documents);
    return rc;
}

static int
mem_remove(struct store *store, enum store_collection in, const char *key, struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    size_t i;

    (void)err;
    (void)pthread_mutex_lock(&mem->lock);
    i = find_locked(mem, in, key);
    if (i != SIZE_MAX) {
        (void)json_array_remove(mem->collections[in], i);
    }
    (void)pthread_mutex_unlock(&mem->lock);
    return i == SIZE_MAX ? STORE_NOT_FOUND : 0;
}

static void mem_close(struct store *store)
{
    struct store_mem *mem = self_of(store);

    for (size_t i = 0; i < STORE_COLLECTION_MAX; i++) {
        json_decref(mem->collections[i]);
    }
    (void)pthread_mutex_destroy(&mem->lock);
    free(mem);
}

static const struct store_ops mem_ops = {
    .name = "mem",
    .insert = mem_insert,
    .replace = mem_replace,
    .put = mem_put,
    .restore = mem_restore,
    .get = mem_get,
    .find = mem_find,
    .each = mem_each,
    .remove = mem_remove,
    .close = mem_close,
};

int store_mem_open(struct store **ret_store, struct fed_err *err)
{
    struct store_mem *mem = calloc(1, sizeof(*mem));

    if (mem == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "store");
    }
    mem->base.ops = &mem_ops;
    (void)pthread_mutex_init(&mem->lock, NULL);
    for (size_t i = 0; i < STORE_COLLECTION_MAX; i++) {
        mem->collections[i] = json_array();
    }
    *ret_store = &mem->base;
    return 0;
}
