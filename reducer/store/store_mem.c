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

/* Index of the document with this key, or of another with this unique combination; else SIZE_MAX.
 */
static size_t find_locked(const struct store_mem *mem,
                          enum store_collection in,
                          const char *key,
                          const char *unique,
                          bool *ret_is_key)
{
    const size_t n = json_array_size(mem->collections[in]);

    for (size_t i = 0; i < n; i++) {
        const json_t *document = json_array_get(mem->collections[in], i);
        if (is_same(store_document_key(in, document), key)) {
            *ret_is_key = true;
            return i;
        }
    }
    for (size_t i = 0; i < n && unique != NULL; i++) {
        char *other = store_document_unique(in, json_array_get(mem->collections[in], i));
        const bool is_taken = is_same(other, unique);
        free(other);
        if (is_taken) {
            *ret_is_key = false;
            return i;
        }
    }
    return SIZE_MAX;
}

enum mode {
    INSERT,
    REPLACE,
    PUT
};

static int write_locked(struct store_mem *mem,
                        enum store_collection in,
                        enum mode mode,
                        uint64_t version,
                        json_t *document,
                        struct fed_err *err)
{
    char *unique = store_document_unique(in, document);
    bool is_key = false;
    const size_t i = find_locked(mem, in, store_document_key(in, document), unique, &is_key);
    const json_t *old = i == SIZE_MAX ? NULL : json_array_get(mem->collections[in], i);
    const uint64_t old_version =
        old == NULL ? 0 : (uint64_t)json_integer_value(json_object_get(old, "version"));
    const uint64_t committed_ms =
        is_key ? (uint64_t)json_integer_value(json_object_get(old, "committed_at")) : 0;
    json_t *copy;

    free(unique);
    if (old != NULL && (!is_key || mode == INSERT)) {
        return STORE_EXISTS;
    }
    if (mode == REPLACE && old == NULL) {
        return STORE_NOT_FOUND;
    }
    if (mode == REPLACE && old_version != version) {
        return STORE_CONFLICT;
    }
    copy = store_document_stamp(document, committed_ms, old_version + 1);
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

static int mem_get(struct store *store,
                   enum store_collection in,
                   const char *key,
                   json_t **ret_document,
                   struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    bool is_key = false;
    size_t i;
    json_t *copy = NULL;

    (void)pthread_mutex_lock(&mem->lock);
    i = find_locked(mem, in, key, NULL, &is_key);
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
    size_t n;

    (void)pthread_mutex_lock(&mem->lock);
    n = json_array_size(mem->collections[in]);
    for (size_t i = 0; i < n; i++) {
        const json_t *document = json_array_get(mem->collections[in], i);
        if (store_query_matches(query, document)) {
            (void)json_array_append_new(matches, json_deep_copy(document));
        }
    }
    (void)pthread_mutex_unlock(&mem->lock);
    n = json_array_size(matches);
    matches = store_query_arrange(query, matches);
    if (matches == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "query");
    }
    *ret_documents = matches;
    if (ret_n_matches != NULL) {
        *ret_n_matches = n;
    }
    return 0;
}

static int
mem_remove(struct store *store, enum store_collection in, const char *key, struct fed_err *err)
{
    struct store_mem *mem = self_of(store);
    bool is_key = false;
    size_t i;

    (void)err;
    (void)pthread_mutex_lock(&mem->lock);
    i = find_locked(mem, in, key, NULL, &is_key);
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

static const struct store_ops mem_ops = {"mem",   mem_insert, mem_replace, mem_put,
                                         mem_get, mem_find,   mem_remove,  mem_close};

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
