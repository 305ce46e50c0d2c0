/* What keeps a federation in order: the check-up, disk use, pruning. All asked of the host. */
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define KEEP_MAX 1000000000

static int
ask_host(struct rest_request *request, enum host_verb verb, json_t *input, struct fed_err *err)
{
    if (input == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "ask");
    }
    request->ask.verb = verb;
    request->ask.input = input;
    return REST_ASK;
}

int rest_doctor(struct rest_request *request, struct fed_err *err)
{
    return ask_host(request, HOST_DOCTOR, json_object(), err);
}

int rest_disk(struct rest_request *request, struct fed_err *err)
{
    return ask_host(request, HOST_DISK, json_object(), err);
}

/* {"keep":N, "keep_best":METRIC, "dry_run":bool} */
int rest_model_prune(struct rest_request *request, struct fed_err *err)
{
    json_t *body = NULL;
    const json_t *keep;
    const json_t *best;
    const json_t *dry;
    const int rc = rest_request_json(request, false, &body, err);

    if (rc < 0) {
        return rc;
    }
    keep = json_object_get(body, "keep");
    best = json_object_get(body, "keep_best");
    dry = json_object_get(body, "dry_run");
    if (!json_is_integer(keep) || json_integer_value(keep) < 1 ||
        json_integer_value(keep) > KEEP_MAX) {
        return fed_err_set(err, FED_E_INVALID, "keep must be a whole number from 1 on");
    }
    if (best != NULL && !json_is_null(best) &&
        (!json_is_string(best) || json_string_length(best) > REST_NAME_MAX)) {
        return fed_err_set(err, FED_E_INVALID, "keep_best must be a metric's name");
    }
    if (dry != NULL && !json_is_boolean(dry)) {
        return fed_err_set(err, FED_E_INVALID, "dry_run must be true or false");
    }
    return ask_host(request, HOST_PRUNE,
                    json_pack("{s:I,s:s,s:b}", "keep", json_integer_value(keep), "keep_best",
                              json_is_string(best) ? json_string_value(best) : "", "dry_run",
                              json_is_true(dry)),
                    err);
}
