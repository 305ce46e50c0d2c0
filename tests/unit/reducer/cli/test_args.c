/* reducer/cli/args: options of every type, words, and errors that name what was meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/cli/args.h"

#define WORDS_MAX 40

struct settings {
    const char *name;
    uint64_t rounds;
    uint64_t timeout_ms;
    uint64_t epochs;
    double lr;
    bool is_waiting;
};

#define AT(member) offsetof(struct settings, member)

static const struct fed_conf_item items[] = {
    {"name", FED_CONF_TEXT, "", 0, 0, AT(name), false, "TEXT", "a name"},
    {"rounds", FED_CONF_U64, "5", 1, 100, AT(rounds), false, "N", "how many"},
    {"round_timeout", FED_CONF_DURATION, "180 s", 1, 0, AT(timeout_ms), false, "DURATION", "till"},
    {"epochs", FED_CONF_U64, "", 1, 10, AT(epochs), false, "N", "passes"},
    {"lr", FED_CONF_REAL, "", 0, 10, AT(lr), false, "X", "rate"},
};
static const struct fed_conf_item more_items[] = {
    {"wait", FED_CONF_BOOL, "false", 0, 0, AT(is_waiting), false, "", "stay"},
};
static const struct args_table tables[ARGS_TABLES_MAX] = {{items, 5}, {more_items, 1}};

/* Parse words separated by '|'. The texts live until the next call. */
static int
parse(const char *line, struct settings *settings, struct args *args, struct fed_err *err)
{
    static char text[256];
    char *argv[WORDS_MAX];
    char *rest = NULL;
    int argc = 0;

    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok_r(text, "|", &rest); word != NULL && argc < WORDS_MAX;
         word = strtok_r(NULL, "|", &rest)) {
        argv[argc++] = word;
    }
    *settings = (struct settings){0};
    return args_parse(tables, argc, argv, settings, args, err);
}

static void check_refused(const char *line, const char *message)
{
    struct settings settings;
    struct fed_err err;
    struct args args;

    assert_int_equal(parse(line, &settings, &args, &err), -FED_E_INVALID);
    assert_string_equal(err.msg, message);
}

static void test_values_come_in_both_forms(void **state)
{
    struct settings settings;
    struct args args;

    (void)state;
    assert_int_equal(parse("word", &settings, &args, NULL), 0);
    assert_string_equal(settings.name, "");
    assert_int_equal(settings.rounds, 5);
    assert_int_equal(settings.timeout_ms, 180000);
    assert_int_equal(settings.epochs, 0);
    assert_false(settings.is_waiting);
    assert_int_equal(args.n_words, 1);
    assert_int_equal(parse("--name|a b|--rounds=7|--round-timeout|2 min|--wait|--lr|0.5|x|--|--y",
                           &settings, &args, NULL),
                     0);
    assert_string_equal(settings.name, "a b");
    assert_int_equal(settings.rounds, 7);
    assert_int_equal(settings.timeout_ms, 120000);
    assert_true(settings.is_waiting);
    assert_true(settings.lr > 0.49 && settings.lr < 0.51);
    assert_int_equal(args.n_words, 2);
    assert_string_equal(args.words[1], "--y");
    assert_int_equal(parse("--wait=false|-h", &settings, &args, NULL), 0);
    assert_false(settings.is_waiting);
    assert_true(args.wants_help);
}

static void test_errors_say_what_was_meant(void **state)
{
    (void)state;
    check_refused("--roundz|3", "unknown option --roundz, did you mean --rounds?");
    check_refused("--wiat", "unknown option --wiat, did you mean --wait?");
    check_refused("--completely-else", "unknown option --completely-else");
    check_refused("-r", "unknown option -r: options begin with --");
    check_refused("--rounds", "--rounds needs a value: N");
    check_refused("--rounds|0", "--rounds: want 1 to 100, not 0");
    check_refused("--rounds|101", "--rounds: want 1 to 100, not 101");
    check_refused("--rounds|-3", "--rounds: want a whole number, not '-3'");
    check_refused("--round-timeout|3 x",
                  "--round-timeout: want a duration such as '30 s', not '3 x'");
    check_refused("--lr|nan", "--lr: want a number in its range, not 'nan'");
    check_refused("--lr|0.5x", "--lr: want a number in its range, not '0.5x'");
    check_refused("--wait=maybe", "--wait=maybe: want true or false, not 'maybe'");
    check_refused("a|b|c|d|e|f|g|h|i|j|k|l|m", "unexpected word 'm'");
}

static void test_help_has_a_line_an_option(void **state)
{
    struct fed_buf buf;

    (void)state;
    fed_buf_init(&buf, 0);
    assert_int_equal(args_format(&tables[0], &buf, NULL), 0);
    assert_int_equal(args_format(&tables[1], &buf, NULL), 0);
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    assert_string_equal((const char *)buf.data, "  --name TEXT\n        a name\n"
                                                "  --rounds N\n        how many [5]\n"
                                                "  --round-timeout DURATION\n"
                                                "        till [180 s]\n"
                                                "  --epochs N\n        passes\n"
                                                "  --lr X\n        rate\n"
                                                "  --wait\n        stay\n");
    fed_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_in_both_forms),
        cmocka_unit_test(test_errors_say_what_was_meant),
        cmocka_unit_test(test_help_has_a_line_an_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
