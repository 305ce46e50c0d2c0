/* Queries. The server looks for what it decides exactly as query.c would (the key, texts that are
 * no numbers), sorts by insertion and pages where nothing is left to decide; the rest is decided
 * here while its answer streams by. Memory: what is returned, and where a limit is given at most
 * twice skip + limit documents more.
 */
#include <stdlib.h>
#include <string.h>

#include "reducer/store/store_mongo_inside.h"

#define EACH_PAGE 256 /* documents in memory while they are given one by one */
#define SPARE     256 /* documents beyond skip + limit that are kept before they are sorted out */

int mongo_find_one(struct mongo_call *call,
                   const bson_t *filter,
                   const bson_t *options,
                   bson_t *ret_found,
                   struct fed_err *err)
{
    bson_t all = BSON_INITIALIZER;
    const bson_t *found = NULL;
    bson_error_t error = {0};
    mongoc_cursor_t *cursor;
    int rc = STORE_NOT_FOUND;

    if (options != NULL) {
        (void)bson_concat(&all, options);
    }
    (void)BSON_APPEND_INT64(&all, "limit", 1);
    (void)BSON_APPEND_BOOL(&all, "singleBatch", true);
    cursor = mongoc_collection_find_with_opts(call->collection, filter, &all, NULL);
    if (mongoc_cursor_next(cursor, &found)) {
        bson_destroy(ret_found);
        bson_copy_to(found, ret_found);
        rc = 0;
    } else if (mongoc_cursor_error(cursor, &error)) {
        rc = mongo_fail(call, &error, err);
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(&all);
    return rc;
}

/* -- what the server does -----------------------------------------------------------------------
 */

/* A text that a number or a truth value could equal too is not for the server. */
static bool is_plain_text(const char *value)
{
    return !store_text_is_number(value) && strcmp(value, "true") != 0 &&
           strcmp(value, "false") != 0;
}

/* The filter for the server. *ret_is_all: nothing is left to decide here. */
static void encode_filter(enum store_collection in,
                          const struct store_query *query,
                          bson_t *filter,
                          bool *ret_is_all)
{
    bson_t all;
    bson_t one;
    uint32_t n = 0;

    *ret_is_all = true;
    (void)BSON_APPEND_ARRAY_BEGIN(filter, "$and", &all);
    for (size_t i = 0; i < query->n_filters; i++) {
        const struct store_filter *want = &query->filters[i];
        const bool is_key = strcmp(want->path, store_collections[in].key) == 0;
        char text[MONGO_TEXT_MAX];
        char space[16];
        const char *index;
        if (want->op != STORE_OP_EQ || want->value == NULL ||
            (!is_key &&
             (!is_plain_text(want->value) || !mongo_text_format(want->path, want->value, text)))) {
            *ret_is_all = false;
            continue;
        }
        (void)bson_uint32_to_string(n++, &index, space, sizeof(space));
        (void)BSON_APPEND_DOCUMENT_BEGIN(&all, index, &one);
        (void)BSON_APPEND_UTF8(&one, is_key ? "_id" : "t", is_key ? want->value : text);
        (void)bson_append_document_end(&all, &one);
    }
    (void)bson_append_array_end(filter, &all);
    if (n == 0) {
        bson_reinit(filter); /* an empty $and is refused */
    }
}

static bson_t *encode_options(const struct store_query *query, bool is_paged)
{
    bson_t *options = bson_new();
    const bool is_down = store_query_is_by_insertion(query) && !query->is_ascending;
    bson_t part;

    (void)BSON_APPEND_DOCUMENT_BEGIN(options, "sort", &part);
    (void)BSON_APPEND_INT32(&part, "seq", is_down ? -1 : 1);
    (void)bson_append_document_end(options, &part);
    (void)BSON_APPEND_DOCUMENT_BEGIN(options, "projection", &part);
    (void)BSON_APPEND_INT32(&part, "t", 0);
    (void)bson_append_document_end(options, &part);
    if (is_paged && query->skip > 0) {
        (void)BSON_APPEND_INT64(options, "skip", (int64_t)query->skip);
    }
    if (is_paged && query->limit > 0) {
        (void)BSON_APPEND_INT64(options, "limit", (int64_t)query->limit);
    }
    return options;
}

/* -- what is done here --------------------------------------------------------------------------
 */

struct finding {
    const struct store_query *query;
    bool is_counted; /* n_matches is asked for */
    bool is_paged;   /* by the server */
    json_t *documents;
    size_t n_matches;
};

static size_t wanted_max(const struct store_query *query)
{
    size_t sum;

    return query->limit == 0 || __builtin_add_overflow(query->skip, query->limit, &sum) ? SIZE_MAX
                                                                                        : sum;
}

/* Keep the first skip + limit of the order asked for, again in order of insertion among equals. */
static int sort_out(struct finding *finding, struct fed_err *err)
{
    struct store_query first = *finding->query;
    json_t *kept;
    bool is_done = true;

    first.skip = 0;
    first.limit = wanted_max(finding->query);
    kept = store_query_arrange(&first, finding->documents);
    finding->documents = kept;
    if (kept == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "query");
    }
    if (!first.is_ascending) { /* arranging again turns ties by their place */
        json_t *turned = json_array();
        for (size_t i = json_array_size(kept); i > 0 && is_done; i--) {
            is_done = json_array_append(turned, json_array_get(kept, i - 1)) == 0;
        }
        json_decref(kept);
        finding->documents = turned;
    }
    return is_done ? 0 : fed_err_set(err, FED_E_NOMEM, "query");
}

/* By insertion the server has sorted: what is before skip and after limit is only counted. */
static bool is_wanted(const struct finding *finding)
{
    const struct store_query *query = finding->query;

    return finding->is_paged || !store_query_is_by_insertion(query) ||
           (finding->n_matches > query->skip && finding->n_matches <= wanted_max(query));
}

static int take(struct finding *finding, const bson_t *found, struct fed_err *err)
{
    const size_t max = wanted_max(finding->query);
    json_t *document = NULL;
    int rc = mongo_row_decode(found, &document, err);

    if (rc < 0) {
        return rc;
    }
    if (store_query_matches(finding->query, document)) {
        finding->n_matches++;
        if (is_wanted(finding) && json_array_append(finding->documents, document) != 0) {
            rc = fed_err_set(err, FED_E_NOMEM, "query");
        }
    }
    json_decref(document);
    if (rc == 0 && !store_query_is_by_insertion(finding->query) && max < SIZE_MAX / 2 - SPARE &&
        json_array_size(finding->documents) >= 2 * max + SPARE) {
        rc = sort_out(finding, err);
    }
    return rc;
}

static bool is_complete(const struct finding *finding)
{
    return !finding->is_counted && store_query_is_by_insertion(finding->query) &&
           finding->n_matches >= wanted_max(finding->query);
}

static int
stream(struct mongo_call *call, const bson_t *filter, const bson_t *options, struct fed_err *err)
{
    struct finding *finding = call->arg;
    mongoc_cursor_t *cursor =
        mongoc_collection_find_with_opts(call->collection, filter, options, NULL);
    const bson_t *found = NULL;
    bson_error_t error = {0};
    int rc = 0;

    while (rc == 0 && !is_complete(finding) && mongoc_cursor_next(cursor, &found)) {
        rc = take(finding, found, err);
    }
    if (rc == 0 && mongoc_cursor_error(cursor, &error)) {
        rc = mongo_fail(call, &error, err);
    }
    mongoc_cursor_destroy(cursor);
    return rc;
}

static int count(struct mongo_call *call, const bson_t *filter, struct fed_err *err)
{
    struct finding *finding = call->arg;
    bson_error_t error = {0};
    const int64_t n =
        mongoc_collection_count_documents(call->collection, filter, NULL, NULL, NULL, &error);

    if (n < 0) {
        return mongo_fail(call, &error, err);
    }
    finding->n_matches = (size_t)n;
    return 0;
}

static int step_find(struct mongo_call *call, struct fed_err *err)
{
    struct finding *finding = call->arg;
    const struct store_query *query = finding->query;
    bson_t filter = BSON_INITIALIZER;
    bson_t *options;
    bool is_all = false;
    int rc;

    (void)json_array_clear(finding->documents);
    finding->n_matches = 0;
    encode_filter(call->in, query, &filter, &is_all);
    finding->is_paged = is_all && store_query_is_by_insertion(query) && query->skip <= INT32_MAX &&
                        query->limit <= INT32_MAX;
    options = encode_options(query, finding->is_paged);
    rc = stream(call, &filter, options, err);
    if (rc == 0 && finding->is_paged && finding->is_counted &&
        (query->skip > 0 || query->limit > 0)) {
        rc = count(call, &filter, err);
    }
    bson_destroy(options);
    bson_destroy(&filter);
    return rc;
}

int mongo_find(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               json_t **ret_documents,
               size_t *ret_n_matches,
               struct fed_err *err)
{
    struct finding finding = {
        .query = query, .is_counted = ret_n_matches != NULL, .documents = json_array()};
    struct mongo_call call = {
        .self = mongo_self(store), .in = in, .what = "look in", .step = step_find, .arg = &finding};
    int rc =
        finding.documents == NULL ? fed_err_set(err, FED_E_NOMEM, "query") : mongo_run(&call, err);

    if (rc == 0 && !store_query_is_by_insertion(query)) {
        finding.documents = store_query_arrange(query, finding.documents);
        rc = finding.documents == NULL ? fed_err_set(err, FED_E_NOMEM, "query") : 0;
    }
    if (rc < 0) {
        json_decref(finding.documents);
        return rc;
    }
    *ret_documents = finding.documents;
    if (ret_n_matches != NULL) {
        *ret_n_matches = finding.n_matches;
    }
    return 0;
}

/* -- one by one ---------------------------------------------------------------------------------
 */

struct page {
    const struct store_query *query;
    json_t *documents; /* those of the server's that match */
    size_t n;          /* of the server's */
    int64_t last;      /* seq of the last one before this page; < 0: none */
    int64_t next_last; /* of the last one of this page */
};

static bson_t *encode_page_options(const struct store_query *query)
{
    struct store_query page = *query;

    page.limit = EACH_PAGE;
    return encode_options(&page, true);
}

static void add_seq_filter(const struct page *page, bson_t *filter)
{
    bson_t part;

    if (page->last >= 0) {
        (void)BSON_APPEND_DOCUMENT_BEGIN(filter, "seq", &part);
        (void)BSON_APPEND_INT64(&part, page->query->is_ascending ? "$gt" : "$lt", page->last);
        (void)bson_append_document_end(filter, &part);
    }
}

static int take_of_page(struct page *page, const bson_t *found, struct fed_err *err)
{
    json_t *document = NULL;
    bson_iter_t it;
    int rc = mongo_row_decode(found, &document, err);

    if (rc < 0) {
        return rc;
    }
    page->n++;
    page->next_last = bson_iter_init_find(&it, found, "seq") ? bson_iter_as_int64(&it) : 0;
    if (store_query_matches(page->query, document) &&
        json_array_append(page->documents, document) != 0) {
        rc = fed_err_set(err, FED_E_NOMEM, "query");
    }
    json_decref(document);
    return rc;
}

static int step_page(struct mongo_call *call, struct fed_err *err)
{
    struct page *page = call->arg;
    bson_t filter = BSON_INITIALIZER;
    bson_t *options = encode_page_options(page->query);
    mongoc_cursor_t *cursor;
    const bson_t *found = NULL;
    bson_error_t error = {0};
    bool is_all;
    int rc = 0;

    (void)json_array_clear(page->documents);
    page->n = 0;
    encode_filter(call->in, page->query, &filter, &is_all);
    add_seq_filter(page, &filter);
    cursor = mongoc_collection_find_with_opts(call->collection, &filter, options, NULL);
    while (rc == 0 && mongoc_cursor_next(cursor, &found)) {
        rc = take_of_page(page, found, err);
    }
    if (rc == 0 && mongoc_cursor_error(cursor, &error)) {
        rc = mongo_fail(call, &error, err);
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(&filter);
    return rc;
}

/* Page by page from one seq to the next: no connection is held while fn runs, and a page that was
 * lost with its connection is asked for again without one being given twice. */
int mongo_each(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               store_each_fn fn,
               void *arg,
               struct fed_err *err)
{
    struct page page = {.query = query, .documents = json_array(), .last = -1};
    struct mongo_call call = {
        .self = mongo_self(store), .in = in, .what = "look in", .step = step_page, .arg = &page};
    int rc = page.documents == NULL ? fed_err_set(err, FED_E_NOMEM, "query") : 0;

    for (page.n = EACH_PAGE; rc == 0 && page.n == EACH_PAGE; page.last = page.next_last) {
        call.is_repeated = false;
        call.is_link_lost = false;
        rc = mongo_run(&call, err);
        for (size_t i = 0; rc == 0 && i < json_array_size(page.documents); i++) {
            rc = fn(arg, json_array_get(page.documents, i), err);
        }
    }
    json_decref(page.documents);
    return rc;
}
