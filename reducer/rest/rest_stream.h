/* The feed's events as the answer to a request: one that has no end. HTTP thread. */
#ifndef REDUCER_REST_REST_STREAM_H
#define REDUCER_REST_REST_STREAM_H

#include <stdint.h>

#include <microhttpd.h>

#include "reducer/rest/feed.h"

/* A response for this connection and no other; while there is nothing to tell, the connection is
 * suspended. `after_seq` as feed_join() has it. NULL: out of memory. */
struct MHD_Response *
rest_stream_new(struct feed *feed, struct MHD_Connection *connection, const uint64_t *after_seq);

#endif /* REDUCER_REST_REST_STREAM_H */
