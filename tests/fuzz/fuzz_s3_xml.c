/* An answer of an S3 server. */
#include <string.h>

#include "reducer/blob/s3_xml.h"
#include "tests/fuzz/input.h"

static int pass(void *arg, const char *path, const char *text, struct fed_err *err)
{
    size_t *n = arg;

    (void)err;
    *n += strlen(path) + strlen(text);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char code[64];
    size_t n = 0;

    (void)!s3_xml_read(fed_view_of(data, size), pass, &n, NULL);
    s3_xml_find(fed_view_of(data, size), "Error/Code", code, sizeof(code));
    return 0;
}
