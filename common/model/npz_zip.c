#include "common/model/npz_zip.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/num.h"

#define DATE_1980 0x0021U /* 1 January 1980, as NumPy writes */
#define NAME_SIZE 16U

static size_t format_name(const struct npz_written *member, char ret_name[NAME_SIZE])
{
    return (size_t)snprintf(ret_name, NAME_SIZE, "%zu.npy", member->index);
}

static bool is_wide(const struct npz_written *member)
{
    return member->size >= 0xFFFFFFFF;
}

/* The fields that local and central headers share: version needed, flags, method, time, date, CRC,
 * sizes, name length (26 bytes). */
static void fill_common(const struct npz_written *member, size_t name_size, uint8_t *p)
{
    const uint32_t size = is_wide(member) ? 0xFFFFFFFF : (uint32_t)member->size;

    fed_store_le16(p, 45);
    fed_store_le16(p + 2, 0);
    fed_store_le16(p + 4, 0);
    fed_store_le16(p + 6, 0);
    fed_store_le16(p + 8, DATE_1980);
    fed_store_le32(p + 10, member->crc);
    fed_store_le32(p + 14, size);
    fed_store_le32(p + 18, size);
    fed_store_le16(p + 22, (uint16_t)name_size);
}

size_t npz_zip_local(const struct npz_written *member, uint8_t ret_bytes[NPZ_LOCAL_MAX])
{
    char name[NAME_SIZE];
    const size_t name_size = format_name(member, name);
    uint8_t *p = ret_bytes + 30;

    memset(ret_bytes, 0, NPZ_LOCAL_MAX);
    fed_store_le32(ret_bytes, 0x04034B50);
    fill_common(member, name_size, ret_bytes + 4);
    memcpy(p, name, name_size);
    p += name_size;
    if (is_wide(member)) {
        fed_store_le16(ret_bytes + 28, 20);
        fed_store_le16(p, 1);
        fed_store_le16(p + 2, 16);
        fed_store_le64(p + 4, member->size);
        fed_store_le64(p + 12, member->size);
        p += 20;
    }
    return (size_t)(p - ret_bytes);
}

int npz_zip_add(struct fed_buf *directory, const struct npz_written *member, struct fed_err *err)
{
    const bool is_far = member->local_offset >= 0xFFFFFFFF;
    const uint16_t extra_size = (uint16_t)((is_wide(member) ? 16 : 0) + (is_far ? 8 : 0));
    uint8_t central[46 + NAME_SIZE + 32] = {0};
    char name[NAME_SIZE];
    const size_t name_size = format_name(member, name);
    uint8_t *p = central + 46;

    fed_store_le32(central, 0x02014B50);
    fed_store_le16(central + 4, 45);
    fill_common(member, name_size, central + 6);
    fed_store_le16(central + 30, extra_size == 0 ? 0 : (uint16_t)(extra_size + 4));
    fed_store_le32(central + 42, is_far ? 0xFFFFFFFF : (uint32_t)member->local_offset);
    memcpy(p, name, name_size);
    p += name_size;
    if (extra_size > 0) {
        fed_store_le16(p, 1);
        fed_store_le16(p + 2, extra_size);
        p += 4;
    }
    if (is_wide(member)) {
        fed_store_le64(p, member->size);
        fed_store_le64(p + 8, member->size);
        p += 16;
    }
    if (is_far) {
        fed_store_le64(p, member->local_offset);
        p += 8;
    }
    return fed_buf_add(directory, central, (size_t)(p - central), err);
}

int npz_zip_end(struct fed_buf *directory, size_t n_members, uint64_t offset, struct fed_err *err)
{
    const size_t size = directory->size;
    uint8_t end[56 + 20 + 22] = {0};
    uint8_t *p = end;
    uint64_t start = offset;

    if (start + size >= 0xFFFFFFFF) {
        fed_store_le32(p, 0x06064B50);
        fed_store_le64(p + 4, 44);
        fed_store_le16(p + 12, 45);
        fed_store_le16(p + 14, 45);
        fed_store_le64(p + 24, n_members);
        fed_store_le64(p + 32, n_members);
        fed_store_le64(p + 40, size);
        fed_store_le64(p + 48, start);
        p += 56;
        fed_store_le32(p, 0x07064B50);
        fed_store_le64(p + 8, start + size);
        fed_store_le32(p + 16, 1);
        p += 20;
        start = 0xFFFFFFFF;
    }
    fed_store_le32(p, 0x06054B50);
    fed_store_le16(p + 8, (uint16_t)n_members);
    fed_store_le16(p + 10, (uint16_t)n_members);
    fed_store_le32(p + 12, (uint32_t)size);
    fed_store_le32(p + 16, (uint32_t)start);
    p += 22;
    return fed_buf_add(directory, end, (size_t)(p - end), err);
}
