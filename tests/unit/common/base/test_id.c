#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/id.h"

static void test_what_may_stand_in_an_id(void **state)
{
    static const char *const good[] = {"a", "7", "client-1", "A.b_c:d@e+f-g", "_x", "+x", ":x"};
    static const char *const bad[] = {"",    ".",    "..",       "-rf",  ".hidden", "a/b", "a b",
                                      "a\n", "a\\b", "\xc3\xa9", "a%2f", "a,b",     "a\"b"};
    char text[FED_ID_SIZE + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(fed_id_is_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (fed_id_is_valid(bad[i])) {
            fail_msg("'%s' is taken for an id", bad[i]);
        }
    }
    assert_false(fed_id_is_valid(NULL));
    memset(text, 'x', sizeof(text));
    text[128] = '\0';
    assert_true(fed_id_is_valid(text));
    text[128] = 'x';
    text[129] = '\0';
    assert_false(fed_id_is_valid(text));
}

static void test_random_ids_are_uuids_and_differ(void **state)
{
    char a[FED_UUID_SIZE];
    char b[FED_UUID_SIZE];

    (void)state;
    assert_int_equal(fed_uuid_new(a, NULL), 0);
    assert_int_equal(fed_uuid_new(b, NULL), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_true(fed_id_is_valid(a));
}

static void test_an_id_from_a_hash_is_a_function_of_it(void **state)
{
    uint8_t hash[16];
    char text[FED_UUID_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(hash); i++) {
        hash[i] = (uint8_t)(0xF0 + i);
    }
    fed_uuid_from_hash(hash, text);
    assert_string_equal(text, "f0f1f2f3-f4f5-86f7-b8f9-fafbfcfdfeff");
}

static void test_hexadecimal(void **state)
{
    const uint8_t bytes[] = {0x00, 0x7F, 0xA5, 0xFF};
    char text[9];
    uint8_t back[4];

    (void)state;
    fed_hex_format(bytes, sizeof(bytes), text);
    assert_string_equal(text, "007fa5ff");
    assert_true(fed_hex_parse("007FA5ff", back, 4));
    assert_memory_equal(back, bytes, 4);
    assert_false(fed_hex_parse("007fa5f", back, 4));
    assert_false(fed_hex_parse("007fa5ff0", back, 4));
    assert_false(fed_hex_parse("007fa5fg", back, 4));
    assert_false(fed_hex_parse(" 07fa5ff", back, 4));
    assert_true(fed_hex_parse("", back, 0));
}

static void test_copies_are_cut(void **state)
{
    char text[300];
    char id[FED_ID_SIZE];

    (void)state;
    memset(text, 'y', sizeof(text));
    text[299] = '\0';
    fed_id_copy(id, text);
    assert_int_equal(strlen(id), FED_ID_SIZE - 1);
    fed_id_copy(id, "short");
    assert_string_equal(id, "short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_may_stand_in_an_id),
        cmocka_unit_test(test_random_ids_are_uuids_and_differ),
        cmocka_unit_test(test_an_id_from_a_hash_is_a_function_of_it),
        cmocka_unit_test(test_hexadecimal),
        cmocka_unit_test(test_copies_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
