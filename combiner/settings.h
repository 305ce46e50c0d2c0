/* The combiner's settings: one table for the command line, the environment (FED_COMBINER_*), the
 * file and the help.
 */
#ifndef COMBINER_SETTINGS_H
#define COMBINER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf/conf.h"

struct settings {
    const char *name;
    const char *reducer;
    const char *listen;
    const char *advertise;
    const char *spool;
    const char *spool_sync;
    uint64_t spool_bytes_max;
    const char *client_binding;
    uint64_t clients_max;
    uint64_t calls_max;
    uint64_t connections_max;
    uint64_t rpc_memory_max;
    uint64_t threads;
    uint64_t uploads_max;
    uint64_t upload_turns_max;
    uint64_t upload_size_max;
    uint64_t upload_idle_limit;
    uint64_t staged_max;
    uint64_t staged_bytes_max;
    uint64_t staged_age;
    uint64_t parameters_max;
    uint64_t outbox_bytes_max;
    uint64_t heartbeat_limit;
    uint64_t heartbeat_pace;
    uint64_t welcome_timeout;
    uint64_t drain_limit;
    const char *log_level;
    bool log_json;
    const char *ready_file;
};

extern const struct fed_conf_spec settings_spec;

/* What the table cannot say. Fails with FED_E_INVALID. */
FED_NODISCARD int settings_check(const struct settings *settings, struct fed_err *err);
bool settings_is_synced(const struct settings *settings);
bool settings_is_binding(const struct settings *settings);

#endif /* COMBINER_SETTINGS_H */
