/* A document as BSON:
 *
 *   {_id: key, seq, version, committed_at, updated_at, w: token, u: unique combination,
 *    t: ["session_id=…", "status=…"], body: "{…}"}
 *
 * The document itself is JSON text: names with dots and dollars, arrays in arrays, the kind of a
 * number come back as they were, on every server of the protocol. `t` holds the texts that queries
 * ask for, so that one index serves them all. Where a document has no unique combination, `u` is
 * made of its key, so that a plain unique index does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/unconst.h"
#include "reducer/store/store_mongo_inside.h"

/* FNV-1a: to know a document again that is written again. */
uint64_t mongo_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3U;
    }
    return hash;
}

/* Ids and states: what our queries, and REST's common ones, ask for. Of a field at the top: a path
 * with a dot leads into another one, which `t` does not hold. */
static bool is_looked_for(const char *field)
{
    static const char *const others[] = {"status", "phase", "name", "parent_model", "_sender_key"};
    const size_t n = strlen(field);

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(field, others[i]) == 0) {
            return true;
        }
    }
    return n > 3 && strcmp(field + n - 3, "_id") == 0 && strpbrk(field, "=.") == NULL;
}

bool mongo_text_format(const char *field, const char *value, char ret_text[MONGO_TEXT_MAX])
{
    const int n =
        is_looked_for(field) ? snprintf(ret_text, MONGO_TEXT_MAX, "%s=%s", field, value) : -1;

    return n > 0 && (size_t)n < MONGO_TEXT_MAX;
}

static bson_t *encode_texts(const json_t *document)
{
    bson_t *texts = bson_new();
    char text[MONGO_TEXT_MAX];
    char space[16];
    const char *field;
    uint32_t n = 0;

    for (void *it = json_object_iter(fed_unconst(document)); it != NULL;
         it = json_object_iter_next(fed_unconst(document), it)) {
        const json_t *value = json_object_iter_value(it);
        field = json_object_iter_key(it);
        if (json_is_string(value) && mongo_text_format(field, json_string_value(value), text)) {
            const char *index;
            const size_t size = bson_uint32_to_string(n++, &index, space, sizeof(space));
            (void)bson_append_utf8(texts, index, (int)size, text, -1);
        }
    }
    return texts;
}

static char *encode_unique(enum store_collection in, const json_t *document)
{
    char *unique = store_document_unique(in, document);
    const char *value = unique == NULL ? store_document_key(in, document) : unique;
    const size_t size = strlen(value) + 2;
    char *text;

    if (store_collections[in].unique[0] == NULL) {
        free(unique);
        return NULL;
    }
    text = malloc(size);
    if (text != NULL) {
        (void)snprintf(text, size, "%c%s", unique == NULL ? '-' : '+', value);
    }
    free(unique);
    return text;
}

int mongo_row_init(struct mongo_row *row,
                   enum store_collection in,
                   const json_t *document,
                   struct fed_err *err)
{
    json_t *bare =
        json_copy(fed_unconst(document)); /* shallow: the stamps go, nothing else changes */

    *row = (struct mongo_row){0};
    for (size_t i = 0; i < STORE_STAMP_MAX; i++) {
        (void)json_object_del(bare, store_stamps[i]);
    }
    row->body = bare == NULL ? NULL : json_dumps(bare, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(bare);
    if (row->body != NULL && strlen(row->body) > STORE_DOCUMENT_MAX) {
        mongo_row_deinit(row);
        return fed_err_set(err, FED_E_LIMIT, "a document of %s is over %zu bytes",
                           store_collections[in].name, STORE_DOCUMENT_MAX);
    }
    row->texts = encode_texts(document);
    row->unique = encode_unique(in, document);
    if (row->body == NULL || (row->unique == NULL && store_collections[in].unique[0] != NULL)) {
        mongo_row_deinit(row);
        return fed_err_set(err, FED_E_NOMEM, "document");
    }
    row->hash = mongo_hash(row->body);
    return 0;
}

void mongo_row_deinit(struct mongo_row *row)
{
    free(row->body);
    free(row->unique);
    bson_destroy(row->texts);
    *row = (struct mongo_row){0};
}

void mongo_row_append(const struct mongo_row *row, const char *token, bson_t *fields)
{
    (void)BSON_APPEND_UTF8(fields, "w", token);
    (void)BSON_APPEND_ARRAY(fields, "t", row->texts);
    if (row->unique != NULL) {
        (void)BSON_APPEND_UTF8(fields, "u", row->unique);
    }
    (void)bson_append_utf8(fields, "body", -1, row->body, (int)strlen(row->body));
}

int mongo_row_decode(const bson_t *from, json_t **ret_document, struct fed_err *err)
{
    json_t *document = NULL;
    bson_iter_t it;

    if (bson_iter_init_find(&it, from, "body") && BSON_ITER_HOLDS_UTF8(&it)) {
        document = json_loads(bson_iter_utf8(&it, NULL), JSON_ALLOW_NUL, NULL);
    }
    for (size_t i = 0; document != NULL && i < STORE_STAMP_MAX; i++) {
        if (!bson_iter_init_find(&it, from, store_stamps[i]) ||
            json_object_set_new(document, store_stamps[i],
                                json_integer((json_int_t)bson_iter_as_int64(&it))) != 0) {
            json_decref(document);
            document = NULL;
        }
    }
    if (document == NULL) {
        return fed_err_set(err, FED_E_CORRUPT, "a document of the store is not one of ours");
    }
    *ret_document = document;
    return 0;
}
