#include "common/conf/conf.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/base/unconst.h"
#include "common/conf/conf_inside.h"

#define NAME_SIZE   128
#define SECRET_MAX  65536U
#define DISTANCE_ON 3 /* letters a typing error may be off */

struct source {
    const struct fed_conf_spec *spec;
    void *settings;
    struct fed_conf *conf;
};

static int set_item(const struct source *source,
                    const struct fed_conf_item *item,
                    const char *value,
                    const char *where,
                    struct fed_err *err);

/* -- values -------------------------------------------------------------------------------------
 */

static bool unit_factor(enum fed_conf_type type, const char *unit, uint64_t *ret_factor)
{
    static const struct {
        enum fed_conf_type type;
        const char *unit;
        uint64_t factor;
    } units[] = {
        {FED_CONF_DURATION, "", 1},
        {FED_CONF_DURATION, "ms", 1},
        {FED_CONF_DURATION, "s", 1000},
        {FED_CONF_DURATION, "min", 60000},
        {FED_CONF_DURATION, "h", 3600000},
        {FED_CONF_SIZE, "", 1},
        {FED_CONF_SIZE, "B", 1},
        {FED_CONF_SIZE, "KiB", 1024},
        {FED_CONF_SIZE, "MiB", 1 << 20},
        {FED_CONF_SIZE, "GiB", 1 << 30},
        {FED_CONF_U64, "", 1},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].type == type && strcmp(units[i].unit, unit) == 0) {
            *ret_factor = units[i].factor;
            return true;
        }
    }
    return false;
}

bool fed_conf_parse_number(enum fed_conf_type type, const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    uint64_t factor = 1;
    const char *p = text;

    if (*p < '0' || *p > '9') {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
    }
    p += *p == ' ' ? 1 : 0;
    if (!unit_factor(type, p, &factor) || __builtin_mul_overflow(value, factor, &value)) {
        return false;
    }
    *ret_value = value;
    return true;
}

static bool parse_bool(const char *text, bool *ret_value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_value = i % 2 == 1;
            return true;
        }
    }
    return false;
}

bool fed_address_parse(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    const char *start = text;
    uint64_t port = 0;
    size_t n;

    if (colon == NULL || !fed_conf_parse_number(FED_CONF_U64, colon + 1, &port) || port > 65535) {
        return false;
    }
    n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && colon[-1] == ']') {
        start++;
        n -= 2;
    } else if (memchr(text, ':', n) != NULL) {
        return false; /* an IPv6 address without brackets: where would the port begin? */
    }
    if (n == 0 || n >= host_size || memchr(start, '[', n) != NULL ||
        memchr(start, ']', n) != NULL) {
        return false;
    }
    memcpy(ret_host, start, n);
    ret_host[n] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_SIZE];
    const size_t n = strlen(b);

    if (n >= NAME_SIZE) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            const size_t above = row[j + 1];
            size_t best = diagonal + (a[i] == b[j] ? 0 : 1);
            best = above + 1 < best ? above + 1 : best;
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j + 1] = best;
            diagonal = above;
        }
    }
    return row[n];
}

const char *fed_nearest(const char *word, const char *const *names, size_t n_names)
{
    const char *best = NULL;
    size_t best_distance = DISTANCE_ON + 1;

    for (size_t i = 0; i < n_names; i++) {
        const size_t d = distance(word, names[i]);
        if (d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

const char *fed_env_get(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe): main thread, before others start */
}

/* -- items --------------------------------------------------------------------------------------
 */

static const char *keep_text(struct fed_conf *conf, const char *text)
{
    char **texts = realloc(conf->texts, (conf->n_texts + 1) * sizeof(*texts));
    char *copy = strdup(text);

    if (texts != NULL) {
        conf->texts = texts;
    }
    if (texts == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    conf->texts[conf->n_texts++] = copy;
    return copy;
}

static int bad_value(struct fed_err *err,
                     const struct fed_conf_item *item,
                     const char *value,
                     const char *where,
                     const char *want)
{
    return fed_err_set(err, FED_E_INVALID, "%s: %s is '%.60s', want %s", where, item->key,
                       item->is_secret ? "(secret)" : value, want);
}

static int set_number(const struct fed_conf_item *item,
                      void *field,
                      const char *value,
                      const char *where,
                      struct fed_err *err)
{
    char want[96];
    uint64_t number = 0;

    if (!fed_conf_parse_number(item->type, value, &number)) {
        return bad_value(err, item, value, where,
                         item->type == FED_CONF_DURATION ? "a duration such as '30 s'"
                         : item->type == FED_CONF_SIZE   ? "a size such as '64 MiB'"
                                                         : "a whole number");
    }
    if (number < item->min || (item->max != 0 && number > item->max)) {
        if (item->max == 0) {
            (void)snprintf(want, sizeof(want), "at least %llu", (unsigned long long)item->min);
        } else {
            (void)snprintf(want, sizeof(want), "%llu to %llu", (unsigned long long)item->min,
                           (unsigned long long)item->max);
        }
        return bad_value(err, item, value, where, want);
    }
    memcpy(field, &number, sizeof(number));
    return 0;
}

static int set_item(const struct source *source,
                    const struct fed_conf_item *item,
                    const char *value,
                    const char *where,
                    struct fed_err *err)
{
    uint8_t *field = (uint8_t *)source->settings + item->offset;
    const char *kept;
    char *end = NULL;
    double real;
    bool is_on = false;

    switch (item->type) {
    case FED_CONF_TEXT:
        kept = keep_text(source->conf, value);
        if (kept == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "settings");
        }
        memcpy(field, &kept, sizeof(kept));
        return 0;
    case FED_CONF_BOOL:
        if (!parse_bool(value, &is_on)) {
            return bad_value(err, item, value, where, "true or false");
        }
        memcpy(field, &is_on, sizeof(is_on));
        return 0;
    case FED_CONF_REAL:
        real = strtod(value, &end);
        if (end == value || *end != '\0' || !isfinite(real) || !(real >= (double)item->min) ||
            (item->max != 0 && !(real <= (double)item->max))) {
            return bad_value(err, item, value, where, "a number in its range");
        }
        memcpy(field, &real, sizeof(real));
        return 0;
    case FED_CONF_U64:
    case FED_CONF_DURATION:
    case FED_CONF_SIZE:
        break;
    }
    return set_number(item, field, value, where, err);
}

static const struct fed_conf_item *find_item(const struct fed_conf_spec *spec, const char *key)
{
    for (size_t i = 0; i < spec->n_items; i++) {
        if (strcmp(spec->items[i].key, key) == 0) {
            return &spec->items[i];
        }
    }
    return NULL;
}

static int unknown_key(const struct fed_conf_spec *spec,
                       const char *key,
                       const char *where,
                       struct fed_err *err)
{
    const char *names[NAME_SIZE];
    const char *near;
    size_t n = 0;

    for (; n < spec->n_items && n < NAME_SIZE; n++) {
        names[n] = spec->items[n].key;
    }
    near = fed_nearest(key, names, n);
    return fed_err_set(err, FED_E_INVALID, "%s: unknown setting '%.60s'%s%s%s", where, key,
                       near == NULL ? " (see --help)" : ", did you mean '",
                       near == NULL ? "" : near, near == NULL ? "" : "'?");
}

static int set_secret_file(const struct source *source,
                           const struct fed_conf_item *item,
                           const char *path,
                           struct fed_err *err)
{
    struct fed_buf buf;
    int rc = fed_file_load(path, SECRET_MAX, &buf, err);

    if (rc < 0) {
        return fed_err_wrap(err, rc, "%s_file", item->key);
    }
    while (buf.size > 0 && isspace(buf.data[buf.size - 1]) != 0) {
        buf.size--;
    }
    rc = fed_buf_add(&buf, "", 1, err);
    if (rc == 0) {
        rc = set_item(source, item, (const char *)buf.data, path, err);
    }
    fed_buf_deinit(&buf);
    return rc;
}

/* A key of a file: dashes and underscores are one; KEY_file reads a secret. */
static int
set_key(void *arg, const char *key, const char *value, const char *where, struct fed_err *err)
{
    const struct source *source = arg;
    char name[NAME_SIZE];
    const struct fed_conf_item *item;
    size_t n;

    (void)snprintf(name, sizeof(name), "%s", key);
    for (char *p = name; *p != '\0'; p++) {
        if (*p == '-') {
            *p = '_';
        }
    }
    item = find_item(source->spec, name);
    if (item != NULL && !item->is_secret) {
        return set_item(source, item, value, where, err);
    }
    n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, "_file") == 0) {
        name[n - 5] = '\0';
        item = find_item(source->spec, name);
        if (item != NULL && item->is_secret) {
            return set_secret_file(source, item, value, err);
        }
    }
    if (item != NULL) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: %s is a secret: give it by %s_file or by the environment", where,
                           key, key);
    }
    return unknown_key(source->spec, key, where, err);
}

static void env_name(const struct fed_conf_spec *spec, const char *key, char *ret_name, size_t size)
{
    (void)snprintf(ret_name, size, "%s_%s", spec->env_prefix, key);
    for (char *p = ret_name; *p != '\0'; p++) {
        *p = (char)toupper((unsigned char)*p);
    }
}

static int load_environment(const struct source *source, struct fed_err *err)
{
    char name[NAME_SIZE];

    for (size_t i = 0; i < source->spec->n_items; i++) {
        const struct fed_conf_item *item = &source->spec->items[i];
        const char *value;
        int rc = 0;

        env_name(source->spec, item->key, name, sizeof(name));
        value = fed_env_get(name);
        if (value != NULL) {
            rc = set_item(source, item, value, name, err);
        } else if (item->is_secret) {
            (void)snprintf(name + strlen(name), sizeof(name) - strlen(name), "_FILE");
            value = fed_env_get(name);
            rc = value == NULL ? 0 : set_secret_file(source, item, value, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int load_defaults(const struct source *source, struct fed_err *err)
{
    for (size_t i = 0; i < source->spec->n_items; i++) {
        const struct fed_conf_item *item = &source->spec->items[i];
        const int rc = set_item(source, item, item->fallback, "default", err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* -- command line ---------------------------------------------------------------------------------
 */

/* One --flag at argv[i]; *ret_used is how many arguments it took. */
static int load_flag(const struct source *source,
                     char **argv,
                     int argc,
                     int i,
                     int *ret_used,
                     struct fed_err *err)
{
    char key[NAME_SIZE];
    char where[NAME_SIZE]; /* the flag without its value, which may be a secret */
    const char *equals = strchr(argv[i], '=');
    const size_t n = equals == NULL ? strlen(argv[i]) : (size_t)(equals - argv[i]);
    const struct fed_conf_item *item;
    const char *value = equals == NULL ? NULL : equals + 1;

    if (n < 3 || n >= sizeof(key) || strncmp(argv[i], "--", 2) != 0) {
        return fed_err_set(err, FED_E_INVALID, "unexpected argument '%.60s' (see --help)", argv[i]);
    }
    (void)snprintf(where, sizeof(where), "%.*s", (int)n, argv[i]);
    (void)snprintf(key, sizeof(key), "%s", where + 2);
    for (char *p = key; *p != '\0'; p++) {
        if (*p == '-') {
            *p = '_';
        }
    }
    item = find_item(source->spec, key);
    *ret_used = 1;
    if (item != NULL && item->type == FED_CONF_BOOL && value == NULL) {
        value = "true";
    } else if (value == NULL && i + 1 < argc) {
        value = argv[i + 1];
        *ret_used = 2;
    } else if (value == NULL && item != NULL) {
        return fed_err_set(err, FED_E_INVALID, "%s needs a value: %s", argv[i], item->argument);
    }
    return set_key(fed_unconst(source), key, value == NULL ? "" : value, where, err);
}

static int load_arguments(const struct source *source, int argc, char **argv, struct fed_err *err)
{
    for (int i = 1; i < argc;) {
        int used = 1;
        int rc = 0;
        if (strcmp(argv[i], "--config") == 0) {
            used = 2;
            rc = i + 1 < argc ? 0 : fed_err_set(err, FED_E_INVALID, "--config needs a value: FILE");
        } else if (strncmp(argv[i], "--config=", 9) != 0 && strcmp(argv[i], "--dump-config") != 0) {
            rc = load_flag(source, argv, argc, i, &used, err);
        }
        if (rc < 0) {
            return rc;
        }
        i += used;
    }
    return 0;
}

static const char *find_config(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0) {
            return i + 1 < argc ? argv[i + 1] : NULL;
        }
        if (strncmp(argv[i], "--config=", 9) == 0) {
            return argv[i] + 9;
        }
    }
    return NULL;
}

static bool has_flag(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) == 0) {
            return true;
        }
    }
    return false;
}

/* -- printing
 * -------------------------------------------------------------------------------------- */

static void print_help(const struct fed_conf_spec *spec)
{
    char name[NAME_SIZE];

    (void)printf("%s - %s\n\nUsage: %s [--config FILE] [OPTION...]\n\nOptions:\n", spec->program,
                 spec->summary, spec->program);
    for (size_t i = 0; i < spec->n_items; i++) {
        const struct fed_conf_item *item = &spec->items[i];
        char flag[NAME_SIZE];
        const char *argument = item->is_secret || item->argument == NULL ? "" : item->argument;
        (void)snprintf(flag, sizeof(flag), "%s%s%s", item->key, argument[0] == '\0' ? "" : " ",
                       argument);
        for (char *p = flag; *p != '\0' && *p != ' '; p++) {
            if (*p == '_') {
                *p = '-';
            }
        }
        env_name(spec, item->key, name, sizeof(name));
        if (item->is_secret) {
            (void)printf("  %s, %s_FILE, or --%s-file FILE\n", name, name, flag);
        } else {
            (void)printf("  --%s\n", flag);
        }
        (void)printf("        %s", item->help);
        if (item->fallback[0] != '\0' && !item->is_secret) {
            (void)printf(" [%s]", item->fallback);
        }
        (void)printf("\n");
    }
    (void)printf("  --config FILE\n        YAML file of the same keys; environment and flags win\n"
                 "  --dump-config\n        print the effective settings as such a file, and end\n"
                 "  --help, --version\n\n"
                 "Each option can also be set in the environment: %s_<OPTION> in capitals.\n"
                 "Exit status: 0 done, 1 failed while running, 2 settings, 3 peer not reachable.\n",
                 spec->env_prefix);
    if (spec->epilog != NULL) {
        (void)printf("\n%s", spec->epilog);
    }
}

static void
format_value(const struct fed_conf_item *item, const void *settings, char *ret_text, size_t size)
{
    const uint8_t *field = (const uint8_t *)settings + item->offset;
    const char *text = NULL;
    uint64_t number = 0;
    double real = 0;
    bool is_on = false;

    switch (item->type) {
    case FED_CONF_TEXT:
        memcpy(&text, field, sizeof(text));
        if (item->is_secret && text[0] != '\0') {
            (void)snprintf(ret_text, size, "********");
        } else {
            fed_text_blank_url(text, ret_text, size); /* what is no URL stays as it is */
        }
        break;
    case FED_CONF_BOOL:
        memcpy(&is_on, field, sizeof(is_on));
        (void)snprintf(ret_text, size, "%s", is_on ? "true" : "false");
        break;
    case FED_CONF_REAL:
        memcpy(&real, field, sizeof(real));
        (void)snprintf(ret_text, size, "%.17g", real);
        break;
    case FED_CONF_U64:
    case FED_CONF_DURATION:
    case FED_CONF_SIZE:
        memcpy(&number, field, sizeof(number));
        (void)snprintf(ret_text, size, "%llu%s", (unsigned long long)number,
                       item->type == FED_CONF_DURATION ? " ms" : "");
        break;
    }
}

/* As YAML's double-quoted text. */
static void print_quoted(const char *value)
{
    (void)putchar('"');
    for (const char *p = value; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20) {
            (void)printf("\\x%02X", (unsigned)(unsigned char)*p);
        } else {
            (void)printf(*p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
        }
    }
    (void)printf("\"\n");
}

static void print_dump(const struct fed_conf_spec *spec, const void *settings)
{
    char value[FED_PATH_SIZE];

    for (size_t i = 0; i < spec->n_items; i++) {
        const struct fed_conf_item *item = &spec->items[i];
        format_value(item, settings, value, sizeof(value));
        (void)printf("# %s\n%s%s: ", item->help, item->is_secret ? "# " : "", item->key);
        if (item->type == FED_CONF_TEXT) {
            print_quoted(value);
        } else {
            (void)printf("%s\n", value);
        }
    }
}

void fed_conf_log(const struct fed_conf_spec *spec, const void *settings)
{
    char line[768] = "";
    char pair[300] = "";
    size_t used = 0;

    for (size_t i = 0; i < spec->n_items; i++) {
        char value[FED_PATH_SIZE];
        int n;
        format_value(&spec->items[i], settings, value, sizeof(value));
        n = snprintf(pair, sizeof(pair), "%s=\"%.120s\" ", spec->items[i].key, value);
        if (n < 0 || used + (size_t)n >= sizeof(line)) {
            fed_log(FED_LOG_INFO, "conf", "settings", "%s", line);
            used = 0;
        }
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s", pair);
    }
    fed_log(FED_LOG_INFO, "conf", "settings", "%s", line);
}

void fed_conf_deinit(struct fed_conf *conf)
{
    for (size_t i = 0; i < conf->n_texts; i++) {
        free(conf->texts[i]);
    }
    free(conf->texts);
    *conf = (struct fed_conf){0};
}

int fed_conf_load(const struct fed_conf_spec *spec,
                  int argc,
                  char **argv,
                  void *settings,
                  struct fed_conf *ret_conf,
                  struct fed_err *err)
{
    struct fed_conf conf = {0};
    struct source source = {spec, settings, &conf};
    const char *config = find_config(argc, argv);
    int rc;

    if (has_flag(argc, argv, "--help") || has_flag(argc, argv, "-h")) {
        print_help(spec);
        return FED_CONF_EXIT;
    }
    if (has_flag(argc, argv, "--version")) {
        (void)printf("%s %s\n", spec->program, CONFED_VERSION);
        return FED_CONF_EXIT;
    }
    rc = load_defaults(&source, err);
    if (rc == 0 && config != NULL) {
        rc = conf_yaml_load(config, set_key, &source, err);
    }
    if (rc == 0) {
        rc = load_environment(&source, err);
    }
    if (rc == 0) {
        rc = load_arguments(&source, argc, argv, err);
    }
    if (rc == 0 && has_flag(argc, argv, "--dump-config")) {
        print_dump(spec, settings);
        rc = FED_CONF_EXIT;
    }
    if (rc != 0) {
        fed_conf_deinit(&conf);
        return rc;
    }
    *ret_conf = conf;
    return 0;
}
