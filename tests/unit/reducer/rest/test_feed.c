#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "reducer/rest/feed.h"

#define TEXT_SIZE 65536U

struct listener {
    struct feed_reader reader;
    int n_pauses;
    int n_wakes;
    bool is_over;
    char text[TEXT_SIZE]; /* what the last read gave */
};

static void on_pause(void *arg)
{
    ((struct listener *)arg)->n_pauses++;
}

static void on_wake(void *arg)
{
    ((struct listener *)arg)->n_wakes++;
}

static const struct feed_reader_ops ops = {on_pause, on_wake};

static int set_up(void **state)
{
    struct feed *feed = NULL;

    assert_int_equal(feed_new(&feed, NULL), 0);
    assert_true(feed_hear(feed));
    *state = feed;
    return 0;
}

static int tear_down(void **state)
{
    *state = feed_free(*state);
    return 0;
}

static struct listener *join(struct feed *feed, const uint64_t *after_seq)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    assert_non_null(listener);
    listener->reader.ops = &ops;
    listener->reader.arg = listener;
    feed_join(feed, &listener->reader, after_seq);
    return listener;
}

static void leave(struct feed *feed, struct listener *listener)
{
    feed_leave(feed, &listener->reader);
    free(listener);
}

/* All there is, in pieces of piece_size bytes. */
static const char *read_all(struct feed *feed, struct listener *listener, size_t piece_size)
{
    size_t size = 0;
    ptrdiff_t n;

    while ((n = feed_read(feed, &listener->reader, listener->text + size, piece_size)) > 0) {
        size += (size_t)n;
        assert_in_range(size, 0, TEXT_SIZE - piece_size - 1);
    }
    listener->is_over = n < 0;
    listener->text[size] = '\0';
    return listener->text;
}

static uint64_t last_seq(const char *text)
{
    const char *found = NULL;

    for (const char *at = strstr(text, "id: "); at != NULL; at = strstr(at + 1, "\nid: ")) {
        found = at;
    }
    assert_non_null(found);
    return strtoull(strpbrk(found, "0123456789"), NULL, 10);
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;

    while ((text = strstr(text, word)) != NULL) {
        n++;
        text += strlen(word);
    }
    return n;
}

static void tell(struct feed *feed, int number)
{
    feed_tell(feed, "session", json_pack("{s:i}", "number", number));
}

static void test_events_come_in_order_and_once(void **state)
{
    struct feed *feed = *state;
    struct listener *listener = join(feed, NULL);
    char want[256];
    uint64_t seq;

    (void)read_all(feed, listener, 512);
    seq = last_seq(listener->text);
    assert_non_null(strstr(listener->text, "event: hello\ndata: {\"resumed\":false,\"seq\":"));
    assert_int_equal(listener->n_pauses, 1);
    tell(feed, 1);
    tell(feed, 2);
    (void)snprintf(want, sizeof(want),
                   "id: %llu\nevent: session\ndata: {\"number\":1}\n\n"
                   "id: %llu\nevent: session\ndata: {\"number\":2}\n\n",
                   (unsigned long long)seq + 1, (unsigned long long)seq + 2);
    assert_string_equal(read_all(feed, listener, 7), want);
    assert_string_equal(read_all(feed, listener, 512), "");
    leave(feed, listener);
}

static void test_a_reader_resumes(void **state)
{
    struct feed *feed = *state;
    struct listener *listener = join(feed, NULL);
    uint64_t seq;

    (void)read_all(feed, listener, 512);
    seq = last_seq(listener->text);
    leave(feed, listener);
    tell(feed, 1);
    tell(feed, 2);
    listener = join(feed, &seq);
    (void)read_all(feed, listener, 512);
    assert_non_null(strstr(listener->text, "event: hello\ndata: {\"resumed\":true"));
    assert_int_equal(count(listener->text, "event: session"), 2);
    assert_int_equal(last_seq(listener->text), seq + 2);
    leave(feed, listener);
}

/* Too old, of another process, of the future. */
static void test_a_lost_place_is_reset(void **state)
{
    struct feed *feed = *state;
    const uint64_t lost[] = {0, 1, fed_clock_utc_us() - 3600000000U,
                             fed_clock_utc_us() + 3600000000U, UINT64_MAX};

    tell(feed, 1);
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        struct listener *listener = join(feed, &lost[i]);
        (void)read_all(feed, listener, 512);
        assert_int_equal(count(listener->text, "event: "), 1);
        assert_non_null(strstr(listener->text, "event: reset\ndata: {\"resumed\":false"));
        tell(feed, 2);
        (void)read_all(feed, listener, 512);
        assert_int_equal(count(listener->text, "event: session"), 1);
        leave(feed, listener);
    }
}

/* The ring holds the last FEED_EVENTS_MAX; the event that a reader is in the middle of still comes
 * whole. */
static void test_the_ring_passes_a_slow_reader(void **state)
{
    struct feed *feed = *state;
    struct listener *slow = join(feed, NULL);
    char rest[512];
    uint64_t seq;
    ptrdiff_t n;

    (void)read_all(feed, slow, 512);
    seq = last_seq(slow->text);
    tell(feed, -1);
    n = feed_read(feed, &slow->reader, slow->text, 10);
    assert_int_equal(n, 10);
    for (int i = 0; i <= (int)FEED_EVENTS_MAX; i++) {
        tell(feed, i);
    }
    n = feed_read(feed, &slow->reader, rest, sizeof(rest) - 1);
    assert_true(n > 0);
    rest[n] = '\0';
    assert_non_null(strstr(rest, "data: {\"number\":-1}\n\nid: "));
    assert_non_null(strstr(rest, "event: reset\n"));
    assert_int_equal(last_seq(rest), seq + 2 + FEED_EVENTS_MAX);
    assert_string_equal(read_all(feed, slow, 512), "");
    leave(feed, slow);

    slow = join(feed, &(uint64_t){seq + 2}); /* exactly all that is left */
    n = feed_read(feed, &slow->reader, rest, sizeof(rest) - 1);
    rest[n < 0 ? 0 : n] = '\0';
    assert_non_null(strstr(rest, "event: hello\ndata: {\"resumed\":true"));
    assert_non_null(strstr(rest, "{\"number\":1}"));
    leave(feed, slow);
}

static void test_the_ring_is_bounded_in_bytes(void **state)
{
    struct feed *feed = *state;
    struct listener *listener = join(feed, NULL);
    char *text = malloc(FEED_BYTES_MAX + 1);
    uint64_t seq;

    assert_non_null(text);
    (void)read_all(feed, listener, 512);
    seq = last_seq(listener->text);
    memset(text, 'x', FEED_BYTES_MAX);
    text[FEED_BYTES_MAX / 2] = '\0';
    for (int i = 0; i < 4; i++) {
        feed_tell(feed, "status", json_pack("{s:s}", "data", text));
    }
    (void)read_all(feed, listener, 512);
    assert_int_equal(count(listener->text, "event: reset"), 1);
    leave(feed, listener);

    text[FEED_BYTES_MAX / 2] = 'x';
    text[FEED_BYTES_MAX] = '\0'; /* one event that is over it by itself */
    listener = join(feed, NULL);
    (void)read_all(feed, listener, 512);
    feed_tell(feed, "status", json_pack("{s:s}", "data", text));
    (void)read_all(feed, listener, 512);
    assert_int_equal(count(listener->text, "event: reset"), 1);
    assert_true(last_seq(listener->text) > seq);
    leave(feed, listener);
    free(text);
}

static void test_a_reset_reaches_everybody(void **state)
{
    struct feed *feed = *state;
    struct listener *one = join(feed, NULL);
    struct listener *two = join(feed, NULL);

    (void)read_all(feed, one, 512);
    (void)read_all(feed, two, 512);
    tell(feed, 1);
    feed_reset(feed);
    feed_tell(feed, "session", NULL); /* no memory: the same */
    tell(feed, 2);
    (void)read_all(feed, one, 512);
    assert_int_equal(count(one->text, "event: reset"), 1);
    assert_string_equal(one->text, read_all(feed, two, 3));
    leave(feed, one);
    leave(feed, two);
}

static void test_the_end(void **state)
{
    struct feed *feed = *state;
    struct listener *one = join(feed, NULL);
    struct listener *late;

    (void)read_all(feed, one, 512);
    assert_false(one->is_over);
    feed_close(feed);
    assert_int_equal(one->n_wakes, 1);
    (void)read_all(feed, one, 512);
    assert_true(one->is_over);
    late = join(feed, NULL);
    assert_string_equal(read_all(feed, late, 512), "");
    assert_true(late->is_over);
    leave(feed, one);
    leave(feed, late);
}

static void test_nothing_is_kept_while_nobody_listens(void **state)
{
    struct feed *feed = NULL;
    struct listener *listener;

    (void)state;
    assert_int_equal(feed_new(&feed, NULL), 0);
    assert_false(feed_is_heard(feed));
    tell(feed, 1);
    assert_true(feed_hear(feed));
    assert_false(feed_hear(feed));
    listener = join(feed, NULL);
    (void)read_all(feed, listener, 512);
    assert_int_equal(count(listener->text, "event: session"), 0);
    leave(feed, listener);
    (void)feed_free(feed);
}

/* An event wakes the readers that wait for one, from the loop. */
static void stop(void *arg)
{
    fed_loop_stop(arg);
}

static void test_an_event_wakes(void **state)
{
    struct feed *feed = *state;
    struct listener *listener = join(feed, NULL);
    struct fed_loop *loop = NULL;
    struct fed_event end;

    assert_int_equal(fed_loop_new(&loop, NULL), 0);
    fed_event_init(&end, stop, loop);
    feed_open(feed, loop);
    fed_loop_post(loop, &end);
    fed_loop_run(loop); /* the first beat */
    (void)read_all(feed, listener, 512);
    assert_int_equal(listener->n_wakes, 0);
    tell(feed, 1);
    tell(feed, 2);
    assert_int_equal(listener->n_wakes, 0);
    feed_detach(feed);
    leave(feed, listener);
    (void)fed_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_come_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reader_resumes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_place_is_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_ring_passes_a_slow_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_ring_is_bounded_in_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reset_reaches_everybody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end, set_up, tear_down),
        cmocka_unit_test(test_nothing_is_kept_while_nobody_listens),
        cmocka_unit_test_setup_teardown(test_an_event_wakes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
