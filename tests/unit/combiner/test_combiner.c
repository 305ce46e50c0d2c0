/* The daemon as it runs, between a reducer and clients that the test plays. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"
#include "tests/unit/combiner/stage.h"

/* The sums handed over, value for value: sum of examples times change, in the fixed point. */
static void assert_partial(struct stage *f, const double *changes, const double *examples, size_t n)
{
    struct fed_partial partial = {0};
    int64_t sums[STAGE_ELEMENTS] = {0};

    assert_int_equal(fed_partial_open(f->partial, &partial, NULL), 0);
    assert_int_equal(partial.n_entries, n);
    assert_int_equal(fed_partial_add(f->partial, &partial, sums, NULL), 0);
    for (size_t i = 0; i < STAGE_ELEMENTS; i++) {
        int64_t want = 0;
        for (size_t k = 0; k < n; k++) {
            const double x = i < 1500 ? (double)(float)(stage_base_value(i) + changes[k])
                                      : stage_base_value(i) + changes[k];
            volatile double difference = x - stage_base_value(i);
            volatile double weighted = examples[k] * difference;
            want += llrint(weighted * ldexp(1.0, STAGE_SCALE));
        }
        assert_int_equal(sums[i], want);
    }
    fed_partial_deinit(&partial);
}

/* -- tests ------------------------------------------------------------------------------------- */

static void test_a_round(void **state)
{
    static const double changes[] = {0.25, -1.5};
    static const double examples[] = {3, 40};
    struct stage *f = *state;
    char data[512];
    char path[FED_PATH_SIZE];
    struct fed_buf bytes;
    int status = -1;

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)fake_wait(f->fake, "get base 0");
    assert_string_equal(peer_wait_task(f->alice, 1, data), "base");
    assert_string_equal(data, "2 2 north alice session {\"round_id\": \"7\"}");
    assert_string_equal(peer_wait_task(f->bob, 1, data), "base");
    assert_int_equal(peer_download(f->alice, "base", &bytes, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    assert_int_equal(bytes.size, f->base.size);
    assert_memory_equal(bytes.data, f->base.data, bytes.size);
    fed_buf_deinit(&bytes);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    stage_upload(f, f->bob, "b-1", -1.5);
    stage_announce(f->bob, "b-1", "40.0");
    (void)fake_wait(f->fake, "admitted 7/1 bob b-1 40");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    /* Kept until Done, and handed over again when it is asked for. */
    fake_cut_link(f->fake);
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/1/4/2/0");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    stage_send_done(f, "7");
    stage_announce(f->bob, "b-1", "40"); /* behind Done: it has been carried out */
    (void)snprintf(path, sizeof(path), "%.900s/rounds/7", f->spool);
    for (int i = 0; access(path, F_OK) == 0; i++) {
        const struct timespec pause = {.tv_nsec = 10000000};
        assert_true(i < 1000);
        (void)nanosleep(&pause, NULL);
    }
}

static void test_what_does_not_count_is_answered_ok_and_said_why(void **state)
{
    static const double changes[] = {0.5};
    static const double examples[] = {2};
    struct stage *f = *state;
    struct peer *carol = peer_new(&f->loop, f->rpc, f->address, "carol");
    struct fed_buf bytes;
    char data[512];
    int status = -1;

    stage_attach_both(f);
    peer_attach(carol);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_announce(f->bob, "never", "1");
    (void)fake_wait(f->fake, "refused 7 bob not_uploaded own=1");
    stage_upload(f, f->alice, "a-1", 0.5);
    stage_announce(f->alice, "a-1", "2.5");
    (void)fake_wait(f->fake, "refused 7 alice examples own=1");
    assert_int_equal(peer_announce(f->alice, "a-1", "another", "7", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "refused 7 alice wrong_base");
    assert_int_equal(peer_announce(f->alice, "a-1", "base", "6", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "alice other_round");
    assert_int_equal(peer_announce(f->alice, "", "base", "7", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "alice bad_id");
    stage_upload(f, carol, "c-1", 9);
    stage_announce(carol, "c-1", "2");
    (void)fake_wait(f->fake, "refused 7 carol not_asked");
    assert_int_equal(peer_upload(f->bob, "b-1", "garbage", 7, true, &status), FED_RPC_OK);
    stage_announce(f->bob, "b-1", "2");
    (void)fake_wait(f->fake, "refused 7 bob malformed");
    bytes = stage_model(f, (double)NAN);
    assert_int_equal(peer_upload(f->bob, "b-2", bytes.data, bytes.size, true, &status), FED_RPC_OK);
    fed_buf_deinit(&bytes);
    stage_announce(f->bob, "b-2", "2");
    (void)fake_wait(f->fake, "refused 7 bob not_finite");
    stage_upload(f, f->bob, "b-3", 1e12);
    stage_announce(f->bob, "b-3", "2");
    (void)fake_wait(f->fake, "refused 7 bob out_of_range");
    /* None of it took the upload that counts, and none of it is in the sum. */
    stage_announce(f->alice, "a-1", "2");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 2");
    stage_upload(f, f->alice, "a-2", 5);
    stage_announce(f->alice, "a-2", "2");
    (void)fake_wait(f->fake, "refused 7 alice duplicate");
    stage_announce(f->alice, "a-1", "2"); /* the same again: OK, no effect */
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=1");
    assert_partial(f, changes, examples, 1);
    stage_announce(f->bob, "b-3", "1");
    (void)fake_wait(f->fake, "refused 7 bob late");
    peer_free(carol);
}

static void test_after_a_kill_nobody_trains_again(void **state)
{
    static const double changes[] = {0.25, 0.5};
    static const double examples[] = {3, 4};
    struct stage *f = *state;
    char data[512];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    stage_upload(f, f->bob, "b-1", 0.5); /* whole, and not announced */
    stage_kill(f);
    peer_free(f->alice);
    peer_free(f->bob);
    stage_launch(f);
    assert_non_null(strstr(fake_wait(f->fake, "rounds= 7/1/"), "/1/0")); /* Hello: one admitted */
    (void)unlink(f->ready);
    stage_kill(f);
    stage_start(f);
    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->bob, 1, data); /* alice is not asked */
    stage_announce(f->alice, "a-1", "3");
    stage_announce(f->bob, "b-1", "4"); /* what was uploaded before the kill */
    (void)fake_wait(f->fake, "admitted 7/1 bob b-1 4");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    stage_kill(f);
    stage_launch(f);
    (void)fake_wait(f->fake, "7/1/4/2/0"); /* SEALED, both */
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
}

static void test_another_plan_rebuilds_the_sum(void **state)
{
    static const double changes[] = {0.25, 0.5};
    static const double examples[] = {3, 4};
    struct stage *f = *state;
    char data[512];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=1");
    stage_send_plan(f, "7", 2);
    stage_upload(f, f->bob, "b-1", 0.5);
    stage_announce(f->bob, "b-1", "4");
    (void)fake_wait(f->fake, "admitted 7/2 bob");
    stage_send_close(f, "7", 2);
    (void)fake_wait(f->fake, "partial 7/2 entries=2");
    assert_partial(f, changes, examples, 2);
}

/* Until the file of the last update has gone. */
static void wait_checkpoint(struct stage *f)
{
    char path[FED_PATH_SIZE];
    bool has_file = true;

    (void)snprintf(path, sizeof(path), "%.900s/rounds/7", f->spool);
    for (int i = 0; has_file; i++) {
        const struct timespec pause = {.tv_nsec = 10000000};
        const struct dirent *file;
        DIR *dir = opendir(path);
        assert_non_null(dir);
        assert_true(i < 1000);
        has_file = false;
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): one reader, a stream of its own */
        while ((file = readdir(dir)) != NULL) {
            has_file = has_file || strncmp(file->d_name, "update-", 7) == 0;
        }
        (void)closedir(dir);
        (void)nanosleep(&pause, NULL);
    }
}

/* With room for less than an update each fold makes a checkpoint. */
static void test_a_checkpoint_counts_until_a_plan_ends_it(void **state)
{
    static const double changes[] = {0.25, 0.5};
    static const double examples[] = {3, 4};
    struct stage *f = *state;
    char data[512];

    stage_kill(f);
    f->spool_bytes_max = "1KiB";
    stage_start(f);
    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    wait_checkpoint(f);
    stage_upload(f, f->bob, "b-1", 0.5);
    stage_announce(f->bob, "b-1", "4");
    wait_checkpoint(f);
    stage_kill(f);
    peer_free(f->alice);
    peer_free(f->bob);
    stage_launch(f);
    assert_non_null(strstr(fake_wait(f->fake, "rounds= 7/1/"), "/2/0")); /* Hello: both admitted */
    (void)unlink(f->ready);
    stage_kill(f);
    stage_start(f);
    stage_attach_both(f);
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    /* Without bob: alice is asked again. */
    stage_send_plan_to(f, "7", 2, 1);
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/2/2/0/0");
    (void)peer_wait_task(f->alice, 1, data);
    stage_announce(f->alice, "a-1",
                   "3"); /* as one does who has not heard the OK: and asked once more */
    (void)peer_wait_task(f->alice, 2, data);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/2 alice a-1 3");
    stage_send_close(f, "7", 2);
    (void)fake_wait(f->fake, "partial 7/2 entries=1");
    assert_partial(f, changes, examples, 1);
    assert_false(fake_has(f->fake, "refused"));
}

static void test_a_corrupt_partial_is_sent_again(void **state)
{
    struct stage *f = *state;

    stage_attach_both(f);
    fake_set_verdict(f->fake, FED_VERDICT_CORRUPT);
    stage_send_plan(f, "7", 1);
    (void)fake_wait(f->fake, "get base");
    stage_send_close(f, "7", 1);
    for (int i = 0; i < 3; i++) {
        (void)fake_wait(f->fake, "partial 7/1 entries=0");
    }
    /* Cut off, it says so and goes on. */
    fake_set_verdict(f->fake, FED_VERDICT_ACCEPTED);
    fake_cut_link(f->fake);
    (void)fake_wait(f->fake, "link closed");
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/1/4/0/0");
}

static void sleep_ms(long ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* It was being sent while it was written: nothing is left of that, and another plan is carried out.
 */
static void test_a_partial_that_cannot_be_written_is_not_sent(void **state)
{
    static const double changes[] = {0.5};
    static const double examples[] = {2};
    struct stage *f = *state;
    char path[FED_PATH_SIZE];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)fake_wait(f->fake, "get base");
    stage_upload(f, f->alice, "a-1", 0.5);
    stage_announce(f->alice, "a-1", "2");
    (void)fake_wait(f->fake, "admitted 7/1 alice");
    (void)snprintf(path, sizeof(path), "%.900s/rounds/7/partial", f->spool);
    assert_int_equal(mkdir(path, 0700), 0); /* the rename fails */
    stage_send_close(f, "7", 1);
    sleep_ms(1000); /* for the call to begin */
    for (int i = 0; fake_count_puts(f->fake) > 0; i++) {
        assert_true(i < 1000);
        sleep_ms(10);
    }
    assert_false(fake_has(f->fake, "partial 7/1"));
    assert_int_equal(rmdir(path), 0);
    stage_send_plan_to(f, "7", 2, 1);
    stage_send_close(f, "7", 2);
    (void)fake_wait(f->fake, "partial 7/2 entries=1");
    assert_partial(f, changes, examples, 1);
}

static void test_a_name_is_bound_to_its_connection(void **state)
{
    struct stage *f = *state;
    struct peer *mallory = peer_new(&f->loop, f->rpc, f->address, "alice");
    char data[512];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_upload(f, mallory, "forged", 100);
    assert_int_equal(peer_heartbeat(f->alice), FED_RPC_OK);
    /* Held, while the real one is alive; it answers for nobody. */
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    stage_announce(mallory, "forged", "1000");
    (void)fake_wait(f->fake, "refused 7 alice");
    assert_false(fake_has(f->fake, "forged"));
    peer_free(mallory);
}

static void test_the_newest_stream_wins(void **state)
{
    struct stage *f = *state;
    struct peer *again;
    char data[512];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    again = peer_new(&f->loop, f->rpc, f->address, "alice");
    peer_attach(again);
    assert_int_equal(peer_wait_stream_end(f->alice), FED_RPC_UNAVAILABLE);
    assert_string_equal(peer_wait_task(again, 1, data), "base");
    stage_upload(f, again, "a-1", 0.25);
    stage_announce(again, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    peer_free(again);
}

static void test_uploads(void **state)
{
    static const double changes[] = {0.25};
    static const double examples[] = {3};
    struct stage *f = *state;
    struct fed_buf bytes = stage_model(f, 0.5);
    struct fed_buf got;
    char data[512];
    int status = -1;

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    /* Without its terminator there is nothing. */
    assert_int_equal(peer_upload(f->alice, "half", bytes.data, bytes.size, false, &status),
                     FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED);
    /* An id is a name, never a path. */
    assert_int_equal(peer_upload(f->alice, "../../etc/x", bytes.data, bytes.size, true, &status),
                     FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED);
    assert_int_equal(peer_upload(f->alice, "", bytes.data, bytes.size, true, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED);
    /* A global model's id is swallowed. */
    assert_int_equal(peer_upload(f->alice, "base", bytes.data, bytes.size, true, &status),
                     FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    stage_announce(f->alice, "base", "3");
    (void)fake_wait(f->fake, "refused 7 alice reserved_id");
    assert_int_equal(peer_download(f->alice, "base", &got, &status), FED_RPC_OK);
    assert_memory_equal(got.data, f->base.data, f->base.size);
    fed_buf_deinit(&got);
    /* Until it is announced, a new one replaces it. */
    stage_upload(f, f->alice, "a-1", 77);
    assert_int_equal(peer_upload(f->alice, "a-1", bytes.data, 10, false, &status), FED_RPC_OK);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    stage_upload(f, f->alice, "a-1", 99); /* too late to change anything */
    stage_announce(f->alice, "a-1", "3");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=1");
    assert_partial(f, changes, examples, 1);
    fed_buf_deinit(&bytes);
}

static void test_nothing_else_leaves_the_port(void **state)
{
    static const char *const paths[] = {"/fedn.Control/Start",
                                        "/fedn.Control/Stop",
                                        "/fedn.Connector/ReassignClient",
                                        "/fedn.Connector/ReconnectClient",
                                        "/fedn.Combiner/SendBackwardCompletion",
                                        "/fedn.Reducer/GetGlobalModel",
                                        "/fedn.Connector/AcceptingClients",
                                        "/fedn.Connector/ListActiveClients",
                                        "/grpc.health.v1.Health/Check"};
    struct stage *f = *state;
    const Fedn__ConnectionRequest nothing = FEDN__CONNECTION_REQUEST__INIT;
    Fedn__ModelRequest odd = FEDN__MODEL_REQUEST__INIT;
    static uint8_t not_utf8[] = {0xFF, 0xFE, 0xFD};
    struct fed_buf got;
    int status = -1;

    stage_attach_both(f);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(peer_call(f->alice, paths[i], &nothing.base), FED_RPC_OK);
    }
    assert_int_equal(peer_call(f->alice, "/fedn.Nobody/Knows", &nothing.base), FED_RPC_UNAVAILABLE);
    /* Field 3 is a text in one message and bytes in the other: not UTF-8. */
    odd.data = (ProtobufCBinaryData){3, not_utf8};
    assert_int_equal(peer_call(f->alice, "/fedn.Combiner/SendModelUpdate", &odd.base),
                     FED_RPC_UNAVAILABLE);
    assert_int_equal(peer_download(f->alice, "nobody-s", &got, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED);
    fed_buf_deinit(&got);
    assert_int_equal(peer_heartbeat(f->alice), FED_RPC_OK);
}

static void test_fast_heartbeats_are_paced(void **state)
{
    struct stage *f = *state;
    uint64_t before_ms;

    stage_attach_both(f);
    before_ms = fed_clock_mono_ms();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(peer_heartbeat(f->alice), FED_RPC_OK);
    }
    assert_true(fed_clock_mono_ms() - before_ms >= 900);
    assert_int_equal(peer_heartbeat(f->bob), FED_RPC_OK); /* his first is answered at once */
}

static int send_status(struct peer *peer, const char *words)
{
    Fedn__Status status = FEDN__STATUS__INIT;
    Fedn__Client sender = FEDN__CLIENT__INIT;

    sender.name = peer_text("alice");
    status.sender = &sender;
    status.status = peer_text(words);
    return peer_call(peer, "/fedn.Connector/SendStatus", &status.base);
}

static void test_records_go_up_until_they_are_acknowledged(void **state)
{
    struct stage *f = *state;
    struct peer *early = peer_new(&f->loop, f->rpc, f->address, "");
    Fedn__ModelMetric metric = FEDN__MODEL_METRIC__INIT;
    Fedn__MetricElem elem = FEDN__METRIC_ELEM__INIT;
    Fedn__MetricElem *elems[] = {&elem};

    /* From somebody who is not attached yet. */
    assert_int_equal(send_status(early, "early"), FED_RPC_OK);
    (void)fake_wait(f->fake, "\"status\":\"early\"");
    peer_free(early);
    elem.key = peer_text("loss");
    elem.value = 0.5F;
    metric.metrics = elems;
    metric.n_metrics = 1;
    stage_attach_both(f);
    assert_int_equal(peer_call(f->alice, "/fedn.Combiner/SendModelMetric", &metric.base),
                     FED_RPC_OK);
    (void)fake_wait(f->fake, "\"key\":\"loss\"");
    assert_int_equal(peer_call(f->alice, "/fedn.Connector/SendModelMetric", &metric.base),
                     FED_RPC_OK);
    (void)fake_wait(f->fake, "\"client_id\":\"alice\"");
    /* Not acknowledged: again with the next link, and by the next process. */
    fake_set_acknowledging(f->fake, false);
    assert_int_equal(send_status(f->alice, "kept"), FED_RPC_OK);
    (void)fake_wait(f->fake, "\"status\":\"kept\"");
    fake_cut_link(f->fake);
    (void)fake_wait(f->fake, "hello");
    (void)fake_wait(f->fake, "\"status\":\"kept\"");
    stage_kill(f);
    peer_free(f->alice);
    peer_free(f->bob);
    f->alice = f->bob = NULL;
    fake_set_acknowledging(f->fake, true);
    stage_launch(f);
    (void)fake_wait(f->fake, "hello");
    (void)fake_wait(f->fake, "\"status\":\"kept\"");
}

static void test_a_validation(void **state)
{
    static char clients[][FED_ID_SIZE] = {"alice"};
    static char data[] = "{\"task\": \"validation\"}";
    struct stage *f = *state;
    struct fed_down down = {.type = FED_DOWN_VALIDATE,
                            .validate = {.session_id = "session",
                                         .round_id = "7",
                                         .model_id = "base",
                                         .client_ids = clients,
                                         .n_clients = 1,
                                         .time_left_ms = 60000,
                                         .task_data = data}};
    Fedn__ModelValidation validation = FEDN__MODEL_VALIDATION__INIT;
    char task[512];

    stage_attach_both(f);
    down.validate.size_bytes = f->base.size;
    fed_sha256_once(f->base.data, f->base.size, down.validate.sha256);
    fed_xxh128_once(f->base.data, f->base.size, down.validate.xxh128);
    fake_send(f->fake, &down);
    assert_string_equal(peer_wait_task(f->alice, 1, task), "base");
    assert_string_equal(task, "4 2 north alice session {\"task\": \"validation\"}");
    validation.model_id = peer_text("base");
    validation.data = peer_text("{\"loss\": 1}");
    assert_int_equal(peer_call(f->alice, "/fedn.Combiner/SendModelValidation", &validation.base),
                     FED_RPC_OK);
    assert_non_null(strstr(fake_wait(f->fake, "record 2"), "\"client_id\":\"alice\""));
}

static void test_sigterm_drains(void **state)
{
    struct stage *f = *state;
    struct fed_buf ready;
    char data[512];

    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    assert_int_equal(stage_terminate(f), 0);
    assert_int_equal(peer_wait_stream_end(f->alice), FED_RPC_UNAVAILABLE);
    (void)fake_wait(f->fake, "link closed");
    /* The spool is kept. */
    stage_launch(f);
    (void)fake_wait(f->fake, "7/1/1/1/0");
    ready = test_file_read(f->ready);
    assert_true(ready.size > 0);
    fed_buf_deinit(&ready);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round),
        TEST(test_what_does_not_count_is_answered_ok_and_said_why),
        TEST(test_after_a_kill_nobody_trains_again),
        TEST(test_another_plan_rebuilds_the_sum),
        TEST(test_a_checkpoint_counts_until_a_plan_ends_it),
        TEST(test_a_corrupt_partial_is_sent_again),
        TEST(test_a_partial_that_cannot_be_written_is_not_sent),
        TEST(test_a_name_is_bound_to_its_connection),
        TEST(test_the_newest_stream_wins),
        TEST(test_uploads),
        TEST(test_nothing_else_leaves_the_port),
        TEST(test_fast_heartbeats_are_paced),
        TEST(test_records_go_up_until_they_are_acknowledged),
        TEST(test_a_validation),
        TEST(test_sigterm_drains),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
