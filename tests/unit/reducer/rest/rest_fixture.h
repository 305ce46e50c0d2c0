/* A REST server on a free port, over a store and blobs in memory, and a host that answers from its
 * own loop as the reducer would.
 */
#ifndef TESTS_UNIT_REDUCER_REST_REST_FIXTURE_H
#define TESTS_UNIT_REDUCER_REST_REST_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/view.h"
#include "common/sync/loop.h"
#include "reducer/blob/blob.h"
#include "reducer/rest/counters.h"
#include "reducer/rest/host.h"
#include "reducer/rest/rest_server.h"
#include "reducer/store/store.h"

struct fixture {
    struct host host;
    struct counters counters;
    struct rest_server *server;
    char base[64]; /* "http://127.0.0.1:PORT" */
    struct fed_loop *loop;
    pthread_t thread;
    struct fed_event bump_event;
    struct fed_event end_event;
    struct fed_timer timer;
    struct fed_list polls; /* loop: asks that wait for news */
    int seq;               /* loop */
    atomic_bool is_ending;
    /* what the host says; set before a request */
    bool has_combiner;
    bool is_running; /* a session is */
    const char *online_client;
    const char *online_combiner;
    json_t *assigned;       /* the last HOST_ASSIGN's input; owned */
    pthread_mutex_t lock;   /* of n_polls */
    pthread_cond_t arrived; /* a poll is held */
    size_t n_polls;
};

/* cmocka's set_up and tear_down; *state is a struct fixture. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* Start with another configuration; `listen` is filled in here. */
void fixture_start(struct fixture *fixture, struct rest_config config);
void fixture_stop(struct fixture *fixture);

/* News: all held polls are answered. */
void fixture_bump(struct fixture *fixture);

/* Wait until the host holds n polls. */
void fixture_wait_polls(struct fixture *fixture, size_t n);

/* An answer. */
struct reply {
    long status;
    char *text; /* owned */
    size_t size;
    json_t *json; /* owned; NULL: the text is none */
};
void reply_deinit(struct reply *reply);

/* One request; headers is a NULL-terminated list or NULL; body (JSON) may be NULL. */
struct reply call(struct fixture *fixture, const char *method, const char *path, const char *body);
struct reply
call_with(struct fixture *fixture, const char *method, const char *path, const char *header);

/* The same, and the status must be this one; the reply's JSON is returned, owned (or NULL). */
json_t *expect(struct fixture *fixture,
               long status,
               const char *method,
               const char *path,
               const char *body);

/* Upload bytes as `file`, with a name. */
struct reply upload(struct fixture *fixture,
                    const char *path,
                    const char *file_name,
                    struct fed_view bytes,
                    const char *name);

/* Bytes to the port as they are; what comes back until the server closes (or `enough` bytes). */
char *raw(struct fixture *fixture, const void *bytes, size_t size);
int raw_connect(const struct fixture *fixture);

const char *text_at(const json_t *object, const char *key);

/* Send a request as it stands; the head of its answer must hold this text. */
void expect_head(struct fixture *fixture, const char *request, const char *head);

#endif /* TESTS_UNIT_REDUCER_REST_REST_FIXTURE_H */
