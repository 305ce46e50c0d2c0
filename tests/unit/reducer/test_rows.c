/* Rows ↔ structs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/rows.h"

/* Two clients at two combiners, one of them fenced once and asked again. */
static struct round *make_round(struct roster *roster)
{
    const char ids[2][FED_ID_SIZE] = {"ann", "bob"};
    struct round *round = NULL;
    uint64_t old_link = 0;

    for (uint64_t i = 0; i < 2; i++) {
        struct fed_client_state client = {.phase = FED_CLIENT_ATTACHED};
        struct fed_hello hello = {.clients = &client, .n_clients = 1};
        fed_id_copy(client.client_id, ids[i]);
        (void)snprintf(hello.combiner_id, sizeof(hello.combiner_id), "c%llu",
                       (unsigned long long)i);
        (void)snprintf(hello.name, sizeof(hello.name), "combiner %llu", (unsigned long long)i);
        assert_int_equal(roster_hello(roster, &hello, i + 1, 0, &old_link, NULL), 0);
    }
    assert_int_equal(round_new(ids, 2, roster, &round, NULL), 0);
    fed_id_copy(round->session_id, "session");
    (void)snprintf(round->round_id, sizeof(round->round_id), "17");
    round->round_number = 3;
    fed_id_copy(round->base_model_id, "base");
    memset(round->base_sha256, 0xab, sizeof(round->base_sha256));
    round->base_size_bytes = 1234;
    round->n_tensors = 2;
    round->scale_bits = calloc(2, sizeof(*round->scale_bits));
    round->scale_bits[0] = 25;
    round->scale_bits[1] = -3;
    round->limit_bits = 51;
    round->planned_utc_ms = 1700000000000;
    round->timeout_ms = 60000;
    round->parts[1].plan_seq = 3;
    round->parts[1].fenced_plan_seq = 2;
    return round;
}

static json_t *make_session(void)
{
    json_error_t why;
    json_t *row = json_loads(
        "{\"session_id\":\"session\",\"name\":\"first\",\"status\":\"Started\",\"model_id\":\"base\","
        "\"rounds_done\":2,\"failed_rounds\":1,\"stopping\":true,\"_base_round_id\":\"16\","
        "\"task_settings\":{\"epochs\":2},"
        "\"session_config\":{\"aggregator\":\"fedavg\",\"aggregator_kwargs\":null,"
        "\"buffer_size\":-1,\"clients_required\":2,\"clients_per_round\":5,\"validate\":true,"
        "\"round_timeout\":180,\"seed\":77,\"server_functions\":null,\"weight\":0.5},"
        "\"_run\":{\"run_id\":\"r\",\"model_id\":\"seed\",\"rounds_total\":4,\"rounds_before\":6,"
        "\"models_before\":5,\"round_timeout_s\":60,\"model_name_prefix\":\"p\","
        "\"client_ids\":[\"bob\",\"ann\"]}}",
        0, &why);

    assert_non_null(row);
    return row;
}

static void test_a_planned_round_comes_back(void **state)
{
    struct roster roster;
    json_t *session = make_session();
    struct rows_round_context context = {
        .session = session, .roster = &roster, .round_timeout_ms = 60000};
    struct round *round;
    struct round *back = NULL;
    json_t *row;

    (void)state;
    roster_init(&roster);
    round = make_round(&roster);
    row = rows_round_encode(round, &context);
    assert_non_null(row);
    assert_string_equal(rows_get_text(row, "status", ""), "Pending");
    assert_string_equal(rows_get_text(row, "phase", ""), "planned");
    (void)json_object_set_new(row, "version", json_integer(4));
    assert_int_equal(rows_round_decode(row, &back, NULL), 0);
    assert_string_equal(back->round_id, "17");
    assert_int_equal(back->round_number, 3);
    assert_int_equal(back->version, 4);
    assert_int_equal(back->state, ROUND_PLANNED);
    assert_string_equal(back->base_model_id, "base");
    assert_memory_equal(back->base_sha256, round->base_sha256, FED_SHA256_SIZE);
    assert_int_equal(back->base_size_bytes, 1234);
    assert_int_equal(back->n_tensors, 2);
    assert_int_equal(back->scale_bits[1], -3);
    assert_int_equal(back->limit_bits, 51);
    assert_int_equal(back->timeout_ms, 60000);
    assert_int_equal(back->n_clients, 2);
    assert_string_equal(back->parts[back->clients[1].part].combiner_id, "c1");
    assert_int_equal(back->parts[1].plan_seq, 3);
    assert_int_equal(back->parts[1].fenced_plan_seq, 2);
    assert_int_equal(back->parts[1].state, PART_WAITING);
    (void)round_free(back);
    (void)round_free(round);
    json_decref(row);
    json_decref(session);
    roster_deinit(&roster);
}

static void test_a_damaged_row_is_named(void **state)
{
    static const char *const keys[] = {"round_id", "session_id", "base_sha256", "clients",
                                       "_parts"};
    struct roster roster;
    struct rows_round_context context = {.roster = &roster, .round_timeout_ms = 60000};
    struct round *round;

    (void)state;
    roster_init(&roster);
    round = make_round(&roster);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        json_t *row = rows_round_encode(round, &context);
        struct round *back = NULL;
        struct fed_err err = {0};
        (void)json_object_set_new(row, "version", json_integer(1));
        (void)json_object_set_new(row, keys[i], json_pack("[{s:s}]", "client_id", "../x"));
        assert_int_equal(rows_round_decode(row, &back, &err), -FED_E_CORRUPT);
        assert_null(back);
        assert_true(strstr(err.msg, keys[i]) != NULL);
        json_decref(row);
    }
    (void)round_free(round);
    roster_deinit(&roster);
}

static void test_a_refusal_is_shown_and_comes_back(void **state)
{
    struct roster roster;
    struct rows_round_context context = {.roster = &roster, .round_timeout_ms = 60000};
    struct fed_refused refused = {.reason = FED_REFUSAL_OUT_OF_RANGE, .is_own_connection = true};
    struct round *round;
    struct round *back = NULL;
    const json_t *shown;
    json_t *row;

    (void)state;
    roster_init(&roster);
    round = make_round(&roster);
    fed_id_copy(refused.client_id, "ann");
    fed_id_copy(refused.update_id, "u1");
    (void)snprintf(refused.detail, sizeof(refused.detail), "tensor 3 \xff"); /* cut UTF-8 */
    round_refused(round, &round->parts[0], &refused);
    row = rows_round_encode(round, &context);
    (void)json_object_set_new(row, "version", json_integer(1));
    shown = json_array_get(json_object_get(row, "refused"), 0);
    assert_string_equal(rows_get_text(shown, "client", ""), "ann");
    assert_string_equal(rows_get_text(shown, "update", ""), "u1");
    assert_string_equal(rows_get_text(shown, "reason", ""), "out_of_range");
    assert_string_equal(rows_get_text(shown, "detail", ""), "tensor 3 ?");
    assert_int_equal(rows_round_decode(row, &back, NULL), 0);
    assert_int_equal(back->n_refused, 1);
    assert_int_equal(back->refused[0].reason, FED_REFUSAL_OUT_OF_RANGE);
    (void)round_free(back);
    (void)round_free(round);
    json_decref(row);
    roster_deinit(&roster);
}

static void test_refusals_beyond_the_limit_are_counted(void **state)
{
    struct roster roster;
    struct rows_round_context context = {.roster = &roster, .round_timeout_ms = 60000};
    struct round *round;
    json_t *row;

    (void)state;
    roster_init(&roster);
    round = make_round(&roster);
    for (unsigned i = 0; i < ROUND_REFUSALS_MAX + 7; i++) {
        struct fed_refused refused = {.reason = FED_REFUSAL_LATE};
        (void)snprintf(refused.client_id, sizeof(refused.client_id), "x%u", i);
        round_refused(round, &round->parts[0], &refused);
    }
    row = rows_round_encode(round, &context);
    assert_int_equal(json_array_size(json_object_get(row, "refused")), ROUND_REFUSALS_MAX);
    assert_int_equal(rows_get_u64(json_object_get(row, "refused_more"), "late", 0), 7);
    (void)round_free(round);
    json_decref(row);
    roster_deinit(&roster);
}

static void fill_id(char ret_id[FED_ID_SIZE], char first, size_t number)
{
    (void)snprintf(ret_id, FED_ID_SIZE, "%c%0*zu", first, (int)FED_ID_SIZE - 2, number);
}

/* Bytes of the row of a committed round with n clients, whose ids are as long as can be. */
static size_t measure_row(size_t n)
{
    struct round *round = calloc(1, sizeof(*round));
    struct roster roster;
    const struct rows_round_context context = {.roster = &roster};
    json_t *row;
    char *text;
    size_t size;

    assert_non_null(round);
    roster_init(&roster);
    round->state = ROUND_COMMITTED;
    round->clients = calloc(n, sizeof(*round->clients));
    round->n_clients = n;
    round->parts = calloc(1, sizeof(*round->parts));
    round->n_parts = 1;
    fill_id(round->parts[0].combiner_id, 'c', 0);
    round->parts[0].state = PART_ADDED;
    round->parts[0].entries = calloc(n, sizeof(*round->parts[0].entries));
    round->parts[0].n_entries = n;
    for (size_t i = 0; i < n; i++) {
        struct fed_entry *entry = &round->parts[0].entries[i];
        fill_id(round->clients[i].client_id, 'a', i);
        fill_id(entry->client_id, 'a', i);
        fill_id(entry->update_id, 'u', i);
        entry->examples = 1000000000000;
    }
    row = rows_round_encode(round, &context);
    text = json_dumps(row, 0); /* with blanks: at least as much as any store */
    assert_non_null(text);
    size = strlen(text);
    free(text);
    json_decref(row);
    (void)round_free(round);
    roster_deinit(&roster);
    return size;
}

/* A round asks no more clients than its row has room for, however long their ids are. */
static void test_the_row_of_the_largest_round_fits(void **state)
{
    const size_t n_max = round_clients_max(FED_ID_SIZE - 1, FED_ID_SIZE - 1);
    const size_t small = measure_row(100);
    const size_t each = (measure_row(300) - small) / 200;

    (void)state;
    assert_in_range(n_max, 10000, FED_LINK_CLIENTS_MAX);
    assert_in_range(each * n_max, 1, ROUND_ROW_MAX);
    assert_in_range(round_clients_max(36, 36), 30000, FED_LINK_CLIENTS_MAX); /* UUIDs */
}

static void test_a_session_comes_back(void **state)
{
    json_t *row = make_session();
    struct federation_session session = {0};

    (void)state;
    assert_int_equal(rows_session_decode(row, &session, NULL), 0);
    assert_string_equal(session.session_id, "session");
    assert_string_equal(session.base_model_id, "base");
    assert_string_equal(session.base_round_id, "16");
    assert_string_equal(session.model_name_prefix, "p");
    assert_int_equal(session.seed, 77);
    assert_int_equal(session.rounds_total, 4);
    assert_int_equal(session.rounds_before, 6);
    assert_int_equal(session.rounds_done, 2);
    assert_int_equal(session.failed_rounds, 1);
    assert_int_equal(session.round_timeout_ms, 60000);
    assert_int_equal(session.buffer_size, -1);
    assert_int_equal(session.clients_required, 2);
    assert_int_equal(session.clients_per_round, 5);
    assert_int_equal(session.n_client_ids, 2);
    assert_true(session.is_validating);
    assert_true(session.is_stopping);
    federation_session_deinit(&session);
    (void)json_object_del(row, "_run");
    assert_int_equal(rows_session_decode(row, &session, NULL), -FED_E_CORRUPT);
    json_decref(row);
}

static void test_a_start_changes_the_row(void **state)
{
    json_t *row = make_session();
    const struct rows_run run = {.run_id = "r2",
                                 .model_id = "m9",
                                 .model_name_prefix = "",
                                 .rounds = 3,
                                 .rounds_before = 10,
                                 .models_before = 8,
                                 .round_timeout_s = 30};
    struct federation_session session = {0};
    json_t *changes = rows_session_start(row, &run);

    (void)state;
    assert_non_null(changes);
    assert_int_equal(json_object_update(row, changes), 0);
    assert_int_equal(rows_session_decode(row, &session, NULL), 0);
    assert_string_equal(session.base_model_id, "m9");
    assert_string_equal(session.base_round_id, "");
    assert_int_equal(session.rounds_total, 3);
    assert_int_equal(session.rounds_before, 10);
    assert_int_equal(session.rounds_done, 0);
    assert_int_equal(session.n_client_ids, 0);
    assert_false(session.is_stopping);
    assert_string_equal(rows_get_text(row, "seed_model_id", ""), "m9");
    federation_session_deinit(&session);
    json_decref(changes);
    json_decref(row);
}

/* FEDn sends every value as Python's str() writes it. */
static void test_task_data_is_text(void **state)
{
    json_t *row = make_session();
    json_t *data = rows_task_data(row, "training", "17", 3, "base", 60000);

    (void)state;
    assert_string_equal(rows_get_text(data, "round_id", ""), "17");
    assert_string_equal(rows_get_text(data, "round_number", ""), "3");
    assert_string_equal(rows_get_text(data, "session_id", ""), "session");
    assert_string_equal(rows_get_text(data, "task", ""), "training");
    assert_string_equal(rows_get_text(data, "model_id", ""), "base");
    assert_string_equal(rows_get_text(data, "round_timeout", ""), "60");
    assert_string_equal(rows_get_text(data, "buffer_size", ""), "-1");
    assert_string_equal(rows_get_text(data, "validate", ""), "True");
    assert_string_equal(rows_get_text(data, "aggregator_kwargs", ""), "None");
    assert_string_equal(rows_get_text(data, "weight", ""), "0.5");
    assert_int_equal(rows_get_u64(json_object_get(data, "client_settings"), "epochs", 0), 2);
    json_decref(data);
    json_decref(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_planned_round_comes_back),
        cmocka_unit_test(test_a_damaged_row_is_named),
        cmocka_unit_test(test_a_refusal_is_shown_and_comes_back),
        cmocka_unit_test(test_refusals_beyond_the_limit_are_counted),
        cmocka_unit_test(test_the_row_of_the_largest_round_fits),
        cmocka_unit_test(test_a_session_comes_back),
        cmocka_unit_test(test_a_start_changes_the_row),
        cmocka_unit_test(test_task_data_is_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
