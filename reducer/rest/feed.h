/* The feed: what has changed, in order, for whoever listens (GET /api/v1/events/stream).
 *
 *   tellers (any thread) ── feed_tell() ──▶ ring of the last events ──▶ readers (HTTP thread)
 *
 * Each event is written once, as the bytes of a server-sent event, and shared by all readers: a
 * reader costs its place in the ring, however slow it is. Whom the ring has passed is told `reset`
 * and goes on from the newest: it must look at the whole state again.
 *
 * Nothing is written while nobody listens: feed_hear() begins, and FEED_LINGER_MS after the last
 * reader has left it ends; who comes back after that is told `reset`. Sequence numbers begin with
 * the time in microseconds, so that one of an earlier process is an old one.
 *
 * Thread safety: any thread, but where a function says otherwise. A leaf lock, but for the readers'
 * two functions, which must take no lock of ours.
 */
#ifndef REDUCER_REST_FEED_H
#define REDUCER_REST_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/sync/loop.h"

#define FEED_EVENTS_MAX 4096U
#define FEED_BYTES_MAX  ((size_t)4 * 1024 * 1024)
#define FEED_BEAT_MS    15000U /* a reader that has heard nothing for so long gets a comment */
#define FEED_LINGER_MS  60000U

struct feed;
struct feed_frame;

/* A reader stops at the end of the ring and is woken by the next event. Both are called under the
 * feed's lock: pause() from feed_read(), wake() from any thread, always after a pause(). */
struct feed_reader_ops {
    void (*pause)(void *arg);
    void (*wake)(void *arg);
};

/* The feed's own; embedded in whoever reads. */
struct feed_reader {
    struct fed_link link;
    const struct feed_reader_ops *ops;
    void *arg;
    uint64_t next_seq;
    uint64_t beat;
    struct feed_frame *frame; /* under way; a reference is held */
    size_t offset;            /* bytes of it that are read */
    bool is_greeted;
    bool is_resuming;
};

/* Fails with FED_E_NOMEM. Free with feed_free(), when nobody tells or reads any more. */
FED_NODISCARD int feed_new(struct feed **ret_feed, struct fed_err *err);
struct feed *feed_free(struct feed *feed); /* accepts NULL */
FED_DEFINE_CLEANUP(struct feed, feed_free);

/* -- tellers */

/* Does anybody listen? What it costs to tell may be spared otherwise. */
bool feed_is_heard(const struct feed *feed);

/* From now on somebody does. Returns true when nobody did. */
bool feed_hear(struct feed *feed);

/* Tell an event. `data` is taken (NULL, out of memory: all readers are told `reset`). Nothing
 * happens while nobody listens. */
void feed_tell(struct feed *feed, const char *event, json_t *data);

/* More has changed than can be told: whoever listens must look at the whole state again. */
void feed_reset(struct feed *feed);

/* -- readers */

/* Wake readers from `loop`, where the beat runs too. Before the first reader; again only after
 * feed_detach(). */
void feed_open(struct feed *feed, struct fed_loop *loop);

/* Every reader comes to its end, and new ones at once. Idempotent. */
void feed_close(struct feed *feed);

/* The loop has ended. */
void feed_detach(struct feed *feed);

/* Begin with the event after `after_seq`, or, NULL, with the next one. ops, arg are set. */
void feed_join(struct feed *feed, struct feed_reader *reader, const uint64_t *after_seq);

/* Up to size_max bytes of events. 0: there are none, pause() was called. Below 0: the end. */
ptrdiff_t
feed_read(struct feed *feed, struct feed_reader *reader, char *ret_bytes, size_t size_max);

void feed_leave(struct feed *feed, struct feed_reader *reader);

size_t feed_count_readers(struct feed *feed);

#endif /* REDUCER_REST_FEED_H */
