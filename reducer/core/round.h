/* The open round: who was asked, who has answered, which partial sums are in.
 *
 *   PLANNED --plans sent--> OPEN --closing rule--> CLOSING --commit--> COMMITTED
 *      any of the three --quorum missed--> FAILED      --session stopped--> CANCELLED
 *
 * A part is one combiner's share of the round:
 *
 *   WAITING --partial taken in--> ADDING --its sums added--> ADDED
 *      WAITING --combiner given up--> FENCED --a higher plan_seq--> WAITING
 *
 * Everything here is a statement about one round; when it is journaled, sent or closed is
 * federation.c's business. Source of the rules: the round protocol, sections 3, 6 and 7. Pure:
 * the time is an argument. Owned by the loop.
 */
#ifndef REDUCER_CORE_ROUND_H
#define REDUCER_CORE_ROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/strmap.h"
#include "common/link/link.h"
#include "reducer/core/roster.h"

#define ROUND_REFUSALS_MAX 1000U /* kept with their text; the rest are counted by reason */
#define ROUND_CORRUPT_MAX  3U    /* times a partial sum may be sent again */

#define ROUND_ROW_MAX (14UL * 1024 * 1024) /* bytes that the lists of clients may take in a row */

enum round_state {
    ROUND_PLANNED,
    ROUND_OPEN,
    ROUND_CLOSING,
    ROUND_COMMITTED,
    ROUND_FAILED,
    ROUND_CANCELLED,
    ROUND_STATE_MAX,
};

enum part_state {
    PART_WAITING,
    PART_ADDING,
    PART_ADDED,
    PART_FENCED,
};

struct round_client {
    char client_id[FED_ID_SIZE];
    char update_id[FED_ID_SIZE]; /* of the admitted update */
    uint64_t examples;           /* of the admitted update */
    size_t part;                 /* index into round.parts */
    bool is_admitted;
    uint64_t admitted_seq;    /* the plan under which its combiner said so last */
    enum fed_refusal refusal; /* last one from its own connection; NONE after an admission */
};

struct round_part {
    char combiner_id[FED_ID_SIZE];
    uint64_t plan_seq;
    uint64_t fenced_plan_seq;
    enum part_state state;
    uint8_t digest[FED_DIGEST_SIZE]; /* of the partial, from ADDING on */
    struct fed_entry *entries;       /* (n_entries,) of the partial, owned, from ADDING on */
    size_t n_entries;
    uint64_t token;   /* names the partial that is being added */
    uint64_t load_us; /* what it cost the combiner: reading and checking updates, … */
    uint64_t sum_us;  /* … folding them; 0: not known */
    unsigned n_corrupt;
    bool is_sent; /* its present plan has been given to the combiner's link */
};

struct round {
    char session_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    uint32_t round_number;
    uint64_t version; /* of its row */
    enum round_state state;
    char base_model_id[FED_ID_SIZE];
    uint8_t base_sha256[FED_SHA256_SIZE];
    uint64_t base_size_bytes;
    int32_t *scale_bits; /* (n_tensors,) owned */
    size_t n_tensors;
    uint32_t limit_bits;
    uint64_t planned_utc_ms;
    uint64_t planned_ms;  /* monotonic; 0 after a restart of the reducer */
    uint64_t deadline_ms; /* monotonic */
    uint64_t timeout_ms;
    uint64_t close_ms;            /* partials are awaited until then; valid while CLOSING */
    struct round_client *clients; /* (n_clients,) owned, sorted by client_id */
    size_t n_clients;
    struct round_part *parts; /* (n_parts,) owned */
    size_t n_parts;
    struct fed_refused *refused; /* (n_refused,) owned; NULL, or room for ROUND_REFUSALS_MAX */
    size_t n_refused;
    uint64_t n_refused_more;                /* beyond ROUND_REFUSALS_MAX */
    uint64_t refused_more[FED_REFUSAL_MAX]; /* the same by reason */
    char model_id[FED_ID_SIZE];             /* COMMITTED */
    uint8_t model_sha256[FED_SHA256_SIZE];
    uint64_t model_size_bytes;
    char failure[FED_LINK_DETAIL_SIZE]; /* FAILED: why */
    uint64_t closed_ms;                 /* CLOSING began */
    uint64_t committed_ms;              /* the commit point */
};

/* When somebody is waited for, and how long. All in ms. */
struct round_patience {
    uint64_t heartbeat_limit_ms;
    uint64_t reattach_grace_ms;
    uint64_t combiner_grace_ms;
    uint64_t restarted_ms; /* when the reducer resumed this round; 0: it did not */
};

/* How many clients one round may ask: its row, one document of the store, names each of them when
 * it is planned and again when it is committed. From the lengths of the longest ids. */
size_t round_clients_max(size_t client_id_size, size_t combiner_id_size);

/* n clients (sorted, no doubles) as they are in the roster: each is given to the combiner it is at.
 * Fails with FED_E_NOMEM. Free with round_free(). */
FED_NODISCARD int round_new(const char (*client_ids)[FED_ID_SIZE],
                            size_t n_clients,
                            const struct roster *roster,
                            struct round **ret_round,
                            struct fed_err *err);
struct round *round_free(struct round *round); /* accepts NULL */
FED_DEFINE_CLEANUP(struct round, round_free);

const char *round_state_name(enum round_state state); /* "planned" */
void round_move(struct round *round, enum round_state next);

struct round_client *round_find_client(const struct round *round, const char *client_id);
struct round_part *round_find_part(const struct round *round, const char *combiner_id);

/* What a combiner says it has admitted, under a plan of its, or refused; told again it changes
 * nothing. What a combiner says of clients that are not its own, or while it is given up, is
 * ignored. Who was admitted under a former plan does not move, but is waited for until it is told
 * under the present one: the checkpoint its update was in may have ended with the former. */
void round_admitted(struct round *round,
                    const struct round_part *part,
                    uint64_t plan_seq,
                    const struct fed_entry *entry);
void round_refused(struct round *round,
                   const struct round_part *part,
                   const struct fed_refused *refused);

/* The part's combiner is about to say its whole state: what it does not say again it does not have
 * any more (a power cut takes what was not flushed), and its client is waited for again. */
void round_forget_admitted(struct round *round, const struct round_part *part);

/* A part that was given up is asked again, under a plan_seq above the fence. Its new plan is to be
 * journaled and sent. Harmless for a part that was not. */
void round_reopen_part(struct round_part *part);

size_t round_count_admitted(const struct round *round); /* under the present plans */

/* Is this client still waited for? If so *ret_until_ms is when that ends by itself (UINT64_MAX: not
 * before the deadline). */
bool round_awaits_client(const struct round *round,
                         const struct round_client *client,
                         const struct roster *roster,
                         const struct round_patience *patience,
                         uint64_t now_ms,
                         uint64_t *ret_until_ms);

/* The closing rule but for the deadline: true when nobody is left to wait for. Else *ret_look_ms is
 * when to look again though nothing happens. */
bool round_is_answered(const struct round *round,
                       const struct roster *roster,
                       const struct round_patience *patience,
                       uint64_t now_ms,
                       uint64_t *ret_look_ms);

/* A partial sum that has arrived whole and whose hash held. */
struct round_partial {
    const char *combiner_id;
    uint64_t plan_seq;
    const uint8_t *digest;      /* (FED_DIGEST_SIZE,) */
    struct fed_entry **entries; /* (n_entries,) taken over, and set to NULL, when ACCEPTED */
    size_t n_entries;
    uint64_t token;
    uint64_t load_us;
    uint64_t sum_us;
};

/* Judge it. On FED_VERDICT_ACCEPTED its entries belong to the part, which is ADDING under its
 * token. `ret_detail` (FED_LINK_DETAIL_SIZE) says why not. */
enum fed_verdict
round_take_partial(struct round *round, const struct round_partial *partial, char *ret_detail);

/* Its sums have been added. */
void round_partial_added(struct round *round, uint64_t token);

/* Give up a WAITING part: its partial sums up to the present plan_seq are STALE from now on. */
void round_fence_part(struct round_part *part);

/* Refuse the admitted clients of FENCED parts as combiner_lost. */
void round_list_lost(struct round *round);

/* No part WAITING or ADDING. */
bool round_is_summed(const struct round *round);

/* Entries of all ADDED parts, sorted by client_id; the array is the caller's (free()).
 * Fails with FED_E_NOMEM. */
FED_NODISCARD int round_list_entries(const struct round *round,
                                     struct fed_entry **ret_entries,
                                     size_t *ret_n_entries,
                                     uint64_t *ret_sum_examples,
                                     struct fed_err *err);

/* The plan of one part, with empty task_data. Fails with FED_E_NOMEM. */
FED_NODISCARD int round_make_plan(const struct round *round,
                                  const struct round_part *part,
                                  uint64_t examples_max,
                                  uint64_t now_ms,
                                  struct fed_plan *ret_plan,
                                  struct fed_err *err);

#endif /* REDUCER_CORE_ROUND_H */
