#include "tests/unit/combiner/old_plan.h"

#include <string.h>

#include "common/base/num.h"
#include "common/model/checksum.h"
#include "tests/lib/fixture.h"

#define PREFIX_SIZE 20U

void old_plan_make(const char *path, const uint8_t base_xxh128[FED_XXH128_SIZE])
{
    struct fed_buf file = test_file_read(path);
    size_t at = PREFIX_SIZE;

    while (at + FED_XXH128_SIZE <= file.size &&
           memcmp(file.data + at, base_xxh128, FED_XXH128_SIZE) != 0) {
        at++;
    }
    assert_true(at + FED_XXH128_SIZE <= file.size);
    file.size -= FED_XXH128_SIZE;
    memmove(file.data + at, file.data + at + FED_XXH128_SIZE, file.size - at);
    fed_store_le32(file.data + 8, 1);
    fed_store_le32(file.data + 12, (uint32_t)(file.size - PREFIX_SIZE));
    fed_store_le32(file.data + 16, fed_crc32(0, file.data + PREFIX_SIZE, file.size - PREFIX_SIZE));
    test_file_write(path, file.data, file.size);
    fed_buf_deinit(&file);
}
