#include "reducer/copying.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/id.h"
#include "common/model/checksum.h"
#include "reducer/blob/blob.h"
#include "reducer/pruning.h"
#include "reducer/rows.h"
#include "reducer/store/store.h"

#define BLOCK_SIZE  ((size_t)1024 * 1024)
#define KEYS_N      256U
#define TELL_GAP_MS 500U
#define LINE_SIZE   160

struct copy {
    const struct copying *copying;
    enum store_collection in;
    bool is_checking; /* the second walk: everything must be there */
    json_t *sums;     /* {blob key: SHA-256 in hex} by the models' rows; owned */
    uint8_t *block;
    uint64_t told_ms;
    json_int_t documents;
    json_int_t documents_there;
    json_int_t blobs;
    json_int_t blobs_there;
    json_int_t bytes;
    json_int_t missing;
};

static void tell(struct copy *copy, bool is_last)
{
    const uint64_t now_ms = fed_clock_mono_ms();
    char line[LINE_SIZE];

    if (copy->copying->tell == NULL || (!is_last && now_ms < copy->told_ms + TELL_GAP_MS)) {
        return;
    }
    copy->told_ms = now_ms;
    (void)snprintf(line, sizeof(line),
                   "%lld documents (%lld were there), %lld blobs (%lld were there), %.1f MiB",
                   (long long)copy->documents, (long long)copy->documents_there,
                   (long long)copy->blobs, (long long)copy->blobs_there,
                   (double)copy->bytes / 1048576.0);
    copy->copying->tell(copy->copying->arg, line);
}

/* -- documents ----------------------------------------------------------------------------------
 */

static const char *key_of(const struct copy *copy, const json_t *document)
{
    return rows_get_text(document, store_collection_key(copy->in), "");
}

static int differs(const struct copy *copy, const json_t *document, struct fed_err *err)
{
    if (copy->is_checking) {
        return fed_err_set(err, FED_E_CONFLICT,
                           "%s %.80s changed while it was copied: is a reducer running on either "
                           "side? Stop it, and start with an empty target",
                           store_collection_name(copy->in), key_of(copy, document));
    }
    return fed_err_set(err, FED_E_CONFLICT,
                       "%s %.80s is at the target already, and is another one: the target holds "
                       "something else; give an empty one",
                       store_collection_name(copy->in), key_of(copy, document));
}

/* Returns 0: the same is there; STORE_NOT_FOUND. */
static int compare(const struct copy *copy, const json_t *document, struct fed_err *err)
{
    json_t *found = NULL;
    int rc = store_get(copy->copying->to, copy->in, key_of(copy, document), &found, err);

    if (rc == 0 && json_equal(found, document) == 0) {
        rc = differs(copy, document, err);
    }
    json_decref(found);
    return rc;
}

static int copy_document(void *arg, json_t *document, struct fed_err *err)
{
    struct copy *copy = arg;
    const char *sha256 = rows_get_text(document, "sha256", "");
    int rc = compare(copy, document, err);

    if (copy->in == STORE_MODELS && sha256[0] != '\0' && !pruning_is_pruned(document)) {
        (void)json_object_set_new(copy->sums, key_of(copy, document), json_string(sha256));
    }
    if (rc == 0) {
        copy->documents_there++;
    } else if (rc == STORE_NOT_FOUND) {
        rc = store_restore(copy->copying->to, copy->in, document, err);
        rc = rc == STORE_EXISTS ? differs(copy, document, err) : rc;
        copy->documents++;
    }
    tell(copy, false);
    return rc;
}

/* A capped collection has dropped its oldest, here or there. */
static int check_document(void *arg, json_t *document, struct fed_err *err)
{
    const struct copy *copy = arg;
    const int rc = compare(copy, document, err);

    if (rc == STORE_NOT_FOUND && copy->in < STORE_STATUSES) {
        return fed_err_set(err, FED_E_CORRUPT, "%s %.80s was copied and is not there",
                           store_collection_name(copy->in), key_of(copy, document));
    }
    return rc < 0 ? rc : 0;
}

static int walk_all(struct copy *copy, store_each_fn fn, struct fed_err *err)
{
    const struct store_query all = {.is_ascending = true};
    int rc = 0;

    for (int in = 0; rc == 0 && in < STORE_COLLECTION_MAX; in++) {
        copy->in = (enum store_collection)in;
        rc = store_each(copy->copying->from, copy->in, &all, fn, copy, err);
        rc = rc < 0 ? fed_err_wrap(err, rc, "copy %s", store_collection_name(copy->in)) : rc;
    }
    return rc;
}

/* -- blobs --------------------------------------------------------------------------------------
 */

/* Hash a blob, into `writer` where there is one. Returns 0 or BLOB_NOT_FOUND. */
static int read_blob(struct copy *copy,
                     struct blob_store *blobs,
                     const char *key,
                     struct blob_writer *writer,
                     uint8_t ret_sha256[FED_SHA256_BYTES],
                     struct fed_err *err)
{
    struct fed_sha256 *hash = NULL;
    uint64_t offset = 0;
    size_t n = BLOCK_SIZE;
    int rc = fed_sha256_new(&hash, err);

    while (rc == 0 && n == BLOCK_SIZE) {
        rc = blob_read(blobs, key, offset, copy->block, &n, err);
        if (rc == 0) {
            fed_sha256_add(hash, copy->block, n);
            offset += n;
            rc = writer == NULL || n == 0 ? 0 : blob_put_chunk(writer, copy->block, n, err);
        }
    }
    if (rc == 0) {
        fed_sha256_finish(hash, ret_sha256);
        copy->bytes += writer == NULL ? 0 : (json_int_t)offset;
    }
    (void)fed_sha256_free(hash);
    return rc;
}

static int check_sum(const struct copy *copy,
                     const char *key,
                     const uint8_t sha256[FED_SHA256_BYTES],
                     struct fed_err *err)
{
    const char *wanted = json_string_value(json_object_get(copy->sums, key));
    char hex[2 * FED_SHA256_BYTES + 1];

    fed_hex_format(sha256, FED_SHA256_BYTES, hex);
    if (wanted != NULL && strcmp(wanted, hex) != 0) {
        return fed_err_set(
            err, FED_E_CORRUPT,
            "the file of model %.80s is damaged at the source: its SHA-256 is not its "
            "row's",
            key);
    }
    return 0;
}

static int copy_new(struct copy *copy, const char *key, struct fed_err *err)
{
    uint8_t sha256[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;
    int rc = blob_put_begin(copy->copying->to_blobs, key, &writer, err);

    if (rc < 0) {
        return rc;
    }
    rc = read_blob(copy, copy->copying->from_blobs, key, writer, sha256, err);
    rc = rc != 0 ? rc : check_sum(copy, key, sha256, err);
    if (rc != 0) {
        blob_put_abort(writer);
        return rc < 0 ? rc : 0; /* removed meanwhile */
    }
    copy->blobs++;
    FED_FAULT_POINT("migrate.blob");
    return blob_put_commit(writer, sha256, err);
}

static int copy_blob(struct copy *copy, const char *key, struct fed_err *err)
{
    uint8_t here[FED_SHA256_BYTES];
    uint8_t there[FED_SHA256_BYTES];
    int rc = read_blob(copy, copy->copying->to_blobs, key, NULL, there, err);

    if (rc == BLOB_NOT_FOUND) {
        return copy_new(copy, key, err);
    }
    rc = rc != 0 ? rc : read_blob(copy, copy->copying->from_blobs, key, NULL, here, err);
    if (rc != 0) {
        return rc;
    }
    if (memcmp(here, there, sizeof(here)) != 0) {
        return fed_err_set(err, FED_E_CONFLICT,
                           "blob %.80s is at the target already, and is another one: give an empty "
                           "target",
                           key);
    }
    copy->blobs_there++;
    return check_sum(copy, key, here, err);
}

static int copy_blobs(struct copy *copy, struct fed_err *err)
{
    char(*keys)[BLOB_KEY_MAX + 1] = calloc(KEYS_N, sizeof(*keys));
    char after[BLOB_KEY_MAX + 1] = "";
    size_t n = KEYS_N;
    int rc = keys == NULL ? fed_err_set(err, FED_E_NOMEM, "keys") : 0;

    while (rc == 0 && n > 0) {
        n = KEYS_N;
        rc = blob_list(copy->copying->from_blobs, after, keys, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = copy_blob(copy, keys[i], err);
            rc = rc < 0 ? fed_err_wrap(err, rc, "copy blob %.80s", keys[i]) : 0;
            tell(copy, false);
        }
        if (rc == 0 && n > 0) {
            memcpy(after, keys[n - 1], sizeof(after));
        }
    }
    free(keys);
    return rc;
}

/* Every model whose row promises a file has it. */
static int check_blobs(struct copy *copy, struct fed_err *err)
{
    const char *key;
    json_t *sum;
    int rc = 0;

    json_object_foreach(copy->sums, key, sum)
    {
        struct blob_info info;
        rc = blob_key_is_valid(key) ? blob_stat(copy->copying->to_blobs, key, &info, err) : 0;
        if (rc < 0) {
            return rc;
        }
        copy->missing += rc == BLOB_NOT_FOUND ? 1 : 0;
    }
    return 0;
}

int copying_run(const struct copying *copying, json_t **ret_report, struct fed_err *err)
{
    struct copy copy = {.copying = copying, .sums = json_object(), .block = malloc(BLOCK_SIZE)};
    int rc = copy.sums == NULL || copy.block == NULL ? fed_err_set(err, FED_E_NOMEM, "copy") : 0;

    rc = rc < 0 ? rc : walk_all(&copy, copy_document, err);
    rc = rc < 0 ? rc : copy_blobs(&copy, err);
    copy.is_checking = true;
    rc = rc < 0 ? rc : walk_all(&copy, check_document, err);
    rc = rc < 0 ? rc : check_blobs(&copy, err);
    if (rc == 0) {
        tell(&copy, true);
        *ret_report =
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "documents", copy.documents, "documents_there",
                      copy.documents_there, "blobs", copy.blobs, "blobs_there", copy.blobs_there,
                      "bytes", copy.bytes, "missing", copy.missing);
        rc = *ret_report == NULL ? fed_err_set(err, FED_E_NOMEM, "copy") : 0;
    }
    free(copy.block);
    json_decref(copy.sums);
    return rc;
}
