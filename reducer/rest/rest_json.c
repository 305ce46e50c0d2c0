#include "reducer/rest/rest_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

#define NUMBER_SIZE 40U /* bytes of a number's text, with the NUL */

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* A float with the fewest digits that read back as the same value. */
static int add_shortest(struct fed_buf *buf, const char *text, struct fed_err *err)
{
    const double value = strtod(text, NULL);
    char shortest[NUMBER_SIZE];

    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(shortest, sizeof(shortest), "%.*g", digits, value);
        const double again = strtod(shortest, NULL);
        if (!(again < value) && !(again > value)) {
            break;
        }
    }
    if (strpbrk(shortest, ".e") == NULL) {
        return fed_buf_addf(buf, err, "%s.0", shortest);
    }
    return fed_buf_add(buf, shortest, strlen(shortest), err);
}

/* One token outside a text: a number, or one other character. *ret_size: its bytes. */
static int add_token(struct fed_buf *buf, const char *text, size_t *ret_size, struct fed_err *err)
{
    char number[NUMBER_SIZE];
    size_t n = 0;

    if ((*text < '0' || *text > '9') && *text != '-') {
        *ret_size = 1;
        return fed_buf_add(buf, text, 1, err);
    }
    while (is_number_char(text[n])) {
        n++;
    }
    *ret_size = n;
    if (n < sizeof(number)) {
        memcpy(number, text, n);
        number[n] = '\0';
        if (strpbrk(number, ".e") != NULL) {
            return add_shortest(buf, number, err);
        }
    }
    return fed_buf_add(buf, text, n, err);
}

/* jansson writes a float with 17 digits: 30.1 as 30.100000000000001. */
static int add_with_short_floats(struct fed_buf *buf, const char *text, struct fed_err *err)
{
    int rc = 0;

    while (*text != '\0' && rc == 0) {
        size_t n = 1;
        if (*text == '"') {
            while (text[n] != '"') {
                n += text[n] == '\\' ? 2 : 1;
            }
            n++;
            rc = fed_buf_add(buf, text, n, err);
        } else {
            rc = add_token(buf, text, &n, err);
        }
        text += n;
    }
    return rc;
}

int rest_json_format(const json_t *value, struct fed_buf *buf, struct fed_err *err)
{
    char *text =
        json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    int rc;

    if (text == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "answer");
    }
    rc = fed_buf_reserve(buf, buf->size + strlen(text) + 1, err);
    if (rc == 0) {
        rc = add_with_short_floats(buf, text, err);
    }
    if (rc == 0) {
        rc = fed_buf_add(buf, "\n", 1, err);
    }
    free(text);
    return rc;
}

static bool is_time(const char *key)
{
    const size_t n = strlen(key);

    return strcmp(key, "last_seen") == 0 || (n > 3 && strcmp(key + n - 3, "_at") == 0);
}

json_t *rest_json_row(json_t *document)
{
    json_t *row = json_object();
    const char *key;
    json_t *value;
    int rc = row == NULL ? -1 : 0;

    json_object_foreach(document, key, value)
    {
        char text[FED_TIME_TEXT_SIZE];
        if (key[0] == '_' || strcmp(key, "version") == 0 || rc < 0) {
            continue;
        }
        if (is_time(key) && json_is_integer(value) && json_integer_value(value) >= 0) {
            fed_time_format_http((uint64_t)json_integer_value(value), text);
            rc = json_object_set_new(row, key, json_string(text));
        } else {
            rc = json_object_set(row, key, value);
        }
    }
    if (rc < 0) {
        json_decref(row);
        return NULL;
    }
    return row;
}

json_t *rest_json_rows(const json_t *documents)
{
    json_t *rows = json_array();

    for (size_t i = 0; rows != NULL && i < json_array_size(documents); i++) {
        if (json_array_append_new(rows, rest_json_row(json_array_get(documents, i))) < 0) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

json_t *rest_json_list(const json_t *documents, size_t n_matches)
{
    json_t *rows = rest_json_rows(documents);

    return rows == NULL ? NULL
                        : json_pack("{s:I,s:o}", "count", (json_int_t)n_matches, "result", rows);
}

json_t *rest_json_reversed(const json_t *items)
{
    json_t *turned = json_array();

    for (size_t i = json_array_size(items); i > 0; i--) {
        (void)json_array_append(turned, json_array_get(items, i - 1));
    }
    return turned;
}

bool rest_json_is_null(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return value == NULL || json_is_null(value);
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

int rest_json_text(const json_t *object,
                   const char *key,
                   size_t size_max,
                   const char **ret_text,
                   struct fed_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);

    if (value == NULL || json_is_null(value)) {
        *ret_text = NULL;
        return 0;
    }
    if (text == NULL) {
        return fed_err_set(err, FED_E_INVALID, "%s must be a text", key);
    }
    if (strlen(text) > size_max || has_control(text)) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s must be a text of at most %zu bytes without control characters", key,
                           size_max);
    }
    *ret_text = text;
    return 0;
}

static bool read_integer(const json_t *value, int64_t *ret_value)
{
    const char *text = json_string_value(value);
    char *end = NULL;

    if (json_is_integer(value)) {
        *ret_value = json_integer_value(value);
        return true;
    }
    if (json_is_real(value)) {
        const double real = json_real_value(value);
        if (!(fabs(real) < 9e15) || fabs(real - rint(real)) > 0) {
            return false;
        }
        *ret_value = (int64_t)real;
        return true;
    }
    if (text == NULL || *text == '\0' || strlen(text) > 18) {
        return false;
    }
    *ret_value = strtoll(text, &end, 10);
    return *end == '\0';
}

int rest_json_integer(const json_t *object,
                      const char *key,
                      const int64_t range[2],
                      int64_t *ret_value,
                      struct fed_err *err)
{
    const json_t *value = json_object_get(object, key);
    int64_t number = 0;

    if (value == NULL || json_is_null(value) ||
        (json_is_string(value) && json_string_length(value) == 0)) {
        return 0;
    }
    if (!read_integer(value, &number) || number < range[0] || number > range[1]) {
        return fed_err_set(err, FED_E_INVALID, "%s must be an integer from %lld to %lld", key,
                           (long long)range[0], (long long)range[1]);
    }
    *ret_value = number;
    return 0;
}

int rest_json_flag(const json_t *object, const char *key, bool *ret_value, struct fed_err *err)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL || json_is_null(value)) {
        return 0;
    }
    if (!json_is_boolean(value)) {
        return fed_err_set(err, FED_E_INVALID, "%s must be true or false", key);
    }
    *ret_value = json_is_true(value);
    return 0;
}
