/* Calls on the pool's connections.
 *
 *   mongo_run() ─▶ away, and somebody looks already? fail at once
 *      │            else: a connection, indexes at the collection's first use, the step
 *      └─ UNAVAILABLE within RETRY_MS: once more ─▶ no connection again: the server is away
 *
 * So while the server is away one call at a time waits for it, at most the URI's times, and no
 * thread of a caller's pool is lost to the others.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "reducer/store/store_mongo_inside.h"

#define RETRY_MS    4000U /* a call that has failed sooner is tried once more */
#define WTIMEOUT_MS 5000
#define PRUNE_PART  16 /* a capped collection grows by this part between two prunings */

/* Codes of the server: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
 */
enum {
    SAYS_INTERNAL_ERROR = 1,
    SAYS_HOST_UNREACHABLE = 6,
    SAYS_HOST_NOT_FOUND = 7,
    SAYS_MAX_TIME_EXPIRED = 50,
    SAYS_WRITE_CONCERN_FAILED = 64,
    SAYS_NETWORK_TIMEOUT = 89,
    SAYS_SHUTDOWN_IN_PROGRESS = 91,
    SAYS_PRIMARY_STEPPED_DOWN = 189,
    SAYS_EXCEEDED_TIME_LIMIT = 262,
    SAYS_SOCKET_EXCEPTION = 9001,
    SAYS_NOT_WRITABLE_PRIMARY = 10107,
    SAYS_BSON_OBJECT_TOO_LARGE = 10334,
    SAYS_DUPLICATE_KEY = 11000,
    SAYS_INTERRUPTED_AT_SHUTDOWN = 11600,
    SAYS_INTERRUPTED_BY_STEP_DOWN = 11602,
    SAYS_NOT_PRIMARY_NO_SECONDARY_OK = 13435,
    SAYS_NOT_PRIMARY_OR_SECONDARY = 13436,
};

/* -- errors -------------------------------------------------------------------------------------
 */

bool mongo_is_duplicate(const bson_error_t *error)
{
    return error->domain == MONGOC_ERROR_SERVER &&
           (error->code == SAYS_DUPLICATE_KEY || error->code == SAYS_INTERNAL_ERROR);
}

static bool is_passing(uint32_t code)
{
    static const uint32_t codes[] = {
        SAYS_HOST_UNREACHABLE,
        SAYS_HOST_NOT_FOUND,
        SAYS_MAX_TIME_EXPIRED,
        SAYS_WRITE_CONCERN_FAILED,
        SAYS_NETWORK_TIMEOUT,
        SAYS_SHUTDOWN_IN_PROGRESS,
        SAYS_PRIMARY_STEPPED_DOWN,
        SAYS_EXCEEDED_TIME_LIMIT,
        SAYS_SOCKET_EXCEPTION,
        SAYS_NOT_WRITABLE_PRIMARY,
        SAYS_INTERRUPTED_AT_SHUTDOWN,
        SAYS_INTERRUPTED_BY_STEP_DOWN,
        SAYS_NOT_PRIMARY_NO_SECONDARY_OK,
        SAYS_NOT_PRIMARY_OR_SECONDARY,
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

static enum fed_code code_of(const bson_error_t *error)
{
    switch (error->domain) {
    case MONGOC_ERROR_STREAM:
    case MONGOC_ERROR_SERVER_SELECTION:
    case MONGOC_ERROR_WRITE_CONCERN:
        return FED_E_UNAVAILABLE;
    case MONGOC_ERROR_SERVER:
        return is_passing(error->code)                     ? FED_E_UNAVAILABLE
               : error->code == SAYS_BSON_OBJECT_TOO_LARGE ? FED_E_LIMIT
                                                           : FED_E_IO;
    case MONGOC_ERROR_CLIENT: /* a connection lost while it said who it is */
        return error->code == MONGOC_ERROR_CLIENT_AUTHENTICATE &&
                       strstr(error->message, "socket") != NULL
                   ? FED_E_UNAVAILABLE
                   : FED_E_IO;
    case MONGOC_ERROR_BSON:
        return FED_E_LIMIT;
    default:
        return FED_E_IO;
    }
}

/* Was there no connection, or did it break? Then others need not try either. */
static bool is_of_link(const bson_error_t *error)
{
    return code_of(error) == FED_E_UNAVAILABLE && error->domain != MONGOC_ERROR_SERVER &&
           error->domain != MONGOC_ERROR_WRITE_CONCERN;
}

int mongo_fail(struct mongo_call *call, const bson_error_t *error, struct fed_err *err)
{
    call->is_link_lost = is_of_link(error);
    return fed_err_set(err, code_of(error), "MongoDB at %s: %s %s: %s", call->self->name,
                       call->what, store_collections[call->in].name, error->message);
}

int mongo_check_concern(const struct mongo_call *call, const bson_t *reply, struct fed_err *err)
{
    bson_iter_t it;
    bson_iter_t found;
    const char *message = "the write concern failed";

    if (!bson_iter_init_find(&it, reply, "writeConcernErrors")) {
        return 0;
    }
    if (bson_iter_init(&it, reply) &&
        bson_iter_find_descendant(&it, "writeConcernErrors.0.errmsg", &found) &&
        BSON_ITER_HOLDS_UTF8(&found)) {
        message = bson_iter_utf8(&found, NULL);
    }
    return fed_err_set(err, FED_E_UNAVAILABLE, "MongoDB at %s: %s %s: %s", call->self->name,
                       call->what, store_collections[call->in].name, message);
}

/* -- calls --------------------------------------------------------------------------------------
 */

/* May this call try? If so it must say how it ended, by leave(). */
static int enter(struct store_mongo *self, bool *ret_is_probe, struct fed_err *err)
{
    int rc = 0;

    (void)pthread_mutex_lock(&self->lock);
    *ret_is_probe = self->link.is_away && !self->link.is_probing;
    if (self->link.is_away && self->link.is_probing) {
        rc = fed_err_set(err, FED_E_UNAVAILABLE, "%s", self->link.err.msg);
    }
    self->link.is_probing = self->link.is_probing || *ret_is_probe;
    (void)pthread_mutex_unlock(&self->lock);
    return rc;
}

static void
leave(struct store_mongo *self, bool is_probe, bool is_link_lost, const struct fed_err *err)
{
    (void)pthread_mutex_lock(&self->lock);
    self->link.is_probing = self->link.is_probing && !is_probe;
    self->link.is_away = is_link_lost;
    if (is_link_lost) {
        self->link.err = *err;
    }
    (void)pthread_mutex_unlock(&self->lock);
}

/* The pool; the first call makes it. For a +srv that asks the DNS, as long as its resolver is
 * patient: one asks, and those that came meanwhile are told what it was told. */
static int take_pool(struct mongo_call *call, mongoc_client_pool_t **ret_pool, struct fed_err *err)
{
    struct store_mongo *self = call->self;
    bson_error_t error = {0};
    const unsigned n_tries = atomic_load(&self->n_pool_tries);
    int rc = 0;

    (void)pthread_mutex_lock(&self->pool_lock);
    if (self->pool == NULL && n_tries == atomic_load(&self->n_pool_tries)) {
        self->pool = mongoc_client_pool_new_with_error(self->uri, &error);
        if (self->pool == NULL) {
            (void)!fed_err_set(&self->pool_err, code_of(&error), "MongoDB at %s: %s", self->name,
                               error.message);
        } else {
            (void)mongoc_client_pool_set_error_api(self->pool, MONGOC_ERROR_API_VERSION_2);
        }
        (void)atomic_fetch_add(&self->n_pool_tries, 1);
    }
    *ret_pool = self->pool;
    if (self->pool == NULL) {
        call->is_link_lost = self->pool_err.code == FED_E_UNAVAILABLE;
        rc = fed_err_set(err, self->pool_err.code, "%s", self->pool_err.msg);
    }
    (void)pthread_mutex_unlock(&self->pool_lock);
    return rc;
}

static int make_index(struct mongo_call *call,
                      mongoc_client_t *client,
                      const char *name,
                      bson_t *key,
                      struct fed_err *err)
{
    const char *collection = store_collections[call->in].name;
    const bool is_unique = strcmp(name, "t_1") != 0;
    bson_error_t error = {0};
    bson_t *command = BCON_NEW("createIndexes", BCON_UTF8(collection), "indexes", "[", "{", "key",
                               BCON_DOCUMENT(key), "name", BCON_UTF8(name), "unique",
                               BCON_BOOL(is_unique), "}", "]");
    const bool is_done =
        mongoc_client_command_simple(client, call->self->database, command, NULL, NULL, &error);

    bson_destroy(command);
    bson_destroy(key);
    call->is_link_lost = !is_done && is_of_link(&error);
    return is_done ? 0
                   : fed_err_set(err, code_of(&error), "MongoDB at %s: index of %s: %s",
                                 call->self->name, collection, error.message);
}

/* The collection's indexes, at its first use, one a command (FerretDB breaks on two that are
 * there). Idempotent: two calls at a time do no harm. */
static int set_up(struct mongo_call *call, mongoc_client_t *client, struct fed_err *err)
{
    struct store_mongo *self = call->self;
    int rc;

    if (atomic_load(&self->is_set_up[call->in])) {
        return 0;
    }
    rc = make_index(call, client, "seq_1", BCON_NEW("seq", BCON_INT32(1)), err);
    if (rc == 0) {
        rc = make_index(call, client, "t_1", BCON_NEW("t", BCON_INT32(1), "seq", BCON_INT32(1)),
                        err);
    }
    if (rc == 0 && store_collections[call->in].unique[0] != NULL) {
        rc = make_index(call, client, "u_1", BCON_NEW("u", BCON_INT32(1)), err);
    }
    if (rc == 0) {
        atomic_store(&self->is_set_up[call->in], true);
    }
    return rc;
}

/* What is capped is telling, not state: one member of a replica set that has it is enough. */
static void set_concern(const struct mongo_call *call)
{
    mongoc_write_concern_t *concern = mongoc_write_concern_new();

    if (store_collections[call->in].documents_max > 0) {
        mongoc_write_concern_set_w(concern, 1);
    } else {
        mongoc_write_concern_set_wmajority(concern, WTIMEOUT_MS);
    }
    mongoc_collection_set_write_concern(call->collection, concern);
    mongoc_write_concern_destroy(concern);
}

static int run_once(struct mongo_call *call, mongoc_client_pool_t *pool, struct fed_err *err)
{
    struct store_mongo *self = call->self;
    mongoc_client_t *client = mongoc_client_pool_pop(pool);
    int rc;

    if (client == NULL) {
        return fed_err_set(err, FED_E_UNAVAILABLE, "MongoDB at %s: all connections are in use",
                           self->name);
    }
    rc = call->is_of_server ? 0 : set_up(call, client, err);
    if (rc == 0) {
        call->collection =
            mongoc_client_get_collection(client, self->database, store_collections[call->in].name);
        set_concern(call);
        rc = call->step(call, err);
        mongoc_collection_destroy(call->collection);
        call->collection = NULL;
    }
    mongoc_client_pool_push(pool, client);
    return rc;
}

int mongo_run(struct mongo_call *call, struct fed_err *err)
{
    const uint64_t began_ms = fed_clock_mono_ms();
    mongoc_client_pool_t *pool = NULL;
    struct fed_err local = {0};
    bool is_probe = false;
    int rc = enter(call->self, &is_probe, &local);

    if (rc == 0) {
        rc = take_pool(call, &pool, &local);
        rc = rc < 0 ? rc : run_once(call, pool, &local);
        if (pool != NULL && rc == -FED_E_UNAVAILABLE && fed_clock_mono_ms() - began_ms < RETRY_MS) {
            call->is_repeated = true;
            call->is_link_lost = false;
            rc = run_once(call, pool, &local);
        }
        leave(call->self, is_probe, rc < 0 && call->is_link_lost, &local);
    }
    if (rc < 0 && err != NULL) {
        *err = local;
    }
    return rc;
}

/* -- the order of insertion ---------------------------------------------------------------------
 */

int mongo_seq_refresh(struct mongo_call *call, struct fed_err *err)
{
    struct store_mongo *self = call->self;
    bson_t *options = BCON_NEW("sort", "{", "seq", BCON_INT32(-1), "}", "projection", "{", "seq",
                               BCON_INT32(1), "}");
    bson_t none = BSON_INITIALIZER;
    bson_t found = BSON_INITIALIZER;
    bson_iter_t it;
    int64_t newest = 0;
    const int rc = mongo_find_one(call, &none, options, &found, err);

    if (rc == 0 && bson_iter_init_find(&it, &found, "seq")) {
        newest = bson_iter_as_int64(&it);
    }
    if (rc >= 0) {
        (void)pthread_mutex_lock(&self->lock);
        if (newest > self->newest[call->in]) {
            self->newest[call->in] = newest;
        }
        (void)pthread_mutex_unlock(&self->lock);
    }
    bson_destroy(&found);
    bson_destroy(&none);
    bson_destroy(options);
    return rc < 0 ? rc : 0;
}

int mongo_seq_next(struct mongo_call *call, int64_t *ret_seq, struct fed_err *err)
{
    struct store_mongo *self = call->self;
    int64_t seq = 0;
    bool is_known;

    for (int i = 0; i < 2; i++) {
        (void)pthread_mutex_lock(&self->lock);
        is_known = self->newest[call->in] >= 0;
        if (is_known) {
            seq = ++self->newest[call->in];
        }
        (void)pthread_mutex_unlock(&self->lock);
        if (is_known) {
            *ret_seq = seq;
            return 0;
        }
        const int rc = mongo_seq_refresh(call, err);
        if (rc < 0) {
            return rc;
        }
    }
    return fed_err_set(err, FED_E_INTERNAL, "the newest number of %s is not known",
                       store_collections[call->in].name);
}

void mongo_seq_return(struct mongo_call *call, int64_t seq)
{
    struct store_mongo *self = call->self;

    (void)pthread_mutex_lock(&self->lock);
    if (self->newest[call->in] == seq) {
        self->newest[call->in] = seq - 1;
    }
    (void)pthread_mutex_unlock(&self->lock);
}

void mongo_prune(struct mongo_call *call, int64_t seq)
{
    struct store_mongo *self = call->self;
    const size_t documents_max = store_collections[call->in].documents_max;
    bool is_due;
    bson_t *filter;

    if (documents_max == 0 || seq <= (int64_t)documents_max) {
        return; /* nothing is as old */
    }
    (void)pthread_mutex_lock(&self->lock);
    is_due = ++self->n_inserts[call->in] > documents_max / PRUNE_PART;
    if (is_due) {
        self->n_inserts[call->in] = 0;
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (is_due) { /* where it fails, the next one takes more */
        filter = BCON_NEW("seq", "{", "$lte", BCON_INT64(seq - (int64_t)documents_max), "}");
        (void)mongoc_collection_delete_many(call->collection, filter, NULL, NULL, NULL);
        bson_destroy(filter);
    }
}
