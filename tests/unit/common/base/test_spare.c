/* Spare files: who gets them, who does not yet, and what bounds them. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/spare.h"
#include "tests/lib/fixture.h"

#define SIZE ((size_t)131072)

struct fixture {
    struct test_folder folder;
    char spares[FED_PATH_SIZE];
    char a[FED_PATH_SIZE];
    char b[FED_PATH_SIZE];
    struct fed_spare *spare;
    struct fed_err err;
};

static uint64_t n_free = UINT64_MAX / 2; /* bytes on the disk, as told */

/* In libc's place. */
int statvfs(const char *restrict file, struct statvfs *restrict buf)
{
    (void)file;
    *buf = (struct statvfs){.f_bavail = n_free, .f_frsize = 1};
    return 0;
}

static void open_spare(struct fixture *f, size_t files_max, uint64_t bytes_max)
{
    const struct fed_spare_limits limits = {files_max, bytes_max, 1000000};

    f->spare = fed_spare_close(f->spare);
    assert_int_equal(fed_spare_open(f->spares, &limits, &f->spare, &f->err), 0);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    n_free = UINT64_MAX / 2;
    test_folder_make(&f.folder);
    (void)test_path(&f.folder, "spares", f.spares);
    (void)test_path(&f.folder, "a", f.a);
    (void)test_path(&f.folder, "b", f.b);
    open_spare(&f, 4, 1 << 20);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)fed_spare_close(f->spare);
    test_folder_remove(&f->folder);
    return 0;
}

/* Most tests are about files that are kept: not on a system that keeps none. */
static void need_kept(const struct fixture *f)
{
    if (!fed_spare_is_on(f->spare)) {
        skip();
    }
}

/* A file of `size` bytes, all of one value; returns its inode. */
static ino_t make(struct fixture *f, const char *path, uint8_t value, size_t size)
{
    static uint8_t bytes[4 * SIZE];
    struct stat st;
    int fd = -1;

    assert_true(size <= sizeof(bytes));
    memset(bytes, value, size);
    assert_int_equal(fed_spare_take(f->spare, path, size, &fd, &f->err), 0);
    assert_int_equal(fed_file_write(fd, bytes, size, &f->err), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(close(fd), 0);
    return st.st_ino;
}

static size_t count_names(const struct fixture *f)
{
    char path[FED_PATH_SIZE];
    size_t n = 0;

    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(fed_path_format(path, NULL, "%s/spare-%u", f->spares, i), 0);
        n += access(path, F_OK) == 0 ? 1 : 0;
    }
    return n;
}

static void test_a_given_file_is_written_over(void **state)
{
    struct fixture *f = *state;
    const ino_t inode = make(f, f->a, 1, SIZE);
    struct fed_buf buf;

    need_kept(f);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(access(f->a, F_OK), -1);
    assert_int_equal(count_names(f), 1);
    assert_int_equal(make(f, f->b, 2, SIZE / 2 + 1), inode); /* cut */
    assert_int_equal(count_names(f), 0);
    fed_spare_give(f->spare, f->b);
    assert_int_equal(make(f, f->a, 3, SIZE), inode); /* extended */
    buf = test_file_read(f->a);
    assert_int_equal(buf.size, SIZE);
    assert_int_equal(buf.data[0], 3);
    assert_int_equal(buf.data[SIZE - 1], 3);
    fed_buf_deinit(&buf);
}

static void test_the_file_of_its_size_is_found(void **state)
{
    struct fixture *f = *state;
    char c[FED_PATH_SIZE];
    ino_t large;
    ino_t small;
    uint64_t lent = 0;
    struct stat st;
    int fd = -1;

    need_kept(f);
    (void)test_path(&f->folder, "c", c);
    large = make(f, f->a, 1, 2 * SIZE);
    small = make(f, f->b, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    fed_spare_give(f->spare, f->b);
    assert_int_equal(make(f, f->b, 1, SIZE), small);
    assert_int_equal(make(f, f->a, 1, SIZE + 1), large);
    fed_spare_give(f->spare, f->b);
    fed_spare_give(f->spare, f->a); /* of SIZE + 1 */
    assert_int_equal(make(f, f->a, 1, 3 * SIZE), large);
    assert_int_equal(fed_spare_take_lent(f->spare, f->b, &fd, &lent, &f->err), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, small);
    assert_int_equal(st.st_size, SIZE);
    assert_int_equal(lent, SIZE);
    fed_spare_settle(f->spare, lent);
    (void)close(fd);
    assert_int_equal(fed_spare_take_lent(f->spare, c, &fd, &lent, &f->err), 0);
    assert_int_equal(lent, 0); /* a fresh one */
    (void)close(fd);
}

/* What is mapped or open stays as it is, whoever has it and however. */
static void test_who_has_it_reads_on(void **state)
{
    struct fixture *f = *state;
    const int flags[] = {O_RDONLY, O_RDWR, O_RDONLY, O_RDONLY};
    ino_t inode;

    need_kept(f);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        const bool is_mapped = i < 3;
        int fd;
        uint8_t *data = NULL;
        uint8_t byte = 0;
        inode = make(f, f->a, 7, SIZE);
        fd = open(f->a, flags[i]);
        assert_true(fd >= 0);
        if (is_mapped) {
            data = mmap(NULL, SIZE, PROT_READ, i == 2 ? MAP_PRIVATE : MAP_SHARED, fd, 0);
            assert_true(data != MAP_FAILED);
            (void)close(fd);
        }
        fed_spare_give(f->spare, f->a);
        assert_int_not_equal(make(f, f->b, 8, SIZE), inode);
        if (is_mapped) {
            assert_int_equal(data[0], 7);
            assert_int_equal(data[SIZE - 1], 7);
            assert_int_equal(munmap(data, SIZE), 0);
        } else {
            assert_int_equal(pread(fd, &byte, 1, SIZE - 1), 1);
            assert_int_equal(byte, 7);
            (void)close(fd);
        }
        assert_int_equal(unlink(f->b), 0);
        assert_int_equal(make(f, f->b, 8, SIZE), inode); /* now */
        assert_int_equal(unlink(f->b), 0);
    }
}

/* Another owner's, too: before it is given, or after. */
static void test_a_second_name_keeps_its_bytes(void **state)
{
    struct fixture *f = *state;
    char second[FED_PATH_SIZE];
    char name[FED_PATH_SIZE];
    struct fed_buf buf;
    ino_t inode;

    need_kept(f);
    (void)test_path(&f->folder, "second", second);
    for (unsigned i = 0; i < 2; i++) {
        inode = make(f, f->a, 5, SIZE);
        if (i == 0) {
            assert_int_equal(link(f->a, second), 0);
        }
        fed_spare_give(f->spare, f->a);
        assert_int_equal(access(f->a, F_OK), -1);
        assert_int_equal(count_names(f), i);
        if (i == 1) {
            assert_int_equal(fed_path_format(name, NULL, "%s/spare-1", f->spares), 0);
            assert_int_equal(link(name, second), 0);
        }
        assert_int_not_equal(make(f, f->b, 6, SIZE), inode);
        buf = test_file_read(second);
        assert_int_equal(buf.size, SIZE);
        assert_int_equal(buf.data[0], 5);
        fed_buf_deinit(&buf);
        assert_int_equal(unlink(second), 0);
        assert_int_equal(unlink(f->b), 0);
    }
}

static void test_the_oldest_go(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];
    char name[16];
    ino_t inodes[6];

    need_kept(f);
    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        inodes[i] = make(f, test_path(&f->folder, name, path), 1, SIZE);
    }
    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        fed_spare_give(f->spare, test_path(&f->folder, name, path));
        assert_int_equal(access(path, F_OK), -1);
    }
    assert_int_equal(count_names(f), 4); /* files_max */
    for (unsigned i = 5; i >= 2; i--) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        assert_int_equal(make(f, test_path(&f->folder, name, path), 1, SIZE), inodes[i]);
    }
    assert_int_equal(count_names(f), 0);
}

static void test_bytes_are_bounded_with_those_lent(void **state)
{
    struct fixture *f = *state;
    char c[FED_PATH_SIZE];
    uint64_t lent = 0;
    int fd = -1;

    open_spare(f, 100, 2 * SIZE + SIZE / 2);
    need_kept(f);
    (void)test_path(&f->folder, "c", c);
    (void)make(f, f->a, 1, SIZE);
    (void)make(f, f->b, 1, SIZE);
    (void)make(f, c, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    fed_spare_give(f->spare, f->b);
    fed_spare_give(f->spare, c);
    assert_int_equal(count_names(f), 2);
    assert_int_equal(fed_spare_take_lent(f->spare, f->a, &fd, &lent, &f->err), 0);
    assert_int_equal(close(fd), 0);
    (void)make(f, f->b, 1, SIZE / 2);
    fed_spare_give(f->spare, f->b); /* the one that was cut */
    assert_int_equal(count_names(f), 1);
    (void)make(f, f->b, 1, 2 * SIZE);
    fed_spare_give(f->spare, f->b); /* too much beside the one lent, also alone */
    assert_int_equal(count_names(f), 0);
    fed_spare_settle(f->spare, lent);
    (void)make(f, f->b, 1, 2 * SIZE);
    fed_spare_give(f->spare, f->b);
    assert_int_equal(count_names(f), 1);
    (void)make(f, c, 1, 3 * SIZE);
    fed_spare_give(f->spare, c); /* more than all may be: takes nobody's room */
    assert_int_equal(count_names(f), 0);
}

static void test_small_ones_are_not_kept(void **state)
{
    struct fixture *f = *state;

    (void)make(f, f->a, 1, FED_SPARE_MIN - 1);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(access(f->a, F_OK), -1);
    assert_int_equal(count_names(f), 0);
    fed_spare_give(f->spare, f->a); /* none */
}

static void test_a_short_disk_has_none(void **state)
{
    struct fixture *f = *state;

    need_kept(f);
    (void)make(f, f->a, 1, SIZE);
    (void)make(f, f->b, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(count_names(f), 1);
    n_free = 999999;
    fed_spare_give(f->spare, f->b);
    assert_int_equal(access(f->b, F_OK), -1);
    assert_int_equal(count_names(f), 0);
    n_free = 1000000;
    (void)make(f, f->a, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(count_names(f), 1);
    assert_true(fed_spare_clear(f->spare));
    assert_int_equal(count_names(f), 0);
    assert_false(fed_spare_clear(f->spare));
}

static void test_begins_and_ends_empty(void **state)
{
    struct fixture *f = *state;
    char theirs[FED_PATH_SIZE];
    char left[FED_PATH_SIZE];

    need_kept(f);
    assert_int_equal(fed_path_format(theirs, NULL, "%s/other", f->spares), 0);
    assert_int_equal(fed_path_format(left, NULL, "%s/spare-17", f->spares), 0);
    test_file_write(theirs, "x", 1);
    test_file_write(left, "x", 1);
    open_spare(f, 4, 1 << 20);
    assert_int_equal(access(left, F_OK), -1);
    (void)make(f, f->a, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(count_names(f), 1);
    f->spare = fed_spare_close(f->spare);
    assert_int_equal(count_names(f), 0);
    assert_int_equal(access(theirs, F_OK), 0);
}

/* A fresh one is made, and errors are those of making one. */
static void test_what_is_not_to_be_had_is_passed_over(void **state)
{
    struct fixture *f = *state;
    char name[FED_PATH_SIZE];
    struct fed_buf buf;
    int fd = -1;

    need_kept(f);
    (void)make(f, f->a, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(fed_path_format(name, NULL, "%s/spare-1", f->spares), 0);
    assert_int_equal(unlink(name), 0);
    (void)make(f, f->a, 2, SIZE);
    fed_spare_give(f->spare, f->a);
    test_file_write(f->b, "theirs", 6);
    assert_int_equal(fed_spare_take(f->spare, f->b, SIZE, &fd, &f->err), -FED_E_IO);
    assert_non_null(strstr(f->err.msg, "File exists"));
    assert_int_equal(fed_spare_take(f->spare, "/nonexistent/p", SIZE, &fd, &f->err),
                     -FED_E_NOT_FOUND);
    buf = test_file_read(f->b);
    assert_int_equal(buf.size, 6);
    fed_buf_deinit(&buf);
    assert_int_equal(count_names(f), 1); /* it is there still */
    (void)make(f, f->a, 3, SIZE);
    assert_int_equal(count_names(f), 0);
}

/* /dev/shm and /tmp are two, or this shows nothing. */
static void test_another_file_system_gets_fresh_ones(void **state)
{
    struct fixture *f = *state;
    char there[FED_PATH_SIZE];
    int again = -1;

    assert_int_equal(fed_path_format(there, NULL, "/tmp/confed-test-spare-%ld", (long)getpid()), 0);
    test_file_write(there, "", 0);
    assert_int_equal(truncate(there, SIZE), 0);
    fed_spare_give(f->spare, there);
    assert_int_equal(access(there, F_OK), -1);
    (void)make(f, f->a, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(fed_spare_take(f->spare, there, SIZE, &again, &f->err), 0);
    (void)close(again);
    assert_int_equal(unlink(there), 0);
}

static void test_without_spares_files_are_made(void **state)
{
    struct fixture *f = *state;

    f->spare = fed_spare_close(f->spare);
    (void)make(f, f->a, 1, SIZE);
    fed_spare_give(f->spare, f->a);
    assert_int_equal(access(f->a, F_OK), -1);
    assert_false(fed_spare_clear(f->spare));
}

/* -- threads ----------------------------------------------------------------------------------- */

#define THREADS 4U
#define ROUNDS  200U

struct thread {
    pthread_t id;
    struct fixture *f;
    unsigned number;
    bool is_right;
};

/* Write a file, map it, give it while it is mapped, and see that it stays. */
static void *run(void *arg)
{
    struct thread *thread = arg;
    struct fed_err err;
    char path[FED_PATH_SIZE];
    uint8_t bytes[FED_SPARE_MIN];
    struct fed_map map;

    thread->is_right =
        fed_path_format(path, NULL, "%s/t%u", thread->f->folder.path, thread->number) == 0;
    for (unsigned i = 0; i < ROUNDS && thread->is_right; i++) {
        int fd = -1;
        memset(bytes, (int)(thread->number * 50 + i % 50), sizeof(bytes));
        if (fed_spare_take(thread->f->spare, path, sizeof(bytes), &fd, &err) < 0 ||
            fed_file_write(fd, bytes, sizeof(bytes), &err) < 0 || close(fd) != 0 ||
            fed_map_open(path, &map, &err) < 0) {
            thread->is_right = false;
            break;
        }
        fed_spare_give(thread->f->spare, path);
        (void)sched_yield();
        thread->is_right = map.size == sizeof(bytes) && memcmp(map.data, bytes, sizeof(bytes)) == 0;
        fed_map_close(&map);
    }
    return NULL;
}

static void test_threads_never_share_one(void **state)
{
    struct fixture *f = *state;
    struct thread threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.f = f, .number = i};
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
        assert_true(threads[i].is_right);
    }
    assert_true(count_names(f) <= 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_given_file_is_written_over),
        TEST(test_the_file_of_its_size_is_found),
        TEST(test_who_has_it_reads_on),
        TEST(test_a_second_name_keeps_its_bytes),
        TEST(test_the_oldest_go),
        TEST(test_bytes_are_bounded_with_those_lent),
        TEST(test_small_ones_are_not_kept),
        TEST(test_a_short_disk_has_none),
        TEST(test_begins_and_ends_empty),
        TEST(test_what_is_not_to_be_had_is_passed_over),
        TEST(test_another_file_system_gets_fresh_ones),
        TEST(test_without_spares_files_are_made),
        TEST(test_threads_never_share_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
