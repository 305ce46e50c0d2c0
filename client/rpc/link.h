/* A client's connection to its combiner: FEDn's calls, seen from the loop.
 *
 * One step (a download, an upload or a report) is under way at a time, and ends with on_step()
 * exactly once; heartbeats and the TaskStream go on beside it. Bytes go to and from disk on a
 * worker, one chunk at a time: that is the back-pressure, and no model is ever in memory as a
 * whole.
 *
 * Every call carries FEDn's metadata: `client` (the id) and `grpc-server` (the combiner's host).
 *
 * Thread safety: loop thread only.
 */
#ifndef CLIENT_RPC_LINK_H
#define CLIENT_RPC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/core/agent_state.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/rpc/rpc.h"
#include "common/sync/workers.h"

struct link_config {
    struct fed_loop *loop;
    const char *client_id; /* texts: borrowed for the link's life */
    const char *name;
    uint64_t model_max;         /* bytes of a downloaded model */
    uint64_t call_timeout_ms;   /* of one small call */
    uint64_t transfer_limit_ms; /* of one upload or download as a whole */
    uint64_t keepalive_ms;
};

/* How a step ended, with a text for the log ("" when done). */
struct link_ops {
    void (*on_task)(const struct agent_task *task, void *arg); /* borrowed but for task->data, which
                                                                * the callee takes */
    void (*on_stream_closed)(int code, const char *detail, void *arg);
    void (*on_heartbeat)(bool is_answered, void *arg);
    void (*on_step)(enum agent_outcome outcome, const char *text, void *arg);
};

struct link;

/* Fails with FED_E_NOMEM. `ops` is static. */
FED_NODISCARD int link_new(struct fed_rpc *rpc,
                           struct fed_workers *workers,
                           const struct link_config *config,
                           const struct link_ops *ops,
                           void *arg,
                           struct link **ret_link);

/* After link_stop()'s `done`. Accepts NULL. */
struct link *link_free(struct link *link);

/* Leave the combiner there was (its calls are cancelled) for another one. */
FED_NODISCARD int link_connect(struct link *link, const char *address, struct fed_err *err);

/* End everything; `done(arg)` on the loop when the last call has ended. Once. */
void link_stop(struct link *link, fed_event_fn done, void *arg);

/* TaskStream. on_task() for each task; on_stream_closed() once, unless it was closed by us. */
void link_open_stream(struct link *link);
void link_close_stream(struct link *link);

void link_heartbeat(struct link *link);

/* -- steps; each ends with on_step() ----------------------------------------------------------- */

/* A model into a file (replaced as a whole; nothing is left there on failure). AGENT_FAILED: the
 * combiner has no such model, or it is too long. */
void link_download(struct link *link, const char *model_id, const char *path);

/* A file under the id of an update. What the combiner says about its content is not looked at: a
 * refusal is recorded when the update is reported. */
void link_upload(struct link *link, const char *update_id, const char *path);

/* SendModelUpdate and SendModelValidation: AGENT_DONE at OK, else AGENT_AGAIN. */
void link_report_update(struct link *link,
                        const struct agent_task *task,
                        const char *update_id,
                        const char *meta);
void link_report_validation(struct link *link, const struct agent_task *task, const char *data);

/* End the step soon; on_step() comes with AGENT_CANCELLED. No step: no effect. */
void link_cancel_step(struct link *link);

/* -- told once, and not repeated ----------------------------------------------------------------
 */

enum link_level {
    LINK_INFO = 1, /* FEDn's LogLevel */
    LINK_ERROR = 4,
    LINK_AUDIT = 5,
};
void link_send_status(struct link *link,
                      const struct agent_task *task,
                      enum link_level level,
                      const char *text,
                      const char *data);
void link_send_metric(struct link *link,
                      const struct agent_task *task,
                      const char *key,
                      double value);

#endif /* CLIENT_RPC_LINK_H */
