/* reducer/migrate: the sides of a copy; what takes the place of an earlier backup, and when. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sqlite3.h>

#include "reducer/migrate/side.h"
#include "reducer/store/store.h"
#include "tests/lib/fixture.h"

struct fixture {
    struct test_folder folder;
    char backup[FED_PATH_SIZE];
    struct side side;
    struct fed_err err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "backup", f->backup);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    side_close(&f->side);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

/* -- a backup's folder ----------------------------------------------------------------------- */

static int open_backup(struct fixture *f, bool is_target)
{
    const struct side_words words = {.file = "", .store = "", .blob = "", .backup = f->backup};

    side_close(&f->side);
    assert_int_equal(side_load(&f->side, "to", &words, is_target, &f->err), 0);
    return is_target ? side_open_target(&f->side, NULL, &f->err)
                     : side_open_source(&f->side, &f->err);
}

static void add_session(struct store *store, const char *id)
{
    json_t *document = json_pack("{s:s}", "session_id", id);

    assert_int_equal(store_insert(store, STORE_SESSIONS, document, NULL), 0);
    json_decref(document);
}

/* A backup with one session. */
static void make_backup(struct fixture *f, const char *id)
{
    assert_int_equal(open_backup(f, true), 0);
    add_session(f->side.store, id);
    assert_int_equal(side_finish(&f->side, &f->err), 0);
}

static void expect_session(struct fixture *f, const char *id)
{
    json_t *found = NULL;

    assert_int_equal(open_backup(f, false), 0);
    assert_int_equal(store_get(f->side.store, STORE_SESSIONS, id, &found, &f->err), 0);
    json_decref(found);
}

/* A restore that is killed while it reads. */
static int read_and_die(void *arg)
{
    struct fixture *f = arg;

    _exit(open_backup(f, false) == 0 ? 0 : 1);
}

static bool has_file(const struct fixture *f, const char *name)
{
    char path[FED_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%.300s/%s", f->backup, name);
    return access(path, F_OK) == 0;
}

static void test_the_journal_of_an_old_backup_goes_with_it(void **state)
{
    struct fixture *f = *state;

    make_backup(f, "first");
    assert_int_equal(test_child_run(read_and_die, f), 0);
    assert_true(has_file(f, "confed.db-wal"));
    make_backup(f, "second");
    assert_false(has_file(f, "confed.db-wal"));
    assert_false(has_file(f, "confed.db-shm"));
    expect_session(f, "second");
}

/* Another reader keeps SQLite from taking the journal into the file, as a full disk does. */
static void test_a_backup_not_written_whole_replaces_none(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    sqlite3 *reader = NULL;

    make_backup(f, "first");
    assert_int_equal(open_backup(f, true), 0);
    (void)snprintf(path, sizeof(path), "%.300s/confed.db.new", f->backup);
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM sqlite_master", NULL, NULL, NULL),
        SQLITE_OK);
    add_session(f->side.store, "second");
    assert_int_equal(side_finish(&f->side, &f->err), -FED_E_IO);
    assert_non_null(strstr(f->err.msg, "was not written whole"));
    (void)sqlite3_close(reader);
    expect_session(f, "first");
}

/* -- a source that is none --------------------------------------------------------------------- */

/* A side that is named by files of the folder. */
static void
load_side(struct fixture *f, struct side *side, const char *store, const char *blob, bool is_target)
{
    char store_url[FED_PATH_SIZE];
    char blob_url[FED_PATH_SIZE];
    const struct side_words words = {
        .file = "", .store = store_url, .blob = blob_url, .backup = ""};

    (void)snprintf(store_url, sizeof(store_url), "sqlite:%.250s/%s", f->folder.path, store);
    (void)snprintf(blob_url, sizeof(blob_url), "dir:%.250s/%s", f->folder.path, blob);
    side_close(side);
    assert_int_equal(side_load(side, is_target ? "to" : "from", &words, is_target, &f->err), 0);
}

static int open_source(struct fixture *f, const char *store, const char *blob)
{
    load_side(f, &f->side, store, blob, false);
    return side_open_source(&f->side, &f->err);
}

static void test_a_source_is_not_made(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];

    make_backup(f, "first");
    assert_int_equal(open_source(f, "typo.db", "backup/blobs"), -FED_E_NOT_FOUND);
    assert_non_null(strstr(f->err.msg, "typo.db is not there: there is nothing to copy"));
    assert_int_not_equal(access(test_path(&f->folder, "typo.db", path), F_OK), 0);
    assert_int_equal(open_source(f, "backup/confed.db", "typo"), -FED_E_NOT_FOUND);
    assert_int_not_equal(access(test_path(&f->folder, "typo", path), F_OK), 0);
    assert_int_equal(open_source(f, "backup/confed.db", "backup/blobs"), 0);
}

static void test_an_empty_source_is_none(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(open_backup(f, true), 0);
    assert_int_equal(side_finish(&f->side, &f->err), 0);
    assert_int_equal(open_backup(f, false), -FED_E_NOT_FOUND);
    assert_non_null(strstr(f->err.msg, "has no documents"));
}

/* -- two sides ------------------------------------------------------------------------------- */

/* `f->side` is the source. */
static int check_both(struct fixture *f, struct side *to, const char *store, const char *blob)
{
    load_side(f, to, store, blob, true);
    return side_check_both(&f->side, to, &f->err);
}

static void test_the_same_is_both_the_same(void **state)
{
    struct fixture *f = *state;
    struct side to = {0};

    make_backup(f, "first");
    expect_session(f, "first");
    assert_int_equal(check_both(f, &to, "backup/confed.db", "backup/blobs"), -FED_E_INVALID);
    assert_int_equal(check_both(f, &to, "backup/./confed.db", "backup/../backup/blobs"),
                     -FED_E_INVALID);
    assert_string_equal(f->err.msg, "both sides are the same");
    assert_int_equal(check_both(f, &to, "new.db", "backup/blobs"), 0);
    assert_false(to.has_same_store);
    side_close(&to);
}

static void test_blobs_move_alone(void **state)
{
    struct fixture *f = *state;
    struct side to = {0};

    make_backup(f, "first");
    expect_session(f, "first");
    assert_int_equal(check_both(f, &to, "backup/./confed.db", "new"), 0);
    assert_int_equal(side_open_target(&to, &f->side, &f->err), 0);
    assert_ptr_equal(to.store, f->side.store);
    assert_int_equal(side_finish(&to, &f->err), 0);
    side_close(&to);
    assert_non_null(f->side.store); /* closed once */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_journal_of_an_old_backup_goes_with_it),
        TEST(test_a_backup_not_written_whole_replaces_none),
        TEST(test_a_source_is_not_made),
        TEST(test_an_empty_source_is_none),
        TEST(test_the_same_is_both_the_same),
        TEST(test_blobs_move_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
