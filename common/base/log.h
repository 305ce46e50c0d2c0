/* Structured log: one line per event on standard error, `time level subject event key=value …`.
 *
 *     fed_log(FED_LOG_INFO, "round", "closed", "round=%s updates=%u", id, n);
 *
 * The event's name is stable, so that it can be searched for. Info is what an operator would tell
 * a colleague; libraries do not log, the edge that ends an error does, once.
 *
 * Thread safety: any thread; a line is written by one write(2).
 */
#ifndef FED_COMMON_BASE_LOG_H
#define FED_COMMON_BASE_LOG_H

#include <stdbool.h>

#include "common/base/err.h"

enum fed_log_level {
    FED_LOG_ERROR,
    FED_LOG_WARNING,
    FED_LOG_INFO,
    FED_LOG_DEBUG,
    FED_LOG_MAX,
};

/* Set once, before other threads start. `program` is borrowed for the life of the process. */
void fed_log_init(const char *program, enum fed_log_level level, bool is_json);

bool fed_log_is_on(enum fed_log_level level);

/* "error", "warning", "info", "debug"; false when unknown. */
bool fed_log_level_parse(const char *text, enum fed_log_level *ret_level);

/* `fmt` gives key=value pairs; values with blanks in double quotes ("name=\"%s\""). */
FED_PRINTF(4, 5)
void fed_log(enum fed_log_level level,
             const char *subject,
             const char *event,
             const char *fmt,
             ...);

#endif /* FED_COMMON_BASE_LOG_H */
