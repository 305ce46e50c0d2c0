/* What the REST server asks of the reducer's loop, and what it may use by itself.
 *
 * Reading goes straight to the store and the blobs, from REST's own threads. Whatever concerns the
 * live federation (who is attached, the open round) is asked of the loop: an ask is handed over and
 * comes back by its callback; meanwhile the connection is suspended, no thread waits.
 */
#ifndef REDUCER_REST_HOST_H
#define REDUCER_REST_HOST_H

#include <stdint.h>

#include <jansson.h>

#include "common/base/list.h"
#include "common/sync/loop.h"

struct store;
struct blob_store;
struct feed;
struct counters;

/* Input and output are JSON objects; a refusal has http_status 4xx or 5xx and {"message": …}. */
enum host_verb {
    /* in: client_id, name, package, ip, preferred (text or null). out: as FEDn answers clients/add
     * (200 {"status":"assigned","host","port","fqdn","ip","package","helper_type","client_id"}), or
     * 203 {"message","status":"retry","success":false} when no combiner is live. */
    HOST_ASSIGN,
    /* in: session_id, and where given rounds, round_timeout, model_name_prefix, client_ids (array).
     * out: 200 {"message":"Session started"}, once the session's row says Started; 400 with FEDn's
     * texts. */
    HOST_SESSION_START,
    /* in: session_id, now (bool). out: 200 {"message"} when the stop is journaled. */
    HOST_SESSION_STOP,
    /* in: after (integer, optional), wait_ms (at most 30000, optional). Answers when the live
     * state's seq is above `after`, or wait_ms is over. out: the live state:
     * {"seq":12, "state":"idle|instructing|monitoring", "version":…, "uptime_ms":…,
     *  "waits_for":"one line for people: what the open round or the daemon waits for, how long
     * still", "session":{"session_id","name","status","rounds_total","rounds_done","failed_rounds",
     *             "stopping":bool, "model_id"}|null,   (the running one, or the last one that ran)
     *  "round":{"round_id","round_number","phase":"planning|open|closing|committing",
     *           "time_left_ms", "clients_asked", "clients":[{"client_id","name","combiner",
     *           "phase":"asked|admitted|refused|silent|gone","reason"|absent}]}|null,
     *  "validation":{"model_id","round_id","asked","received"}|null,
     *  "combiners":[{"combiner_id","name","address","status":"online|offline","clients":n,
     *                "clients_max":n, "version"}],
     *  "clients":[{"client_id","name","combiner","ip","status":"online|offline|available"}],
     *  "trouble":["one line each"]} */
    HOST_LIVE,
    /* in: client_id or combiner_id, whose row is about to be deleted. out: {}; 409 where it is
     * attached. */
    HOST_FORGET,
    /* Somebody is about to listen: from the answer on, every change goes to the feed. out: {}. */
    HOST_LISTEN,
    /* in: keep (integer), keep_best (text, optional), dry_run (bool). out: pruning_run()'s report
     * (reducer/pruning.h); 409 while a session is being started. */
    HOST_PRUNE,
    /* out: {"version", "checks":[finding]} (reducer/checkup.h). */
    HOST_DOCTOR,
    /* out: {"models":n, "models_bytes", "metadata_bytes":n|null, "reserve_bytes",
     *  "places":[{"what","path","free_bytes","total_bytes"}]}; what is pruned does not count. */
    HOST_DISK,
};

struct host_ask {
    enum host_verb verb;
    json_t *input; /* owned by the asker until done */
    /* filled in by the loop before done: */
    int http_status;
    json_t *output; /* owned by the asker from done on */
    /* Called once, on the loop thread or within submit(); must not block. */
    void (*done)(struct host_ask *ask);
    /* the host's own: */
    struct fed_event event;
    struct fed_link link;
    uint64_t due_ms;
    void *host;
};

struct host {
    struct store *store;       /* borrowed */
    struct blob_store *blobs;  /* borrowed */
    struct counters *counters; /* borrowed (reducer/rest/counters.h) */
    struct feed *feed;         /* borrowed (reducer/rest/feed.h); NULL: there are no events */
    /* Hand an ask over; any thread. It is answered in every case, at the latest when the reducer
     * ends (503), and at once while it waits for its store (503, what it waits for). */
    void (*submit)(struct host *host, struct host_ask *ask);
};

#endif /* REDUCER_REST_HOST_H */
