/* reducer/cli/table: what a table looks like, to the blank. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/cli/table.h"

static const struct table_column columns[] = {{"CLIENT", false, false, 8},
                                              {"STATUS", false, true, 0},
                                              {"EXAMPLES", true, false, 0}};

static const char *format(const struct table *table, bool has_colour, struct fed_buf *buf)
{
    fed_buf_init(buf, 0);
    assert_int_equal(table_format(table, has_colour, "nobody", buf, NULL), 0);
    assert_int_equal(fed_buf_add(buf, "", 1, NULL), 0);
    return (const char *)buf->data;
}

static void check(const struct table *table, bool has_colour, const char *want)
{
    struct fed_buf buf;

    assert_string_equal(format(table, has_colour, &buf), want);
    fed_buf_deinit(&buf);
}

static void add(struct table *table, const char *a, const char *b, const char *c)
{
    const char *const cells[] = {a, b, c};

    assert_int_equal(table_add(table, cells, NULL), 0);
}

static void test_columns_are_as_wide_as_what_is_in_them(void **state)
{
    struct table table;

    (void)state;
    table_init(&table, columns, 3);
    check(&table, false, "nobody\n");
    add(&table, "client-1", "online", "30000");
    add(&table, "c2", "offline", NULL);
    check(&table, false,
          "CLIENT    STATUS   EXAMPLES\n"
          "client-1  online      30000\n"
          "c2        offline         -\n");
    table_deinit(&table);
}

static void test_long_cells_are_cut_and_utf8_counts_as_characters(void **state)
{
    struct table table;

    (void)state;
    table_init(&table, columns, 3);
    add(&table, "123456789", "x", "1");
    add(&table, "h\u00f4pital", "y", "2");
    check(&table, false,
          "CLIENT    STATUS  EXAMPLES\n"
          "1234567~  x              1\n"
          "h\u00f4pital   y              2\n");
    table_deinit(&table);
}

static void test_colours_are_for_states_only(void **state)
{
    struct table table;

    (void)state;
    table_init(&table, columns, 3);
    add(&table, "online", "online", "1");
    check(&table, true,
          "\033[1mCLIENT\033[0m  \033[1mSTATUS\033[0m  \033[1mEXAMPLES\033[0m\n"
          "online  \033[32monline\033[0m         1\n");
    table_deinit(&table);
}

/* A client chooses its name; it must not steer the admin's terminal. */
static void test_control_characters_do_not_get_through(void **state)
{
    char text[32];
    struct table table;

    (void)state;
    assert_string_equal(table_clean("a\033[2Jb\nc\x7f", text, sizeof(text)), "a?[2Jb?c?");
    assert_string_equal(table_clean("\xc2\x9b", text, sizeof(text)), "\xc2?");
    assert_string_equal(table_clean("abcdef", text, 4), "abc");
    table_init(&table, columns, 3);
    add(&table, "\033]0;x", "y", "z");
    check(&table, false,
          "CLIENT  STATUS  EXAMPLES\n"
          "?]0;x   y              z\n");
    table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_as_wide_as_what_is_in_them),
        cmocka_unit_test(test_long_cells_are_cut_and_utf8_counts_as_characters),
        cmocka_unit_test(test_colours_are_for_states_only),
        cmocka_unit_test(test_control_characters_do_not_get_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
