#include "common/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) != 0) {
        assert(0 && "clock_gettime");
    }
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

uint64_t fed_clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t fed_clock_mono_ms(void)
{
    return fed_clock_mono_us() / 1000U;
}

uint64_t fed_clock_utc_us(void)
{
    return read_us(CLOCK_REALTIME);
}

uint64_t fed_clock_utc_ms(void)
{
    return fed_clock_utc_us() / 1000U;
}

uint64_t fed_clock_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

void fed_time_format_http(uint64_t utc_ms, char ret_text[FED_TIME_TEXT_SIZE])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t seconds = (time_t)(utc_ms / 1000U);
    struct tm tm = {0};

    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(ret_text, FED_TIME_TEXT_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                   days[tm.tm_wday % 7], tm.tm_mday, months[tm.tm_mon % 12], tm.tm_year + 1900,
                   tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void fed_time_format_iso(uint64_t utc_us, char ret_text[FED_TIME_TEXT_SIZE])
{
    const time_t seconds = (time_t)(utc_us / 1000000U);
    struct tm tm = {0};

    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(ret_text, FED_TIME_TEXT_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ",
                   tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (unsigned)(utc_us % 1000000U));
}
