/* For back ends: the collections' table, and queries over documents in memory. */
#ifndef REDUCER_STORE_STORE_INSIDE_H
#define REDUCER_STORE_STORE_INSIDE_H

#include "reducer/store/store.h"

struct store_collection_info {
    const char *name;
    const char *key;
    size_t documents_max;  /* about so many; the oldest go first; 0: all are kept */
    const char *unique[3]; /* paths of a second unique combination; NULL: none */
};
extern const struct store_collection_info store_collections[STORE_COLLECTION_MAX];

/* What the store itself keeps in every document. */
enum store_stamp {
    STORE_STAMP_COMMITTED_AT,
    STORE_STAMP_UPDATED_AT,
    STORE_STAMP_VERSION,
    STORE_STAMP_MAX,
};
extern const char *const store_stamps[STORE_STAMP_MAX];

/* Of many inserts: is this failure the document's, and no other's? */
bool store_is_of_document(int rc);

/* The value at a dotted path, borrowed, or NULL. */
const json_t *store_path_get(const json_t *document, const char *path);

/* Is the order asked for that of insertion (or against it)? */
bool store_query_is_by_insertion(const struct store_query *query);

/* Is this text compared as a number? */
bool store_text_is_number(const char *text);

bool store_query_matches(const struct store_query *query, const json_t *document);

/* Sort (documents in order of insertion), skip and limit. Takes the array, returns another; NULL:
 * out of memory. */
json_t *store_query_arrange(const struct store_query *query, json_t *documents);

/* The document's key, or NULL when it has none. */
const char *store_document_key(enum store_collection in, const json_t *document);

/* The text of its second unique combination, malloc'ed; NULL when the collection has none, or a
 * part of it is absent. */
char *store_document_unique(enum store_collection in, const json_t *document);

/* A deep copy with committed_at, updated_at and version set; NULL: out of memory. */
json_t *store_document_stamp(const json_t *document, uint64_t committed_ms, uint64_t version);

int store_mem_open(struct store **ret_store, struct fed_err *err);
int store_sqlite_open(const char *path, struct store **ret_store, struct fed_err *err);
int store_mongo_open(const struct store_config *config,
                     struct store **ret_store,
                     struct fed_err *err);

#endif /* REDUCER_STORE_STORE_INSIDE_H */
