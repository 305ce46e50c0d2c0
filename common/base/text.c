#include "common/base/text.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the character at p, or 0 where there is none. */
static size_t char_size(const uint8_t *p, size_t left)
{
    const size_t n = *p < 0x80   ? 1
                     : *p < 0xC2 ? 0
                     : *p < 0xE0 ? 2
                     : *p < 0xF0 ? 3
                     : *p < 0xF5 ? 4
                                 : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0U) != 0x80) {
            return 0;
        }
    }
    if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) || (*p == 0xF0 && p[1] < 0x90) ||
        (*p == 0xF4 && p[1] > 0x8F)) {
        return 0;
    }
    return n;
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
