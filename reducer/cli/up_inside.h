/* What up.c (the loop) and up_parts.c (the processes' arguments, folders, sockets) share. */
#ifndef REDUCER_CLI_UP_INSIDE_H
#define REDUCER_CLI_UP_INSIDE_H

#include "common/base/file.h"
#include "reducer/cli/child.h"
#include "reducer/cli/up.h"

#define UP_ADDRESS_SIZE 128

/* In the order of starting; stopping goes backwards. */
enum up_role {
    UP_REDUCER,
    UP_COMBINER,
    UP_CLIENT,
    UP_SESSION,
    UP_ROLE_MAX,
};

enum up_phase {
    UP_STARTING, /* role `role` is being started */
    UP_RUNNING,
    UP_STOPPING, /* role `role` is being stopped */
    UP_DONE,
};

struct up_part {
    struct child child;
    enum up_role role;
    uint64_t index;                /* in its role, from 0 */
    bool was_ready;                /* once */
    char address[UP_ADDRESS_SIZE]; /* of a combiner */
};

struct up {
    const struct up_settings *settings;
    const char *programs;
    const char *self;
    const struct term *term;
    char dir[FED_PATH_SIZE]; /* absolute */
    char http[UP_ADDRESS_SIZE];
    char rpc[UP_ADDRESS_SIZE];
    bool is_http_ours;     /* chosen here: another may be taken when it turns out to be in use */
    struct up_part *parts; /* (n_parts,) owned, by role */
    size_t n_parts;
    int lock_fd;
    int signal_fd;
    int notify_fd; /* inotify of DIR/run */
    enum up_phase phase;
    enum up_role role;
    uint64_t due_ms; /* of the phase: starting or stopping this role */
    uint64_t started_ms;
    int status;              /* exit status to be */
    bool was_killed;         /* the role that is being stopped has been sent SIGKILL */
    struct fed_err *failure; /* why it stops; code FED_OK: told to */
};

/* Make folders and locks, remove former state where wanted. Fails with FED_E_CONFLICT (another
 * `confed up` works there), FED_E_INVALID (the folder is no such folder), FED_E_IO. */
FED_NODISCARD int up_open_dir(struct up *up, struct fed_err *err);

/* Make all parts, and the combiners' listening sockets. Fails with FED_E_NOMEM, FED_E_IO. */
FED_NODISCARD int up_make_parts(struct up *up, struct fed_err *err);
void up_free_parts(struct up *up);

/* "127.0.0.1:8092" when that port is free, else port 0. */
void up_choose_http(struct up *up);

/* The arguments of a part, as of now. */
void up_make_words(const struct up *up, const struct up_part *part, struct child_words *words);

/* The reducer's addresses from its ready file. Fails with FED_E_IO, FED_E_CORRUPT. */
FED_NODISCARD int
up_load_addresses(struct up *up, const struct up_part *reducer, struct fed_err *err);

/* The last lines of a log but for "info", for a failure. */
void up_print_tail(const struct up *up, const struct child *child);

#endif /* REDUCER_CLI_UP_INSIDE_H */
