/* The back ends that the settings name: for the reducer, and for what works beside it. */
#ifndef REDUCER_OPENING_H
#define REDUCER_OPENING_H

#include "reducer/blob/blob.h"
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

/* As blob_open_with(). Main thread, before others start. */
FED_NODISCARD static inline int
opening_blobs(const struct settings *settings, struct blob_store **ret_blobs, struct fed_err *err)
{
    struct blob_options options = {
        .endpoint = settings->blob_endpoint,
        .region = settings->blob_region,
        .path_style = settings->blob_path_style,
        .access_key = settings->blob_access_key,
        .secret_key = settings->blob_secret_key,
        .ca_file = settings->blob_ca_file,
    };

    blob_options_complete(&options);
    return blob_open_with(settings->blob, &options, ret_blobs, err);
}

#endif /* REDUCER_OPENING_H */
