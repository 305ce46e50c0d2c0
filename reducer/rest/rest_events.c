/* GET /api/v1/events/stream: server-sent events. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/rest/feed.h"
#include "reducer/rest/handlers.h"

/* The loop has begun to tell: the connection may listen. */
static int answer_stream(struct rest_request *request, struct fed_err *err)
{
    if (request->ask.status != 200) {
        return rest_answer_host(request, err);
    }
    request->answer.status = 200;
    request->answer.type = "text/event-stream";
    request->answer.is_stream = true;
    return 0;
}

/* Where a reader was. One that cannot be read is as good as one that is too old: a browser that is
 * refused would not come again. */
static uint64_t read_seq(const char *text)
{
    char *end = NULL;
    unsigned long long seq;

    errno = 0;
    seq = strtoull(text, &end, 10);
    return *text < '0' || *text > '9' || *end != '\0' || errno != 0 ? 0 : seq;
}

int rest_events_stream(struct rest_request *request, struct fed_err *err)
{
    /* A browser that comes again sends the header, and its old address. */
    const char *after = request->last_event_id[0] != '\0'
                            ? request->last_event_id
                            : rest_texts_find(&request->query, "after");

    if (request->shared->host->feed == NULL) {
        return rest_refuse(request, 503, "unavailable", err, "There are no events here");
    }
    request->answer.has_after = after != NULL;
    request->answer.after_seq = after == NULL ? 0 : read_seq(after);
    return rest_ask(request, HOST_LISTEN, json_object(), answer_stream, err);
}
