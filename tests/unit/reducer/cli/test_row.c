/* reducer/cli/row: fields of answers, whatever a server puts there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "reducer/cli/row.h"

static json_t *parse(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    return json;
}

static void test_fields_of_any_type(void **state)
{
    char text[ROW_TEXT_SIZE];
    json_t *row = parse("{\"a\":{\"b\":\"x\\u001by\",\"n\":-3},\"r\":0.25,\"t\":true,\"z\":null,"
                        "\"u\":7}");

    (void)state;
    assert_string_equal(row_format(row, "a.b", text), "x?y");
    assert_string_equal(row_format(row, "a.n", text), "-3");
    assert_string_equal(row_format(row, "r", text), "0.25");
    assert_string_equal(row_format(row, "t", text), "yes");
    assert_string_equal(row_format(row, "z", text), "");
    assert_string_equal(row_format(row, "a", text), "");
    assert_string_equal(row_format(row, "a.b.c", text), "");
    assert_string_equal(row_format(NULL, "a", text), "");
    assert_string_equal(row_text(row, "u"), "");
    assert_int_equal(row_u64(row, "u"), 7);
    assert_int_equal(row_u64(row, "a.n"), 0);
    assert_true(row_is(row, "t"));
    assert_false(row_is(row, "u"));
    json_decref(row);
}

static void test_times_and_sizes(void **state)
{
    char text[ROW_TEXT_SIZE];
    json_t *row = parse("{\"h\":\"Sun, 22 Nov 2026 12:48:44 GMT\",\"x\":\"yesterday\","
                        "\"m\":\"Sun, 22 Foo 2026 12:48:44 GMT\"}");

    (void)state;
    assert_string_equal(row_format_time(row, "h", text), "2026-11-22 12:48:44");
    assert_string_equal(row_format_time(row, "x", text), "yesterday");
    assert_string_equal(row_format_time(row, "m", text), "Sun, 22 Foo 2026 12:48:44 GMT");
    assert_string_equal(row_format_ms(31, text, sizeof(text)), "31 ms");
    assert_string_equal(row_format_ms(4250, text, sizeof(text)), "4.2 s");
    assert_string_equal(row_format_ms(200000, text, sizeof(text)), "3 min 20 s");
    assert_string_equal(row_format_ms(7320000, text, sizeof(text)), "2 h 2 min");
    assert_string_equal(row_format_bytes(6653908, text, sizeof(text)), "6.3 MiB");
    assert_string_equal(row_format_bytes(900, text, sizeof(text)), "900 B");
    json_decref(row);
}

static void test_metrics_prefer_the_test_set(void **state)
{
    json_t *text = parse("{\"data\":\"{\\\"training_accuracy\\\": 0.5, \\\"test_accuracy\\\": "
                         "0.25, \\\"train_loss\\\": 2}\"}");
    json_t *object = parse("{\"data\":{\"accuracy\":0.75,\"accuracy_note\":\"x\"}}");
    json_t *broken = parse("{\"data\":\"{\"}");
    double value = 0;

    (void)state;
    assert_true(row_metric(text, "accuracy", &value));
    assert_float_equal(value, 0.25, 0);
    assert_true(row_metric(text, "loss", &value));
    assert_float_equal(value, 2, 0);
    assert_true(row_metric(object, "accuracy", &value));
    assert_float_equal(value, 0.75, 0);
    assert_false(row_metric(object, "loss", &value));
    assert_false(row_metric(broken, "loss", &value));
    json_decref(text);
    json_decref(object);
    json_decref(broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_of_any_type),
        cmocka_unit_test(test_times_and_sizes),
        cmocka_unit_test(test_metrics_prefer_the_test_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
