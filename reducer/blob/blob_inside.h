/* For back ends only. */
#ifndef REDUCER_BLOB_BLOB_INSIDE_H
#define REDUCER_BLOB_BLOB_INSIDE_H

#include "reducer/blob/blob.h"

int blob_dir_open(const char *path, struct blob_store **ret_store, struct fed_err *err);
int blob_mem_open(struct blob_store **ret_store, struct fed_err *err);
int blob_s3_open(const char *url,
                 const struct blob_options *options,
                 struct blob_store **ret_store,
                 struct fed_err *err);

/* Keep `key` among the `max` least ones in keys[0 .. *io_n), which stay in order: for back ends
 * that meet their keys in no order. Cost: O(max). */
void blob_keys_add(char (*keys)[BLOB_KEY_MAX + 1], size_t *io_n, size_t max, const char *key);

#endif /* REDUCER_BLOB_BLOB_INSIDE_H */
