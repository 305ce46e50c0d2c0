#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/net/retry.h"

static void test_doubles_up_to_the_most(void **state)
{
    (void)state;
    for (uint32_t attempt = 0; attempt < 20; attempt++) {
        const uint64_t whole = 100ULL << attempt < 5000 ? 100ULL << attempt : 5000;
        uint64_t least = UINT64_MAX;
        uint64_t most = 0;
        for (uint64_t seed = 0; seed < 300; seed++) {
            const uint64_t delay = fed_retry_delay_ms(attempt, 100, 5000, seed);
            assert_in_range(delay, whole / 2, whole);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_true(least < whole * 6 / 10 && most > whole * 9 / 10); /* spread over the half */
    }
}

static void test_is_a_function_of_its_arguments(void **state)
{
    (void)state;
    assert_int_equal(fed_retry_delay_ms(3, 100, 5000, 7), fed_retry_delay_ms(3, 100, 5000, 7));
    assert_int_not_equal(fed_retry_delay_ms(9, 100, 1U << 30, 7),
                         fed_retry_delay_ms(9, 100, 1U << 30, 8));
}

static void test_edges(void **state)
{
    (void)state;
    assert_int_equal(fed_retry_delay_ms(0, 0, 0, 1), 0);
    assert_int_equal(fed_retry_delay_ms(UINT32_MAX, 0, 5000, 1), 0); /* and at once */
    assert_in_range(fed_retry_delay_ms(UINT32_MAX, 1, 5000, 1), 2500, 5000);
    assert_true(fed_retry_delay_ms(200, 3, UINT64_MAX, 1) >= UINT64_MAX / 2);
    assert_in_range(fed_retry_delay_ms(0, 9000, 5000, 1), 2500, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_most),
        cmocka_unit_test(test_is_a_function_of_its_arguments),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
