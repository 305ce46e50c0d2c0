/* combiner/rpc/feed: one file that grows, and those that read along. */
#include <fcntl.h>
#include <unistd.h>

#include "combiner/rpc/feed.h"
#include "tests/lib/fixture.h"

#define SIZE 10U

struct reader {
    struct feed_reader feed;
    unsigned n_told;
    size_t at_hand; /* as it was told */
};

struct fixture {
    struct test_folder folder;
    struct feed *feed;
    struct reader ann;
    struct reader bob;
};

static void on_change(void *arg)
{
    struct reader *reader = arg;

    reader->n_told++;
    reader->at_hand = reader->feed.feed == NULL ? 0 : reader->feed.feed->at_hand;
}

static void join(struct fixture *f, struct reader *reader)
{
    *reader = (struct reader){0};
    feed_join(f->feed, &reader->feed, on_change, reader);
}

/* A file of the model's size; the first byte tells files apart. */
static void open_file(struct fixture *f, const char *content)
{
    char path[FED_PATH_SIZE];
    struct fed_map map = {0};

    (void)unlink(test_path(&f->folder, "model", path));
    test_file_write(path, content, SIZE);
    assert_int_equal(fed_map_open(path, &map, NULL), 0);
    assert_int_equal(feed_open(f->feed, &map, NULL), 0);
    assert_null(map.data); /* taken */
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){.feed = feed_new()};
    assert_non_null(f.feed);
    test_folder_make(&f.folder);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    feed_leave(&f->ann.feed);
    feed_leave(&f->bob.feed);
    (void)feed_unref(f->feed);
    test_folder_remove(&f->folder);
    return 0;
}

static void test_readers_are_told_of_what_comes(void **state)
{
    struct fixture *f = *state;

    join(f, &f->ann); /* before the first byte */
    open_file(f, "0123456789");
    feed_grow(f->feed, 4);
    assert_int_equal(f->ann.n_told, 1);
    assert_int_equal(f->ann.at_hand, 4);
    join(f, &f->bob);
    assert_int_equal(f->bob.feed.feed->at_hand, 4);
    feed_grow(f->feed, SIZE);
    feed_leave(&f->bob.feed);
    feed_complete(f->feed);
    assert_int_equal(f->ann.n_told, 3);
    assert_int_equal(f->bob.n_told, 1);
    assert_true(f->ann.feed.feed->is_whole);
}

static void test_who_is_turned_away_may_join_again(void **state)
{
    struct fixture *f = *state;

    open_file(f, "0123456789");
    feed_grow(f->feed, 4);
    join(f, &f->ann);
    feed_turn_away(f->feed);
    assert_int_equal(f->ann.n_told, 1);
    assert_null(f->ann.feed.feed);
    feed_grow(f->feed, 5);
    assert_int_equal(f->ann.n_told, 1);
    join(f, &f->ann);
    assert_int_equal(f->ann.feed.feed->at_hand, 5); /* the bytes have stayed */
}

static void test_what_was_given_out_stays_when_it_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct fed_slab *old;

    open_file(f, "0123456789");
    feed_grow(f->feed, 4);
    join(f, &f->ann);
    old = fed_slab_ref(f->feed->slab); /* of a message on its way */
    feed_reset(f->feed);
    assert_null(f->ann.feed.feed);
    join(f, &f->bob);
    assert_int_equal(f->feed->at_hand, 0);
    open_file(f, "abcdefghij");
    feed_grow(f->feed, 1);
    assert_int_equal(f->bob.at_hand, 1);
    assert_int_equal(*(const char *)fed_slab_view(f->feed->slab).data, 'a');
    assert_int_equal(*(const char *)fed_slab_view(old).data, '0');
    (void)fed_slab_unref(old);
}

static void test_a_whole_one_outlives_its_owner(void **state)
{
    struct fixture *f = *state;

    open_file(f, "0123456789");
    feed_grow(f->feed, SIZE);
    feed_complete(f->feed);
    join(f, &f->ann);
    f->feed = feed_unref(f->feed);
    assert_memory_equal(fed_slab_view(f->ann.feed.feed->slab).data, "0123456789", SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_readers_are_told_of_what_comes),
        TEST(test_who_is_turned_away_may_join_again),
        TEST(test_what_was_given_out_stays_when_it_begins_anew),
        TEST(test_a_whole_one_outlives_its_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
