#include "reducer/rest/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/handlers.h"

#define API       "/api/v1/"
#define DASHBOARD "/dashboard/"

/* The first pattern that fits wins: the generic set stands last. */
static const struct rest_route routes[] = {
    {"/health", rest_health, REST_GET, false},
    {"/ready", rest_ready, REST_GET, false},
    {"/version", rest_version, REST_GET, false},
    {"/metrics", rest_metrics, REST_GET, false},
    {API "live", rest_live, REST_GET, false},
    {API "openapi.json", rest_openapi, REST_GET, false},
    {API "events/stream", rest_events_stream, REST_GET, false},
    {API "doctor", rest_doctor, REST_GET, false},
    {API "disk", rest_disk, REST_GET, false},
    {API "graphql", rest_no_graphql, REST_POST, false},

    {API "clients/add", rest_client_add, REST_POST, false},
    {API "clients/config", rest_client_config, REST_GET, false},
    {API "clients/:id/attributes", rest_client_attributes, REST_GET, false},
    {API "clients/:id", rest_client_delete, REST_DELETE, false},
    {API "combiners/clients/count", rest_combiner_clients, REST_POST, false},
    {API "combiners/:id", rest_combiner_delete, REST_DELETE, false},

    {API "models/", rest_model_add, REST_POST, true},
    {API "models/active", rest_model_active, REST_GET, false},
    {API "models/active", rest_gone, REST_PUT, false},
    {API "models/prune", rest_model_prune, REST_POST, false},
    {API "models/leaf-nodes", rest_model_leaves, REST_GET, false},
    {API "models/:id", rest_model_change, REST_PATCH, false},
    {API "models/:id", rest_model_change, REST_PUT, false},
    {API "models/:id/descendants", rest_model_descendants, REST_GET, false},
    {API "models/:id/ancestors", rest_model_ancestors, REST_GET, false},
    {API "models/:id/leaf-nodes", rest_model_leaves, REST_GET, false},
    {API "models/:id/download", rest_model_download, REST_GET, false},
    {API "models/:id/parameters", rest_model_parameters, REST_GET, false},

    {API "packages/", rest_package_add, REST_POST, true},
    {API "packages/active", rest_package_active, REST_GET, false},
    {API "packages/active", rest_package_set_active, REST_PUT, false},
    {API "packages/active", rest_package_unset_active, REST_DELETE, false},
    {API "packages/download", rest_package_download, REST_GET, false},
    {API "packages/checksum", rest_package_checksum, REST_GET, false},
    {API "helpers/active", rest_helper_active, REST_GET, false},
    {API "helpers/active", rest_helper_set, REST_PUT, false},

    {API "sessions/", rest_session_add, REST_POST, false},
    {API "sessions/start", rest_session_start, REST_POST, false},
    {API "sessions/start_splitlearning_session", rest_session_split, REST_POST, false},
    {API "sessions/:id/stop", rest_session_stop, REST_POST, false},
    {API "sessions/:id", rest_session_change, REST_PATCH, false},
    {API "sessions/:id", rest_session_change, REST_PUT, false},

    {API "views/rounds", rest_view_rounds, REST_GET, false},
    {API "views/client-rounds", rest_view_client_rounds, REST_GET, false},
    {API "views/refusals", rest_view_refusals, REST_GET, false},
    {API "views/client-times", rest_view_client_times, REST_GET, false},
    {API "views/combiner-times", rest_view_combiner_times, REST_GET, false},
    {API "views/timeline", rest_view_timeline, REST_GET, false},
    {API "views/validations", rest_view_validations, REST_GET, false},
    {API "views/confusion", rest_view_confusion, REST_GET, false},

    {API "predictions/start", rest_prediction_start, REST_POST, false},
    {API "attributes/", rest_attribute_add, REST_POST, false},
    {API "attributes/current", rest_attributes_current, REST_POST, false},
    {API "telemetry/", rest_telemetry_add, REST_POST, false},

    {API ":r/", rest_list, REST_GET, false},
    {API ":r/list", rest_list_post, REST_POST, false},
    {API ":r/count", rest_count, REST_GET, false},
    {API ":r/count", rest_count_post, REST_POST, false},
    {API ":r/:id", rest_get, REST_GET, false},

    {"/", rest_dashboard_home, REST_GET, false},
    {DASHBOARD "", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "network", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "clients/:id", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "models", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "models/:id", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "rounds", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "rounds/:id", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "events", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "control", rest_dashboard_page, REST_GET, false},
    {DASHBOARD "files/:id/:id", rest_dashboard_file, REST_GET, false},
    {DASHBOARD "files/:id/plots/:id", rest_dashboard_file, REST_GET, false},

    /* FEDn 0.20's paths, which its clients and APIClient still use */
    {"/add_client", rest_client_add, REST_POST, false},
    {"/download_package", rest_package_download, REST_GET, false},
    {"/get_package_checksum", rest_package_checksum, REST_GET, false},
    {"/get_controller_status", rest_state, REST_GET, false},
    {"/add_combiner", rest_combiner_gone, REST_POST, false},
    {"/delete_model_trail", rest_no_delete, REST_GET, false},
    {"/get_model_trail", rest_gone, REST_GET, false},
    {"/get_model_ancestors", rest_gone, REST_GET, false},
    {"/get_model_descendants", rest_gone, REST_GET, false},
    {"/list_models", rest_gone, REST_GET, false},
    {"/get_model", rest_gone, REST_GET, false},
    {"/list_clients", rest_gone, REST_GET, false},
    {"/get_active_clients", rest_gone, REST_GET, false},
    {"/list_combiners", rest_gone, REST_GET, false},
    {"/get_combiner", rest_gone, REST_GET, false},
    {"/list_rounds", rest_gone, REST_GET, false},
    {"/get_round", rest_gone, REST_GET, false},
    {"/start_session", rest_gone, REST_GET, false},
    {"/start_session", rest_gone, REST_POST, false},
    {"/list_sessions", rest_gone, REST_GET, false},
    {"/get_session", rest_gone, REST_GET, false},
    {"/set_active_package", rest_gone, REST_PUT, false},
    {"/set_package", rest_gone, REST_POST, false},
    {"/get_package", rest_gone, REST_GET, false},
    {"/list_compute_packages", rest_gone, REST_GET, false},
    {"/get_latest_model", rest_gone, REST_GET, false},
    {"/set_current_model", rest_gone, REST_PUT, false},
    {"/get_initial_model", rest_gone, REST_GET, false},
    {"/set_initial_model", rest_gone, REST_POST, false},
    {"/get_client_config", rest_gone, REST_GET, false},
    {"/get_events", rest_gone, REST_GET, false},
    {"/list_validations", rest_gone, REST_GET, false},
    {"/list_combiners_data", rest_gone, REST_POST, false},
};

static const char *method_name(enum rest_method method)
{
    static const char *const names[REST_METHOD_MAX] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    return names[method];
}

enum route_outcome {
    ROUTE_FOUND,
    ROUTE_MISSING,
    ROUTE_BAD_ID,  /* the path is there, the id can be nobody's */
    ROUTE_METHOD,  /* answer.allow names those there are */
    ROUTE_SLASH,   /* a collection without its final slash */
    ROUTE_OPTIONS, /* answer.allow is filled */
};

/* What a path gave for a pattern's ":r" and ":id". */
struct capture {
    enum store_collection collection;
    char id[FED_ID_SIZE];
    bool is_bad_id;
};

static bool capture_resource(struct capture *capture, const char *text, size_t size)
{
    /* The federation's own document is no resource. */
    for (int i = STORE_FEDERATION + 1; i < STORE_COLLECTION_MAX; i++) {
        const char *name = store_collection_name((enum store_collection)i);
        if (strlen(name) == size && memcmp(name, text, size) == 0) {
            capture->collection = (enum store_collection)i;
            return true;
        }
    }
    return false;
}

static bool capture_id(struct capture *capture, const char *text, size_t size)
{
    const size_t kept = size < FED_ID_SIZE ? size : FED_ID_SIZE - 1;

    if (size == 0) {
        return false;
    }
    memcpy(capture->id, text, kept);
    capture->id[kept] = '\0';
    capture->is_bad_id = kept < size || !fed_id_is_valid(capture->id);
    return true;
}

static bool
segment_fits(struct capture *capture, struct fed_view pattern, const char *path, size_t path_size)
{
    if (fed_view_equal(pattern, fed_view_str(":r"))) {
        return capture_resource(capture, path, path_size);
    }
    if (fed_view_equal(pattern, fed_view_str(":id"))) {
        return capture_id(capture, path, path_size);
    }
    if (!fed_view_equal(pattern, fed_view_of(path, path_size))) {
        return false;
    }
    if (capture->collection == STORE_COLLECTION_MAX) { /* a resource by its own name */
        (void)capture_resource(capture, path, path_size);
    }
    return true;
}

/* Compare segment by segment. *ret_needs_slash: it fits but for the final slash. */
static bool
route_fits(const char *pattern, const char *path, struct capture *capture, bool *ret_needs_slash)
{
    *ret_needs_slash = false;
    for (;;) {
        pattern++; /* both stand at a '/' */
        path++;
        const size_t n_pattern = strcspn(pattern, "/");
        const size_t n_path = strcspn(path, "/");
        if (!segment_fits(capture, fed_view_of(pattern, n_pattern), path, n_path)) {
            return false;
        }
        pattern += n_pattern;
        path += n_path;
        if (*pattern == '\0') {
            return strcmp(path, "") == 0 || strcmp(path, "/") == 0;
        }
        if (*path == '\0') {
            *ret_needs_slash = strcmp(pattern, "/") == 0;
            return *ret_needs_slash;
        }
    }
}

static void add_allow(struct rest_request *request, enum rest_method method)
{
    const char *name = method_name(method);
    char *allow = request->answer.allow;
    const size_t used = strlen(allow);

    if (strstr(allow, name) == NULL) {
        (void)snprintf(allow + used, sizeof(request->answer.allow) - used, "%s%s",
                       used == 0 ? "" : ", ", name);
    }
}

static enum route_outcome
take_route(struct rest_request *request, const struct rest_route *route, const struct capture *got)
{
    request->route = route;
    request->method = route->method;
    request->collection = got->collection;
    memcpy(request->id, got->id, sizeof(request->id));
    request->answer.allow[0] = '\0';
    return got->is_bad_id ? ROUTE_BAD_ID : ROUTE_FOUND;
}

static enum route_outcome
find_route(struct rest_request *request, enum rest_method method, bool is_options)
{
    bool is_known = false;

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        struct capture capture = {.collection = STORE_COLLECTION_MAX};
        bool needs_slash;
        if (request->path[0] != '/' ||
            !route_fits(routes[i].pattern, request->path, &capture, &needs_slash)) {
            continue;
        }
        if (needs_slash) {
            return ROUTE_SLASH;
        }
        if (routes[i].method == method) {
            return take_route(request, &routes[i], &capture);
        }
        is_known = true;
        add_allow(request, routes[i].method);
    }
    if (!is_known) {
        return ROUTE_MISSING;
    }
    return is_options ? ROUTE_OPTIONS : ROUTE_METHOD;
}

/* Copy a path with single slashes. Too long: an empty one, which is nobody's. */
static void copy_path(struct rest_request *request, const char *url)
{
    size_t n = 0;

    for (; *url != '\0'; url++) {
        if (*url == '/' && n > 0 && request->path[n - 1] == '/') {
            continue;
        }
        if (n + 1 >= sizeof(request->path)) {
            request->path[0] = '\0';
            return;
        }
        request->path[n++] = *url;
    }
    request->path[n] = '\0';
}

/* 308 to the collection, with the query. */
static int redirect(struct rest_request *request, const char *uri, struct fed_err *err)
{
    const char *query = strchr(uri, '?');
    const size_t size = strlen(request->path) + strlen(uri) + 2;
    const int rc =
        rest_refuse(request, 308, "moved", err, "The collection's path ends with a slash");

    request->answer.location = malloc(size);
    if (rc < 0 || request->answer.location == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "answer");
    }
    (void)snprintf(request->answer.location, size, "%s/%s", request->path,
                   query == NULL ? "" : query);
    return 0;
}

static enum rest_method method_of(const char *text)
{
    if (strcmp(text, "HEAD") == 0) {
        return REST_GET;
    }
    for (int i = 0; i < REST_METHOD_MAX; i++) {
        if (strcmp(text, method_name((enum rest_method)i)) == 0) {
            return (enum rest_method)i;
        }
    }
    return REST_METHOD_MAX;
}

bool rest_route_find(struct rest_request *request,
                     const char *method,
                     const char *path,
                     const char *uri)
{
    struct fed_err err = {0};
    int rc = 0;

    copy_path(request, path);
    switch (find_route(request, method_of(method), strcmp(method, "OPTIONS") == 0)) {
    case ROUTE_FOUND:
        return true;
    case ROUTE_BAD_ID:
        rc = rest_refuse_missing(request, &err);
        break;
    case ROUTE_METHOD:
        rc = rest_refuse(request, 405, "method", &err,
                         "The method is not allowed for the requested URL");
        break;
    case ROUTE_SLASH:
        rc = redirect(request, uri, &err);
        break;
    case ROUTE_OPTIONS:
        request->answer.status = 200;
        break;
    case ROUTE_MISSING:
        rc = rest_refuse(request, 404, "no_path", &err,
                         "The requested URL was not found on the server");
        break;
    }
    if (rc < 0) {
        rest_answer_failure(request, &err);
    }
    return false;
}
