/* The active compute package: what remote clients run. */
#ifndef REDUCER_REST_REST_PACKAGE_H
#define REDUCER_REST_REST_PACKAGE_H

#include "common/base/err.h"
#include "reducer/rest/rest_request.h"

/* The helper we have; what else FEDn knows is refused by name. */
#define REST_HELPER "numpyhelper"

/* Its document, the caller's; NULL where none is active. Worker. */
FED_NODISCARD int
rest_package_load_active(struct rest_request *request, json_t **ret_document, struct fed_err *err);

#endif /* REDUCER_REST_REST_PACKAGE_H */
