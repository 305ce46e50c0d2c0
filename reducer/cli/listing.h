/* Rows of the API as a table, and one row as lines of "label  value": both by a list of fields. */
#ifndef REDUCER_CLI_LISTING_H
#define REDUCER_CLI_LISTING_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "common/base/err.h"
#include "reducer/cli/row.h"
#include "reducer/cli/term.h"

enum listing_kind {
    LISTING_TEXT,
    LISTING_NUMBER,
    LISTING_STATE,
    LISTING_ID, /* a UUID by its first 8 letters in tables */
    LISTING_TIME,
    LISTING_MS,
    LISTING_BYTES,
    LISTING_COUNT, /* of an array's items */
    LISTING_NAMES, /* of an array of texts, or of objects with a name */
};

struct listing_field {
    const char *title;
    const char *path;
    enum listing_kind kind;
    size_t cut_at; /* characters in tables; 0: never */
};

/* A field as text; short ids with is_short. Returns ret_text. */
const char *listing_format(const struct listing_field *field,
                           const json_t *row,
                           bool is_short,
                           char ret_text[ROW_TEXT_SIZE]);

/* Print an array of rows; `empty` when there are none. Fails with FED_E_NOMEM. */
FED_NODISCARD int listing_print(const struct term *term,
                                const json_t *rows,
                                const struct listing_field *fields,
                                size_t n_fields,
                                const char *empty,
                                struct fed_err *err);

/* Print one row, a line a field; empty fields are left out. */
void listing_show(const struct term *term,
                  const json_t *row,
                  const struct listing_field *fields,
                  size_t n_fields);

#endif /* REDUCER_CLI_LISTING_H */
