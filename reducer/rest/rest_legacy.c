/* FEDn's paths of old, and those that Confed does not serve. */
#include "reducer/rest/handlers.h"

int rest_gone(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 410, "gone", err,
                       "This endpoint is deprecated. Use the endpoints under /api/v1 instead.");
}

int rest_combiner_gone(struct rest_request *request, struct fed_err *err)
{
    return rest_answer_json(request, 410,
                            json_pack("{s:s,s:s,s:s,s:b}", "code", "gone", "message",
                                      "Combiners attach to the reducer's RPC port.", "status",
                                      "abort", "success", 0),
                            err);
}

int rest_no_graphql(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 501, "unsupported", err,
                       "There is no GraphQL here: GET /api/v1/<resource>/ and POST "
                       "/api/v1/<resource>/list filter, sort and page the same rows");
}

int rest_no_delete(struct rest_request *request, struct fed_err *err)
{
    return rest_refuse(request, 501, "unsupported", err, "Models are not deleted through REST");
}
