#include "tests/unit/common/rpc/rpc_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

struct fed_rpc_out *rpc_fixture_message(uint64_t number)
{
    Confed__V1__ModelGet message = CONFED__V1__MODEL_GET__INIT;
    char id[] = "m";

    message.model_id = id;
    message.offset_bytes = number;
    return fed_rpc_out_pack(&message.base);
}

uint64_t rpc_fixture_number(struct fed_rpc_in *in)
{
    ProtobufCMessage *message = NULL;
    uint64_t number;

    must(fed_rpc_in_unpack(in, &confed__v1__model_get__descriptor, &message, NULL) == 0);
    number = ((Confed__V1__ModelGet *)message)->offset_bytes;
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    return number;
}

/* -- the server ----------------------------------------------------------------------------------
 */

/* One call at the server. */
struct served {
    struct rpc_fixture *f;
    uint64_t n_left; /* messages to send */
    uint64_t n_seen;
    struct fed_slab *slab;
};

static struct served *serve(struct fed_rpc_call *call, void *arg)
{
    struct rpc_fixture *f = arg;
    struct served *served = calloc(1, sizeof(*served));
    const char *who = NULL;

    must(served != NULL);
    for (unsigned i = 0; i < 20; i++) { /* as often as one likes */
        who = fed_rpc_call_metadata(call, "who");
    }
    served->f = f;
    f->connection = fed_rpc_call_connection(call);
    (void)snprintf(f->ip, sizeof(f->ip), "%s", fed_rpc_call_ip(call));
    (void)snprintf(f->metadata, sizeof(f->metadata), "%s", who == NULL ? "" : who);
    test_gate_open(&f->called);
    return served;
}

static void served_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct served *served = arg;

    (void)call;
    served->f->server_code = end->code;
    test_gate_open(&served->f->closed);
    (void)fed_slab_unref(served->slab);
    free(served);
}

static const struct fed_rpc_call_ops quiet_ops = {NULL, NULL, served_closed};

static void echo(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    fed_rpc_call_set(call, &quiet_ops, serve(call, arg));
    fed_rpc_call_reply(call, rpc_fixture_message(rpc_fixture_number(request) + 1));
}

static void deny(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    (void)fed_rpc_in_free(request);
    fed_rpc_call_set(call, &quiet_ops, serve(call, arg));
    fed_rpc_call_finish(call, FED_RPC_INVALID_ARGUMENT, "no such thing");
    fed_rpc_call_finish(call, FED_RPC_OK, "the first counts");
}

static void silent(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    (void)fed_rpc_in_free(request);
    fed_rpc_call_set(call, &quiet_ops, serve(call, arg));
}

static void lazy(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    must(request == NULL);
    fed_rpc_call_set(call, &quiet_ops, serve(call, arg));
}

/* Down: the next message when the last is out. */
static void send_next(struct fed_rpc_call *call, void *arg)
{
    struct served *served = arg;
    Confed__V1__ModelChunk message = CONFED__V1__MODEL_CHUNK__INIT;

    if (served->n_left == 0) {
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
        return;
    }
    message.offset_bytes = served->n_left--;
    must(fed_rpc_call_send(call, fed_rpc_out_pack_bulk(&message.base, 3, served->slab, 0, CHUNK),
                           NULL) == 0);
}

static const struct fed_rpc_call_ops down_ops = {NULL, send_next, served_closed};

static uint8_t slab_bytes[CHUNK];

static void slab_released(void *arg)
{
    struct rpc_fixture *f = arg;

    test_gate_open(&f->released);
}

static void down(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct served *served = serve(call, arg);

    for (size_t i = 0; i < CHUNK; i++) {
        slab_bytes[i] = (uint8_t)(i * 31);
    }
    served->n_left = rpc_fixture_number(request);
    served->slab = fed_slab_new(slab_bytes, CHUNK, slab_released, arg);
    fed_rpc_call_set(call, &down_ops, served);
    send_next(call, served);
}

static void count_up(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct served *served = arg;

    if (in == NULL) {
        fed_rpc_call_reply(call, rpc_fixture_message(served->n_seen));
        return;
    }
    (void)fed_rpc_in_free(in);
    served->n_seen++;
    fed_rpc_call_read(call);
}

static const struct fed_rpc_call_ops up_ops = {count_up, NULL, served_closed};

static void up(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    must(request == NULL);
    fed_rpc_call_set(call, &up_ops, serve(call, arg));
    fed_rpc_call_read(call);
}

static void back(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    (void)arg;
    if (in == NULL) {
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
        return;
    }
    must(fed_rpc_call_send(call, rpc_fixture_message(rpc_fixture_number(in)), NULL) == 0);
    fed_rpc_call_read(call);
}

static const struct fed_rpc_call_ops both_ops = {back, NULL, served_closed};

static void both(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    must(request == NULL);
    fed_rpc_call_set(call, &both_ops, serve(call, arg));
    fed_rpc_call_read(call);
}

static const struct fed_rpc_method methods[] = {
    {ECHO_PATH, false, false, echo},     {DENY_PATH, false, false, deny},
    {SILENT_PATH, false, false, silent}, {DOWN_PATH, false, true, down},
    {UP_PATH, true, false, up},          {BOTH_PATH, true, true, both},
    {LAZY_PATH, true, true, lazy},
};

/* -- opening and closing -------------------------------------------------------------------------
 */

struct fed_rpc_server_config rpc_fixture_config(void)
{
    return (struct fed_rpc_server_config){
        .listen = "127.0.0.1:0",
        .message_size_max = FED_RPC_MESSAGE_MAX,
        .memory_max = 64U << 20,
        .calls_max = 1000,
        .connections_max = 1000,
        .unknown_status = FED_RPC_UNIMPLEMENTED,
        .unknown_detail = "no such method",
    };
}

static void serve_on_loop(void *arg)
{
    struct rpc_fixture *f = arg;

    f->rc = fed_rpc_server_new(
        f->rpc, f->config,
        &(struct fed_rpc_service){methods, sizeof(methods) / sizeof(methods[0]), f}, &f->server,
        &f->err);
}

void rpc_fixture_serve(struct rpc_fixture *f, const struct fed_rpc_server_config *config)
{
    f->config = config;
    test_loop_call(&f->loop, serve_on_loop, f);
}

struct stopping {
    struct rpc_fixture *f;
    struct test_gate gone;
};

static void server_stopped(void *arg)
{
    struct stopping *stopping = arg;

    stopping->f->server = fed_rpc_server_free(stopping->f->server);
    test_gate_open(&stopping->gone);
}

static void stop_on_loop(void *arg)
{
    struct stopping *stopping = arg;

    fed_rpc_server_stop(stopping->f->server, server_stopped, stopping);
}

void rpc_fixture_stop_server(struct rpc_fixture *f)
{
    struct stopping stopping = {.f = f};

    test_gate_init(&stopping.gone);
    test_loop_call(&f->loop, stop_on_loop, &stopping);
    test_gate_wait(&stopping.gone, 1);
    test_gate_deinit(&stopping.gone);
}

struct dialling {
    struct rpc_fixture *f;
    struct fed_rpc_channel *channel;
    uint16_t port;
};

static void dial_on_loop(void *arg)
{
    struct dialling *dialling = arg;
    char target[64];
    const struct fed_rpc_channel_config config = {.target = target,
                                                  .message_size_max = FED_RPC_MESSAGE_MAX};

    (void)snprintf(target, sizeof(target), "127.0.0.1:%u", dialling->port);
    must(fed_rpc_channel_new(dialling->f->rpc, &config, &dialling->channel, NULL) == 0);
}

struct fed_rpc_channel *rpc_fixture_dial(struct rpc_fixture *f, uint16_t port)
{
    struct dialling dialling = {f, NULL, port};

    test_loop_call(&f->loop, dial_on_loop, &dialling);
    return dialling.channel;
}

static void hang_up_on_loop(void *arg)
{
    (void)fed_rpc_channel_free(arg);
}

void rpc_fixture_hang_up(struct rpc_fixture *f, struct fed_rpc_channel *channel)
{
    test_loop_call(&f->loop, hang_up_on_loop, channel);
}

void rpc_fixture_open(struct rpc_fixture *f, const struct fed_rpc_server_config *config)
{
    *f = (struct rpc_fixture){0};
    test_gate_init(&f->called);
    test_gate_init(&f->closed);
    test_gate_init(&f->released);
    test_gate_init(&f->answered);
    test_loop_start(&f->loop);
    assert_int_equal(fed_rpc_new(f->loop.loop, &f->rpc, NULL), 0);
    rpc_fixture_serve(f, config);
    if (f->rc < 0) {
        fail_msg("%s", f->err.msg);
    }
    f->channel = rpc_fixture_dial(f, fed_rpc_server_port(f->server));
}

void rpc_fixture_close(struct rpc_fixture *f)
{
    rpc_fixture_hang_up(f, f->channel);
    if (f->server != NULL) {
        rpc_fixture_stop_server(f);
    }
    fed_loop_stop(f->loop.loop);
    (void)pthread_join(f->loop.thread, NULL);
    f->rpc = fed_rpc_free(f->rpc);
    f->loop.loop = fed_loop_free(f->loop.loop);
    test_gate_deinit(&f->called);
    test_gate_deinit(&f->closed);
    test_gate_deinit(&f->released);
    test_gate_deinit(&f->answered);
}

/* -- the client ----------------------------------------------------------------------------------
 */

void rpc_fixture_ended(struct rpc_fixture *f, const struct fed_rpc_end *end)
{
    f->code = end->code;
    f->n_good += end->code == FED_RPC_OK ? 1 : 0;
    (void)snprintf(f->detail, sizeof(f->detail), "%s", end->detail == NULL ? "" : end->detail);
    test_gate_open(&f->answered);
}

static void on_answer(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg)
{
    struct rpc_fixture *f = arg;

    must((end->code == FED_RPC_OK) == (in != NULL));
    if (in != NULL) {
        f->number = rpc_fixture_number(in);
    }
    rpc_fixture_ended(f, end);
}

struct asking {
    struct rpc_fixture *f;
    struct fed_rpc_channel *channel;
    const char *path;
    uint64_t number;
    uint64_t timeout_ms;
    struct fed_rpc_call *call;
};

static void ask_on_loop(void *arg)
{
    struct asking *asking = arg;

    fed_rpc_channel_unary(asking->channel,
                          &(struct fed_rpc_target){asking->path, asking->timeout_ms},
                          rpc_fixture_message(asking->number), on_answer, asking->f, &asking->call);
}

struct fed_rpc_call *rpc_fixture_ask(struct rpc_fixture *f,
                                     struct fed_rpc_channel *channel,
                                     const char *path,
                                     uint64_t number,
                                     uint64_t timeout_ms)
{
    struct asking asking = {f, channel, path, number, timeout_ms, NULL};

    test_loop_call(&f->loop, ask_on_loop, &asking);
    return asking.call;
}
