/* Rows as CSV (RFC 4180): one column for each value, nested names joined by dots.
 *
 * Rows differ in what they hold, so the columns are learned from all of them first, then written.
 * A text that a spreadsheet would take for a formula (it begins with = + - @, tab or return) gets
 * an apostrophe before it. Arrays, and objects below REST_CSV_DEPTH, are written as JSON.
 *
 * Thread safety: none.
 */
#ifndef REDUCER_REST_REST_CSV_H
#define REDUCER_REST_REST_CSV_H

#include <stddef.h>

#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/strmap.h"

#define REST_CSV_TYPE        "text/csv; charset=utf-8; header=present"
#define REST_CSV_COLUMNS_MAX 500U
#define REST_CSV_DEPTH       6U
#define REST_CSV_NAME_SIZE   256U /* bytes of a column's name, with the NUL */

struct rest_csv {
    struct fed_strmap places; /* name → its place + 1 */
    char **names;             /* (n_names,) owned, in the order of their first appearance */
    const json_t **values;    /* (n_names,) borrowed: of the row that is written */
    size_t n_names;
    size_t n_reserved;
};

void rest_csv_init(struct rest_csv *csv);
void rest_csv_deinit(struct rest_csv *csv);

/* Fails with FED_E_LIMIT (too many columns, a name too long), FED_E_NOMEM. */
FED_NODISCARD int rest_csv_learn(struct rest_csv *csv, json_t *row, struct fed_err *err);

FED_NODISCARD int
rest_csv_add_head(const struct rest_csv *csv, struct fed_buf *buf, struct fed_err *err);

/* Values of columns that were not learned are left out. */
FED_NODISCARD int
rest_csv_add_row(struct rest_csv *csv, json_t *row, struct fed_buf *buf, struct fed_err *err);

#endif /* REDUCER_REST_REST_CSV_H */
