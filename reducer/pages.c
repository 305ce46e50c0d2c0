#include "reducer/pages.h"

#define PAGE_ROWS 500U /* of a megabyte or so */

int pages_walk(struct store *store,
               enum store_collection in,
               pages_fn fn,
               void *arg,
               struct fed_err *err)
{
    struct store_query query = {.is_ascending = true, .limit = PAGE_ROWS};
    size_t n = PAGE_ROWS;
    int rc = 0;

    while (rc == 0 && n == PAGE_ROWS) {
        json_t *page = NULL;
        rc = store_find(store, in, &query, &page, NULL, err);
        n = json_array_size(page);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = fn(arg, json_array_get(page, i), err);
        }
        json_decref(page);
        query.skip += n;
    }
    return rc;
}
