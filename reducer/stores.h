/* The back ends that the settings name. */
#ifndef REDUCER_STORES_H
#define REDUCER_STORES_H

#include "reducer/settings.h"

struct store;
struct blob_store;

/* As store_open_as() and blob_open(). May block. */
FED_NODISCARD int stores_open_metadata(const struct settings *settings,
                                       struct store **ret_store,
                                       struct fed_err *err);
FED_NODISCARD int stores_open_blobs(const struct settings *settings,
                                    struct blob_store **ret_blobs,
                                    struct fed_err *err);

#endif /* REDUCER_STORES_H */
