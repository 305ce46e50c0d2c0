/* Queries over documents in memory: what every back end may fall back on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "reducer/store/store_inside.h"

#define PART_SIZE 512 /* bytes of one wanted text in a list, with the NUL; longer: no match */

const json_t *store_path_get(const json_t *document, const char *path)
{
    char part[STORE_PATH_SIZE];
    const json_t *value = document;

    while (value != NULL && *path != '\0') {
        const size_t n = strcspn(path, ".");
        if (n >= sizeof(part)) {
            return NULL;
        }
        memcpy(part, path, n);
        part[n] = '\0';
        value = json_object_get(value, part);
        path += n + (path[n] == '.' ? 1 : 0);
    }
    return value;
}

/* A scalar as text, in `space` where it has no text of its own; NULL for null, arrays, objects. */
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

/* -12, 0.5, 1e-3: decimal numbers as JSON writes them. What else strtod() takes ("nan", "0x10",
 * " 1", and 1e999) is text here: an id may look like that. */
static bool parse_number(const char *text, double *ret_value)
{
    static const char digits[] = "0123456789";
    const char *p = text + (*text == '-' ? 1 : 0);
    size_t n = strspn(p, digits);
    double value;

    p += n;
    if (n > 0 && *p == '.') {
        n = strspn(p + 1, digits);
        p += 1 + n;
    }
    if (n > 0 && (*p == 'e' || *p == 'E')) {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        n = strspn(p, digits);
        p += n;
    }
    if (n == 0 || *p != '\0') {
        return false;
    }
    value = strtod(text, NULL);
    if (!isfinite(value)) {
        return false;
    }
    *ret_value = value;
    return true;
}

bool store_text_is_number(const char *text)
{
    double value;

    return parse_number(text, &value);
}

static int compare_texts(const char *a, const char *b)
{
    double x;
    double y;

    if (parse_number(a, &x) && parse_number(b, &y)) {
        return (x > y) - (x < y);
    }
    return strcmp(a, b);
}

/* Is the field's value (`text` as text) the wanted one? */
static bool is_equal(const json_t *value, const char *text, const char *wanted)
{
    double x;

    if (!json_is_number(value)) {
        return strcmp(text, wanted) == 0;
    }
    return parse_number(wanted, &x) && compare_texts(text, wanted) == 0;
}

static bool is_in_list(const json_t *value, const char *text, const char *list)
{
    char wanted[PART_SIZE];

    while (true) {
        const size_t n = strcspn(list, ",");
        if (n < sizeof(wanted)) {
            memcpy(wanted, list, n);
            wanted[n] = '\0';
            if (is_equal(value, text, wanted)) {
                return true;
            }
        }
        if (list[n] == '\0') {
            return false;
        }
        list += n + 1;
    }
}

static bool filter_matches(const struct store_filter *filter, const json_t *document)
{
    char space[64];
    const json_t *value = store_path_get(document, filter->path);
    const char *text = scalar_text(value, space);

    if (filter->value == NULL || text == NULL) {
        const bool is_same = filter->value == NULL && (value == NULL || json_is_null(value));
        return filter->op == STORE_OP_NE ? !is_same : filter->op == STORE_OP_EQ && is_same;
    }
    switch (filter->op) {
    case STORE_OP_EQ:
        return is_equal(value, text, filter->value);
    case STORE_OP_NE:
        return !is_equal(value, text, filter->value);
    case STORE_OP_GT:
        return compare_texts(text, filter->value) > 0;
    case STORE_OP_LT:
        return compare_texts(text, filter->value) < 0;
    case STORE_OP_GTE:
        return compare_texts(text, filter->value) >= 0;
    case STORE_OP_LTE:
        return compare_texts(text, filter->value) <= 0;
    case STORE_OP_IN:
        return is_in_list(value, text, filter->value);
    }
    return false;
}

bool store_query_matches(const struct store_query *query, const json_t *document)
{
    for (size_t i = 0; i < query->n_filters; i++) {
        if (!filter_matches(&query->filters[i], document)) {
            return false;
        }
    }
    return true;
}

bool store_query_is_by_insertion(const struct store_query *query)
{
    return query->sort_path == NULL || strcmp(query->sort_path, "committed_at") == 0;
}

struct row {
    json_t *document;
    size_t index;
    const struct store_query *query;
};

/* Null and what is no scalar, then numbers, then texts: a total order, or qsort() has none. */
static int compare_fields(const char *a, const char *b)
{
    double number;
    const int kind_a = a == NULL ? 0 : parse_number(a, &number) ? 1 : 2;
    const int kind_b = b == NULL ? 0 : parse_number(b, &number) ? 1 : 2;

    return kind_a != kind_b || a == NULL || b == NULL ? kind_a - kind_b : compare_texts(a, b);
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    const struct store_query *query = x->query;
    int order = 0;

    if (!store_query_is_by_insertion(query)) {
        char space_x[64];
        char space_y[64];
        const char *text_x = scalar_text(store_path_get(x->document, query->sort_path), space_x);
        const char *text_y = scalar_text(store_path_get(y->document, query->sort_path), space_y);
        order = compare_fields(text_x, text_y);
    }
    if (order == 0) {
        order = (x->index > y->index) - (x->index < y->index);
    }
    return query->is_ascending ? order : -order;
}

json_t *store_query_arrange(const struct store_query *query, json_t *documents)
{
    const size_t n = json_array_size(documents);
    struct row *rows = calloc(n + 1, sizeof(*rows));
    json_t *arranged = json_array();
    size_t last = n;
    bool is_done = rows != NULL && arranged != NULL && documents != NULL;

    if (!is_done) {
        free(rows);
        json_decref(arranged);
        json_decref(documents);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = (struct row){json_array_get(documents, i), i, query};
    }
    qsort(rows, n, sizeof(*rows), compare_rows);
    if (query->limit > 0 && query->skip < n && query->limit < n - query->skip) {
        last = query->skip + query->limit;
    }
    for (size_t i = query->skip; i < last && is_done; i++) {
        is_done = json_array_append(arranged, rows[i].document) == 0;
    }
    free(rows);
    json_decref(documents);
    if (!is_done) {
        json_decref(arranged);
        return NULL;
    }
    return arranged;
}

const char *store_document_key(enum store_collection in, const json_t *document)
{
    const char *key = json_string_value(json_object_get(document, store_collections[in].key));

    return key == NULL || key[0] == '\0' ? NULL : key;
}

char *store_document_unique(enum store_collection in, const json_t *document)
{
    char text[512] = "";
    size_t used = 0;

    if (store_collections[in].unique[0] == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < 3 && store_collections[in].unique[i] != NULL; i++) {
        char space[64];
        const char *part =
            scalar_text(store_path_get(document, store_collections[in].unique[i]), space);
        const int n = part == NULL ? -1 : snprintf(text + used, sizeof(text) - used, "%s\n", part);
        if (n < 0 || (size_t)n >= sizeof(text) - used) {
            return NULL;
        }
        used += (size_t)n;
    }
    return strdup(text);
}

json_t *store_document_stamp(const json_t *document, uint64_t committed_ms, uint64_t version)
{
    json_t *copy = json_deep_copy(document);
    const uint64_t now_ms = fed_clock_utc_ms();

    if (copy != NULL) {
        (void)json_object_set_new(
            copy, "committed_at",
            json_integer((json_int_t)(committed_ms == 0 ? now_ms : committed_ms)));
        (void)json_object_set_new(copy, "updated_at", json_integer((json_int_t)now_ms));
        (void)json_object_set_new(copy, "version", json_integer((json_int_t)version));
    }
    return copy;
}
