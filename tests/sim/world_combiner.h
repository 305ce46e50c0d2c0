/* What world_combiner.c, world_sum.c and world_uplink.c share. Nobody else includes this. */
#ifndef TESTS_SIM_WORLD_COMBINER_H
#define TESTS_SIM_WORLD_COMBINER_H

#include "tests/sim/world.h"

struct combiner *combiner_of(struct proc *proc);
uint64_t combiner_now(const struct combiner *combiner);
void *combiner_copy(const void *item, size_t size);
struct folder *combiner_find_folder(struct combiner *combiner, const char *round_id);
size_t combiner_find_model(const struct combiner *combiner, const char *model_id);

/* world_sum.c: the sum of a round, its checkpoint. */
int sum_compare_entries(const void *a, const void *b); /* by client_id */
void sum_reset(struct combiner *combiner, const struct collector_action *action);
void sum_fold(struct combiner *combiner, const struct collector_action *action);
void sum_recover(struct combiner *combiner, struct folder *folder); /* before the core does */

void uplink_want_model(struct combiner *combiner, const char *model_id);
bool uplink_wants_model(const struct combiner *combiner, const char *model_id);
void uplink_drop_model(struct combiner *combiner, const char *model_id);
void uplink_put(struct combiner *combiner, const struct collector_action *action);
void uplink_send(struct combiner *combiner, struct fed_up *up); /* takes *up over */
void uplink_send_record(struct combiner *combiner, size_t i);
void uplink_dial(struct combiner *combiner);

#endif /* TESTS_SIM_WORLD_COMBINER_H */
