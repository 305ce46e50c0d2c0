/* reducer/core/roster: who is where, and where a joining client is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/core/roster.h"

static int set_up(void **state)
{
    static struct roster roster;

    roster_init(&roster);
    *state = &roster;
    return 0;
}

static int tear_down(void **state)
{
    roster_deinit(*state);
    return 0;
}

/* Combiner `id` with the clients named by single letters says Hello; returns the link it replaces.
 */
static uint64_t hello(struct roster *roster,
                      uint64_t link,
                      const char *id,
                      const char *boot_id,
                      const char *letters,
                      uint64_t now_ms)
{
    struct fed_client_state states[8] = {0};
    struct fed_hello hello = {.clients = states, .n_clients = strlen(letters), .clients_max = 2};
    uint64_t old_link = 99;

    fed_id_copy(hello.combiner_id, id);
    fed_id_copy(hello.boot_id, boot_id);
    (void)snprintf(hello.name, sizeof(hello.name), "name-%s", id);
    for (size_t i = 0; i < hello.n_clients; i++) {
        states[i].client_id[0] = letters[i];
        states[i].phase = FED_CLIENT_ATTACHED;
    }
    assert_int_equal(roster_hello(roster, &hello, link, now_ms, &old_link, NULL), 0);
    return old_link;
}

static void state_of(struct roster *roster,
                     uint64_t link,
                     const char *id,
                     enum fed_client_phase phase,
                     uint64_t now_ms)
{
    struct fed_client_state state = {.phase = phase};

    fed_id_copy(state.client_id, id);
    assert_int_equal(
        roster_client_state(roster, roster_find_link(roster, link), &state, now_ms, NULL), 0);
}

static const char *at(const struct roster *roster, const char *client_id)
{
    const struct roster_client *client = roster_find_client(roster, client_id);

    if (client == NULL) {
        return "unknown";
    }
    return roster_is_present(client) ? client->combiner->combiner_id : "away";
}

static void test_a_client_is_where_it_was_heard_last(void **state)
{
    struct roster *roster = *state;

    assert_int_equal(hello(roster, 1, "c1", "b", "ab", 10), 0);
    assert_int_equal(hello(roster, 2, "c2", "b", "c", 10), 0);
    assert_string_equal(at(roster, "a"), "c1");
    state_of(roster, 2, "a", FED_CLIENT_ATTACHED, 20);
    assert_string_equal(at(roster, "a"), "c2");
    state_of(roster, 1, "a", FED_CLIENT_GONE, 30); /* its old stream: old news */
    assert_string_equal(at(roster, "a"), "c2");
    assert_int_equal(roster_find_combiner(roster, "c1")->n_attached, 1);
    assert_int_equal(roster_find_combiner(roster, "c2")->n_attached, 2);
    state_of(roster, 2, "a", FED_CLIENT_SILENT, 40);
    assert_string_equal(at(roster, "a"), "away");
    assert_int_equal(roster_find_client(roster, "a")->away_since_ms, 40);
    state_of(roster, 2, "a", FED_CLIENT_GONE, 50);
    assert_int_equal(roster_find_client(roster, "a")->away_since_ms, 40); /* since then */
    state_of(roster, 1, "z", FED_CLIENT_SILENT, 60);
    assert_string_equal(at(roster, "z"), "unknown");
}

static void test_two_claim_one_client(void **state)
{
    struct roster *roster = *state;

    (void)hello(roster, 1, "c1", "b", "a", 10);
    (void)hello(roster, 2, "c2", "b", "a", 20); /* what a Hello lists may be old */
    assert_string_equal(at(roster, "a"), "c1");
    assert_int_equal(roster_find_combiner(roster, "c2")->n_attached, 0);
    state_of(roster, 1, "a", FED_CLIENT_SILENT, 30); /* so it was c1's that was old */
    assert_string_equal(at(roster, "a"), "c2");
    state_of(roster, 1, "a", FED_CLIENT_GONE, 31);
    assert_string_equal(at(roster, "a"), "c2");
    state_of(roster, 1, "a", FED_CLIENT_ATTACHED, 40); /* news */
    assert_string_equal(at(roster, "a"), "c1");
    (void)roster_link_closed(roster, 1, 50); /* c2 has not taken its word back */
    assert_string_equal(at(roster, "a"), "c2");
    state_of(roster, 2, "a", FED_CLIENT_GONE, 60);
    (void)hello(roster, 3, "c1", "b", "", 70);
    assert_string_equal(at(roster, "a"), "away");
    (void)hello(roster, 3, "c1", "b", "a", 80);
    assert_string_equal(at(roster, "a"), "c1");
    (void)hello(roster, 2, "c2", "b", "a", 90);
    (void)hello(roster, 2, "c2", "b", "", 95);
    (void)hello(roster, 3, "c1", "b", "", 99);
    assert_string_equal(at(roster, "a"), "away"); /* nobody claims it any more */
}

static void test_a_hello_is_the_whole_state(void **state)
{
    struct roster *roster = *state;

    (void)hello(roster, 1, "c1", "b", "ab", 10);
    assert_ptr_equal(roster_link_closed(roster, 1, 20), roster_find_combiner(roster, "c1"));
    assert_null(roster_link_closed(roster, 1, 20));
    assert_string_equal(at(roster, "a"), "away");
    assert_int_equal(hello(roster, 3, "c1", "b", "b", 30), 0);
    assert_string_equal(at(roster, "a"), "away"); /* it has left meanwhile */
    assert_string_equal(at(roster, "b"), "c1");
    assert_int_equal(roster_find_combiner(roster, "c1")->reboot_ms, 0);
    assert_int_equal(hello(roster, 4, "c1", "other", "b", 40), 3); /* the newest link wins */
    assert_int_equal(roster_find_combiner(roster, "c1")->reboot_ms, 40);
    assert_null(roster_link_closed(roster, 3, 50));
    assert_string_equal(at(roster, "b"), "c1");
}

static const char *assign(struct roster *roster, const char *client_id, const char *preferred)
{
    const struct roster_combiner *combiner = roster_assign(roster, client_id, preferred, 100);

    return combiner == NULL ? "none" : combiner->combiner_id;
}

static void test_where_a_client_is_sent(void **state)
{
    struct roster *roster = *state;

    assert_string_equal(assign(roster, "x", NULL), "none");
    (void)hello(roster, 1, "c1", "b", "a", 10);
    (void)hello(roster, 2, "c2", "b", "", 10);
    assert_string_equal(assign(roster, "a", "name-c2"), "c1"); /* its former one is up */
    assert_string_equal(assign(roster, "x", "name-c1"), "c1"); /* the preferred one */
    assert_string_equal(assign(roster, "y", "nobody"), "c2");  /* the least loaded */
    assert_string_equal(assign(roster, "z", NULL), "c2"); /* two were sent to the first by now */
    (void)roster_link_closed(roster, 1, 20);
    assert_string_equal(assign(roster, "a", "name-c1"), "c2"); /* one that is down: never */
    (void)hello(roster, 2, "c2", "b", "mn", 30);
    assert_string_equal(assign(roster, "x", NULL), "none"); /* full */
}

static void test_bounds(void **state)
{
    struct roster *roster = *state;
    struct fed_err err = {0};
    uint64_t old_link = 0;

    for (unsigned i = 0; i < ROSTER_COMBINERS_MAX; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "c%u", i);
        (void)hello(roster, i + 1, id, "b", "", 10);
    }
    struct fed_hello one_more = {.combiner_id = "more"};
    assert_int_equal(roster_hello(roster, &one_more, 9999, 10, &old_link, &err), -FED_E_LIMIT);
    assert_null(roster_find_link(roster, 9999));
    /* One that has been away for long makes room, unless somebody is still at it. */
    (void)roster_link_closed(roster, 7, 20);
    assert_int_equal(
        roster_hello(roster, &one_more, 9999, 20 + ROSTER_FORGET_MS - 1, &old_link, &err),
        -FED_E_LIMIT);
    assert_int_equal(
        roster_hello(roster, &one_more, 9999, 20 + ROSTER_FORGET_MS + 1000, &old_link, &err), 0);
    assert_null(roster_find_combiner(roster, "c6"));
    assert_non_null(roster_find_combiner(roster, "c5"));
    /* One that is known needs none. */
    (void)roster_link_closed(roster, 9, 20);
    (void)roster_link_closed(roster, 10, 20);
    (void)hello(roster, 10, "c9", "b", "", 20 + 2 * ROSTER_FORGET_MS);
    assert_non_null(roster_find_combiner(roster, "c8"));
}

static int try_client(struct roster *roster, unsigned i, enum fed_client_phase phase, uint64_t now)
{
    struct fed_client_state state = {.phase = phase};

    (void)snprintf(state.client_id, sizeof(state.client_id), "client-%u", i);
    return roster_client_state(roster, roster_find_link(roster, 1), &state, now, NULL);
}

static void test_who_is_away_for_long_makes_room(void **state)
{
    struct roster *roster = *state;
    const unsigned n = ROSTER_CLIENTS_MAX;

    (void)hello(roster, 1, "c1", "b", "", 10);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(try_client(roster, i, FED_CLIENT_ATTACHED, 10), 0);
    }
    assert_int_equal(try_client(roster, n, FED_CLIENT_ATTACHED, 10), -FED_E_LIMIT);
    assert_int_equal(try_client(roster, 0, FED_CLIENT_GONE, 20), 0);
    assert_int_equal(try_client(roster, 1, FED_CLIENT_SILENT, 15 + ROSTER_FORGET_MS), 0);
    assert_int_equal(try_client(roster, n, FED_CLIENT_ATTACHED, 19 + ROSTER_FORGET_MS),
                     -FED_E_LIMIT);
    assert_int_equal(try_client(roster, n, FED_CLIENT_ATTACHED, 1100 + ROSTER_FORGET_MS), 0);
    assert_null(roster_find_client(roster, "client-0"));
    assert_non_null(roster_find_client(roster, "client-1"));
    assert_int_equal(roster_find_combiner(roster, "c1")->n_attached, n - 1);
    /* A combiner that has been down for long takes its clients with it, then makes room itself. */
    (void)roster_link_closed(roster, 1, 2 * ROSTER_FORGET_MS);
    (void)hello(roster, 2, "c2", "b", "x", 4 * ROSTER_FORGET_MS);
    assert_int_equal(roster->clients.n_items, 1);
    assert_null(roster_find_combiner(roster, "c1"));
}

static void test_what_is_deleted_is_forgotten(void **state)
{
    struct roster *roster = *state;

    (void)hello(roster, 1, "c1", "b", "ab", 10);
    (void)hello(roster, 2, "c2", "b", "x", 10);
    assert_false(roster_forget_client(roster, "a"));
    assert_false(roster_forget_combiner(roster, "c1"));
    assert_true(roster_forget_client(roster, "nobody"));
    assert_true(roster_forget_combiner(roster, "nobody"));
    state_of(roster, 1, "a", FED_CLIENT_GONE, 20);
    assert_true(roster_forget_client(roster, "a"));
    assert_null(roster_find_client(roster, "a"));
    assert_int_equal(roster_find_combiner(roster, "c1")->n_attached, 1);
    (void)roster_link_closed(roster, 1, 30);
    assert_true(roster_forget_combiner(roster, "c1"));
    assert_null(roster_find_combiner(roster, "c1"));
    assert_null(roster_find_client(roster, "b"));
    assert_non_null(roster_find_client(roster, "x"));
    (void)hello(roster, 3, "c1", "b", "a", 40); /* back, as if for the first time */
    assert_true(roster_is_present(roster_find_client(roster, "a")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_client_is_where_it_was_heard_last),
        TEST(test_two_claim_one_client),
        TEST(test_a_hello_is_the_whole_state),
        TEST(test_where_a_client_is_sent),
        TEST(test_bounds),
        TEST(test_who_is_away_for_long_makes_room),
        TEST(test_what_is_deleted_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
