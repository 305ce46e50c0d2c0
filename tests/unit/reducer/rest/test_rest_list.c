#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/reducer/rest/rest_fixture.h"

static void add_status(struct fixture *fixture, int i)
{
    char id[32];
    json_t *row;

    (void)snprintf(id, sizeof(id), "status-%d", i);
    row = json_pack("{s:s,s:s,s:s,s:i,s:{s:s},s:i,s:f,s:o}", "status_id", id, "status",
                    i % 2 == 0 ? "even" : "odd", "round_id", i == 5 ? "5" : "1", "size", i,
                    "sender", "name", i == 3 ? "three" : "other", "_internal", 1, "value", 30.1,
                    "extra", i == 4 ? json_string("x") : json_null());
    assert_int_equal(store_insert(fixture->host.store, STORE_STATUSES, row, NULL), 0);
    json_decref(row);
}

static void add_statuses(struct fixture *fixture)
{
    for (int i = 1; i <= 6; i++) {
        add_status(fixture, i);
    }
}

/* The ids' last characters, in order: "654321". */
static const char *ids_of(const json_t *list)
{
    static char text[32];
    const json_t *result = json_object_get(list, "result");
    size_t n = 0;

    for (; n < json_array_size(result) && n < 31; n++) {
        const char *id = text_at(json_array_get(result, n), "status_id");
        text[n] = id[strlen(id) - 1];
    }
    text[n] = '\0';
    return text;
}

static void expect_ids(struct fixture *fixture, const char *path, const char *body, const char *ids)
{
    json_t *list = expect(fixture, 200, body == NULL ? "GET" : "POST", path, body);

    if (strcmp(ids_of(list), ids) != 0) {
        fail_msg("%s %s: %s, want %s", path, body == NULL ? "" : body, ids_of(list), ids);
    }
    json_decref(list);
}

static void test_list_is_written_as_fedn_does(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;
    const char *text;

    reply = call(fixture, "GET", "/api/v1/models/", NULL);
    assert_string_equal(reply.text, "{\"count\":0,\"result\":[]}\n");
    reply_deinit(&reply);
    add_status(fixture, 4);
    reply = call(fixture, "GET", "/api/v1/statuses/", NULL);
    text = reply.text;
    assert_non_null(strstr(text, "{\"count\":1,\"result\":[{\"committed_at\":\""));
    assert_non_null(strstr(text, " GMT\",\"extra\":\"x\",\"round_id\":\"1\",\"sender\":{\"name\":"
                                 "\"other\"},\"size\":4,\"status\":\"even\",\"status_id\":"
                                 "\"status-4\",\"updated_at\":\""));
    assert_non_null(strstr(text, "\"value\":30.1}]}\n"));
    assert_null(strstr(text, "_internal"));
    assert_null(strstr(text, "version"));
    reply_deinit(&reply);
}

static void test_newest_is_first_and_pages(void **state)
{
    struct fixture *fixture = *state;
    static const char *const cases[][2] = {
        {"X-Limit: 2", "65"},           {"X-Skip: 4", "21"},       {"X-Sort-Order: asc", "123456"},
        {"X-Limit: 0", "654321"},       {"X-Limit: -1", "654321"}, {"X-Limit: many", "654321"},
        {"X-Sort-Key: size", "654321"}, {"X-Skip: 100", ""},
    };

    add_statuses(fixture);
    expect_ids(fixture, "/api/v1/statuses/", NULL, "654321");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply reply = call_with(fixture, "GET", "/api/v1/statuses/", cases[i][0]);
        assert_int_equal(reply.status, 200);
        assert_string_equal(ids_of(reply.json), cases[i][1]);
        assert_int_equal(json_integer_value(json_object_get(reply.json, "count")), 6);
        reply_deinit(&reply);
    }
}

static void test_filters_of_a_query(void **state)
{
    struct fixture *fixture = *state;

    add_statuses(fixture);
    expect_ids(fixture, "/api/v1/statuses/?status=odd", NULL, "531");
    expect_ids(fixture, "/api/v1/statuses/?round_id=5", NULL, "5");
    expect_ids(fixture, "/api/v1/statuses/?size__gt=4", NULL, "65");
    expect_ids(fixture, "/api/v1/statuses/?size__gte=4&status=even", NULL, "64");
    expect_ids(fixture, "/api/v1/statuses/?size__lt=2", NULL, "1");
    expect_ids(fixture, "/api/v1/statuses/?size__lte=2", NULL, "21");
    expect_ids(fixture, "/api/v1/statuses/?size__ne=2", NULL, "65431");
    expect_ids(fixture, "/api/v1/statuses/?sender.name=three", NULL, "3");
    expect_ids(fixture, "/api/v1/statuses/?extra=null&status=even", NULL, "62");
    expect_ids(fixture, "/api/v1/statuses/?extra__ne=null", NULL, "4");
    expect_ids(fixture, "/api/v1/statuses/?no_such_field=1", NULL, "");
    expect_ids(fixture, "/api/v1/statuses/?_internal=1", NULL, "");
    expect_ids(fixture, "/api/v1/statuses/?version=1", NULL, "");
    expect_ids(fixture, "/api/v1/statuses/?%24where=1", NULL, "");
    /* Two that an answer which is kept must not confuse. */
    expect_ids(fixture, "/api/v1/statuses/?round_id=1&status=odd", NULL, "31");
    expect_ids(fixture, "/api/v1/statuses/?round_id=1%0A6%20status=odd", NULL, "");
    expect_ids(fixture, "/api/v1/statuses/?round_id=1%0A6%203%20status=odd", NULL, "");
}

static void test_filters_of_a_body(void **state)
{
    struct fixture *fixture = *state;

    add_statuses(fixture);
    expect_ids(fixture, "/api/v1/statuses/list", "{}", "654321");
    expect_ids(fixture, "/api/v1/statuses/list", "", "654321");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"status_id\":\"status-1,status-3\"}", "31");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"size\":[2,4]}", "42");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"size\":2}", "2");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"size__gt\":5}", "6");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"extra\":null,\"status\":\"even\"}", "62");
    /* An operator object is no value of anything. */
    expect_ids(fixture, "/api/v1/statuses/list", "{\"status\":{\"$gt\":\"\"}}", "");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"$where\":\"1\"}", "");
    expect_ids(fixture, "/api/v1/statuses/list", "{\"size\":[]}", "");
    json_decref(expect(fixture, 400, "POST", "/api/v1/statuses/list", "{"));
    json_decref(expect(fixture, 400, "POST", "/api/v1/statuses/list", "[1]"));
    json_decref(expect(fixture, 400, "POST", "/api/v1/statuses/list", "\"\\u0000\""));
    json_decref(expect(fixture, 400, "POST", "/api/v1/statuses/list", "{\"size\":[{}]}"));
}

static void test_form_filters(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "POST /api/v1/statuses/list HTTP/1.1\r\nHost: x\r\n"
                                  "Content-Type: application/x-www-form-urlencoded\r\n"
                                  "Content-Length: 28\r\nConnection: close\r\n\r\n"
                                  "status_id=status-2,status%2D4";
    char *answer;

    add_statuses(fixture);
    answer = raw(fixture, request, strlen(request) - 1);
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    free(answer);
}

/* A list of many pages, and in a file: every row once, in order. */
static void test_long_lists(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;
    const json_t *result;
    char text[2001];

    memset(text, 'x', 2000);
    text[2000] = '\0';
    for (int i = 0; i < 1000; i++) {
        json_t *row;
        char id[32];
        (void)snprintf(id, sizeof(id), "row-%d", i);
        row = json_pack("{s:s,s:s}", "status_id", id, "data", text);
        assert_int_equal(store_insert(fixture->host.store, STORE_STATUSES, row, NULL), 0);
        json_decref(row);
    }
    reply = call(fixture, "GET", "/api/v1/statuses/", NULL);
    result = json_object_get(reply.json, "result");
    assert_int_equal(json_array_size(result), 1000);
    assert_int_equal(json_integer_value(json_object_get(reply.json, "count")), 1000);
    for (int i = 0; i < 1000; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "row-%d", 999 - i);
        assert_string_equal(text_at(json_array_get(result, (size_t)i), "status_id"), id);
    }
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", "/api/v1/statuses/", "X-Limit: 700");
    assert_int_equal(json_array_size(json_object_get(reply.json, "result")), 700);
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", "/api/v1/statuses/", "X-Skip: 990");
    assert_int_equal(json_array_size(json_object_get(reply.json, "result")), 10);
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", "/api/v1/statuses/?data__ne=y", "X-Sort-Order: asc");
    assert_int_equal(json_array_size(json_object_get(reply.json, "result")), 1000);
    reply_deinit(&reply);
}

static void test_counts(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;

    add_statuses(fixture);
    reply = call(fixture, "GET", "/api/v1/statuses/count", NULL);
    assert_string_equal(reply.text, "6\n");
    reply_deinit(&reply);
    reply = call(fixture, "GET", "/api/v1/statuses/count?status=odd", NULL);
    assert_string_equal(reply.text, "3\n");
    reply_deinit(&reply);
    reply = call(fixture, "POST", "/api/v1/statuses/count", "{\"size\":\"1,2\"}");
    assert_string_equal(reply.text, "2\n");
    reply_deinit(&reply);
}

static void test_one_by_its_id(void **state)
{
    struct fixture *fixture = *state;
    json_t *row;

    add_statuses(fixture);
    row = expect(fixture, 200, "GET", "/api/v1/statuses/status-2", NULL);
    assert_string_equal(text_at(row, "status_id"), "status-2");
    json_decref(row);
    row = expect(fixture, 404, "GET", "/api/v1/statuses/status-9", NULL);
    assert_string_equal(text_at(row, "message"), "Entity with id: status-9 not found");
    json_decref(row);
    json_decref(expect(fixture, 404, "GET", "/api/v1/statuses/..%2f..%2fetc", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/statuses/%ff%fe", NULL));
}

static void test_every_resource_has_the_set(void **state)
{
    struct fixture *fixture = *state;
    static const char *const resources[] = {
        "clients",     "combiners",   "models",  "packages",   "rounds",    "sessions", "statuses",
        "validations", "predictions", "metrics", "attributes", "telemetry", "runs",
    };

    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/api/v1/%s/", resources[i]);
        json_decref(expect(fixture, 200, "GET", path, NULL));
        (void)snprintf(path, sizeof(path), "/api/v1/%s/list", resources[i]);
        json_decref(expect(fixture, 200, "POST", path, "{}"));
        (void)snprintf(path, sizeof(path), "/api/v1/%s/count", resources[i]);
        json_decref(expect(fixture, 200, "GET", path, NULL));
        json_decref(expect(fixture, 200, "POST", path, "{}"));
        (void)snprintf(path, sizeof(path), "/api/v1/%s/nobody", resources[i]);
        json_decref(expect(fixture, 404, "GET", path, NULL));
    }
    json_decref(expect(fixture, 404, "GET", "/api/v1/federation/", NULL));
}

static void test_filters_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    char path[900] = "/api/v1/statuses/?a=1";

    for (int i = 0; i < 20; i++) {
        (void)snprintf(path + strlen(path), 16, "&a%d=1", i);
    }
    json_decref(expect(fixture, 400, "GET", path, NULL));
    for (int i = 20; i < 60; i++) {
        (void)snprintf(path + strlen(path), 16, "&a%d=1", i);
    }
    json_decref(expect(fixture, 400, "GET", path, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list_is_written_as_fedn_does, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_newest_is_first_and_pages, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_filters_of_a_query, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_filters_of_a_body, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_form_filters, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_long_lists, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_counts, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_one_by_its_id, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_every_resource_has_the_set, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_filters_are_bounded, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
