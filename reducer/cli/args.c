#include "reducer/cli/args.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE  64
#define NAMES_MAX  64
#define LINE_WIDTH 92 /* of help texts, indented by 8 */

static const struct fed_conf_item *find_item(const struct args_table *tables, const char *key)
{
    for (size_t t = 0; t < ARGS_TABLES_MAX; t++) {
        for (size_t i = 0; i < tables[t].n_items; i++) {
            if (strcmp(tables[t].items[i].key, key) == 0) {
                return &tables[t].items[i];
            }
        }
    }
    return NULL;
}

static void swap_dashes(char *text, char from, char to)
{
    for (char *p = text; *p != '\0'; p++) {
        if (*p == from) {
            *p = to;
        }
    }
}

static int unknown_option(const struct args_table *tables, const char *key, struct fed_err *err)
{
    const char *names[NAMES_MAX];
    char flag[NAME_SIZE] = "";
    const char *near;
    size_t n = 0;

    for (size_t t = 0; t < ARGS_TABLES_MAX; t++) {
        for (size_t i = 0; i < tables[t].n_items && n < NAMES_MAX; i++) {
            names[n++] = tables[t].items[i].key;
        }
    }
    near = fed_nearest(key, names, n);
    if (near == NULL) {
        (void)snprintf(flag, sizeof(flag), "%s", key);
        swap_dashes(flag, '_', '-');
        return fed_err_set(err, FED_E_INVALID, "unknown option --%s", flag);
    }
    (void)snprintf(flag, sizeof(flag), "%s", near);
    swap_dashes(flag, '_', '-');
    return fed_err_set(err, FED_E_INVALID, "unknown option --%s, did you mean --%s?", key, flag);
}

static const char *wanted(enum fed_conf_type type)
{
    switch (type) {
    case FED_CONF_DURATION:
        return "a duration such as '30 s'";
    case FED_CONF_SIZE:
        return "a size such as '64 MiB'";
    case FED_CONF_BOOL:
        return "true or false";
    case FED_CONF_REAL:
        return "a number";
    case FED_CONF_U64:
        return "a whole number";
    case FED_CONF_TEXT:
        break;
    }
    return "a text";
}

static bool parse_bool(const char *text, bool *ret_value)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0) {
        *ret_value = true;
        return true;
    }
    *ret_value = false;
    return strcmp(text, "false") == 0 || strcmp(text, "no") == 0;
}

static bool parse_real(const struct fed_conf_item *item, const char *text, double *ret_value)
{
    char *end = NULL;
    const double value = strtod(text, &end);

    *ret_value = value;
    return end != text && *end == '\0' && value >= (double)item->min &&
           (item->max == 0 || value <= (double)item->max);
}

static int
set_number(const struct fed_conf_item *item, void *field, const char *value, struct fed_err *err)
{
    uint64_t number = 0;

    if (!fed_conf_parse_number(item->type, value, &number)) {
        return fed_err_set(err, FED_E_INVALID, "want %s, not '%.60s'", wanted(item->type), value);
    }
    if (number < item->min || (item->max != 0 && number > item->max)) {
        return fed_err_set(err, FED_E_INVALID, "want %llu to %llu, not %.60s",
                           (unsigned long long)item->min, (unsigned long long)item->max, value);
    }
    memcpy(field, &number, sizeof(number));
    return 0;
}

static int
set_item(const struct fed_conf_item *item, void *settings, const char *value, struct fed_err *err)
{
    uint8_t *field = (uint8_t *)settings + item->offset;
    double real = 0;
    bool is_on = false;

    switch (item->type) {
    case FED_CONF_TEXT:
        memcpy(field, &value, sizeof(value));
        return 0;
    case FED_CONF_BOOL:
        if (!parse_bool(value, &is_on)) {
            return fed_err_set(err, FED_E_INVALID, "want true or false, not '%.60s'", value);
        }
        memcpy(field, &is_on, sizeof(is_on));
        return 0;
    case FED_CONF_REAL:
        if (!parse_real(item, value, &real)) {
            return fed_err_set(err, FED_E_INVALID, "want a number in its range, not '%.60s'",
                               value);
        }
        memcpy(field, &real, sizeof(real));
        return 0;
    case FED_CONF_U64:
    case FED_CONF_DURATION:
    case FED_CONF_SIZE:
        break;
    }
    return set_number(item, field, value, err);
}

static int set_defaults(const struct args_table *tables, void *settings, struct fed_err *err)
{
    for (size_t t = 0; t < ARGS_TABLES_MAX; t++) {
        for (size_t i = 0; i < tables[t].n_items; i++) {
            const struct fed_conf_item *item = &tables[t].items[i];
            const bool is_given = item->type == FED_CONF_TEXT || item->fallback[0] != '\0';
            const int rc = is_given ? set_item(item, settings, item->fallback, err) : 0;
            if (rc < 0) {
                return fed_err_wrap(err, rc, "default of --%s", item->key);
            }
        }
    }
    return 0;
}

/* One --option at argv[0]; *ret_used is how many arguments it took. */
static int parse_option(const struct args_table *tables,
                        int argc,
                        char **argv,
                        void *settings,
                        int *ret_used,
                        struct fed_err *err)
{
    const char *name = argv[0] + 2;
    const char *equals = strchr(name, '=');
    const size_t n = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const char *value = equals == NULL ? NULL : equals + 1;
    const struct fed_conf_item *item;
    char key[NAME_SIZE];
    int rc;

    (void)snprintf(key, sizeof(key), "%.*s", n < sizeof(key) ? (int)n : (int)sizeof(key) - 1, name);
    swap_dashes(key, '-', '_');
    item = find_item(tables, key);
    if (item == NULL) {
        return unknown_option(tables, key, err);
    }
    *ret_used = 1;
    if (value == NULL && item->type == FED_CONF_BOOL) {
        value = "true";
    } else if (value == NULL && argc > 1) {
        value = argv[1];
        *ret_used = 2;
    } else if (value == NULL) {
        return fed_err_set(err, FED_E_INVALID, "%.60s needs a value: %s", argv[0], item->argument);
    }
    rc = set_item(item, settings, value, err);
    return rc < 0 ? fed_err_wrap(err, rc, "%.60s", argv[0]) : 0;
}

int args_parse(const struct args_table tables[ARGS_TABLES_MAX],
               int argc,
               char **argv,
               void *settings,
               struct args *ret_args,
               struct fed_err *err)
{
    struct args args = {0};
    bool has_options = true;
    int rc = set_defaults(tables, settings, err);

    for (int i = 0; i < argc && rc == 0;) {
        int used = 1;
        if (has_options && strcmp(argv[i], "--") == 0) {
            has_options = false;
        } else if (has_options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            args.wants_help = true;
        } else if (has_options && strncmp(argv[i], "--", 2) == 0) {
            rc = parse_option(tables, argc - i, argv + i, settings, &used, err);
        } else if (has_options && argv[i][0] == '-' && argv[i][1] != '\0') {
            rc = fed_err_set(err, FED_E_INVALID, "unknown option %.60s: options begin with --",
                             argv[i]);
        } else if (args.n_words == ARGS_WORDS_MAX) {
            rc = fed_err_set(err, FED_E_INVALID, "unexpected word '%.60s'", argv[i]);
        } else {
            args.words[args.n_words++] = argv[i];
        }
        i += used;
    }
    if (rc == 0) {
        *ret_args = args;
    }
    return rc;
}

/* A paragraph, broken at blanks, each line indented. */
static int add_wrapped(struct fed_buf *buf, const char *text, struct fed_err *err)
{
    const size_t width = LINE_WIDTH - 8;
    const char *p = text;
    int rc = 0;

    while (*p != '\0' && rc == 0) {
        size_t n = strlen(p);
        if (n > width) {
            n = width;
            while (n > 0 && p[n] != ' ') {
                n--;
            }
            n = n == 0 ? width : n;
        }
        rc = fed_buf_addf(buf, err, "        %.*s\n", (int)n, p);
        p += n;
        p += *p == ' ' ? 1 : 0;
    }
    return rc;
}

int args_format(const struct args_table *table, struct fed_buf *buf, struct fed_err *err)
{
    for (size_t i = 0; i < table->n_items; i++) {
        const struct fed_conf_item *item = &table->items[i];
        char flag[NAME_SIZE];
        char text[512];
        int rc;

        (void)snprintf(flag, sizeof(flag), "%s", item->key);
        swap_dashes(flag, '_', '-');
        rc = fed_buf_addf(buf, err, "  --%s%s%s\n", flag, item->argument[0] == '\0' ? "" : " ",
                          item->argument);
        if (rc < 0) {
            return rc;
        }
        const bool has_default = item->fallback[0] != '\0' && item->type != FED_CONF_BOOL;
        (void)snprintf(text, sizeof(text), "%s%s%s%s", item->help, has_default ? " [" : "",
                       has_default ? item->fallback : "", has_default ? "]" : "");
        rc = add_wrapped(buf, text, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
