/* The rows of rounds, and the task data made from the same keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "reducer/rows.h"

json_t *rows_text(const char *text)
{
    json_t *value = json_string(text);
    char *clean;

    if (value != NULL || (clean = strdup(text)) == NULL) {
        return value;
    }
    for (char *p = clean; *p != '\0'; p++) {
        if ((unsigned char)*p >= 0x80) {
            *p = '?';
        }
    }
    value = json_string(clean);
    free(clean);
    return value;
}

const char *rows_get_text(const json_t *row, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text == NULL ? fallback : text;
}

uint64_t rows_get_u64(const json_t *row, const char *key, uint64_t fallback)
{
    const json_t *value = json_object_get(row, key);

    return json_is_integer(value) && json_integer_value(value) >= 0
               ? (uint64_t)json_integer_value(value)
               : fallback;
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *hex(const uint8_t *digest, size_t size) /* of FED_SHA256_SIZE at most */
{
    char text[2 * FED_SHA256_SIZE + 1];

    fed_hex_format(digest, size, text);
    return json_string(text);
}

/* -- task data --------------------------------------------------------------------------------- */

/* A value as Python's str() writes it: that is what FEDn sends. */
static json_t *python_text(const json_t *value)
{
    char text[64];
    char *dump;
    json_t *out;

    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string(json_string_value(value));
    case JSON_TRUE:
        return json_string("True");
    case JSON_FALSE:
        return json_string("False");
    case JSON_NULL:
        return json_string("None");
    case JSON_INTEGER:
        (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
        return json_string(text);
    case JSON_REAL:
        (void)snprintf(text, sizeof(text), "%.15g", json_real_value(value));
        return json_string(text);
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    dump = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    out = dump == NULL ? NULL : json_string(dump);
    free(dump);
    return out;
}

static void set_number_text(json_t *object, const char *key, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    (void)json_object_set_new(object, key, json_string(text));
}

json_t *rows_task_data(const json_t *session,
                       const char *task,
                       const char *round_id,
                       uint32_t round_number,
                       const char *model_id,
                       uint64_t round_timeout_ms)
{
    json_t *config = json_object_get(session, "session_config");
    const json_t *settings = json_object_get(session, "task_settings");
    json_t *data = json_object();
    const char *key;
    json_t *value;

    json_object_foreach(config, key, value)
    {
        (void)json_object_set_new(data, key, python_text(value));
    }
    (void)json_object_set_new(data, "task", json_string(task));
    (void)json_object_set_new(data, "round_id", json_string(round_id));
    (void)json_object_set_new(data, "model_id", json_string(model_id));
    (void)json_object_set_new(data, "session_id",
                              rows_text(rows_get_text(session, "session_id", "")));
    (void)json_object_set_new(data, "rounds", json_string("1"));
    set_number_text(data, "round_number", round_number);
    set_number_text(data, "round_timeout", round_timeout_ms / 1000);
    if (json_is_object(settings)) {
        (void)json_object_set_new(data, "client_settings", json_deep_copy(settings));
    }
    return data;
}

/* -- a round's row ------------------------------------------------------------------------------
 */

static const char *status_of(const struct round *round)
{
    switch (round->state) {
    case ROUND_PLANNED:
    case ROUND_OPEN:
    case ROUND_CLOSING:
        return "Pending";
    case ROUND_COMMITTED:
        return "Finished";
    case ROUND_FAILED:
        return "Failed";
    case ROUND_CANCELLED:
    case ROUND_STATE_MAX:
        break;
    }
    return "Terminated";
}

static const char *phase_of(const struct round *round)
{
    return round->state <= ROUND_CLOSING ? "planned" : round_state_name(round->state);
}

static json_t *encode_clients(const struct round *round)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_clients; i++) {
        const struct round_client *client = &round->clients[i];
        (void)json_array_append_new(list, json_pack("{s:s,s:s}", "client_id", client->client_id,
                                                    "combiner_id",
                                                    round->parts[client->part].combiner_id));
    }
    return list;
}

static const char *combiner_of(const struct round *round, const char *client_id)
{
    const struct round_client *client = round_find_client(round, client_id);

    return client == NULL ? "" : round->parts[client->part].combiner_id;
}

static json_t *encode_entries(const struct round *round)
{
    struct fed_entry *entries = NULL;
    json_t *list = json_array();
    uint64_t sum = 0;
    size_t n = 0;

    if (round->state != ROUND_COMMITTED ||
        round_list_entries(round, &entries, &n, &sum, NULL) < 0) {
        return list;
    }
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:I,s:s}", "client_id", entries[i].client_id, "update_id",
                            entries[i].update_id, "examples", (json_int_t)entries[i].examples,
                            "combiner_id", combiner_of(round, entries[i].client_id)));
    }
    free(entries);
    return list;
}

static json_t *encode_partials(const struct round *round)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_parts; i++) {
        const struct round_part *part = &round->parts[i];
        if (part->state == PART_ADDED) {
            (void)json_array_append_new(list,
                                        json_pack("{s:s,s:I,s:o}", "combiner_id", part->combiner_id,
                                                  "plan_seq", (json_int_t)part->plan_seq, "xxh128",
                                                  hex(part->digest, FED_DIGEST_SIZE)));
        }
    }
    return list;
}

static json_t *encode_parts(const struct round *round)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_parts; i++) {
        const struct round_part *part = &round->parts[i];
        (void)json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "combiner_id",
                                                    part->combiner_id, "plan_seq",
                                                    (json_int_t)part->plan_seq, "fenced_plan_seq",
                                                    (json_int_t)part->fenced_plan_seq));
    }
    return list;
}

static json_t *encode_refused(const struct round *round)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_refused; i++) {
        const struct fed_refused *refused = &round->refused[i];
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:o}", "client", refused->client_id, "update",
                            refused->update_id, "reason", fed_refusal_word(refused->reason),
                            "detail", rows_text(refused->detail)));
    }
    return list;
}

static json_t *encode_refused_more(const struct round *round)
{
    json_t *counts = json_object();

    for (int reason = 1; reason < FED_REFUSAL_MAX; reason++) {
        if (round->refused_more[reason] > 0) {
            (void)json_object_set_new(counts, fed_refusal_word((enum fed_refusal)reason),
                                      number(round->refused_more[reason]));
        }
    }
    return counts;
}

static json_t *encode_scale(const struct round *round)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_tensors; i++) {
        (void)json_array_append_new(list, json_integer(round->scale_bits[i]));
    }
    return list;
}

/* A duration in ms between two instants; null where one is not known. */
static json_t *span(uint64_t from_ms, uint64_t to_ms)
{
    return from_ms == 0 || to_ms < from_ms ? json_null() : number(to_ms - from_ms);
}

static json_t *encode_timings(const struct round *round, const struct rows_round_context *context)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "collect_ms",
                     span(round->planned_ms, round->closed_ms), "sum_ms",
                     span(round->closed_ms, context->summed_ms), "finish_ms",
                     number(context->finish_ms), "commit_ms", number(context->commit_ms),
                     "total_ms", span(round->planned_ms, context->now_ms));
}

static double seconds(uint64_t ms)
{
    return (double)ms / 1000.0;
}

/* FEDn's entry of one combiner in a round that has ended well. Its time_combination is the whole,
 * from the plan to the sum at the reducer: what loading and aggregation leave of it, it waited. */
static json_t *encode_combiner(const struct round *round,
                               const struct round_part *part,
                               const struct rows_round_context *context)
{
    const struct roster_combiner *combiner =
        roster_find_combiner(context->roster, part->combiner_id);
    const uint64_t end_ms =
        context->summed_ms > round->closed_ms ? context->summed_ms : round->closed_ms;
    const uint64_t required =
        rows_get_u64(json_object_get(context->session, "session_config"), "clients_required", 1);
    json_int_t n_asked = 0;

    for (size_t i = 0; i < round->n_clients; i++) {
        n_asked += &round->parts[round->clients[i].part] == part ? 1 : 0;
    }
    return json_pack(
        "{s:o,s:{s:{s:I,s:f,s:f},s:I,s:I,s:f,s:f},s:s,s:o,s:s,s:s,s:f}", "config",
        rows_task_data(context->session, "training", round->round_id, round->round_number,
                       round->base_model_id, context->round_timeout_ms),
        "data", "aggregation_time", "nr_aggregated_models", (json_int_t)part->n_entries,
        "time_model_aggregation", (double)part->sum_us / 1e6, "time_model_load",
        (double)part->load_us / 1e6, "nr_expected_updates", n_asked, "nr_required_updates",
        (json_int_t)required, "time_combination",
        seconds(round->planned_ms == 0 ? 0 : end_ms - round->planned_ms), "timeout",
        seconds(context->round_timeout_ms), "model_id", round->model_id, "name",
        rows_text(combiner == NULL ? part->combiner_id : combiner->name), "round_id",
        round->round_id, "status", "Success", "time_exec_training",
        seconds(round->planned_ms == 0 ? 0 : round->closed_ms - round->planned_ms));
}

static json_t *encode_combiners(const struct round *round, const struct rows_round_context *context)
{
    json_t *list = json_array();

    for (size_t i = 0; i < round->n_parts && round->state == ROUND_COMMITTED; i++) {
        if (round->parts[i].state == PART_ADDED) {
            (void)json_array_append_new(list, encode_combiner(round, &round->parts[i], context));
        }
    }
    return list;
}

static json_t *encode_config(const struct round *round, const struct rows_round_context *context)
{
    json_t *config = json_deep_copy(json_object_get(context->session, "session_config"));
    const json_t *settings = json_object_get(context->session, "task_settings");

    config = config == NULL ? json_object() : config;
    (void)json_object_set_new(config, "client_settings",
                              json_is_object(settings) ? json_deep_copy(settings) : json_object());
    (void)json_object_set_new(config, "is_sl_inference", json_false());
    (void)json_object_set_new(config, "model_id", json_string(round->base_model_id));
    (void)json_object_set_new(config, "round_id", json_string(round->round_id));
    (void)json_object_set_new(config, "round_timeout", number(context->round_timeout_ms / 1000));
    (void)json_object_set_new(config, "rounds", json_integer(1));
    (void)json_object_set_new(config, "selected_clients", json_null());
    (void)json_object_set_new(config, "session_id", json_string(round->session_id));
    (void)json_object_set_new(config, "task", json_string("training"));
    return config;
}

static void
add_outcome(json_t *row, const struct round *round, const struct rows_round_context *context)
{
    const bool is_committed = round->state == ROUND_COMMITTED;

    (void)json_object_set_new(row, "model_id",
                              is_committed ? json_string(round->model_id) : json_null());
    (void)json_object_set_new(row, "model_sha256",
                              is_committed ? hex(round->model_sha256, FED_SHA256_SIZE)
                                           : json_null());
    (void)json_object_set_new(row, "model_size_bytes",
                              is_committed ? number(round->model_size_bytes) : json_null());
    (void)json_object_set_new(row, "failure",
                              round->failure[0] == '\0' ? json_null() : rows_text(round->failure));
    (void)json_object_set_new(row, "round_data",
                              !is_committed
                                  ? json_null()
                                  : json_pack("{s:{s:f,s:f,s:f},s:f}", "reduce",
                                              "time_aggregate_model", seconds(context->finish_ms),
                                              "time_fetch_model", 0.0, "time_load_model", 0.0,
                                              "time_commit", seconds(context->commit_ms)));
}

json_t *rows_round_encode(const struct round *round, const struct rows_round_context *context)
{
    json_t *row = json_pack(
        "{s:s,s:s,s:s,s:i,s:s,s:s,s:o,s:i,s:I,s:I,s:I}", "round_id", round->round_id, "session_id",
        round->session_id, "status", status_of(round), "round_number", (int)round->round_number,
        "phase", phase_of(round), "base_model_id", round->base_model_id, "base_sha256",
        hex(round->base_sha256, FED_SHA256_SIZE), "limit_bits", (int)round->limit_bits,
        "base_size_bytes", (json_int_t)round->base_size_bytes, "planned_utc_ms",
        (json_int_t)round->planned_utc_ms, "deadline_utc_ms",
        (json_int_t)round->planned_utc_ms + (json_int_t)round->timeout_ms);

    if (row == NULL) {
        return NULL;
    }
    (void)json_object_set_new(row, "n_elements", number(context->n_elements));
    (void)json_object_set_new(row, "scale_bits", encode_scale(round));
    (void)json_object_set_new(row, "clients", encode_clients(round));
    (void)json_object_set_new(row, "entries", encode_entries(round));
    (void)json_object_set_new(row, "partials", encode_partials(round));
    (void)json_object_set_new(row, "refused", encode_refused(round));
    (void)json_object_set_new(row, "refused_more", encode_refused_more(round));
    (void)json_object_set_new(row, "timings", encode_timings(round, context));
    (void)json_object_set_new(row, "combiners", encode_combiners(round, context));
    (void)json_object_set_new(row, "round_config", encode_config(round, context));
    (void)json_object_set_new(row, "_parts", encode_parts(round));
    add_outcome(row, round, context);
    return row;
}

/* -- and back -----------------------------------------------------------------------------------
 */

static int corrupt(struct fed_err *err, const json_t *row, const char *key)
{
    return fed_err_set(err, FED_E_CORRUPT, "the row of round %s: %s is missing or malformed",
                       rows_get_text(row, "round_id", "?"), key);
}

static bool get_id(const json_t *row, const char *key, char ret_id[FED_ID_SIZE])
{
    const char *id = rows_get_text(row, key, "");

    if (!fed_id_is_valid(id)) {
        return false;
    }
    fed_id_copy(ret_id, id);
    return true;
}

static int decode_parts(const json_t *row, struct round *round, struct fed_err *err)
{
    const json_t *list = json_object_get(row, "_parts");
    size_t i;
    json_t *item;

    round->parts = calloc(ROSTER_COMBINERS_MAX, sizeof(*round->parts));
    if (round->parts == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "parts");
    }
    if (json_array_size(list) > ROSTER_COMBINERS_MAX) {
        return corrupt(err, row, "_parts");
    }
    json_array_foreach(list, i, item)
    {
        struct round_part *part = &round->parts[i];
        if (!get_id(item, "combiner_id", part->combiner_id)) {
            return corrupt(err, row, "_parts");
        }
        part->plan_seq = rows_get_u64(item, "plan_seq", 1);
        part->fenced_plan_seq = rows_get_u64(item, "fenced_plan_seq", 0);
        part->state = part->plan_seq <= part->fenced_plan_seq ? PART_FENCED : PART_WAITING;
        round->n_parts++;
    }
    return 0;
}

static int decode_clients(const json_t *row, struct round *round, struct fed_err *err)
{
    const json_t *list = json_object_get(row, "clients");
    char combiner_id[FED_ID_SIZE];
    size_t i;
    json_t *item;

    round->clients = calloc(json_array_size(list) + 1, sizeof(*round->clients));
    if (round->clients == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "clients");
    }
    json_array_foreach(list, i, item)
    {
        struct round_client *client = &round->clients[i];
        const struct round_part *part;
        if (!get_id(item, "client_id", client->client_id) ||
            !get_id(item, "combiner_id", combiner_id) ||
            (part = round_find_part(round, combiner_id)) == NULL ||
            (i > 0 && strcmp(round->clients[i - 1].client_id, client->client_id) >= 0)) {
            return corrupt(err, row, "clients");
        }
        client->part = (size_t)(part - round->parts);
        round->n_clients++;
    }
    return 0;
}

static int decode_scale(const json_t *row, struct round *round, struct fed_err *err)
{
    const json_t *list = json_object_get(row, "scale_bits");

    round->n_tensors = json_array_size(list);
    if (round->n_tensors > FED_LINK_TENSORS_MAX) {
        return corrupt(err, row, "scale_bits");
    }
    round->scale_bits = calloc(round->n_tensors + 1, sizeof(*round->scale_bits));
    if (round->scale_bits == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "scale");
    }
    for (size_t i = 0; i < round->n_tensors; i++) {
        round->scale_bits[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return 0;
}

static enum fed_refusal refusal_of(const char *word)
{
    for (int reason = 1; reason < FED_REFUSAL_MAX; reason++) {
        if (strcmp(fed_refusal_word((enum fed_refusal)reason), word) == 0) {
            return (enum fed_refusal)reason;
        }
    }
    return FED_REFUSAL_MALFORMED;
}

/* Refusals written with a changed plan: the combiners tell them again, but a lost one cannot. */
static int decode_refused(const json_t *row, struct round *round, struct fed_err *err)
{
    const json_t *list = json_object_get(row, "refused");
    size_t i;
    json_t *item;

    if (json_array_size(list) == 0) {
        return 0;
    }
    round->refused = calloc(ROUND_REFUSALS_MAX, sizeof(*round->refused));
    if (round->refused == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "refusals");
    }
    json_array_foreach(list, i, item)
    {
        struct fed_refused *refused = &round->refused[round->n_refused];
        if (round->n_refused == ROUND_REFUSALS_MAX) {
            break;
        }
        fed_id_copy(refused->client_id, rows_get_text(item, "client", ""));
        fed_id_copy(refused->update_id, rows_get_text(item, "update", ""));
        refused->reason = refusal_of(rows_get_text(item, "reason", ""));
        (void)snprintf(refused->detail, sizeof(refused->detail), "%s",
                       rows_get_text(item, "detail", ""));
        round->n_refused++;
    }
    return 0;
}

static int decode_head(const json_t *row, struct round *round, struct fed_err *err)
{
    const char *round_id = rows_get_text(row, "round_id", "");

    if (round_id[0] == '\0' || strlen(round_id) >= FED_ROUND_ID_SIZE) {
        return corrupt(err, row, "round_id");
    }
    (void)snprintf(round->round_id, sizeof(round->round_id), "%s", round_id);
    if (!get_id(row, "session_id", round->session_id)) {
        return corrupt(err, row, "session_id");
    }
    if (!get_id(row, "base_model_id", round->base_model_id)) {
        return corrupt(err, row, "base_model_id");
    }
    if (!fed_hex_parse(rows_get_text(row, "base_sha256", ""), round->base_sha256,
                       FED_SHA256_SIZE)) {
        return corrupt(err, row, "base_sha256");
    }
    round->round_number = (uint32_t)rows_get_u64(row, "round_number", 0);
    round->version = rows_get_u64(row, "version", 0);
    round->limit_bits = (uint32_t)rows_get_u64(row, "limit_bits", 0);
    round->base_size_bytes = rows_get_u64(row, "base_size_bytes", 0);
    round->planned_utc_ms = rows_get_u64(row, "planned_utc_ms", 0);
    round->timeout_ms = rows_get_u64(row, "deadline_utc_ms", 0) - round->planned_utc_ms;
    if (round->round_number == 0 || round->version == 0) {
        return corrupt(err, row, "round_number");
    }
    return 0;
}

int rows_round_decode(const json_t *row, struct round **ret_round, struct fed_err *err)
{
    FED_CLEANUP(round_free_p) struct round *round = calloc(1, sizeof(*round));
    int rc;

    if (round == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "round");
    }
    rc = decode_head(row, round, err);
    rc = rc < 0 ? rc : decode_scale(row, round, err);
    rc = rc < 0 ? rc : decode_parts(row, round, err);
    rc = rc < 0 ? rc : decode_clients(row, round, err);
    rc = rc < 0 ? rc : decode_refused(row, round, err);
    if (rc < 0) {
        return rc;
    }
    *ret_round = FED_TAKE(round);
    return 0;
}
