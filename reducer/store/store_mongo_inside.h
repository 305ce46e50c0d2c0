/* The MongoDB back end's parts: what its files share. Nobody else includes this.
 *
 *   store_mongo.c       the operations on one document
 *   store_mongo_many.c  many inserts at a time
 *   store_mongo_find.c  queries
 *   store_mongo_row.c   a document as BSON, and back
 *   store_mongo_link.c  the pool of connections: calls, their repetition, errors, indexes
 *   store_mongo_uri.c   the URI: defaults, bounds, credentials
 */
#ifndef REDUCER_STORE_STORE_MONGO_INSIDE_H
#define REDUCER_STORE_STORE_MONGO_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include <mongoc/mongoc.h>

#include "common/base/id.h"
#include "reducer/store/store_inside.h"

#define MONGO_DATABASE    "confed" /* where the URI's path names none */
#define MONGO_TOKEN_SIZE  64U
#define MONGO_UNSURE_MAX  256U /* writes whose outcome is unknown, kept until they are repeated */
#define MONGO_ATTEMPTS    16U  /* numbers tried where other writers take them */
#define MONGO_KEYS        64U
#define MONGO_TEXT_MAX    256U /* bytes of a text the server can look for */
#define MONGO_BLANKED_MAX 512U /* bytes of a URI in messages */

/* A write that may have been applied although it failed. */
struct mongo_unsure {
    char *key;     /* owned; NULL: free */
    uint64_t hash; /* of the document */
    enum store_collection in;
    char token[MONGO_TOKEN_SIZE];
};

struct store_mongo {
    struct store base;
    mongoc_uri_t *uri;
    char *database;
    char id[FED_UUID_SIZE];       /* of this handle; begins its tokens */
    char name[MONGO_BLANKED_MAX]; /* the URI without its credentials */
    atomic_uint_fast64_t n_tokens;
    atomic_bool is_set_up[STORE_COLLECTION_MAX];
    pthread_mutex_t keys[MONGO_KEYS];       /* a document's is held while it is written over */
    atomic_uint n_pool_tries;               /* tries to make the pool */
    pthread_mutex_t pool_lock;              /* of the following two; may be held for long */
    mongoc_client_pool_t *pool;             /* made by the first call; then constant */
    struct fed_err pool_err;                /* of the last try to make it */
    pthread_mutex_t lock;                   /* of what follows */
    int64_t newest[STORE_COLLECTION_MAX];   /* the greatest seq known; -1: not yet read */
    size_t n_inserts[STORE_COLLECTION_MAX]; /* since the last pruning */
    struct mongo_unsure unsure[MONGO_UNSURE_MAX];
    size_t next_unsure;
    struct {
        bool is_away;    /* the last call found no server, or lost it */
        bool is_probing; /* one call looks whether it is back; the others fail at once */
        struct fed_err err;
    } link;
};

/* One operation. The step may run twice: the second time is_repeated is set, and what the first
 * time wrote may have been applied. */
struct mongo_call {
    struct store_mongo *self;
    enum store_collection in;
    const char *what; /* "insert"; for messages */
    int (*step)(struct mongo_call *call, struct fed_err *err);
    void *arg;
    bool is_of_server; /* it asks the server itself: the collection's indexes need not be there */
    mongoc_collection_t *collection; /* set for the step */
    bool is_repeated;
    bool is_link_lost; /* it failed for want of a connection; set by mongo_fail() */
};

static inline struct store_mongo *mongo_self(struct store *store)
{
    return (struct store_mongo *)(void *)store;
}

struct mongo_row;

/* A write, in a step's argument. */
struct mongo_write {
    const char *key;
    const char *token;
    const struct mongo_row *row;
    uint64_t version;      /* replace: the one that is expected */
    int64_t committed_ms;  /* insert; 0: now */
    int64_t updated_ms;    /* 0: now */
    int64_t first_version; /* insert */
};

/* -- store_mongo.c */

/* The token of this write where it has been tried before, else a new one. */
void mongo_take_token(struct store_mongo *self,
                      enum store_collection in,
                      const char *key,
                      uint64_t hash,
                      char ret_token[MONGO_TOKEN_SIZE]);
void mongo_keep_token(struct store_mongo *self,
                      enum store_collection in,
                      const struct mongo_write *write);
/* The row of an insert as number `seq`. */
void mongo_encode_insert(const struct mongo_write *write, int64_t seq, bson_t *ret_row);
int mongo_step_insert(struct mongo_call *call, struct fed_err *err); /* call->arg: the write */

/* -- store_mongo_many.c */
int mongo_insert_many(struct store *store,
                      enum store_collection in,
                      json_t *const *documents,
                      size_t n,
                      int *outcomes,
                      struct fed_err *err);

/* -- store_mongo_uri.c */

/* The URI with its defaults, bounds and credentials. Fails with FED_E_INVALID. */
int mongo_uri_new(const struct store_config *config, mongoc_uri_t **ret_uri, struct fed_err *err);

/* -- store_mongo_link.c */

/* Run the step on a connection, a second time where the first one found no server or lost it.
 * Returns what the step did; FED_E_UNAVAILABLE: the server is away, try again. */
int mongo_run(struct mongo_call *call, struct fed_err *err);

/* What libmongoc said, as ours. */
int mongo_fail(struct mongo_call *call, const bson_error_t *error, struct fed_err *err);
/* Fails with FED_E_UNAVAILABLE where the reply says that no majority has what is there. libmongoc's
 * error tells of the documents that were refused, where there are any: what else is in the reply,
 * and what was there before, may be taken back yet. */
int mongo_check_concern(const struct mongo_call *call, const bson_t *reply, struct fed_err *err);
/* May a unique index have refused it? FerretDB says no more than "internal error" of an update. */
bool mongo_is_duplicate(const bson_error_t *error);

/* The next number in the order of insertion: see store_mongo.c. */
int mongo_seq_next(struct mongo_call *call, int64_t *ret_seq, struct fed_err *err);
/* It was not used: the next one takes it, unless one beyond it is given out already. */
void mongo_seq_return(struct mongo_call *call, int64_t seq);
/* It was taken: read again which is the newest. */
int mongo_seq_refresh(struct mongo_call *call, struct fed_err *err);
/* A capped collection: a document was added as number `seq`. */
void mongo_prune(struct mongo_call *call, int64_t seq);

/* -- store_mongo_row.c */

struct mongo_row {
    char *body;    /* JSON without the stamps; owned */
    bson_t *texts; /* "t": what the server can look for; owned */
    char *unique;  /* "u"; owned, NULL: this collection has none */
    uint64_t hash;
};

int mongo_row_init(struct mongo_row *row,
                   enum store_collection in,
                   const json_t *document,
                   struct fed_err *err);
void mongo_row_deinit(struct mongo_row *row);
/* body, t, u and the write's token */
void mongo_row_append(const struct mongo_row *row, const char *token, bson_t *fields);
int mongo_row_decode(const bson_t *from, json_t **ret_document, struct fed_err *err);

uint64_t mongo_hash(const char *text);

/* Can the server look for this text of a field at the top? Then *ret_text is what `t` holds. */
bool mongo_text_format(const char *field, const char *value, char ret_text[MONGO_TEXT_MAX]);

/* -- store_mongo_find.c */
int mongo_find(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               json_t **ret_documents,
               size_t *ret_n_matches,
               struct fed_err *err);
int mongo_each(struct store *store,
               enum store_collection in,
               const struct store_query *query,
               store_each_fn fn,
               void *arg,
               struct fed_err *err);
/* The first document that fits, whole or in part (projection: NULL, all); 0 or STORE_NOT_FOUND. */
int mongo_find_one(struct mongo_call *call,
                   const bson_t *filter,
                   const bson_t *options,
                   bson_t *ret_found,
                   struct fed_err *err);

/* -- store_mongo_about.c: store_ops' member of this name */
int mongo_about(struct store *store, struct store_about *ret_about, struct fed_err *err);

#endif /* REDUCER_STORE_STORE_MONGO_INSIDE_H */
