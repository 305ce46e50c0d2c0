#include "combiner/spool/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "combiner/spool/fields.h"
#include "common/base/num.h"
#include "common/model/checksum.h"

#define PREFIX_SIZE 8U
#define BODY_MAX    1024U /* bytes: two ids and some numbers */

static int encode(struct fed_buf *buf, const struct log_record *record, struct fed_err *err)
{
    struct fields_out out = {buf, err, 0};
    const uint8_t type = (uint8_t)record->type;

    fields_put_u64(&out, 0); /* size and CRC-32 follow when the body is there */
    fields_put_bytes(&out, &type, 1);
    if (record->type == LOG_ADMIT) {
        fields_put_text(&out, record->update.entry.client_id);
        fields_put_text(&out, record->update.entry.update_id);
        fields_put_u64(&out, record->update.entry.examples);
        fields_put_u64(&out, record->update.file.serial);
        fields_put_u64(&out, record->update.file.size_bytes);
        fields_put_u32(&out, record->update.file.crc);
    } else {
        fields_put_u64(&out, record->plan_seq);
        fields_put_bytes(&out, record->digest, FED_DIGEST_SIZE);
    }
    if (out.rc == 0) {
        fed_store_le32(buf->data, (uint32_t)(buf->size - PREFIX_SIZE));
        fed_store_le32(buf->data + 4,
                       fed_crc32(0, buf->data + PREFIX_SIZE, buf->size - PREFIX_SIZE));
    }
    return out.rc;
}

/* The body of a record whose CRC-32 holds; false when it is none of ours. */
static bool decode(struct fed_view body, struct log_record *ret_record)
{
    struct fields_in in = fields_in_of(body);
    uint8_t type = 0;

    *ret_record = (struct log_record){0};
    fields_get_bytes(&in, &type, 1);
    ret_record->type = (enum log_type)type;
    if (type == LOG_ADMIT) {
        struct spool_update *update = &ret_record->update;
        fields_get_id(&in, update->entry.client_id, sizeof(update->entry.client_id));
        fields_get_id(&in, update->entry.update_id, sizeof(update->entry.update_id));
        update->entry.examples = fields_get_u64(&in);
        update->file.serial = fields_get_u64(&in);
        update->file.size_bytes = fields_get_u64(&in);
        update->file.crc = fields_get_u32(&in);
    } else if (type == LOG_SEAL) {
        ret_record->plan_seq = fields_get_u64(&in);
        fields_get_bytes(&in, ret_record->digest, FED_DIGEST_SIZE);
    } else {
        return false;
    }
    return in.ok && in.left == 0;
}

static int
append(int fd, const char *path, struct fed_view bytes, bool is_durable, struct fed_err *err)
{
    struct stat st;
    int rc;

    if (fstat(fd, &st) != 0) {
        return fed_file_error(err, "stat", path);
    }
    rc = fed_file_write(fd, bytes.data, bytes.size, err);
    if (rc == 0 && is_durable && fdatasync(fd) != 0) {
        rc = fed_file_error(err, "sync", path);
    }
    if (rc < 0 && ftruncate(fd, st.st_size) != 0) {
        return fed_err_wrap(err, rc, "%s, and its end cannot be cut off", path);
    }
    return rc < 0 ? fed_err_wrap(err, rc, "%s", path) : 0;
}

int log_append(const char *path,
               const struct log_record *record,
               bool is_durable,
               struct fed_err *err)
{
    struct fed_buf buf;
    int fd = -1;
    int rc;

    fed_buf_init(&buf, BODY_MAX + PREFIX_SIZE);
    rc = encode(&buf, record, err);
    if (rc == 0) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        rc = fd < 0 ? fed_file_error(err, "open", path)
                    : append(fd, path, fed_buf_view(&buf), is_durable, err);
    }
    if (fd >= 0 && close(fd) != 0 && rc == 0) {
        rc = fed_file_error(err, "close", path);
    }
    fed_buf_deinit(&buf);
    return rc;
}

/* Do these bytes, at least PREFIX_SIZE, begin with a whole record? */
static bool find_record(struct fed_view bytes, struct log_record *ret_record, size_t *ret_size)
{
    const uint8_t *data = bytes.data;
    const size_t size = fed_load_le32(data);

    if (size > BODY_MAX || size > bytes.size - PREFIX_SIZE ||
        fed_crc32(0, data + PREFIX_SIZE, size) != fed_load_le32(data + 4) ||
        !decode(fed_view_of(data + PREFIX_SIZE, size), ret_record)) {
        return false;
    }
    *ret_size = PREFIX_SIZE + size;
    return true;
}

int log_read(const char *path, log_record_fn fn, void *arg, struct fed_err *err)
{
    struct log_record record;
    struct fed_err load_err = {0};
    struct fed_buf buf;
    size_t at = 0;
    size_t end = 0;
    size_t size = 0;
    int rc = fed_file_load(path, LOG_SIZE_MAX, &buf, &load_err);

    if (rc == -FED_E_NOT_FOUND) {
        return 0;
    }
    if (rc < 0) {
        return fed_err_set(err, load_err.code, "%s", load_err.msg);
    }
    while (rc == 0 && buf.size - at >= PREFIX_SIZE) {
        if (!find_record(fed_view_of(buf.data + at, buf.size - at), &record, &size)) {
            at++; /* torn; a later write may have worked again */
            continue;
        }
        rc = fn(arg, &record, err);
        at += size;
        end = at;
    }
    if (rc == 0 && end < buf.size && truncate(path, (off_t)end) != 0) {
        rc = fed_file_error(err, "cut the torn end of", path);
    }
    fed_buf_deinit(&buf);
    return rc;
}
