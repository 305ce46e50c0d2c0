/* Ids: short printable text. A peer's id is a name, never a path: what may stand in one is checked
 * here, once.
 */
#ifndef FED_COMMON_BASE_ID_H
#define FED_COMMON_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define FED_ID_SIZE   129 /* bytes of an id's array, with the NUL */
#define FED_UUID_SIZE 37  /* bytes of a UUID's text, with the NUL */

/* True for 1..128 characters of [A-Za-z0-9._:@+-] that do not begin with '.' or '-'. */
bool fed_id_is_valid(const char *id);

/* A random UUID, version 4 (RFC 9562 section 5.4). Fails with FED_E_IO. */
FED_NODISCARD int fed_uuid_new(char ret_text[FED_UUID_SIZE], struct fed_err *err);

/* The UUID form (version 8, RFC 9562 section 5.8) of the first 16 bytes of a hash. */
void fed_uuid_from_hash(const uint8_t hash[16], char ret_text[FED_UUID_SIZE]);

/* Copy an id known to be valid; longer text is cut. */
void fed_id_copy(char ret_id[FED_ID_SIZE], const char *id);

/* Lower-case hexadecimal; ret_text holds 2 * size + 1 bytes. */
void fed_hex_format(const void *data, size_t size, char *ret_text);

/* Parse exactly 2 * size hexadecimal digits. False on anything else. */
bool fed_hex_parse(const char *text, void *ret_data, size_t size);

#endif /* FED_COMMON_BASE_ID_H */
