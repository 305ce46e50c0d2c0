#include <confed/v1/federation.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/num.h"
#include "common/base/text.h"
#include "common/link/link_codec.h"

#define PARTS_MAX     4096U /* of one Hello */
#define ROUNDS_MAX    64U   /* in one Hello */
#define TASK_DATA_MAX ((size_t)256 * 1024)
#define RECORD_MAX    ((size_t)512 * 1024)

static int bad(struct fed_err *err, const char *field)
{
    return fed_err_set(err, FED_E_INVALID, "%s is missing or not allowed", field);
}

/* Copy an id; an empty one only where that has a meaning. */
static bool get_id(char *ret, size_t size, const char *from, bool may_be_empty)
{
    if (from == NULL || strlen(from) >= size || (from[0] == '\0' && !may_be_empty) ||
        (from[0] != '\0' && !fed_id_is_valid(from))) {
        return false;
    }
    memcpy(ret, from, strlen(from) + 1);
    return true;
}

static bool get_round_id(char ret[FED_ROUND_ID_SIZE], const char *from)
{
    return get_id(ret, FED_ROUND_ID_SIZE, from, false);
}

/* Free text for people: cut to its size, between two characters. */
static void get_text(char *ret, size_t size, const char *from)
{
    fed_text_copy(ret, size, fed_view_str(from == NULL ? "" : from));
}

static bool get_hash(uint8_t *ret, size_t size, const ProtobufCBinaryData *from)
{
    if (from->len != size) {
        return false;
    }
    memcpy(ret, from->data, size);
    return true;
}

static bool get_entry(struct fed_entry *ret, const Confed__V1__AdmittedEntry *from)
{
    ret->examples = from == NULL ? 0 : from->examples;
    return from != NULL && get_id(ret->client_id, sizeof(ret->client_id), from->client_id, false) &&
           get_id(ret->update_id, sizeof(ret->update_id), from->update_id, false);
}

static bool get_refused(struct fed_refused *ret, const Confed__V1__RefusedEntry *from)
{
    if (from == NULL || from->reason == 0) {
        return false;
    }
    ret->reason =
        from->reason < FED_REFUSAL_MAX ? (enum fed_refusal)from->reason : FED_REFUSAL_MALFORMED;
    ret->is_own_connection = from->is_own_connection;
    get_text(ret->detail, sizeof(ret->detail), from->detail);
    return get_id(ret->client_id, sizeof(ret->client_id), from->client_id, true) &&
           get_id(ret->update_id, sizeof(ret->update_id), from->update_id, true);
}

static bool get_client(struct fed_client_state *ret, const Confed__V1__ClientState *from)
{
    if (from == NULL || (int)from->phase < FED_CLIENT_ATTACHED ||
        (int)from->phase > FED_CLIENT_GONE) {
        return false;
    }
    ret->phase = (enum fed_client_phase)from->phase;
    get_text(ret->name, sizeof(ret->name), from->name);
    get_text(ret->ip, sizeof(ret->ip), from->ip);
    return get_id(ret->client_id, sizeof(ret->client_id), from->client_id, false);
}

/* -- Hello ------------------------------------------------------------------------------------- */

void fed_hello_joiner_deinit(struct fed_hello_joiner *joiner)
{
    fed_hello_deinit(&joiner->hello);
    joiner->n_parts = 0;
}

/* Make room for n more items; false when there is no memory or they are too many. */
static bool extend(void **items, size_t n_items, size_t n_more, size_t item_size, size_t items_max)
{
    size_t bytes = 0;
    void *grown;

    if (n_more > items_max || n_items > items_max - n_more ||
        !fed_size_mul(n_items + n_more + 1, item_size, &bytes)) {
        return false;
    }
    grown = realloc(*items, bytes);
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    return true;
}

static bool join_clients(struct fed_hello *hello, const Confed__V1__Hello *part)
{
    if (!extend((void **)&hello->clients, hello->n_clients, part->n_clients,
                sizeof(*hello->clients), FED_LINK_CLIENTS_MAX)) {
        return false;
    }
    for (size_t i = 0; i < part->n_clients; i++) {
        struct fed_client_state *client = &hello->clients[hello->n_clients];
        *client = (struct fed_client_state){0};
        if (!get_client(client, part->clients[i])) {
            return false;
        }
        hello->n_clients++;
    }
    return true;
}

static bool join_entries(struct fed_hello_round *round, const Confed__V1__HelloRound *part)
{
    if (!extend((void **)&round->admitted, round->n_admitted, part->n_admitted,
                sizeof(*round->admitted), FED_LINK_CLIENTS_MAX) ||
        !extend((void **)&round->refused, round->n_refused, part->n_refused,
                sizeof(*round->refused), FED_LINK_CLIENTS_MAX)) {
        return false;
    }
    for (size_t i = 0; i < part->n_admitted; i++) {
        struct fed_entry *entry = &round->admitted[round->n_admitted];
        *entry = (struct fed_entry){0};
        if (!get_entry(entry, part->admitted[i])) {
            return false;
        }
        round->n_admitted++;
    }
    for (size_t i = 0; i < part->n_refused; i++) {
        struct fed_refused *refused = &round->refused[round->n_refused];
        *refused = (struct fed_refused){0};
        if (!get_refused(refused, part->refused[i])) {
            return false;
        }
        round->n_refused++;
    }
    return true;
}

static bool join_round(struct fed_hello *hello, const Confed__V1__HelloRound *part)
{
    struct fed_hello_round *round = NULL;

    for (size_t i = 0; i < hello->n_rounds; i++) {
        if (strcmp(hello->rounds[i].round_id, part->round_id) == 0) {
            round = &hello->rounds[i];
        }
    }
    if (round == NULL) {
        if (!extend((void **)&hello->rounds, hello->n_rounds, 1, sizeof(*hello->rounds),
                    ROUNDS_MAX)) {
            return false;
        }
        round = &hello->rounds[hello->n_rounds];
        *round = (struct fed_hello_round){0};
        if (!get_round_id(round->round_id, part->round_id) ||
            part->state < FED_LINK_ROUND_PLANNED || part->state > FED_LINK_ROUND_SEALED) {
            return false;
        }
        round->plan_seq = part->plan_seq;
        round->state = (enum fed_link_round_state)part->state;
        hello->n_rounds++;
    }
    return join_entries(round, part);
}

static bool join_head(struct fed_hello *hello, const Confed__V1__Hello *part)
{
    hello->protocol = part->protocol;
    hello->clients_max = part->clients_max;
    get_text(hello->name, sizeof(hello->name), part->name);
    get_text(hello->advertise, sizeof(hello->advertise), part->advertise);
    get_text(hello->version, sizeof(hello->version), part->version);
    return get_id(hello->combiner_id, sizeof(hello->combiner_id), part->combiner_id, false) &&
           get_id(hello->boot_id, sizeof(hello->boot_id), part->boot_id, false);
}

static int join_hello(struct fed_hello_joiner *joiner,
                      const Confed__V1__Hello *part,
                      struct fed_up *ret_up,
                      struct fed_err *err)
{
    bool ok = true;

    if (part->part == 0) {
        fed_hello_joiner_deinit(joiner);
    }
    if (part->part != joiner->n_parts || part->part >= PARTS_MAX) {
        return fed_err_set(err, FED_E_INVALID, "Hello part %u, want %u", part->part,
                           joiner->n_parts);
    }
    ok = part->part == 0 ? join_head(&joiner->hello, part)
                         : strcmp(joiner->hello.boot_id, part->boot_id) == 0;
    ok = ok && join_clients(&joiner->hello, part);
    for (size_t i = 0; i < part->n_rounds && ok; i++) {
        ok = join_round(&joiner->hello, part->rounds[i]);
    }
    if (!ok) {
        fed_hello_joiner_deinit(joiner);
        return bad(err, "a field of Hello");
    }
    joiner->n_parts++;
    if (!part->is_last) {
        return FED_LINK_MORE;
    }
    *ret_up = (struct fed_up){.type = FED_UP_HELLO, .hello = joiner->hello};
    *joiner = (struct fed_hello_joiner){0};
    return 0;
}

static int get_record(struct fed_record *ret, const Confed__V1__Record *from, struct fed_err *err)
{
    if (from->kind < FED_RECORD_STATUS || from->kind > FED_RECORD_PREDICTION ||
        from->json == NULL || strlen(from->json) > RECORD_MAX) {
        return bad(err, "record");
    }
    ret->seq = from->seq;
    ret->kind = (enum fed_record_kind)from->kind;
    ret->json = strdup(from->json);
    return ret->json != NULL ? 0 : fed_err_set(err, FED_E_NOMEM, "record");
}

static int convert_up(const Confed__V1__Up *in,
                      struct fed_hello_joiner *joiner,
                      struct fed_up *ret_up,
                      struct fed_err *err)
{
    struct fed_up up = {0};
    int rc = 0;

    switch (in->message_case) {
    case CONFED__V1__UP__MESSAGE_HELLO:
        return join_hello(joiner, in->hello, ret_up, err);
    case CONFED__V1__UP__MESSAGE_CLIENT_STATE:
        up.type = FED_UP_CLIENT_STATE;
        rc = get_client(&up.client_state, in->client_state) ? 0 : bad(err, "client state");
        break;
    case CONFED__V1__UP__MESSAGE_ADMITTED:
        up.type = FED_UP_ADMITTED;
        up.plan_seq = in->admitted->plan_seq;
        rc = get_round_id(up.round_id, in->admitted->round_id) &&
                     get_entry(&up.admitted, in->admitted->entry)
                 ? 0
                 : bad(err, "admitted entry");
        break;
    case CONFED__V1__UP__MESSAGE_REFUSED:
        up.type = FED_UP_REFUSED;
        rc = get_round_id(up.round_id, in->refused->round_id) &&
                     get_refused(&up.refused, in->refused->entry)
                 ? 0
                 : bad(err, "refused entry");
        break;
    case CONFED__V1__UP__MESSAGE_RECORD:
        up.type = FED_UP_RECORD;
        rc = get_record(&up.record, in->record, err);
        break;
    case CONFED__V1__UP__MESSAGE__NOT_SET:
    case _CONFED__V1__UP__MESSAGE__CASE_IS_INT_SIZE:
        rc = bad(err, "message");
        break;
    }
    if (rc == 0) {
        *ret_up = up;
    }
    return rc;
}

int fed_up_decode(struct fed_rpc_in *in,
                  struct fed_hello_joiner *joiner,
                  struct fed_up *ret_up,
                  struct fed_err *err)
{
    ProtobufCMessage *message = NULL;
    int rc = fed_rpc_in_unpack(in, &confed__v1__up__descriptor, &message, err);

    if (rc < 0) {
        return rc;
    }
    rc = convert_up((const Confed__V1__Up *)message, joiner, ret_up, err);
    fed_rpc_message_free(message);
    return rc;
}

/* -- down -------------------------------------------------------------------------------------- */

static char *get_data(const char *from, bool *ok)
{
    char *copy = *ok && from != NULL && strlen(from) <= TASK_DATA_MAX ? strdup(from) : NULL;

    *ok = copy != NULL;
    return copy;
}

static void *get_ids(char **from, size_t n_ids, bool *ok)
{
    char(*ids)[FED_ID_SIZE] =
        *ok && n_ids <= FED_LINK_CLIENTS_MAX ? calloc(n_ids + 1, FED_ID_SIZE) : NULL;

    *ok = ids != NULL;
    for (size_t i = 0; i < n_ids && *ok; i++) {
        *ok = get_id(ids[i], FED_ID_SIZE, from[i], false);
    }
    return ids;
}

static int get_plan(struct fed_plan *ret, const Confed__V1__Plan *from, struct fed_err *err)
{
    bool ok = get_id(ret->session_id, FED_ID_SIZE, from->session_id, false) &&
              get_round_id(ret->round_id, from->round_id) &&
              get_id(ret->base_model_id, FED_ID_SIZE, from->base_model_id, false) &&
              get_hash(ret->base_sha256, FED_SHA256_SIZE, &from->base_sha256) &&
              get_hash(ret->base_xxh128, FED_XXH128_SIZE, &from->base_xxh128) &&
              from->n_scale_bits <= FED_LINK_TENSORS_MAX && from->limit_bits <= 51;

    ret->round_number = from->round_number;
    ret->plan_seq = from->plan_seq;
    ret->base_size_bytes = from->base_size_bytes;
    ret->limit_bits = from->limit_bits;
    ret->examples_max = from->examples_max;
    ret->time_left_ms = from->time_left_ms;
    ret->task_data = get_data(from->task_data, &ok);
    ret->client_ids = get_ids(from->client_ids, from->n_client_ids, &ok);
    ret->n_clients = ok ? from->n_client_ids : 0;
    ret->scale_bits = ok ? calloc(from->n_scale_bits + 1, sizeof(*ret->scale_bits)) : NULL;
    if (ret->scale_bits == NULL) {
        fed_plan_deinit(ret);
        return bad(err, "a field of the plan");
    }
    ret->n_tensors = from->n_scale_bits;
    if (ret->n_tensors > 0) {
        memcpy(ret->scale_bits, from->scale_bits, ret->n_tensors * sizeof(*ret->scale_bits));
    }
    return 0;
}

static int
get_validate(struct fed_validate *ret, const Confed__V1__Validate *from, struct fed_err *err)
{
    bool ok = get_id(ret->session_id, FED_ID_SIZE, from->session_id, false) &&
              get_round_id(ret->round_id, from->round_id) &&
              get_id(ret->model_id, FED_ID_SIZE, from->model_id, false) &&
              get_hash(ret->sha256, FED_SHA256_SIZE, &from->sha256) &&
              get_hash(ret->xxh128, FED_XXH128_SIZE, &from->xxh128);

    ret->size_bytes = from->size_bytes;
    ret->time_left_ms = from->time_left_ms;
    ret->task_data = get_data(from->task_data, &ok);
    ret->client_ids = get_ids(from->client_ids, from->n_client_ids, &ok);
    ret->n_clients = from->n_client_ids;
    if (!ok) {
        free(ret->task_data);
        free(ret->client_ids);
        return bad(err, "a field of the validation");
    }
    return 0;
}

static int get_done(struct fed_down *ret, const Confed__V1__Done *from, struct fed_err *err)
{
    if (!get_round_id(ret->done.round_id, from->round_id) || from->outcome < FED_ROUND_COMMITTED ||
        from->outcome > FED_ROUND_CANCELLED ||
        !get_id(ret->done.model_id, FED_ID_SIZE, from->model_id, true)) {
        return bad(err, "a field of Done");
    }
    ret->done.outcome = (enum fed_round_outcome)from->outcome;
    return 0;
}

static int get_ahead(struct fed_ahead *ret, const Confed__V1__Ahead *from, struct fed_err *err)
{
    if (!get_id(ret->model_id, FED_ID_SIZE, from->model_id, false) ||
        !get_hash(ret->xxh128, FED_XXH128_SIZE, &from->xxh128)) {
        return bad(err, "a field of Ahead");
    }
    ret->size_bytes = from->size_bytes;
    return 0;
}

static int convert_down(const Confed__V1__Down *in, struct fed_down *ret, struct fed_err *err)
{
    switch (in->message_case) {
    case CONFED__V1__DOWN__MESSAGE_WELCOME:
        ret->type = FED_DOWN_WELCOME;
        ret->welcome.heartbeat_limit_ms = in->welcome->heartbeat_limit_ms;
        get_text(ret->welcome.version, sizeof(ret->welcome.version), in->welcome->version);
        return get_id(ret->welcome.reducer_boot_id, FED_ID_SIZE, in->welcome->reducer_boot_id,
                      false)
                   ? 0
                   : bad(err, "boot id");
    case CONFED__V1__DOWN__MESSAGE_REJECT:
        ret->type = FED_DOWN_REJECT;
        get_text(ret->reject.reason, sizeof(ret->reject.reason), in->reject->reason);
        return 0;
    case CONFED__V1__DOWN__MESSAGE_PLAN:
        ret->type = FED_DOWN_PLAN;
        return get_plan(&ret->plan, in->plan, err);
    case CONFED__V1__DOWN__MESSAGE_CLOSE:
        ret->type = FED_DOWN_CLOSE;
        ret->close.plan_seq = in->close->plan_seq;
        return get_round_id(ret->close.round_id, in->close->round_id) ? 0 : bad(err, "round id");
    case CONFED__V1__DOWN__MESSAGE_DONE:
        ret->type = FED_DOWN_DONE;
        return get_done(ret, in->done, err);
    case CONFED__V1__DOWN__MESSAGE_VALIDATE:
        ret->type = FED_DOWN_VALIDATE;
        return get_validate(&ret->validate, in->validate, err);
    case CONFED__V1__DOWN__MESSAGE_RECORD_ACK:
        ret->type = FED_DOWN_RECORD_ACK;
        ret->record_ack.seq = in->record_ack->seq;
        return 0;
    case CONFED__V1__DOWN__MESSAGE_AHEAD:
        ret->type = FED_DOWN_AHEAD;
        return get_ahead(&ret->ahead, in->ahead, err);
    case CONFED__V1__DOWN__MESSAGE__NOT_SET:
    case _CONFED__V1__DOWN__MESSAGE__CASE_IS_INT_SIZE:
        break;
    }
    return bad(err, "message");
}

int fed_down_decode(struct fed_rpc_in *in, struct fed_down *ret_down, struct fed_err *err)
{
    ProtobufCMessage *message = NULL;
    struct fed_down down = {0};
    int rc = fed_rpc_in_unpack(in, &confed__v1__down__descriptor, &message, err);

    if (rc < 0) {
        return rc;
    }
    rc = convert_down((const Confed__V1__Down *)message, &down, err);
    fed_rpc_message_free(message);
    if (rc == 0) {
        *ret_down = down;
    }
    return rc;
}
