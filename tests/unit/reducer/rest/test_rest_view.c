#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/reducer/rest/rest_fixture.h"

static void add(struct fixture *fixture, enum store_collection in, json_t *row)
{
    assert_non_null(row);
    assert_int_equal(store_insert(fixture->host.store, in, row, NULL), 0);
    json_decref(row);
}

/* A round of two: one counted, one refused; and what the first said of its training. */
static void add_session(struct fixture *fixture)
{
    add(fixture, STORE_SESSIONS, json_pack("{s:s,s:s}", "session_id", "s", "status", "Finished"));
    add(fixture, STORE_ROUNDS,
        json_pack(
            "{s:s,s:s,s:i,s:s,s:s,s:i,s:I,s:[{s:s,s:s},{s:s,s:s}],s:[{s:s,s:i}],"
            "s:[{s:s,s:s,s:s,s:s}],s:{s:i},s:{s:i},s:[{s:s,s:{s:f,s:{s:i,s:f,s:f}}}]}",
            "round_id", "7", "session_id", "s", "round_number", 1, "status", "Finished", "model_id",
            "m", "planned_utc_ms", 0, "deadline_utc_ms", (json_int_t)9000000000000, "clients",
            "client_id", "a", "combiner_id", "k", "client_id", "b", "combiner_id", "k", "entries",
            "client_id", "a", "examples", 5, "refused", "client", "b", "update", "u", "reason",
            "late", "detail", "=after the end", "refused_more", "late", 2, "timings", "total_ms",
            4000, "combiners", "name", "west", "data", "time_combination", 3.5, "aggregation_time",
            "nr_aggregated_models", 1, "time_model_load", 0.5, "time_model_aggregation", 1.0));
    add(fixture, STORE_STATUSES,
        json_pack("{s:s,s:s,s:s,s:s,s:{s:s,s:s},s:s}", "status_id", "x", "session_id", "s", "type",
                  "MODEL_UPDATE", "log_level", "AUDIT", "sender", "client_id", "a", "name", "Anna",
                  "data",
                  "{\"modelUpdateId\":\"u1\",\"meta\":\"{\\\"exec_training\\\":1.5,"
                  "\\\"fetch_model\\\":\\\"no number\\\",\\\"upload_model\\\":-1,"
                  "\\\"config\\\":\\\"{\\\\\\\"round_id\\\\\\\":\\\\\\\"7\\\\\\\"}\\\"}\"}"));
    add(fixture, STORE_STATUSES,
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "status_id", "y", "session_id", "s", "type",
                  "MODEL_UPDATE", "log_level", "AUDIT", "data", "no JSON"));
}

static json_t *first_of(struct fixture *fixture, const char *path, size_t n)
{
    json_t *answer = expect(fixture, 200, "GET", path, NULL);
    json_t *row = json_incref(json_array_get(json_object_get(answer, "result"), 0));

    assert_int_equal(json_array_size(json_object_get(answer, "result")), n);
    assert_int_equal(json_integer_value(json_object_get(answer, "count")), n);
    json_decref(answer);
    return row;
}

static double number_at(const json_t *row, const char *key)
{
    assert_true(json_is_number(json_object_get(row, key)));
    return json_number_value(json_object_get(row, key));
}

static void test_rounds(void **state)
{
    struct fixture *fixture = *state;
    json_t *row;

    json_decref(expect(fixture, 200, "GET", "/api/v1/views/rounds", NULL)); /* no session yet */
    add_session(fixture);
    row = first_of(fixture, "/api/v1/views/rounds", 1);
    assert_int_equal((int)number_at(row, "asked"), 2);
    assert_int_equal((int)number_at(row, "counted"), 1);
    assert_int_equal((int)number_at(row, "refused"), 3);
    assert_int_equal((int)number_at(row, "seconds"), 4);
    json_decref(row);
    row = first_of(fixture, "/api/v1/views/client-rounds?client_id=b", 1);
    assert_string_equal(text_at(row, "outcome"), "refused");
    assert_string_equal(text_at(row, "reason"), "late");
    json_decref(row);
    row = first_of(fixture, "/api/v1/views/refusals?client_id=b&session_id=s", 1);
    assert_string_equal(text_at(row, "detail"), "=after the end");
    json_decref(row);
    json_decref(expect(fixture, 400, "GET", "/api/v1/views/refusals", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/views/client-rounds", NULL));
}

static void test_times(void **state)
{
    struct fixture *fixture = *state;
    json_t *row;

    add_session(fixture);
    row = first_of(fixture, "/api/v1/views/client-times?client_id=a", 1);
    assert_string_equal(text_at(row, "round_id"), "7");
    assert_int_equal((int)number_at(row, "round_number"), 1);
    assert_string_equal(text_at(row, "client"), "Anna");
    assert_int_equal((int)(1000 * number_at(row, "training_s")), 1500);
    assert_true(json_is_null(json_object_get(row, "download_s")));
    assert_true(json_is_null(json_object_get(row, "upload_s")));
    json_decref(row);
    row = first_of(fixture, "/api/v1/views/combiner-times", 1);
    assert_int_equal((int)number_at(row, "waiting_s"), 2);
    assert_int_equal((int)number_at(row, "aggregation_s"), 1);
    json_decref(row);
    row = first_of(fixture, "/api/v1/views/timeline?round_id=7", 2);
    assert_string_equal(text_at(row, "phase"), "training");
    assert_string_equal(text_at(row, "outcome"), "counted");
    json_decref(row);
    json_decref(expect(fixture, 404, "GET", "/api/v1/views/timeline?round_id=2", NULL));
    json_decref(expect(fixture, 400, "GET", "/api/v1/views/timeline", NULL));
}

static void test_validations(void **state)
{
    struct fixture *fixture = *state;
    json_t *answer;
    json_t *row;

    add_session(fixture);
    add(fixture, STORE_VALIDATIONS,
        json_pack("{s:s,s:s,s:s,s:s,s:{s:s},s:s}", "validation_id", "v", "session_id", "s",
                  "model_id", "m", "_sender_key", "a", "sender", "client_id", "a", "data",
                  "{\"loss\":0.5,\"text\":\"x\",\"confusion_matrix\":[[3,1],[\"x\"]]}"));
    add(fixture, STORE_VALIDATIONS,
        json_pack("{s:s,s:s,s:s,s:s}", "validation_id", "w", "session_id", "s", "model_id", "n",
                  "data", "{\"accuracy\":0.5}"));
    answer = expect(fixture, 200, "GET", "/api/v1/views/validations", NULL);
    assert_int_equal(json_array_size(json_object_get(answer, "metrics")), 2);
    assert_string_equal(text_at(answer, "metric"), "loss"); /* the first that was told */
    assert_int_equal(json_array_size(json_object_get(answer, "result")), 1);
    json_decref(answer);
    json_decref(first_of(fixture, "/api/v1/views/validations?metric=accuracy", 1));
    row = first_of(fixture, "/api/v1/views/validations?metric=loss", 1);
    assert_int_equal((int)number_at(row, "round_number"), 1);
    json_decref(row);
    json_decref(first_of(fixture, "/api/v1/views/validations?metric=text", 0));
    row = first_of(fixture, "/api/v1/views/confusion?model_id=m", 2);
    assert_int_equal((int)number_at(row, "count"), 3);
    json_decref(row);
    json_decref(expect(fixture, 400, "GET", "/api/v1/views/confusion", NULL));
}

/* Over the borders of pages; of more rows than an answer has, the newest. */
static void test_long_sessions(void **state)
{
    struct fixture *fixture = *state;
    json_t *combiners = json_array();
    json_t *answer;
    char id[16];

    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof(id), "c%d", i);
        (void)json_array_append_new(combiners, json_pack("{s:s,s:{}}", "name", id, "data"));
    }
    for (int i = 1; i <= 1100; i++) {
        (void)snprintf(id, sizeof(id), "%d", i);
        add(fixture, STORE_ROUNDS,
            json_pack("{s:s,s:s,s:i,s:O}", "round_id", id, "session_id", "s", "round_number", i,
                      "combiners", combiners));
    }
    json_decref(combiners);
    answer = expect(fixture, 200, "GET", "/api/v1/views/rounds?session_id=s", NULL);
    assert_int_equal(json_array_size(json_object_get(answer, "result")), 1100);
    for (size_t i = 0; i < 1100; i++) {
        const json_t *row = json_array_get(json_object_get(answer, "result"), i);
        assert_int_equal((int)number_at(row, "round_number"), (int)i + 1);
    }
    json_decref(answer);
    answer = expect(fixture, 200, "GET", "/api/v1/views/combiner-times?session_id=s", NULL);
    assert_int_equal(json_array_size(json_object_get(answer, "result")), 20000);
    for (size_t i = 0; i < 20000; i += 19999) {
        const json_t *row = json_array_get(json_object_get(answer, "result"), i);
        assert_int_equal((int)number_at(row, "round_number"), i == 0 ? 101 : 1100);
        assert_string_equal(text_at(row, "combiner"), i == 0 ? "c0" : "c19");
    }
    json_decref(answer);
}

static void test_csv(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;

    add_session(fixture);
    reply = call(fixture, "GET", "/api/v1/views/refusals?client_id=b&format=csv", NULL);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "'=after the end"));
    reply_deinit(&reply);
    expect_head(fixture,
                "GET /api/v1/views/rounds?format=csv HTTP/1.1\r\nHost: x\r\n"
                "Connection: close\r\n\r\n",
                "Content-Disposition: attachment; filename=rounds.csv\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rounds, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_times, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_validations, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_long_sessions, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_csv, fixture_set_up, fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
