/* reducer/sweeping: what goes, and what stays whatever it looks like. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/model/checksum.h"
#include "reducer/store/store.h"
#include "reducer/sweeping.h"

#define KEY(digit) "0000000" digit "-1111-4222-8333-444444444444"

struct fixture {
    struct store *store;
    struct blob_store *blobs;
    struct sweeping sweeping;
};

static void add_blob(struct fixture *f, const char *key)
{
    uint8_t sha256[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;

    fed_sha256_once("1234", 4, sha256);
    assert_int_equal(blob_put_begin(f->blobs, key, &writer, NULL), 0);
    assert_int_equal(blob_put_chunk(writer, "1234", 4, NULL), 0);
    assert_int_equal(blob_put_commit(writer, sha256, NULL), 0);
}

static void add_row(struct fixture *f, enum store_collection in, json_t *row)
{
    assert_non_null(row);
    assert_int_equal(store_insert(f->store, in, row, NULL), 0);
    json_decref(row);
}

static void add_model(struct fixture *f, const char *id)
{
    add_row(f, STORE_MODELS, json_pack("{s:s}", "model_id", id));
}

/* Three models and a package, all in order. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    static const char *const models[] = {KEY("1"), KEY("2"), KEY("3")};

    assert_non_null(f);
    assert_int_equal(store_open("mem:", &f->store, NULL), 0);
    assert_int_equal(blob_open("mem:", &f->blobs, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        add_blob(f, models[i]);
        add_model(f, models[i]);
    }
    add_blob(f, KEY("4") ".tar.gz");
    add_row(
        f, STORE_PACKAGES,
        json_pack("{s:s,s:s}", "package_id", KEY("4"), "storage_file_name", KEY("4") ".tar.gz"));
    sweeping_init(&f->sweeping, f->store, f->blobs, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    sweeping_deinit(&f->sweeping);
    (void)store_close(f->store);
    (void)blob_close(f->blobs);
    free(f);
    return 0;
}

static bool has(const struct fixture *f, const char *key)
{
    struct blob_info info;

    return blob_stat(f->blobs, key, &info, NULL) == 0;
}

static void test_what_nobody_names_goes(void **state)
{
    struct fixture *f = *state;

    add_blob(f, KEY("5"));
    add_blob(f, KEY("6") ".tgz");
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_keys, 6);
    assert_int_equal(f->sweeping.n_removed, 2);
    assert_int_equal(f->sweeping.bytes, 8);
    assert_false(has(f, KEY("5")) || has(f, KEY("6") ".tgz"));
    assert_true(has(f, KEY("1")) && has(f, KEY("2")) && has(f, KEY("3")));
    assert_true(has(f, KEY("4") ".tar.gz"));
}

/* It may get its row yet. */
static void test_what_is_young_stays(void **state)
{
    struct fixture *f = *state;

    f->sweeping.age_ms = 3600000;
    add_blob(f, KEY("5"));
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_unnamed, 1);
    assert_int_equal(f->sweeping.n_removed, 0);
    assert_true(has(f, KEY("5")));
    f->sweeping.age_ms = 20;
    assert_int_equal(poll(NULL, 0, 30), 0);
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_false(has(f, KEY("5")));
}

static void test_what_is_not_ours_stays(void **state)
{
    static const char *const keys[] = {"notes.txt",       "0000000a",
                                       KEY("a") ".npz",   KEY("a") "x",
                                       "check-" KEY("a"), "0000000a_1111_4222_8333_444444444444"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        add_blob(f, keys[i]);
    }
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_keys, 4);
    assert_int_equal(f->sweeping.n_removed, 0);
}

/* Another federation's folder, or a database that was lost: nothing is touched. */
static void test_a_store_that_names_little_is_doubted(void **state)
{
    static const char *const strange[] = {KEY("5"), KEY("6"), KEY("7"), KEY("8"), KEY("9")};
    struct fixture *f = *state;

    for (size_t i = 0; i < 5; i++) {
        add_blob(f, strange[i]);
    }
    assert_int_equal(sweeping_run(&f->sweeping, NULL), SWEEPING_DOUBTFUL);
    assert_int_equal(f->sweeping.n_unnamed, 5);
    assert_int_equal(f->sweeping.n_removed, 0);
    assert_true(has(f, KEY("5")) && has(f, KEY("9")));
}

/* More than one page of keys, and more unnamed than one run removes: the next ones go on. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    char key[64];

    for (unsigned i = 0; i < 2 * SWEEPING_UNNAMED_MAX + 20; i++) {
        (void)snprintf(key, sizeof(key), "%08x-1111-4222-8333-444444444444", 0x100U + i);
        add_blob(f, key);
        if (i < SWEEPING_UNNAMED_MAX + 10) {
            add_model(f, key);
        }
    }
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_keys, 2 * SWEEPING_UNNAMED_MAX + 24);
    assert_int_equal(f->sweeping.n_unnamed, SWEEPING_UNNAMED_MAX + 10);
    assert_int_equal(f->sweeping.n_removed, SWEEPING_UNNAMED_MAX);
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_removed, 10);
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_removed, 0);
    assert_int_equal(f->sweeping.n_keys, SWEEPING_UNNAMED_MAX + 14);
}

/* Its row waits for the metadata store, however old the blob gets by that. */
static void test_what_a_round_commits_stays(void **state)
{
    struct fixture *f = *state;

    add_blob(f, KEY("5"));
    add_blob(f, KEY("6"));
    sweeping_keep(&f->sweeping, KEY("5"));
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_int_equal(f->sweeping.n_removed, 1);
    assert_true(has(f, KEY("5")));
    assert_false(has(f, KEY("6")));
    sweeping_keep(&f->sweeping, KEY("7")); /* the one before never got its row */
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_false(has(f, KEY("5")));
}

static void test_a_stopped_one_removes_none(void **state)
{
    struct fixture *f = *state;

    add_blob(f, KEY("5"));
    sweeping_stop(&f->sweeping);
    assert_int_equal(sweeping_run(&f->sweeping, NULL), 0);
    assert_true(has(f, KEY("5")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_nobody_names_goes),
        TEST(test_what_is_young_stays),
        TEST(test_what_is_not_ours_stays),
        TEST(test_a_store_that_names_little_is_doubted),
        TEST(test_many),
        TEST(test_what_a_round_commits_stays),
        TEST(test_a_stopped_one_removes_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
