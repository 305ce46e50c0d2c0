/* The reducer's parts: what its wiring files share. Nobody else includes this. */
#ifndef REDUCER_REDUCER_INSIDE_H
#define REDUCER_REDUCER_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/file.h"
#include "reducer/attendance.h"
#include "reducer/core/federation.h"
#include "reducer/journal.h"
#include "reducer/news.h"
#include "reducer/records.h"
#include "reducer/reducer.h"
#include "reducer/rest/counters.h"
#include "reducer/rest/host.h"
#include "reducer/rpc/federation_server.h"
#include "reducer/shelf.h"
#include "reducer/space.h"
#include "reducer/summing.h"
#include "reducer/sweeping.h"

struct rest_server;

struct reducer {
    const struct settings *settings;
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc *rpc;
    struct store *store;
    struct blob_store *blobs;
    char work[FED_PATH_SIZE];
    struct federation *federation;
    struct journal journal;       /* what the round protocol wants written */
    struct errand_line side;      /* rows nobody waits for */
    struct attendance attendance; /* on `side`, as the following */
    struct records records;
    struct summing summing;
    struct shelf shelf;
    struct federation_server *port;
    struct rest_server *rest;
    struct host host;
    struct feed *feed;
    struct counters counters;
    struct news news;
    json_t *session; /* the row of the running session, or of the last one; owned */
    struct {         /* the open round: for its row */
        uint64_t summed_ms;
        uint64_t finish_ms;
        uint64_t commit_ms;
    } stamps;
    struct summing_task *partial; /* received, not yet judged; owned */
    struct journal_entry *start;  /* of the start that is being asked for; owned */
    uint64_t next_token;
    uint64_t plan_link;      /* fault point: the first plan of a round goes over this link */
    struct fed_list polls;   /* struct host_ask: HOST_LIVE that waits for a change */
    struct fed_list pending; /* struct host_ask: waits for FEDERATION_ANSWER or a job */
    struct fed_timer poll_timer;
    struct fed_timer news_timer;
    struct fed_timer tick;
    struct {
        uint64_t seq;
        uint64_t change; /* the federation's, that seq stands for */
        uint64_t told_ms;
    } live;
    uint64_t started_ms;
    struct { /* entering.c */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool is_stopped; /* under lock, as the following */
        bool is_serving; /* asks go to the loop */
        char why[384];   /* not yet */
    } entering;
    bool is_pruning;     /* no session starts meanwhile */
    unsigned n_starting; /* starts that read what is there: no pruning meanwhile */
    struct {
        struct space places;
        struct fed_timer timer;
        struct fed_job job;
        bool found_short; /* the job's, as the following */
        char found[SPACE_TEXT_SIZE];
        char trouble[SPACE_TEXT_SIZE]; /* as told; empty: none */
    } space;
    struct { /* tidying.c */
        struct sweeping sweeping;
        struct fed_timer timer;
        struct fed_job job;
        int rc; /* the job's, as the following */
        struct fed_err err;
    } tidying;
    struct {
        struct fed_event event;
        struct fed_job job; /* frees the REST server */
        struct fed_timer limit;
        bool has_run;
        bool is_draining;
        bool is_forced; /* the drain limit came first: nothing is freed */
        bool is_rest_gone;
        bool is_port_gone;
        unsigned n_jobs; /* of asks */
    } end;
    int exit_status;
};

/* -- actions.c: after each call of federation_*() */
void reducer_turn(struct reducer *reducer);

/* -- port.c */
extern const struct federation_server_ops reducer_port_ops;
extern const struct records_ops reducer_records_ops;

/* -- asks.c */
void reducer_host_init(struct reducer *reducer);
void reducer_answer(struct reducer *reducer, uint64_t token, int status, const char *text);
struct live_view reducer_view_live(const struct reducer *reducer);
void reducer_look_live(struct reducer *reducer);                         /* something has changed */
void reducer_end_asks(struct reducer *reducer);                          /* answer all with 503 */
void reducer_ask_done(struct host_ask *ask, int status, json_t *output); /* takes output */
void reducer_ask_fail(struct host_ask *ask, int status, const char *code, const char *message);

/* -- starting.c: HOST_SESSION_START */
void reducer_start_session(struct reducer *reducer, struct host_ask *ask);

/* -- chores.c */
void reducer_do_chore(struct reducer *reducer, struct host_ask *ask);
void reducer_watch_space(struct reducer *reducer); /* before the loop runs; blocks */

/* -- tidying.c: the blobs that nobody names. Before the loop runs, and at the end. */
void reducer_start_tidying(struct reducer *reducer);
void reducer_stop_tidying(struct reducer *reducer);

/* -- resuming.c: before the loop runs. May be called again after a failure. */
FED_NODISCARD int reducer_resume(struct reducer *reducer, struct fed_err *err);

/* -- entering.c: before the loop runs */
enum {
    REDUCER_AWAY = 1, /* the store: try again */
    REDUCER_STOPPED,
};
void reducer_entering_init(struct reducer *reducer);
void reducer_entering_deinit(struct reducer *reducer);
/* Returns 0 or REDUCER_AWAY; fails as reducer_resume() and the listening do. */
FED_NODISCARD int reducer_enter(struct reducer *reducer, struct fed_err *err);
/* Enter again and again. Returns 0 or REDUCER_STOPPED; fails likewise. Blocks. */
FED_NODISCARD int reducer_await_store(struct reducer *reducer, struct fed_err *err);
void reducer_stop_entering(struct reducer *reducer);                              /* any thread */
bool reducer_is_serving(struct reducer *reducer, char *ret_why, size_t why_size); /* any thread */

/* -- reducer.c */
FED_NODISCARD int reducer_listen_rpc(struct reducer *reducer, struct fed_err *err);
uint64_t reducer_now_ms(const struct reducer *reducer);
void reducer_fail(struct reducer *reducer, const char *why); /* ends with FED_EXIT_FAILED */
void reducer_job_ended(struct reducer *reducer);

#endif /* REDUCER_REDUCER_INSIDE_H */
