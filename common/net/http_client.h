/* HTTP requests, one at a time on the calling thread (libcurl). Blocks up to its timeout: worker
 * threads and command-line tools only.
 */
#ifndef FED_COMMON_NET_HTTP_CLIENT_H
#define FED_COMMON_NET_HTTP_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

struct fed_http_form { /* multipart/form-data: one file and up to four texts */
    const char *file_path;
    const char *file_name;
    const char *names[4];
    const char *values[4];
    size_t n_texts;
};

struct fed_http_request {
    const char *method; /* "GET", "POST", "PATCH", "PUT", "DELETE" */
    const char *url;
    const char *headers[8]; /* "X-Limit: 5" */
    size_t n_headers;
    struct fed_view body;             /* with content_type; borrowed */
    const char *content_type;         /* NULL: no body */
    const struct fed_http_form *form; /* or a form; borrowed */
    uint64_t timeout_ms;              /* of the whole exchange */
    size_t response_max;              /* bytes of the answer's body in memory; 0: none may come */
    const char *output_path;          /* the body goes into this file; removed on failure */
    /* Asked a few times a second while the request runs; true ends it with FED_E_CANCELLED. */
    int (*is_cancelled)(void *arg);
    void *arg;
    /* > 0: FED_E_CANCELLED as soon as this descriptor can be read (an eventfd, a signalfd); it is
     * not read. 0: none. */
    int cancel_fd;
};

struct fed_http_response {
    long status;
    struct fed_buf body; /* owned, NUL-terminated beyond its size */
};

/* Returns 0 for any answer, whatever its status. Fails with FED_E_UNAVAILABLE (no connection),
 * FED_E_TIMEOUT, FED_E_LIMIT (answer too long), FED_E_CANCELLED, FED_E_INVALID (bad URL),
 * FED_E_IO (a file that cannot be read or written). */
FED_NODISCARD int fed_http_run(const struct fed_http_request *request,
                               struct fed_http_response *ret_response,
                               struct fed_err *err);
void fed_http_response_deinit(struct fed_http_response *response);

#endif /* FED_COMMON_NET_HTTP_CLIENT_H */
