/* The metadata store that the settings name: for the reducer, and for what works beside it. */
#ifndef REDUCER_OPENING_H
#define REDUCER_OPENING_H

#include "reducer/settings.h"
#include "reducer/store/store.h"

/* As store_open_as(). */
FED_NODISCARD static inline int
opening_store(const struct settings *settings, struct store **ret_store, struct fed_err *err)
{
    const struct store_config config = {
        .url = settings->store,
        .user = settings->store_user,
        .password = settings->store_password,
        .ca_file = settings->store_ca_file,
    };

    return store_open_as(&config, ret_store, err);
}

#endif /* REDUCER_OPENING_H */
