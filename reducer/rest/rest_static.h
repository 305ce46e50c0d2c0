/* The dashboard's files as answers of the HTTP library: packed or not as the browser takes them,
 * with what it needs to keep them, and nothing where it has them already.
 */
#ifndef REDUCER_REST_REST_STATIC_H
#define REDUCER_REST_REST_STATIC_H

#include <microhttpd.h>

struct rest_answer;

/* The response to answer->file, with what is said of its keeping and packing; answer->status is 304
 * where the browser has it. HTTP thread. NULL: out of memory. */
struct MHD_Response *rest_static_new(struct MHD_Connection *connection, struct rest_answer *answer);

#endif /* REDUCER_REST_REST_STATIC_H */
