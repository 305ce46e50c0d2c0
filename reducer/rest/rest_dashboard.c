/* The dashboard: one page at each of its addresses, and its files. */
#include <stdlib.h>
#include <string.h>

#include "reducer/dashboard/dashboard.h"
#include "reducer/rest/handlers.h"

#define FILES "/dashboard/files/"

static int
answer_file(struct rest_request *request, const struct dashboard_file *file, struct fed_err *err)
{
    if (file == NULL) {
        return rest_refuse(request, 404, "no_path", err,
                           "The requested URL was not found on the server");
    }
    request->answer.status = 200;
    request->answer.type = file->type;
    request->answer.file = file;
    return 0;
}

/* The address says which page it is: the page's own code reads it. */
int rest_dashboard_page(struct rest_request *request, struct fed_err *err)
{
    return answer_file(request, dashboard_find(DASHBOARD_PAGE), err);
}

/* Below another build's hash there is nothing: its pages are asked for anew. */
int rest_dashboard_file(struct rest_request *request, struct fed_err *err)
{
    const char *build = dashboard_build();
    const char *at = request->path + strlen(FILES);
    const size_t n = strlen(build);

    if (strncmp(at, build, n) != 0 || at[n] != '/') {
        return answer_file(request, NULL, err);
    }
    return answer_file(request, dashboard_find(at + n + 1), err);
}

int rest_dashboard_home(struct rest_request *request, struct fed_err *err)
{
    request->answer.status = 302;
    request->answer.type = "text/plain; charset=utf-8";
    request->answer.location = strdup("/dashboard/");
    return request->answer.location == NULL ? fed_err_set(err, FED_E_NOMEM, "answer") : 0;
}
