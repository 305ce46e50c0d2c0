#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/settings.h"
#include "tests/lib/fixture.h"

static int load(int argc, char **argv, struct settings *settings, struct fed_err *err)
{
    struct fed_conf conf = {0};
    const int rc = fed_conf_load(&settings_spec, argc, argv, settings, &conf, err);

    fed_conf_deinit(&conf);
    return rc;
}

static void test_defaults_are_the_contract(void **state)
{
    char program[] = "confed-reducer";
    char *argv[] = {program, NULL};
    struct settings settings = {0};
    struct fed_conf conf = {0};

    (void)state;
    assert_int_equal(fed_conf_load(&settings_spec, 1, argv, &settings, &conf, NULL), 0);
    assert_string_equal(settings.http, "127.0.0.1:8092");
    assert_string_equal(settings.rpc, "127.0.0.1:8093");
    assert_int_equal(settings.heartbeat_limit_ms, 10000);
    assert_int_equal(settings.reattach_grace_ms, 30000);
    assert_int_equal(settings.combiner_grace_ms, 15000);
    assert_int_equal(settings.close_timeout_ms, 5000);
    assert_int_equal(settings.examples_max, 1000000000);
    assert_int_equal(settings.drain_limit_ms, 10000);
    assert_int_equal(settings.blob_sweep_after_ms, 3600000);
    fed_conf_deinit(&conf);
}

static void test_values_out_of_range_are_refused(void **state)
{
    char program[] = "confed-reducer";
    char flag[] = "--workers";
    char value[] = "0";
    char *argv[] = {program, flag, value, NULL};
    struct settings settings = {0};
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(load(3, argv, &settings, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "workers"));
}

/* Secrets come from files or the environment, and no dump shows one. */
static void test_no_dump_shows_a_password(void **state)
{
    char program[] = CONFED_BIN "/confed-reducer";
    char store[] = "--store=mongodb://me:sesame@host/db?tlsCertificateKeyFilePassword=sesame";
    char dump_flag[] = "--dump-config";
    char *argv[] = {program, store, dump_flag, NULL};
    struct fed_buf dump;

    (void)state;
    assert_int_equal(setenv("FED_REDUCER_STORE_PASSWORD", "sesame", 1), 0);
    assert_int_equal(test_program_run(argv, &dump), 0);
    assert_null(strstr((const char *)dump.data, "sesame"));
    assert_non_null(strstr((const char *)dump.data, "mongodb://***@host/db"));
    assert_non_null(strstr((const char *)dump.data, "store_password: \"********\""));
    fed_buf_deinit(&dump);
    (void)unsetenv("FED_REDUCER_STORE_PASSWORD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_the_contract),
        cmocka_unit_test(test_values_out_of_range_are_refused),
        cmocka_unit_test(test_no_dump_shows_a_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
