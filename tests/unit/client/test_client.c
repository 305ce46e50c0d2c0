/* The whole daemon, as a process, against a combiner that fails where it is told to. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/client/daemon.h"
#include "tests/unit/client/fake_combiner.h"
#include "tests/unit/client/fake_reducer.h"

#define MODEL_SIZE (2U * 1024U * 1024U + 12345U) /* two chunks and a bit */

struct fixture {
    struct daemon daemon;
    struct fake_combiner *fake;
    uint8_t *model;
    char combiner[64];
    char ready[300];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->model = malloc(MODEL_SIZE);
    for (size_t i = 0; i < MODEL_SIZE; i++) {
        f->model[i] = (uint8_t)(i * 7U + i / 251U);
    }
    f->fake = fake_new(0, "model-1", f->model, MODEL_SIZE);
    (void)snprintf(f->combiner, sizeof(f->combiner), "--combiner=127.0.0.1:%u", fake_port(f->fake));
    daemon_prepare(&f->daemon);
    (void)snprintf(f->ready, sizeof(f->ready), "--ready-file=%s/ready", f->daemon.folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    daemon_clean(&f->daemon);
    if (f->fake != NULL) {
        (void)fake_free(f->fake);
    }
    free(f->model);
    free(f);
    return 0;
}

static void start(struct fixture *f, const char *fault)
{
    const char *const arguments[] = {f->combiner,         f->ready,
                                     "--trainer=echo",    "--echo-examples=240",
                                     "--name=alice",      "--heartbeat-interval=200ms",
                                     "--call-timeout=1s", NULL};

    daemon_start(&f->daemon, arguments, fault);
}

static void stop(struct fixture *f)
{
    daemon_signal(&f->daemon, SIGTERM);
    assert_int_equal(daemon_wait(&f->daemon), 0);
}

static void assert_update_is_model(struct fixture *f, struct fake_update *update)
{
    fake_last_update(f->fake, update);
    assert_int_equal(update->size_bytes, MODEL_SIZE);
    assert_true(update->hash == fake_hash(f->model, MODEL_SIZE));
    assert_string_equal(update->model_id, "model-1");
}

static void test_round_as_fedn(void **state)
{
    struct fixture *f = *state;
    struct fake_update update;
    char statuses[FAKE_HISTORY_SIZE];

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_HEARTBEATS, 3));
    assert_true(daemon_has_file(&f->daemon, "ready"));
    fake_send_train(f->fake, "model-1", "7", ", \"task\": \"training\"");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    assert_update_is_model(f, &update);
    assert_string_equal(update.name, "alice");
    assert_string_equal(update.receiver, "fake");
    assert_string_equal(update.metadata_client, update.client_id);
    assert_string_equal(update.metadata_server, "127.0.0.1");
    assert_non_null(strstr(update.meta, "\"training_metadata\":{\"num_examples\":240}"));
    assert_non_null(strstr(update.meta, "\"config\":\"{\\\"round_id\\\": \\\"7\\\", "
                                        "\\\"round_number\\\": \\\"7\\\", "
                                        "\\\"task\\\": \\\"training\\\"}\""));
    assert_non_null(strstr(update.meta, "\"exec_training\":"));
    assert_non_null(strstr(update.meta, "\"processing_time\":"));
    assert_non_null(strstr(update.meta, "\"upload_model\":"));
    assert_non_null(strstr(update.meta, "\"fetch_model\":"));
    assert_true(fake_wait(f->fake, FAKE_STATUSES, 3));
    fake_statuses(f->fake, statuses);
    assert_string_equal(statuses,
                        "5 2 Received request from combiner.\n"
                        "1 2 \t Starting processing of training request for model_id model-1\n"
                        "5 2 Model update completed.\n");
    stop(f);
}

static void test_validation_then_training_fetches_once(void **state)
{
    struct fixture *f = *state;
    char data[FAKE_TEXT_SIZE];

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_validate(f->fake, "model-1");
    fake_send_train(f->fake, "model-1", "8", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    assert_int_equal(fake_count(f->fake, FAKE_VALIDATIONS), 1);
    assert_int_equal(fake_count(f->fake, FAKE_DOWNLOADS), 1);
    fake_last_validation(f->fake, data);
    assert_string_equal(data, "{\"test_loss\":0.0}");
    stop(f);
}

static void test_every_call_fails_and_is_repeated(void **state)
{
    struct fixture *f = *state;
    struct fake_update update;

    fake_fail(f->fake, FAKE_FAIL_STREAM, 2);
    fake_fail(f->fake, FAKE_FAIL_HEARTBEAT, 2);
    fake_fail(f->fake, FAKE_FAIL_DOWNLOAD, 1);
    fake_fail(f->fake, FAKE_FAIL_DOWNLOAD_SHORT, 1);
    fake_fail(f->fake, FAKE_FAIL_UPLOAD, 2);
    fake_fail(f->fake, FAKE_FAIL_UPDATE, 2);
    fake_fail(f->fake, FAKE_FAIL_VALIDATION, 1);
    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "model-1", "9", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    assert_update_is_model(f, &update);
    fake_send_validate(f->fake, "model-1");
    assert_true(fake_wait(f->fake, FAKE_VALIDATIONS, 1));
    assert_int_equal(fake_count(f->fake, FAKE_REFUSED), 11);
    stop(f);
}

static void test_unknown_model_is_dropped_and_work_goes_on(void **state)
{
    struct fixture *f = *state;
    char statuses[FAKE_HISTORY_SIZE];

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "no-such-model", "10", "");
    assert_true(fake_wait(f->fake, FAKE_STATUSES, 2));
    fake_statuses(f->fake, statuses);
    assert_non_null(strstr(statuses, "4 2 Training failed for model_id no-such-model\n"));
    fake_send_train(f->fake, "model-1", "11", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    stop(f);
}

static void test_lost_stream_is_opened_again(void **state)
{
    struct fixture *f = *state;

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_end_stream(f->fake);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 2));
    fake_send_train(f->fake, "model-1", "12", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    stop(f);
}

static void test_combiner_restarts_on_its_port(void **state)
{
    struct fixture *f = *state;
    const uint16_t port = fake_port(f->fake);

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    f->fake = fake_free(f->fake);
    f->fake = fake_new(port, "model-1", f->model, MODEL_SIZE);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "model-1", "13", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    stop(f);
}

/* Killed at a point, started again, asked for the same round: one update id, the same bytes. */
static void check_killed_at(struct fixture *f, const char *point, unsigned n_updates)
{
    struct fake_update first = {0};
    struct fake_update second;

    start(f, point);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "model-1", "14", "");
    assert_int_equal(daemon_wait(&f->daemon), -SIGKILL);
    fake_last_update(f->fake, &first);
    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 2));
    fake_send_train(f->fake, "model-1", "14", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, n_updates));
    assert_update_is_model(f, &second);
    if (first.update_id[0] != '\0') {
        assert_string_equal(first.update_id, second.update_id);
        assert_string_equal(first.client_id, second.client_id);
    }
    stop(f);
}

static void test_killed_in_training(void **state)
{
    struct fixture *f = *state;

    check_killed_at(f, "client.training", 1);
    assert_int_equal(fake_count(f->fake, FAKE_UPLOADS), 1);
}

static void test_killed_after_upload(void **state)
{
    struct fixture *f = *state;

    check_killed_at(f, "client.uploaded", 1);
    assert_int_equal(fake_count(f->fake, FAKE_UPLOADS), 2);
    assert_int_equal(fake_count(f->fake, FAKE_DOWNLOADS), 1); /* it did not train again */
}

static void test_killed_when_admitted(void **state)
{
    struct fixture *f = *state;

    check_killed_at(f, "client.admitted", 2);
    assert_int_equal(fake_count(f->fake, FAKE_DOWNLOADS), 1);
}

static void test_same_round_again_is_answered_from_the_kept_update(void **state)
{
    struct fixture *f = *state;
    struct fake_update first;
    struct fake_update second;

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "model-1", "15", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    assert_true(fake_wait(f->fake, FAKE_STATUSES, 3)); /* the client has heard of it, too */
    assert_update_is_model(f, &first);
    fake_send_train(f->fake, "model-1", "15", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 2));
    assert_update_is_model(f, &second);
    assert_string_equal(first.update_id, second.update_id);
    fake_send_train(f->fake, "model-1", "16", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 3));
    assert_update_is_model(f, &second);
    assert_string_not_equal(first.update_id, second.update_id);
    stop(f);
}

static void test_endless_model_is_bounded(void **state)
{
    struct fixture *f = *state;
    const char *const arguments[] = {f->combiner, "--trainer=echo", "--model-max=3MiB", NULL};

    fake_fail(f->fake, FAKE_FAIL_DOWNLOAD_LONG, 1);
    daemon_start(&f->daemon, arguments, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_send_train(f->fake, "model-1", "17", "");
    assert_true(fake_wait(f->fake, FAKE_STATUSES, 2)); /* received, failed */
    assert_false(daemon_has_file(&f->daemon, "state/tmp/model.npz"));
    assert_false(daemon_has_file(&f->daemon, "state/tmp/model.npz.part"));
    fake_send_train(f->fake, "model-1", "18", "");
    assert_true(fake_wait(f->fake, FAKE_UPDATES, 1));
    stop(f);
}

/* -- by way of the reducer ----------------------------------------------------------------------
 */

static void start_with_reducer(struct fixture *f, const struct fake_reducer *reducer)
{
    char url[64];
    const char *const arguments[] = {
        url, "--trainer=echo", "--name=bob", "--reassign-after=300ms", "--preferred-combiner=c1",
        NULL};

    (void)snprintf(url, sizeof(url), "--api-url=http://127.0.0.1:%u/", fake_reducer_port(reducer));
    daemon_start(&f->daemon, arguments, NULL);
}

static void test_reducer_assigns_at_the_second_try(void **state)
{
    struct fixture *f = *state;
    char good[256];
    char request[FAKE_REQUEST_SIZE];
    const char *const answers[] = {
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "", good, NULL};
    struct fake_reducer *reducer = fake_reducer_new(answers);

    fake_reducer_format_assigned(good, sizeof(good), fake_port(f->fake));
    start_with_reducer(f, reducer);
    assert_true(fake_wait(f->fake, FAKE_HEARTBEATS, 1));
    fake_reducer_last_request(reducer, request);
    assert_non_null(strstr(request, "POST /api/v1/clients/add HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "\"name\":\"bob\""));
    assert_non_null(strstr(request, "\"preferred_combiner\":\"c1\",\"package\":\"local\"}"));
    stop(f);
    (void)fake_reducer_free(reducer);
}

static void test_reducer_refuses(void **state)
{
    struct fixture *f = *state;
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 22\r\nConnection: close\r\n\r\n"
        "{\"message\":\"no such\"}\n",
        NULL};
    struct fake_reducer *reducer = fake_reducer_new(answers);

    start_with_reducer(f, reducer);
    assert_int_equal(daemon_wait(&f->daemon), 1);
    (void)fake_reducer_free(reducer);
}

/* The combiner is gone; the reducer has another one. */
static void test_client_moves_to_the_combiner_it_is_given(void **state)
{
    struct fixture *f = *state;
    struct fake_combiner *second = fake_new(0, "model-1", f->model, MODEL_SIZE);
    char first_answer[256];
    char second_answer[256];
    const char *const answers[] = {first_answer, second_answer, NULL};
    struct fake_reducer *reducer = fake_reducer_new(answers);
    struct fake_update update;

    fake_reducer_format_assigned(first_answer, sizeof(first_answer), fake_port(f->fake));
    fake_reducer_format_assigned(second_answer, sizeof(second_answer), fake_port(second));
    start_with_reducer(f, reducer);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    fake_fail(f->fake, FAKE_FAIL_UPDATE, 1000000); /* uploaded, and not reported */
    fake_send_train(f->fake, "model-1", "20", "");
    assert_true(fake_wait(f->fake, FAKE_UPLOADS, 1));
    f->fake = fake_free(f->fake);
    assert_true(fake_wait(second, FAKE_UPDATES, 1));
    fake_last_update(second, &update);
    assert_int_equal(update.size_bytes, MODEL_SIZE);
    stop(f);
    (void)fake_reducer_free(reducer);
    (void)fake_free(second);
}

static void test_stop_while_the_reducer_is_silent(void **state)
{
    struct fixture *f = *state;
    static const char *const answers[] = {NULL}; /* it takes the connection, and says nothing */
    struct fake_reducer *reducer = fake_reducer_new(answers);

    start_with_reducer(f, reducer);
    assert_true(fake_reducer_wait(reducer, 1));
    stop(f);
    (void)fake_reducer_free(reducer);
}

static void test_state_folder_has_one_owner(void **state)
{
    struct fixture *f = *state;
    struct daemon second = f->daemon;

    start(f, NULL);
    assert_true(fake_wait(f->fake, FAKE_STREAMS, 1));
    second.pid = 0;
    daemon_start(&second, (const char *const[]){f->combiner, "--trainer=echo", NULL}, NULL);
    assert_int_equal(daemon_wait(&second), 1);
    stop(f);
}

static void test_bad_settings_exit_with_2(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"--shard=3/2",   "--shard=1",        "--partition=all",
                                      "--combiner=x",  "--kernel=quantum", "--validate-on=train",
                                      "--lr=0",        "--trainer=forest", "--lgo-level=info",
                                      "--trainer=cnn", "--dirichlet:0.0=1"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const arguments[] = {"--trainer=cnn", bad[i], NULL};
        daemon_start(&f->daemon, arguments, NULL);
        assert_int_equal(daemon_wait(&f->daemon), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_as_fedn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_validation_then_training_fetches_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_every_call_fails_and_is_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_model_is_dropped_and_work_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_lost_stream_is_opened_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_combiner_restarts_on_its_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_in_training, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_after_upload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_when_admitted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_round_again_is_answered_from_the_kept_update,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_endless_model_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reducer_assigns_at_the_second_try, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reducer_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_moves_to_the_combiner_it_is_given, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_the_reducer_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_state_folder_has_one_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_settings_exit_with_2, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
