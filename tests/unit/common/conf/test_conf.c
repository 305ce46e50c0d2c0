#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/unconst.h"
#include "common/conf/conf.h"
#include "tests/lib/fixture.h"

struct settings {
    const char *name;
    uint64_t count;
    bool is_fast;
    uint64_t limit_ms;
    uint64_t size_bytes;
    double ratio;
    const char *token;
};

#define AT(field) offsetof(struct settings, field)

static const struct fed_conf_item items[] = {
    {"name", FED_CONF_TEXT, "nobody", 0, 0, AT(name), false, "NAME", "who it is"},
    {"count", FED_CONF_U64, "5", 1, 100, AT(count), false, "N", "how many"},
    {"fast", FED_CONF_BOOL, "false", 0, 0, AT(is_fast), false, "", "whether to hurry"},
    {"round_limit", FED_CONF_DURATION, "30 s", 10, 0, AT(limit_ms), false, "TIME", "how long"},
    {"size", FED_CONF_SIZE, "64 MiB", 0, 0, AT(size_bytes), false, "SIZE", "how large"},
    {"ratio", FED_CONF_REAL, "0.5", 0, 1, AT(ratio), false, "X", "how much"},
    {"token", FED_CONF_TEXT, "", 0, 0, AT(token), true, "", "the secret"},
};

static const struct fed_conf_spec spec = {"confed-test",
                                          "FED_TEST",
                                          "tests its settings",
                                          "Example: confed-test --count 3\n",
                                          items,
                                          sizeof(items) / sizeof(items[0])};

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct settings settings;
    struct fed_conf conf;
    struct fed_err err;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    test_folder_make(&f.folder);
    (void)test_path(&f.folder, "conf.yaml", f.path);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"FED_TEST_COUNT", "FED_TEST_NAME", "FED_TEST_TOKEN",
                                        "FED_TEST_TOKEN_FILE", "FED_TEST_FAST"};
    struct fixture *f = *state;

    fed_conf_deinit(&f->conf);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unsetenv(names[i]);
    }
    test_folder_remove(&f->folder);
    return 0;
}

/* Arguments separated by '|'. */
static int load(struct fixture *f, const char *arguments)
{
    char text[1024];
    char *argv[32] = {fed_unconst("confed-test")};
    char *rest = text;
    int argc = 1;

    fed_conf_deinit(&f->conf);
    f->err.msg[0] = '\0';
    (void)snprintf(text, sizeof(text), "%s", arguments);
    while (*rest != '\0' && argc < 31) {
        char *bar = strchr(rest, '|');
        argv[argc++] = rest;
        if (bar == NULL) {
            break;
        }
        *bar = '\0';
        rest = bar + 1;
    }
    return fed_conf_load(&spec, argc, argv, &f->settings, &f->conf, &f->err);
}

static void write_file(struct fixture *f, const char *text)
{
    test_file_write(f->path, text, strlen(text));
}

static int load_file(struct fixture *f, const char *more)
{
    char text[FED_PATH_SIZE + 256];

    (void)snprintf(text, sizeof(text), "--config|%s%s", f->path, more);
    return load(f, text);
}

static void check_message(struct fixture *f, int rc, const char *want)
{
    assert_int_equal(rc, -FED_E_INVALID);
    assert_string_equal(f->err.msg, want);
}

static void test_defaults_of_every_type(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(load(f, ""), 0);
    assert_string_equal(f->settings.name, "nobody");
    assert_int_equal(f->settings.count, 5);
    assert_false(f->settings.is_fast);
    assert_int_equal(f->settings.limit_ms, 30000);
    assert_int_equal(f->settings.size_bytes, 64U << 20);
    assert_true(f->settings.ratio > 0.49 && f->settings.ratio < 0.51);
    assert_string_equal(f->settings.token, "");
}

static void test_file_environment_command_line(void **state)
{
    struct fixture *f = *state;

    write_file(f, "name: file\ncount: 7\nround-limit: 2 min\nsize: 1 GiB\nfast: yes\n");
    (void)setenv("FED_TEST_COUNT", "8", 1);
    (void)setenv("FED_TEST_NAME", "environment", 1);
    assert_int_equal(load_file(f, "|--name|flag|--ratio=0.25"), 0);
    assert_string_equal(f->settings.name, "flag");
    assert_int_equal(f->settings.count, 8);
    assert_int_equal(f->settings.limit_ms, 120000);
    assert_int_equal(f->settings.size_bytes, 1U << 30);
    assert_true(f->settings.is_fast);
    assert_true(f->settings.ratio < 0.26);
    assert_int_equal(load_file(f, "|--fast=off|--round-limit=15|--count|100"), 0);
    assert_false(f->settings.is_fast);
    assert_int_equal(f->settings.limit_ms, 15);
    assert_int_equal(f->settings.count, 100);
    assert_int_equal(load(f, "--fast"), 0);
    assert_true(f->settings.is_fast);
}

static void test_wrong_values_say_where_and_what(void **state)
{
    struct fixture *f = *state;
    char want[FED_ERR_MSG_SIZE];

    check_message(f, load(f, "--count|abc"), "--count: count is 'abc', want a whole number");
    check_message(f, load(f, "--count=101"), "--count: count is '101', want 1 to 100");
    check_message(f, load(f, "--count=0"), "--count: count is '0', want 1 to 100");
    check_message(f, load(f, "--count|-1"), "--count: count is '-1', want a whole number");
    check_message(f, load(f, "--round-limit=9"),
                  "--round-limit: round_limit is '9', want at least 10");
    check_message(f, load(f, "--round-limit=9 parsecs"),
                  "--round-limit: round_limit is '9 parsecs', want a duration such as '30 s'");
    check_message(f, load(f, "--size=9 MB"),
                  "--size: size is '9 MB', want a size such as '64 MiB'");
    check_message(f, load(f, "--size=99999999999 GiB"),
                  "--size: size is '99999999999 GiB', want a size such as '64 MiB'");
    check_message(f, load(f, "--fast=maybe"), "--fast: fast is 'maybe', want true or false");
    check_message(f, load(f, "--ratio=1.5"), "--ratio: ratio is '1.5', want a number in its range");
    check_message(f, load(f, "--ratio=nan"), "--ratio: ratio is 'nan', want a number in its range");
    (void)setenv("FED_TEST_COUNT", "x", 1);
    check_message(f, load(f, ""), "FED_TEST_COUNT: count is 'x', want a whole number");
    (void)unsetenv("FED_TEST_COUNT");
    write_file(f, "name: a\ncount: many\n");
    (void)snprintf(want, sizeof(want), "%.150s:2: count is 'many', want a whole number", f->path);
    check_message(f, load_file(f, ""), want);
}

static void test_unknown_keys_name_the_nearest(void **state)
{
    struct fixture *f = *state;
    char want[FED_ERR_MSG_SIZE];

    check_message(f, load(f, "--cuont=3"),
                  "--cuont: unknown setting 'cuont', did you mean 'count'?");
    check_message(f, load(f, "--utterly-different=3"),
                  "--utterly-different: unknown setting 'utterly_different' (see --help)");
    check_message(f, load(f, "stray"), "unexpected argument 'stray' (see --help)");
    check_message(f, load(f, "-x"), "unexpected argument '-x' (see --help)");
    check_message(f, load(f, "--name"), "--name needs a value: NAME");
    check_message(f, load(f, "--config"), "--config needs a value: FILE");
    write_file(f, "\nround:\n  limt: 3 s\n");
    (void)snprintf(want, sizeof(want),
                   "%.150s:3: unknown setting 'round_limt', did you mean 'round_limit'?", f->path);
    check_message(f, load_file(f, ""), want);
    assert_int_equal(load(f, "--config=/nonexistent"), -FED_E_NOT_FOUND);
}

static void test_secrets(void **state)
{
    struct fixture *f = *state;
    char arguments[FED_PATH_SIZE + 32];

    check_message(f, load(f, "--token=hunter2"),
                  "--token: token is a secret: give it by token_file or by the environment");
    write_file(f, "token: hunter2\n");
    assert_int_equal(load_file(f, ""), -FED_E_INVALID);
    assert_null(strstr(f->err.msg, "hunter2"));
    (void)setenv("FED_TEST_TOKEN", "from-environment", 1);
    assert_int_equal(load(f, ""), 0);
    assert_string_equal(f->settings.token, "from-environment");
    (void)unsetenv("FED_TEST_TOKEN");
    write_file(f, "from-file \n\n");
    (void)snprintf(arguments, sizeof(arguments), "--token-file|%s", f->path);
    assert_int_equal(load(f, arguments), 0);
    assert_string_equal(f->settings.token, "from-file");
    (void)setenv("FED_TEST_TOKEN_FILE", f->path, 1);
    assert_int_equal(load(f, ""), 0);
    assert_string_equal(f->settings.token, "from-file");
    (void)setenv("FED_TEST_TOKEN_FILE", "/nonexistent", 1);
    assert_int_equal(load(f, ""), -FED_E_NOT_FOUND);
}

/* -- what is printed -----------------------------------------------------------------------------
 */

/* Standard output (or error) of one load, or of fed_conf_log() after it. */
static struct fed_buf capture(struct fixture *f, const char *arguments, int want, int stream)
{
    char path[FED_PATH_SIZE];
    struct fed_buf buf;
    int saved;
    int fd;
    int rc;

    fd = open(test_path(&f->folder, "printed", path), O_RDWR | O_CREAT | O_TRUNC, 0600);
    (void)fflush(stdout);
    saved = dup(stream);
    (void)dup2(fd, stream);
    rc = load(f, arguments);
    if (stream == STDERR_FILENO) {
        fed_conf_log(&spec, &f->settings);
    }
    (void)fflush(stdout);
    (void)dup2(saved, stream);
    (void)close(saved);
    (void)close(fd);
    assert_int_equal(rc, want);
    buf = test_file_read(path);
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    return buf;
}

static void check_printed(struct fixture *f, const char *arguments, const char *const *want)
{
    struct fed_buf buf = capture(f, arguments, FED_CONF_EXIT, STDOUT_FILENO);

    for (; *want != NULL; want++) {
        if (strstr((const char *)buf.data, *want) == NULL) {
            fail_msg("'%s' is not in:\n%s", *want, (const char *)buf.data);
        }
    }
    fed_buf_deinit(&buf);
}

static void test_help_and_version(void **state)
{
    static const char *const help[] = {"confed-test - tests its settings",
                                       "--count N\n        how many [5]",
                                       "--round-limit TIME",
                                       "FED_TEST_TOKEN, FED_TEST_TOKEN_FILE, or --token-file FILE",
                                       "FED_TEST_<OPTION>",
                                       "Example: confed-test",
                                       NULL};
    static const char *const version[] = {"confed-test " CONFED_VERSION "\n", NULL};

    check_printed(*state, "--count=nonsense|--help", help);
    check_printed(*state, "-h", help);
    check_printed(*state, "--version", version);
}

static void test_a_dump_is_a_file_that_gives_the_same(void **state)
{
    struct fixture *f = *state;
    struct fed_buf dump;
    struct settings first;
    char name[64];

    (void)setenv("FED_TEST_TOKEN", "hunter2", 1);
    assert_int_equal(load(f, "--name=a \"b\" \\c: #\n\tz|--count=9|--round-limit=1 h|--ratio=0.1"),
                     0);
    (void)snprintf(name, sizeof(name), "%s", f->settings.name);
    first = f->settings;
    dump = capture(
        f, "--name=a \"b\" \\c: #\n\tz|--count=9|--round-limit=1 h|--ratio=0.1|--dump-config",
        FED_CONF_EXIT, STDOUT_FILENO);
    assert_null(strstr((const char *)dump.data, "hunter2"));
    test_file_write(f->path, dump.data, dump.size - 1);
    fed_buf_deinit(&dump);
    assert_int_equal(load_file(f, ""), 0);
    assert_string_equal(f->settings.name, name);
    assert_int_equal(f->settings.count, 9);
    assert_int_equal(f->settings.limit_ms, 3600000);
    assert_int_equal(f->settings.size_bytes, first.size_bytes);
    assert_memory_equal(&f->settings.ratio, &first.ratio, sizeof(first.ratio));
}

static void test_the_log_has_every_setting(void **state)
{
    struct fixture *f = *state;
    struct fed_buf buf;
    char arguments[600] = "--name=";

    (void)setenv("FED_TEST_TOKEN", "hunter2", 1);
    fed_log_init("confed-test", FED_LOG_INFO, false);
    memset(arguments + 7, 'n', 500);
    buf = capture(f, arguments, 0, STDERR_FILENO);
    for (size_t i = 0; i < spec.n_items; i++) {
        char pair[64];
        (void)snprintf(pair, sizeof(pair), "%s=\"", items[i].key);
        assert_non_null(strstr((const char *)buf.data, pair));
    }
    assert_non_null(strstr((const char *)buf.data, "token=\"********\""));
    assert_null(strstr((const char *)buf.data, "hunter2"));
    fed_buf_deinit(&buf);
}

/* -- small parsers -------------------------------------------------------------------------------
 */

static void test_addresses(void **state)
{
    static const char *const bad[] = {"",        "host",   ":80",      "host:",    "host:65536",
                                      "::1:80",  "[::1]",  "[]:80",    "[::1:80",  "host:-1",
                                      "::1]:80", "a:b:80", "host:80x", "host: 80", "[a]b:80"};
    char host[16];
    uint16_t port = 7;

    (void)state;
    assert_true(fed_address_parse("127.0.0.1:8092", host, sizeof(host), &port));
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 8092);
    assert_true(fed_address_parse("[::1]:0", host, sizeof(host), &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (fed_address_parse(bad[i], host, sizeof(host), &port)) {
            fail_msg("'%s' is taken for an address", bad[i]);
        }
    }
    assert_false(fed_address_parse("a-host-name-that-is-too-long:80", host, sizeof(host), &port));
}

static void test_numbers_with_units(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_true(fed_conf_parse_number(FED_CONF_DURATION, "500ms", &value));
    assert_int_equal(value, 500);
    assert_true(fed_conf_parse_number(FED_CONF_DURATION, "2 h", &value));
    assert_int_equal(value, 7200000);
    assert_true(fed_conf_parse_number(FED_CONF_SIZE, "16KiB", &value));
    assert_int_equal(value, 16384);
    assert_true(fed_conf_parse_number(FED_CONF_U64, "18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    assert_false(fed_conf_parse_number(FED_CONF_U64, "18446744073709551616", &value));
    assert_false(fed_conf_parse_number(FED_CONF_U64, "", &value));
    assert_false(fed_conf_parse_number(FED_CONF_U64, "5 s", &value));
    assert_false(fed_conf_parse_number(FED_CONF_SIZE, "5 s", &value));
    assert_false(fed_conf_parse_number(FED_CONF_DURATION, "1.5 s", &value));
    assert_true(value == UINT64_MAX);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"session", "round", "model"};

    (void)state;
    assert_string_equal(fed_nearest("sesion", names, 3), "session");
    assert_string_equal(fed_nearest("rond", names, 3), "round");
    assert_null(fed_nearest("validation", names, 3));
    assert_null(fed_nearest("x", names, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults_of_every_type),
        TEST(test_file_environment_command_line),
        TEST(test_wrong_values_say_where_and_what),
        TEST(test_unknown_keys_name_the_nearest),
        TEST(test_secrets),
        TEST(test_help_and_version),
        TEST(test_a_dump_is_a_file_that_gives_the_same),
        TEST(test_the_log_has_every_setting),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_numbers_with_units),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
