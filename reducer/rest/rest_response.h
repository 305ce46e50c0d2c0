/* An answer as the HTTP library's response, with its headers. HTTP thread. */
#ifndef REDUCER_REST_REST_RESPONSE_H
#define REDUCER_REST_REST_RESPONSE_H

#include <microhttpd.h>

#include "reducer/rest/feed.h"
#include "reducer/rest/rest_request.h"

/* The response for this connection, the caller's; it takes the answer's body or file. `feed` is
 * used where the answer is a stream. NULL: out of memory. */
struct MHD_Response *
rest_response_new(struct rest_answer *answer, struct feed *feed, struct MHD_Connection *connection);

#endif /* REDUCER_REST_REST_RESPONSE_H */
