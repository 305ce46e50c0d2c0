/* What the server says of itself: its version and its clock. */
#include <stdio.h>

#include "reducer/store/store_mongo_inside.h"

/* Every database answers these; both need no rights. */
static int
run_command(struct mongo_call *call, const char *name, bson_t *ret_reply, struct fed_err *err)
{
    bson_t command = BSON_INITIALIZER;
    bson_error_t error;
    int rc = 0;

    if (!BSON_APPEND_INT32(&command, name, 1) ||
        !mongoc_collection_command_simple(call->collection, &command, NULL, ret_reply, &error)) {
        bson_destroy(ret_reply);
        rc = mongo_fail(call, &error, err);
    }
    bson_destroy(&command);
    return rc;
}

static int step_about(struct mongo_call *call, struct fed_err *err)
{
    struct store_about *about = call->arg;
    bson_t reply;
    bson_iter_t at;
    int rc = run_command(call, "buildInfo", &reply, err);

    if (rc < 0) {
        return rc;
    }
    if (bson_iter_init_find(&at, &reply, "version") && BSON_ITER_HOLDS_UTF8(&at)) {
        (void)snprintf(about->version, sizeof(about->version), "%s", bson_iter_utf8(&at, NULL));
    }
    bson_destroy(&reply);
    rc = run_command(call, "hello", &reply, err);
    if (rc < 0) {
        return rc;
    }
    if (bson_iter_init_find(&at, &reply, "localTime") && BSON_ITER_HOLDS_DATE_TIME(&at)) {
        about->clock_utc_ms = (uint64_t)bson_iter_date_time(&at);
    }
    bson_destroy(&reply);
    return 0;
}

int mongo_about(struct store *store, struct store_about *ret_about, struct fed_err *err)
{
    struct mongo_call call = {.self = mongo_self(store),
                              .in = STORE_FEDERATION,
                              .what = "ask about",
                              .step = step_about,
                              .is_of_server = true,
                              .arg = ret_about};

    return mongo_run(&call, err);
}
