/* GET /api/v1/openapi.json: what this API is, for programs. tests/system/test_openapi.py holds it
 * against routes.c and against what the server answers. */
#include "reducer/rest/handlers.h"

static const unsigned char document[] = {
#include "reducer/rest/openapi.inc" /* made from openapi.json */
};

int rest_openapi(struct rest_request *request, struct fed_err *err)
{
    request->answer.status = 200;
    return fed_buf_add(&request->answer.body, document, sizeof(document), err);
}
