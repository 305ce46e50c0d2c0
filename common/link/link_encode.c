#include <assert.h>
#include <confed/v1/federation.pb-c.h>
#include <stdlib.h>

#include "common/base/text.h"
#include "common/base/unconst.h"
#include "common/link/link_codec.h"

#define PART_CLIENTS 1500U /* clients or entries in one part of a Hello: each below 600 bytes */

/* protobuf-c's structs hold char *; it does not write through them. */
static char *text(const char *value)
{
    return fed_unconst(value);
}

/* Free text. A peer refuses a message with text that is no UTF-8, and would do so for ever: rather
 * this one text is lost than the whole link. */
static char *free_text(const char *value)
{
    return text(fed_text_is_utf8(value) ? value : "(unreadable)");
}

static void set_entry(Confed__V1__AdmittedEntry *to, const struct fed_entry *from)
{
    confed__v1__admitted_entry__init(to);
    to->client_id = text(from->client_id);
    to->update_id = text(from->update_id);
    to->examples = from->examples;
}

static void set_refused(Confed__V1__RefusedEntry *to, const struct fed_refused *from)
{
    confed__v1__refused_entry__init(to);
    to->client_id = text(from->client_id);
    to->update_id = text(from->update_id);
    to->reason = from->reason;
    to->detail = free_text(from->detail);
    to->is_own_connection = from->is_own_connection;
}

static void set_client(Confed__V1__ClientState *to, const struct fed_client_state *from)
{
    confed__v1__client_state__init(to);
    to->client_id = text(from->client_id);
    to->phase = (Confed__V1__ClientPhase)from->phase;
    to->name = free_text(from->name);
    to->ip = free_text(from->ip);
}

static int send_up(Confed__V1__Up *up, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    return send(arg, fed_rpc_out_pack(&up->base), err);
}

/* One part: some clients, or some of one round's entries and refusals. */
struct part {
    Confed__V1__Hello hello;
    Confed__V1__HelloRound round;
    Confed__V1__HelloRound *rounds[1];
    Confed__V1__ClientState clients[PART_CLIENTS];
    Confed__V1__ClientState *client_list[PART_CLIENTS];
    Confed__V1__AdmittedEntry admitted[PART_CLIENTS];
    Confed__V1__AdmittedEntry *admitted_list[PART_CLIENTS];
    Confed__V1__RefusedEntry refused[PART_CLIENTS];
    Confed__V1__RefusedEntry *refused_list[PART_CLIENTS];
};

static void begin_part(struct part *part, const struct fed_hello *hello, uint32_t number)
{
    confed__v1__hello__init(&part->hello);
    part->hello.part = number;
    part->hello.combiner_id = text(hello->combiner_id);
    part->hello.boot_id = text(hello->boot_id);
    part->hello.name = free_text(hello->name);
    part->hello.advertise = free_text(hello->advertise);
    part->hello.version = free_text(hello->version);
    part->hello.protocol = hello->protocol;
    part->hello.clients_max = hello->clients_max;
    part->hello.clients = part->client_list;
    part->hello.rounds = part->rounds;
}

static size_t put_clients(struct part *part, const struct fed_hello *hello, size_t first)
{
    size_t n = 0;

    for (; n < PART_CLIENTS && first + n < hello->n_clients; n++) {
        set_client(&part->clients[n], &hello->clients[first + n]);
        part->client_list[n] = &part->clients[n];
    }
    part->hello.n_clients = n;
    return n;
}

/* Put the entries from `first` on (admitted, then refused) of a round; returns how many. */
static size_t put_round(struct part *part, const struct fed_hello_round *round, size_t first)
{
    size_t n = 0;

    confed__v1__hello_round__init(&part->round);
    part->round.round_id = text(round->round_id);
    part->round.plan_seq = round->plan_seq;
    part->round.state = round->state;
    part->round.admitted = part->admitted_list;
    part->round.refused = part->refused_list;
    for (; n < PART_CLIENTS && first + n < round->n_admitted; n++) {
        const size_t k = part->round.n_admitted++;
        set_entry(&part->admitted[k], &round->admitted[first + n]);
        part->admitted_list[k] = &part->admitted[k];
    }
    for (; n < PART_CLIENTS && first + n < round->n_admitted + round->n_refused; n++) {
        const size_t k = part->round.n_refused++;
        set_refused(&part->refused[k], &round->refused[first + n - round->n_admitted]);
        part->refused_list[k] = &part->refused[k];
    }
    part->rounds[0] = &part->round;
    part->hello.n_rounds = 1;
    return n;
}

static int send_part(struct part *part, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    Confed__V1__Up up = CONFED__V1__UP__INIT;

    up.message_case = CONFED__V1__UP__MESSAGE_HELLO;
    up.hello = &part->hello;
    return send_up(&up, send, arg, err);
}

static int send_rounds(struct part *part,
                       const struct fed_hello *hello,
                       uint32_t *number,
                       fed_link_send_fn send,
                       void *arg,
                       struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < hello->n_rounds && rc == 0; i++) {
        const struct fed_hello_round *round = &hello->rounds[i];
        size_t done = 0;
        do {
            begin_part(part, hello, (*number)++);
            done += put_round(part, round, done);
            rc = send_part(part, send, arg, err);
        } while (rc == 0 && done < round->n_admitted + round->n_refused);
    }
    return rc;
}

static int
send_hello(const struct fed_hello *hello, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    struct part *part = calloc(1, sizeof(*part));
    uint32_t number = 0;
    size_t done = 0;
    int rc = 0;

    if (part == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "Hello");
    }
    rc = send_rounds(part, hello, &number, send, arg, err);
    do {
        begin_part(part, hello, number++);
        done += put_clients(part, hello, done);
        part->hello.is_last = done == hello->n_clients;
        rc = rc < 0 ? rc : send_part(part, send, arg, err);
    } while (rc == 0 && done < hello->n_clients);
    free(part);
    return rc;
}

int fed_up_encode(const struct fed_up *up, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    Confed__V1__Up out = CONFED__V1__UP__INIT;
    Confed__V1__ClientState client;
    Confed__V1__Admitted admitted = CONFED__V1__ADMITTED__INIT;
    Confed__V1__AdmittedEntry entry;
    Confed__V1__Refused refused = CONFED__V1__REFUSED__INIT;
    Confed__V1__RefusedEntry refusal;
    Confed__V1__Record record = CONFED__V1__RECORD__INIT;

    switch (up->type) {
    case FED_UP_HELLO:
        return send_hello(&up->hello, send, arg, err);
    case FED_UP_CLIENT_STATE:
        set_client(&client, &up->client_state);
        out.message_case = CONFED__V1__UP__MESSAGE_CLIENT_STATE;
        out.client_state = &client;
        break;
    case FED_UP_ADMITTED:
        set_entry(&entry, &up->admitted);
        admitted.round_id = text(up->round_id);
        admitted.plan_seq = up->plan_seq;
        admitted.entry = &entry;
        out.message_case = CONFED__V1__UP__MESSAGE_ADMITTED;
        out.admitted = &admitted;
        break;
    case FED_UP_REFUSED:
        set_refused(&refusal, &up->refused);
        refused.round_id = text(up->round_id);
        refused.entry = &refusal;
        out.message_case = CONFED__V1__UP__MESSAGE_REFUSED;
        out.refused = &refused;
        break;
    case FED_UP_RECORD:
        record.seq = up->record.seq;
        record.kind = up->record.kind;
        record.json = up->record.json;
        out.message_case = CONFED__V1__UP__MESSAGE_RECORD;
        out.record = &record;
        break;
    }
    return send_up(&out, send, arg, err);
}

/* -- down -------------------------------------------------------------------------------------- */

/* Pointers to the ids of an array, as protobuf-c wants them; free() them. */
static char **list_ids(char (*ids)[FED_ID_SIZE], size_t n_ids)
{
    char **list = calloc(n_ids + 1, sizeof(*list));

    for (size_t i = 0; i < n_ids && list != NULL; i++) {
        list[i] = ids[i];
    }
    return list;
}

static int send_down(Confed__V1__Down *down, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    return send(arg, fed_rpc_out_pack(&down->base), err);
}

static ProtobufCBinaryData hash(const uint8_t *bytes, size_t size)
{
    return (ProtobufCBinaryData){size, fed_unconst(bytes)};
}

static int
send_plan(const struct fed_plan *plan, fed_link_send_fn send, void *arg, struct fed_err *err)
{
    Confed__V1__Down down = CONFED__V1__DOWN__INIT;
    Confed__V1__Plan out = CONFED__V1__PLAN__INIT;
    char **ids = list_ids(plan->client_ids, plan->n_clients);
    int rc;

    if (ids == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "plan");
    }
    out.session_id = text(plan->session_id);
    out.round_id = text(plan->round_id);
    out.round_number = plan->round_number;
    out.plan_seq = plan->plan_seq;
    out.base_model_id = text(plan->base_model_id);
    out.base_sha256 = hash(plan->base_sha256, FED_SHA256_SIZE);
    out.base_xxh128 = hash(plan->base_xxh128, FED_XXH128_SIZE);
    out.base_size_bytes = plan->base_size_bytes;
    out.scale_bits = plan->scale_bits;
    out.n_scale_bits = plan->n_tensors;
    out.limit_bits = plan->limit_bits;
    out.examples_max = plan->examples_max;
    out.task_data = plan->task_data;
    out.client_ids = ids;
    out.n_client_ids = plan->n_clients;
    out.time_left_ms = plan->time_left_ms;
    down.message_case = CONFED__V1__DOWN__MESSAGE_PLAN;
    down.plan = &out;
    rc = send_down(&down, send, arg, err);
    free(ids);
    return rc;
}

static int send_validate(const struct fed_validate *validate,
                         fed_link_send_fn send,
                         void *arg,
                         struct fed_err *err)
{
    Confed__V1__Down down = CONFED__V1__DOWN__INIT;
    Confed__V1__Validate out = CONFED__V1__VALIDATE__INIT;
    char **ids = list_ids(validate->client_ids, validate->n_clients);
    int rc;

    if (ids == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "validation");
    }
    out.session_id = text(validate->session_id);
    out.round_id = text(validate->round_id);
    out.model_id = text(validate->model_id);
    out.sha256 = hash(validate->sha256, FED_SHA256_SIZE);
    out.xxh128 = hash(validate->xxh128, FED_XXH128_SIZE);
    out.size_bytes = validate->size_bytes;
    out.client_ids = ids;
    out.n_client_ids = validate->n_clients;
    out.time_left_ms = validate->time_left_ms;
    out.task_data = validate->task_data;
    down.message_case = CONFED__V1__DOWN__MESSAGE_VALIDATE;
    down.validate = &out;
    rc = send_down(&down, send, arg, err);
    free(ids);
    return rc;
}

int fed_down_encode(const struct fed_down *down,
                    fed_link_send_fn send,
                    void *arg,
                    struct fed_err *err)
{
    Confed__V1__Down out = CONFED__V1__DOWN__INIT;
    Confed__V1__Welcome welcome = CONFED__V1__WELCOME__INIT;
    Confed__V1__Reject reject = CONFED__V1__REJECT__INIT;
    Confed__V1__Close close = CONFED__V1__CLOSE__INIT;
    Confed__V1__Done done = CONFED__V1__DONE__INIT;
    Confed__V1__RecordAck ack = CONFED__V1__RECORD_ACK__INIT;
    Confed__V1__Ahead ahead = CONFED__V1__AHEAD__INIT;

    switch (down->type) {
    case FED_DOWN_PLAN:
        return send_plan(&down->plan, send, arg, err);
    case FED_DOWN_VALIDATE:
        return send_validate(&down->validate, send, arg, err);
    case FED_DOWN_WELCOME:
        welcome.reducer_boot_id = text(down->welcome.reducer_boot_id);
        welcome.version = free_text(down->welcome.version);
        welcome.heartbeat_limit_ms = down->welcome.heartbeat_limit_ms;
        out.message_case = CONFED__V1__DOWN__MESSAGE_WELCOME;
        out.welcome = &welcome;
        break;
    case FED_DOWN_REJECT:
        reject.reason = free_text(down->reject.reason);
        out.message_case = CONFED__V1__DOWN__MESSAGE_REJECT;
        out.reject = &reject;
        break;
    case FED_DOWN_CLOSE:
        close.round_id = text(down->close.round_id);
        close.plan_seq = down->close.plan_seq;
        out.message_case = CONFED__V1__DOWN__MESSAGE_CLOSE;
        out.close = &close;
        break;
    case FED_DOWN_DONE:
        done.round_id = text(down->done.round_id);
        done.outcome = down->done.outcome;
        done.model_id = text(down->done.model_id);
        out.message_case = CONFED__V1__DOWN__MESSAGE_DONE;
        out.done = &done;
        break;
    case FED_DOWN_RECORD_ACK:
        ack.seq = down->record_ack.seq;
        out.message_case = CONFED__V1__DOWN__MESSAGE_RECORD_ACK;
        out.record_ack = &ack;
        break;
    case FED_DOWN_AHEAD:
        ahead.model_id = text(down->ahead.model_id);
        ahead.xxh128 = hash(down->ahead.xxh128, FED_XXH128_SIZE);
        ahead.size_bytes = down->ahead.size_bytes;
        out.message_case = CONFED__V1__DOWN__MESSAGE_AHEAD;
        out.ahead = &ahead;
        break;
    }
    return send_down(&out, send, arg, err);
}
