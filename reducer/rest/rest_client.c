/* Clients and combiners. */
#include <string.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rest/rest_package.h"

/* -- attach ----------------------------------------------------------------------------------- */

/* FEDn's texts, read from the body. */
struct attach {
    char client_id[FED_ID_SIZE];
    const char *name;
    const char *package;
    const char *preferred; /* or NULL */
    bool is_remote;        /* it runs the active package */
};

static int read_id(const json_t *object, char ret_id[FED_ID_SIZE], struct fed_err *err)
{
    const char *id = NULL;
    int rc = rest_json_text(object, "client_id", FED_ID_SIZE - 1, &id, err);

    if (rc < 0) {
        return rc;
    }
    if (id == NULL || *id == '\0') {
        return fed_uuid_new(ret_id, err);
    }
    if (!fed_id_is_valid(id)) {
        return fed_err_set(err, FED_E_INVALID,
                           "client_id must be 1 to 128 letters, digits or any of . _ : @ + -");
    }
    fed_id_copy(ret_id, id);
    return 0;
}

static int read_attach(const json_t *object, struct attach *attach, struct fed_err *err)
{
    const char *second = NULL;
    int rc = read_id(object, attach->client_id, err);

    if (rc == 0) {
        rc = rest_json_text(object, "name", REST_NAME_MAX, &attach->name, err);
    }
    if (rc == 0) {
        rc = rest_json_text(object, "package", REST_NAME_MAX, &attach->package, err);
    }
    if (rc == 0) {
        rc = rest_json_text(object, "preferred_combiner", REST_NAME_MAX, &attach->preferred, err);
    }
    if (rc == 0) {
        rc = rest_json_text(object, "combiner_preferred", REST_NAME_MAX, &second, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (attach->preferred == NULL || *attach->preferred == '\0') {
        attach->preferred = second != NULL && *second != '\0' ? second : NULL;
    }
    if (attach->name == NULL || *attach->name == '\0') {
        return fed_err_set(err, FED_E_INVALID, "Class 'ClientDTO' is missing field name");
    }
    attach->package = attach->package == NULL ? "local" : attach->package;
    attach->is_remote = strcmp(attach->package, "remote") == 0;
    if (!attach->is_remote && strcmp(attach->package, "local") != 0) {
        return fed_err_set(err, FED_E_INVALID, "package must be 'remote' or 'local'");
    }
    return 0;
}

/* The helper is the active package's: REST's to know, not the loop's. */
static int answer_assigned(struct rest_request *request, struct fed_err *err)
{
    if (request->ask.status == 200 &&
        json_object_set(request->ask.output, "helper_type",
                        json_object_get(request->kept, "helper_type")) < 0) {
        return fed_err_set(err, FED_E_NOMEM, "answer");
    }
    return rest_answer_host(request, err);
}

static int ask_assign(struct rest_request *request,
                      const struct attach *attach,
                      const char *helper,
                      struct fed_err *err)
{
    request->kept = json_pack("{s:s}", "helper_type", helper);
    if (request->kept == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "ask");
    }
    return rest_ask(request, HOST_ASSIGN,
                    json_pack("{s:s,s:s,s:s,s:s,s:s?}", "client_id", attach->client_id, "name",
                              attach->name, "package", attach->package, "ip", request->peer,
                              "preferred", attach->preferred),
                    answer_assigned, err);
}

int rest_client_add(struct rest_request *request, struct fed_err *err)
{
    struct attach attach = {0};
    json_t *object = NULL;
    json_t *package = NULL;
    const char *helper;
    int rc = rest_request_json(request, false, &object, err);

    if (rc == 0) {
        rc = read_attach(object, &attach, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (!attach.is_remote) {
        return ask_assign(request, &attach, "", err);
    }
    rc = rest_package_load_active(request, &package, err);
    if (rc < 0) {
        return rc;
    }
    if (package == NULL) {
        return rest_answer_json(request, 203,
                                json_pack("{s:s,s:s,s:b}", "message",
                                          "No compute package found. Set package in controller.",
                                          "status", "retry", "success", 0),
                                err);
    }
    helper = json_string_value(json_object_get(package, "helper"));
    rc = ask_assign(request, &attach, helper == NULL ? "" : helper, err);
    json_decref(package);
    return rc;
}

int rest_client_config(struct rest_request *request, struct fed_err *err)
{
    const char *wants = rest_texts_find(&request->query, "checksum");
    json_t *package = NULL;
    json_t *config;
    int rc = 0;

    if (wants != NULL && strcmp(wants, "true") == 0) {
        rc = rest_package_load_active(request, &package, err);
    }
    if (rc < 0) {
        return rc;
    }
    config = json_pack("{s:s,s:s,s:i}", "network_id", request->shared->network_id, "discover_host",
                       request->host_name, "discover_port", (int)request->shared->port);
    if (config != NULL && !rest_json_is_null(package, "sha256")) {
        (void)json_object_set(config, "checksum", json_object_get(package, "sha256"));
    }
    json_decref(package);
    return rest_answer_json(request, 200, config, err);
}

/* -- delete ----------------------------------------------------------------------------------- */

/* The host has forgotten it, or refused to: it is attached. */
static int remove_row(struct rest_request *request, enum store_collection in, struct fed_err *err)
{
    int rc;

    if (request->ask.status != 200) {
        return rest_answer_host(request, err);
    }
    rc = store_remove(request->shared->host->store, in, request->id, err);
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    return rc < 0 ? rc
                  : rest_answer_message(request, 200,
                                        in == STORE_CLIENTS ? "Client deleted" : "Combiner deleted",
                                        err);
}

static int remove_client(struct rest_request *request, struct fed_err *err)
{
    return remove_row(request, STORE_CLIENTS, err);
}

static int remove_combiner(struct rest_request *request, struct fed_err *err)
{
    return remove_row(request, STORE_COMBINERS, err);
}

static int forget(struct rest_request *request,
                  enum store_collection in,
                  rest_step_fn then,
                  struct fed_err *err)
{
    return rest_ask(request, HOST_FORGET, json_pack("{s:s}", store_collection_key(in), request->id),
                    then, err);
}

int rest_client_delete(struct rest_request *request, struct fed_err *err)
{
    return forget(request, STORE_CLIENTS, remove_client, err);
}

int rest_combiner_delete(struct rest_request *request, struct fed_err *err)
{
    return forget(request, STORE_COMBINERS, remove_combiner, err);
}

/* -- counts ----------------------------------------------------------------------------------- */

/* Is the name one of a list with commas? An empty list has all. */
static bool is_listed(const char *names, const char *name)
{
    const size_t size = strlen(name);

    if (*names == '\0') {
        return true;
    }
    while (*names != '\0') {
        const size_t n = strcspn(names, ",");
        if (n == size && memcmp(names, name, n) == 0) {
            return true;
        }
        names += n + (names[n] == ',' ? 1 : 0);
    }
    return false;
}

/* As FEDn: combiners that have no online client are not told. */
static json_t *count_by_combiner(const json_t *clients, const char *names)
{
    json_t *counts = json_object();
    json_t *result = json_array();
    const char *name;
    json_t *count;

    for (size_t i = 0; i < json_array_size(clients); i++) {
        name = json_string_value(json_object_get(json_array_get(clients, i), "combiner"));
        if (name != NULL && is_listed(names, name)) {
            const json_int_t n = json_integer_value(json_object_get(counts, name));
            (void)json_object_set_new(counts, name, json_integer(n + 1));
        }
    }
    json_object_foreach(counts, name, count)
    {
        (void)json_array_append_new(result, json_pack("{s:O,s:s}", "count", count, "id", name));
    }
    json_decref(counts);
    return json_pack("{s:o}", "result", result);
}

int rest_combiner_clients(struct rest_request *request, struct fed_err *err)
{
    const struct store_query query = {
        .n_filters = 1,
        .filters = {{.path = "status", .value = "online"}},
    };
    json_t *object = NULL;
    json_t *clients = NULL;
    const char *names = NULL;
    int rc = rest_request_json(request, true, &object, err);

    if (rc == 0) {
        rc = rest_json_text(object, "combiners", REST_FORM_MAX, &names, err);
    }
    if (rc == 0) {
        rc = store_find(request->shared->host->store, STORE_CLIENTS, &query, &clients, NULL, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc =
        rest_answer_json(request, 200, count_by_combiner(clients, names == NULL ? "" : names), err);
    json_decref(clients);
    return rc;
}
