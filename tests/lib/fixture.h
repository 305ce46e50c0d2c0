/* What the tests of several folders need: temporary folders, files, child processes, and a loop
 * that runs in a thread of its own. Everything here fails the running test when it cannot do its
 * work.
 */
#ifndef TESTS_LIB_FIXTURE_H
#define TESTS_LIB_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/sync/loop.h"

#define TEST_WAIT_MS 20000U /* longer than anything takes, also under a sanitizer */

/* -- folders and files --------------------------------------------------------------------- */

struct test_folder {
    char path[256];
};

/* A new folder in memory (/dev/shm) where there is one: a flush costs nothing there. */
void test_folder_make(struct test_folder *folder);
void test_folder_remove(struct test_folder *folder); /* with all that is in it */

/* "folder/name"; the text lives in `ret_path`. */
const char *test_path(const struct test_folder *folder, const char *name, char *ret_path);

void test_file_write(const char *path, const void *data, size_t size);
struct fed_buf test_file_read(const char *path); /* the caller deinits */

/* -- children ------------------------------------------------------------------------------ */

/* Run fn(arg) in a child and wait for it: its exit status (what fn returns), or -N when signal N
 * ended it. */
int test_child_run(int (*fn)(void *arg), void *arg);

/* Start one; test_child_wait() as above. Kill it with kill(2). */
int test_child_start(int (*fn)(void *arg), void *arg);
int test_child_wait(int pid);

/* Run a program (argv, NULL at the end) with its standard output in *ret_text (may be NULL, the
 * caller deinits; a NUL stands behind its end). Same result as test_child_run(). */
int test_program_run(char *const *argv, struct fed_buf *ret_text);

/* -- servers ------------------------------------------------------------------------------- */

/* A TCP port of the loopback that is free now. */
uint16_t test_port_free(void);

/* Start a server (argv, environment, NULL at the end of each; environment NULL: ours): its pid. It
 * is killed with the thread that starts it, however that ends, writes no standard output, and has
 * none of our descriptors. test_child_wait() as above; 127: the program cannot be run. */
int test_server_start(char *const *argv, char *const *environment);

/* -- waiting ------------------------------------------------------------------------------- */

/* A count that one thread raises and another waits for. */
struct test_gate {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned count;
};

void test_gate_init(struct test_gate *gate);
void test_gate_deinit(struct test_gate *gate);
void test_gate_open(struct test_gate *gate); /* count + 1; any thread */

/* Until the count is at least n; fails the test after TEST_WAIT_MS. */
void test_gate_wait(struct test_gate *gate, unsigned n);

/* -- a loop in a thread -------------------------------------------------------------------- */

struct test_loop {
    struct fed_loop *loop;
    pthread_t thread;
};

void test_loop_start(struct test_loop *loop);
void test_loop_stop(struct test_loop *loop); /* what was posted before has run */

/* Run fn(arg) on the loop and wait until it has returned. */
void test_loop_call(struct test_loop *loop, fed_event_fn fn, void *arg);

#endif /* TESTS_LIB_FIXTURE_H */
