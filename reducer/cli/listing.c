#include "reducer/cli/listing.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "reducer/cli/table.h"

#define UUID_LENGTH  36
#define SHORT_LENGTH 8
#define LABEL_WIDTH  14

static void format_names(const json_t *items, char ret_text[ROW_TEXT_SIZE])
{
    json_t *item = NULL;
    size_t used = 0;
    size_t i = 0;

    json_array_foreach(items, i, item)
    {
        char name[ROW_TEXT_SIZE];
        const char *text = json_is_string(item) ? json_string_value(item) : row_text(item, "name");
        (void)table_clean(text, name, sizeof(name));
        const int n =
            snprintf(ret_text + used, ROW_TEXT_SIZE - used, "%s%s", i == 0 ? "" : ", ", name);
        if (n < 0 || (size_t)n >= ROW_TEXT_SIZE - used) {
            return;
        }
        used += (size_t)n;
    }
}

const char *listing_format(const struct listing_field *field,
                           const json_t *row,
                           bool is_short,
                           char ret_text[ROW_TEXT_SIZE])
{
    const json_t *value = row_find(row, field->path);

    ret_text[0] = '\0';
    if (value == NULL || json_is_null(value)) {
        return ret_text;
    }
    switch (field->kind) {
    case LISTING_TIME:
        return row_format_time(row, field->path, ret_text);
    case LISTING_MS:
        return row_format_ms(row_u64(row, field->path), ret_text, ROW_TEXT_SIZE);
    case LISTING_BYTES:
        return row_format_bytes(row_u64(row, field->path), ret_text, ROW_TEXT_SIZE);
    case LISTING_COUNT:
        (void)snprintf(ret_text, ROW_TEXT_SIZE, "%zu", json_array_size(value));
        return ret_text;
    case LISTING_NAMES:
        format_names(value, ret_text);
        return ret_text;
    case LISTING_ID:
        (void)row_format(row, field->path, ret_text);
        if (is_short && strlen(ret_text) == UUID_LENGTH && ret_text[SHORT_LENGTH] == '-') {
            ret_text[SHORT_LENGTH] = '\0';
        }
        return ret_text;
    case LISTING_TEXT:
    case LISTING_NUMBER:
    case LISTING_STATE:
        break;
    }
    return row_format(row, field->path, ret_text);
}

static int add_rows(struct table *table,
                    const json_t *rows,
                    const struct listing_field *fields,
                    size_t n_fields,
                    struct fed_err *err)
{
    json_t *row = NULL;
    size_t i_row = 0;

    json_array_foreach(rows, i_row, row)
    {
        char texts[TABLE_COLUMNS_MAX][ROW_TEXT_SIZE];
        const char *cells[TABLE_COLUMNS_MAX];
        int rc;
        for (size_t i = 0; i < n_fields; i++) {
            cells[i] = listing_format(&fields[i], row, true, texts[i]);
        }
        rc = table_add(table, cells, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int listing_print(const struct term *term,
                  const json_t *rows,
                  const struct listing_field *fields,
                  size_t n_fields,
                  const char *empty,
                  struct fed_err *err)
{
    struct table_column columns[TABLE_COLUMNS_MAX];
    struct table table;
    struct fed_buf buf;
    int rc;

    assert(n_fields <= TABLE_COLUMNS_MAX);
    for (size_t i = 0; i < n_fields; i++) {
        const enum listing_kind kind = fields[i].kind;
        columns[i] = (struct table_column){
            .title = fields[i].title,
            .is_right = kind == LISTING_NUMBER || kind == LISTING_MS || kind == LISTING_BYTES ||
                        kind == LISTING_COUNT,
            .is_state = kind == LISTING_STATE,
            .cut_at = fields[i].cut_at,
        };
    }
    table_init(&table, columns, n_fields);
    fed_buf_init(&buf, 0);
    rc = add_rows(&table, rows, fields, n_fields, err);
    if (rc == 0) {
        rc = table_format(&table, term->has_colour, empty, &buf, err);
    }
    if (rc == 0) {
        term_write(term, &buf);
    }
    fed_buf_deinit(&buf);
    table_deinit(&table);
    return rc;
}

void listing_show(const struct term *term,
                  const json_t *row,
                  const struct listing_field *fields,
                  size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++) {
        char text[ROW_TEXT_SIZE];
        struct fed_buf buf;

        (void)listing_format(&fields[i], row, false, text);
        if (text[0] == '\0') {
            continue;
        }
        fed_buf_init(&buf, 0);
        if (fed_buf_addf(&buf, NULL, "%-*s  ", LABEL_WIDTH, fields[i].title) == 0 &&
            table_add_state(&buf, term->has_colour && fields[i].kind == LISTING_STATE, text,
                            NULL) == 0 &&
            fed_buf_add(&buf, "\n", 1, NULL) == 0) {
            term_write(term, &buf);
        }
        fed_buf_deinit(&buf);
    }
}
