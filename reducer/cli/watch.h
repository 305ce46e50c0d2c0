/* What is known of a session's rounds, gathered from the live state and from rows, and drawn as a
 * line a round.
 *
 *     round 3/5  [########========....]  0 training  2 uploaded  1 validated  loss 0.0312 …
 *
 * A round is settled when nothing about it will change any more: it failed, or it is committed and
 * validated by all, or the next model's validation has begun. Settled rounds are drawn once, in
 * order; on a terminal the others are drawn again below them at every change.
 *
 * Thread safety: none. No I/O, no clock.
 */
#ifndef REDUCER_CLI_WATCH_H
#define REDUCER_CLI_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "reducer/cli/term.h"

#define WATCH_TEXT_SIZE 160

enum watch_phase {
    WATCH_OPEN,
    WATCH_COMMITTED,
    WATCH_FAILED,
    WATCH_CANCELLED,
};

struct watch_round {
    uint64_t number; /* in its session, from 1 */
    enum watch_phase phase;
    char round_id[FED_ID_SIZE];
    char model_id[FED_ID_SIZE]; /* "" until committed */
    char failure[WATCH_TEXT_SIZE];
    uint64_t n_asked;
    uint64_t n_training;
    uint64_t n_uploaded;
    uint64_t n_refused;
    uint64_t n_away;         /* silent or gone */
    uint64_t n_to_validate;  /* clients asked to */
    uint64_t n_validated;    /* rows loaded */
    uint64_t n_reported;     /* by the live state */
    uint64_t opened_ms;      /* of the caller's clock: when the open round began */
    uint64_t planned_utc_ms; /* 0: not known */
    uint64_t total_ms;       /* 0: not known */
    double loss;             /* means over the clients that validated */
    double accuracy;         /* 0..1 */
    bool has_loss;
    bool has_accuracy;
    bool is_to_validate; /* clients have been asked to */
    bool is_settled;
    bool is_drawn; /* for good */
};

struct watch {
    char session_id[FED_ID_SIZE];
    char status[32]; /* "Created", "Started", "Finished", "Terminated" */
    bool is_validating;
    uint64_t round_timeout_ms;
    uint64_t rounds_total; /* of this start */
    uint64_t failed_rounds;
    char model_id[FED_ID_SIZE];
    struct { /* the live state's, which may come before the round's row */
        char model_id[FED_ID_SIZE];
        uint64_t n_asked;
        uint64_t n_received;
    } validation;
    struct watch_round *rounds; /* (n_rounds,) owned, by number */
    size_t n_rounds;
    size_t n_lines;  /* drawn below the settled ones, to be drawn over */
    uint64_t change; /* when it is another one, rounds have ended: load their rows */
};

void watch_init(struct watch *watch, const char *session_id);
void watch_deinit(struct watch *watch);

/* The session's row: whether it validates, its status. */
void watch_session(struct watch *watch, const json_t *row);

/* The live state. Returns false when it speaks of another session. Fails with FED_E_NOMEM only by
 * leaving a round out. */
bool watch_live(struct watch *watch, const json_t *live, uint64_t now_ms);

/* Rows of rounds that have ended; others are skipped. */
void watch_rounds(struct watch *watch, const json_t *rows);

/* All validations of a model. */
void watch_validations(struct watch *watch, const char *model_id, const json_t *rows);

/* A model whose validations should be loaded now, or NULL. */
const char *watch_wants_validations(const struct watch *watch);

/* How many of the first rounds are known to have ended: their rows need not be loaded again. */
size_t watch_count_ended(const struct watch *watch);

bool watch_is_ended(const struct watch *watch);     /* Finished or Terminated */
bool watch_is_validated(const struct watch *watch); /* nothing is to come for the last model */

/* Nothing is waited for any more: all rounds are settled. */
void watch_settle(struct watch *watch);

/* Append what to print now. Fails as fed_buf_add(). */
FED_NODISCARD int watch_draw(struct watch *watch,
                             const struct term *term,
                             uint64_t now_ms,
                             struct fed_buf *buf,
                             struct fed_err *err);

/* True when something on a terminal changes by the time alone. */
bool watch_is_ticking(const struct watch *watch);

/* From the first round's plan to the end of the last one; 0 when the rows do not say. */
uint64_t watch_elapsed_ms(const struct watch *watch);

/* The last committed round, or NULL. */
const struct watch_round *watch_last(const struct watch *watch);

#endif /* REDUCER_CLI_WATCH_H */
