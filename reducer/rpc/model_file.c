#include "reducer/rpc/model_file.h"

#include <stdlib.h>

#include "common/base/file.h"

static void unmap(void *arg)
{
    struct fed_map *map = arg;

    fed_map_close(map);
    free(map);
}

int model_file_map(const char *path, struct fed_slab **ret_slab, struct fed_err *err)
{
    struct fed_map *map = calloc(1, sizeof(*map));
    int rc = map == NULL ? fed_err_set(err, FED_E_NOMEM, "%s", path) : fed_map_open(path, map, err);

    if (rc < 0) {
        free(map);
        return rc;
    }
    *ret_slab = fed_slab_new(map->data, map->size, unmap, map);
    if (*ret_slab == NULL) {
        unmap(map);
        return fed_err_set(err, FED_E_NOMEM, "%s", path);
    }
    return 0;
}
