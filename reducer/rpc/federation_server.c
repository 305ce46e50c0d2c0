#include "reducer/rpc/federation_server.h"

#include <stdlib.h>

#include "reducer/rpc/federation_inside.h"

#define MEMORY_MAX           67108864U /* bytes of gRPC's buffers: 64 MiB */
#define CALLS_MAX            2048U
#define KEEPALIVE_MS         5000U /* round protocol, section 2 */
#define KEEPALIVE_TIMEOUT_MS 5000U

static const struct fed_rpc_method methods[] = {
    {"/confed.v1.Federation/Link", true, true, combiner_link_open},
    {"/confed.v1.Federation/GetModel", false, true, model_get_open},
    {"/confed.v1.Federation/PutPartial", true, false, partial_put_open},
    {"/grpc.health.v1.Health/Check", false, false, health_check},
    {"/grpc.health.v1.Health/Watch", false, true, health_watch},
};

static void look(void *arg)
{
    struct federation_server *server = arg;
    const uint64_t now_ms = fed_loop_now_ms(server->config.loop);
    const uint64_t link_ms = combiner_link_look(server, now_ms);
    const uint64_t put_ms = partial_put_look(server, now_ms);
    const uint64_t due_ms = link_ms < put_ms ? link_ms : put_ms;

    if (due_ms != UINT64_MAX) {
        federation_server_want(server, due_ms);
    }
}

void federation_server_want(struct federation_server *server, uint64_t due_ms)
{
    if (!fed_link_is_linked(&server->timer.link) || due_ms < server->timer.due_ms) {
        fed_timer_start(server->config.loop, &server->timer, due_ms);
    }
}

int federation_server_new(const struct federation_server_config *config,
                          const struct federation_server_ops *ops,
                          void *arg,
                          struct federation_server **ret_server,
                          struct fed_err *err)
{
    const struct fed_rpc_server_config rpc_config = {
        .listen = config->listen,
        .message_size_max = FED_RPC_CONTROL_MAX,
        .memory_max = MEMORY_MAX,
        .calls_max = CALLS_MAX,
        .keepalive_ms = KEEPALIVE_MS,
        .keepalive_timeout_ms = KEEPALIVE_TIMEOUT_MS,
        .unknown_status = FED_RPC_UNIMPLEMENTED,
        .unknown_detail = "no such method: this is the reducer's port for combiners",
    };
    struct federation_server *server = calloc(1, sizeof(*server));
    int rc;

    if (server == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "server");
    }
    server->config = *config;
    server->ops = ops;
    server->arg = arg;
    fed_list_init(&server->links);
    fed_list_init(&server->puts);
    fed_timer_init(&server->timer, look, server);
    rc = fed_rpc_server_new(
        config->rpc, &rpc_config,
        &(struct fed_rpc_service){methods, sizeof(methods) / sizeof(methods[0]), server},
        &server->server, err);
    if (rc < 0) {
        free(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

uint16_t federation_server_port(const struct federation_server *server)
{
    return fed_rpc_server_port(server->server);
}

int federation_server_path(struct federation_server *server,
                           const char *kind,
                           char ret_path[FED_PATH_SIZE],
                           struct fed_err *err)
{
    return fed_path_format(ret_path, err, "%s/%s-%llu", server->config.folder, kind,
                           (unsigned long long)++server->next_file);
}

/* -- the end ------------------------------------------------------------------------------------
 */

static void look_stopped(struct federation_server *server)
{
    if (server->is_server_stopped && server->n_jobs == 0 && server->stopped != NULL) {
        const fed_event_fn stopped = server->stopped;
        server->stopped = NULL;
        stopped(server->stopped_arg);
    }
}

void federation_server_job_begin(struct federation_server *server, struct fed_job *job)
{
    server->n_jobs++;
    fed_workers_submit(server->config.workers, NULL, job);
}

void federation_server_job_end(struct federation_server *server)
{
    server->n_jobs--;
    look_stopped(server);
}

static void on_stopped(void *arg)
{
    struct federation_server *server = arg;

    server->is_server_stopped = true;
    look_stopped(server);
}

void federation_server_stop(struct federation_server *server, fed_event_fn done, void *arg)
{
    server->is_stopping = true;
    server->stopped = done;
    server->stopped_arg = arg;
    fed_timer_stop(&server->timer);
    fed_rpc_server_stop(server->server, on_stopped, server);
}

struct federation_server *federation_server_free(struct federation_server *server)
{
    if (server != NULL) {
        (void)fed_rpc_server_free(server->server);
        free(server);
    }
    return NULL;
}
