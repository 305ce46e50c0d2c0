/* The models at hand: a few that are mapped, for the combiners that fetch them. Loop only. */
#ifndef REDUCER_SHELF_H
#define REDUCER_SHELF_H

#include "common/base/id.h"
#include "common/rpc/rpc.h"

#define SHELF_MODELS_MAX 4 /* base, newest, and what a late combiner asked for */

struct shelf {
    struct {
        char model_id[FED_ID_SIZE];
        struct fed_slab *slab;  /* owned reference; NULL: free */
    } models[SHELF_MODELS_MAX]; /* newest first */
};

/* Takes a reference of its own; the oldest model goes. */
void shelf_put(struct shelf *shelf, const char *model_id, struct fed_slab *slab);

/* A new reference, or NULL. */
struct fed_slab *shelf_find(const struct shelf *shelf, const char *model_id);

void shelf_deinit(struct shelf *shelf);

#endif /* REDUCER_SHELF_H */
