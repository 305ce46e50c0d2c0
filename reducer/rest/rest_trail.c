/* The trail of models: ancestors, descendants, leaves. */
#include <string.h>
#include <strings.h>

#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define TRAIL_DEFAULT 10U     /* FEDn's */
#define TRAIL_MAX     100000U /* steps: a ring would be walked for ever */

static size_t trail_limit(const struct rest_request *request)
{
    const size_t limit = request->page.limit;

    return limit == 0 ? TRAIL_DEFAULT : limit > TRAIL_MAX ? TRAIL_MAX : limit;
}

static const char *text_of(const json_t *document, const char *name)
{
    return json_string_value(json_object_get(document, name));
}

static int
answer_rows(struct rest_request *request, json_t *documents, bool is_reversed, struct fed_err *err)
{
    json_t *turned = is_reversed ? rest_json_reversed(documents) : json_incref(documents);
    json_t *rows = rest_json_rows(turned);
    int rc;

    json_decref(turned);
    if (!rest_request_wants_csv(request) || rows == NULL) {
        return rest_answer_json(request, 200, rows, err);
    }
    rc = rest_answer_csv(request, rows, strrchr(request->path, '/') + 1, err);
    json_decref(rows);
    return rc;
}

/* Walk up from `document`, newest first. */
static int
walk_up(struct rest_request *request, const json_t *document, json_t *trail, struct fed_err *err)
{
    const size_t limit = trail_limit(request);
    const char *parent = text_of(document, "parent_model");

    for (size_t i = 0; parent != NULL && i < limit; i++) {
        json_t *ancestor = NULL;
        const int rc =
            store_get(request->shared->host->store, STORE_MODELS, parent, &ancestor, err);
        if (rc != 0) {
            return rc < 0 ? rc : 0; /* a parent that is not there ends the trail */
        }
        parent = text_of(ancestor, "parent_model");
        (void)json_array_append_new(trail, ancestor);
    }
    return 0;
}

int rest_model_ancestors(struct rest_request *request, struct fed_err *err)
{
    const char *self = rest_texts_find(&request->query, "include_self");
    json_t *trail;
    json_t *document = NULL;
    int rc = store_get(request->shared->host->store, STORE_MODELS, request->id, &document, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc < 0) {
        return rc;
    }
    trail = json_array();
    if (self != NULL && strcasecmp(self, "true") == 0) {
        (void)json_array_append(trail, document);
    }
    rc = walk_up(request, document, trail, err);
    if (rc == 0) {
        rc = answer_rows(request, trail, request->page.is_reverse, err);
    }
    json_decref(trail);
    json_decref(document);
    return rc;
}

/* -- downwards -------------------------------------------------------------------------------- */

/* All models, oldest first, and by parent: an array of its children. */
struct family {
    json_t *models;
    json_t *children; /* object: parent's id → array of documents */
};

static void family_deinit(struct family *family)
{
    json_decref(family->models);
    json_decref(family->children);
}

static int family_load(struct rest_request *request, struct family *family, struct fed_err *err)
{
    const struct store_query query = {.is_ascending = true};
    int rc =
        store_find(request->shared->host->store, STORE_MODELS, &query, &family->models, NULL, err);

    family->children = json_object();
    for (size_t i = 0; rc == 0 && i < json_array_size(family->models); i++) {
        json_t *model = json_array_get(family->models, i);
        const char *parent = text_of(model, "parent_model");
        if (parent == NULL) {
            continue;
        }
        json_t *siblings = json_object_get(family->children, parent);
        if (siblings == NULL) {
            siblings = json_array();
            if (json_object_set_new(family->children, parent, siblings) < 0) {
                return fed_err_set(err, FED_E_NOMEM, "trail");
            }
        }
        (void)json_array_append(siblings, model);
    }
    return rc;
}

/* The model and all below it, nearest first, at most `limit` of them beside itself. */
static json_t *walk_down(const struct family *family, json_t *first, size_t limit)
{
    json_t *found = json_array();

    (void)json_array_append(found, first);
    for (size_t i = 0; i < json_array_size(found) && json_array_size(found) <= limit; i++) {
        const json_t *children =
            json_object_get(family->children, text_of(json_array_get(found, i), "model_id"));
        for (size_t k = 0; k < json_array_size(children) && json_array_size(found) <= limit; k++) {
            (void)json_array_append(found, json_array_get(children, k));
        }
    }
    return found;
}

int rest_model_descendants(struct rest_request *request, struct fed_err *err)
{
    struct family family = {0};
    json_t *document = NULL;
    json_t *found;
    int rc = store_get(request->shared->host->store, STORE_MODELS, request->id, &document, err);

    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == 0) {
        rc = family_load(request, &family, err);
    }
    if (rc == 0) {
        found = walk_down(&family, document, trail_limit(request));
        (void)json_array_remove(found, 0);
        rc = answer_rows(request, found, true, err);
        json_decref(found);
    }
    family_deinit(&family);
    json_decref(document);
    return rc;
}

/* Those of `models` that have no children, newest first. */
static int answer_leaves(struct rest_request *request,
                         const struct family *family,
                         const json_t *models,
                         struct fed_err *err)
{
    json_t *leaves = json_array();
    int rc;

    for (size_t i = 0; i < json_array_size(models); i++) {
        json_t *model = json_array_get(models, i);
        if (json_object_get(family->children, text_of(model, "model_id")) == NULL) {
            (void)json_array_append(leaves, model);
        }
    }
    rc = answer_rows(request, leaves, true, err);
    json_decref(leaves);
    return rc;
}

/* Of all models, or of those below the path's. */
int rest_model_leaves(struct rest_request *request, struct fed_err *err)
{
    struct family family = {0};
    json_t *document = NULL;
    json_t *found;
    int rc = 0;

    if (request->id[0] != '\0') {
        rc = store_get(request->shared->host->store, STORE_MODELS, request->id, &document, err);
    }
    if (rc == STORE_NOT_FOUND) {
        return rest_refuse_missing(request, err);
    }
    if (rc == 0) {
        rc = family_load(request, &family, err);
    }
    if (rc == 0 && document == NULL) {
        rc = answer_leaves(request, &family, family.models, err);
    } else if (rc == 0) {
        found = walk_down(&family, document, TRAIL_MAX);
        rc = answer_leaves(request, &family, found, err);
        json_decref(found);
    }
    family_deinit(&family);
    json_decref(document);
    return rc;
}
