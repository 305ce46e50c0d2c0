#include "common/base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Bytes that a character with this first byte has; 0 where none begins so. */
static size_t size_by_first(uint8_t first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xC2 || first > 0xF4) {
        return 0;
    }
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* A longer form than needed, a surrogate, beyond U+10FFFF: the second byte tells. */
static bool is_second_allowed(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xE0:
        return second >= 0xA0;
    case 0xED:
        return second <= 0x9F;
    case 0xF0:
        return second >= 0x90;
    case 0xF4:
        return second <= 0x8F;
    default:
        return true;
    }
}

/* Bytes of the character at p, or 0 where there is none. */
static size_t char_size(const uint8_t *p, size_t left)
{
    const size_t n = size_by_first(*p);

    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0U) != 0x80) {
            return 0;
        }
    }
    return n == 1 || is_second_allowed(p[0], p[1]) ? n : 0;
}

bool fed_text_is_utf8(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t left = strlen(text);

    while (left > 0) {
        const size_t n = char_size(p, left);
        if (n == 0) {
            return false;
        }
        p += n;
        left -= n;
    }
    return true;
}

void fed_text_copy(char *ret_text, size_t text_size, struct fed_view from)
{
    const uint8_t *p = from.data;
    size_t left = from.size;
    size_t used = 0;

    while (left > 0) {
        const size_t n = char_size(p, left);
        const size_t step = n == 0 ? 1 : n;
        if (used + step >= text_size) {
            break;
        }
        if (n == 0 || *p < 0x20 || *p == 0x7F) {
            ret_text[used] = '?';
        } else {
            memcpy(ret_text + used, p, n);
        }
        used += step;
        p += step;
        left -= step;
    }
    ret_text[used] = '\0';
}

void fed_text_blank_url(const char *url, char *ret_text, size_t text_size)
{
    static const char *const secrets[] = {"password=", "authmechanismproperties="};
    const char *scheme = strstr(url, "://");
    const char *at = scheme == NULL ? NULL : strrchr(url, '@');
    const char *rest = at == NULL ? url : at;
    size_t used = 0;

    if (at != NULL) {
        (void)snprintf(ret_text, text_size, "%.*s***", (int)(scheme + 3 - url), url);
        used = strlen(ret_text);
    }
    while (*rest != '\0' && used + 1 < text_size) {
        for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
            const size_t n = strlen(secrets[i]);
            if (scheme != NULL && strncasecmp(rest, secrets[i], n) == 0) {
                (void)snprintf(ret_text + used, text_size - used, "%.*s***", (int)n, rest);
                used += strlen(ret_text + used);
                rest += n + strcspn(rest + n, "&");
            }
        }
        if (*rest != '\0' && used + 1 < text_size) {
            ret_text[used++] = *rest++;
        }
    }
    ret_text[used] = '\0';
}
