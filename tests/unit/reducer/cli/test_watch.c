/* reducer/cli/watch: a session as a story, told by live states and rows; the lines it draws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "reducer/cli/watch.h"

struct fixture {
    struct watch watch;
    struct term term;
    uint64_t now_ms;
    char drawn[4096];
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){.now_ms = 5000};
    watch_init(&f.watch, "s1");
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    watch_deinit(&f->watch);
    return 0;
}

static json_t *parse(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    return json;
}

static bool live(struct fixture *f, const char *text)
{
    json_t *json = parse(text);
    const bool is_ours = watch_live(&f->watch, json, 5000);

    json_decref(json);
    return is_ours;
}

static void rounds(struct fixture *f, const char *text)
{
    json_t *json = parse(text);

    watch_rounds(&f->watch, json);
    json_decref(json);
}

static void validations(struct fixture *f, const char *model_id, const char *text)
{
    json_t *json = parse(text);

    watch_validations(&f->watch, model_id, json);
    json_decref(json);
}

static const char *draw(struct fixture *f)
{
    struct fed_buf buf;

    fed_buf_init(&buf, 0);
    assert_int_equal(watch_draw(&f->watch, &f->term, f->now_ms, &buf, NULL), 0);
    assert_true(buf.size < sizeof(f->drawn));
    if (buf.size > 0) {
        memcpy(f->drawn, buf.data, buf.size);
    }
    f->drawn[buf.size] = '\0';
    fed_buf_deinit(&buf);
    return f->drawn;
}

#define SESSION(status, done, failed)                                                  \
    "\"session\":{\"session_id\":\"s1\",\"status\":\"" status "\",\"rounds_total\":2," \
    "\"rounds_done\":" done ",\"failed_rounds\":" failed ",\"model_id\":\"m1\"}"
#define ROUND_1                                                                           \
    "{\"round_id\":\"7\",\"round_number\":1,\"phase\":\"committed\",\"model_id\":\"m1\"," \
    "\"clients\":[{},{}],\"entries\":[{},{}],\"refused\":[],\"timings\":{\"total_ms\":4210}}"
#define VALIDATION(accuracy) \
    "{\"data\":\"{\\\"test_loss\\\":0.5,\\\"test_accuracy\\\":" accuracy "}\"}"

static void open_round(struct fixture *f)
{
    assert_true(live(
        f,
        "{" SESSION(
            "Started", "0",
            "0") ",\"round\":{\"round_number\":1,"
                 "\"round_id\":\"7\",\"time_left_ms\":8000,\"clients\":[{\"phase\":\"admitted\"},"
                 "{\"phase\":\"asked\"}]},\"validation\":null}"));
}

static void commit_round(struct fixture *f)
{
    const uint64_t before = f->watch.change;

    assert_true(live(
        f, "{" SESSION("Started", "1", "0") ",\"round\":null,\"validation\":"
                                            "{\"model_id\":\"m1\",\"asked\":2,\"received\":0}}"));
    assert_int_not_equal(f->watch.change, before);
    rounds(f, "[" ROUND_1 "]");
}

static void test_a_round_is_printed_when_it_is_validated(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    assert_string_equal(draw(f), "");
    commit_round(f);
    assert_string_equal(draw(f), "");
    assert_null(watch_wants_validations(&f->watch));
    assert_true(live(
        f, "{" SESSION("Started", "1", "0") ",\"round\":null,\"validation\":"
                                            "{\"model_id\":\"m1\",\"asked\":2,\"received\":2}}"));
    assert_string_equal(watch_wants_validations(&f->watch), "m1");
    validations(f, "m1", "[" VALIDATION("0.75") "," VALIDATION("0.25") "]");
    assert_null(watch_wants_validations(&f->watch));
    assert_string_equal(draw(f),
                        "round 1/2  [####################]  0 training  2 uploaded  2 validated  "
                        "loss 0.5000  accuracy 50.00 %  4.2 s\n");
    assert_string_equal(draw(f), "");
    assert_false(watch_is_ended(&f->watch));
    assert_true(watch_is_validated(&f->watch));
}

static void test_a_terminal_is_drawn_over(void **state)
{
    struct fixture *f = *state;

    f->term = (struct term){.is_terminal = true, .columns = 200};
    open_round(f);
    assert_string_equal(draw(f),
                        "round 1/2  [==========----------]  1 training  1 uploaded  0 validated  "
                        "loss -       accuracy -        0 s\n");
    assert_true(watch_is_ticking(&f->watch));
    f->now_ms = 8500;
    assert_string_equal(draw(f), "\033[1A\033[J"
                                 "round 1/2  [==========----------]  1 training  1 uploaded  "
                                 "0 validated  loss -       accuracy -        3 s\n");
    commit_round(f);
    assert_false(watch_is_ticking(&f->watch));
    assert_string_equal(draw(f), "\033[1A\033[J"
                                 "round 1/2  [====================]  0 training  2 uploaded  "
                                 "0 validated  loss -       accuracy -        4.2 s\n");
    watch_settle(&f->watch);
    assert_string_equal(draw(f), "\033[1A\033[J"
                                 "round 1/2  [====================]  0 training  2 uploaded  "
                                 "0 validated  loss -       accuracy -        4.2 s\n");
    assert_string_equal(draw(f), "");
}

/* Whoever looks in the middle of a round sees how long it has been open. */
static void test_the_time_counts_from_the_plan(void **state)
{
    struct fixture *f = *state;
    json_t *row = parse("{\"session_config\":{\"round_timeout\":10.5,\"validate\":true}}");

    f->term = (struct term){.is_terminal = true, .columns = 200};
    watch_session(&f->watch, row);
    assert_true(
        live(f, "{" SESSION("Started", "0",
                            "0") ",\"round\":{\"round_number\":1,"
                                 "\"phase\":\"planning\",\"time_left_ms\":0,\"clients\":[]}}"));
    assert_non_null(strstr(draw(f), "accuracy -        -\n"));
    open_round(f); /* 8 s are left of 10.5 */
    assert_non_null(strstr(draw(f), "accuracy -        2 s\n"));
    json_decref(row);
}

static void test_a_narrow_terminal_never_wraps(void **state)
{
    struct fixture *f = *state;

    f->term = (struct term){.is_terminal = true, .has_utf8 = true, .columns = 40};
    open_round(f);
    assert_string_equal(draw(f), "round 1/2  [\u2593\u2593\u2593\u2592\u2592\u2592]  "
                                 "1 training  1 uplo\n");
}

/* The live state speaks of the newest model only: what came before is loaded once and done with. */
static void test_the_next_model_ends_the_waiting_for_the_last(void **state)
{
    struct fixture *f = *state;

    commit_round(f);
    rounds(f, "[{\"round_number\":2,\"phase\":\"committed\",\"model_id\":\"m2\",\"clients\":[{}],"
              "\"entries\":[{}]}]");
    assert_int_equal(watch_count_ended(&f->watch), 2);
    assert_string_equal(watch_wants_validations(&f->watch), "m1");
    validations(f, "m1", "[" VALIDATION("0.5") "]");
    assert_null(watch_wants_validations(&f->watch));
    assert_string_equal(draw(f),
                        "round 1/2  [##########==========]  0 training  2 uploaded  1 validated  "
                        "loss 0.5000  accuracy 50.00 %  4.2 s\n");
    assert_false(watch_is_validated(&f->watch));
    assert_string_equal(watch_last(&f->watch)->model_id, "m2");
}

static void test_a_failed_round_says_why(void **state)
{
    struct fixture *f = *state;

    open_round(f);
    assert_true(live(f, "{" SESSION("Finished", "1", "1") ",\"round\":null,\"validation\":null}"));
    rounds(f, "[{\"round_number\":1,\"phase\":\"failed\",\"failure\":\"1 of 2 required updates\","
              "\"clients\":[{},{}],\"entries\":[{}],\"refused\":[{}]}]");
    assert_string_equal(draw(f),
                        "round 1/2  [==========..........]  failed: 1 of 2 required updates\n");
    assert_true(watch_is_ended(&f->watch));
    assert_true(watch_is_validated(&f->watch));
    assert_int_equal(f->watch.failed_rounds, 1);
    assert_null(watch_last(&f->watch));
}

static void test_another_session_is_not_ours(void **state)
{
    struct fixture *f = *state;

    assert_false(live(f, "{\"session\":{\"session_id\":\"s2\",\"rounds_total\":9}}"));
    assert_false(live(f, "{\"session\":null}"));
    assert_int_equal(f->watch.rounds_total, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_round_is_printed_when_it_is_validated, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_terminal_is_drawn_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_time_counts_from_the_plan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_narrow_terminal_never_wraps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_next_model_ends_the_waiting_for_the_last, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_round_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_session_is_not_ours, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
