/* A child process that is kept running: its own process group, its output in a log file, ended by
 * the kernel when this process is (PR_SET_PDEATHSIG), started again after a death with back-off.
 *
 *            child_start                ready file, or none is expected
 *   IDLE ----------------> STARTING ----------------------------------> READY
 *    ^                        | ended                                     | ended
 *    |      due               v                                           v
 *    +---------------------- ENDED <--------------------------------------+
 *
 * Thread safety: the main thread only (PR_SET_PDEATHSIG speaks of the thread that forked).
 */
#ifndef REDUCER_CLI_CHILD_H
#define REDUCER_CLI_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "common/base/file.h"

#define CHILD_WORDS_MAX 48
#define CHILD_NAME_SIZE 64

/* The arguments of a process; texts owned. */
struct child_words {
    char *items[CHILD_WORDS_MAX + 1]; /* NULL-terminated */
    size_t n;
    bool is_short; /* memory or room was short: starting fails */
};

FED_PRINTF(2, 3) void child_words_add(struct child_words *words, const char *fmt, ...);
void child_words_deinit(struct child_words *words);

enum child_state {
    CHILD_IDLE,
    CHILD_STARTING,
    CHILD_READY,
    CHILD_ENDED,
};

struct child {
    char name[CHILD_NAME_SIZE];     /* "client-1" */
    char log_path[FED_PATH_SIZE];   /* standard error, appended; and output, without out_path */
    char out_path[FED_PATH_SIZE];   /* standard output, replaced; "": the log */
    char ready_path[FED_PATH_SIZE]; /* appears when it serves; "": ready at once */
    bool has_own_output;            /* keeps our standard output and error */
    int keep_fd;                    /* a descriptor it inherits under the same number; or -1 */
    uint64_t log_from;              /* bytes of the log before the last start */
    enum child_state state;
    pid_t pid;           /* 0: not running */
    int status;          /* of the last end, as waitpid() gives it */
    uint32_t n_deaths;   /* in a row */
    uint64_t started_ms; /* monotonic */
    uint64_t due_ms;     /* ENDED: when to start again; UINT64_MAX: never */
};

/* Start it. Removes an old ready file first. Fails with FED_E_IO (program or log cannot be opened,
 * fork), FED_E_NOMEM; then its state is as it was. */
FED_NODISCARD int child_start(struct child *child,
                              const struct child_words *words,
                              uint64_t now_ms,
                              struct fed_err *err);

/* True when it has ended since the last call: state ENDED, status and due_ms (back-off) set. */
bool child_reap(struct child *child, uint64_t now_ms);

/* True when it has become ready since the last call. */
bool child_look(struct child *child);

static inline bool child_is_running(const struct child *child)
{
    return child->pid > 0;
}

void child_signal(const struct child *child, int number);

/* "exit status 1", "signal 9". Returns ret_text. */
const char *child_format_status(const struct child *child, char *ret_text, size_t text_size);

#endif /* REDUCER_CLI_CHILD_H */
