/* Settings from one table: default < file < environment < command line.
 *
 * The table also makes --help, --dump-config, the environment's names and the error for an unknown
 * key. Values go into the daemon's struct, which is read-only afterwards; texts belong to the
 * struct fed_conf. Nobody else reads the environment.
 *
 * Thread safety: main thread, before others start.
 */
#ifndef FED_COMMON_CONF_CONF_H
#define FED_COMMON_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/log.h"

enum fed_conf_type {
    FED_CONF_TEXT,     /* const char *; "" when unset */
    FED_CONF_U64,      /* uint64_t */
    FED_CONF_BOOL,     /* bool */
    FED_CONF_DURATION, /* uint64_t, ms: "500ms", "30 s", "2 min", plain numbers are ms */
    FED_CONF_SIZE,     /* uint64_t, bytes: "64 MiB", "1 GiB", plain numbers are bytes */
    FED_CONF_REAL,     /* double */
};

struct fed_conf_item {
    const char *key; /* "round_timeout": --round-timeout, PREFIX_ROUND_TIMEOUT */
    enum fed_conf_type type;
    const char *fallback; /* as it would be typed */
    uint64_t min;         /* numbers, durations, sizes */
    uint64_t max;         /* 0: none */
    size_t offset;        /* in the settings' struct */
    bool is_secret;       /* by environment (KEY, KEY_FILE) or KEY_file; masked in dumps; no flag */
    const char *argument; /* in --help: "HOST:PORT" */
    const char *help;
};

struct fed_conf_spec {
    const char *program;    /* "confed-reducer" */
    const char *env_prefix; /* "FED_REDUCER" */
    const char *summary;    /* one sentence */
    const char *epilog;     /* examples; may be NULL */
    const struct fed_conf_item *items;
    size_t n_items;
};

/* Outcome: help, version or a dump was printed; the program ends with 0. */
enum {
    FED_CONF_EXIT = 1,
};

/* Exit statuses of all our programs. */
enum fed_exit {
    FED_EXIT_OK = 0,
    FED_EXIT_FAILED = 1,
    FED_EXIT_USAGE = 2,       /* settings or arguments */
    FED_EXIT_UNREACHABLE = 3, /* the peer cannot be reached */
    FED_EXIT_ROUNDS = 4,      /* rounds have failed, or the session was stopped */
};

struct fed_conf {
    char **texts; /* owned */
    size_t n_texts;
};

/* Fill *settings. --config FILE, --help, --version and --dump-config are understood by all.
 * Returns 0, FED_CONF_EXIT, or < 0: FED_E_INVALID with what is wrong and where, FED_E_IO. */
FED_NODISCARD int fed_conf_load(const struct fed_conf_spec *spec,
                                int argc,
                                char **argv,
                                void *settings,
                                struct fed_conf *ret_conf,
                                struct fed_err *err);
void fed_conf_deinit(struct fed_conf *conf);

/* The effective settings as key=value pairs, on as few log lines as they need, secrets masked. */
void fed_conf_log(const struct fed_conf_spec *spec, const void *settings);

/* Parse one value of a type as it would be typed; for command-line tools. Text: false. */
bool fed_conf_parse_number(enum fed_conf_type type, const char *text, uint64_t *ret_value);

/* "HOST:PORT", "[::1]:80"; port 0 allowed. False when it is not that. */
bool fed_address_parse(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port);

/* The nearest of n names, when near enough to have been meant; else NULL. */
const char *fed_nearest(const char *word, const char *const *names, size_t n_names);

/* The environment, for programs without a table. May be NULL. */
const char *fed_env_get(const char *name);

#endif /* FED_COMMON_CONF_CONF_H */
