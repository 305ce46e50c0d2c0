/* What the files of this folder share. Nobody else includes this. */
#ifndef CLIENT_RPC_LINK_INSIDE_H
#define CLIENT_RPC_LINK_INSIDE_H

#include <fedn.pb-c.h>

#include "client/rpc/link.h"
#include "common/base/file.h"
#include "common/base/list.h"
#include "common/rpc/rpc_client.h"

/* protobuf-c's structs take texts as char *, and only read them. */
static inline char *message_text(const char *text)
{
    const union {
        const char *in;
        char *out;
    } cast = {text};

    return cast.out;
}

struct conn;

/* One call, from its start to its end; embedded in what it is for. */
struct ask {
    struct fed_link link; /* in its conn */
    struct conn *conn;
    struct fed_rpc_call *call; /* NULL: it could not be started */
};

/* One combiner's channel: it lives until its last call has ended. */
struct conn {
    struct link *owner;
    struct fed_rpc_channel *channel;
    struct fed_list asks;
    bool is_left;
    struct fed_event gone;
};

enum step_kind {
    STEP_NONE,
    STEP_DOWNLOAD,
    STEP_UPLOAD,
    STEP_REPORT,
};

/* The one step that is under way. While is_working the worker has the fields marked so. */
struct step {
    enum step_kind kind;
    struct ask ask;
    bool is_calling;
    bool is_working;
    bool is_cancelled;
    bool is_complete; /* download: the terminator was seen */
    bool is_refused;  /* download: the combiner has no such model */
    int code;         /* of the call, once it has ended */
    char detail[FED_RPC_DETAIL_SIZE];
    char id[FED_ID_SIZE];
    struct fed_job job;
    struct fed_rpc_in *in; /* the chunk being written */
    struct fed_slab *slab; /* upload: the file */
    size_t offset;         /* of the next chunk; download: bytes so far */
    bool is_terminated;    /* upload: the terminator is sent */
    /* worker's: */
    char path[FED_PATH_SIZE];
    char tmp[FED_PATH_SIZE];
    int fd;
    struct fed_pieces pieces;
    struct fed_map map;
    int work_rc;
    struct fed_err work_err;
};

struct link {
    struct fed_rpc *rpc;
    struct fed_workers *workers;
    struct fed_loop *loop;
    struct link_config config;
    const struct link_ops *ops;
    void *arg;
    struct conn *conn; /* NULL: none */
    unsigned n_conns;  /* with those that were left */
    struct fed_lane lane;
    struct stream *stream; /* NULL: none open */
    struct step step;
    unsigned n_told; /* statuses and metrics under way */
    bool is_stopping;
    struct fed_event stopped;
};

void ask_add(struct conn *conn, struct ask *ask);
void ask_remove(struct ask *ask);

/* Tell the step's outcome; the step is over. */
void step_finish(struct link *link, enum agent_outcome outcome, const char *text);

/* The outcome of a call's status: 0 is done, everything else is worth another try. */
void step_finish_call(struct link *link, const struct fed_rpc_end *end);

#endif /* CLIENT_RPC_LINK_INSIDE_H */
