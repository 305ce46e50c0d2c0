/* A server and a client in one process, on a loop that has its own thread.
 *
 *     rpc_fixture_open(f, &config);
 *     test_loop_call(&f->loop, step, f);      what starts calls
 *     test_gate_wait(&f->answered, n);        what came is in f
 *     rpc_fixture_close(f);
 *
 * Callbacks run on the loop's thread, where a test cannot be failed: must() ends the process.
 */
#ifndef TESTS_UNIT_COMMON_RPC_RPC_FIXTURE_H
#define TESTS_UNIT_COMMON_RPC_RPC_FIXTURE_H

#include <confed/v1/federation.pb-c.h>

#include "common/rpc/rpc_client.h"
#include "common/rpc/rpc_server.h"
#include "tests/lib/fixture.h"

/* Longer than gRPC's inline slices, so that a lost reference shows as a leak. */
#define ECHO_PATH   "/test.LongServiceName/EchoTheWholeThing" /* unary: offset + 1 */
#define DENY_PATH   "/test.LongServiceName/DenyEverything"    /* unary: status 3 */
#define SILENT_PATH "/test.LongServiceName/SayNothing"        /* unary: never answers */
#define DOWN_PATH   "/test.LongServiceName/SendDown"          /* offset messages of CHUNK bytes */
#define UP_PATH     "/test.LongServiceName/TakeUp"            /* counts them */
#define BOTH_PATH   "/test.LongServiceName/PingPong"          /* each one back */
#define LAZY_PATH   "/test.LongServiceName/NeverRead"         /* takes nothing */

#define CHUNK 65536U

struct rpc_fixture {
    struct test_loop loop;
    struct fed_rpc *rpc;
    struct fed_rpc_server *server;
    const struct fed_rpc_server_config *config; /* while a server is being opened */
    struct fed_rpc_channel *channel;
    struct fed_err err;
    int rc;

    struct test_gate called; /* a call has come to the server */
    char ip[64];
    uint64_t connection;
    char metadata[64];

    struct test_gate closed; /* a call at the server has ended */
    int server_code;
    struct test_gate released; /* a slab's bytes */

    struct test_gate answered; /* a call of the client has ended */
    int code;
    char detail[FED_RPC_DETAIL_SIZE];
    uint64_t number; /* of the last answer */
    unsigned n_good; /* ended with OK */
};

void must(bool is_so);

/* The configuration most tests use. */
struct fed_rpc_server_config rpc_fixture_config(void);

void rpc_fixture_open(struct rpc_fixture *f, const struct fed_rpc_server_config *config);
void rpc_fixture_close(struct rpc_fixture *f);

/* Only the server: f->rc tells. Stopping waits until it is gone. */
void rpc_fixture_serve(struct rpc_fixture *f, const struct fed_rpc_server_config *config);
void rpc_fixture_stop_server(struct rpc_fixture *f);

/* Only a channel to `port`. */
struct fed_rpc_channel *rpc_fixture_dial(struct rpc_fixture *f, uint16_t port);
void rpc_fixture_hang_up(struct rpc_fixture *f, struct fed_rpc_channel *channel);

/* A unary call; `answered` opens when it has ended. */
struct fed_rpc_call *rpc_fixture_ask(struct rpc_fixture *f,
                                     struct fed_rpc_channel *channel,
                                     const char *path,
                                     uint64_t number,
                                     uint64_t timeout_ms);

/* Note how a call ended and open `answered`: for calls that tests make themselves. Loop thread. */
void rpc_fixture_ended(struct rpc_fixture *f, const struct fed_rpc_end *end);

struct fed_rpc_out *rpc_fixture_message(uint64_t number);
uint64_t rpc_fixture_number(struct fed_rpc_in *in); /* takes it */

#endif /* TESTS_UNIT_COMMON_RPC_RPC_FIXTURE_H */
