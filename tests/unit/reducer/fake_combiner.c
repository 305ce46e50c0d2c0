#include "tests/unit/reducer/fake_combiner.h"

#include <confed/v1/federation.pb-c.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/id.h"
#include "common/link/link_codec.h"
#include "common/link/partial.h"

static void count(struct fake_combiner *fake, unsigned *counter)
{
    (void)pthread_mutex_lock(&fake->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&fake->changed);
    (void)pthread_mutex_unlock(&fake->lock);
}

static int send_out(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    struct fake_combiner *fake = arg;

    return fed_rpc_call_send(fake->link, out, err);
}

static void send_up(struct fake_combiner *fake, const struct fed_up *up)
{
    if (fake->link != NULL && fed_up_encode(up, send_out, fake, NULL) < 0) {
        fed_rpc_call_cancel(fake->link);
    }
}

static void say_hello(struct fake_combiner *fake)
{
    struct fed_client_state clients[FAKE_CLIENTS] = {0};
    struct fed_up up = {.type = FED_UP_HELLO};

    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        fed_id_copy(clients[i].client_id, fake->clients[i]);
        (void)snprintf(clients[i].name, sizeof(clients[i].name), "name-%zu", i);
        (void)snprintf(clients[i].ip, sizeof(clients[i].ip), "127.0.0.1");
        clients[i].phase = FED_CLIENT_ATTACHED;
    }
    fed_id_copy(up.hello.combiner_id, fake->id);
    fed_id_copy(up.hello.boot_id, "boot");
    (void)snprintf(up.hello.name, sizeof(up.hello.name), "%s", fake->id);
    (void)snprintf(up.hello.advertise, sizeof(up.hello.advertise), "127.0.0.1:12080");
    up.hello.protocol = FED_LINK_PROTOCOL;
    up.hello.clients_max = 100;
    up.hello.clients = clients;
    up.hello.n_clients = FAKE_CLIENTS;
    send_up(fake, &up);
}

void fake_admit_all(struct fake_combiner *fake)
{
    struct fed_up up = {.type = FED_UP_ADMITTED, .plan_seq = fake->plan.plan_seq};

    memcpy(up.round_id, fake->plan.round_id, sizeof(up.round_id));
    for (size_t i = 0; i < fake->plan.n_clients; i++) {
        fed_id_copy(up.admitted.client_id, fake->plan.client_ids[i]);
        (void)snprintf(up.admitted.update_id, sizeof(up.admitted.update_id), "u-%s-%zu",
                       fake->plan.round_id, i);
        up.admitted.examples = FAKE_EXAMPLES;
        send_up(fake, &up);
    }
}

void fake_refuse_first(struct fake_combiner *fake)
{
    struct fed_up up = {.type = FED_UP_REFUSED};

    memcpy(up.round_id, fake->plan.round_id, sizeof(up.round_id));
    fed_id_copy(up.refused.client_id, fake->plan.client_ids[0]);
    fed_id_copy(up.refused.update_id, "bad-update");
    up.refused.reason = FED_REFUSAL_NOT_FINITE;
    (void)snprintf(up.refused.detail, sizeof(up.refused.detail), "tensor 1 holds a NaN");
    up.refused.is_own_connection = true;
    send_up(fake, &up);
}

/* -- partial sums -------------------------------------------------------------------------------
 */

static void write_partial(const struct fake_combiner *fake, const char *path)
{
    static const uint64_t sizes[FAKE_TENSORS] = {6, 4};
    struct fed_entry entries[FAKE_CLIENTS] = {0};
    int64_t sums[FAKE_PARAMS];
    struct fed_partial partial = {
        .plan_seq = fake->plan.plan_seq,
        .scale_bits = fake->plan.scale_bits,
        .n_tensors = fake->plan.n_tensors,
        .n_params = FAKE_PARAMS,
        .sum_examples = fake->plan.n_clients * FAKE_EXAMPLES,
        .entries = entries,
        .n_entries = fake->plan.n_clients,
    };
    size_t at = 0;
    struct fed_err err = {0};

    memcpy(partial.round_id, fake->plan.round_id, sizeof(partial.round_id));
    fed_id_copy(partial.combiner_id, fake->id);
    memcpy(partial.base_sha256, fake->plan.base_sha256, sizeof(partial.base_sha256));
    for (size_t i = 0; i < fake->plan.n_clients; i++) {
        fed_id_copy(entries[i].client_id, fake->plan.client_ids[i]);
        (void)snprintf(entries[i].update_id, sizeof(entries[i].update_id), "u-%s-%zu",
                       fake->plan.round_id, i);
        entries[i].examples = FAKE_EXAMPLES;
    }
    for (size_t t = 0; t < FAKE_TENSORS; t++) {
        for (uint64_t i = 0; i < sizes[t]; i++) {
            sums[at++] =
                (int64_t)ldexp(FAKE_STEP * (double)partial.sum_examples, fake->plan.scale_bits[t]);
        }
    }
    if (fed_partial_write(path, &partial, sums, &err) < 0) {
        (void)fprintf(stderr, "fake combiner: %s\n", err.msg);
        abort();
    }
}

static void put_partial(struct fake_combiner *fake);

static void on_put_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_combiner *fake = arg;
    ProtobufCMessage *message = NULL;

    if (in != NULL &&
        fed_rpc_in_unpack(in, &confed__v1__partial_ack__descriptor, &message, NULL) == 0) {
        const int verdict = (int)((Confed__V1__PartialAck *)(void *)message)->verdict;
        fed_rpc_message_free(message);
        count(fake, &fake->counters.n_verdicts[verdict]);
        if (verdict == FED_VERDICT_CORRUPT) {
            put_partial(fake);
        }
    }
    (void)fed_rpc_in_free(in);
    (void)call;
}

static void on_call_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg);
static const struct fed_rpc_call_ops put_ops = {on_put_message, NULL, on_call_closed};

static void put_partial(struct fake_combiner *fake)
{
    Confed__V1__PartialChunk chunk;
    struct fed_rpc_call *call = NULL;
    struct fed_buf bytes;
    char path[400];

    (void)snprintf(path, sizeof(path), "%s/%s.partial", fake->folder, fake->id);
    write_partial(fake, path);
    if (fed_file_load(path, 1 << 20, &bytes, NULL) < 0 ||
        fed_rpc_channel_call(fake->channel,
                             &(struct fed_rpc_target){"/confed.v1.Federation/PutPartial", 10000},
                             &put_ops, fake, &call, NULL) < 0) {
        abort();
    }
    (void)unlink(path);
    fake->n_calls++;
    if (fake->is_corrupting) {
        fake->is_corrupting = false;
        bytes.data[bytes.size - FED_SHA256_SIZE - 1] ^= 1U;
    }
    confed__v1__partial_chunk__init(&chunk);
    chunk.round_id = fake->plan.round_id;
    chunk.combiner_id = fake->id;
    chunk.plan_seq = fake->plan.plan_seq;
    chunk.size_bytes = bytes.size;
    chunk.data = (ProtobufCBinaryData){bytes.size / 2, bytes.data};
    if (fed_rpc_call_send(call, fed_rpc_out_pack(&chunk.base), NULL) == 0) {
        chunk.data =
            (ProtobufCBinaryData){bytes.size - bytes.size / 2, bytes.data + bytes.size / 2};
        if (fed_rpc_call_send(call, fed_rpc_out_pack(&chunk.base), NULL) == 0) {
            fed_rpc_call_send_end(call);
        }
    }
    fed_rpc_call_read(call);
    fed_buf_deinit(&bytes);
}

/* -- models -------------------------------------------------------------------------------------
 */

static void on_get_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_combiner *fake = arg;
    ProtobufCMessage *message = NULL;
    struct fed_view data = {0};

    if (in != NULL && fed_rpc_in_unpack_bulk(in, &confed__v1__model_chunk__descriptor, 3, &message,
                                             &data, NULL) == 0) {
        (void)pthread_mutex_lock(&fake->lock);
        fake->counters.model_bytes += data.size;
        fed_xxh128_add(fake->model_hash, data.data, data.size);
        (void)pthread_mutex_unlock(&fake->lock);
        fed_rpc_message_free(message);
        fed_rpc_call_read(call);
    }
    (void)fed_rpc_in_free(in);
}

static void on_get_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fake_combiner *fake = arg;
    uint8_t digest[FED_XXH128_SIZE];

    fed_xxh128_finish(fake->model_hash, digest);
    fake->model_hash = fed_xxh128_free(fake->model_hash);
    if (end->code == FED_RPC_OK) {
        (void)pthread_mutex_lock(&fake->lock);
        fake->counters.is_model_right = fake->counters.model_bytes == fake->plan.base_size_bytes &&
                                        memcmp(digest, fake->plan.base_xxh128, sizeof(digest)) == 0;
        (void)pthread_mutex_unlock(&fake->lock);
        count(fake, &fake->counters.n_models);
    }
    on_call_closed(call, end, arg);
}

static const struct fed_rpc_call_ops get_ops = {on_get_message, NULL, on_get_closed};

void fake_get_model(struct fake_combiner *fake)
{
    Confed__V1__ModelGet wanted;
    struct fed_rpc_call *call = NULL;

    confed__v1__model_get__init(&wanted);
    wanted.model_id = fake->plan.base_model_id;
    (void)pthread_mutex_lock(&fake->lock);
    fake->counters.model_bytes = 0;
    (void)pthread_mutex_unlock(&fake->lock);
    if (fed_xxh128_new(&fake->model_hash, NULL) < 0) {
        abort();
    }
    if (fed_rpc_channel_call(fake->channel,
                             &(struct fed_rpc_target){"/confed.v1.Federation/GetModel", 10000},
                             &get_ops, fake, &call, NULL) < 0 ||
        fed_rpc_call_send(call, fed_rpc_out_pack(&wanted.base), NULL) < 0) {
        abort();
    }
    fake->n_calls++;
    fed_rpc_call_send_end(call);
    fed_rpc_call_read(call);
}

/* -- the link -----------------------------------------------------------------------------------
 */

static void hear_plan(struct fake_combiner *fake, struct fed_down *down)
{
    if (fake->has_plan) {
        fed_plan_deinit(&fake->plan);
    }
    fake->plan = down->plan;
    down->plan = (struct fed_plan){0};
    fake->has_plan = true;
    (void)pthread_mutex_lock(&fake->lock);
    fake->counters.has_settings = strstr(fake->plan.task_data, "client_settings") != NULL;
    memcpy(fake->counters.round_id, fake->plan.round_id, sizeof(fake->counters.round_id));
    (void)pthread_mutex_unlock(&fake->lock);
    count(fake, &fake->counters.n_plans);
    if (!fake->is_holding) {
        fake_admit_all(fake);
    }
}

static void hear_done(struct fake_combiner *fake, const struct fed_down *down)
{
    (void)pthread_mutex_lock(&fake->lock);
    memcpy(fake->counters.model_id, down->done.model_id, sizeof(fake->counters.model_id));
    (void)pthread_mutex_unlock(&fake->lock);
    count(fake, down->done.outcome == FED_ROUND_COMMITTED ? &fake->counters.n_committed
                : down->done.outcome == FED_ROUND_FAILED  ? &fake->counters.n_failed
                                                          : &fake->counters.n_cancelled);
}

static void hear(struct fake_combiner *fake, struct fed_down *down)
{
    switch (down->type) {
    case FED_DOWN_WELCOME:
        count(fake, &fake->counters.n_welcomes);
        break;
    case FED_DOWN_REJECT:
        count(fake, &fake->counters.n_rejects);
        break;
    case FED_DOWN_PLAN:
        hear_plan(fake, down);
        break;
    case FED_DOWN_CLOSE:
        count(fake, &fake->counters.n_closes);
        if (!fake->is_silent) {
            put_partial(fake);
        }
        break;
    case FED_DOWN_DONE:
        hear_done(fake, down);
        break;
    case FED_DOWN_VALIDATE:
        count(fake, &fake->counters.n_validates);
        break;
    case FED_DOWN_RECORD_ACK:
        (void)pthread_mutex_lock(&fake->lock);
        fake->counters.record_acked = down->record_ack.seq;
        (void)pthread_cond_broadcast(&fake->changed);
        (void)pthread_mutex_unlock(&fake->lock);
        break;
    case FED_DOWN_AHEAD:
        break; /* a combiner need not do anything about it */
    }
}

static void on_down(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fake_combiner *fake = arg;
    struct fed_down down = {0};
    struct fed_err err = {0};

    if (in == NULL) {
        return;
    }
    if (fed_down_decode(in, &down, &err) < 0) {
        (void)fprintf(stderr, "fake combiner: %s\n", err.msg);
        abort();
    }
    (void)fed_rpc_in_free(in);
    hear(fake, &down);
    fed_down_deinit(&down);
    fed_rpc_call_read(call);
}

static void on_last_closed(void *arg)
{
    struct fake_combiner *fake = arg;

    fake->channel = fed_rpc_channel_free(fake->channel);
    fed_loop_stop(fake->loop);
}

/* A call is freed after its on_closed: the channel goes in a later turn of the loop. */
static void look_end(struct fake_combiner *fake)
{
    if (fake->is_ending && fake->n_calls == 0) {
        fed_event_init(&fake->last, on_last_closed, fake);
        fed_loop_post(fake->loop, &fake->last);
    }
}

static void on_call_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fake_combiner *fake = arg;

    (void)end;
    fake->n_calls--;
    if (call == fake->link) {
        fake->link = NULL;
        count(fake, &fake->counters.n_link_ends);
    }
    look_end(fake);
}

static const struct fed_rpc_call_ops link_ops = {on_down, NULL, on_call_closed};

static void attach(struct fake_combiner *fake)
{
    if (fed_rpc_channel_call(fake->channel,
                             &(struct fed_rpc_target){"/confed.v1.Federation/Link", 0}, &link_ops,
                             fake, &fake->link, NULL) < 0) {
        abort();
    }
    fake->n_calls++;
    say_hello(fake);
    fed_rpc_call_read(fake->link);
}

void fake_hang_up(struct fake_combiner *fake)
{
    if (fake->link != NULL) {
        fed_rpc_call_cancel(fake->link);
    }
}

void fake_send_validations(struct fake_combiner *fake)
{
    static const char *const ids[] = {"v-1", "v-1", "v-2"}; /* the second is a repetition */
    char json[512];

    for (size_t i = 0; i < 3; i++) {
        struct fed_up up = {.type = FED_UP_RECORD,
                            .record = {.seq = i + 1, .kind = FED_RECORD_VALIDATION, .json = json}};
        (void)snprintf(json, sizeof(json),
                       "{\"validation_id\":\"%s\",\"session_id\":\"session-1\",\"model_id\":\"%s\","
                       "\"data\":\"{}\",\"sender\":{\"client_id\":\"%s\",\"name\":\"x\"}}",
                       ids[i], fake->counters.model_id, fake->clients[i == 2 ? 1 : 0]);
        send_up(fake, &up);
    }
}

/* -- life cycle ---------------------------------------------------------------------------------
 */

static void on_event(void *arg)
{
    struct fake_combiner *fake = arg;

    fake->command(fake);
    (void)pthread_mutex_lock(&fake->lock);
    fake->is_command_done = true;
    (void)pthread_cond_broadcast(&fake->changed);
    (void)pthread_mutex_unlock(&fake->lock);
}

static void *run(void *arg)
{
    struct fake_combiner *fake = arg;

    fed_loop_run(fake->loop);
    return NULL;
}

static void wait_changed_locked(struct fake_combiner *fake, const struct timespec *until)
{
    assert_int_equal(pthread_cond_timedwait(&fake->changed, &fake->lock, until), 0);
}

static struct timespec in_a_while(void)
{
    struct timespec until;

    (void)timespec_get(&until, TIME_UTC);
    until.tv_sec += FAKE_TIMEOUT_MS / 1000;
    return until;
}

void fake_do(struct fake_combiner *fake, void (*command)(struct fake_combiner *fake))
{
    const struct timespec until = in_a_while();

    fake->command = command;
    (void)pthread_mutex_lock(&fake->lock);
    fake->is_command_done = false;
    (void)pthread_mutex_unlock(&fake->lock);
    fed_loop_post(fake->loop, &fake->event);
    (void)pthread_mutex_lock(&fake->lock);
    while (!fake->is_command_done) {
        wait_changed_locked(fake, &until);
    }
    (void)pthread_mutex_unlock(&fake->lock);
}

void fake_await(struct fake_combiner *fake, bool (*is_true)(const struct fake_counters *counters))
{
    const struct timespec until = in_a_while();

    (void)pthread_mutex_lock(&fake->lock);
    while (!is_true(&fake->counters)) {
        wait_changed_locked(fake, &until);
    }
    (void)pthread_mutex_unlock(&fake->lock);
}

struct fake_counters fake_look(struct fake_combiner *fake)
{
    struct fake_counters counters;

    (void)pthread_mutex_lock(&fake->lock);
    counters = fake->counters;
    (void)pthread_mutex_unlock(&fake->lock);
    return counters;
}

void fake_start(struct fake_combiner *fake, const char *id, uint16_t port, const char *folder)
{
    char target[64];
    const struct fed_rpc_channel_config config = {.target = target,
                                                  .message_size_max = FED_RPC_MESSAGE_MAX};

    fed_id_copy(fake->id, id);
    (void)snprintf(fake->folder, sizeof(fake->folder), "%s", folder);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%u", port);
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        (void)snprintf(fake->clients[i], FED_ID_SIZE, "%s-client-%zu", id, i);
    }
    (void)pthread_mutex_init(&fake->lock, NULL);
    (void)pthread_cond_init(&fake->changed, NULL);
    fed_event_init(&fake->event, on_event, fake);
    assert_int_equal(fed_loop_new(&fake->loop, NULL), 0);
    assert_int_equal(fed_rpc_new(fake->loop, &fake->rpc, NULL), 0);
    assert_int_equal(fed_rpc_channel_new(fake->rpc, &config, &fake->channel, NULL), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, run, fake), 0);
    fake_do(fake, attach);
}

static void end(struct fake_combiner *fake)
{
    fake->is_ending = true;
    fake_hang_up(fake);
    look_end(fake);
}

void fake_stop(struct fake_combiner *fake)
{
    fake_do(fake, end);
    (void)pthread_join(fake->thread, NULL);
    (void)fed_rpc_free(fake->rpc);
    (void)fed_loop_free(fake->loop);
    if (fake->has_plan) {
        fed_plan_deinit(&fake->plan);
    }
    (void)pthread_cond_destroy(&fake->changed);
    (void)pthread_mutex_destroy(&fake->lock);
    *fake = (struct fake_combiner){0};
}
