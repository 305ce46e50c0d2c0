#include "client/settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "client/data/partition.h"
#include "common/base/id.h"
#include "common/base/text.h"

#define AT(field) offsetof(struct client_settings, field)

static const struct fed_conf_item items[] = {
    {.key = "api_url",
     .type = FED_CONF_TEXT,
     .fallback = "http://127.0.0.1:8092",
     .offset = AT(api_url),
     .argument = "URL",
     .help = "the reducer's REST address, which assigns a combiner"},
    {.key = "combiner",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(combiner),
     .argument = "HOST:PORT",
     .help = "attach to this combiner, and ask no reducer"},
    {.key = "preferred_combiner",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(preferred_combiner),
     .argument = "NAME",
     .help = "the combiner to be assigned where it is live"},
    {.key = "id",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(id),
     .argument = "ID",
     .help = "the client's id; default: one made at the first start and kept in the state folder"},
    {.key = "name",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(name),
     .argument = "NAME",
     .help = "a label for people; default: client and eight characters of the id"},
    {.key = "state",
     .type = FED_CONF_TEXT,
     .fallback = "confed-client",
     .offset = AT(state),
     .argument = "DIR",
     .help = "the folder for the id and the last update, this client's alone"},
    {.key = "data",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(data),
     .argument = "DIR",
     .help = "the folder with MNIST's four files, gzipped or not"},
    {.key = "shard",
     .type = FED_CONF_TEXT,
     .fallback = "0/1",
     .offset = AT(shard),
     .argument = "I/N",
     .help =
         "this client's part of the training set: part I of N, from 0 (N/N is 0/N, so counting from 1 works too)"},
    {.key = "partition",
     .type = FED_CONF_TEXT,
     .fallback = "iid",
     .offset = AT(partition),
     .argument = "P",
     .help = "how the training set is divided: iid, shards[:per_client], dirichlet:ALPHA"},
    {.key = "validate_on",
     .type = FED_CONF_TEXT,
     .fallback = "test",
     .offset = AT(validate_on),
     .argument = "test|shard",
     .help = "validate on the whole test set, or on this client's part of it"},
    {.key = "seed",
     .type = FED_CONF_U64,
     .fallback = "1",
     .offset = AT(seed),
     .argument = "S",
     .help = "of the division and of the order of the examples; the same for all clients"},
    {.key = "trainer",
     .type = FED_CONF_TEXT,
     .fallback = "cnn",
     .offset = AT(trainer),
     .argument = "cnn|echo",
     .help = "cnn: the built-in model; echo: sends the base model straight back"},
    {.key = "kernel",
     .type = FED_CONF_TEXT,
     .fallback = "auto",
     .offset = AT(kernel),
     .argument = "auto|avx512|avx2|plain",
     .help = "the arithmetic of the cnn trainer; one kernel gives the same bits everywhere"},
    {.key = "epochs",
     .type = FED_CONF_U64,
     .fallback = "1",
     .min = 1,
     .max = 1000,
     .offset = AT(epochs),
     .argument = "N",
     .help = "passes over the shard a round, where the session does not say"},
    {.key = "batch",
     .type = FED_CONF_U64,
     .fallback = "10",
     .min = 1,
     .max = 1024,
     .offset = AT(batch),
     .argument = "N",
     .help = "images of one step, where the session does not say"},
    {.key = "lr",
     .type = FED_CONF_REAL,
     .fallback = "0.05",
     .offset = AT(lr),
     .argument = "X",
     .help = "learning rate, where the session does not say"},
    {.key = "echo_examples",
     .type = FED_CONF_U64,
     .fallback = "0",
     .max = 1000000000,
     .offset = AT(echo_examples),
     .argument = "N",
     .help = "the echo trainer's number of examples; 0: the size of the shard, or 1 without data"},
    {.key = "heartbeat_interval",
     .type = FED_CONF_DURATION,
     .fallback = "2s",
     .min = 100,
     .max = 60000,
     .offset = AT(heartbeat_ms),
     .argument = "TIME",
     .help = "between two heartbeats"},
    {.key = "reassign_after",
     .type = FED_CONF_DURATION,
     .fallback = "10s",
     .min = 100,
     .max = 3600000,
     .offset = AT(reassign_after_ms),
     .argument = "TIME",
     .help = "without the combiner for so long, the reducer is asked for another one"},
    {.key = "attach_timeout",
     .type = FED_CONF_DURATION,
     .fallback = "10s",
     .min = 100,
     .max = 600000,
     .offset = AT(attach_timeout_ms),
     .argument = "TIME",
     .help = "for the combiner's first answer"},
    {.key = "call_timeout",
     .type = FED_CONF_DURATION,
     .fallback = "5s",
     .min = 100,
     .max = 600000,
     .offset = AT(call_timeout_ms),
     .argument = "TIME",
     .help = "of one small call"},
    {.key = "transfer_limit",
     .type = FED_CONF_DURATION,
     .fallback = "10min",
     .min = 1000,
     .max = 86400000,
     .offset = AT(transfer_limit_ms),
     .argument = "TIME",
     .help = "of one upload or download"},
    {.key = "drain_limit",
     .type = FED_CONF_DURATION,
     .fallback = "10s",
     .min = 1,
     .max = 600000,
     .offset = AT(drain_limit_ms),
     .argument = "TIME",
     .help = "after SIGTERM: for an update on its way"},
    {.key = "model_max",
     .type = FED_CONF_SIZE,
     .fallback = "1GiB",
     .min = 1024,
     .offset = AT(model_max),
     .argument = "SIZE",
     .help = "the longest model that is downloaded"},
    {.key = "ready_file",
     .type = FED_CONF_TEXT,
     .fallback = "",
     .offset = AT(ready_file),
     .argument = "FILE",
     .help = "written when the client is attached: a JSON object with client_id, combiner, pid"},
    {.key = "log_level",
     .type = FED_CONF_TEXT,
     .fallback = "info",
     .offset = AT(log_level),
     .argument = "LEVEL",
     .help = "error, warning, info or debug"},
    {.key = "log_json",
     .type = FED_CONF_BOOL,
     .fallback = "false",
     .offset = AT(log_json),
     .argument = "",
     .help = "log lines as JSON"},
};

const struct fed_conf_spec client_conf_spec = {
    .program = "confed-client",
    .env_prefix = "FED_CLIENT",
    .summary = "Trains and validates models on data that stays here.",
    .epilog =
        "Examples:\n"
        "  confed-client --api-url http://reducer:8092 --data ~/mnist --shard 0/2\n"
        "  confed-client --combiner 127.0.0.1:12080 --trainer echo --state /var/lib/confed/c1\n",
    .items = items,
    .n_items = sizeof(items) / sizeof(items[0]),
};

/* "I/N" with 0 <= I <= N; N/N is 0/N. */
static int parse_shard(struct client_settings *settings, struct fed_err *err)
{
    const char *text = settings->shard;
    char *end = NULL;
    char *last = NULL;
    const unsigned long index = strtoul(text, &end, 10);
    const unsigned long n = *end == '/' ? strtoul(end + 1, &last, 10) : 0;

    if (text[0] < '0' || text[0] > '9' || n == 0 || end[1] < '0' || end[1] > '9' || *last != '\0' ||
        n > PARTITION_PARTS_MAX || index > n) {
        return fed_err_set(err, FED_E_INVALID, "shard: want I/N with 0 <= I < N <= %u, not '%s'",
                           PARTITION_PARTS_MAX, text);
    }
    settings->shard_index = (uint32_t)(index % n);
    settings->n_shards = (uint32_t)n;
    return 0;
}

static int
check_word(const char *key, const char *value, const char *const words[2], struct fed_err *err)
{
    if (strcmp(value, words[0]) != 0 && strcmp(value, words[1]) != 0) {
        return fed_err_set(err, FED_E_INVALID, "%s: want %s or %s, not '%s'", key, words[0],
                           words[1], value);
    }
    return 0;
}

int client_settings_check(struct client_settings *settings, struct fed_err *err)
{
    char host[256];
    uint16_t port = 0;
    int rc = parse_shard(settings, err);

    if (rc == 0) {
        rc = check_word("validate_on", settings->validate_on,
                        (const char *const[]){"test", "shard"}, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (settings->combiner[0] != '\0' &&
        (!fed_address_parse(settings->combiner, host, sizeof(host), &port) || port == 0)) {
        return fed_err_set(err, FED_E_INVALID, "combiner: want HOST:PORT, not '%s'",
                           settings->combiner);
    }
    if (!(settings->lr > 0) || settings->lr > 1000) {
        return fed_err_set(err, FED_E_INVALID, "lr: want a number above 0, at most 1000");
    }
    if (strlen(settings->name) >= FED_ID_SIZE || !fed_text_is_utf8(settings->name)) {
        return fed_err_set(err, FED_E_INVALID, "name: want UTF-8 of at most %d bytes",
                           FED_ID_SIZE - 1);
    }
    if (settings->state[0] == '\0') {
        return fed_err_set(err, FED_E_INVALID, "state: names no folder");
    }
    if (!fed_log_level_parse(settings->log_level, &settings->log_level_value)) {
        return fed_err_set(err, FED_E_INVALID, "log_level: no level '%s'", settings->log_level);
    }
    return 0;
}
