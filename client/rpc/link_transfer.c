/* Models down and updates up, in chunks.
 *
 * Happy path, down: worker opens TMP · call, request · chunk → worker writes it → next chunk … ·
 * terminator (OK, no data) · end of the call · worker renames TMP.
 * Happy path, up: worker maps the file · call · chunk, sent, chunk, sent … · terminator · answer ·
 * end of the call · unmapped.
 *
 * What can fail: the disk, in any job (the step is done for); the call, at any time (the step is
 * repeated by who asked for it); a model that is not there, ends without its terminator, or is too
 * long. Cancelling ends the call; a job that runs is waited for.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/rpc/link_inside.h"

enum {
    FIELD_REQUEST_DATA = 3,  /* ModelRequest.data */
    FIELD_RESPONSE_DATA = 1, /* ModelResponse.data */
};

static void submit(struct link *link, fed_job_fn work, fed_event_fn done)
{
    struct step *step = &link->step;

    assert(!step->is_working);
    step->is_working = true;
    fed_job_init(&step->job, work, done, link);
    fed_workers_submit(link->workers, &link->lane, &step->job);
}

static struct step *work_done(struct link *link)
{
    link->step.is_working = false;
    return &link->step;
}

/* Start the step's call. False: it could not be, or is not wanted any more. */
static bool start_call(struct link *link, const char *path, const struct fed_rpc_call_ops *ops)
{
    struct step *step = &link->step;

    if (step->is_cancelled || link->conn == NULL) {
        return false;
    }
    ask_add(link->conn, &step->ask);
    if (fed_rpc_channel_call(link->conn->channel,
                             &(struct fed_rpc_target){path, link->config.transfer_limit_ms}, ops,
                             link, &step->ask.call, NULL) < 0) {
        ask_remove(&step->ask);
        return false;
    }
    step->is_calling = true;
    return true;
}

static void end_call(struct step *step, const struct fed_rpc_end *end)
{
    step->code = end->code;
    (void)snprintf(step->detail, sizeof(step->detail), "%s", end->detail);
    step->is_calling = false;
    ask_remove(&step->ask);
}

/* -- down -------------------------------------------------------------------------------------- */

static void work_open(void *arg)
{
    struct step *step = &((struct link *)arg)->step;

    step->work_rc = fed_path_format(step->tmp, &step->work_err, "%s.part", step->path);
    if (step->work_rc == 0) {
        step->fd = open(step->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (step->fd < 0) {
            step->work_rc = fed_file_error(&step->work_err, "create", step->tmp);
        }
    }
}

static void work_write(void *arg)
{
    struct step *step = &((struct link *)arg)->step;

    step->work_rc = fed_file_write_pieces(step->fd, &step->pieces, &step->work_err);
}

/* Close, and rename what is whole. */
static void work_close(void *arg)
{
    struct step *step = &((struct link *)arg)->step;

    if (step->fd >= 0 && close(step->fd) != 0 && step->work_rc == 0) {
        step->work_rc = fed_file_error(&step->work_err, "close", step->tmp);
    }
    step->fd = -1;
    if (step->work_rc == 0 && step->is_complete && step->code == FED_RPC_OK) {
        (void)unlink(step->path); /* ext4 has the disk write what replaces a file, at once */
    }
    if (step->work_rc == 0 && step->is_complete && step->code == FED_RPC_OK &&
        rename(step->tmp, step->path) != 0) {
        step->work_rc = fed_file_error(&step->work_err, "rename to", step->path);
    } else if (step->work_rc < 0 || !step->is_complete || step->code != FED_RPC_OK) {
        (void)unlink(step->tmp);
    }
}

static void download_closed_file(void *arg)
{
    struct link *link = arg;
    struct step *step = work_done(link);
    char text[FED_ERR_MSG_SIZE + FED_RPC_DETAIL_SIZE];

    if (step->work_rc < 0) {
        (void)snprintf(text, sizeof(text), "%s", step->work_err.msg);
        step_finish(link, AGENT_AGAIN, text);
    } else if (step->is_refused) {
        step_finish(link, AGENT_FAILED, "the combiner does not have the model, or it is too long");
    } else if (step->code != FED_RPC_OK) {
        (void)snprintf(text, sizeof(text), "gRPC status %d: %s", step->code, step->detail);
        step_finish(link, AGENT_AGAIN, text);
    } else if (!step->is_complete) {
        step_finish(link, AGENT_AGAIN, "the model ended before its end mark");
    } else {
        step_finish(link, AGENT_DONE, "");
    }
}

/* Neither the call nor the worker has anything to do any more. */
static void download_check_end(struct link *link)
{
    if (!link->step.is_calling && !link->step.is_working) {
        submit(link, work_close, download_closed_file);
    }
}

static void download_written(void *arg)
{
    struct link *link = arg;
    struct step *step = work_done(link);

    step->in = fed_rpc_in_free(step->in);
    if (step->work_rc < 0 && step->is_calling) {
        fed_rpc_call_cancel(step->ask.call);
    }
    if (step->is_calling) {
        fed_rpc_call_read(step->ask.call);
    }
    download_check_end(link);
}

/* True when the worker has got a chunk: the next message is read when it is written. */
static bool take_chunk(struct link *link, struct fed_rpc_in *in)
{
    struct step *step = &link->step;
    ProtobufCMessage *message = NULL;
    struct fed_pieces pieces = {0};
    Fedn__ModelStatus status;

    if (step->is_complete || step->is_refused || step->is_cancelled ||
        fed_rpc_in_unpack_pieces(in, &fedn__model_response__descriptor, FIELD_RESPONSE_DATA,
                                 &message, &pieces, NULL) < 0) {
        return false;
    }
    status = ((const Fedn__ModelResponse *)(const void *)message)->status;
    fed_rpc_message_free(message);
    step->is_complete = status == FEDN__MODEL_STATUS__OK;
    step->is_refused =
        status == FEDN__MODEL_STATUS__FAILED || status == FEDN__MODEL_STATUS__UNKNOWN;
    if (status != FEDN__MODEL_STATUS__IN_PROGRESS || pieces.size == 0) {
        return false;
    }
    step->offset += pieces.size;
    if (step->offset > link->config.model_max) {
        step->is_refused = true;
        fed_rpc_call_cancel(step->ask.call);
        return false;
    }
    step->in = in;
    step->pieces = pieces;
    submit(link, work_write, download_written);
    return true;
}

static void download_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct link *link = arg;

    if (in != NULL && !take_chunk(link, in)) {
        (void)fed_rpc_in_free(in);
        fed_rpc_call_read(call);
    }
}

static void download_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct link *link = arg;

    (void)call;
    end_call(&link->step, end);
    download_check_end(link);
}

static const struct fed_rpc_call_ops download_ops = {download_message, NULL, download_closed};

/* The file is there: the first message may come. */
static void download_opened(void *arg)
{
    struct link *link = arg;
    struct step *step = work_done(link);

    if (step->work_rc < 0 && step->is_calling) {
        fed_rpc_call_cancel(step->ask.call);
    } else if (step->is_calling) {
        fed_rpc_call_read(step->ask.call);
    }
    download_check_end(link);
}

static void ask_for_model(struct link *link)
{
    struct step *step = &link->step;
    Fedn__Client sender;
    Fedn__ModelRequest message;

    if (!start_call(link, "/fedn.ModelService/Download", &download_ops)) {
        step->code = FED_RPC_UNAVAILABLE;
        (void)snprintf(step->detail, sizeof(step->detail), "the call could not be started");
        return;
    }
    fedn__client__init(&sender);
    fedn__model_request__init(&message);
    sender.role = FEDN__ROLE__CLIENT;
    sender.name = message_text(link->config.name);
    sender.client_id = message_text(link->config.client_id);
    message.sender = &sender;
    message.id = step->id;
    if (fed_rpc_call_send(step->ask.call, fed_rpc_out_pack(&message.base), NULL) < 0) {
        fed_rpc_call_cancel(step->ask.call);
    }
    fed_rpc_call_send_end(step->ask.call);
}

static void begin(struct link *link, enum step_kind kind, const char *id, const char *path)
{
    struct step *step = &link->step;

    assert(step->kind == STEP_NONE);
    assert(strlen(path) < sizeof(step->path));
    step->kind = kind;
    fed_id_copy(step->id, id);
    (void)snprintf(step->path, sizeof(step->path), "%s", path);
}

/* The file is made while the request is on its way. */
void link_download(struct link *link, const char *model_id, const char *path)
{
    begin(link, STEP_DOWNLOAD, model_id, path);
    submit(link, work_open, download_opened);
    ask_for_model(link);
}

/* -- up ---------------------------------------------------------------------------------------- */

static void work_map(void *arg)
{
    struct step *step = &((struct link *)arg)->step;

    step->work_rc = fed_map_open(step->path, &step->map, &step->work_err);
}

static void release_map(void *arg)
{
    struct fed_map *map = arg;

    fed_map_close(map);
    free(map);
}

/* Hand the mapping over to a slab, which outlives the step where gRPC still holds a chunk. */
static struct fed_slab *make_slab(struct step *step)
{
    struct fed_map *map = malloc(sizeof(*map));
    struct fed_slab *slab;

    if (map == NULL) {
        return NULL;
    }
    *map = step->map;
    slab = fed_slab_new(map->data, map->size, release_map, map);
    if (slab == NULL) {
        free(map);
        return NULL;
    }
    step->map = (struct fed_map){0};
    return slab;
}

static void upload_finish(struct link *link)
{
    struct step *step = &link->step;
    char text[FED_ERR_MSG_SIZE + FED_RPC_DETAIL_SIZE];

    (void)fed_slab_unref(step->slab);
    fed_map_close(&step->map);
    if (step->work_rc < 0) {
        (void)snprintf(text, sizeof(text), "%s", step->work_err.msg);
        step_finish(link, AGENT_FAILED, text);
    } else if (step->code != FED_RPC_OK) {
        (void)snprintf(text, sizeof(text), "gRPC status %d: %s", step->code, step->detail);
        step_finish(link, AGENT_AGAIN, text);
    } else {
        step_finish(link, AGENT_DONE, "");
    }
}

/* The next chunk; behind the last one the terminator: the id, status OK, no data. */
static void upload_next(struct link *link)
{
    struct step *step = &link->step;
    const size_t chunk = (size_t)FED_RPC_CHUNK_SIZE;
    const size_t left = fed_slab_view(step->slab).size - step->offset;
    const size_t size = left < chunk ? left : chunk;
    Fedn__ModelRequest message;
    struct fed_rpc_out *out;

    fedn__model_request__init(&message);
    if (step->is_terminated) {
        return;
    }
    message.id = step->id;
    if (left == 0) {
        step->is_terminated = true;
        out = fed_rpc_out_pack(&message.base);
    } else {
        message.status = FEDN__MODEL_STATUS__IN_PROGRESS;
        out = fed_rpc_out_pack_bulk(&message.base, FIELD_REQUEST_DATA, step->slab, step->offset,
                                    size);
        step->offset += size;
    }
    if (fed_rpc_call_send(step->ask.call, out, NULL) < 0) {
        fed_rpc_call_cancel(step->ask.call);
        return;
    }
    if (step->is_terminated) {
        fed_rpc_call_send_end(step->ask.call);
    }
}

static void upload_sent(struct fed_rpc_call *call, void *arg)
{
    (void)call;
    upload_next(arg);
}

static void upload_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    (void)arg;
    if (in != NULL) {
        (void)fed_rpc_in_free(in);
        fed_rpc_call_read(call);
    }
}

static void upload_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct link *link = arg;

    (void)call;
    end_call(&link->step, end);
    upload_finish(link);
}

static const struct fed_rpc_call_ops upload_ops = {upload_message, upload_sent, upload_closed};

static void upload_mapped(void *arg)
{
    struct link *link = arg;
    struct step *step = work_done(link);

    if (step->work_rc == 0) {
        step->slab = make_slab(step);
    }
    if (step->slab == NULL || !start_call(link, "/fedn.ModelService/Upload", &upload_ops)) {
        step->code = FED_RPC_UNAVAILABLE;
        (void)snprintf(step->detail, sizeof(step->detail), "the call could not be started");
        upload_finish(link);
        return;
    }
    fed_rpc_call_read(step->ask.call);
    upload_next(link);
}

void link_upload(struct link *link, const char *update_id, const char *path)
{
    begin(link, STEP_UPLOAD, update_id, path);
    submit(link, work_map, upload_mapped);
}
