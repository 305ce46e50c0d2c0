/* What REST asks of the loop (reducer/rest/host.h). */
#include <stdlib.h>
#include <string.h>

#include "common/conf/conf.h"
#include "reducer/live.h"
#include "reducer/reducer_inside.h"
#include "reducer/rows.h"

#define WAIT_MAX_MS 30000U
#define TELL_GAP_MS 50U /* between two answers to long polls: a storm of events is one change */

/* -- answers ------------------------------------------------------------------------------------
 */

void reducer_ask_done(struct host_ask *ask, int status, json_t *output)
{
    fed_link_remove(&ask->link);
    ask->http_status = status;
    ask->output = output;
    ask->done(ask);
}

void reducer_ask_fail(struct host_ask *ask, int status, const char *code, const char *message)
{
    reducer_ask_done(ask, status,
                     json_pack("{s:s,s:o}", "code", code, "message", rows_text(message)));
}

static uint64_t token_of(const struct host_ask *ask)
{
    return (uint64_t)(uintptr_t)ask;
}

void reducer_answer(struct reducer *reducer, uint64_t token, int status, const char *text)
{
    fed_list_for_each (it, &reducer->pending) {
        struct host_ask *ask = FED_CONTAINER_OF(it, struct host_ask, link);
        if (token_of(ask) == token) {
            if (status == 200) {
                reducer_ask_done(ask, status, json_pack("{s:s}", "message", text));
            } else {
                reducer_ask_fail(ask, status, "refused", text);
            }
            return;
        }
    }
}

/* -- live ---------------------------------------------------------------------------------------
 */

struct live_view reducer_view_live(const struct reducer *reducer)
{
    return (struct live_view){
        .federation = reducer->federation,
        .seq = reducer->live.seq,
        .started_ms = reducer->started_ms,
        .now_ms = reducer_now_ms(reducer),
        .troubles = {reducer->journal.line.trouble, reducer->summing.line.trouble,
                     reducer->side.trouble, reducer->space.trouble},
    };
}

static json_t *encode_live(const struct reducer *reducer)
{
    const struct live_view view = reducer_view_live(reducer);

    return live_encode(&view);
}

static uint64_t due_of(const struct reducer *reducer, const struct host_ask *ask)
{
    const json_t *after = json_object_get(ask->input, "after");
    const bool is_news =
        !json_is_integer(after) || (uint64_t)json_integer_value(after) != reducer->live.seq;
    const uint64_t soonest_ms = reducer->live.told_ms + TELL_GAP_MS;

    return is_news && soonest_ms < ask->due_ms ? soonest_ms : ask->due_ms;
}

static void tell_polls(void *arg)
{
    struct reducer *reducer = arg;
    const uint64_t now_ms = reducer_now_ms(reducer);
    json_t *live = NULL;
    uint64_t next_ms = UINT64_MAX;

    fed_list_for_each (it, &reducer->polls) {
        struct host_ask *ask = FED_CONTAINER_OF(it, struct host_ask, link);
        const uint64_t due_ms = due_of(reducer, ask);
        if (due_ms > now_ms) {
            next_ms = due_ms < next_ms ? due_ms : next_ms;
            continue;
        }
        live = live == NULL ? encode_live(reducer) : live;
        reducer_ask_done(ask, 200, json_deep_copy(live)); /* read by other threads */
    }
    if (live != NULL) {
        reducer->live.told_ms = now_ms;
        json_decref(live);
    }
    if (next_ms != UINT64_MAX) {
        fed_timer_start(reducer->loop, &reducer->poll_timer, next_ms);
    }
}

static void tell_news(void *arg)
{
    struct reducer *reducer = arg;
    const struct live_view view = reducer_view_live(reducer);

    news_look(&reducer->news, &view);
}

static void look_news(struct reducer *reducer)
{
    const uint64_t soonest_ms = reducer->news.told_ms + NEWS_GAP_MS;

    if (fed_link_is_linked(&reducer->news_timer.link)) {
        return;
    }
    if (soonest_ms > reducer_now_ms(reducer)) {
        fed_timer_start(reducer->loop, &reducer->news_timer, soonest_ms);
    } else {
        tell_news(reducer);
    }
}

static void ask_listen(struct reducer *reducer, struct host_ask *ask)
{
    const struct live_view view = reducer_view_live(reducer);

    news_start(&reducer->news, &view);
    reducer_ask_done(ask, 200, json_object());
}

static void start_poll_timer(struct reducer *reducer)
{
    uint64_t next_ms = UINT64_MAX;

    fed_list_for_each (it, &reducer->polls) {
        const uint64_t due_ms = due_of(reducer, FED_CONTAINER_OF(it, struct host_ask, link));
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    if (next_ms != UINT64_MAX) {
        fed_timer_start(reducer->loop, &reducer->poll_timer, next_ms);
    }
}

void reducer_look_live(struct reducer *reducer)
{
    look_news(reducer);
    start_poll_timer(reducer);
}

static void ask_live(struct reducer *reducer, struct host_ask *ask)
{
    const json_t *after = json_object_get(ask->input, "after");
    const uint64_t wait_ms = rows_get_u64(ask->input, "wait_ms", 0);

    if (!json_is_integer(after) || wait_ms == 0 ||
        (uint64_t)json_integer_value(after) != reducer->live.seq) {
        reducer_ask_done(ask, 200, encode_live(reducer));
        return;
    }
    ask->due_ms = reducer_now_ms(reducer) + (wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
    fed_list_add(&reducer->polls, &ask->link);
    start_poll_timer(reducer);
}

/* -- clients ------------------------------------------------------------------------------------
 */

static void answer_assigned(struct host_ask *ask, const struct roster_combiner *combiner)
{
    const char *package = rows_get_text(ask->input, "package", "local");
    char host[FED_LINK_ADDRESS_SIZE];
    uint16_t port = 0;

    if (!fed_address_parse(combiner->advertise, host, sizeof(host), &port)) {
        reducer_ask_fail(ask, 500, "internal", "the combiner's address cannot be read");
        return;
    }
    reducer_ask_done(ask, 200,
                     json_pack("{s:s,s:n,s:s,s:o,s:s,s:o,s:i,s:s}", "client_id",
                               rows_get_text(ask->input, "client_id", ""), "fqdn", "helper_type",
                               strcmp(package, "remote") == 0 ? "numpyhelper" : "", "host",
                               rows_text(host), "ip", "", "package", rows_text(package), "port",
                               (int)port, "status", "assigned"));
}

static void ask_assign(struct reducer *reducer, struct host_ask *ask)
{
    const char *client_id = rows_get_text(ask->input, "client_id", "");
    const char *preferred = rows_get_text(ask->input, "preferred", NULL);
    const struct roster_client *client;
    const struct roster_combiner *combiner;

    if (!fed_id_is_valid(client_id)) {
        reducer_ask_fail(ask, 400, "bad_id",
                         "client_id must be 1 to 128 letters, digits or any of . _ : @ + -");
        return;
    }
    combiner = roster_assign(federation_get_roster_mutable(reducer->federation), client_id,
                             preferred, reducer_now_ms(reducer));
    if (combiner == NULL) {
        reducer_ask_done(ask, 203,
                         json_pack("{s:s,s:s,s:b}", "message",
                                   "No combiner is available now. Try again.", "status", "retry",
                                   "success", 0));
        return;
    }
    client = roster_find_client(federation_get_roster(reducer->federation), client_id);
    attendance_client(
        &reducer->attendance,
        &(struct attendance_client){
            .client_id = client_id,
            .name = rows_get_text(ask->input, "name", ""),
            .ip = rows_get_text(ask->input, "ip", ""),
            .combiner = combiner->name,
            .status = client != NULL && roster_is_present(client) ? "online" : "available",
            .package = rows_get_text(ask->input, "package", "local"),
            .preferred = preferred,
        });
    answer_assigned(ask, combiner);
}

static void ask_forget(struct reducer *reducer, struct host_ask *ask)
{
    struct roster *roster = federation_get_roster_mutable(reducer->federation);
    const char *client_id = rows_get_text(ask->input, "client_id", "");
    const char *combiner_id = rows_get_text(ask->input, "combiner_id", "");
    const bool is_client = client_id[0] != '\0';
    const bool is_done = is_client ? roster_forget_client(roster, client_id)
                                   : roster_forget_combiner(roster, combiner_id);
    char text[FED_ID_SIZE + 64];

    if (!is_done) {
        (void)snprintf(text, sizeof(text), "%s %s is attached: stop it before deleting it",
                       is_client ? "Client" : "Combiner", is_client ? client_id : combiner_id);
        reducer_ask_fail(ask, 409, "conflict", text);
        return;
    }
    reducer_ask_done(ask, 200, json_object());
    reducer->live.seq++;
    reducer_look_live(reducer);
}

/* -- sessions -----------------------------------------------------------------------------------
 */

static void ask_stop(struct reducer *reducer, struct host_ask *ask)
{
    fed_list_add(&reducer->pending, &ask->link);
    federation_stop(reducer->federation, rows_get_text(ask->input, "session_id", ""),
                    json_is_true(json_object_get(ask->input, "now")), token_of(ask),
                    reducer_now_ms(reducer));
    reducer_turn(reducer);
}

static void on_ask(void *arg)
{
    struct host_ask *ask = arg;
    struct reducer *reducer = ask->host;

    if (reducer->end.is_draining) {
        reducer_ask_fail(ask, 503, "stopping", "The reducer is stopping");
        return;
    }
    switch (ask->verb) {
    case HOST_ASSIGN:
        ask_assign(reducer, ask);
        break;
    case HOST_SESSION_START:
        reducer_start_session(reducer, ask);
        break;
    case HOST_SESSION_STOP:
        ask_stop(reducer, ask);
        break;
    case HOST_LIVE:
        ask_live(reducer, ask);
        break;
    case HOST_FORGET:
        ask_forget(reducer, ask);
        break;
    case HOST_LISTEN:
        ask_listen(reducer, ask);
        break;
    case HOST_PRUNE:
    case HOST_DOCTOR:
    case HOST_DISK:
        reducer_do_chore(reducer, ask);
        break;
    }
}

static void submit(struct host *host, struct host_ask *ask)
{
    struct reducer *reducer = FED_CONTAINER_OF(host, struct reducer, host);
    char why[sizeof(reducer->entering.why)];

    ask->host = reducer;
    ask->link = (struct fed_link){0};
    if (!reducer_is_serving(reducer, why, sizeof(why))) {
        reducer_ask_fail(ask, 503, "starting", why);
        return;
    }
    fed_event_init(&ask->event, on_ask, ask);
    fed_loop_post(reducer->loop, &ask->event);
}

void reducer_host_init(struct reducer *reducer)
{
    reducer->host = (struct host){
        .store = reducer->store,
        .blobs = reducer->blobs,
        .counters = &reducer->counters,
        .feed = reducer->feed,
        .submit = submit,
    };
    fed_list_init(&reducer->polls);
    fed_list_init(&reducer->pending);
    fed_timer_init(&reducer->poll_timer, tell_polls, reducer);
    fed_timer_init(&reducer->news_timer, tell_news, reducer);
}

static void end_list(struct fed_list *list)
{
    while (!fed_list_is_empty(list)) {
        struct host_ask *ask = FED_CONTAINER_OF(list->head.next, struct host_ask, link);
        reducer_ask_fail(ask, 503, "stopping", "The reducer is stopping");
    }
}

void reducer_end_asks(struct reducer *reducer)
{
    fed_timer_stop(&reducer->poll_timer);
    fed_timer_stop(&reducer->news_timer);
    end_list(&reducer->polls);
    end_list(&reducer->pending);
}
