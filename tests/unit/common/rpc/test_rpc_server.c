/* What a server does with too much, too large, at its end, and on a socket it was given. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/common/rpc/rpc_fixture.h"

static struct rpc_fixture fixture;

static void test_calls_beyond_the_bound(void **state)
{
    struct rpc_fixture *f = &fixture;
    struct fed_rpc_server_config config = rpc_fixture_config();

    (void)state;
    config.calls_max = 2;
    rpc_fixture_open(f, &config);
    (void)rpc_fixture_ask(f, f->channel, SILENT_PATH, 1, TEST_WAIT_MS);
    (void)rpc_fixture_ask(f, f->channel, SILENT_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->called, 2);
    (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_UNAVAILABLE);
    assert_non_null(strstr(f->detail, "too many calls"));
    rpc_fixture_stop_server(f);
    test_gate_wait(&f->answered, 3);
    rpc_fixture_close(f);
}

struct oversize {
    struct rpc_fixture *f;
    struct fed_rpc_call *call;
};

static void oversize_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    (void)call;
    rpc_fixture_ended(((struct oversize *)arg)->f, end);
}

static void send_oversize(void *arg)
{
    static const struct fed_rpc_call_ops ops = {NULL, NULL, oversize_closed};
    static uint8_t bytes[200000];
    struct oversize *oversize = arg;
    Confed__V1__ModelChunk message = CONFED__V1__MODEL_CHUNK__INIT;

    message.data = (ProtobufCBinaryData){sizeof(bytes), bytes};
    must(fed_rpc_channel_call(oversize->f->channel, &(struct fed_rpc_target){UP_PATH, TEST_WAIT_MS},
                              &ops, oversize, &oversize->call, NULL) == 0);
    must(fed_rpc_call_send(oversize->call, fed_rpc_out_pack(&message.base), NULL) == 0);
    fed_rpc_call_read(oversize->call);
}

static void test_messages_beyond_the_bound(void **state)
{
    struct rpc_fixture *f = &fixture;
    struct fed_rpc_server_config config = rpc_fixture_config();
    struct oversize oversize = {.f = f};

    (void)state;
    config.message_size_max = 100000;
    rpc_fixture_open(f, &config);
    test_loop_call(&f->loop, send_oversize, &oversize);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_RESOURCE_EXHAUSTED);
    (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, 7, TEST_WAIT_MS); /* the others go on */
    test_gate_wait(&f->answered, 2);
    assert_int_equal(f->number, 8);
    rpc_fixture_close(f);
}

static void close_server(void *arg)
{
    struct rpc_fixture *f = arg;

    fed_rpc_server_close(f->server);
    fed_rpc_server_close(f->server);
}

static void test_a_closed_server_ends_no_live_call(void **state)
{
    struct rpc_fixture *f = &fixture;
    const struct fed_rpc_server_config config = rpc_fixture_config();
    struct fed_rpc_channel *other;

    (void)state;
    rpc_fixture_open(f, &config);
    (void)rpc_fixture_ask(f, f->channel, SILENT_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->called, 1);
    other = rpc_fixture_dial(f, fed_rpc_server_port(f->server));
    test_loop_call(&f->loop, close_server, f);
    (void)rpc_fixture_ask(f, other, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_UNAVAILABLE);
    assert_int_equal(f->closed.count, 0);
    rpc_fixture_hang_up(f, other);
    rpc_fixture_stop_server(f); /* this one does */
    test_gate_wait(&f->answered, 2);
    assert_int_not_equal(f->code, FED_RPC_OK);
    test_gate_wait(&f->closed, 1);
    assert_int_equal(f->server_code, FED_RPC_CANCELLED);
    rpc_fixture_close(f);
}

static void test_addresses_that_cannot_be(void **state)
{
    struct rpc_fixture *f = &fixture;
    struct fed_rpc_server_config config = rpc_fixture_config();
    struct fed_rpc_server *first;
    char listen_text[64];

    (void)state;
    rpc_fixture_open(f, &config);
    first = f->server;
    (void)snprintf(listen_text, sizeof(listen_text), "127.0.0.1:%u", fed_rpc_server_port(first));
    config.listen = listen_text;
    rpc_fixture_serve(f, &config);
    assert_int_equal(f->rc, -FED_E_IO);
    assert_non_null(strstr(f->err.msg, listen_text));
    config.listen = "fd:99";
    rpc_fixture_serve(f, &config);
    assert_int_equal(f->rc, -FED_E_INVALID);
    config.listen = "fd:1x";
    rpc_fixture_serve(f, &config);
    assert_int_equal(f->rc, -FED_E_INVALID);
    config.listen = "fd:";
    rpc_fixture_serve(f, &config);
    assert_int_equal(f->rc, -FED_E_INVALID);
    assert_ptr_equal(f->server, first);
    rpc_fixture_close(f);
}

/* -- a socket that was given ---------------------------------------------------------------------
 */

static int make_socket(void)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

/* The socket outlives its servers: while none is there, peers wait in its queue. */
static void test_a_given_socket_is_kept_over_a_restart(void **state)
{
    struct rpc_fixture *f = &fixture;
    struct fed_rpc_server_config config = rpc_fixture_config();
    struct fed_rpc_channel *second;
    const int fd = make_socket();
    char text[16];
    uint64_t first_connection;
    uint16_t port;

    (void)state;
    (void)snprintf(text, sizeof(text), "fd:%d", fd);
    config.listen = text;
    config.keepalive_ms = 5000;
    config.keepalive_timeout_ms = 5000;
    rpc_fixture_open(f, &config);
    port = fed_rpc_server_port(f->server);
    (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_string_equal(f->ip, "127.0.0.1");
    first_connection = f->connection;
    assert_true(first_connection != 0);
    second = rpc_fixture_dial(f, port);
    (void)rpc_fixture_ask(f, second, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 2);
    assert_int_not_equal(f->connection, first_connection);
    rpc_fixture_hang_up(f, second);

    rpc_fixture_stop_server(f);
    second = rpc_fixture_dial(f, port);
    (void)rpc_fixture_ask(f, second, ECHO_PATH, 5, TEST_WAIT_MS); /* nobody accepts it yet */
    assert_int_equal(poll(NULL, 0, 500), 0); /* longer than a dial's first pause */
    rpc_fixture_serve(f, &config);
    assert_int_equal(f->rc, 0);
    assert_int_equal(fed_rpc_server_port(f->server), port);
    test_gate_wait(&f->answered, 3);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_int_equal(f->number, 6);
    rpc_fixture_hang_up(f, second);
    rpc_fixture_close(f);
    assert_int_equal(close(fd), 0); /* it was left open for us */
}

/* Another process may take the connection that woke us: accepting must not wait for the next one,
 * or the server could not be stopped. */
static void test_a_connection_taken_by_another(void **state)
{
    struct rpc_fixture *f = &fixture;
    struct fed_rpc_server_config config = rpc_fixture_config();
    const int fd = make_socket();
    char text[16];

    (void)state;
    (void)snprintf(text, sizeof(text), "fd:%d", fd);
    config.listen = text;
    rpc_fixture_open(f, &config);
    for (unsigned i = 0; i < 200; i++) { /* both hurry to accept */
        struct sockaddr_in address;
        socklen_t size = sizeof(address);
        const int peer = socket(AF_INET, SOCK_STREAM, 0);
        int taken;
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        assert_int_equal(connect(peer, (struct sockaddr *)&address, size), 0);
        taken = accept(fd, NULL, NULL);
        if (taken >= 0) {
            (void)close(taken);
        }
        (void)close(peer);
    }
    rpc_fixture_close(f);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_beyond_the_bound),
        cmocka_unit_test(test_messages_beyond_the_bound),
        cmocka_unit_test(test_a_closed_server_ends_no_live_call),
        cmocka_unit_test(test_addresses_that_cannot_be),
        cmocka_unit_test(test_a_given_socket_is_kept_over_a_restart),
        cmocka_unit_test(test_a_connection_taken_by_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
