/* What reducer and combiner say to each other, as plain structs: the vocabulary of the pure cores.
 *
 * The fields are those of proto/confed/v1/federation.proto, which documents them; common/rpc and
 * the daemons' rpc folders turn them into bytes. Every message is a whole statement. A struct owns
 * all its pointers; fed_down_deinit() and fed_up_deinit() free them, fed_*_copy() copy deeply.
 *
 * Thread safety: none; a message belongs to one thread at a time.
 */
#ifndef FED_COMMON_LINK_LINK_H
#define FED_COMMON_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/id.h"

#define FED_LINK_PROTOCOL     2U      /* Hello.protocol */
#define FED_LINK_DETAIL_SIZE  160     /* bytes of a refusal's detail, with the NUL */
#define FED_LINK_ADDRESS_SIZE 264     /* bytes of host:port, with the NUL */
#define FED_LINK_TEXT_SIZE    129     /* bytes of a name, with the NUL */
#define FED_LINK_CLIENTS_MAX  100000U /* clients of one combiner, entries of one plan */
#define FED_LINK_TENSORS_MAX  4096U
#define FED_ROUND_ID_SIZE     24 /* bytes of a decimal round id, with the NUL */
#define FED_SHA256_SIZE       32
#define FED_XXH128_SIZE       16
#define FED_DIGEST_SIZE       16 /* of a partial sum: XXH3, 128 bits */

enum fed_refusal {
    FED_REFUSAL_NONE = 0,
#define FED_REFUSAL(name, word, text) FED_REFUSAL_##name,
#include "common/link/refusal.def"
#undef FED_REFUSAL
    FED_REFUSAL_MAX,
};

const char *fed_refusal_word(enum fed_refusal reason); /* "out_of_range" */
const char *fed_refusal_text(enum fed_refusal reason); /* for people */

enum fed_client_phase {
    FED_CLIENT_ATTACHED = 1,
    FED_CLIENT_SILENT = 2, /* no heartbeat for heartbeat_limit_ms */
    FED_CLIENT_GONE = 3,   /* its TaskStream has ended */
};

enum fed_link_round_state {
    FED_LINK_ROUND_PLANNED = 1,
    FED_LINK_ROUND_COLLECTING = 2,
    FED_LINK_ROUND_SEALING = 3,
    FED_LINK_ROUND_SEALED = 4,
};

enum fed_round_outcome {
    FED_ROUND_COMMITTED = 1,
    FED_ROUND_FAILED = 2,
    FED_ROUND_CANCELLED = 3,
};

enum fed_record_kind {
    FED_RECORD_STATUS = 1,
    FED_RECORD_VALIDATION = 2,
    FED_RECORD_METRIC = 3,
    FED_RECORD_TELEMETRY = 4,
    FED_RECORD_ATTRIBUTE = 5,
    FED_RECORD_PREDICTION = 6,
};

/* One admitted update: what a partial sum contains. */
struct fed_entry {
    char client_id[FED_ID_SIZE];
    char update_id[FED_ID_SIZE];
    uint64_t examples;
};

struct fed_refused {
    char client_id[FED_ID_SIZE]; /* may be empty: an unknown sender */
    char update_id[FED_ID_SIZE];
    enum fed_refusal reason;
    char detail[FED_LINK_DETAIL_SIZE];
    bool is_own_connection; /* false: somebody else's word, which answers for nobody */
};

struct fed_client_state {
    char client_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char ip[64];
    enum fed_client_phase phase;
};

struct fed_hello_round {
    char round_id[FED_ROUND_ID_SIZE];
    uint64_t plan_seq;
    enum fed_link_round_state state;
    struct fed_entry *admitted; /* (n_admitted,) */
    size_t n_admitted;
    struct fed_refused *refused; /* (n_refused,) */
    size_t n_refused;
};

/* The combiner's whole state. The codec splits it into parts of at most 1 MiB and joins them. */
struct fed_hello {
    char combiner_id[FED_ID_SIZE];
    char boot_id[FED_ID_SIZE];
    char name[FED_LINK_TEXT_SIZE];
    char advertise[FED_LINK_ADDRESS_SIZE];
    char version[FED_LINK_TEXT_SIZE];
    uint32_t protocol;
    uint32_t clients_max;
    struct fed_client_state *clients; /* (n_clients,) */
    size_t n_clients;
    struct fed_hello_round *rounds; /* (n_rounds,) */
    size_t n_rounds;
};

struct fed_plan {
    char session_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    uint32_t round_number; /* 1, 2, … in its session */
    uint64_t plan_seq;
    char base_model_id[FED_ID_SIZE];
    uint8_t base_sha256[FED_SHA256_SIZE]; /* which model it is */
    uint8_t base_xxh128[FED_XXH128_SIZE]; /* did it come, and does it lie here, undamaged? */
    bool lacks_xxh128; /* a combiner of protocol 1 kept the plan: the link has never said it here */
    uint64_t base_size_bytes;
    int32_t *scale_bits; /* (n_tensors,) S of each tensor */
    size_t n_tensors;
    uint32_t limit_bits; /* L */
    uint64_t examples_max;
    char *task_data;                 /* JSON for TaskRequest.data */
    char (*client_ids)[FED_ID_SIZE]; /* (n_clients,), sorted */
    size_t n_clients;
    uint64_t time_left_ms;
};

struct fed_validate {
    char session_id[FED_ID_SIZE];
    char round_id[FED_ROUND_ID_SIZE];
    char model_id[FED_ID_SIZE];
    uint8_t sha256[FED_SHA256_SIZE];
    uint8_t xxh128[FED_XXH128_SIZE];
    uint64_t size_bytes;
    char (*client_ids)[FED_ID_SIZE]; /* (n_clients,) */
    size_t n_clients;
    uint64_t time_left_ms;
    char *task_data;
};

/* A model that is made and being stored: it may be fetched before it counts. */
struct fed_ahead {
    char model_id[FED_ID_SIZE];
    uint8_t xxh128[FED_XXH128_SIZE];
    uint64_t size_bytes;
};

struct fed_record {
    uint64_t seq;
    enum fed_record_kind kind;
    char *json;
};

enum fed_up_type {
    FED_UP_HELLO = 1,
    FED_UP_CLIENT_STATE,
    FED_UP_ADMITTED,
    FED_UP_REFUSED,
    FED_UP_RECORD,
};

/* Combiner to reducer. */
struct fed_up {
    enum fed_up_type type;
    char round_id[FED_ROUND_ID_SIZE]; /* ADMITTED, REFUSED */
    uint64_t plan_seq;                /* ADMITTED */
    union {
        struct fed_hello hello;
        struct fed_client_state client_state;
        struct fed_entry admitted;
        struct fed_refused refused;
        struct fed_record record;
    };
};

enum fed_down_type {
    FED_DOWN_WELCOME = 1,
    FED_DOWN_REJECT,
    FED_DOWN_PLAN,
    FED_DOWN_CLOSE,
    FED_DOWN_DONE,
    FED_DOWN_VALIDATE,
    FED_DOWN_RECORD_ACK,
    FED_DOWN_AHEAD,
};

/* Reducer to combiner. */
struct fed_down {
    enum fed_down_type type;
    union {
        struct {
            char reducer_boot_id[FED_ID_SIZE];
            char version[FED_LINK_TEXT_SIZE];
            uint64_t heartbeat_limit_ms;
        } welcome;
        struct {
            char reason[256];
        } reject;
        struct fed_plan plan;
        struct {
            char round_id[FED_ROUND_ID_SIZE];
            uint64_t plan_seq;
        } close;
        struct {
            char round_id[FED_ROUND_ID_SIZE];
            enum fed_round_outcome outcome;
            char model_id[FED_ID_SIZE]; /* empty unless COMMITTED */
        } done;
        struct fed_validate validate;
        struct {
            uint64_t seq; /* this record and all before it */
        } record_ack;
        struct fed_ahead ahead;
    };
};

/* The reducer's answer to a partial sum (round protocol, section 6). */
enum fed_verdict {
    FED_VERDICT_ACCEPTED = 1,
    FED_VERDICT_DUPLICATE = 2, /* same key and hash: nothing added */
    FED_VERDICT_STALE = 3,     /* older plan or fenced: wait for the next Plan */
    FED_VERDICT_OVER = 4,      /* the round is not open: as Done */
    FED_VERDICT_CORRUPT = 5,   /* send again, three times at most */
};

void fed_plan_deinit(struct fed_plan *plan);
void fed_hello_deinit(struct fed_hello *hello);
void fed_up_deinit(struct fed_up *up);
void fed_down_deinit(struct fed_down *down);

/* Deep copies into *ret, which is set on success only. Fail with FED_E_NOMEM. */
FED_NODISCARD int
fed_plan_copy(struct fed_plan *ret_plan, const struct fed_plan *plan, struct fed_err *err);
FED_NODISCARD int fed_up_copy(struct fed_up *ret_up, const struct fed_up *up, struct fed_err *err);
FED_NODISCARD int
fed_down_copy(struct fed_down *ret_down, const struct fed_down *down, struct fed_err *err);

#endif /* FED_COMMON_LINK_LINK_H */
