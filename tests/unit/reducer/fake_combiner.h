/* A combiner for the reducer's tests: the real wire, no clients, sums out of the air.
 *
 * It attaches, and answers a plan by admitting an update of each of its clients (unless told to
 * hold back), a Close by a partial sum in which every value moved by FAKE_STEP. It runs on a thread
 * of its own; a test looks at its counters through fake_await().
 */
#ifndef TESTS_UNIT_REDUCER_FAKE_COMBINER_H
#define TESTS_UNIT_REDUCER_FAKE_COMBINER_H

#include <pthread.h>
#include <stdbool.h>

#include "common/link/link.h"
#include "common/model/checksum.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"

#define FAKE_STEP       0.5
#define FAKE_EXAMPLES   10U
#define FAKE_PARAMS     10U
#define FAKE_TENSORS    2U
#define FAKE_CLIENTS    2U
#define FAKE_TIMEOUT_MS 20000U

struct fake_counters {
    unsigned n_welcomes;
    unsigned n_rejects;
    unsigned n_plans;
    unsigned n_closes;
    unsigned n_validates;
    unsigned n_committed;
    unsigned n_failed;
    unsigned n_cancelled;
    unsigned n_verdicts[FED_VERDICT_CORRUPT + 1];
    unsigned n_link_ends;
    uint64_t record_acked; /* highest seq */
    uint64_t model_bytes;  /* of the last GetModel */
    bool is_model_right;   /* same: its size and XXH3 are what its plan says */
    unsigned n_models;     /* GetModel that ended well */
    bool has_settings;     /* the last plan's task data held client_settings */
    char model_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
};

struct fake_combiner {
    char id[FED_ID_SIZE];
    char folder[256];
    bool is_holding;    /* admits nothing by itself */
    bool is_corrupting; /* the first partial sum has a flipped bit */
    bool is_silent;     /* answers no Close */
    struct fed_loop *loop;
    struct fed_rpc *rpc;
    struct fed_rpc_channel *channel;
    struct fed_rpc_call *link;
    pthread_t thread;
    struct fed_event event;
    struct fed_event last;
    void (*command)(struct fake_combiner *fake);
    struct fed_plan plan;          /* the last one */
    struct fed_xxh128 *model_hash; /* of the running GetModel, owned */
    bool has_plan;
    char clients[FAKE_CLIENTS][FED_ID_SIZE];
    unsigned n_calls;
    bool is_ending;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fake_counters counters; /* under lock */
    bool is_command_done;          /* same */
};

/* Attach to the reducer at 127.0.0.1:port. `id` also begins the ids of its clients. */
void fake_start(struct fake_combiner *fake, const char *id, uint16_t port, const char *folder);
void fake_stop(struct fake_combiner *fake);

/* Wait until `is_true` holds of its counters; fails the test after FAKE_TIMEOUT_MS. */
void fake_await(struct fake_combiner *fake, bool (*is_true)(const struct fake_counters *counters));
struct fake_counters fake_look(struct fake_combiner *fake);

/* Run on its thread, and wait for it. */
void fake_do(struct fake_combiner *fake, void (*command)(struct fake_combiner *fake));
void fake_admit_all(struct fake_combiner *fake);
void fake_refuse_first(struct fake_combiner *fake);
void fake_get_model(struct fake_combiner *fake);
void fake_hang_up(struct fake_combiner *fake);
void fake_send_validations(struct fake_combiner *fake);

#endif /* TESTS_UNIT_REDUCER_FAKE_COMBINER_H */
