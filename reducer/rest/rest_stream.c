#include "reducer/rest/rest_stream.h"

#include <stdlib.h>
#include <sys/socket.h>

#define SEND_SIZE  (32 * 1024) /* bytes the kernel keeps for a slow reader, twice with its own */
#define BLOCK_SIZE 512U /* bytes given to the library at a time, where it does not say itself */

struct stream {
    struct feed *feed;
    struct MHD_Connection *connection;
    struct feed_reader reader;
};

static void pause_connection(void *arg)
{
    const struct stream *stream = arg;

    MHD_suspend_connection(stream->connection);
}

static void wake_connection(void *arg)
{
    const struct stream *stream = arg;

    MHD_resume_connection(stream->connection);
}

static const struct feed_reader_ops ops = {pause_connection, wake_connection};

static ssize_t read_events(void *arg, uint64_t position, char *ret_bytes, size_t size_max)
{
    struct stream *stream = arg;
    const ptrdiff_t n = feed_read(stream->feed, &stream->reader, ret_bytes, size_max);

    (void)position;
    return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static void free_stream(void *arg)
{
    struct stream *stream = arg;

    feed_leave(stream->feed, &stream->reader);
    free(stream);
}

/* The kernel would let a reader that is behind have megabytes. */
static void bound_socket(struct MHD_Connection *connection)
{
    const int size = SEND_SIZE;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info != NULL) {
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
}

struct MHD_Response *
rest_stream_new(struct feed *feed, struct MHD_Connection *connection, const uint64_t *after_seq)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    struct MHD_Response *response = NULL;

    if (stream != NULL) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, read_events,
                                                     stream, free_stream);
    }
    if (response == NULL) {
        free(stream);
        return NULL;
    }
    stream->feed = feed;
    stream->connection = connection;
    stream->reader.ops = &ops;
    stream->reader.arg = stream;
    bound_socket(connection);
    feed_join(feed, &stream->reader, after_seq);
    return response;
}
