/* confed-client as a process under test, in a folder of its own. */
#ifndef TESTS_UNIT_CLIENT_DAEMON_H
#define TESTS_UNIT_CLIENT_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct daemon {
    char folder[256]; /* temporary; daemon_clean() removes it */
    pid_t pid;        /* 0: not running */
};

void daemon_prepare(struct daemon *daemon);
void daemon_clean(struct daemon *daemon);

/* Start with these arguments (NULL at the end; --state is added). `fault`: CONFED_FAULT, or NULL.
 */
void daemon_start(struct daemon *daemon, const char *const arguments[], const char *fault);

/* Wait for its end, at most 20 s: the exit status, or minus the signal. Asserts that it ends. */
int daemon_wait(struct daemon *daemon);
void daemon_signal(const struct daemon *daemon, int number);

bool daemon_has_file(const struct daemon *daemon, const char *name);

#endif /* TESTS_UNIT_CLIENT_DAEMON_H */
