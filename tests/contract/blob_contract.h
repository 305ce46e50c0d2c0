/* What reducer/blob/blob.h promises, as tests that every back end passes. */
#ifndef TESTS_CONTRACT_BLOB_CONTRACT_H
#define TESTS_CONTRACT_BLOB_CONTRACT_H

#include "reducer/blob/blob.h"
#include "tests/lib/fixture.h"

/* The URL of a store in this (empty) folder. */
typedef void (*blob_url_fn)(const struct test_folder *folder, char ret_url[FED_PATH_SIZE]);

/* Run the battery; returns the number of failed tests. options: borrowed, may be NULL. */
int blob_contract_run(const char *name, blob_url_fn url, const struct blob_options *options);

#endif /* TESTS_CONTRACT_BLOB_CONTRACT_H */
