/* The checks behind `confed doctor` and `confed-reducer --check`: what the reducer depends on.
 *
 * A finding is {"name", "status":"ok|warning|failed", "text", "advice"}; advice is what to do,
 * empty where all is well. Thread safety: any thread. Blocks on what it checks: workers only.
 */
#ifndef REDUCER_CHECKUP_H
#define REDUCER_CHECKUP_H

#include <jansson.h>

#include "common/base/err.h"

struct store;
struct blob_store;
struct space;

/* Add a finding to the list. */
FED_PRINTF(5, 6)
void checkup_add(json_t *findings,
                 const char *name,
                 const char *status,
                 const char *advice,
                 const char *fmt,
                 ...);

/* Reach, rights and speed of a store: a document of its own is written, read and removed. */
void checkup_store(json_t *findings, struct store *store);

/* The same for blobs. */
void checkup_blobs(json_t *findings, struct blob_store *blobs);

/* Free space of each folder. */
void checkup_space(json_t *findings, const struct space *space);

/* Is this machine's clock kept right? The object store refuses requests of a wrong one. */
void checkup_clock(json_t *findings);

/* A store that could not be opened: the failure, and what to do about it. */
void checkup_failure(json_t *findings, const char *name, const struct fed_err *err);

#endif /* REDUCER_CHECKUP_H */
