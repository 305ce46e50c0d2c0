/* reducer/copying: what is copied, what is skipped, and what ends it. */
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
#include "reducer/blob/blob.h"
#include "reducer/copying.h"
#include "reducer/store/store.h"

#define LONG_SIZE (3U * 1024U * 1024U + 5U) /* some blocks, and a part of one */

struct fixture {
    struct copying copying;
    struct fed_err err;
    unsigned n_told;
};

static void tell(void *arg, const char *line)
{
    struct fixture *f = arg;

    assert_non_null(strstr(line, "documents"));
    f->n_told++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct copying *copying = &f->copying;

    assert_int_equal(store_open("mem:", &copying->from, NULL), 0);
    assert_int_equal(store_open("mem:", &copying->to, NULL), 0);
    assert_int_equal(blob_open("mem:", &copying->from_blobs, NULL), 0);
    assert_int_equal(blob_open("mem:", &copying->to_blobs, NULL), 0);
    copying->tell = tell;
    copying->arg = f;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)store_close(f->copying.from);
    (void)store_close(f->copying.to);
    (void)blob_close(f->copying.from_blobs);
    (void)blob_close(f->copying.to_blobs);
    free(f);
    return 0;
}

static void put_blob(struct blob_store *blobs, const char *key, size_t size, char first)
{
    uint8_t sha256[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;
    char *data = calloc(size, 1);

    assert_non_null(data);
    data[0] = first;
    fed_sha256_once(data, size, sha256);
    assert_int_equal(blob_put_begin(blobs, key, &writer, NULL), 0);
    assert_int_equal(blob_put_chunk(writer, data, size, NULL), 0);
    assert_int_equal(blob_put_commit(writer, sha256, NULL), 0);
    free(data);
}

/* A model with its row; `first` is what its row's SHA-256 is of. */
static void add_model(struct fixture *f, const char *id, size_t size, char first)
{
    uint8_t sha256[FED_SHA256_BYTES];
    char hex[2 * FED_SHA256_BYTES + 1];
    char *data = calloc(size, 1);
    json_t *row;

    assert_non_null(data);
    data[0] = first;
    fed_sha256_once(data, size, sha256);
    fed_hex_format(sha256, sizeof(sha256), hex);
    free(data);
    row = json_pack("{s:s,s:s}", "model_id", id, "sha256", hex);
    assert_int_equal(store_insert(f->copying.from, STORE_MODELS, row, NULL), 0);
    json_decref(row);
}

/* "documents/there blobs/there missing" */
static void copy(struct fixture *f, const char *want)
{
    json_t *report = NULL;
    char text[128];

    assert_int_equal(copying_run(&f->copying, &report, &f->err), 0);
    (void)snprintf(text, sizeof(text), "%lld/%lld %lld/%lld %lld",
                   json_integer_value(json_object_get(report, "documents")),
                   json_integer_value(json_object_get(report, "documents_there")),
                   json_integer_value(json_object_get(report, "blobs")),
                   json_integer_value(json_object_get(report, "blobs_there")),
                   json_integer_value(json_object_get(report, "missing")));
    json_decref(report);
    assert_string_equal(text, want);
}

static void expect_failure(struct fixture *f, enum fed_code code, const char *part)
{
    json_t *report = NULL;

    assert_int_equal(copying_run(&f->copying, &report, &f->err), -(int)code);
    assert_non_null(strstr(f->err.msg, part));
}

static void test_all_is_copied_once(void **state)
{
    struct fixture *f = *state;
    json_t *row = json_pack("{s:s,s:n,s:f}", "session_id", "s1", "nothing", "lr", 0.1);
    json_t *there = NULL;
    json_t *here = NULL;

    assert_int_equal(store_insert(f->copying.from, STORE_SESSIONS, row, NULL), 0);
    assert_int_equal(store_replace(f->copying.from, STORE_SESSIONS, 1, row, NULL), 0);
    json_decref(row);
    add_model(f, "m1", LONG_SIZE, 'a');
    put_blob(f->copying.from_blobs, "m1", LONG_SIZE, 'a');
    put_blob(f->copying.from_blobs, "package", 10, 'p');
    copy(f, "2/0 2/0 0");
    assert_int_equal(store_get(f->copying.from, STORE_SESSIONS, "s1", &here, NULL), 0);
    assert_int_equal(store_get(f->copying.to, STORE_SESSIONS, "s1", &there, NULL), 0);
    assert_true(json_equal(here, there)); /* with its stamps and version 2 */
    json_decref(here);
    json_decref(there);
    assert_true(f->n_told >= 1);
    copy(f, "0/2 0/2 0");
    put_blob(f->copying.from_blobs, "more", 10, 'q');
    copy(f, "0/2 1/2 0");
}

static void test_the_target_is_not_written_over(void **state)
{
    struct fixture *f = *state;
    json_t *row = json_pack("{s:s}", "session_id", "s1");

    assert_int_equal(store_insert(f->copying.from, STORE_SESSIONS, row, NULL), 0);
    (void)json_object_set_new(row, "name", json_string("another"));
    assert_int_equal(store_insert(f->copying.to, STORE_SESSIONS, row, NULL), 0);
    json_decref(row);
    expect_failure(f, FED_E_CONFLICT, "sessions s1 is at the target already");
    assert_int_equal(store_remove(f->copying.to, STORE_SESSIONS, "s1", NULL), 0);
    put_blob(f->copying.from_blobs, "m1", 10, 'a');
    put_blob(f->copying.to_blobs, "m1", 10, 'b');
    expect_failure(f, FED_E_CONFLICT, "blob m1 is at the target already");
}

static void test_damage_is_not_carried_on(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;

    add_model(f, "m1", 100, 'a');
    put_blob(f->copying.from_blobs, "m1", 100, 'b');
    expect_failure(f, FED_E_CORRUPT, "model m1 is damaged at the source");
    assert_int_equal(blob_stat(f->copying.to_blobs, "m1", &info, NULL), BLOB_NOT_FOUND);
}

static void test_a_model_without_its_file(void **state)
{
    struct fixture *f = *state;
    json_t *row = json_pack("{s:s,s:s,s:i}", "model_id", "pruned", "sha256", "00", "pruned_at", 1);

    add_model(f, "m1", 100, 'a');
    assert_int_equal(store_insert(f->copying.from, STORE_MODELS, row, NULL), 0);
    json_decref(row);
    copy(f, "2/0 0/0 1"); /* a pruned one has none, rightly */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_copied_once),
        TEST(test_the_target_is_not_written_over),
        TEST(test_damage_is_not_carried_on),
        TEST(test_a_model_without_its_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
