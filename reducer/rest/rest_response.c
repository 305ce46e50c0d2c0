#include "reducer/rest/rest_response.h"

#include <stdio.h>
#include <string.h>

#include "reducer/rest/rest_static.h"
#include "reducer/rest/rest_stream.h"

/* A page loads what this server serves and nothing else, stands in nobody's frame, and tells nobody
 * its address. */
#define PAGE_POLICY \
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

static void drop_bytes(void *arg)
{
    rest_bytes_drop(arg);
}

static struct MHD_Response *
make_body(struct rest_answer *answer, struct feed *feed, struct MHD_Connection *connection)
{
    struct MHD_Response *response;

    if (answer->file != NULL) {
        return rest_static_new(connection, answer);
    }
    if (answer->is_stream) {
        return rest_stream_new(feed, connection, answer->has_after ? &answer->after_seq : NULL);
    }
    if (answer->fd >= 0) {
        response = MHD_create_response_from_fd64(answer->size_bytes, answer->fd);
        answer->fd = response == NULL ? answer->fd : -1;
        return response;
    }
    if (answer->kept != NULL) {
        response = MHD_create_response_from_buffer_with_free_callback_cls(
            answer->kept->size, answer->kept->data, drop_bytes, answer->kept);
        answer->kept = response == NULL ? answer->kept : NULL;
        return response;
    }
    if (answer->body.size == 0) {
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    }
    response = MHD_create_response_from_buffer(answer->body.size, answer->body.data,
                                               MHD_RESPMEM_MUST_FREE);
    if (response != NULL) {
        fed_buf_init(&answer->body, 0); /* the response frees it */
    }
    return response;
}

static void add(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value); /* no memory: an answer without it */
}

static void add_safety(struct MHD_Response *response, const char *type)
{
    add(response, "X-Content-Type-Options", "nosniff");
    if (strncmp(type, "text/html", 9) == 0) {
        add(response, "Content-Security-Policy", PAGE_POLICY);
        add(response, "X-Frame-Options", "DENY");
        add(response, "Referrer-Policy", "no-referrer");
    }
}

static void add_headers(const struct rest_answer *answer, struct MHD_Response *response)
{
    const char *type = answer->type == NULL ? "application/json" : answer->type;
    char text[REST_NAME_MAX + 64];

    add(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    add_safety(response, type);
    if (answer->file_name[0] != '\0') {
        (void)snprintf(text, sizeof(text), "attachment; filename=%s", answer->file_name);
        add(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, text);
    }
    if (answer->location != NULL) {
        add(response, MHD_HTTP_HEADER_LOCATION, answer->location);
    }
    if (answer->allow[0] != '\0') {
        add(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    }
    if (answer->etag[0] != '\0') {
        add(response, MHD_HTTP_HEADER_ETAG, answer->etag);
        add(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache"); /* kept, but asked for again */
    }
    if (answer->is_stream) {
        add(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
        add(response, "X-Accel-Buffering", "no");
        add(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    if (answer->status == 503) {
        add(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    }
}

struct MHD_Response *
rest_response_new(struct rest_answer *answer, struct feed *feed, struct MHD_Connection *connection)
{
    struct MHD_Response *response = make_body(answer, feed, connection);

    if (response != NULL) {
        add_headers(answer, response);
    }
    return response;
}
