/* The JSON that a client reads and writes: the one door to jansson in this daemon.
 *
 * Texts made here are malloc()ed and the caller's to free(); NULL: out of memory.
 *
 * Pure. Any thread.
 */
#ifndef CLIENT_JSON_AGENT_JSON_H
#define CLIENT_JSON_AGENT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/core/agent_state.h"
#include "common/base/err.h"
#include "common/base/view.h"

#define AGENT_JSON_MAX ((size_t)64 * 1024) /* bytes of an answer of the reducer */

/* Read task->data (FEDn writes every number as a text; both are taken): round_id, round_number
 * (0 when absent), session_id where the message itself had none, and client_settings' epochs,
 * batch (also batch_size), lr (also learning_rate). An empty data is fine for a validation.
 * Fails with FED_E_INVALID: no JSON object, no round_id in training, a setting out of range. */
FED_NODISCARD int agent_json_read_task(struct agent_task *task, struct fed_err *err);

/* The body of POST /api/v1/clients/add. */
char *agent_json_join(const char *name, const char *client_id, const char *preferred_combiner);

struct agent_joined {
    char host[256];
    uint16_t port;
};

/* The answer to it. Fails with FED_E_INVALID. */
FED_NODISCARD int
agent_json_read_joined(struct fed_view body, struct agent_joined *ret_joined, struct fed_err *err);

/* "message" of an answer, or "". */
void agent_json_read_message(struct fed_view body, char *ret_text, size_t text_size);

/* ModelUpdate.meta, FEDn's keys: exec_training, training_metadata, processing_time, upload_model,
 * fetch_model (seconds), config (the task's data, word for word; absent where task_data is NULL).
 */
struct agent_times {
    double fetch_s;
    double upload_s;
    double processing_s;
};
char *agent_json_meta(const struct agent_kept *kept,
                      const struct agent_times *times,
                      const char *task_data);

/* ModelValidation.data: names and values, in order. */
struct agent_score {
    const char *name; /* static: "test_accuracy" */
    double value;
};
char *agent_json_scores(const struct agent_score *scores, size_t n_scores);

/* SendStatus' data: the ids of what it is about; update_id and meta may be NULL. */
char *agent_json_about(const struct agent_task *task, const char *update_id, const char *meta);

/* The record of the kept update. Reading fails with FED_E_INVALID. */
char *agent_json_kept(const struct agent_kept *kept);
FED_NODISCARD int
agent_json_read_kept(struct fed_view text, struct agent_kept *ret_kept, struct fed_err *err);

/* The ready file. */
char *agent_json_ready(const char *client_id, const char *combiner, long pid);

#endif /* CLIENT_JSON_AGENT_JSON_H */
