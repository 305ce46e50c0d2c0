/* The combiner's core: who is attached, which plan is current, whose update counts. Pure.
 *
 * It is told what happened and asks for what is to be done; it does no I/O, reads no clock and
 * knows no thread. combiner.c feeds it from the loop and carries out the actions in order; the
 * tests do the same by hand, in virtual time, together with the reducer's core.
 *
 *   round:   PLANNED --base here--> COLLECTING --Close--> SEALING --all folded, written--> SEALED
 *            PLANNED --Close--> SEALING (sealed without the base when nothing is admitted)
 *            in PLANNED tasks go out as soon as the base is coming; what is announced waits
 *            any of them --Plan with a higher plan_seq--> PLANNED, its sum rebuilt from the spool
 *            any of them --what was admitted is lost--> the sum rebuilt without it, a new Hello
 *            any of them --Done--> (dropped)
 *
 *   update:  (announced) --from another connection--> HELD --its time, or the client's stream-->
 *            (announced) --plan allows it--> CHECKING --its bytes fit--> LOGGING --ADMIT written-->
 *            ADMITTED --folded--> FOLDED             any of them --> refused, with a reason
 *
 *   client:  ATTACHED <--heartbeat, its limit--> SILENT --stream ended--> GONE
 *            SILENT and GONE are told to the reducer, in a Hello too, once what is here of the
 *            client's for an open round is decided: it counts, though nobody waits for its client
 *
 * The order of admission is the round protocol's (section 5): everything is checked before the
 * decision, the decision is taken on the loop, ADMIT is written before OK is answered. A refused
 * update changes nothing and is answered OK: FEDn's clients know no other answer. What is unsure
 * (no space, the log cannot be written) is answered UNAVAILABLE, and the client comes again.
 *
 * Source: the round protocol, sections 2, 3, 5, 6, 9-11; rules 4, 6-8, 11, 13-16, 24.
 *
 * Thread safety: none. Owned by the combiner's loop.
 */
#ifndef COMBINER_CORE_COLLECTOR_H
#define COMBINER_CORE_COLLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/link/link.h"

#define COLLECTOR_ROUNDS_MAX      4U /* rounds held at once: the open one and those not yet Done */
#define COLLECTOR_REFUSED_MAX     1000U /* kept of each round for the next Hello */
#define COLLECTOR_VALIDATIONS_MAX 2U    /* models whose validation is under way */
#define COLLECTOR_SET_ASIDE       5U    /* harmful refusals of a client before it is set aside */

struct collector_config {
    char combiner_id[FED_ID_SIZE];
    char boot_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char advertise[FED_LINK_ADDRESS_SIZE];
    char version[FED_LINK_TEXT_SIZE];
    uint32_t clients_max;        /* beyond it a TaskStream ends with UNAVAILABLE */
    uint64_t heartbeat_limit_ms; /* until Welcome says otherwise: 10 000 */
    bool is_binding;             /* an update counts from its client's connection only (rule 16) */
};

enum collector_action_type {
    COLLECTOR_SEND_UP, /* `up` to the reducer; dropped when the link is down. Owned by the taker */
    COLLECTOR_SEND_TASK,   /* `task` on stream `stream` */
    COLLECTOR_END_STREAM,  /* finish stream `stream` with UNAVAILABLE */
    COLLECTOR_FETCH_MODEL, /* have model `id` here, of `xxh128` and `size_bytes`; the caller tries
                            * until it works: collector_model_coming(), collector_model_ready();
                            * gone: collector_model_lost() */
    COLLECTOR_DROP_MODEL,  /* model `id` is not needed any more */
    COLLECTOR_STORE_PLAN,  /* write the plan of round `round_id` (collector_get_plan()) to the spool
                            */
    COLLECTOR_CHECK,       /* claim upload `id` for `token` and judge it against round `round_id`'s
                            * plan with `examples`: collector_checked() */
    COLLECTOR_LOG,    /* move the file into the round's folder, append ADMIT (client `client_id`,
                       * update `id`, `examples`): collector_logged() */
    COLLECTOR_ANSWER, /* the announcement `token`: is_ok ? OK : UNAVAILABLE */
    COLLECTOR_DROP_UPDATE, /* the claimed file of `token` is not wanted */
    COLLECTOR_RESET_SUM,   /* round `round_id`: the sum is zero, under plan `plan_seq` */
    COLLECTOR_FOLD,        /* add the spooled update of `client_id`: collector_folded() */
    COLLECTOR_SEAL,        /* write the partial of `round_id` under `plan_seq`, append SEAL:
                            * collector_sealed(). With nothing admitted it is a header alone */
    COLLECTOR_PUT_PARTIAL, /* send it, again while the link stands: collector_partial_answered();
                            * when the link goes: nothing */
    COLLECTOR_DROP_ROUND,  /* remove everything of `round_id` */
    COLLECTOR_ACTION_MAX,
};

enum collector_task_type {
    COLLECTOR_TRAIN,
    COLLECTOR_VALIDATE,
};

struct collector_task {
    enum collector_task_type type;
    char client_id[FED_ID_SIZE];
    char session_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    char model_id[FED_ID_SIZE];
    const char *data; /* borrowed until the next call that is not collector_take_action() */
};

struct collector_action {
    enum collector_action_type type;
    uint64_t stream;
    uint64_t token;
    uint64_t plan_seq;
    uint64_t examples;
    uint64_t size_bytes;
    uint8_t xxh128[FED_XXH128_SIZE];
    bool is_ok;
    char round_id[FED_ROUND_ID_SIZE];
    char client_id[FED_ID_SIZE];
    char id[FED_ID_SIZE]; /* of a model or an update */
    struct collector_task task;
    struct fed_up up; /* SEND_UP; owned by who takes the action: fed_up_deinit() */
};

struct collector;

/* Fails with FED_E_NOMEM. Free with collector_free(). */
FED_NODISCARD int collector_new(const struct collector_config *config,
                                struct collector **ret_collector,
                                struct fed_err *err);
struct collector *collector_free(struct collector *collector); /* accepts NULL */
FED_DEFINE_CLEANUP(struct collector, collector_free);

/* The next thing to do, or false. Actions are carried out in the order they come. */
bool collector_take_action(struct collector *collector, struct collector_action *ret_action);

/* Look at the deadlines; call at collector_due_ms() or later, early calls are harmless. */
void collector_tick(struct collector *collector, uint64_t now_ms);
uint64_t collector_due_ms(const struct collector *collector); /* UINT64_MAX: none */

/* A round found in the spool after a restart. */
struct collector_recovery {
    struct fed_plan plan;             /* taken over; time_left_ms: 0, or what is surely left: no
                                       * task goes out before the reducer speaks, or within it */
    const struct fed_entry *admitted; /* (n_admitted,) of its log; of one client the first counts */
    size_t n_admitted;
    const struct fed_entry *lost; /* (n_lost,) of the log, too, and in the spool no more */
    size_t n_lost;
    bool is_sealed; /* the log ends with SEAL for this very plan_seq, and the partial is there */
};

/* Before the first collector_link_up(). The plan is the caller's on failure.
 * Fails with FED_E_NOMEM, FED_E_LIMIT (COLLECTOR_ROUNDS_MAX). */
FED_NODISCARD int collector_recover(struct collector *collector,
                                    struct collector_recovery *recovery,
                                    uint64_t now_ms,
                                    struct fed_err *err);

/* -- the reducer ------------------------------------------------------------------------------ */

/* The link stands: Hello goes out first. */
void collector_link_up(struct collector *collector, uint64_t now_ms);
void collector_link_down(struct collector *collector, uint64_t now_ms);

/* A message came (not RECORD_ACK, which is the outbox's). Borrowed. A Reject is the caller's to act
 * on. */
void collector_down(struct collector *collector, const struct fed_down *down, uint64_t now_ms);

/* -- clients ---------------------------------------------------------------------------------- */

/* A TaskStream was opened. `stream` names it, `connection` the connection it is on. A client's
 * newest stream wins: the older one is ended, and its open task goes out again on the new one. */
struct collector_attach {
    char client_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char ip[64];
    uint64_t stream;
    uint64_t connection;
};
void collector_attach(struct collector *collector,
                      const struct collector_attach *attach,
                      uint64_t now_ms);
void collector_detach(struct collector *collector, uint64_t stream, uint64_t now_ms);

/* A sign of life in the client's name; from another connection than its stream's it means nothing.
 */
void collector_heartbeat(struct collector *collector,
                         const char *client_id,
                         uint64_t connection,
                         uint64_t now_ms);

/* A SendModelUpdate, parsed. Answered by COLLECTOR_ANSWER for `token` in every case, once. */
struct collector_announcement {
    uint64_t token;
    uint64_t connection;
    char client_id[FED_ID_SIZE]; /* empty: no sender */
    char update_id[FED_ID_SIZE];
    char model_id[FED_ID_SIZE];       /* the base it was trained from */
    char session_id[FED_ID_SIZE];     /* empty: not named */
    char round_id[FED_ROUND_ID_SIZE]; /* empty: no round named */
    uint64_t examples;                /* valid unless `fault` */
    enum fed_refusal fault;           /* what is wrong with the message itself; NONE */
    char detail[FED_LINK_DETAIL_SIZE];
};
void collector_announce(struct collector *collector,
                        const struct collector_announcement *announcement,
                        uint64_t now_ms);

/* The caller of announcement `token` went away: nothing is to be answered. */
void collector_forget(struct collector *collector, uint64_t token);

/* A validation of `model_id` by `client_id` has come: its task is done. */
void collector_validated(struct collector *collector, const char *client_id, const char *model_id);

/* -- what was asked for is done --------------------------------------------------------------- */

/* Clients can download it, though its end is not here: their tasks go out. What they announce waits
 * for the whole of it. */
void collector_model_coming(struct collector *collector, const char *model_id, uint64_t now_ms);
void collector_model_ready(struct collector *collector, const char *model_id, uint64_t now_ms);
void collector_model_lost(struct collector *collector, const char *model_id, uint64_t now_ms);

/* reason NONE: the bytes fit. FED_REFUSAL_MAX: it could not be judged (answered UNAVAILABLE); the
 * claim ends and the upload stays as it was. */
void collector_checked(struct collector *collector,
                       uint64_t token,
                       enum fed_refusal reason,
                       const char *detail,
                       uint64_t now_ms);
void collector_logged(struct collector *collector, uint64_t token, bool is_ok, uint64_t now_ms);
void collector_folded(struct collector *collector,
                      const char *round_id,
                      uint64_t plan_seq,
                      const char *client_id,
                      uint64_t now_ms);
/* These entries, sorted by client_id, are in the spool no more, and the sum folds nothing until it
 * is reset: they leave the round, and their clients are asked again - those too that have not
 * heard their OK, and announce what is not here any more. */
void collector_lost(struct collector *collector,
                    const char *round_id,
                    const struct fed_entry *entries,
                    size_t n_entries,
                    uint64_t now_ms);
void collector_sealed(struct collector *collector,
                      const char *round_id,
                      uint64_t plan_seq,
                      uint64_t now_ms);
void collector_partial_answered(struct collector *collector,
                                const char *round_id,
                                uint64_t plan_seq,
                                enum fed_verdict verdict,
                                uint64_t now_ms);

/* -- borrowed until the next call ------------------------------------------------------------- */

const struct fed_plan *collector_get_plan(const struct collector *collector, const char *round_id);

/* Entries of the round admitted under its present plan, in no particular order. */
const struct fed_entry *collector_get_admitted(const struct collector *collector,
                                               const char *round_id,
                                               size_t *ret_n_admitted);

/* Is it the id of a global model in use here? Such an id can be neither uploaded nor announced. */
bool collector_is_model(const struct collector *collector, const char *id);

/* Attached clients; the id of the client on `connection` called `name`, or NULL (SendStatus has the
 * name alone). */
size_t collector_count_attached(const struct collector *collector);
const char *
collector_find_client(const struct collector *collector, const char *name, uint64_t connection);

/* Walk over the attached clients: start with *cursor = 0; NULL at the end. */
const struct fed_client_state *collector_next_client(const struct collector *collector,
                                                     size_t *cursor);

/* One line for people and the log: "round 7: 3 of 5 admitted, 1 being checked". */
void collector_format(const struct collector *collector, char *ret_text, size_t text_size);

#endif /* COMBINER_CORE_COLLECTOR_H */
