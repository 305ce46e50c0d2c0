/* The contract, and what only a file can be asked: crashes, a second process, disk errors. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/base/rand.h"
#include "common/base/unconst.h"
#include "tests/contract/store_contract.h"

#define N_CRASHES 6

static void url(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    (void)snprintf(ret_url, FED_PATH_SIZE, "sqlite:%s/store.db", folder->path);
}

static struct store *open_store(const struct test_folder *folder)
{
    char text[FED_PATH_SIZE];
    struct store *store = NULL;
    struct fed_err err = {0};

    url(folder, text);
    if (store_open(text, &store, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

static json_t *make_document(unsigned i, unsigned n)
{
    return json_pack("{s:o, s:i, s:i}", "model_id", json_sprintf("m-%u", i), "n", (int)n, "check",
                     (int)(i + n));
}

/* -- killed in the middle ------------------------------------------------------------------------
 */

struct writer {
    const struct test_folder *folder;
    _Atomic unsigned *n_done; /* shared: documents inserted, and written over twice, and known so */
};

/* Writes until it is killed. */
static int write_on(void *arg)
{
    const struct writer *writer = arg;
    char text[FED_PATH_SIZE];
    struct store *store = NULL;

    url(writer->folder, text);
    if (store_open(text, &store, NULL) != 0) {
        return 1;
    }
    for (unsigned i = atomic_load(writer->n_done);; i++) {
        json_t *document = make_document(i, 0);
        int rc =
            store_put(store, STORE_MODELS, document, NULL); /* may be there: half acknowledged */
        json_decref(document);
        for (unsigned n = 1; n <= 2 && rc == 0; n++) {
            document = make_document(i, n);
            rc = store_put(store, STORE_MODELS, document, NULL);
            json_decref(document);
        }
        if (rc != 0) {
            return 2;
        }
        atomic_store(writer->n_done, i + 1);
    }
}

static void check_all(const struct test_folder *folder, unsigned n_done)
{
    const struct store_query all = {.is_ascending = true};
    struct store *store = open_store(folder);
    json_t *documents = NULL;
    json_t *document;
    size_t i;

    assert_int_equal(store_find(store, STORE_MODELS, &all, &documents, NULL, NULL), 0);
    assert_in_range(json_array_size(documents), n_done, n_done + 1);
    json_array_foreach(documents, i, document)
    {
        const json_int_t n = json_integer_value(json_object_get(document, "n"));
        assert_int_equal(json_integer_value(json_object_get(document, "check")), (json_int_t)i + n);
        assert_true(i >= n_done || n == 2);
    }
    json_decref(documents);
    (void)store_close(store);
}

static void test_a_killed_writer_loses_nothing_it_was_told(void **state)
{
    const uint64_t key = 99;
    struct test_folder folder;
    struct fed_rand rand;
    struct writer writer = {
        &folder, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};

    (void)state;
    assert_true(writer.n_done != MAP_FAILED);
    fed_rand_init(&rand, &key, 1);
    test_folder_make(&folder);
    for (unsigned crash = 0; crash < N_CRASHES; crash++) {
        const unsigned until = atomic_load(writer.n_done) + 5 + (unsigned)fed_rand_below(&rand, 40);
        const int pid = test_child_start(write_on, &writer);
        while (atomic_load(writer.n_done) < until && kill(pid, 0) == 0) {
            (void)sched_yield();
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(test_child_wait(pid), -SIGKILL);
        check_all(&folder, atomic_load(writer.n_done));
    }
    test_folder_remove(&folder);
    (void)munmap(fed_unconst(writer.n_done), 4096);
}

/* -- a second process ----------------------------------------------------------------------------
 */

struct second {
    const struct test_folder *folder;
    int first_pid;
};

static int open_second(void *arg)
{
    const struct second *second = arg;
    char text[FED_PATH_SIZE];
    char want[FED_PATH_SIZE];
    struct store *store = NULL;
    struct fed_err err = {0};
    int rc;

    url(second->folder, text);
    rc = store_open(text, &store, &err);
    (void)snprintf(want, sizeof(want), "%s/store.db is in use by pid %d", second->folder->path,
                   second->first_pid);
    (void)store_close(store);
    return rc == -FED_E_CONFLICT && strcmp(err.msg, want) == 0 ? 0 : 1;
}

static void test_a_second_process_is_told_who(void **state)
{
    struct test_folder folder;
    struct second second = {&folder, getpid()};
    struct store *store;

    (void)state;
    test_folder_make(&folder);
    store = open_store(&folder);
    assert_int_equal(test_child_run(open_second, &second), 0);
    (void)store_close(store);
    store = open_store(&folder); /* the lock goes with its holder */
    (void)store_close(store);
    test_folder_remove(&folder);
}

/* -- disk errors ---------------------------------------------------------------------------------
 */

static int insert_text(struct store *store, unsigned i, size_t size, struct fed_err *err)
{
    char *text = calloc(1, size + 1);
    json_t *document;
    int rc;

    memset(text, 'x', size);
    document = json_pack("{s:o, s:s}", "model_id", json_sprintf("m-%u", i), "text", text);
    rc = store_insert(store, STORE_MODELS, document, err);
    json_decref(document);
    free(text);
    return rc;
}

/* Files cannot grow beyond a limit: as a full disk, for a while. */
static int fill_disk(void *arg)
{
    const struct rlimit small = {(rlim_t)256 * 1024, RLIM_INFINITY};
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct store *store = open_store(arg);
    struct fed_err err = {0};
    json_t *document = NULL;
    unsigned n = 0;
    int rc = 0;

    (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    (void)setrlimit(RLIMIT_FSIZE, &small);
    while (rc == 0 && n < 1000) {
        rc = insert_text(store, n, 20000, &err);
        n += rc == 0 ? 1 : 0;
    }
    if (rc >= 0 || n < 2 || !fed_code_is_transient(err.code) || err.msg[0] == '\0') {
        return 1;
    }
    if (store_get(store, STORE_MODELS, "m-0", &document, &err) != 0) {
        return 2; /* what is there can still be read */
    }
    json_decref(document);
    (void)setrlimit(RLIMIT_FSIZE, &none);
    if (insert_text(store, n, 20000, &err) != 0 ||
        insert_text(store, n, 10, &err) != STORE_EXISTS) {
        return 3; /* and written again, once there is room */
    }
    (void)store_close(store);
    return 0;
}

static void test_a_full_disk_passes(void **state)
{
    struct test_folder folder;

    (void)state;
    test_folder_make(&folder);
    assert_int_equal(test_child_run(fill_disk, &folder), 0);
    test_folder_remove(&folder);
}

/* Of the store that is opened next: SQLite asks us for every pragma. */
static sqlite3 *seen_db;
static bool is_flush_refused;

static int may_do(void *arg,
                  int action,
                  const char *name,
                  const char *value,
                  const char *database,
                  const char *trigger)
{
    (void)arg;
    (void)database;
    (void)trigger;
    return is_flush_refused && action == SQLITE_PRAGMA && strcmp(name, "synchronous") == 0 &&
                   value != NULL && strcmp(value, "FULL") == 0
               ? SQLITE_DENY
               : SQLITE_OK;
}

static int
see_db(sqlite3 *db, const char **ret_message, const struct sqlite3_api_routines *routines)
{
    (void)ret_message;
    (void)routines;
    seen_db = db;
    return sqlite3_set_authorizer(db, may_do, NULL);
}

static struct store *open_seen(const struct test_folder *folder)
{
    struct store *store;

    assert_int_equal(sqlite3_auto_extension((void (*)(void))see_db), SQLITE_OK);
    store = open_store(folder);
    (void)sqlite3_cancel_auto_extension((void (*)(void))see_db);
    return store;
}

static int get_synchronous(void)
{
    sqlite3_stmt *statement = NULL;
    int value;

    assert_int_equal(sqlite3_prepare_v2(seen_db, "PRAGMA synchronous", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    return value;
}

/* What is flushed soon does not take the flush from what comes after it, whatever fails. */
static void test_every_write_has_its_flush(void **state)
{
    const int full = 2;
    struct test_folder folder;
    struct store *store;
    struct fed_err err = {0};
    json_t *document = make_document(0, 0);
    char *text = calloc(1, STORE_DOCUMENT_MAX + 1);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', STORE_DOCUMENT_MAX);
    test_folder_make(&folder);
    store = open_seen(&folder);
    assert_int_equal(store_put_soon(store, STORE_MODELS, document, &err), 0);
    assert_int_equal(store_put(store, STORE_MODELS, document, &err), 0);
    assert_int_equal(get_synchronous(), full);
    is_flush_refused = true;
    (void)json_object_set_new(document, "text", json_string(text));
    assert_int_equal(store_put_soon(store, STORE_MODELS, document, &err), -FED_E_LIMIT);
    is_flush_refused = false;
    assert_int_equal(insert_text(store, 1, 10, &err), 0);
    assert_int_equal(get_synchronous(), full);
    (void)json_object_del(document, "text");
    assert_int_equal(store_put_soon(store, STORE_MODELS, document, &err), 0);
    assert_int_equal(store_remove(store, STORE_MODELS, "m-1", &err), 0);
    assert_int_equal(get_synchronous(), full);
    (void)store_close(store);
    test_folder_remove(&folder);
    json_decref(document);
    free(text);
}

/* And what cannot have it is not written. */
static void test_no_write_without_its_flush(void **state)
{
    struct test_folder folder;
    struct store *store;
    struct fed_err err = {0};
    json_t *document = make_document(0, 0);

    (void)state;
    test_folder_make(&folder);
    store = open_seen(&folder);
    assert_int_equal(store_put_soon(store, STORE_MODELS, document, &err), 0);
    is_flush_refused = true;
    assert_int_equal(insert_text(store, 1, 10, &err), -FED_E_IO);
    is_flush_refused = false;
    assert_int_equal(insert_text(store, 1, 10, &err), 0);
    (void)store_close(store);
    test_folder_remove(&folder);
    json_decref(document);
}

static void test_files_that_are_no_store(void **state)
{
    struct test_folder folder;
    struct store *store = NULL;
    struct fed_err err = {0};
    char path[FED_PATH_SIZE];
    char text[FED_PATH_SIZE];

    (void)state;
    test_folder_make(&folder);
    assert_int_equal(store_open("sqlite:/nonexistent/a.db", &store, &err), -FED_E_NOT_FOUND);
    test_file_write(test_path(&folder, "store.db", path), "This is no database, by far.......", 34);
    url(&folder, text);
    assert_int_equal(store_open(text, &store, &err), -FED_E_IO);
    assert_non_null(strstr(err.msg, "is no SQLite database"));
    (void)snprintf(text, sizeof(text), "sqlite:%s", folder.path);
    assert_true(store_open(text, &store, &err) < 0);
    (void)unlink(path);
    test_folder_remove(&folder);
}

static void test_documents_outlive_the_process(void **state)
{
    struct test_folder folder;
    struct store *store;
    json_t *document = make_document(1, 7);

    (void)state;
    test_folder_make(&folder);
    store = open_store(&folder);
    assert_int_equal(store_insert(store, STORE_MODELS, document, NULL), 0);
    json_decref(document);
    (void)store_close(store);
    store = open_store(&folder);
    assert_int_equal(store_get(store, STORE_MODELS, "m-1", &document, NULL), 0);
    assert_int_equal(json_integer_value(json_object_get(document, "n")), 7);
    json_decref(document);
    (void)store_close(store);
    test_folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_outlive_the_process),
        cmocka_unit_test(test_a_killed_writer_loses_nothing_it_was_told),
        cmocka_unit_test(test_a_second_process_is_told_who),
        cmocka_unit_test(test_a_full_disk_passes),
        cmocka_unit_test(test_every_write_has_its_flush),
        cmocka_unit_test(test_no_write_without_its_flush),
        cmocka_unit_test(test_files_that_are_no_store),
    };
    const int n_failed = store_contract_run("sqlite", url);

    return n_failed + cmocka_run_group_tests(tests, NULL, NULL);
}
