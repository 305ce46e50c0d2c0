#include "reducer/cli/table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP        2 /* blanks between columns */
#define TEXT_SIZE  512
#define BOLD       "\033[1m"
#define COLOUR_OFF "\033[0m"

static const char *colour_of(const char *word)
{
    static const struct {
        const char *word;
        const char *colour;
    } states[] = {
        {"online", "\033[32m"},   {"Finished", "\033[32m"},   {"committed", "\033[32m"},
        {"admitted", "\033[32m"}, {"Started", "\033[36m"},    {"open", "\033[36m"},
        {"Pending", "\033[36m"},  {"planned", "\033[36m"},    {"available", "\033[33m"},
        {"silent", "\033[33m"},   {"Terminated", "\033[33m"}, {"cancelled", "\033[33m"},
        {"offline", "\033[31m"},  {"Failed", "\033[31m"},     {"failed", "\033[31m"},
        {"refused", "\033[31m"},  {"gone", "\033[31m"},
    };

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i].word, word) == 0) {
            return states[i].colour;
        }
    }
    return NULL;
}

const char *table_clean(const char *text, char *ret_text, size_t text_size)
{
    size_t n = 0;

    for (; text[n] != '\0' && n + 1 < text_size; n++) {
        const unsigned char c = (unsigned char)text[n];
        /* C1 controls (0xc2 0x80-0x9f in UTF-8) act on terminals as escapes do */
        const bool is_c1 = n > 0 && (unsigned char)text[n - 1] == 0xc2 && c >= 0x80 && c < 0xa0;
        ret_text[n] = (char)(c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
    }
    ret_text[n] = '\0';
    return ret_text;
}

size_t table_width(const char *text)
{
    size_t n = 0;

    for (const char *p = text; *p != '\0'; p++) {
        n += ((unsigned char)*p & 0xc0) != 0x80 ? 1 : 0;
    }
    return n;
}

size_t table_prefix(const char *text, size_t width)
{
    size_t n = 0;

    for (size_t i = 0; text[i] != '\0'; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80 && n++ == width) {
            return i;
        }
    }
    return strlen(text);
}

void table_init(struct table *table, const struct table_column *columns, size_t n_columns)
{
    assert(n_columns > 0 && n_columns <= TABLE_COLUMNS_MAX);
    *table = (struct table){.columns = columns, .n_columns = n_columns};
}

void table_deinit(struct table *table)
{
    for (size_t i = 0; i < table->n_rows * table->n_columns; i++) {
        free(table->cells[i]);
    }
    free((void *)table->cells);
    table->cells = NULL;
    table->n_rows = 0;
}

static char *copy_cell(const struct table_column *column, const char *text)
{
    char clean[TEXT_SIZE];

    (void)table_clean(text == NULL || text[0] == '\0' ? "-" : text, clean, sizeof(clean));
    if (column->cut_at > 0 && table_width(clean) > column->cut_at) {
        clean[table_prefix(clean, column->cut_at - 1)] = '\0';
        (void)snprintf(clean + strlen(clean), sizeof(clean) - strlen(clean), "~");
    }
    return strdup(clean);
}

int table_add(struct table *table, const char *const *cells, struct fed_err *err)
{
    const size_t n = table->n_rows * table->n_columns;
    char **grown = realloc((void *)table->cells, (n + table->n_columns) * sizeof(*table->cells));

    if (grown == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "table");
    }
    table->cells = grown;
    for (size_t i = 0; i < table->n_columns; i++) {
        grown[n + i] = copy_cell(&table->columns[i], cells[i]);
        if (grown[n + i] == NULL) {
            for (size_t j = 0; j < i; j++) {
                free(grown[n + j]);
            }
            return fed_err_set(err, FED_E_NOMEM, "table");
        }
    }
    table->n_rows++;
    return 0;
}

static int add_cell(struct fed_buf *buf,
                    const struct table_column *column,
                    const char *text,
                    size_t padding,
                    const char *colour,
                    struct fed_err *err)
{
    const int before = column->is_right ? (int)padding : 0;
    const int after = column->is_right ? 0 : (int)padding;

    return fed_buf_addf(buf, err, "%*s%s%s%s%*s", before, "", colour == NULL ? "" : colour, text,
                        colour == NULL ? "" : COLOUR_OFF, after, "");
}

static int add_row(const struct table *table,
                   const size_t *widths,
                   const char *const *cells,
                   bool has_colour,
                   struct fed_buf *buf,
                   struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < table->n_columns && rc == 0; i++) {
        const bool is_title = cells == NULL;
        const char *text = is_title ? table->columns[i].title : cells[i];
        const bool is_last = i + 1 == table->n_columns;
        const char *colour = !has_colour                  ? NULL
                             : is_title                   ? BOLD
                             : table->columns[i].is_state ? colour_of(text)
                                                          : NULL;
        const size_t padding =
            is_last && !table->columns[i].is_right ? 0 : widths[i] - table_width(text);
        rc = add_cell(buf, &table->columns[i], text, padding, colour, err);
        if (rc == 0) {
            rc = fed_buf_addf(buf, err, "%*s", is_last ? 0 : GAP, "");
        }
    }
    return rc < 0 ? rc : fed_buf_add(buf, "\n", 1, err);
}

int table_format(const struct table *table,
                 bool has_colour,
                 const char *empty,
                 struct fed_buf *buf,
                 struct fed_err *err)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    int rc;

    if (table->n_rows == 0) {
        return fed_buf_addf(buf, err, "%s\n", empty);
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        widths[i] = table_width(table->columns[i].title);
        for (size_t row = 0; row < table->n_rows; row++) {
            const size_t width = table_width(table->cells[row * table->n_columns + i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    rc = add_row(table, widths, NULL, has_colour, buf, err);
    for (size_t row = 0; row < table->n_rows && rc == 0; row++) {
        rc = add_row(table, widths, (const char *const *)table->cells + row * table->n_columns,
                     has_colour, buf, err);
    }
    return rc;
}

int table_add_state(struct fed_buf *buf, bool has_colour, const char *text, struct fed_err *err)
{
    char clean[TEXT_SIZE];
    const char *colour = has_colour ? colour_of(text) : NULL;

    (void)table_clean(text, clean, sizeof(clean));
    return fed_buf_addf(buf, err, "%s%s%s", colour == NULL ? "" : colour, clean,
                        colour == NULL ? "" : COLOUR_OFF);
}
