/* The reducer's REST API, as the commands use it: JSON in, JSON out, one request at a time.
 *
 * Every answer with a status of 400 and above is a failure with the server's own message:
 * FED_E_NOT_FOUND for 404, FED_E_UNAVAILABLE for 503, FED_E_CONFLICT for what was refused,
 * FED_E_INTERNAL for the rest. No answer: FED_E_UNAVAILABLE, FED_E_TIMEOUT, FED_E_CANCELLED.
 *
 * Thread safety: one thread at a time. Blocks, up to the request's time limit.
 */
#ifndef REDUCER_CLI_API_H
#define REDUCER_CLI_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/id.h"

#define API_PATH_SIZE 512
#define API_WAIT_MS   25000U /* one long poll; the server allows 30000 */

struct api {
    const char *url; /* "http://127.0.0.1:8092"; borrowed */
    int cancel_fd;   /* > 0: readable ends a request with FED_E_CANCELLED */
    /* Called a few times a second while a request waits; may be NULL. */
    void (*tick)(void *arg);
    void *arg;
};

static inline void api_json_free_p(json_t **json)
{
    json_decref(*json);
}

struct api_query {
    const char *resource;   /* "rounds" */
    const char *filter_key; /* or NULL */
    const char *filter_value;
    const char *sort_key; /* NULL: committed_at */
    bool is_ascending;    /* else newest first */
    uint64_t limit;       /* 0: all */
    uint64_t skip;
};

/* GET a path of the API ("/version"). */
FED_NODISCARD int
api_get(const struct api *api, const char *path, json_t **ret_json, struct fed_err *err);

/* POST or PATCH a JSON object (borrowed). */
FED_NODISCARD int api_send(const struct api *api,
                           const char *method,
                           const char *path,
                           const json_t *body,
                           json_t **ret_json,
                           struct fed_err *err);

/* GET a list: the array of its rows. */
FED_NODISCARD int api_list(const struct api *api,
                           const struct api_query *query,
                           json_t **ret_rows,
                           struct fed_err *err);

/* GET one row by its id, by the beginning of its id when that fits one alone, or the newest row by
 * "latest". Fails with FED_E_NOT_FOUND, FED_E_CONFLICT (fits several). */
FED_NODISCARD int api_find(const struct api *api,
                           const char *resource,
                           const char *id_key,
                           const char *id,
                           json_t **ret_row,
                           struct fed_err *err);

/* The live state (reducer/rest/host.h) once its seq is above `after`, or after wait_ms. */
FED_NODISCARD int api_live(const struct api *api,
                           uint64_t after,
                           uint64_t wait_ms,
                           json_t **ret_live,
                           struct fed_err *err);

/* POST a file as a form, with up to four texts (names and values end with a NULL name). */
struct api_text {
    const char *name;
    const char *value;
};
FED_NODISCARD int api_upload(const struct api *api,
                             const char *path,
                             const char *file_path,
                             const struct api_text *texts,
                             json_t **ret_json,
                             struct fed_err *err);

/* GET a path into a file, which appears whole or not at all. */
FED_NODISCARD int
api_download(const struct api *api, const char *path, const char *file_path, struct fed_err *err);

/* Format a path: each %s of `fmt` is percent-encoded (RFC 3986 section 2.1). */
FED_NODISCARD int api_path(char ret_path[API_PATH_SIZE],
                           struct fed_err *err,
                           const char *before,
                           const char *id,
                           const char *after);

#endif /* REDUCER_CLI_API_H */
