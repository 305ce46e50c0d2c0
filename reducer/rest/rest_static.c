#include "reducer/rest/rest_static.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "reducer/dashboard/dashboard.h"
#include "reducer/rest/rest_request.h"

static const char *header(struct MHD_Connection *connection, const char *name)
{
    const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);

    return text == NULL ? "" : text;
}

/* "gzip, br; q=0.5": is gzip among them, and not with q=0? */
static bool takes_gzip(struct MHD_Connection *connection)
{
    const char *at = strstr(header(connection, MHD_HTTP_HEADER_ACCEPT_ENCODING), "gzip");

    if (at == NULL) {
        return false;
    }
    at += strlen("gzip");
    at += strspn(at, " \t");
    if (*at != ';') {
        return true;
    }
    at++;
    at += strspn(at, " \t");
    return strncasecmp(at, "q=0", 3) != 0 || strtod(at + 2, NULL) > 0;
}

struct MHD_Response *rest_static_new(struct MHD_Connection *connection, struct rest_answer *answer)
{
    const struct dashboard_file *file = answer->file;
    const bool is_page = strcmp(file->name, DASHBOARD_PAGE) == 0;
    const bool is_known =
        strstr(header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH), file->etag) != NULL;
    const bool is_packed = takes_gzip(connection);
    const struct fed_view view = is_packed ? file->gzip : file->plain;
    /* The library's parameter is not const; with MHD_RESPMEM_PERSISTENT it only reads. */
    const union {
        const void *in;
        void *out;
    } bytes = {.in = view.data};
    struct MHD_Response *response;

    response = is_known
                   ? MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT)
                   : MHD_create_response_from_buffer(view.size, bytes.out, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return NULL;
    }
    answer->status = is_known ? 304 : 200;
    answer->size_bytes = is_known ? 0 : view.size;
    if (is_packed && !is_known) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, file->etag);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                                  is_page ? "no-cache" : "public, max-age=31536000, immutable");
    return response;
}
