/* Blob store: immutable byte strings under a key, such as models and compute packages.
 *
 * One contract, several back ends (blob_dir.c, blob_mem.c, blob_s3.c); all of them pass
 * tests/contract/blob_contract.c. Callers use the blob_*() functions and never see the back end.
 *
 * Thread safety: a struct blob_store may be used from any thread; a struct blob_writer from one at
 * a time. Every call may block on disk or network: call from a worker, never from the loop.
 *
 * Failures of every call: FED_E_INVALID (bad key), FED_E_IO, FED_E_UNAVAILABLE, FED_E_TIMEOUT,
 * FED_E_DENIED, FED_E_NOMEM.
 */
#ifndef REDUCER_BLOB_BLOB_H
#define REDUCER_BLOB_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define BLOB_KEY_MAX 128 /* bytes, without the NUL. Keys are [a-z0-9._-]+ */

/* Outcomes. */
enum {
    BLOB_NOT_FOUND = 1,
};

struct blob_store;
struct blob_writer;

/* What a server says of itself. */
struct blob_about {
    uint64_t clock_utc_ms; /* 0: it says none */
};

/* What is known of a blob. */
struct blob_info {
    uint64_t size;   /* bytes */
    uint64_t age_ms; /* since it was last committed, by the store's own clock; 0: it does not say */
};

struct blob_ops {
    const char *name;
    int (*put_begin)(struct blob_store *self,
                     const char *key,
                     const uint8_t *sha256, /* (32,) what the bytes will hash to; NULL: unknown */
                     struct blob_writer **ret_writer,
                     struct fed_err *err);
    int (*put_chunk)(struct blob_writer *writer,
                     const void *data,
                     size_t size,
                     struct fed_err *err);
    int (*put_commit)(struct blob_writer *writer, const uint8_t sha256[32], struct fed_err *err);
    void (*put_abort)(struct blob_writer *writer);
    /* NULL, or -FED_E_UNSUPPORTED: the file has to be copied. */
    int (*put_made)(struct blob_store *self,
                    const char *key,
                    const char *path,
                    struct fed_err *err);
    int (*read)(struct blob_store *self,
                const char *key,
                uint64_t offset,
                void *ret_data,
                size_t *io_size,
                struct fed_err *err);
    int (*copy)(struct blob_store *self,
                const char *key,
                int fd,
                struct fed_err *err); /* or NULL */
    int (*stat)(struct blob_store *self,
                const char *key,
                struct blob_info *ret_info,
                struct fed_err *err);
    int (*remove)(struct blob_store *self, const char *key, struct fed_err *err);
    int (*list)(struct blob_store *self,
                const char *after,
                char (*ret_keys)[BLOB_KEY_MAX + 1],
                size_t *io_n,
                struct fed_err *err);
    void (*close)(struct blob_store *self);
    /* NULL: nothing to say */
    int (*about)(struct blob_store *self, struct blob_about *ret_about, struct fed_err *err);
};

struct blob_store {
    const struct blob_ops *ops;
};

struct blob_writer {
    struct blob_store *store;
};

/* What an object store wants to know beside its URL. All borrowed for the call; NULL or "" for what
 * is not given. */
struct blob_options {
    const char *endpoint;   /* "http://minio:9000"; else AWS's for the region */
    const char *region;     /* else "us-east-1" */
    const char *path_style; /* "true": the bucket is in the path; "false": in the host's name; else
                             * in the path where there is an endpoint */
    const char *access_key;
    const char *secret_key;
    const char *session_token; /* of temporary keys */
    const char *ca_file;       /* of the endpoint's TLS; else the system's */
    uint64_t stall_ms;         /* an exchange without a byte ends after that; 0: 15 s */
    uint64_t repeat_ms;        /* what fails for now is tried that long; 0: 5 s */
};

/* Take the keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN where neither
 * key is given. Main thread, before others start. */
void blob_options_complete(struct blob_options *options);

/* Open by URL: "dir:DIR", "mem:" or "s3://BUCKET[/PREFIX]", the last with `options` (NULL: none).
 * An object store is not asked anything here: where it is away, its calls fail with
 * FED_E_UNAVAILABLE or FED_E_TIMEOUT until it is back, where it refuses us, with FED_E_DENIED and
 * what to check. Its bucket is made at the first write if it is missing. */
FED_NODISCARD int blob_open_with(const char *url,
                                 const struct blob_options *options,
                                 struct blob_store **ret_store,
                                 struct fed_err *err);
FED_NODISCARD int blob_open(const char *url, struct blob_store **ret_store, struct fed_err *err);
struct blob_store *blob_close(struct blob_store *store); /* accepts NULL */

bool blob_key_is_valid(const char *key);

/* Start writing `key`. Nothing is visible under the key before blob_put_commit() returns 0, and a
 * crash in between leaves nothing visible either. The caller owns *ret_writer until commit or
 * abort, which both end it. */
FED_NODISCARD int blob_put_begin(struct blob_store *store,
                                 const char *key,
                                 struct blob_writer **ret_writer,
                                 struct fed_err *err);
FED_NODISCARD int
blob_put_chunk(struct blob_writer *writer, const void *data, size_t size, struct fed_err *err);

/* Publish the blob, durably, if its bytes hash to sha256; else FED_E_CORRUPT. A key that is there
 * already is written over: by contract with the same bytes. Ends the writer in every case. */
FED_NODISCARD int
blob_put_commit(struct blob_writer *writer, const uint8_t sha256[32], struct fed_err *err);
void blob_put_abort(struct blob_writer *writer); /* accepts NULL */

/* Copy a whole file in. */
FED_NODISCARD int blob_put_file(struct blob_store *store,
                                const char *key,
                                const char *path,
                                const uint8_t sha256[32],
                                struct fed_err *err);

/* Take a file that the caller has made and will never write to again under a second name, flushed
 * but not read: its hash may be computed meanwhile. Fails with FED_E_UNSUPPORTED where it has to be
 * copied by blob_put_file(), FED_E_NOT_FOUND, FED_E_IO. */
FED_NODISCARD int
blob_put_made(struct blob_store *store, const char *key, const char *path, struct fed_err *err);

/* Up to *io_size bytes from `offset`; *io_size becomes what was read: less at the end only, and 0
 * beyond it. Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int blob_read(struct blob_store *store,
                            const char *key,
                            uint64_t offset,
                            void *ret_data,
                            size_t *io_size,
                            struct fed_err *err);

/* Append a whole blob to an open file. Back ends that keep the blob's hash check it, on what they
 * have written by then: FED_E_CORRUPT. Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int blob_copy(struct blob_store *store, const char *key, int fd, struct fed_err *err);

/* Copy a blob out to a file as blob_copy() does, replaced as a whole: on failure the old one stays.
 * Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int
blob_get_file(struct blob_store *store, const char *key, const char *path, struct fed_err *err);

/* Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int blob_stat(struct blob_store *store,
                            const char *key,
                            struct blob_info *ret_info,
                            struct fed_err *err);

/* Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int blob_remove(struct blob_store *store, const char *key, struct fed_err *err);

/* Up to *io_n of the keys greater than `after` ("": from the first), in byte order. *io_n becomes
 * the number given; 0: there are no more. What is committed or removed meanwhile may be among them
 * or not. */
FED_NODISCARD int blob_list(struct blob_store *store,
                            const char *after,
                            char (*ret_keys)[BLOB_KEY_MAX + 1],
                            size_t *io_n,
                            struct fed_err *err);

/* A back end without a server says nothing: no clock. */
FED_NODISCARD int
blob_about(struct blob_store *store, struct blob_about *ret_about, struct fed_err *err);

#endif /* REDUCER_BLOB_BLOB_H */
