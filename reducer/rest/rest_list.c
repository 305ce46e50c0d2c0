/* The generic set of every resource: lists, counts, one by its id. */
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_query.h"

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

static int answer_list(struct rest_request *request, struct fed_err *err)
{
    struct rest_query query;
    json_t *documents = NULL;
    size_t n = 0;
    int rc;

    rest_query_init(&query, request);
    rc = read_filters(request, &query, err);
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
