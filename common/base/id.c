#include "common/base/id.h"

#include <stdio.h>
#include <string.h>

#include "common/base/rand.h"

static bool is_id_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._:@+-", c) != NULL);
}

bool fed_id_is_valid(const char *id)
{
    size_t n = 0;

    if (id == NULL || id[0] == '.' || id[0] == '-') {
        return false;
    }
    while (n < FED_ID_SIZE && id[n] != '\0') {
        if (!is_id_char(id[n])) {
            return false;
        }
        n++;
    }
    return n > 0 && n < FED_ID_SIZE;
}

static void format_uuid(const uint8_t b[16], char ret_text[FED_UUID_SIZE])
{
    (void)snprintf(ret_text, FED_UUID_SIZE,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}

static void format_version(const uint8_t bytes[16], uint8_t version, char *ret_text)
{
    uint8_t b[16];

    memcpy(b, bytes, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0FU) | (unsigned)(version << 4));
    b[8] = (uint8_t)((b[8] & 0x3FU) | 0x80U);
    format_uuid(b, ret_text);
}

int fed_uuid_new(char ret_text[FED_UUID_SIZE], struct fed_err *err)
{
    uint8_t bytes[16];
    const int rc = fed_rand_system(bytes, sizeof(bytes), err);

    if (rc < 0) {
        return rc;
    }
    format_version(bytes, 4, ret_text);
    return 0;
}

void fed_uuid_from_hash(const uint8_t hash[16], char ret_text[FED_UUID_SIZE])
{
    format_version(hash, 8, ret_text);
}

void fed_id_copy(char ret_id[FED_ID_SIZE], const char *id)
{
    (void)snprintf(ret_id, FED_ID_SIZE, "%s", id);
}

void fed_hex_format(const void *data, size_t size, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < size; i++) {
        ret_text[2 * i] = digits[p[i] >> 4];
        ret_text[2 * i + 1] = digits[p[i] & 15U];
    }
    ret_text[2 * size] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool fed_hex_parse(const char *text, void *ret_data, size_t size)
{
    uint8_t *p = ret_data;

    if (strlen(text) != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        const int high = hex_value(text[2 * i]);
        const int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        p[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}
