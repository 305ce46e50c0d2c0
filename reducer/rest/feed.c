/* The ring holds the events first_seq … next_seq - 1, each at its number modulo FEED_EVENTS_MAX.
 * A number that is left out makes every earlier one an old one: so a reset is. */
#include "reducer/rest/feed.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "reducer/rest/rest_json.h"

#define GREETING_SIZE 256U

/* The bytes of one event. */
struct feed_frame {
    unsigned n_references; /* under the feed's lock */
    size_t size;
    char bytes[];
};

struct feed {
    atomic_bool is_heard;
    struct feed_frame *beat_frame; /* constant: a comment */
    struct fed_event wake_event;
    struct fed_event open_event;
    struct fed_timer beat_timer; /* the loop's */
    struct {                     /* under lock */
        pthread_mutex_t lock;
        struct fed_loop *loop; /* NULL: none yet, or it has ended */
        struct feed_frame *ring[FEED_EVENTS_MAX];
        uint64_t first_seq;
        uint64_t next_seq;
        size_t size; /* bytes of the ring's frames */
        struct fed_list readers;
        struct fed_list paused; /* readers too */
        size_t n_readers;
        uint64_t beat;
        unsigned n_lonely; /* beats without a reader */
        bool is_closed;
    } synced;
};

/* -- frames ----------------------------------------------------------------------------------- */

static struct feed_frame *new_frame(size_t size)
{
    struct feed_frame *frame = malloc(sizeof(*frame) + size);

    if (frame != NULL) {
        frame->n_references = 1;
        frame->size = size;
    }
    return frame;
}

/* Under the lock. */
static void drop_frame(struct feed_frame *frame)
{
    if (frame != NULL && --frame->n_references == 0) {
        free(frame);
    }
}

static struct feed_frame *text_frame(const char *text)
{
    struct feed_frame *frame = new_frame(strlen(text));

    if (frame != NULL) {
        memcpy(frame->bytes, text, frame->size);
    }
    return frame;
}

/* "hello" or "reset": what the reader gets before its first event, or instead of those it lost. */
static struct feed_frame *greeting_frame(const char *event, uint64_t seq, bool is_resumed)
{
    char text[GREETING_SIZE];

    (void)snprintf(text, sizeof(text),
                   "id: %llu\nevent: %s\n"
                   "data: {\"resumed\":%s,\"seq\":%llu,\"version\":\"%s\"}\n\n",
                   (unsigned long long)seq, event, is_resumed ? "true" : "false",
                   (unsigned long long)seq, CONFED_VERSION);
    return text_frame(text);
}

/* -- the ring (under the lock) ---------------------------------------------------------------- */

static struct feed_frame **slot(struct feed *feed, uint64_t seq)
{
    return &feed->synced.ring[seq % FEED_EVENTS_MAX];
}

static void drop_first(struct feed *feed)
{
    struct feed_frame **first = slot(feed, feed->synced.first_seq++);

    feed->synced.size -= (*first)->size;
    drop_frame(*first);
    *first = NULL;
}

static void wake_later(struct feed *feed)
{
    if (feed->synced.loop != NULL && !fed_list_is_empty(&feed->synced.paused)) {
        fed_loop_post(feed->synced.loop, &feed->wake_event);
    }
}

static void start_over(struct feed *feed)
{
    while (feed->synced.first_seq != feed->synced.next_seq) {
        drop_first(feed);
    }
    feed->synced.first_seq = ++feed->synced.next_seq;
    wake_later(feed);
}

static void add_event(struct feed *feed, const char *event, const struct fed_buf *data)
{
    char head[GREETING_SIZE];
    const uint64_t seq = feed->synced.next_seq;
    const int n =
        snprintf(head, sizeof(head), "id: %llu\nevent: %s\ndata: ", (unsigned long long)seq, event);
    const size_t size = (size_t)n + data->size + 1; /* the data ends in a newline */
    struct feed_frame *frame = new_frame(size);

    assert(n > 0 && (size_t)n < sizeof(head));
    if (frame == NULL || size > FEED_BYTES_MAX) {
        free(frame);
        start_over(feed);
        return;
    }
    memcpy(frame->bytes, head, (size_t)n);
    memcpy(frame->bytes + n, data->data, data->size);
    frame->bytes[size - 1] = '\n';
    while (seq - feed->synced.first_seq >= FEED_EVENTS_MAX ||
           feed->synced.size + size > FEED_BYTES_MAX) {
        drop_first(feed);
    }
    *slot(feed, seq) = frame;
    feed->synced.size += size;
    feed->synced.next_seq++;
    wake_later(feed);
}

/* -- tellers ---------------------------------------------------------------------------------- */

static void lock(struct feed *feed)
{
    (void)pthread_mutex_lock(&feed->synced.lock);
}

static void unlock(struct feed *feed)
{
    (void)pthread_mutex_unlock(&feed->synced.lock);
}

bool feed_is_heard(const struct feed *feed)
{
    return atomic_load(&feed->is_heard);
}

bool feed_hear(struct feed *feed)
{
    bool was_heard;

    lock(feed);
    was_heard = atomic_exchange(&feed->is_heard, true);
    feed->synced.n_lonely = 0;
    unlock(feed);
    return !was_heard;
}

void feed_tell(struct feed *feed, const char *event, json_t *data)
{
    struct fed_buf text;
    int rc = -FED_E_NOMEM;

    if (!feed_is_heard(feed)) {
        json_decref(data);
        return;
    }
    fed_buf_init(&text, 0);
    if (data != NULL) {
        rc = rest_json_format(data, &text, NULL);
    }
    json_decref(data);
    lock(feed);
    if (rc < 0) {
        start_over(feed);
    } else if (feed_is_heard(feed)) {
        add_event(feed, event, &text);
    }
    unlock(feed);
    fed_buf_deinit(&text);
}

void feed_reset(struct feed *feed)
{
    lock(feed);
    start_over(feed);
    unlock(feed);
}

/* -- readers (under the lock) ----------------------------------------------------------------- */

static void wake_all(struct feed *feed)
{
    struct fed_link *link;

    while ((link = fed_list_take(&feed->synced.paused)) != NULL) {
        struct feed_reader *reader = FED_CONTAINER_OF(link, struct feed_reader, link);
        fed_list_add(&feed->synced.readers, link);
        reader->ops->wake(reader->arg);
    }
}

/* The greeting of a reader that begins, or has been passed by the ring; NULL: no memory. */
static struct feed_frame *greet(struct feed *feed, struct feed_reader *reader)
{
    const bool is_lost = reader->next_seq < feed->synced.first_seq;
    const bool is_resumed = reader->is_resuming && !is_lost;

    reader->is_greeted = true;
    reader->is_resuming = false;
    reader->next_seq = is_lost ? feed->synced.next_seq : reader->next_seq;
    return greeting_frame(is_lost ? "reset" : "hello", reader->next_seq - 1, is_resumed);
}

/* The next bytes for this reader: *ret_frame, or NULL when it has all. Returns false: no memory. */
static bool next_frame(struct feed *feed, struct feed_reader *reader, struct feed_frame **ret_frame)
{
    struct feed_frame *frame = NULL;

    if (!reader->is_greeted || reader->next_seq < feed->synced.first_seq) {
        *ret_frame = greet(feed, reader);
        return *ret_frame != NULL;
    }
    if (reader->next_seq < feed->synced.next_seq) {
        frame = *slot(feed, reader->next_seq++);
    } else if (reader->beat != feed->synced.beat) {
        frame = feed->beat_frame;
    }
    reader->beat = feed->synced.beat;
    if (frame != NULL) {
        frame->n_references++;
    }
    *ret_frame = frame;
    return true;
}

static size_t copy_frame(struct feed_reader *reader, char *ret_bytes, size_t size_max)
{
    struct feed_frame *frame = reader->frame;
    const size_t left = frame->size - reader->offset;
    const size_t n = left < size_max ? left : size_max;

    memcpy(ret_bytes, frame->bytes + reader->offset, n);
    reader->offset += n;
    if (reader->offset == frame->size) {
        drop_frame(frame);
        reader->frame = NULL;
        reader->offset = 0;
    }
    return n;
}

static ptrdiff_t
read_frames(struct feed *feed, struct feed_reader *reader, char *ret_bytes, size_t size_max)
{
    size_t n = 0;

    while (n < size_max) {
        if (reader->frame == NULL && !next_frame(feed, reader, &reader->frame)) {
            return -1;
        }
        if (reader->frame == NULL) {
            break;
        }
        n += copy_frame(reader, ret_bytes + n, size_max - n);
    }
    if (n == 0) {
        fed_link_remove(&reader->link);
        fed_list_add(&feed->synced.paused, &reader->link);
        reader->ops->pause(reader->arg);
    }
    return (ptrdiff_t)n;
}

/* -- readers ---------------------------------------------------------------------------------- */

void feed_join(struct feed *feed, struct feed_reader *reader, const uint64_t *after_seq)
{
    lock(feed);
    reader->frame = NULL;
    reader->offset = 0;
    reader->is_greeted = false;
    reader->is_resuming = after_seq != NULL;
    reader->beat = feed->synced.beat;
    reader->next_seq = feed->synced.next_seq;
    if (after_seq != NULL) {
        /* One that is yet to come is nobody's: as old as can be. */
        reader->next_seq = *after_seq < feed->synced.next_seq ? *after_seq + 1 : 0;
    }
    fed_list_add(&feed->synced.readers, &reader->link);
    feed->synced.n_readers++;
    feed->synced.n_lonely = 0;
    unlock(feed);
}

ptrdiff_t feed_read(struct feed *feed, struct feed_reader *reader, char *ret_bytes, size_t size_max)
{
    ptrdiff_t n;

    lock(feed);
    n = feed->synced.is_closed && reader->frame == NULL
            ? -1
            : read_frames(feed, reader, ret_bytes, size_max);
    unlock(feed);
    return n;
}

void feed_leave(struct feed *feed, struct feed_reader *reader)
{
    lock(feed);
    fed_link_remove(&reader->link);
    drop_frame(reader->frame);
    reader->frame = NULL;
    feed->synced.n_readers--;
    unlock(feed);
}

size_t feed_count_readers(struct feed *feed)
{
    size_t n;

    lock(feed);
    n = feed->synced.n_readers;
    unlock(feed);
    return n;
}

/* -- the loop --------------------------------------------------------------------------------- */

static void on_wake(void *arg)
{
    struct feed *feed = arg;

    lock(feed);
    wake_all(feed);
    unlock(feed);
}

static void on_beat(void *arg)
{
    struct feed *feed = arg;
    struct fed_loop *loop;

    lock(feed);
    loop = feed->synced.loop;
    feed->synced.beat++;
    wake_all(feed);
    if (feed->synced.n_readers == 0 && ++feed->synced.n_lonely > FEED_LINGER_MS / FEED_BEAT_MS &&
        feed_is_heard(feed)) {
        atomic_store(&feed->is_heard, false);
        start_over(feed);
    }
    unlock(feed);
    fed_timer_start(loop, &feed->beat_timer, fed_loop_now_ms(loop) + FEED_BEAT_MS);
}

void feed_open(struct feed *feed, struct fed_loop *loop)
{
    fed_event_init(&feed->wake_event, on_wake, feed);
    fed_event_init(&feed->open_event, on_beat, feed);
    fed_timer_init(&feed->beat_timer, on_beat, feed);
    lock(feed);
    feed->synced.loop = loop;
    feed->synced.is_closed = false;
    unlock(feed);
    fed_loop_post(loop, &feed->open_event);
}

void feed_close(struct feed *feed)
{
    lock(feed);
    feed->synced.is_closed = true;
    wake_all(feed);
    unlock(feed);
}

void feed_detach(struct feed *feed)
{
    lock(feed);
    feed->synced.loop = NULL;
    unlock(feed);
    fed_timer_stop(&feed->beat_timer); /* the loop has ended: nobody else looks at its timers */
}

/* -- life ------------------------------------------------------------------------------------- */

int feed_new(struct feed **ret_feed, struct fed_err *err)
{
    struct feed *feed = calloc(1, sizeof(*feed));

    if (feed == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "events");
    }
    feed->beat_frame = text_frame(": still here\n\n");
    if (feed->beat_frame == NULL) {
        free(feed);
        return fed_err_set(err, FED_E_NOMEM, "events");
    }
    atomic_init(&feed->is_heard, false);
    (void)pthread_mutex_init(&feed->synced.lock, NULL);
    fed_list_init(&feed->synced.readers);
    fed_list_init(&feed->synced.paused);
    feed->synced.first_seq = fed_clock_utc_us();
    feed->synced.next_seq = feed->synced.first_seq;
    *ret_feed = feed;
    return 0;
}

struct feed *feed_free(struct feed *feed)
{
    if (feed != NULL) {
        assert(feed->synced.n_readers == 0);
        while (feed->synced.first_seq != feed->synced.next_seq) {
            drop_first(feed);
        }
        drop_frame(feed->beat_frame);
        (void)pthread_mutex_destroy(&feed->synced.lock);
        free(feed);
    }
    return NULL;
}
