#include "reducer/cli/summary.h"

#include <stdio.h>
#include <string.h>

#include "reducer/cli/row.h"
#include "reducer/cli/table.h"

#define COUNT(array)   (sizeof(array) / sizeof((array)[0]))
#define FIGURE_SIZE    32
#define SHORT_ID       8
#define FAILURE_WIDTH  60
#define COMMAND_INDENT "  "

static const char *phase_name(enum watch_phase phase)
{
    static const char *const names[] = {"open", "committed", "failed", "cancelled"};

    return names[phase];
}

static void format_u64(uint64_t value, char text[FIGURE_SIZE])
{
    (void)snprintf(text, FIGURE_SIZE, "%llu", (unsigned long long)value);
}

static void format_loss(bool has_it, double value, char text[FIGURE_SIZE])
{
    (void)snprintf(text, FIGURE_SIZE, has_it ? "%.4f" : "-", value);
}

static void format_accuracy(bool has_it, double value, char text[FIGURE_SIZE])
{
    (void)snprintf(text, FIGURE_SIZE, has_it ? "%.2f %%" : "-", 100.0 * value);
}

static int print_table(const struct term *term, const struct table *table, struct fed_err *err)
{
    struct fed_buf buf;
    int rc;

    fed_buf_init(&buf, 0);
    rc = table_format(table, term->has_colour, "no round has run", &buf, err);
    if (rc == 0) {
        term_write(term, &buf);
    }
    fed_buf_deinit(&buf);
    return rc;
}

static int add_round(struct table *table, const struct watch_round *round, struct fed_err *err)
{
    char number[FIGURE_SIZE];
    char asked[FIGURE_SIZE];
    char uploaded[FIGURE_SIZE];
    char refused[FIGURE_SIZE];
    char validated[FIGURE_SIZE];
    char loss[FIGURE_SIZE];
    char accuracy[FIGURE_SIZE];
    char time[FIGURE_SIZE];
    char model[FED_ID_SIZE];
    const char *cells[] = {
        number, phase_name(round->phase), asked, uploaded, refused, validated, loss, accuracy, time,
        model};

    format_u64(round->number, number);
    format_u64(round->n_asked, asked);
    format_u64(round->n_uploaded, uploaded);
    format_u64(round->n_refused, refused);
    format_u64(round->n_validated, validated);
    format_loss(round->has_loss, round->loss, loss);
    format_accuracy(round->has_accuracy, round->accuracy, accuracy);
    (void)row_format_ms(round->total_ms, time, sizeof(time));
    fed_id_copy(model, round->model_id);
    model[strlen(model) > SHORT_ID ? SHORT_ID : strlen(model)] = '\0';
    if (round->failure[0] != '\0') {
        cells[COUNT(cells) - 1] = round->failure;
    }
    return table_add(table, cells, err);
}

int summary_print_rounds(const struct term *term, const struct watch *watch, struct fed_err *err)
{
    static const struct table_column columns[] = {
        {"ROUND", true, false, 0},   {"STATUS", false, true, 0},
        {"ASKED", true, false, 0},   {"UPLOADED", true, false, 0},
        {"REFUSED", true, false, 0}, {"VALIDATED", true, false, 0},
        {"LOSS", true, false, 0},    {"ACCURACY", true, false, 0},
        {"TIME", true, false, 0},    {"MODEL", false, false, FAILURE_WIDTH},
    };
    struct table table;
    int rc = 0;

    table_init(&table, columns, COUNT(columns));
    for (size_t i = 0; i < watch->n_rounds && rc == 0; i++) {
        rc = add_round(&table, &watch->rounds[i], err);
    }
    rc = rc < 0 ? rc : print_table(term, &table, err);
    table_deinit(&table);
    return rc;
}

static int print_validations(const struct cmd_call *call, const char *model_id, struct fed_err *err)
{
    static const struct table_column columns[] = {
        {"CLIENT", false, false, 40}, {"LOSS", true, false, 0}, {"ACCURACY", true, false, 0}};
    FED_CLEANUP(api_json_free_p) json_t *rows = NULL;
    const struct api_query query = {.resource = "validations",
                                    .filter_key = "model_id",
                                    .filter_value = model_id,
                                    .is_ascending = true};
    struct table table;
    json_t *row = NULL;
    size_t i = 0;
    int rc = api_list(&call->api, &query, &rows, err);

    if (rc < 0 || json_array_size(rows) == 0) {
        return rc;
    }
    table_init(&table, columns, COUNT(columns));
    json_array_foreach(rows, i, row)
    {
        char loss[FIGURE_SIZE];
        char accuracy[FIGURE_SIZE];
        double value = 0;
        const char *name = row_text(row, "sender.name");
        const char *cells[] = {name[0] == '\0' ? row_text(row, "sender.client_id") : name, loss,
                               accuracy};
        const bool has_loss = row_metric(row, "loss", &value);
        format_loss(has_loss, value, loss);
        const bool has_accuracy = row_metric(row, "accuracy", &value);
        format_accuracy(has_accuracy, value, accuracy);
        rc = rc < 0 ? rc : table_add(&table, cells, err);
    }
    (void)fprintf(call->out.file, "\nThe last model, as each client validated it\n");
    rc = rc < 0 ? rc : print_table(&call->out, &table, err);
    table_deinit(&table);
    return rc;
}

static size_t count_online(const json_t *rows)
{
    json_t *row = NULL;
    size_t n = 0;
    size_t i = 0;

    json_array_foreach(rows, i, row)
    {
        n += strcmp(row_text(row, "status"), "online") == 0 ? 1 : 0;
    }
    return n;
}

static uint64_t count_committed(const struct watch *watch)
{
    uint64_t n = 0;

    for (size_t i = 0; i < watch->n_rounds; i++) {
        n += watch->rounds[i].phase == WATCH_COMMITTED ? 1 : 0;
    }
    return n;
}

static json_t *real_or_null(bool has_it, double value)
{
    return has_it ? json_real(value) : json_null();
}

static int print_object(const struct cmd_call *call,
                        const struct watch *watch,
                        const char *sha256,
                        uint64_t elapsed_ms,
                        struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *live = NULL;
    FED_CLEANUP(api_json_free_p) json_t *json = NULL;
    const struct watch_round *last = watch_last(watch);
    const int rc = api_live(&call->api, 0, 0, &live, err);

    if (rc < 0) {
        return rc;
    }
    json = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:f, s:s, s:s}", "session_id", watch->session_id,
        "status", watch->status, "rounds", (json_int_t)count_committed(watch), "failed_rounds",
        (json_int_t)watch->failed_rounds, "clients",
        (json_int_t)count_online(row_find(live, "clients")), "combiners",
        (json_int_t)count_online(row_find(live, "combiners")), "accuracy",
        real_or_null(last != NULL && last->has_accuracy, last == NULL ? 0 : last->accuracy), "loss",
        real_or_null(last != NULL && last->has_loss, last == NULL ? 0 : last->loss), "seconds",
        (double)elapsed_ms / 1000.0, "model_id", watch->model_id, "model_sha256", sha256);
    return cmd_print_json(call, json, err);
}

int summary_status(const struct watch *watch)
{
    return watch->failed_rounds > 0 || strcmp(watch->status, "Terminated") == 0 ? FED_EXIT_ROUNDS
                                                                                : FED_EXIT_OK;
}

static int print_text(const struct cmd_call *call,
                      const struct watch *watch,
                      const char *sha256,
                      uint64_t elapsed_ms,
                      struct fed_err *err)
{
    const struct watch_round *last = watch_last(watch);
    FILE *file = call->out.file;
    char time[FIGURE_SIZE];
    int rc;

    (void)fprintf(file, "\nsession %s: %s after %s, %llu rounds committed, %llu failed\n\n",
                  watch->session_id, watch->status, row_format_ms(elapsed_ms, time, sizeof(time)),
                  (unsigned long long)count_committed(watch),
                  (unsigned long long)watch->failed_rounds);
    rc = summary_print_rounds(&call->out, watch, err);
    if (rc == 0 && last != NULL && watch->is_validating) {
        rc = print_validations(call, last->model_id, err);
    }
    (void)fprintf(file,
                  "\nmodel   %s\nsha256  %s\nget it  confed model download %.*s (NumPy and PyTorch "
                  "open it)\n",
                  watch->model_id, sha256, SHORT_ID, watch->model_id);
    (void)fflush(file);
    return rc;
}

int summary_print(const struct cmd_call *call,
                  const struct watch *watch,
                  uint64_t elapsed_ms,
                  struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *model = NULL;
    int rc = api_find(&call->api, "models", "model_id", watch->model_id, &model, err);

    if (rc == 0 && call->is_json) {
        rc = print_object(call, watch, row_text(model, "sha256"), elapsed_ms, err);
    } else if (rc == 0) {
        rc = print_text(call, watch, row_text(model, "sha256"), elapsed_ms, err);
    }
    return rc < 0 ? rc : summary_status(watch);
}
