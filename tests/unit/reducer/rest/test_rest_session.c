#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/reducer/rest/rest_fixture.h"

/* What FEDn's APIClient sends. */
static const char good[] =
    "{\"name\":\"first\",\"seed_model_id\":\"m1\",\"session_config\":{\"aggregator\":\"fedavg\","
    "\"aggregator_kwargs\":null,\"round_timeout\":180,\"buffer_size\":-1,\"model_id\":\"m1\","
    "\"delete_models_storage\":true,\"clients_required\":1,\"requested_clients\":8,"
    "\"validate\":true,\"helper_type\":\"numpyhelper\",\"server_functions\":null}}";

/* The same with one field of session_config set, or without it (NULL). */
static char *with(const char *key, json_t *value)
{
    json_t *body = json_loads(good, 0, NULL);
    json_t *config = json_object_get(body, "session_config");
    char *text;

    if (value == NULL) {
        (void)json_object_del(config, key);
    } else {
        (void)json_object_set_new(config, key, value);
    }
    text = json_dumps(body, 0);
    json_decref(body);
    return text;
}

static void
expect_refused(struct fixture *fixture, const char *key, json_t *value, const char *text)
{
    char *body = with(key, value);
    json_t *answer = expect(fixture, 400, "POST", "/api/v1/sessions/", body);

    if (strcmp(text_at(answer, "message"), text) != 0) {
        fail_msg("%s: %s, want %s", key, text_at(answer, "message"), text);
    }
    json_decref(answer);
    free(body);
}

static char *make_session(struct fixture *fixture, const char *body)
{
    json_t *row = expect(fixture, 201, "POST", "/api/v1/sessions/", body);
    char *id = strdup(text_at(row, "session_id"));

    json_decref(row);
    return id;
}

static void test_create_answers_the_row(void **state)
{
    struct fixture *fixture = *state;
    json_t *row = expect(fixture, 201, "POST", "/api/v1/sessions/", good);
    const json_t *config = json_object_get(row, "session_config");
    json_t *stored = NULL;

    assert_string_equal(text_at(row, "status"), "Created");
    assert_string_equal(text_at(row, "name"), "first");
    assert_string_equal(text_at(row, "seed_model_id"), "m1");
    assert_string_equal(text_at(row, "model_id"), "m1");
    assert_non_null(strstr(text_at(row, "committed_at"), " GMT"));
    assert_int_equal(json_integer_value(json_object_get(config, "requested_clients")), 8);
    assert_true(json_is_null(json_object_get(config, "rounds")));
    assert_true(json_is_null(json_object_get(config, "clients_per_round")));
    assert_true(json_is_integer(json_object_get(config, "seed")));
    assert_int_equal(
        store_get(fixture->host.store, STORE_SESSIONS, text_at(row, "session_id"), &stored, NULL),
        0);
    json_decref(stored);
    json_decref(row);
}

static void test_fedns_texts(void **state)
{
    struct fixture *fixture = *state;

    expect_refused(fixture, "aggregator", NULL,
                   "Class 'SessionConfigDTO' is missing field aggregator");
    expect_refused(fixture, "model_id", NULL, "Class 'SessionConfigDTO' is missing field model_id");
    expect_refused(fixture, "surprise", json_integer(1), "Invalid object");
    expect_refused(fixture, "buffer_size", json_integer(0),
                   "Validation failed for field 'buffer_size' with message: Buffer size is "
                   "required");
    expect_refused(fixture, "helper_type", json_null(),
                   "Validation failed for field 'helper_type' with message: Helper type is "
                   "required");
}

static void test_types_and_ranges(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        const char *key;
        json_t *value;
    } cases[] = {
        {"round_timeout", json_integer(0)},
        {"round_timeout", json_integer(-1)},
        {"round_timeout", json_real(1.5)},
        {"round_timeout", json_string("soon")},
        {"round_timeout", json_integer(INT64_MAX)},
        {"round_timeout", json_true()},
        {"buffer_size", json_integer(-2)},
        {"buffer_size", json_array()},
        {"clients_required", json_integer(0)},
        {"clients_required", json_string("")},
        {"clients_required", json_real(1e300)},
        {"validate", json_string("yes")},
        {"validate", json_integer(2)},
        {"delete_models_storage", json_null()},
        {"model_id", json_integer(7)},
        {"model_id", json_string("../x")},
        {"requested_clients", json_string("x")},
        {"rounds", json_integer(0)},
        {"seed", json_integer(-1)},
        {"clients_per_round", json_real(0.5)},
        {"aggregator_kwargs", json_integer(1)},
        {"server_functions", json_string("class X:")},
        {"aggregator", json_object()},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *body = with(cases[i].key, cases[i].value);
        json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", body));
        free(body);
    }
}

static void test_what_we_do_not_have_is_named(void **state)
{
    struct fixture *fixture = *state;
    static const char *const missing[][3] = {
        {"aggregator", "fedopt", "fedavg"},
        {"aggregator", "splitlearningagg", "fedavg"},
        {"helper_type", "binaryhelper", "numpyhelper"},
        {"helper_type", "androidhelper", "numpyhelper"},
    };

    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        char *body = with(missing[i][0], json_string(missing[i][1]));
        json_t *answer = expect(fixture, 400, "POST", "/api/v1/sessions/", body);
        assert_non_null(strstr(text_at(answer, "message"), missing[i][2]));
        json_decref(answer);
        free(body);
    }
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/start_splitlearning_session", "{}"));
}

static void test_a_quorum_must_be_reachable(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = json_loads(good, 0, NULL);
    json_t *config = json_object_get(body, "session_config");
    char *text;

    (void)json_object_set_new(config, "clients_required", json_integer(5));
    (void)json_object_set_new(config, "clients_per_round", json_integer(4));
    text = json_dumps(body, 0);
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", text));
    free(text);
    (void)json_object_set_new(config, "clients_per_round", json_integer(5));
    (void)json_object_set_new(config, "seed", json_integer(42));
    text = json_dumps(body, 0);
    json_decref(expect(fixture, 201, "POST", "/api/v1/sessions/", text));
    free(text);
    (void)json_object_set_new(config, "buffer_size", json_integer(3));
    text = json_dumps(body, 0);
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", text));
    free(text);
    json_decref(body);
}

static void test_malformed_bodies(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bodies[] = {
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{\"session_config\":null}",
        "{\"session_config\":[]}",
        "{\"session_config\":{},\"x\":1}",
        "{\"name\":7,\"session_config\":{}}",
        "{\"name\":\"a\\nb\",\"session_config\":{}}",
        "{\"name\":\"\\ud800\",\"session_config\":{}}",
        "\xff\xfe",
    };

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", bodies[i]));
        json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/start", bodies[i]));
    }
}

static void test_task_settings(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = json_loads(good, 0, NULL);
    char *text;
    json_t *row;

    (void)json_object_set_new(body, "task_settings",
                              json_pack("{s:i,s:f,s:s}", "epochs", 2, "lr", 0.1, "kind", "cnn"));
    text = json_dumps(body, 0);
    row = expect(fixture, 201, "POST", "/api/v1/sessions/", text);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(row, "task_settings"), "epochs")), 2);
    json_decref(row);
    free(text);
    (void)json_object_set_new(body, "task_settings", json_pack("{s:[]}", "a"));
    text = json_dumps(body, 0);
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/", text));
    free(text);
    json_decref(body);
}

static void test_start(void **state)
{
    struct fixture *fixture = *state;
    char *id = make_session(fixture, good);
    char body[512];
    json_t *answer;
    json_t *row = NULL;
    const json_t *input;

    answer = expect(fixture, 400, "POST", "/api/v1/sessions/start", "{}");
    assert_string_equal(text_at(answer, "message"), "Session ID is required");
    json_decref(answer);
    answer = expect(fixture, 400, "POST", "/api/v1/sessions/start", "{\"session_id\":\"nobody\"}");
    assert_string_equal(text_at(answer, "message"), "Session with specified ID does not exist");
    json_decref(answer);
    (void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\",\"client_ids\":[\"a\"]}", id);
    answer = expect(fixture, 400, "POST", "/api/v1/sessions/start", body);
    assert_string_equal(text_at(answer, "message"), "client_ids must be a comma separated string");
    json_decref(answer);
    (void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\",\"rounds\":0}", id);
    json_decref(expect(fixture, 400, "POST", "/api/v1/sessions/start", body));
    (void)snprintf(body, sizeof(body),
                   "{\"session_id\":\"%s\",\"rounds\":3,\"round_timeout\":60,\"client_ids\":\"a, "
                   "b\",\"model_name_prefix\":\"p\"}",
                   id);
    answer = expect(fixture, 200, "POST", "/api/v1/sessions/start", body);
    assert_string_equal(text_at(answer, "message"), "Session started");
    json_decref(answer);
    assert_int_equal(store_get(fixture->host.store, STORE_SESSIONS, id, &row, NULL), 0);
    input = json_object_get(row, "_input");
    assert_int_equal(json_integer_value(json_object_get(input, "rounds")), 3);
    assert_int_equal(json_integer_value(json_object_get(input, "round_timeout")), 60);
    assert_string_equal(text_at(input, "model_name_prefix"), "p");
    assert_int_equal(json_array_size(json_object_get(input, "client_ids")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(input, "client_ids"), 1)),
                        "b");
    json_decref(row);
    fixture->is_running = true;
    answer = expect(fixture, 400, "POST", "/api/v1/sessions/start", body);
    assert_string_equal(text_at(answer, "message"), "A session is already running!");
    json_decref(answer);
    free(id);
}

static void test_terminate_and_rename(void **state)
{
    struct fixture *fixture = *state;
    char *id = make_session(fixture, good);
    char path[128];
    char body[128];
    json_t *row;

    (void)snprintf(path, sizeof(path), "/api/v1/sessions/%s", id);
    (void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\",\"rounds\":3}", id);
    row = expect(fixture, 200, "PATCH", path, "{\"name\":\"second\",\"no_such\":[1]}");
    assert_string_equal(text_at(row, "name"), "second");
    json_decref(row);
    json_decref(expect(fixture, 400, "PATCH", path, "{\"status\":\"Finished\"}"));
    json_decref(expect(fixture, 400, "PATCH", path, "{\"status\":{\"$ne\":1}}"));
    json_decref(
        expect(fixture, 404, "PATCH", "/api/v1/sessions/nobody", "{\"status\":\"Terminated\"}"));
    json_decref(expect(fixture, 404, "PUT", "/api/v1/sessions/nobody", "{}"));
    json_decref(expect(fixture, 200, "POST", "/api/v1/sessions/start", body));
    row = expect(fixture, 200, "PUT", path, "{\"status\":\"Terminated\"}");
    assert_string_equal(text_at(row, "status"), "Terminated");
    json_decref(row);
    /* One that does not run. */
    free(id);
    id = make_session(fixture, good);
    (void)snprintf(path, sizeof(path), "/api/v1/sessions/%s", id);
    row = expect(fixture, 200, "PATCH", path, "{\"status\":\"Terminated\"}");
    assert_string_equal(text_at(row, "status"), "Terminated");
    json_decref(row);
    free(id);
}

static void test_stop(void **state)
{
    struct fixture *fixture = *state;
    char *id = make_session(fixture, good);
    char path[128];
    json_t *row = NULL;

    (void)snprintf(path, sizeof(path), "/api/v1/sessions/%s/stop", id);
    json_decref(expect(fixture, 400, "POST", path, "{\"now\":1}"));
    json_decref(expect(fixture, 404, "POST", "/api/v1/sessions/nobody/stop", ""));
    json_decref(expect(fixture, 200, "POST", path, "{\"now\":true}"));
    assert_int_equal(store_get(fixture->host.store, STORE_SESSIONS, id, &row, NULL), 0);
    assert_true(json_is_true(json_object_get(json_object_get(row, "_input"), "now")));
    json_decref(row);
    free(id);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create_answers_the_row),
        TEST(test_fedns_texts),
        TEST(test_types_and_ranges),
        TEST(test_what_we_do_not_have_is_named),
        TEST(test_a_quorum_must_be_reachable),
        TEST(test_malformed_bodies),
        TEST(test_task_settings),
        TEST(test_start),
        TEST(test_terminate_and_rename),
        TEST(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
