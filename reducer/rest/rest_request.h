/* One request and its answer, as handlers see them: no HTTP library, no socket.
 *
 * A handler runs on a worker and may block. It reads the request, sets the answer and returns 0;
 * or returns rest_ask(): the host is asked, then `then` runs in the same way (NULL: the host's
 * answer is the answer). A failure (< 0) is answered with its status of err_codes.def and its text.
 *
 * Thread safety: one thread at a time, whoever works on the request.
 */
#ifndef REDUCER_REST_REST_REQUEST_H
#define REDUCER_REST_REST_REQUEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/model/checksum.h"
#include "reducer/rest/host.h"
#include "reducer/rest/rest_blob.h"
#include "reducer/rest/rest_kept.h"
#include "reducer/store/store.h"

#define REST_PATH_SIZE 512U            /* bytes of a path, with the NUL; longer: 404 */
#define REST_TEXTS_MAX 32U             /* query arguments, form fields; more: 400 */
#define REST_FORM_MAX  (64UL * 1024UL) /* bytes of a form's texts */
#define REST_NAME_MAX  255U            /* bytes of a name */
#define REST_ETAG_SIZE (FED_ID_SIZE + 4U)

/* Outcomes of a handler. */
enum {
    REST_ASK = 1,
};

enum rest_method {
    REST_GET, /* and HEAD */
    REST_POST,
    REST_PUT,
    REST_PATCH,
    REST_DELETE,
    REST_METHOD_MAX,
};

struct dashboard_file;

struct rest_text {
    char *name;  /* owned */
    char *value; /* owned; "" where it has none */
};

struct rest_texts {
    struct rest_text items[REST_TEXTS_MAX];
    size_t n;
    size_t size; /* bytes of all values */
};

/* FEDn's paging headers. */
struct rest_page {
    size_t limit; /* 0: all */
    size_t skip;
    char sort_key[STORE_PATH_SIZE]; /* "": committed_at */
    bool is_ascending;
    bool is_reverse;
};

/* A file that has arrived: unlinked, so that nothing stays behind whatever happens. */
struct rest_upload {
    int fd;        /* -1: none */
    char path[40]; /* /proc/self/fd/N */
    char file_name[REST_NAME_MAX + 1];
    uint64_t size_bytes;
    struct fed_sha256 *hash; /* while it arrives */
    uint8_t sha256[FED_SHA256_BYTES];
};

struct rest_answer {
    int status;
    const char *type;        /* content type; NULL: JSON */
    struct fed_buf body;     /* or: */
    struct rest_bytes *kept; /* a reference, or NULL; or: */
    int fd;                  /* a file of size_bytes, owned; or -1 */
    uint64_t size_bytes;
    char file_name[REST_NAME_MAX + 1]; /* Content-Disposition; "": none */
    char *location;                    /* owned; or NULL */
    char allow[64];                    /* 405, OPTIONS; or "" */
    const struct dashboard_file *file; /* the program's own, instead of a body; or NULL */
    char etag[REST_ETAG_SIZE];         /* or "" */
    bool is_stream;                    /* the feed's events, without an end */
    bool has_after;                    /* … from after_seq on */
    uint64_t after_seq;
};

/* What all handlers share. */
struct rest_shared {
    struct host *host;
    const char *network_id;
    const char *temp_dir;
    struct rest_blobs blobs;
    struct rest_kept kept;
    uint64_t elements_max;
    uint64_t upload_max;
    uint16_t port;
    uint64_t started_ms;
    pthread_mutex_t package_lock; /* held while the active package changes */
};

struct rest_request;
typedef int (*rest_step_fn)(struct rest_request *request, struct fed_err *err);

struct rest_request {
    struct rest_shared *shared;
    const struct rest_route *route; /* NULL until found */
    enum rest_method method;
    char path[REST_PATH_SIZE];         /* decoded, single slashes */
    char id[FED_ID_SIZE];              /* the <id> of the path */
    enum store_collection collection;  /* the resource of the path; or STORE_COLLECTION_MAX */
    char peer[64];                     /* its IP address */
    char host_name[REST_NAME_MAX + 1]; /* of its Host header, without the port */
    char last_event_id[24];            /* the header, or "" */
    char if_none_match[REST_ETAG_SIZE];
    bool accepts_csv; /* its Accept names CSV */
    struct rest_page page;
    struct rest_texts query;
    struct rest_texts form;
    bool has_form;
    bool has_body;       /* some of it has come */
    struct fed_buf body; /* where it is no form */
    json_t *json;        /* the body, once rest_request_json() was asked for it */
    struct rest_upload upload;
    struct {
        enum host_verb verb;
        json_t *input;  /* owned */
        int status;     /* the host's */
        json_t *output; /* owned; never NULL in `then` */
    } ask;
    rest_step_fn then;
    json_t *kept; /* owned; from a handler to its `then` */
    struct rest_answer answer;
};

void rest_request_init(struct rest_request *request, struct rest_shared *shared, size_t body_max);
void rest_request_deinit(struct rest_request *request);

/* -- what came -------------------------------------------------------------------------------- */

/* Add a name and a piece of its value: a name that comes again at is_new == false goes on.
 * Fails with FED_E_INVALID (too many, too long). */
FED_NODISCARD int rest_texts_add(struct rest_texts *texts,
                                 const char *name,
                                 const char *piece,
                                 size_t piece_size,
                                 bool is_new,
                                 struct fed_err *err);
const char *rest_texts_find(const struct rest_texts *texts, const char *name); /* NULL: none */
void rest_texts_deinit(struct rest_texts *texts);

/* The body as a JSON object (an empty body: an empty object where is_optional); borrowed.
 * Fails with FED_E_INVALID. */
FED_NODISCARD int rest_request_json(struct rest_request *request,
                                    bool is_optional,
                                    json_t **ret_object,
                                    struct fed_err *err);

/* Are rows to be written as CSV: ?format= says so, or else its Accept. */
bool rest_request_wants_csv(const struct rest_request *request);

/* -- uploads ---------------------------------------------------------------------------------- */

FED_NODISCARD int rest_upload_begin(struct rest_upload *upload,
                                    const char *temp_dir,
                                    const char *file_name,
                                    struct fed_err *err);
FED_NODISCARD int
rest_upload_add(struct rest_upload *upload, const void *data, size_t size, struct fed_err *err);
void rest_upload_finish(struct rest_upload *upload); /* the hash is there; idempotent */

/* -- the host --------------------------------------------------------------------------------- */

/* Ask the host, then go on with `then` (NULL: its answer is the answer). `input` is taken (NULL:
 * FED_E_NOMEM). Returns REST_ASK, for the handler to return. */
FED_NODISCARD int rest_ask(struct rest_request *request,
                           enum host_verb verb,
                           json_t *input,
                           rest_step_fn then,
                           struct fed_err *err);

/* -- the answer ------------------------------------------------------------------------------- */

/* Answer with a JSON value, which is taken (NULL: FED_E_NOMEM). Returns 0. */
FED_NODISCARD int
rest_answer_json(struct rest_request *request, int status, json_t *value, struct fed_err *err);

/* Answer with an array of objects as the file `name`.csv; rows are borrowed. Fails as rest_csv_*,
 * rest_answer_flush(). */
FED_NODISCARD int rest_answer_csv(struct rest_request *request,
                                  const json_t *rows,
                                  const char *name,
                                  struct fed_err *err);

/* For an answer that is written piece by piece into answer.body: moves it to a file when it is
 * long; is_end once, when it is complete. */
FED_NODISCARD int rest_answer_flush(struct rest_request *request, bool is_end, struct fed_err *err);

/* Answer with a blob as a file of this name; 304, without reading it, where it is the one the
 * asker has: what is under a key never changes. Returns 0 or BLOB_NOT_FOUND. */
FED_NODISCARD int rest_answer_blob(struct rest_request *request,
                                   const char *key,
                                   const char *type,
                                   const char *file_name,
                                   struct fed_err *err);

/* {"message": …} */
FED_NODISCARD int rest_answer_message(struct rest_request *request,
                                      int status,
                                      const char *message,
                                      struct fed_err *err);

/* A refusal: {"code":code,"message":…}. Returns 0, so that a handler may return it. */
FED_NODISCARD FED_PRINTF(5, 6) int rest_refuse(struct rest_request *request,
                                               int status,
                                               const char *code,
                                               struct fed_err *err,
                                               const char *fmt,
                                               ...);

/* 404 `Entity with id: X not found`, X being the path's. */
FED_NODISCARD int rest_refuse_missing(struct rest_request *request, struct fed_err *err);

/* Plain text. */
FED_NODISCARD int
rest_answer_text(struct rest_request *request, int status, const char *text, struct fed_err *err);

/* What a failed handler is answered: status, code and text of *err. Cannot fail. */
void rest_answer_failure(struct rest_request *request, const struct fed_err *err);

/* The host's answer as it is. */
FED_NODISCARD int rest_answer_host(struct rest_request *request, struct fed_err *err);

#endif /* REDUCER_REST_REST_REQUEST_H */
