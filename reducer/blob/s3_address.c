#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "reducer/blob/s3_inside.h"

#define BLANKED_SIZE 81 /* bytes of a URL in a message */

static bool copy_text(char *ret_text, size_t size, const char *text, size_t n)
{
    if (n >= size) {
        return false;
    }
    memcpy(ret_text, text, n);
    ret_text[n] = '\0';
    return true;
}

/* "s3://BUCKET[/PREFIX]" */
static int parse_url(struct s3 *self, const char *url, struct fed_err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    const char *bucket = url + strlen("s3://");
    const size_t n = strcspn(bucket, "/");
    const char *prefix = bucket + n + (bucket[n] == '/' ? 1 : 0);
    size_t size = strlen(prefix);
    char blanked[BLANKED_SIZE];

    fed_text_blank_url(url, blanked, sizeof(blanked));
    if (n < 3 || !copy_text(self->bucket, sizeof(self->bucket), bucket, n) ||
        strspn(self->bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != n ||
        strchr(letters, self->bucket[0]) == NULL || strchr(letters, self->bucket[n - 1]) == NULL) {
        return fed_err_set(err, FED_E_INVALID,
                           "blob store '%s': a bucket's name is 3 to 63 letters, digits, . or -",
                           blanked);
    }
    size -= size > 0 && prefix[size - 1] == '/' ? 1 : 0;
    if (size + 2 > sizeof(self->prefix) || (size > 0 && prefix[0] == '/') ||
        strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/") <
            size) {
        return fed_err_set(err, FED_E_INVALID,
                           "blob store '%s': the prefix may have letters, digits and any of "
                           ". _ - /",
                           blanked);
    }
    if (size > 0) {
        (void)snprintf(self->prefix, sizeof(self->prefix), "%.*s/", (int)size, prefix);
    }
    return 0;
}

/* "http://HOST[:PORT]", a "/" may follow; the port goes where it is the scheme's own, as in the
 * Host header. */
static int parse_endpoint(struct s3 *self,
                          const char *endpoint,
                          char ret_host[S3_HOST_SIZE],
                          struct fed_err *err)
{
    const bool is_tls = strncmp(endpoint, "https://", 8) == 0;
    const char *host = endpoint + (is_tls ? 8 : 7);
    const char *port = is_tls ? ":443" : ":80";
    size_t n = strcspn(host, "/?#@ ");
    char blanked[BLANKED_SIZE];

    fed_text_blank_url(endpoint, blanked, sizeof(blanked));
    if ((!is_tls && strncmp(endpoint, "http://", 7) != 0) || n == 0 ||
        (host[n] != '\0' && strcmp(host + n, "/") != 0)) {
        return fed_err_set(err, FED_E_INVALID,
                           "blob_endpoint is '%s', want http://HOST:PORT or https://HOST", blanked);
    }
    if (n > strlen(port) && strncmp(host + n - strlen(port), port, strlen(port)) == 0) {
        n -= strlen(port);
    }
    if (!copy_text(ret_host, S3_HOST_SIZE - S3_BUCKET_SIZE, host, n)) {
        return fed_err_set(err, FED_E_INVALID, "blob_endpoint is too long");
    }
    self->is_tls = is_tls;
    return 0;
}

/* Whether the path names the bucket, rather than the host. */
static int is_path_style(const struct blob_options *options,
                         bool has_endpoint,
                         bool *ret_is,
                         struct fed_err *err)
{
    const char *word = options->path_style == NULL ? "" : options->path_style;

    if (word[0] == '\0' || strcmp(word, "auto") == 0) {
        *ret_is = has_endpoint;
    } else if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
        *ret_is = strcmp(word, "true") == 0;
    } else {
        return fed_err_set(err, FED_E_INVALID,
                           "blob_path_style is '%.20s', want auto, true or false", word);
    }
    return 0;
}

static int
copy_secret(char *ret_text, size_t size, const char *text, const char *name, struct fed_err *err)
{
    const char *from = text == NULL ? "" : text;

    for (const char *p = from; *p != '\0'; p++) {
        if (*p < ' ') { /* control characters, and what is not ASCII */
            return fed_err_set(err, FED_E_INVALID, "%s has a character that no key has", name);
        }
    }
    return copy_text(ret_text, size, from, strlen(from))
               ? 0
               : fed_err_set(err, FED_E_INVALID, "%s is too long", name);
}

static int copy_keys(struct s3 *self, const struct blob_options *options, struct fed_err *err)
{
    const char *region = options->region == NULL ? "" : options->region;
    int rc = copy_secret(self->access_key, sizeof(self->access_key), options->access_key,
                         "blob_access_key", err);

    rc = rc < 0 ? rc
                : copy_secret(self->secret_key, sizeof(self->secret_key), options->secret_key,
                              "blob_secret_key", err);
    rc = rc < 0 ? rc
                : copy_secret(self->token, sizeof(self->token), options->session_token,
                              "the session token", err);
    rc = rc < 0 ? rc
                : copy_secret(self->region, sizeof(self->region),
                              region[0] == '\0' ? "us-east-1" : region, "blob_region", err);
    if (rc == 0 && (self->access_key[0] == '\0' || self->secret_key[0] == '\0')) {
        rc = fed_err_set(err, FED_E_INVALID,
                         "an S3 blob store needs blob_access_key and blob_secret_key_file (or "
                         "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment)");
    }
    return rc;
}

int s3_address(struct s3 *self,
               const char *url,
               const struct blob_options *options,
               struct fed_err *err)
{
    const bool has_endpoint = options->endpoint != NULL && options->endpoint[0] != '\0';
    char endpoint[S3_HOST_SIZE];
    char host[S3_HOST_SIZE] = "";
    bool is_path = false;
    int rc = parse_url(self, url, err);

    rc = rc < 0 ? rc : copy_keys(self, options, err);
    rc = rc < 0 ? rc : is_path_style(options, has_endpoint, &is_path, err);
    if (rc == 0) {
        (void)snprintf(endpoint, sizeof(endpoint), "https://s3.%s.amazonaws.com", self->region);
        rc = parse_endpoint(self, has_endpoint ? options->endpoint : endpoint, host, err);
    }
    if (rc == 0 && is_path) {
        (void)snprintf(self->host, sizeof(self->host), "%s", host);
        (void)snprintf(self->bucket_path, sizeof(self->bucket_path), "/%s", self->bucket);
    } else if (rc == 0) {
        (void)snprintf(self->host, sizeof(self->host), "%s.%.191s", self->bucket, host);
    }
    return rc;
}
