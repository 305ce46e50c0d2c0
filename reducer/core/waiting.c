/* What the federation waits for, in one line for people. */
#include <stdio.h>
#include <string.h>

#include "reducer/core/federation_inside.h"

static unsigned long long seconds_to(uint64_t until_ms, uint64_t now_ms)
{
    return until_ms > now_ms ? (until_ms - now_ms + 999) / 1000 : 0;
}

static void format_planning(const struct federation *fed, uint64_t now_ms, char *text, size_t size)
{
    const size_t n = planning_count_candidates(fed, &fed->session);
    const uint64_t until_ms = fed->planning_since_ms + fed->session.round_timeout_ms;

    if (fed->is_short) {
        (void)snprintf(text, size, "waits for disk space: see the trouble line");
    } else if (n < fed->session.clients_required) {
        (void)snprintf(text, size, "waits for clients: %zu of %u attached, %llu s left", n,
                       fed->session.clients_required, seconds_to(until_ms, now_ms));
    } else {
        (void)snprintf(text, size,
                       "waits for the last round's clients to come back, %llu s at most",
                       seconds_to(fed->expected.until_ms, now_ms));
    }
}

static void
format_collecting(const struct federation *fed, uint64_t now_ms, char *text, size_t size)
{
    const struct round_patience patience = closing_patience(fed);
    const struct round *round = fed->round;
    size_t n_awaited = 0;
    const char *first = "";

    for (size_t i = 0; i < round->n_clients; i++) {
        uint64_t until_ms = 0;
        if (round_awaits_client(round, &round->clients[i], &fed->roster, &patience, now_ms,
                                &until_ms)) {
            const struct roster_client *client =
                roster_find_client(&fed->roster, round->clients[i].client_id);
            first = n_awaited++ == 0
                        ? (client != NULL && client->name[0] != '\0' ? client->name
                                                                     : round->clients[i].client_id)
                        : first;
        }
    }
    if (n_awaited == 0) {
        (void)snprintf(text, size, "round %u waits for a combiner to come back, %llu s at most",
                       round->round_number, seconds_to(round->deadline_ms, now_ms));
    } else if (n_awaited == 1) {
        (void)snprintf(text, size, "round %u waits for the update of %.64s, %llu s left",
                       round->round_number, first, seconds_to(round->deadline_ms, now_ms));
    } else {
        (void)snprintf(text, size, "round %u waits for %zu of %zu updates, %llu s left",
                       round->round_number, n_awaited, round->n_clients,
                       seconds_to(round->deadline_ms, now_ms));
    }
}

void federation_format_wait(const struct federation *fed,
                            uint64_t now_ms,
                            char *ret_text,
                            size_t text_size)
{
    switch (fed->state) {
    case FEDERATION_PLANNING:
        format_planning(fed, now_ms, ret_text, text_size);
        break;
    case FEDERATION_COLLECTING:
        format_collecting(fed, now_ms, ret_text, text_size);
        break;
    case FEDERATION_CLOSING:
        (void)snprintf(ret_text, text_size,
                       "round %u is closed: waits for the combiners' sums, %llu s at most",
                       fed->round->round_number, seconds_to(fed->round->close_ms, now_ms));
        break;
    case FEDERATION_FINISHING:
        (void)snprintf(ret_text, text_size, "round %u: the new model is being written",
                       fed->round->round_number);
        break;
    case FEDERATION_IDLE:
        (void)snprintf(ret_text, text_size, "idle: no session is running");
        break;
    case FEDERATION_STARTING:
    case FEDERATION_JOURNALING:
    case FEDERATION_COMMITTING:
    case FEDERATION_RECORDING:
    case FEDERATION_DERIVING:
    case FEDERATION_ENDING:
    case FEDERATION_STATE_MAX:
        (void)snprintf(ret_text, text_size, "waits for the metadata store");
        break;
    }
}
