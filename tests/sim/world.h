/* A whole federation in one process and in virtual time: the reducer's core, the combiners' cores,
 * and model clients, with a network that loses, repeats, reorders and delays, a store that goes
 * away, and processes that crash at any point and come back with what was on their disk.
 *
 * What the edges do (files, sums, streams) is modelled here, as plainly as the contracts of the
 * cores allow. A model is four numbers; sums are exact, as the real ones are.
 *
 * The world checks its law while it runs (world_check.c): the first breach ends the run and stands
 * in `failure`, with the trace of how it came to it.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "combiner/core/collector.h"
#include "reducer/core/federation.h"
#include "tests/lib/sim.h"

#define WORLD_COMBINERS_MAX 3U
#define WORLD_CLIENTS_MAX   8U
#define WORLD_VALUES        4U /* of a model */
#define WORLD_TASKS_MAX     8U
#define WORLD_MODELS_MAX    16U
#define WORLD_TRAPS_MAX     3U

#define SECOND UINT64_C(1000)

struct world_settings {
    unsigned n_combiners;
    unsigned n_clients;
    unsigned n_fedn; /* of the clients, the last ones: fixed to a combiner, no kept update */
    uint32_t rounds;
    uint32_t clients_required;
    uint32_t clients_per_round;
    int64_t buffer_size;
    bool is_validating;
    uint64_t round_timeout_ms;
    bool is_random;    /* delays are drawn; else each is its least */
    unsigned rpc_loss; /* one in so many calls, or their answers, is lost; 0: none */
    unsigned poison;   /* one in so many updates is refused by the check */
    unsigned no_space; /* one in so many ADMITs cannot be written */
    unsigned
        checkpoint_at; /* so many updates as files make a checkpoint of the sum; 0: none is made */
    unsigned spoil;    /* one in so many checkpoints cannot be read back */
    unsigned crash;    /* one in so many fault points kills its process */
    uint64_t check_ms; /* so long takes a check longer than its least */
    unsigned roaming;  /* one in so many times a Confed client comes back to any combiner */
    bool is_upgraded;  /* who starts again was of protocol 1: its plan files lack the XXH3 */
    bool is_forged;    /* somebody sends updates in the clients' names; only in a world where their
                        * streams live, so that none may count */
    uint64_t faults_until_ms; /* from then on everything works */
    /* Nothing is away for long, and there is time: then every round must count everybody it asked,
     * and end long before its deadline. */
    bool is_gentle;
};

struct world;
struct conn;
struct call_message;

/* A process, or the store: what can be up or down. */
struct proc {
    struct world *world;
    char name[16];
    bool is_up;
    uint64_t boot; /* grows with each start and each crash: what was under way is void */
    void (*start)(struct proc *proc);
    void (*stop)(struct proc *proc); /* memory goes, the disk stays */
    void (*lost)(struct proc *proc, struct conn *conn);
};

/* A connection: ordered and reliable while it stands; what is in flight when it breaks is lost. */
struct conn {
    uint64_t id;
    bool is_up;
    struct proc *ends[2]; /* 0: who dialled */
    uint64_t boots[2];
    uint64_t arrivals[2]; /* of the last message to that end */
    bool is_told[2];      /* that end knows that it is broken */
    uint64_t stream;      /* of the TaskStream on it; 0: none */
};

/* What an update really is, whatever anybody says. */
struct update {
    char update_id[FED_ID_SIZE];
    char client_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    char base_model_id[FED_ID_SIZE];
    uint64_t examples;
    uint64_t values[WORLD_VALUES];
    bool is_poison;
    bool is_ok;        /* admitted, and answered OK: this is a promise */
    bool was_ok;       /* it was one, and went with the checkpoint it was in */
    unsigned combiner; /* which answered */
};

struct blob {
    char model_id[FED_ID_SIZE];
    uint64_t values[WORLD_VALUES];
};

/* -- the reducer ------------------------------------------------------------------------------ */

struct errand {
    struct errand *next;
    enum federation_action_type type;
    uint64_t token;
    char model_id[FED_ID_SIZE];
    struct round *round; /* owned: the row as it was when it was asked for */
    uint32_t rounds_done;
    uint32_t failed_rounds;
    bool is_terminated;
    uint64_t values[WORLD_VALUES]; /* of a partial */
};

/* Work that is done in order, each thing again until it has worked. */
struct line {
    struct errand *first;
    struct errand *last;
    bool is_busy;
};

struct partial_sum {
    uint64_t token;
    uint64_t values[WORLD_VALUES];
};

struct reducer {
    struct proc proc;
    struct federation *core; /* NULL: down */
    uint64_t tick_ms;        /* the earliest tick that is due */
    struct line journal;
    struct line sums;
    uint64_t sum[WORLD_VALUES];
    struct partial_sum partial; /* the one being judged */
    uint64_t next_token;
    uint64_t seen_version; /* of the open round's row, for the checks */
    struct {               /* the store */
        uint64_t away_until_ms;
        uint64_t away_ms; /* in all */
        uint64_t next_round_id;
        bool is_running;
        bool is_ended;
        bool is_terminated;
        char base_model_id[FED_ID_SIZE];
        uint32_t rounds_done;
        uint32_t failed_rounds;
        struct round **rounds; /* owned rows, by round_id - 1; NULL: a gap */
        uint64_t *ended_ms;    /* (n_rounds,) owned: when the last word was written */
        uint64_t *planned_ms;  /* (n_rounds,) owned */
        size_t n_rounds;
        struct {
            char model_id[FED_ID_SIZE];
            char client_id[FED_ID_SIZE];
        } * validations; /* owned */
        size_t n_validations;
    } disk;
};

/* -- combiners -------------------------------------------------------------------------------- */

/* The sum of updates that are files no more. */
struct checkpoint {
    struct fed_entry entries[WORLD_CLIENTS_MAX];
    size_t n_entries;
    uint64_t values[WORLD_VALUES];
};

struct folder {
    struct fed_plan plan; /* owned; round_id empty: free */
    struct fed_entry *entries;
    size_t n_entries;
    struct fed_entry *lost; /* (n_lost,) owned: logged, and gone */
    size_t n_lost;
    uint64_t seal_seq; /* 0: not sealed */
    struct fed_entry *sealed;
    size_t n_sealed;
    uint64_t sealed_values[WORLD_VALUES];
    struct checkpoint checkpoint; /* n_entries 0: there is none */
    /* memory */
    uint64_t put_seq; /* PutPartial is under way for it; 0: not */
    uint64_t sum_seq; /* 0: no sum */
    uint64_t sum[WORLD_VALUES];
    uint64_t reset; /* which of the combiner's: a fold for another one is void */
    struct fed_entry summed[WORLD_CLIENTS_MAX];
    size_t n_summed;
    bool is_void; /* its checkpoint is lost, and the core does not know yet */
};

struct upload {
    char update_id[FED_ID_SIZE]; /* empty: free */
    uint64_t token;              /* claimed for this announcement; 0: not */
};

struct combiner {
    struct proc proc;
    unsigned index;
    struct collector *core; /* NULL: down */
    uint64_t tick_ms;
    struct conn *link;
    bool is_dialling;
    uint64_t cut_until_ms; /* no way to the reducer until then */
    uint64_t next_token;
    uint64_t n_resets; /* of sums, ever */
    struct {
        struct conn *conn; /* NULL: free */
        uint64_t token;
        struct call_message *message; /* owned */
    } callers[64];
    struct {
        char model_id[FED_ID_SIZE];
    } wanted[WORLD_MODELS_MAX]; /* models to be fetched */
    struct {
        char id[FED_ID_SIZE];
        struct folder folders[COLLECTOR_ROUNDS_MAX + 2];
        struct upload uploads[64];
        char models[WORLD_MODELS_MAX][FED_ID_SIZE];
        struct {
            char model_id[FED_ID_SIZE];
            char client_id[FED_ID_SIZE];
        } outbox[64];
        size_t n_outbox;
    } disk;
};

/* -- clients ---------------------------------------------------------------------------------- */

enum work {
    WORK_IDLE,
    WORK_FETCHING,
    WORK_TRAINING,
    WORK_UPLOADING,
    WORK_ANNOUNCING,
    WORK_VALIDATING,
};

struct client_task {
    bool is_validation;
    char round_id[FED_ROUND_ID_SIZE];
    char session_id[FED_ID_SIZE];
    char model_id[FED_ID_SIZE];
};

struct client {
    struct proc proc;
    unsigned index;
    bool is_fedn;
    unsigned home; /* the combiner it is at, or tries */
    bool is_assigned;
    struct conn *conn;
    uint64_t trying_since_ms;
    uint64_t retry_ms;
    uint64_t op; /* the call under way; an answer to another one is void */
    bool is_calling;
    enum work work;
    struct client_task task;
    struct client_task waiting[WORLD_TASKS_MAX];
    size_t n_waiting;
    unsigned uploaded_at;             /* combiner + 1; 0: nowhere */
    char update_id[FED_ID_SIZE];      /* being sent; FEDn's is in memory alone */
    char kept_update_id[FED_ID_SIZE]; /* disk, Confed's */
    bool is_gone;                     /* for good */
};

/* Something that goes wrong when a fault point is passed for the so-many-th time. */
enum trap_kind {
    TRAP_NONE,
    TRAP_KILL, /* the process that passes it, there and then */
    TRAP_STORE_AWAY,
    TRAP_BREAK_LINK,
    TRAP_KILL_REDUCER, /* soon */
    TRAP_KILL_COMBINER,
    TRAP_MAX,
};
struct trap {
    enum trap_kind kind;
    const char *point;
    unsigned hits; /* how often it is passed before it springs */
    unsigned combiner;
    uint64_t ms; /* how soon, or how long */
    uint64_t down_ms;
};

struct world {
    struct sim sim;
    struct world_settings settings;
    struct reducer reducer;
    struct combiner combiners[WORLD_COMBINERS_MAX];
    struct client clients[WORLD_CLIENTS_MAX];
    struct conn **conns; /* owned */
    size_t n_conns;
    struct update *updates; /* owned */
    size_t n_updates;
    struct blob *blobs; /* owned: the object store */
    size_t n_blobs;
    struct trap traps[WORLD_TRAPS_MAX];
    struct proc forger;
    bool is_client_hit; /* one was killed, or lost its connection by itself */
    bool is_disk_lost;  /* of a combiner: then some promises do not hold */
    unsigned n_checkpoints;
    unsigned n_checkpoints_lost;
    char failure[512]; /* empty: the law holds */
};

void world_init(struct world *world,
                const struct world_settings *settings,
                uint64_t seed,
                bool is_tracing);
void world_deinit(struct world *world);

/* Until the session has ended and all is quiet, the law is broken, or `until_ms`. */
void world_run(struct world *world, uint64_t until_ms);

/* -- faults ----------------------------------------------------------------------------------- */

/* Kill a process now; it is started again after `down_ms` (0: never). */
void world_crash(struct world *world, struct proc *proc, uint64_t down_ms);
void world_lose_disk(struct world *world, unsigned combiner);
/* Every connection between the two breaks; silently: each end notices by its time-out only. */
void world_break(struct world *world, const struct proc *a, const struct proc *b, bool is_silent);
void world_cut(struct world *world, unsigned combiner, uint64_t ms); /* from the reducer */
void world_take_store(struct world *world, uint64_t ms);
uint64_t world_down_ms(struct world *world); /* how long a process is down */

/* -- for world_*.c ---------------------------------------------------------------------------- */

uint64_t world_delay(struct world *world, uint64_t low_ms, uint64_t high_ms);
void world_fail(struct world *world, const char *fmt, ...) FED_PRINTF(2, 3);
/* A fault point. True: the process is dead, return at once. */
bool world_point(struct proc *proc, const char *name);
/* Does this call, or its answer, get lost? */
bool world_is_lost(struct world *world);
void world_after(struct proc *proc,
                 uint64_t delay_ms,
                 void (*run)(struct proc *proc, void *data),
                 void *data); /* void when the process has gone meanwhile; data: free() */

struct conn *world_connect(struct world *world, struct proc *from, struct proc *to);
void world_disconnect(struct world *world, struct conn *conn, bool is_silent);
/* To the other end. */
void world_send(struct world *world,
                struct conn *conn,
                const struct proc *from,
                void (*run)(struct conn *conn, void *data),
                void *data,
                void (*free_data)(void *data));

struct update *world_find_update(const struct world *world, const char *update_id);
struct blob *world_find_blob(const struct world *world, const char *model_id);
/* What stands for the XXH3 of its bytes. */
void world_hash_model(const char *model_id, uint8_t ret_xxh128[FED_XXH128_SIZE]);
void world_put_blob(struct world *world, const char *model_id, const uint64_t *values);
void world_add_update(uint64_t *values, const struct update *update); /* to a sum */
struct client *world_find_client(struct world *world, const char *client_id);

void reducer_init(struct world *world);
void reducer_deinit(struct reducer *reducer);
void reducer_turn(struct reducer *reducer);
void reducer_accept(struct reducer *reducer, struct conn *conn, struct fed_up *up);
enum fed_verdict reducer_partial(struct reducer *reducer,
                                 struct federation_partial *partial,
                                 const uint64_t *values);
/* The combiner a client is sent to, or -1. */
int reducer_assign(struct reducer *reducer, const char *client_id);
bool reducer_is_over(const struct reducer *reducer);

void combiner_init(struct world *world, unsigned index);
void combiner_deinit(struct combiner *combiner);
void combiner_turn(struct combiner *combiner);
void combiner_hear(struct conn *conn, void *data); /* a struct fed_down, from the reducer */
bool combiner_is_empty(const struct combiner *combiner);

/* What clients call. Each is answered by client_answered(). */
enum call {
    CALL_ATTACH,
    CALL_HEARTBEAT,
    CALL_DOWNLOAD,
    CALL_UPLOAD,
    CALL_ANNOUNCE,
    CALL_VALIDATE,
};
struct call_message {
    enum call call;
    uint64_t op;
    bool is_ok; /* of the answer */
    struct client_task task;
    char update_id[FED_ID_SIZE];
    char client_id[FED_ID_SIZE];
};
void combiner_called(struct conn *conn, void *data); /* a struct call_message */

void client_init(struct world *world, unsigned index);
void client_init_forger(struct world *world);
void client_given(struct conn *conn, void *data);    /* a struct client_task, over its stream */
void client_answered(struct conn *conn, void *data); /* a struct call_message */
void client_stream_ended(struct conn *conn, void *data);

/* world_check.c */
void check_admitted(struct world *world,
                    const struct combiner *combiner,
                    const struct call_message *call);
/* The combiner's checkpoint of the plan's round goes: is_spoilt, or because the plan says so. */
void check_checkpoint_lost(struct world *world,
                           const struct combiner *combiner,
                           const struct folder *folder,
                           bool is_spoilt);
void check_plan_sent(struct world *world, const struct fed_plan *plan, const char *combiner_id);
void check_model_wanted(struct world *world,
                        const char *model_id,
                        const uint8_t xxh128[FED_XXH128_SIZE]);
void check_trains(struct world *world, const struct client *client);
void check_round_written(struct world *world,
                         const struct round *before,
                         const struct round *after);
void check_end(struct world *world);

#endif /* TESTS_SIM_WORLD_H */
