/* reducer/checkup, space, preflight: findings, by what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "reducer/blob/blob.h"
#include "reducer/checkup.h"
#include "reducer/preflight.h"
#include "reducer/space.h"
#include "reducer/store/store.h"
#include "tests/lib/fixture.h"

/* "ok store, failed disk": the findings' statuses and names. */
static void expect(json_t *findings, const char *want)
{
    char text[512] = "";
    size_t n = 0;
    size_t i;
    json_t *finding;

    json_array_foreach(findings, i, finding)
    {
        const char *status = json_string_value(json_object_get(finding, "status"));
        const bool is_ok = strcmp(status, "ok") == 0;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %s", i == 0 ? "" : ", ", status,
                              json_string_value(json_object_get(finding, "name")));
        /* what is wrong comes with what to do */
        assert_int_equal(json_string_length(json_object_get(finding, "advice")) == 0, is_ok);
        assert_true(json_string_length(json_object_get(finding, "text")) > 0);
    }
    json_decref(findings);
    assert_string_equal(text, want);
}

static void test_what_works_is_ok(void **state)
{
    json_t *findings = json_array();
    struct blob_store *blobs = NULL;
    struct store *store = NULL;
    json_t *left = NULL;
    char keys[4][BLOB_KEY_MAX + 1];
    const struct store_query all = {0};
    size_t n = 4;

    (void)state;
    assert_int_equal(store_open("mem:", &store, NULL), 0);
    assert_int_equal(blob_open("mem:", &blobs, NULL), 0);
    checkup_store(findings, store);
    checkup_blobs(findings, blobs);
    expect(findings, "ok store, ok blobs");
    /* and nothing is left behind */
    assert_int_equal(store_find(store, STORE_FEDERATION, &all, &left, NULL, NULL), 0);
    assert_int_equal(json_array_size(left), 0);
    json_decref(left);
    assert_int_equal(blob_list(blobs, "", keys, &n, NULL), 0);
    assert_int_equal(n, 0);
    (void)store_close(store);
    (void)blob_close(blobs);
}

static void test_a_failure_comes_with_advice(void **state)
{
    static const struct {
        enum fed_code code;
        const char *message;
        const char *advice;
    } cases[] = {
        {FED_E_CONFLICT, "confed.db is in use by pid 7", "stop that reducer"},
        {FED_E_IO, "MongoDB: Authentication failed.", "store_password_file"},
        {FED_E_UNAVAILABLE, "cannot connect to mongo:27017", "is it running"},
        {FED_E_IO, "something else", "log"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *findings = json_array();
        struct fed_err err = {0};
        (void)!fed_err_set(&err, cases[i].code, "%s", cases[i].message);
        checkup_failure(findings, "store", &err);
        assert_non_null(
            strstr(json_string_value(json_object_get(json_array_get(findings, 0), "advice")),
                   cases[i].advice));
        expect(findings, "failed store");
    }
}

static void test_space(void **state)
{
    struct test_folder folder;
    char store[300];
    char blob[300];
    char text[SPACE_TEXT_SIZE];
    struct settings settings = {.store = store, .blob = blob};
    struct space space;
    json_t *findings = json_array();
    json_t *size;

    (void)state;
    test_folder_make(&folder);
    (void)snprintf(store, sizeof(store), "sqlite:%s/confed.db", folder.path);
    (void)snprintf(blob, sizeof(blob), "dir:%s", folder.path);
    space_init(&space, &settings, "/nowhere");
    assert_int_equal(space.n_places, 3);
    assert_string_equal(space.places[0].path, folder.path);
    assert_false(space_look(&space, text));
    assert_string_equal(text, "");
    space.reserve = UINT64_C(1) << 62;
    assert_true(space_look(&space, text));
    assert_non_null(strstr(text, "MiB free at"));
    checkup_space(findings, &space);
    expect(findings, "failed disk");
    test_file_write(store + 7, "12345", 5);
    size = space_measure_store(&settings);
    assert_int_equal(json_integer_value(size), 5);
    json_decref(size);
    /* Where nothing is local, the work folder is what is left. */
    settings.store = "mongodb://m/confed";
    settings.blob = "s3://bucket";
    space_init(&space, &settings, folder.path);
    assert_int_equal(space.n_places, 1);
    size = space_measure_store(&settings);
    assert_true(json_is_null(size));
    json_decref(size);
    test_folder_remove(&folder);
}

/* What --check says of the disk that the files of the moment are written to, and where they are. */
static void expect_work(const struct settings *settings, const char *work, const char *place)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    char want[2 * FED_PATH_SIZE];
    char found[FED_PATH_SIZE];
    char at[FED_PATH_SIZE];

    (void)preflight_run(settings, PREFLIGHT_TEXT, out);
    assert_int_equal(fclose(out), 0);
    (void)snprintf(want, sizeof(want), " free at %s\n", place);
    assert_non_null(strstr(strstr(text, "work: "), want));
    free(text);
    assert_int_equal(space_find_work(settings, found, at, NULL), 0);
    assert_memory_equal(found, work, strlen(work));
    assert_string_equal(at, place);
}

static void test_the_disk_of_the_work_folder_is_looked_at(void **state)
{
    struct test_folder folder;
    char store[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    struct settings settings = {
        .store = "mem:", .blob = "mem:", .work = "", .http = "127.0.0.1:0", .rpc = "127.0.0.1:0"};

    (void)state;
    test_folder_make(&folder);
    assert_int_equal(setenv("TMPDIR", folder.path, 1), 0);
    (void)snprintf(path, sizeof(path), "%s/confed-reducer-", folder.path);
    expect_work(&settings, path, folder.path);
    assert_int_equal(unsetenv("TMPDIR"), 0);
    expect_work(&settings, "/tmp/confed-reducer-", "/tmp");
    (void)snprintf(store, sizeof(store), "sqlite:%s/confed.db", folder.path);
    settings.store = store;
    (void)snprintf(path, sizeof(path), "%s.work", store + 7);
    expect_work(&settings, path, folder.path);
    settings.work = "/";
    expect_work(&settings, "/", "/");
    test_folder_remove(&folder);
}

static void test_preflight(void **state)
{
    struct settings settings = {.store = "mem:",
                                .blob = "nothing:",
                                .work = "/nowhere",
                                .http = "127.0.0.1:0",
                                .rpc = "not an address"};
    char program[] = "confed-reducer";
    char check[] = "--check=json";
    char flag[] = "--http";
    char *argv[] = {program, check, flag, NULL};
    int argc = 3;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    json_t *findings;
    size_t n_failed = 0;
    size_t i;
    json_t *finding;

    (void)state;
    assert_int_equal(preflight_take(&argc, argv), PREFLIGHT_JSON);
    assert_int_equal(argc, 2);
    assert_ptr_equal(argv[1], flag);
    assert_int_equal(preflight_run(&settings, PREFLIGHT_JSON, out), FED_EXIT_FAILED);
    assert_int_equal(fclose(out), 0);
    findings = json_loads(text, 0, NULL);
    json_array_foreach(findings, i, finding)
    {
        const char *name = json_string_value(json_object_get(finding, "name"));
        const bool has_failed =
            strcmp(json_string_value(json_object_get(finding, "status")), "failed") == 0;
        n_failed += has_failed ? 1 : 0;
        assert_true(!has_failed || strcmp(name, "blobs") == 0 || strcmp(name, "rpc") == 0);
    }
    assert_int_equal(n_failed, 2);
    json_decref(findings);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_works_is_ok),
        cmocka_unit_test(test_a_failure_comes_with_advice),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_the_disk_of_the_work_folder_is_looked_at),
        cmocka_unit_test(test_preflight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
