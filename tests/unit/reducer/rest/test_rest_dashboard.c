#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/dashboard/dashboard.h"
#include "tests/unit/reducer/rest/rest_fixture.h"

/* The head of the answer to a GET with one more header. */
static void
expect_get(struct fixture *fixture, const char *path, const char *header, const char *want)
{
    char request[512];

    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: x\r\n%sConnection: close\r\n\r\n", path, header);
    expect_head(fixture, request, want);
}

static void test_every_page_is_one(void **state)
{
    struct fixture *fixture = *state;
    static const char *const paths[] = {
        "/dashboard/",         "/dashboard/network", "/dashboard/models",
        "/dashboard/models/m", "/dashboard/rounds",  "/dashboard/rounds/7",
        "/dashboard/events",   "/dashboard/control", "/dashboard/clients/c",
    };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct reply reply = call(fixture, "GET", paths[i], NULL);
        assert_int_equal(reply.status, 200);
        assert_non_null(strstr(reply.text, dashboard_build()));
        assert_null(strstr(reply.text, "@FILES@"));
        reply_deinit(&reply);
    }
    json_decref(expect(fixture, 404, "GET", "/dashboard/nothing", NULL));
    json_decref(expect(fixture, 405, "POST", "/dashboard/control", "{}"));
    expect_get(fixture, "/", "", "Location: /dashboard/\r\n");
    expect_get(fixture, "/", "", "HTTP/1.1 302");
}

static void test_pages_are_held_to_this_server(void **state)
{
    struct fixture *fixture = *state;

    expect_get(fixture, "/dashboard/", "", "Content-Security-Policy: default-src 'self'");
    expect_get(fixture, "/dashboard/", "", "frame-ancestors 'none'");
    expect_get(fixture, "/dashboard/", "", "X-Content-Type-Options: nosniff");
    expect_get(fixture, "/dashboard/", "", "Cache-Control: no-cache");
}

static void test_files_are_packed_and_kept(void **state)
{
    struct fixture *fixture = *state;
    const struct dashboard_file *file = dashboard_find("app.js");
    char path[128];
    char known[128];
    char length[64];

    assert_non_null(file);
    assert_true(file->gzip.size < file->plain.size);
    (void)snprintf(path, sizeof(path), "/dashboard/files/%s/app.js", dashboard_build());
    (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", file->gzip.size);
    expect_get(fixture, path, "Accept-Encoding: deflate, gzip\r\n", length);
    expect_get(fixture, path, "Accept-Encoding: gzip;q=0.1\r\n", "Content-Encoding: gzip\r\n");
    (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", file->plain.size);
    expect_get(fixture, path, "", length);
    expect_get(fixture, path, "Accept-Encoding: gzip;q=0, br\r\n", length);
    expect_get(fixture, path, "Accept-Encoding: gzip; q=0\r\n", length);
    expect_get(fixture, path, "Accept-Encoding: gzip ;\tq=0.000, br\r\n", length);
    expect_get(fixture, path, "", "Content-Type: text/javascript");
    expect_get(fixture, path, "", "immutable");
    expect_get(fixture, path, "", "Vary: Accept-Encoding");
    (void)snprintf(known, sizeof(known), "If-None-Match: %s\r\n", file->etag);
    expect_get(fixture, path, known, "HTTP/1.1 304");
    expect_get(fixture, path, "If-None-Match: \"other\"\r\n", "HTTP/1.1 200");
}

static void test_other_files_are_not_there(void **state)
{
    struct fixture *fixture = *state;
    char path[128];

    json_decref(expect(fixture, 404, "GET", "/dashboard/files/0123456789abcdef/app.js", NULL));
    (void)snprintf(path, sizeof(path), "/dashboard/files/%s/nothing.js", dashboard_build());
    json_decref(expect(fixture, 404, "GET", path, NULL));
    (void)snprintf(path, sizeof(path), "/dashboard/files/%s/plots/timeline.json",
                   dashboard_build());
    json_decref(expect(fixture, 200, "GET", path, NULL));
    (void)snprintf(path, sizeof(path), "/dashboard/files/%.8s/plots/timeline.json",
                   dashboard_build());
    json_decref(expect(fixture, 404, "GET", path, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_page_is_one, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_pages_are_held_to_this_server, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_files_are_packed_and_kept, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_other_files_are_not_there, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
