#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"

static void test_formats_are_those_of_the_standards(void **state)
{
    char text[FED_TIME_TEXT_SIZE];

    (void)state;
    fed_time_format_http(784111777000U, text); /* the example of RFC 9110 section 5.6.7 */
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    fed_time_format_http(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    fed_time_format_http(951782400999U, text);
    assert_string_equal(text, "Tue, 29 Feb 2000 00:00:00 GMT");
    fed_time_format_iso(1795351737512650U, text);
    assert_string_equal(text, "2026-11-22T12:48:57.512650Z");
    fed_time_format_iso(UINT64_MAX, text); /* far beyond any calendar: no overflow of the text */
    assert_non_null(text);
}

static void test_monotonic_time_does_not_go_back(void **state)
{
    uint64_t before = fed_clock_mono_us();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = fed_clock_mono_us();
        assert_true(now >= before);
        before = now;
    }
    assert_true(fed_clock_mono_ms() >= before / 1000);
}

static void test_utc_is_of_this_century(void **state)
{
    (void)state;
    assert_true(fed_clock_utc_ms() > 1700000000000U && fed_clock_utc_ms() < 4102444800000U);
    assert_true(fed_clock_utc_us() / 1000 - fed_clock_utc_ms() < 60000);
}

static void test_cpu_time_counts_work(void **state)
{
    const uint64_t start = fed_clock_cpu_us();
    volatile uint64_t sum = 0;

    (void)state;
    for (uint64_t i = 0; i < 3000000; i++) {
        sum += i;
    }
    assert_true(sum > 0);
    assert_true(fed_clock_cpu_us() > start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_are_those_of_the_standards),
        cmocka_unit_test(test_monotonic_time_does_not_go_back),
        cmocka_unit_test(test_utc_is_of_this_century),
        cmocka_unit_test(test_cpu_time_counts_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
