/* An S3 object store (AWS, MinIO, Ceph): one object a blob, its SHA-256 kept beside it as metadata.
 *
 * Every exchange is signed (sigv4.h) and bounded in time; what fails for now is repeated for a few
 * seconds, with back-off. A download that breaks goes on where it stood.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/id.h"
#include "common/conf/conf.h"
#include "common/model/checksum.h"
#include "reducer/blob/s3_inside.h"
#include "reducer/blob/s3_xml.h"

#define LIST_PAGE_MAX  1000U /* keys an answer may have, by S3 */
#define LIST_PAGES_MAX 1000U /* of one call: what is not ours is passed over */
#define TOKEN_SIZE     1025U /* of a listing to be continued; encoded, three times as much */

static struct s3 *self_of(struct blob_store *store)
{
    return (struct s3 *)(void *)store;
}

static int outcome(int rc)
{
    return rc > 0 ? BLOB_NOT_FOUND : rc; /* also where the bucket is missing */
}

/* -- reading ------------------------------------------------------------------------------------
 */

static int
s3_stat(struct blob_store *store, const char *key, struct blob_info *ret_info, struct fed_err *err)
{
    const struct s3_request request = {.method = "HEAD", .key = key};
    struct fed_http_answer answer = {0};
    const int rc = s3_call(self_of(store), &request, &answer, err);

    if (rc != 0) {
        return outcome(rc);
    }
    fed_http_answer_deinit(&answer);
    if (answer.size == UINT64_MAX) {
        return fed_err_set(err, FED_E_IO, "object store: %s: an answer without its size", key);
    }
    *ret_info = (struct blob_info){
        .size = answer.size,
        .age_ms = answer.modified_utc_ms != 0 && answer.date_utc_ms > answer.modified_utc_ms
                      ? answer.date_utc_ms - answer.modified_utc_ms
                      : 0,
    };
    return 0;
}

/* The part of a blob that is asked for, or all of it: bytes from `offset` on. */
struct download {
    struct s3 *self;
    const char *key;
    uint64_t offset; /* of what is still to come */
    uint64_t size;   /* of the blob; UINT64_MAX: not known yet */
    uint64_t due_ms; /* of all tries together */
    uint8_t *data;   /* into memory, `room` bytes of it; or NULL: */
    size_t room;
    int fd; /* into a file */
    struct fed_sha256 *hash;
    char sha256[FED_HTTP_VALUE_SIZE]; /* kept with the blob */
    char etag[FED_HTTP_VALUE_SIZE];
};

static int wrong_answer(const struct download *download, const char *what, struct fed_err *err)
{
    return fed_err_set(err, FED_E_IO, "%s: the answer %s", download->key, what);
}

/* "bytes FIRST-LAST/SIZE" (RFC 9110, section 14.4). */
static bool read_range(const char *text, uint64_t *ret_first, uint64_t *ret_size)
{
    const char *slash = strchr(text, '/');
    char *end = NULL;

    if (strncmp(text, "bytes ", 6) != 0 || !isdigit((unsigned char)text[6]) || slash == NULL ||
        !isdigit((unsigned char)slash[1])) {
        return false;
    }
    errno = 0;
    *ret_first = strtoull(text + 6, &end, 10);
    if (*end != '-') {
        return false;
    }
    *ret_size = strtoull(slash + 1, &end, 10);
    return *end == '\0' && errno == 0;
}

/* What the head of an answer says: that it begins where we asked, and goes on with the same blob.
 */
static int
read_head(struct download *download, const struct fed_http_answer *answer, struct fed_err *err)
{
    uint64_t first = 0;
    uint64_t size = answer->size;

    if (answer->status == 206 && !read_range(answer->values[S3_RANGE], &first, &size)) {
        return wrong_answer(download, "has no range", err);
    }
    if (first != download->offset || size == UINT64_MAX) {
        return wrong_answer(download, "is not the part that was asked for", err);
    }
    if (download->size != UINT64_MAX &&
        (download->size != size || strcmp(download->etag, answer->values[S3_ETAG]) != 0)) {
        return wrong_answer(download, "goes on with another blob", err);
    }
    if (download->size == UINT64_MAX && download->data == NULL) {
        download->due_ms = fed_clock_mono_ms() + s3_time_for(size);
    }
    download->size = size;
    memcpy(download->sha256, answer->values[S3_SHA256], sizeof(download->sha256));
    memcpy(download->etag, answer->values[S3_ETAG], sizeof(download->etag));
    return 0;
}

/* One try: its answer's head has been read once data comes. */
struct attempt {
    struct download *download;
    bool has_begun;
};

static int
on_data(void *arg, const struct fed_http_answer *answer, struct fed_view data, struct fed_err *err)
{
    struct attempt *attempt = arg;
    struct download *download = attempt->download;
    int rc = attempt->has_begun ? 0 : read_head(download, answer, err);

    attempt->has_begun = true;
    if (rc < 0) {
        return rc;
    }
    if (data.size > download->size - download->offset ||
        (download->data != NULL && data.size > download->room)) {
        return wrong_answer(download, "is longer than was asked for", err);
    }
    if (download->data != NULL) {
        memcpy(download->data, data.data, data.size);
        download->data += data.size;
        download->room -= data.size;
    } else {
        rc = fed_file_write(download->fd, data.data, data.size, err);
        fed_sha256_add(download->hash, data.data, rc == 0 ? data.size : 0);
    }
    download->offset += rc == 0 ? data.size : 0;
    return rc;
}

/* Until `offset` has reached the end, or the room is used up; a try that brings bytes begins the
 * time of repetition anew. 0 or an outcome of s3_try(). */
static int run(struct download *download, struct fed_err *err)
{
    struct s3_patience patience = {0};
    int rc;

    /* until the head says how much there is */
    download->due_ms =
        fed_clock_mono_ms() + s3_time_for(download->data == NULL ? 0 : download->room);
    do {
        struct attempt attempt = {.download = download};
        struct s3_request request = {.method = "GET",
                                     .key = download->key,
                                     .due_ms = &download->due_ms,
                                     .on_data = on_data,
                                     .arg = &attempt};
        struct fed_http_answer answer = {0};
        const uint64_t before = download->offset;
        if (download->data != NULL) {
            (void)snprintf(request.range, sizeof(request.range), "bytes=%" PRIu64 "-%" PRIu64,
                           download->offset, download->offset + download->room - 1);
        } else if (download->offset > 0) {
            (void)snprintf(request.range, sizeof(request.range), "bytes=%" PRIu64 "-",
                           download->offset);
        }
        rc = s3_try(download->self, &request, &answer, err);
        if (rc == 0 && !attempt.has_begun) { /* an empty body */
            rc = read_head(download, &answer, err);
        }
        if (rc == 0 && download->offset < download->size && download->room > 0) {
            rc = fed_err_set(err, FED_E_UNAVAILABLE, "object store: %s was cut off", download->key);
        }
        fed_http_answer_deinit(&answer);
        if (download->offset > before) { /* it has worked since */
            patience = (struct s3_patience){0};
        }
    } while (s3_wait(download->self, &patience, rc));
    return rc;
}

static int s3_read(struct blob_store *store,
                   const char *key,
                   uint64_t offset,
                   void *ret_data,
                   size_t *io_size,
                   struct fed_err *err)
{
    struct download download = {.self = self_of(store),
                                .key = key,
                                .offset = offset,
                                .size = UINT64_MAX,
                                .data = ret_data,
                                .room = *io_size};
    struct blob_info info;
    int rc;

    if (*io_size == 0 || offset > INT64_MAX - *io_size) { /* no range that can be asked for */
        rc = s3_stat(store, key, &info, err);
    } else {
        rc = run(&download, err);
        rc = rc == S3_BEYOND ? 0 : outcome(rc);
    }
    if (rc == 0) {
        *io_size = (size_t)(download.offset - offset);
    }
    return rc;
}

static int s3_copy(struct blob_store *store, const char *key, int fd, struct fed_err *err)
{
    struct download download = {
        .self = self_of(store), .key = key, .size = UINT64_MAX, .fd = fd, .room = SIZE_MAX};
    uint8_t digest[FED_SHA256_BYTES];
    char hash[2 * FED_SHA256_BYTES + 1];
    int rc = fed_sha256_new(&download.hash, err);

    rc = rc < 0 ? rc : outcome(run(&download, err));
    if (rc == 0) {
        fed_sha256_finish(download.hash, digest);
        fed_hex_format(digest, sizeof(digest), hash);
        if (download.sha256[0] != '\0' && strcmp(download.sha256, hash) != 0) {
            rc = fed_err_set(err, FED_E_CORRUPT, "object store: %s does not have its SHA-256", key);
        }
    }
    (void)fed_sha256_free(download.hash);
    return rc;
}

static int s3_remove(struct blob_store *store, const char *key, struct fed_err *err)
{
    const struct s3_request request = {.method = "DELETE", .key = key};
    struct fed_http_answer answer = {0};
    struct blob_info info;
    int rc = s3_stat(store, key, &info, err); /* S3 deletes what is not there, too */

    if (rc == 0) {
        rc = outcome(s3_call(self_of(store), &request, &answer, err));
        fed_http_answer_deinit(&answer);
    }
    return rc;
}

/* -- listing ------------------------------------------------------------------------------------
 */

struct listing {
    struct s3 *self;
    char (*keys)[BLOB_KEY_MAX + 1]; /* (n_max,) */
    size_t n;
    size_t n_max;
    bool is_truncated;
    char token[TOKEN_SIZE];
};

static int on_element(void *arg, const char *path, const char *text, struct fed_err *err)
{
    struct listing *listing = arg;
    const size_t n_prefix = strlen(listing->self->prefix);

    (void)err;
    if (strcmp(path, "ListBucketResult/IsTruncated") == 0) {
        listing->is_truncated = strcmp(text, "true") == 0;
    } else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0) {
        (void)snprintf(listing->token, sizeof(listing->token), "%s", text);
    } else if (strcmp(path, "ListBucketResult/Contents/Key") == 0 && listing->n < listing->n_max &&
               strncmp(text, listing->self->prefix, n_prefix) == 0 &&
               blob_key_is_valid(text + n_prefix)) {
        (void)snprintf(listing->keys[listing->n++], sizeof(*listing->keys), "%s", text + n_prefix);
    }
    return 0;
}

/* Names in byte order; what lies in folders below is no blob of ours. */
static int format_query(const struct listing *listing,
                        const char *after,
                        struct fed_buf *buf,
                        struct fed_err *err)
{
    const size_t n = listing->n_max < LIST_PAGE_MAX ? listing->n_max : LIST_PAGE_MAX;
    int rc = 0;

    fed_buf_clear(buf);
    if (listing->token[0] != '\0') {
        rc = fed_buf_addf(buf, err, "continuation-token=");
        rc = rc < 0 ? rc : sigv4_encode(listing->token, buf, err);
        rc = rc < 0 ? rc : fed_buf_addf(buf, err, "&");
    }
    rc = rc < 0 ? rc
                : fed_buf_addf(buf, err,
                               "delimiter=%%2F&list-type=2&max-keys=%zu"
                               "&prefix=",
                               n);
    rc = rc < 0 ? rc : sigv4_encode(listing->self->prefix, buf, err);
    if (rc == 0 && listing->token[0] == '\0' && after[0] != '\0') {
        rc = fed_buf_addf(buf, err, "&start-after=");
        rc = rc < 0 ? rc : sigv4_encode(listing->self->prefix, buf, err);
        rc = rc < 0 ? rc : sigv4_encode(after, buf, err);
    }
    return rc < 0 ? rc : fed_buf_add(buf, "", 1, err);
}

static int list_page(struct listing *listing, const char *query, struct fed_err *err)
{
    const struct s3_request request = {.method = "GET", .query = query};
    struct fed_http_answer answer = {0};
    int rc = s3_call(listing->self, &request, &answer, err);

    listing->is_truncated = false;
    listing->token[0] = '\0';
    if (rc == 0) {
        rc = s3_xml_read(fed_buf_view(&answer.text), on_element, listing, err);
        fed_http_answer_deinit(&answer);
    }
    if (rc == 0 && listing->is_truncated && listing->token[0] == '\0') {
        rc = fed_err_set(err, FED_E_IO, "object store: a list that cannot be continued");
    }
    return rc;
}

static int s3_list(struct blob_store *store,
                   const char *after,
                   char (*ret_keys)[BLOB_KEY_MAX + 1],
                   size_t *io_n,
                   struct fed_err *err)
{
    struct listing listing = {.self = self_of(store), .keys = ret_keys, .n_max = *io_n};
    struct fed_buf query;
    unsigned n_pages = 0;
    int rc = 0;

    fed_buf_init(&query, S3_URL_SIZE);
    listing.is_truncated = *io_n > 0;
    while (rc == 0 && listing.is_truncated && listing.n < listing.n_max) {
        rc = n_pages++ < LIST_PAGES_MAX
                 ? format_query(&listing, after, &query, err)
                 : fed_err_set(err, FED_E_LIMIT,
                               "bucket %s is full of what is not ours: give it a "
                               "prefix",
                               listing.self->bucket);
        rc = rc < 0 ? rc : list_page(&listing, (const char *)query.data, err);
    }
    fed_buf_deinit(&query);
    if (rc < 0) {
        return rc;
    }
    *io_n = listing.n; /* none where the bucket is missing */
    return 0;
}

/* The Date of an answer about the bucket. */
static int s3_about(struct blob_store *store, struct blob_about *ret_about, struct fed_err *err)
{
    const struct s3_request request = {.method = "HEAD"};
    struct fed_http_answer answer = {0};
    const int rc = s3_call(self_of(store), &request, &answer, err);

    if (rc == 0) {
        ret_about->clock_utc_ms = answer.date_utc_ms;
        fed_http_answer_deinit(&answer);
    }
    return rc < 0 ? rc : 0; /* the bucket is made by the first write */
}

/* -- opening ------------------------------------------------------------------------------------
 */

static void s3_close(struct blob_store *store)
{
    struct s3 *self = self_of(store);

    self->pool = fed_http_pool_free(self->pool);
    explicit_bzero(self, sizeof(*self)); /* the keys */
    free(self);
}

static const struct blob_ops s3_ops = {
    .name = "s3",
    .put_begin = s3_put_begin,
    .put_chunk = s3_put_chunk,
    .put_commit = s3_put_commit,
    .put_abort = s3_put_abort,
    .read = s3_read,
    .copy = s3_copy,
    .stat = s3_stat,
    .remove = s3_remove,
    .list = s3_list,
    .close = s3_close,
    .about = s3_about,
};

void blob_options_complete(struct blob_options *options)
{
    if ((options->access_key == NULL || options->access_key[0] == '\0') &&
        (options->secret_key == NULL || options->secret_key[0] == '\0')) {
        options->access_key = fed_env_get("AWS_ACCESS_KEY_ID");
        options->secret_key = fed_env_get("AWS_SECRET_ACCESS_KEY");
        options->session_token = fed_env_get("AWS_SESSION_TOKEN");
    }
}

int blob_s3_open(const char *url,
                 const struct blob_options *options,
                 struct blob_store **ret_store,
                 struct fed_err *err)
{
    const struct fed_http_pool_config config = {
        .ca_file = options->ca_file,
        .connect_timeout_ms = S3_CONNECT_MS,
        .stall_ms = options->stall_ms == 0 ? S3_STALL_MS : options->stall_ms,
    };
    struct s3 *self = calloc(1, sizeof(*self));
    int rc;

    if (self == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "blob store");
    }
    self->base.ops = &s3_ops;
    self->repeat_ms = options->repeat_ms == 0 ? S3_REPEAT_MS : options->repeat_ms;
    rc = s3_address(self, url, options, err);
    rc = rc < 0 ? rc : fed_http_pool_new(&config, &self->pool, err);
    if (rc < 0) {
        s3_close(&self->base);
        return rc;
    }
    *ret_store = &self->base;
    return 0;
}
