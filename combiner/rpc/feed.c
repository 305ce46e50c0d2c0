#include "combiner/rpc/feed.h"

#include <assert.h>
#include <stdlib.h>

struct feed *feed_new(void)
{
    struct feed *feed = calloc(1, sizeof(*feed));

    if (feed != NULL) {
        feed->refs = 1;
        fed_list_init(&feed->readers);
    }
    return feed;
}

struct feed *feed_unref(struct feed *feed)
{
    if (feed != NULL) {
        assert(feed->refs > 0);
        feed->refs--;
        if (feed->refs == 0) {
            (void)fed_slab_unref(feed->slab);
            free(feed);
        }
    }
    return NULL;
}

static void release_map(void *arg)
{
    struct fed_map *map = arg;

    fed_map_close(map);
    free(map);
}

int feed_open(struct feed *feed, struct fed_map *map, struct fed_err *err)
{
    struct fed_map *kept = calloc(1, sizeof(*kept));
    struct fed_slab *slab = NULL;

    assert(feed->at_hand == 0);
    if (kept != NULL) {
        *kept = *map;
        slab = fed_slab_new(kept->data, kept->size, release_map, kept);
    }
    if (slab == NULL) {
        fed_map_close(map);
        free(kept);
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    *map = (struct fed_map){0};
    (void)fed_slab_unref(feed->slab);
    feed->slab = slab;
    return 0;
}

static void tell(struct feed *feed)
{
    fed_list_for_each (link, &feed->readers) {
        struct feed_reader *reader = FED_CONTAINER_OF(link, struct feed_reader, link);
        reader->on_change(reader->arg);
    }
}

void feed_grow(struct feed *feed, size_t at_hand)
{
    assert(at_hand >= feed->at_hand);
    assert(feed->slab != NULL && at_hand <= fed_slab_view(feed->slab).size);
    feed->at_hand = at_hand;
    tell(feed);
}

void feed_complete(struct feed *feed)
{
    assert(feed->slab != NULL && feed->at_hand == fed_slab_view(feed->slab).size);
    feed->is_whole = true;
    tell(feed);
}

void feed_turn_away(struct feed *feed)
{
    struct fed_link *link;

    assert(!feed->is_whole);
    while ((link = fed_list_take(&feed->readers)) != NULL) {
        struct feed_reader *reader = FED_CONTAINER_OF(link, struct feed_reader, link);
        reader->feed = feed_unref(feed); /* the owner's reference is left */
        reader->on_change(reader->arg);
    }
}

void feed_reset(struct feed *feed)
{
    feed_turn_away(feed);
    feed->slab = fed_slab_unref(feed->slab);
    feed->at_hand = 0;
}

void feed_join(struct feed *feed, struct feed_reader *reader, fed_event_fn on_change, void *arg)
{
    *reader = (struct feed_reader){.feed = feed, .on_change = on_change, .arg = arg};
    feed->refs++;
    fed_list_add(&feed->readers, &reader->link);
}

void feed_leave(struct feed_reader *reader)
{
    fed_link_remove(&reader->link);
    reader->feed = feed_unref(reader->feed);
}
