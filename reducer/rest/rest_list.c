/* The generic set of every resource: lists, counts, one by its id. */
#include <stdio.h>
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_query.h"

#define PAGE_ROWS 256U

/* The filters of a GET's query, or of a POST's form or JSON. */
static int read_filters(struct rest_request *request, struct rest_query *query, struct fed_err *err)
{
    json_t *object = NULL;
    int rc;

    if (request->method == REST_GET) {
        return rest_query_add_texts(query, &request->query, false, err);
    }
    if (request->has_form) {
        return rest_query_add_texts(query, &request->form, true, err);
    }
    rc = rest_request_json(request, true, &object, err);
    return rc < 0 ? rc : rest_query_add_object(query, object, err);
}

/* -- long lists ------------------------------------------------------------------------------- */

/* All rows of a resource in order of insertion are read page by page: twenty thousand of them are
 * some MB as text, and ten times that as JSON values. */
struct pages {
    struct rest_request *request;
    enum store_collection in;
    char last[FED_ID_SIZE]; /* the key of the row written last */
    size_t n_written;
    size_t n_max; /* rows asked for */
};

static const char *key_of(const struct pages *pages, const json_t *document)
{
    const char *key = json_string_value(json_object_get(document, store_collection_key(pages->in)));

    return key == NULL ? "" : key;
}

/* The first row of a page that is not written yet: rows that came meanwhile push others down, so
 * that a page may begin with rows of the page before. */
static size_t first_new(const struct pages *pages, const json_t *documents)
{
    for (size_t i = 0; pages->n_written > 0 && i < json_array_size(documents); i++) {
        if (strcmp(key_of(pages, json_array_get(documents, i)), pages->last) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static int write_page(struct pages *pages, const json_t *documents, struct fed_err *err)
{
    struct fed_buf *body = &pages->request->answer.body;
    int rc = 0;

    for (size_t i = first_new(pages, documents);
         rc == 0 && i < json_array_size(documents) && pages->n_written < pages->n_max; i++) {
        json_t *document = json_array_get(documents, i);
        json_t *row = rest_json_row(document);
        rc = row == NULL ? fed_err_set(err, FED_E_NOMEM, "list") : 0;
        if (rc == 0 && pages->n_written > 0) {
            rc = fed_buf_add(body, ",", 1, err);
        }
        if (rc == 0) {
            rc = rest_json_format(row, body, err);
        }
        if (rc == 0) {
            body->size--; /* its newline */
            pages->n_written++;
            (void)snprintf(pages->last, sizeof(pages->last), "%s", key_of(pages, document));
            rc = rest_answer_flush(pages->request, false, err);
        }
        json_decref(row);
    }
    return rc;
}

static bool is_paged(const struct rest_query *query)
{
    return !query->is_nothing && query->store.n_filters == 0 && query->store.sort_path == NULL &&
           (query->store.limit == 0 || query->store.limit > PAGE_ROWS);
}

static int answer_pages(struct rest_request *request, struct rest_query *query, struct fed_err *err)
{
    struct pages pages = {
        .request = request,
        .in = request->collection,
        .n_max = query->store.limit == 0 ? SIZE_MAX : query->store.limit,
    };
    struct fed_buf *body = &request->answer.body;
    const size_t skip = query->store.skip;
    size_t n_rows = PAGE_ROWS;
    int rc = 0;

    query->store.limit = PAGE_ROWS;
    while (rc == 0 && n_rows == PAGE_ROWS && pages.n_written < pages.n_max) {
        json_t *documents = NULL;
        size_t n_matches = 0;
        const bool is_first = pages.n_written == 0;
        query->store.skip = skip + pages.n_written;
        rc = rest_query_run(query, request, pages.in, &documents, &n_matches, err);
        if (rc == 0 && is_first) {
            rc = fed_buf_addf(body, err, "{\"count\":%zu,\"result\":[", n_matches);
        }
        if (rc == 0) {
            n_rows = json_array_size(documents);
            rc = write_page(&pages, documents, err);
        }
        json_decref(documents);
    }
    if (rc == 0) {
        rc = fed_buf_add(body, "]}\n", 3, err);
    }
    request->answer.status = 200;
    return rc < 0 ? rc : rest_answer_flush(request, true, err);
}

/* -- the set ---------------------------------------------------------------------------------- */

static int answer_list(struct rest_request *request, struct fed_err *err)
{
    struct rest_query query;
    json_t *documents = NULL;
    size_t n = 0;
    int rc;

    rest_query_init(&query, request);
    rc = read_filters(request, &query, err);
    if (rc == 0 && is_paged(&query)) {
        rc = answer_pages(request, &query, err);
        rest_query_deinit(&query);
        return rc;
    }
    if (rc == 0) {
        rc = rest_query_run(&query, request, request->collection, &documents, &n, err);
    }
    rest_query_deinit(&query);
    if (rc == 0) {
        rc = rest_answer_json(request, 200, rest_json_list(documents, n), err);
    }
    json_decref(documents);
    return rc;
}

static int answer_count(struct rest_request *request, struct fed_err *err)
{
    struct rest_query query;
    size_t n = 0;
    int rc;

    rest_query_init(&query, request);
    query.store.limit = 1;
    query.store.skip = 0;
    rc = read_filters(request, &query, err);
    if (rc == 0) {
        rc = rest_query_run(&query, request, request->collection, NULL, &n, err);
    }
    rest_query_deinit(&query);
    return rc < 0 ? rc : rest_answer_json(request, 200, json_integer((json_int_t)n), err);
}

int rest_list(struct rest_request *request, struct fed_err *err)
{
    return answer_list(request, err);
}

int rest_list_post(struct rest_request *request, struct fed_err *err)
{
    return answer_list(request, err);
}

int rest_count(struct rest_request *request, struct fed_err *err)
{
    return answer_count(request, err);
}

int rest_count_post(struct rest_request *request, struct fed_err *err)
{
    return answer_count(request, err);
}

int rest_get(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    int rc =
        store_get(request->shared->host->store, request->collection, request->id, &document, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == 0) {
        rc = rest_answer_json(request, 200, rest_json_row(document), err);
    }
    json_decref(document);
    return rc;
}
