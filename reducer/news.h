/* What goes to the feed (reducer/rest/feed.h), and so to whoever watches:
 *
 *   live          the live state's summary
 *   combiner, client, round_client   one element of its arrays that has changed
 *   status        a status as REST gives it
 *   session, round, model, validation, metric   the row with these keys has been written
 *
 * Loop only, but for news_row(). Nothing is looked at while nobody listens; then a look costs a
 * lookup for each client.
 */
#ifndef REDUCER_NEWS_H
#define REDUCER_NEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/strmap.h"
#include "reducer/live.h"
#include "reducer/rest/feed.h"
#include "reducer/store/store.h"

#define NEWS_GAP_MS      100U  /* between two looks: what changes back and forth is one change */
#define NEWS_CHANGES_MAX 1024U /* elements told of at a look; beyond: `reset` */

/* What was last told of a client that is asked. */
struct news_asked {
    const char *phase; /* a constant */
    enum fed_refusal refusal;
};

struct news {
    struct feed *feed;           /* borrowed */
    struct fed_strmap combiners; /* id → hash of what was last told */
    struct fed_strmap clients;
    char round_id[FED_ROUND_ID_SIZE];
    struct news_asked *asked; /* (n_asked,) owned; NULL: none, or no memory */
    size_t n_asked;
    uint64_t told_ms; /* when the last look was */
    unsigned n_changes;
};

void news_init(struct news *news, struct feed *feed);
void news_deinit(struct news *news);

/* From now on changes are told, if they were not yet. */
void news_start(struct news *news, const struct live_view *view);

/* Tell what has changed since the last look. */
void news_look(struct news *news, const struct live_view *view);

/* A store_watcher's on_write; `arg` is the news. Any thread. */
void news_row(void *arg, enum store_collection in, const char *key, json_t *document);

#endif /* REDUCER_NEWS_H */
