/* Models that are downloaded while they come from the reducer. */
#include <stdio.h>
#include <string.h>

#include "common/model/checksum.h"
#include "tests/unit/combiner/old_plan.h"
#include "tests/unit/combiner/stage.h"

#define SOME 1000U /* bytes of the model, which is longer */

/* Its reducer gives the first bytes alone; alice and bob are attached, and asked to train. */
static void open_round(struct stage *f)
{
    char data[512];

    fake_hold(f->fake, SOME);
    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    assert_string_equal(peer_wait_task(f->alice, 1, data), "base");
    assert_string_equal(peer_wait_task(f->bob, 1, data), "base");
}

static struct exchange *begin_download(struct peer *peer)
{
    struct exchange *download = peer_begin_download(peer, "base");

    peer_wait_chunks(download, 1);
    return download;
}

static void assert_whole(struct stage *f, struct exchange *download)
{
    struct fed_buf bytes;
    int status = -1;

    assert_int_equal(peer_end_download(download, &bytes, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    assert_int_equal(bytes.size, f->base.size);
    assert_memory_equal(bytes.data, f->base.data, bytes.size);
    fed_buf_deinit(&bytes);
}

static void assert_turned_away(struct exchange *download)
{
    struct fed_buf bytes;
    int status = -1;

    assert_int_equal(peer_end_download(download, &bytes, &status), FED_RPC_UNAVAILABLE);
    assert_int_not_equal(status, FEDN__MODEL_STATUS__OK);
    fed_buf_deinit(&bytes);
}

/* A client asks until it is given the model; nothing else may be given to it. */
static void download_until_whole(struct stage *f, struct peer *peer)
{
    int code = FED_RPC_UNAVAILABLE;

    for (int i = 0; code == FED_RPC_UNAVAILABLE && i < 1000; i++) {
        struct fed_buf bytes;
        int status = -1;
        code = peer_download(peer, "base", &bytes, &status);
        assert_int_equal(status == FEDN__MODEL_STATUS__OK, code == FED_RPC_OK);
        if (code == FED_RPC_OK) {
            assert_int_equal(bytes.size, f->base.size);
            assert_memory_equal(bytes.data, f->base.data, bytes.size);
        }
        fed_buf_deinit(&bytes);
    }
    assert_int_equal(code, FED_RPC_OK);
}

static void send_validate(struct stage *f, const char *model_id)
{
    static char clients[][FED_ID_SIZE] = {"alice"};
    static char data[] = "{}";
    struct fed_down down = {.type = FED_DOWN_VALIDATE,
                            .validate = {.session_id = "session",
                                         .round_id = "7",
                                         .client_ids = clients,
                                         .n_clients = 1,
                                         .time_left_ms = 60000,
                                         .size_bytes = f->base.size,
                                         .task_data = data}};

    fed_id_copy(down.validate.model_id, model_id);
    fed_sha256_once(f->base.data, f->base.size, down.validate.sha256);
    fed_xxh128_once(f->base.data, f->base.size, down.validate.xxh128);
    fake_send(f->fake, &down);
}

/* -- tests ------------------------------------------------------------------------------------- */

static void test_it_overtakes_the_fetch_and_waits(void **state)
{
    struct stage *f = *state;
    struct exchange *first;
    struct exchange *second;

    open_round(f);
    first = begin_download(f->alice);
    second = begin_download(f->bob);
    fake_go_on(f->fake);
    assert_whole(f, first);
    assert_whole(f, second);
}

static void test_a_broken_call_is_resumed_under_it(void **state)
{
    struct stage *f = *state;
    struct exchange *download;

    open_round(f);
    download = begin_download(f->alice);
    fake_hold(f->fake, SOME + 500);
    fake_break_off(f->fake);
    (void)fake_wait(f->fake, "get base 1000");
    peer_wait_chunks(download, 2);
    fake_go_on(f->fake);
    assert_whole(f, download);
}

static void test_wrong_bytes_are_never_ok(void **state)
{
    struct stage *f = *state;
    struct fed_buf wrong = stage_model(f, 1);
    struct exchange *download;

    assert_int_equal(wrong.size, f->base.size);
    fake_set_model(f->fake, wrong.data, wrong.size);
    fed_buf_deinit(&wrong);
    open_round(f);
    download = begin_download(f->alice);
    fake_go_on(f->fake);
    assert_turned_away(download); /* and had all of them */
    fake_set_model(f->fake, f->base.data, f->base.size);
    download_until_whole(f, f->alice);
}

/* A wire, or the reducer's disk, has flipped one bit. */
static void test_one_wrong_bit_is_never_ok(void **state)
{
    struct stage *f = *state;
    struct exchange *download;

    f->base.data[f->base.size / 2] ^= 0x10;
    fake_set_model(f->fake, f->base.data, f->base.size);
    f->base.data[f->base.size / 2] ^= 0x10;
    open_round(f);
    download = begin_download(f->alice);
    fake_go_on(f->fake);
    assert_turned_away(download);
    (void)fake_wait(f->fake, "get base 0");
    fake_set_model(f->fake, f->base.data, f->base.size);
    download_until_whole(f, f->alice);
}

/* A transfer that ends well, and too early: the rest is asked for. */
static void test_a_short_file_is_not_whole(void **state)
{
    struct stage *f = *state;
    struct exchange *download;

    fake_set_model(f->fake, f->base.data, f->base.size - 1);
    open_round(f);
    download = begin_download(f->alice);
    fake_go_on(f->fake);
    for (int i = 0; i < 2; i++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "get base %zu", f->base.size - 1);
        (void)fake_wait(f->fake, line);
    }
    fake_set_model(f->fake, f->base.data, f->base.size);
    assert_whole(f, download);
}

/* The daemon starts again and finds `bytes` under the base's name. */
static void start_with_file(struct stage *f, const uint8_t *bytes, size_t size)
{
    char path[FED_PATH_SIZE];

    stage_kill(f);
    (void)snprintf(path, sizeof(path), "%.200s/models/base", f->spool);
    test_file_write(path, bytes, size);
    stage_start(f);
    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
}

static void test_a_stale_file_is_not_the_model(void **state)
{
    struct stage *f = *state;
    struct fed_buf stale = stage_model(f, 1);

    assert_int_equal(stale.size, f->base.size);
    open_round(f);
    peer_free(f->alice);
    peer_free(f->bob);
    fake_go_on(f->fake);
    start_with_file(f, stale.data, stale.size);
    download_until_whole(f, f->alice);
    peer_free(f->alice);
    peer_free(f->bob);
    start_with_file(f, f->base.data, f->base.size - 1);
    download_until_whole(f, f->alice);
    fed_buf_deinit(&stale);
}

static void test_a_whole_file_is_not_fetched(void **state)
{
    struct stage *f = *state;

    open_round(f);
    peer_free(f->alice);
    peer_free(f->bob);
    fake_lose_model(f->fake);
    start_with_file(f, f->base.data, f->base.size);
    download_until_whole(f, f->alice);
}

/* Its plan file does not say the XXH3: the plan does, told again. */
static void test_a_plan_of_protocol_1_waits_to_be_told_again(void **state)
{
    struct stage *f = *state;
    uint8_t xxh128[FED_XXH128_SIZE];
    char path[FED_PATH_SIZE];
    struct fed_buf bytes;
    int status = -1;

    open_round(f);
    fake_go_on(f->fake);
    download_until_whole(f, f->alice);
    stage_upload(f, f->alice, "a-1", 0.25);
    stage_announce(f->alice, "a-1", "3");
    stage_kill(f);
    peer_free(f->alice);
    peer_free(f->bob);
    (void)snprintf(path, sizeof(path), "%.200s/rounds/7/plan", f->spool);
    fed_xxh128_once(f->base.data, f->base.size, xxh128);
    old_plan_make(path, xxh128);
    stage_start(f);
    stage_attach_both(f);
    assert_int_equal(peer_download(f->alice, "base", &bytes, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED); /* not before */
    fed_buf_deinit(&bytes);
    stage_send_plan(f, "7", 1);
    download_until_whole(f, f->bob);
    stage_upload(f, f->bob, "b-1", 0.5);
    stage_announce(f->bob, "b-1", "4");
    stage_send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2"); /* alice has not trained again */
}

static void test_of_a_lost_model_clients_are_told_again(void **state)
{
    struct stage *f = *state;
    struct exchange *download;
    char data[512];

    open_round(f);
    download = begin_download(f->alice);
    fake_lose_model(f->fake);
    fake_break_off(f->fake);
    assert_turned_away(download);
    fake_set_model(f->fake, f->base.data, f->base.size);
    fake_cut_link(f->fake); /* the next one asks again */
    assert_string_equal(peer_wait_task(f->alice, 2, data), "base");
    download = begin_download(f->alice);
    fake_go_on(f->fake);
    assert_whole(f, download);
}

static void test_an_update_waits_for_the_base(void **state)
{
    struct stage *f = *state;
    struct exchange *announcement;

    open_round(f);
    stage_upload(f, f->alice, "a-1", 0.25);
    announcement = peer_begin_announce(f->alice, "a-1", "base", "7", "3");
    assert_int_equal(peer_heartbeat(f->alice), FED_RPC_OK); /* it has been heard */
    fake_go_on(f->fake);
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    assert_int_equal(peer_end_announce(announcement), FED_RPC_OK);
}

static void test_a_dropped_model_turns_away(void **state)
{
    struct stage *f = *state;
    struct exchange *download;
    struct fed_buf bytes;
    char data[512];
    int status = -1;

    open_round(f);
    download = begin_download(f->alice);
    stage_send_done(f, "7");
    send_validate(f, "other"); /* now the first is needed no more */
    assert_turned_away(download);
    (void)fake_wait(f->fake, "get ended");
    assert_int_equal(peer_download(f->alice, "base", &bytes, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__FAILED);
    fed_buf_deinit(&bytes);
    assert_string_equal(peer_wait_task(f->alice, 2, data), "other");
}

static void test_nobody_waits_for_ever(void **state)
{
    struct stage *f = *state;
    struct exchange *download;

    stage_kill(f);
    f->idle_limit = "300ms";
    stage_start(f);
    open_round(f);
    assert_turned_away(begin_download(f->alice));
    download = begin_download(f->alice); /* what is there is given again, from the start */
    fake_go_on(f->fake);
    assert_whole(f, download);
}

static void test_killed_midway_it_is_fetched_anew(void **state)
{
    struct stage *f = *state;
    struct exchange *download;
    char data[512];

    open_round(f);
    download = begin_download(f->alice);
    stage_kill(f);
    assert_turned_away(download);
    peer_free(f->alice);
    peer_free(f->bob);
    stage_start(f);
    fake_go_on(f->fake);
    stage_attach_both(f);
    stage_send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    download_until_whole(f, f->alice);
}

static void test_sigterm_midway(void **state)
{
    struct stage *f = *state;
    struct exchange *download;

    open_round(f);
    download = begin_download(f->alice);
    assert_int_equal(stage_terminate(f), 0);
    f->pid = 0;
    assert_turned_away(download);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_overtakes_the_fetch_and_waits),
        TEST(test_a_broken_call_is_resumed_under_it),
        TEST(test_wrong_bytes_are_never_ok),
        TEST(test_one_wrong_bit_is_never_ok),
        TEST(test_a_short_file_is_not_whole),
        TEST(test_a_stale_file_is_not_the_model),
        TEST(test_a_whole_file_is_not_fetched),
        TEST(test_a_plan_of_protocol_1_waits_to_be_told_again),
        TEST(test_of_a_lost_model_clients_are_told_again),
        TEST(test_an_update_waits_for_the_base),
        TEST(test_a_dropped_model_turns_away),
        TEST(test_nobody_waits_for_ever),
        TEST(test_killed_midway_it_is_fetched_anew),
        TEST(test_sigterm_midway),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
