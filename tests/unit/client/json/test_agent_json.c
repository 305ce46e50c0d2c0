#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/json/agent_json.h"

static int
read_task(enum agent_task_type type, const char *data, struct agent_task *task, struct fed_err *err)
{
    int rc;

    *task = (struct agent_task){.type = type};
    task->data = strdup(data);
    rc = agent_json_read_task(task, err);
    free(task->data);
    task->data = NULL;
    return rc;
}

static void test_task_as_fedn_writes_it(void **state)
{
    struct agent_task task;
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(
        read_task(AGENT_TASK_TRAIN,
                  "{\"aggregator\": \"fedavg\", \"round_timeout\": \"180\", \"round_id\": \"51\", "
                  "\"session_id\": \"s-1\", \"task\": \"training\", \"client_settings\": {}}",
                  &task, &err),
        0);
    assert_string_equal(task.round_id, "51");
    assert_string_equal(task.session_id, "s-1");
    assert_int_equal(task.round_number, 0);
    assert_int_equal(task.epochs, 0);
}

static void test_task_with_settings(void **state)
{
    struct agent_task task;
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(read_task(AGENT_TASK_TRAIN,
                               "{\"round_id\":7,\"round_number\":\"3\",\"client_settings\":"
                               "{\"epochs\":2,\"batch_size\":\"32\",\"learning_rate\":0.1}}",
                               &task, &err),
                     0);
    assert_string_equal(task.round_id, "7");
    assert_int_equal(task.round_number, 3);
    assert_int_equal(task.epochs, 2);
    assert_int_equal(task.batch, 32);
    assert_true(fabs(task.lr - 0.1) < 1e-12);
}

static void test_tasks_that_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{",
        "\"round_id\"",
        "{}",
        "{\"round_id\":\"\"}",
        "{\"round_id\":\"../7\"}",
        "{\"round_id\":[7]}",
        "{\"round_id\":\"1\",\"round_id\":\"2\"}",
        "{\"round_id\":\"1\",\"session_id\":\"a b\"}",
        "{\"round_id\":\"1\",\"client_settings\":{\"epochs\":0}}",
        "{\"round_id\":\"1\",\"client_settings\":{\"epochs\":1e9}}",
        "{\"round_id\":\"1\",\"client_settings\":{\"batch\":-1}}",
        "{\"round_id\":\"1\",\"client_settings\":{\"lr\":\"fast\"}}",
        "{\"round_id\":\"1\",\"client_settings\":{\"lr\":\"nan\"}}",
    };
    struct agent_task task;
    struct fed_err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (struct fed_err){0};
        assert_int_equal(read_task(AGENT_TASK_TRAIN, bad[i], &task, &err), -FED_E_INVALID);
        assert_true(err.msg[0] != '\0');
    }
    assert_int_equal(read_task(AGENT_TASK_VALIDATE, "", &task, &err), 0);
    assert_int_equal(read_task(AGENT_TASK_VALIDATE, "{}", &task, &err), 0);
}

static void test_deep_json_is_refused(void **state)
{
    enum {
        DEPTH = 100000
    };
    char *text = malloc(DEPTH + 32);
    struct agent_task task;
    struct fed_err err;

    (void)state;
    (void)memcpy(text, "{\"round_id\":", 12);
    memset(text + 12, '[', DEPTH);
    text[12 + DEPTH] = '\0';
    assert_int_equal(read_task(AGENT_TASK_TRAIN, text, &task, &err), -FED_E_INVALID);
    free(text);
}

static void test_join_as_fedn(void **state)
{
    char *text = agent_json_join("alice", "id-1", "");

    (void)state;
    assert_string_equal(text, "{\"name\":\"alice\",\"client_id\":\"id-1\","
                              "\"preferred_combiner\":null,\"package\":\"local\"}");
    free(text);
    text = agent_json_join("alice", "id-1", "c2");
    assert_non_null(strstr(text, "\"preferred_combiner\":\"c2\""));
    free(text);
}

static void test_joined(void **state)
{
    static const char *const bad[] = {"{}",
                                      "{\"host\":\"h\"}",
                                      "{\"host\":\"\",\"port\":1}",
                                      "{\"host\":\"h\",\"port\":0}",
                                      "{\"host\":\"h\",\"port\":65536}",
                                      "{\"host\":1,\"port\":1}",
                                      "[]"};
    struct agent_joined joined;

    (void)state;
    assert_int_equal(
        agent_json_read_joined(fed_view_str("{\"status\":\"assigned\",\"host\":\"combiner\","
                                            "\"fqdn\":null,\"port\":12080}"),
                               &joined, NULL),
        0);
    assert_string_equal(joined.host, "combiner");
    assert_int_equal(joined.port, 12080);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(agent_json_read_joined(fed_view_str(bad[i]), &joined, NULL),
                         -FED_E_INVALID);
    }
}

static void test_kept_and_back(void **state)
{
    const struct agent_kept kept = {.session_id = "s",
                                    .round_id = "12",
                                    .model_id = "m",
                                    .update_id = "u-1",
                                    .n_examples = 30000,
                                    .size_bytes = 6655214,
                                    .loss = 0.25,
                                    .train_s = 3.5};
    struct agent_kept back;
    char *text = agent_json_kept(&kept);

    (void)state;
    assert_int_equal(agent_json_read_kept(fed_view_str(text), &back, NULL), 0);
    assert_string_equal(back.session_id, "s");
    assert_string_equal(back.round_id, "12");
    assert_string_equal(back.model_id, "m");
    assert_string_equal(back.update_id, "u-1");
    assert_int_equal(back.n_examples, 30000);
    assert_int_equal(back.size_bytes, 6655214);
    assert_true(fabs(back.loss - 0.25) < 1e-12);
    for (size_t size = 0; size < strlen(text); size++) { /* cut by a crash */
        assert_int_equal(agent_json_read_kept(fed_view_of(text, size), &back, NULL),
                         -FED_E_INVALID);
    }
    free(text);
}

static void test_scores_keep_zero(void **state)
{
    const struct agent_score scores[] = {{"test_loss", 0}, {"test_accuracy", 0.9876}};
    char *text = agent_json_scores(scores, 2);

    (void)state;
    assert_string_equal(text, "{\"test_loss\":0.0,\"test_accuracy\":0.9876}");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_as_fedn_writes_it), cmocka_unit_test(test_task_with_settings),
        cmocka_unit_test(test_tasks_that_are_none),    cmocka_unit_test(test_deep_json_is_refused),
        cmocka_unit_test(test_join_as_fedn),           cmocka_unit_test(test_joined),
        cmocka_unit_test(test_kept_and_back),          cmocka_unit_test(test_scores_keep_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
