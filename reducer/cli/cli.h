/* From the command line to a command and back: finding it, help, errors, exit status. */
#ifndef REDUCER_CLI_CLI_H
#define REDUCER_CLI_CLI_H

#include <stdio.h>

/* Run `confed ARGUMENT...`. Returns the exit status (enum fed_exit). */
int cli_run(int argc, char **argv, FILE *out, FILE *errors);

#endif /* REDUCER_CLI_CLI_H */
