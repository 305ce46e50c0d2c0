/* The reducer's core: sessions and rounds as a pure state machine.
 *
 * It is told what happened and asks for what is to be done; it does no I/O, reads no clock and
 * knows no thread. reducer.c feeds it from the loop and carries out the actions; the tests do the
 * same by hand, in virtual time.
 *
 *   IDLE --start--> STARTING --session written--> PLANNING --enough clients--> JOURNALING
 *                                                  ^   | nobody in time            | row written,
 *                                                  |   v                           v plans sent
 *        IDLE <--row-- ENDING <--last round-- DERIVING <-- RECORDING          COLLECTING
 *                                                  ^                               | closing rule
 *                                                  |                               v
 *                                              COMMITTING <--model-- FINISHING <-- CLOSING
 *
 *   RECORDING writes a FAILED or CANCELLED row, COMMITTING the COMMITTED one: the commit point.
 *
 * Storage actions are carried out in order, each repeated until it has worked; after each but
 * STORE_SESSION the caller says federation_done(). Source: the round protocol, sections 3, 7, 8,
 * 10, 11; rules 1-5, 24, 25.
 */
#ifndef REDUCER_CORE_FEDERATION_H
#define REDUCER_CORE_FEDERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/link/link.h"
#include "reducer/core/roster.h"
#include "reducer/core/round.h"

enum federation_state {
    FEDERATION_IDLE,
    FEDERATION_STARTING,
    FEDERATION_PLANNING,
    FEDERATION_JOURNALING,
    FEDERATION_COLLECTING,
    FEDERATION_CLOSING,
    FEDERATION_FINISHING,
    FEDERATION_COMMITTING,
    FEDERATION_RECORDING,
    FEDERATION_DERIVING,
    FEDERATION_ENDING,
    FEDERATION_STATE_MAX,
};

struct federation_config {
    uint64_t heartbeat_limit_ms; /* 10 000 */
    uint64_t reattach_grace_ms;  /* 30 000 */
    uint64_t combiner_grace_ms;  /* 15 000 */
    uint64_t close_timeout_ms;   /* 5 000, and 1 ms for each 16 KiB of a partial sum */
    uint64_t examples_max;       /* 10^9 */
    char boot_id[FED_ID_SIZE];   /* of this reducer */
    char version[FED_LINK_TEXT_SIZE];
};

/* A model as the core knows it: enough to plan a round from it. */
struct federation_base {
    char model_id[FED_ID_SIZE];
    uint8_t sha256[FED_SHA256_SIZE]; /* which model it is */
    uint8_t xxh128[FED_XXH128_SIZE]; /* what combiners check its bytes by; in no row */
    uint64_t size_bytes;
    uint64_t n_elements;
    size_t n_tensors;
    /* (n_tensors,) owned: ceil(log2(max(1, max|b|))) of a float tensor, -1 of an integer one */
    int32_t *exponents;
};
void federation_base_deinit(struct federation_base *base);

/* A session to run: what its row says. */
struct federation_session {
    char session_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char base_model_id[FED_ID_SIZE]; /* the current model */
    char model_name_prefix[FED_LINK_TEXT_SIZE];
    uint64_t seed;
    uint32_t rounds_total;  /* this start: rounds to run, after those before */
    uint32_t rounds_before; /* rounds of the session's earlier starts: round_number goes on */
    uint32_t rounds_done;   /* of this start, committed or failed */
    uint32_t failed_rounds;
    uint64_t round_timeout_ms;
    int64_t buffer_size; /* > 0: close at that many; else wait for all */
    uint32_t clients_required;
    uint32_t clients_per_round;      /* 0: all */
    char (*client_ids)[FED_ID_SIZE]; /* (n_client_ids,) owned; none: everybody */
    size_t n_client_ids;
    bool is_validating;
    bool is_stopping; /* end after the open round */
    /* The round that made base_model_id; empty: it is a seed. With is_validating a resumed session
     * asks for that model's validation again. */
    char base_round_id[FED_ROUND_ID_SIZE];
};
void federation_session_deinit(struct federation_session *session);

enum federation_action_type {
    /* `down` to `link`; drop it if the link is gone. The caller fills in task_data. */
    FEDERATION_SEND,
    FEDERATION_CLOSE_LINK,    /* replaced by a newer one, or rejected */
    FEDERATION_LOAD_BASE,     /* read model `text`; then federation_base_loaded() */
    FEDERATION_STORE_START,   /* session Started, running_session_id: then federation_done() */
    FEDERATION_STORE_ROUND,   /* write the round's row: insert at version 0, else compare-and-set */
    FEDERATION_STORE_DERIVED, /* the model's row where committed, and the session's */
    FEDERATION_STORE_SESSION, /* its row: stopping, or Terminated; then answer 200 to `token` */
    FEDERATION_STORE_END,     /* session Finished or Terminated, running_session_id empty */
    FEDERATION_ADD_PARTIAL,   /* add the partial `token` to the sum; then federation_added() */
    FEDERATION_DROP_PARTIAL,  /* forget the partial `token` */
    FEDERATION_RESET_SUM,     /* a new round: the sum is zero */
    FEDERATION_FINISH,        /* base + sum → model blob; then federation_finished() */
    FEDERATION_ANSWER,        /* `status` and `text` for the ask `token` */
    FEDERATION_ACTION_MAX,
};

struct federation_action {
    enum federation_action_type type;
    uint64_t link;
    uint64_t token;
    int status;
    char text[256];
    struct fed_down down; /* SEND; owned by who takes the action */
};

struct federation;

/* Fails with FED_E_NOMEM. Free with federation_free(). */
FED_NODISCARD int federation_new(const struct federation_config *config,
                                 uint64_t next_round_id,
                                 uint64_t now_ms,
                                 struct federation **ret_federation,
                                 struct fed_err *err);
struct federation *federation_free(struct federation *federation); /* accepts NULL */
FED_DEFINE_CLEANUP(struct federation, federation_free);

/* The next thing to do, or false. *ret_action is the caller's: fed_down_deinit() for SEND. */
bool federation_take_action(struct federation *federation, struct federation_action *ret_action);

/* Look at the deadlines; call at federation_due_ms() or later, early calls are harmless. */
void federation_tick(struct federation *federation, uint64_t now_ms);
uint64_t federation_due_ms(const struct federation *federation); /* UINT64_MAX: none */

/* -- sessions -------------------------------------------------------------------------------- */

/* Start a session: takes over *session. The answer comes as FEDERATION_ANSWER for `token`: 200 when
 * the start is written, 400 with FEDn's text when it cannot be (one runs already, too few clients).
 */
void federation_start(struct federation *federation,
                      struct federation_session *session,
                      uint64_t token,
                      uint64_t now_ms);

/* What the rows say of a session that was running when the reducer went. */
struct federation_standing {
    struct federation_session session; /* its row says Started; taken over */
    struct round *round; /* its open round (PLANNED row, deadline_ms set by the caller), or NULL;
                          * taken over on success */
    const char (*expected)[FED_ID_SIZE]; /* (n_expected,) the clients of its last round, sorted:
                                          * waited for before the next plan */
    size_t n_expected;
    bool is_terminated; /* it was being stopped at once */
};

/* Go on after a restart. Fails with FED_E_NOMEM. */
FED_NODISCARD int federation_resume(struct federation *federation,
                                    struct federation_standing *standing,
                                    uint64_t now_ms,
                                    struct fed_err *err);

/* Stop the session: at once, or after the open round. Answered as federation_start(). */
void federation_stop(struct federation *federation,
                     const char *session_id,
                     bool is_now,
                     uint64_t token,
                     uint64_t now_ms);

/* The disks are short of space, or no longer: while they are, no round is planned; the open one
 * goes on. The caller tells every change, and the state at the start. */
void federation_space(struct federation *federation, bool is_short, uint64_t now_ms);

/* -- combiners ------------------------------------------------------------------------------- */

/* A message came over `link`. RECORDs are not for the core: the caller stores them. */
void federation_up(struct federation *federation,
                   uint64_t link,
                   const struct fed_up *up,
                   uint64_t now_ms);
void federation_link_closed(struct federation *federation, uint64_t link, uint64_t now_ms);

/* A partial sum arrived whole and its hash held (else the caller answers CORRUPT itself). Takes
 * over `entries`. ACCEPTED: FEDERATION_ADD_PARTIAL follows for `token`; any other verdict:
 * FEDERATION_DROP_PARTIAL. */
struct federation_partial {
    char combiner_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    uint64_t plan_seq;
    uint8_t digest[FED_DIGEST_SIZE];
    struct fed_entry *entries; /* owned */
    size_t n_entries;
    uint64_t token;
    uint64_t load_us; /* what it cost the combiner */
    uint64_t sum_us;
};
enum fed_verdict federation_partial(struct federation *federation,
                                    struct federation_partial *partial,
                                    uint64_t now_ms,
                                    char ret_detail[FED_LINK_DETAIL_SIZE]);

/* -- what was asked for is done --------------------------------------------------------------- */

/* Takes over *base. One that is not what the open round was planned from is a failed one. */
void federation_base_loaded(struct federation *federation,
                            struct federation_base *base,
                            uint64_t now_ms);
/* The base cannot be read for good (it is gone or damaged): the session ends. */
void federation_base_failed(struct federation *federation, const char *reason, uint64_t now_ms);
void federation_done(struct federation *federation, uint64_t now_ms); /* the storage action */
void federation_added(struct federation *federation, uint64_t token, uint64_t now_ms);
/* The new model is made and on its way to the store: combiners may fetch it meanwhile. */
void federation_made(struct federation *federation, const struct fed_ahead *ahead);
/* The model's blob is written and durable. Takes over *base: the new model. */
void federation_finished(struct federation *federation,
                         struct federation_base *base,
                         uint64_t now_ms);

/* A validation was stored for the first time. */
void federation_validated(struct federation *federation,
                          const char *model_id,
                          const char *client_id);

/* -- for rows and for people; borrowed until the next call ------------------------------------ */

enum federation_state federation_get_state(const struct federation *federation);
const char *federation_state_name(enum federation_state state);
const struct roster *federation_get_roster(const struct federation *federation);
struct roster *federation_get_roster_mutable(struct federation *federation);
const struct federation_session *federation_get_session(const struct federation *federation);
const struct round *federation_get_round(const struct federation *federation); /* or NULL */
struct round *federation_get_round_mutable(struct federation *federation); /* the caller's stamps */
const struct federation_base *federation_get_base(const struct federation *federation);
uint64_t federation_get_next_round_id(const struct federation *federation);
uint64_t federation_get_change(const struct federation *federation); /* grows with every change */
bool federation_is_terminated(const struct federation *federation);

/* Is this round over for good: another one's, or its last row is written? */
bool federation_is_over(const struct federation *federation, const char *round_id);

/* One line for people: what is waited for, and how long still. */
void federation_format_wait(const struct federation *federation,
                            uint64_t now_ms,
                            char *ret_text,
                            size_t text_size);

struct federation_validation {
    char model_id[FED_ID_SIZE]; /* empty: none was asked for */
    char round_id[FED_ROUND_ID_SIZE];
    uint32_t n_asked;
    uint32_t n_received;
};
const struct federation_validation *federation_get_validation(const struct federation *federation);

#endif /* REDUCER_CORE_FEDERATION_H */
