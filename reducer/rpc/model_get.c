/* GetModel: the bytes of a model from an offset on, in chunks that are sent without a copy.
 *
 *   at hand: SENDING;  else READING --blob copied and mapped by a worker--> SENDING --last--> end
 */
#include <confed/v1/federation.pb-c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reducer/rpc/federation_inside.h"
#include "reducer/rpc/model_file.h"

#define WINDOW     2 /* chunks given to gRPC at a time */
#define DATA_FIELD 3 /* ModelChunk.data */

struct model_get {
    struct federation_server *server;
    struct fed_rpc_call *call; /* NULL once it has closed */
    char model_id[FED_ID_SIZE];
    uint64_t offset;
    struct fed_slab *slab; /* owned; NULL while READING */
    struct fed_job job;
    bool is_reading;
    char path[FED_PATH_SIZE]; /* the job's, as the following */
    int rc;
    struct fed_err err;
};

static void free_get(struct model_get *get)
{
    get->server->n_gets--;
    (void)fed_slab_unref(get->slab);
    free(get);
}

static void send_chunk(struct model_get *get)
{
    const size_t size = fed_slab_view(get->slab).size;
    Confed__V1__ModelChunk chunk = CONFED__V1__MODEL_CHUNK__INIT;
    size_t n = (size_t)FED_RPC_CHUNK_SIZE;

    if (get->offset >= size) {
        fed_rpc_call_finish(get->call, FED_RPC_OK, NULL);
        return;
    }
    n = size - (size_t)get->offset < n ? size - (size_t)get->offset : n;
    chunk.offset_bytes = get->offset;
    chunk.size_bytes = size;
    if (fed_rpc_call_send(
            get->call,
            fed_rpc_out_pack_bulk(&chunk.base, DATA_FIELD, get->slab, (size_t)get->offset, n),
            NULL) < 0) {
        fed_rpc_call_cancel(get->call);
        return;
    }
    get->offset += n;
}

static void on_sent(struct fed_rpc_call *call, void *arg)
{
    (void)call;
    send_chunk(arg);
}

static void on_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct model_get *get = arg;

    (void)call;
    (void)end;
    get->call = NULL;
    if (!get->is_reading) {
        free_get(get);
    }
}

static const struct fed_rpc_call_ops call_ops = {NULL, on_sent, on_closed};

static void begin(struct model_get *get)
{
    if (get->offset > fed_slab_view(get->slab).size) {
        fed_rpc_call_finish(get->call, FED_RPC_INVALID_ARGUMENT, "offset beyond the model's end");
        return;
    }
    for (int i = 0; i < WINDOW; i++) {
        send_chunk(get);
    }
}

static void read_model(void *arg)
{
    struct model_get *get = arg;

    get->rc = blob_get_file(get->server->config.blobs, get->model_id, get->path, &get->err);
    if (get->rc == 0) {
        get->rc = model_file_map(get->path, &get->slab, &get->err);
    }
    (void)unlink(get->path);
}

static void on_read(void *arg)
{
    struct model_get *get = arg;
    struct federation_server *server = get->server;

    get->is_reading = false;
    if (get->rc == 0) {
        server->ops->on_model_read(server->arg, get->model_id, get->slab);
    }
    if (get->call == NULL) {
        free_get(get);
    } else if (get->rc == BLOB_NOT_FOUND || get->rc == -FED_E_INVALID) {
        fed_rpc_call_finish(get->call, FED_RPC_NOT_FOUND, "no such model");
    } else if (get->rc < 0) {
        fed_rpc_call_finish(get->call, FED_RPC_UNAVAILABLE, get->err.msg);
    } else {
        begin(get);
    }
    federation_server_job_end(server);
}

static bool parse(struct fed_rpc_in *request, struct model_get *get)
{
    ProtobufCMessage *message = NULL;
    const int rc = fed_rpc_in_unpack(request, &confed__v1__model_get__descriptor, &message, NULL);
    const Confed__V1__ModelGet *wanted = (const Confed__V1__ModelGet *)(const void *)message;
    const bool is_ok = rc == 0 && fed_id_is_valid(wanted->model_id);

    if (is_ok) {
        fed_id_copy(get->model_id, wanted->model_id);
        get->offset = wanted->offset_bytes;
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(request);
    return is_ok;
}

void model_get_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct federation_server *server = arg;
    struct model_get *get = server->n_gets < FEDERATION_GETS_MAX ? calloc(1, sizeof(*get)) : NULL;

    if (get == NULL) {
        (void)fed_rpc_in_free(request);
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "too many models are being sent");
        return;
    }
    get->server = server;
    get->call = call;
    server->n_gets++;
    fed_rpc_call_set(call, &call_ops, get);
    if (!parse(request, get)) {
        fed_rpc_call_finish(call, FED_RPC_INVALID_ARGUMENT, "model_id is missing or not allowed");
        return;
    }
    get->slab = server->ops->find_model(server->arg, get->model_id);
    if (get->slab != NULL) {
        begin(get);
        return;
    }
    if (federation_server_path(server, "get", get->path, NULL) < 0) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "no room for the model");
        return;
    }
    get->is_reading = true;
    fed_job_init(&get->job, read_model, on_read, get);
    federation_server_job_begin(server, &get->job);
}
