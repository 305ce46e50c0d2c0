#include "combiner/rpc/fetch.h"

#include <confed/v1/federation.pb-c.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/model/checksum.h"
#include "common/net/retry.h"

#define PATH        "/confed.v1.Federation/GetModel"
#define DATA_FIELD  3U      /* ModelChunk.data */
#define TIMEOUT_MS  600000U /* of one call; the next one carries on where it ended */
#define BACKOFF_MS  100U
#define BACKOFF_MAX 5000U

enum fetch_phase {
    FETCH_WAITING, /* for the timer */
    FETCH_CALLING, /* the call is open; a worker may have a chunk */
    FETCH_CHECKING,
};

struct fetch {
    struct fetch_config config;
    const struct fetch_ops *ops;
    void *arg;
    fed_event_fn gone; /* cancelled */
    void *gone_arg;
    enum fetch_phase phase;
    char model_id[FED_ID_SIZE];
    char path[FED_PATH_SIZE];
    char part[FED_PATH_SIZE];
    struct fed_rpc_call *call; /* NULL when closed */
    int end_code;
    uint64_t written;
    struct fed_xxh128 *hash;
    struct fed_rpc_in *in;   /* holds the chunk a worker has */
    struct fed_rpc_in *next; /* what came meanwhile */
    struct fed_pieces chunk;
    struct fed_map map; /* of the file, from the first chunk until it is handed out */
    bool is_busy;       /* a worker has it, or the owner hears of it */
    struct fed_job job;
    int rc;
    struct fed_err err;
    uint32_t attempt;
    struct fed_timer timer;
};

static void go_on(struct fetch *fetch);

static void free_fetch(struct fetch *fetch)
{
    fed_timer_stop(&fetch->timer);
    (void)fed_xxh128_free(fetch->hash);
    (void)fed_rpc_in_free(fetch->in);
    (void)fed_rpc_in_free(fetch->next);
    fed_map_close(&fetch->map);
    free(fetch);
}

static void finish(struct fetch *fetch, bool is_here)
{
    const struct fetch_ops *ops = fetch->ops;
    void *arg = fetch->arg;

    free_fetch(fetch);
    ops->done(arg, is_here);
}

static void try_later(struct fetch *fetch)
{
    const uint64_t wait_ms =
        fed_retry_delay_ms(fetch->attempt, BACKOFF_MS, BACKOFF_MAX, fetch->config.seed);

    fetch->attempt += fetch->attempt < 16 ? 1 : 0;
    fetch->phase = FETCH_WAITING;
    fed_timer_start(fetch->config.loop, &fetch->timer,
                    fed_loop_now_ms(fetch->config.loop) + wait_ms);
}

/* Forget what has come; the first chunk makes another file. */
static int begin_anew(struct fetch *fetch, struct fed_err *err)
{
    fetch->written = 0;
    fetch->hash = fed_xxh128_free(fetch->hash);
    return fed_xxh128_new(&fetch->hash, err);
}

/* While busy: the owner may cancel from inside. */
static void restart(struct fetch *fetch)
{
    (void)!begin_anew(fetch, NULL);
    if (fetch->gone == NULL) {
        fetch->ops->restarted(fetch->arg);
    }
}

/* -- on a worker ------------------------------------------------------------------------------- */

/* The first chunk's file is another one: who reads in the old one's map finds it as it was. It has
 * its whole size at once. */
static int open_part(struct fetch *fetch, int *ret_fd)
{
    const bool is_first = fetch->written == 0;
    int rc = 0;

    if (is_first) {
        fed_map_close(&fetch->map);
        (void)unlink(fetch->part);
        rc = fed_spare_take(fetch->config.spare, fetch->part, fetch->config.size_bytes, ret_fd,
                            &fetch->err);
    } else {
        *ret_fd = open(fetch->part, O_WRONLY | O_CLOEXEC);
        if (*ret_fd < 0 || lseek(*ret_fd, (off_t)fetch->written, SEEK_SET) < 0) {
            rc = fed_file_error(&fetch->err, "open", fetch->part);
        }
    }
    if (rc < 0) {
        return rc;
    }
    return !is_first || fetch->config.size_bytes == 0
               ? 0
               : fed_map_fd(*ret_fd, (size_t)fetch->config.size_bytes, &fetch->map, &fetch->err);
}

static void do_chunk(void *arg)
{
    struct fetch *fetch = arg;
    int fd = -1;
    int rc = open_part(fetch, &fd);

    rc = rc < 0 ? rc : fed_file_write_pieces(fd, &fetch->chunk, &fetch->err);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc == 0) {
        fed_xxh128_add_pieces(fetch->hash, &fetch->chunk, fetch->chunk.size);
    }
    fetch->rc = rc;
}

static void do_check(void *arg)
{
    struct fetch *fetch = arg;
    uint8_t digest[FED_XXH128_SIZE];

    fed_xxh128_finish(fetch->hash, digest);
    fetch->rc = 0;
    if (memcmp(digest, fetch->config.xxh128, sizeof(digest)) != 0) {
        fetch->rc = fed_err_set(&fetch->err, FED_E_CORRUPT, "its XXH3 is wrong");
    } else if (rename(fetch->part, fetch->path) != 0) {
        fetch->rc = fed_file_error(&fetch->err, "rename to", fetch->path);
    }
}

static void after_check(void *arg)
{
    struct fetch *fetch = arg;

    if (fetch->rc != 0 && fetch->gone == NULL) {
        fed_log(FED_LOG_ERROR, "model", "damaged", "model=%s error=\"%s\"", fetch->model_id,
                fetch->err.msg);
        restart(fetch);
    }
    fetch->is_busy = false;
    if (fetch->rc == 0 || fetch->gone != NULL) {
        go_on(fetch);
    } else {
        try_later(fetch);
    }
}

static void hear(struct fetch *fetch, struct fed_rpc_in *in);

/* While busy, too. */
static void tell_grown(struct fetch *fetch)
{
    struct fed_map map = fetch->map;

    fetch->written += fetch->chunk.size;
    fetch->attempt = 0;
    if (fetch->gone == NULL) {
        fetch->map = (struct fed_map){0};
        fetch->ops->grown(fetch->arg, map.data == NULL ? NULL : &map, fetch->written);
    }
}

static void after_chunk(void *arg)
{
    struct fetch *fetch = arg;
    struct fed_rpc_in *next = FED_TAKE(fetch->next);

    if (fetch->rc == 0) {
        tell_grown(fetch);
    } else {
        fed_log(FED_LOG_ERROR, "model", "not_written", "model=%s error=\"%s\"", fetch->model_id,
                fetch->err.msg);
        restart(fetch); /* how much of it is in the file is not known */
        if (fetch->call != NULL) {
            fed_rpc_call_cancel(fetch->call);
        }
    }
    fetch->is_busy = false;
    fetch->in = fed_rpc_in_free(fetch->in);
    if (fetch->rc == 0 && next != NULL && fetch->gone == NULL) {
        hear(fetch, FED_TAKE(next));
    }
    (void)fed_rpc_in_free(next);
    go_on(fetch);
}

/* -- the call ---------------------------------------------------------------------------------- */

/* Takes `in`. */
static int take_chunk(struct fetch *fetch, struct fed_rpc_in *in)
{
    Confed__V1__ModelChunk *chunk = NULL;
    ProtobufCMessage *message = NULL;
    int rc = fed_rpc_in_unpack_pieces(in, &confed__v1__model_chunk__descriptor, DATA_FIELD,
                                      &message, &fetch->chunk, &fetch->err);

    chunk = (void *)message;
    if (rc == 0 && (chunk->offset_bytes != fetch->written ||
                    fetch->chunk.size > fetch->config.size_bytes - fetch->written)) {
        rc = fed_err_set(&fetch->err, FED_E_INVALID, "%zu bytes at %llu, want %llu of %llu",
                         fetch->chunk.size, (unsigned long long)chunk->offset_bytes,
                         (unsigned long long)fetch->written,
                         (unsigned long long)fetch->config.size_bytes);
    }
    fed_rpc_message_free(message);
    if (rc < 0) {
        (void)fed_rpc_in_free(in);
        return rc;
    }
    fetch->in = in;
    fetch->is_busy = true;
    fed_job_init(&fetch->job, do_chunk, after_chunk, fetch);
    fed_workers_submit(fetch->config.workers, NULL, &fetch->job);
    return 0;
}

static void hear(struct fetch *fetch, struct fed_rpc_in *in)
{
    if (take_chunk(fetch, in) == 0) {
        if (fetch->call != NULL) {
            fed_rpc_call_read(fetch->call); /* the next one comes while this one is written */
        }
        return;
    }
    fed_log(FED_LOG_ERROR, "model", "bad_chunk", "model=%s error=\"%s\"", fetch->model_id,
            fetch->err.msg);
    if (fetch->call != NULL) {
        fed_rpc_call_cancel(fetch->call);
    }
}

static void fetch_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fetch *fetch = arg;

    if (in == NULL) {
        return; /* the status follows */
    }
    if (fetch->gone != NULL) {
        (void)fed_rpc_in_free(in);
        fed_rpc_call_cancel(call);
    } else if (fetch->is_busy) {
        fetch->next = in; /* nothing more is read before it is heard */
    } else {
        hear(fetch, in);
    }
}

static void fetch_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct fetch *fetch = arg;

    (void)call;
    fetch->call = NULL;
    fetch->end_code = end->code;
    go_on(fetch);
}

static const struct fed_rpc_call_ops call_ops = {fetch_message, NULL, fetch_closed};

static void ask(struct fetch *fetch)
{
    Confed__V1__ModelGet get = CONFED__V1__MODEL_GET__INIT;

    get.model_id = fetch->model_id;
    get.offset_bytes = fetch->written;
    fetch->end_code = FED_RPC_OK;
    if (fetch->hash == NULL && begin_anew(fetch, NULL) < 0) {
        try_later(fetch);
        return;
    }
    if (fed_rpc_channel_call(fetch->config.channel, &(struct fed_rpc_target){PATH, TIMEOUT_MS},
                             &call_ops, fetch, &fetch->call, NULL) < 0) {
        fetch->call = NULL;
        try_later(fetch);
        return;
    }
    fetch->phase = FETCH_CALLING;
    if (fed_rpc_call_send(fetch->call, fed_rpc_out_pack(&get.base), NULL) < 0) {
        fed_rpc_call_cancel(fetch->call);
    }
    fed_rpc_call_send_end(fetch->call);
    fed_rpc_call_read(fetch->call);
}

static void on_timer(void *arg)
{
    ask(arg);
}

/* Something has ended: the call, a worker's job. Is it all? */
static void go_on(struct fetch *fetch)
{
    if (fetch->call != NULL || fetch->is_busy) {
        return;
    }
    if (fetch->gone != NULL) {
        const fed_event_fn gone = fetch->gone;
        void *arg = fetch->gone_arg;
        (void)unlink(fetch->part);
        free_fetch(fetch);
        gone(arg);
        return;
    }
    if (fetch->phase == FETCH_CHECKING) {
        finish(fetch, true);
    } else if (fetch->written == fetch->config.size_bytes && fetch->hash != NULL) {
        fetch->phase = FETCH_CHECKING;
        fetch->is_busy = true;
        fed_job_init(&fetch->job, do_check, after_check, fetch);
        fed_workers_submit(fetch->config.workers, NULL, &fetch->job);
    } else if (fetch->end_code == FED_RPC_NOT_FOUND) {
        finish(fetch, false);
    } else {
        try_later(fetch);
    }
}

int fetch_start(const struct fetch_config *config,
                const struct fetch_ops *ops,
                void *arg,
                struct fetch **ret_fetch,
                struct fed_err *err)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    int rc;

    if (fetch == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "fetch");
    }
    fetch->config = *config;
    fetch->ops = ops;
    fetch->arg = arg;
    fed_id_copy(fetch->model_id, config->model_id);
    fed_timer_init(&fetch->timer, on_timer, fetch);
    rc = fed_path_format(fetch->path, err, "%s", config->path);
    rc = rc < 0 ? rc : fed_path_format(fetch->part, err, "%s.part", config->path);
    rc = rc < 0 ? rc : begin_anew(fetch, err);
    if (rc < 0) {
        free_fetch(fetch);
        return rc;
    }
    fed_timer_start(config->loop, &fetch->timer, fed_loop_now_ms(config->loop));
    *ret_fetch = fetch;
    return 0;
}

void fetch_cancel(struct fetch *fetch, fed_event_fn gone, void *arg)
{
    fetch->gone = gone;
    fetch->gone_arg = arg;
    fed_timer_stop(&fetch->timer);
    if (fetch->call != NULL) {
        fed_rpc_call_cancel(fetch->call);
    }
    go_on(fetch);
}
