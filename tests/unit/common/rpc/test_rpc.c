/* Calls of every kind, both ends in one process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/unit/common/rpc/rpc_fixture.h"

static int set_up(void **state)
{
    static struct rpc_fixture f;
    const struct fed_rpc_server_config config = rpc_fixture_config();

    rpc_fixture_open(&f, &config);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    rpc_fixture_close(*state);
    return 0;
}

/* -- one request, one answer ---------------------------------------------------------------------
 */

static void set_metadata(void *arg)
{
    struct rpc_fixture *f = arg;
    const struct fed_rpc_metadata good[] = {{"who", "client-7"}, {"other", "x"}};
    const struct fed_rpc_metadata bad[] = {{"who", "line\nbreak"}};
    const struct fed_rpc_metadata upper[] = {{"Who", "x"}};

    must(fed_rpc_channel_set_metadata(f->channel, good, 2, NULL) == 0);
    must(fed_rpc_channel_set_metadata(f->channel, bad, 1, NULL) == -FED_E_INVALID);
    must(fed_rpc_channel_set_metadata(f->channel, upper, 1, NULL) == -FED_E_INVALID);
    must(fed_rpc_channel_set_metadata(f->channel, good, 9, NULL) == -FED_E_LIMIT);
}

static void test_unary(void **state)
{
    struct rpc_fixture *f = *state;
    struct fed_rpc_channel *other;
    uint64_t first;

    test_loop_call(&f->loop, set_metadata, f);
    (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, 41, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_int_equal(f->number, 42);
    assert_string_equal(f->metadata, "client-7");
    assert_string_equal(f->ip, "127.0.0.1");
    first = f->connection;
    assert_true(first != 0);
    (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 2);
    assert_int_equal(f->connection, first);
    other = rpc_fixture_dial(f, fed_rpc_server_port(f->server));
    (void)rpc_fixture_ask(f, other, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 3);
    assert_int_not_equal(f->connection, first);
    assert_string_equal(f->metadata, "");
    rpc_fixture_hang_up(f, other);
    test_gate_wait(&f->closed, 3);
    assert_int_equal(f->server_code, FED_RPC_OK);
}

static void test_statuses_and_unknown_methods(void **state)
{
    struct rpc_fixture *f = *state;

    (void)rpc_fixture_ask(f, f->channel, DENY_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_INVALID_ARGUMENT);
    assert_string_equal(f->detail, "no such thing");
    (void)rpc_fixture_ask(f, f->channel, "/nobody.Knows/This", 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 2);
    assert_int_equal(f->code, FED_RPC_UNIMPLEMENTED);
    assert_string_equal(f->detail, "no such method");
}

static void test_a_thousand_calls(void **state)
{
    struct rpc_fixture *f = *state;

    for (unsigned i = 0; i < 1000; i++) {
        (void)rpc_fixture_ask(f, f->channel, ECHO_PATH, i, TEST_WAIT_MS);
        if (i % 50 == 49) {
            test_gate_wait(&f->answered, i + 1);
        }
    }
    assert_int_equal(f->n_good, 1000);
    test_gate_wait(&f->closed, 1000);
}

static void cancel(void *arg)
{
    fed_rpc_call_cancel(arg);
    fed_rpc_call_cancel(arg);
}

static void test_the_client_cancels(void **state)
{
    struct rpc_fixture *f = *state;
    struct fed_rpc_call *call = rpc_fixture_ask(f, f->channel, SILENT_PATH, 1, TEST_WAIT_MS);

    test_gate_wait(&f->called, 1);
    test_loop_call(&f->loop, cancel, call);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_CANCELLED);
    test_gate_wait(&f->closed, 1);
    assert_int_equal(f->server_code, FED_RPC_CANCELLED);
}

static void test_deadlines_end_calls(void **state)
{
    struct rpc_fixture *f = *state;
    const uint64_t start_ms = fed_clock_mono_ms();

    (void)rpc_fixture_ask(f, f->channel, SILENT_PATH, 1, 150);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_DEADLINE_EXCEEDED);
    assert_in_range(fed_clock_mono_ms() - start_ms, 140, 10000);
    test_gate_wait(&f->closed, 1);
    assert_int_equal(f->server_code, FED_RPC_CANCELLED);
}

/* -- streams -------------------------------------------------------------------------------------
 */

struct stream {
    struct rpc_fixture *f;
    const char *path;
    struct fed_rpc_call *call;
    unsigned n_to_send;
    unsigned n_sent;
    unsigned n_received;
    uint64_t last;
    bool is_wrong;
};

static void stream_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct stream *stream = arg;

    (void)call;
    rpc_fixture_ended(stream->f, end);
}

static void start_stream(struct stream *stream, const struct fed_rpc_call_ops *ops)
{
    must(fed_rpc_channel_call(stream->f->channel, stream->path, TEST_WAIT_MS, ops, stream,
                              &stream->call, NULL) == 0);
    fed_rpc_call_read(stream->call);
    fed_rpc_call_read(stream->call); /* no effect */
}

static void take_chunk(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct stream *stream = arg;
    ProtobufCMessage *message = NULL;
    struct fed_view bulk;

    if (in == NULL) {
        return;
    }
    must(fed_rpc_in_unpack_bulk(in, &confed__v1__model_chunk__descriptor, 3, &message, &bulk,
                                NULL) == 0);
    stream->last = ((Confed__V1__ModelChunk *)message)->offset_bytes;
    stream->is_wrong = stream->is_wrong || bulk.size != CHUNK ||
                       ((const uint8_t *)bulk.data)[CHUNK - 1] != (uint8_t)((CHUNK - 1) * 31);
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    stream->n_received++;
    fed_rpc_call_read(call);
}

static void start_down(void *arg)
{
    static const struct fed_rpc_call_ops ops = {take_chunk, NULL, stream_closed};
    struct stream *stream = arg;

    start_stream(stream, &ops);
    must(fed_rpc_call_send(stream->call, rpc_fixture_message(stream->n_to_send), NULL) == 0);
    fed_rpc_call_send_end(stream->call);
}

static void test_the_server_streams(void **state)
{
    struct rpc_fixture *f = *state;
    struct stream stream = {.f = f, .path = DOWN_PATH, .n_to_send = 100};

    test_loop_call(&f->loop, start_down, &stream);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_int_equal(stream.n_received, 100);
    assert_int_equal(stream.last, 1);
    assert_false(stream.is_wrong);
    test_gate_wait(&f->released, 1); /* the bytes, once nobody needs them */
}

static void take_number(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct stream *stream = arg;

    if (in != NULL) {
        stream->last = rpc_fixture_number(in);
        stream->n_received++;
        fed_rpc_call_read(call);
    }
}

static void start_up(void *arg)
{
    static const struct fed_rpc_call_ops ops = {take_number, NULL, stream_closed};
    struct stream *stream = arg;

    start_stream(stream, &ops);
    for (unsigned i = 0; i < stream->n_to_send; i++) {
        must(fed_rpc_call_send(stream->call, rpc_fixture_message(i), NULL) == 0);
    }
    fed_rpc_call_send_end(stream->call);
    fed_rpc_call_send_end(stream->call);
    must(fed_rpc_call_send(stream->call, rpc_fixture_message(0), NULL) == -FED_E_CANCELLED);
}

static void test_the_client_streams(void **state)
{
    struct rpc_fixture *f = *state;
    struct stream stream = {.f = f, .path = UP_PATH, .n_to_send = FED_RPC_SENDS_MAX};

    test_loop_call(&f->loop, start_up, &stream);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_int_equal(stream.n_received, 1);
    assert_int_equal(stream.last, FED_RPC_SENDS_MAX);
}

/* Send the next number when the last one has come back. */
static void ping(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct stream *stream = arg;

    if (in == NULL) {
        return;
    }
    stream->is_wrong = stream->is_wrong || rpc_fixture_number(in) != stream->n_received;
    stream->n_received++;
    if (stream->n_received == stream->n_to_send) {
        fed_rpc_call_send_end(call);
    } else {
        must(fed_rpc_call_send(call, rpc_fixture_message(stream->n_received), NULL) == 0);
    }
    fed_rpc_call_read(call);
}

static void start_both(void *arg)
{
    static const struct fed_rpc_call_ops ops = {ping, NULL, stream_closed};
    struct stream *stream = arg;

    start_stream(stream, &ops);
    must(fed_rpc_call_send(stream->call, rpc_fixture_message(0), NULL) == 0);
}

static void test_both_stream(void **state)
{
    struct rpc_fixture *f = *state;
    struct stream stream = {.f = f, .path = BOTH_PATH, .n_to_send = 200};

    test_loop_call(&f->loop, start_both, &stream);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_OK);
    assert_int_equal(stream.n_received, 200);
    assert_false(stream.is_wrong);
}

/* -- back-pressure -------------------------------------------------------------------------------
 */

static struct fed_rpc_out *big_message(size_t size)
{
    Confed__V1__ModelChunk message = CONFED__V1__MODEL_CHUNK__INIT;
    uint8_t *bytes = calloc(1, size);
    struct fed_rpc_out *out;

    must(bytes != NULL);
    message.data = (ProtobufCBinaryData){size, bytes};
    out = fed_rpc_out_pack(&message.base);
    free(bytes);
    return out;
}

static void push(struct fed_rpc_call *call, void *arg)
{
    struct stream *stream = arg;

    if (++stream->n_sent < stream->n_to_send) {
        must(fed_rpc_call_send(call, big_message(CHUNK), NULL) == 0);
    }
}

static void start_push(void *arg)
{
    static const struct fed_rpc_call_ops ops = {NULL, push, stream_closed};
    struct stream *stream = arg;

    must(fed_rpc_channel_call(stream->f->channel, stream->path, 700, &ops, stream, &stream->call,
                              NULL) == 0);
    must(fed_rpc_call_send(stream->call, big_message(CHUNK), NULL) == 0);
}

/* A server that does not read stops a client that sends: what is out is bounded by the window. */
static void test_who_does_not_read_is_not_sent_to(void **state)
{
    struct rpc_fixture *f = *state;
    struct stream stream = {.f = f, .path = LAZY_PATH, .n_to_send = 1000};

    test_loop_call(&f->loop, start_push, &stream);
    test_gate_wait(&f->answered, 1); /* by its deadline */
    assert_int_equal(f->code, FED_RPC_DEADLINE_EXCEEDED);
    assert_in_range(stream.n_sent, 0, 4); /* the window holds one chunk, or not even that */
}

static void fill_queue(void *arg)
{
    static const struct fed_rpc_call_ops ops = {NULL, NULL, stream_closed};
    struct stream *stream = arg;
    int rc = 0;

    must(fed_rpc_channel_call(stream->f->channel, stream->path, TEST_WAIT_MS, &ops, stream,
                              &stream->call, NULL) == 0);
    for (unsigned i = 0; i <= FED_RPC_SENDS_MAX && rc == 0; i++) {
        rc = fed_rpc_call_send(stream->call, big_message(CHUNK), NULL);
        stream->n_sent += rc == 0 ? 1 : 0;
    }
    must(rc == -FED_E_LIMIT);
    fed_rpc_call_cancel(stream->call);
}

static void test_the_queue_has_a_bound(void **state)
{
    struct rpc_fixture *f = *state;
    struct stream stream = {.f = f, .path = LAZY_PATH};

    test_loop_call(&f->loop, fill_queue, &stream);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_CANCELLED);
    assert_int_equal(stream.n_sent, FED_RPC_SENDS_MAX);
}

/* -- nobody there --------------------------------------------------------------------------------
 */

static void test_nobody_there_is_told_at_once(void **state)
{
    struct rpc_fixture *f = *state;
    struct fed_rpc_channel *channel = rpc_fixture_dial(f, 1);

    (void)rpc_fixture_ask(f, channel, ECHO_PATH, 1, TEST_WAIT_MS);
    test_gate_wait(&f->answered, 1);
    assert_int_equal(f->code, FED_RPC_UNAVAILABLE);
    rpc_fixture_hang_up(f, channel);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unary),
        TEST(test_statuses_and_unknown_methods),
        TEST(test_a_thousand_calls),
        TEST(test_the_client_cancels),
        TEST(test_deadlines_end_calls),
        TEST(test_the_server_streams),
        TEST(test_the_client_streams),
        TEST(test_both_stream),
        TEST(test_who_does_not_read_is_not_sent_to),
        TEST(test_the_queue_has_a_bound),
        TEST(test_nobody_there_is_told_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
