/* The daemon as it runs, between a reducer and clients that the test plays. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"
#include "common/model/npz.h"
#include "tests/unit/combiner/fake_reducer.h"
#include "tests/unit/combiner/peer.h"

#define N_ELEMENTS 1503U
#define SCALE      20

static const struct fed_tensor shapes[] = {
    {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {300, 5}, .n_elements = 1500},
    {.dtype = FED_DTYPE_F8, .rank = 1, .shape = {3}, .n_elements = 3, .offset = 1500},
};

struct fixture {
    struct test_folder folder;
    char spool[FED_PATH_SIZE];
    char ready[FED_PATH_SIZE];
    char partial[FED_PATH_SIZE];
    struct test_loop loop;
    struct fed_rpc *rpc;
    struct fake_reducer *fake;
    struct peer *alice;
    struct peer *bob;
    struct fed_buf base; /* the model file */
    const char *fault;
    const char *spool_bytes_max;
    char address[64];
    int pid;
};

/* -- the daemon -------------------------------------------------------------------------------- */

static int exec_combiner(void *arg)
{
    const struct fixture *f = arg;
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
                          NULL};

    if (f->fault != NULL) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the child has one thread */
        (void)setenv("CONFED_FAULT", f->fault, 1);
    }
    (void)execv(argv[0], argv);
    return 127;
}

/* Until the reducer has heard its Hello and its ready file is there. */
static void start(struct fixture *f)
{
    const char *advertise;
    struct fed_buf ready;

    (void)unlink(f->ready);
    f->pid = test_child_start(exec_combiner, f);
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

static void kill_it(struct fixture *f)
{
    assert_int_equal(kill(f->pid, SIGKILL), 0);
    assert_int_equal(test_child_wait(f->pid), -SIGKILL);
}

static int terminate(struct fixture *f)
{
    assert_int_equal(kill(f->pid, SIGTERM), 0);
    return test_child_wait(f->pid);
}

/* -- models and words -------------------------------------------------------------------------- */

static double base_value(size_t i)
{
    return (double)(float)(0.001 * (double)i - 0.7);
}

/* The base with `change` added everywhere; the caller deinits. */
static struct fed_buf model(struct fixture *f, double change)
{
    char path[FED_PATH_SIZE];
    struct fed_npz_writer *writer = NULL;
    double values[N_ELEMENTS];
    int fd;

    for (size_t i = 0; i < N_ELEMENTS; i++) {
        values[i] = base_value(i) + change;
    }
    (void)test_path(&f->folder, "model", path);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(fed_npz_writer_new(fd, &writer, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fed_npz_writer_begin(writer, &shapes[i], NULL), 0);
        assert_int_equal(fed_npz_writer_add(writer, values + shapes[i].offset,
                                            (size_t)shapes[i].n_elements, NULL),
                         0);
    }
    assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
    (void)fed_npz_writer_free(writer);
    (void)close(fd);
    return test_file_read(path);
}

static void
send_plan_to(struct fixture *f, const char *round_id, uint64_t plan_seq, size_t n_clients)
{
    static int32_t scales[] = {SCALE, SCALE};
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
    fake_send(f->fake, &down);
}

static void send_plan(struct fixture *f, const char *round_id, uint64_t plan_seq)
{
    send_plan_to(f, round_id, plan_seq, 2);
}

static void send_close(struct fixture *f, const char *round_id, uint64_t plan_seq)
{
    struct fed_down down = {.type = FED_DOWN_CLOSE, .close.plan_seq = plan_seq};

    (void)snprintf(down.close.round_id, sizeof(down.close.round_id), "%s", round_id);
    fake_send(f->fake, &down);
}

static void send_done(struct fixture *f, const char *round_id)
{
    struct fed_down down = {.type = FED_DOWN_DONE, .done.outcome = FED_ROUND_FAILED};

    (void)snprintf(down.done.round_id, sizeof(down.done.round_id), "%s", round_id);
    fake_send(f->fake, &down);
}

static void attach_both(struct fixture *f)
{
    f->alice = peer_new(&f->loop, f->rpc, f->address, "alice");
    f->bob = peer_new(&f->loop, f->rpc, f->address, "bob");
    peer_attach(f->alice);
    (void)fake_wait(f->fake, "client alice attached");
    peer_attach(f->bob);
    (void)fake_wait(f->fake, "client bob attached");
}

/* Upload the base with a change, whole. */
static void upload(struct fixture *f, struct peer *peer, const char *id, double change)
{
    struct fed_buf bytes = model(f, change);
    int status = -1;

    assert_int_equal(peer_upload(peer, id, bytes.data, bytes.size, true, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    fed_buf_deinit(&bytes);
}

static void announce(struct peer *peer, const char *id, const char *examples)
{
    assert_int_equal(peer_announce(peer, id, "base", "7", examples), FED_RPC_OK);
}

/* The sums handed over, value for value: sum of examples times change, in the fixed point. */
static void
assert_partial(struct fixture *f, const double *changes, const double *examples, size_t n)
{
    struct fed_partial partial = {0};
    int64_t sums[N_ELEMENTS] = {0};

    assert_int_equal(fed_partial_open(f->partial, &partial, NULL), 0);
    assert_int_equal(partial.n_entries, n);
    assert_int_equal(fed_partial_add(f->partial, &partial, sums, NULL), 0);
    for (size_t i = 0; i < N_ELEMENTS; i++) {
        int64_t want = 0;
        for (size_t k = 0; k < n; k++) {
            const double x =
                i < 1500 ? (double)(float)(base_value(i) + changes[k]) : base_value(i) + changes[k];
            volatile double difference = x - base_value(i);
            volatile double weighted = examples[k] * difference;
            want += llrint(weighted * ldexp(1.0, SCALE));
        }
        assert_int_equal(sums[i], want);
    }
    fed_partial_deinit(&partial);
}

/* -- fixture ----------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "spool", f->spool);
    (void)test_path(&f->folder, "ready", f->ready);
    (void)test_path(&f->folder, "partial", f->partial);
    test_loop_start(&f->loop);
    assert_int_equal(fed_rpc_new(f->loop.loop, &f->rpc, NULL), 0);
    f->fake = fake_start(&f->loop, f->rpc, f->partial);
    f->base = model(f, 0);
    f->spool_bytes_max = "1GiB";
    fake_set_model(f->fake, f->base.data, f->base.size);
    start(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const int status = f->pid > 0 ? terminate(f) : 0;

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

/* -- tests ------------------------------------------------------------------------------------- */

static void test_a_round(void **state)
{
    static const double changes[] = {0.25, -1.5};
    static const double examples[] = {3, 40};
    struct fixture *f = *state;
    char data[512];
    char path[FED_PATH_SIZE];
    struct fed_buf bytes;
    int status = -1;

    attach_both(f);
    send_plan(f, "7", 1);
    (void)fake_wait(f->fake, "get base 0");
    assert_string_equal(peer_wait_task(f->alice, 1, data), "base");
    assert_string_equal(data, "2 2 north alice session {\"round_id\": \"7\"}");
    assert_string_equal(peer_wait_task(f->bob, 1, data), "base");
    assert_int_equal(peer_download(f->alice, "base", &bytes, &status), FED_RPC_OK);
    assert_int_equal(status, FEDN__MODEL_STATUS__OK);
    assert_int_equal(bytes.size, f->base.size);
    assert_memory_equal(bytes.data, f->base.data, bytes.size);
    fed_buf_deinit(&bytes);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    upload(f, f->bob, "b-1", -1.5);
    announce(f->bob, "b-1", "40.0");
    (void)fake_wait(f->fake, "admitted 7/1 bob b-1 40");
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    /* Kept until Done, and handed over again when it is asked for. */
    fake_cut_link(f->fake);
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/1/4/2/0");
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    send_done(f, "7");
    announce(f->bob, "b-1", "40"); /* behind Done: it has been carried out */
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
    struct fixture *f = *state;
    struct peer *carol = peer_new(&f->loop, f->rpc, f->address, "carol");
    struct fed_buf bytes;
    char data[512];
    int status = -1;

    attach_both(f);
    peer_attach(carol);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    announce(f->bob, "never", "1");
    (void)fake_wait(f->fake, "refused 7 bob not_uploaded own=1");
    upload(f, f->alice, "a-1", 0.5);
    announce(f->alice, "a-1", "2.5");
    (void)fake_wait(f->fake, "refused 7 alice examples own=1");
    assert_int_equal(peer_announce(f->alice, "a-1", "another", "7", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "refused 7 alice wrong_base");
    assert_int_equal(peer_announce(f->alice, "a-1", "base", "6", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "alice other_round");
    assert_int_equal(peer_announce(f->alice, "", "base", "7", "2"), FED_RPC_OK);
    (void)fake_wait(f->fake, "alice bad_id");
    upload(f, carol, "c-1", 9);
    announce(carol, "c-1", "2");
    (void)fake_wait(f->fake, "refused 7 carol not_asked");
    assert_int_equal(peer_upload(f->bob, "b-1", "garbage", 7, true, &status), FED_RPC_OK);
    announce(f->bob, "b-1", "2");
    (void)fake_wait(f->fake, "refused 7 bob malformed");
    bytes = model(f, (double)NAN);
    assert_int_equal(peer_upload(f->bob, "b-2", bytes.data, bytes.size, true, &status), FED_RPC_OK);
    fed_buf_deinit(&bytes);
    announce(f->bob, "b-2", "2");
    (void)fake_wait(f->fake, "refused 7 bob not_finite");
    upload(f, f->bob, "b-3", 1e12);
    announce(f->bob, "b-3", "2");
    (void)fake_wait(f->fake, "refused 7 bob out_of_range");
    /* None of it took the upload that counts, and none of it is in the sum. */
    announce(f->alice, "a-1", "2");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 2");
    upload(f, f->alice, "a-2", 5);
    announce(f->alice, "a-2", "2");
    (void)fake_wait(f->fake, "refused 7 alice duplicate");
    announce(f->alice, "a-1", "2"); /* the same again: OK, no effect */
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=1");
    assert_partial(f, changes, examples, 1);
    announce(f->bob, "b-3", "1");
    (void)fake_wait(f->fake, "refused 7 bob late");
    peer_free(carol);
}

static void test_after_a_kill_nobody_trains_again(void **state)
{
    static const double changes[] = {0.25, 0.5};
    static const double examples[] = {3, 4};
    struct fixture *f = *state;
    char data[512];

    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    upload(f, f->bob, "b-1", 0.5); /* whole, and not announced */
    kill_it(f);
    peer_free(f->alice);
    peer_free(f->bob);
    f->pid = test_child_start(exec_combiner, f);
    assert_non_null(strstr(fake_wait(f->fake, "rounds= 7/1/"), "/1/0")); /* Hello: one admitted */
    (void)unlink(f->ready);
    kill_it(f);
    start(f);
    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->bob, 1, data); /* alice is not asked */
    announce(f->alice, "a-1", "3");
    announce(f->bob, "b-1", "4"); /* what was uploaded before the kill */
    (void)fake_wait(f->fake, "admitted 7/1 bob b-1 4");
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    kill_it(f);
    f->pid = test_child_start(exec_combiner, f);
    (void)fake_wait(f->fake, "7/1/4/2/0"); /* SEALED, both */
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
}

static void test_another_plan_rebuilds_the_sum(void **state)
{
    static const double changes[] = {0.25, 0.5};
    static const double examples[] = {3, 4};
    struct fixture *f = *state;
    char data[512];

    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=1");
    send_plan(f, "7", 2);
    upload(f, f->bob, "b-1", 0.5);
    announce(f->bob, "b-1", "4");
    (void)fake_wait(f->fake, "admitted 7/2 bob");
    send_close(f, "7", 2);
    (void)fake_wait(f->fake, "partial 7/2 entries=2");
    assert_partial(f, changes, examples, 2);
}

/* Until the file of the last update has gone. */
static void wait_checkpoint(struct fixture *f)
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
    struct fixture *f = *state;
    char data[512];

    kill_it(f);
    f->spool_bytes_max = "1KiB";
    start(f);
    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    wait_checkpoint(f);
    upload(f, f->bob, "b-1", 0.5);
    announce(f->bob, "b-1", "4");
    wait_checkpoint(f);
    kill_it(f);
    peer_free(f->alice);
    peer_free(f->bob);
    f->pid = test_child_start(exec_combiner, f);
    assert_non_null(strstr(fake_wait(f->fake, "rounds= 7/1/"), "/2/0")); /* Hello: both admitted */
    (void)unlink(f->ready);
    kill_it(f);
    start(f);
    attach_both(f);
    send_close(f, "7", 1);
    (void)fake_wait(f->fake, "partial 7/1 entries=2");
    assert_partial(f, changes, examples, 2);
    /* Without bob: alice is asked again. */
    send_plan_to(f, "7", 2, 1);
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/2/2/0/0");
    (void)peer_wait_task(f->alice, 1, data);
    announce(f->alice, "a-1", "3"); /* as one does who has not heard the OK: and asked once more */
    (void)peer_wait_task(f->alice, 2, data);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/2 alice a-1 3");
    send_close(f, "7", 2);
    (void)fake_wait(f->fake, "partial 7/2 entries=1");
    assert_partial(f, changes, examples, 1);
    assert_false(fake_has(f->fake, "refused"));
}

static void test_a_corrupt_partial_is_sent_again(void **state)
{
    struct fixture *f = *state;

    attach_both(f);
    fake_set_verdict(f->fake, FED_VERDICT_CORRUPT);
    send_plan(f, "7", 1);
    (void)fake_wait(f->fake, "get base");
    send_close(f, "7", 1);
    for (int i = 0; i < 3; i++) {
        (void)fake_wait(f->fake, "partial 7/1 entries=0");
    }
    /* Cut off, it says so and goes on. */
    fake_set_verdict(f->fake, FED_VERDICT_ACCEPTED);
    fake_cut_link(f->fake);
    (void)fake_wait(f->fake, "link closed");
    (void)fake_wait(f->fake, "hello clients=2 rounds= 7/1/4/0/0");
}

static void test_a_name_is_bound_to_its_connection(void **state)
{
    struct fixture *f = *state;
    struct peer *mallory = peer_new(&f->loop, f->rpc, f->address, "alice");
    char data[512];

    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    upload(f, mallory, "forged", 100);
    assert_int_equal(peer_heartbeat(f->alice), FED_RPC_OK);
    /* Held, while the real one is alive; it answers for nobody. */
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    announce(mallory, "forged", "1000");
    (void)fake_wait(f->fake, "refused 7 alice");
    assert_false(fake_has(f->fake, "forged"));
    peer_free(mallory);
}

static void test_the_newest_stream_wins(void **state)
{
    struct fixture *f = *state;
    struct peer *again;
    char data[512];

    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    again = peer_new(&f->loop, f->rpc, f->address, "alice");
    peer_attach(again);
    assert_int_equal(peer_wait_stream_end(f->alice), FED_RPC_UNAVAILABLE);
    assert_string_equal(peer_wait_task(again, 1, data), "base");
    upload(f, again, "a-1", 0.25);
    announce(again, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    peer_free(again);
}

static void test_uploads(void **state)
{
    static const double changes[] = {0.25};
    static const double examples[] = {3};
    struct fixture *f = *state;
    struct fed_buf bytes = model(f, 0.5);
    struct fed_buf got;
    char data[512];
    int status = -1;

    attach_both(f);
    send_plan(f, "7", 1);
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
    announce(f->alice, "base", "3");
    (void)fake_wait(f->fake, "refused 7 alice reserved_id");
    assert_int_equal(peer_download(f->alice, "base", &got, &status), FED_RPC_OK);
    assert_memory_equal(got.data, f->base.data, f->base.size);
    fed_buf_deinit(&got);
    /* Until it is announced, a new one replaces it. */
    upload(f, f->alice, "a-1", 77);
    assert_int_equal(peer_upload(f->alice, "a-1", bytes.data, 10, false, &status), FED_RPC_OK);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    (void)fake_wait(f->fake, "admitted 7/1 alice a-1 3");
    upload(f, f->alice, "a-1", 99); /* too late to change anything */
    announce(f->alice, "a-1", "3");
    send_close(f, "7", 1);
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
    struct fixture *f = *state;
    const Fedn__ConnectionRequest nothing = FEDN__CONNECTION_REQUEST__INIT;
    Fedn__ModelRequest odd = FEDN__MODEL_REQUEST__INIT;
    static uint8_t not_utf8[] = {0xFF, 0xFE, 0xFD};
    struct fed_buf got;
    int status = -1;

    attach_both(f);
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
    struct fixture *f = *state;
    uint64_t before_ms;

    attach_both(f);
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
    struct fixture *f = *state;
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
    attach_both(f);
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
    kill_it(f);
    peer_free(f->alice);
    peer_free(f->bob);
    f->alice = f->bob = NULL;
    fake_set_acknowledging(f->fake, true);
    f->pid = test_child_start(exec_combiner, f);
    (void)fake_wait(f->fake, "hello");
    (void)fake_wait(f->fake, "\"status\":\"kept\"");
}

static void test_a_validation(void **state)
{
    static char clients[][FED_ID_SIZE] = {"alice"};
    static char data[] = "{\"task\": \"validation\"}";
    struct fixture *f = *state;
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

    attach_both(f);
    down.validate.size_bytes = f->base.size;
    fed_sha256_once(f->base.data, f->base.size, down.validate.sha256);
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
    struct fixture *f = *state;
    struct fed_buf ready;
    char data[512];

    attach_both(f);
    send_plan(f, "7", 1);
    (void)peer_wait_task(f->alice, 1, data);
    upload(f, f->alice, "a-1", 0.25);
    announce(f->alice, "a-1", "3");
    assert_int_equal(terminate(f), 0);
    assert_int_equal(peer_wait_stream_end(f->alice), FED_RPC_UNAVAILABLE);
    (void)fake_wait(f->fake, "link closed");
    /* The spool is kept. */
    f->pid = test_child_start(exec_combiner, f);
    (void)fake_wait(f->fake, "7/1/1/1/0");
    ready = test_file_read(f->ready);
    assert_true(ready.size > 0);
    fed_buf_deinit(&ready);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round),
        TEST(test_what_does_not_count_is_answered_ok_and_said_why),
        TEST(test_after_a_kill_nobody_trains_again),
        TEST(test_another_plan_rebuilds_the_sum),
        TEST(test_a_checkpoint_counts_until_a_plan_ends_it),
        TEST(test_a_corrupt_partial_is_sent_again),
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
