/* Tables for people: columns as wide as what stands in them, colours where wanted.
 *
 * Cells may hold text that others chose (names of clients): control characters never reach the
 * terminal.
 *
 * Thread safety: none.
 */
#ifndef REDUCER_CLI_TABLE_H
#define REDUCER_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define TABLE_COLUMNS_MAX 12

struct table_column {
    const char *title;
    bool is_right; /* numbers */
    bool is_state; /* coloured by its word: online, Failed … */
    size_t cut_at; /* characters; 0: never cut */
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t n_columns;
    char **cells; /* (n_rows, n_columns) owned */
    size_t n_rows;
};

void table_init(struct table *table, const struct table_column *columns, size_t n_columns);
void table_deinit(struct table *table);

/* Add a row of n_columns texts, copied; NULL and "" show as "-". Fails with FED_E_NOMEM. */
FED_NODISCARD int table_add(struct table *table, const char *const *cells, struct fed_err *err);

/* Append the table, or `empty` and a newline when it has no rows. Fails as fed_buf_add(). */
FED_NODISCARD int table_format(const struct table *table,
                               bool has_colour,
                               const char *empty,
                               struct fed_buf *buf,
                               struct fed_err *err);

/* Append text without control characters; with a colour when it is a known state's word. */
FED_NODISCARD int
table_add_state(struct fed_buf *buf, bool has_colour, const char *text, struct fed_err *err);

/* Copy without control characters, cut to the size. Returns ret_text. */
const char *table_clean(const char *text, char *ret_text, size_t text_size);

/* Characters (code points of UTF-8) of a text. */
size_t table_width(const char *text);

/* Bytes of the first `width` characters. */
size_t table_prefix(const char *text, size_t width);

#endif /* REDUCER_CLI_TABLE_H */
