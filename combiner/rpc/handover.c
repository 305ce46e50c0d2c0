#include "combiner/rpc/handover.h"

#include <confed/v1/federation.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/net/retry.h"

#define PATH        "/confed.v1.Federation/PutPartial"
#define DATA_FIELD  5U     /* PartialChunk.data */
#define TIMEOUT_MS  30000U /* of one call, … */
#define BYTES_MS    1024U  /* … and a millisecond for so many bytes */
#define BACKOFF_MS  100U
#define BACKOFF_MAX 5000U
#define AHEAD       2U /* chunks given to gRPC at once */

struct handover {
    struct handover_config config;
    handover_done_fn done;
    void *arg;
    fed_event_fn gone;
    void *gone_arg;
    char path[FED_PATH_SIZE];
    char combiner_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    struct fed_map *map;   /* a worker's, until it is the slab's */
    struct fed_slab *slab; /* NULL until the file is open */
    struct fed_rpc_call *call;
    size_t offset;
    unsigned n_ahead;
    bool is_held;   /* the trailer is, and what is not there yet */
    size_t at_hand; /* bytes that are there */
    bool is_all_given;
    enum fed_verdict verdict; /* 0: not answered */
    bool is_busy;
    struct fed_job job;
    int rc;
    struct fed_err err;
    uint32_t attempt;
    struct fed_timer timer;
};

static void go_on(struct handover *handover);

static void release_map(void *arg)
{
    struct fed_map *map = arg;

    fed_map_close(map);
    free(map);
}

static void free_handover(struct handover *handover)
{
    fed_timer_stop(&handover->timer);
    (void)fed_slab_unref(handover->slab);
    free(handover);
}

static void try_later(struct handover *handover)
{
    const uint64_t wait_ms =
        fed_retry_delay_ms(handover->attempt, BACKOFF_MS, BACKOFF_MAX, handover->config.seed);

    handover->attempt += handover->attempt < 16 ? 1 : 0;
    fed_timer_start(handover->config.loop, &handover->timer,
                    fed_loop_now_ms(handover->config.loop) + wait_ms);
}

/* -- the call ---------------------------------------------------------------------------------- */

static void send_chunks(struct handover *handover)
{
    const size_t size = fed_slab_view(handover->slab).size;
    const size_t end = handover->is_held ? handover->at_hand : size;
    bool ok = true;

    while (ok && handover->n_ahead < AHEAD && handover->offset < end) {
        Confed__V1__PartialChunk chunk = CONFED__V1__PARTIAL_CHUNK__INIT;
        const size_t left = end - handover->offset;
        const size_t n = left < FED_RPC_CHUNK_SIZE ? left : FED_RPC_CHUNK_SIZE;
        if (handover->offset == 0) {
            chunk.round_id = handover->round_id;
            chunk.combiner_id = handover->combiner_id;
            chunk.plan_seq = handover->config.plan_seq;
            chunk.size_bytes = size;
            chunk.load_us = handover->config.load_us;
            chunk.sum_us = handover->config.sum_us;
        }
        ok = fed_rpc_call_send(handover->call,
                               fed_rpc_out_pack_bulk(&chunk.base, DATA_FIELD, handover->slab,
                                                     handover->offset, n),
                               NULL) == 0;
        handover->offset += n;
        handover->n_ahead++;
    }
    if (ok && handover->offset == size && !handover->is_all_given) {
        handover->is_all_given = true;
        fed_rpc_call_send_end(handover->call);
    }
    if (!ok) {
        fed_rpc_call_cancel(handover->call);
    }
}

static void handover_sent(struct fed_rpc_call *call, void *arg)
{
    struct handover *handover = arg;

    (void)call;
    handover->n_ahead -= handover->n_ahead > 0 ? 1 : 0;
    if (!handover->is_all_given) {
        send_chunks(handover);
    }
}

static void handover_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct handover *handover = arg;
    ProtobufCMessage *message = NULL;

    if (in == NULL) {
        return;
    }
    if (fed_rpc_in_unpack(in, &confed__v1__partial_ack__descriptor, &message, NULL) == 0) {
        const Confed__V1__PartialAck *ack = (const void *)message;
        if ((int)ack->verdict >= FED_VERDICT_ACCEPTED && (int)ack->verdict <= FED_VERDICT_CORRUPT) {
            handover->verdict = (enum fed_verdict)ack->verdict;
            fed_log(FED_LOG_INFO, "round", "partial_answered",
                    "round=%s plan_seq=%llu verdict=%d bytes=%zu detail=\"%s\"", handover->round_id,
                    (unsigned long long)handover->config.plan_seq, (int)ack->verdict,
                    fed_slab_view(handover->slab).size, ack->detail);
        }
        fed_rpc_message_free(message);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call); /* to the end, else the status does not come */
}

static void handover_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct handover *handover = arg;

    (void)call;
    handover->call = NULL;
    if (end->code != FED_RPC_OK) {
        handover->verdict = (enum fed_verdict)0;
    }
    go_on(handover);
}

static const struct fed_rpc_call_ops handover_ops = {handover_message, handover_sent,
                                                     handover_closed};

static void call_reducer(struct handover *handover)
{
    const uint64_t timeout_ms = TIMEOUT_MS + fed_slab_view(handover->slab).size / BYTES_MS;

    handover->offset = 0;
    handover->n_ahead = 0;
    handover->is_all_given = false;
    if (fed_rpc_channel_call(handover->config.channel, &(struct fed_rpc_target){PATH, timeout_ms},
                             &handover_ops, handover, &handover->call, NULL) < 0) {
        handover->call = NULL;
        try_later(handover);
        return;
    }
    fed_rpc_call_read(handover->call);
    send_chunks(handover);
}

/* -- opening the file -------------------------------------------------------------------------- */

static void do_open(void *arg)
{
    struct handover *handover = arg;

    handover->map = calloc(1, sizeof(*handover->map));
    handover->rc = handover->map == NULL
                       ? fed_err_set(&handover->err, FED_E_NOMEM, "map")
                       : fed_map_open(handover->path, handover->map, &handover->err);
}

static void after_open(void *arg)
{
    struct handover *handover = arg;

    handover->is_busy = false;
    if (handover->rc == 0) {
        handover->slab =
            fed_slab_new(handover->map->data, handover->map->size, release_map, handover->map);
    }
    if (handover->slab == NULL) {
        if (handover->map != NULL) {
            release_map(handover->map);
        }
        fed_log(FED_LOG_ERROR, "round", "partial_unreadable", "round=%s error=\"%s\"",
                handover->round_id, handover->err.msg);
    }
    handover->map = NULL;
    go_on(handover);
}

static void open_file(struct handover *handover)
{
    handover->is_busy = true;
    fed_job_init(&handover->job, do_open, after_open, handover);
    fed_workers_submit(handover->config.workers, NULL, &handover->job);
}

static void on_timer(void *arg)
{
    struct handover *handover = arg;

    if (handover->slab == NULL) {
        open_file(handover);
    } else {
        call_reducer(handover);
    }
}

static void go_on(struct handover *handover)
{
    if (handover->call != NULL || handover->is_busy) {
        return;
    }
    if (handover->gone != NULL) {
        const fed_event_fn gone = handover->gone;
        void *arg = handover->gone_arg;
        free_handover(handover);
        gone(arg);
    } else if (handover->verdict != 0) {
        const handover_done_fn done = handover->done;
        const enum fed_verdict verdict = handover->verdict;
        void *arg = handover->arg;
        free_handover(handover);
        done(arg, verdict);
    } else if (handover->slab != NULL && handover->attempt == 0) {
        handover->attempt = 1;
        call_reducer(handover);
    } else {
        try_later(handover);
    }
}

void handover_extend(struct handover *handover, uint64_t size)
{
    handover->at_hand = (size_t)size;
    if (handover->call != NULL && handover->is_held) {
        send_chunks(handover);
    }
}

bool handover_release(struct handover *handover)
{
    const bool was_held = handover->is_held;

    handover->is_held = false;
    if (was_held && handover->call != NULL) {
        send_chunks(handover);
    }
    return was_held;
}

/* Its map becomes the slab. */
static int take_map(struct handover *handover, const struct fed_map *from, struct fed_err *err)
{
    struct fed_map *map = calloc(1, sizeof(*map));

    if (map != NULL) {
        *map = *from;
        handover->slab = fed_slab_new(map->data, map->size, release_map, map);
    }
    if (handover->slab == NULL) {
        free(map);
        return fed_err_set(err, FED_E_NOMEM, "partial sum");
    }
    handover->is_held = true;
    return 0;
}

int handover_start(const struct handover_config *config,
                   handover_done_fn done,
                   void *arg,
                   struct handover **ret_handover,
                   struct fed_err *err)
{
    struct handover *handover = calloc(1, sizeof(*handover));
    int rc;

    if (handover == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "handover");
    }
    handover->config = *config;
    handover->done = done;
    handover->arg = arg;
    fed_id_copy(handover->combiner_id, config->combiner_id);
    memcpy(handover->round_id, config->round_id, strlen(config->round_id) + 1);
    fed_timer_init(&handover->timer, on_timer, handover);
    rc = config->path == NULL ? take_map(handover, config->map, err)
                              : fed_path_format(handover->path, err, "%s", config->path);
    if (rc < 0) {
        free(handover);
        return rc;
    }
    if (config->path == NULL) {
        handover->attempt = 1;
        fed_timer_start(config->loop, &handover->timer, fed_loop_now_ms(config->loop));
    } else {
        open_file(handover);
    }
    *ret_handover = handover;
    return 0;
}

void handover_cancel(struct handover *handover, fed_event_fn gone, void *arg)
{
    handover->gone = gone;
    handover->gone_arg = arg;
    fed_timer_stop(&handover->timer);
    if (handover->call != NULL) {
        fed_rpc_call_cancel(handover->call);
    }
    go_on(handover);
}
