/* The loop of `confed up`. See up.h for its phases.
 *
 * What can fail: a part that ends before it was ever ready because of its settings (exit status 2),
 * or does not get ready in time, ends the whole; later deaths are followed by a restart.
 */
#include "reducer/cli/up.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"
#include "reducer/cli/interrupt.h"
#include "reducer/cli/row.h"
#include "reducer/cli/up_inside.h"

#define DRAIN_MS    12000U /* the daemons' own limit is 10 s */
#define FAILURES_ON 5U     /* deaths in a row before the first readiness that end the start */

static void say(const struct up *up, const char *text)
{
    (void)fprintf(up->term->file, "%s\n", text);
    (void)fflush(up->term->file);
}

static size_t count_running(const struct up *up, enum up_role role)
{
    size_t n = 0;

    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        n += part->role == role && child_is_running(&part->child) ? 1 : 0;
    }
    return n;
}

static bool are_ready(const struct up *up, enum up_role role)
{
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->role == role && part->child.state != CHILD_READY) {
            return false;
        }
    }
    return true;
}

/* -- stopping ---------------------------------------------------------------------------------- */

static void stop_role(struct up *up, enum up_role role, uint64_t now_ms)
{
    up->role = role;
    up->due_ms = now_ms + DRAIN_MS;
    up->was_killed = false;
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->role == role) {
            child_signal(&part->child, SIGTERM);
        }
    }
}

static void begin_stop(struct up *up, int status, uint64_t now_ms)
{
    char line[128];

    if (up->phase >= UP_STOPPING) {
        return;
    }
    (void)snprintf(line, sizeof(line), "stopping: clients %zu, combiners %zu, the reducer",
                   count_running(up, UP_CLIENT), count_running(up, UP_COMBINER));
    say(up, line);
    up->phase = UP_STOPPING;
    up->status = status;
    stop_role(up, UP_SESSION, now_ms);
}

/* The start has failed: *up->failure says why. */
static void give_up(struct up *up, uint64_t now_ms)
{
    begin_stop(up, FED_EXIT_FAILED, now_ms);
}

static void step_stop(struct up *up, uint64_t now_ms)
{
    while (up->phase == UP_STOPPING && count_running(up, up->role) == 0) {
        if (up->role == UP_REDUCER) {
            up->phase = UP_DONE;
        } else {
            stop_role(up, up->role - 1, now_ms);
        }
    }
    if (up->phase == UP_STOPPING && now_ms >= up->due_ms && !up->was_killed) {
        for (size_t i = 0; i < up->n_parts; i++) {
            struct up_part *part = &up->parts[i];
            if (part->role == up->role && child_is_running(&part->child)) {
                char line[CHILD_NAME_SIZE + 64];
                (void)snprintf(line, sizeof(line), "%s did not end within %u s: killed",
                               part->child.name, DRAIN_MS / 1000);
                say(up, line);
                child_signal(&part->child, SIGKILL);
            }
        }
        up->was_killed = true;
        up->due_ms = UINT64_MAX;
    }
}

/* -- starting ---------------------------------------------------------------------------------- */

static void start_part(struct up *up, struct up_part *part, uint64_t now_ms)
{
    struct child_words words = {0};
    int rc;

    up_make_words(up, part, &words);
    rc = child_start(&part->child, &words, now_ms, up->failure);
    child_words_deinit(&words);
    if (rc < 0) {
        give_up(up, now_ms);
    }
}

static void start_role(struct up *up, enum up_role role, uint64_t now_ms)
{
    up->role = role;
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->role == role && up->phase == UP_STARTING) {
            start_part(up, part, now_ms);
        }
    }
}

static void print_addresses(const struct up *up)
{
    FILE *file = up->term->file;

    (void)fprintf(file, "reducer     http://%s  (combiners dial %s)\n", up->http, up->rpc);
    (void)fprintf(file, "dashboard   http://%s/\n", up->http);
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->role == UP_COMBINER) {
            (void)fprintf(file, "%-10s  %s\n", part->child.name, part->address);
        }
    }
    (void)fprintf(file, "clients     %llu, attached\nstate       %s  (logs in %s/logs)\n",
                  (unsigned long long)up->settings->n_clients, up->dir, up->dir);
}

/* The same for scripts. */
static void print_ready(const struct up *up)
{
    json_t *combiners = json_array();
    json_t *json =
        json_pack("{s:s, s:s, s:o, s:I, s:s}", "http", up->http, "rpc", up->rpc, "combiners",
                  combiners, "clients", (json_int_t)up->settings->n_clients, "dir", up->dir);

    for (size_t i = 0; i < up->n_parts; i++) {
        if (up->parts[i].role == UP_COMBINER) {
            (void)json_array_append_new(combiners, json_string(up->parts[i].address));
        }
    }
    (void)json_dumpf(json, up->settings->ready_file, JSON_COMPACT);
    (void)fprintf(up->settings->ready_file, "\n");
    (void)fflush(up->settings->ready_file);
    json_decref(json);
}

static void print_next(const struct up *up)
{
    FILE *file = up->term->file;

    (void)fprintf(file, "\nNext, in another terminal:\n");
    if (strcmp(up->http, "127.0.0.1:8092") != 0) {
        (void)fprintf(file, "  export FED_API_URL=http://%s\n", up->http);
    }
    (void)fprintf(file, "  confed session start --model cnn --rounds 5 --wait\n"
                        "  confed status\n"
                        "Ctrl-C stops everything.\n");
    (void)fflush(file);
}

static void finish_start(struct up *up, uint64_t now_ms)
{
    FILE *file = up->term->file;
    char time[32];

    up->phase = UP_RUNNING;
    up->due_ms = UINT64_MAX;
    print_addresses(up);
    (void)fprintf(file, "ready after %s\n",
                  row_format_ms(now_ms - up->started_ms, time, sizeof(time)));
    (void)fflush(file);
    if (up->settings->ready_file != NULL) {
        print_ready(up);
    }
    if (up->settings->n_rounds == 0) {
        print_next(up);
        return;
    }
    (void)fprintf(file, "\n");
    (void)fflush(file);
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->role == UP_SESSION) {
            start_part(up, part, now_ms);
        }
    }
}

static void step_start(struct up *up, uint64_t now_ms)
{
    while (up->phase == UP_STARTING && are_ready(up, up->role)) {
        if (up->role == UP_CLIENT) {
            finish_start(up, now_ms);
        } else {
            start_role(up, up->role + 1, now_ms);
        }
    }
    if (up->phase == UP_STARTING && now_ms >= up->due_ms) {
        for (size_t i = 0; i < up->n_parts; i++) {
            struct up_part *part = &up->parts[i];
            if (part->role == up->role && part->child.state != CHILD_READY) {
                up_print_tail(up, &part->child);
                (void)!fed_err_set(up->failure, FED_E_CONFLICT, "%s was not ready within %llu s",
                                   part->child.name,
                                   (unsigned long long)up->settings->start_limit_ms / 1000);
                give_up(up, now_ms);
                return;
            }
        }
    }
}

/* -- deaths ------------------------------------------------------------------------------------ */

static void end_session(struct up *up, struct up_part *part, uint64_t now_ms)
{
    const int status =
        WIFEXITED(part->child.status) ? WEXITSTATUS(part->child.status) : FED_EXIT_FAILED;

    part->child.due_ms = UINT64_MAX;
    if (up->settings->is_kept && up->phase == UP_RUNNING) {
        up->status = status;
        print_addresses(up);
        print_next(up);
    } else {
        begin_stop(up, status, now_ms);
    }
}

/* Before it was ever ready: will it get ready when it is started again? Not when it ended by itself
 * and says why (settings, data, a port in use), unless it only could not reach its peer. */
static bool is_hopeless(const struct up_part *part)
{
    const int status = part->child.status;

    return !part->was_ready && (part->child.n_deaths >= FAILURES_ON ||
                                (WIFEXITED(status) && WEXITSTATUS(status) != FED_EXIT_UNREACHABLE));
}

/* A port that was free a moment ago is not: take another, once. */
static bool change_http(struct up *up, const struct up_part *part)
{
    if (part->role != UP_REDUCER || part->was_ready || !up->is_http_ours) {
        return false;
    }
    up->is_http_ours = false;
    (void)snprintf(up->http, sizeof(up->http), "127.0.0.1:0");
    return true;
}

static void say_end(const struct up *up, const struct child *child, const char *status)
{
    const bool is_asked = WIFSIGNALED(child->status) && WTERMSIG(child->status) == SIGTERM;

    if (child->status != 0 && !is_asked && !up->was_killed) {
        (void)fprintf(up->term->file, "%s ended with %s, see %s\n", child->name, status,
                      child->log_path);
        (void)fflush(up->term->file);
    }
}

static void mourn(struct up *up, struct up_part *part, uint64_t now_ms)
{
    struct child *child = &part->child;
    char status[32];

    (void)child_format_status(child, status, sizeof(status));
    if (part->role == UP_SESSION) {
        end_session(up, part, now_ms);
        return;
    }
    if (up->phase >= UP_STOPPING) {
        say_end(up, child, status);
        return;
    }
    if (!change_http(up, part) && is_hopeless(part)) {
        up_print_tail(up, child);
        (void)!fed_err_set(up->failure, FED_E_CONFLICT, "%s ends with %s before it is ready",
                           child->name, status);
        give_up(up, now_ms);
        return;
    }
    (void)fprintf(up->term->file, "%s died (%s); starting it again in %.1f s\n", child->name,
                  status, (double)(child->due_ms - now_ms) / 1000.0);
    (void)fflush(up->term->file);
}

static void reap(struct up *up, uint64_t now_ms)
{
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (child_reap(&part->child, now_ms)) {
            mourn(up, part, now_ms);
        }
    }
}

static void restart(struct up *up, uint64_t now_ms)
{
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (up->phase < UP_STOPPING && part->child.state == CHILD_ENDED &&
            part->child.due_ms <= now_ms) {
            start_part(up, part, now_ms);
        }
    }
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void look_ready(struct up *up, uint64_t now_ms)
{
    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (!child_look(&part->child)) {
            continue;
        }
        part->was_ready = true;
        if (part->role == UP_REDUCER && up->phase == UP_STARTING &&
            up_load_addresses(up, part, up->failure) < 0) {
            give_up(up, now_ms);
        }
    }
}

static void take_signals(struct up *up, uint64_t now_ms)
{
    for (int number = interrupt_take(up->signal_fd); number != 0;
         number = interrupt_take(up->signal_fd)) {
        if (number == SIGCHLD) {
            reap(up, now_ms);
        } else if (up->phase >= UP_STOPPING) {
            up->due_ms = now_ms; /* asked twice: no more patience */
        } else {
            begin_stop(up,
                       up->settings->n_rounds > 0 && !up->settings->is_kept ? FED_EXIT_ROUNDS
                                                                            : up->status,
                       now_ms);
        }
    }
}

static void drop_notes(const struct up *up)
{
    char notes[4096];

    while (read(up->notify_fd, notes, sizeof(notes)) > 0) {
    }
}

static int wait_ms(const struct up *up, uint64_t now_ms)
{
    uint64_t due_ms = up->due_ms;

    for (size_t i = 0; i < up->n_parts; i++) {
        struct up_part *part = &up->parts[i];
        if (part->child.state == CHILD_ENDED && up->phase < UP_STOPPING &&
            part->child.due_ms < due_ms) {
            due_ms = part->child.due_ms;
        }
    }
    if (due_ms == UINT64_MAX) {
        return -1;
    }
    return due_ms <= now_ms ? 0 : (int)(due_ms - now_ms < 60000 ? due_ms - now_ms : 60000);
}

static void run_loop(struct up *up)
{
    while (up->phase != UP_DONE) {
        struct pollfd fds[] = {{.fd = up->signal_fd, .events = POLLIN},
                               {.fd = up->notify_fd, .events = POLLIN}};
        uint64_t now_ms = fed_clock_mono_ms();

        (void)poll(fds, 2, wait_ms(up, now_ms));
        now_ms = fed_clock_mono_ms();
        drop_notes(up);
        take_signals(up, now_ms);
        look_ready(up, now_ms);
        restart(up, now_ms);
        step_start(up, now_ms);
        step_stop(up, now_ms);
    }
}

static int open_watch(struct up *up, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    int rc = fed_path_format(path, err, "%s/run", up->dir);

    if (rc < 0) {
        return rc;
    }
    up->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (up->notify_fd < 0 ||
        inotify_add_watch(up->notify_fd, path, IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        return fed_file_error(err, "watch", path);
    }
    return interrupt_open(true, &up->signal_fd, err);
}

static void begin(struct up *up)
{
    char line[FED_PATH_SIZE + 64];

    (void)snprintf(line, sizeof(line), "confed %s: a federation on this machine, in %s",
                   CONFED_VERSION, up->dir);
    say(up, line);
    if (up->settings->http[0] == '\0') {
        up_choose_http(up);
    } else {
        (void)snprintf(up->http, sizeof(up->http), "%s", up->settings->http);
    }
    (void)snprintf(up->rpc, sizeof(up->rpc), "%s", up->settings->rpc);
    up->started_ms = fed_clock_mono_ms();
    up->due_ms = up->started_ms + up->settings->start_limit_ms;
    start_role(up, UP_REDUCER, up->started_ms);
}

static void close_all(struct up *up)
{
    const int fds[] = {up->signal_fd, up->notify_fd, up->lock_fd};

    up_free_parts(up);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

int up_run(const struct up_settings *settings,
           const char *programs,
           const char *self,
           const struct term *term,
           struct fed_err *err)
{
    struct fed_err failure = {0};
    struct up up = {.settings = settings,
                    .programs = programs,
                    .self = self,
                    .term = term,
                    .lock_fd = -1,
                    .signal_fd = -1,
                    .notify_fd = -1,
                    .failure = &failure};
    int rc = up_open_dir(&up, err);

    rc = rc < 0 ? rc : open_watch(&up, err);
    rc = rc < 0 ? rc : up_make_parts(&up, err);
    if (rc == 0) {
        begin(&up);
        run_loop(&up);
    }
    close_all(&up);
    if (rc == 0 && failure.code != FED_OK) {
        return fed_err_set(err, failure.code, "%s", failure.msg);
    }
    return rc < 0 ? rc : up.status;
}
