/* JSON as FEDn's server writes it, and reading of fields with their limits. */
#ifndef REDUCER_REST_REST_JSON_H
#define REDUCER_REST_REST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* Append: keys sorted, no blanks, ASCII, a float with the fewest digits that read back the same,
 * one newline. Fails with FED_E_NOMEM. */
FED_NODISCARD int rest_json_format(const json_t *value, struct fed_buf *buf, struct fed_err *err);

/* A store's document as a row for people: without "version" and keys that begin with '_', times as
 * HTTP dates. Returns a new object, or NULL: out of memory. */
json_t *rest_json_row(json_t *document);

/* {"count":n_matches,"result":[rows]}; `documents` is borrowed. NULL: out of memory. */
json_t *rest_json_list(const json_t *documents, size_t n_matches);

/* An array of rows; `documents` is borrowed. NULL: out of memory. */
json_t *rest_json_rows(const json_t *documents);

/* The same items, the last first; `items` is borrowed. NULL: out of memory. */
json_t *rest_json_reversed(const json_t *items);

/* Absent or null. */
bool rest_json_is_null(const json_t *object, const char *key);

/* A text of at most size_max bytes without control characters. Absent, null: *ret_text NULL.
 * Fails with FED_E_INVALID, naming the key. */
FED_NODISCARD int rest_json_text(const json_t *object,
                                 const char *key,
                                 size_t size_max,
                                 const char **ret_text,
                                 struct fed_err *err);

/* An integer in min..max; 5.0 and "5" are 5. Absent, null, "": *ret_value is left alone.
 * Fails with FED_E_INVALID. */
FED_NODISCARD int rest_json_integer(const json_t *object,
                                    const char *key,
                                    const int64_t range[2],
                                    int64_t *ret_value,
                                    struct fed_err *err);

/* true or false. Absent, null: left alone. Fails with FED_E_INVALID. */
FED_NODISCARD int
rest_json_flag(const json_t *object, const char *key, bool *ret_value, struct fed_err *err);

#endif /* REDUCER_REST_REST_JSON_H */
