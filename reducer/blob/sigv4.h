/* AWS Signature Version 4: the Authorization header of one request.
 *
 * Source: AWS General Reference, "Create a signed AWS API request"; for S3 the path is encoded
 * once. Pure functions, any thread.
 */
#ifndef REDUCER_BLOB_SIGV4_H
#define REDUCER_BLOB_SIGV4_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

#define SIGV4_TIME_SIZE   17 /* "20130524T000000Z", with the NUL */
#define SIGV4_HASH_SIZE   65 /* hexadecimal SHA-256, with the NUL */
#define SIGV4_UNSIGNED    "UNSIGNED-PAYLOAD"
#define SIGV4_HEADERS_MAX 8

struct sigv4_key {
    const char *access_key;
    const char *secret_key;
    const char *region;
    const char *service; /* "s3" */
};

struct sigv4_header {
    const char *name;  /* lower case */
    const char *value; /* without blanks around it, nor two in a row */
};

struct sigv4_request {
    const char *method;
    const char *path;  /* from "/" on, encoded */
    const char *query; /* encoded, names in byte order, each with its "="; "": none */
    struct sigv4_header headers[SIGV4_HEADERS_MAX]; /* names in byte order; "host" is among them */
    size_t n_headers;
    const char *payload_hash; /* hexadecimal, or SIGV4_UNSIGNED */
    const char *time;         /* as sigv4_time_format(); the same as the x-amz-date header */
};

void sigv4_time_format(uint64_t utc_ms, char ret_time[SIGV4_TIME_SIZE]);
void sigv4_hash_format(struct fed_view data, char ret_hash[SIGV4_HASH_SIZE]);

/* Percent-encode all but [A-Za-z0-9._~-]. Fails with FED_E_NOMEM or the buffer's bound. */
FED_NODISCARD int sigv4_encode(const char *text, struct fed_buf *buf, struct fed_err *err);

/* Append "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…" and a NUL. Fails as
 * sigv4_encode(). */
FED_NODISCARD int sigv4_sign(const struct sigv4_key *key,
                             const struct sigv4_request *request,
                             struct fed_buf *buf,
                             struct fed_err *err);

#endif /* REDUCER_BLOB_SIGV4_H */
