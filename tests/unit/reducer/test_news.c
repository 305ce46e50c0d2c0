/* reducer/news: what a look tells of who is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/news.h"

#define TEXT_SIZE 16384U

struct fixture {
    struct feed *feed;
    struct feed_reader reader;
    struct federation *federation;
    struct news news;
    uint64_t link;
    char text[TEXT_SIZE]; /* what the last look told */
};

static void ignore(void *arg)
{
    (void)arg;
}

static const struct feed_reader_ops ops = {ignore, ignore};

/* The combiner says Hello over a new link; the old one is replaced without having been closed. */
static void hello(struct fixture *f, const char *version, uint32_t clients_max)
{
    struct fed_hello hello = {.combiner_id = "c",
                              .boot_id = "b",
                              .name = "west",
                              .protocol = FED_LINK_PROTOCOL,
                              .clients_max = clients_max};
    uint64_t old_link = 0;

    (void)snprintf(hello.version, sizeof(hello.version), "%s", version);
    assert_int_equal(roster_hello(federation_get_roster_mutable(f->federation), &hello, ++f->link,
                                  1000, &old_link, NULL),
                     0);
    assert_int_equal(old_link, f->link - 1);
}

static const char *look(struct fixture *f)
{
    const struct live_view view = {.federation = f->federation, .now_ms = 1000};
    size_t size = 0;
    ptrdiff_t n;

    news_look(&f->news, &view);
    while ((n = feed_read(f->feed, &f->reader, f->text + size, TEXT_SIZE - 1 - size)) > 0) {
        size += (size_t)n;
    }
    f->text[size] = '\0';
    return f->text;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct live_view view = {.now_ms = 1000};

    assert_non_null(f);
    assert_int_equal(feed_new(&f->feed, NULL), 0);
    assert_int_equal(federation_new(&(struct federation_config){0}, 1, 1000, &f->federation, NULL),
                     0);
    news_init(&f->news, f->feed);
    f->reader.ops = &ops;
    hello(f, "1.0", 10);
    view.federation = f->federation;
    news_start(&f->news, &view);
    feed_join(f->feed, &f->reader, NULL);
    (void)look(f); /* the greeting */
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    feed_leave(f->feed, &f->reader);
    news_deinit(&f->news);
    f->federation = federation_free(f->federation);
    f->feed = feed_free(f->feed);
    free(f);
    return 0;
}

static void test_what_has_not_changed_is_not_told(void **state)
{
    assert_null(strstr(look(*state), "event: combiner"));
    hello(*state, "1.0", 10);
    assert_null(strstr(look(*state), "event: combiner"));
}

static void test_all_that_is_shown_of_a_combiner_is_told(void **state)
{
    hello(*state, "1.1", 10);
    assert_non_null(strstr(look(*state), "\"version\":\"1.1\""));
    assert_null(strstr(look(*state), "event: combiner"));
    hello(*state, "1.1", 20);
    assert_non_null(strstr(look(*state), "\"clients_max\":20"));
    assert_null(strstr(look(*state), "event: combiner"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_has_not_changed_is_not_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_that_is_shown_of_a_combiner_is_told, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
