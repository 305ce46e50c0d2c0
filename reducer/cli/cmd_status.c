/* `confed status`: what goes on, and what is waited for. */
#include <stdio.h>
#include <string.h>

#include "reducer/cli/cmd.h"
#include "reducer/cli/row.h"
#include "reducer/cli/table.h"

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

static size_t count_phase(const json_t *clients, const char *phase)
{
    json_t *row = NULL;
    size_t n = 0;
    size_t i = 0;

    json_array_foreach(clients, i, row)
    {
        n += strcmp(row_text(row, "phase"), phase) == 0 ? 1 : 0;
    }
    return n;
}

static void print_session(FILE *file, const json_t *session)
{
    char id[ROW_TEXT_SIZE];
    char name[ROW_TEXT_SIZE];
    char status[ROW_TEXT_SIZE];

    if (!json_is_object(session)) {
        (void)fprintf(file, "session    none has run yet\n");
        return;
    }
    (void)row_format(session, "session_id", id);
    (void)row_format(session, "name", name);
    (void)row_format(session, "status", status);
    (void)fprintf(file, "session    %s%s%s  %s%s  %llu of %llu rounds done, %llu failed\n", id,
                  name[0] == '\0' ? "" : "  ", name, status,
                  row_is(session, "stopping") && strcmp(status, "Started") == 0 ? ", stopping" : "",
                  (unsigned long long)row_u64(session, "rounds_done"),
                  (unsigned long long)row_u64(session, "rounds_total"),
                  (unsigned long long)row_u64(session, "failed_rounds"));
}

static void print_round(FILE *file, const json_t *round)
{
    const json_t *clients = row_find(round, "clients");
    char phase[ROW_TEXT_SIZE];

    if (!json_is_object(round)) {
        return;
    }
    (void)row_format(round, "phase", phase);
    (void)fprintf(file,
                  "round      %llu  %s  %zu asked, %zu training, %zu uploaded, %zu refused, "
                  "%zu silent, %zu gone\n",
                  (unsigned long long)row_u64(round, "round_number"), phase,
                  json_array_size(clients), count_phase(clients, "asked"),
                  count_phase(clients, "admitted"), count_phase(clients, "refused"),
                  count_phase(clients, "silent"), count_phase(clients, "gone"));
}

static void print_live(const struct cmd_call *call, const json_t *live)
{
    FILE *file = call->out.file;
    const json_t *trouble = row_find(live, "trouble");
    const json_t *validation = row_find(live, "validation");
    char text[ROW_TEXT_SIZE];
    char uptime[64];
    json_t *line = NULL;
    size_t i = 0;

    (void)row_format(live, "version", text);
    (void)row_format_ms(row_u64(live, "uptime_ms"), uptime, sizeof(uptime));
    (void)fprintf(file, "reducer    %s  version %s  up %s\n", call->api.url, text, uptime);
    (void)row_format(live, "waits_for", text);
    (void)fprintf(file, "now        %s\n", text);
    print_session(file, row_find(live, "session"));
    print_round(file, row_find(live, "round"));
    if (json_is_object(validation)) {
        (void)fprintf(file, "validation %llu of %llu clients have validated model %s\n",
                      (unsigned long long)row_u64(validation, "received"),
                      (unsigned long long)row_u64(validation, "asked"),
                      row_format(validation, "model_id", text));
    }
    (void)fprintf(file, "combiners  %zu online of %zu\n", count_online(row_find(live, "combiners")),
                  json_array_size(row_find(live, "combiners")));
    (void)fprintf(file, "clients    %zu online of %zu\n", count_online(row_find(live, "clients")),
                  json_array_size(row_find(live, "clients")));
    json_array_foreach(trouble, i, line)
    {
        const char *value = json_string_value(line);
        (void)fprintf(file, "trouble    %s\n",
                      table_clean(value == NULL ? "" : value, text, sizeof(text)));
    }
}

static void print_disk(FILE *file, const json_t *disk)
{
    const json_t *places = row_find(disk, "places");
    const json_t *place;
    char text[32];
    size_t i;

    (void)fprintf(file, "models     %llu with files, %s",
                  (unsigned long long)row_u64(disk, "models"),
                  row_format_bytes(row_u64(disk, "models_bytes"), text, sizeof(text)));
    if (json_is_integer(row_find(disk, "metadata_bytes"))) {
        (void)fprintf(file, "; metadata %s",
                      row_format_bytes(row_u64(disk, "metadata_bytes"), text, sizeof(text)));
    }
    (void)fprintf(file, "\n");
    json_array_foreach(places, i, place)
    {
        char path[ROW_TEXT_SIZE];
        (void)fprintf(file, "disk       %s free for %s at %s\n",
                      row_format_bytes(row_u64(place, "free_bytes"), text, sizeof(text)),
                      row_text(place, "what"),
                      table_clean(row_text(place, "path"), path, sizeof(path)));
    }
}

/* Disk use is no reason to fail: the store may be away, or the reducer an older one. */
int cmd_status(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *live = NULL;
    FED_CLEANUP(api_json_free_p) json_t *disk = NULL;
    const int rc = api_live(&call->api, 0, 0, &live, err);

    if (rc < 0) {
        return rc;
    }
    if (api_get(&call->api, "/api/v1/disk", &disk, NULL) < 0) {
        disk = NULL;
    }
    if (call->is_json) {
        if (disk != NULL) {
            (void)json_object_set(live, "disk", disk);
        }
        return cmd_print_json(call, live, err);
    }
    print_live(call, live);
    if (disk != NULL) {
        print_disk(call->out.file, disk);
    }
    return FED_EXIT_OK;
}
