#include "tests/contract/blob_contract.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/model/checksum.h"

static blob_url_fn url_of;
static const struct blob_options *options_of;

struct fixture {
    struct test_folder folder;
    struct blob_store *store;
    struct fed_err err;
};

static int set_up(void **state)
{
    static struct fixture f;
    char url[FED_PATH_SIZE];

    f = (struct fixture){0};
    *state = &f;
    test_folder_make(&f.folder);
    url_of(&f.folder, url);
    return blob_open_with(url, options_of, &f.store, &f.err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->store = blob_close(f->store);
    test_folder_remove(&f->folder);
    return 0;
}

/* Put in pieces of `step` bytes. */
static int put(struct fixture *f, const char *key, const char *text, size_t size, size_t step)
{
    uint8_t digest[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;
    int rc = blob_put_begin(f->store, key, &writer, &f->err);

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < size; i += step) {
        assert_int_equal(
            blob_put_chunk(writer, text + i, size - i < step ? size - i : step, &f->err), 0);
    }
    fed_sha256_once(text, size, digest);
    return blob_put_commit(writer, digest, &f->err);
}

static const char *read_text(struct fixture *f, const char *key, uint64_t offset, size_t size)
{
    static char text[64];
    size_t n = size;
    const int rc = blob_read(f->store, key, offset, text, &n, &f->err);

    if (rc != 0) {
        (void)snprintf(text, sizeof(text), "rc %d", rc);
    } else {
        text[n] = '\0';
    }
    return text;
}

static void test_put_then_read(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;

    assert_int_equal(put(f, "a", "0123456789", 10, 3), 0);
    assert_string_equal(read_text(f, "a", 0, 10), "0123456789");
    assert_string_equal(read_text(f, "a", 0, 60), "0123456789");
    assert_string_equal(read_text(f, "a", 7, 2), "78");
    assert_string_equal(read_text(f, "a", 7, 60), "789");
    assert_string_equal(read_text(f, "a", 10, 5), "");
    assert_string_equal(read_text(f, "a", 1000, 5), "");
    assert_string_equal(read_text(f, "a", UINT64_MAX - 2, 5), "");
    assert_int_equal(blob_stat(f->store, "a", &info, &f->err), 0);
    assert_int_equal(info.size, 10);
    assert_int_equal(put(f, "empty", "", 0, 1), 0);
    assert_int_equal(blob_stat(f->store, "empty", &info, &f->err), 0);
    assert_int_equal(info.size, 0);
    assert_string_equal(read_text(f, "empty", 0, 5), "");
}

/* In whole seconds at some stores. */
static void test_age(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;

    assert_int_equal(put(f, "a", "0123456789", 10, 3), 0);
    assert_int_equal(blob_stat(f->store, "a", &info, &f->err), 0);
    assert_in_range(info.age_ms, 0, 1999);
    assert_int_equal(poll(NULL, 0, 3100), 0); /* the store's clock: nothing to wait on */
    assert_int_equal(blob_stat(f->store, "a", &info, &f->err), 0);
    assert_in_range(info.age_ms, 2000, 60000);
    assert_int_equal(put(f, "a", "0123456789", 10, 3), 0);
    assert_int_equal(blob_stat(f->store, "a", &info, &f->err), 0);
    assert_in_range(info.age_ms, 0, 1999);
}

static void test_what_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;
    char path[FED_PATH_SIZE];

    assert_string_equal(read_text(f, "none", 0, 5), "rc 1");
    assert_int_equal(blob_stat(f->store, "none", &info, &f->err), BLOB_NOT_FOUND);
    assert_int_equal(blob_remove(f->store, "none", &f->err), BLOB_NOT_FOUND);
    assert_int_equal(blob_get_file(f->store, "none", test_path(&f->folder, "out", path), &f->err),
                     BLOB_NOT_FOUND);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_nothing_shows_before_the_commit(void **state)
{
    struct fixture *f = *state;
    struct blob_writer *writer = NULL;
    uint8_t digest[FED_SHA256_BYTES] = {0};

    assert_int_equal(blob_put_begin(f->store, "a", &writer, &f->err), 0);
    assert_int_equal(blob_put_chunk(writer, "half", 4, &f->err), 0);
    assert_string_equal(read_text(f, "a", 0, 5), "rc 1");
    blob_put_abort(writer);
    assert_string_equal(read_text(f, "a", 0, 5), "rc 1");
    assert_int_equal(blob_put_begin(f->store, "a", &writer, &f->err), 0);
    assert_int_equal(blob_put_chunk(writer, "other bytes", 11, &f->err), 0);
    assert_int_equal(blob_put_commit(writer, digest, &f->err), -FED_E_CORRUPT);
    assert_string_equal(read_text(f, "a", 0, 5), "rc 1");
    blob_put_abort(NULL);
}

static void test_two_writers_of_one_key(void **state)
{
    struct fixture *f = *state;
    struct blob_writer *first = NULL;
    uint8_t digest[FED_SHA256_BYTES];

    fed_sha256_once("same", 4, digest);
    assert_int_equal(blob_put_begin(f->store, "a", &first, &f->err), 0);
    assert_int_equal(blob_put_chunk(first, "sa", 2, &f->err), 0);
    assert_int_equal(put(f, "a", "same", 4, 1), 0);
    assert_int_equal(blob_put_chunk(first, "me", 2, &f->err), 0);
    assert_int_equal(blob_put_commit(first, digest, &f->err), 0);
    assert_string_equal(read_text(f, "a", 0, 10), "same");
}

static void test_remove(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, "a", "x", 1, 1), 0);
    assert_int_equal(put(f, "b", "y", 1, 1), 0);
    assert_int_equal(blob_remove(f->store, "a", &f->err), 0);
    assert_string_equal(read_text(f, "a", 0, 5), "rc 1");
    assert_string_equal(read_text(f, "b", 0, 5), "y");
    assert_int_equal(put(f, "a", "again", 5, 5), 0);
    assert_string_equal(read_text(f, "a", 0, 5), "again");
}

/* All keys, `step` at a time, with a blank behind each. */
static const char *list_text(struct fixture *f, const char *after, size_t step)
{
    static char text[512];
    char keys[8][BLOB_KEY_MAX + 1];
    char last[BLOB_KEY_MAX + 1];
    size_t n = step;
    size_t end = 0;

    text[0] = '\0';
    (void)snprintf(last, sizeof(last), "%s", after);
    while (n > 0) {
        n = step;
        assert_int_equal(blob_list(f->store, last, keys, &n, &f->err), 0);
        assert_in_range(n, 0, step);
        for (size_t i = 0; i < n; i++) {
            end += (size_t)snprintf(text + end, sizeof(text) - end, "%s ", keys[i]);
            assert_in_range(end, 1, sizeof(text) - 1);
        }
        (void)snprintf(last, sizeof(last), "%s", n > 0 ? keys[n - 1] : "");
    }
    return text;
}

static void test_list(void **state)
{
    static const char *const names[] = {"m-10", "m_1", "m-1", "z", "m.1", "0", "m-2"};
    struct fixture *f = *state;
    struct blob_writer *writer = NULL;
    char key[1][BLOB_KEY_MAX + 1];
    size_t n = 1;

    assert_string_equal(list_text(f, "", 3), "");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(put(f, names[i], "x", 1, 1), 0);
    }
    for (size_t step = 1; step <= 8; step++) {
        assert_string_equal(list_text(f, "", step), "0 m-1 m-10 m-2 m.1 m_1 z ");
    }
    assert_string_equal(list_text(f, "m-10", 3), "m-2 m.1 m_1 z ");
    assert_string_equal(list_text(f, "m-11", 3), "m-2 m.1 m_1 z "); /* one that is not there */
    assert_string_equal(list_text(f, "z", 3), "");
    /* what is not committed is not there, nor what was removed */
    assert_int_equal(blob_put_begin(f->store, "begun", &writer, &f->err), 0);
    assert_int_equal(blob_put_chunk(writer, "x", 1, &f->err), 0);
    assert_int_equal(blob_remove(f->store, "m.1", &f->err), 0);
    assert_string_equal(list_text(f, "", 8), "0 m-1 m-10 m-2 m_1 z ");
    blob_put_abort(writer);
    assert_int_equal(blob_list(f->store, "../x", key, &n, &f->err), -FED_E_INVALID);
}

static void test_keys_are_no_paths(void **state)
{
    static const char *const bad[] = {"",         ".", "..",  "../x", "a/b",     "/etc/passwd",
                                      ".tmp-1-2", "A", "a b", "a\n",  "\xc3\xa9"};
    struct fixture *f = *state;
    struct blob_writer *writer = NULL;
    char key[BLOB_KEY_MAX + 2];
    struct blob_info info;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(blob_put_begin(f->store, bad[i], &writer, &f->err), -FED_E_INVALID);
        assert_int_equal(blob_stat(f->store, bad[i], &info, &f->err), -FED_E_INVALID);
        assert_int_equal(blob_remove(f->store, bad[i], &f->err), -FED_E_INVALID);
        assert_string_equal(read_text(f, bad[i], 0, 1), "rc -2");
    }
    memset(key, 'k', sizeof(key));
    key[BLOB_KEY_MAX + 1] = '\0';
    assert_int_equal(put(f, key, "x", 1, 1), -FED_E_INVALID);
    key[BLOB_KEY_MAX] = '\0';
    assert_int_equal(put(f, key, "x", 1, 1), 0);
    assert_string_equal(read_text(f, key, 0, 1), "x");
}

static void
check_file(struct fixture *f, const char *key, const char *out, const uint8_t *bytes, size_t size)
{
    struct fed_buf copy;

    assert_int_equal(blob_get_file(f->store, key, out, &f->err), 0);
    copy = test_file_read(out);
    assert_int_equal(copy.size, size);
    assert_memory_equal(copy.data, bytes, size);
    fed_buf_deinit(&copy);
}

/* As the reducer stores a model: given away where that can be, else copied. */
static int put_made(struct fixture *f, const char *key, const char *path, const uint8_t digest[32])
{
    const int rc = blob_put_made(f->store, key, path, &f->err);

    return rc == -FED_E_UNSUPPORTED ? blob_put_file(f->store, key, path, digest, &f->err) : rc;
}

static void test_files_in_and_out(void **state)
{
    struct fixture *f = *state;
    const size_t size = 700001; /* more than two blocks of a copy */
    uint8_t *bytes = malloc(size);
    uint8_t digest[FED_SHA256_BYTES];
    char in[FED_PATH_SIZE];
    char out[FED_PATH_SIZE];
    struct fed_buf copy;

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 >> 3);
    }
    fed_sha256_once(bytes, size, digest);
    test_file_write(test_path(&f->folder, "in", in), bytes, size);
    (void)test_path(&f->folder, "out", out);
    assert_int_equal(blob_put_file(f->store, "big", in, digest, &f->err), 0);
    check_file(f, "big", out, bytes, size);
    /* a failure leaves what was there */
    assert_int_equal(blob_get_file(f->store, "none", out, &f->err), BLOB_NOT_FOUND);
    copy = test_file_read(out);
    assert_int_equal(copy.size, size);
    fed_buf_deinit(&copy);
    /* a file that is given away, twice, and over another */
    assert_int_equal(put_made(f, "made", in, digest), 0);
    assert_int_equal(put_made(f, "made", in, digest), 0);
    assert_int_equal(put(f, "over", "other", 5, 5), 0);
    assert_int_equal(put_made(f, "over", in, digest), 0);
    assert_int_equal(unlink(in), 0);
    check_file(f, "made", out, bytes, size);
    check_file(f, "over", out, bytes, size);
    assert_int_equal(put_made(f, "bad", in, digest), -FED_E_NOT_FOUND);
    assert_int_equal(put_made(f, "B", in, digest), -FED_E_INVALID);
    test_file_write(in, bytes, size);
    digest[0] ^= 1;
    assert_int_equal(blob_put_file(f->store, "bad", in, digest, &f->err), -FED_E_CORRUPT);
    assert_int_equal(blob_put_file(f->store, "bad", "/nonexistent", digest, &f->err),
                     -FED_E_NOT_FOUND);
    assert_string_equal(read_text(f, "bad", 0, 1), "rc 1");
    free(bytes);
}

/* -- threads -------------------------------------------------------------------------------------
 */

#define N_THREADS 4
#define N_STEPS   30

struct racer {
    struct fixture *f;
    pthread_t thread;
    unsigned number;
    unsigned n_wrong;
};

/* All write one key with the same bytes, and a key of their own; whole bytes are read, or none. */
static void *race(void *arg)
{
    static const char text[] = "the same bytes, whoever writes them";
    struct racer *racer = arg;
    uint8_t digest[FED_SHA256_BYTES];
    char own[16];

    fed_sha256_once(text, sizeof(text), digest);
    (void)snprintf(own, sizeof(own), "own-%u", racer->number);
    for (unsigned i = 0; i < N_STEPS; i++) {
        const char *const keys[] = {"shared", own};
        for (unsigned k = 0; k < 2; k++) {
            struct blob_writer *writer = NULL;
            char read[sizeof(text)] = "";
            size_t n = sizeof(read);
            int rc = blob_put_begin(racer->f->store, keys[k], &writer, NULL);
            rc = rc < 0 ? rc : blob_put_chunk(writer, text, 10, NULL);
            rc = rc < 0 ? rc : blob_put_chunk(writer, text + 10, sizeof(text) - 10, NULL);
            rc = rc < 0 ? rc : blob_put_commit(writer, digest, NULL);
            rc = rc < 0 ? rc : blob_read(racer->f->store, keys[k], 0, read, &n, NULL);
            racer->n_wrong += rc != 0 || n != sizeof(text) || strcmp(read, text) != 0 ? 1 : 0;
        }
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct racer racers[N_THREADS] = {0};

    for (unsigned i = 0; i < N_THREADS; i++) {
        racers[i].f = *state;
        racers[i].number = i;
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        (void)pthread_join(racers[i].thread, NULL);
        assert_int_equal(racers[i].n_wrong, 0);
    }
}

static void test_unknown_kinds_are_named(void **state)
{
    struct fixture *f = *state;
    struct blob_store *store = NULL;

    assert_int_equal(blob_open("ftp:x", &store, &f->err), -FED_E_INVALID);
    assert_non_null(strstr(f->err.msg, "dir:DIR"));
    assert_int_equal(blob_open("ftp://me:sesame@host/x", &store, &f->err), -FED_E_INVALID);
    assert_non_null(strstr(f->err.msg, "***@host"));
    assert_null(strstr(f->err.msg, "sesame"));
    assert_int_equal(blob_open("dir:", &store, &f->err), -FED_E_INVALID);
    assert_null(blob_close(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int blob_contract_run(const char *name, blob_url_fn url, const struct blob_options *options)
{
    const struct CMUnitTest tests[] = {
        TEST(test_put_then_read),
        TEST(test_age),
        TEST(test_what_is_not_there),
        TEST(test_nothing_shows_before_the_commit),
        TEST(test_two_writers_of_one_key),
        TEST(test_remove),
        TEST(test_list),
        TEST(test_keys_are_no_paths),
        TEST(test_files_in_and_out),
        TEST(test_many_threads),
        TEST(test_unknown_kinds_are_named),
    };

    url_of = url;
    options_of = options;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
