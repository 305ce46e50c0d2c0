#include "combiner/settings.h"

#include <stddef.h>
#include <string.h>

#include "common/link/link.h"

#define ITEM(key) .offset = offsetof(struct settings, key)

static const struct fed_conf_item items[] = {
    {"name", FED_CONF_TEXT, "combiner", 0, 0, ITEM(name), false, "NAME",
     "what people and tasks call this combiner"},
    {"reducer", FED_CONF_TEXT, "127.0.0.1:8093", 0, 0, ITEM(reducer), false, "HOST:PORT",
     "the reducer's port for combiners"},
    {"listen", FED_CONF_TEXT, "127.0.0.1:12080", 0, 0, ITEM(listen), false, "HOST:PORT|fd:N",
     "where clients connect; port 0: a free one; fd:N: a listening socket that was handed over"},
    {"advertise", FED_CONF_TEXT, "", 0, 0, ITEM(advertise), false, "HOST:PORT",
     "where clients are sent to; empty: as listen"},
    {"spool", FED_CONF_TEXT, "confed-combiner", 0, 0, ITEM(spool), false, "DIR",
     "the folder that outlives a restart"},
    {"spool_sync", FED_CONF_TEXT, "none", 0, 0, ITEM(spool_sync), false, "none|update",
     "update: flush an update to the disk before its client hears OK, so that it outlives a power cut of this machine, too"},
    {"spool_bytes_max", FED_CONF_SIZE, "64 GiB", 1024, 1ULL << 50, ITEM(spool_bytes_max), false,
     "SIZE",
     "updates of a round that are kept as files; above it their sum is written down and they go: leave room for many"},
    {"client_binding", FED_CONF_TEXT, "connection", 0, 0, ITEM(client_binding), false,
     "connection|none",
     "an update counts from its client's connection only; none: behind an HTTP/2 proxy"},
    {"clients_max", FED_CONF_U64, "10000", 1, FED_LINK_CLIENTS_MAX, ITEM(clients_max), false, "N",
     "attached clients; beyond it a TaskStream ends with UNAVAILABLE"},
    {"calls_max", FED_CONF_U64, "30000", 16, 1000000, ITEM(calls_max), false, "N",
     "calls at once; beyond it they end with UNAVAILABLE"},
    {"connections_max", FED_CONF_U64, "16000", 16, 60000, ITEM(connections_max), false, "N",
     "connections on a socket that was handed over"},
    {"rpc_memory_max", FED_CONF_SIZE, "256 MiB", 64ULL << 20, 1ULL << 40, ITEM(rpc_memory_max),
     false, "SIZE",
     "gRPC's own buffers: the last resort, for at this bound gRPC ends calls as FEDn's clients cannot bear; the other bounds keep it far away"},
    {"threads", FED_CONF_U64, "3", 1, 64, ITEM(threads), false, "N",
     "workers for disk, checks and sums"},
    {"uploads_max", FED_CONF_U64, "256", 1, 100000, ITEM(uploads_max), false, "N",
     "uploads under way; beyond it the one that was idle longest makes way"},
    {"upload_turns_max", FED_CONF_U64, "8", 1, 1000, ITEM(upload_turns_max), false, "N",
     "uploads that are read from at once: a chunk of at most 4 MiB in memory for each"},
    {"upload_size_max", FED_CONF_SIZE, "2 GiB", 1024, 1ULL << 44, ITEM(upload_size_max), false,
     "SIZE", "bytes of one upload"},
    {"upload_idle_limit", FED_CONF_DURATION, "60 s", 100, 0, ITEM(upload_idle_limit), false, "TIME",
     "an upload that does not come on for so long is ended, or a download whose model does not"},
    {"staged_max", FED_CONF_U64, "20000", 1, 1000000, ITEM(staged_max), false, "N",
     "whole uploads that wait for their announcement"},
    {"staged_bytes_max", FED_CONF_SIZE, "16 GiB", 1ULL << 20, 1ULL << 50, ITEM(staged_bytes_max),
     false, "SIZE", "bytes of all uploads that are under way or wait"},
    {"staged_age", FED_CONF_DURATION, "5 min", 1, 0, ITEM(staged_age), false, "TIME",
     "an upload that has waited so long makes way when there is no room"},
    {"parameters_max", FED_CONF_U64, "1000000000", 1, 1ULL << 33, ITEM(parameters_max), false, "N",
     "parameters of a model"},
    {"outbox_bytes_max", FED_CONF_SIZE, "8 MiB", 65536, 1ULL << 34, ITEM(outbox_bytes_max), false,
     "SIZE", "statuses, metrics and validations that wait for the reducer"},
    {"heartbeat_limit", FED_CONF_DURATION, "10 s", 100, 0, ITEM(heartbeat_limit), false, "TIME",
     "a client silent for so long is not waited for, until the reducer says otherwise"},
    {"heartbeat_pace", FED_CONF_DURATION, "1 s", 1, 10000, ITEM(heartbeat_pace), false, "TIME",
     "a client that beats faster waits so long for its answer"},
    {"welcome_timeout", FED_CONF_DURATION, "10 s", 100, 0, ITEM(welcome_timeout), false, "TIME",
     "for the reducer to answer Hello"},
    {"drain_limit", FED_CONF_DURATION, "10 s", 0, 600000, ITEM(drain_limit), false, "TIME",
     "at SIGTERM: for uploads and announcements that are under way"},
    {"log_level", FED_CONF_TEXT, "info", 0, 0, ITEM(log_level), false, "error|warning|info|debug",
     "what is logged"},
    {"log_json", FED_CONF_BOOL, "false", 0, 0, ITEM(log_json), false, NULL,
     "one JSON object a line"},
    {"ready_file", FED_CONF_TEXT, "", 0, 0, ITEM(ready_file), false, "FILE",
     "written when clients are served and the reducer has said Welcome"},
};

const struct fed_conf_spec settings_spec = {
    .program = "confed-combiner",
    .env_prefix = "FED_COMBINER",
    .summary = "Serves clients of a federation: hands out tasks and models, collects and sums "
               "updates.",
    .epilog = "Example:\n"
              "  confed-combiner --name north --reducer 10.0.0.1:8093 --listen 0.0.0.0:12080 \\\n"
              "      --advertise north.example.org:12080 --spool /var/lib/confed/combiner\n",
    .items = items,
    .n_items = sizeof(items) / sizeof(items[0]),
};

bool settings_is_synced(const struct settings *settings)
{
    return strcmp(settings->spool_sync, "update") == 0;
}

bool settings_is_binding(const struct settings *settings)
{
    return strcmp(settings->client_binding, "connection") == 0;
}

int settings_check(const struct settings *settings, struct fed_err *err)
{
    char host[FED_LINK_ADDRESS_SIZE];
    enum fed_log_level level;
    uint16_t port = 0;

    if (!settings_is_binding(settings) && strcmp(settings->client_binding, "none") != 0) {
        return fed_err_set(err, FED_E_INVALID, "client_binding is '%s', want connection or none",
                           settings->client_binding);
    }
    if (!settings_is_synced(settings) && strcmp(settings->spool_sync, "none") != 0) {
        return fed_err_set(err, FED_E_INVALID, "spool_sync is '%s', want none or update",
                           settings->spool_sync);
    }
    if (settings->name[0] == '\0' || strlen(settings->name) >= FED_LINK_TEXT_SIZE) {
        return fed_err_set(err, FED_E_INVALID, "name has 1 to %d characters",
                           FED_LINK_TEXT_SIZE - 1);
    }
    if (!fed_address_parse(settings->reducer, host, sizeof(host), &port) || port == 0) {
        return fed_err_set(err, FED_E_INVALID, "reducer is '%s', want HOST:PORT",
                           settings->reducer);
    }
    if (strncmp(settings->listen, "fd:", 3) != 0 &&
        !fed_address_parse(settings->listen, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "listen is '%s', want HOST:PORT or fd:N",
                           settings->listen);
    }
    if (settings->advertise[0] != '\0' &&
        !fed_address_parse(settings->advertise, host, sizeof(host), &port)) {
        return fed_err_set(err, FED_E_INVALID, "advertise is '%s', want HOST:PORT",
                           settings->advertise);
    }
    if (!fed_log_level_parse(settings->log_level, &level)) {
        return fed_err_set(err, FED_E_INVALID,
                           "log_level is '%s', want error, warning, info or "
                           "debug",
                           settings->log_level);
    }
    return 0;
}
