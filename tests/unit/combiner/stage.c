#include "tests/unit/combiner/stage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/model/checksum.h"
#include "tests/lib/model.h"

static const struct fed_tensor shapes[] = {
    {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {300, 5}, .n_elements = 1500},
    {.dtype = FED_DTYPE_F8, .rank = 1, .shape = {3}, .n_elements = 3, .offset = 1500},
};

/* -- the daemon -------------------------------------------------------------------------------- */

static int exec_combiner(void *arg)
{
    const struct stage *f = arg;
    char *const argv[] = {peer_text(CONFED_COMBINER),
                          peer_text("--name=north"),
                          peer_text("--reducer"),
                          peer_text(fake_address(f->fake)),
                          peer_text("--listen=127.0.0.1:0"),
                          peer_text("--spool"),
                          peer_text(f->spool),
                          peer_text("--ready-file"),
                          peer_text(f->ready),
                          peer_text("--heartbeat-pace=300ms"),
                          peer_text("--log-level=warning"),
                          peer_text("--spool-bytes-max"),
                          peer_text(f->spool_bytes_max),
                          peer_text("--upload-idle-limit"),
                          peer_text(f->idle_limit),
                          NULL};

    if (f->fault != NULL) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the child has one thread */
        (void)setenv("CONFED_FAULT", f->fault, 1);
    }
    (void)execv(argv[0], argv);
    return 127;
}

void stage_launch(struct stage *f)
{
    f->pid = test_child_start(exec_combiner, f);
}

void stage_start(struct stage *f)
{
    const char *advertise;
    struct fed_buf ready;

    (void)unlink(f->ready);
    stage_launch(f);
    (void)fake_wait(f->fake, "hello");
    for (int i = 0; access(f->ready, F_OK) != 0; i++) {
        const struct timespec pause = {.tv_nsec = 10000000};
        assert_true(i < 2000);
        (void)nanosleep(&pause, NULL);
    }
    ready = test_file_read(f->ready);
    assert_int_equal(fed_buf_add(&ready, "", 1, NULL), 0);
    advertise = strstr((const char *)ready.data, "\"advertise\":\"");
    assert_non_null(advertise);
    advertise += 13;
    (void)snprintf(f->address, sizeof(f->address), "%.*s", (int)strcspn(advertise, "\""),
                   advertise);
    fed_buf_deinit(&ready);
}

void stage_kill(struct stage *f)
{
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    assert_int_equal(test_child_wait(f->pid), -SIGKILL);
}

int stage_terminate(struct stage *f)
{
    assert_int_equal(kill(f->pid, SIGTERM), 0);
    return test_child_wait(f->pid);
}

/* -- models and words -------------------------------------------------------------------------- */

double stage_base_value(size_t i)
{
    return (double)(float)(0.001 * (double)i - 0.7);
}

struct fed_buf stage_model(struct stage *f, double change)
{
    char path[FED_PATH_SIZE];
    double values[STAGE_ELEMENTS];

    for (size_t i = 0; i < STAGE_ELEMENTS; i++) {
        values[i] = stage_base_value(i) + change;
    }
    (void)test_path(&f->folder, "model", path);
    test_model_write(path, values, shapes, 2);
    return test_file_read(path);
}

void stage_send_plan_to(struct stage *f, const char *round_id, uint64_t plan_seq, size_t n_clients)
{
    static int32_t scales[] = {STAGE_SCALE, STAGE_SCALE};
    static char clients[][FED_ID_SIZE] = {"alice", "bob"};
    char data[64];
    struct fed_down down = {.type = FED_DOWN_PLAN};

    (void)snprintf(data, sizeof(data), "{\"round_id\": \"%s\"}", round_id);
    down.plan = (struct fed_plan){.session_id = "session",
                                  .round_number = 1,
                                  .plan_seq = plan_seq,
                                  .base_model_id = "base",
                                  .base_size_bytes = f->base.size,
                                  .scale_bits = scales,
                                  .n_tensors = 2,
                                  .limit_bits = 51,
                                  .examples_max = 1000000,
                                  .task_data = data,
                                  .client_ids = clients,
                                  .n_clients = n_clients,
                                  .time_left_ms = 60000};
    (void)snprintf(down.plan.round_id, sizeof(down.plan.round_id), "%s", round_id);
    fed_sha256_once(f->base.data, f->base.size, down.plan.base_sha256);
    fed_xxh128_once(f->base.data, f->base.size, down.plan.base_xxh128);
    fake_send(f->fake, &down);
}

void stage_send_plan(struct stage *f, const char *round_id, uint64_t plan_seq)
{
    stage_send_plan_to(f, round_id, plan_seq, 2);
}

void stage_send_close(struct stage *f, const char *round_id, uint64_t plan_seq)
{
    struct fed_down down = {.type = FED_DOWN_CLOSE, .close.plan_seq = plan_seq};

    (void)snprintf(down.close.round_id, sizeof(down.close.round_id), "%s", round_id);
    fake_send(f->fake, &down);
}

void stage_send_done(struct stage *f, const char *round_id)
{
    struct fed_down down = {.type = FED_DOWN_DONE, .done.outcome = FED_ROUND_FAILED};

    (void)snprintf(down.done.round_id, sizeof(down.done.round_id), "%s", round_id);
    fake_send(f->fake, &down);
}

void stage_attach_both(struct stage *f)
{
    f->alice = peer_new(&f->loop, f->rpc, f->address, "alice");
    f->bob = peer_new(&f->loop, f->rpc, f->address, "bob");
    peer_attach(f->alice);
    (void)fake_wait(f->fake, "client alice attached");
    peer_attach(f->bob);
    (void)fake_wait(f->fake, "client bob attached");
}

void stage_upload(struct stage *f, struct peer *peer, const char *id, double change)
{
    struct fed_buf bytes = stage_model(f, change);
    int status = -1;

    assert_int_equal(peer_upload(peer, id, bytes.data, bytes.size, true, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    fed_buf_deinit(&bytes);
}

void stage_announce(struct peer *peer, const char *id, const char *examples)
{
    assert_int_equal(peer_announce(peer, id, "base", "7", examples), FED_RPC_OK);
}

/* -- fixture ----------------------------------------------------------------------------------- */

int stage_set_up(void **state)
{
    struct stage *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "spool", f->spool);
    (void)test_path(&f->folder, "ready", f->ready);
    (void)test_path(&f->folder, "partial", f->partial);
    test_loop_start(&f->loop);
    assert_int_equal(fed_rpc_new(f->loop.loop, &f->rpc, NULL), 0);
    f->fake = fake_start(&f->loop, f->rpc, f->partial);
    f->base = stage_model(f, 0);
    f->spool_bytes_max = "1GiB";
    f->idle_limit = "60s";
    fake_set_model(f->fake, f->base.data, f->base.size);
    stage_start(f);
    *state = f;
    return 0;
}

int stage_tear_down(void **state)
{
    struct stage *f = *state;
    const int status = f->pid > 0 ? stage_terminate(f) : 0;

    peer_free(f->alice);
    peer_free(f->bob);
    fake_stop(f->fake);
    test_loop_stop(&f->loop);
    (void)fed_rpc_free(f->rpc);
    fed_buf_deinit(&f->base);
    test_folder_remove(&f->folder);
    free(f);
    assert_int_equal(status, 0); /* a leak or a race is said so by the sanitizer's exit status */
    return 0;
}
