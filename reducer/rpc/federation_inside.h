/* What the files of this folder share. Nobody else includes this. */
#ifndef REDUCER_RPC_FEDERATION_INSIDE_H
#define REDUCER_RPC_FEDERATION_INSIDE_H

#include "reducer/rpc/federation_server.h"

struct federation_server {
    struct federation_server_config config;
    const struct federation_server_ops *ops;
    void *arg;
    struct fed_rpc_server *server;
    struct fed_list links; /* struct combiner_link */
    struct fed_list puts;  /* struct partial_put */
    unsigned n_links;
    unsigned n_puts;
    unsigned n_gets;
    unsigned n_jobs; /* of calls, on workers */
    uint64_t next_link;
    uint64_t next_file;
    bool is_stopping;
    bool is_server_stopped;
    struct fed_timer timer; /* looks at the deadlines of links and puts */
    fed_event_fn stopped;
    void *stopped_arg;
};

/* The methods; fed_rpc_method_fn. */
void combiner_link_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);
void model_get_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);
void partial_put_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);
void health_check(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);
void health_watch(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg);

/* Look at the deadlines; returns the next one, UINT64_MAX for none. */
uint64_t combiner_link_look(struct federation_server *server, uint64_t now_ms);
uint64_t partial_put_look(struct federation_server *server, uint64_t now_ms);

/* Look again at due_ms at the latest. */
void federation_server_want(struct federation_server *server, uint64_t due_ms);

/* A job of a call begins and has ended: the server is not freed in between. */
void federation_server_job_begin(struct federation_server *server, struct fed_job *job);
void federation_server_job_end(struct federation_server *server);

/* A path for a file of the moment. */
FED_NODISCARD int federation_server_path(struct federation_server *server,
                                         const char *kind,
                                         char ret_path[FED_PATH_SIZE],
                                         struct fed_err *err);

#endif /* REDUCER_RPC_FEDERATION_INSIDE_H */
