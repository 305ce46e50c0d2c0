/* Records against the reference store, with a loop and workers of their own: what is stored when,
 * and in how many calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/records.h"

#define LINK 7U

struct fixture {
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct errand_line line;
    struct store *store;
    struct records records;
    struct fed_timer limit;
    uint64_t next_seq;
    uint64_t stored_seq; /* acknowledged */
    uint64_t want_seq;   /* the loop stops with it */
    unsigned n_batches;  /* acknowledgements: one link, so one a batch */
    unsigned n_more;     /* records that follow the first batch, one by one */
    uint64_t first_ms;   /* when the first batch began */
    struct fed_event follow;
};

static void put(struct fixture *fix)
{
    char json[96];
    const struct fed_record record = {++fix->next_seq, FED_RECORD_STATUS, json};

    (void)snprintf(json, sizeof(json), "{\"status_id\": \"s%llu\", \"id\": \"s%llu\"}",
                   (unsigned long long)record.seq, (unsigned long long)record.seq);
    assert_int_equal(records_put(&fix->records, LINK, &record, NULL), 0);
}

/* One a turn of the loop. */
static void follow(void *arg)
{
    struct fixture *fix = arg;

    put(fix);
    if (--fix->n_more > 0) {
        fed_loop_post(fix->loop, &fix->follow);
    }
}

static void on_stored(void *arg, uint64_t link, uint64_t seq)
{
    struct fixture *fix = arg;

    assert_int_equal(link, LINK);
    fix->stored_seq = seq;
    fix->first_ms = fix->n_batches++ == 0 ? fix->records.began_ms : fix->first_ms;
    if (seq == fix->want_seq) {
        fed_loop_stop(fix->loop);
    } else if (fix->n_more > 0 && fix->n_batches == 1) {
        fed_loop_post(fix->loop, &fix->follow);
    }
}

static void on_judged(void *arg, bool is_refused)
{
    (void)arg;
    assert_false(is_refused);
}

static const struct records_ops ops = {on_stored, on_judged, NULL};

static void on_change(void *arg)
{
    (void)arg;
}

static void on_limit(void *arg)
{
    (void)arg;
    fail_msg("the records were not stored");
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct fixture *fix = &fixture;

    *fix = (struct fixture){0};
    assert_int_equal(fed_loop_new(&fix->loop, NULL), 0);
    assert_int_equal(fed_workers_new(fix->loop, 1, &fix->workers, NULL), 0);
    assert_int_equal(store_open("mem:", &fix->store, NULL), 0);
    errand_line_init(&fix->line, fix->loop, fix->workers, "line", on_change, fix);
    records_init(&fix->records, &fix->line, fix->store, &ops, fix);
    fed_event_init(&fix->follow, follow, fix);
    fed_timer_init(&fix->limit, on_limit, fix);
    fed_timer_start(fix->loop, &fix->limit, fed_loop_now_ms(fix->loop) + 20000);
    *state = fix;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fix = *state;

    fix->workers = fed_workers_free(fix->workers);
    records_deinit(&fix->records);
    fed_timer_stop(&fix->limit);
    (void)store_close(fix->store);
    (void)fed_loop_free(fix->loop);
    return 0;
}

static void test_what_follows_at_once_is_gathered(void **state)
{
    struct fixture *fix = *state;

    fix->n_more = 6;
    fix->want_seq = 7;
    put(fix);
    fed_loop_run(fix->loop);
    assert_int_equal(fix->n_batches, 2);
    assert_true(fix->records.began_ms - fix->first_ms >= RECORDS_PACE_MS);
}

static void test_a_full_batch_does_not_wait(void **state)
{
    struct fixture *fix = *state;

    fix->want_seq = 3 * RECORDS_BATCH + 1;
    for (unsigned i = 0; i < fix->want_seq; i++) {
        put(fix);
    }
    fix->records.began_ms = fed_loop_now_ms(fix->loop) + 60000; /* the pace would be a minute */
    fix->want_seq = 2 * RECORDS_BATCH + 1;
    fed_loop_run(fix->loop);
    assert_true(fix->n_batches >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_follows_at_once_is_gathered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_batch_does_not_wait, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
