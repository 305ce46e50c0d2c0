/* reducer/cli/api: what goes over the wire, and what becomes of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "reducer/cli/api.h"
#include "reducer/cli/row.h"
#include "tests/unit/reducer/cli/fake_reducer.h"

struct fixture {
    struct fake_reducer *fake;
    struct api api;
    char url[FAKE_URL_SIZE];
    char folder[64];
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    f.fake = fake_reducer_new(f.url);
    f.api.url = f.url;
    (void)snprintf(f.folder, sizeof(f.folder), "/tmp/confed-api-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fake_reducer_free(f->fake);
    return fed_folder_remove(f->folder, NULL);
}

static void test_a_list_carries_filter_and_headers(void **state)
{
    struct fixture *f = *state;
    const struct api_query query = {.resource = "rounds",
                                    .filter_key = "session_id",
                                    .filter_value = "a b/c&d",
                                    .sort_key = "round_number",
                                    .is_ascending = true,
                                    .limit = 5,
                                    .skip = 2};
    json_t *rows = NULL;

    fake_reducer_answer(f->fake, "GET /api/v1/rounds/?session_id=a%20b%2Fc%26d", 200,
                        "{\"count\":9,\"result\":[{\"round_id\":\"1\"},{\"round_id\":\"2\"}]}");
    assert_int_equal(api_list(&f->api, &query, &rows, NULL), 0);
    assert_int_equal(json_array_size(rows), 2);
    json_decref(rows);
    assert_string_equal(fake_reducer_take_log(f->fake),
                        "GET /api/v1/rounds/?session_id=a%20b%2Fc%26d limit=5 skip=2 "
                        "sort=round_number order=asc\n");
}

static void test_an_id_is_found_by_its_beginning(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;
    json_t *row = NULL;

    fake_reducer_answer(f->fake, "GET /api/v1/models/abc", 200, "{\"model_id\":\"abc\"}");
    fake_reducer_answer(f->fake, "GET /api/v1/models/", 200,
                        "{\"count\":3,\"result\":[{\"model_id\":\"xy1\"},{\"model_id\":\"xy2\"},"
                        "{\"model_id\":\"zz\"}]}");
    assert_int_equal(api_find(&f->api, "models", "model_id", "abc", &row, NULL), 0);
    assert_string_equal(row_text(row, "model_id"), "abc");
    json_decref(row);
    assert_int_equal(api_find(&f->api, "models", "model_id", "z", &row, NULL), 0);
    assert_string_equal(row_text(row, "model_id"), "zz");
    json_decref(row);
    assert_int_equal(api_find(&f->api, "models", "model_id", "latest", &row, NULL), 0);
    assert_string_equal(row_text(row, "model_id"), "xy1");
    json_decref(row);
    assert_int_equal(api_find(&f->api, "models", "model_id", "xy", &row, &err), -FED_E_CONFLICT);
    assert_string_equal(err.msg, "'xy' fits several models, among them xy1 and xy2: give more "
                                 "letters");
    assert_int_equal(api_find(&f->api, "models", "model_id", "q", &row, &err), -FED_E_NOT_FOUND);
    assert_string_equal(err.msg, "there is no 'q' among the models");
}

static void test_refusals_keep_the_servers_words(void **state)
{
    static const struct {
        const char *body;
        const char *message;
        unsigned status;
        int code;
    } cases[] = {
        {"{\"message\":\"A session is already running!\"}", "A session is already running!", 400,
         FED_E_CONFLICT},
        {"{\"message\":\"gone\"}", "gone", 404, FED_E_NOT_FOUND},
        {"{\"message\":\"later\"}", "later", 503, FED_E_UNAVAILABLE},
        {"<html>", "the reducer answers 500 to /p", 500, FED_E_INTERNAL},
        {"<html>", "the answer to /p is no JSON (", 200, FED_E_INTERNAL},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fed_err err;
        json_t *json = NULL;
        fake_reducer_answer(f->fake, "GET /p", cases[i].status, cases[i].body);
        assert_int_equal(api_get(&f->api, "/p", &json, &err), -cases[i].code);
        assert_int_equal(strncmp(err.msg, cases[i].message, strlen(cases[i].message)), 0);
    }
}

static void test_files_go_up_and_come_down_whole(void **state)
{
    static const struct api_text texts[] = {{"name", "n"}, {"helper", "numpyhelper"}, {NULL, NULL}};
    struct fixture *f = *state;
    char path[128];
    struct fed_buf buf;
    struct fed_err err;
    json_t *json = NULL;

    (void)snprintf(path, sizeof(path), "%s/m.npz", f->folder);
    fake_reducer_answer(f->fake, "GET /m/download", 200, "bytes of a model");
    fake_reducer_answer(f->fake, "GET /n/download", 404, "{\"message\":\"no such model\"}");
    fake_reducer_answer(f->fake, "POST /api/v1/models/", 200, "{\"model_id\":\"new\"}");
    assert_int_equal(api_download(&f->api, "/n/download", path, &err), -FED_E_NOT_FOUND);
    assert_string_equal(err.msg, "no such model");
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(api_download(&f->api, "/m/download", path, NULL), 0);
    assert_int_equal(fed_file_load(path, 1000, &buf, NULL), 0);
    assert_int_equal(buf.size, 16);
    fed_buf_deinit(&buf);
    assert_int_equal(api_upload(&f->api, "/api/v1/models/", path, texts, &json, NULL), 0);
    assert_string_equal(row_text(json, "model_id"), "new");
    json_decref(json);
    (void)snprintf(path, sizeof(path), "%s/none.npz", f->folder);
    assert_int_equal(api_upload(&f->api, "/api/v1/models/", path, texts, &json, &err),
                     -FED_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "none.npz: No such file"));
}

static void test_nobody_there_and_addresses_that_are_none(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;
    json_t *json = NULL;

    f->api.url = "http://127.0.0.1:1/";
    assert_int_equal(api_get(&f->api, "/x", &json, &err), -FED_E_UNAVAILABLE);
    assert_string_equal(err.msg, "cannot reach the reducer at http://127.0.0.1:1/");
    f->api.url = "file:///etc/passwd";
    assert_int_equal(api_get(&f->api, "/x", &json, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "want http://HOST:PORT"));
}

static void test_a_descriptor_cancels(void **state)
{
    struct fixture *f = *state;
    const uint64_t start_ms = fed_clock_mono_ms();
    struct fed_err err;
    json_t *json = NULL;

    f->api.cancel_fd = eventfd(1, EFD_CLOEXEC);
    assert_true(f->api.cancel_fd > 0);
    f->api.url = "http://192.0.2.1:9"; /* TEST-NET: nobody answers (RFC 5737) */
    assert_int_equal(api_live(&f->api, 0, 10000, &json, &err) == -FED_E_CANCELLED ||
                         err.code == FED_E_UNAVAILABLE, /* no route at all */
                     1);
    assert_true(fed_clock_mono_ms() - start_ms < 4000);
    (void)close(f->api.cancel_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_list_carries_filter_and_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_id_is_found_by_its_beginning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals_keep_the_servers_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_go_up_and_come_down_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_there_and_addresses_that_are_none, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_descriptor_cancels, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
