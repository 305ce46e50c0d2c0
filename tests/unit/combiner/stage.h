/* The daemon as a child of the test, on a stage with a reducer and two clients that the test plays.
 * A step that does not come off fails the running test.
 */
#ifndef TESTS_UNIT_COMBINER_STAGE_H
#define TESTS_UNIT_COMBINER_STAGE_H

#include <stddef.h>
#include <stdint.h>

#include "tests/unit/combiner/fake_reducer.h"
#include "tests/unit/combiner/peer.h"

#define STAGE_ELEMENTS 1503U /* of the model */
#define STAGE_SCALE    20    /* bits, of each of its tensors */

struct stage {
    struct test_folder folder;
    char spool[FED_PATH_SIZE];
    char ready[FED_PATH_SIZE];
    char partial[FED_PATH_SIZE];
    struct test_loop loop;
    struct fed_rpc *rpc;
    struct fake_reducer *fake;
    struct peer *alice;
    struct peer *bob;
    struct fed_buf base; /* the model file */
    const char *fault;
    const char *spool_bytes_max;
    const char *idle_limit;
    char address[64];
    int pid;
};

int stage_set_up(void **state); /* *state: a struct stage, its daemon up */
int stage_tear_down(void **state);

/* -- the daemon -------------------------------------------------------------------------------- */

void stage_launch(struct stage *f); /* and wait for nothing */

/* Until the reducer has heard its Hello and its ready file is there. */
void stage_start(struct stage *f);
void stage_kill(struct stage *f);
int stage_terminate(struct stage *f); /* its exit status */

/* -- models and words -------------------------------------------------------------------------- */

double stage_base_value(size_t i);

/* The base with `change` added everywhere; the caller deinits. */
struct fed_buf stage_model(struct stage *f, double change);

/* To alice and bob, or to the first n_clients of them. */
void stage_send_plan(struct stage *f, const char *round_id, uint64_t plan_seq);
void stage_send_plan_to(struct stage *f, const char *round_id, uint64_t plan_seq, size_t n_clients);
void stage_send_close(struct stage *f, const char *round_id, uint64_t plan_seq);
void stage_send_done(struct stage *f, const char *round_id);

void stage_attach_both(struct stage *f);

/* Upload the base with a change, whole. */
void stage_upload(struct stage *f, struct peer *peer, const char *id, double change);

/* For round 7. */
void stage_announce(struct peer *peer, const char *id, const char *examples);

#endif /* TESTS_UNIT_COMBINER_STAGE_H */
