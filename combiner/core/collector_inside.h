/* The parts of collector.c: what its files share. Nobody else includes this.
 *
 *   collector.c           life, actions, the reducer's messages, Hello, getters
 *   collector_clients.c   clients, their streams and their standing
 *   collector_tasks.c     models, tasks for training and validation
 *   collector_rounds.c    plans, the sum, closing and sealing
 *   collector_admission.c an announcement's way from its arrival to its answer
 */
#ifndef COMBINER_CORE_COLLECTOR_INSIDE_H
#define COMBINER_CORE_COLLECTOR_INSIDE_H

#include "combiner/core/collector.h"
#include "common/base/list.h"
#include "common/base/strmap.h"

#define COLLECTOR_MODELS_MAX  (COLLECTOR_ROUNDS_MAX + COLLECTOR_VALIDATIONS_MAX + 1U)
#define COLLECTOR_PAST_MAX    8U    /* rounds remembered after Done */
#define COLLECTOR_PENDING_MAX 4096U /* announcements on their way at once */
#define COLLECTOR_HELD_MAX    1024U /* of them from another connection than their client's */
#define COLLECTOR_CORRUPT_MAX 3U    /* times a partial is sent again that arrived damaged */
#define COLLECTOR_KEY_SIZE    24U   /* bytes of a number's text as a key, with the NUL */

/* One who has a TaskStream here. Without one there is no such struct. */
struct collector_client {
    struct fed_client_state state; /* ATTACHED or SILENT */
    uint64_t stream;
    uint64_t connection;
    uint64_t heard_ms;
    struct fed_link link; /* in collector.attached while ATTACHED, the longest unheard first */
};

/* How a client has behaved in the session; it outlives its stream. */
struct collector_standing {
    unsigned n_harmful;
    char update_id[FED_ID_SIZE]; /* the last harmful one: told again it does not count again */
};

struct collector_model {
    char model_id[FED_ID_SIZE]; /* empty: free */
    uint8_t xxh128[FED_XXH128_SIZE];
    uint64_t size_bytes;
    bool is_asked;  /* FETCH_MODEL is out */
    bool is_coming; /* clients can download it: some of it is here, or all */
    bool is_ready;
};

/* What became of one client of a plan; stands beside plan.client_ids. */
struct collector_seat {
    uint64_t task_stream; /* its task went out on this stream; 0: it has not */
    size_t entry;         /* of its admitted update, in round.entries; valid if is_admitted */
    bool is_admitted;
    enum fed_refusal refusal; /* its own update was refused, or it is set aside */
};

/* An entry under the present plan. */
struct collector_mark {
    bool is_folded;
    bool is_untold; /* the reducer has been told of it under a former plan, if at all */
};

struct collector_round {
    struct fed_plan plan; /* owned, its clients sorted */
    enum fed_link_round_state state;
    uint64_t instance;            /* a round that was dropped and came again is another one */
    uint64_t deadline_ms;         /* from then on no new task */
    struct collector_seat *seats; /* (plan.n_clients,) owned */
    /* ADMITs of the log, owned: first the n_admitted of clients in the plan, then the others */
    struct fed_entry *entries;
    struct collector_mark *marks; /* (n_entries,) owned: how each entry stands */
    size_t n_entries;
    size_t n_admitted;
    size_t capacity;
    size_t n_folded;
    size_t n_logging;
    struct fed_entry *lost; /* (n_lost,) owned: were admitted, and are in the spool no more */
    size_t n_lost;
    struct fed_refused *refused; /* (n_refused,) owned, at most COLLECTOR_REFUSED_MAX */
    size_t n_refused;
    bool is_summing;    /* RESET_SUM is out for the present plan_seq */
    bool is_seal_asked; /* SEAL is out for the present plan_seq */
    bool is_handing;    /* PUT_PARTIAL is out, unanswered, on the present link */
    unsigned n_corrupt;
};

/* A round that is over: what came late for it is told apart from nonsense. */
struct collector_past {
    char round_id[FED_ROUND_ID_SIZE]; /* empty: free */
    char session_id[FED_ID_SIZE];
    enum fed_round_outcome outcome;
    struct fed_entry *entries; /* (n_entries,) owned: announced again they are no refusal */
    size_t n_entries;
};

struct collector_validation {
    struct fed_validate validate; /* owned; model_id empty: free */
    uint64_t deadline_ms;
    struct {
        uint64_t task_stream;
        bool is_done;
    } * seats; /* (validate.n_clients,) owned */
};

enum pending_state {
    PENDING_QUEUED,   /* the round's base is not here yet */
    PENDING_HELD,     /* from another connection than its client's */
    PENDING_CHECKING, /* CHECK is out */
    PENDING_CHECKED,  /* it fits, while another update of the client is being logged */
    PENDING_LOGGING,  /* LOG is out */
    PENDING_JOINED,   /* another announcement of the same update is on its way: answered with it */
};

struct collector_pending {
    struct collector_announcement announcement;
    enum pending_state state;
    uint64_t held_until_ms;  /* HELD */
    bool is_forgotten;       /* its caller went away: no ANSWER */
    uint64_t round_instance; /* LOGGING: into this round */
    bool is_awaited;         /* its client is away, and the reducer is told when this is decided */
    uint64_t look;           /* of admission_look(), so that each is looked at once */
    struct fed_link link;    /* in collector.pending, in the order of arrival */
};

struct collector {
    struct collector_config config;
    bool is_linked;
    struct {
        struct collector_action *items; /* owned ring */
        size_t n_items;
        size_t capacity;
        size_t first;
    } queue;
    struct fed_strmap clients; /* client_id → struct collector_client, owned */
    struct fed_strmap streams; /* stream → the same, borrowed */
    struct fed_strmap names;   /* connection/name → the same, borrowed */
    struct fed_list attached;  /* struct collector_client, by heard_ms */
    /* client_id → struct fed_client_state, owned: who is away, SILENT or GONE, while the reducer is
     * to believe it ATTACHED */
    struct fed_strmap untold;
    struct fed_strmap standings; /* client_id → struct collector_standing, owned */
    char standings_session_id[FED_ID_SIZE];
    struct collector_round *rounds[COLLECTOR_ROUNDS_MAX]; /* owned, oldest first */
    size_t n_rounds;
    struct collector_past past[COLLECTOR_PAST_MAX]; /* a ring */
    size_t next_past;
    struct collector_model models[COLLECTOR_MODELS_MAX];
    char newest_model_id[FED_ID_SIZE]; /* asked for last: kept until another is */
    struct collector_validation validations[COLLECTOR_VALIDATIONS_MAX]; /* the older first */
    struct fed_list pending;          /* struct collector_pending, owned */
    struct fed_strmap pending_tokens; /* token → the same */
    size_t n_held;                    /* of them HELD */
    uint64_t n_looks;
    uint64_t n_instances; /* of rounds, ever */
};

/* collector.c. A zeroed action at the end of the queue, to be filled in; NULL when out of memory:
 * it is lost, as if it had been carried out and its answer were lost. */
struct collector_action *collector_push(struct collector *collector,
                                        enum collector_action_type type);
/* The same with its round named. */
struct collector_action *collector_push_round(struct collector *collector,
                                              enum collector_action_type type,
                                              const struct collector_round *round);
/* A message to the reducer; NULL when the link is down, too: the next Hello says it. */
struct fed_up *collector_push_up(struct collector *collector, enum fed_up_type type);
/* All that is here, when the link is up. */
void collector_say_hello(struct collector *collector);
void collector_format_key(uint64_t number, char ret_key[COLLECTOR_KEY_SIZE]);

/* collector_clients.c */
void clients_free(struct collector *collector);
struct collector_client *clients_find(const struct collector *collector, const char *client_id);
/* Does `connection` speak for the client: does its stream live there? */
bool clients_is_own(const struct collector *collector, const char *client_id, uint64_t connection);
void clients_heard(struct collector *collector, struct collector_client *client, uint64_t now_ms);
void clients_tick(struct collector *collector, uint64_t now_ms);
/* What was awaited of this client is decided: if it is away still, the reducer hears it now. */
void clients_decided(struct collector *collector, const char *client_id);
uint64_t clients_due_ms(const struct collector *collector);
void clients_begin_session(struct collector *collector, const char *session_id);
bool clients_is_set_aside(const struct collector *collector, const char *client_id);
/* One's own update was refused: harmful refusals add up. */
void clients_count_refusal(struct collector *collector,
                           const char *client_id,
                           const char *update_id,
                           enum fed_refusal reason);

/* collector_tasks.c */
void tasks_send(struct collector *collector,
                const struct collector_client *client,
                uint64_t now_ms);
void tasks_send_all(struct collector *collector, uint64_t now_ms);
void tasks_validate(struct collector *collector,
                    const struct fed_validate *validate,
                    uint64_t now_ms);
void tasks_tick(struct collector *collector, uint64_t now_ms);
uint64_t tasks_due_ms(const struct collector *collector);
void tasks_free(struct collector *collector);
/* The newest model: asked for when it is not here. */
void tasks_need_model(struct collector *collector,
                      const char *model_id,
                      const uint8_t xxh128[FED_XXH128_SIZE],
                      uint64_t size_bytes);
bool tasks_is_model_ready(const struct collector *collector, const char *model_id);
void tasks_sweep_models(struct collector *collector); /* drop what nothing needs any more */
void tasks_ask_models(struct collector *collector);   /* again for those that were lost */

/* collector_rounds.c */
struct collector_round *rounds_find(const struct collector *collector, const char *round_id);
struct collector_seat *rounds_find_seat(const struct collector_round *round, const char *client_id);
const struct fed_entry *rounds_find_entry(const struct collector_round *round,
                                          const char *client_id);
const struct collector_past *rounds_find_past(const struct collector *collector,
                                              const char *round_id);
/* Take an ADMIT into the round: listed, and folded, when its client is in the plan. False: out of
 * memory. */
bool rounds_admit(struct collector *collector,
                  struct collector_round *round,
                  const struct fed_entry *entry);
/* Was it admitted, and went? */
bool rounds_is_lost(const struct collector_round *round,
                    const char *client_id,
                    const char *update_id);
/* Tell the reducer: it is in the sum of the present plan, or will be. */
void rounds_tell_admitted(struct collector *collector,
                          const struct collector_round *round,
                          const struct fed_entry *entry);
void rounds_list_refused(struct collector_round *round, const struct fed_refused *refused);
void rounds_try_seal(struct collector *collector, struct collector_round *round);
void rounds_plan(struct collector *collector, const struct fed_plan *plan, uint64_t now_ms);
void rounds_close(struct collector *collector, const struct fed_down *down, uint64_t now_ms);
void rounds_done(struct collector *collector, const struct fed_down *down, uint64_t now_ms);
void rounds_link_down(struct collector *collector);
void rounds_model_ready(struct collector *collector, const char *model_id);
void rounds_model_lost(struct collector *collector, const char *model_id);
void rounds_free(struct collector *collector);

/* collector_admission.c */
/* Something has changed that what waits may have waited for: of `client_id`, or of anybody (NULL).
 */
void admission_look(struct collector *collector, const char *client_id, uint64_t now_ms);
void admission_tick(struct collector *collector, uint64_t now_ms);
uint64_t admission_due_ms(const struct collector *collector);
void admission_free(struct collector *collector);
/* Is an update of this client's for the round being looked at? */
bool admission_is_busy(const struct collector *collector,
                       const char *round_id,
                       const char *client_id);
/* The client is away. Are updates of its undecided that may yet count? Those that are here now are
 * awaited: the end of the last of them is told to clients_decided(). */
bool admission_await(struct collector *collector, const char *client_id);
/* How many announcements for the round are on their way. */
size_t admission_count(const struct collector *collector, const char *round_id);

#endif /* COMBINER_CORE_COLLECTOR_INSIDE_H */
