/* The contract on a real S3 server, and what only a server on a network can be asked: outages,
 * stalls, broken connections, wrong keys, wrong bytes.
 *
 * The server is MinIO, started here. CONFED_TEST_S3=s3://BUCKET[/PREFIX] with the endpoint in
 * CONFED_TEST_S3_ENDPOINT (without: AWS), the region in AWS_REGION and the keys in AWS_* runs the
 * battery on another one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"
#include "common/model/checksum.h"
#include "reducer/blob/s3_inside.h"
#include "tests/contract/blob_contract.h"
#include "tests/lib/minio.h"
#include "tests/lib/proxy.h"

#define SKIPPED   77
#define BIG       ((size_t)20 * 1024 * 1024) /* three parts */
#define STALL_MS  1000U
#define REPEAT_MS 1500U

static struct test_minio minio;
static struct test_folder home; /* the server's */
static unsigned n_stores;

struct fixture {
    struct test_folder folder;
    struct test_proxy proxy;
    struct blob_store *store; /* through the proxy */
    char prefix[64];
    char endpoint[64];
    uint8_t *bytes; /* (BIG,) */
    uint8_t digest[FED_SHA256_BYTES];
    char in[FED_PATH_SIZE];
    char out[FED_PATH_SIZE];
    struct fed_err err;
};

static struct blob_options options_of(const char *endpoint)
{
    return (struct blob_options){.endpoint = endpoint,
                                 .access_key = TEST_MINIO_ACCESS_KEY,
                                 .secret_key = TEST_MINIO_SECRET_KEY,
                                 .stall_ms = STALL_MS,
                                 .repeat_ms = REPEAT_MS};
}

static struct blob_store *open_store(struct fixture *f, const struct blob_options *options)
{
    struct blob_store *store = NULL;
    char url[128];

    (void)snprintf(url, sizeof(url), "s3://confed-faults/%s", f->prefix);
    if (blob_open_with(url, options, &store, &f->err) != 0) {
        fail_msg("%s", f->err.msg);
    }
    return store;
}

static int set_up(void **state)
{
    static struct fixture f;
    struct blob_options options;

    f = (struct fixture){.bytes = malloc(BIG)};
    *state = &f;
    assert_non_null(f.bytes);
    for (size_t i = 0; i < BIG; i++) {
        f.bytes[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    fed_sha256_once(f.bytes, BIG, f.digest);
    test_folder_make(&f.folder);
    test_file_write(test_path(&f.folder, "in", f.in), f.bytes, BIG);
    (void)test_path(&f.folder, "out", f.out);
    test_proxy_start(&f.proxy, minio.port);
    (void)snprintf(f.prefix, sizeof(f.prefix), "test-%u", n_stores++);
    (void)snprintf(f.endpoint, sizeof(f.endpoint), "http://127.0.0.1:%u", f.proxy.port);
    options = options_of(f.endpoint);
    f.store = open_store(&f, &options);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->store = blob_close(f->store);
    test_proxy_stop(&f->proxy);
    test_folder_remove(&f->folder);
    free(f->bytes);
    return 0;
}

/* -- steps --------------------------------------------------------------------------------------
 */

static void check_rc(const struct fixture *f, int rc, int want)
{
    if (rc != want) {
        fail_msg("%d (%s), want %d", rc, rc < 0 ? f->err.msg : "", want);
    }
}

static void check_message(const struct fixture *f, const char *part)
{
    if (strstr(f->err.msg, part) == NULL) {
        fail_msg("'%s' does not say '%s'", f->err.msg, part);
    }
    assert_null(strstr(f->err.msg, TEST_MINIO_SECRET_KEY));
}

static int put_big(struct fixture *f, const char *key)
{
    return blob_put_file(f->store, key, f->in, f->digest, &f->err);
}

/* The blob is whole, when it is copied to a file. */
static void check_big(struct fixture *f, const char *key)
{
    struct fed_buf copy;

    check_rc(f, blob_get_file(f->store, key, f->out, &f->err), 0);
    copy = test_file_read(f->out);
    assert_int_equal(copy.size, BIG);
    assert_memory_equal(copy.data, f->bytes, BIG);
    fed_buf_deinit(&copy);
}

static int stat_rc(struct fixture *f, const char *key)
{
    struct blob_info info;

    return blob_stat(f->store, key, &info, &f->err);
}

static int put_text(struct fixture *f, const char *key, const char *text)
{
    struct blob_writer *writer = NULL;
    uint8_t digest[FED_SHA256_BYTES];
    int rc = blob_put_begin(f->store, key, &writer, &f->err);

    if (rc < 0) {
        return rc;
    }
    fed_sha256_once(text, strlen(text), digest);
    assert_int_equal(blob_put_chunk(writer, text, strlen(text), &f->err), 0);
    return blob_put_commit(writer, digest, &f->err);
}

/* Whether the server has an unfinished upload of the key. */
static bool has_upload(struct fixture *f, const char *key)
{
    struct s3 *s3 = (struct s3 *)(void *)f->store;
    struct fed_http_answer answer = {0};
    char query[256];
    const struct s3_request request = {.method = "GET", .query = query};
    bool is_there;

    (void)snprintf(query, sizeof(query), "prefix=%s%%2F%s&uploads=", f->prefix, key);
    check_rc(f, s3_call(s3, &request, &answer, &f->err), 0);
    is_there = strstr((const char *)answer.text.data, "<UploadId>") != NULL;
    fed_http_answer_deinit(&answer);
    return is_there;
}

/* -- parts --------------------------------------------------------------------------------------
 */

static void test_sizes_around_a_part(void **state)
{
    static const size_t sizes[] = {S3_PART_SIZE - 1, S3_PART_SIZE, S3_PART_SIZE + 1,
                                   2 * S3_PART_SIZE};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t digest[FED_SHA256_BYTES];
        struct fed_buf copy;
        fed_sha256_once(f->bytes, sizes[i], digest);
        test_file_write(f->in, f->bytes, sizes[i]);
        check_rc(f, blob_put_file(f->store, "sized", f->in, digest, &f->err), 0);
        check_rc(f, blob_get_file(f->store, "sized", f->out, &f->err), 0);
        copy = test_file_read(f->out);
        assert_int_equal(copy.size, sizes[i]);
        assert_memory_equal(copy.data, f->bytes, sizes[i]);
        fed_buf_deinit(&copy);
    }
}

static void test_many_parts(void **state)
{
    struct fixture *f = *state;
    uint8_t block[100];
    size_t n = sizeof(block);

    check_rc(f, put_big(f, "big"), 0);
    check_big(f, "big");
    check_rc(f, blob_read(f->store, "big", S3_PART_SIZE - 50, block, &n, &f->err), 0);
    assert_int_equal(n, sizeof(block));
    assert_memory_equal(block, f->bytes + S3_PART_SIZE - 50, n);
    assert_false(has_upload(f, "big"));
}

static void test_an_abort_leaves_no_parts(void **state)
{
    struct fixture *f = *state;
    struct blob_writer *writer = NULL;

    check_rc(f, blob_put_begin(f->store, "left", &writer, &f->err), 0);
    check_rc(f, blob_put_chunk(writer, f->bytes, BIG, &f->err), 0);
    assert_true(has_upload(f, "left"));
    blob_put_abort(writer);
    assert_false(has_upload(f, "left"));
    check_rc(f, blob_put_begin(f->store, "left", &writer, &f->err), 0);
    check_rc(f, blob_put_chunk(writer, f->bytes, BIG - 1, &f->err), 0);
    check_rc(f, blob_put_commit(writer, f->digest, &f->err), -FED_E_CORRUPT);
    assert_false(has_upload(f, "left"));
    check_rc(f, stat_rc(f, "left"), BLOB_NOT_FOUND);
}

/* -- the server ---------------------------------------------------------------------------------
 */

static void test_a_server_killed_within_a_put(void **state)
{
    struct fixture *f = *state;
    struct blob_writer *writer = NULL;
    int rc = 0;

    check_rc(f, blob_put_begin(f->store, "killed", &writer, &f->err), 0);
    check_rc(f, blob_put_chunk(writer, f->bytes, BIG / 2, &f->err), 0);
    test_minio_kill(&minio);
    for (size_t at = BIG / 2; at < BIG && rc == 0; at += BIG / 20) {
        rc = blob_put_chunk(writer, f->bytes + at, BIG / 20, &f->err);
    }
    if (rc == 0) {
        rc = blob_put_commit(writer, f->digest, &f->err);
    } else {
        blob_put_abort(writer);
    }
    check_rc(f, rc, -FED_E_UNAVAILABLE);
    check_rc(f, stat_rc(f, "killed"), -FED_E_UNAVAILABLE);
    test_minio_start(&minio);
    check_rc(f, stat_rc(f, "killed"), BLOB_NOT_FOUND);
    check_rc(f, put_big(f, "killed"), 0);
    check_big(f, "killed");
}

struct reader {
    struct blob_store *store;
    pthread_t thread;
    size_t n;
    int rc;
    struct fed_err err;
};

static void *read_kept(void *arg)
{
    struct reader *reader = arg;
    char text[8];

    reader->n = sizeof(text);
    reader->rc = blob_read(reader->store, "kept", 0, text, &reader->n, &reader->err);
    return NULL;
}

/* Within the time of repetition: nobody notices. */
static void test_a_short_outage_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct blob_options options = options_of(f->endpoint);
    struct reader reader = {0};

    options.repeat_ms = TEST_WAIT_MS;
    reader.store = open_store(f, &options);
    check_rc(f, put_text(f, "kept", "kept"), 0);
    test_minio_kill(&minio);
    assert_int_equal(pthread_create(&reader.thread, NULL, read_kept, &reader), 0);
    test_minio_start(&minio);
    (void)pthread_join(reader.thread, NULL);
    f->err = reader.err;
    check_rc(f, reader.rc, 0);
    assert_int_equal(reader.n, 4);
    (void)blob_close(reader.store);
}

/* A stall is given up, however long what fails at once is repeated. */
static void test_a_stalled_server(void **state)
{
    struct fixture *f = *state;
    struct blob_options options = options_of(f->endpoint);
    uint64_t start_ms;

    options.repeat_ms = TEST_WAIT_MS;
    (void)blob_close(f->store);
    f->store = open_store(f, &options);
    check_rc(f, put_text(f, "there", "there"), 0);
    test_proxy_set(&f->proxy, TEST_PROXY_STALL, false, 0, -1);
    start_ms = fed_clock_mono_ms();
    check_rc(f, stat_rc(f, "there"), -FED_E_TIMEOUT);
    check_rc(f, put_big(f, "stalled"), -FED_E_TIMEOUT);
    assert_in_range(fed_clock_mono_ms() - start_ms, 2 * STALL_MS, 10 * STALL_MS);
    test_proxy_set(&f->proxy, TEST_PROXY_NONE, false, 0, 0);
    check_rc(f, stat_rc(f, "stalled"), BLOB_NOT_FOUND);
    test_proxy_set(&f->proxy, TEST_PROXY_STALL, true, 5000000, 1); /* in a part */
    check_rc(f, put_big(f, "stalled"), -FED_E_TIMEOUT);
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    check_rc(f, stat_rc(f, "stalled"), BLOB_NOT_FOUND);
    check_rc(f, put_big(f, "stalled"), 0);
    check_big(f, "stalled");
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;
    struct blob_options options = options_of("http://127.0.0.1:1");
    struct blob_store *store = open_store(f, &options); /* which is no failure */
    const uint64_t start_ms = fed_clock_mono_ms();
    struct blob_info info;

    check_rc(f, blob_stat(store, "a", &info, &f->err), -FED_E_UNAVAILABLE);
    check_message(f, "127.0.0.1:1");
    assert_in_range(fed_clock_mono_ms() - start_ms, 0, 4 * REPEAT_MS);
    (void)blob_close(store);
}

/* -- connections --------------------------------------------------------------------------------
 */

static void test_a_download_goes_on_where_it_broke(void **state)
{
    struct fixture *f = *state;

    check_rc(f, put_big(f, "big"), 0);
    test_proxy_set(&f->proxy, TEST_PROXY_CUT, false, 3000000, 2);
    check_big(f, "big");
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    test_proxy_set(&f->proxy, TEST_PROXY_CUT, false, 10, -1);
    check_rc(f, blob_get_file(f->store, "big", f->out, &f->err), -FED_E_UNAVAILABLE);
    test_proxy_set(&f->proxy, TEST_PROXY_NONE, false, 0, 0);
    check_big(f, "big"); /* what was there before has stayed, and is replaced */
}

/* More often than the time of repetition lasts: each time it has got on before. */
static void test_a_download_breaks_again_and_again(void **state)
{
    struct fixture *f = *state;

    check_rc(f, put_big(f, "big"), 0);
    test_proxy_set(&f->proxy, TEST_PROXY_CUT, false, 1000000, 16);
    check_big(f, "big");
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
}

static void test_an_upload_that_breaks_is_repeated(void **state)
{
    struct fixture *f = *state;

    test_proxy_set(&f->proxy, TEST_PROXY_CUT, true, 5000000, 2);
    check_rc(f, put_big(f, "big"), 0);
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    check_big(f, "big");
    check_rc(f, put_text(f, "small", "0123456789"), 0);
    test_proxy_set(&f->proxy, TEST_PROXY_CUT, true, 5, 2);
    check_rc(f, put_text(f, "small", "0123456789"), 0);
}

/* The answer to the last request of an upload is lost: it is there, and that is found out. */
static void test_a_lost_answer_to_the_last_request(void **state)
{
    struct fixture *f = *state;

    atomic_store(&f->proxy.match, "?uploadId=");
    test_proxy_set(&f->proxy, TEST_PROXY_CUT, false, 0, 1);
    check_rc(f, put_big(f, "big"), 0);
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    check_big(f, "big");
    assert_false(has_upload(f, "big"));
}

static void test_wrong_bytes_are_noticed(void **state)
{
    struct fixture *f = *state;

    /* on the way there: the server refuses the part, which is sent again */
    test_proxy_set(&f->proxy, TEST_PROXY_FLIP, true, 4000000, 1);
    check_rc(f, put_big(f, "big"), 0);
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    check_big(f, "big");
    /* on the way back */
    test_proxy_set(&f->proxy, TEST_PROXY_FLIP, false, 4000000, 1);
    check_rc(f, blob_get_file(f->store, "big", f->out, &f->err), -FED_E_CORRUPT);
    check_big(f, "big");
}

#define HEAD(status, date) "HTTP/1.1 " status "\r\nDate: " date "\r\nConnection: close\r\n"
#define NOW                "Sat, 28 Nov 2026 03:00:00 GMT"
#define BODY               "Content-Type: application/xml\r\n\r\n<?xml version=\"1.0\"?>"

static void say(struct fixture *f, const char *text, int n_times)
{
    atomic_store(&f->proxy.text, text);
    test_proxy_set(&f->proxy, TEST_PROXY_SAY, true, 0, n_times);
}

static void test_throttling_is_waited_for(void **state)
{
    struct fixture *f = *state;

    say(f,
        HEAD("503 Slow Down", NOW) BODY "<Error><Code>SlowDown</Code><Message>Please reduce your "
                                        "request rate.</Message></Error>",
        2);
    check_rc(f, put_text(f, "a", "text"), 0);
    assert_int_equal(atomic_load(&f->proxy.n_times), 0);
    say(f,
        HEAD("503 Slow Down", NOW) BODY "<Error><Code>SlowDown</Code><Message>Please reduce your "
                                        "request rate.</Message></Error>",
        -1);
    check_rc(f, stat_rc(f, "a"), -FED_E_UNAVAILABLE); /* a HEAD: no more than the status is seen */
    check_rc(f, put_text(f, "a", "text"), -FED_E_UNAVAILABLE);
    check_message(f, "SlowDown: Please reduce");
}

static void test_a_long_refusal_is_cut(void **state)
{
    struct fixture *f = *state;

    say(f,
        HEAD("400 Bad Request", NOW) BODY
        "<Error><Code>InvalidArgument</Code><Message>This refusal goes on, and on, and on, and on, "
        "and on, and on, and on, and on, and on, and on, and on, and on, and on, and on, and on, "
        "and on, and on, and on, and on: to its end.</Message></Error>",
        -1);
    check_rc(f, put_text(f, "a", "text"), -FED_E_IO);
    check_message(f, "400 InvalidArgument: This refusal goes on, and on");
    assert_null(strstr(f->err.msg, "to its end"));
}

/* Whatever comes: a failure, soon, and no more memory than is set aside for it. */
static void test_hostile_answers(void **state)
{
    static const struct {
        const char *text;
        int want;
    } answers[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nshort", -FED_E_IO},
        {"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\n01234", -FED_E_IO},
        {"HTTP/1.1 206 Partial\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\n012",
         -FED_E_IO},
        {"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-99/100\r\nContent-Length: 100\r\n\r\n"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
         "890123456789",
         -FED_E_IO},
        {"HTTP/1.1 200 OK\r\n\r\nno length", -FED_E_IO},
        {"SSH-2.0-OpenSSH_9.2\r\n", -FED_E_UNAVAILABLE},
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
         -FED_E_DENIED},
        {"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", -FED_E_IO},
    };
    struct fixture *f = *state;
    char text[16];

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        size_t n = sizeof(text);
        say(f, answers[i].text, -1);
        check_rc(f, blob_read(f->store, "a", 0, text, &n, &f->err), answers[i].want);
    }
}

static void test_hostile_lists(void **state)
{
    struct fixture *f = *state;
    char keys[2][BLOB_KEY_MAX + 1];
    size_t n = 2;

    say(f,
        HEAD("200 OK", NOW) "\r\n<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]>"
                            "<ListBucketResult>&c;</ListBucketResult>",
        -1);
    check_rc(f, blob_list(f->store, "", keys, &n, &f->err), -FED_E_CORRUPT);
    say(f, HEAD("200 OK", NOW) "\r\n<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>", -1);
    check_rc(f, blob_list(f->store, "", keys, &n, &f->err), -FED_E_CORRUPT);
    say(f,
        HEAD("200 OK", NOW) "\r\n<ListBucketResult><IsTruncated>true</IsTruncated>"
                            "</ListBucketResult>",
        -1);
    check_rc(f, blob_list(f->store, "", keys, &n, &f->err), -FED_E_IO);
    say(f,
        HEAD("200 OK",
             NOW) "\r\n<ListBucketResult><IsTruncated>true</IsTruncated>"
                  "<NextContinuationToken>on and on</NextContinuationToken></ListBucketResult>",
        -1);
    check_rc(f, blob_list(f->store, "", keys, &n, &f->err), -FED_E_LIMIT);
}

/* -- keys, TLS, names ---------------------------------------------------------------------------
 */

static void check_denied(struct fixture *f, const struct blob_options *options, const char *part)
{
    struct blob_store *store = open_store(f, options);
    char text[8];
    size_t n = sizeof(text);

    check_rc(f, blob_read(store, "a", 0, text, &n, &f->err), -FED_E_DENIED);
    check_message(f, part);
    (void)blob_close(store);
}

static void test_wrong_keys(void **state)
{
    struct fixture *f = *state;
    struct blob_options options = options_of(f->endpoint);

    options.secret_key = "another secret";
    check_denied(f, &options, "check blob_secret_key");
    assert_null(strstr(f->err.msg, options.secret_key));
    options = options_of(f->endpoint);
    options.access_key = "nobody";
    check_denied(f, &options, "check blob_access_key");
    options = options_of(f->endpoint);
    options.session_token = "made-up";
    check_denied(f, &options, "403");
    options = options_of(f->endpoint);
    say(f,
        HEAD("403 Forbidden", "Sat, 28 Nov 2015 03:00:00 GMT") BODY
        "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time "
        "and the server's time is too large.</Message></Error>",
        -1);
    check_denied(f, &options, "s ahead of the server's");
    say(f,
        HEAD("400 Bad Request", NOW) BODY
        "<Error><Code>AuthorizationHeaderMalformed</Code>"
        "<Message>the region is wrong</Message><Region>eu-north-1</Region></Error>",
        -1);
    check_denied(f, &options, "set blob_region to eu-north-1");
}

static void test_the_host_names_the_bucket(void **state)
{
    struct fixture *f = *state;
    struct blob_options options = options_of(f->endpoint);

    (void)snprintf(f->endpoint, sizeof(f->endpoint), "http://localhost:%u/", minio.port);
    options.path_style = "false";
    (void)blob_close(f->store);
    f->store = open_store(f, &options);
    check_rc(f, put_big(f, "big"), 0);
    check_big(f, "big");
    options.path_style = "true"; /* and there it is, by the other name */
    (void)blob_close(f->store);
    f->store = open_store(f, &options);
    check_big(f, "big");
}

static void test_bad_settings(void **state)
{
    static const char *const urls[] = {"s3://",
                                       "s3://ab",
                                       "s3://UPPER",
                                       "s3://-abc",
                                       "s3://a b c",
                                       "s3://abc//x",
                                       "s3://abc/a b",
                                       "s3://abc/?x",
                                       "s3://abc/%2f",
                                       "s3://me:sesame@abc",
                                       "s3://abc/me:sesame@x"};
    static const char *const endpoints[] = {"minio:9000",        "ftp://minio",
                                            "http://",           "http://a/b",
                                            "https://user@host", "https://me:sesame@host"};
    struct fixture *f = *state;
    struct blob_options options = options_of(f->endpoint);
    struct blob_store *store = NULL;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        check_rc(f, blob_open_with(urls[i], &options, &store, &f->err), -FED_E_INVALID);
        assert_null(strstr(f->err.msg, "sesame"));
    }
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        options.endpoint = endpoints[i];
        check_rc(f, blob_open_with("s3://abc", &options, &store, &f->err), -FED_E_INVALID);
        check_message(f, "blob_endpoint");
        assert_null(strstr(f->err.msg, "sesame"));
    }
    options = options_of(f->endpoint);
    options.path_style = "maybe";
    check_rc(f, blob_open_with("s3://abc", &options, &store, &f->err), -FED_E_INVALID);
    options = options_of(f->endpoint);
    options.secret_key = "with\nline";
    check_rc(f, blob_open_with("s3://abc", &options, &store, &f->err), -FED_E_INVALID);
    options = options_of(f->endpoint);
    options.ca_file = "/nonexistent";
    check_rc(f, blob_open_with("s3://abc", &options, &store, &f->err), -FED_E_INVALID);
    check_rc(f, blob_open("s3://abc", &store, &f->err), -FED_E_INVALID);
    check_message(f, "blob_access_key");
}

static void make_certificate(const char *folder)
{
    char key[FED_PATH_SIZE + 32];
    char certificate[FED_PATH_SIZE + 32];
    char program[] = "/usr/bin/openssl";
    char words[][48] = {"req",
                        "-x509",
                        "-newkey",
                        "rsa:2048",
                        "-nodes",
                        "-days",
                        "2",
                        "-subj",
                        "/CN=confed-test",
                        "-addext",
                        "subjectAltName=IP:127.0.0.1,DNS:localhost",
                        "-keyout",
                        "-out",
                        "-batch"};
    char *argv[] = {program,   words[0], words[1],  words[2],    words[3],  words[4],
                    words[5],  words[6], words[7],  words[8],    words[9],  words[10],
                    words[11], key,      words[12], certificate, words[13], NULL};

    (void)snprintf(key, sizeof(key), "%s/private.key", folder);
    (void)snprintf(certificate, sizeof(certificate), "%s/public.crt", folder);
    assert_int_equal(test_program_run(argv, NULL), 0);
}

static void test_tls_with_a_ca_of_our_own(void **state)
{
    struct fixture *f = *state;
    struct test_minio server = minio;
    char certificate[FED_PATH_SIZE];
    char folder[FED_PATH_SIZE];
    struct blob_options options = options_of(f->endpoint);

    server.port = 0;
    server.pid = 0;
    (void)test_path(&f->folder, "server", folder);
    memcpy(server.folder, folder, sizeof(folder));
    make_certificate(f->folder.path);
    (void)snprintf(server.certs, sizeof(server.certs), "%s", f->folder.path);
    test_minio_start(&server);
    (void)test_minio_url(&server, f->endpoint);
    check_denied(f, &options, "TLS:"); /* nobody vouches for it */
    options.ca_file = test_path(&f->folder, "public.crt", certificate);
    (void)blob_close(f->store);
    f->store = open_store(f, &options);
    check_rc(f, put_big(f, "big"), 0);
    check_big(f, "big");
    check_rc(f, put_text(f, "small", "text"), 0);
    test_minio_kill(&server);
}

/* -- main ---------------------------------------------------------------------------------------
 */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int run_faults(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sizes_around_a_part),
        TEST(test_many_parts),
        TEST(test_an_abort_leaves_no_parts),
        TEST(test_a_server_killed_within_a_put),
        TEST(test_a_short_outage_is_waited_for),
        TEST(test_a_stalled_server),
        TEST(test_nobody_there),
        TEST(test_a_download_goes_on_where_it_broke),
        TEST(test_a_download_breaks_again_and_again),
        TEST(test_an_upload_that_breaks_is_repeated),
        TEST(test_a_lost_answer_to_the_last_request),
        TEST(test_wrong_bytes_are_noticed),
        TEST(test_throttling_is_waited_for),
        TEST(test_a_long_refusal_is_cut),
        TEST(test_hostile_answers),
        TEST(test_hostile_lists),
        TEST(test_wrong_keys),
        TEST(test_the_host_names_the_bucket),
        TEST(test_bad_settings),
        TEST(test_tls_with_a_ca_of_our_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A prefix of its own for each test, by the name of its folder. */
static void url_here(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    (void)snprintf(ret_url, FED_PATH_SIZE, "s3://confed-contract/%s",
                   strrchr(folder->path, '/') + 1);
}

static void url_there(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    (void)snprintf(ret_url, FED_PATH_SIZE, "%.500s/%s", fed_env_get("CONFED_TEST_S3"),
                   strrchr(folder->path, '/') + 1);
}

int main(void)
{
    struct blob_options options = {.endpoint = fed_env_get("CONFED_TEST_S3_ENDPOINT"),
                                   .region = fed_env_get("AWS_REGION")};
    char endpoint[64];
    int n_failed = 0;

    if (fed_env_get("CONFED_TEST_S3") != NULL) {
        blob_options_complete(&options);
        n_failed += blob_contract_run("s3 (CONFED_TEST_S3)", url_there, &options);
    }
    if (!test_minio_find(&minio)) {
        (void)printf("SKIP: MinIO cannot be had here (above): the S3 back end is not tested\n");
        return n_failed == 0 ? SKIPPED : n_failed;
    }
    test_folder_make(&home);
    (void)snprintf(minio.folder, sizeof(minio.folder), "%s", home.path);
    test_minio_start(&minio);
    options = options_of(test_minio_url(&minio, endpoint));
    n_failed += blob_contract_run("s3", url_here, &options);
    n_failed += run_faults();
    test_minio_kill(&minio);
    test_folder_remove(&home);
    return n_failed;
}
