#include "reducer/rest/rest_csv.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/rest_json.h"

/* A walk over a row's values. */
struct walk {
    char name[REST_CSV_NAME_SIZE]; /* of the value it is at */
    struct {
        json_t *object;
        void *it;
        size_t name_size; /* of the object's own name and its dot */
    } levels[REST_CSV_DEPTH];
    size_t depth;
};

static void walk_into(struct walk *walk, json_t *object, size_t name_size)
{
    walk->levels[walk->depth].object = object;
    walk->levels[walk->depth].it = json_object_iter(object);
    walk->levels[walk->depth].name_size = name_size;
    walk->depth++;
}

/* The next value that is written in a column, its name in walk->name; NULL: the end, or a name that
 * is too long. */
static json_t *walk_next(struct walk *walk, bool *ret_is_long)
{
    while (walk->depth > 0) {
        const size_t top = walk->depth - 1;
        void *it = walk->levels[top].it;
        size_t size = walk->levels[top].name_size;
        json_t *value;

        if (it == NULL) {
            walk->depth--;
            continue;
        }
        value = json_object_iter_value(it);
        size += (size_t)snprintf(walk->name + size, sizeof(walk->name) - size, "%s",
                                 json_object_iter_key(it));
        walk->levels[top].it = json_object_iter_next(walk->levels[top].object, it);
        if (size + 2 > sizeof(walk->name)) {
            *ret_is_long = true;
            return NULL;
        }
        if (!json_is_object(value) || json_object_size(value) == 0 ||
            walk->depth == REST_CSV_DEPTH) {
            return value;
        }
        walk->name[size] = '.';
        walk_into(walk, value, size + 1);
    }
    return NULL;
}

void rest_csv_init(struct rest_csv *csv)
{
    *csv = (struct rest_csv){0};
    fed_strmap_init(&csv->places);
}

void rest_csv_deinit(struct rest_csv *csv)
{
    for (size_t i = 0; i < csv->n_names; i++) {
        free(csv->names[i]);
    }
    free(csv->names);
    free(csv->values);
    fed_strmap_deinit(&csv->places);
    rest_csv_init(csv);
}

static int reserve(struct rest_csv *csv, struct fed_err *err)
{
    const size_t n = csv->n_reserved == 0 ? 32 : csv->n_reserved * 2;
    char **names;
    const json_t **values;

    if (csv->n_names < csv->n_reserved) {
        return 0;
    }
    names = realloc(csv->names, n * sizeof(*names));
    csv->names = names == NULL ? csv->names : names;
    values = realloc(csv->values, n * sizeof(const json_t *));
    csv->values = values == NULL ? csv->values : values;
    if (names == NULL || values == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "CSV");
    }
    csv->n_reserved = n;
    return 0;
}

static int add_column(struct rest_csv *csv, const char *name, struct fed_err *err)
{
    void *place;
    int rc;

    if (csv->n_names == REST_CSV_COLUMNS_MAX) {
        return fed_err_set(err, FED_E_LIMIT, "more than %u columns: ask for JSON",
                           REST_CSV_COLUMNS_MAX);
    }
    rc = reserve(csv, err);
    if (rc < 0) {
        return rc;
    }
    csv->names[csv->n_names] = strdup(name);
    if (csv->names[csv->n_names] == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "CSV");
    }
    csv->n_names++;
    place = (void *)(uintptr_t)csv->n_names; /* NOLINT(performance-no-int-to-ptr): a number */
    return fed_strmap_put(&csv->places, name, place, NULL, err);
}

int rest_csv_learn(struct rest_csv *csv, json_t *row, struct fed_err *err)
{
    struct walk walk = {.depth = 0};
    bool is_long = false;
    int rc = 0;

    walk_into(&walk, row, 0);
    while (rc == 0 && walk_next(&walk, &is_long) != NULL) {
        if (fed_strmap_find(&csv->places, walk.name) == NULL) {
            rc = add_column(csv, walk.name, err);
        }
    }
    return rc == 0 && is_long
               ? fed_err_set(err, FED_E_LIMIT, "a name is too long for CSV: ask for JSON")
               : rc;
}

/* -- cells ------------------------------------------------------------------------------------ */

static int add_text(struct fed_buf *buf, const char *text, size_t size, struct fed_err *err)
{
    const bool is_formula = size > 0 && strchr("=+-@\t\r", text[0]) != NULL;
    bool is_quoted = size > 0 && (text[0] == ' ' || text[size - 1] == ' ');
    int rc;

    for (size_t i = 0; i < size && !is_quoted; i++) {
        is_quoted = strchr(",\"\r\n", text[i]) != NULL && text[i] != '\0';
    }
    rc = fed_buf_addf(buf, err, "%s%s", is_quoted ? "\"" : "", is_formula ? "'" : "");
    if (!is_quoted) {
        return rc < 0 ? rc : fed_buf_add(buf, text, size, err);
    }
    for (size_t i = 0; i < size && rc == 0; i++) {
        rc = text[i] == '"' ? fed_buf_add(buf, "\"\"", 2, err) : fed_buf_add(buf, &text[i], 1, err);
    }
    return rc < 0 ? rc : fed_buf_add(buf, "\"", 1, err);
}

static int add_cell(struct fed_buf *buf, const json_t *value, struct fed_err *err)
{
    struct fed_buf text;
    int rc;

    if (value == NULL || json_is_null(value)) {
        return 0;
    }
    if (json_is_string(value)) {
        return add_text(buf, json_string_value(value), json_string_length(value), err);
    }
    fed_buf_init(&text, 0);
    rc = rest_json_format(value, &text, err);
    if (rc == 0) {
        text.size--; /* its newline */
        rc = json_is_number(value) ? fed_buf_add(buf, text.data, text.size, err)
                                   : add_text(buf, (const char *)text.data, text.size, err);
    }
    fed_buf_deinit(&text);
    return rc;
}

int rest_csv_add_head(const struct rest_csv *csv, struct fed_buf *buf, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < csv->n_names && rc == 0; i++) {
        rc = i > 0 ? fed_buf_add(buf, ",", 1, err) : 0;
        rc = rc < 0 ? rc : add_text(buf, csv->names[i], strlen(csv->names[i]), err);
    }
    return rc < 0 || csv->n_names == 0 ? rc : fed_buf_add(buf, "\r\n", 2, err);
}

int rest_csv_add_row(struct rest_csv *csv, json_t *row, struct fed_buf *buf, struct fed_err *err)
{
    struct walk walk = {.depth = 0};
    const json_t *value;
    bool is_long = false;
    int rc = 0;

    if (csv->n_names == 0) {
        return 0;
    }
    memset(csv->values, 0, csv->n_names * sizeof(const json_t *));
    walk_into(&walk, row, 0);
    while ((value = walk_next(&walk, &is_long)) != NULL) {
        const uintptr_t place = (uintptr_t)fed_strmap_find(&csv->places, walk.name);
        if (place != 0) {
            csv->values[place - 1] = value;
        }
    }
    for (size_t i = 0; i < csv->n_names && rc == 0; i++) {
        rc = i > 0 ? fed_buf_add(buf, ",", 1, err) : 0;
        rc = rc < 0 ? rc : add_cell(buf, csv->values[i], err);
    }
    return rc < 0 ? rc : fed_buf_add(buf, "\r\n", 2, err);
}
