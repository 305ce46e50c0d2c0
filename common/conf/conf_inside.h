/* The YAML side of the settings. */
#ifndef FED_COMMON_CONF_CONF_INSIDE_H
#define FED_COMMON_CONF_CONF_INSIDE_H

#include "common/base/err.h"

#define CONF_FILE_MAX ((size_t)1024 * 1024) /* bytes of a settings file */

/* `where` is "FILE:LINE", for messages. */
typedef int (*conf_key_fn)(void *arg,
                           const char *key,
                           const char *value,
                           const char *where,
                           struct fed_err *err);

/* Read a mapping of scalars, and of one level of mappings whose keys are joined by '_'. */
int conf_yaml_load(const char *path, conf_key_fn fn, void *arg, struct fed_err *err);

#endif /* FED_COMMON_CONF_CONF_INSIDE_H */
