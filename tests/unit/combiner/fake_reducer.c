#include "tests/unit/combiner/fake_reducer.h"

#include <confed/v1/federation.pb-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/link/link_codec.h"
#include "common/link/partial.h"
#include "common/rpc/rpc_server.h"

#define LINES_MAX 4096U
#define LINE_SIZE 1024U

struct fake_reducer {
    struct test_loop *loop;
    struct fed_rpc *rpc;
    struct fed_rpc_server *server;
    struct fed_rpc_call *link; /* the newest */
    struct fed_hello_joiner joiner;
    const char *partial_path;
    char address[64];
    struct fed_slab *model;
    size_t hold;               /* GetModel stops there; loop */
    struct fed_rpc_call *held; /* it stands at `hold` */
    _Atomic int verdict;       /* enum fed_verdict */
    _Atomic bool is_acknowledging;
    _Atomic unsigned n_puts; /* under way */
    struct test_gate stopped;
    struct { /* under lock */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        char (*lines)[LINE_SIZE];
        size_t n_lines;
        size_t next; /* the first that has not been waited for */
    } heard;
};

__attribute__((format(printf, 2, 3))) static void
note(struct fake_reducer *fake, const char *fmt, ...)
{
    va_list args;

    (void)pthread_mutex_lock(&fake->heard.lock);
    if (fake->heard.n_lines < LINES_MAX) {
        va_start(args, fmt);
        (void)vsnprintf(fake->heard.lines[fake->heard.n_lines++], LINE_SIZE, fmt, args);
        va_end(args);
    }
    (void)pthread_cond_broadcast(&fake->heard.wake);
    (void)pthread_mutex_unlock(&fake->heard.lock);
}

/* -- Link -------------------------------------------------------------------------------------- */

static int send_out(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    struct fake_reducer *fake = arg;

    if (fake->link == NULL) {
        (void)fed_rpc_out_free(out);
        return 0;
    }
    return fed_rpc_call_send(fake->link, out, err);
}

static void send_now(struct fake_reducer *fake, const struct fed_down *down)
{
    (void)!fed_down_encode(down, send_out, fake, NULL);
}

static void take_hello(struct fake_reducer *fake, const struct fed_hello *hello)
{
    const struct fed_down welcome = {
        .type = FED_DOWN_WELCOME,
        .welcome = {.reducer_boot_id = "boot", .version = "test", .heartbeat_limit_ms = 2000}};
    char rounds[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < hello->n_rounds; i++) {
        const struct fed_hello_round *round = &hello->rounds[i];
        used += (size_t)snprintf(rounds + used, sizeof(rounds) - used, " %s/%llu/%d/%zu/%zu",
                                 round->round_id, (unsigned long long)round->plan_seq,
                                 (int)round->state, round->n_admitted, round->n_refused);
    }
    note(fake, "hello clients=%zu rounds=%s", hello->n_clients, rounds);
    send_now(fake, &welcome);
}

static void take_up(struct fake_reducer *fake, const struct fed_up *up)
{
    static const char *const phases[] = {"", "attached", "silent", "gone"};
    struct fed_down ack = {.type = FED_DOWN_RECORD_ACK};

    switch (up->type) {
    case FED_UP_HELLO:
        take_hello(fake, &up->hello);
        break;
    case FED_UP_CLIENT_STATE:
        note(fake, "client %s %s", up->client_state.client_id, phases[up->client_state.phase]);
        break;
    case FED_UP_ADMITTED:
        note(fake, "admitted %s/%llu %s %s %llu", up->round_id, (unsigned long long)up->plan_seq,
             up->admitted.client_id, up->admitted.update_id,
             (unsigned long long)up->admitted.examples);
        break;
    case FED_UP_REFUSED:
        note(fake, "refused %s %s %s own=%d", up->round_id, up->refused.client_id,
             fed_refusal_word(up->refused.reason), (int)up->refused.is_own_connection);
        break;
    case FED_UP_RECORD:
        note(fake, "record %d %s", (int)up->record.kind, up->record.json);
        if (atomic_load(&fake->is_acknowledging)) {
            ack.record_ack.seq = up->record.seq;
            send_now(fake, &ack);
        }
        break;
    }
}

static void link_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_reducer *fake = arg;
    struct fed_up up;

    if (in == NULL) {
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
        return;
    }
    if (fed_up_decode(in, &fake->joiner, &up, NULL) == 0) {
        take_up(fake, &up);
        fed_up_deinit(&up);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call);
}

static void link_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fake_reducer *fake = arg;

    (void)end;
    if (fake->link == call) {
        fake->link = NULL;
    }
    fed_hello_joiner_deinit(&fake->joiner);
    note(fake, "link closed");
}

static const struct fed_rpc_call_ops link_ops = {link_message, NULL, link_closed};

static void link_method(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_reducer *fake = arg;

    (void)in;
    fake->link = call;
    fed_rpc_call_set(call, &link_ops, fake);
    fed_rpc_call_read(call);
}

/* -- GetModel ---------------------------------------------------------------------------------- */

/* Bytes [from, to), in chunks. */
static void send_model(struct fake_reducer *fake, struct fed_rpc_call *call, size_t from, size_t to)
{
    Confed__V1__ModelChunk chunk = CONFED__V1__MODEL_CHUNK__INIT;

    chunk.size_bytes = fed_slab_view(fake->model).size;
    for (size_t at = from; at < to; at += FED_RPC_CHUNK_SIZE) {
        const size_t n = to - at < FED_RPC_CHUNK_SIZE ? to - at : FED_RPC_CHUNK_SIZE;
        chunk.offset_bytes = at;
        if (fed_rpc_call_send(call, fed_rpc_out_pack_bulk(&chunk.base, 3, fake->model, at, n),
                              NULL) < 0) {
            break;
        }
    }
}

static void held_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fake_reducer *fake = arg;

    (void)end;
    if (fake->held == call) {
        fake->held = NULL;
    }
    note(fake, "get ended");
}

static const struct fed_rpc_call_ops held_ops = {NULL, NULL, held_closed};

static void get_model(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_reducer *fake = arg;
    ProtobufCMessage *message = NULL;
    size_t from;
    size_t size;

    if (fed_rpc_in_unpack(in, &confed__v1__model_get__descriptor, &message, NULL) < 0 ||
        fake->model == NULL) {
        fed_rpc_message_free(message);
        (void)fed_rpc_in_free(in);
        fed_rpc_call_finish(call, FED_RPC_NOT_FOUND, "no model");
        return;
    }
    from = (size_t)((const Confed__V1__ModelGet *)(const void *)message)->offset_bytes;
    note(fake, "get %s %zu", ((const Confed__V1__ModelGet *)(const void *)message)->model_id, from);
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    size = fed_slab_view(fake->model).size;
    send_model(fake, call, from, size < fake->hold ? size : fake->hold);
    if (size <= fake->hold) {
        fed_rpc_call_finish(call, FED_RPC_OK, NULL);
    } else {
        fake->held = call;
        fed_rpc_call_set(call, &held_ops, fake);
    }
}

/* -- PutPartial -------------------------------------------------------------------------------- */

struct put {
    struct fake_reducer *fake;
    struct fed_buf bytes;
    char key[64];
};

static void answer_put(struct put *put, struct fed_rpc_call *call)
{
    Confed__V1__PartialAck ack = CONFED__V1__PARTIAL_ACK__INIT;
    struct fed_partial partial = {0};

    test_file_write(put->fake->partial_path, put->bytes.data, put->bytes.size);
    if (fed_partial_open(put->fake->partial_path, &partial, NULL) == 0) {
        note(put->fake, "partial %s entries=%zu bytes=%zu", put->key, partial.n_entries,
             put->bytes.size);
        fed_partial_deinit(&partial);
    } else {
        note(put->fake, "partial %s unreadable", put->key);
    }
    ack.verdict = (Confed__V1__PartialVerdict)atomic_load(&put->fake->verdict);
    fed_rpc_call_reply(call, fed_rpc_out_pack(&ack.base));
}

static void put_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct put *put = arg;
    ProtobufCMessage *message = NULL;
    struct fed_view data;

    if (in == NULL) {
        answer_put(put, call);
        return;
    }
    if (fed_rpc_in_unpack_bulk(in, &confed__v1__partial_chunk__descriptor, 5, &message, &data,
                               NULL) == 0) {
        const Confed__V1__PartialChunk *chunk = (const void *)message;
        if (chunk->round_id[0] != '\0') {
            (void)snprintf(put->key, sizeof(put->key), "%s/%llu", chunk->round_id,
                           (unsigned long long)chunk->plan_seq);
        }
        (void)!fed_buf_add(&put->bytes, data.data, data.size, NULL);
        fed_rpc_message_free(message);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call);
}

static void put_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct put *put = arg;

    (void)call;
    (void)end;
    atomic_fetch_sub(&put->fake->n_puts, 1);
    fed_buf_deinit(&put->bytes);
    free(put);
}

static const struct fed_rpc_call_ops put_ops = {put_message, NULL, put_closed};

static void put_partial(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct put *put = calloc(1, sizeof(*put));

    (void)in;
    put->fake = arg;
    atomic_fetch_add(&put->fake->n_puts, 1);
    fed_buf_init(&put->bytes, 0);
    fed_rpc_call_set(call, &put_ops, put);
    fed_rpc_call_read(call);
}

static const struct fed_rpc_method methods[] = {
    {"/confed.v1.Federation/Link", true, true, link_method},
    {"/confed.v1.Federation/GetModel", false, true, get_model},
    {"/confed.v1.Federation/PutPartial", true, false, put_partial},
};

/* -- life cycle -------------------------------------------------------------------------------- */

static void start(void *arg)
{
    struct fake_reducer *fake = arg;
    const struct fed_rpc_server_config config = {
        .listen = "127.0.0.1:0",
        .message_size_max = FED_RPC_CONTROL_MAX,
        .memory_max = 64U << 20,
        .calls_max = 100,
        .unknown_status = FED_RPC_UNIMPLEMENTED,
    };

    if (fed_rpc_server_new(fake->rpc, &config, &(struct fed_rpc_service){methods, 3, fake},
                           &fake->server, NULL) == 0) {
        (void)snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%u",
                       fed_rpc_server_port(fake->server));
    }
}

struct fake_reducer *
fake_start(struct test_loop *loop, struct fed_rpc *rpc, const char *partial_path)
{
    struct fake_reducer *fake = calloc(1, sizeof(*fake));
    pthread_condattr_t attr;

    assert_non_null(fake);
    fake->loop = loop;
    fake->rpc = rpc;
    fake->partial_path = partial_path;
    atomic_init(&fake->verdict, FED_VERDICT_ACCEPTED);
    atomic_init(&fake->is_acknowledging, true);
    atomic_init(&fake->n_puts, 0);
    fake->hold = SIZE_MAX;
    fake->heard.lines = calloc(LINES_MAX, LINE_SIZE);
    assert_non_null(fake->heard.lines);
    (void)pthread_mutex_init(&fake->heard.lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&fake->heard.wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    test_gate_init(&fake->stopped);
    test_loop_call(loop, start, fake);
    assert_int_not_equal(fake->address[0], '\0');
    return fake;
}

static void server_stopped(void *arg)
{
    struct fake_reducer *fake = arg;

    (void)fed_rpc_server_free(fake->server);
    test_gate_open(&fake->stopped);
}

static void stop(void *arg)
{
    struct fake_reducer *fake = arg;

    fed_rpc_server_stop(fake->server, server_stopped, fake);
}

void fake_stop(struct fake_reducer *fake)
{
    test_loop_call(fake->loop, stop, fake);
    test_gate_wait(&fake->stopped, 1);
    (void)fed_slab_unref(fake->model);
    free(fake->heard.lines);
    (void)pthread_cond_destroy(&fake->heard.wake);
    (void)pthread_mutex_destroy(&fake->heard.lock);
    test_gate_deinit(&fake->stopped);
    free(fake);
}

const char *fake_address(const struct fake_reducer *fake)
{
    return fake->address;
}

struct setting {
    struct fake_reducer *fake;
    struct fed_slab *model;
    size_t hold;
};

static void do_set_model(void *arg)
{
    struct setting *setting = arg;

    (void)fed_slab_unref(setting->fake->model);
    setting->fake->model = setting->model;
}

void fake_lose_model(struct fake_reducer *fake)
{
    struct setting setting = {.fake = fake};

    test_loop_call(fake->loop, do_set_model, &setting);
}

void fake_set_model(struct fake_reducer *fake, const void *data, size_t size)
{
    void *copy = malloc(size);
    struct setting setting = {.fake = fake};

    assert_non_null(copy);
    memcpy(copy, data, size);
    setting.model = fed_slab_new(copy, size, free, copy);
    assert_non_null(setting.model);
    test_loop_call(fake->loop, do_set_model, &setting);
}

static void do_hold(void *arg)
{
    const struct setting *setting = arg;

    setting->fake->hold = setting->hold;
}

void fake_hold(struct fake_reducer *fake, size_t hold)
{
    struct setting setting = {.fake = fake, .hold = hold};

    test_loop_call(fake->loop, do_hold, &setting);
}

static void do_go_on(void *arg)
{
    struct fake_reducer *fake = arg;

    if (fake->held != NULL) {
        send_model(fake, fake->held, fake->hold, fed_slab_view(fake->model).size);
        fed_rpc_call_finish(fake->held, FED_RPC_OK, NULL);
    }
    fake->hold = SIZE_MAX;
}

void fake_go_on(struct fake_reducer *fake)
{
    test_loop_call(fake->loop, do_go_on, fake);
}

static void do_break_off(void *arg)
{
    struct fake_reducer *fake = arg;

    if (fake->held != NULL) {
        fed_rpc_call_finish(fake->held, FED_RPC_UNAVAILABLE, "broken off");
    }
}

void fake_break_off(struct fake_reducer *fake)
{
    test_loop_call(fake->loop, do_break_off, fake);
}

void fake_set_verdict(struct fake_reducer *fake, enum fed_verdict verdict)
{
    atomic_store(&fake->verdict, (int)verdict);
}

unsigned fake_count_puts(const struct fake_reducer *fake)
{
    return atomic_load(&fake->n_puts);
}

void fake_set_acknowledging(struct fake_reducer *fake, bool is_acknowledging)
{
    atomic_store(&fake->is_acknowledging, is_acknowledging);
}

struct sending {
    struct fake_reducer *fake;
    const struct fed_down *down;
};

static void do_send(void *arg)
{
    struct sending *sending = arg;

    send_now(sending->fake, sending->down);
}

void fake_send(struct fake_reducer *fake, const struct fed_down *down)
{
    struct sending sending = {fake, down};

    test_loop_call(fake->loop, do_send, &sending);
}

static void do_cut(void *arg)
{
    struct fake_reducer *fake = arg;

    if (fake->link != NULL) {
        fed_rpc_call_cancel(fake->link);
    }
}

void fake_cut_link(struct fake_reducer *fake)
{
    test_loop_call(fake->loop, do_cut, fake);
}

const char *fake_wait(struct fake_reducer *fake, const char *text)
{
    const char *found = NULL;
    struct timespec until;
    bool is_over = false;

    until = (struct timespec){.tv_sec = (time_t)((fed_clock_mono_ms() + TEST_WAIT_MS) / 1000)};
    (void)pthread_mutex_lock(&fake->heard.lock);
    while (found == NULL) {
        while (found == NULL && fake->heard.next < fake->heard.n_lines) {
            const char *line = fake->heard.lines[fake->heard.next++];
            found = strstr(line, text) != NULL ? line : NULL;
        }
        if (found != NULL || is_over) {
            break;
        }
        is_over = pthread_cond_timedwait(&fake->heard.wake, &fake->heard.lock, &until) != 0;
    }
    (void)pthread_mutex_unlock(&fake->heard.lock);
    if (found == NULL) {
        for (size_t i = 0; i < fake->heard.n_lines; i++) {
            (void)fprintf(stderr, "heard: %s\n", fake->heard.lines[i]);
        }
        fail_msg("never heard: %s", text);
    }
    return found;
}

bool fake_has(struct fake_reducer *fake, const char *text)
{
    bool has = false;

    (void)pthread_mutex_lock(&fake->heard.lock);
    for (size_t i = 0; i < fake->heard.n_lines && !has; i++) {
        has = strstr(fake->heard.lines[i], text) != NULL;
    }
    (void)pthread_mutex_unlock(&fake->heard.lock);
    return has;
}
