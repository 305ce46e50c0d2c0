/* The URI of a MongoDB: what it does not say, and the bounds of what it says. */
#include <string.h>

#include "common/base/file.h"
#include "common/base/text.h"
#include "reducer/store/store_mongo_inside.h"

/* Nothing waits for ever, whatever the URI says. */
static const struct {
    const char *option;
    int32_t fallback;
    int32_t min;
    int32_t max;
} numbers[] = {
    {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, 3000, 100, 30000},
    {MONGOC_URI_CONNECTTIMEOUTMS, 3000, 100, 30000},
    {MONGOC_URI_SOCKETTIMEOUTMS, 5000, 100, 60000},
    {MONGOC_URI_WAITQUEUETIMEOUTMS, 3000, 100, 30000},
    {MONGOC_URI_HEARTBEATFREQUENCYMS, 5000, 500, 60000},
    {MONGOC_URI_MAXPOOLSIZE, 16, 1, 100},
};

static int
set_credentials(const struct store_config *config, mongoc_uri_t *uri, struct fed_err *err)
{
    const bool has_user = config->user != NULL && config->user[0] != '\0';

    if (has_user && !mongoc_uri_set_username(uri, config->user)) {
        return fed_err_set(err, FED_E_INVALID, "store_user is no UTF-8 text");
    }
    if (config->password == NULL || config->password[0] == '\0') {
        return 0;
    }
    if (mongoc_uri_get_username(uri) == NULL) {
        return fed_err_set(err, FED_E_INVALID, "there is a store_password, and no store_user");
    }
    return mongoc_uri_set_password(uri, config->password)
               ? 0
               : fed_err_set(err, FED_E_INVALID, "store_password is no UTF-8 text");
}

static int set_ca(const struct store_config *config, mongoc_uri_t *uri, struct fed_err *err)
{
    struct fed_buf certificates;
    int rc;

    if (config->ca_file == NULL || config->ca_file[0] == '\0') {
        return 0;
    }
    rc = fed_file_load(config->ca_file, (size_t)1 << 20, &certificates, err);
    if (rc < 0) {
        return fed_err_wrap(err, rc, "store_ca_file");
    }
    fed_buf_deinit(&certificates);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_TLS)) {
        (void)mongoc_uri_set_option_as_bool(uri, MONGOC_URI_TLS, true);
    }
    return mongoc_uri_set_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, config->ca_file)
               ? 0
               : fed_err_set(err, FED_E_INVALID, "store_ca_file cannot be used");
}

/* A repeated write is ours to recognize (store_mongo.c), with or without the server's help. */
static void set_options(mongoc_uri_t *uri)
{
    static const char *const ours[] = {MONGOC_URI_RETRYWRITES, MONGOC_URI_RETRYREADS};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const int32_t wanted =
            mongoc_uri_get_option_as_int32(uri, numbers[i].option, numbers[i].fallback);
        const int32_t value = wanted < numbers[i].min   ? numbers[i].min
                              : wanted > numbers[i].max ? numbers[i].max
                                                        : wanted;
        (void)mongoc_uri_set_option_as_int32(uri, numbers[i].option, value);
    }
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (!mongoc_uri_has_option(uri, ours[i])) {
            (void)mongoc_uri_set_option_as_bool(uri, ours[i], false);
        }
    }
    if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME)) {
        (void)mongoc_uri_set_appname(uri, "confed-reducer");
    }
}

int mongo_uri_new(const struct store_config *config, mongoc_uri_t **ret_uri, struct fed_err *err)
{
    bson_error_t error = {0};
    char blanked[MONGO_BLANKED_MAX];
    mongoc_uri_t *uri = mongoc_uri_new_with_error(config->url, &error);
    int rc;

    fed_text_blank_url(config->url, blanked, sizeof(blanked));
    if (uri == NULL) {
        /* libmongoc may quote what it could not read, and with an '@' that may be a password. */
        return fed_err_set(err, FED_E_INVALID, "store '%s': %s", blanked,
                           strchr(config->url, '@') == NULL
                               ? error.message
                               : "no MongoDB URI (special characters of a user's name or "
                                 "password are written as %xx)");
    }
    set_options(uri);
    rc = set_credentials(config, uri, err);
    rc = rc < 0 ? rc : set_ca(config, uri, err);
    if (rc < 0) {
        mongoc_uri_destroy(uri);
        return rc;
    }
    *ret_uri = uri;
    return 0;
}
