/* fedn.ModelService: uploads and downloads, in chunks.
 *
 *   upload:  READING <--chunk written--> WRITING --OK terminator, published--> (answered)
 *               |                            |
 *               +--cancelled, idle, no room--+--> DISCARDING --> (gone)
 *
 * Chunks cost memory while they come and are written: a few uploads have the turn at a time, the
 * others wait in line, whose connection has taken least comes next, and who has the turn and brings
 * nothing while others wait is ended.
 *
 * An upload is its call's: interleaved ones of one id never mix. Its bytes go to a private file by
 * a worker, one chunk at a time (the next is read when the last is written: that is the
 * back-pressure), and appear under their id at the terminator, also when the caller has gone by
 * then. An id of a global model is swallowed: read, answered, kept nowhere.
 *
 * A download reads a model's feed. What is at hand goes out, and its end when the model is whole;
 * who is turned away hears UNAVAILABLE (FEDn's own words for what is not here yet make a client
 * give the task up).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/rpc/front_inside.h"
#include "common/base/fault.h"
#include "common/base/log.h"

#define DATA_FIELD_REQUEST  3U     /* ModelRequest.data */
#define DATA_FIELD_RESPONSE 1U     /* ModelResponse.data */
#define PROGRESS_BYTES      16384U /* what an upload must bring on to count as alive */
#define EVICT_AFTER_MS      1000U  /* idle for so long, an upload makes way for another */
#define TURN_LIMIT_MS       3000U  /* for a chunk to come, while others wait for their turn */
#define AHEAD               2U     /* chunks of a download given to gRPC at once */

enum upload_phase {
    UPLOAD_READING,    /* in line for its turn, or waiting for a chunk */
    UPLOAD_WRITING,    /* a worker has it */
    UPLOAD_DISCARDING, /* a worker removes its file */
    UPLOAD_OVER,       /* nothing is left but the call's end */
};

struct upload {
    struct front *front;
    struct fed_rpc_call *call; /* NULL: it has gone */
    enum upload_phase phase;
    struct fed_link link; /* in front->uploads */
    struct fed_link turn; /* in front->turns while it has the turn, in front->line before */
    bool has_turn;
    uint64_t turn_ms;    /* since when */
    struct share *share; /* of its connection */
    uint64_t progress_ms;
    uint64_t progress_bytes; /* size_bytes at that time */
    struct spool_upload upload;
    uint64_t reserved;
    bool is_swallowed;
    bool is_last;          /* the chunk being written is followed by nothing */
    struct fed_rpc_in *in; /* holds the chunk; owned while WRITING */
    struct fed_pieces chunk;
    struct fed_job job;
    int rc;
    struct fed_err err;
};

/* -- the end of an upload ---------------------------------------------------------------------- */

static void start_timer(struct front *front)
{
    if (!fed_list_is_empty(&front->uploads)) {
        const struct upload *first =
            FED_CONTAINER_OF(front->uploads.head.next, struct upload, link);
        fed_timer_start(front->parts.loop, &front->upload_timer,
                        first->progress_ms + front->config.upload_idle_ms);
    }
}

/* -- turns ------------------------------------------------------------------------------------- */

/* The uploads of one connection: what they have now, and how often one had the turn in vain. */
struct share {
    uint64_t connection;
    unsigned n_uploads;
    unsigned n_turns;
    unsigned n_stalls;
};

static struct share *join_share(struct front *front, uint64_t connection)
{
    struct share *share;
    char key[FRONT_KEY_SIZE];

    front_key(connection, key);
    share = fed_strmap_find(&front->shares, key);
    if (share == NULL) {
        share = calloc(1, sizeof(*share));
        if (share == NULL || fed_strmap_put(&front->shares, key, share, NULL, NULL) < 0) {
            free(share);
            return NULL;
        }
        share->connection = connection;
    }
    share->n_uploads++;
    return share;
}

static void leave_share(struct front *front, struct share *share)
{
    char key[FRONT_KEY_SIZE];

    share->n_uploads--;
    if (share->n_uploads == 0) {
        front_key(share->connection, key);
        (void)fed_strmap_take(&front->shares, key);
        free(share);
    }
}

/* Of those in line the first whose connection has taken least: turns it has, and had in vain. */
static struct upload *next_in_line(struct front *front)
{
    struct upload *next = NULL;

    fed_list_for_each (link, &front->line) {
        struct upload *upload = FED_CONTAINER_OF(link, struct upload, turn);
        if (next == NULL || upload->share->n_turns + upload->share->n_stalls <
                                next->share->n_turns + next->share->n_stalls) {
            next = upload;
        }
    }
    return next;
}

static void start_turn_timer(struct front *front)
{
    if (!fed_list_is_empty(&front->line) && !fed_list_is_empty(&front->turns)) {
        const struct upload *first = FED_CONTAINER_OF(front->turns.head.next, struct upload, turn);
        fed_timer_start(front->parts.loop, &front->turn_timer, first->turn_ms + TURN_LIMIT_MS);
    }
}

static void give_turns(struct front *front)
{
    struct upload *upload;

    while (front->n_turns < front->config.upload_turns_max &&
           (upload = next_in_line(front)) != NULL) {
        fed_link_remove(&upload->turn);
        fed_list_add(&front->turns, &upload->turn);
        upload->has_turn = true;
        upload->share->n_turns++;
        upload->turn_ms = fed_loop_now_ms(front->parts.loop);
        front->n_turns++;
        fed_rpc_call_read(upload->call);
    }
    start_turn_timer(front);
}

/* Read the next chunk when it is its turn. */
static void ask_turn(struct upload *upload)
{
    fed_list_add(&upload->front->line, &upload->turn);
    give_turns(upload->front);
}

/* It has no chunk in memory any more, and waits for none. */
static void end_turn(struct upload *upload)
{
    fed_link_remove(&upload->turn);
    if (upload->has_turn) {
        upload->has_turn = false;
        upload->share->n_turns--;
        upload->front->n_turns--;
        give_turns(upload->front);
    }
}

/* It counts no more. */
static void leave(struct upload *upload)
{
    struct front *front = upload->front;

    staging_release(front->parts.staging, upload->reserved);
    upload->reserved = 0;
    end_turn(upload);
    if (fed_link_is_linked(&upload->link)) {
        fed_link_remove(&upload->link);
        front->n_uploads--;
        front->ops->settled(front->arg);
    }
}

static void look_over(struct upload *upload)
{
    if (upload->phase == UPLOAD_OVER && upload->call == NULL) {
        leave_share(upload->front, upload->share);
        free(upload);
    }
}

static void do_discard(void *arg)
{
    struct upload *upload = arg;

    spool_drop_incoming(upload->front->parts.spool, &upload->upload.file);
}

static void after_discard(void *arg)
{
    struct upload *upload = arg;

    upload->phase = UPLOAD_OVER;
    leave(upload);
    look_over(upload);
}

/* Nothing of it is kept. Not while a worker has it. */
static void discard(struct upload *upload)
{
    upload->phase = UPLOAD_DISCARDING;
    end_turn(upload);
    fed_job_init(&upload->job, do_discard, after_discard, upload);
    fed_workers_submit(upload->front->parts.workers, NULL, &upload->job);
}

static void respond(struct upload *upload, Fedn__ModelStatus status, const char *message)
{
    Fedn__ModelResponse response = FEDN__MODEL_RESPONSE__INIT;

    if (upload->call != NULL) {
        response.id = upload->upload.id;
        response.status = status;
        response.message = front_text(message);
        front_reply(upload->call, &response.base);
    }
}

/* No retry will mend it: OK in gRPC's words, FAILED in FEDn's. */
static void refuse(struct upload *upload, const char *why)
{
    respond(upload, FEDN__MODEL_STATUS__FAILED, why);
    discard(upload);
}

/* A retry may mend it. */
static void put_off(struct upload *upload, enum fed_code code, const char *why)
{
    if (upload->call != NULL) {
        front_fail(upload->call, code, why);
    }
    discard(upload);
}

/* -- chunks ------------------------------------------------------------------------------------ */

static void do_write(void *arg)
{
    struct upload *upload = arg;
    const struct spool *spool = upload->front->parts.spool;

    upload->rc = 0;
    if (upload->chunk.size > 0) {
        upload->rc = spool_add(spool, &upload->upload.file, &upload->chunk, &upload->err);
        FED_FAULT_POINT("combiner.upload_running");
    }
    if (upload->rc == 0 && upload->is_last) {
        upload->rc = spool_publish(spool, &upload->upload, &upload->err);
        FED_FAULT_POINT("combiner.upload_published");
    }
}

static void published(struct upload *upload)
{
    struct front *front = upload->front;
    struct staged *staged = NULL;

    if (staging_put(front->parts.staging, &upload->upload, fed_loop_now_ms(front->parts.loop),
                    &staged, &upload->err) < 0) {
        put_off(upload, upload->err.code, upload->err.msg);
        return;
    }
    respond(upload, FEDN__MODEL_STATUS__OK, "Got model successfully.");
    upload->phase = UPLOAD_OVER;
    leave(upload);
    front->ops->dropped(front->arg);
    front->ops->uploaded(front->arg, staged);
    look_over(upload);
}

static void note_progress(struct upload *upload)
{
    struct front *front = upload->front;

    if (upload->upload.file.size_bytes - upload->progress_bytes >= PROGRESS_BYTES) {
        upload->progress_bytes = upload->upload.file.size_bytes;
        upload->progress_ms = fed_loop_now_ms(front->parts.loop);
        fed_link_remove(&upload->link);
        fed_list_add(&front->uploads, &upload->link);
    }
}

static void after_write(void *arg)
{
    struct upload *upload = arg;

    upload->in = fed_rpc_in_free(upload->in);
    upload->phase = UPLOAD_READING;
    if (upload->rc < 0) {
        fed_log(FED_LOG_WARNING, "upload", "not_kept", "update=%s error=\"%s\"", upload->upload.id,
                upload->err.msg);
        put_off(upload, upload->err.code, "the combiner could not keep it: try again");
    } else if (upload->is_last) {
        published(upload);
    } else if (upload->call == NULL) {
        discard(upload);
    } else {
        note_progress(upload);
        end_turn(upload);
        ask_turn(upload);
    }
}

/* The first message names the id, the others may repeat it. False: the upload has been ended. */
static bool take_id(struct upload *upload, const char *id)
{
    struct front *front = upload->front;

    if (upload->upload.id[0] != '\0') {
        if (id[0] != '\0' && strcmp(id, upload->upload.id) != 0) {
            refuse(upload, "one upload, two ids");
            return false;
        }
        return true;
    }
    if (!fed_id_is_valid(id)) {
        refuse(upload, "the id is empty or not allowed");
        return false;
    }
    fed_id_copy(upload->upload.id, id);
    upload->is_swallowed = collector_is_model(front->parts.collector, id);
    if (upload->is_swallowed) {
        fed_log(FED_LOG_WARNING, "upload", "swallowed", "model=%s ip=%s", id,
                fed_rpc_call_ip(upload->call));
    }
    return true;
}

/* Room for the chunk. False: the upload has been ended. */
static bool take_room(struct upload *upload)
{
    struct front *front = upload->front;
    bool is_room;

    if (upload->chunk.size > front->config.upload_size_max - upload->upload.file.size_bytes) {
        refuse(upload, "it is larger than this combiner takes");
        return false;
    }
    is_room = staging_reserve(front->parts.staging, upload->chunk.size,
                              fed_loop_now_ms(front->parts.loop));
    front->ops->dropped(front->arg);
    if (!is_room) {
        put_off(upload, FED_E_LIMIT, "no room for uploads: try again later");
        return false;
    }
    upload->reserved += upload->chunk.size;
    return true;
}

static void swallow(struct upload *upload)
{
    upload->in = fed_rpc_in_free(upload->in);
    if (upload->is_last) {
        respond(upload, FEDN__MODEL_STATUS__OK, "Got model successfully.");
        discard(upload);
    } else {
        end_turn(upload);
        ask_turn(upload);
    }
}

static void take_chunk(struct upload *upload, const Fedn__ModelRequest *request)
{
    if (request->status == FEDN__MODEL_STATUS__FAILED) {
        refuse(upload, "given up by its sender");
        return;
    }
    upload->is_last = request->status == FEDN__MODEL_STATUS__OK;
    if (!take_id(upload, request->id)) {
        return;
    }
    if (upload->is_swallowed) {
        swallow(upload);
    } else if (take_room(upload)) {
        upload->phase = UPLOAD_WRITING;
        fed_job_init(&upload->job, do_write, after_write, upload);
        fed_workers_submit(upload->front->parts.workers, NULL, &upload->job);
    }
}

static void upload_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct upload *upload = arg;
    ProtobufCMessage *message = NULL;

    (void)call;
    if (upload->phase != UPLOAD_READING) {
        (void)fed_rpc_in_free(in);
        return;
    }
    if (in == NULL) {
        refuse(upload, "the upload ended without its terminator");
        return;
    }
    if (fed_rpc_in_unpack_pieces(in, &fedn__model_request__descriptor, DATA_FIELD_REQUEST, &message,
                                 &upload->chunk, &upload->err) < 0) {
        (void)fed_rpc_in_free(in);
        put_off(upload, upload->err.code, upload->err.msg);
        return;
    }
    upload->in = in;
    take_chunk(upload, (const void *)message);
    fed_rpc_message_free(message);
    if (upload->phase != UPLOAD_WRITING) {
        upload->in = fed_rpc_in_free(upload->in);
    }
}

static void upload_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct upload *upload = arg;

    (void)call;
    (void)end;
    upload->call = NULL;
    if (upload->phase == UPLOAD_READING) {
        discard(upload);
    } else {
        look_over(upload);
    }
}

static const struct fed_rpc_call_ops upload_ops = {upload_message, NULL, upload_closed};

/* The one that has been idle longest makes way. */
static bool make_way(struct front *front)
{
    const uint64_t now_ms = fed_loop_now_ms(front->parts.loop);

    if (front->n_uploads < front->config.uploads_max) {
        return true;
    }
    fed_list_for_each (link, &front->uploads) {
        struct upload *upload = FED_CONTAINER_OF(link, struct upload, link);
        if (now_ms < upload->progress_ms + EVICT_AFTER_MS) {
            break;
        }
        if (upload->phase == UPLOAD_READING) {
            put_off(upload, FED_E_LIMIT, "too slow: others wait");
            return true;
        }
    }
    return false;
}

void svc_model_on_timer(void *arg)
{
    struct front *front = arg;
    const uint64_t now_ms = fed_loop_now_ms(front->parts.loop);

    fed_list_for_each (link, &front->uploads) {
        struct upload *upload = FED_CONTAINER_OF(link, struct upload, link);
        if (now_ms < upload->progress_ms + front->config.upload_idle_ms) {
            break;
        }
        if (upload->phase == UPLOAD_READING) {
            put_off(upload, FED_E_TIMEOUT, "nothing has come for too long");
        }
        upload->progress_ms = now_ms; /* what a worker has is looked at again */
        fed_link_remove(&upload->link);
        fed_list_add(&front->uploads, &upload->link);
    }
    start_timer(front);
}

void svc_model_on_turn_timer(void *arg)
{
    struct front *front = arg;
    const uint64_t now_ms = fed_loop_now_ms(front->parts.loop);

    fed_list_for_each (link, &front->turns) {
        struct upload *upload = FED_CONTAINER_OF(link, struct upload, turn);
        if (fed_list_is_empty(&front->line) || now_ms < upload->turn_ms + TURN_LIMIT_MS) {
            break;
        }
        if (upload->phase == UPLOAD_READING) {
            upload->share->n_stalls++;
            put_off(upload, FED_E_TIMEOUT, "too slow: others wait");
            break; /* the lists have changed: the timer comes again */
        }
        upload->turn_ms = now_ms; /* a worker has it */
        fed_link_remove(&upload->turn);
        fed_list_add(&front->turns, &upload->turn);
    }
    start_turn_timer(front);
}

static void upload(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    struct upload *upload;

    (void)fed_rpc_in_free(in);
    if (!make_way(front)) {
        front_fail(call, FED_E_LIMIT, "too many uploads: try again later");
        return;
    }
    upload = calloc(1, sizeof(*upload));
    if (upload != NULL) {
        upload->share = join_share(front, fed_rpc_call_connection(call));
    }
    if (upload == NULL || upload->share == NULL) {
        free(upload);
        front_fail(call, FED_E_NOMEM, "out of memory");
        return;
    }
    upload->front = front;
    upload->call = call;
    upload->upload.file.serial = spool_take_serial(front->parts.spool);
    upload->progress_ms = fed_loop_now_ms(front->parts.loop);
    fed_list_add(&front->uploads, &upload->link);
    front->n_uploads++;
    if (front->n_uploads == 1) {
        start_timer(front);
    }
    fed_rpc_call_set(call, &upload_ops, upload);
    ask_turn(upload);
}

/* -- Download ---------------------------------------------------------------------------------- */

struct download {
    struct fed_rpc_call *call;
    struct feed_reader reader;
    size_t offset;
    unsigned n_ahead; /* chunks given and not yet out */
    bool is_over;
    char id[FED_ID_SIZE];
};

static bool send_status_message(struct fed_rpc_call *call, const char *id, Fedn__ModelStatus status)
{
    Fedn__ModelResponse response = FEDN__MODEL_RESPONSE__INIT;

    response.id = front_text(id);
    response.status = status;
    return fed_rpc_call_send(call, fed_rpc_out_pack(&response.base), NULL) == 0;
}

/* What is at hand. */
static bool send_chunks(struct download *download)
{
    const struct feed *feed = download->reader.feed;
    Fedn__ModelResponse response = FEDN__MODEL_RESPONSE__INIT;
    bool ok = true;

    response.id = download->id;
    response.status = FEDN__MODEL_STATUS__IN_PROGRESS;
    while (ok && download->n_ahead < AHEAD && download->offset < feed->at_hand) {
        const size_t left = feed->at_hand - download->offset;
        const size_t n = left < FED_RPC_CHUNK_SIZE ? left : FED_RPC_CHUNK_SIZE;
        ok = fed_rpc_call_send(download->call,
                               fed_rpc_out_pack_bulk(&response.base, DATA_FIELD_RESPONSE,
                                                     feed->slab, download->offset, n),
                               NULL) == 0;
        download->offset += n;
        download->n_ahead++;
    }
    return ok;
}

/* More is at hand, or has gone out; it is whole; we are turned away. */
static void go_on(void *arg)
{
    struct download *download = arg;
    const struct feed *feed = download->reader.feed;
    bool ok = true;

    if (download->is_over) {
        return;
    }
    if (feed == NULL) {
        download->is_over = true;
        front_fail(download->call, FED_E_UNAVAILABLE, "the model does not come on: ask again");
        return;
    }
    ok = send_chunks(download);
    if (ok && feed->is_whole && download->offset == feed->at_hand) {
        download->is_over = true;
        ok = send_status_message(download->call, download->id, FEDN__MODEL_STATUS__OK);
        fed_rpc_call_finish(download->call, FED_RPC_OK, NULL);
    }
    if (!ok) { /* never OK: the client would take the part for the whole */
        download->is_over = true;
        fed_rpc_call_cancel(download->call);
    }
}

static void download_sent(struct fed_rpc_call *call, void *arg)
{
    struct download *download = arg;

    (void)call;
    download->n_ahead -= download->n_ahead > 0 ? 1 : 0;
    go_on(download);
}

static void download_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct download *download = arg;

    (void)call;
    (void)end;
    feed_leave(&download->reader);
    free(download);
}

static const struct fed_rpc_call_ops download_ops = {NULL, download_sent, download_closed};

static void start_download(struct fed_rpc_call *call, const char *id, struct feed *feed)
{
    struct download *download = calloc(1, sizeof(*download));

    if (download == NULL) {
        front_fail(call, FED_E_NOMEM, "out of memory");
        return;
    }
    download->call = call;
    fed_id_copy(download->id, id);
    feed_join(feed, &download->reader, go_on, download);
    fed_rpc_call_set(call, &download_ops, download);
    go_on(download);
}

static void download(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct front *front = arg;
    struct feed *feed;
    Fedn__ModelRequest *request = (void *)front_unpack(call, in, &fedn__model_request__descriptor);

    if (request == NULL) {
        return;
    }
    feed = front->ops->find_feed(front->arg, request->id);
    if (feed != NULL) {
        start_download(call, request->id, feed);
    } else if (send_status_message(call, request->id, FEDN__MODEL_STATUS__UNKNOWN) &&
               send_status_message(call, request->id, FEDN__MODEL_STATUS__FAILED)) {
        front_fail(call, FED_OK, "");
    } else {
        front_fail(call, FED_E_NOMEM, "out of memory");
    }
    fed_rpc_message_free(&request->base);
}

static const struct fed_rpc_method methods[] = {
    {"/fedn.ModelService/Upload", true, false, upload},
    {"/fedn.ModelService/Download", false, true, download},
};

struct front_methods svc_model_methods(void)
{
    return (struct front_methods){methods, sizeof(methods) / sizeof(methods[0])};
}
