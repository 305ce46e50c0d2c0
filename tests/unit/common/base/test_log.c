#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "tests/lib/fixture.h"

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    int saved;
};

/* Standard error goes into a file from here on. */
static int set_up(void **state)
{
    static struct fixture f;
    int fd;

    test_folder_make(&f.folder);
    (void)test_path(&f.folder, "log", f.path);
    fd = open(f.path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    f.saved = dup(STDERR_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)close(f->saved);
    test_folder_remove(&f->folder);
    return 0;
}

/* What was logged, without the time; the caller deinits. Standard error is back after this. */
static struct fed_buf take_log(struct fixture *f)
{
    struct fed_buf buf;

    (void)dup2(f->saved, STDERR_FILENO);
    buf = test_file_read(f->path);
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    buf.size--;
    return buf;
}

static const char *after_time(const struct fed_buf *buf)
{
    const char *blank = strchr((const char *)buf->data, ' ');

    assert_non_null(blank);
    return blank + 1;
}

static void test_lines_have_level_event_and_text(void **state)
{
    struct fixture *f = *state;
    struct fed_buf buf;

    fed_log_init("prog", FED_LOG_INFO, false);
    fed_log(FED_LOG_INFO, "round", "closed", "round=%d updates=%d", 7, 2);
    fed_log(FED_LOG_DEBUG, "round", "unseen", "x");
    buf = take_log(f);
    assert_string_equal(after_time(&buf), "info prog round.closed round=7 updates=2\n");
    assert_false(fed_log_is_on(FED_LOG_DEBUG));
    fed_buf_deinit(&buf);
}

static void test_a_peers_text_forges_no_line(void **state)
{
    struct fixture *f = *state;
    struct fed_buf buf;

    fed_log_init("prog", FED_LOG_INFO, false);
    fed_log(FED_LOG_WARNING, "rpc", "odd", "name=%s", "a\nERROR forged\r\x1b[31m\x7f");
    buf = take_log(f);
    assert_string_equal(after_time(&buf), "warning prog rpc.odd name=a?ERROR forged??[31m?\n");
    fed_buf_deinit(&buf);
}

static void test_json_is_json(void **state)
{
    struct fixture *f = *state;
    struct fed_buf buf;
    const char *at;

    fed_log_init("prog", FED_LOG_DEBUG, true);
    fed_log(FED_LOG_ERROR, "rpc", "odd", "name=\"%s\"", "a\\b\xff\xc3\xa9\xc3");
    buf = take_log(f);
    at = strstr((const char *)buf.data, ",\"level\"");
    assert_non_null(at);
    assert_string_equal(at, ",\"level\":\"error\",\"program\":\"prog\",\"event\":\"rpc.odd\","
                            "\"text\":\"name=\\\"a\\\\b?\xc3\xa9?\\\"\"}\n");
    fed_buf_deinit(&buf);
}

static void test_long_lines_are_cut_and_end(void **state)
{
    struct fixture *f = *state;
    struct fed_buf buf;
    char text[5000];

    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fed_log_init("prog", FED_LOG_INFO, true);
    fed_log(FED_LOG_INFO, "a", "b", "%s", text);
    fed_log_init("prog", FED_LOG_INFO, false);
    fed_log(FED_LOG_INFO, "a", "b", "%s", text);
    buf = take_log(f);
    assert_true(buf.size < 2200);
    assert_int_equal(buf.data[buf.size - 1], '\n');
    assert_non_null(strstr((const char *)buf.data, "\"}\n"));
    fed_buf_deinit(&buf);
}

static void test_levels_are_parsed(void **state)
{
    enum fed_log_level level = FED_LOG_MAX;

    (void)dup2(((struct fixture *)*state)->saved, STDERR_FILENO);
    assert_true(fed_log_level_parse("debug", &level));
    assert_int_equal(level, FED_LOG_DEBUG);
    assert_false(fed_log_level_parse("DEBUG", &level));
    assert_false(fed_log_level_parse("", &level));
    assert_int_equal(level, FED_LOG_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_have_level_event_and_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_peers_text_forges_no_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_is_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut_and_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_levels_are_parsed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
