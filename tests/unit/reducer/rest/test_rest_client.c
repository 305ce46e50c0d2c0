#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/reducer/rest/rest_fixture.h"

static void test_a_local_client_is_assigned(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply =
        call(fixture, "POST", "/api/v1/clients/add",
             "{\"name\": \"c1\", \"client_id\": \"id-1\", \"preferred_combiner\": null, "
             "\"package\": \"local\"}");

    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.text,
                        "{\"client_id\":\"id-1\",\"fqdn\":null,\"helper_type\":\"\",\"host\":"
                        "\"127.0.0.1\",\"ip\":\"\",\"package\":\"local\",\"port\":12080,"
                        "\"status\":\"assigned\"}\n");
    reply_deinit(&reply);
    assert_string_equal(text_at(fixture->assigned, "ip"), "127.0.0.1");
    assert_string_equal(text_at(fixture->assigned, "name"), "c1");
    assert_true(json_is_null(json_object_get(fixture->assigned, "preferred")));
}

static void test_a_remote_client_needs_a_package(void **state)
{
    struct fixture *fixture = *state;
    static const char body[] = "{\"name\":\"c1\",\"client_id\":\"id-1\",\"package\":\"remote\"}";
    json_t *json = expect(fixture, 203, "POST", "/api/v1/clients/add", body);

    assert_string_equal(text_at(json, "status"), "retry");
    assert_string_equal(text_at(json, "message"),
                        "No compute package found. Set package in controller.");
    assert_true(json_is_false(json_object_get(json, "success")));
    json_decref(json);
    json_decref(
        expect(fixture, 200, "PUT", "/api/v1/helpers/active", "{\"helper\":\"numpyhelper\"}"));
    json = expect(fixture, 200, "POST", "/add_client", body); /* 0.20's path */
    assert_string_equal(text_at(json, "helper_type"), "numpyhelper");
    json_decref(json);
    fixture->has_combiner = false;
    json_decref(expect(fixture, 203, "POST", "/api/v1/clients/add", body));
}

static void test_both_names_of_the_preferred_combiner(void **state)
{
    struct fixture *fixture = *state;

    json_decref(expect(fixture, 200, "POST", "/api/v1/clients/add",
                       "{\"name\":\"a\",\"client_id\":\"b\",\"preferred_combiner\":\"x\"}"));
    assert_string_equal(text_at(fixture->assigned, "preferred"), "x");
    json_decref(expect(fixture, 200, "POST", "/api/v1/clients/add",
                       "{\"name\":\"a\",\"client_id\":\"b\",\"combiner_preferred\":\"y\","
                       "\"preferred_combiner\":\"\"}"));
    assert_string_equal(text_at(fixture->assigned, "preferred"), "y");
}

static void test_who_can_be_no_client(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bodies[] = {
        "",
        "{}",
        "[]",
        "{\"client_id\":\"x\"}",
        "{\"name\":\"\",\"client_id\":\"x\"}",
        "{\"name\":\"a\",\"client_id\":\"../x\"}",
        "{\"name\":\"a\",\"client_id\":\"a b\"}",
        "{\"name\":\"a\",\"client_id\":7}",
        "{\"name\":\"a\",\"client_id\":{\"$gt\":\"\"}}",
        "{\"name\":\"a\\u0007\",\"client_id\":\"x\"}",
        "{\"name\":\"a\",\"client_id\":\"x\",\"package\":\"none\"}",
        "{\"name\":\"a\",\"client_id\":\"x\",\"preferred_combiner\":[]}",
    };
    char body[600];

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        json_decref(expect(fixture, 400, "POST", "/api/v1/clients/add", bodies[i]));
    }
    (void)snprintf(body, sizeof(body), "{\"name\":\"a\",\"client_id\":\"%0200d\"}", 0);
    json_decref(expect(fixture, 400, "POST", "/api/v1/clients/add", body));
    assert_null(fixture->assigned);
}

static void
add_client_row(struct fixture *fixture, const char *id, const char *combiner, const char *status)
{
    json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:I}", "client_id", id, "name", id, "combiner",
                            combiner, "status", status, "last_seen", (json_int_t)1000);

    assert_int_equal(store_insert(fixture->host.store, STORE_CLIENTS, row, NULL), 0);
    json_decref(row);
}

static void test_counts_by_combiner(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;

    add_client_row(fixture, "c1", "one", "online");
    add_client_row(fixture, "c2", "one", "online");
    add_client_row(fixture, "c3", "two", "online");
    add_client_row(fixture, "c4", "two", "offline");
    reply = call(fixture, "POST", "/api/v1/combiners/clients/count", "{\"combiners\":\"one,x\"}");
    assert_string_equal(reply.text, "{\"result\":[{\"count\":2,\"id\":\"one\"}]}\n");
    reply_deinit(&reply);
    reply = call(fixture, "POST", "/api/v1/combiners/clients/count", "{}");
    assert_int_equal(json_array_size(json_object_get(reply.json, "result")), 2);
    reply_deinit(&reply);
    json_decref(
        expect(fixture, 400, "POST", "/api/v1/combiners/clients/count", "{\"combiners\":[]}"));
    reply = call(fixture, "GET", "/api/v1/clients/c1", NULL);
    assert_string_equal(text_at(reply.json, "last_seen"), "Thu, 01 Jan 1970 00:00:01 GMT");
    reply_deinit(&reply);
}

static void test_what_is_attached_is_not_deleted(void **state)
{
    struct fixture *fixture = *state;
    json_t *row = json_pack("{s:s,s:s}", "combiner_id", "k1", "name", "one");

    assert_int_equal(store_insert(fixture->host.store, STORE_COMBINERS, row, NULL), 0);
    json_decref(row);
    add_client_row(fixture, "c1", "one", "online");
    fixture->online_client = "c1";
    fixture->online_combiner = "k1";
    json_decref(expect(fixture, 409, "DELETE", "/api/v1/clients/c1", NULL));
    json_decref(expect(fixture, 409, "DELETE", "/api/v1/combiners/k1", NULL));
    fixture->online_client = NULL;
    fixture->online_combiner = NULL;
    row = expect(fixture, 200, "DELETE", "/api/v1/clients/c1", NULL);
    assert_string_equal(text_at(row, "message"), "Client deleted");
    json_decref(row);
    json_decref(expect(fixture, 200, "DELETE", "/api/v1/combiners/k1", NULL));
    json_decref(expect(fixture, 404, "DELETE", "/api/v1/clients/c1", NULL));
    json_decref(expect(fixture, 404, "DELETE", "/api/v1/combiners/k1", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/clients/c1", NULL));
}

static void test_config(void **state)
{
    struct fixture *fixture = *state;
    json_t *json = expect(fixture, 200, "GET", "/api/v1/clients/config?checksum=true", NULL);

    assert_string_equal(text_at(json, "network_id"), "fedn-network");
    assert_string_equal(text_at(json, "discover_host"), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(json, "discover_port")),
                     rest_server_port(fixture->server));
    json_decref(json);
}

static void test_attributes(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "",
        "{}",
        "{\"key\":\"k\",\"value\":\"v\"}",
        "{\"key\":\"k\",\"value\":7,\"sender\":{\"name\":\"n\",\"role\":\"CLIENT\"}}",
        "{\"value\":\"v\",\"sender\":{\"name\":\"n\",\"role\":\"CLIENT\"}}",
    };
    struct reply reply;

    add_client_row(fixture, "c1", "one", "online");
    json_decref(expect(fixture, 201, "POST", "/api/v1/attributes/",
                       "{\"key\":\"gpu\",\"value\":\"no\",\"sender\":{\"name\":\"n\",\"role\":"
                       "\"CLIENT\",\"client_id\":\"c1\"}}"));
    json_decref(expect(fixture, 201, "POST", "/api/v1/attributes/",
                       "{\"key\":\"gpu\",\"value\":\"yes\",\"sender\":{\"name\":\"n\",\"role\":"
                       "\"CLIENT\",\"client_id\":\"c1\"}}"));
    reply = call(fixture, "GET", "/api/v1/clients/c1/attributes", NULL);
    assert_string_equal(reply.text, "{\"gpu\":\"yes\"}\n");
    reply_deinit(&reply);
    reply = call(fixture, "POST", "/api/v1/attributes/current", "{\"client_ids\":[\"c1\",\"c2\"]}");
    assert_string_equal(reply.text, "{\"c1\":{\"gpu\":\"yes\"}}\n");
    reply_deinit(&reply);
    json_decref(expect(fixture, 400, "POST", "/api/v1/attributes/current", "{}"));
    json_decref(expect(fixture, 400, "POST", "/api/v1/attributes/current", "{\"client_ids\":[1]}"));
    json_decref(expect(fixture, 404, "GET", "/api/v1/clients/c2/attributes", NULL));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_decref(expect(fixture, 400, "POST", "/api/v1/attributes/", bad[i]));
        json_decref(expect(fixture, 400, "POST", "/api/v1/telemetry/",
                           i == 3 ? "{\"key\":\"k\",\"value\":\"v\",\"sender\":{\"name\":\"n\","
                                    "\"role\":\"CLIENT\"}}"
                                  : bad[i]));
    }
    json_decref(expect(fixture, 201, "POST", "/api/v1/telemetry/",
                       "{\"key\":\"cpu\",\"value\":0.0,\"sender\":{\"name\":\"n\",\"role\":"
                       "\"CLIENT\",\"client_id\":\"c1\"}}"));
    json_decref(expect(fixture, 400, "POST", "/api/v1/predictions/start", "{}"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_local_client_is_assigned),
        TEST(test_a_remote_client_needs_a_package),
        TEST(test_both_names_of_the_preferred_combiner),
        TEST(test_who_can_be_no_client),
        TEST(test_counts_by_combiner),
        TEST(test_what_is_attached_is_not_deleted),
        TEST(test_config),
        TEST(test_attributes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
