/* The only clock. Logic takes the time as an argument; this is for the edges. */
#ifndef FED_COMMON_BASE_CLOCK_H
#define FED_COMMON_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define FED_TIME_TEXT_SIZE 96 /* bytes, with the NUL: ample for both formats below */

uint64_t fed_clock_mono_ms(void); /* monotonic; for deadlines */
uint64_t fed_clock_mono_us(void); /* monotonic; for durations that are measured */
uint64_t fed_clock_utc_ms(void);  /* since 1970; for records people read, never for deadlines */
uint64_t fed_clock_utc_us(void);
uint64_t fed_clock_cpu_us(void); /* CPU time of the calling thread */

/* "Sun, 22 Nov 2026 12:48:44 GMT" (RFC 9110 section 5.6.7, IMF-fixdate). */
void fed_time_format_http(uint64_t utc_ms, char ret_text[FED_TIME_TEXT_SIZE]);

/* "2026-11-22T12:48:57.512650Z" (RFC 3339), microseconds. */
void fed_time_format_iso(uint64_t utc_us, char ret_text[FED_TIME_TEXT_SIZE]);

#endif /* FED_COMMON_BASE_CLOCK_H */
