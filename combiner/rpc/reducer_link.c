#include "combiner/rpc/reducer_link.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "common/link/link_codec.h"
#include "common/net/retry.h"

#define PATH          "/confed.v1.Federation/Link"
#define BACKOFF_MS    100U
#define BACKOFF_MAX   5000U
#define ATTEMPTS_LONG 16U   /* that many tries make the longest wait */
#define GIVEN_MAX     8U    /* messages given to gRPC at once */
#define WAITING_MAX   8192U /* messages that wait here: a Hello of 100,000 clients is about 100 */

enum link_phase {
    LINK_DOWN,
    LINK_HELLO,
    LINK_UP,
};

struct item {
    struct fed_link link;
    struct fed_rpc_out *out; /* owned */
};

struct reducer_link {
    struct reducer_link_config config;
    const struct reducer_link_ops *ops;
    void *arg;
    enum link_phase phase;
    struct fed_rpc_call *call; /* NULL while down */
    struct fed_list waiting;   /* of struct item */
    size_t n_waiting;
    unsigned n_given;
    uint32_t attempt;
    bool is_told;           /* the log knows that the reducer is away */
    struct fed_timer timer; /* DOWN: dial; HELLO: no Welcome */
    fed_event_fn stopped;
    void *stopped_arg;
    struct fed_event stopped_event;
};

static void dial(struct reducer_link *link);

static void drop_waiting(struct reducer_link *link)
{
    struct fed_link *first;

    while ((first = fed_list_take(&link->waiting)) != NULL) {
        struct item *item = FED_CONTAINER_OF(first, struct item, link);
        (void)fed_rpc_out_free(item->out);
        free(item);
    }
    link->n_waiting = 0;
    link->n_given = 0;
}

static void dial_later(struct reducer_link *link)
{
    const uint64_t wait_ms =
        fed_retry_delay_ms(link->attempt, BACKOFF_MS, BACKOFF_MAX, link->config.seed);

    link->attempt += link->attempt < ATTEMPTS_LONG ? 1 : 0;
    fed_timer_start(link->config.loop, &link->timer, fed_loop_now_ms(link->config.loop) + wait_ms);
}

/* -- sending ----------------------------------------------------------------------------------- */

static void give(struct reducer_link *link, struct fed_rpc_out *out)
{
    struct fed_err err = {0};

    link->n_given++;
    if (fed_rpc_call_send(link->call, out, &err) < 0) {
        fed_rpc_call_cancel(link->call); /* half a conversation is none: the next Hello is whole */
    }
}

static int give_record(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    (void)err;
    give(arg, out);
    return 0;
}

static void give_next_record(struct reducer_link *link)
{
    const struct outbox_record *record = mailer_take_unsent(link->config.mailer);
    struct fed_up up = {.type = FED_UP_RECORD};

    if (record == NULL) {
        return;
    }
    up.record.seq = record->seq;
    up.record.kind = record->kind;
    up.record.json = record->json; /* borrowed: `up` is not deinited */
    (void)!fed_up_encode(&up, give_record, link, NULL);
}

void reducer_link_pump(struct reducer_link *link)
{
    unsigned n_before = GIVEN_MAX;

    while (link->call != NULL && link->n_given < GIVEN_MAX) {
        struct fed_link *first = fed_list_take(&link->waiting);
        if (first != NULL) {
            struct item *item = FED_CONTAINER_OF(first, struct item, link);
            link->n_waiting--;
            give(link, item->out);
            free(item);
            continue;
        }
        n_before = link->n_given;
        if (link->phase == LINK_UP) {
            give_next_record(link);
        }
        if (link->n_given == n_before) {
            break;
        }
    }
}

static int queue(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    struct reducer_link *link = arg;
    struct item *item = link->n_waiting < WAITING_MAX ? calloc(1, sizeof(*item)) : NULL;

    if (item == NULL || out == NULL) {
        free(item);
        (void)fed_rpc_out_free(out);
        return fed_err_set(err, FED_E_LIMIT, "%zu messages wait", link->n_waiting);
    }
    item->out = out;
    fed_list_add(&link->waiting, &item->link);
    link->n_waiting++;
    return 0;
}

void reducer_link_send(struct reducer_link *link, const struct fed_up *up)
{
    struct fed_err err = {0};

    if (link->call == NULL) {
        return;
    }
    if (fed_up_encode(up, queue, link, &err) < 0) {
        fed_log(FED_LOG_WARNING, "link", "not_sent", "error=\"%s\"", err.msg);
        fed_rpc_call_cancel(link->call); /* the next Hello says it all */
    }
    reducer_link_pump(link);
}

/* -- the stream -------------------------------------------------------------------------------- */

static void take_welcome(struct reducer_link *link, const struct fed_down *down)
{
    if (link->phase == LINK_UP) {
        return; /* to another Hello on the same link */
    }
    link->phase = LINK_UP;
    link->attempt = 0;
    link->is_told = false;
    fed_timer_stop(&link->timer);
    fed_log(FED_LOG_INFO, "link", "up", "reducer_boot=%s reducer_version=\"%s\"",
            down->welcome.reducer_boot_id, down->welcome.version);
}

static void take(struct reducer_link *link, const struct fed_down *down)
{
    if (down->type == FED_DOWN_REJECT) {
        fed_log(FED_LOG_ERROR, "link", "rejected", "reason=\"%s\"", down->reject.reason);
        link->attempt = ATTEMPTS_LONG;
        link->is_told = true;
        fed_rpc_call_cancel(link->call);
        return;
    }
    if (down->type == FED_DOWN_WELCOME) {
        take_welcome(link, down);
    }
    if (down->type == FED_DOWN_RECORD_ACK) {
        mailer_acknowledge(link->config.mailer, down->record_ack.seq);
    } else {
        link->ops->message(link->arg, down);
    }
    reducer_link_pump(link);
}

static void link_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct reducer_link *link = arg;
    struct fed_err err = {0};
    struct fed_down down;

    if (in == NULL) {
        return; /* the end follows */
    }
    if (fed_down_decode(in, &down, &err) < 0) {
        fed_log(FED_LOG_ERROR, "link", "unreadable", "error=\"%s\"", err.msg);
        fed_rpc_call_cancel(call);
    } else {
        take(link, &down);
        fed_down_deinit(&down);
    }
    (void)fed_rpc_in_free(in);
    fed_rpc_call_read(call);
}

static void link_sent(struct fed_rpc_call *call, void *arg)
{
    struct reducer_link *link = arg;

    (void)call;
    link->n_given -= link->n_given > 0 ? 1 : 0;
    reducer_link_pump(link);
}

static void link_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct reducer_link *link = arg;

    (void)call;
    if (!link->is_told && link->stopped == NULL) {
        link->is_told = true;
        fed_log(FED_LOG_WARNING, "link", "down", "status=%d detail=\"%s\"", end->code, end->detail);
    }
    link->call = NULL;
    link->phase = LINK_DOWN;
    fed_timer_stop(&link->timer);
    drop_waiting(link);
    mailer_link_down(link->config.mailer);
    link->ops->down(link->arg);
    if (link->stopped == NULL) {
        dial_later(link);
    } else {
        fed_loop_post(link->config.loop, &link->stopped_event);
    }
}

static const struct fed_rpc_call_ops link_call_ops = {link_message, link_sent, link_closed};

static void dial(struct reducer_link *link)
{
    struct fed_err err = {0};

    if (fed_rpc_channel_call(link->config.channel, &(struct fed_rpc_target){PATH, 0},
                             &link_call_ops, link, &link->call, &err) < 0) {
        dial_later(link);
        return;
    }
    link->phase = LINK_HELLO;
    fed_timer_start(link->config.loop, &link->timer,
                    fed_loop_now_ms(link->config.loop) + link->config.welcome_timeout_ms);
    fed_rpc_call_read(link->call);
    link->ops->up(link->arg);
}

static void on_timer(void *arg)
{
    struct reducer_link *link = arg;

    if (link->phase == LINK_DOWN) {
        dial(link);
    } else { /* no Welcome */
        fed_rpc_call_cancel(link->call);
    }
}

int reducer_link_start(const struct reducer_link_config *config,
                       const struct reducer_link_ops *ops,
                       void *arg,
                       struct reducer_link **ret_link,
                       struct fed_err *err)
{
    struct reducer_link *link = calloc(1, sizeof(*link));

    if (link == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "link");
    }
    link->config = *config;
    link->ops = ops;
    link->arg = arg;
    fed_list_init(&link->waiting);
    fed_timer_init(&link->timer, on_timer, link);
    fed_timer_start(config->loop, &link->timer, fed_loop_now_ms(config->loop));
    *ret_link = link;
    return 0;
}

void reducer_link_stop(struct reducer_link *link, fed_event_fn done, void *arg)
{
    link->stopped = done;
    link->stopped_arg = arg;
    fed_event_init(&link->stopped_event, done, arg);
    fed_timer_stop(&link->timer);
    if (link->call != NULL) {
        fed_rpc_call_cancel(link->call);
    } else {
        fed_loop_post(link->config.loop, &link->stopped_event);
    }
}

struct reducer_link *reducer_link_free(struct reducer_link *link)
{
    if (link != NULL) {
        fed_timer_stop(&link->timer);
        drop_waiting(link);
        free(link);
    }
    return NULL;
}

bool reducer_link_is_welcome(const struct reducer_link *link)
{
    return link->phase == LINK_UP;
}
