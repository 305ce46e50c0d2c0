/* From FEDn's filters and paging headers to a query of the store.
 *
 * A filter is `path=value`, `path__gt=value` (lt, gte, lte, ne, eq); "null" is JSON's null; a path
 * may be dotted. Filters are literal: an object as a value, or a path that is none, matches
 * nothing.
 */
#ifndef REDUCER_REST_REST_QUERY_H
#define REDUCER_REST_REST_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "common/base/err.h"
#include "reducer/rest/rest_request.h"

struct rest_query {
    struct store_query store;
    char *texts[STORE_FILTERS_MAX]; /* owned: the filters' values */
    size_t n_texts;
    bool is_nothing; /* it matches nothing */
};

/* An empty query in the order and the page of the request's headers. */
void rest_query_init(struct rest_query *query, const struct rest_request *request);
void rest_query_deinit(struct rest_query *query);

/* Fail with FED_E_INVALID (too many filters), FED_E_NOMEM. With is_list a comma separates values,
 * one of which must be equal. */
FED_NODISCARD int rest_query_add(struct rest_query *query,
                                 const char *name,
                                 const char *value,
                                 bool is_list,
                                 struct fed_err *err);
FED_NODISCARD int rest_query_add_texts(struct rest_query *query,
                                       const struct rest_texts *texts,
                                       bool is_list,
                                       struct fed_err *err);
FED_NODISCARD int
rest_query_add_object(struct rest_query *query, json_t *object, struct fed_err *err);

/* Find: *ret_documents (may be NULL: only count) is the caller's. */
FED_NODISCARD int rest_query_run(const struct rest_query *query,
                                 const struct rest_request *request,
                                 enum store_collection in,
                                 json_t **ret_documents,
                                 size_t *ret_n_matches,
                                 struct fed_err *err);

#endif /* REDUCER_REST_REST_QUERY_H */
