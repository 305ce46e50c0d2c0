/* All documents of a collection, oldest first, a page in memory at a time. Blocks: workers only. */
#ifndef REDUCER_PAGES_H
#define REDUCER_PAGES_H

#include <jansson.h>

#include "common/base/err.h"
#include "reducer/store/store.h"

/* The document is borrowed for the call. What is not 0 ends the walk and is returned. */
typedef int (*pages_fn)(void *arg, json_t *document, struct fed_err *err);

/* Documents that come or go meanwhile may be left out or met twice. Fails as store_find(). */
FED_NODISCARD int pages_walk(struct store *store,
                             enum store_collection in,
                             pages_fn fn,
                             void *arg,
                             struct fed_err *err);

#endif /* REDUCER_PAGES_H */
