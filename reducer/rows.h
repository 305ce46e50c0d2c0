/* Rows of the metadata store ↔ the core's structs: sessions, rounds, models, runs.
 *
 * FEDn's keys stand beside ours. Keys that begin with "_" are the reducer's own: REST does not show
 * them. What is made here is the caller's (json_decref); NULL means out of memory.
 *
 * Thread safety: none needed; pure but for memory.
 */
#ifndef REDUCER_ROWS_H
#define REDUCER_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "reducer/core/federation.h"

#define ROWS_STRATEGY "fedavg" /* the one there is; part of a model's id */

/* Free text of a peer: what is no UTF-8 becomes '?'. */
json_t *rows_text(const char *text);

/* What a row of a round takes besides the round itself. */
struct rows_round_context {
    const json_t *session;       /* the session's row; may be NULL */
    const struct roster *roster; /* for the combiners' names */
    uint64_t n_elements;         /* scalars of the base */
    uint64_t round_timeout_ms;
    uint64_t now_ms;    /* monotonic */
    uint64_t finish_ms; /* how long the model took to make, … */
    uint64_t commit_ms; /* … and its blob to be hashed and written */
    uint64_t summed_ms; /* when all partial sums were in, monotonic; 0: never */
};

json_t *rows_round_encode(const struct round *round, const struct rows_round_context *context);

/* A PLANNED row as the round to go on with. deadline_ms is not set: the caller knows the time.
 * Fails with FED_E_CORRUPT (names the key), FED_E_NOMEM. */
FED_NODISCARD int
rows_round_decode(const json_t *row, struct round **ret_round, struct fed_err *err);

/* The data of a task for the clients: FEDn's texts, and the session's task_settings as
 * client_settings. `task`: "training" or "validation". */
json_t *rows_task_data(const json_t *session,
                       const char *task,
                       const char *round_id,
                       uint32_t round_number,
                       const char *model_id,
                       uint64_t round_timeout_ms);

/* The model of a committed round, from the round's row and the session's; `index` counts the
 * session's models from 1. */
json_t *rows_model_encode(const json_t *round, const json_t *session, uint64_t index);

/* What a start adds to the session's row. */
struct rows_run {
    const char *run_id;
    const char *model_id; /* to start from */
    const char *model_name_prefix;
    const json_t *client_ids; /* array of texts; NULL: everybody */
    uint64_t rounds;          /* of this start */
    uint64_t rounds_before;   /* of earlier starts */
    uint64_t models_before;   /* global models of earlier starts */
    uint64_t round_timeout_s;
};

/* `session`, a row that is read, as it is once started: its changed keys. */
json_t *rows_session_start(const json_t *session, const struct rows_run *run);

/* Changed keys of the session's row after a round, or at a stop. */
json_t *rows_session_progress(const struct federation_session *session);

/* … and at its end. */
json_t *rows_session_end(const struct federation_session *session,
                         const json_t *row,
                         bool is_terminated,
                         uint64_t now_utc_ms);

/* A session to run, from the row of a started one. Fails with FED_E_CORRUPT, FED_E_NOMEM. */
FED_NODISCARD int
rows_session_decode(const json_t *row, struct federation_session *ret_session, struct fed_err *err);

/* FEDn's record of one start, from the started row; completed by rows_run_end(). */
json_t *rows_run_encode(const json_t *session);
json_t *rows_run_end(const json_t *session, const char *model_id, uint64_t now_utc_ms);

/* Borrowed values of an object, or the fallback. */
const char *rows_get_text(const json_t *row, const char *key, const char *fallback);
uint64_t rows_get_u64(const json_t *row, const char *key, uint64_t fallback);

#endif /* REDUCER_ROWS_H */
