/* A TCP proxy that does to a connection what networks and servers do. One thread. */
#ifndef TESTS_LIB_PROXY_H
#define TESTS_LIB_PROXY_H

#include <stdatomic.h>

#include "tests/lib/fixture.h"

enum test_proxy_fault {
    TEST_PROXY_NONE,
    TEST_PROXY_STALL, /* nothing more is passed on, in either direction */
    TEST_PROXY_CUT,   /* both ends are closed */
    TEST_PROXY_FLIP,  /* one bit is another */
    TEST_PROXY_SAY,   /* the answer is `text` instead, then closed */
};

struct test_proxy {
    unsigned port;
    unsigned target_port;
    pthread_t thread;
    int listener;
    int stop[2];
    /* the fault, set by test_proxy_set() */
    atomic_int fault;
    atomic_bool is_upward;      /* it counts what goes to the server, else what comes back */
    atomic_uint_fast64_t after; /* bytes of a connection that pass before, from the setting on */
    atomic_uint n_settings;
    atomic_int n_times;        /* it happens to so many connections, then no more */
    const char *_Atomic match; /* only on connections where that was asked for; NULL: on any */
    const char *_Atomic text;
    atomic_uint n_connections;
};

void test_proxy_start(struct test_proxy *proxy, unsigned target_port);
void test_proxy_stop(struct test_proxy *proxy);

void test_proxy_set(struct test_proxy *proxy,
                    enum test_proxy_fault fault,
                    bool is_upward,
                    uint64_t after,
                    int n_times);

#endif /* TESTS_LIB_PROXY_H */
