/* Writing to S3: what fits one part is one PUT at the commit, the rest a multipart upload.
 *
 *   FILLING --part full--> CreateMultipartUpload once, then the part is sent by a thread
 *           --commit-----> PUT, or the last part and CompleteMultipartUpload: visible from then on
 *           --abort------> AbortMultipartUpload
 *
 * A few parts are in memory, one being filled while the others are sent.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "common/model/checksum.h"
#include "reducer/blob/s3_inside.h"
#include "reducer/blob/s3_xml.h"

#define SLOTS      3U
#define QUERY_SIZE (3U * S3_UPLOAD_SIZE + 64U)
#define PARTS_TEXT ((size_t)4 * 1024 * 1024) /* bytes of the list of all parts */

struct s3_writer;

/* A part in memory. */
struct slot {
    struct s3_writer *writer;
    uint8_t *data; /* (S3_PART_SIZE,) owned; NULL: not yet needed */
    size_t size;
    unsigned number; /* 1 … */
    bool is_sending; /* the thread's from here on, until it is joined */
    pthread_t thread;
    int rc;
    struct fed_err err;
    char etag[FED_HTTP_VALUE_SIZE];
};

struct s3_writer {
    struct blob_writer base;
    char key[BLOB_KEY_MAX + 1];
    char known[SIGV4_HASH_SIZE]; /* what the blob will hash to; "": not known before the commit */
    struct fed_sha256 *hash;
    struct slot slots[SLOTS];
    unsigned n_parts;                /* filled, or being filled */
    bool is_failed;                  /* a chunk has not been taken */
    char upload[3 * S3_UPLOAD_SIZE]; /* id, encoded; "": no multipart upload */
    struct fed_buf parts;            /* XML, of those that are there */
};

static struct s3 *self_of(const struct s3_writer *writer)
{
    return (struct s3 *)(void *)writer->base.store;
}

static struct s3_writer *writer_of(struct blob_writer *base)
{
    return (struct s3_writer *)(void *)base;
}

static struct slot *slot_of(struct s3_writer *writer, unsigned number)
{
    return &writer->slots[number % SLOTS];
}

static void free_writer(struct s3_writer *writer)
{
    for (size_t i = 0; i < SLOTS; i++) {
        free(writer->slots[i].data);
    }
    fed_buf_deinit(&writer->parts);
    (void)fed_sha256_free(writer->hash);
    free(writer);
}

/* -- parts --------------------------------------------------------------------------------------
 */

static int send_part(struct slot *slot)
{
    const struct s3_writer *writer = slot->writer;
    struct fed_http_answer answer = {0};
    char query[QUERY_SIZE];
    const struct s3_request request = {.method = "PUT",
                                       .key = writer->key,
                                       .query = query,
                                       .body = fed_view_of(slot->data, slot->size)};
    int rc;

    (void)snprintf(query, sizeof(query), "partNumber=%u&uploadId=%s", slot->number, writer->upload);
    rc = s3_call(self_of(writer), &request, &answer, &slot->err);
    if (rc == 0) {
        memcpy(slot->etag, answer.values[S3_ETAG], sizeof(slot->etag));
        fed_http_answer_deinit(&answer);
    }
    return rc <= 0 ? rc
                   : fed_err_set(&slot->err, FED_E_IO, "the upload of %s is gone", writer->key);
}

static void *run_slot(void *arg)
{
    struct slot *slot = arg;

    slot->rc = send_part(slot);
    return NULL;
}

/* Wait until the slot's part, if any, is there, and note it down. */
static int settle(struct slot *slot, struct fed_err *err)
{
    struct s3_writer *writer = slot->writer;

    if (!slot->is_sending) {
        return 0;
    }
    (void)pthread_join(slot->thread, NULL);
    slot->is_sending = false;
    slot->size = 0;
    if (slot->rc < 0) {
        return fed_err_set(err, slot->err.code, "%s", slot->err.msg);
    }
    if (slot->etag[0] == '\0' || strpbrk(slot->etag, "<>&") != NULL) {
        return fed_err_set(err, FED_E_IO, "part %u of %s: an answer without ETag", slot->number,
                           writer->key);
    }
    return fed_buf_addf(&writer->parts, err,
                        "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", slot->number,
                        slot->etag);
}

/* All that are being sent, in their order. Goes on after a failure, so that none is left. */
static int settle_all(struct s3_writer *writer, struct fed_err *err)
{
    int first = 0;

    for (unsigned i = 1; i <= SLOTS; i++) {
        const int rc = settle(slot_of(writer, writer->n_parts + i), first == 0 ? err : NULL);
        first = first == 0 ? rc : first;
    }
    return first;
}

static int begin_upload(struct s3_writer *writer, struct fed_err *err)
{
    const struct s3_request request = {
        .method = "POST", .key = writer->key, .query = "uploads=", .sha256 = writer->known};
    struct fed_http_answer answer = {0};
    struct fed_buf encoded;
    char id[S3_UPLOAD_SIZE];
    int rc = s3_call_write(self_of(writer), &request, &answer, err);

    if (rc < 0) {
        return rc;
    }
    s3_xml_find(fed_buf_view(&answer.text), "InitiateMultipartUploadResult/UploadId", id,
                sizeof(id));
    fed_http_answer_deinit(&answer);
    if (id[0] == '\0') {
        return fed_err_set(err, FED_E_IO, "%s: an answer without UploadId", writer->key);
    }
    fed_buf_init(&encoded, sizeof(writer->upload) - 1);
    rc = sigv4_encode(id, &encoded, err);
    if (rc == 0) {
        memcpy(writer->upload, encoded.data, encoded.size);
        writer->upload[encoded.size] = '\0';
    }
    fed_buf_deinit(&encoded);
    return rc;
}

/* Send the part that is being filled. */
static int send_slot(struct s3_writer *writer, struct fed_err *err)
{
    struct slot *slot = slot_of(writer, writer->n_parts);
    int rc = writer->upload[0] == '\0' ? begin_upload(writer, err) : 0;

    if (rc < 0) {
        return rc;
    }
    slot->rc = 0;
    if (pthread_create(&slot->thread, NULL, run_slot, slot) != 0) {
        return fed_err_set(err, FED_E_NOMEM, "a thread to send a part");
    }
    slot->is_sending = true;
    return 0;
}

/* The next part to fill. */
static int open_slot(struct s3_writer *writer, struct fed_err *err)
{
    struct slot *slot = slot_of(writer, writer->n_parts + 1);
    int rc;

    if (writer->n_parts == S3_PARTS_MAX) {
        return fed_err_set(err, FED_E_LIMIT, "%s: a blob has at most %zu bytes", writer->key,
                           S3_PARTS_MAX * S3_PART_SIZE);
    }
    rc = settle(slot, err);
    if (rc == 0 && slot->data == NULL) {
        slot->data = malloc(S3_PART_SIZE);
        rc = slot->data == NULL ? fed_err_set(err, FED_E_NOMEM, "a part to send") : 0;
    }
    if (rc == 0) {
        slot->number = ++writer->n_parts;
        slot->size = 0;
    }
    return rc;
}

/* -- the contract -------------------------------------------------------------------------------
 */

int s3_put_begin(struct blob_store *store,
                 const char *key,
                 const uint8_t *sha256,
                 struct blob_writer **ret_writer,
                 struct fed_err *err)
{
    struct s3_writer *writer = calloc(1, sizeof(*writer));
    int rc;

    if (writer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "blob");
    }
    writer->base.store = store;
    (void)snprintf(writer->key, sizeof(writer->key), "%s", key);
    if (sha256 != NULL) {
        fed_hex_format(sha256, FED_SHA256_BYTES, writer->known);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        writer->slots[i].writer = writer;
    }
    fed_buf_init(&writer->parts, PARTS_TEXT);
    rc = fed_buf_addf(&writer->parts, err, "<CompleteMultipartUpload>");
    rc = rc < 0 ? rc : fed_sha256_new(&writer->hash, err);
    rc = rc < 0 ? rc : open_slot(writer, err);
    if (rc < 0) {
        free_writer(writer);
        return rc;
    }
    *ret_writer = &writer->base;
    return 0;
}

int s3_put_chunk(struct blob_writer *base, const void *data, size_t size, struct fed_err *err)
{
    struct s3_writer *writer = writer_of(base);
    const uint8_t *p = data;
    int rc = 0;

    fed_sha256_add(writer->hash, data, size);
    while (rc == 0 && size > 0) {
        struct slot *slot = slot_of(writer, writer->n_parts);
        const size_t room = S3_PART_SIZE - slot->size;
        const size_t n = size < room ? size : room;
        if (slot->is_sending) {
            rc = open_slot(writer, err);
        } else if (n == 0) {
            rc = send_slot(writer, err);
        } else {
            memcpy(slot->data + slot->size, p, n);
            slot->size += n;
            p += n;
            size -= n;
        }
    }
    writer->is_failed = writer->is_failed || rc < 0;
    return rc;
}

static int put_whole(struct s3_writer *writer, const char *hash, struct fed_err *err)
{
    const struct slot *slot = slot_of(writer, writer->n_parts);
    const struct s3_request request = {.method = "PUT",
                                       .key = writer->key,
                                       .body = fed_view_of(slot->data, slot->size),
                                       .hash = hash,
                                       .sha256 = hash};
    struct fed_http_answer answer = {0};
    const int rc = s3_call_write(self_of(writer), &request, &answer, err);

    fed_http_answer_deinit(&answer);
    return rc;
}

/* After a completion whose answer was lost: is the blob there, as we wrote it? */
static bool is_there(const struct s3_writer *writer)
{
    const struct s3_request request = {.method = "HEAD", .key = writer->key};
    struct fed_http_answer answer = {0};
    const bool is_known = writer->known[0] != '\0' &&
                          s3_call(self_of(writer), &request, &answer, NULL) == 0 &&
                          strcmp(answer.values[S3_SHA256], writer->known) == 0;

    fed_http_answer_deinit(&answer);
    return is_known;
}

static int complete(struct s3_writer *writer, struct fed_err *err)
{
    char query[QUERY_SIZE];
    char code[64];
    struct s3_request request = {.method = "POST", .key = writer->key, .query = query};
    struct fed_http_answer answer = {0};
    int rc = send_slot(writer, err);

    rc = rc < 0 ? rc : settle_all(writer, err);
    rc = rc < 0 ? rc : fed_buf_addf(&writer->parts, err, "</CompleteMultipartUpload>");
    if (rc < 0) {
        return rc;
    }
    (void)snprintf(query, sizeof(query), "uploadId=%s", writer->upload);
    request.body = fed_buf_view(&writer->parts);
    rc = s3_call(self_of(writer), &request, &answer, err);
    if (rc == 0) { /* a failure may come with status 200 */
        s3_xml_find(fed_buf_view(&answer.text), "Error/Code", code, sizeof(code));
        if (code[0] != '\0') {
            rc = fed_err_set(err, FED_E_UNAVAILABLE, "object store: completing %s: %s", writer->key,
                             code);
        }
        fed_http_answer_deinit(&answer);
    }
    if (rc != 0 && is_there(writer)) {
        rc = 0;
    }
    return rc <= 0 ? rc : fed_err_set(err, FED_E_IO, "the upload of %s is gone", writer->key);
}

int s3_put_commit(struct blob_writer *base, const uint8_t sha256[32], struct fed_err *err)
{
    struct s3_writer *writer = writer_of(base);
    uint8_t digest[FED_SHA256_BYTES];
    char hash[SIGV4_HASH_SIZE];
    int rc;

    fed_sha256_finish(writer->hash, digest);
    fed_hex_format(digest, sizeof(digest), hash);
    if (memcmp(digest, sha256, sizeof(digest)) != 0 ||
        (writer->known[0] != '\0' && strcmp(hash, writer->known) != 0)) {
        rc = fed_err_set(err, FED_E_CORRUPT, "%s: SHA-256 is not the expected one", writer->key);
    } else if (writer->is_failed) {
        rc = fed_err_set(err, FED_E_IO, "%s: a part of it was not taken", writer->key);
    } else if (writer->upload[0] == '\0') {
        rc = put_whole(writer, hash, err);
    } else {
        rc = complete(writer, err);
    }
    if (rc < 0) {
        s3_put_abort(base);
    } else {
        free_writer(writer);
    }
    return rc;
}

/* Once: what is not heard of is left to the store's own rule for unfinished uploads. */
void s3_put_abort(struct blob_writer *base)
{
    struct s3_writer *writer = writer_of(base);
    char query[QUERY_SIZE];
    const struct s3_request request = {.method = "DELETE", .key = writer->key, .query = query};
    struct fed_http_answer answer = {0};

    (void)settle_all(writer, NULL);
    if (writer->upload[0] != '\0') {
        (void)snprintf(query, sizeof(query), "uploadId=%s", writer->upload);
        (void)!s3_try(self_of(writer), &request, &answer, NULL);
        fed_http_answer_deinit(&answer);
    }
    free_writer(writer);
}
