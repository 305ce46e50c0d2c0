#include "reducer/rest/rest_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *suffix;
    enum store_op op;
} suffixes[] = {
    {"__gte", STORE_OP_GTE}, {"__lte", STORE_OP_LTE}, {"__gt", STORE_OP_GT},
    {"__lt", STORE_OP_LT},   {"__ne", STORE_OP_NE},   {"__eq", STORE_OP_EQ},
};

/* Names by which FEDn's own APIClient asks, and the stored ones. */
static const char *const aliases[][2] = {
    {"sessionId", "session_id"},
    {"modelId", "model_id"},
};

void rest_query_init(struct rest_query *query, const struct rest_request *request)
{
    const struct rest_page *page = &request->page;
    const bool is_default =
        page->sort_key[0] == '\0' || strcmp(page->sort_key, "committed_at") == 0;

    *query = (struct rest_query){
        .store = {.sort_path = is_default ? NULL : page->sort_key,
                  .is_ascending = page->is_ascending,
                  .skip = page->skip,
                  .limit = page->limit},
    };
}

void rest_query_deinit(struct rest_query *query)
{
    for (size_t i = 0; i < query->n_texts; i++) {
        free(query->texts[i]);
    }
    query->n_texts = 0;
}

static bool path_is_valid(const char *path)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";

    /* What begins with '_' is the reducer's own, and not shown. */
    return path[0] != '\0' && path[0] != '_' && strcmp(path, "version") != 0 &&
           strspn(path, allowed) == strlen(path);
}

/* "size__gt" → "size", STORE_OP_GT. False: no path. */
static bool read_name(struct store_filter *filter, const char *name)
{
    size_t n = strlen(name);

    filter->op = STORE_OP_EQ;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        const size_t size = strlen(suffixes[i].suffix);
        if (n > size && strcmp(name + n - size, suffixes[i].suffix) == 0) {
            filter->op = suffixes[i].op;
            n -= size;
            break;
        }
    }
    if (n >= sizeof(filter->path)) {
        return false;
    }
    memcpy(filter->path, name, n);
    filter->path[n] = '\0';
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (strcmp(filter->path, aliases[i][0]) == 0) {
            (void)snprintf(filter->path, sizeof(filter->path), "%s", aliases[i][1]);
        }
    }
    return path_is_valid(filter->path);
}

int rest_query_add(struct rest_query *query,
                   const char *name,
                   const char *value,
                   bool is_list,
                   struct fed_err *err)
{
    struct store_filter *filter = &query->store.filters[query->store.n_filters];
    char *text;

    /* One is kept for the handlers. */
    if (query->store.n_filters + 1 >= STORE_FILTERS_MAX) {
        return fed_err_set(err, FED_E_INVALID, "more than %u filters", STORE_FILTERS_MAX - 1);
    }
    if (!read_name(filter, name)) {
        query->is_nothing = true;
        return 0;
    }
    filter->value = NULL;
    query->store.n_filters++;
    if (value == NULL || strcmp(value, "null") == 0) {
        return 0;
    }
    text = strdup(value);
    if (text == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "filters");
    }
    query->texts[query->n_texts++] = text;
    filter->value = text;
    if (is_list && filter->op == STORE_OP_EQ && strchr(text, ',') != NULL) {
        filter->op = STORE_OP_IN;
    }
    return 0;
}

int rest_query_add_texts(struct rest_query *query,
                         const struct rest_texts *texts,
                         bool is_list,
                         struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < texts->n; i++) {
        char *value = texts->items[i].value;
        const size_t n = strlen(value);
        if (!is_list && strcmp(texts->items[i].name, "format") == 0) {
            continue; /* how the rows are written */
        }
        /* FEDn's command asks for session_id=ID/; no id has a slash in it. */
        if (n > 1 && value[n - 1] == '/' && strcmp(texts->items[i].name, "session_id") == 0) {
            value[n - 1] = '\0';
        }
        rc = rest_query_add(query, texts->items[i].name, value, is_list, err);
    }
    return rc;
}

/* A scalar as a filter's text in `space`; NULL: it is none, or null. */
static const char *scalar_text(const json_t *value, char space[64])
{
    if (json_is_string(value)) {
        return json_string_value(value);
    }
    if (json_is_integer(value)) {
        (void)snprintf(space, 64, "%lld", (long long)json_integer_value(value));
        return space;
    }
    if (json_is_real(value)) {
        (void)snprintf(space, 64, "%.17g", json_real_value(value));
        return space;
    }
    if (json_is_boolean(value)) {
        return json_is_true(value) ? "true" : "false";
    }
    return NULL;
}

/* An array of scalars: one of them must be equal. */
static int
add_array(struct rest_query *query, const char *name, const json_t *array, struct fed_err *err)
{
    struct fed_buf list;
    int rc = 0;

    fed_buf_init(&list, REST_FORM_MAX);
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        char space[64];
        const char *text = scalar_text(json_array_get(array, i), space);
        if (text == NULL || strchr(text, ',') != NULL) {
            rc = fed_err_set(err, FED_E_INVALID,
                             "the filter %.80s must list texts without commas, or numbers", name);
        } else {
            rc = fed_buf_addf(&list, err, "%s%s", i == 0 ? "" : ",", text);
        }
    }
    if (rc == 0 && json_array_size(array) == 0) {
        query->is_nothing = true;
    } else if (rc == 0) {
        rc = fed_buf_add(&list, "", 1, err);
        rc = rc < 0 ? rc : rest_query_add(query, name, (const char *)list.data, true, err);
    }
    fed_buf_deinit(&list);
    return rc;
}

int rest_query_add_object(struct rest_query *query, json_t *object, struct fed_err *err)
{
    void *it = json_object_iter(object);
    int rc = 0;

    for (; rc == 0 && it != NULL; it = json_object_iter_next(object, it)) {
        const char *name = json_object_iter_key(it);
        const json_t *value = json_object_iter_value(it);
        char space[64];
        if (json_is_object(value)) {
            query->is_nothing = true;
        } else if (json_is_array(value)) {
            rc = add_array(query, name, value, err);
        } else {
            rc = rest_query_add(query, name, scalar_text(value, space), true, err);
        }
    }
    return rc;
}

int rest_query_run(const struct rest_query *query,
                   const struct rest_request *request,
                   enum store_collection in,
                   json_t **ret_documents,
                   size_t *ret_n_matches,
                   struct fed_err *err)
{
    struct store *store = request->shared->host->store;
    struct store_query what = query->store;
    json_t *documents = NULL;
    int rc;

    if (query->is_nothing) {
        documents = json_array();
        *ret_n_matches = 0;
        rc = documents == NULL ? fed_err_set(err, FED_E_NOMEM, "list") : 0;
    } else {
        if (in == STORE_PACKAGES) { /* a helper that was set without a package is no package */
            what.filters[what.n_filters++] =
                (struct store_filter){.path = "_helper_only", .op = STORE_OP_EQ};
        }
        rc = store_find(store, in, &what, &documents, ret_n_matches, err);
    }
    if (rc == 0 && ret_documents != NULL) {
        *ret_documents = documents;
        return 0;
    }
    json_decref(documents);
    return rc;
}
