#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/id.h"
#include "common/model/checksum.h"
#include "tests/unit/reducer/rest/rest_fixture.h"

#define ARCHIVE "\x1f\x8b\x08 what a client unpacks"

static void add_package(struct fixture *fixture, const char *file_name, const char *name)
{
    struct reply reply =
        upload(fixture, "/api/v1/packages/", file_name, fed_view_str(ARCHIVE), name);

    if (reply.status != 200) {
        fail_msg("%ld %s", reply.status, reply.text);
    }
    assert_string_equal(text_at(reply.json, "message"), "Package uploaded");
    reply_deinit(&reply);
}

static void test_upload_download_checksum(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] =
        "GET //api/v1/packages/download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    uint8_t sha256[FED_SHA256_BYTES];
    char hex[2 * FED_SHA256_BYTES + 1];
    char line[256];
    char *answer;
    json_t *row;
    json_t *sum;

    add_package(fixture, "package.tgz", "first");
    row = expect(fixture, 200, "GET", "/api/v1/packages/active", NULL);
    assert_true(json_is_true(json_object_get(row, "active")));
    assert_string_equal(text_at(row, "helper"), "numpyhelper");
    assert_string_equal(text_at(row, "file_name"), "package.tgz");
    answer = raw(fixture, request, strlen(request));
    (void)snprintf(line, sizeof(line), "Content-Disposition: attachment; filename=%s\r\n",
                   text_at(row, "storage_file_name"));
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "Content-Type: application/x-tar\r\n"));
    assert_non_null(strstr(answer, line));
    assert_non_null(strstr(answer, "\r\n\r\n" ARCHIVE));
    free(answer);
    fed_sha256_once(ARCHIVE, strlen(ARCHIVE), sha256);
    fed_hex_format(sha256, sizeof(sha256), hex);
    sum = expect(fixture, 200, "GET", "/api/v1/packages/checksum", NULL);
    assert_string_equal(text_at(sum, "checksum"), hex);
    assert_string_equal(text_at(sum, "message"), "Checksum created.");
    json_decref(sum);
    json_decref(expect(fixture, 200, "GET", "/get_package_checksum", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/download?name=../../etc", NULL));
    (void)snprintf(line, sizeof(line), "/api/v1/packages/checksum?name=%s",
                   text_at(row, "storage_file_name"));
    json_decref(expect(fixture, 200, "GET", line, NULL));
    json_decref(row);
}

static const char *active_name(struct fixture *fixture)
{
    static char name[64];
    json_t *row = expect(fixture, 200, "GET", "/api/v1/packages/active", NULL);

    (void)snprintf(name, sizeof(name), "%s", text_at(row, "name"));
    json_decref(row);
    return name;
}

static void test_one_is_active(void **state)
{
    struct fixture *fixture = *state;
    char body[128];
    json_t *row;
    struct reply reply;

    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/active", NULL));
    json_decref(expect(fixture, 404, "DELETE", "/api/v1/packages/active", NULL));
    add_package(fixture, "package.tgz", "first");
    row = expect(fixture, 200, "GET", "/api/v1/packages/active", NULL);
    (void)snprintf(body, sizeof(body), "{\"id\":\"%s\"}", text_at(row, "package_id"));
    json_decref(row);
    add_package(fixture, "package.tar.gz", "second");
    assert_string_equal(active_name(fixture), "second");
    json_decref(expect(fixture, 200, "PUT", "/api/v1/packages/active", body));
    assert_string_equal(active_name(fixture), "first");
    reply = call(fixture, "GET", "/api/v1/packages/count?active=true", NULL);
    assert_string_equal(reply.text, "1\n");
    reply_deinit(&reply);
    json_decref(expect(fixture, 404, "PUT", "/api/v1/packages/active", "{\"id\":\"nobody\"}"));
    json_decref(expect(fixture, 400, "PUT", "/api/v1/packages/active", "{}"));
    json_decref(expect(fixture, 400, "PUT", "/api/v1/packages/active", "{\"id\":{\"$ne\":1}}"));
    assert_string_equal(active_name(fixture), "first");
    json_decref(expect(fixture, 200, "DELETE", "/api/v1/packages/active", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/active", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/download", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/checksum", NULL));
}

static void test_what_is_no_package(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"package.exe", "package.zip", ".tgz", ""};
    struct reply reply;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        reply = upload(fixture, "/api/v1/packages/", names[i], fed_view_str(ARCHIVE), "x");
        assert_int_equal(reply.status, 400);
        reply_deinit(&reply);
    }
    reply = upload(fixture, "/api/v1/packages/", "p.tgz", fed_view_str("no archive"), "x");
    assert_int_equal(reply.status, 400);
    reply_deinit(&reply);
    json_decref(expect(fixture, 400, "POST", "/api/v1/packages/", "{}"));
    reply = call(fixture, "GET", "/api/v1/packages/count", NULL);
    assert_string_equal(reply.text, "0\n");
    reply_deinit(&reply);
}

static void test_helper(void **state)
{
    struct fixture *fixture = *state;
    json_t *json;
    struct reply reply;

    json_decref(expect(fixture, 404, "GET", "/api/v1/helpers/active", NULL));
    json_decref(expect(fixture, 400, "PUT", "/api/v1/helpers/active", "{}"));
    json = expect(fixture, 400, "PUT", "/api/v1/helpers/active", "{\"helper\":\"binaryhelper\"}");
    assert_non_null(strstr(text_at(json, "message"), "numpyhelper"));
    json_decref(json);
    json_decref(
        expect(fixture, 200, "PUT", "/api/v1/helpers/active", "{\"helper\":\"numpyhelper\"}"));
    json = expect(fixture, 200, "GET", "/api/v1/helpers/active", NULL);
    assert_string_equal(json_string_value(json), "numpyhelper");
    json_decref(json);
    /* It is no package that could be listed or fetched; and it goes when one comes. */
    reply = call(fixture, "GET", "/api/v1/packages/count", NULL);
    assert_string_equal(reply.text, "0\n");
    reply_deinit(&reply);
    json_decref(expect(fixture, 404, "GET", "/api/v1/packages/download", NULL));
    add_package(fixture, "package.tgz", "first");
    assert_string_equal(active_name(fixture), "first");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upload_download_checksum),
        TEST(test_one_is_active),
        TEST(test_what_is_no_package),
        TEST(test_helper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
