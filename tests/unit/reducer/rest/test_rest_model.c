#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/id.h"
#include "common/model/npz.h"
#include "tests/unit/reducer/rest/rest_fixture.h"

#define FILE_MAX (16UL * 1024UL * 1024UL)

/* A model of one (2, 2) tensor with these values, and one of n ones; owned bytes. */
static struct fed_buf make_model(const double values[4], uint64_t n)
{
    char path[] = "/tmp/confed-test-model-XXXXXX";
    const int fd = mkstemp(path);
    const struct fed_tensor square = {
        .dtype = FED_DTYPE_F4, .rank = 2, .shape = {2, 2}, .n_elements = 4};
    const struct fed_tensor row = {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {n}, .n_elements = n};
    const double one = 1;
    struct fed_npz_writer *writer = NULL;
    struct fed_buf bytes;

    assert_true(fd >= 0);
    assert_int_equal(fed_npz_writer_new(fd, &writer, NULL), 0);
    assert_int_equal(fed_npz_writer_begin(writer, &square, NULL), 0);
    assert_int_equal(fed_npz_writer_add(writer, values, 4, NULL), 0);
    assert_int_equal(fed_npz_writer_begin(writer, &row, NULL), 0);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(fed_npz_writer_add(writer, &one, 1, NULL), 0);
    }
    assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
    writer = fed_npz_writer_free(writer);
    (void)close(fd);
    assert_int_equal(fed_file_load(path, FILE_MAX, &bytes, NULL), 0);
    (void)unlink(path);
    return bytes;
}

static const double plain[4] = {1, 2, 3.5, -0.1};

static char *add_model(struct fixture *fixture, struct fed_view bytes, const char *name)
{
    struct reply reply = upload(fixture, "/api/v1/models/", "seed.npz", bytes, name);
    char *id;

    if (reply.status != 200) {
        fail_msg("%ld %s", reply.status, reply.text);
    }
    assert_true(json_is_true(json_object_get(reply.json, "success")));
    assert_string_equal(text_at(reply.json, "message"), "Model added successfully");
    id = strdup(text_at(reply.json, "model_id"));
    reply_deinit(&reply);
    return id;
}

static void test_upload_and_download(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 500000); /* 2 MB: several blocks */
    char *id = add_model(fixture, fed_buf_view(&bytes), "seed");
    char path[128];
    struct reply reply;
    json_t *row;
    char *head;
    char request[256];

    (void)snprintf(path, sizeof(path), "/api/v1/models/%s", id);
    row = expect(fixture, 200, "GET", path, NULL);
    assert_string_equal(text_at(row, "model"), id);
    assert_string_equal(text_at(row, "name"), "seed");
    assert_true(json_is_null(json_object_get(row, "parent_model")));
    assert_true(json_is_null(json_object_get(row, "session_id")));
    assert_int_equal(json_integer_value(json_object_get(row, "size_bytes")), bytes.size);
    assert_int_equal(json_integer_value(json_object_get(row, "n_tensors")), 2);
    assert_int_equal(json_integer_value(json_object_get(row, "n_elements")), 500004);
    json_decref(row);
    (void)snprintf(path, sizeof(path), "/api/v1/models/%s/download", id);
    reply = call(fixture, "GET", path, NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.size, bytes.size);
    assert_memory_equal(reply.text, bytes.data, bytes.size);
    reply_deinit(&reply);
    (void)snprintf(request, sizeof(request),
                   "HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    head = raw(fixture, request, strlen(request));
    (void)snprintf(request, sizeof(request), "Content-Disposition: attachment; filename=%s\r\n",
                   id);
    assert_non_null(strstr(head, request));
    free(head);
    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: x\r\nIf-None-Match: W/\"x\", \"%s\"\r\n"
                   "Connection: close\r\n\r\n",
                   path, id);
    head = raw(fixture, request, strlen(request));
    assert_non_null(strstr(head, "HTTP/1.1 304"));
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n"); /* no body */
    free(head);
    json_decref(expect(fixture, 404, "GET", "/api/v1/models/nobody/download", NULL));
    fed_buf_deinit(&bytes);
    free(id);
}

/* Who has the file already is told so without it being copied: here it could not be. */
static void test_what_the_asker_has_is_not_copied(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 2);
    char *id = add_model(fixture, fed_buf_view(&bytes), "seed");
    char path[128];
    char known[128];
    struct reply reply;

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.temp_dir = "/dev/null"});
    (void)snprintf(path, sizeof(path), "/api/v1/models/%s/download", id);
    (void)snprintf(known, sizeof(known), "If-None-Match: \"%s\"", id);
    reply = call_with(fixture, "GET", path, known);
    assert_int_equal(reply.status, 304);
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", path, "If-None-Match: \"other\"");
    assert_in_range(reply.status, 500, 599);
    reply_deinit(&reply);
    assert_int_equal(blob_remove(fixture->host.blobs, id, NULL), 0);
    reply = call_with(fixture, "GET", path, known);
    assert_int_equal(reply.status, 404);
    reply_deinit(&reply);
    fed_buf_deinit(&bytes);
    free(id);
}

static void test_the_same_bytes_are_two_models(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 1);
    char *first = add_model(fixture, fed_buf_view(&bytes), "");
    char *second = add_model(fixture, fed_buf_view(&bytes), "");
    json_t *id = expect(fixture, 200, "GET", "/api/v1/models/active", NULL);

    assert_string_not_equal(first, second);
    assert_string_equal(json_string_value(id), second);
    json_decref(id);
    fed_buf_deinit(&bytes);
    free(first);
    free(second);
}

static void expect_bad_model(struct fixture *fixture, struct fed_view bytes, const char *reason)
{
    struct reply reply = upload(fixture, "/api/v1/models/", "seed.npz", bytes, "bad");

    if (reply.status != 400 || strstr(reply.text, reason) == NULL) {
        fail_msg("%ld %s, want %s", reply.status, reply.text, reason);
    }
    assert_true(json_is_false(json_object_get(reply.json, "success")));
    assert_non_null(text_at(reply.json, "code"));
    reply_deinit(&reply);
}

static void test_bad_models_are_not_kept(void **state)
{
    struct fixture *fixture = *state;
    const double with_nan[4] = {1, (double)NAN, 3, 4};
    const double with_infinity[4] = {1, 2, 3, -(double)INFINITY};
    struct fed_buf bytes = make_model(plain, 10);
    struct reply reply;

    bytes.data[100] ^= 0xff; /* in the first array's values */
    expect_bad_model(fixture, fed_buf_view(&bytes), "Failed to add model: ");
    bytes.size -= 10;
    expect_bad_model(fixture, fed_buf_view(&bytes), "Failed to add model: ");
    fed_buf_deinit(&bytes);
    bytes = make_model(with_nan, 1);
    expect_bad_model(fixture, fed_buf_view(&bytes), "0.npy");
    fed_buf_deinit(&bytes);
    bytes = make_model(with_infinity, 1);
    expect_bad_model(fixture, fed_buf_view(&bytes), "0.npy");
    fed_buf_deinit(&bytes);
    expect_bad_model(fixture, fed_view_str("no model at all"), "Failed to add model: ");
    expect_bad_model(fixture, fed_view_str(""), "Failed to add model: ");
    reply = call(fixture, "GET", "/api/v1/models/count", NULL);
    assert_string_equal(reply.text, "0\n");
    reply_deinit(&reply);
    json_decref(expect(fixture, 404, "GET", "/api/v1/models/active", NULL));
}

static void expect_form_status(struct fixture *fixture, const char *body, const char *status)
{
    char request[2048];
    char *answer;

    (void)snprintf(request, sizeof(request),
                   "POST /api/v1/models/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                   "Content-Type: multipart/form-data; boundary=limit\r\nContent-Length: "
                   "%zu\r\n\r\n%s",
                   strlen(body), body);
    answer = raw(fixture, request, strlen(request));
    if (strstr(answer, status) == NULL) {
        fail_msg("%s: %.300s", body, answer);
    }
    free(answer);
}

static void test_malformed_forms(void **state)
{
    struct fixture *fixture = *state;

    json_decref(expect(fixture, 400, "POST", "/api/v1/models/", "{}"));
    expect_form_status(fixture, "garbage", "HTTP/1.1 400");
    expect_form_status(
        fixture,
        "--limit\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n--limit--\r\n",
        "HTTP/1.1 400"); /* no file */
    expect_form_status(fixture,
                       "--limit\r\nContent-Disposition: form-data; name=\"file\"; "
                       "filename=\"a\"\r\n\r\nx\r\n--limit\r\nContent-Disposition: form-data; "
                       "name=\"file\"; filename=\"b\"\r\n\r\ny\r\n--limit--\r\n",
                       "HTTP/1.1 400"); /* two files */
    expect_form_status(fixture,
                       "--limit\r\nContent-Disposition: form-data; name=\"helper\"\r\n\r\n"
                       "binaryhelper\r\n--limit\r\nContent-Disposition: form-data; name=\"file\"; "
                       "filename=\"b\"\r\n\r\ny\r\n--limit--\r\n",
                       "numpyhelper");
    expect_form_status(fixture, "--limit\r\n\r\n\r\n--limit--\r\n", "HTTP/1.1 400");
}

static void test_uploads_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 100000);
    struct reply reply;

    fixture_stop(fixture);
    fixture_start(fixture, (struct rest_config){.upload_max = 300000});
    reply = upload(fixture, "/api/v1/models/", "seed.npz", fed_buf_view(&bytes), "x");
    assert_int_equal(reply.status, 400); /* within the room for the form around it */
    assert_non_null(strstr(reply.text, "over 300000 bytes"));
    reply_deinit(&reply);
    fed_buf_deinit(&bytes);
}

static void test_rename(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 1);
    char *id = add_model(fixture, fed_buf_view(&bytes), "old");
    char path[128];
    json_t *row;

    (void)snprintf(path, sizeof(path), "/api/v1/models/%s", id);
    row = expect(fixture, 200, "PATCH", path, "{\"name\":\"new\",\"model\":\"x\",\"foo\":1}");
    assert_string_equal(text_at(row, "name"), "new");
    assert_string_equal(text_at(row, "model"), id);
    json_decref(row);
    json_decref(expect(fixture, 200, "PUT", path, "{}"));
    json_decref(expect(fixture, 400, "PATCH", path, "{\"name\":[]}"));
    json_decref(expect(fixture, 404, "PATCH", "/api/v1/models/nobody", "{\"name\":\"x\"}"));
    json_decref(expect(fixture, 404, "PATCH", "/api/v1/models/nobody", "{}"));
    fed_buf_deinit(&bytes);
    free(id);
}

static void test_parameters(void **state)
{
    struct fixture *fixture = *state;
    struct fed_buf bytes = make_model(plain, 3);
    char *id = add_model(fixture, fed_buf_view(&bytes), "seed");
    char path[128];
    struct reply reply;

    (void)snprintf(path, sizeof(path), "/api/v1/models/%s/parameters", id);
    reply = call(fixture, "GET", path, NULL);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.text, "{\"array\":[[[1,2],[3.5,-0.100000001]],[1,1,1]]}\n");
    reply_deinit(&reply);
    json_decref(expect(fixture, 404, "GET", "/api/v1/models/nobody/parameters", NULL));
    fed_buf_deinit(&bytes);
    free(id);
}

/* -- the trail -------------------------------------------------------------------------------- */

static void add_row(struct fixture *fixture, const char *id, const char *parent)
{
    json_t *row = json_pack("{s:s,s:s,s:s?}", "model", id, "model_id", id, "parent_model", parent);

    assert_int_equal(store_insert(fixture->host.store, STORE_MODELS, row, NULL), 0);
    json_decref(row);
}

static void
expect_trail(struct fixture *fixture, const char *path, const char *header, const char *ids)
{
    struct reply reply = call_with(fixture, "GET", path, header);
    char text[64] = "";

    assert_int_equal(reply.status, 200);
    for (size_t i = 0; i < json_array_size(reply.json); i++) {
        (void)snprintf(text + strlen(text), 8, "%s",
                       text_at(json_array_get(reply.json, i), "model_id"));
    }
    if (strcmp(text, ids) != 0) {
        fail_msg("%s %s: %s, want %s", path, header, text, ids);
    }
    reply_deinit(&reply);
}

static void test_prune_arguments(void **state)
{
    static const char *const refused[] = {"{}",
                                          "{\"keep\":0}",
                                          "{\"keep\":null}",
                                          "{\"keep\":\"2\"}",
                                          "{\"keep\":2.0}",
                                          "{\"keep\":\"all\"}",
                                          "{\"keep\":1.5}",
                                          "{\"keep\":1000000001}",
                                          "{\"keep\":1,\"keep_best\":5}",
                                          "{\"keep\":1,\"dry_run\":1}"};
    static const char *const taken[] = {
        "{\"keep\":1}", "{\"keep\":1000000000,\"keep_best\":\"loss\",\"dry_run\":true}",
        "{\"keep\":1,\"keep_best\":null,\"dry_run\":null}"};

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        json_decref(expect(*state, 400, "POST", "/api/v1/models/prune", refused[i]));
    }
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        json_decref(expect(*state, 200, "POST", "/api/v1/models/prune", taken[i]));
    }
}

static void test_trail(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;

    add_row(fixture, "a", NULL);
    add_row(fixture, "b", "a");
    add_row(fixture, "c", "b");
    add_row(fixture, "d", "c");
    add_row(fixture, "e", "b");
    add_row(fixture, "lost", "gone");
    expect_trail(fixture, "/api/v1/models/d/ancestors", "X-Limit: 9", "cba");
    expect_trail(fixture, "/api/v1/models/d/ancestors", "X-Limit: 2", "cb");
    expect_trail(fixture, "/api/v1/models/d/ancestors?include_self=true", "X-Limit: 2", "dcb");
    expect_trail(fixture, "/api/v1/models/d/ancestors?include_self=true", "X-Reverse: true",
                 "abcd");
    expect_trail(fixture, "/api/v1/models/lost/ancestors", "X-Limit: 2", "");
    expect_trail(fixture, "/api/v1/models/a/descendants", "X-Limit: 2", "cb");
    expect_trail(fixture, "/api/v1/models/b/descendants", "X-Limit: 9", "dec");
    expect_trail(fixture, "/api/v1/models/leaf-nodes", "X-Limit: 9", "losted");
    expect_head(fixture,
                "GET /api/v1/models/d/ancestors?format=csv HTTP/1.1\r\nHost: x\r\n"
                "Connection: close\r\n\r\n",
                "Content-Disposition: attachment; filename=ancestors.csv\r\n");
    reply = call_with(fixture, "GET", "/api/v1/models/d/ancestors?format=csv", "X-Limit: 9");
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "model_id"));
    reply_deinit(&reply);
    json_decref(expect(fixture, 404, "GET", "/api/v1/models/nobody/ancestors", NULL));
    json_decref(expect(fixture, 404, "GET", "/api/v1/models/nobody/descendants", NULL));
}

static void test_a_ring_ends(void **state)
{
    struct fixture *fixture = *state;
    struct reply reply;

    add_row(fixture, "a", "b");
    add_row(fixture, "b", "a");
    reply = call_with(fixture, "GET", "/api/v1/models/a/ancestors", "X-Limit: 1000");
    assert_int_equal(json_array_size(reply.json), 1000);
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", "/api/v1/models/a/descendants", "X-Limit: 1000");
    assert_int_equal(json_array_size(reply.json), 1000);
    reply_deinit(&reply);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upload_and_download),
        TEST(test_what_the_asker_has_is_not_copied),
        TEST(test_the_same_bytes_are_two_models),
        TEST(test_bad_models_are_not_kept),
        TEST(test_malformed_forms),
        TEST(test_uploads_are_bounded),
        TEST(test_rename),
        TEST(test_parameters),
        TEST(test_prune_arguments),
        TEST(test_trail),
        TEST(test_a_ring_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
