/* Every message there and back; a Hello in many parts; bytes of any kind. */
#include <confed/v1/federation.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rand.h"
#include "common/base/text.h"
#include "common/link/link_codec.h"
#include "tests/lib/fixture.h"
#include "tests/lib/rpc_message.h"

#define N_CLIENTS 5000U
#define PARTS_MAX 256

/* What was sent, in order, as received on the other side. */
struct wire {
    struct fed_rpc_in *parts[PARTS_MAX];
    size_t n_parts;
    size_t largest; /* bytes */
};

static int keep(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    struct wire *wire = arg;

    (void)err;
    if (out == NULL || wire->n_parts == PARTS_MAX) {
        (void)fed_rpc_out_free(out);
        return -FED_E_LIMIT;
    }
    wire->parts[wire->n_parts] = test_rpc_in_of(out);
    if (fed_rpc_in_size(wire->parts[wire->n_parts]) > wire->largest) {
        wire->largest = fed_rpc_in_size(wire->parts[wire->n_parts]);
    }
    wire->n_parts++;
    return 0;
}

static void clear(struct wire *wire)
{
    for (size_t i = 0; i < wire->n_parts; i++) {
        (void)fed_rpc_in_free(wire->parts[i]);
    }
    *wire = (struct wire){0};
}

static int send_up(const struct fed_up *up, struct fed_up *ret_up, struct fed_err *err)
{
    struct wire wire = {0};
    struct fed_hello_joiner joiner = {0};
    int rc = fed_up_encode(up, keep, &wire, err);

    for (size_t i = 0; i < wire.n_parts && rc == 0; i++) {
        rc = fed_up_decode(wire.parts[i], &joiner, ret_up, err);
        assert_true(rc <= 0 || i + 1 < wire.n_parts);
        rc = rc == FED_LINK_MORE ? 0 : rc;
    }
    assert_true(wire.largest <= FED_RPC_CONTROL_MAX);
    fed_hello_joiner_deinit(&joiner);
    clear(&wire);
    return rc;
}

static int send_down(const struct fed_down *down, struct fed_down *ret_down, struct fed_err *err)
{
    struct wire wire = {0};
    int rc = fed_down_encode(down, keep, &wire, err);

    assert_int_equal(rc, 0);
    assert_int_equal(wire.n_parts, 1);
    rc = fed_down_decode(wire.parts[0], ret_down, err);
    clear(&wire);
    return rc;
}

/* -- up ---------------------------------------------------------------------------------------- */

static void test_small_messages_up(void **state)
{
    struct fed_err err;
    struct fed_up in = {0};
    struct fed_up out = {.type = FED_UP_CLIENT_STATE,
                         .client_state = {"c1", "Zo\xc3\xab", "::1", FED_CLIENT_SILENT}};

    (void)state;
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_int_equal(in.type, FED_UP_CLIENT_STATE);
    assert_string_equal(in.client_state.client_id, "c1");
    assert_string_equal(in.client_state.name, "Zo\xc3\xab");
    assert_string_equal(in.client_state.ip, "::1");
    assert_int_equal(in.client_state.phase, FED_CLIENT_SILENT);
    out = (struct fed_up){
        .type = FED_UP_ADMITTED, .round_id = "12", .plan_seq = 3, .admitted = {"c1", "u-1", 60000}};
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_string_equal(in.round_id, "12");
    assert_int_equal(in.plan_seq, 3);
    assert_memory_equal(&in.admitted, &out.admitted, sizeof(in.admitted));
    out = (struct fed_up){.type = FED_UP_REFUSED,
                          .round_id = "12",
                          .refused = {"", "", FED_REFUSAL_NO_SENDER, "nobody", true}};
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_int_equal(in.refused.reason, FED_REFUSAL_NO_SENDER);
    assert_string_equal(in.refused.detail, "nobody");
    assert_true(in.refused.is_own_connection);
    char json[] = "{\"k\":\"v\"}";
    out = (struct fed_up){.type = FED_UP_RECORD, .record = {77, FED_RECORD_VALIDATION, json}};
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_int_equal(in.record.seq, 77);
    assert_int_equal(in.record.kind, FED_RECORD_VALIDATION);
    assert_string_equal(in.record.json, json);
    fed_up_deinit(&in);
}

/* A peer's text that is no UTF-8 must not make every further Hello unreadable. */
static void test_unreadable_text_costs_only_itself(void **state)
{
    struct fed_err err;
    struct fed_up in = {0};
    const struct fed_up out = {.type = FED_UP_REFUSED,
                               .round_id = "1",
                               .refused = {"c", "u", FED_REFUSAL_MALFORMED, "\xff\xfe", true}};

    (void)state;
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_string_equal(in.refused.detail, "(unreadable)");
    assert_string_equal(in.refused.client_id, "c");
}

static void fill_hello(struct fed_hello *hello, struct fed_hello_round *round)
{
    *hello = (struct fed_hello){.combiner_id = "comb",
                                .boot_id = "boot",
                                .name = "name",
                                .advertise = "host:12080",
                                .version = "0.1.0",
                                .protocol = FED_LINK_PROTOCOL,
                                .clients_max = 100000,
                                .n_clients = N_CLIENTS,
                                .rounds = round,
                                .n_rounds = 2};
    hello->clients = calloc(N_CLIENTS, sizeof(*hello->clients));
    round[0] = (struct fed_hello_round){.round_id = "4",
                                        .plan_seq = 2,
                                        .state = FED_LINK_ROUND_COLLECTING,
                                        .n_admitted = N_CLIENTS,
                                        .n_refused = N_CLIENTS};
    round[0].admitted = calloc(N_CLIENTS, sizeof(*round[0].admitted));
    round[0].refused = calloc(N_CLIENTS, sizeof(*round[0].refused));
    round[1] =
        (struct fed_hello_round){.round_id = "5", .plan_seq = 1, .state = FED_LINK_ROUND_PLANNED};
    assert_true(hello->clients != NULL && round[0].admitted != NULL && round[0].refused != NULL);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        struct fed_refused *refused = &round[0].refused[i];
        hello->clients[i].phase = FED_CLIENT_ATTACHED;
        (void)snprintf(hello->clients[i].client_id, FED_ID_SIZE, "client-%0100u", i);
        (void)snprintf(hello->clients[i].name, FED_LINK_TEXT_SIZE, "name-%0100u", i);
        (void)snprintf(round[0].admitted[i].client_id, FED_ID_SIZE, "client-%0100u", i);
        (void)snprintf(round[0].admitted[i].update_id, FED_ID_SIZE, "update-%0100u", i);
        round[0].admitted[i].examples = i + 1;
        (void)snprintf(refused->client_id, FED_ID_SIZE, "client-%0100u", i);
        (void)snprintf(refused->update_id, FED_ID_SIZE, "other-%0100u", i);
        (void)snprintf(refused->detail, FED_LINK_DETAIL_SIZE, "detail-%0140u", i);
        refused->reason = FED_REFUSAL_LATE;
    }
}

static void test_a_hello_goes_in_parts(void **state)
{
    struct fed_hello_round rounds[2];
    struct fed_up out = {.type = FED_UP_HELLO};
    struct fed_up in = {0};
    struct fed_err err;

    (void)state;
    fill_hello(&out.hello, rounds);
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_string_equal(in.hello.advertise, "host:12080");
    assert_int_equal(in.hello.n_clients, N_CLIENTS);
    assert_memory_equal(in.hello.clients, out.hello.clients, N_CLIENTS * sizeof(*in.hello.clients));
    assert_int_equal(in.hello.n_rounds, 2);
    assert_int_equal(in.hello.rounds[0].n_admitted, N_CLIENTS);
    assert_memory_equal(in.hello.rounds[0].admitted, rounds[0].admitted,
                        N_CLIENTS * sizeof(*rounds[0].admitted));
    assert_int_equal(in.hello.rounds[0].n_refused, N_CLIENTS);
    for (size_t i = 0; i < N_CLIENTS; i++) {
        assert_string_equal(in.hello.rounds[0].refused[i].detail, rounds[0].refused[i].detail);
    }
    assert_int_equal(in.hello.rounds[1].state, FED_LINK_ROUND_PLANNED);
    fed_up_deinit(&in);
    free(out.hello.clients);
    free(rounds[0].admitted);
    free(rounds[0].refused);
}

static void test_an_empty_hello_is_one_part(void **state)
{
    const struct fed_up out = {.type = FED_UP_HELLO,
                               .hello = {.combiner_id = "c", .boot_id = "b", .protocol = 9}};
    struct fed_up in = {0};
    struct fed_err err;

    (void)state;
    assert_int_equal(send_up(&out, &in, &err), 0);
    assert_int_equal(in.hello.n_clients, 0);
    assert_int_equal(in.hello.n_rounds, 0);
    assert_int_equal(in.hello.protocol, 9);
    fed_up_deinit(&in);
}

static void test_parts_in_another_order_are_refused(void **state)
{
    struct fed_hello_round rounds[2];
    struct fed_up out = {.type = FED_UP_HELLO};
    struct fed_up in = {0};
    struct wire wire = {0};
    struct fed_hello_joiner joiner = {0};
    struct fed_err err;

    (void)state;
    fill_hello(&out.hello, rounds);
    assert_int_equal(fed_up_encode(&out, keep, &wire, &err), 0);
    assert_true(wire.n_parts > 10);
    assert_int_equal(fed_up_decode(wire.parts[1], &joiner, &in, &err), -FED_E_INVALID);
    assert_int_equal(fed_up_decode(wire.parts[0], &joiner, &in, &err), FED_LINK_MORE);
    assert_int_equal(fed_up_decode(wire.parts[2], &joiner, &in, &err), -FED_E_INVALID);
    /* a new first part starts anew */
    for (size_t i = 0; i < wire.n_parts; i++) {
        assert_int_equal(fed_up_decode(wire.parts[i], &joiner, &in, &err),
                         i + 1 < wire.n_parts ? FED_LINK_MORE : 0);
    }
    assert_int_equal(in.hello.n_clients, N_CLIENTS);
    fed_up_deinit(&in);
    fed_hello_joiner_deinit(&joiner);
    clear(&wire);
    free(out.hello.clients);
    free(rounds[0].admitted);
    free(rounds[0].refused);
}

/* -- down -------------------------------------------------------------------------------------- */

static void test_a_plan_down(void **state)
{
    int32_t scale_bits[] = {22, -5, 0, INT32_MIN};
    char ids[3][FED_ID_SIZE] = {"a", "b", "c"};
    char data[] = "{\"round\":\"1\"}";
    struct fed_down out = {.type = FED_DOWN_PLAN,
                           .plan = {.session_id = "s",
                                    .round_id = "3",
                                    .round_number = 2,
                                    .plan_seq = 9,
                                    .base_model_id = "m",
                                    .base_size_bytes = 6653648,
                                    .scale_bits = scale_bits,
                                    .n_tensors = 4,
                                    .limit_bits = 51,
                                    .examples_max = 1000000000,
                                    .task_data = data,
                                    .client_ids = ids,
                                    .n_clients = 3,
                                    .time_left_ms = 180000}};
    struct fed_down in = {0};
    struct fed_err err;

    (void)state;
    memset(out.plan.base_sha256, 7, FED_SHA256_SIZE);
    memset(out.plan.base_xxh128, 9, FED_XXH128_SIZE);
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_int_equal(in.plan.round_number, 2);
    assert_int_equal(in.plan.plan_seq, 9);
    assert_memory_equal(in.plan.base_sha256, out.plan.base_sha256, FED_SHA256_SIZE);
    assert_memory_equal(in.plan.base_xxh128, out.plan.base_xxh128, FED_XXH128_SIZE);
    assert_memory_equal(in.plan.scale_bits, scale_bits, sizeof(scale_bits));
    assert_memory_equal(in.plan.client_ids, ids, sizeof(ids));
    assert_string_equal(in.plan.task_data, data);
    assert_int_equal(in.plan.time_left_ms, 180000);
    fed_down_deinit(&in);
    out.plan.limit_bits = 52;
    assert_int_equal(send_down(&out, &in, &err), -FED_E_INVALID);
    out.plan.limit_bits = 51;
    (void)snprintf(ids[1], FED_ID_SIZE, "not an id");
    assert_int_equal(send_down(&out, &in, &err), -FED_E_INVALID);
    (void)snprintf(ids[1], FED_ID_SIZE, "b");
    (void)snprintf(out.plan.round_id, FED_ROUND_ID_SIZE, "%s", "");
    assert_int_equal(send_down(&out, &in, &err), -FED_E_INVALID);
}

static void test_the_rest_down(void **state)
{
    struct fed_down in = {0};
    struct fed_down out = {.type = FED_DOWN_WELCOME, .welcome = {"boot", "0.1.0", 10000}};
    struct fed_err err;
    char ids[1][FED_ID_SIZE] = {"a"};
    char data[] = "{}";

    (void)state;
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_string_equal(in.welcome.reducer_boot_id, "boot");
    assert_int_equal(in.welcome.heartbeat_limit_ms, 10000);
    out = (struct fed_down){.type = FED_DOWN_REJECT, .reject = {"protocol 2, this is 1"}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_string_equal(in.reject.reason, "protocol 2, this is 1");
    out = (struct fed_down){.type = FED_DOWN_CLOSE, .close = {"3", 4}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_int_equal(in.close.plan_seq, 4);
    out = (struct fed_down){.type = FED_DOWN_DONE, .done = {"3", FED_ROUND_COMMITTED, "m"}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_string_equal(in.done.model_id, "m");
    out = (struct fed_down){.type = FED_DOWN_RECORD_ACK, .record_ack = {UINT64_MAX}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_true(in.record_ack.seq == UINT64_MAX);
    out = (struct fed_down){.type = FED_DOWN_AHEAD, .ahead = {"m", {1, [15] = 2}, 77}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_string_equal(in.ahead.model_id, "m");
    assert_memory_equal(in.ahead.xxh128, out.ahead.xxh128, FED_XXH128_SIZE);
    assert_int_equal(in.ahead.size_bytes, 77);
    out = (struct fed_down){.type = FED_DOWN_VALIDATE,
                            .validate = {.session_id = "s",
                                         .round_id = "3",
                                         .model_id = "m",
                                         .xxh128 = {1, [15] = 2},
                                         .client_ids = ids,
                                         .n_clients = 1,
                                         .task_data = data}};
    assert_int_equal(send_down(&out, &in, &err), 0);
    assert_string_equal(in.validate.client_ids[0], "a");
    assert_memory_equal(in.validate.xxh128, out.validate.xxh128, FED_XXH128_SIZE);
    fed_down_deinit(&in);
}

static int decode_down(const Confed__V1__Down *down, struct fed_err *err)
{
    struct fed_rpc_in *in = test_rpc_in_of(fed_rpc_out_pack(&down->base));
    struct fed_down ret = {0};
    const int rc = fed_down_decode(in, &ret, err);

    if (rc == 0) {
        fed_down_deinit(&ret);
    }
    (void)fed_rpc_in_free(in);
    return rc;
}

/* As a reducer of protocol 1 says them, or one that is wrong. */
static void test_without_a_whole_xxh128(void **state)
{
    uint8_t bytes[FED_SHA256_SIZE] = {0};
    char one[] = "1";
    Confed__V1__Down down = CONFED__V1__DOWN__INIT;
    Confed__V1__Plan plan = CONFED__V1__PLAN__INIT;
    Confed__V1__Validate validate = CONFED__V1__VALIDATE__INIT;
    struct fed_err err;

    (void)state;
    plan.session_id = plan.round_id = plan.base_model_id = one;
    validate.session_id = validate.round_id = validate.model_id = one;
    plan.base_sha256 = validate.sha256 = (ProtobufCBinaryData){FED_SHA256_SIZE, bytes};
    for (size_t size = 0; size <= FED_XXH128_SIZE + 1; size++) {
        const int want = size == FED_XXH128_SIZE ? 0 : -FED_E_INVALID;
        plan.base_xxh128 = validate.xxh128 = (ProtobufCBinaryData){size, bytes};
        down.message_case = CONFED__V1__DOWN__MESSAGE_PLAN;
        down.plan = &plan;
        assert_int_equal(decode_down(&down, &err), want);
        down.message_case = CONFED__V1__DOWN__MESSAGE_VALIDATE;
        down.validate = &validate;
        assert_int_equal(decode_down(&down, &err), want);
    }
}

/* -- from outside --------------------------------------------------------------------------------
 */

static int decode_up(const Confed__V1__Up *up, struct fed_err *err)
{
    struct fed_rpc_in *in = test_rpc_in_of(fed_rpc_out_pack(&up->base));
    struct fed_hello_joiner joiner = {0};
    struct fed_up ret = {0};
    const int rc = fed_up_decode(in, &joiner, &ret, err);

    fed_hello_joiner_deinit(&joiner);
    fed_up_deinit(&ret);
    (void)fed_rpc_in_free(in);
    return rc;
}

static void test_fields_out_of_bounds(void **state)
{
    Confed__V1__Up up = CONFED__V1__UP__INIT;
    Confed__V1__Admitted admitted = CONFED__V1__ADMITTED__INIT;
    Confed__V1__ClientState client = CONFED__V1__CLIENT_STATE__INIT;
    Confed__V1__Record record = CONFED__V1__RECORD__INIT;
    char one[] = "1";
    char text[200];
    struct fed_err err;

    (void)state;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID); /* nothing in it */
    admitted.round_id = one;
    up.message_case = CONFED__V1__UP__MESSAGE_ADMITTED;
    up.admitted = &admitted;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID); /* no entry */
    up.message_case = CONFED__V1__UP__MESSAGE_CLIENT_STATE;
    up.client_state = &client;
    client.client_id = one;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID); /* no phase */
    client.phase = (Confed__V1__ClientPhase)4;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID);
    client.phase = CONFED__V1__CLIENT_PHASE__CLIENT_PHASE_GONE;
    assert_int_equal(decode_up(&up, &err), 0);
    memset(text, 'x', sizeof(text));
    text[199] = '\0';
    client.client_id = text;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID); /* too long */
    up.message_case = CONFED__V1__UP__MESSAGE_RECORD;
    up.record = &record;
    record.kind = 99;
    assert_int_equal(decode_up(&up, &err), -FED_E_INVALID);
}

/* A name that is cut stays UTF-8: it is passed on. */
static void test_long_names_are_cut_between_characters(void **state)
{
    Confed__V1__Up up = CONFED__V1__UP__INIT;
    Confed__V1__ClientState client = CONFED__V1__CLIENT_STATE__INIT;
    struct fed_hello_joiner joiner = {0};
    struct fed_up ret = {0};
    struct fed_rpc_in *in;
    struct fed_err err;
    char one[] = "1";
    char name[301] = "";

    (void)state;
    for (size_t i = 0; i + 3 < sizeof(name); i += 3) {
        memcpy(name + i, "\xe2\x82\xac", 4);
    }
    client.client_id = one;
    client.phase = CONFED__V1__CLIENT_PHASE__CLIENT_PHASE_ATTACHED;
    client.name = name;
    up.message_case = CONFED__V1__UP__MESSAGE_CLIENT_STATE;
    up.client_state = &client;
    in = test_rpc_in_of(fed_rpc_out_pack(&up.base));
    assert_int_equal(fed_up_decode(in, &joiner, &ret, &err), 0);
    assert_int_equal(strlen(ret.client_state.name), 126);
    assert_true(fed_text_is_utf8(ret.client_state.name));
    (void)fed_rpc_in_free(in);
}

/* Random bytes, and messages with random changes: an answer, never a crash. */
static void test_bytes_of_any_kind(void **state)
{
    const uint64_t key = 3;
    struct fed_rand rand;
    const struct fed_up up = {
        .type = FED_UP_ADMITTED, .round_id = "12", .plan_seq = 3, .admitted = {"c1", "u-1", 60000}};
    struct fed_err err;
    uint8_t bytes[64];

    (void)state;
    fed_rand_init(&rand, &key, 1);
    for (unsigned i = 0; i < 3000; i++) {
        struct wire wire = {0};
        struct fed_hello_joiner joiner = {0};
        struct fed_up ret_up = {0};
        struct fed_down ret_down = {0};
        struct fed_rpc_in *in;
        size_t size = 0;
        ProtobufCMessage *message = NULL;
        uint8_t packed[256];

        assert_int_equal(fed_up_encode(&up, keep, &wire, &err), 0);
        assert_int_equal(
            fed_rpc_in_unpack(wire.parts[0], &confed__v1__up__descriptor, &message, &err), 0);
        size = protobuf_c_message_pack(message, packed);
        fed_rpc_message_free(message);
        clear(&wire);
        for (unsigned k = 0; k < 1 + i % 4; k++) {
            packed[fed_rand_below(&rand, size)] = (uint8_t)fed_rand_next(&rand);
        }
        in = test_rpc_in_new(packed, size);
        if (fed_up_decode(in, &joiner, &ret_up, &err) == 0) {
            fed_up_deinit(&ret_up);
        }
        (void)fed_rpc_in_free(in);
        for (size_t k = 0; k < sizeof(bytes); k++) {
            bytes[k] = (uint8_t)fed_rand_next(&rand);
        }
        in = test_rpc_in_new(bytes, i % sizeof(bytes));
        if (fed_down_decode(in, &ret_down, &err) == 0) {
            fed_down_deinit(&ret_down);
        }
        (void)fed_rpc_in_free(in);
        fed_hello_joiner_deinit(&joiner);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_messages_up),
        cmocka_unit_test(test_unreadable_text_costs_only_itself),
        cmocka_unit_test(test_a_hello_goes_in_parts),
        cmocka_unit_test(test_an_empty_hello_is_one_part),
        cmocka_unit_test(test_parts_in_another_order_are_refused),
        cmocka_unit_test(test_a_plan_down),
        cmocka_unit_test(test_the_rest_down),
        cmocka_unit_test(test_without_a_whole_xxh128),
        cmocka_unit_test(test_fields_out_of_bounds),
        cmocka_unit_test(test_long_names_are_cut_between_characters),
        cmocka_unit_test(test_bytes_of_any_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
