/* The table of paths: (pattern, handler, method).
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
    const char *pattern;
    rest_step_fn handler;
    enum rest_method method;
    bool is_upload; /* a multipart form with a file: upload_max instead of body_max */
};

/* Find the route of a path (decoded; slashes may be doubled), and set the request's path, route,
 * method, id and collection. `method` is HTTP's word, `uri` the target as it came. Returns false,
 * with the answer set, where nobody answers: 404, 405, 308, OPTIONS. */
bool rest_route_find(struct rest_request *request,
                     const char *method,
                     const char *path,
                     const char *uri);

#endif /* REDUCER_REST_ROUTES_H */
