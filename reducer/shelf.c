#include "reducer/shelf.h"

#include <string.h>

void shelf_put(struct shelf *shelf, const char *model_id, struct fed_slab *slab)
{
    size_t i = 0;

    while (i < SHELF_MODELS_MAX - 1 && strcmp(shelf->models[i].model_id, model_id) != 0) {
        i++;
    }
    (void)fed_slab_unref(shelf->models[i].slab);
    memmove(&shelf->models[1], &shelf->models[0], i * sizeof(shelf->models[0]));
    fed_id_copy(shelf->models[0].model_id, model_id);
    shelf->models[0].slab = fed_slab_ref(slab);
}

struct fed_slab *shelf_find(const struct shelf *shelf, const char *model_id)
{
    for (size_t i = 0; i < SHELF_MODELS_MAX; i++) {
        if (shelf->models[i].slab != NULL && strcmp(shelf->models[i].model_id, model_id) == 0) {
            return fed_slab_ref(shelf->models[i].slab);
        }
    }
    return NULL;
}

void shelf_deinit(struct shelf *shelf)
{
    for (size_t i = 0; i < SHELF_MODELS_MAX; i++) {
        shelf->models[i].slab = fed_slab_unref(shelf->models[i].slab);
    }
}
