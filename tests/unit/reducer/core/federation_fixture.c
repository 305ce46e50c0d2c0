#include "tests/unit/reducer/core/federation_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(struct fixture *f, const char *fmt, ...) FED_PRINTF(2, 3);
static void say(struct fixture *f, const char *fmt, ...)
{
    const size_t used = strlen(f->trace);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(f->trace + used, sizeof(f->trace) - used, fmt, args);
    va_end(args);
}

static void say_down(struct fixture *f, const struct fed_down *down)
{
    static const char *const outcomes[] = {[FED_ROUND_COMMITTED] = "committed",
                                           [FED_ROUND_FAILED] = "failed",
                                           [FED_ROUND_CANCELLED] = "cancelled"};

    switch (down->type) {
    case FED_DOWN_WELCOME:
        say(f, "welcome");
        break;
    case FED_DOWN_REJECT:
        say(f, "reject: %s", down->reject.reason);
        break;
    case FED_DOWN_PLAN:
        say(f, "plan %s/%u from %s, %u s:", down->plan.round_id, (unsigned)down->plan.plan_seq,
            down->plan.base_model_id, (unsigned)(down->plan.time_left_ms / SECOND));
        for (size_t i = 0; i < down->plan.n_clients; i++) {
            say(f, " %s", down->plan.client_ids[i]);
        }
        break;
    case FED_DOWN_CLOSE:
        say(f, "close %s/%u", down->close.round_id, (unsigned)down->close.plan_seq);
        break;
    case FED_DOWN_DONE:
        say(f, "done %s %s", down->done.round_id, outcomes[down->done.outcome]);
        break;
    case FED_DOWN_VALIDATE:
        say(f, "validate %s:", down->validate.model_id);
        for (size_t i = 0; i < down->validate.n_clients; i++) {
            say(f, " %s", down->validate.client_ids[i]);
        }
        break;
    case FED_DOWN_RECORD_ACK:
        say(f, "record ack");
        break;
    case FED_DOWN_AHEAD:
        say(f, "ahead %s", down->ahead.model_id);
        break;
    }
}

static void say_round(struct fixture *f)
{
    const struct round *round = federation_get_round(f->federation);

    say(f, "store round %s %s", round->round_id,
        round_state_name(round->state < ROUND_COMMITTED ? ROUND_PLANNED : round->state));
    for (size_t i = 0; i < round->n_parts; i++) {
        const struct round_part *part = &round->parts[i];
        say(f, " %s:%u", part->combiner_id, (unsigned)part->plan_seq);
        if (part->fenced_plan_seq > 0) {
            say(f, "(fenced %u)", (unsigned)part->fenced_plan_seq);
        }
    }
    if (round->failure[0] != '\0') {
        say(f, ", %s", round->failure);
    }
}

static void say_action(struct fixture *f, const struct federation_action *action)
{
    static const char *const words[FEDERATION_ACTION_MAX] = {
        [FEDERATION_STORE_START] = "store start",
        [FEDERATION_STORE_DERIVED] = "store derived",
        [FEDERATION_STORE_SESSION] = "store session",
        [FEDERATION_STORE_END] = "store end",
        [FEDERATION_RESET_SUM] = "reset",
        [FEDERATION_FINISH] = "finish",
    };

    switch (action->type) {
    case FEDERATION_SEND:
        if (action->link == 0) {
            return; /* to nobody */
        }
        say(f, "L%u ", (unsigned)action->link);
        say_down(f, &action->down);
        break;
    case FEDERATION_CLOSE_LINK:
        say(f, "close link L%u", (unsigned)action->link);
        break;
    case FEDERATION_LOAD_BASE:
        say(f, "load %s", action->text);
        break;
    case FEDERATION_STORE_ROUND:
        say_round(f);
        break;
    case FEDERATION_ADD_PARTIAL:
        say(f, "add t%u", (unsigned)action->token);
        break;
    case FEDERATION_DROP_PARTIAL:
        say(f, "drop t%u", (unsigned)action->token);
        break;
    case FEDERATION_ANSWER:
        say(f, "answer t%u %d %s", (unsigned)action->token, action->status, action->text);
        break;
    case FEDERATION_STORE_START:
    case FEDERATION_STORE_DERIVED:
    case FEDERATION_STORE_SESSION:
    case FEDERATION_STORE_END:
    case FEDERATION_RESET_SUM:
    case FEDERATION_FINISH:
        say(f, "%s", words[action->type]);
        break;
    case FEDERATION_ACTION_MAX:
        fail();
    }
    say(f, "\n");
}

void expect(struct fixture *f, const char *trace)
{
    struct federation_action action;

    while (federation_take_action(f->federation, &action)) {
        say_action(f, &action);
        fed_down_deinit(&action.down);
    }
    assert_string_equal(f->trace, trace);
    f->trace[0] = '\0';
}

void pass_over(struct fixture *f)
{
    struct federation_action action;

    while (federation_take_action(f->federation, &action)) {
        fed_down_deinit(&action.down);
    }
    f->trace[0] = '\0';
}

void restart(struct fixture *f)
{
    const struct federation_config config = {
        .heartbeat_limit_ms = 10 * SECOND,
        .reattach_grace_ms = 30 * SECOND,
        .combiner_grace_ms = 15 * SECOND,
        .close_timeout_ms = 5 * SECOND,
        .examples_max = 1000,
    };

    f->federation = federation_free(f->federation);
    assert_int_equal(federation_new(&config, 1, f->now_ms, &f->federation, NULL), 0);
}

int fixture_set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){
        .now_ms = 1000, .round_timeout_ms = 60 * SECOND, .clients_required = 2, .rounds = 2};
    restart(&f);
    *state = &f;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *f = *state;

    f->federation = federation_free(f->federation);
    return 0;
}

/* -- steps ------------------------------------------------------------------------------------ */

static const char *next_word(char **rest)
{
    return strtok_r(NULL, " ", rest);
}

/* "1/1 collecting ann bob" */
static void parse_round(struct fed_hello_round *round, const char *text)
{
    static const char *const states[] = {[FED_LINK_ROUND_PLANNED] = "planned",
                                         [FED_LINK_ROUND_COLLECTING] = "collecting",
                                         [FED_LINK_ROUND_SEALING] = "sealing",
                                         [FED_LINK_ROUND_SEALED] = "sealed"};
    char copy[256];
    char *rest = copy;
    const char *word;

    (void)snprintf(copy, sizeof(copy), "%s", text);
    word = strtok_r(copy, "/", &rest);
    (void)snprintf(round->round_id, sizeof(round->round_id), "%s", word);
    round->plan_seq = strtoull(next_word(&rest), NULL, 10);
    word = next_word(&rest);
    for (unsigned i = FED_LINK_ROUND_PLANNED; i <= FED_LINK_ROUND_SEALED; i++) {
        round->state = strcmp(states[i], word) == 0 ? (enum fed_link_round_state)i : round->state;
    }
    round->admitted = calloc(8, sizeof(*round->admitted));
    assert_non_null(round->admitted);
    while ((word = next_word(&rest)) != NULL) {
        struct fed_entry *entry = &round->admitted[round->n_admitted++];
        fed_id_copy(entry->client_id, word);
        (void)snprintf(entry->update_id, sizeof(entry->update_id), "u-%s", word);
        entry->examples = 10;
    }
}

static void say_hello(struct fixture *f,
                      uint64_t link,
                      struct fed_up *up,
                      const char *combiner,
                      const char *clients,
                      const char *round)
{
    char copy[256];
    char *rest = copy;

    up->hello.protocol = FED_LINK_PROTOCOL;
    fed_id_copy(up->hello.combiner_id, combiner);
    (void)snprintf(up->hello.name, sizeof(up->hello.name), "%s", combiner);
    up->hello.clients = calloc(8, sizeof(*up->hello.clients));
    up->hello.rounds = calloc(1, sizeof(*up->hello.rounds));
    assert_non_null(up->hello.clients);
    assert_non_null(up->hello.rounds);
    (void)snprintf(copy, sizeof(copy), "%s", clients);
    for (const char *id = strtok_r(copy, " ", &rest); id != NULL; id = next_word(&rest)) {
        struct fed_client_state *state = &up->hello.clients[up->hello.n_clients++];
        fed_id_copy(state->client_id, id);
        state->phase = FED_CLIENT_ATTACHED;
    }
    if (round != NULL) {
        parse_round(&up->hello.rounds[0], round);
        up->hello.n_rounds = 1;
    }
    federation_up(f->federation, link, up, f->now_ms);
    fed_up_deinit(up);
}

void hello_with(struct fixture *f,
                uint64_t link,
                const char *combiner,
                const char *clients,
                const char *round)
{
    struct fed_up up = {.type = FED_UP_HELLO, .hello = {.boot_id = "b"}};

    say_hello(f, link, &up, combiner, clients, round);
}

void hello_again(struct fixture *f,
                 uint64_t link,
                 const char *combiner,
                 const char *clients,
                 const char *round)
{
    struct fed_up up = {.type = FED_UP_HELLO, .hello = {.boot_id = "b2"}};

    say_hello(f, link, &up, combiner, clients, round);
}

void hello(struct fixture *f, uint64_t link, const char *combiner, const char *clients)
{
    hello_with(f, link, combiner, clients, NULL);
}

void state_of(struct fixture *f, uint64_t link, const char *client_id, enum fed_client_phase phase)
{
    struct fed_up up = {.type = FED_UP_CLIENT_STATE, .client_state = {.phase = phase}};

    fed_id_copy(up.client_state.client_id, client_id);
    federation_up(f->federation, link, &up, f->now_ms);
}

static uint64_t split_round(const char *round, char ret_round_id[FED_ROUND_ID_SIZE])
{
    const char *slash = strchr(round, '/');

    assert_non_null(slash);
    (void)snprintf(ret_round_id, FED_ROUND_ID_SIZE, "%.*s", (int)(slash - round), round);
    return strtoull(slash + 1, NULL, 10);
}

void admitted(struct fixture *f, uint64_t link, const char *round, const char *client_id)
{
    struct fed_up up = {.type = FED_UP_ADMITTED, .admitted = {.examples = 10}};

    up.plan_seq = split_round(round, up.round_id);
    fed_id_copy(up.admitted.client_id, client_id);
    (void)snprintf(up.admitted.update_id, sizeof(up.admitted.update_id), "u-%s", client_id);
    federation_up(f->federation, link, &up, f->now_ms);
}

void refused(struct fixture *f,
             uint64_t link,
             const char *round,
             const char *client_id,
             enum fed_refusal reason)
{
    struct fed_up up = {.type = FED_UP_REFUSED,
                        .refused = {.reason = reason, .is_own_connection = true}};

    (void)split_round(round, up.round_id);
    fed_id_copy(up.refused.client_id, client_id);
    (void)snprintf(up.refused.update_id, sizeof(up.refused.update_id), "u-%s", client_id);
    federation_up(f->federation, link, &up, f->now_ms);
}

enum fed_verdict partial(struct fixture *f,
                         const char *combiner,
                         const char *round,
                         uint64_t token,
                         const char *clients)
{
    struct federation_partial partial = {.token = token};
    char detail[FED_LINK_DETAIL_SIZE];
    char copy[256];
    char *rest = copy;

    partial.plan_seq = split_round(round, partial.round_id);
    fed_id_copy(partial.combiner_id, combiner);
    partial.entries = calloc(8, sizeof(*partial.entries));
    assert_non_null(partial.entries);
    (void)snprintf(copy, sizeof(copy), "%s", clients);
    (void)snprintf((char *)partial.digest, sizeof(partial.digest), "%.6s %.8s", combiner, clients);
    for (const char *id = strtok_r(copy, " ", &rest); id != NULL; id = next_word(&rest)) {
        struct fed_entry *entry = &partial.entries[partial.n_entries++];
        fed_id_copy(entry->client_id, id);
        (void)snprintf(entry->update_id, sizeof(entry->update_id), "u-%s", id);
        entry->examples = 10;
    }
    return federation_partial(f->federation, &partial, f->now_ms, detail);
}

void link_closed(struct fixture *f, uint64_t link)
{
    federation_link_closed(f->federation, link, f->now_ms);
}

void make_session(struct fixture *f, struct federation_session *ret_session)
{
    *ret_session = (struct federation_session){
        .session_id = "s",
        .base_model_id = "m0",
        .rounds_total = f->rounds,
        .round_timeout_ms = f->round_timeout_ms,
        .buffer_size = f->buffer_size,
        .clients_required = f->clients_required,
        .clients_per_round = f->clients_per_round,
        .is_validating = f->is_validating,
        .seed = 1,
    };
}

void start(struct fixture *f, uint64_t token)
{
    struct federation_session session;

    make_session(f, &session);
    federation_start(f->federation, &session, token, f->now_ms);
}

void stop(struct fixture *f, uint64_t token, bool is_now)
{
    federation_stop(f->federation, "s", is_now, token, f->now_ms);
}

void done(struct fixture *f)
{
    federation_done(f->federation, f->now_ms);
}

static struct federation_base make_base(const char *model_id)
{
    struct federation_base base = {.n_tensors = 1, .n_elements = 1};

    fed_id_copy(base.model_id, model_id);
    base.exponents = calloc(1, sizeof(*base.exponents));
    assert_non_null(base.exponents);
    return base;
}

void loaded(struct fixture *f, const char *model_id)
{
    struct federation_base base = make_base(model_id);

    federation_base_loaded(f->federation, &base, f->now_ms);
}

void finished(struct fixture *f, const char *model_id)
{
    struct federation_base base = make_base(model_id);

    federation_finished(f->federation, &base, f->now_ms);
}

void tick(struct fixture *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    federation_tick(f->federation, now_ms);
}

void open_round(struct fixture *f)
{
    hello(f, 1, "c1", "ann bob");
    hello(f, 2, "c2", "cay");
    start(f, 1);
    loaded(f, "m0");
    done(f); /* the session's row */
    done(f); /* the round's */
    pass_over(f);
    assert_int_equal(federation_get_state(f->federation), FEDERATION_COLLECTING);
}
