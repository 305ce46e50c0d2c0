/* The reducer's settings: one table. */
#ifndef REDUCER_SETTINGS_H
#define REDUCER_SETTINGS_H

#include <stdint.h>

#include "common/conf/conf.h"

struct settings {
    const char *http;
    const char *rpc;
    const char *store;
    const char *store_user;
    const char *store_password;
    const char *store_ca_file;
    const char *blob;
    const char *blob_endpoint;
    const char *blob_region;
    const char *blob_path_style;
    const char *blob_access_key;
    const char *blob_secret_key;
    const char *blob_ca_file;
    const char *work;
    const char *ready_file;
    const char *log_level;
    bool log_json;
    uint64_t http_connections_max;
    uint64_t blob_sweep_after_ms;
    uint64_t workers;
    uint64_t heartbeat_limit_ms;
    uint64_t reattach_grace_ms;
    uint64_t combiner_grace_ms;
    uint64_t close_timeout_ms;
    uint64_t examples_max;
    uint64_t disk_reserve;
    uint64_t drain_limit_ms;
};

extern const struct fed_conf_spec settings_spec;

#endif /* REDUCER_SETTINGS_H */
