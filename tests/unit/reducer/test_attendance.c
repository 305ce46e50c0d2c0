/* reducer/attendance: which clients are written. Its line is closed, so that what is to be written
 * can be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/attendance.h"

struct fixture {
    struct errand_line line;
    struct roster roster;
    struct attendance attendance;
};

static int set_up(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){.line.is_closed = true};
    roster_init(&fixture.roster);
    attendance_init(&fixture.attendance, &fixture.line, NULL);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    attendance_deinit(&f->attendance);
    roster_deinit(&f->roster);
    return 0;
}

/* A combiner says Hello, with this client. */
static void hello(struct fixture *f, const char *combiner_id, const char *client_id)
{
    struct fed_client_state client = {.phase = FED_CLIENT_ATTACHED};
    struct fed_hello hello = {.clients = &client, .n_clients = 1};
    uint64_t old_link = 0;

    fed_id_copy(client.client_id, client_id);
    fed_id_copy(hello.combiner_id, combiner_id);
    (void)snprintf(hello.name, sizeof(hello.name), "%s", combiner_id);
    assert_int_equal(roster_hello(&f->roster, &hello, 1, 10, &old_link, NULL), 0);
}

static void show(struct fixture *f, const char *client_id)
{
    attendance_show(&f->attendance, &f->roster, roster_find_client(&f->roster, client_id));
}

/* What is to be written of the client's combiner; NULL: nothing. */
static const char *written(const struct fixture *f, const char *client_id)
{
    const struct attendance_change *change = fed_strmap_find(&f->attendance.waiting[1], client_id);

    return change == NULL ? NULL : json_string_value(json_object_get(change->row, "combiner"));
}

static void test_what_was_shown_is_not_written_again(void **state)
{
    struct fixture *f = *state;
    const struct attendance_change *change;

    hello(f, "c1", "ann");
    show(f, "ann");
    assert_string_equal(written(f, "ann"), "c1");
    change = fed_strmap_find(&f->attendance.waiting[1], "ann");
    assert_int_equal(json_object_del(change->row, "combiner"), 0);
    show(f, "ann");
    assert_null(written(f, "ann"));
    assert_non_null(roster_link_closed(&f->roster, 1, 20));
    show(f, "ann");
    assert_string_equal(json_string_value(json_object_get(change->row, "status")), "offline");
}

/* Where one combiner was, in memory, another may be after it has been forgotten. */
static void test_another_combiner_is_news_wherever_it_lies(void **state)
{
    struct fixture *f = *state;
    struct roster_combiner *combiner;

    hello(f, "c1", "ann");
    show(f, "ann");
    combiner = roster_find_client(&f->roster, "ann")->combiner;
    fed_id_copy(combiner->combiner_id, "c2");
    (void)snprintf(combiner->name, sizeof(combiner->name), "c2");
    show(f, "ann");
    assert_string_equal(written(f, "ann"), "c2");
}

static void test_nobody_is_kept_whom_the_roster_has_forgotten(void **state)
{
    struct fixture *f = *state;
    char client_id[FED_ID_SIZE];

    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(client_id, sizeof(client_id), "client-%u", i);
        hello(f, "c1", client_id);
        show(f, client_id);
        assert_true(f->attendance.shown.n_items <= f->roster.clients.n_items + 1);
        assert_non_null(roster_link_closed(&f->roster, 1, 20));
        assert_true(roster_forget_client(&f->roster, client_id));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_shown_is_not_written_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_another_combiner_is_news_wherever_it_lies, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_is_kept_whom_the_roster_has_forgotten, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
