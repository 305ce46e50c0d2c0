/* What the services of this folder share. Nobody else includes this. */
#ifndef COMBINER_RPC_FRONT_INSIDE_H
#define COMBINER_RPC_FRONT_INSIDE_H

#include <fedn.pb-c.h>
#include <string.h>

#include "combiner/rpc/front.h"
#include "common/base/list.h"
#include "common/base/strmap.h"
#include "common/rpc/rpc_server.h"

#define FRONT_UNARY_MAX    (1U << 20) /* bytes of a message that is no chunk of a model */
#define FRONT_ELEMENTS_MAX 256U       /* metrics, attributes, telemetries of one message */
#define FRONT_METHODS_MAX  48U        /* rows of all services */
#define FRONT_BEATS_MAX    4096U      /* heartbeats whose answer is held back */
#define FRONT_KEY_SIZE     24         /* a number as a map's key */

struct front {
    struct front_config config;
    struct front_parts parts;
    const struct front_ops *ops;
    void *arg;
    struct fed_rpc_server *server;
    struct fed_rpc_method methods[FRONT_METHODS_MAX];
    bool is_draining;
    uint64_t next_number;        /* of a stream or an announcement */
    struct fed_strmap streams;   /* number → struct stream */
    struct fed_strmap by_client; /* client id → its newest struct stream */
    struct fed_strmap announced; /* token → struct announced */
    struct fed_list uploads;     /* struct upload, longest idle first */
    size_t n_uploads;
    struct fed_timer upload_timer;
    struct fed_list line;  /* struct upload, by `turn`: those that wait to be read from */
    struct fed_list turns; /* struct upload, by `turn`: those that are read from or written */
    size_t n_turns;
    struct fed_strmap shares; /* connection → struct share, while it has uploads */
    struct fed_timer turn_timer;
    size_t n_beats;
    struct fed_list beats; /* struct beat: heartbeats whose answer is held back, by due_ms */
    struct fed_timer beat_timer;
};

/* An attached TaskStream. */
struct stream {
    struct front *front;
    struct fed_rpc_call *call;
    uint64_t number;
    uint64_t beat_ms; /* the last heartbeat was, or will be, answered then */
    bool is_ended;
    char client_id[FED_ID_SIZE];
};

static inline ProtobufCMessage *front_message(void *message)
{
    return message;
}

/* protobuf-c's structs hold char *; it does not write through them. */
static inline char *front_text(const char *text)
{
    char *plain;

    memcpy(&plain, &text, sizeof(plain));
    return plain;
}

void front_key(uint64_t number, char ret_key[FRONT_KEY_SIZE]);

/* Decode the request of a unary call and free `in`. NULL: the call has been finished. */
ProtobufCMessage *front_unpack(struct fed_rpc_call *call,
                               struct fed_rpc_in *in,
                               const ProtobufCMessageDescriptor *descriptor);

/* Finish with the status that may leave this port for `code`. */
void front_fail(struct fed_rpc_call *call, enum fed_code code, const char *detail);

/* Reply Response{receiver's words}. */
void front_respond(struct fed_rpc_call *call, const char *words);
void front_reply(struct fed_rpc_call *call, const ProtobufCMessage *message);

/* Who speaks: sender.client_id, else the metadata `client`, else the attached client of that name
 * on this connection. False, and an empty id: nobody. */
bool front_sender(const struct front *front,
                  const struct fed_rpc_call *call,
                  const Fedn__Client *sender,
                  char ret_id[FED_ID_SIZE]);

/* Answer Response{} once what has been posted to the mailer is written. */
void front_respond_stored(struct front *front, struct fed_rpc_call *call);

/* -- the services: rows of the method table ---------------------------------------------------- */

struct front_methods {
    const struct fed_rpc_method *methods;
    size_t n_methods;
};
struct front_methods svc_combiner_methods(void);
struct front_methods svc_connector_methods(void);
struct front_methods svc_model_methods(void);
struct front_methods svc_control_methods(void);
struct front_methods svc_health_methods(void);

void svc_combiner_end_streams(struct front *front);
void svc_connector_release_beats(struct front *front);
void svc_model_on_timer(void *arg);
void svc_model_on_turn_timer(void *arg);
void svc_connector_on_timer(void *arg);

#endif /* COMBINER_RPC_FRONT_INSIDE_H */
