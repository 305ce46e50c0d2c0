#include <stdio.h>
#include <string.h>

#include "common/conf/conf_inside.h"
#include "tests/lib/fixture.h"

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    char trace[512];
    struct fed_err err;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    test_folder_make(&f.folder);
    (void)test_path(&f.folder, "a.yaml", f.path);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    test_folder_remove(&f->folder);
    return 0;
}

static int
trace_key(void *arg, const char *key, const char *value, const char *where, struct fed_err *err)
{
    struct fixture *f = arg;
    const size_t used = strlen(f->trace);

    if (strcmp(value, "fail") == 0) {
        return fed_err_set(err, FED_E_INVALID, "%s: no", strrchr(where, '/') + 1);
    }
    (void)snprintf(f->trace + used, sizeof(f->trace) - used, "%s=%s@%s\n", key, value,
                   strrchr(where, ':') + 1);
    return 0;
}

static int load(struct fixture *f, const char *text)
{
    f->trace[0] = '\0';
    f->err.msg[0] = '\0';
    test_file_write(f->path, text, strlen(text));
    return conf_yaml_load(f->path, trace_key, f, &f->err);
}

static void test_keys_and_lines(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(load(f, "# a comment\nhttp: 127.0.0.1:80\n\nspool:\n  sync: update\n"
                             "  bytes-max: 4 GiB\ntext: 'a: b'\nempty:\nn: 0x10\n"),
                     0);
    assert_string_equal(f->trace, "http=127.0.0.1:80@2\nspool_sync=update@5\n"
                                  "spool_bytes-max=4 GiB@6\ntext=a: b@7\nempty=@8\nn=0x10@9\n");
    assert_int_equal(load(f, ""), 0);
    assert_int_equal(load(f, "# nothing\n"), 0);
    assert_int_equal(load(f, "a: &x 1\nb: *x\n"), 0);
    assert_string_equal(f->trace, "a=1@1\nb=1@2\n");
}

static void test_what_is_wrong_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"a: 1\nb: fail\n", "a.yaml:2: no"},
        {"a: [1, 2]\n", "a.yaml:1: a wants one value, not a list"},
        {"a:\n  b:\n    c: 1\n", "a.yaml:2: a_b wants one value, not a list"},
        {"? [a]\n: 1\n", "a.yaml:1: a key is no plain text"},
        {"- a\n", "a.yaml: want lines of 'key: value'"},
        {"just text\n", "a.yaml: want lines of 'key: value'"},
        {"a: &x\n  b: *x\n", "a.yaml:2: a_b wants one value, not a list"},
        {"&x\n\"\": *x\n", "a.yaml:2: a key is no plain text"}, /* holds itself, without a name */
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load(f, cases[i].text), -FED_E_INVALID);
        assert_string_equal(strstr(f->err.msg, "a.yaml"), cases[i].want);
    }
    assert_int_equal(load(f, "a: 1\nb: 'open\n"), -FED_E_INVALID);
    assert_non_null(strstr(f->err.msg, "a.yaml:"));
    assert_int_equal(load(f, "a: \"\xff\"\n"), -FED_E_INVALID);
    assert_int_equal(conf_yaml_load("/nonexistent", trace_key, f, &f->err), -FED_E_NOT_FOUND);
}

static void test_bounds(void **state)
{
    static char text[CONF_FILE_MAX + 2];
    struct fixture *f = *state;

    memset(text, '#', sizeof(text));
    test_file_write(f->path, text, CONF_FILE_MAX + 1);
    assert_int_equal(conf_yaml_load(f->path, trace_key, f, &f->err), -FED_E_LIMIT);
    memset(text, 'k', 300);
    memcpy(text + 300, ": 1\n", 5);
    assert_int_equal(load(f, text), -FED_E_INVALID);
    assert_non_null(strstr(f->err.msg, "the key is too long"));
    /* deep nesting costs libyaml's own bound, not our stack */
    memset(text, '[', 20000);
    text[20000] = '\0';
    assert_int_equal(load(f, text), -FED_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys_and_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_named_with_its_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
