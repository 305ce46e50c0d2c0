#include "combiner/rpc/mailer.h"

#include <stdlib.h>

#include "common/base/log.h"

struct mailer {
    struct mailer_config config;
    struct outbox outbox;
    struct outbox_write write;
    struct fed_job job;
    struct fed_lane lane;
    struct fed_list waiting; /* of struct mailer_wait, by seq */
    bool is_busy;            /* the job runs */
    bool is_failing;         /* said so already */
    uint64_t sent_seq;       /* on this link */
    uint64_t n_unacknowledged;
    uint64_t n_dropped_told;
};

static void write_some(struct mailer *mailer);

static void do_write(void *arg)
{
    struct mailer *mailer = arg;

    outbox_write(&mailer->write);
}

static void after_write(void *arg)
{
    struct mailer *mailer = arg;
    const int rc = mailer->write.rc;
    const uint64_t last_seq = mailer->write.last_seq;

    mailer->is_busy = false;
    if (rc < 0 && !mailer->is_failing) {
        fed_log(FED_LOG_ERROR, "outbox", "write_failed", "error=\"%s\"", mailer->write.err.msg);
    }
    mailer->is_failing = rc < 0;
    outbox_end_write(&mailer->outbox, &mailer->write);
    /* A record that cannot be written is kept in memory, and its sender answered all the same:
     * a status must never fail. */
    fed_list_for_each (link, &mailer->waiting) {
        struct mailer_wait *wait = FED_CONTAINER_OF(link, struct mailer_wait, link);
        if (wait->seq > last_seq && rc == 0) {
            break;
        }
        fed_link_remove(&wait->link);
        wait->fn(wait);
    }
    if (rc == 0) {
        write_some(mailer);
    }
}

static void write_some(struct mailer *mailer)
{
    if (!mailer->is_busy && outbox_begin_write(&mailer->outbox, &mailer->write)) {
        mailer->is_busy = true;
        fed_workers_submit(mailer->config.workers, &mailer->lane, &mailer->job);
    }
}

int mailer_new(const struct mailer_config *config, struct mailer **ret_mailer, struct fed_err *err)
{
    struct mailer *mailer = calloc(1, sizeof(*mailer));
    int rc;

    if (mailer == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "mailer");
    }
    mailer->config = *config;
    fed_list_init(&mailer->waiting);
    fed_lane_init(&mailer->lane);
    fed_job_init(&mailer->job, do_write, after_write, mailer);
    rc = outbox_open(&mailer->outbox, config->path, config->bytes_max, err);
    if (rc < 0) {
        free(mailer);
        return rc;
    }
    *ret_mailer = mailer;
    return 0;
}

struct mailer *mailer_free(struct mailer *mailer)
{
    if (mailer != NULL) {
        outbox_close(&mailer->outbox);
        free(mailer);
    }
    return NULL;
}

void mailer_post(struct mailer *mailer, enum fed_record_kind kind, char *json)
{
    struct fed_err err = {0};
    uint64_t seq = 0;

    if (outbox_add(&mailer->outbox, kind, json, &seq, &err) < 0) {
        fed_log(FED_LOG_DEBUG, "outbox", "refused", "kind=%d error=\"%s\"", (int)kind, err.msg);
    }
    if (mailer->outbox.n_dropped >= 2 * mailer->n_dropped_told + 1) {
        mailer->n_dropped_told = mailer->outbox.n_dropped;
        fed_log(FED_LOG_WARNING, "outbox", "dropped", "records=%llu waiting=%llu",
                (unsigned long long)mailer->outbox.n_dropped,
                (unsigned long long)mailer->outbox.n_records);
    }
    write_some(mailer);
    mailer->config.on_unsent(mailer->config.arg);
}

void mailer_await(struct mailer *mailer, struct mailer_wait *wait)
{
    wait->seq = mailer->outbox.next_seq - 1;
    if (mailer->is_busy || mailer->outbox.written_seq < wait->seq) {
        fed_list_add(&mailer->waiting, &wait->link);
        write_some(mailer);
        if (mailer->is_busy) {
            return;
        }
        fed_link_remove(&wait->link); /* nothing could be begun: no memory */
    }
    wait->fn(wait);
}

void mailer_forget(struct mailer_wait *wait)
{
    fed_link_remove(&wait->link);
}

const struct outbox_record *mailer_take_unsent(struct mailer *mailer)
{
    const struct outbox_record *record = mailer->n_unacknowledged >= MAILER_WINDOW
                                             ? NULL
                                             : outbox_next(&mailer->outbox, mailer->sent_seq);

    if (record != NULL) {
        mailer->sent_seq = record->seq;
        mailer->n_unacknowledged++;
    }
    return record;
}

void mailer_link_down(struct mailer *mailer)
{
    mailer->sent_seq = 0;
    mailer->n_unacknowledged = 0;
}

void mailer_acknowledge(struct mailer *mailer, uint64_t seq)
{
    const uint64_t before = mailer->outbox.n_records;
    uint64_t n;

    if (seq > mailer->sent_seq) {
        return; /* never sent: another life's word */
    }
    outbox_acknowledge(&mailer->outbox, seq);
    n = before - mailer->outbox.n_records;
    mailer->n_unacknowledged -= n < mailer->n_unacknowledged ? n : mailer->n_unacknowledged;
    if (seq == mailer->sent_seq) {
        mailer->n_unacknowledged = 0; /* some may have made way meanwhile */
    }
    write_some(mailer);
    mailer->config.on_unsent(mailer->config.arg);
}

uint64_t mailer_count(const struct mailer *mailer)
{
    return mailer->outbox.n_records;
}

bool mailer_is_idle(const struct mailer *mailer)
{
    return !mailer->is_busy && fed_list_is_empty(&mailer->waiting);
}
