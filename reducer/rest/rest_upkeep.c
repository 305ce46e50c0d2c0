/* What keeps a federation in order: the check-up, disk use, pruning. All asked of the host. */
#include "reducer/rest/handlers.h"
#include "reducer/rest/rest_json.h"

#define KEEP_MAX 1000000000

int rest_doctor(struct rest_request *request, struct fed_err *err)
{
    return rest_ask(request, HOST_DOCTOR, json_object(), NULL, err);
}

int rest_disk(struct rest_request *request, struct fed_err *err)
{
    return rest_ask(request, HOST_DISK, json_object(), NULL, err);
}

/* {"keep":N, "keep_best":METRIC, "dry_run":bool} */
int rest_model_prune(struct rest_request *request, struct fed_err *err)
{
    static const int64_t range[2] = {1, KEEP_MAX};
    json_t *body = NULL;
    const char *best = NULL;
    int64_t keep = 0;
    bool is_dry = false;
    int rc = rest_request_json(request, false, &body, err);

    rc = rc < 0 ? rc : rest_json_integer(body, "keep", range, &keep, err);
    rc = rc < 0 ? rc : rest_json_text(body, "keep_best", REST_NAME_MAX, &best, err);
    rc = rc < 0 ? rc : rest_json_flag(body, "dry_run", &is_dry, err);
    /* What removes files takes nothing for a number that is none: no "2", no 2.0. */
    if (rc == 0 && !json_is_integer(json_object_get(body, "keep"))) {
        rc = fed_err_set(err, FED_E_INVALID, "keep must be a whole number from 1 on");
    }
    return rc < 0 ? rc
                  : rest_ask(request, HOST_PRUNE,
                             json_pack("{s:I,s:s,s:b}", "keep", (json_int_t)keep, "keep_best",
                                       best == NULL ? "" : best, "dry_run", is_dry),
                             NULL, err);
}
