/* Text that comes from outside. What is passed on (to a log, a store, a peer) is valid UTF-8 and
 * holds no control characters: a peer that checks would refuse the whole message otherwise.
 *
 * Pure functions, any thread.
 */
#ifndef FED_COMMON_BASE_TEXT_H
#define FED_COMMON_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/view.h"

/* RFC 3629: shortest forms only, no surrogates, at most U+10FFFF. */
bool fed_text_is_utf8(const char *text);

/* Copy for people: control characters and bytes that are no UTF-8 become '?'; what does not fit is
 * cut between two characters. Always ends with a NUL; text_size > 0. */
void fed_text_copy(char *ret_text, size_t text_size, struct fed_view from);

/* Copy a URL for people, without what it says of a user: what stands before the last '@', and the
 * values of options that hold secrets. Cut where it does not fit. */
void fed_text_blank_url(const char *url, char *ret_text, size_t text_size);

#endif /* FED_COMMON_BASE_TEXT_H */
