/* HTTP exchanges with an object store: connections are kept, bodies go in and out as they come
 * (libcurl). One exchange blocks its thread: workers only. TLS peers are always verified; no
 * redirect is followed, since a signed request is for one host.
 *
 * Thread safety: a struct fed_http_pool from any thread, an exchange from one.
 */
#ifndef FED_COMMON_NET_HTTP_STREAM_H
#define FED_COMMON_NET_HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

#define FED_HTTP_HEADERS_MAX 16  /* of a request */
#define FED_HTTP_WANTED_MAX  4   /* headers of an answer that are kept */
#define FED_HTTP_VALUE_SIZE  256 /* bytes of one, with the NUL; a longer one counts as absent */

struct fed_http_pool;

struct fed_http_pool_config {
    const char *ca_file;         /* borrowed for the call; NULL or "": the system's */
    uint64_t connect_timeout_ms; /* name, TCP and TLS */
    uint64_t stall_ms;           /* whole seconds: FED_E_TIMEOUT after so long without a byte */
};

/* Fails with FED_E_INVALID (the CA file cannot be read), FED_E_NOMEM. */
FED_NODISCARD int fed_http_pool_new(const struct fed_http_pool_config *config,
                                    struct fed_http_pool **ret_pool,
                                    struct fed_err *err);
struct fed_http_pool *fed_http_pool_free(struct fed_http_pool *pool); /* accepts NULL */

struct fed_http_answer {
    long status;
    uint64_t size;            /* Content-Length; UINT64_MAX: not said */
    uint64_t date_utc_ms;     /* Date; 0: not said */
    uint64_t modified_utc_ms; /* Last-Modified; 0: not said */
    struct fed_buf text;      /* owned: the body that on_data did not get; a NUL stands behind it */
    char values[FED_HTTP_WANTED_MAX][FED_HTTP_VALUE_SIZE]; /* as wanted; "": absent */
};

struct fed_http_exchange {
    const char *method; /* "GET", "HEAD", "PUT", "POST", "DELETE" */
    const char *url;
    const char *headers[FED_HTTP_HEADERS_MAX]; /* "Name: value" */
    size_t n_headers;
    struct fed_view body; /* of PUT and POST; borrowed */
    uint64_t timeout_ms;  /* of the whole exchange; 0: see due_ms */
    /* The exchange ends at this monotonic time, or at most a second later; NULL: timeout_ms alone
     * counts. Borrowed: on_data() may move it, for who reads only then how much there is. */
    const uint64_t *due_ms;
    size_t text_max; /* bytes of `text`: more is FED_E_LIMIT where the status is 2xx, else cut */
    const char *wanted[FED_HTTP_WANTED_MAX]; /* "etag"; NULL: no more */
    /* The body of an answer whose status is 2xx, as it comes; may be NULL. A failure ends the
     * exchange, which then fails with it. */
    int (*on_data)(void *arg,
                   const struct fed_http_answer *answer,
                   struct fed_view data,
                   struct fed_err *err);
    void *arg;
};

/* Returns 0 for any whole answer, whatever its status; the caller deinits it. Fails with
 * FED_E_UNAVAILABLE (no connection, or it broke), FED_E_TIMEOUT (stalled, or over its time),
 * FED_E_LIMIT, FED_E_INVALID (bad URL), FED_E_DENIED (the peer's certificate), FED_E_NOMEM, or as
 * on_data(). */
FED_NODISCARD int fed_http_exchange(struct fed_http_pool *pool,
                                    const struct fed_http_exchange *exchange,
                                    struct fed_http_answer *ret_answer,
                                    struct fed_err *err);
void fed_http_answer_deinit(struct fed_http_answer *answer);

#endif /* FED_COMMON_NET_HTTP_STREAM_H */
