#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/lib/fixture.h"

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct fed_err err;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    test_folder_make(&f.folder);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    test_folder_remove(&f->folder);
    return 0;
}

static void test_loads_what_was_replaced(void **state)
{
    struct fixture *f = *state;
    const char *path = test_path(&f->folder, "a", f->path);
    char temporary[FED_PATH_SIZE + 8];
    struct fed_buf buf;

    assert_int_equal(fed_file_replace(path, fed_view_str("one"), true, &f->err), 0);
    assert_int_equal(fed_file_replace(path, fed_view_str("second"), false, &f->err), 0);
    assert_int_equal(fed_file_load(path, 6, &buf, &f->err), 0);
    assert_int_equal(buf.size, 6);
    assert_memory_equal(buf.data, "second", 6);
    fed_buf_deinit(&buf);
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    assert_int_equal(access(temporary, F_OK), -1);
    assert_int_equal(fed_file_replace(path, (struct fed_view){0}, false, &f->err), 0);
    assert_int_equal(fed_file_load(path, 0, &buf, &f->err), 0);
    assert_int_equal(buf.size, 0);
    fed_buf_deinit(&buf);
}

static void test_says_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    const char *path = test_path(&f->folder, "b", f->path);
    char want[FED_ERR_MSG_SIZE];
    struct fed_buf buf;

    assert_int_equal(fed_file_load(path, 10, &buf, &f->err), -FED_E_NOT_FOUND);
    (void)snprintf(want, sizeof(want), "open %s: No such file or directory", path);
    assert_string_equal(f->err.msg, want);
    test_file_write(path, "12345678901", 11);
    assert_int_equal(fed_file_load(path, 10, &buf, &f->err), -FED_E_LIMIT);
    assert_int_equal(fed_file_load(f->folder.path, 10, &buf, &f->err), -FED_E_IO);
}

/* A named pipe where a file should be must not hang whoever reads it. */
static void test_a_pipe_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    const char *path = test_path(&f->folder, "pipe", f->path);
    struct fed_buf buf;
    struct fed_map map;

    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fed_file_load(path, 10, &buf, &f->err), -FED_E_IO);
    assert_non_null(strstr(f->err.msg, "not a regular file"));
    assert_int_equal(fed_map_open(path, &map, &f->err), -FED_E_IO);
}

static void test_a_failed_replace_keeps_the_old_file(void **state)
{
    struct fixture *f = *state;
    const char *path = test_path(&f->folder, "kept", f->path);
    char temporary[FED_PATH_SIZE + 8];
    struct fed_buf buf;

    test_file_write(path, "old", 3);
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    assert_int_equal(mkdir(temporary, 0700), 0); /* stands in the temporary file's way */
    assert_int_equal(fed_file_replace(path, fed_view_str("new"), false, &f->err), -FED_E_IO);
    buf = test_file_read(path);
    assert_int_equal(buf.size, 3);
    assert_memory_equal(buf.data, "old", 3);
    fed_buf_deinit(&buf);
    assert_int_equal(
        fed_file_replace(test_path(&f->folder, "no/such", f->path), fed_view_str("x"), true, NULL),
        -FED_E_NOT_FOUND);
}

static void test_a_full_disk_is_an_error(void **state)
{
    struct fixture *f = *state;
    const int fd = open("/dev/full", O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(fed_file_write(fd, "x", 1, &f->err), -FED_E_IO);
    assert_int_equal(f->err.sys_errno, 28); /* ENOSPC */
    (void)close(fd);
}

/* More than are written at once, some of them empty. */
static void test_pieces(void **state)
{
    enum {
        N = 201
    };
    struct fixture *f = *state;
    struct fed_view views[N];
    struct fed_pieces pieces = {views, N, 0};
    struct fed_buf want;
    struct fed_buf have = {0};
    char path[FED_PATH_SIZE];
    uint8_t bytes[N * 3];
    int fd;

    fed_buf_init(&want, 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (size_t i = 0; i < N; i++) {
        views[i] = fed_view_of(bytes + i, i % 5 * 100 > i ? 0 : i % 5 * 100);
        pieces.size += views[i].size;
        assert_int_equal(fed_buf_add(&want, views[i].data, views[i].size, NULL), 0);
    }
    fd = open(test_path(&f->folder, "pieces", path), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fed_file_write_pieces(fd, &pieces, &f->err), 0);
    (void)close(fd);
    assert_int_equal(fed_file_load(path, pieces.size, &have, &f->err), 0);
    assert_true(fed_view_equal(fed_buf_view(&have), fed_buf_view(&want)));
    fed_buf_deinit(&have);
    fed_buf_deinit(&want);
    fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(fed_file_write_pieces(fd, &pieces, &f->err), -FED_E_IO);
    (void)close(fd);
}

/* A pipe takes a part of what it is given, and then the rest. */
static void *drain(void *arg)
{
    const int *fd = arg;
    static uint8_t bytes[4096];
    static size_t n_read;
    ssize_t n = 1;

    while (n > 0) {
        n = read(*fd, bytes, sizeof(bytes));
        n_read += n > 0 ? (size_t)n : 0;
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != (uint8_t)((n_read - (size_t)n + (size_t)i) % 1000 % 251)) {
                return NULL;
            }
        }
    }
    return &n_read;
}

static void on_alarm(int number)
{
    (void)number;
}

static void test_a_part_of_the_pieces_at_a_time(void **state)
{
    struct fixture *f = *state;
    const struct itimerval often = {{0, 200}, {0, 200}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: writes are cut short */
    struct fed_view views[3000];
    uint8_t bytes[1000];
    sigset_t alarm;
    pthread_t thread;
    void *n_read = NULL;
    int fds[2];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i % 251);
    }
    for (size_t i = 0; i < 3000; i++) {
        views[i] = fed_view_of(bytes, sizeof(bytes));
    }
    assert_int_equal(pipe(fds), 0);
    (void)sigemptyset(&alarm);
    (void)sigaddset(&alarm, SIGALRM);
    (void)pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    assert_int_equal(pthread_create(&thread, NULL, drain, &fds[0]), 0);
    (void)pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(
        fed_file_write_pieces(fds[1], &(struct fed_pieces){views, 3000, 3000000}, &f->err), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    (void)close(fds[1]);
    assert_int_equal(pthread_join(thread, &n_read), 0);
    assert_non_null(n_read);
    assert_int_equal(*(size_t *)n_read, 3000000);
    (void)close(fds[0]);
}

static void test_folders(void **state)
{
    struct fixture *f = *state;
    char inner[FED_PATH_SIZE];
    char file[FED_PATH_SIZE];

    (void)test_path(&f->folder, "x/y/z", inner);
    assert_int_equal(fed_folder_make(inner, &f->err), 0);
    assert_int_equal(fed_folder_make(inner, &f->err), 0);
    (void)test_path(&f->folder, "x/y/z/file", file);
    test_file_write(file, "1", 1);
    assert_int_equal(fed_folder_make(file, &f->err), -FED_E_IO);
    assert_int_equal(fed_folder_make("", &f->err), -FED_E_INVALID);
    assert_int_equal(fed_file_sync_folder(file, &f->err), 0);
    assert_int_equal(fed_folder_remove(inner, &f->err), 0);
    assert_int_equal(access(inner, F_OK), -1);
    assert_int_equal(fed_folder_remove(inner, &f->err), 0);
    assert_int_equal(fed_folder_remove(test_path(&f->folder, "x", f->path), &f->err), -FED_E_IO);
}

static void test_maps_whole_files(void **state)
{
    struct fixture *f = *state;
    const char *path = test_path(&f->folder, "map", f->path);
    struct fed_map map;

    test_file_write(path, "mapped", 6);
    assert_int_equal(fed_map_open(path, &map, &f->err), 0);
    assert_int_equal(map.size, 6);
    assert_memory_equal(map.data, "mapped", 6);
    fed_map_close(&map);
    fed_map_close(&map);
    test_file_write(path, "", 0);
    assert_int_equal(fed_map_open(path, &map, &f->err), 0);
    assert_null(map.data);
    fed_map_close(&map);
    assert_int_equal(fed_map_open("/nonexistent", &map, &f->err), -FED_E_NOT_FOUND);
}

static void test_long_paths_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[FED_PATH_SIZE];

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    (void)snprintf(f->path, sizeof(f->path), "untouched");
    assert_int_equal(fed_path_format(f->path, &f->err, "/%s", name), -FED_E_LIMIT);
    assert_string_equal(f->path, "untouched");
    assert_int_equal(fed_path_format(f->path, &f->err, "%s", name), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loads_what_was_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_says_what_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pipe_is_refused_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_replace_keeps_the_old_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_part_of_the_pieces_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_maps_whole_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_paths_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
