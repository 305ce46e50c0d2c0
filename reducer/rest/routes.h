/* The table of paths: (method, pattern, handler).
 *
 * In a pattern ":r" stands for any resource (of a path, the first one is the request's collection)
 * and ":id" for an id. A pattern that ends
 * in '/' is a collection: without the final slash it is answered 308, as FEDn's server does; of
 * other paths a final slash is ignored.
 */
#ifndef REDUCER_REST_ROUTES_H
#define REDUCER_REST_ROUTES_H

#include <stdbool.h>

#include "reducer/rest/rest_request.h"

struct rest_route {
    enum rest_method method;
    const char *pattern;
    rest_step_fn handler;
    bool is_upload; /* a multipart form with a file: upload_max instead of body_max */
};

enum route_outcome {
    ROUTE_FOUND,
    ROUTE_MISSING,
    ROUTE_BAD_ID,  /* the path is there, the id can be nobody's */
    ROUTE_METHOD,  /* answer.allow names those there are */
    ROUTE_SLASH,   /* a collection without its final slash */
    ROUTE_OPTIONS, /* answer.allow is filled */
};

/* Find the route of request->path, and set request->route, id and collection. `method` is
 * REST_METHOD_MAX for OPTIONS, or a method there is nowhere. */
enum route_outcome
rest_route_find(struct rest_request *request, enum rest_method method, bool is_options);

/* "GET" */
const char *rest_method_name(enum rest_method method);

#endif /* REDUCER_REST_ROUTES_H */
