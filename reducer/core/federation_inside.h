/* The parts of federation.c: what its files share. Nobody else includes this. */
#ifndef REDUCER_CORE_FEDERATION_INSIDE_H
#define REDUCER_CORE_FEDERATION_INSIDE_H

#include "reducer/core/federation.h"

struct federation {
    struct federation_config config;
    struct roster roster;
    enum federation_state state;
    uint64_t change;
    struct {
        struct federation_action *items; /* owned ring */
        size_t n_items;
        size_t capacity;
        size_t first;
    } queue;
    bool has_session;
    bool is_terminated; /* stopped at once: no further round, and the open one is cancelled */
    struct federation_session session;
    struct federation_base base; /* of the session's current model; model_id empty: not loaded */
    struct round *round;         /* the open one, or the last one; owned */
    uint64_t next_round_id;
    uint64_t start_token;
    struct { /* asked for while the last session's end was being written */
        bool is_wanted;
        struct federation_session session; /* owned */
        uint64_t token;
    } next_start;
    uint64_t planning_since_ms;
    bool is_short;         /* of disk space: no round is planned */
    uint64_t restarted_ms; /* the open round was resumed then; 0: it was planned by us */
    struct {
        char (*client_ids)[FED_ID_SIZE]; /* clients of the last round, sorted; owned */
        size_t n_clients;
        uint64_t until_ms; /* they are waited for until then */
    } expected;
    bool was_closed;    /* a combiner holds a sealed sum of the open round: close it at once */
    bool is_journaling; /* a changed plan is being written while COLLECTING */
    bool is_dirty;      /* it changed again meanwhile: to be written again before it is sent */
    bool is_recorded;   /* the round's last word is in its row: combiners may forget the round */
    uint64_t due_ms;
    struct federation_validation validation;
    struct fed_strmap validated; /* client_id → the federation itself: a set */
};

/* A zeroed action at the end of the queue, to be filled in; NULL when out of memory: a message,
 * which may be lost. The others have places kept for them. */
struct federation_action *federation_push(struct federation *fed, enum federation_action_type type);

void federation_answer(struct federation *fed, uint64_t token, int status, const char *text);

/* Enter `state`; wakes who watches. */
void federation_move(struct federation *fed, enum federation_state state);

void federation_want(struct federation *fed,
                     uint64_t due_ms); /* look again at due_ms at the latest */

/* planning.c */
void planning_begin(struct federation *fed, uint64_t now_ms); /* next round, or the session's end */
void planning_look(struct federation *fed, uint64_t now_ms);
void planning_journaled(struct federation *fed, uint64_t now_ms);
size_t planning_count_candidates(const struct federation *fed,
                                 const struct federation_session *session);
void planning_expect(struct federation *fed,
                     uint64_t now_ms); /* somebody was lost: wait for them */
/* No plan goes out before its base has been read: it says the base's XXH3. */
void planning_send(struct federation *fed, struct round_part *part, uint64_t now_ms);
void planning_send_again(struct federation *fed, uint64_t now_ms); /* it has been read now */
void planning_journal(struct federation *fed); /* write the row before its changed plans are sent */
void planning_move_clients(struct federation *fed, uint64_t now_ms); /* off combiners given up */
void planning_end_session(struct federation *fed);

/* closing.c */
void closing_look(struct federation *fed, uint64_t now_ms); /* COLLECTING and CLOSING */
void closing_send(struct federation *fed, const struct round_part *part);
void closing_begin(struct federation *fed, uint64_t now_ms);
/* A combiner is back in a closing round: it gets the time a partial sum takes. */
void closing_resume(struct federation *fed, uint64_t now_ms);
void closing_fail(struct federation *fed, const char *why, uint64_t now_ms);
void closing_cancel(struct federation *fed, uint64_t now_ms);
void closing_recorded(struct federation *fed); /* COMMITTING or RECORDING is written */
void closing_derived(struct federation *fed, uint64_t now_ms);
void closing_send_done(struct federation *fed, uint64_t link, const char *round_id);
void closing_send_ahead(struct federation *fed, const struct fed_ahead *ahead);
void closing_send_validate(struct federation *fed, const struct roster_combiner *combiner);
void closing_send_validates(struct federation *fed); /* to all combiners */
struct round_patience closing_patience(const struct federation *fed);

#endif /* REDUCER_CORE_FEDERATION_INSIDE_H */
