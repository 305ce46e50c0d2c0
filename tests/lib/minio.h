/* A MinIO server of the test's own: built from its Go module once (scripts/go-part), on a free port
 * of the loopback interface, in a folder of the test; killed with the test. */
#ifndef TESTS_LIB_MINIO_H
#define TESTS_LIB_MINIO_H

#include "tests/lib/fixture.h"

#define TEST_MINIO_ACCESS_KEY "confed-test"
#define TEST_MINIO_SECRET_KEY "a secret of the tests"

struct test_minio {
    char program[FED_PATH_SIZE];
    char folder[FED_PATH_SIZE]; /* borrowed by the server */
    char certs[FED_PATH_SIZE];  /* "": no TLS; else public.crt and private.key lie in it */
    unsigned port;
    int pid; /* 0: not running */
};

/* False where MinIO cannot be had: go-part says why on standard error. Minutes the first time. */
bool test_minio_find(struct test_minio *minio);

/* Start it (again), on its former port if it had one, and wait until it serves. A bucket may also
 * be named by the host: BUCKET.localhost.
 * It ends with the thread that calls this. */
void test_minio_start(struct test_minio *minio);

void test_minio_kill(struct test_minio *minio); /* SIGKILL; accepts one that is not running */

/* "http://127.0.0.1:PORT" */
const char *test_minio_url(const struct test_minio *minio, char ret_url[64]);

#endif /* TESTS_LIB_MINIO_H */
