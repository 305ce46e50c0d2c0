/* The S3 back end's parts: s3_address.c (who and where), s3_call.c (one signed request, repeated),
 * s3_put.c (writers), blob_s3.c (the rest of the contract). */
#ifndef REDUCER_BLOB_S3_INSIDE_H
#define REDUCER_BLOB_S3_INSIDE_H

#include <stdbool.h>

#include "common/net/http_stream.h"
#include "reducer/blob/blob_inside.h"
#include "reducer/blob/sigv4.h"

#define S3_BUCKET_SIZE  64  /* bytes, with the NUL, as the following */
#define S3_PREFIX_SIZE  256 /* with its "/" at the end */
#define S3_HOST_SIZE    256 /* "bucket.host:port" */
#define S3_REGION_SIZE  64
#define S3_SECRET_SIZE  257
#define S3_TOKEN_SIZE   4096
#define S3_URL_SIZE     3072
#define S3_UPLOAD_SIZE  1025                      /* an upload's id, as S3's own bound */
#define S3_ANSWER_MAX   ((size_t)2 * 1024 * 1024) /* bytes of an answer's XML: 1000 keys and more */
#define S3_REPEAT_MS    5000U                     /* how long what fails for now is tried */
#define S3_STALL_MS     15000U                    /* without a byte: given up */
#define S3_CONNECT_MS   5000U
#define S3_PART_SIZE    ((size_t)8 * 1024 * 1024) /* larger blobs go in parts of that size */
#define S3_PARTS_MAX    10000U                    /* S3's own bound: 78 GiB */
#define S3_GRACE_MS     60000U /* one exchange may take that long, and as long as at this speed: */
#define S3_SLOWEST_KB_S 64U

struct s3 {
    struct blob_store base;
    struct fed_http_pool *pool; /* owned */
    uint64_t repeat_ms;
    bool is_tls;
    char host[S3_HOST_SIZE]; /* as the Host header says it */
    char bucket[S3_BUCKET_SIZE];
    char bucket_path[S3_BUCKET_SIZE + 1]; /* "/bucket", or "" where the host names it */
    char prefix[S3_PREFIX_SIZE];
    char region[S3_REGION_SIZE];
    char access_key[S3_SECRET_SIZE];
    char secret_key[S3_SECRET_SIZE]; /* never in a message, as the next */
    char token[S3_TOKEN_SIZE];       /* of a session; "" */
};

/* Fill in from URL and options. Fails with FED_E_INVALID and what to set. */
FED_NODISCARD int s3_address(struct s3 *self,
                             const char *url,
                             const struct blob_options *options,
                             struct fed_err *err);

/* Outcomes of a call. */
enum {
    S3_NOT_FOUND = 1, /* no such key; also where the bucket is missing and the answer has no body */
    S3_NO_BUCKET,
    S3_BEYOND, /* the range begins at the end, or later */
    S3_TAKEN,  /* the bucket is there already */
};

/* What answers say that is kept. */
enum {
    S3_ETAG,
    S3_SHA256, /* of the whole blob, as its writer gave it */
    S3_RANGE,  /* "bytes 0-9/10" */
};

struct s3_request {
    const char *method;
    const char *key;        /* NULL: the bucket itself */
    const char *query;      /* as sigv4_request's */
    struct fed_view body;   /* borrowed */
    const char *hash;       /* of the body in hexadecimal; NULL: found out */
    const char *sha256;     /* of the whole blob, to be kept with it; NULL or "": none */
    char range[64];         /* "bytes=0-9"; "": all */
    const uint64_t *due_ms; /* as fed_http_exchange's; NULL: s3_time_for() the body */
    int (*on_data)(void *arg,
                   const struct fed_http_answer *answer,
                   struct fed_view data,
                   struct fed_err *err);
    void *arg;
};

/* How long an exchange of so many bytes may take. */
uint64_t s3_time_for(uint64_t size_bytes);

/* Once. Returns 0 for status 2xx, with *ret_answer to be deinited, or an outcome. Fails with
 * FED_E_UNAVAILABLE (worth another try soon), FED_E_TIMEOUT (it has been waited for already),
 * FED_E_DENIED (what to check is in the message), FED_E_IO, FED_E_LIMIT, or as on_data(). */
FED_NODISCARD int s3_try(struct s3 *self,
                         const struct s3_request *request,
                         struct fed_http_answer *ret_answer,
                         struct fed_err *err);

/* The same, repeated for repeat_ms where it is unavailable; without on_data. */
FED_NODISCARD int s3_call(struct s3 *self,
                          const struct s3_request *request,
                          struct fed_http_answer *ret_answer,
                          struct fed_err *err);

/* s3_call() for what writes; makes the bucket where it is missing. 0 or < 0. */
FED_NODISCARD int s3_call_write(struct s3 *self,
                                const struct s3_request *request,
                                struct fed_http_answer *ret_answer,
                                struct fed_err *err);

struct s3_patience {
    uint64_t since_ms; /* nothing has worked since; 0: it has */
    uint32_t attempt;
};

/* True when another try is due; has waited by then. */
bool s3_wait(const struct s3 *self, struct s3_patience *patience, int rc);

/* -- s3_put.c: blob_ops' members of these names */
int s3_put_begin(struct blob_store *store,
                 const char *key,
                 const uint8_t *sha256,
                 struct blob_writer **ret_writer,
                 struct fed_err *err);
int s3_put_chunk(struct blob_writer *base, const void *data, size_t size, struct fed_err *err);
int s3_put_commit(struct blob_writer *base, const uint8_t sha256[32], struct fed_err *err);
void s3_put_abort(struct blob_writer *base);

#endif /* REDUCER_BLOB_S3_INSIDE_H */
