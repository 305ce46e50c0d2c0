/* A process that comes to the named point is killed there, and nowhere else. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "common/base/fault.h"
#include "tests/lib/fixture.h"

#ifdef CONFED_FAULTS

struct walk {
    const char *fault; /* the environment; NULL: none */
    int n_points;      /* how often the child passes "test.point" */
};

static int pass_points(void *arg)
{
    const struct walk *walk = arg;

    if (walk->fault != NULL && setenv("CONFED_FAULT", walk->fault, 1) != 0) {
        return 99;
    }
    for (int i = 0; i < walk->n_points; i++) {
        FED_FAULT_POINT("test.other");
        FED_FAULT_POINT("test.point");
        FED_FAULT_POINT("test.pointless");
    }
    return 7;
}

static int run(const char *fault, int n_points)
{
    struct walk walk = {fault, n_points};

    return test_child_run(pass_points, &walk);
}

static void test_nothing_named_nothing_killed(void **state)
{
    (void)state;
    assert_int_equal(run(NULL, 3), 7);
    assert_int_equal(run("", 3), 7);
    assert_int_equal(run("test.poin", 3), 7);
    assert_int_equal(run("test.points", 3), 7);
}

static void test_killed_at_the_first(void **state)
{
    (void)state;
    assert_int_equal(run("test.point", 1), -SIGKILL);
    assert_int_equal(run("test.point:1", 1), -SIGKILL);
}

static void test_killed_at_the_third(void **state)
{
    (void)state;
    assert_int_equal(run("test.point:3", 2), 7);
    assert_int_equal(run("test.point:3", 3), -SIGKILL);
}

static void test_stopped_and_going_on(void **state)
{
    struct walk walk = {"test.point:2:stop", 3};
    const int pid = test_child_start(pass_points, &walk);
    siginfo_t info = {0};

    (void)state;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_code, CLD_STOPPED);
    (void)kill(pid, SIGCONT);
    assert_int_equal(test_child_wait(pid), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_named_nothing_killed),
        cmocka_unit_test(test_killed_at_the_first),
        cmocka_unit_test(test_killed_at_the_third),
        cmocka_unit_test(test_stopped_and_going_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    FED_FAULT_POINT("test.point");
    return 0;
}

#endif
