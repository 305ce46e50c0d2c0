/* reducer/cli/child: real processes (/bin/sh) that start, get ready, die and inherit. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "reducer/cli/child.h"
#include "reducer/cli/interrupt.h"

#define LIMIT_MS 20000U

struct fixture {
    char folder[64];
    struct child child;
    int signal_fd;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){.child = {.keep_fd = -1}};
    (void)snprintf(f.folder, sizeof(f.folder), "/tmp/confed-child-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    (void)snprintf(f.child.name, sizeof(f.child.name), "child");
    (void)snprintf(f.child.log_path, sizeof(f.child.log_path), "%s/log", f.folder);
    assert_int_equal(interrupt_open(true, &f.signal_fd, NULL), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    child_signal(&f->child, SIGKILL);
    if (child_is_running(&f->child)) {
        (void)waitpid(f->child.pid, NULL, 0);
    }
    (void)close(f->signal_fd);
    return fed_folder_remove(f->folder, NULL);
}

static int start(struct fixture *f, const char *script, uint64_t now_ms, struct fed_err *err)
{
    struct child_words words = {0};
    int rc;

    child_words_add(&words, "/bin/sh");
    child_words_add(&words, "-c");
    child_words_add(&words, "%s", script);
    rc = child_start(&f->child, &words, now_ms, err);
    child_words_deinit(&words);
    return rc;
}

/* Wait for SIGCHLD, with a deadline. */
static void wait_end(struct fixture *f, uint64_t now_ms)
{
    const uint64_t due_ms = fed_clock_mono_ms() + LIMIT_MS;

    while (!child_reap(&f->child, now_ms)) {
        assert_true(fed_clock_mono_ms() < due_ms);
        (void)interrupt_wait(f->signal_fd, 1000);
        (void)interrupt_take(f->signal_fd);
    }
}

static void check_log(const struct fixture *f, const char *want)
{
    struct fed_buf buf;

    assert_int_equal(fed_file_load(f->child.log_path, 4096, &buf, NULL), 0);
    assert_int_equal(buf.size, strlen(want));
    assert_memory_equal(buf.data, want, buf.size);
    fed_buf_deinit(&buf);
}

static void test_output_goes_to_the_log_and_the_status_is_told(void **state)
{
    struct fixture *f = *state;
    char text[32];

    assert_int_equal(start(f, "echo out; echo err >&2; exit 3", 1000, NULL), 0);
    assert_int_equal(f->child.state, CHILD_READY);
    wait_end(f, 1500);
    assert_int_equal(f->child.state, CHILD_ENDED);
    assert_string_equal(child_format_status(&f->child, text, sizeof(text)), "exit status 3");
    check_log(f, "out\nerr\n");
    assert_int_equal(start(f, "kill -9 $$", 2000, NULL), 0);
    wait_end(f, 2000);
    assert_string_equal(child_format_status(&f->child, text, sizeof(text)), "signal 9");
}

static void test_deaths_in_a_row_wait_longer_and_a_long_life_starts_anew(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;

    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(start(f, "exit 1", 1000, NULL), 0);
        wait_end(f, 1000);
        assert_int_equal(f->child.n_deaths, i + 1);
        assert_true(f->child.due_ms - 1000 <= 10000);
        last = f->child.due_ms - 1000;
    }
    assert_true(last >= 5000);
    assert_int_equal(start(f, "exit 1", 1000, NULL), 0);
    wait_end(f, 1000 + 60000);
    assert_int_equal(f->child.n_deaths, 1);
    assert_true(f->child.due_ms - 61000 <= 200);
}

static void test_ready_when_the_file_is_there(void **state)
{
    struct fixture *f = *state;
    char script[2 * FED_PATH_SIZE];
    const uint64_t due_ms = fed_clock_mono_ms() + LIMIT_MS;

    (void)snprintf(f->child.ready_path, sizeof(f->child.ready_path), "%s/ready", f->folder);
    assert_int_equal(fed_file_replace(f->child.ready_path, fed_view_str("old"), false, NULL), 0);
    (void)snprintf(script, sizeof(script), "mkfifo %s/go; read x < %s/go; : > %s", f->folder,
                   f->folder, f->child.ready_path);
    assert_int_equal(start(f, script, 1000, NULL), 0);
    assert_int_equal(f->child.state, CHILD_STARTING);
    assert_false(child_look(&f->child)); /* the old file is gone */
    (void)snprintf(script, sizeof(script), "%s/go", f->folder);
    while (access(script, F_OK) != 0) {
        assert_true(fed_clock_mono_ms() < due_ms);
        (void)interrupt_wait(f->signal_fd, 5);
    }
    FILE *go = fopen(script, "we");
    assert_non_null(go);
    assert_true(fputs("x\n", go) >= 0);
    assert_int_equal(fclose(go), 0);
    while (!child_look(&f->child)) {
        assert_true(fed_clock_mono_ms() < due_ms);
        (void)interrupt_wait(f->signal_fd, 5);
    }
    assert_int_equal(f->child.state, CHILD_READY);
    assert_false(child_look(&f->child));
    wait_end(f, 1000);
}

static void test_a_program_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct child_words words = {0};
    struct fed_err err;

    child_words_add(&words, "%s/nothing", f->folder);
    assert_int_equal(child_start(&f->child, &words, 0, &err), -FED_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nothing: No such file"));
    assert_false(child_is_running(&f->child));
    assert_int_equal(f->child.state, CHILD_IDLE);
    child_words_deinit(&words);
}

static void test_it_inherits_one_descriptor_and_no_signal_mask(void **state)
{
    struct fixture *f = *state;
    char path[128];
    char script[512];
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    (void)snprintf(path, sizeof(path), "%s/x", f->folder);
    f->child.keep_fd = fds[0];
    assert_int_equal(write(fds[1], "kept\n", 5), 5);
    (void)snprintf(script, sizeof(script),
                   "read line <&%d; echo $line; trap 'echo term; exit 0' TERM; kill -TERM $$; "
                   "echo blocked",
                   fds[0]);
    assert_int_equal(start(f, script, 0, NULL), 0);
    wait_end(f, 0);
    check_log(f, "kept\nterm\n");
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* kill -9 of the parent takes the child along. */
static void test_it_does_not_outlive_its_parent(void **state)
{
    struct fixture *f = *state;
    const uint64_t due_ms = fed_clock_mono_ms() + LIMIT_MS;
    pid_t grandchild = 0;
    int fds[2];
    pid_t parent;

    assert_int_equal(pipe(fds), 0);
    parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        if (start(f, "while :; do read x < /dev/zero; done", 0, NULL) < 0 ||
            write(fds[1], &f->child.pid, sizeof(pid_t)) != sizeof(pid_t)) {
            _exit(1);
        }
        for (;;) {
            (void)pause();
        }
    }
    assert_int_equal(read(fds[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
    assert_int_equal(kill(grandchild, 0), 0);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    while (kill(grandchild, 0) == 0) {
        char path[64];
        char stat[512] = "";
        FILE *file;
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)grandchild);
        file = fopen(path, "re");
        if (file != NULL) {
            (void)!fread(stat, 1, sizeof(stat) - 1, file);
            (void)fclose(file);
        }
        if (strstr(stat, ") Z") != NULL) {
            break; /* dead; whoever adopted it has not looked yet */
        }
        assert_true(fed_clock_mono_ms() < due_ms);
        (void)interrupt_wait(f->signal_fd, 5);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_goes_to_the_log_and_the_status_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_deaths_in_a_row_wait_longer_and_a_long_life_starts_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ready_when_the_file_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_program_that_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_inherits_one_descriptor_and_no_signal_mask, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_it_does_not_outlive_its_parent, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
