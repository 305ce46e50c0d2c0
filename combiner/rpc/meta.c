#include "combiner/rpc/meta.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/cleanup.h"

static void free_text_p(char **text)
{
    free(*text);
}

static void free_json_p(json_t **json)
{
    json_decref(*json);
}

/* The first fault counts. */
FED_PRINTF(3, 4)
static void fault(struct meta *meta, enum fed_refusal reason, const char *fmt, ...)
{
    va_list args;

    if (meta->fault == FED_REFUSAL_NONE) {
        meta->fault = reason;
        va_start(args, fmt);
        (void)vsnprintf(meta->detail, sizeof(meta->detail), fmt, args);
        va_end(args);
    }
}

/* Python writes NaN, Infinity and -Infinity, which JSON does not know: they become 0, for nothing
 * but num_examples is read, and that is refused at 0 as well. */
static size_t blank_word(char *text)
{
    static const char *const words[] = {"NaN", "Infinity"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const size_t size = strlen(words[i]);
        if (strncmp(text, words[i], size) == 0) {
            memset(text, ' ', size);
            text[0] = '0';
            return size;
        }
    }
    return 1;
}

/* The nesting of brackets outside of texts; blanks what only Python knows. */
static unsigned prepare(char *text)
{
    unsigned depth = 0;
    unsigned deepest = 0;
    bool is_inside = false;

    for (size_t i = 0; text[i] != '\0';) {
        const char c = text[i];
        size_t step = 1;
        if (is_inside) {
            step = c == '\\' && text[i + 1] != '\0' ? 2 : 1;
            is_inside = c != '"';
        } else if (c == '"') {
            is_inside = true;
        } else if (c == '{' || c == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0 ? 1 : 0;
        } else if (c == 'N' || c == 'I') {
            step = blank_word(text + i);
        }
        i += step;
    }
    return deepest;
}

/* A JSON object, owned by the caller; NULL with the fault noted. */
static json_t *parse_object(struct meta *meta, const char *what, const char *text)
{
    FED_CLEANUP(free_text_p) char *copy = NULL;
    json_error_t error;
    json_t *json;

    if (strnlen(text, META_SIZE_MAX + 1) > META_SIZE_MAX) {
        fault(meta, FED_REFUSAL_BAD_META, "%s is longer than %u bytes", what, META_SIZE_MAX);
        return NULL;
    }
    copy = strdup(text);
    if (copy == NULL) {
        fault(meta, FED_REFUSAL_BAD_META, "no memory for %s", what);
        return NULL;
    }
    if (prepare(copy) > META_DEPTH_MAX) {
        fault(meta, FED_REFUSAL_BAD_META, "%s is nested deeper than %u", what, META_DEPTH_MAX);
        return NULL;
    }
    json = json_loads(copy, JSON_DECODE_INT_AS_REAL, &error);
    if (json == NULL) {
        fault(meta, FED_REFUSAL_BAD_META, "%s is no JSON: %.80s", what, error.text);
    } else if (!json_is_object(json)) {
        json_decref(json);
        json = NULL;
        fault(meta, FED_REFUSAL_BAD_META, "%s is no JSON object", what);
    }
    return json;
}

static void read_examples(struct meta *meta, const json_t *json)
{
    const json_t *training = json_object_get(json, "training_metadata");
    const json_t *examples = json_object_get(training, "num_examples");
    const double value = json_is_real(examples) ? json_real_value(examples) : 0.0;

    if (examples == NULL) {
        fault(meta, FED_REFUSAL_EXAMPLES, "training_metadata.num_examples is missing");
    } else if (!json_is_real(examples)) {
        fault(meta, FED_REFUSAL_EXAMPLES, "num_examples is no number");
    } else if (!(value >= 1.0) || value > (double)META_EXAMPLES_MAX || value > floor(value)) {
        fault(meta, FED_REFUSAL_EXAMPLES, "num_examples is %g, want a positive whole number",
              value);
    } else {
        meta->examples = (uint64_t)value;
    }
}

/* An id under `key`, as a text or a whole number; `ret` stays empty when there is none. A second
 * one must be the same. */
static void
read_id(struct meta *meta, const json_t *json, const char *key, char *ret, size_t ret_size)
{
    const json_t *value = json_object_get(json, key);
    const enum fed_refusal reason =
        strcmp(key, "round_id") == 0 ? FED_REFUSAL_OTHER_ROUND : FED_REFUSAL_OTHER_SESSION;
    char id[FED_ID_SIZE] = "";
    int n = 0;

    if (value == NULL || json_is_null(value)) {
        return;
    }
    if (json_is_string(value)) {
        n = snprintf(id, sizeof(id), "%s", json_string_value(value));
    } else if (json_is_real(value) && fabs(json_real_value(value)) < 1e15) {
        n = snprintf(id, sizeof(id), "%.0f", json_real_value(value));
    }
    if (n == 0 && json_is_string(value)) {
        return;
    }
    if (n < 1 || (size_t)n >= ret_size || !fed_id_is_valid(id)) {
        fault(meta, reason, "%s is no id", key);
    } else if (ret[0] != '\0' && strcmp(ret, id) != 0) {
        fault(meta, FED_REFUSAL_BAD_META, "two configs name different %ss", key);
    } else {
        memcpy(ret, id, (size_t)n + 1);
    }
}

static void read_config(struct meta *meta, const json_t *config)
{
    read_id(meta, config, "round_id", meta->round_id, sizeof(meta->round_id));
    read_id(meta, config, "session_id", meta->session_id, sizeof(meta->session_id));
}

static void read_config_text(struct meta *meta, const char *what, const char *text)
{
    FED_CLEANUP(free_json_p) json_t *config = NULL;

    if (text[0] != '\0') {
        config = parse_object(meta, what, text);
    }
    if (config != NULL) {
        read_config(meta, config);
    }
}

void meta_parse(const char *meta, const char *config, struct meta *ret_meta)
{
    FED_CLEANUP(free_json_p) json_t *json = NULL;
    const json_t *inner;

    *ret_meta = (struct meta){0};
    json = parse_object(ret_meta, "meta", meta);
    if (json != NULL) {
        inner = json_object_get(json, "config");
        if (json_is_string(inner)) {
            read_config_text(ret_meta, "meta.config", json_string_value(inner));
        } else if (json_is_object(inner)) {
            read_config(ret_meta, inner);
        } else if (inner != NULL && !json_is_null(inner)) {
            fault(ret_meta, FED_REFUSAL_BAD_META, "meta.config is no text");
        }
    }
    read_config_text(ret_meta, "config", config);
    if (json != NULL) {
        read_examples(ret_meta, json);
    }
}
