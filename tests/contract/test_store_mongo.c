/* The MongoDB back end on a real server: the battery, then servers that go away, never answer, lose
 * answers, or do not know us. */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mongoc/mongoc.h>

#include "common/base/clock.h"
#include "tests/contract/store_contract.h"
#include "tests/lib/mongo_server.h"

#define PATIENT "serverSelectionTimeoutMS=20000&connectTimeoutMS=20000&socketTimeoutMS=60000"
#define QUEUE   "700" /* ms that a call waits for a connection */
#define HASTY   "serverSelectionTimeoutMS=600&connectTimeoutMS=500&socketTimeoutMS=700"

static struct mongo_server server;
static unsigned n_databases;

/* A new database for each store, so that each begins empty. */
static void name_database(char ret_name[64])
{
    (void)snprintf(ret_name, 64, "confed_test_%ld_%u", (long)getpid(), n_databases++);
}

static void url(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    char name[64];

    (void)folder;
    name_database(name);
    mongo_server_url(&server, name, PATIENT, ret_url);
}

static void drop_databases(void)
{
    char text[FED_PATH_SIZE];
    bson_t *command = BCON_NEW("dropDatabase", BCON_INT32(1));
    mongoc_client_t *client;

    mongo_server_url(&server, "", PATIENT, text);
    client = mongoc_client_new(text);
    for (unsigned i = 0; i < n_databases; i++) {
        (void)snprintf(text, sizeof(text), "confed_test_%ld_%u", (long)getpid(), i);
        (void)mongoc_client_command_simple(client, text, command, NULL, NULL, NULL);
    }
    mongoc_client_destroy(client);
    bson_destroy(command);
}

static struct store *open_url(const char *text)
{
    struct store *store = NULL;
    struct fed_err err = {0};

    if (store_open(text, &store, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

/* A store on a new database, or on one of a name. */
static struct store *open_named(const char *name, const char *options)
{
    char text[FED_PATH_SIZE];

    mongo_server_url(&server, name, options, text);
    return open_url(text);
}

static int insert(struct store *store, const char *key, struct fed_err *err)
{
    json_t *document = json_pack("{s:s, s:s}", "client_id", key, "status", "online");
    const int rc = store_insert(store, STORE_CLIENTS, document, err);

    json_decref(document);
    return rc;
}

static int replace(struct store *store, const char *key, uint64_t version, struct fed_err *err)
{
    json_t *document = json_pack("{s:s, s:I}", "client_id", key, "n", (json_int_t)version);
    const int rc = store_replace(store, STORE_CLIENTS, version, document, err);

    json_decref(document);
    return rc;
}

static json_int_t version_of(struct store *store, const char *key)
{
    json_t *document = NULL;
    json_int_t version;

    assert_int_equal(store_get(store, STORE_CLIENTS, key, &document, NULL), 0);
    version = json_integer_value(json_object_get(document, "version"));
    json_decref(document);
    return version;
}

static struct store *open_proxied(const struct mongo_proxy *proxy, const char *options)
{
    char text[FED_PATH_SIZE];
    char name[64];

    name_database(name);
    (void)snprintf(text, sizeof(text), "mongodb://127.0.0.1:%u/%s?%s", mongo_proxy_port(proxy),
                   name, options);
    return open_url(text);
}

/* As the callers do: again while the store says that it is away. */
static int insert_until(struct store *store, const char *key)
{
    const uint64_t until_ms = fed_clock_mono_ms() + TEST_WAIT_MS;
    int rc = -FED_E_UNAVAILABLE;

    while (rc == -FED_E_UNAVAILABLE && fed_clock_mono_ms() < until_ms) {
        rc = insert(store, key, NULL);
    }
    return rc;
}

/* -- several writers ----------------------------------------------------------------------------
 */

static void test_two_writers_share_one_order(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
    const struct store_query all = {.is_ascending = true};
    struct store *writers[2];
    json_t *found = NULL;
    char name[64];

    (void)state;
    name_database(name);
    writers[0] = open_named(name, PATIENT);
    writers[1] = open_named(name, PATIENT);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(insert(writers[i / 2 % 2], keys[i], NULL), 0);
    }
    assert_int_equal(insert(writers[1], "a", NULL), STORE_EXISTS);
    assert_int_equal(store_find(writers[1], STORE_CLIENTS, &all, &found, NULL, NULL), 0);
    assert_int_equal(json_array_size(found), 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(found, i), "client_id")), keys[i]);
    }
    json_decref(found);
    (void)store_close(writers[0]);
    (void)store_close(writers[1]);
}

/* What adds no document uses no number up: the other's next one would come before ours. */
static void test_no_number_is_left_out(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    const struct store_query all = {.is_ascending = true};
    struct store *writers[2];
    json_t *document = json_pack("{s:s}", "client_id", "a");
    json_t *found = NULL;
    char name[64];

    (void)state;
    name_database(name);
    writers[0] = open_named(name, PATIENT);
    writers[1] = open_named(name, PATIENT);
    assert_int_equal(store_put(writers[0], STORE_CLIENTS, document, NULL), 0);
    assert_int_equal(insert(writers[1], "b", NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(store_put(writers[0], STORE_CLIENTS, document, NULL), 0);
        assert_int_equal(insert(writers[0], "a", NULL), STORE_EXISTS);
    }
    assert_int_equal(insert(writers[0], "c", NULL), 0);
    assert_int_equal(insert(writers[1], "d", NULL), 0);
    assert_int_equal(store_find(writers[1], STORE_CLIENTS, &all, &found, NULL, NULL), 0);
    assert_int_equal(json_array_size(found), 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(found, i), "client_id")), keys[i]);
    }
    json_decref(found);
    json_decref(document);
    (void)store_close(writers[0]);
    (void)store_close(writers[1]);
}

static void test_the_order_goes_on_after_a_restart(void **state)
{
    const struct store_query newest = {.limit = 1};
    struct store *store;
    json_t *found = NULL;
    char name[64];

    (void)state;
    name_database(name);
    store = open_named(name, PATIENT);
    assert_int_equal(insert(store, "b", NULL), 0);
    (void)store_close(store);
    store = open_named(name, PATIENT);
    assert_int_equal(insert(store, "a", NULL), 0);
    assert_int_equal(store_find(store, STORE_CLIENTS, &newest, &found, NULL, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(found, 0), "client_id")),
                        "a");
    json_decref(found);
    (void)store_close(store);
}

/* The server looks for some texts: what it finds is what query.c would find. */
static void test_what_the_server_looks_for(void **state)
{
    static const char *const texts[] = {"s-1", "1e3", "1000", "true", "", "a=b", "s-1"};
    static const char *const wants[] = {"s-1", "1e3", "1000", "true", "", "a=b", "1000.0", "s"};
    static const size_t n_wanted[] = {2, 2, 2, 2, 1, 1, 1, 0};
    struct store_query query = {.n_filters = 1, .is_ascending = true};
    struct store *store;
    char name[64];
    char key[16];

    (void)state;
    name_database(name);
    store = open_named(name, PATIENT);
    for (unsigned i = 0; i < 9; i++) {
        json_t *value = i < 7 ? json_string(texts[i]) : i == 7 ? json_integer(1000) : json_true();
        json_t *document;
        (void)snprintf(key, sizeof(key), "k%u", i);
        document = json_pack("{s:s, s:o}", "client_id", key, "session_id", value);
        assert_int_equal(store_insert(store, STORE_CLIENTS, document, NULL), 0);
        json_decref(document);
    }
    for (unsigned i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
        json_t *found = NULL;
        size_t n = 0;
        query.filters[0] = (struct store_filter){"session_id", STORE_OP_EQ, wants[i]};
        query.limit = i % 2;
        assert_int_equal(store_find(store, STORE_CLIENTS, &query, &found, &n, NULL), 0);
        assert_int_equal(n, n_wanted[i]);
        json_decref(found);
    }
    (void)store_close(store);
}

/* -- a server that is away ----------------------------------------------------------------------
 */

static void test_a_killed_server_is_waited_for(void **state)
{
    struct store *store;
    struct fed_err err = {0};
    json_t *document = NULL;
    char name[64];
    uint64_t began_ms;

    (void)state;
    name_database(name);
    store = open_named(name, HASTY);
    assert_int_equal(insert_until(store, "before"), 0);
    mongo_server_kill(&server);
    began_ms = fed_clock_mono_ms();
    assert_int_equal(insert(store, "during", &err), -FED_E_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "insert into clients"));
    assert_non_null(strstr(err.msg, "mongodb://127.0.0.1:"));
    assert_int_equal(store_get(store, STORE_CLIENTS, "before", &document, &err),
                     -FED_E_UNAVAILABLE);
    assert_int_equal(
        store_find(store, STORE_CLIENTS, &(struct store_query){0}, &document, NULL, &err),
        -FED_E_UNAVAILABLE);
    assert_int_equal(replace(store, "before", 1, &err), -FED_E_UNAVAILABLE);
    assert_int_equal(store_remove(store, STORE_CLIENTS, "before", &err), -FED_E_UNAVAILABLE);
    assert_true(fed_clock_mono_ms() - began_ms < TEST_WAIT_MS);
    mongo_server_start(&server);
    assert_int_equal(insert_until(store, "during"), 0);
    assert_int_equal(insert(store, "during", NULL), STORE_EXISTS);
    assert_int_equal(version_of(store, "before"), 1);
    (void)store_close(store);
}

/* Connections are accepted, nothing is ever answered. */
static void test_a_frozen_server_costs_bounded_time(void **state)
{
    struct store *store;
    struct fed_err err = {0};
    char name[64];
    uint64_t began_ms;

    (void)state;
    name_database(name);
    store = open_named(name, HASTY);
    assert_int_equal(insert_until(store, "before"), 0);
    mongo_server_freeze(&server, true);
    began_ms = fed_clock_mono_ms();
    assert_int_equal(insert(store, "during", &err), -FED_E_UNAVAILABLE);
    assert_true(fed_clock_mono_ms() - began_ms < 5000);
    mongo_server_freeze(&server, false);
    assert_int_equal(insert_until(store, "during"), 0); /* was it applied? the caller cannot see */
    assert_int_equal(insert(store, "during", NULL), STORE_EXISTS);
    (void)store_close(store);
}

struct caller {
    struct store *store;
    pthread_t thread;
    unsigned n_calls;
    uint64_t total_ms;
    unsigned n_failed;
};

static void *call_often(void *arg)
{
    struct caller *caller = arg;

    for (unsigned i = 0; i < caller->n_calls; i++) {
        const uint64_t began_ms = fed_clock_mono_ms();
        json_t *document = NULL;
        if (store_get(caller->store, STORE_CLIENTS, "x", &document, NULL) == -FED_E_UNAVAILABLE) {
            caller->total_ms += fed_clock_mono_ms() - began_ms;
            caller->n_failed++;
        }
        json_decref(document);
    }
    return NULL;
}

/* While one call waits for the server, the others are told at once: no pool of threads is used up.
 */
static void test_callers_do_not_pile_up(void **state)
{
    struct caller callers[8] = {0};
    struct store *store;
    json_t *document = NULL;
    char name[64];
    uint64_t total_ms = 0;
    unsigned n_quick = 0;

    (void)state;
    name_database(name);
    store = open_named(name, "serverSelectionTimeoutMS=1500&socketTimeoutMS=700");
    assert_int_equal(insert_until(store, "before"), 0);
    mongo_server_kill(&server);
    assert_int_equal(store_get(store, STORE_CLIENTS, "x", &document, NULL), -FED_E_UNAVAILABLE);
    for (unsigned i = 0; i < 8; i++) {
        callers[i].store = store;
        callers[i].n_calls = 3;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].n_failed, 3);
        total_ms += callers[i].total_ms;
        n_quick += callers[i].total_ms < 1000 ? 1 : 0;
    }
    assert_true(n_quick >= 5); /* the rest were those who looked */
    assert_true(total_ms < 24000);
    mongo_server_start(&server);
    assert_int_equal(insert_until(store, "after"), 0);
    (void)store_close(store);
}

/* That all connections are in use says nothing of the server: the others still wait their turn. */
static void test_a_full_pool_is_no_outage(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store =
        open_proxied(proxy, "maxPoolSize=1&waitQueueTimeoutMS=" QUEUE "&socketTimeoutMS=60000");
    struct caller callers[3] = {0};
    struct fed_err err = {0};
    json_t *document = NULL;

    (void)state;
    assert_int_equal(insert_until(store, "x"), 0);
    mongo_proxy_hold(proxy, "find");
    for (unsigned i = 0; i < 3; i++) { /* the first has the connection */
        callers[i].store = store;
        callers[i].n_calls = 1;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
        if (i == 0) {
            mongo_proxy_await_held(proxy);
            assert_int_equal(store_get(store, STORE_CLIENTS, "x", &document, &err),
                             -FED_E_UNAVAILABLE);
            assert_non_null(strstr(err.msg, "in use"));
        }
    }
    for (unsigned i = 1; i < 3; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].n_failed, 1);
        assert_true(callers[i].total_ms >= strtoul(QUEUE, NULL, 10)); /* it was not sent away */
    }
    mongo_proxy_release(proxy);
    (void)pthread_join(callers[0].thread, NULL);
    assert_int_equal(callers[0].n_failed, 0);
    assert_int_equal(store_get(store, STORE_CLIENTS, "x", &document, &err), 0);
    json_decref(document);
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* Stands before libc's, which libmongoc asks for the servers of a mongodb+srv URI: a DNS that takes
 * its time, and knows nothing. */
static atomic_uint n_asked;
/* NOLINTBEGIN(readability-non-const-parameter): libc's signature */
int res_nsearch(void *state,
                const char *name,
                int of_class,
                int type,
                unsigned char *answer,
                int size);
__attribute__((visibility("default"))) int
res_nsearch(void *state, const char *name, int of_class, int type, unsigned char *answer, int size)
{
    (void)state;
    (void)name;
    (void)of_class;
    (void)type;
    (void)answer;
    (void)size;
    (void)atomic_fetch_add(&n_asked, 1);
    (void)poll(NULL, 0, 500);
    return -1;
}
/* NOLINTEND(readability-non-const-parameter) */

/* Not even while the DNS is asked who the server is. */
static void test_callers_do_not_ask_one_by_one(void **state)
{
    struct store *store = open_url("mongodb+srv://store.confed.invalid/x");
    struct caller callers[8] = {0};
    struct fed_err err = {0};
    json_t *document = NULL;

    (void)state;
    assert_int_equal(atomic_load(&n_asked), 0);
    for (unsigned i = 0; i < 8; i++) {
        callers[i].store = store;
        callers[i].n_calls = 1;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].n_failed, 1);
    }
    assert_in_range(atomic_load(&n_asked), 1, 3);
    assert_int_equal(store_get(store, STORE_CLIENTS, "x", &document, &err), -FED_E_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "store.confed.invalid"));
    (void)store_close(store);
}

/* -- answers that get lost ----------------------------------------------------------------------
 */

/* Once: the call repeats its step and finds its own document. */
static void test_a_lost_answer_is_no_failure(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);

    (void)state;
    assert_int_equal(insert(store, "first", NULL), 0);
    mongo_proxy_lose(proxy, "insert", 1);
    assert_int_equal(insert(store, "second", NULL), 0);
    assert_int_equal(mongo_proxy_n_lost(proxy), 1);
    assert_int_equal(insert(store, "second", NULL), STORE_EXISTS);
    mongo_proxy_lose(proxy, "update", 1);
    assert_int_equal(replace(store, "second", 1, NULL), 0);
    assert_int_equal(mongo_proxy_n_lost(proxy), 2);
    assert_int_equal(version_of(store, "second"), 2);
    assert_int_equal(replace(store, "second", 1, NULL), STORE_CONFLICT);
    mongo_proxy_lose(proxy, "delete", 1);
    assert_int_equal(store_remove(store, STORE_CLIENTS, "second", NULL), 0);
    assert_int_equal(store_remove(store, STORE_CLIENTS, "second", NULL), STORE_NOT_FOUND);
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* Twice: the call fails, and the same call afterwards is told what the first one would have been.
 */
static void test_a_write_called_again_ends_as_the_first(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(insert(store, "first", NULL), 0);
    mongo_proxy_lose(proxy, "insert", 2);
    assert_int_equal(insert(store, "second", &err), -FED_E_UNAVAILABLE);
    assert_int_equal(insert(store, "second", &err), 0);
    assert_int_equal(insert(store, "second", &err), STORE_EXISTS);
    mongo_proxy_lose(proxy, "update", 2);
    assert_int_equal(replace(store, "second", 1, &err), -FED_E_UNAVAILABLE);
    assert_int_equal(replace(store, "second", 1, &err), 0);
    assert_int_equal(version_of(store, "second"), 2);
    assert_int_equal(replace(store, "second", 1, &err), STORE_CONFLICT);
    /* another document under the key is another write */
    mongo_proxy_lose(proxy, "insert", 2);
    assert_int_equal(insert(store, "third", &err), -FED_E_UNAVAILABLE);
    json_t *other = json_pack("{s:s}", "client_id", "third");
    assert_int_equal(store_insert(store, STORE_CLIENTS, other, &err), STORE_EXISTS);
    json_decref(other);
    assert_int_equal(mongo_proxy_n_lost(proxy), 6);
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* Many at a time: what arrived the first time is told as stored by us, once. */
static void test_many_inserts_called_again(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);
    json_t *documents[20];
    int outcomes[20];

    (void)state;
    assert_int_equal(insert(store, "k-3", NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        documents[i] = json_pack("{s:o}", "client_id", json_sprintf("k-%u", i));
    }
    mongo_proxy_lose(proxy, "insert", 2);
    assert_int_equal(store_insert_many(store, STORE_CLIENTS, documents, 20, outcomes, NULL),
                     -FED_E_UNAVAILABLE);
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(store_insert_many(store, STORE_CLIENTS, documents, 20, outcomes, NULL), 0);
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(outcomes[i], turn == 0 && i != 3 ? 0 : STORE_EXISTS);
        }
    }
    for (unsigned i = 0; i < 20; i++) {
        json_decref(documents[i]);
    }
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* Who may only look is told of the server too: no index is made for that. */
static void test_asking_about_a_server_writes_nothing(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);
    struct store_about about;

    (void)state;
    mongo_proxy_lose(proxy, "createIndexes", 2);
    assert_int_equal(store_about(store, &about, NULL), 0);
    assert_true(about.version[0] != '\0');
    assert_true(about.clock_utc_ms > 1700000000000U);
    assert_int_equal(mongo_proxy_n_lost(proxy), 0);
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* -- answers that say that no majority has it ---------------------------------------------------
 */

/* What is there already and is ours is no success until a majority has it. */
static void test_a_majority_is_waited_for(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(insert(store, "first", NULL), 0);
    mongo_proxy_doubt(proxy, "insert", 2); /* the call tries it twice */
    assert_int_equal(insert(store, "second", &err), -FED_E_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "waiting for replication"));
    assert_int_equal(version_of(store, "second"), 1); /* it was applied */
    mongo_proxy_doubt(proxy, "insert", 2);
    assert_int_equal(insert(store, "second", &err), -FED_E_UNAVAILABLE);
    assert_int_equal(insert(store, "second", &err), 0);
    assert_int_equal(insert(store, "second", &err), STORE_EXISTS);
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* Nor where one of many was refused for a reason of its own. */
static void test_a_majority_of_many_is_waited_for(void **state)
{
    struct mongo_proxy *proxy = mongo_proxy_start(server.port);
    struct store *store = open_proxied(proxy, PATIENT);
    struct fed_err err = {0};
    json_t *documents[5];
    int outcomes[5];

    (void)state;
    assert_int_equal(insert(store, "k-3", NULL), 0);
    for (unsigned i = 0; i < 5; i++) {
        documents[i] = json_pack("{s:o}", "client_id", json_sprintf("k-%u", i));
    }
    mongo_proxy_doubt(proxy, "insert", 2);
    assert_int_equal(store_insert_many(store, STORE_CLIENTS, documents, 5, outcomes, &err),
                     -FED_E_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "waiting for replication"));
    assert_int_equal(store_insert_many(store, STORE_CLIENTS, documents, 5, outcomes, &err), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(outcomes[i], i == 3 ? STORE_EXISTS : 0);
        json_decref(documents[i]);
    }
    (void)store_close(store);
    mongo_proxy_stop(proxy);
}

/* -- settings -----------------------------------------------------------------------------------
 */

static void test_no_message_holds_a_password(void **state)
{
    static const char *const urls[] = {
        "mongodb://me:sesame@",
        "mongodb://me:ses@me@host/x",
        "mongodb://me:sesame@host:99999/",
        "mongodb://me:ses/ame@host/",
        "mongo://me:sesame@host/",
    };
    struct store *store = NULL;
    unsigned n_refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct fed_err err = {0};
        const int rc = store_open(urls[i], &store, &err);
        if (rc == 0) { /* libmongoc takes it for a host */
            store = store_close(store);
            continue;
        }
        n_refused++;
        assert_int_equal(rc, -FED_E_INVALID);
        assert_null(strstr(err.msg, "ses"));
        assert_null(strstr(err.msg, "ame@"));
    }
    assert_true(n_refused >= 3);
}

static void test_settings_that_do_not_fit(void **state)
{
    const struct store_config no_user = {.url = "mongodb://localhost/", .password = "x"};
    const struct store_config no_ca = {.url = "mongodb://localhost/", .ca_file = "/nonexistent/ca"};
    struct store *store = NULL;
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(store_open_as(&no_user, &store, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "store_user"));
    assert_int_equal(store_open_as(&no_ca, &store, &err), -FED_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "store_ca_file"));
}

/* A server that wants to know who we are. */
static void test_wrong_credentials_are_told(void **state)
{
    struct mongo_server guarded;
    struct store_config config = {.user = "confed", .password = "sesame"};
    struct store *store = NULL;
    struct fed_err err = {0};
    char text[FED_PATH_SIZE];
    json_t *document = NULL;

    (void)state;
    assert_true(mongo_server_init(&guarded));
    guarded.extra[0] = "--test-enable-new-auth";
    guarded.extra[1] = "--setup-database=admin";
    guarded.extra[2] = "--setup-username=confed";
    guarded.extra[3] = "--setup-password=sesame";
    mongo_server_start(&guarded);
    mongo_server_url(&guarded, "guarded", "authSource=admin&" PATIENT, text);
    config.url = text;
    assert_int_equal(store_open_as(&config, &store, &err), 0);
    assert_int_equal(insert(store, "a", &err), 0);
    (void)store_close(store);
    config.password = "guess";
    assert_int_equal(store_open_as(&config, &store, &err), 0);
    assert_int_equal(store_get(store, STORE_CLIENTS, "a", &document, &err), -FED_E_IO);
    assert_non_null(strstr(err.msg, "uthenticat"));
    assert_null(strstr(err.msg, "guess"));
    (void)store_close(store);
    mongo_server_deinit(&guarded);
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(test_two_writers_share_one_order),
        cmocka_unit_test(test_no_number_is_left_out),
        cmocka_unit_test(test_the_order_goes_on_after_a_restart),
        cmocka_unit_test(test_what_the_server_looks_for),
        cmocka_unit_test(test_callers_do_not_ask_one_by_one),
        cmocka_unit_test(test_no_message_holds_a_password),
        cmocka_unit_test(test_settings_that_do_not_fit),
    };
    const struct CMUnitTest ours[] = {
        cmocka_unit_test(test_a_lost_answer_is_no_failure),
        cmocka_unit_test(test_a_write_called_again_ends_as_the_first),
        cmocka_unit_test(test_many_inserts_called_again),
        cmocka_unit_test(test_asking_about_a_server_writes_nothing),
        cmocka_unit_test(test_a_majority_is_waited_for),
        cmocka_unit_test(test_a_majority_of_many_is_waited_for),
        cmocka_unit_test(test_a_killed_server_is_waited_for),
        cmocka_unit_test(test_a_frozen_server_costs_bounded_time),
        cmocka_unit_test(test_callers_do_not_pile_up),
        cmocka_unit_test(test_a_full_pool_is_no_outage),
        cmocka_unit_test(test_wrong_credentials_are_told),
    };
    int n_failed;

    if (!mongo_server_init(&server)) {
        return MONGO_SERVER_SKIP;
    }
    mongo_server_start(&server);
    n_failed = store_contract_run("mongo", url);
    n_failed += cmocka_run_group_tests(everywhere, NULL, NULL);
    if (mongo_server_is_ours(&server)) { /* it can be killed */
        n_failed += cmocka_run_group_tests(ours, NULL, NULL);
    } else {
        (void)printf("SKIP: the faults, which need a server of our own\n");
        drop_databases();
    }
    mongo_server_deinit(&server);
    return n_failed;
}
