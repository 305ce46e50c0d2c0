#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/text.h"

#define LINE_SIZE 1024 /* bytes; longer lines are cut */

static const char *const level_names[FED_LOG_MAX] = {"error", "warning", "info", "debug"};

static struct {
    const char *program;
    enum fed_log_level level;
    bool is_json;
} sink = {"confed", FED_LOG_INFO, false};

void fed_log_init(const char *program, enum fed_log_level level, bool is_json)
{
    sink.program = program;
    sink.level = level;
    sink.is_json = is_json;
}

bool fed_log_is_on(enum fed_log_level level)
{
    return level <= sink.level;
}

bool fed_log_level_parse(const char *text, enum fed_log_level *ret_level)
{
    for (unsigned i = 0; i < FED_LOG_MAX; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum fed_log_level)i;
            return true;
        }
    }
    return false;
}

/* Append clean text, leaving room for the line's end. In JSON, quotes and backslashes are escaped.
 */
static size_t append_text(char *line, size_t used, const char *text, bool is_json)
{
    for (const char *p = text; *p != '\0' && used + 5 < LINE_SIZE; p++) {
        if (is_json && (*p == '"' || *p == '\\')) {
            line[used++] = '\\';
        }
        line[used++] = *p;
    }
    return used;
}

void fed_log(enum fed_log_level level, const char *subject, const char *event, const char *fmt, ...)
{
    char text[LINE_SIZE - 192];
    char clean[sizeof(text)];
    char line[LINE_SIZE];
    char when[FED_TIME_TEXT_SIZE];
    va_list args;
    size_t used;
    int n;

    if (!fed_log_is_on(level)) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    /* Control characters would let a peer's text forge lines. */
    fed_text_copy(clean, sizeof(clean), fed_view_str(text));
    fed_time_format_iso(fed_clock_utc_us(), when);
    n = snprintf(line, sizeof(line),
                 sink.is_json ? "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\","
                                "\"event\":\"%s.%s\",\"text\":\""
                              : "%s %s %s %s.%s ",
                 when, level_names[level], sink.program, subject, event);
    if (n < 0) {
        return;
    }
    used = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 5;
    used = append_text(line, used, clean, sink.is_json);
    if (sink.is_json) {
        line[used++] = '"';
        line[used++] = '}';
    }
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        return; /* nobody is left to tell */
    }
}
