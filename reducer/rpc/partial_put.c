/* PutPartial: a partial sum is received into a file, checked as a whole, and judged by the owner.
 *
 *   OPENING --first message allowed--> RECEIVING <--chunk written by a worker--> ...
 *      RECEIVING --peer has sent all--> CHECKING --hash and header hold--> judged, answered
 *
 * Fails: not awaited (answered at once: OVER, STALE), larger than announced or allowed, incomplete,
 * a hash that does not hold (CORRUPT), nothing moving for FEDERATION_PUT_IDLE_MS. A second call of
 * one combiner ends the first.
 */
#include <confed/v1/federation.pb-c.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/model/checksum.h"
#include "reducer/rpc/federation_inside.h"

#define DATA_FIELD 5 /* PartialChunk.data */

enum put_state {
    PUT_OPENING,
    PUT_RECEIVING,
    PUT_CHECKING,
    PUT_ANSWERED,
};

struct partial_put {
    struct fed_link link;
    struct federation_server *server;
    struct fed_rpc_call *call; /* NULL once it has closed */
    enum put_state state;
    char round_id[FED_ROUND_ID_SIZE];
    char combiner_id[FED_ID_SIZE];
    uint64_t plan_seq;
    uint64_t load_us; /* what it cost the combiner */
    uint64_t sum_us;
    uint64_t size_bytes; /* announced */
    uint64_t received;
    uint64_t due_ms;
    struct fed_job job;
    bool is_busy;            /* a job is on a worker; what follows is the job's then */
    struct fed_rpc_in *in;   /* owned: the chunk that is being written */
    struct fed_rpc_in *next; /* owned: what came meanwhile; NULL with has_next: the end */
    bool has_next;
    struct fed_pieces data;
    char path[FED_PATH_SIZE];
    int fd;
    struct fed_xxh128 *hash; /* owned: of all but the trailer */
    int rc;
    struct fed_err err;
    struct fed_partial partial; /* owned */
};

static void free_put(struct partial_put *put)
{
    fed_link_remove(&put->link);
    put->server->n_puts--;
    (void)fed_rpc_in_free(put->in);
    (void)fed_rpc_in_free(put->next);
    if (put->fd >= 0) {
        (void)close(put->fd);
    }
    if (put->path[0] != '\0') {
        (void)unlink(put->path);
    }
    (void)fed_xxh128_free(put->hash);
    fed_partial_deinit(&put->partial);
    free(put);
}

static void answer(struct partial_put *put, enum fed_verdict verdict, const char *detail)
{
    Confed__V1__PartialAck ack;
    char text[FED_LINK_DETAIL_SIZE];

    (void)snprintf(text, sizeof(text), "%s", detail);
    confed__v1__partial_ack__init(&ack);
    ack.verdict = (Confed__V1__PartialVerdict)verdict;
    ack.detail = text;
    put->state = PUT_ANSWERED;
    if (put->call != NULL) {
        fed_rpc_call_reply(put->call, fed_rpc_out_pack(&ack.base));
    }
}

static void refuse(struct partial_put *put, enum fed_rpc_status status, const char *detail)
{
    put->state = PUT_ANSWERED;
    fed_rpc_call_finish(put->call, status, detail);
}

static void run(struct partial_put *put, fed_job_fn work, fed_event_fn done)
{
    put->is_busy = true;
    fed_job_init(&put->job, work, done, put);
    federation_server_job_begin(put->server, &put->job);
}

/* After a job: false when the call has ended meanwhile, and the put is gone. */
static bool settle(struct partial_put *put)
{
    put->is_busy = false;
    put->due_ms = fed_loop_now_ms(put->server->config.loop) + FEDERATION_PUT_IDLE_MS;
    if (put->call == NULL) {
        free_put(put);
        return false;
    }
    return true;
}

/* -- receiving ----------------------------------------------------------------------------------
 */

/* How much of the chunk comes before the trailer. */
static size_t size_of_hashed(const struct partial_put *put)
{
    const uint64_t size = put->size_bytes < FED_DIGEST_SIZE ? 0 : put->size_bytes - FED_DIGEST_SIZE;
    const uint64_t left = size < put->received ? 0 : size - put->received;

    return put->data.size < left ? put->data.size : (size_t)left;
}

static void write_chunk(void *arg)
{
    struct partial_put *put = arg;

    put->rc = 0;
    if (put->fd < 0) {
        put->fd = open(put->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        put->rc = put->fd < 0 ? fed_file_error(&put->err, "create", put->path) : 0;
    }
    if (put->rc == 0 && put->hash == NULL) {
        put->rc = fed_xxh128_new(&put->hash, &put->err);
    }
    if (put->rc == 0) {
        fed_xxh128_add_pieces(put->hash, &put->data, size_of_hashed(put));
        put->rc = fed_file_write_pieces(put->fd, &put->data, &put->err);
    }
}

static void hear(struct partial_put *put, struct fed_rpc_in *in);

static void go_on(struct partial_put *put)
{
    if (put->rc < 0) {
        fed_log(FED_LOG_ERROR, "partial", "not_kept", "combiner=%s why=\"%s\"", put->combiner_id,
                put->err.msg);
        refuse(put, FED_RPC_UNAVAILABLE, put->err.msg);
        return;
    }
    put->received += put->data.size;
    if (put->has_next) {
        put->has_next = false;
        hear(put, FED_TAKE(put->next));
    }
}

static void on_written(void *arg)
{
    struct partial_put *put = arg;
    struct federation_server *server = put->server;

    put->in = fed_rpc_in_free(put->in);
    if (settle(put)) {
        go_on(put);
    }
    federation_server_job_end(server);
}

/* A second call of one combiner means that it has given up the first. */
static void end_others(struct partial_put *put)
{
    fed_list_for_each (it, &put->server->puts) {
        struct partial_put *other = FED_CONTAINER_OF(it, struct partial_put, link);
        if (other != put && other->state == PUT_RECEIVING && other->call != NULL &&
            strcmp(other->combiner_id, put->combiner_id) == 0) {
            fed_rpc_call_cancel(other->call);
        }
    }
}

/* The first message: is it awaited? */
static void open_put(struct partial_put *put, const Confed__V1__PartialChunk *chunk)
{
    struct federation_server *server = put->server;
    enum fed_verdict verdict = 0;
    uint64_t size_max;

    if (!fed_id_is_valid(chunk->round_id) || strlen(chunk->round_id) >= FED_ROUND_ID_SIZE ||
        !fed_id_is_valid(chunk->combiner_id)) {
        refuse(put, FED_RPC_INVALID_ARGUMENT, "round_id or combiner_id is missing or not allowed");
        return;
    }
    (void)snprintf(put->round_id, sizeof(put->round_id), "%s", chunk->round_id);
    fed_id_copy(put->combiner_id, chunk->combiner_id);
    put->plan_seq = chunk->plan_seq;
    put->size_bytes = chunk->size_bytes;
    put->load_us = chunk->load_us;
    put->sum_us = chunk->sum_us;
    size_max = server->ops->check_partial(server->arg, put->round_id, put->combiner_id,
                                          put->plan_seq, &verdict);
    if (size_max == 0 && verdict == 0) {
        refuse(put, FED_RPC_UNAVAILABLE, "the reducer is starting: try again");
    } else if (size_max == 0) {
        answer(put, verdict, "this partial sum is not awaited");
    } else if (put->size_bytes > size_max) {
        answer(put, FED_VERDICT_CORRUPT, "larger than the plan allows");
    } else if (federation_server_path(server, "partial", put->path, &put->err) < 0) {
        refuse(put, FED_RPC_UNAVAILABLE, put->err.msg);
    } else {
        put->state = PUT_RECEIVING;
        end_others(put);
    }
}

static void take_chunk(struct partial_put *put, struct fed_rpc_in *in)
{
    ProtobufCMessage *message = NULL;
    int rc = fed_rpc_in_unpack_pieces(in, &confed__v1__partial_chunk__descriptor, DATA_FIELD,
                                      &message, &put->data, &put->err);

    if (rc < 0) {
        (void)fed_rpc_in_free(in);
        refuse(put, FED_RPC_INVALID_ARGUMENT, put->err.msg);
        return;
    }
    if (put->state == PUT_OPENING) {
        open_put(put, (const Confed__V1__PartialChunk *)(const void *)message);
    }
    fed_rpc_message_free(message);
    if (put->state != PUT_RECEIVING) {
        (void)fed_rpc_in_free(in);
    } else if (put->data.size > put->size_bytes - put->received) {
        (void)fed_rpc_in_free(in);
        answer(put, FED_VERDICT_CORRUPT, "more bytes than announced");
    } else if (put->data.size == 0) {
        (void)fed_rpc_in_free(in);
        fed_rpc_call_read(put->call);
    } else {
        put->in = in;
        run(put, write_chunk, on_written);
        fed_rpc_call_read(put->call); /* the next one comes while this one is written */
    }
}

/* -- checking -----------------------------------------------------------------------------------
 */

static void check(void *arg)
{
    struct partial_put *put = arg;
    uint8_t digest[FED_DIGEST_SIZE] = {0};

    if (put->fd >= 0) {
        (void)close(put->fd);
        put->fd = -1;
    }
    if (put->hash != NULL) { /* NULL: nothing has come, nor is there a file */
        fed_xxh128_finish(put->hash, digest);
    }
    put->rc = fed_partial_open_hashed(put->path, digest, &put->partial, &put->err);
}

static void judge(struct partial_put *put)
{
    struct federation_server *server = put->server;
    char detail[FED_LINK_DETAIL_SIZE] = "";
    enum fed_verdict verdict;

    if (put->rc == -FED_E_CORRUPT || put->rc == -FED_E_NOT_FOUND) {
        answer(put, FED_VERDICT_CORRUPT, put->err.msg);
        return;
    }
    if (put->rc < 0) {
        refuse(put, FED_RPC_UNAVAILABLE, put->err.msg);
        return;
    }
    if (strcmp(put->partial.round_id, put->round_id) != 0 ||
        strcmp(put->partial.combiner_id, put->combiner_id) != 0 ||
        put->partial.plan_seq != put->plan_seq) {
        answer(put, FED_VERDICT_CORRUPT, "its header names another round, combiner or plan");
        return;
    }
    put->partial.load_us = put->load_us;
    put->partial.sum_us = put->sum_us;
    verdict = server->ops->on_partial(server->arg, put->path, &put->partial, detail);
    put->path[0] = '\0'; /* the owner's now */
    answer(put, verdict, detail);
}

static void on_checked(void *arg)
{
    struct partial_put *put = arg;
    struct federation_server *server = put->server;

    if (settle(put)) {
        judge(put);
    }
    federation_server_job_end(server);
}

/* -- the call -----------------------------------------------------------------------------------
 */

static void hear(struct partial_put *put, struct fed_rpc_in *in)
{
    if (put->state == PUT_ANSWERED) {
        (void)fed_rpc_in_free(in);
    } else if (in != NULL) {
        take_chunk(put, in);
    } else if (put->state == PUT_RECEIVING && put->received == put->size_bytes) {
        put->state = PUT_CHECKING;
        run(put, check, on_checked);
    } else {
        refuse(put, FED_RPC_INVALID_ARGUMENT, "the partial sum is not complete");
    }
}

static void on_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct partial_put *put = arg;

    (void)call;
    put->due_ms = fed_loop_now_ms(put->server->config.loop) + FEDERATION_PUT_IDLE_MS;
    if (put->is_busy) {
        put->next = in; /* nothing more is read before it is heard */
        put->has_next = true;
    } else {
        hear(put, in);
    }
}

static void on_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct partial_put *put = arg;

    (void)call;
    (void)end;
    put->call = NULL;
    if (!put->is_busy) {
        free_put(put);
    }
}

static const struct fed_rpc_call_ops call_ops = {on_message, NULL, on_closed};

void partial_put_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct federation_server *server = arg;
    struct partial_put *put = server->n_puts < FEDERATION_PUTS_MAX ? calloc(1, sizeof(*put)) : NULL;

    (void)fed_rpc_in_free(request);
    if (put == NULL) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "too many partial sums: try again later");
        return;
    }
    put->server = server;
    put->call = call;
    put->fd = -1;
    put->due_ms = fed_loop_now_ms(server->config.loop) + FEDERATION_PUT_IDLE_MS;
    fed_list_add(&server->puts, &put->link);
    server->n_puts++;
    fed_rpc_call_set(call, &call_ops, put);
    federation_server_want(server, put->due_ms);
    fed_rpc_call_read(call);
}

uint64_t partial_put_look(struct federation_server *server, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;

    fed_list_for_each (it, &server->puts) {
        struct partial_put *put = FED_CONTAINER_OF(it, struct partial_put, link);
        if (put->is_busy || put->call == NULL) {
            due_ms =
                now_ms + FEDERATION_PUT_IDLE_MS < due_ms ? now_ms + FEDERATION_PUT_IDLE_MS : due_ms;
        } else if (now_ms >= put->due_ms) {
            fed_rpc_call_cancel(put->call); /* on_closed follows from the loop */
        } else {
            due_ms = put->due_ms < due_ms ? put->due_ms : due_ms;
        }
    }
    return due_ms;
}
