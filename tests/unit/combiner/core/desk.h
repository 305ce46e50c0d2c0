/* A desk to try the collector at: time in the test's hand, steps, and what has been asked for as a
 * trace, a line each. */
#ifndef TESTS_UNIT_COMBINER_CORE_DESK_H
#define TESTS_UNIT_COMBINER_CORE_DESK_H

#include <stdbool.h>
#include <stdint.h>

#include "combiner/core/collector.h"

#define DESK_LIMIT_MS 10000U /* heartbeat limit */

struct desk {
    struct collector *collector;
    uint64_t now_ms;
    char trace[8192];
};

/* What has been asked for since the last time, a line each. */
void desk_expect(struct desk *f, const char *trace);

void desk_attach(struct desk *f, const char *client_id, uint64_t stream, uint64_t connection);

void desk_beat(struct desk *f, const char *client_id, uint64_t connection);

void desk_tick(struct desk *f, uint64_t now_ms);

/* A plan of session s for the clients named, apart by blanks. */
struct fed_plan
desk_make_plan(const char *round_id, uint64_t plan_seq, const char *base, const char *clients);

void desk_plan(struct desk *f,
               const char *round_id,
               uint64_t seq,
               const char *base,
               const char *clients);

void desk_validate(struct desk *f, const char *model, const char *client_id);

void desk_close_round(struct desk *f, const char *round_id, uint64_t seq);

void desk_ahead(struct desk *f, const char *model);

void desk_done(struct desk *f, const char *round_id, enum fed_round_outcome outcome);

struct collector_announcement
desk_make_update(uint64_t token, uint64_t connection, const char *client_id, const char *update_id);

void desk_announce(struct desk *f,
                   uint64_t token,
                   uint64_t connection,
                   const char *client_id,
                   const char *update_id);

void desk_checked(struct desk *f, uint64_t token, enum fed_refusal reason);

void desk_logged(struct desk *f, uint64_t token);

void desk_folded(struct desk *f, const char *round_id, uint64_t seq, const char *client_id);

/* Forget what has been asked for so far: the story begins here. */
void desk_pass_over(struct desk *f);

/* Announced, checked, logged and folded, from the client's own connection. */
void desk_admit(struct desk *f, uint64_t token, const char *client_id, const char *update_id);

/* Ann on connection 1, stream 11, and bob on 2, 12; round 7 from m1 is open for both. */
void desk_open_round(struct desk *f);

void desk_make(struct desk *f, bool is_binding, uint32_t clients_max);

int desk_set_up(void **state);

int desk_tear_down(void **state);

#endif /* TESTS_UNIT_COMBINER_CORE_DESK_H */
