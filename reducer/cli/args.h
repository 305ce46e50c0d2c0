/* The arguments of one command, by a table of options; and its help.
 *
 * The rows are those of common/conf, without environment or file: texts are borrowed from argv,
 * numbers have their bounds, an option without a fallback is 0, "" or false when it is not given.
 *
 * Thread safety: any thread; no state.
 */
#ifndef REDUCER_CLI_ARGS_H
#define REDUCER_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/conf/conf.h"

#define ARGS_WORDS_MAX  12 /* words that are no options */
#define ARGS_TABLES_MAX 2

struct args_table {
    const struct fed_conf_item *items;
    size_t n_items;
};

struct args {
    const char *words[ARGS_WORDS_MAX]; /* borrowed from argv */
    size_t n_words;
    bool wants_help;
};

/* Read argv[0..argc) (the command's name is not among them) by up to ARGS_TABLES_MAX tables into
 * *settings. After `--` everything is a word.
 *
 * Fails with FED_E_INVALID: unknown option (names the nearest), missing or bad value, too many
 * words. */
FED_NODISCARD int args_parse(const struct args_table tables[ARGS_TABLES_MAX],
                             int argc,
                             char **argv,
                             void *settings,
                             struct args *ret_args,
                             struct fed_err *err);

/* The options of a table as lines of help. */
FED_NODISCARD int
args_format(const struct args_table *table, struct fed_buf *buf, struct fed_err *err);

#endif /* REDUCER_CLI_ARGS_H */
