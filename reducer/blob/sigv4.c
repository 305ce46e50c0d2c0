#include "reducer/blob/sigv4.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/model/checksum.h"

#define SECRET_MAX 256U /* bytes of a secret key that count; AWS's have 40 */

void sigv4_time_format(uint64_t utc_ms, char ret_time[SIGV4_TIME_SIZE])
{
    char iso[FED_TIME_TEXT_SIZE];
    size_t n = 0;

    fed_time_format_iso(utc_ms * 1000U, iso);
    for (const char *p = iso; *p != '\0' && *p != '.' && n < SIGV4_TIME_SIZE - 2; p++) {
        if (*p != '-' && *p != ':') {
            ret_time[n++] = *p;
        }
    }
    ret_time[n++] = 'Z';
    ret_time[n] = '\0';
}

void sigv4_hash_format(struct fed_view data, char ret_hash[SIGV4_HASH_SIZE])
{
    uint8_t digest[FED_SHA256_BYTES];

    fed_sha256_once(data.data, data.size, digest);
    fed_hex_format(digest, sizeof(digest), ret_hash);
}

int sigv4_encode(const char *text, struct fed_buf *buf, struct fed_err *err)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    int rc = 0;

    for (const char *p = text; *p != '\0' && rc == 0; p++) {
        rc = strchr(plain, *p) != NULL
                 ? fed_buf_add(buf, p, 1, err)
                 : fed_buf_addf(buf, err, "%%%02X", (unsigned)(unsigned char)*p);
    }
    return rc;
}

static void sign_text(uint8_t key[FED_SHA256_BYTES], size_t key_size, const void *text, size_t size)
{
    uint8_t digest[FED_SHA256_BYTES];
    const uint8_t *rc = HMAC(EVP_sha256(), key, (int)key_size, text, size, digest, NULL);

    assert(rc != NULL);
    memcpy(key, digest, sizeof(digest));
}

/* The key of a day, region and service. */
static void derive(const struct sigv4_key *from, const char *day, uint8_t ret_key[FED_SHA256_BYTES])
{
    uint8_t start[SECRET_MAX + 5];
    const int n = snprintf((char *)start, sizeof(start), "AWS4%s", from->secret_key);

    sign_text(start, n < (int)sizeof(start) ? (size_t)n : sizeof(start) - 1, day, strlen(day));
    memcpy(ret_key, start, FED_SHA256_BYTES);
    OPENSSL_cleanse(start, sizeof(start));
    sign_text(ret_key, FED_SHA256_BYTES, from->region, strlen(from->region));
    sign_text(ret_key, FED_SHA256_BYTES, from->service, strlen(from->service));
    sign_text(ret_key, FED_SHA256_BYTES, "aws4_request", strlen("aws4_request"));
}

/* "host;x-amz-date" */
static int add_names(const struct sigv4_request *request, struct fed_buf *buf, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < request->n_headers && rc == 0; i++) {
        assert(i == 0 || strcmp(request->headers[i - 1].name, request->headers[i].name) < 0);
        rc = fed_buf_addf(buf, err, "%s%s", i == 0 ? "" : ";", request->headers[i].name);
    }
    return rc;
}

static int hash_request(const struct sigv4_request *request,
                        char ret_hash[SIGV4_HASH_SIZE],
                        struct fed_err *err)
{
    struct fed_buf buf;
    int rc;

    fed_buf_init(&buf, 0);
    rc = fed_buf_addf(&buf, err, "%s\n%s\n%s\n", request->method, request->path, request->query);
    for (size_t i = 0; i < request->n_headers && rc == 0; i++) {
        rc =
            fed_buf_addf(&buf, err, "%s:%s\n", request->headers[i].name, request->headers[i].value);
    }
    rc = rc < 0 ? rc : fed_buf_add(&buf, "\n", 1, err);
    rc = rc < 0 ? rc : add_names(request, &buf, err);
    rc = rc < 0 ? rc : fed_buf_addf(&buf, err, "\n%s", request->payload_hash);
    if (rc == 0) {
        sigv4_hash_format(fed_buf_view(&buf), ret_hash);
    }
    fed_buf_deinit(&buf);
    return rc;
}

int sigv4_sign(const struct sigv4_key *key,
               const struct sigv4_request *request,
               struct fed_buf *buf,
               struct fed_err *err)
{
    char day[9];
    char hash[SIGV4_HASH_SIZE];
    uint8_t signature[FED_SHA256_BYTES];
    struct fed_buf text; /* the string to sign */
    int rc = hash_request(request, hash, err);

    (void)snprintf(day, sizeof(day), "%s", request->time);
    fed_buf_init(&text, 0);
    rc = rc < 0 ? rc
                : fed_buf_addf(&text, err, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s",
                               request->time, day, key->region, key->service, hash);
    if (rc == 0) {
        derive(key, day, signature);
        sign_text(signature, sizeof(signature), text.data, text.size);
        fed_hex_format(signature, sizeof(signature), hash);
    }
    fed_buf_deinit(&text);
    rc = rc < 0 ? rc
                : fed_buf_addf(buf, err,
                               "AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request,"
                               "SignedHeaders=",
                               key->access_key, day, key->region, key->service);
    rc = rc < 0 ? rc : add_names(request, buf, err);
    rc = rc < 0 ? rc : fed_buf_addf(buf, err, ",Signature=%s", hash);
    return rc < 0 ? rc : fed_buf_add(buf, "", 1, err);
}
