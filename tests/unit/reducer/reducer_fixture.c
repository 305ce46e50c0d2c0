#include "tests/unit/reducer/reducer_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/checksum.h"
#include "common/model/npz.h"
#include "reducer/blob/blob.h"

/* -- the reducer --------------------------------------------------------------------------------
 */

static void *run_reducer(void *arg)
{
    struct fixture *fix = arg;

    fix->status = reducer_run(fix->reducer);
    return NULL;
}

void open_reducer(struct fixture *fix)
{
    struct fed_err err = {0};

    if (reducer_new(&fix->settings, &fix->reducer, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    fix->host = reducer_get_host(fix->reducer);
}

void begin_reducer(struct fixture *fix)
{
    assert_int_equal(pthread_create(&fix->thread, NULL, run_reducer, fix), 0);
}

void end_reducer(struct fixture *fix)
{
    reducer_stop(fix->reducer);
    (void)pthread_join(fix->thread, NULL);
    fix->reducer = reducer_free(fix->reducer);
}

int set_up(void **state)
{
    struct fixture *fix = calloc(1, sizeof(*fix));

    (void)snprintf(fix->folder, sizeof(fix->folder), "/tmp/confed-test-reducer-XXXXXX");
    assert_non_null(mkdtemp(fix->folder));
    (void)snprintf(fix->store, sizeof(fix->store), "sqlite:%s/confed.db", fix->folder);
    (void)snprintf(fix->blob, sizeof(fix->blob), "dir:%s/blobs", fix->folder);
    fix->settings = (struct settings){
        .http = "127.0.0.1:0",
        .rpc = "127.0.0.1:0",
        .store = fix->store,
        .blob = fix->blob,
        .work = "",
        .ready_file = "",
        .log_level = "info",
        .workers = 4,
        .heartbeat_limit_ms = 10000,
        .reattach_grace_ms = 5000,
        .combiner_grace_ms = 2000,
        .blob_sweep_after_ms = 3600000,
        .close_timeout_ms = 3000,
        .examples_max = 1000000000,
        .drain_limit_ms = 10000,
    };
    *state = fix;
    return 0;
}

int tear_down(void **state)
{
    struct fixture *fix = *state;
    char blobs[160];

    (void)snprintf(blobs, sizeof(blobs), "%s/blobs", fix->folder);
    assert_int_equal(fed_folder_remove(blobs, NULL), 0);
    assert_int_equal(fed_folder_remove(fix->folder, NULL), 0);
    free(fix);
    return 0;
}

/* -- asks ---------------------------------------------------------------------------------------
 */

struct waiter {
    struct host_ask ask;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void on_done(struct host_ask *ask)
{
    struct waiter *waiter = FED_CONTAINER_OF(ask, struct waiter, ask);

    (void)pthread_mutex_lock(&waiter->lock);
    waiter->is_done = true;
    (void)pthread_cond_signal(&waiter->done);
    (void)pthread_mutex_unlock(&waiter->lock);
}

json_t *ask(struct fixture *fix, enum host_verb verb, json_t *input, int *ret_status)
{
    struct waiter waiter = {.ask = {.verb = verb, .input = input, .done = on_done}};
    struct timespec until;

    assert_non_null(input);
    (void)pthread_mutex_init(&waiter.lock, NULL);
    (void)pthread_cond_init(&waiter.done, NULL);
    (void)timespec_get(&until, TIME_UTC);
    until.tv_sec += 30;
    fix->host->submit(fix->host, &waiter.ask);
    (void)pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_done) {
        assert_int_equal(pthread_cond_timedwait(&waiter.done, &waiter.lock, &until), 0);
    }
    (void)pthread_mutex_unlock(&waiter.lock);
    (void)pthread_cond_destroy(&waiter.done);
    (void)pthread_mutex_destroy(&waiter.lock);
    json_decref(input);
    *ret_status = waiter.ask.http_status;
    return waiter.ask.output;
}

const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}

json_t *await_live(struct fixture *fix, bool (*is_true)(const json_t *live))
{
    json_int_t after = 0;

    for (int i = 0; i < 1000; i++) {
        int status = 0;
        json_t *live =
            ask(fix, HOST_LIVE, json_pack("{s:I,s:i}", "after", after, "wait_ms", 20000), &status);
        assert_int_equal(status, 200);
        if (is_true(live)) {
            return live;
        }
        after = json_integer_value(json_object_get(live, "seq"));
        json_decref(live);
    }
    fail_msg("the live state never became what it should");
    return NULL;
}

/* -- rows and models ----------------------------------------------------------------------------
 */

json_t *get_row(struct fixture *fix, enum store_collection in, const char *key)
{
    json_t *row = NULL;

    assert_int_equal(store_get(fix->host->store, in, key, &row, NULL), 0);
    return row;
}

size_t count_rows(struct fixture *fix, enum store_collection in)
{
    const struct store_query query = {.limit = 1};
    json_t *rows = NULL;
    size_t n = 0;

    assert_int_equal(store_find(fix->host->store, in, &query, &rows, &n, NULL), 0);
    json_decref(rows);
    return n;
}

void put_seed(struct fixture *fix)
{
    const struct fed_tensor tensors[FAKE_TENSORS] = {
        {.dtype = FED_DTYPE_F4, .rank = 2, .shape = {3, 2}, .n_elements = 6},
        {.dtype = FED_DTYPE_F4, .rank = 1, .shape = {4}, .n_elements = 4},
    };
    const double values[FAKE_PARAMS] = {0, 0.25, 0.5, 0.75, -1, -2, 3, 4, 5, 6};
    struct fed_npz_writer *writer = NULL;
    uint8_t sha256[32];
    uint64_t size = 0;
    char path[256];
    json_t *row;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/seed.npz", fix->folder);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fed_npz_writer_new(fd, &writer, NULL), 0);
    for (size_t t = 0, at = 0; t < FAKE_TENSORS; at += tensors[t++].n_elements) {
        assert_int_equal(fed_npz_writer_begin(writer, &tensors[t], NULL), 0);
        assert_int_equal(fed_npz_writer_add(writer, values + at, tensors[t].n_elements, NULL), 0);
    }
    assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
    (void)fed_npz_writer_free(writer);
    (void)close(fd);
    assert_int_equal(fed_sha256_file(path, sha256, &size, NULL), 0);
    assert_int_equal(blob_put_file(fix->host->blobs, "seed", path, sha256, NULL), 0);
    row = json_pack("{s:s,s:s,s:n,s:n}", "model", "seed", "model_id", "seed", "session_id",
                    "parent_model");
    assert_int_equal(store_insert(fix->host->store, STORE_MODELS, row, NULL), 0);
    json_decref(row);
    (void)unlink(path);
}

void put_session(struct fixture *fix, int round_timeout_s)
{
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:s,s:{s:i},s:{s:s,s:i,s:i,s:i,s:b,s:s,s:s,s:n}}", "session_id",
                  "session-1", "name", "first", "status", "Created", "seed_model_id", "seed",
                  "task_settings", "epochs", 1, "session_config", "aggregator", "fedavg",
                  "round_timeout", round_timeout_s, "buffer_size", -1, "clients_required", 2,
                  "validate", 1, "helper_type", "numpyhelper", "model_id", "seed", "rounds");

    assert_non_null(row);
    assert_int_equal(store_insert(fix->host->store, STORE_SESSIONS, row, NULL), 0);
    json_decref(row);
}

int start_session(struct fixture *fix, int rounds, char *ret_message, size_t size)
{
    int status = 0;
    json_t *output = ask(fix, HOST_SESSION_START,
                         json_pack("{s:s,s:i,s:s}", "session_id", "session-1", "rounds", rounds,
                                   "model_name_prefix", "m"),
                         &status);

    (void)snprintf(ret_message, size, "%s", text_of(output, "message"));
    json_decref(output);
    return status;
}

void start_well(struct fixture *fix, int rounds)
{
    char message[256];

    assert_int_equal(start_session(fix, rounds, message, sizeof(message)), 200);
    assert_string_equal(message, "Session started");
}
