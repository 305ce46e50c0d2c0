/* What a client says about its update: weight, round and session, out of JSON that nobody vouches
 * for.
 *
 *   meta = {"training_metadata": {"num_examples": 500, …}, "config": "{\"round_id\": \"7\", …}", …}
 *
 * `config` is the task's data, word for word: JSON in a text. A client may put it into
 * ModelUpdate.config instead, or as well; then they must agree.
 *
 * Source: rules 8, 11, 12; FEDn, SendModelUpdate.
 *
 * Pure but for memory; any thread.
 */
#ifndef COMBINER_RPC_META_H
#define COMBINER_RPC_META_H

#include <stddef.h>
#include <stdint.h>

#include "common/link/link.h"

#define META_SIZE_MAX     (1U << 20)   /* bytes of meta or config */
#define META_DEPTH_MAX    32U          /* nested arrays and objects */
#define META_EXAMPLES_MAX (1ULL << 53) /* every plan's own bound is far below */

struct meta {
    uint64_t examples;                /* valid when no fault */
    char session_id[FED_ID_SIZE];     /* empty: not named */
    char round_id[FED_ROUND_ID_SIZE]; /* empty: not named */
    enum fed_refusal fault;           /* NONE, BAD_META, EXAMPLES, OTHER_ROUND, OTHER_SESSION */
    char detail[FED_LINK_DETAIL_SIZE];
};

/* `config` may be empty. */
void meta_parse(const char *meta, const char *config, struct meta *ret_meta);

#endif /* COMBINER_RPC_META_H */
