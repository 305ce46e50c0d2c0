/* common/sync/stop_signal: each signal is one call, and after the end there are none. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sync/stop_signal.h"

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned n;
};

static void ring(void *arg)
{
    struct bell *bell = arg;

    (void)pthread_mutex_lock(&bell->lock);
    bell->n++;
    (void)pthread_cond_broadcast(&bell->rung);
    (void)pthread_mutex_unlock(&bell->lock);
}

static void wait_rung(struct bell *bell, unsigned n)
{
    struct timespec until = {0};

    assert_int_equal(timespec_get(&until, TIME_UTC), TIME_UTC);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&bell->lock);
    while (bell->n < n) {
        assert_int_equal(pthread_cond_timedwait(&bell->rung, &bell->lock, &until), 0);
    }
    (void)pthread_mutex_unlock(&bell->lock);
}

static void test_each_signal_is_a_call(void **state)
{
    struct bell bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct fed_stop_signal stop_signal;

    (void)state;
    assert_int_equal(fed_stop_signal_start(&stop_signal, ring, &bell, NULL), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    wait_rung(&bell, 1);
    assert_int_equal(kill(getpid(), SIGINT), 0);
    wait_rung(&bell, 2);
    fed_stop_signal_end(&stop_signal);
    assert_int_equal(bell.n, 2);
}

static void test_the_end_is_no_signal(void **state)
{
    struct bell bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct fed_stop_signal stop_signal;

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(fed_stop_signal_start(&stop_signal, ring, &bell, NULL), 0);
        fed_stop_signal_end(&stop_signal);
    }
    assert_int_equal(bell.n, 0);
}

static void test_a_broken_pipe_is_an_error_not_a_death(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), -1);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_signal_is_a_call),
        cmocka_unit_test(test_the_end_is_no_signal),
        cmocka_unit_test(test_a_broken_pipe_is_an_error_not_a_death),
    };

    fed_stop_signal_block();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
