/* For back ends only. */
#ifndef REDUCER_BLOB_BLOB_INSIDE_H
#define REDUCER_BLOB_BLOB_INSIDE_H

#include "reducer/blob/blob.h"

int blob_dir_open(const char *path, struct blob_store **ret_store, struct fed_err *err);
int blob_mem_open(struct blob_store **ret_store, struct fed_err *err);

#endif /* REDUCER_BLOB_BLOB_INSIDE_H */
