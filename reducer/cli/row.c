#include "reducer/cli/row.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "reducer/cli/table.h"

#define KEY_SIZE 64

json_t *row_find(const json_t *row, const char *path)
{
    json_t *at = NULL;
    const char *p = path;

    while (*p != '\0' && (p == path || at != NULL)) {
        char key[KEY_SIZE];
        const size_t n = strcspn(p, ".");
        if (n >= sizeof(key)) {
            return NULL;
        }
        memcpy(key, p, n);
        key[n] = '\0';
        at = json_object_get(p == path ? row : at, key);
        p += n;
        p += *p == '.' ? 1 : 0;
    }
    return at;
}

const char *row_text(const json_t *row, const char *path)
{
    const char *text = json_string_value(row_find(row, path));

    return text == NULL ? "" : text;
}

uint64_t row_u64(const json_t *row, const char *path)
{
    const json_int_t value = json_integer_value(row_find(row, path));

    return value > 0 ? (uint64_t)value : 0;
}

bool row_is(const json_t *row, const char *path)
{
    return json_is_true(row_find(row, path));
}

const char *row_format(const json_t *row, const char *path, char ret_text[ROW_TEXT_SIZE])
{
    const json_t *value = row_find(row, path);

    ret_text[0] = '\0';
    if (json_is_string(value)) {
        (void)table_clean(json_string_value(value), ret_text, ROW_TEXT_SIZE);
    } else if (json_is_integer(value)) {
        (void)snprintf(ret_text, ROW_TEXT_SIZE, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(ret_text, ROW_TEXT_SIZE, "%.6g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        (void)snprintf(ret_text, ROW_TEXT_SIZE, "%s", json_is_true(value) ? "yes" : "no");
    }
    return ret_text;
}

const char *row_format_time(const json_t *row, const char *path, char ret_text[ROW_TEXT_SIZE])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char month[4] = "";
    const char *at;
    const json_t *value = row_find(row, path);

    if (json_is_integer(value)) {
        const time_t seconds = (time_t)(json_integer_value(value) / 1000);
        struct tm parts;
        if (gmtime_r(&seconds, &parts) == NULL ||
            strftime(ret_text, ROW_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
            ret_text[0] = '\0';
        }
        return ret_text;
    }
    (void)row_format(row, path, ret_text);
    if (strlen(ret_text) != 29 || strcmp(ret_text + 25, " GMT") != 0) {
        return ret_text;
    }
    memcpy(month, ret_text + 8, 3);
    at = strstr(months, month);
    if (at == NULL || (at - months) % 3 != 0) {
        return ret_text;
    }
    char out[32];
    (void)snprintf(out, sizeof(out), "%.4s-%02d-%.2s %.8s", ret_text + 12,
                   (int)((at - months) / 3 + 1), ret_text + 5, ret_text + 17);
    (void)snprintf(ret_text, ROW_TEXT_SIZE, "%s", out);
    return ret_text;
}

const char *row_format_ms(uint64_t ms, char *ret_text, size_t text_size)
{
    const unsigned long long s = ms / 1000;

    if (ms < 1000) {
        (void)snprintf(ret_text, text_size, "%llu ms", (unsigned long long)ms);
    } else if (s < 120) {
        (void)snprintf(ret_text, text_size, "%.1f s", (double)ms / 1000.0);
    } else if (s < 7200) {
        (void)snprintf(ret_text, text_size, "%llu min %llu s", s / 60, s % 60);
    } else {
        (void)snprintf(ret_text, text_size, "%llu h %llu min", s / 3600, s / 60 % 60);
    }
    return ret_text;
}

const char *row_format_bytes(uint64_t size, char *ret_text, size_t text_size)
{
    if (size < 10240) {
        (void)snprintf(ret_text, text_size, "%llu B", (unsigned long long)size);
    } else if (size < 1048576) {
        (void)snprintf(ret_text, text_size, "%.1f KiB", (double)size / 1024.0);
    } else if (size < (uint64_t)10240 * 1048576) {
        (void)snprintf(ret_text, text_size, "%.1f MiB", (double)size / 1048576.0);
    } else {
        (void)snprintf(ret_text, text_size, "%.1f GiB", (double)size / 1073741824.0);
    }
    return ret_text;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

bool row_metric(const json_t *validation, const char *word, double *ret_value)
{
    json_t *data = json_object_get(validation, "data");
    json_t *parsed = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    bool is_found = false;

    if (json_is_string(data)) {
        parsed = json_loads(json_string_value(data), 0, NULL);
        data = parsed;
    }
    json_object_foreach(data, key, value)
    {
        const bool is_best = strncmp(key, "test_", 5) == 0;
        if (json_is_number(value) && ends_with(key, word) && (!is_found || is_best)) {
            *ret_value = json_number_value(value);
            is_found = true;
        }
    }
    json_decref(parsed);
    return is_found;
}
