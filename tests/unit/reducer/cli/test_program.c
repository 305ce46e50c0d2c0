/* reducer/cli/program: where a program of ours is looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/cli/program.h"

static void test_where_it_lies(void **state)
{
    struct child_words words = {0};
    char self[FED_PATH_SIZE];

    (void)state;
    assert_int_equal(program_words(&words, "some/where", NULL), 0);
    assert_int_equal(program_words(&words, "unit.reducer.cli.program", NULL), 0);
    assert_int_equal(words.n, 2);
    assert_string_equal(words.items[0], "some/where");
    assert_non_null(realpath("/proc/self/exe", self));
    assert_string_equal(words.items[1], self);
    child_words_deinit(&words);
}

static void test_no_path_no_word(void **state)
{
    struct child_words words = {0};
    struct fed_err err = {0};
    char name[FED_PATH_SIZE + 1];

    (void)state;
    memset(name, 'a', sizeof(name));
    name[FED_PATH_SIZE] = '\0';
    assert_int_equal(program_words(&words, name, &err), -FED_E_LIMIT);
    assert_int_equal(words.n, 0);
    assert_false(words.is_short);
    child_words_deinit(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_it_lies),
        cmocka_unit_test(test_no_path_no_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
