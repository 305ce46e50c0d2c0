/* Packages and helpers.
 *
 * A package's row says itself whether it is active: one row is written at a time, the new one
 * first, so that there is always one; of two (a crash in between) the one written last counts.
 */
#include "reducer/rest/rest_package.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define TEXT_MAX     1024U /* bytes of a name, of a description */
#define PACKAGE_TYPE "application/x-tar"

static struct store *store_of(const struct rest_request *request)
{
    return request->shared->host->store;
}

/* The newest package whose field has the value; NULL where there is none. */
static int load_by(struct rest_request *request,
                   const char *path,
                   const char *value,
                   json_t **ret_document,
                   struct fed_err *err)
{
    struct store_query query = {.n_filters = 1, .sort_path = "updated_at", .limit = 1};
    json_t *documents = NULL;
    int rc;

    (void)snprintf(query.filters[0].path, sizeof(query.filters[0].path), "%s", path);
    query.filters[0].value = value;
    rc = store_find(store_of(request), STORE_PACKAGES, &query, &documents, NULL, err);
    if (rc == 0) {
        *ret_document = json_incref(json_array_get(documents, 0));
        json_decref(documents);
    }
    return rc;
}

int rest_package_load_active(struct rest_request *request,
                             json_t **ret_document,
                             struct fed_err *err)
{
    return load_by(request, "active", "true", ret_document, err);
}

/* Under the lock: no other row is active. */
static int deactivate_locked(struct rest_request *request, const char *but, struct fed_err *err)
{
    struct store_query query = {.n_filters = 1, .filters = {{.path = "active", .value = "true"}}};
    json_t *documents = NULL;
    int rc = store_find(store_of(request), STORE_PACKAGES, &query, &documents, NULL, err);

    for (size_t i = 0; rc >= 0 && i < json_array_size(documents); i++) {
        json_t *other = json_array_get(documents, i);
        const char *id = json_string_value(json_object_get(other, "package_id"));
        if (strcmp(id, but) == 0) {
            continue;
        }
        if (json_is_true(json_object_get(other, "_helper_only"))) {
            rc = store_remove(store_of(request), STORE_PACKAGES, id, err);
        } else {
            (void)json_object_set_new(other, "active", json_false());
            rc = store_put(store_of(request), STORE_PACKAGES, other, err);
        }
    }
    json_decref(documents);
    return rc < 0 ? rc : 0;
}

/* Write a package's row as the active one. */
static int activate(struct rest_request *request, json_t *document, struct fed_err *err)
{
    const char *id = json_string_value(json_object_get(document, "package_id"));
    int rc;

    if (json_object_set_new(document, "active", json_true()) < 0) {
        return fed_err_set(err, FED_E_NOMEM, "package");
    }
    (void)pthread_mutex_lock(&request->shared->package_lock);
    rc = store_put(store_of(request), STORE_PACKAGES, document, err);
    if (rc >= 0) {
        rc = deactivate_locked(request, id, err);
    }
    (void)pthread_mutex_unlock(&request->shared->package_lock);
    return rc;
}

/* -- upload ----------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    const char *magic; /* its first bytes */
} kinds[] = {
    {".tar.gz", "\x1f\x8b"},
    {".tgz", "\x1f\x8b"},
    {".tar.bz2", "BZh"},
};
#define KIND_MAX (sizeof(kinds) / sizeof(kinds[0]))

/* Which kind of archive: KIND_MAX for none. */
static size_t kind_of(const struct rest_upload *upload)
{
    const size_t n = strlen(upload->file_name);
    char magic[4] = "";

    (void)!pread(upload->fd, magic, sizeof(magic), 0);
    for (size_t i = 0; i < KIND_MAX; i++) {
        const size_t size = strlen(kinds[i].suffix);
        if (n > size && strcmp(upload->file_name + n - size, kinds[i].suffix) == 0 &&
            memcmp(magic, kinds[i].magic, strlen(kinds[i].magic)) == 0) {
            return i;
        }
    }
    return KIND_MAX;
}

/* A form's text of bounded length; absent: "". */
static int form_text(const struct rest_request *request,
                     const char *name,
                     const char **ret_text,
                     struct fed_err *err)
{
    const char *text = rest_texts_find(&request->form, name);

    *ret_text = text == NULL ? "" : text;
    if (strlen(*ret_text) > TEXT_MAX) {
        return fed_err_set(err, FED_E_INVALID, "%s must be a text of at most %u bytes", name,
                           TEXT_MAX);
    }
    return 0;
}

static int refuse_helper(struct rest_request *request, const char *helper, struct fed_err *err)
{
    return rest_refuse(request, 400, "unsupported", err,
                       "Helper '%.64s' is not supported: Confed has " REST_HELPER, helper);
}

static json_t *package_row(const struct rest_request *request,
                           const char *storage_name,
                           const char *const texts[3])
{
    char package_id[FED_UUID_SIZE];
    char hex[2 * FED_SHA256_BYTES + 1];

    memcpy(package_id, storage_name, sizeof(package_id) - 1);
    package_id[sizeof(package_id) - 1] = '\0';
    fed_hex_format(request->upload.sha256, FED_SHA256_BYTES, hex);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "package_id", package_id, "name",
                     texts[0], "description", texts[1], "helper", texts[2], "file_name",
                     request->upload.file_name, "storage_file_name", storage_name, "sha256", hex,
                     "size_bytes", (json_int_t)request->upload.size_bytes);
}

static int keep_package(struct rest_request *request,
                        const char *suffix,
                        const char *const texts[3],
                        struct fed_err *err)
{
    char uuid[FED_UUID_SIZE];
    char storage_name[FED_UUID_SIZE + 16];
    json_t *row;
    int rc = fed_uuid_new(uuid, err);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(storage_name, sizeof(storage_name), "%s%s", uuid, suffix);
    rc = blob_put_file(request->shared->host->blobs, storage_name, request->upload.path,
                       request->upload.sha256, err);
    if (rc < 0) {
        return fed_err_wrap(err, rc, "store the package");
    }
    row = package_row(request, storage_name, texts);
    rc = row == NULL ? fed_err_set(err, FED_E_INVALID, "the form's texts must be UTF-8")
                     : activate(request, row, err);
    json_decref(row);
    return rc;
}

int rest_package_add(struct rest_request *request, struct fed_err *err)
{
    const char *texts[3] = {"", "", ""};
    size_t kind;
    int rc = form_text(request, "name", &texts[0], err);

    if (rc == 0) {
        rc = form_text(request, "description", &texts[1], err);
    }
    if (rc == 0) {
        rc = form_text(request, "helper", &texts[2], err);
    }
    if (rc < 0) {
        return rc;
    }
    if (request->upload.fd < 0) {
        return rest_refuse(request, 400, "invalid", err, "The form has no file");
    }
    kind = kind_of(&request->upload);
    if (kind == KIND_MAX) {
        return rest_refuse(request, 400, "invalid", err,
                           "File extension not allowed: a package is a .tgz, .tar.gz or .tar.bz2 "
                           "archive");
    }
    texts[2] = texts[2][0] == '\0' ? REST_HELPER : texts[2];
    if (strcmp(texts[2], REST_HELPER) != 0) {
        return refuse_helper(request, texts[2], err);
    }
    rc = keep_package(request, kinds[kind].suffix, texts, err);
    return rc < 0 ? rc : rest_answer_message(request, 200, "Package uploaded", err);
}

/* -- active ----------------------------------------------------------------------------------- */

int rest_package_active(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    int rc = rest_package_load_active(request, &document, err);

    if (rc == 0 && document == NULL) {
        return rest_refuse(request, 404, "not_found", err, "Entity not found");
    }
    if (rc == 0) {
        rc = rest_answer_json(request, 200, rest_json_row(document), err);
    }
    json_decref(document);
    return rc;
}

int rest_package_set_active(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *document = NULL;
    const char *id = NULL;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "id", FED_ID_SIZE - 1, &id, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = id == NULL ? STORE_NOT_FOUND
                    : store_get(store_of(request), STORE_PACKAGES, id, &document, err);
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse(request, id == NULL ? 400 : 404, id == NULL ? "invalid" : "not_found",
                           err, "Active package not set");
    }
    if (rc == 0) {
        rc = activate(request, document, err);
    }
    json_decref(document);
    return rc < 0 ? rc : rest_answer_message(request, 200, "Active package set", err);
}

int rest_package_unset_active(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    int rc = rest_package_load_active(request, &document, err);

    if (rc == 0 && document == NULL) {
        return rest_refuse(request, 404, "not_found", err, "Entity not found");
    }
    json_decref(document);
    if (rc == 0) {
        (void)pthread_mutex_lock(&request->shared->package_lock);
        rc = deactivate_locked(request, "", err);
        (void)pthread_mutex_unlock(&request->shared->package_lock);
    }
    return rc < 0 ? rc : rest_answer_message(request, 200, "Active package deleted", err);
}

/* -- download --------------------------------------------------------------------------------- */

/* The package of ?name=, else the active one; NULL: there is none with a file. */
static int load_wanted(struct rest_request *request, json_t **ret_document, struct fed_err *err)
{
    const char *name = rest_texts_find(&request->query, "name");
    json_t *document = NULL;
    int rc;

    if (name == NULL || *name == '\0') {
        rc = rest_package_load_active(request, &document, err);
    } else {
        rc = load_by(request, "storage_file_name", name, &document, err);
        if (rc == 0 && document == NULL) {
            rc = load_by(request, "file_name", name, &document, err);
        }
    }
    if (rc == 0 && rest_json_is_null(document, "storage_file_name")) {
        json_decref(document);
        document = NULL;
    }
    if (rc == 0) {
        *ret_document = document;
    }
    return rc;
}

int rest_package_download(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    const char *key;
    int rc = load_wanted(request, &document, err);

    if (rc == 0 && document == NULL) {
        return rest_refuse(request, 404, "not_found", err, "No active package");
    }
    if (rc < 0) {
        return rc;
    }
    key = json_string_value(json_object_get(document, "storage_file_name"));
    rc = rest_answer_blob(request, key, PACKAGE_TYPE, key, err);
    if (rc == BLOB_NOT_FOUND) {
        rc = rest_refuse(request, 404, "not_found", err, "The package's file is not in the store");
    }
    json_decref(document);
    return rc;
}

int rest_package_checksum(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    int rc = load_wanted(request, &document, err);

    if (rc < 0) {
        return rc;
    }
    if (document == NULL) {
        return rest_answer_json(request, 404,
                                json_pack("{s:s,s:s,s:s}", "checksum", "", "code", "not_found",
                                          "message", "No active package"),
                                err);
    }
    rc = rest_answer_json(request, 200,
                          json_pack("{s:O,s:s}", "checksum", json_object_get(document, "sha256"),
                                    "message", "Checksum created."),
                          err);
    json_decref(document);
    return rc;
}

/* -- helpers ---------------------------------------------------------------------------------- */

int rest_helper_active(struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    int rc = rest_package_load_active(request, &document, err);

    if (rc == 0 && rest_json_is_null(document, "helper")) {
        rc = rest_refuse(request, 404, "not_found", err, "No active helper");
    } else if (rc == 0) {
        rc = rest_answer_json(request, 200, json_incref(json_object_get(document, "helper")), err);
    }
    json_decref(document);
    return rc;
}

/* As at FEDn: without a package, one with nothing but a helper, so that remote clients attach. */
static json_t *helper_row(struct fed_err *err)
{
    char uuid[FED_UUID_SIZE];

    if (fed_uuid_new(uuid, err) < 0) {
        return NULL;
    }
    return json_pack("{s:s,s:n,s:n,s:n,s:n,s:b}", "package_id", uuid, "name", "description",
                     "file_name", "storage_file_name", "_helper_only", 1);
}

int rest_helper_set(struct rest_request *request, struct fed_err *err)
{
    json_t *object = NULL;
    json_t *document = NULL;
    const char *helper = NULL;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "helper", REST_NAME_MAX, &helper, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (helper == NULL) {
        return rest_refuse(request, 400, "invalid", err,
                           "Helper is required to be '" REST_HELPER "'");
    }
    if (strcmp(helper, REST_HELPER) != 0) {
        return refuse_helper(request, helper, err);
    }
    rc = rest_package_load_active(request, &document, err);
    if (rc < 0) {
        return rc;
    }
    document = document == NULL ? helper_row(err) : document;
    rc = document == NULL || json_object_set_new(document, "helper", json_string(helper)) < 0
             ? fed_err_set(err, FED_E_NOMEM, "helper")
             : activate(request, document, err);
    json_decref(document);
    return rc < 0 ? rc : rest_answer_message(request, 200, "Active helper set", err);
}
