/* A settings file. */
#include "common/conf/conf_inside.h"
#include "tests/fuzz/input.h"

static int
take(void *arg, const char *key, const char *value, const char *where, struct fed_err *err)
{
    *(size_t *)arg += key[0] != '\0' && value[0] != '\0' && where[0] != '\0' ? 1 : 0;
    (void)err;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fed_err err;
    size_t n = 0;

    (void)!conf_yaml_load(fuzz_file(data, size), take, &n, &err);
    return 0;
}
