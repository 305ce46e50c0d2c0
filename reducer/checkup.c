#include "reducer/checkup.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/model/checksum.h"
#include "reducer/blob/blob.h"
#include "reducer/space.h"
#include "reducer/store/store.h"

#define TEXT_SIZE 512
#define SLOW_US   200000U /* of the few small calls a check makes */
#define BLOB_SIZE 4096U
#define SKEW_MS   5000

void checkup_add(json_t *findings,
                 const char *name,
                 const char *status,
                 const char *advice,
                 const char *fmt,
                 ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)json_array_append_new(findings, json_pack("{s:s,s:s,s:s,s:s}", "name", name, "status",
                                                    status, "text", text, "advice", advice));
}

/* By what the back ends say: the words of SQLite, MongoDB and S3 servers. */
static const char *advice_of(const struct fed_err *err)
{
    static const struct {
        const char *part;
        const char *advice;
    } known[] = {
        {"in use by pid", "stop that reducer, or ask it: `confed doctor` without --config"},
        {"uthentication", "check store_user and store_password_file"},
        {"nauthorized", "give the user readWrite on the database"},
        {"TooSkewed", "this machine's clock or the object store's is wrong: use NTP on both"},
        {"SignatureDoesNotMatch", "check blob_secret_key_file, and blob_region"},
        {"InvalidAccessKeyId", "check blob_access_key"},
        {"AccessDenied", "let the key read, write, list and delete in the bucket"},
        {"NoSuchBucket", "make the bucket, or let the key make it"},
        {"ertificate", "check the server's certificate and the CA file in the settings"},
        {"resolve", "check the host's name in the settings, and this machine's DNS"},
        {"ermission denied", "let the reducer's user write there"},
        {"No space left", "make room"},
        {"Read-only", "give a folder that can be written to"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(err->msg, known[i].part) != NULL) {
            return known[i].advice;
        }
    }
    if (err->code == FED_E_UNAVAILABLE || err->code == FED_E_TIMEOUT) {
        return "is it running, and is its port open from here?";
    }
    return err->code == FED_E_DENIED ? "check the names, keys and rights in the settings"
                                     : "see the message; the reducer's log has more";
}

void checkup_failure(json_t *findings, const char *name, const struct fed_err *err)
{
    checkup_add(findings, name, "failed", advice_of(err), "%s", err->msg);
}

static void add_speed(json_t *findings, const char *name, const char *kind, uint64_t us)
{
    if (us > SLOW_US) {
        checkup_add(findings, name, "warning", "look at the network and at its disk",
                    "%s: read and written, but slowly: %.0f ms", kind, (double)us / 1000);
    } else {
        checkup_add(findings, name, "ok", "", "%s: read and written in %.1f ms", kind,
                    (double)us / 1000);
    }
}

/* A server's clock beside ours, which was read just after it. S3 refuses requests from 15 min on.
 */
static void add_skew(json_t *findings, const char *name, uint64_t clock_utc_ms)
{
    const int64_t skew_ms = (int64_t)fed_clock_utc_ms() - (int64_t)clock_utc_ms;

    if (clock_utc_ms != 0 && (skew_ms > SKEW_MS || skew_ms < -SKEW_MS)) {
        checkup_add(findings, name, "warning", "use NTP on both machines",
                    "its clock and ours are %.0f s apart", (double)skew_ms / 1000);
    }
}

/* -- store --------------------------------------------------------------------------------------
 */

static int try_store(struct store *store, const char *key, struct fed_err *err)
{
    json_t *document = json_pack("{s:s,s:i}", "federation", key, "check", 1);
    json_t *found = NULL;
    int rc = store_insert(store, STORE_FEDERATION, document, err);

    rc = rc != 0 ? rc : store_get(store, STORE_FEDERATION, key, &found, err);
    if (rc == 0 && json_integer_value(json_object_get(found, "check")) != 1) {
        rc = fed_err_set(err, FED_E_CORRUPT, "a document came back changed");
    }
    rc = rc != 0 ? rc : store_remove(store, STORE_FEDERATION, key, err);
    json_decref(document);
    json_decref(found);
    return rc > 0 ? fed_err_set(err, FED_E_CORRUPT, "a document that was written is not there")
                  : rc;
}

void checkup_store(json_t *findings, struct store *store)
{
    const uint64_t began_us = fed_clock_mono_us();
    struct store_about about = {0};
    struct fed_err err = {0};
    char id[FED_UUID_SIZE];
    char key[FED_UUID_SIZE + 8];
    char kind[96];
    int rc = fed_uuid_new(id, &err);

    (void)snprintf(key, sizeof(key), "check-%s", rc < 0 ? "" : id);
    rc = rc < 0 ? rc : store_about(store, &about, &err);
    (void)snprintf(kind, sizeof(kind), "%s%s%s", store->ops->name,
                   about.version[0] == '\0' ? "" : " ", about.version);
    rc = rc < 0 ? rc : try_store(store, key, &err);
    if (rc < 0) {
        checkup_failure(findings, "store", &err);
    } else {
        add_speed(findings, "store", kind, fed_clock_mono_us() - began_us);
        add_skew(findings, "store", about.clock_utc_ms);
    }
}

/* -- blobs --------------------------------------------------------------------------------------
 */

static int write_blob(struct blob_store *blobs,
                      const char *key,
                      const uint8_t data[BLOB_SIZE],
                      struct fed_err *err)
{
    uint8_t sha256[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;
    int rc = blob_put_begin(blobs, key, &writer, err);

    if (rc < 0) {
        return rc;
    }
    fed_sha256_once(data, BLOB_SIZE, sha256);
    rc = blob_put_chunk(writer, data, BLOB_SIZE, err);
    if (rc < 0) {
        blob_put_abort(writer);
        return rc;
    }
    return blob_put_commit(writer, sha256, err);
}

static int try_blobs(struct blob_store *blobs, const char *key, struct fed_err *err)
{
    uint8_t data[BLOB_SIZE];
    uint8_t found[BLOB_SIZE];
    size_t size = sizeof(found);
    int rc;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 31U);
    }
    rc = write_blob(blobs, key, data, err);
    rc = rc != 0 ? rc : blob_read(blobs, key, 0, found, &size, err);
    if (rc == 0 && (size != sizeof(data) || memcmp(data, found, sizeof(data)) != 0)) {
        rc = fed_err_set(err, FED_E_CORRUPT, "a blob came back changed");
    }
    rc = rc != 0 ? rc : blob_remove(blobs, key, err);
    return rc > 0 ? fed_err_set(err, FED_E_CORRUPT, "a blob that was written is not there") : rc;
}

void checkup_blobs(json_t *findings, struct blob_store *blobs)
{
    const uint64_t began_us = fed_clock_mono_us();
    struct blob_about about = {0};
    struct fed_err err = {0};
    char id[FED_UUID_SIZE];
    char key[FED_UUID_SIZE + 8];
    int rc = fed_uuid_new(id, &err);

    (void)snprintf(key, sizeof(key), "check-%s", rc < 0 ? "" : id);
    rc = rc < 0 ? rc : try_blobs(blobs, key, &err);
    rc = rc < 0 ? rc : blob_about(blobs, &about, &err);
    if (rc < 0) {
        checkup_failure(findings, "blobs", &err);
    } else {
        add_speed(findings, "blobs", blobs->ops->name, fed_clock_mono_us() - began_us);
        add_skew(findings, "blobs", about.clock_utc_ms);
    }
}

/* -- clock --------------------------------------------------------------------------------------
 */

void checkup_clock(json_t *findings)
{
    struct timex state = {0};

    if (adjtimex(&state) == TIME_ERROR) {
        checkup_add(findings, "clock", "warning", "run an NTP client (chrony, systemd-timesyncd)",
                    "nothing keeps this machine's clock right");
    } else {
        checkup_add(findings, "clock", "ok", "", "synchronised, error at most %ld ms",
                    state.maxerror / 1000);
    }
}

/* -- space --------------------------------------------------------------------------------------
 */

void checkup_space(json_t *findings, const struct space *space)
{
    char text[SPACE_TEXT_SIZE];
    json_t *places = space_describe(space);
    const json_t *place;
    size_t i;

    if (space_look(space, text)) {
        checkup_add(findings, "disk", "failed",
                    "make room, prune models (`confed model prune`), or lower disk_reserve", "%s",
                    text);
    } else {
        json_array_foreach(places, i, place)
        {
            checkup_add(findings, "disk", "ok", "", "%s: %.1f GiB free at %s",
                        json_string_value(json_object_get(place, "what")),
                        (double)json_integer_value(json_object_get(place, "free_bytes")) /
                            1073741824.0,
                        json_string_value(json_object_get(place, "path")));
        }
    }
    json_decref(places);
}
