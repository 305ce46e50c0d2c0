/* reducer/cli/up: the order of starting and stopping, deaths and refusals, with shell scripts in
 * the daemons' place. Each script writes down that it starts and that it stops. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/conf/conf.h"
#include "reducer/cli/child.h"
#include "reducer/cli/up.h"

#define TRACE_SIZE 8192

struct fixture {
    char folder[64];
    char dir[96];
    struct up_settings settings;
    struct term term;
    char *printed;
    size_t printed_size;
    char trace[TRACE_SIZE];
};

/* Ready at once; ends on SIGTERM; what it was given can be read in the trace. */
static const char daemon_script[] =
    "#!/bin/sh\n"
    "trace=$(dirname \"$0\")/trace\n"
    "while [ $# -gt 0 ]; do\n"
    "  case $1 in --ready-file) ready=$2;; --advertise) at=$2;; --shard) at=$2;; esac; shift\n"
    "done\n"
    "name=$(basename \"$ready\" .json)\n"
    "trap 'echo \"stop $name\" >> \"$trace\"; exit 0' TERM\n"
    "echo \"start $name $$ $at\" >> \"$trace\"\n"
    "echo '{\"http\":\"127.0.0.1:1\",\"rpc\":\"127.0.0.1:2\"}' > \"$ready.tmp\"\n"
    "mv \"$ready.tmp\" \"$ready\"\n"
    "while :; do sleep 0.2 & wait $!; done\n";

static void write_program(const struct fixture *f, const char *name, const char *script)
{
    char path[FED_PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    assert_int_equal(fed_file_replace(path, fed_view_str(script), false, NULL), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    (void)snprintf(f.folder, sizeof(f.folder), "/tmp/confed-up-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    (void)snprintf(f.dir, sizeof(f.dir), "%s/dir", f.folder);
    write_program(&f, "confed-reducer", daemon_script);
    write_program(&f, "confed-combiner", daemon_script);
    write_program(&f, "confed-client", daemon_script);
    f.settings = (struct up_settings){.dir = f.dir,
                                      .http = "127.0.0.1:0",
                                      .rpc = "127.0.0.1:0",
                                      .n_combiners = 1,
                                      .n_clients = 2,
                                      .data = "",
                                      .partition = "",
                                      .trainer = "echo",
                                      .kernel = "",
                                      .model = "cnn",
                                      .n_rounds = 1,
                                      .round_timeout_ms = 1000,
                                      .start_limit_ms = 30000};
    f.term.file = open_memstream(&f.printed, &f.printed_size);
    assert_non_null(f.term.file);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct child remover = {.keep_fd = -1, .has_own_output = true};
    struct child_words words = {0};
    int status = 0;

    assert_int_equal(fclose(f->term.file), 0);
    free(f->printed);
    child_words_add(&words, "/bin/rm");
    child_words_add(&words, "-rf");
    child_words_add(&words, "%s", f->folder);
    assert_int_equal(child_start(&remover, &words, 0, NULL), 0);
    assert_int_equal(waitpid(remover.pid, &status, 0), remover.pid);
    child_words_deinit(&words);
    return status;
}

static int run(struct fixture *f, const char *session, struct fed_err *err)
{
    char self[FED_PATH_SIZE];
    char path[FED_PATH_SIZE];
    struct fed_buf buf;
    int rc;

    write_program(f, "session", session);
    (void)snprintf(self, sizeof(self), "%s/session", f->folder);
    rc = up_run(&f->settings, f->folder, self, &f->term, err);
    (void)fflush(f->term.file);
    (void)snprintf(path, sizeof(path), "%s/trace", f->folder);
    f->trace[0] = '\0';
    if (fed_file_load(path, TRACE_SIZE - 1, &buf, NULL) == 0) {
        memcpy(f->trace, buf.data, buf.size);
        f->trace[buf.size] = '\0';
        fed_buf_deinit(&buf);
    }
    return rc;
}

/* Where a line that begins so stands in the trace; it must be there. */
static ptrdiff_t at(const struct fixture *f, const char *line)
{
    const char *found = strstr(f->trace, line);

    if (found == NULL) {
        fail_msg("no '%s' in:\n%s%s", line, f->trace, f->printed);
    }
    return found - f->trace;
}

static size_t count(const struct fixture *f, const char *line)
{
    size_t n = 0;

    for (const char *p = strstr(f->trace, line); p != NULL; p = strstr(p + 1, line)) {
        n++;
    }
    return n;
}

static void test_started_forwards_and_stopped_backwards(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(
        run(f, "#!/bin/sh\necho \"session $*\" >> \"$(dirname \"$0\")/trace\"\nexit 4\n", NULL), 4);
    assert_true(at(f, "start reducer") < at(f, "start combiner-1"));
    assert_true(at(f, "start combiner-1") < at(f, "start client-1"));
    assert_true(at(f, "start combiner-1") < at(f, "start client-2"));
    assert_true(at(f, "start client-2") < at(f, "session start --api-url http://127.0.0.1:1 "
                                                "--model cnn --rounds 1 --clients-required 2"));
    assert_true(at(f, "session") < at(f, "stop client-1"));
    assert_true(at(f, "session") < at(f, "stop client-2"));
    assert_true(at(f, "stop client-1") < at(f, "stop combiner-1"));
    assert_true(at(f, "stop client-2") < at(f, "stop combiner-1"));
    assert_true(at(f, "stop combiner-1") < at(f, "stop reducer"));
    assert_non_null(strstr(f->printed, "reducer     http://127.0.0.1:1"));
}

/* The session's script kills the combiner, and ends when it is there again. */
static void test_what_dies_is_started_again_on_the_same_socket(void **state)
{
    struct fixture *f = *state;
    char first[64];

    assert_int_equal(run(f,
                         "#!/bin/sh\ntrace=$(dirname \"$0\")/trace\n"
                         "kill -9 $(sed -n 's/start combiner-1 \\([0-9]*\\) .*/\\1/p' $trace)\n"
                         "n=0\nwhile [ $(grep -c 'start combiner-1' $trace) -lt 2 ]; do\n"
                         "  n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.1\ndone\nexit 0\n",
                         NULL),
                     0);
    assert_int_equal(count(f, "start combiner-1"), 2);
    assert_int_equal(count(f, "start reducer"), 1);
    assert_int_equal(count(f, "start client-1"), 1);
    assert_non_null(strstr(f->printed, "combiner-1 died (signal 9); starting it again in 0."));
    (void)snprintf(first, sizeof(first), "%s",
                   strstr(f->trace + at(f, "start combiner-1"), " 127.0.0.1:"));
    *strchr(first, '\n') = '\0';
    assert_int_equal(count(f, first), 2); /* the address it advertises */
}

static void test_bad_settings_end_the_start(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    write_program(f, "confed-client", "#!/bin/sh\necho 'no such partition' >&2\nexit 2\n");
    assert_int_equal(run(f, "#!/bin/sh\nexit 0\n", &err), -FED_E_CONFLICT);
    assert_non_null(strstr(err.msg, "ends with exit status 2 before it is ready"));
    assert_non_null(strstr(f->printed, "no such partition"));
    assert_int_equal(count(f, "stop combiner-1"), 1);
    assert_int_equal(count(f, "stop reducer"), 1);
}

static void test_what_does_not_get_ready_ends_the_start(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    f->settings.start_limit_ms = 1000;
    write_program(f, "confed-combiner",
                  "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.2 & wait $!; done\n");
    assert_int_equal(run(f, "#!/bin/sh\nexit 0\n", &err), -FED_E_CONFLICT);
    assert_string_equal(err.msg, "combiner-1 was not ready within 1 s");
    assert_int_equal(count(f, "start client"), 0);
    assert_int_equal(count(f, "stop reducer"), 1);
}

static void test_ctrl_c_stops_everything(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run(f,
                         "#!/bin/sh\ntrap 'exit 1' TERM\nkill -INT $PPID\n"
                         "while :; do sleep 0.2 & wait $!; done\n",
                         NULL),
                     FED_EXIT_ROUNDS);
    assert_true(at(f, "stop client-1") < at(f, "stop combiner-1"));
    assert_true(at(f, "stop combiner-1") < at(f, "stop reducer"));
}

static void test_a_folder_in_use_or_of_somebody_else_is_left_alone(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct fed_err err;
    int fd;

    assert_int_equal(mkdir(f->dir, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/letters", f->dir);
    assert_int_equal(fed_file_replace(path, fed_view_str("x"), false, NULL), 0);
    f->settings.is_fresh = true;
    assert_int_equal(run(f, "#!/bin/sh\n", &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "holds something else"));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/lock", f->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(run(f, "#!/bin/sh\n", &err), -FED_E_CONFLICT);
    assert_non_null(strstr(err.msg, "another `confed up` works in"));
    assert_string_equal(f->trace, "");
    (void)close(fd);
}

static void test_fresh_removes_what_was_ours(void **state)
{
    struct fixture *f = *state;
    char path[128];

    assert_int_equal(run(f, "#!/bin/sh\nexit 0\n", NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/reducer/blobs/old", f->dir);
    assert_int_equal(fed_file_replace(path, fed_view_str("x"), false, NULL), 0);
    assert_int_equal(run(f, "#!/bin/sh\nexit 0\n", NULL), 0);
    assert_int_equal(access(path, F_OK), 0);
    f->settings.is_fresh = true;
    assert_int_equal(run(f, "#!/bin/sh\nexit 0\n", NULL), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_started_forwards_and_stopped_backwards),
        TEST(test_what_dies_is_started_again_on_the_same_socket),
        TEST(test_bad_settings_end_the_start),
        TEST(test_what_does_not_get_ready_ends_the_start),
        TEST(test_ctrl_c_stops_everything),
        TEST(test_a_folder_in_use_or_of_somebody_else_is_left_alone),
        TEST(test_fresh_removes_what_was_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
