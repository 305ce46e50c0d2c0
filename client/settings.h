/* What confed-client can be told: by file, environment (FED_CLIENT_…) and command line. */
#ifndef CLIENT_SETTINGS_H
#define CLIENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/conf/conf.h"

struct client_settings {
    const char *api_url;
    const char *combiner; /* "HOST:PORT": no reducer is asked; "" else */
    const char *preferred_combiner;
    const char *id;
    const char *name;
    const char *state;
    const char *data;
    const char *partition;
    const char *shard; /* "I/N" */
    const char *validate_on;
    const char *trainer;
    const char *kernel;
    const char *ready_file;
    const char *log_level;
    uint64_t seed;
    uint64_t epochs;
    uint64_t batch;
    double lr;
    uint64_t echo_examples;
    uint64_t heartbeat_ms;
    uint64_t reassign_after_ms;
    uint64_t attach_timeout_ms;
    uint64_t call_timeout_ms;
    uint64_t transfer_limit_ms;
    uint64_t drain_limit_ms;
    uint64_t model_max;
    bool log_json;
    uint32_t shard_index; /* from `shard`, by client_settings_check() */
    uint32_t n_shards;
    enum fed_log_level log_level_value;
};

extern const struct fed_conf_spec client_conf_spec;

/* What the table cannot check. Fails with FED_E_INVALID. */
FED_NODISCARD int client_settings_check(struct client_settings *settings, struct fed_err *err);

#endif /* CLIENT_SETTINGS_H */
