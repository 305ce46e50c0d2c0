#include "reducer/stores.h"

#include "reducer/blob/blob.h"
#include "reducer/store/store.h"

int stores_open_metadata(const struct settings *settings,
                         struct store **ret_store,
                         struct fed_err *err)
{
    const struct store_config where = {
        .url = settings->store,
        .user = settings->store_user,
        .password = settings->store_password,
        .ca_file = settings->store_ca_file,
    };

    return store_open_as(&where, ret_store, err);
}

int stores_open_blobs(const struct settings *settings,
                      struct blob_store **ret_blobs,
                      struct fed_err *err)
{
    return blob_open(settings->blob, ret_blobs, err);
}
