/* Many inserts in one message. What the server refuses of them is tried again one by one, so that
 * each ends as a single insert would.
 */
#include <stdlib.h>
#include <string.h>

#include "reducer/store/store_mongo_inside.h"

struct one {
    struct mongo_write write;
    struct mongo_row row;
    char token[MONGO_TOKEN_SIZE];
    int64_t seq;
    bson_t *encoded; /* during the step */
    int *outcome;    /* borrowed */
    bool is_refused; /* of the message, by the server */
};

struct many {
    struct one *ones; /* (n,) */
    size_t n;
};

static int encode_all(struct mongo_call *call, struct fed_err *err)
{
    struct many *many = call->arg;
    int rc = 0;

    for (size_t i = 0; i < many->n && rc == 0; i++) {
        struct one *one = &many->ones[i];
        one->is_refused = false;
        one->encoded = bson_new();
        rc = mongo_seq_next(call, &one->seq, err);
        mongo_encode_insert(&one->write, one->seq, one->encoded);
    }
    return rc;
}

/* Mark what the reply's writeErrors name. */
static size_t mark_refused(struct many *many, const bson_t *reply)
{
    bson_iter_t it;
    bson_iter_t errors;
    bson_iter_t field;
    size_t n = 0;

    if (!bson_iter_init_find(&it, reply, "writeErrors") || !bson_iter_recurse(&it, &errors)) {
        return 0;
    }
    while (bson_iter_next(&errors)) {
        if (bson_iter_recurse(&errors, &field) && bson_iter_find(&field, "index")) {
            const int64_t index = bson_iter_as_int64(&field);
            if (index >= 0 && (uint64_t)index < many->n) {
                many->ones[index].is_refused = true;
                n++;
            }
        }
    }
    return n;
}

static int send_all(struct mongo_call *call, struct fed_err *err)
{
    struct many *many = call->arg;
    const bson_t **rows = calloc(many->n, sizeof(const bson_t *));
    bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
    bson_t reply = BSON_INITIALIZER;
    bson_error_t error = {0};
    int rc = 0;

    for (size_t i = 0; rows != NULL && i < many->n; i++) {
        rows[i] = many->ones[i].encoded;
    }
    if (rows == NULL) {
        rc = fed_err_set(err, FED_E_NOMEM, "insert");
    } else if (!mongoc_collection_insert_many(call->collection, rows, many->n, options, &reply,
                                              &error) &&
               (error.domain != MONGOC_ERROR_SERVER || mark_refused(many, &reply) == 0)) {
        rc = mongo_fail(call, &error, err);
    } else {
        rc = mongo_check_concern(call, &reply, err); /* of those that were not refused */
    }
    bson_destroy(&reply);
    bson_destroy(options);
    free(rows);
    return rc;
}

static int settle(struct mongo_call *call, struct one *one, struct fed_err *err)
{
    struct mongo_call single = *call;
    int rc = 0;

    if (!one->is_refused) {
        mongo_prune(call, one->seq);
    } else {
        single.arg = &one->write;
        rc = mongo_step_insert(&single, err);
        call->is_link_lost = single.is_link_lost;
    }
    *one->outcome = rc;
    return rc < 0 && !store_is_of_document(rc) ? rc : 0;
}

static int step_insert_many(struct mongo_call *call, struct fed_err *err)
{
    struct many *many = call->arg;
    int rc = encode_all(call, err);

    rc = rc < 0 ? rc : send_all(call, err);
    for (size_t i = 0; i < many->n; i++) {
        bson_destroy(many->ones[i].encoded);
        many->ones[i].encoded = NULL;
        rc = rc < 0 ? rc : settle(call, &many->ones[i], err);
    }
    return rc;
}

/* 0, or the outcome of a document that cannot be stored. */
static int
init_one(struct mongo_call *call, struct one *one, const json_t *document, struct fed_err *err)
{
    const int rc = mongo_row_init(&one->row, call->in, document, err);

    if (rc == 0) {
        one->write = (struct mongo_write){.key = store_document_key(call->in, document),
                                          .token = one->token,
                                          .row = &one->row,
                                          .first_version = 1};
        mongo_take_token(call->self, call->in, one->write.key, one->row.hash, one->token);
    }
    return rc;
}

int mongo_insert_many(struct store *store,
                      enum store_collection in,
                      json_t *const *documents,
                      size_t n,
                      int *outcomes,
                      struct fed_err *err)
{
    struct many many = {.ones = calloc(n + 1, sizeof(struct one))};
    struct mongo_call call = {.self = mongo_self(store),
                              .in = in,
                              .what = "insert into",
                              .step = step_insert_many,
                              .arg = &many};
    int rc = many.ones == NULL ? fed_err_set(err, FED_E_NOMEM, "insert") : 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct one *one = &many.ones[many.n];
        if (outcomes[i] == 0) {
            outcomes[i] = init_one(&call, one, documents[i], err);
            rc = store_is_of_document(outcomes[i]) ? 0 : outcomes[i];
            one->outcome = &outcomes[i];
            many.n += outcomes[i] == 0 ? 1 : 0;
        }
    }
    if (rc == 0 && many.n > 0) {
        rc = mongo_run(&call, err);
    }
    for (size_t i = 0; i < many.n; i++) {
        if (rc == -FED_E_UNAVAILABLE) {
            mongo_keep_token(call.self, in, &many.ones[i].write);
        }
        mongo_row_deinit(&many.ones[i].row);
    }
    free(many.ones);
    return rc;
}
