/* `confed-reducer --check`: the same checks as of a running reducer, from the settings alone,
 * without serving. */
#ifndef REDUCER_PREFLIGHT_H
#define REDUCER_PREFLIGHT_H

#include <stdbool.h>
#include <stdio.h>

#include "reducer/settings.h"

enum preflight {
    PREFLIGHT_NONE,
    PREFLIGHT_TEXT,
    PREFLIGHT_JSON,
};

/* Take --check or --check=json out of the arguments. */
enum preflight preflight_take(int *io_argc, char **argv);

/* Check, and print a line a finding (or one JSON array). Makes what the settings name and is not
 * there, as a start would. Returns the exit status: FED_EXIT_FAILED when a check has failed.
 * Blocks.
 */
int preflight_run(const struct settings *settings, enum preflight how, FILE *out);

#endif /* REDUCER_PREFLIGHT_H */
