#include "reducer/news.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "reducer/mark.h"
#include "reducer/rest/rest_json.h"
#include "reducer/rows.h"

/* -- what was told of combiners and clients ----------------------------------------------------
 */

/* All that live_encode_combiner() shows. */
static uint64_t hash_combiner(const struct roster_combiner *combiner)
{
    uint64_t hash = mark_text(MARK_START, combiner->name);

    hash = mark_text(hash, combiner->advertise);
    hash = mark_text(hash, combiner->version);
    hash = mark_number(hash, combiner->clients_max);
    return mark_number(hash, ((uint64_t)combiner->n_attached << 1) ^ (combiner->link != 0));
}

static uint64_t hash_client(const struct roster_client *client)
{
    uint64_t hash = mark_text(MARK_START, client->name);

    hash = mark_text(hash, client->combiner->name);
    hash = mark_text(hash, client->ip);
    return mark_number(hash, roster_is_present(client));
}

/* Was it told already? If not, it counts as told from now on. */
static bool is_told(struct news *news, struct fed_strmap *told, const char *id, uint64_t hash)
{
    void *mark = mark_of(hash);

    if (fed_strmap_find(told, id) == mark) {
        return true;
    }
    if (fed_strmap_put(told, id, mark, NULL, NULL) < 0) {
        news->n_changes = NEWS_CHANGES_MAX; /* no memory: tell that all must be looked at */
    }
    news->n_changes++;
    return false;
}

static bool is_too_much(const struct news *news)
{
    return news->n_changes > NEWS_CHANGES_MAX;
}

static void look_combiners(struct news *news, const struct roster *roster, bool is_silent)
{
    const struct roster_combiner *combiner;
    size_t cursor = 0;

    while ((combiner = fed_strmap_next(&roster->combiners, &cursor, NULL)) != NULL) {
        if (!is_told(news, &news->combiners, combiner->combiner_id, hash_combiner(combiner)) &&
            !is_silent && !is_too_much(news)) {
            feed_tell(news->feed, "combiner", live_encode_combiner(combiner));
        }
    }
}

static void look_clients(struct news *news, const struct roster *roster, bool is_silent)
{
    const struct roster_client *client;
    size_t cursor = 0;

    while ((client = fed_strmap_next(&roster->clients, &cursor, NULL)) != NULL) {
        if (!is_told(news, &news->clients, client->client_id, hash_client(client)) && !is_silent &&
            !is_too_much(news)) {
            feed_tell(news->feed, "client", live_encode_client(client));
        }
    }
}

static void drop(struct fed_strmap *told)
{
    fed_strmap_deinit(told);
    fed_strmap_init(told);
}

/* Whom the roster has forgotten counts as told no more; what was told of the others is told. */
static void forget_gone(struct news *news, const struct roster *roster)
{
    const unsigned n_changes = news->n_changes;

    if (news->combiners.n_items > roster->combiners.n_items) {
        drop(&news->combiners);
        look_combiners(news, roster, true);
    }
    if (news->clients.n_items > roster->clients.n_items) {
        drop(&news->clients);
        look_clients(news, roster, true);
    }
    news->n_changes = n_changes;
}

/* -- the round ---------------------------------------------------------------------------------
 */

static void drop_asked(struct news *news)
{
    free(news->asked);
    news->asked = NULL;
    news->n_asked = 0;
    news->round_id[0] = '\0';
}

/* Another round than at the last look: nothing of it is told yet. */
static void take_round(struct news *news, const struct round *round)
{
    if (round == NULL) {
        drop_asked(news);
        return;
    }
    if (strcmp(news->round_id, round->round_id) == 0 && news->n_asked == round->n_clients) {
        return;
    }
    drop_asked(news);
    (void)snprintf(news->round_id, sizeof(news->round_id), "%s", round->round_id);
    news->asked = calloc(round->n_clients + 1, sizeof(*news->asked));
    news->n_asked = news->asked == NULL ? 0 : round->n_clients;
}

static void
tell_asked(struct news *news, const struct round *round, size_t index, const struct roster *roster)
{
    json_t *entry = live_encode_asked(round, index, roster);

    if (entry != NULL) {
        (void)json_object_set_new(entry, "round_id", json_string(round->round_id));
    }
    feed_tell(news->feed, "round_client", entry);
}

static void look_round(struct news *news, const struct federation *federation, bool is_silent)
{
    const struct roster *roster = federation_get_roster(federation);
    const struct round *round = live_round(federation);

    take_round(news, round);
    for (size_t i = 0; i < news->n_asked; i++) {
        const struct round_client *client = &round->clients[i];
        const char *phase = live_phase_of(client, roster_find_client(roster, client->client_id));
        struct news_asked *told = &news->asked[i];
        if (told->phase == phase && told->refusal == client->refusal) {
            continue;
        }
        *told = (struct news_asked){phase, client->refusal};
        news->n_changes++;
        if (!is_silent && !is_too_much(news)) {
            tell_asked(news, round, i, roster);
        }
    }
}

/* -- looks -------------------------------------------------------------------------------------
 */

static void look(struct news *news, const struct live_view *view, bool is_silent)
{
    const struct roster *roster = federation_get_roster(view->federation);

    news->n_changes = 0;
    if (!is_silent) {
        feed_tell(news->feed, "live", live_encode_summary(view));
    }
    look_combiners(news, roster, is_silent);
    look_clients(news, roster, is_silent);
    forget_gone(news, roster);
    look_round(news, view->federation, is_silent);
    if (!is_silent && is_too_much(news)) {
        feed_reset(news->feed);
    }
    news->told_ms = view->now_ms;
}

static void forget(struct news *news)
{
    drop(&news->combiners);
    drop(&news->clients);
    drop_asked(news);
}

void news_init(struct news *news, struct feed *feed)
{
    *news = (struct news){.feed = feed};
}

void news_deinit(struct news *news)
{
    forget(news);
}

void news_start(struct news *news, const struct live_view *view)
{
    if (feed_hear(news->feed)) {
        forget(news);
        look(news, view, true);
    }
}

void news_look(struct news *news, const struct live_view *view)
{
    if (feed_is_heard(news->feed)) {
        look(news, view, false);
    } else if (news->clients.n_items > 0) {
        forget(news);
    }
}

/* -- rows --------------------------------------------------------------------------------------
 */

static const struct {
    const char *event; /* NULL: not told */
    const char *keys[4];
} told_rows[STORE_COLLECTION_MAX] = {
    [STORE_SESSIONS] = {"session", {"session_id", "status"}},
    [STORE_ROUNDS] = {"round", {"round_id", "session_id", "round_number", "phase"}},
    [STORE_MODELS] = {"model", {"model_id", "session_id", "parent_model"}},
    [STORE_VALIDATIONS] = {"validation", {"validation_id", "session_id", "model_id"}},
    [STORE_METRICS] = {"metric", {"metric_id", "session_id", "model_id", "round_id"}},
};

/* The row as REST would give it now. */
static json_t *status_row(json_t *document)
{
    json_t *copy = json_copy(document);
    const json_int_t now_ms = (json_int_t)fed_clock_utc_ms();
    json_t *row;

    if (copy == NULL) {
        return NULL;
    }
    (void)json_object_set_new(copy, "committed_at", json_integer(now_ms));
    (void)json_object_set_new(copy, "updated_at", json_integer(now_ms));
    row = rest_json_row(copy);
    json_decref(copy);
    return row;
}

static void tell_removed(const struct news *news, enum store_collection in, const char *key)
{
    if (in == STORE_CLIENTS || in == STORE_COMBINERS) {
        feed_tell(news->feed, in == STORE_CLIENTS ? "client" : "combiner",
                  json_pack("{s:s,s:b}", store_collection_key(in), key, "gone", 1));
    }
}

void news_row(void *arg, enum store_collection in, const char *key, json_t *document)
{
    const struct news *news = arg;
    json_t *row;

    if (!feed_is_heard(news->feed)) {
        return;
    }
    if (document == NULL) {
        tell_removed(news, in, key);
        return;
    }
    if (in == STORE_STATUSES) {
        feed_tell(news->feed, "status", status_row(document));
        return;
    }
    if (told_rows[in].event == NULL) {
        return;
    }
    row = json_pack("{s:s}", "id", key);
    for (size_t i = 0; i < 4 && told_rows[in].keys[i] != NULL; i++) {
        json_t *value = json_object_get(document, told_rows[in].keys[i]);
        if (row != NULL && value != NULL) {
            (void)json_object_set(row, told_rows[in].keys[i], value);
        }
    }
    feed_tell(news->feed, told_rows[in].event, row);
}
