/* A federation in the test's hand: steps, and what it asks for as a readable trace. */
#ifndef TESTS_UNIT_REDUCER_CORE_FEDERATION_FIXTURE_H
#define TESTS_UNIT_REDUCER_CORE_FEDERATION_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reducer/core/federation.h"

#define SECOND UINT64_C(1000)

struct fixture {
    struct federation *federation;
    uint64_t now_ms;
    uint64_t round_timeout_ms; /* of the session that start() starts: 60 s */
    uint32_t clients_required; /* 2 */
    uint32_t rounds;           /* 2 */
    uint32_t clients_per_round;
    int64_t buffer_size;
    bool is_validating;
    char trace[8192];
};

int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* A restart: a new process, which knows nothing. */
void restart(struct fixture *f);

/* What has been asked for since the last time, a line each. */
void expect(struct fixture *f, const char *trace);
void pass_over(struct fixture *f);

/* Combiner `combiner` (its boot is called "b") says Hello over `link`; `clients` are apart by
 * blanks; `rounds` as in "1/1 collecting ann bob", or NULL. */
void hello(struct fixture *f, uint64_t link, const char *combiner, const char *clients);
void hello_with(struct fixture *f,
                uint64_t link,
                const char *combiner,
                const char *clients,
                const char *round);
void hello_again(struct fixture *f, /* as another process */
                 uint64_t link,
                 const char *combiner,
                 const char *clients,
                 const char *round);
void state_of(struct fixture *f, uint64_t link, const char *client_id, enum fed_client_phase phase);
void admitted(struct fixture *f, uint64_t link, const char *round, const char *client_id);
void refused(struct fixture *f,
             uint64_t link,
             const char *round,
             const char *client_id,
             enum fed_refusal reason);
/* A partial of these clients, 10 examples each; `hash` stands for its SHA-256. */
enum fed_verdict partial(struct fixture *f,
                         const char *combiner,
                         const char *round, /* "1/1" */
                         uint64_t token,
                         const char *clients);
void link_closed(struct fixture *f, uint64_t link);
void start(struct fixture *f, uint64_t token);
void stop(struct fixture *f, uint64_t token, bool is_now);
void done(struct fixture *f);
void loaded(struct fixture *f, const char *model_id);
void finished(struct fixture *f, const char *model_id);
void tick(struct fixture *f, uint64_t now_ms);

/* Session s of two rounds is running, round 1 is open: ann and bob at c1 (link 1), cay at c2 (link
 * 2). */
void open_round(struct fixture *f);

/* The session of start(), for federation_resume(). */
void make_session(struct fixture *f, struct federation_session *ret_session);

#endif /* TESTS_UNIT_REDUCER_CORE_FEDERATION_FIXTURE_H */
