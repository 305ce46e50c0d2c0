/* A combiner that is none: it serves FEDn's calls on a thread and a loop of its own, says what it
 * was sent, and fails where it is told to. For the tests of the client alone.
 *
 * Thread safety: the test's thread calls everything here.
 */
#ifndef TESTS_UNIT_CLIENT_FAKE_COMBINER_H
#define TESTS_UNIT_CLIENT_FAKE_COMBINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_TEXT_SIZE    1024
#define FAKE_WAIT_MS      20000U
#define FAKE_HISTORY_SIZE 65536

/* What is counted; fake_wait() waits for a number of one of them. */
enum fake_count {
    FAKE_STREAMS,
    FAKE_HEARTBEATS,
    FAKE_DOWNLOADS, /* begun */
    FAKE_UPLOADS,   /* whole, with their terminator */
    FAKE_UPDATES,   /* SendModelUpdate answered OK */
    FAKE_VALIDATIONS,
    FAKE_STATUSES,
    FAKE_METRICS,
    FAKE_REFUSED, /* calls that were made to fail */
    FAKE_COUNT_MAX,
};

/* What fails, so many times; each with UNAVAILABLE. */
enum fake_fault {
    FAKE_FAIL_STREAM,
    FAKE_FAIL_HEARTBEAT,
    FAKE_FAIL_DOWNLOAD,       /* after the first chunk */
    FAKE_FAIL_DOWNLOAD_SHORT, /* OK, but without the terminator */
    FAKE_FAIL_DOWNLOAD_LONG,  /* more bytes than the model has, without an end */
    FAKE_FAIL_UPLOAD,         /* after the first chunk */
    FAKE_FAIL_UPDATE,         /* taken, but the answer is lost */
    FAKE_FAIL_VALIDATION,
    FAKE_FAULT_MAX,
};

struct fake_update {
    char client_id[FAKE_TEXT_SIZE];
    char name[FAKE_TEXT_SIZE];
    char receiver[FAKE_TEXT_SIZE];
    char model_id[FAKE_TEXT_SIZE];
    char update_id[FAKE_TEXT_SIZE];
    char meta[FAKE_TEXT_SIZE];
    char timestamp[FAKE_TEXT_SIZE];
    uint64_t size_bytes; /* of the upload of that id; 0: there was none */
    uint64_t hash;       /* of its bytes */
    char metadata_client[FAKE_TEXT_SIZE];
    char metadata_server[FAKE_TEXT_SIZE];
};

struct fake_combiner;

/* Serve one model, called model_id, on a free port (0) or a given one. Asserts that it can. */
struct fake_combiner *
fake_new(uint16_t port, const char *model_id, const void *model, size_t model_size);
struct fake_combiner *fake_free(struct fake_combiner *fake); /* the port is free again */

uint16_t fake_port(const struct fake_combiner *fake);

void fake_fail(struct fake_combiner *fake, enum fake_fault fault, unsigned times);

/* Put a task on the newest stream. */
void fake_send_train(struct fake_combiner *fake,
                     const char *model_id,
                     const char *round_id,
                     const char *more);
void fake_send_validate(struct fake_combiner *fake, const char *model_id);
void fake_end_stream(struct fake_combiner *fake); /* with UNAVAILABLE */

/* Wait until there were n of them; false after FAKE_WAIT_MS. */
bool fake_wait(struct fake_combiner *fake, enum fake_count what, unsigned n);
unsigned fake_count(struct fake_combiner *fake, enum fake_count what);

void fake_last_update(struct fake_combiner *fake, struct fake_update *ret_update);
void fake_last_validation(struct fake_combiner *fake, char ret_data[FAKE_TEXT_SIZE]);
void fake_statuses(struct fake_combiner *fake, char ret_text[FAKE_HISTORY_SIZE]); /* a line each */

uint64_t fake_hash(const void *data, size_t size); /* FNV-1a */

#endif /* TESTS_UNIT_CLIENT_FAKE_COMBINER_H */
