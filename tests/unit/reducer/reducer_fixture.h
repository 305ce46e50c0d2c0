/* A whole reducer in this process, real stores, the real wire, a fake combiner. */
#ifndef TESTS_UNIT_REDUCER_REDUCER_FIXTURE_H
#define TESTS_UNIT_REDUCER_REDUCER_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reducer/reducer.h"
#include "reducer/rest/host.h"
#include "reducer/store/store.h"
#include "tests/unit/reducer/fake_combiner.h"

struct fixture {
    char folder[128];
    char store[192];
    char blob[192];
    struct settings settings;
    struct reducer *reducer;
    struct host *host;
    pthread_t thread;
    int status;
    struct fake_combiner fake;
};

int set_up(void **state);
int tear_down(void **state);

/* Opened, then running in a thread of its own, then ended. */
void open_reducer(struct fixture *fix);
void begin_reducer(struct fixture *fix);
void end_reducer(struct fixture *fix);

/* Ask, wait, return the output (json_decref); `input` is taken. */
json_t *ask(struct fixture *fix, enum host_verb verb, json_t *input, int *ret_status);

/* Long-poll the live state until `is_true` holds of it; the object is the caller's. */
json_t *await_live(struct fixture *fix, bool (*is_true)(const json_t *live));

json_t *get_row(struct fixture *fix, enum store_collection in, const char *key); /* the caller's */
size_t count_rows(struct fixture *fix, enum store_collection in);
const char *text_of(const json_t *object, const char *key); /* "": there is none */

/* Model "seed"; session "session-1", created; its start. */
void put_seed(struct fixture *fix);
void put_session(struct fixture *fix, int round_timeout_s);
int start_session(struct fixture *fix, int rounds, char *ret_message, size_t size);
void start_well(struct fixture *fix, int rounds);

#endif /* TESTS_UNIT_REDUCER_REDUCER_FIXTURE_H */
