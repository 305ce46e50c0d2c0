/* The contract, and what only a folder can be asked: crashes, disk errors. */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/unconst.h"
#include "common/model/checksum.h"
#include "tests/contract/blob_contract.h"

#define N_CRASHES 5
#define BLOB_SIZE 50000U

static void url(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    (void)snprintf(ret_url, FED_PATH_SIZE, "dir:%s/blobs", folder->path);
}

static struct blob_store *open_store(const struct test_folder *folder)
{
    char text[FED_PATH_SIZE];
    struct blob_store *store = NULL;
    struct fed_err err = {0};

    url(folder, text);
    if (blob_open(text, &store, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

static int put_filled(struct blob_store *store, unsigned i, struct fed_err *err)
{
    static uint8_t bytes[BLOB_SIZE];
    uint8_t digest[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;
    char key[32];
    int rc;

    (void)snprintf(key, sizeof(key), "blob-%u", i);
    memset(bytes, (int)(i & 0xFF), sizeof(bytes));
    fed_sha256_once(bytes, sizeof(bytes), digest);
    rc = blob_put_begin(store, key, &writer, err);
    for (size_t at = 0; at < BLOB_SIZE && rc == 0; at += 1000) {
        rc = blob_put_chunk(writer, bytes + at, 1000, err);
        if (rc < 0) {
            blob_put_abort(writer);
            return rc;
        }
    }
    return rc < 0 ? rc : blob_put_commit(writer, digest, err);
}

struct writer {
    const struct test_folder *folder;
    _Atomic unsigned *n_done; /* shared */
};

static int write_on(void *arg)
{
    const struct writer *writer = arg;
    char text[FED_PATH_SIZE];
    struct blob_store *store = NULL;

    url(writer->folder, text);
    if (blob_open(text, &store, NULL) != 0) {
        return 1;
    }
    for (unsigned i = atomic_load(writer->n_done);; i++) {
        if (put_filled(store, i, NULL) != 0) {
            return 2;
        }
        atomic_store(writer->n_done, i + 1);
    }
}

static void check_blob(const struct test_folder *folder, const char *key, unsigned i)
{
    static uint8_t bytes[BLOB_SIZE + 1];
    struct blob_store *store = open_store(folder);
    size_t n = sizeof(bytes);

    assert_int_equal(blob_read(store, key, 0, bytes, &n, NULL), 0);
    assert_int_equal(n, BLOB_SIZE);
    assert_true(bytes[0] == (i & 0xFF) && bytes[BLOB_SIZE - 1] == (i & 0xFF));
    (void)blob_close(store);
}

/* Every name in the folder is a whole blob: the store, opened again, has swept the rest. */
static unsigned check_folder(const struct test_folder *folder)
{
    char path[FED_PATH_SIZE];
    unsigned n_blobs = 0;
    DIR *dir;

    (void)blob_close(open_store(folder));
    dir = opendir(test_path(folder, "blobs", path));
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char *end = entry->d_name;
        unsigned long i = 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (strncmp(entry->d_name, "blob-", 5) == 0) {
            i = strtoul(entry->d_name + 5, &end, 10);
        }
        if (end == entry->d_name || *end != '\0') {
            fail_msg("%s was left behind", entry->d_name);
        }
        check_blob(folder, entry->d_name, (unsigned)i);
        n_blobs++;
    }
    (void)closedir(dir);
    return n_blobs;
}

static void test_a_killed_writer_leaves_whole_blobs(void **state)
{
    struct test_folder folder;
    struct writer writer = {
        &folder, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};

    (void)state;
    assert_true(writer.n_done != MAP_FAILED);
    test_folder_make(&folder);
    for (unsigned crash = 0; crash < N_CRASHES; crash++) {
        const unsigned until = atomic_load(writer.n_done) + 5 + 3 * crash;
        const int pid = test_child_start(write_on, &writer);
        while (atomic_load(writer.n_done) < until && kill(pid, 0) == 0) {
            (void)sched_yield();
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(test_child_wait(pid), -SIGKILL);
        assert_in_range(check_folder(&folder), atomic_load(writer.n_done),
                        atomic_load(writer.n_done) + 1);
    }
    test_folder_remove(&folder);
    (void)munmap(fed_unconst(writer.n_done), 4096);
}

static int fill_disk(void *arg)
{
    const struct rlimit small = {BLOB_SIZE / 2, RLIM_INFINITY};
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct blob_store *store = open_store(arg);
    struct fed_err err = {0};
    struct blob_info info;

    (void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    (void)setrlimit(RLIMIT_FSIZE, &small);
    if (put_filled(store, 1, &err) != -FED_E_IO || blob_stat(store, "blob-1", &info, &err) != 1) {
        return 1;
    }
    (void)setrlimit(RLIMIT_FSIZE, &none);
    if (put_filled(store, 1, &err) != 0) {
        return 2;
    }
    (void)blob_close(store);
    return 0;
}

static void test_a_full_disk_passes(void **state)
{
    struct test_folder folder;

    (void)state;
    test_folder_make(&folder);
    assert_int_equal(test_child_run(fill_disk, &folder), 0);
    assert_int_equal(check_folder(&folder), 1);
    test_folder_remove(&folder);
}

static void test_folders_that_cannot_be(void **state)
{
    struct test_folder folder;
    struct blob_store *store = NULL;
    struct fed_err err = {0};
    char path[FED_PATH_SIZE];

    (void)state;
    test_folder_make(&folder);
    test_file_write(test_path(&folder, "blobs", path), "a file", 6);
    url(&folder, path);
    assert_int_equal(blob_open(path, &store, &err), -FED_E_IO);
    test_folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_killed_writer_leaves_whole_blobs),
        cmocka_unit_test(test_a_full_disk_passes),
        cmocka_unit_test(test_folders_that_cannot_be),
    };
    const int n_failed = blob_contract_run("dir", url, NULL);

    return n_failed + cmocka_run_group_tests(tests, NULL, NULL);
}
