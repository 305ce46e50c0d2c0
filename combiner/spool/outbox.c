#include "combiner/spool/outbox.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "combiner/spool/fields.h"
#include "common/base/num.h"
#include "common/model/checksum.h"

#define PREFIX_SIZE  8U
#define BODY_FIXED   9U           /* seq and kind */
#define RECORD_MAX   (512U << 10) /* bytes of JSON, as on the link */
#define OVERHEAD     128U         /* bytes a record costs besides its JSON */
#define COMPACT_FROM (1U << 20)   /* bytes of file below which it is left to grow */

static void remove_record(struct outbox *outbox, struct outbox_record *record)
{
    fed_link_remove(&record->link);
    outbox->n_bytes -= record->json_size + OVERHEAD;
    outbox->n_records--;
    free(record->json);
    free(record);
}

static int
add(struct outbox *outbox, uint64_t seq, enum fed_record_kind kind, char *json, struct fed_err *err)
{
    struct outbox_record *record = calloc(1, sizeof(*record));

    if (record == NULL) {
        free(json);
        return fed_err_set(err, FED_E_NOMEM, "record");
    }
    record->seq = seq;
    record->kind = kind;
    record->json = json;
    record->json_size = strlen(json);
    outbox->n_bytes += record->json_size + OVERHEAD;
    outbox->n_records++;
    fed_list_add(&outbox->records, &record->link);
    return 0;
}

/* Let the oldest of the kind go, telemetry before status and the rest, until `size` more fits. */
static bool make_room(struct outbox *outbox, uint64_t size)
{
    static const enum fed_record_kind order[] = {FED_RECORD_TELEMETRY, FED_RECORD_STATUS,
                                                 FED_RECORD_METRIC, FED_RECORD_ATTRIBUTE};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        fed_list_for_each (link, &outbox->records) {
            struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
            if (outbox->n_bytes + size <= outbox->bytes_max) {
                return true;
            }
            if (record->kind == order[i]) {
                remove_record(outbox, record);
                outbox->n_dropped++;
            }
        }
    }
    return outbox->n_bytes + size <= outbox->bytes_max;
}

int outbox_add(struct outbox *outbox,
               enum fed_record_kind kind,
               char *json,
               uint64_t *ret_seq,
               struct fed_err *err)
{
    const size_t size = json == NULL ? 0 : strlen(json);
    int rc;

    if (json == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "record");
    }
    if (size > RECORD_MAX || !make_room(outbox, size + OVERHEAD)) {
        free(json);
        outbox->n_dropped++;
        return fed_err_set(err, FED_E_LIMIT, "the outbox is full: %llu records wait",
                           (unsigned long long)outbox->n_records);
    }
    rc = add(outbox, outbox->next_seq, kind, json, err);
    if (rc == 0) {
        *ret_seq = outbox->next_seq++;
    }
    return rc;
}

const struct outbox_record *outbox_next(const struct outbox *outbox, uint64_t seq)
{
    fed_list_for_each (link, &outbox->records) {
        const struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
        if (record->seq > seq) {
            return record;
        }
    }
    return NULL;
}

void outbox_acknowledge(struct outbox *outbox, uint64_t seq)
{
    fed_list_for_each (link, &outbox->records) {
        struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
        if (record->seq > seq) {
            break;
        }
        remove_record(outbox, record);
    }
}

/* -- the file ---------------------------------------------------------------------------------- */

static int encode(struct fed_buf *buf, const struct outbox_record *record)
{
    const size_t start = buf->size;
    const uint8_t kind = (uint8_t)record->kind;
    struct fields_out out = {buf, NULL, 0};

    fields_put_u64(&out, 0);
    fields_put_u64(&out, record->seq);
    fields_put_bytes(&out, &kind, 1);
    fields_put_bytes(&out, record->json, record->json_size);
    if (out.rc == 0) {
        uint8_t *prefix = buf->data + start;
        const size_t size = buf->size - start - PREFIX_SIZE;
        fed_store_le32(prefix, (uint32_t)size);
        fed_store_le32(prefix + 4, fed_crc32(0, prefix + PREFIX_SIZE, size));
    } else {
        buf->size = start;
    }
    return out.rc;
}

/* From the end, where the new ones are. The list's head: there is none. */
static struct fed_link *first_to_write(struct outbox *outbox, bool is_rewrite)
{
    struct fed_link *head = &outbox->records.head;
    struct fed_link *link = head;

    if (is_rewrite) {
        return head->next;
    }
    while (link->prev != head &&
           FED_CONTAINER_OF(link->prev, struct outbox_record, link)->seq > outbox->written_seq) {
        link = link->prev;
    }
    return link;
}

bool outbox_begin_write(struct outbox *outbox, struct outbox_write *ret_write)
{
    const bool is_rewrite = outbox->is_rewrite_wanted || (outbox->file_bytes > COMPACT_FROM &&
                                                          outbox->file_bytes > 2 * outbox->n_bytes);

    if (outbox->is_writing ||
        (!is_rewrite && first_to_write(outbox, false) == &outbox->records.head)) {
        return false;
    }
    *ret_write = (struct outbox_write){.is_rewrite = is_rewrite, .last_seq = outbox->written_seq};
    memcpy(ret_write->path, outbox->path, sizeof(ret_write->path));
    fed_buf_init(&ret_write->bytes, 0);
    for (struct fed_link *link = first_to_write(outbox, is_rewrite); link != &outbox->records.head;
         link = link->next) {
        const struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
        if (encode(&ret_write->bytes, record) < 0) {
            break; /* no memory: the rest comes with the next write */
        }
        ret_write->last_seq = record->seq;
    }
    outbox->is_writing = true;
    return true;
}

void outbox_write(struct outbox_write *write)
{
    int fd;

    if (write->is_rewrite) {
        write->rc = fed_file_replace(write->path, fed_buf_view(&write->bytes), false, &write->err);
        return;
    }
    fd = open(write->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) {
        write->rc = fed_file_error(&write->err, "open", write->path);
        return;
    }
    write->rc = fed_file_write(fd, write->bytes.data, write->bytes.size, &write->err);
    (void)close(fd);
}

void outbox_end_write(struct outbox *outbox, struct outbox_write *write)
{
    assert(outbox->is_writing);
    outbox->is_writing = false;
    outbox->is_rewrite_wanted = write->rc < 0;
    if (write->rc == 0) {
        outbox->written_seq = write->last_seq;
        outbox->file_bytes =
            write->is_rewrite ? write->bytes.size : outbox->file_bytes + write->bytes.size;
    }
    fed_buf_deinit(&write->bytes);
}

/* Take the records of a file; returns how many bytes of it are whole. */
static int load(struct outbox *outbox, struct fed_view bytes, size_t *ret_size, struct fed_err *err)
{
    const uint8_t *data = bytes.data;
    size_t at = 0;

    while (bytes.size - at >= PREFIX_SIZE + BODY_FIXED) {
        const size_t size = fed_load_le32(data + at);
        const uint8_t *body = data + at + PREFIX_SIZE;
        char *json;
        uint64_t seq;
        int rc;
        if (size < BODY_FIXED || size > RECORD_MAX + BODY_FIXED ||
            size > bytes.size - at - PREFIX_SIZE ||
            fed_crc32(0, body, size) != fed_load_le32(data + at + 4)) {
            break;
        }
        json = strndup((const char *)body + BODY_FIXED, size - BODY_FIXED);
        seq = fed_load_le64(body);
        if (json == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "outbox");
        }
        rc = add(outbox, seq, (enum fed_record_kind)body[8], json, err);
        if (rc < 0) {
            return rc;
        }
        outbox->next_seq = seq + 1;
        at += PREFIX_SIZE + size;
    }
    *ret_size = at;
    return 0;
}

int outbox_open(struct outbox *outbox, const char *path, uint64_t bytes_max, struct fed_err *err)
{
    struct fed_buf buf;
    size_t size = 0;
    int rc;

    *outbox = (struct outbox){.bytes_max = bytes_max, .next_seq = 1};
    fed_list_init(&outbox->records);
    rc = fed_path_format(outbox->path, err, "%s", path);
    rc = rc < 0 ? rc : fed_file_load(path, (size_t)bytes_max * 4 + COMPACT_FROM, &buf, err);
    if (rc == -FED_E_NOT_FOUND) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    rc = load(outbox, fed_buf_view(&buf), &size, err);
    if (rc == 0 && size < buf.size && truncate(path, (off_t)size) != 0) {
        rc = fed_file_error(err, "cut the torn end of", path);
    }
    fed_buf_deinit(&buf);
    if (rc < 0) {
        outbox_close(outbox);
        return rc;
    }
    outbox->written_seq = outbox->next_seq - 1;
    outbox->file_bytes = size;
    return 0;
}

void outbox_close(struct outbox *outbox)
{
    struct fed_link *link;

    while ((link = fed_list_take(&outbox->records)) != NULL) {
        struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
        free(record->json);
        free(record);
    }
    outbox->n_records = 0;
    outbox->n_bytes = 0;
}
