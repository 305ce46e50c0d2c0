/* A federation on this machine: a reducer, combiners and clients as child processes, kept running
 * until they are told to stop.
 *
 *   REDUCER --ready--> COMBINERS --all ready--> CLIENTS --all ready--> RUNNING [--session ended-->]
 *      |                   |                       |                      |
 *      +-------------------+-----------------------+----------------------+--> STOPPING --> DONE
 *              Ctrl-C, SIGTERM, a start that fails or takes too long
 *
 * Stopping goes backwards: session, clients, combiners, reducer; each group has its drain limit,
 * then it is killed.
 *
 * What wakes it: signals (signalfd), ready files (inotify), deadlines. One thread.
 */
#ifndef REDUCER_CLI_UP_H
#define REDUCER_CLI_UP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "reducer/cli/term.h"

#define UP_CLIENTS_MAX   500U
#define UP_COMBINERS_MAX 32U

struct up_settings {
    const char *dir;      /* state, models, logs */
    const char *http;     /* HOST:PORT; "": 127.0.0.1:8092 when that is free, else any */
    const char *rpc;      /* HOST:PORT */
    uint64_t client_port; /* of the first combiner; 0: any */
    uint64_t n_combiners;
    uint64_t n_clients;
    const char *data;
    const char *partition; /* the clients' own default where "" */
    const char *trainer;
    const char *kernel;
    const char *model; /* what the session starts from */
    uint64_t seed;
    uint64_t epochs; /* 0: the clients' own */
    uint64_t batch;
    double lr;
    uint64_t n_rounds; /* of the session; 0: none is started */
    uint64_t round_timeout_ms;
    uint64_t start_limit_ms; /* until everything is ready */
    bool is_fresh;           /* without the state of former times */
    bool is_kept;            /* stay after the session */
    bool is_json;            /* the session's result comes as JSON, in DIR/run/session.out */
    FILE *ready_file;        /* where one JSON object goes when everything is ready; or NULL */
};

/* Run it to its end. `programs` is the folder of confed-reducer and the others, `self` this
 * program. Returns the exit status: of the session where there was one, else 0 after Ctrl-C.
 * Fails with what kept it from starting; then no process is left either. */
FED_NODISCARD int up_run(const struct up_settings *settings,
                         const char *programs,
                         const char *self,
                         const struct term *term,
                         struct fed_err *err);

#endif /* REDUCER_CLI_UP_H */
