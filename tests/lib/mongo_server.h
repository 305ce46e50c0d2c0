/* A server of MongoDB's protocol for tests: the one whose URI CONFED_TEST_MONGODB gives, else a
 * FerretDB of our own (scripts/go-part), which can be killed, frozen and started again. And a proxy
 * that loses answers, doubts them, and holds them back.
 */
#ifndef TESTS_LIB_MONGO_SERVER_H
#define TESTS_LIB_MONGO_SERVER_H

#include "tests/lib/fixture.h"

#define MONGO_SERVER_SKIP 77 /* exit status of a test program where no server can be had */

struct mongo_server {
    struct test_folder folder;
    char program[512]; /* "": the server is given */
    char given[512];   /* its URI */
    uint16_t port;
    int pid;              /* 0: not running */
    const char *extra[8]; /* further arguments, NULL at the end */
};

/* False where no server can be had; says why. */
bool mongo_server_init(struct mongo_server *server);
void mongo_server_deinit(struct mongo_server *server);

bool mongo_server_is_ours(const struct mongo_server *server);
/* On its former port and data. It ends with the thread that calls this. */
void mongo_server_start(struct mongo_server *server);
void mongo_server_kill(struct mongo_server *server); /* kill -9 */
void mongo_server_freeze(struct mongo_server *server, bool is_frozen);

/* "mongodb://…/DATABASE?OPTIONS" */
void mongo_server_url(const struct mongo_server *server,
                      const char *database,
                      const char *options,
                      char ret_url[FED_PATH_SIZE]);

/* Forwards connections to the server on a port of its own. */
struct mongo_proxy;
struct mongo_proxy *mongo_proxy_start(uint16_t to_port);
uint16_t mongo_proxy_port(const struct mongo_proxy *proxy);
/* The next n requests with this command ("insert") reach the server; instead of an answer the
 * connection ends. */
void mongo_proxy_lose(struct mongo_proxy *proxy, const char *command, unsigned n);
unsigned mongo_proxy_n_lost(struct mongo_proxy *proxy);
/* The answers to the next n requests with this command say also that no majority has what was
 * written (writeConcernError), as a replica set's do whose secondaries lag. */
void mongo_proxy_doubt(struct mongo_proxy *proxy, const char *command, unsigned n);
/* The answer to the next request with this command stays away until it is released. Its coming is
 * awaited for TEST_WAIT_MS at most. */
void mongo_proxy_hold(struct mongo_proxy *proxy, const char *command);
void mongo_proxy_await_held(struct mongo_proxy *proxy);
void mongo_proxy_release(struct mongo_proxy *proxy);
void mongo_proxy_stop(struct mongo_proxy *proxy);

#endif /* TESTS_LIB_MONGO_SERVER_H */
