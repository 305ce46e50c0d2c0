/* What the other end of an output can show: width, colours, UTF-8. */
#ifndef REDUCER_CLI_TERM_H
#define REDUCER_CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/buf.h"

struct term {
    FILE *file; /* borrowed */
    bool is_terminal;
    bool has_colour; /* a terminal, and neither NO_COLOR (no-color.org) nor TERM=dumb */
    bool has_utf8;   /* by LC_ALL, LC_CTYPE or LANG */
    size_t columns;  /* 0: not a terminal */
};

void term_init(struct term *term, FILE *file);

/* Write all of it and flush. A reader that went away is no failure of ours. */
void term_write(const struct term *term, const struct fed_buf *text);

#endif /* REDUCER_CLI_TERM_H */
