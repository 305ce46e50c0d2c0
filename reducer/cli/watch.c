#include "reducer/cli/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/cli/row.h"
#include "reducer/cli/table.h"

#define BAR_MAX   20
#define BAR_MIN   6
#define LINE_REST 84 /* characters of a line beside its bar */
#define LINE_SIZE 512

void watch_init(struct watch *watch, const char *session_id)
{
    *watch = (struct watch){.is_validating = true};
    fed_id_copy(watch->session_id, session_id);
}

void watch_deinit(struct watch *watch)
{
    free(watch->rounds);
    *watch = (struct watch){0};
}

static struct watch_round *find_round(struct watch *watch, uint64_t number)
{
    for (size_t i = watch->n_rounds; i > 0; i--) {
        if (watch->rounds[i - 1].number == number) {
            return &watch->rounds[i - 1];
        }
    }
    return NULL;
}

/* Find, or insert in order. NULL when memory is short. */
static struct watch_round *make_round(struct watch *watch, uint64_t number)
{
    struct watch_round *round = find_round(watch, number);
    struct watch_round *rounds;
    size_t at = watch->n_rounds;

    if (round != NULL) {
        return round;
    }
    rounds = realloc(watch->rounds, (watch->n_rounds + 1) * sizeof(*rounds));
    if (rounds == NULL) {
        return NULL;
    }
    watch->rounds = rounds;
    while (at > 0 && rounds[at - 1].number > number) {
        at--;
    }
    memmove(&rounds[at + 1], &rounds[at], (watch->n_rounds - at) * sizeof(*rounds));
    rounds[at] = (struct watch_round){.number = number};
    watch->n_rounds++;
    return &rounds[at];
}

static uint64_t count_phase(const json_t *clients, const char *phase)
{
    json_t *client = NULL;
    uint64_t n = 0;
    size_t i = 0;

    json_array_foreach(clients, i, client)
    {
        n += strcmp(row_text(client, "phase"), phase) == 0 ? 1 : 0;
    }
    return n;
}

void watch_session(struct watch *watch, const json_t *row)
{
    const json_t *validate = row_find(row, "session_config.validate");

    watch->is_validating = validate == NULL || json_is_true(validate);
    watch->round_timeout_ms =
        (uint64_t)(1000 * json_number_value(row_find(row, "session_config.round_timeout")));
    (void)snprintf(watch->status, sizeof(watch->status), "%s", row_text(row, "status"));
    watch->failed_rounds = row_u64(row, "failed_rounds");
    if (row_text(row, "model_id")[0] != '\0') {
        fed_id_copy(watch->model_id, row_text(row, "model_id"));
    }
}

static void take_open_round(struct watch *watch, const json_t *row, uint64_t now_ms)
{
    const uint64_t left_ms = row_u64(row, "time_left_ms");
    const uint64_t timeout_ms = watch->round_timeout_ms;
    const uint64_t elapsed_ms = timeout_ms > left_ms ? timeout_ms - left_ms : 0;
    const json_t *clients = row_find(row, "clients");
    struct watch_round *round = make_round(watch, row_u64(row, "round_number"));

    if (round == NULL || round->phase != WATCH_OPEN) {
        return;
    }
    if (round->opened_ms == 0 && left_ms > 0) { /* none while it is being planned */
        round->opened_ms = now_ms > elapsed_ms ? now_ms - elapsed_ms : now_ms;
    }
    fed_id_copy(round->round_id, row_text(row, "round_id"));
    round->n_asked = json_array_size(clients);
    round->n_training = count_phase(clients, "asked");
    round->n_uploaded = count_phase(clients, "admitted");
    round->n_refused = count_phase(clients, "refused");
    round->n_away = count_phase(clients, "silent") + count_phase(clients, "gone");
}

static bool is_superseded(const struct watch *watch, const struct watch_round *round)
{
    const struct watch_round *last = watch_last(watch);

    return last != NULL && last->number > round->number;
}

/* Bring the rounds up to date with the live state's validation, and settle those that can be. */
static void settle_rounds(struct watch *watch)
{
    for (size_t i = 0; i < watch->n_rounds; i++) {
        struct watch_round *round = &watch->rounds[i];
        if (round->phase == WATCH_OPEN || round->is_settled) {
            continue;
        }
        if (round->model_id[0] != '\0' &&
            strcmp(round->model_id, watch->validation.model_id) == 0) {
            round->is_to_validate = true;
            round->n_to_validate = watch->validation.n_asked;
            round->n_reported = watch->validation.n_received;
        }
        round->is_settled = round->phase != WATCH_COMMITTED || !watch->is_validating ||
                            (round->is_to_validate && round->n_validated >= round->n_to_validate);
    }
}

bool watch_live(struct watch *watch, const json_t *live, uint64_t now_ms)
{
    const json_t *session = row_find(live, "session");
    const json_t *round = row_find(live, "round");

    if (strcmp(row_text(session, "session_id"), watch->session_id) != 0) {
        return false;
    }
    (void)snprintf(watch->status, sizeof(watch->status), "%s", row_text(session, "status"));
    watch->rounds_total = row_u64(session, "rounds_total");
    watch->failed_rounds = row_u64(session, "failed_rounds");
    if (row_text(session, "model_id")[0] != '\0') {
        fed_id_copy(watch->model_id, row_text(session, "model_id"));
    }
    watch->change = row_u64(session, "rounds_done") * 4 + (watch_is_ended(watch) ? 1 : 0) + 1;
    if (json_is_object(round) && row_u64(round, "round_number") > 0) {
        take_open_round(watch, round, now_ms);
    }
    fed_id_copy(watch->validation.model_id, row_text(live, "validation.model_id"));
    watch->validation.n_asked = row_u64(live, "validation.asked");
    watch->validation.n_received = row_u64(live, "validation.received");
    settle_rounds(watch);
    return true;
}

static enum watch_phase phase_of(const json_t *row)
{
    const char *phase = row_text(row, "phase");

    if (strcmp(phase, "committed") == 0) {
        return WATCH_COMMITTED;
    }
    if (strcmp(phase, "failed") == 0) {
        return WATCH_FAILED;
    }
    return strcmp(phase, "cancelled") == 0 ? WATCH_CANCELLED : WATCH_OPEN;
}

static void take_row(struct watch *watch, const json_t *row)
{
    const enum watch_phase phase = phase_of(row);
    struct watch_round *round = phase == WATCH_OPEN || row_u64(row, "round_number") == 0
                                    ? NULL
                                    : make_round(watch, row_u64(row, "round_number"));
    char text[ROW_TEXT_SIZE];

    if (round == NULL) {
        return;
    }
    round->phase = phase;
    fed_id_copy(round->round_id, row_text(row, "round_id"));
    fed_id_copy(round->model_id, row_text(row, "model_id"));
    (void)snprintf(round->failure, sizeof(round->failure), "%.*s", WATCH_TEXT_SIZE - 1,
                   row_format(row, "failure", text));
    round->n_asked = json_array_size(row_find(row, "clients"));
    round->n_training = 0;
    round->n_uploaded = json_array_size(row_find(row, "entries"));
    round->n_refused = json_array_size(row_find(row, "refused"));
    round->n_away = 0;
    round->planned_utc_ms = row_u64(row, "planned_utc_ms");
    round->total_ms = row_u64(row, "timings.total_ms");
}

void watch_rounds(struct watch *watch, const json_t *rows)
{
    json_t *row = NULL;
    size_t i = 0;

    json_array_foreach(rows, i, row)
    {
        take_row(watch, row);
    }
    settle_rounds(watch);
}

void watch_validations(struct watch *watch, const char *model_id, const json_t *rows)
{
    json_t *row = NULL;
    double loss = 0;
    double accuracy = 0;
    uint64_t n_loss = 0;
    uint64_t n_accuracy = 0;
    size_t i = 0;

    json_array_foreach(rows, i, row)
    {
        double value = 0;
        if (row_metric(row, "loss", &value)) {
            loss += value;
            n_loss++;
        }
        if (row_metric(row, "accuracy", &value)) {
            accuracy += value;
            n_accuracy++;
        }
    }
    for (i = 0; i < watch->n_rounds; i++) {
        struct watch_round *round = &watch->rounds[i];
        if (strcmp(round->model_id, model_id) == 0) {
            round->n_validated = json_array_size(rows);
            round->n_reported = round->n_validated;
            round->has_loss = n_loss > 0;
            round->loss = n_loss > 0 ? loss / (double)n_loss : 0;
            round->has_accuracy = n_accuracy > 0;
            round->accuracy = n_accuracy > 0 ? accuracy / (double)n_accuracy : 0;
            /* the live state speaks of the newest model only */
            round->is_settled = round->is_settled || is_superseded(watch, round);
        }
    }
    settle_rounds(watch);
}

uint64_t watch_elapsed_ms(const struct watch *watch)
{
    const struct watch_round *first = watch->n_rounds > 0 ? &watch->rounds[0] : NULL;
    const struct watch_round *last = watch->n_rounds > 0 ? first + watch->n_rounds - 1 : NULL;

    if (first == NULL || first->planned_utc_ms == 0 ||
        last->planned_utc_ms < first->planned_utc_ms) {
        return 0;
    }
    return last->planned_utc_ms + last->total_ms - first->planned_utc_ms;
}

const char *watch_wants_validations(const struct watch *watch)
{
    for (size_t i = 0; i < watch->n_rounds; i++) {
        const struct watch_round *round = &watch->rounds[i];
        if (round->phase == WATCH_COMMITTED && watch->is_validating && !round->is_settled &&
            (round->n_reported > round->n_validated || is_superseded(watch, round))) {
            return round->model_id;
        }
    }
    return NULL;
}

size_t watch_count_ended(const struct watch *watch)
{
    size_t n = 0;

    while (n < watch->n_rounds && watch->rounds[n].phase != WATCH_OPEN) {
        n++;
    }
    return n;
}

bool watch_is_validated(const struct watch *watch)
{
    const struct watch_round *last = watch_last(watch);

    return last == NULL || last->is_settled;
}

void watch_settle(struct watch *watch)
{
    for (size_t i = 0; i < watch->n_rounds; i++) {
        watch->rounds[i].is_settled = true;
    }
}

bool watch_is_ended(const struct watch *watch)
{
    return strcmp(watch->status, "Finished") == 0 || strcmp(watch->status, "Terminated") == 0;
}

const struct watch_round *watch_last(const struct watch *watch)
{
    for (size_t i = watch->n_rounds; i > 0; i--) {
        if (watch->rounds[i - 1].phase == WATCH_COMMITTED) {
            return &watch->rounds[i - 1];
        }
    }
    return NULL;
}

bool watch_is_ticking(const struct watch *watch)
{
    return watch->n_rounds > 0 && watch->rounds[watch->n_rounds - 1].phase == WATCH_OPEN;
}

/* -- drawing ----------------------------------------------------------------------------------- */

static size_t cells_of(uint64_t n, uint64_t total, size_t width)
{
    return total == 0 || n >= total ? (total == 0 ? 0 : width) : (size_t)(n * width / total);
}

static void
draw_bar(const struct watch_round *round, const struct term *term, size_t width, char *text)
{
    static const char *const plain[] = {"#", "=", "-", "."};
    static const char *const blocks[] = {"\u2588", "\u2593", "\u2592", "\u2591"};
    const char *const *cells = term->is_terminal && term->has_utf8 ? blocks : plain;
    const size_t validated = cells_of(round->n_validated, round->n_to_validate, width);
    const size_t uploaded = cells_of(round->n_uploaded, round->n_asked, width);
    const size_t training = cells_of(round->n_uploaded + round->n_training, round->n_asked, width);

    text[0] = '\0';
    for (size_t i = 0; i < width; i++) {
        const size_t kind = i < validated ? 0 : i < uploaded ? 1 : i < training ? 2 : 3;
        (void)snprintf(text + strlen(text), LINE_SIZE - strlen(text), "%s", cells[kind]);
    }
}

/* What is not as it should be: "  1 refused  2 away". */
static void draw_trouble(const struct watch_round *round, char *text, size_t size)
{
    char refused[48] = "";
    char away[48] = "";

    if (round->n_refused > 0) {
        (void)snprintf(refused, sizeof(refused), "  %llu refused",
                       (unsigned long long)round->n_refused);
    }
    if (round->n_away > 0) {
        (void)snprintf(away, sizeof(away), "  %llu away", (unsigned long long)round->n_away);
    }
    (void)snprintf(text, size, "%s%s", refused, away);
}

static void draw_figures(const struct watch_round *round, uint64_t now_ms, char *text, size_t size)
{
    char loss[32] = "-";
    char accuracy[32] = "-";
    char time[32] = "-";
    char trouble[128];

    draw_trouble(round, trouble, sizeof(trouble));
    if (round->has_loss) {
        (void)snprintf(loss, sizeof(loss), "%.4f", round->loss);
    }
    if (round->has_accuracy) {
        (void)snprintf(accuracy, sizeof(accuracy), "%.2f %%", 100.0 * round->accuracy);
    }
    if (round->phase == WATCH_OPEN && round->opened_ms > 0 && now_ms >= round->opened_ms) {
        (void)snprintf(time, sizeof(time), "%llu s",
                       (unsigned long long)(now_ms - round->opened_ms) / 1000);
    } else if (round->phase != WATCH_OPEN) {
        (void)snprintf(time, sizeof(time), "%.1f s", (double)round->total_ms / 1000.0);
    }
    (void)snprintf(text, size,
                   "%llu training  %llu uploaded  %llu validated  loss %-6s  accuracy %-7s  %s%s",
                   (unsigned long long)round->n_training, (unsigned long long)round->n_uploaded,
                   (unsigned long long)round->n_validated, loss, accuracy, time, trouble);
}

static int draw_round(const struct watch *watch,
                      const struct watch_round *round,
                      const struct term *term,
                      uint64_t now_ms,
                      struct fed_buf *buf,
                      struct fed_err *err)
{
    size_t width = BAR_MAX;
    char bar[LINE_SIZE];
    char figures[LINE_SIZE / 2];
    char line[2 * LINE_SIZE];

    if (term->columns > 0) {
        width = term->columns > LINE_REST + BAR_MIN ? term->columns - LINE_REST : BAR_MIN;
        width = width > BAR_MAX ? BAR_MAX : width;
    }
    draw_bar(round, term, width, bar);
    if (round->phase == WATCH_FAILED) {
        (void)snprintf(figures, sizeof(figures), "failed: %s", round->failure);
    } else if (round->phase == WATCH_CANCELLED) {
        (void)snprintf(figures, sizeof(figures), "cancelled");
    } else {
        draw_figures(round, now_ms, figures, sizeof(figures));
    }
    (void)snprintf(line, sizeof(line), "round %llu/%llu  [%s]  %s",
                   (unsigned long long)round->number,
                   (unsigned long long)(watch->rounds_total > round->number ? watch->rounds_total
                                                                            : round->number),
                   bar, figures);
    if (term->columns > 0) { /* a line that wraps could not be drawn over */
        line[table_prefix(line, term->columns - 1)] = '\0';
    }
    return fed_buf_addf(buf, err, "%s\n", line);
}

int watch_draw(struct watch *watch,
               const struct term *term,
               uint64_t now_ms,
               struct fed_buf *buf,
               struct fed_err *err)
{
    bool is_blocked = false;
    int rc = 0;

    if (watch->n_lines > 0) {
        rc = fed_buf_addf(buf, err, "\033[%zuA\033[J", watch->n_lines);
        watch->n_lines = 0;
    }
    for (size_t i = 0; i < watch->n_rounds && rc == 0; i++) {
        struct watch_round *round = &watch->rounds[i];
        if (round->is_drawn) {
            continue;
        }
        is_blocked = is_blocked || !round->is_settled;
        if (!is_blocked) {
            round->is_drawn = true;
            rc = draw_round(watch, round, term, now_ms, buf, err);
        } else if (term->is_terminal) {
            watch->n_lines++;
            rc = draw_round(watch, round, term, now_ms, buf, err);
        }
    }
    return rc;
}
