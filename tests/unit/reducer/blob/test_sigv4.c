/* AWS's published examples: "Authenticating Requests: Using the Authorization Header" of the S3 API
 * Reference, and get-vanilla of its Signature Version 4 test suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/blob/sigv4.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct sigv4_key s3_key = {
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3"};

static void check(const struct sigv4_key *key,
                  const struct sigv4_request *request,
                  const char *names,
                  const char *signature)
{
    struct fed_buf buf;
    char want[512];

    fed_buf_init(&buf, 0);
    assert_int_equal(sigv4_sign(key, request, &buf, NULL), 0);
    (void)snprintf(want, sizeof(want),
                   "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request,SignedHeaders=%s,"
                   "Signature=%s",
                   key->access_key, request->time, key->region, key->service, names, signature);
    assert_string_equal((const char *)buf.data, want);
    fed_buf_deinit(&buf);
}

static void test_get_object(void **state)
{
    const struct sigv4_request request = {
        .method = "GET",
        .path = "/test.txt",
        .query = "",
        .headers = {{"host", "examplebucket.s3.amazonaws.com"},
                    {"range", "bytes=0-9"},
                    {"x-amz-content-sha256", EMPTY},
                    {"x-amz-date", "20130524T000000Z"}},
        .n_headers = 4,
        .payload_hash = EMPTY,
        .time = "20130524T000000Z",
    };

    (void)state;
    check(&s3_key, &request, "host;range;x-amz-content-sha256;x-amz-date",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void test_put_object(void **state)
{
    const struct sigv4_request request = {
        .method = "PUT",
        .path = "/test%24file.text",
        .query = "",
        .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                    {"host", "examplebucket.s3.amazonaws.com"},
                    {"x-amz-content-sha256",
                     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
                    {"x-amz-date", "20130524T000000Z"},
                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
        .n_headers = 5,
        .payload_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        .time = "20130524T000000Z",
    };

    (void)state;
    check(&s3_key, &request, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void test_queries(void **state)
{
    struct sigv4_request request = {
        .method = "GET",
        .path = "/",
        .query = "lifecycle=",
        .headers = {{"host", "examplebucket.s3.amazonaws.com"},
                    {"x-amz-content-sha256", EMPTY},
                    {"x-amz-date", "20130524T000000Z"}},
        .n_headers = 3,
        .payload_hash = EMPTY,
        .time = "20130524T000000Z",
    };

    (void)state;
    check(&s3_key, &request, "host;x-amz-content-sha256;x-amz-date",
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    request.query = "max-keys=2&prefix=J";
    check(&s3_key, &request, "host;x-amz-content-sha256;x-amz-date",
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void test_get_vanilla(void **state)
{
    const struct sigv4_key key = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                  "us-east-1", "service"};
    const struct sigv4_request request = {
        .method = "GET",
        .path = "/",
        .query = "",
        .headers = {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
        .n_headers = 2,
        .payload_hash = EMPTY,
        .time = "20150830T123600Z",
    };

    (void)state;
    check(&key, &request, "host;x-amz-date",
          "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

static void test_texts(void **state)
{
    char time[SIGV4_TIME_SIZE];
    char hash[SIGV4_HASH_SIZE];
    struct fed_buf buf;

    (void)state;
    sigv4_time_format(1369353600000U, time);
    assert_string_equal(time, "20130524T000000Z");
    sigv4_hash_format(fed_view_str(""), hash);
    assert_string_equal(hash, EMPTY);
    fed_buf_init(&buf, 64);
    assert_int_equal(sigv4_encode("a/b c+~-._=\xc3\xa9&", &buf, NULL), 0);
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    assert_string_equal((const char *)buf.data, "a%2Fb%20c%2B~-._%3D%C3%A9%26");
    fed_buf_clear(&buf);
    assert_int_equal(sigv4_encode("/", &buf, NULL), 0);
    assert_int_equal(buf.size, 3);
    fed_buf_deinit(&buf);
    fed_buf_init(&buf, 2); /* its bound holds */
    assert_int_equal(sigv4_encode("abc", &buf, NULL), -FED_E_LIMIT);
    fed_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_object), cmocka_unit_test(test_put_object),
        cmocka_unit_test(test_queries),    cmocka_unit_test(test_get_vanilla),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
