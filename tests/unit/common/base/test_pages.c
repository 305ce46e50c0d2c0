#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/pages.h"

static void test_they_are_zero_and_writable(void **state)
{
    const size_t n = 1000003;
    int64_t *pages = fed_pages_new(n, sizeof(*pages));

    (void)state;
    assert_non_null(pages);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pages[i], 0);
        pages[i] = (int64_t)i;
    }
    assert_int_equal(pages[n - 1], n - 1);
    assert_null(fed_pages_free(pages, n, sizeof(*pages)));
}

static void test_what_cannot_be_had(void **state)
{
    (void)state;
    assert_null(fed_pages_new(SIZE_MAX / 2, 8));
    assert_null(fed_pages_new(SIZE_MAX / 16, 8));
    assert_null(fed_pages_new(0, 8));
    assert_null(fed_pages_free(NULL, 5, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_they_are_zero_and_writable),
        cmocka_unit_test(test_what_cannot_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
