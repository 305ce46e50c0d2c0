/* MongoDB back end, on libmongoc's pool: any server of the protocol that knows single documents and
 * unique indexes (a replica set, one mongod by itself, FerretDB); no transactions, no change
 * streams.
 *
 * Order of insertion: each document has a number, `seq`, unique by an index. A writer takes the one
 * after the greatest it knows; where another writer was first, the index refuses it, and it reads
 * again which is the greatest. So no number is given twice, nothing is lost by a crash but numbers,
 * and what one handle inserts after its former insert has returned comes after that. What another
 * handle inserts then does so too, unless the first one has left a number out, which the other may
 * take: an insert that fails leaves its number out, and one that is refused while others are on
 * their way. (A reducer has one handle, and a second reducer begins with the greatest number.)
 *
 * Unknown outcomes: a write that failed for want of an answer may have been applied. Each write
 * carries a token of its own; one that meets its own token on its second try has worked. A call
 * that fails so leaves its token behind (`unsure`), and the same write, called again, goes on with
 * it: the caller is told what it would have been told the first time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/base/unconst.h"
#include "reducer/store/store_mongo_inside.h"

/* -- writes whose outcome is unknown ------------------------------------------------------------
 */

static void make_token(struct store_mongo *self, char ret_token[MONGO_TOKEN_SIZE])
{
    (void)snprintf(ret_token, MONGO_TOKEN_SIZE, "%s-%llu", self->id,
                   (unsigned long long)atomic_fetch_add(&self->n_tokens, 1));
}

void mongo_take_token(struct store_mongo *self,
                      enum store_collection in,
                      const char *key,
                      uint64_t hash,
                      char ret_token[MONGO_TOKEN_SIZE])
{
    bool is_found = false;

    (void)pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < MONGO_UNSURE_MAX && !is_found; i++) {
        struct mongo_unsure *unsure = &self->unsure[i];
        is_found = unsure->key != NULL && unsure->in == in && unsure->hash == hash &&
                   strcmp(unsure->key, key) == 0;
        if (is_found) {
            memcpy(ret_token, unsure->token, MONGO_TOKEN_SIZE);
            free(unsure->key);
            *unsure = (struct mongo_unsure){0};
        }
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (!is_found) {
        make_token(self, ret_token);
    }
}

/* Of more than MONGO_UNSURE_MAX the oldest is forgotten: its repetition finds itself there first.
 */
void mongo_keep_token(struct store_mongo *self,
                      enum store_collection in,
                      const struct mongo_write *write)
{
    struct mongo_unsure *unsure;

    (void)pthread_mutex_lock(&self->lock);
    unsure = &self->unsure[self->next_unsure++ % MONGO_UNSURE_MAX];
    free(unsure->key);
    unsure->key = strdup(write->key);
    unsure->hash = write->row->hash;
    unsure->in = in;
    (void)snprintf(unsure->token, sizeof(unsure->token), "%s", write->token);
    (void)pthread_mutex_unlock(&self->lock);
}

/* -- reading ------------------------------------------------------------------------------------
 */

struct get {
    const char *key;
    json_t *document; /* found */
};

static int step_get(struct mongo_call *call, struct fed_err *err)
{
    struct get *get = call->arg;
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(get->key));
    bson_t found = BSON_INITIALIZER;
    int rc = mongo_find_one(call, filter, NULL, &found, err);

    rc = rc == 0 ? mongo_row_decode(&found, &get->document, err) : rc;
    bson_destroy(&found);
    bson_destroy(filter);
    return rc;
}

/* Does the document under `key` carry the token? 0: yes; STORE_EXISTS: no; STORE_NOT_FOUND. */
static int look_token(struct mongo_call *call, const struct mongo_write *write, struct fed_err *err)
{
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(write->key));
    bson_t *options = BCON_NEW("projection", "{", "w", BCON_INT32(1), "}");
    bson_t found = BSON_INITIALIZER;
    bson_iter_t it;
    int rc = mongo_find_one(call, filter, options, &found, err);

    if (rc == 0 && !(bson_iter_init_find(&it, &found, "w") && BSON_ITER_HOLDS_UTF8(&it) &&
                     strcmp(bson_iter_utf8(&it, NULL), write->token) == 0)) {
        rc = STORE_EXISTS;
    }
    bson_destroy(&found);
    bson_destroy(options);
    bson_destroy(filter);
    return rc;
}

/* Does another document hold the unique combination? STORE_EXISTS or STORE_NOT_FOUND. */
static int
look_unique(struct mongo_call *call, const struct mongo_write *write, struct fed_err *err)
{
    bson_t *filter;
    bson_t found = BSON_INITIALIZER;
    int rc;

    if (write->row->unique == NULL) {
        return STORE_NOT_FOUND;
    }
    filter =
        BCON_NEW("u", BCON_UTF8(write->row->unique), "_id", "{", "$ne", BCON_UTF8(write->key), "}");
    rc = mongo_find_one(call, filter, NULL, &found, err);
    bson_destroy(&found);
    bson_destroy(filter);
    return rc == 0 ? STORE_EXISTS : rc;
}

/* -- writing ------------------------------------------------------------------------------------
 */

static int64_t now_unless(int64_t ms)
{
    return ms != 0 ? ms : (int64_t)fed_clock_utc_ms();
}

/* A unique index has refused it; neither the key nor the combination is taken: the number was. */
static int
take_next(struct mongo_call *call, unsigned attempt, const bson_error_t *error, struct fed_err *err)
{
    return attempt + 1 < MONGO_ATTEMPTS ? mongo_seq_refresh(call, err)
                                        : mongo_fail(call, error, err);
}

void mongo_encode_insert(const struct mongo_write *write, int64_t seq, bson_t *ret_row)
{
    (void)BSON_APPEND_UTF8(ret_row, "_id", write->key);
    (void)BSON_APPEND_INT64(ret_row, "seq", seq);
    (void)BSON_APPEND_INT64(ret_row, "version", write->first_version);
    (void)BSON_APPEND_INT64(ret_row, "committed_at", now_unless(write->committed_ms));
    (void)BSON_APPEND_INT64(ret_row, "updated_at", now_unless(write->updated_ms));
    mongo_row_append(write->row, write->token, ret_row);
}

/* Returns 0, or STORE_EXISTS where a unique index has refused it. */
static int
try_insert(struct mongo_call *call, int64_t seq, bson_error_t *error, struct fed_err *err)
{
    bson_t row = BSON_INITIALIZER;
    bson_t reply = BSON_INITIALIZER;
    int rc = 0;

    mongo_encode_insert(call->arg, seq, &row);
    if (!mongoc_collection_insert_one(call->collection, &row, NULL, &reply, error)) {
        rc = mongo_check_concern(call, &reply, err);
        rc = rc < 0 ? rc : mongo_is_duplicate(error) ? STORE_EXISTS : mongo_fail(call, error, err);
    }
    bson_destroy(&reply);
    bson_destroy(&row);
    return rc;
}

int mongo_step_insert(struct mongo_call *call, struct fed_err *err)
{
    const struct mongo_write *write = call->arg;
    int64_t seq = 0;

    for (unsigned i = 0;; i++) {
        bson_error_t error = {0};
        int rc = mongo_seq_next(call, &seq, err);

        rc = rc < 0 ? rc : try_insert(call, seq, &error, err);
        if (rc == 0) {
            mongo_prune(call, seq);
        }
        if (rc != STORE_EXISTS) {
            return rc;
        }
        rc = look_token(call, write, err);
        rc = rc == STORE_NOT_FOUND ? look_unique(call, write, err) : rc;
        if (rc >= 0 && rc != STORE_NOT_FOUND) {
            mongo_seq_return(call, seq);
        }
        if (rc != STORE_NOT_FOUND) {
            return rc;
        }
        rc = take_next(call, i, &error, err);
        if (rc < 0) {
            return rc;
        }
    }
}

/* {$set: {…}, $inc: {version: 1}}, and with a seq what an insert adds. */
static bson_t *encode_update(const struct mongo_write *write, int64_t seq)
{
    bson_t *update = bson_new();
    bson_t part;

    (void)BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &part);
    (void)BSON_APPEND_INT64(&part, "updated_at", now_unless(0));
    mongo_row_append(write->row, write->token, &part);
    (void)bson_append_document_end(update, &part);
    (void)BSON_APPEND_DOCUMENT_BEGIN(update, "$inc", &part);
    (void)BSON_APPEND_INT64(&part, "version", 1);
    (void)bson_append_document_end(update, &part);
    if (seq > 0) {
        (void)BSON_APPEND_DOCUMENT_BEGIN(update, "$setOnInsert", &part);
        (void)BSON_APPEND_INT64(&part, "seq", seq);
        (void)BSON_APPEND_INT64(&part, "committed_at", now_unless(0));
        (void)bson_append_document_end(update, &part);
    }
    return update;
}

static int64_t number_of(const bson_t *reply, const char *field)
{
    bson_iter_t it;

    return bson_iter_init_find(&it, reply, field) ? bson_iter_as_int64(&it) : 0;
}

/* The version is not the expected one: changed, gone, or by our own first try. */
static int look_conflict(struct mongo_call *call, struct fed_err *err)
{
    const int rc = look_token(call, call->arg, err);

    return rc == STORE_EXISTS ? STORE_CONFLICT : rc;
}

static int step_replace(struct mongo_call *call, struct fed_err *err)
{
    const struct mongo_write *write = call->arg;
    bson_t *filter =
        BCON_NEW("_id", BCON_UTF8(write->key), "version", BCON_INT64((int64_t)write->version));
    bson_t *update = encode_update(write, 0);
    bson_t reply = BSON_INITIALIZER;
    bson_error_t error = {0};
    const bool is_done =
        mongoc_collection_update_one(call->collection, filter, update, NULL, &reply, &error);
    int rc;

    if (is_done) {
        rc = number_of(&reply, "matchedCount") > 0 ? 0 : look_conflict(call, err);
    } else {
        rc = mongo_is_duplicate(&error) ? look_unique(call, write, err) : STORE_NOT_FOUND;
        rc = rc == STORE_NOT_FOUND ? mongo_fail(call, &error, err) : rc;
    }
    bson_destroy(&reply);
    bson_destroy(update);
    bson_destroy(filter);
    return rc;
}

static bool
try_put(const struct mongo_call *call, int64_t seq, bool *ret_is_new, bson_error_t *error)
{
    const struct mongo_write *write = call->arg;
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(write->key));
    bson_t *options = BCON_NEW("upsert", BCON_BOOL(true));
    bson_t *update = encode_update(write, seq);
    bson_t reply = BSON_INITIALIZER;
    const bool is_done =
        mongoc_collection_update_one(call->collection, filter, update, options, &reply, error);

    *ret_is_new = is_done && bson_has_field(&reply, "upsertedId");
    bson_destroy(&reply);
    bson_destroy(update);
    bson_destroy(options);
    bson_destroy(filter);
    return is_done;
}

static int step_put(struct mongo_call *call, struct fed_err *err)
{
    int64_t seq = 0;
    bool is_new = false;

    for (unsigned i = 0;; i++) {
        bson_error_t error = {0};
        int rc = mongo_seq_next(call, &seq, err);

        if (rc < 0) {
            return rc;
        }
        if (try_put(call, seq, &is_new, &error)) {
            if (is_new) {
                mongo_prune(call, seq);
            } else {
                mongo_seq_return(call, seq);
            }
            return 0;
        }
        if (!mongo_is_duplicate(&error)) {
            return mongo_fail(call, &error, err);
        }
        rc = look_unique(call, call->arg, err);
        if (rc == STORE_EXISTS) {
            mongo_seq_return(call, seq);
        }
        if (rc != STORE_NOT_FOUND) {
            return rc;
        }
        rc = take_next(call, i, &error, err);
        if (rc < 0) {
            return rc;
        }
    }
}

static int step_remove(struct mongo_call *call, struct fed_err *err)
{
    bson_t *filter = BCON_NEW("_id", BCON_UTF8((const char *)call->arg));
    bson_t reply = BSON_INITIALIZER;
    bson_error_t error = {0};
    int rc = 0;

    if (!mongoc_collection_delete_one(call->collection, filter, NULL, &reply, &error)) {
        rc = mongo_fail(call, &error, err);
    } else if (number_of(&reply, "deletedCount") == 0 && !call->is_repeated) {
        rc = STORE_NOT_FOUND; /* else the first try may have removed it */
    }
    bson_destroy(&reply);
    bson_destroy(filter);
    return rc;
}

/* -- operations ---------------------------------------------------------------------------------
 */

/* Fills in the rest of the write, and runs it. What is written over is so by one thread at a time:
 * with FerretDB, which reads and writes in two steps, no version is overlooked then. */
static int run_write(struct mongo_call *call, const json_t *document, struct fed_err *err)
{
    pthread_mutex_t *lock;
    struct mongo_write *write = call->arg;
    struct mongo_row row;
    char token[MONGO_TOKEN_SIZE];
    int rc = mongo_row_init(&row, call->in, document, err);

    if (rc < 0) {
        return rc;
    }
    write->key = store_document_key(call->in, document);
    write->row = &row;
    write->token = token;
    mongo_take_token(call->self, call->in, write->key, row.hash, token);
    if (call->step == mongo_step_insert) {
        rc = mongo_run(call, err);
    } else {
        lock = &call->self->keys[mongo_hash(write->key) % MONGO_KEYS];
        (void)pthread_mutex_lock(lock);
        rc = mongo_run(call, err);
        (void)pthread_mutex_unlock(lock);
    }
    if (rc == -FED_E_UNAVAILABLE) {
        mongo_keep_token(call->self, call->in, write);
    }
    mongo_row_deinit(&row);
    return rc;
}

static int
mongo_insert(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    struct mongo_write write = {.first_version = 1};
    struct mongo_call call = {.self = mongo_self(store),
                              .in = in,
                              .what = "insert into",
                              .step = mongo_step_insert,
                              .arg = &write};

    return run_write(&call, document, err);
}

static int
mongo_restore(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    struct mongo_write write = {
        .first_version = json_integer_value(json_object_get(document, "version")),
        .committed_ms = json_integer_value(json_object_get(document, "committed_at")),
        .updated_ms = json_integer_value(json_object_get(document, "updated_at")),
    };
    struct mongo_call call = {.self = mongo_self(store),
                              .in = in,
                              .what = "restore into",
                              .step = mongo_step_insert,
                              .arg = &write};

    return run_write(&call, document, err);
}

static int mongo_replace(struct store *store,
                         enum store_collection in,
                         uint64_t version,
                         json_t *document,
                         struct fed_err *err)
{
    struct mongo_write write = {.version = version};
    struct mongo_call call = {.self = mongo_self(store),
                              .in = in,
                              .what = "replace in",
                              .step = step_replace,
                              .arg = &write};

    return run_write(&call, document, err);
}

static int
mongo_put(struct store *store, enum store_collection in, json_t *document, struct fed_err *err)
{
    struct mongo_write write = {0};
    struct mongo_call call = {
        .self = mongo_self(store), .in = in, .what = "put into", .step = step_put, .arg = &write};

    return run_write(&call, document, err);
}

static int mongo_get(struct store *store,
                     enum store_collection in,
                     const char *key,
                     json_t **ret_document,
                     struct fed_err *err)
{
    struct get get = {.key = key};
    struct mongo_call call = {
        .self = mongo_self(store), .in = in, .what = "read", .step = step_get, .arg = &get};
    const int rc = mongo_run(&call, err);

    if (rc == 0) {
        *ret_document = get.document;
    }
    return rc;
}

static int
mongo_remove(struct store *store, enum store_collection in, const char *key, struct fed_err *err)
{
    struct mongo_call call = {.self = mongo_self(store),
                              .in = in,
                              .what = "remove from",
                              .step = step_remove,
                              .arg = fed_unconst(key)};

    return mongo_run(&call, err);
}

/* -- life ---------------------------------------------------------------------------------------
 */

static void mongo_close(struct store *store)
{
    struct store_mongo *self = mongo_self(store);

    if (self->pool != NULL) {
        mongoc_client_pool_destroy(self->pool);
    }
    for (size_t i = 0; i < MONGO_UNSURE_MAX; i++) {
        free(self->unsure[i].key);
    }
    mongoc_uri_destroy(self->uri);
    free(self->database);
    for (size_t i = 0; i < MONGO_KEYS; i++) {
        (void)pthread_mutex_destroy(&self->keys[i]);
    }
    (void)pthread_mutex_destroy(&self->pool_lock);
    (void)pthread_mutex_destroy(&self->lock);
    free(self);
}

static const struct store_ops mongo_ops = {
    .name = "mongodb",
    .insert = mongo_insert,
    .insert_many = mongo_insert_many,
    .replace = mongo_replace,
    .put = mongo_put,
    .restore = mongo_restore,
    .get = mongo_get,
    .find = mongo_find,
    .each = mongo_each,
    .remove = mongo_remove,
    .close = mongo_close,
    .about = mongo_about,
};

/* libmongoc is set up once a process; what it has to say comes with its errors. */
static void init_library(void)
{
    mongoc_init();
    mongoc_log_set_handler(NULL, NULL);
}

int store_mongo_open(const struct store_config *config,
                     struct store **ret_store,
                     struct fed_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct store_mongo *self;
    const char *database;
    mongoc_uri_t *uri = NULL;
    int rc;

    (void)pthread_once(&once, init_library);
    rc = mongo_uri_new(config, &uri, err);
    if (rc < 0) {
        return rc;
    }
    self = calloc(1, sizeof(*self));
    if (self == NULL) {
        mongoc_uri_destroy(uri);
        return fed_err_set(err, FED_E_NOMEM, "store");
    }
    self->base.ops = &mongo_ops;
    self->uri = uri;
    (void)pthread_mutex_init(&self->lock, NULL);
    (void)pthread_mutex_init(&self->pool_lock, NULL);
    for (size_t i = 0; i < MONGO_KEYS; i++) {
        (void)pthread_mutex_init(&self->keys[i], NULL);
    }
    for (size_t i = 0; i < STORE_COLLECTION_MAX; i++) {
        self->newest[i] = -1;
    }
    fed_text_blank_url(config->url, self->name, sizeof(self->name));
    database = mongoc_uri_get_database(uri);
    self->database = strdup(database == NULL || database[0] == '\0' ? MONGO_DATABASE : database);
    rc = self->database == NULL ? fed_err_set(err, FED_E_NOMEM, "store")
                                : fed_uuid_new(self->id, err);
    if (rc < 0) {
        mongo_close(&self->base);
        return rc;
    }
    *ret_store = &self->base;
    return 0;
}
