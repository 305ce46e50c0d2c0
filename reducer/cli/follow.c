/* Happy path: live (long poll) → rows of rounds that have ended → their validations → draw → live …
 *
 * What can fail: the reducer is away (it is asked again with back-off, for AWAY_MS); Ctrl-C; the
 * live state speaks of another session (then ours has ended, or was never started: its row says).
 */
#include "reducer/cli/follow.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/net/retry.h"
#include "reducer/cli/interrupt.h"
#include "reducer/cli/row.h"

#define AWAY_MS       60000U
#define RETRY_BASE_MS 100U
#define RETRY_MAX_MS  2000U
#define TICK_MS       1000U

struct follower {
    const struct follow *follow;
    struct watch *watch;
    struct api api; /* the follow's, with a tick */
    uint64_t drawn_ms;
    uint64_t seq;
    uint64_t change; /* the watch's, at the last load of rows */
    uint64_t ended_ms;
    uint64_t away_ms; /* since when the reducer does not answer; 0: it does */
    uint32_t attempt;
};

static int load_rows(const struct follower *follower, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *rows = NULL;
    const struct api_query query = {
        .resource = "rounds",
        .filter_key = "session_id",
        .filter_value = follower->watch->session_id,
        .sort_key = "round_number",
        .is_ascending = true,
        .skip = watch_count_ended(follower->watch),
    };
    const int rc = api_list(&follower->api, &query, &rows, err);

    if (rc == 0) {
        watch_rounds(follower->watch, rows);
    }
    return rc;
}

static int load_validations(const struct follower *follower, struct fed_err *err)
{
    const char *wanted = watch_wants_validations(follower->watch);
    int rc = 0;

    while (wanted != NULL && rc == 0) {
        FED_CLEANUP(api_json_free_p) json_t *rows = NULL;
        char model_id[FED_ID_SIZE];
        fed_id_copy(model_id, wanted);
        const struct api_query query = {
            .resource = "validations", .filter_key = "model_id", .filter_value = model_id};
        rc = api_list(&follower->api, &query, &rows, err);
        if (rc == 0) {
            watch_validations(follower->watch, model_id, rows);
        }
        wanted = watch_wants_validations(follower->watch);
    }
    return rc;
}

static int draw(struct follower *follower, struct fed_err *err)
{
    struct fed_buf buf;
    int rc;

    follower->drawn_ms = fed_clock_mono_ms();
    fed_buf_init(&buf, 0);
    rc = watch_draw(follower->watch, follower->follow->term, follower->drawn_ms, &buf, err);
    if (rc == 0 && buf.size > 0) {
        term_write(follower->follow->term, &buf);
    }
    fed_buf_deinit(&buf);
    return rc;
}

/* The seconds of the open round go on while nothing else happens. */
static void tick(void *arg)
{
    struct follower *follower = arg;

    if (follower->follow->term->is_terminal && watch_is_ticking(follower->watch) &&
        follower->away_ms == 0 && fed_clock_mono_ms() - follower->drawn_ms >= TICK_MS) {
        (void)draw(follower, NULL);
    }
}

/* The live state is about another session: ours has ended, or has not begun. */
static int load_session(const struct follower *follower, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *row = NULL;
    struct watch *watch = follower->watch;
    const int rc = api_find(&follower->api, "sessions", "session_id", watch->session_id, &row, err);

    if (rc < 0) {
        return rc;
    }
    watch_session(watch, row);
    watch->change = 1;
    if (strcmp(watch->status, "Created") == 0) {
        return fed_err_set(err, FED_E_CONFLICT, "session %.40s has not been started",
                           watch->session_id);
    }
    return 0;
}

static int take_live(struct follower *follower, uint64_t wait_ms, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *live = NULL;
    struct watch *watch = follower->watch;
    int rc = api_live(&follower->api, follower->seq, wait_ms, &live, err);

    if (rc < 0) {
        return rc;
    }
    follower->seq = row_u64(live, "seq");
    if (!watch_live(watch, live, fed_clock_mono_ms())) {
        rc = load_session(follower, err);
    }
    if (rc == 0 && watch->change != follower->change) {
        rc = load_rows(follower, err);
        follower->change = rc == 0 ? watch->change : follower->change;
    }
    return rc < 0 ? rc : load_validations(follower, err);
}

/* The reducer does not answer: wait a little and say so once. Returns 0 to try again. */
static int
bear_absence(struct follower *follower, uint64_t now_ms, int failure, struct fed_err *err)
{
    const struct follow *follow = follower->follow;
    const uint64_t delay_ms =
        fed_retry_delay_ms(follower->attempt++, RETRY_BASE_MS, RETRY_MAX_MS, now_ms);

    if (follower->seq == 0 && follower->away_ms == 0) {
        return failure; /* it never answered */
    }
    if (follower->away_ms == 0) {
        follower->away_ms = now_ms;
        follower->watch->n_lines = 0;
        (void)fprintf(follow->term->file,
                      "the reducer does not answer; waiting for it, %u s at "
                      "most\n",
                      AWAY_MS / 1000);
        (void)fflush(follow->term->file);
    }
    if (now_ms - follower->away_ms > AWAY_MS) {
        return failure;
    }
    follower->seq = 0; /* a new process counts anew */
    follower->change = 0;
    if (follow->api->cancel_fd > 0 && interrupt_wait(follow->api->cancel_fd, delay_ms)) {
        return fed_err_set(err, FED_E_CANCELLED, "cancelled");
    }
    return 0;
}

/* True when there is nothing more to wait for; else how long at most. */
static bool is_over(struct follower *follower, uint64_t now_ms, uint64_t *ret_wait_ms)
{
    struct watch *watch = follower->watch;
    uint64_t due_ms;

    *ret_wait_ms = API_WAIT_MS;
    if (!watch_is_ended(watch)) {
        return false;
    }
    follower->ended_ms = follower->ended_ms == 0 ? now_ms : follower->ended_ms;
    due_ms = follower->ended_ms + follower->follow->validation_ms;
    if (watch_is_validated(watch) || now_ms >= due_ms ||
        strcmp(watch->validation.model_id, watch->model_id) != 0) {
        return true;
    }
    *ret_wait_ms = due_ms - now_ms < API_WAIT_MS ? due_ms - now_ms : API_WAIT_MS;
    return false;
}

int follow_session(const struct follow *follow, struct watch *watch, struct fed_err *err)
{
    struct follower follower = {.follow = follow, .watch = watch, .api = *follow->api};
    uint64_t wait_ms = 0;
    int rc = 0;

    follower.api.tick = tick;
    follower.api.arg = &follower;
    while (rc == 0) {
        rc = take_live(&follower, wait_ms, err);
        if (rc == 0) {
            follower.away_ms = 0;
            follower.attempt = 0;
            rc = draw(&follower, err);
            if (rc == 0 && is_over(&follower, fed_clock_mono_ms(), &wait_ms)) {
                break;
            }
        } else if (rc == -FED_E_UNAVAILABLE || rc == -FED_E_TIMEOUT) {
            rc = bear_absence(&follower, fed_clock_mono_ms(), rc, err);
            wait_ms = 0;
        }
    }
    if (rc == 0) {
        watch_settle(watch);
        rc = draw(&follower, err);
    }
    return rc;
}

static uint64_t count_online(const json_t *live)
{
    json_t *row = NULL;
    uint64_t n = 0;
    size_t i = 0;

    json_array_foreach(row_find(live, "clients"), i, row)
    {
        n += strcmp(row_text(row, "status"), "online") == 0 ? 1 : 0;
    }
    return n;
}

int follow_clients(const struct api *api, uint64_t n, uint64_t wait_ms, struct fed_err *err)
{
    const uint64_t due_ms = fed_clock_mono_ms() + wait_ms;
    uint64_t n_online = 0;
    uint64_t seq = 0;

    for (;;) {
        FED_CLEANUP(api_json_free_p) json_t *live = NULL;
        const uint64_t now_ms = fed_clock_mono_ms();
        const uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        const int rc = api_live(api, seq,
                                seq == 0                ? 0
                                : left_ms < API_WAIT_MS ? left_ms
                                                        : API_WAIT_MS,
                                &live, err);
        if (rc < 0) {
            return rc;
        }
        seq = row_u64(live, "seq");
        n_online = count_online(live);
        if (n_online >= n) {
            return 0;
        }
        if (left_ms == 0) {
            return fed_err_set(err, FED_E_CONFLICT,
                               "%llu of %llu clients are attached after %llu s",
                               (unsigned long long)n_online, (unsigned long long)n,
                               (unsigned long long)wait_ms / 1000);
        }
    }
}
