/* Models: upload of a seed, name, download, values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/npz.h"
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_package.h"

#define PARAMETERS_MAX   (1U << 22) /* scalars told as JSON */
#define TEXT_BLOCK       (64UL * 1024UL)
#define WRITE_ATTEMPTS_N 5

/* -- upload ----------------------------------------------------------------------------------- */

static int refuse_model(struct rest_request *request, const char *reason, struct fed_err *err)
{
    char message[FED_ERR_MSG_SIZE + 32];

    (void)snprintf(message, sizeof(message), "Failed to add model: %s", reason);
    return rest_answer_json(
        request, 400,
        json_pack("{s:s,s:s,s:b}", "code", "invalid", "message", message, "success", 0), err);
}

static int
ignore_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    (void)arg;
    (void)index;
    (void)values;
    (void)n;
    (void)err;
    return 0; /* reading has checked that they are finite */
}

/* Read a model through. Returns 0, a fault, or < 0. */
static int check_model(const struct rest_request *request,
                       size_t *ret_n_tensors,
                       uint64_t *ret_n_elements,
                       struct fed_err *err)
{
    const struct fed_npz_limits limits = {
        .file_size_max = request->shared->upload_max,
        .elements_max = request->shared->elements_max,
    };
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    int rc = fed_npz_open(request->upload.path, &limits, &npz, err);

    if (rc != 0) {
        return rc;
    }
    *ret_n_tensors = fed_npz_get_layout(npz)->n_tensors;
    *ret_n_elements = fed_npz_get_layout(npz)->n_elements;
    for (size_t i = 0; rc == 0 && i < *ret_n_tensors; i++) {
        rc = fed_npz_read(npz, i, ignore_values, NULL, err);
    }
    return rc;
}

static int keep_model(struct rest_request *request,
                      const char *name,
                      size_t n_tensors,
                      uint64_t n_elements,
                      struct fed_err *err)
{
    char id[FED_UUID_SIZE];
    char hex[2 * FED_SHA256_BYTES + 1];
    json_t *row;
    int rc = fed_uuid_new(id, err);

    if (rc < 0) {
        return rc;
    }
    fed_hex_format(request->upload.sha256, FED_SHA256_BYTES, hex);
    row = json_pack("{s:s,s:s,s:s?,s:n,s:n,s:n,s:n,s:s,s:I,s:I,s:I}", "model", id, "model_id", id,
                    "name", name, "parent_model", "session_id", "round_id", "round_number",
                    "sha256", hex, "size_bytes", (json_int_t)request->upload.size_bytes,
                    "n_tensors", (json_int_t)n_tensors, "n_elements", (json_int_t)n_elements);
    if (row == NULL) {
        return refuse_model(request, "the name must be UTF-8", err);
    }
    rc = blob_put_file(request->shared->host->blobs, id, request->upload.path,
                       request->upload.sha256, err);
    rc = rc < 0 ? fed_err_wrap(err, rc, "store the model")
                : store_insert(request->shared->host->store, STORE_MODELS, row, err);
    json_decref(row);
    if (rc > 0) {
        return fed_err_set(err, FED_E_CONFLICT, "a model of that id is there already");
    }
    if (rc < 0) {
        return rc;
    }
    return rest_answer_json(request, 200,
                            json_pack("{s:s,s:s,s:s,s:b}", "message", "Model added successfully",
                                      "model_id", id, "sha256", hex, "success", 1),
                            err);
}

int rest_model_add(struct rest_request *request, struct fed_err *err)
{
    const char *name = rest_texts_find(&request->form, "name");
    const char *helper = rest_texts_find(&request->form, "helper");
    size_t n_tensors = 0;
    uint64_t n_elements = 0;
    int rc;

    if (request->upload.fd < 0) {
        return refuse_model(request, "the form has no file", err);
    }
    if (helper != NULL && *helper != '\0' && strcmp(helper, REST_HELPER) != 0) {
        return refuse_model(request, "helper: Confed has " REST_HELPER, err);
    }
    if (name != NULL && strlen(name) > REST_NAME_MAX) {
        return refuse_model(request, "the name is over 255 bytes", err);
    }
    rc = check_model(request, &n_tensors, &n_elements, err);
    if (rc > 0) {
        return refuse_model(request, err->msg, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (n_tensors == 0) {
        return refuse_model(request, "it has no tensor", err);
    }
    return keep_model(request, name != NULL && *name == '\0' ? NULL : name, n_tensors, n_elements,
                      err);
}

/* -- change ----------------------------------------------------------------------------------- */

int rest_model_change(struct rest_request *request, struct fed_err *err)
{
    struct store *store = request->shared->host->store;
    json_t *object = NULL;
    const char *name = NULL;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "name", REST_NAME_MAX, &name, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = STORE_CONFLICT;
    for (int i = 0; name != NULL && rc == STORE_CONFLICT && i < WRITE_ATTEMPTS_N; i++) {
        json_t *document = NULL;
        rc = store_get(store, STORE_MODELS, request->id, &document, err);
        if (rc == 0) {
            (void)json_object_set_new(document, "name", json_string(name));
            rc = store_replace(store, STORE_MODELS,
                               (uint64_t)json_integer_value(json_object_get(document, "version")),
                               document, err);
        }
        json_decref(document);
    }
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (name != NULL && rc > 0) {
        return fed_err_set(err, FED_E_CONFLICT, "the model is being changed: try again");
    }
    return rc < 0 ? rc : rest_get(request, err);
}

/* -- the newest ------------------------------------------------------------------------------- */

int rest_model_active(struct rest_request *request, struct fed_err *err)
{
    const struct store_query query = {.limit = 1};
    json_t *documents = NULL;
    json_t *id;
    int rc = store_find(request->shared->host->store, STORE_MODELS, &query, &documents, NULL, err);

    if (rc < 0) {
        return rc;
    }
    id = json_object_get(json_array_get(documents, 0), "model_id");
    rc = id == NULL ? rest_refuse(request, 404, "not_found", err, "No models available")
                    : rest_answer_json(request, 200, json_incref(id), err);
    json_decref(documents);
    return rc;
}

/* -- download --------------------------------------------------------------------------------- */

/* Outcome of check_exists(), beside the store's. */
enum {
    PRUNED = 100,
};

/* Is it a model's id, of one that has its file? Returns 0, STORE_NOT_FOUND or PRUNED. */
static int check_exists(const struct rest_request *request, struct fed_err *err)
{
    json_t *document = NULL;
    const int rc =
        store_get(request->shared->host->store, STORE_MODELS, request->id, &document, err);

    const bool is_pruned = json_is_integer(json_object_get(document, "pruned_at"));
    json_decref(document);
    if (rc == 0 && !blob_key_is_valid(request->id)) {
        return STORE_NOT_FOUND;
    }
    return rc == 0 && is_pruned ? PRUNED : rc;
}

static int refuse_pruned(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 410, "pruned", err,
                       "Model %s was pruned: its file is gone, its record is kept", request->id);
}

int rest_model_download(struct rest_request *request, struct fed_err *err)
{
    int rc = check_exists(request, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == PRUNED) {
        return refuse_pruned(request, err);
    }
    if (rc == 0) {
        rc = rest_answer_blob(request, request->id, "application/octet-stream", request->id, err);
    }
    if (rc == BLOB_NOT_FOUND) {
        return rest_refuse(request, 404, "not_found", err, "The model's file is not in the store");
    }
    return rc;
}

/* -- parameters ------------------------------------------------------------------------------- */

/* {"array":[tensors]} is written to a file, tensor by tensor: it is ten times the model. */
struct writer {
    int fd;
    struct fed_buf buf;
    double *values; /* of one tensor, in C order */
};

static int flush(struct writer *writer, struct fed_err *err)
{
    const int rc = fed_file_write(writer->fd, writer->buf.data, writer->buf.size, err);

    fed_buf_clear(&writer->buf);
    return rc;
}

static int
take_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    const struct writer *writer = arg;

    (void)err;
    memcpy(writer->values + index, values, n * sizeof(*values));
    return 0;
}

/* How many dimensions begin (or, at index + 1, end) at this element. */
static uint32_t count_edges(const struct fed_tensor *tensor, uint64_t index)
{
    uint64_t span = 1;
    uint32_t n = 0;

    for (uint32_t i = tensor->rank; i > 0; i--) {
        span *= tensor->shape[i - 1];
        if (index % span != 0) {
            break;
        }
        n++;
    }
    return n;
}

static int add_times(struct fed_buf *buf, const char *text, uint32_t n, struct fed_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = fed_buf_add(buf, text, 1, err);
    }
    return rc;
}

/* Nested arrays, as NumPy's tolist(). */
static int write_tensor(struct writer *writer, const struct fed_tensor *tensor, struct fed_err *err)
{
    const int digits = tensor->dtype == FED_DTYPE_F4 || tensor->dtype == FED_DTYPE_F2 ? 9 : 17;
    int rc = 0;

    if (tensor->n_elements == 0) {
        return fed_buf_add(&writer->buf, "[]", 2, err);
    }
    for (uint64_t i = 0; rc == 0 && i < tensor->n_elements; i++) {
        rc = i == 0 ? 0 : fed_buf_add(&writer->buf, ",", 1, err);
        if (rc == 0) {
            rc = add_times(&writer->buf, "[", count_edges(tensor, i), err);
        }
        if (rc == 0) {
            rc = fed_buf_addf(&writer->buf, err, "%.*g", digits, writer->values[i]);
        }
        if (rc == 0) {
            rc = add_times(&writer->buf, "]", count_edges(tensor, i + 1), err);
        }
        if (rc == 0 && writer->buf.size > TEXT_BLOCK) {
            rc = flush(writer, err);
        }
    }
    return rc;
}

static int write_model(struct writer *writer, struct fed_npz *npz, struct fed_err *err)
{
    const struct fed_layout *layout = fed_npz_get_layout(npz);
    int rc = fed_buf_addf(&writer->buf, err, "{\"array\":[");

    for (size_t i = 0; rc == 0 && i < layout->n_tensors; i++) {
        rc = i == 0 ? 0 : fed_buf_add(&writer->buf, ",", 1, err);
        if (rc == 0) {
            rc = fed_npz_read(npz, i, take_values, writer, err);
        }
        if (rc == 0) {
            rc = write_tensor(writer, &layout->tensors[i], err);
        }
    }
    if (rc == 0) {
        rc = fed_buf_addf(&writer->buf, err, "]}\n");
    }
    if (rc > 0) {
        rc = fed_err_set(err, FED_E_CORRUPT, "the stored model is damaged");
    }
    return rc < 0 ? rc : flush(writer, err);
}

static uint64_t largest_tensor(const struct fed_layout *layout)
{
    uint64_t n = 1;

    for (size_t i = 0; i < layout->n_tensors; i++) {
        n = layout->tensors[i].n_elements > n ? layout->tensors[i].n_elements : n;
    }
    return n;
}

/* Write the values of the model in `path` to a new file, which is the answer. */
static int answer_values(struct rest_request *request, const char *path, struct fed_err *err)
{
    const struct fed_npz_limits limits = {
        .file_size_max = request->shared->upload_max,
        .elements_max = PARAMETERS_MAX,
    };
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct writer writer = {.fd = -1};
    int rc = fed_npz_open(path, &limits, &npz, err);

    if (rc > 0) {
        return rest_refuse(request, 400, "too_large", err,
                           "Models of more than %u values are not told as JSON: download it",
                           PARAMETERS_MAX);
    }
    if (rc == 0) {
        rc = rest_temp_open(request->shared->temp_dir, &request->answer.fd, err);
    }
    if (rc < 0) {
        return rc;
    }
    writer.fd = request->answer.fd;
    fed_buf_init(&writer.buf, 0);
    writer.values = calloc(largest_tensor(fed_npz_get_layout(npz)), sizeof(*writer.values));
    rc = writer.values == NULL ? fed_err_set(err, FED_E_NOMEM, "parameters")
                               : write_model(&writer, npz, err);
    free(writer.values);
    fed_buf_deinit(&writer.buf);
    request->answer.status = 200;
    request->answer.size_bytes = (uint64_t)lseek(writer.fd, 0, SEEK_END);
    return rc;
}

int rest_model_parameters(struct rest_request *request, struct fed_err *err)
{
    char path[40];
    uint64_t size;
    int fd = -1;
    int rc = check_exists(request, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == PRUNED) {
        return refuse_pruned(request, err);
    }
    if (rc == 0) {
        rc = rest_blobs_open(&request->shared->blobs, request->id, &fd, &size, err);
    }
    if (rc == BLOB_NOT_FOUND) {
        return rest_refuse(request, 404, "not_found", err, "The model's file is not in the store");
    }
    if (rc < 0) {
        return rc;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    rc = answer_values(request, path, err);
    (void)close(fd);
    return rc;
}
