#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/err.h"

static void test_set_fills_and_returns(void **state)
{
    struct fed_err err = {.sys_errno = 7};

    (void)state;
    assert_int_equal(fed_err_set(&err, FED_E_CORRUPT, "tensor %u: %d bytes", 3U, 4),
                     -FED_E_CORRUPT);
    assert_int_equal(err.code, FED_E_CORRUPT);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.msg, "tensor 3: 4 bytes");
    assert_int_equal(fed_err_set(NULL, FED_E_IO, "nobody listens"), -FED_E_IO);
}

static void test_wrap_puts_context_in_front(void **state)
{
    struct fed_err err = {0};
    int rc = fed_err_set(&err, FED_E_IO, "disk full");

    (void)state;
    rc = fed_err_wrap(&err, rc, "write %s", "m-17");
    assert_int_equal(fed_err_wrap(&err, rc, "save"), -FED_E_IO);
    assert_string_equal(err.msg, "save: write m-17: disk full");
    assert_int_equal(err.code, FED_E_IO);
    assert_int_equal(fed_err_wrap(NULL, -FED_E_LIMIT, "x"), -FED_E_LIMIT);
}

static void test_long_messages_are_cut(void **state)
{
    struct fed_err err = {0};
    char text[600];
    int rc;

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    rc = fed_err_set(&err, FED_E_IO, "%s", text);
    assert_int_equal(strlen(err.msg), FED_ERR_MSG_SIZE - 1);
    rc = fed_err_wrap(&err, rc, "%s", text);
    assert_int_equal(rc, -FED_E_IO);
    assert_int_equal(strlen(err.msg), FED_ERR_MSG_SIZE - 1);
}

/* The numbers end up in logs and exit statuses: they never change. */
static void test_the_table(void **state)
{
    (void)state;
    assert_int_equal(FED_E_NOMEM, 1);
    assert_int_equal(FED_E_UNSUPPORTED, 12);
    assert_int_equal(FED_E_DENIED, 13);
    assert_string_equal(fed_code_text(FED_OK), "ok");
    assert_int_equal(fed_code_http(FED_E_INVALID), 400);
    assert_int_equal(fed_code_grpc(FED_E_UNAVAILABLE), 14);
    assert_true(fed_code_is_transient(FED_E_TIMEOUT));
    assert_false(fed_code_is_transient(FED_E_CORRUPT));
    for (int i = 1; i < FED_CODE_MAX; i++) {
        const enum fed_code code = (enum fed_code)i;
        assert_non_null(fed_code_text(code));
        assert_in_range(fed_code_http(code), 400, 599);
        assert_in_range(fed_code_grpc(code), 1, 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_and_returns),
        cmocka_unit_test(test_wrap_puts_context_in_front),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
