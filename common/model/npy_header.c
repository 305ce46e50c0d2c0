#include "common/model/npy_header.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/num.h"
#include "common/base/text.h"
#include "common/model/npz.h"

struct cursor {
    const char *p;
    const char *end;
};

static int fault(struct fed_err *err, enum fed_model_fault code, const char *text)
{
    (void)!fed_err_set(err, FED_E_INVALID, "%s", text);
    return (int)code;
}

static void skip_blanks(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t')) {
        c->p++;
    }
}

static bool take(struct cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->p < c->end && *c->p == wanted) {
        c->p++;
        return true;
    }
    return false;
}

/* A quoted text without escapes. */
static bool take_text(struct cursor *c, char *ret_text, size_t text_size)
{
    const char *start;
    char quote;
    size_t n;

    skip_blanks(c);
    if (c->p >= c->end || (*c->p != '\'' && *c->p != '"')) {
        return false;
    }
    quote = *c->p++;
    start = c->p;
    while (c->p < c->end && *c->p != quote && *c->p != '\\') {
        c->p++;
    }
    n = (size_t)(c->p - start);
    if (c->p >= c->end || *c->p != quote || n >= text_size) {
        return false;
    }
    memcpy(ret_text, start, n);
    ret_text[n] = '\0';
    c->p++;
    return true;
}

static bool take_number(struct cursor *c, uint64_t *ret_value)
{
    uint64_t value = 0;
    bool is_any = false;

    skip_blanks(c);
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
        if (value > FED_ELEMENTS_MAX) {
            return false;
        }
        value = value * 10 + (uint64_t)(*c->p++ - '0');
        is_any = true;
    }
    if (c->p < c->end && *c->p == 'L') { /* as Python 2 wrote them */
        c->p++;
    }
    *ret_value = value;
    return is_any;
}

static int parse_descr(struct cursor *c, struct fed_tensor *tensor, struct fed_err *err)
{
    char text[16];
    char clean[16];

    if (!take_text(c, text, sizeof(text))) {
        return fault(err, FED_FAULT_DTYPE, "dtype is a record, not a plain number type");
    }
    for (unsigned i = 0; i < FED_DTYPE_MAX; i++) {
        if (strlen(text) == 3 && strcmp(text + 1, fed_dtype_name((enum fed_dtype)i)) == 0 &&
            strchr("<>|=", text[0]) != NULL) {
            tensor->dtype = (enum fed_dtype)i;
            tensor->is_big_endian = text[0] == '>';
            return 0;
        }
    }
    fed_text_copy(clean, sizeof(clean), fed_view_str(text));
    (void)!fed_err_set(err, FED_E_INVALID, "dtype '%s' is not one of f2 f4 f8 i1-i8 u1-u8", clean);
    return FED_FAULT_DTYPE;
}

static int parse_shape(struct cursor *c, struct fed_tensor *tensor, struct fed_err *err)
{
    size_t n_elements = 1;

    tensor->rank = 0;
    if (!take(c, '(')) {
        return fault(err, FED_FAULT_MALFORMED, "shape is no tuple");
    }
    while (!take(c, ')')) {
        uint64_t n = 0;
        if (tensor->rank == FED_RANK_MAX || !take_number(c, &n)) {
            return fault(err, FED_FAULT_MALFORMED,
                         "shape is not readable, or has over 8 dimensions");
        }
        tensor->shape[tensor->rank++] = n;
        if (!fed_size_mul(n_elements, n, &n_elements) || n_elements > FED_ELEMENTS_MAX) {
            return fault(err, FED_FAULT_TOO_LARGE, "shape has too many elements");
        }
        if (!take(c, ',') && (c->p >= c->end || *c->p != ')')) {
            return fault(err, FED_FAULT_MALFORMED, "shape is not readable");
        }
    }
    tensor->n_elements = n_elements;
    return 0;
}

static int parse_bool(struct cursor *c, bool *ret_value, struct fed_err *err)
{
    skip_blanks(c);
    if (c->end - c->p >= 4 && memcmp(c->p, "True", 4) == 0) {
        c->p += 4;
        *ret_value = true;
        return 0;
    }
    if (c->end - c->p >= 5 && memcmp(c->p, "False", 5) == 0) {
        c->p += 5;
        *ret_value = false;
        return 0;
    }
    return fault(err, FED_FAULT_MALFORMED, "fortran_order is neither True nor False");
}

/* The dictionary {'descr': …, 'fortran_order': …, 'shape': …}, each key once, in any order. */
static int parse_dictionary(struct cursor *c, struct fed_tensor *tensor, struct fed_err *err)
{
    unsigned seen = 0;
    bool is_fortran = false;

    if (!take(c, '{')) {
        return fault(err, FED_FAULT_MALFORMED, "NPY header is no dictionary");
    }
    while (!take(c, '}')) {
        char key[20];
        unsigned bit;
        int rc;
        if (!take_text(c, key, sizeof(key)) || !take(c, ':')) {
            return fault(err, FED_FAULT_MALFORMED, "NPY header is not readable");
        }
        if (strcmp(key, "descr") == 0) {
            bit = 1;
            rc = parse_descr(c, tensor, err);
        } else if (strcmp(key, "fortran_order") == 0) {
            bit = 2;
            rc = parse_bool(c, &is_fortran, err);
        } else if (strcmp(key, "shape") == 0) {
            bit = 4;
            rc = parse_shape(c, tensor, err);
        } else {
            return fault(err, FED_FAULT_MALFORMED, "NPY header has an unknown key");
        }
        if (rc != 0) {
            return rc;
        }
        if ((seen & bit) != 0) {
            return fault(err, FED_FAULT_MALFORMED, "NPY header has a key twice");
        }
        seen |= bit;
        if (!take(c, ',') && (c->p >= c->end || *c->p != '}')) {
            return fault(err, FED_FAULT_MALFORMED, "NPY header is not readable");
        }
    }
    tensor->is_fortran = is_fortran && tensor->rank >= 2;
    return seen == 7 ? 0 : fault(err, FED_FAULT_MALFORMED, "NPY header lacks a key");
}

int fed_npy_header_parse(const void *bytes,
                         size_t size,
                         struct fed_tensor *ret_tensor,
                         size_t *ret_size,
                         struct fed_err *err)
{
    const uint8_t *p = bytes;
    struct fed_tensor tensor = {0};
    struct cursor c;
    size_t start = 10;
    size_t length;
    int rc;

    if (size < 12 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return fault(err, FED_FAULT_MALFORMED, "no NPY array: the magic bytes are missing");
    }
    if (p[6] < 1 || p[6] > 3) {
        return fault(err, FED_FAULT_MALFORMED, "NPY version is not 1, 2 or 3");
    }
    length = fed_load_le16(p + 8);
    if (p[6] > 1) {
        start = 12;
        length = fed_load_le32(p + 8);
    }
    if (length > FED_NPY_HEADER_MAX - start || start + length > size) {
        return fault(err, FED_FAULT_MALFORMED, "NPY header is cut short, or too long");
    }
    c = (struct cursor){(const char *)p + start, (const char *)p + start + length};
    rc = parse_dictionary(&c, &tensor, err);
    if (rc != 0) {
        return rc;
    }
    skip_blanks(&c);
    if (c.p != c.end) {
        return fault(err, FED_FAULT_MALFORMED, "NPY header goes on after its dictionary");
    }
    *ret_tensor = tensor;
    *ret_size = start + length;
    return 0;
}

size_t fed_npy_header_format(const struct fed_tensor *tensor, char ret_bytes[FED_NPY_HEADER_MAX])
{
    char shape[24 * FED_RANK_MAX];
    size_t total;
    int n;

    fed_shape_format(tensor, shape, sizeof(shape));
    if (tensor->rank == 1) { /* Python writes (7,) */
        (void)snprintf(shape, sizeof(shape), "(%llu,)", (unsigned long long)tensor->shape[0]);
    }
    n = snprintf(ret_bytes + 10, FED_NPY_HEADER_MAX - 10,
                 "{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }",
                 fed_dtype_size(tensor->dtype) == 1 ? '|' : '<', fed_dtype_name(tensor->dtype),
                 shape);
    assert(n > 0);
    total = ((size_t)n + 10 + 1 + 63) / 64 * 64;
    memset(ret_bytes + 10 + n, ' ', total - 10 - (size_t)n);
    ret_bytes[total - 1] = '\n';
    memcpy(ret_bytes, "\x93NUMPY\x01", 7);
    ret_bytes[7] = '\0';
    fed_store_le16(ret_bytes + 8, (uint16_t)(total - 10));
    return total;
}
