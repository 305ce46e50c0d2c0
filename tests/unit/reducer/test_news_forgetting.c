/* reducer/news: what is kept of whom was told of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/news.h"
#include "tests/unit/reducer/core/federation_fixture.h"

static void test_nobody_is_kept_whom_the_roster_has_forgotten(void **state)
{
    struct fixture *f = *state;
    struct roster *roster = federation_get_roster_mutable(f->federation);
    const struct live_view view = {.federation = f->federation};
    struct news news;
    struct feed *feed = NULL;
    char text[16];

    assert_int_equal(feed_new(&feed, NULL), 0);
    news_init(&news, feed);
    hello(f, 1, "c1", "ann bob");
    news_start(&news, &view);
    assert_int_equal(news.clients.n_items, 2);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(text, sizeof(text), "x%u", i);
        hello(f, 2, text, text);
        news_look(&news, &view);
        assert_int_equal(news.n_changes, 2);
        link_closed(f, 2);
        assert_true(roster_forget_combiner(roster, text));
    }
    news_look(&news, &view);
    assert_int_equal(news.combiners.n_items, 1);
    assert_int_equal(news.clients.n_items, 2);
    assert_int_equal(news.n_changes, 0); /* nobody is told of again */
    news_look(&news, &view);
    assert_int_equal(news.n_changes, 0);
    news_deinit(&news);
    (void)feed_free(feed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_is_kept_whom_the_roster_has_forgotten,
                                        fixture_set_up, fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
