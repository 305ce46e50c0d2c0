/* Fields of the JSON objects that the reducer answers with. A field that is missing or of another
 * type is empty, never a failure: servers of other versions have other fields.
 */
#ifndef REDUCER_CLI_ROW_H
#define REDUCER_CLI_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define ROW_TEXT_SIZE 512 /* bytes of a field as text, with the NUL */

/* A member, or of a member: "session_config.rounds". NULL when there is none. */
json_t *row_find(const json_t *row, const char *path);

const char *row_text(const json_t *row, const char *path); /* borrowed; "" */
uint64_t row_u64(const json_t *row, const char *path);     /* 0 */
bool row_is(const json_t *row, const char *path);          /* false */

/* Any scalar as text; "" for null and for what is none. Returns ret_text. */
const char *row_format(const json_t *row, const char *path, char ret_text[ROW_TEXT_SIZE]);

/* "Sun, 22 Nov 2026 12:48:44 GMT", or a number of ms since 1970, as "2026-11-22 12:48:44"; other
 * text as it is. */
const char *row_format_time(const json_t *row, const char *path, char ret_text[ROW_TEXT_SIZE]);

/* Milliseconds as "4.2 s", "3 min 20 s"; bytes as "6.3 MiB". */
const char *row_format_ms(uint64_t ms, char *ret_text, size_t text_size);
const char *row_format_bytes(uint64_t size, char *ret_text, size_t text_size);

/* A metric of a validation's data (JSON text, or an object): the first key named like `word`
 * ("accuracy"), one that begins with test_ before others. False when there is none. */
bool row_metric(const json_t *validation, const char *word, double *ret_value);

#endif /* REDUCER_CLI_ROW_H */
