#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/text.h"

static void test_what_is_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "plain",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\xaf",         /* '/' in two bytes */
                                      "\xc3",             /* cut */
                                      "a\xe2\x82",        /* cut */
                                      "\xe0\x80\xaf",     /* too long a form */
                                      "\xed\xa0\x80",     /* a surrogate */
                                      "\xf0\x80\x80\x80", /* too long a form */
                                      "\xf4\x90\x80\x80", /* beyond U+10FFFF */
                                      "\xff",
                                      "\xc3\x28"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(fed_text_is_utf8(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char copy[16];
        assert_false(fed_text_is_utf8(bad[i]));
        fed_text_copy(copy, sizeof(copy), fed_view_str(bad[i]));
        assert_true(fed_text_is_utf8(copy));
    }
}

static void test_copies_are_clean_and_fit(void **state)
{
    char text[8];

    (void)state;
    fed_text_copy(text, sizeof(text), fed_view_str("a\nb\x7f\xff"));
    assert_string_equal(text, "a?b??");
    fed_text_copy(text, sizeof(text), fed_view_str("1234567"));
    assert_string_equal(text, "1234567");
    fed_text_copy(text, sizeof(text), fed_view_str("123456\xc3\xa9"));
    assert_string_equal(text, "123456"); /* cut between two characters */
    fed_text_copy(text, sizeof(text), fed_view_of("a\0b", 3));
    assert_string_equal(text, "a?b");
    fed_text_copy(text, 1, fed_view_str("x"));
    assert_string_equal(text, "");
    fed_text_copy(text, sizeof(text), (struct fed_view){0});
    assert_string_equal(text, "");
}

static void test_urls_lose_their_secrets(void **state)
{
    static const char *const pairs[][2] = {
        {"mongodb://me:sesame@host:1/db?w=1", "mongodb://***@host:1/db?w=1"},
        {"mongodb://me:ses@me@host/", "mongodb://***@host/"},
        {"mongodb://h/?tlsCertificateKeyFilePassword=x&a=b",
         "mongodb://h/?tlsCertificateKeyFilePassword=***&a=b"},
        {"mongodb://h/?authMechanismProperties=A:b", "mongodb://h/?authMechanismProperties=***"},
        {"mongodb://host:1/db", "mongodb://host:1/db"},
        {"sqlite:/a@b/c.db", "sqlite:/a@b/c.db"},
        {"", ""},
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        fed_text_blank_url(pairs[i][0], text, sizeof(text));
        assert_string_equal(text, pairs[i][1]);
    }
    for (size_t size = 1; size < 40; size++) { /* cut, never over the end, never a secret */
        char *small = malloc(size);
        assert_non_null(small);
        fed_text_blank_url("mongodb://me:sesame@host/?password=sesame&b=c", small, size);
        assert_true(strlen(small) < size);
        assert_null(strstr(small, "ses"));
        free(small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_utf8),
        cmocka_unit_test(test_copies_are_clean_and_fit),
        cmocka_unit_test(test_urls_lose_their_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
