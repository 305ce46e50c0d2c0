#include "common/rpc/rpc_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <grpc/grpc_posix.h>

#include "common/base/strmap.h"
#include "common/rpc/rpc_inside.h"

#define PREARM          16  /* calls of one method that may arrive between two turns of the loop */
#define METHODS_MAX     64  /* in a table */
#define SHORTAGE_MS     100 /* before accepting is tried again without descriptors */
#define FD_MAX          65536 /* connections we accept ourselves are known by their descriptor */
#define CONNECTIONS_MAX 16384 /* remembered peers without a live call */

struct request { /* one armed request_call */
    struct fed_rpc_server *server;
    const struct fed_rpc_method *method; /* NULL: any other method */
    void *registered;
    struct rpc_op op;
    grpc_call *call;
    grpc_byte_buffer *payload;
    grpc_metadata_array metadata;
    grpc_call_details details;
    gpr_timespec deadline;
};

struct connection {
    uint64_t number;
};

struct accepted { /* by descriptor; written by the accept thread before gRPC knows of the socket */
    _Atomic uint64_t number;
    char ip[46];
};

struct fed_rpc_server {
    struct fed_rpc *rpc; /* borrowed */
    struct fed_rpc_server_config config;
    grpc_server *server;
    void *arg;
    uint16_t port;
    struct fed_list calls;
    unsigned n_calls;
    struct request *requests; /* (n_requests,) owned */
    size_t n_requests;
    size_t n_armed;
    struct fed_strmap connections; /* peer → struct connection, owned */
    _Atomic uint64_t next_connection;
    struct rpc_op op_shutdown;
    bool is_closed;
    bool is_shut; /* gRPC's shutdown has completed */
    fed_event_fn stopped;
    void *stopped_arg;
    struct fed_event settled;
    struct { /* fd:N only */
        int listen_fd;
        int wake_fd;
        pthread_t thread;
        bool is_running;
        struct accepted *by_fd; /* (FD_MAX,) owned */
        grpc_server_credentials *credentials;
    } own;
};

static void arm(struct request *request);

/* -- who is calling ---------------------------------------------------------------------------- */

/* "ipv4:127.0.0.1:4242", "ipv6:%5B::1%5D:4242", "ipv6:[::1]:4242" → the address alone. */
static void parse_ip(const char *peer, char *ret_ip, size_t size)
{
    const char *start = strchr(peer, ':');
    const char *end = strrchr(peer, ':');
    size_t n;

    ret_ip[0] = '\0';
    if (start == NULL || end == NULL || end <= start) {
        return;
    }
    start++;
    if (strncmp(start, "%5B", 3) == 0) {
        start += 3;
        end = end - start > 3 ? end - 3 : end;
    } else if (*start == '[') {
        start++;
        end--;
    }
    n = end > start ? (size_t)(end - start) : 0;
    n = n < size ? n : size - 1;
    memcpy(ret_ip, start, n);
    ret_ip[n] = '\0';
}

static void forget_connections(struct fed_rpc_server *server)
{
    struct connection *connection;
    size_t cursor = 0;

    while ((connection = fed_strmap_next(&server->connections, &cursor, NULL)) != NULL) {
        free(connection);
    }
    fed_strmap_deinit(&server->connections);
}

static uint64_t find_connection(struct fed_rpc_server *server, const char *peer)
{
    struct connection *connection = fed_strmap_find(&server->connections, peer);

    if (connection != NULL) {
        return connection->number;
    }
    if (server->connections.n_items >= CONNECTIONS_MAX) {
        forget_connections(server); /* known peers get new numbers: their next TaskStream tells */
    }
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        return 0;
    }
    connection->number = atomic_fetch_add(&server->next_connection, 1) + 1;
    if (fed_strmap_put(&server->connections, peer, connection, NULL, NULL) < 0) {
        free(connection);
        return 0;
    }
    return connection->number;
}

static void identify(struct fed_rpc_server *server, struct fed_rpc_call *call)
{
    char *peer = grpc_call_get_peer(call->call);
    long fd = -1;

    if (strncmp(peer, "fd:", 3) == 0) {
        fd = strtol(peer + 3, NULL, 10);
    }
    if (fd >= 0 && fd < FD_MAX && server->own.by_fd != NULL) {
        call->connection = atomic_load(&server->own.by_fd[fd].number);
        memcpy(call->ip, server->own.by_fd[fd].ip, sizeof(server->own.by_fd[fd].ip));
    } else {
        call->connection = find_connection(server, peer);
        parse_ip(peer, call->ip, sizeof(call->ip));
    }
    gpr_free(peer);
}

/* -- calls ---------------------------------------------------------------------------------------
 */

static void look_settled(struct fed_rpc_server *server)
{
    if (server->stopped != NULL && server->is_shut && server->n_calls == 0 &&
        server->n_armed == 0) {
        const fed_event_fn stopped = server->stopped;
        server->stopped = NULL;
        fed_event_init(&server->settled, stopped, server->stopped_arg);
        fed_loop_post(server->rpc->loop, &server->settled);
    }
}

static void call_freed(void *owner, struct fed_rpc_call *call)
{
    struct fed_rpc_server *server = owner;

    (void)call;
    server->n_calls--;
    look_settled(server);
}

/* Turn what has arrived into a call; NULL when there is no memory for it. */
static struct fed_rpc_call *make_call(struct request *request)
{
    struct fed_rpc_server *server = request->server;
    struct fed_rpc_call *call = rpc_call_new(server->rpc, &server->calls, true);
    grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    if (call == NULL) {
        grpc_call_unref(request->call);
        grpc_metadata_array_destroy(&request->metadata);
        return NULL;
    }
    call->call = request->call;
    call->metadata = request->metadata;
    call->on_freed = call_freed;
    call->on_freed_arg = server;
    server->n_calls++;
    fed_list_add(&server->calls, &call->link);
    identify(server, call);
    close.data.recv_close_on_server.cancelled = &call->is_cancelled;
    (void)rpc_call_batch(call, &close, 1, &call->op_end);
    return call;
}

static void send_initial(struct fed_rpc_call *call)
{
    const grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};

    if (!call->is_initial_sent && !call->is_send_end && !call->is_ended) {
        call->is_initial_sent = true;
        call->is_message_sent = false;
        (void)rpc_call_batch(call, &op, 1, &call->op_send);
    }
}

static void dispatch(struct fed_rpc_server *server,
                     const struct fed_rpc_method *method,
                     struct fed_rpc_call *call,
                     grpc_byte_buffer *payload)
{
    struct fed_rpc_in *in = NULL;

    if (method == NULL) {
        fed_rpc_call_finish(call, server->config.unknown_status, server->config.unknown_detail);
    } else if (server->is_closed) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "shutting down");
    } else if (server->n_calls > server->config.calls_max) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "too many calls: try again later");
    } else if (!method->is_request_streamed && payload == NULL) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "the request did not arrive");
    } else {
        if (payload != NULL) {
            in = rpc_in_new(payload);
            payload = NULL;
        }
        if (in == NULL && !method->is_request_streamed) {
            fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "out of memory");
        } else {
            method->fn(call, in, server->arg);
            if (method->is_response_streamed) {
                send_initial(call);
            }
        }
    }
    if (payload != NULL) {
        grpc_byte_buffer_destroy(payload);
    }
}

static void on_request(void *arg)
{
    struct request *request = arg;
    struct fed_rpc_server *server = request->server;
    const struct fed_rpc_method *method = request->method;
    grpc_byte_buffer *payload = request->payload;
    struct fed_rpc_call *call = NULL;

    request->op.is_busy = false;
    server->n_armed--;
    if (!request->op.is_ok) { /* the server is shutting down */
        grpc_metadata_array_destroy(&request->metadata);
        grpc_call_details_destroy(&request->details);
        look_settled(server);
        return;
    }
    call = make_call(request);
    grpc_call_details_destroy(&request->details);
    arm(request);
    if (call != NULL) {
        dispatch(server, method, call, payload);
    } else if (payload != NULL) {
        grpc_byte_buffer_destroy(payload);
    }
}

static void arm(struct request *request)
{
    struct fed_rpc_server *server = request->server;
    grpc_completion_queue *queue = server->rpc->queue;
    grpc_call_error rc;

    request->call = NULL;
    request->payload = NULL;
    grpc_metadata_array_init(&request->metadata);
    grpc_call_details_init(&request->details);
    if (server->is_closed) {
        return;
    }
    request->op.is_busy = true;
    server->n_armed++;
    RPC_PUBLISH(&request->op);
    if (request->method == NULL) {
        rc = grpc_server_request_call(server->server, &request->call, &request->details,
                                      &request->metadata, queue, queue, &request->op);
    } else {
        rc = grpc_server_request_registered_call(
            server->server, request->registered, &request->call, &request->deadline,
            &request->metadata, request->method->is_request_streamed ? NULL : &request->payload,
            queue, queue, &request->op);
    }
    if (rc != GRPC_CALL_OK) {
        request->op.is_busy = false;
        server->n_armed--;
    }
}

/* -- sockets we accept ourselves ------------------------------------------------------------------
 */

static void
note_accepted(struct fed_rpc_server *server, int fd, const struct sockaddr_storage *from)
{
    struct accepted *accepted = &server->own.by_fd[fd];
    const void *address = from->ss_family == AF_INET6
                              ? (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr
                              : (const void *)&((const struct sockaddr_in *)from)->sin_addr;

    if ((from->ss_family != AF_INET && from->ss_family != AF_INET6) ||
        inet_ntop(from->ss_family, address, accepted->ip, sizeof(accepted->ip)) == NULL) {
        accepted->ip[0] = '\0';
    }
    atomic_store(&accepted->number, atomic_fetch_add(&server->next_connection, 1) + 1);
}

static void accept_one(struct fed_rpc_server *server)
{
    struct sockaddr_storage from = {0};
    socklen_t size = sizeof(from);
    const int one = 1;
    const int fd = accept(server->own.listen_fd, (struct sockaddr *)&from, &size);

    if (fd < 0) {
        /* The peer went away, or another process took it. Short of descriptors, poll() would come
         * back at once for as long as that lasts: wait a moment, but not for our own end. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)poll(&(struct pollfd){server->own.wake_fd, POLLIN, 0}, 1, SHORTAGE_MS);
        }
        return;
    }
    if (fd >= FD_MAX || (server->config.connections_max > 0 &&
                         (uint32_t)fd > server->config.connections_max + 64U)) {
        (void)close(fd);
        return;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    note_accepted(server, fd, &from);
    grpc_server_add_channel_from_fd(server->server, fd, server->own.credentials);
}

static void *run_accept(void *arg)
{
    struct fed_rpc_server *server = arg;
    struct pollfd fds[2] = {{server->own.listen_fd, POLLIN, 0}, {server->own.wake_fd, POLLIN, 0}};

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return NULL;
        }
        if ((fds[1].revents & POLLIN) != 0) {
            return NULL;
        }
        if ((fds[0].revents & POLLIN) != 0) {
            accept_one(server);
        }
    }
}

static void stop_accepting(struct fed_rpc_server *server)
{
    const uint64_t one = 1;

    if (server->own.is_running) {
        if (write(server->own.wake_fd, &one, sizeof(one)) == sizeof(one)) {
            (void)pthread_join(server->own.thread, NULL);
        }
        server->own.is_running = false;
    }
}

static int listen_fd(struct fed_rpc_server *server, const char *text, struct fed_err *err)
{
    char *end = NULL;
    const long fd = strtol(text, &end, 10);
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    int is_listening = 0;
    socklen_t option_size = sizeof(is_listening);

    if (end == text || *end != '\0' || fd < 0 || fd >= FD_MAX ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &option_size) != 0 ||
        is_listening == 0 || getsockname((int)fd, (struct sockaddr *)&address, &size) != 0) {
        return fed_err_set(err, FED_E_INVALID, "fd:%s is not a listening socket we were given",
                           text);
    }
    /* Another process may take the connection that poll() told us of. */
    (void)fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
    server->port =
        ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                            : ((struct sockaddr_in *)&address)->sin_port);
    server->own.listen_fd = (int)fd;
    server->own.wake_fd = eventfd(0, EFD_CLOEXEC);
    server->own.by_fd = calloc(FD_MAX, sizeof(*server->own.by_fd));
    server->own.credentials = grpc_insecure_server_credentials_create();
    if (server->own.wake_fd < 0 || server->own.by_fd == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "cannot accept on fd:%s", text);
    }
    return 0;
}

static int listen_address(struct fed_rpc_server *server, struct fed_err *err)
{
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    const int port = grpc_server_add_http2_port(server->server, server->config.listen, credentials);

    grpc_server_credentials_release(credentials);
    if (port <= 0) {
        return fed_err_set(err, FED_E_IO,
                           "cannot listen on %s: the port is taken, or the address is not ours",
                           server->config.listen);
    }
    server->port = (uint16_t)port;
    return 0;
}

/* -- life cycle
 * ------------------------------------------------------------------------------------ */

static void fill_args(struct rpc_args *args,
                      const struct fed_rpc_server_config *config,
                      grpc_resource_quota *quota)
{
    rpc_args_init(args);
    rpc_args_int(args, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, config->message_size_max);
    rpc_args_int(args, GRPC_ARG_ALLOW_REUSEPORT, 0);
    /* A stream that nobody reads holds 64 KiB, not the megabytes that probing would allow it: else
     * a few stalled peers use up the quota, and gRPC ends other people's calls to get memory back.
     */
    rpc_args_int(args, GRPC_ARG_HTTP2_BDP_PROBE, 0);
    /* What is compressed is refused (rpc_message.c), not inflated first: that has no bound. */
    rpc_args_int(args, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    rpc_args_int(args, GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    rpc_args_int(args, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
    rpc_args_int(args, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    if (config->keepalive_ms > 0) {
        rpc_args_int(args, GRPC_ARG_KEEPALIVE_TIME_MS, config->keepalive_ms);
        rpc_args_int(args, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, config->keepalive_timeout_ms);
        rpc_args_int(args, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    }
    rpc_args_pointer(args, GRPC_ARG_RESOURCE_QUOTA, quota, grpc_resource_quota_arg_vtable());
}

static void on_shutdown(void *arg)
{
    struct fed_rpc_server *server = arg;

    server->op_shutdown.is_busy = false;
    server->is_shut = true;
    look_settled(server);
}

static int start(struct fed_rpc_server *server,
                 const struct fed_rpc_method *methods,
                 size_t n_methods,
                 struct fed_err *err)
{
    size_t n = 0;

    server->requests = calloc((n_methods + 1) * PREARM, sizeof(*server->requests));
    if (server->requests == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "server");
    }
    for (size_t i = 0; i <= n_methods; i++) {
        const struct fed_rpc_method *method = i < n_methods ? &methods[i] : NULL;
        void *registered =
            method == NULL
                ? NULL
                : grpc_server_register_method(server->server, method->path, NULL,
                                              method->is_request_streamed
                                                  ? GRPC_SRM_PAYLOAD_NONE
                                                  : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER,
                                              0);
        for (size_t k = 0; k < PREARM; k++, n++) {
            server->requests[n].server = server;
            server->requests[n].method = method;
            server->requests[n].registered = registered;
            rpc_op_init(&server->requests[n].op, on_request, &server->requests[n]);
        }
    }
    grpc_server_start(server->server);
    server->n_requests = n;
    for (size_t i = 0; i < n; i++) {
        arm(&server->requests[i]);
    }
    if (server->own.by_fd != NULL) {
        server->own.is_running = pthread_create(&server->own.thread, NULL, run_accept, server) == 0;
    }
    return 0;
}

static void destroy(struct fed_rpc_server *server)
{
    grpc_server_destroy(server->server);
    forget_connections(server);
    if (server->own.credentials != NULL) {
        grpc_server_credentials_release(server->own.credentials);
    }
    if (server->own.wake_fd > 0) {
        (void)close(server->own.wake_fd);
    }
    free(server->own.by_fd);
    free(server->requests);
    free(server);
}

int fed_rpc_server_new(struct fed_rpc *rpc,
                       const struct fed_rpc_server_config *config,
                       const struct fed_rpc_method *methods,
                       size_t n_methods,
                       void *arg,
                       struct fed_rpc_server **ret_server,
                       struct fed_err *err)
{
    struct fed_rpc_server *server = calloc(1, sizeof(*server));
    grpc_resource_quota *quota;
    struct rpc_args args;
    int rc;

    assert(n_methods <= METHODS_MAX);
    if (server == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "server");
    }
    server->rpc = rpc;
    server->config = *config;
    server->arg = arg;
    fed_list_init(&server->calls);
    fed_strmap_init(&server->connections);
    rpc_op_init(&server->op_shutdown, on_shutdown, server);
    quota = grpc_resource_quota_create(NULL);
    grpc_resource_quota_resize(quota, config->memory_max);
    fill_args(&args, config, quota);
    server->server = grpc_server_create(&args.args, NULL);
    grpc_resource_quota_unref(quota);
    grpc_server_register_completion_queue(server->server, rpc->queue, NULL);
    rc = strncmp(config->listen, "fd:", 3) == 0 ? listen_fd(server, config->listen + 3, err)
                                                : listen_address(server, err);
    if (rc == 0) {
        rc = start(server, methods, n_methods, err);
    }
    if (rc < 0) {
        destroy(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

uint16_t fed_rpc_server_port(const struct fed_rpc_server *server)
{
    return server->port;
}

void fed_rpc_server_close(struct fed_rpc_server *server)
{
    if (!server->is_closed) {
        server->is_closed = true;
        stop_accepting(server);
        server->op_shutdown.is_busy = true;
        RPC_PUBLISH(&server->op_shutdown);
        grpc_server_shutdown_and_notify(server->server, server->rpc->queue, &server->op_shutdown);
    }
}

void fed_rpc_server_stop(struct fed_rpc_server *server, fed_event_fn done, void *arg)
{
    fed_rpc_server_close(server);
    server->stopped = done;
    server->stopped_arg = arg;
    grpc_server_cancel_all_calls(server->server);
    look_settled(server);
}

struct fed_rpc_server *fed_rpc_server_free(struct fed_rpc_server *server)
{
    if (server != NULL) {
        assert(server->is_shut && server->n_calls == 0 && server->n_armed == 0);
        destroy(server);
    }
    return NULL;
}
