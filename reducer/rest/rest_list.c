/* The generic set of every resource: lists, counts, one by its id. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_csv.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_query.h"

#define PAGE_ROWS 256U
#define FILTERED_PAGE_ROWS \
    2048U /* each page of a filtered list is a look at the whole collection */

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

/* -- rows, one by one ------------------------------------------------------------------------- */

/* Rows in order of insertion are read page by page: twenty thousand of them are some MB as text,
 * and ten times that as JSON values. In another order they are read at once. */
struct listing {
    struct rest_request *request;
    struct rest_query query;
    struct rest_csv csv;
    size_t n_matches;
    size_t n_rows;          /* given so far */
    char last[FED_ID_SIZE]; /* the key of the last of them */
};

typedef int (*row_fn)(struct listing *listing, json_t *row, struct fed_err *err);

static const char *key_of(const struct listing *listing, const json_t *document)
{
    const char *key = json_string_value(
        json_object_get(document, store_collection_key(listing->request->collection)));

    return key == NULL ? "" : key;
}

/* The first row of a page that was not given yet: rows that came meanwhile push others down, so
 * that a page may begin with rows of the page before. */
static size_t first_new(const struct listing *listing, const json_t *documents)
{
    for (size_t i = 0; listing->n_rows > 0 && i < json_array_size(documents); i++) {
        if (strcmp(key_of(listing, json_array_get(documents, i)), listing->last) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static int
give_page(struct listing *listing, const json_t *documents, row_fn give, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = first_new(listing, documents); rc == 0 && i < json_array_size(documents); i++) {
        json_t *document = json_array_get(documents, i);
        json_t *row = rest_json_row(document);
        rc = row == NULL ? fed_err_set(err, FED_E_NOMEM, "list") : give(listing, row, err);
        json_decref(row);
        listing->n_rows++;
        (void)snprintf(listing->last, sizeof(listing->last), "%s", key_of(listing, document));
    }
    return rc;
}

static int each_row(struct listing *listing, row_fn give, struct fed_err *err)
{
    struct store_query *query = &listing->query.store;
    const size_t skip = query->skip;
    const size_t n_max = query->limit == 0 ? SIZE_MAX : query->limit;
    const size_t page_rows = query->sort_path != NULL ? SIZE_MAX
                             : query->n_filters > 0   ? FILTERED_PAGE_ROWS
                                                      : PAGE_ROWS;
    bool is_end = false;
    int rc = 0;

    listing->n_rows = 0;
    while (rc == 0 && !is_end) {
        const size_t left = n_max - listing->n_rows;
        const size_t wanted = left < page_rows ? left : page_rows;
        const size_t n_before = listing->n_rows;
        json_t *documents = NULL;
        query->skip = skip + n_before;
        query->limit = wanted == SIZE_MAX ? 0 : wanted;
        rc = rest_query_run(&listing->query, listing->request, listing->request->collection,
                            &documents, &listing->n_matches, err);
        if (rc == 0) {
            rc = give_page(listing, documents, give, err);
            is_end = json_array_size(documents) < wanted || listing->n_rows == n_before ||
                     listing->n_rows >= n_max;
        }
        json_decref(documents);
    }
    query->skip = skip;
    query->limit = n_max == SIZE_MAX ? 0 : n_max;
    return rc;
}

/* -- as JSON ---------------------------------------------------------------------------------- */

static int add_json_head(struct listing *listing, struct fed_err *err)
{
    return fed_buf_addf(&listing->request->answer.body, err, "{\"count\":%zu,\"result\":[",
                        listing->n_matches);
}

static int give_json(struct listing *listing, json_t *row, struct fed_err *err)
{
    struct fed_buf *body = &listing->request->answer.body;
    int rc = listing->n_rows == 0 ? add_json_head(listing, err) : fed_buf_add(body, ",", 1, err);

    rc = rc < 0 ? rc : rest_json_format(row, body, err);
    if (rc < 0) {
        return rc;
    }
    body->size--; /* its newline */
    return body->size < REST_KEPT_ONE_MAX && listing->request->answer.fd < 0
               ? 0 /* it may be kept */
               : rest_answer_flush(listing->request, false, err);
}

static int answer_json(struct listing *listing, struct fed_err *err)
{
    struct fed_buf *body = &listing->request->answer.body;
    int rc = each_row(listing, give_json, err);

    if (rc == 0 && listing->n_rows == 0) {
        rc = add_json_head(listing, err);
    }
    return rc < 0 ? rc : fed_buf_add(body, "]}\n", 3, err);
}

/* -- as CSV ----------------------------------------------------------------------------------- */

static int give_columns(struct listing *listing, json_t *row, struct fed_err *err)
{
    return rest_csv_learn(&listing->csv, row, err);
}

static int give_csv(struct listing *listing, json_t *row, struct fed_err *err)
{
    const int rc = rest_csv_add_row(&listing->csv, row, &listing->request->answer.body, err);

    return rc < 0 ? rc : rest_answer_flush(listing->request, false, err);
}

static int answer_csv(struct listing *listing, struct fed_err *err)
{
    struct rest_answer *answer = &listing->request->answer;
    int rc = each_row(listing, give_columns, err);

    answer->type = REST_CSV_TYPE;
    (void)snprintf(answer->file_name, sizeof(answer->file_name), "%s.csv",
                   store_collection_name(listing->request->collection));
    rc = rc < 0 ? rc : rest_csv_add_head(&listing->csv, &answer->body, err);
    return rc < 0 ? rc : each_row(listing, give_csv, err);
}

/* -- kept answers ----------------------------------------------------------------------------- */

/* What a GET's answer depends on, but for the rows; the lengths keep a line feed within a value
 * from being read as the next argument. */
static int format_key(const struct rest_request *request, struct fed_buf *key, struct fed_err *err)
{
    const struct rest_page *page = &request->page;
    int rc = fed_buf_addf(key, err, "%d %zu %zu %d %s", (int)request->collection, page->limit,
                          page->skip, page->is_ascending, page->sort_key);

    for (size_t i = 0; rc == 0 && i < request->query.n; i++) {
        const struct rest_text *text = &request->query.items[i];
        rc = fed_buf_addf(key, err, "\n%zu %zu %s=%s", strlen(text->name), strlen(text->value),
                          text->name, text->value);
    }
    return rc < 0 ? rc : fed_buf_add(key, "", 1, err);
}

static int answer_rows(struct rest_request *request, struct fed_err *err)
{
    struct listing listing = {.request = request};
    int rc;

    rest_query_init(&listing.query, request);
    rest_csv_init(&listing.csv);
    request->answer.status = 200;
    rc = read_filters(request, &listing.query, err);
    if (rc == 0) {
        rc = rest_request_wants_csv(request) ? answer_csv(&listing, err)
                                             : answer_json(&listing, err);
    }
    rest_csv_deinit(&listing.csv);
    rest_query_deinit(&listing.query);
    return rc;
}

/* -- the set ---------------------------------------------------------------------------------- */

int rest_list(struct rest_request *request, struct fed_err *err)
{
    struct rest_kept *kept = &request->shared->kept;
    struct rest_answer *answer = &request->answer;
    const uint64_t now_ms = fed_clock_mono_ms();
    /* Before the rows are read: a write meanwhile makes the answer an old one. */
    const uint64_t n_writes = store_count_writes(request->shared->host->store, request->collection);
    struct fed_buf key;
    int rc;

    if (rest_request_wants_csv(request)) {
        rc = answer_rows(request, err);
        return rc < 0 ? rc : rest_answer_flush(request, true, err);
    }
    fed_buf_init(&key, 0);
    rc = format_key(request, &key, err);
    if (rc == 0) {
        answer->kept = rest_kept_find(kept, (const char *)key.data, n_writes, now_ms);
    }
    if (rc == 0 && answer->kept == NULL) {
        rc = answer_rows(request, err);
        if (rc == 0 && answer->fd < 0) {
            answer->kept =
                rest_kept_put(kept, (const char *)key.data, n_writes, now_ms, &answer->body);
        }
    }
    fed_buf_deinit(&key);
    answer->status = 200;
    return rc < 0 || answer->kept != NULL ? rc : rest_answer_flush(request, true, err);
}

int rest_list_post(struct rest_request *request, struct fed_err *err)
{
    const int rc = answer_rows(request, err);

    return rc < 0 ? rc : rest_answer_flush(request, true, err);
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
