/* reducer/pruning: which models go, which stay and why, and what a crash leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/model/checksum.h"
#include "reducer/blob/blob.h"
#include "reducer/pruning.h"
#include "reducer/store/store.h"

struct fixture {
    struct store *store;
    struct blob_store *blobs;
    char trace[1024];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(store_open("mem:", &f->store, NULL), 0);
    assert_int_equal(blob_open("mem:", &f->blobs, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)store_close(f->store);
    (void)blob_close(f->blobs);
    free(f);
    return 0;
}

static void add_row(struct fixture *f, enum store_collection in, json_t *row)
{
    assert_non_null(row);
    assert_int_equal(store_insert(f->store, in, row, NULL), 0);
    json_decref(row);
}

static void add_model(struct fixture *f, const char *id)
{
    uint8_t sha256[FED_SHA256_BYTES];
    struct blob_writer *writer = NULL;

    fed_sha256_once(id, strlen(id), sha256);
    assert_int_equal(blob_put_begin(f->blobs, id, &writer, NULL), 0);
    assert_int_equal(blob_put_chunk(writer, id, strlen(id), NULL), 0);
    assert_int_equal(blob_put_commit(writer, sha256, NULL), 0);
    add_row(f, STORE_MODELS, json_pack("{s:s,s:i}", "model_id", id, "size_bytes", 100));
}

static void add_session(struct fixture *f,
                        const char *id,
                        const char *status,
                        const char *seed,
                        const char *model)
{
    add_row(f, STORE_SESSIONS,
            json_pack("{s:s,s:s,s:s,s:s}", "session_id", id, "status", status, "seed_model_id",
                      seed, "model_id", model));
}

static void add_validation(struct fixture *f, const char *model, const char *data)
{
    static unsigned n;
    char id[32];

    (void)snprintf(id, sizeof(id), "v%u", n++);
    add_row(f, STORE_VALIDATIONS,
            json_pack("{s:s,s:s,s:s,s:s,s:s}", "validation_id", id, "model_id", model, "data", data,
                      "session_id", "s", "_sender_key", id));
}

/* "-m1 -m2 m3(why)": newest first, what went before what stays. */
static const char *prune(struct fixture *f, const struct pruning *how, json_int_t want_bytes)
{
    struct pruning pruning = *how;
    json_t *report = NULL;
    json_t *row;
    size_t n = 0;
    size_t i;

    pruning.store = f->store;
    pruning.blobs = f->blobs;
    assert_int_equal(pruning_run(&pruning, &report, NULL), 0);
    f->trace[0] = '\0';
    json_array_foreach(json_object_get(report, "removed"), i, row)
    {
        n += (size_t)snprintf(f->trace + n, sizeof(f->trace) - n, "-%s ",
                              json_string_value(json_object_get(row, "model_id")));
    }
    json_array_foreach(json_object_get(report, "kept"), i, row)
    {
        n += (size_t)snprintf(f->trace + n, sizeof(f->trace) - n, "%s(%s) ",
                              json_string_value(json_object_get(row, "model_id")),
                              json_string_value(json_object_get(row, "why")));
    }
    assert_int_equal(json_integer_value(json_object_get(report, "bytes")), want_bytes);
    json_decref(report);
    return f->trace;
}

static bool has_blob(const struct fixture *f, const char *id)
{
    struct blob_info info;

    return blob_stat(f->blobs, id, &info, NULL) == 0;
}

static bool is_pruned(const struct fixture *f, const char *id)
{
    json_t *row = NULL;
    bool found;

    assert_int_equal(store_get(f->store, STORE_MODELS, id, &row, NULL), 0);
    found = pruning_is_pruned(row);
    json_decref(row);
    return found;
}

static void test_the_newest_stay(void **state)
{
    struct fixture *f = *state;
    const struct pruning how = {.keep = 2, .metric = "", .in_use = ""};

    for (int i = 1; i <= 4; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "m%d", i);
        add_model(f, id);
    }
    assert_string_equal(prune(f, &how, 200), "-m2 -m1 m4(among the newest) m3(among the newest) ");
    assert_true(is_pruned(f, "m1") && !has_blob(f, "m1"));
    assert_true(!is_pruned(f, "m3") && has_blob(f, "m3"));
    /* the pruned ones count no more */
    add_model(f, "m5");
    assert_string_equal(prune(f, &how, 100), "-m3 m5(among the newest) m4(among the newest) ");
}

static void test_a_dry_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct pruning how = {.keep = 1, .metric = "", .in_use = "", .is_dry = true};

    add_model(f, "m1");
    add_model(f, "m2");
    assert_string_equal(prune(f, &how, 100), "-m1 m2(among the newest) ");
    assert_true(!is_pruned(f, "m1") && has_blob(f, "m1"));
}

static void test_sessions_keep_theirs(void **state)
{
    static const char *const models[] = {"seed1", "over", "seed2", "base", "seed3", "used", "new"};
    struct fixture *f = *state;
    const struct pruning how = {.keep = 1, .metric = "", .in_use = "used"};

    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        add_model(f, models[i]);
    }
    add_session(f, "s1", "Finished", "seed1", "over");
    add_session(f, "s2", "Started", "seed2", "base");
    add_row(f, STORE_SESSIONS,
            json_pack("{s:s,s:s,s:{s:s}}", "session_id", "s3", "status", "Created",
                      "session_config", "model_id", "seed3"));
    assert_string_equal(prune(f, &how, 100),
                        "-over new(among the newest) used(in use) seed3(seed of a session) "
                        "base(an open session stands on it) seed2(seed of a session) "
                        "seed1(seed of a session) ");
}

static void test_the_best_stays(void **state)
{
    struct fixture *f = *state;
    const struct pruning most = {.keep = 1, .metric = "accuracy", .in_use = "", .is_dry = true};
    const struct pruning least = {.keep = 1, .metric = "loss", .in_use = "", .is_dry = true};

    add_model(f, "m1");
    add_model(f, "m2");
    add_model(f, "m3");
    add_model(f, "m4");
    add_validation(f, "m1", "{\"test_accuracy\":0.5,\"loss\":0.1}");
    add_validation(f, "m2", "{\"test_accuracy\":0.9,\"loss\":0.6}");
    add_validation(f, "m2", "{\"test_accuracy\":0.1,\"loss\":0.6}");
    add_validation(f, "m3", "{\"accuracy\":0.6,\"loss\":0.4}");
    add_validation(f, "m3", "no JSON");
    assert_string_equal(prune(f, &most, 200),
                        "-m2 -m1 m4(among the newest) m3(best accuracy: 0.6) ");
    assert_string_equal(prune(f, &least, 200), "-m3 -m2 m4(among the newest) m1(best loss: 0.1) ");
}

/* The row was marked, the file was not removed: the next pruning does. */
static void test_what_a_crash_left(void **state)
{
    struct fixture *f = *state;
    const struct pruning how = {.keep = 5, .metric = "", .in_use = ""};
    json_t *row = NULL;

    add_model(f, "m1");
    add_model(f, "m2");
    assert_int_equal(store_get(f->store, STORE_MODELS, "m1", &row, NULL), 0);
    (void)json_object_set_new(row, "pruned_at", json_integer(1));
    assert_int_equal(store_replace(f->store, STORE_MODELS, 1, row, NULL), 0);
    json_decref(row);
    assert_string_equal(prune(f, &how, 0), "m2(among the newest) ");
    assert_false(has_blob(f, "m1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_newest_stay),      TEST(test_a_dry_run_changes_nothing),
        TEST(test_sessions_keep_theirs), TEST(test_the_best_stays),
        TEST(test_what_a_crash_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
