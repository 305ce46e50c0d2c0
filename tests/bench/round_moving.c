/* A round's bytes over gRPC and nothing else: no file, no hash, no sum, no row.
 *
 *     round_moving ROUNDS MODEL_BYTES
 *
 * Four processes as in a round with two echo clients, on the same gRPC with the same chunks and
 * settings (common/rpc): the model from the reducer to the combiner; then, both clients at once,
 * the model down and the update up; then the partial sum, 8 bytes for each of the model's 4, from
 * the combiner to the reducer. Prints the milliseconds of each round.
 *
 *   combiner: Get at the reducer --> answers both Go --> two Puts have come --> Put at the reducer
 *   client:   Go --answered--> Get --> Put --> Go …
 */
#include <confed/v1/federation.pb-c.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/rpc/rpc_client.h"
#include "common/rpc/rpc_server.h"

#define CLIENTS      2U
#define AHEAD        2U /* chunks given to gRPC at once, as everywhere */
#define DATA_FIELD   3U /* ModelChunk.data */
#define ADDRESS_SIZE 32U
#define MEMORY_MAX   ((size_t)256 * 1024 * 1024)

struct mover;

/* A stream of chunks under way. */
struct flow {
    struct mover *mover;
    struct fed_rpc_call *call;
    struct fed_slab *slab; /* borrowed; NULL: it is read */
    size_t size;
    size_t offset;
    bool is_server;
    bool is_ended;
    void (*done)(struct mover *mover);
};

/* One process. */
struct mover {
    struct fed_loop *loop;
    struct fed_rpc *rpc;
    struct fed_rpc_server *server;
    struct fed_rpc_channel *channel;
    struct fed_slab *model;
    struct fed_slab *sums;
    size_t sums_size;
    struct fed_rpc_call *waiting[CLIENTS]; /* for the round to begin */
    unsigned n_waiting;
    unsigned n_put;
    unsigned rounds_left;
    uint64_t began_us;
    bool is_fetched;
    bool is_combiner;
};

static void die(const char *what, const struct fed_err *err)
{
    (void)fprintf(stderr, "round_moving: %s: %s\n", what, err == NULL ? "" : err->msg);
    _exit(1);
}

/* -- streams ------------------------------------------------------------------------------------
 */

static void send_some(struct flow *flow, unsigned n)
{
    for (; n > 0 && flow->offset < flow->size; n--) {
        const size_t left = flow->size - flow->offset;
        const size_t part = left < FED_RPC_CHUNK_SIZE ? left : FED_RPC_CHUNK_SIZE;
        Confed__V1__ModelChunk chunk = CONFED__V1__MODEL_CHUNK__INIT;
        chunk.offset_bytes = flow->offset;
        if (fed_rpc_call_send(
                flow->call,
                fed_rpc_out_pack_bulk(&chunk.base, DATA_FIELD, flow->slab, flow->offset, part),
                NULL) < 0) {
            die("send", NULL);
        }
        flow->offset += part;
    }
    if (flow->offset == flow->size && !flow->is_ended) {
        flow->is_ended = true;
        if (flow->is_server) {
            fed_rpc_call_finish(flow->call, FED_RPC_OK, NULL);
        } else {
            fed_rpc_call_send_end(flow->call);
        }
    }
}

static void on_sent(struct fed_rpc_call *call, void *arg)
{
    (void)call;
    send_some(arg, 1);
}

static void on_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct flow *flow = arg;
    ProtobufCMessage *message = NULL;
    struct fed_pieces data = {0};

    if (in != NULL) {
        if (fed_rpc_in_unpack_pieces(in, &confed__v1__model_chunk__descriptor, DATA_FIELD, &message,
                                     &data, NULL) < 0) {
            die("unpack", NULL);
        }
        fed_rpc_message_free(message);
        (void)fed_rpc_in_free(in);
        fed_rpc_call_read(call);
    } else if (flow->is_server) {
        Confed__V1__PartialAck ack = CONFED__V1__PARTIAL_ACK__INIT;
        fed_rpc_call_reply(call, fed_rpc_out_pack(&ack.base));
    }
}

static void on_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct flow *flow = arg;

    (void)call;
    if (end->code != FED_RPC_OK && !flow->is_server) {
        (void)fprintf(stderr, "round_moving: status %d %s\n", end->code, end->detail);
        _exit(1);
    }
    if (flow->done != NULL) {
        flow->done(flow->mover);
    }
    free(flow);
}

static const struct fed_rpc_call_ops flow_ops = {on_message, on_sent, on_closed};

static struct flow *flow_new(struct mover *mover, struct fed_slab *slab, bool is_server)
{
    struct flow *flow = calloc(1, sizeof(*flow));

    if (flow == NULL) {
        die("memory", NULL);
    }
    flow->mover = mover;
    flow->slab = slab;
    flow->size = slab == NULL ? 0 : fed_slab_view(slab).size;
    flow->is_server = is_server;
    return flow;
}

/* Call a method: with a slab it is sent, without, all is read. */
static void
start(struct mover *mover, const char *path, struct fed_slab *slab, void (*done)(struct mover *))
{
    const struct fed_rpc_target target = {path, 60000};
    struct flow *flow = flow_new(mover, slab, false);
    Confed__V1__ModelGet get = CONFED__V1__MODEL_GET__INIT;
    struct fed_err err = {0};

    flow->done = done;
    if (fed_rpc_channel_call(mover->channel, &target, &flow_ops, flow, &flow->call, &err) < 0) {
        die(path, &err);
    }
    fed_rpc_call_read(flow->call);
    if (slab != NULL) {
        send_some(flow, AHEAD);
        return;
    }
    if (fed_rpc_call_send(flow->call, fed_rpc_out_pack(&get.base), &err) < 0) {
        die(path, &err);
    }
    fed_rpc_call_send_end(flow->call);
}

/* -- the combiner -------------------------------------------------------------------------------
 */

static void begin_round(struct mover *mover);

static void round_done(struct mover *mover)
{
    (void)printf("%.2f\n", (double)(fed_clock_mono_us() - mover->began_us) / 1000.0);
    mover->rounds_left--;
    if (mover->rounds_left == 0) {
        (void)fflush(stdout);
        _exit(0); /* the others are ended by who started them */
    }
    begin_round(mover);
}

static void all_put(struct mover *mover)
{
    if (mover->is_combiner && ++mover->n_put == CLIENTS) {
        start(mover, "/moving/Put", mover->sums, round_done);
    }
}

static void release_clients(struct mover *mover)
{
    if (!mover->is_fetched || mover->n_waiting < CLIENTS) {
        return;
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        Confed__V1__PartialAck ack = CONFED__V1__PARTIAL_ACK__INIT;
        fed_rpc_call_reply(mover->waiting[i], fed_rpc_out_pack(&ack.base));
    }
    mover->n_waiting = 0;
    mover->is_fetched = false;
}

static void fetched(struct mover *mover)
{
    mover->is_fetched = true;
    release_clients(mover);
}

static void begin_round(struct mover *mover)
{
    mover->n_put = 0;
    mover->began_us = fed_clock_mono_us();
    start(mover, "/moving/Get", NULL, fetched);
}

/* -- a client ---------------------------------------------------------------------------------- */

static void client_wait(struct mover *mover);

static void client_got(struct mover *mover)
{
    start(mover, "/moving/Put", mover->model, client_wait);
}

static void client_go(struct mover *mover)
{
    start(mover, "/moving/Get", NULL, client_got);
}

static void client_wait(struct mover *mover)
{
    start(mover, "/moving/Go", NULL, client_go);
}

/* -- what is served ---------------------------------------------------------------------------- */

static void serve_get(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct mover *mover = arg;
    struct flow *flow = flow_new(mover, mover->model, true);

    (void)fed_rpc_in_free(request);
    flow->call = call;
    fed_rpc_call_set(call, &flow_ops, flow);
    send_some(flow, AHEAD);
}

static void serve_put(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct flow *flow = flow_new(arg, NULL, true);

    (void)fed_rpc_in_free(request);
    flow->call = call;
    flow->done = all_put;
    fed_rpc_call_set(call, &flow_ops, flow);
    fed_rpc_call_read(call);
}

static void serve_go(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct mover *mover = arg;

    (void)fed_rpc_in_free(request);
    fed_rpc_call_set(call, &flow_ops, flow_new(mover, NULL, true));
    mover->waiting[mover->n_waiting++] = call;
    if (mover->n_waiting == CLIENTS && mover->began_us == 0) {
        begin_round(mover);
    }
    release_clients(mover);
}

static const struct fed_rpc_method methods[] = {
    {"/moving/Get", false, true, serve_get},
    {"/moving/Put", true, false, serve_put},
    {"/moving/Go", false, false, serve_go},
};

/* -- processes --------------------------------------------------------------------------------- */

static struct fed_slab *make_bytes(size_t size)
{
    void *bytes = malloc(size);

    if (bytes == NULL) {
        die("memory", NULL);
    }
    memset(bytes, 0x5A, size);
    return fed_slab_new(bytes, size, NULL, NULL);
}

/* A process that serves (port_fd: where its port is told) or calls `target`, or both; never
 * returns.
 */
static void run(struct mover *mover, size_t model_size, const char *target, int port_fd)
{
    const struct fed_rpc_server_config config = {
        .listen = "127.0.0.1:0",
        .message_size_max = FED_RPC_MESSAGE_MAX,
        .memory_max = MEMORY_MAX,
        .calls_max = 64,
        .unknown_status = FED_RPC_UNIMPLEMENTED,
        .unknown_detail = "",
    };
    const struct fed_rpc_service service = {methods, sizeof(methods) / sizeof(methods[0]), mover};
    const struct fed_rpc_channel_config channel = {.target = target,
                                                   .message_size_max = FED_RPC_MESSAGE_MAX};
    struct fed_err err = {0};
    uint16_t port;

    if (fed_loop_new(&mover->loop, &err) < 0 || fed_rpc_new(mover->loop, &mover->rpc, &err) < 0 ||
        (port_fd >= 0 &&
         fed_rpc_server_new(mover->rpc, &config, &service, &mover->server, &err) < 0) ||
        (target != NULL && fed_rpc_channel_new(mover->rpc, &channel, &mover->channel, &err) < 0)) {
        die("start", &err);
    }
    mover->model = make_bytes(model_size);
    mover->sums = make_bytes(mover->sums_size);
    if (port_fd >= 0) {
        port = fed_rpc_server_port(mover->server);
        if (write(port_fd, &port, sizeof(port)) != (ssize_t)sizeof(port)) {
            die("port", NULL);
        }
    } else {
        client_wait(mover);
    }
    fed_loop_run(mover->loop);
    _exit(1);
}

static pid_t start_process(const struct mover *what,
                           size_t size,
                           const char *target,
                           char ret_address[ADDRESS_SIZE])
{
    int fds[2];
    uint16_t port = 0;
    pid_t pid;

    if (pipe(fds) != 0) {
        die("pipe", NULL);
    }
    pid = fork();
    if (pid == 0) {
        struct mover mover = *what;
        run(&mover, size, target, ret_address == NULL ? -1 : fds[1]);
    }
    if (ret_address != NULL) {
        if (pid < 0 || read(fds[0], &port, sizeof(port)) != (ssize_t)sizeof(port)) {
            die("process", NULL);
        }
        (void)snprintf(ret_address, ADDRESS_SIZE, "127.0.0.1:%u", (unsigned)port);
    }
    return pid;
}

int main(int argc, char **argv)
{
    const size_t size = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    const struct mover plain = {.sums_size = 1};
    const struct mover combiner = {
        .is_combiner = true,
        .rounds_left = argc == 4 ? (unsigned)strtoul(argv[1], NULL, 10) : 0,
        .sums_size = argc == 4 ? strtoul(argv[3], NULL, 10) : 0,
    };
    char reducer_address[ADDRESS_SIZE];
    char combiner_address[ADDRESS_SIZE];
    pid_t others[1 + CLIENTS];
    pid_t pid;
    int status = 0;

    if (size == 0 || combiner.rounds_left == 0 || combiner.sums_size == 0) {
        (void)fprintf(stderr, "usage: round_moving ROUNDS MODEL_BYTES PARTIAL_BYTES\n");
        return 2;
    }
    others[0] = start_process(&plain, size, NULL, reducer_address);
    pid = start_process(&combiner, size, reducer_address, combiner_address);
    for (size_t i = 0; i < CLIENTS; i++) {
        others[1 + i] = start_process(&plain, size, combiner_address, NULL);
    }
    (void)waitpid(pid, &status, 0);
    for (size_t i = 0; i < 1 + CLIENTS; i++) {
        (void)kill(others[i], SIGKILL);
        (void)waitpid(others[i], NULL, 0);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
