/* Flat rows for people, spreadsheets and the dashboard's plots, made from what is stored: what the
 * handlers of rest_view_*.c share. Every path answers JSON {"count","result":[…]}, or with
 * format=csv the same rows as text.
 *
 * Thread safety: as a request's.
 */
#ifndef REDUCER_REST_REST_VIEW_H
#define REDUCER_REST_REST_VIEW_H

#include <jansson.h>

#include "reducer/rest/rest_request.h"

/* Documents an answer is made from, the newest, and its rows; but a timeline has a row for each
 * client of its round and for each phase. */
#define VIEW_ROWS_MAX 20000U

/* Answer with rows, which are taken (NULL: FED_E_NOMEM). `extra`, taken too, is an object that the
 * rows are added to in JSON; NULL: a new one. */
FED_NODISCARD int
view_answer(struct rest_request *request, json_t *rows, json_t *extra, struct fed_err *err);

/* The session asked for with session_id=, or the newest; "" where there is none. */
FED_NODISCARD int
view_read_session(struct rest_request *request, char ret_id[FED_ID_SIZE], struct fed_err *err);

/* Add `path op value` to a query; value is borrowed. */
void view_add_filter(struct store_query *query,
                     const char *path,
                     enum store_op op,
                     const char *value);

/* Makes what it wants of a document, and adds to the rows. Both are borrowed for the call. */
typedef void (*view_fn)(void *arg, json_t *rows, const json_t *document);

struct view_maker {
    view_fn fn;
    void *arg; /* borrowed; fn's */
};

/* Go through documents that match, newest first, one after the other: VIEW_ROWS_MAX of them at
 * most, and until as many rows are there. *ret_rows are the rows, oldest first and each document's
 * in the order in which they were added: the newest VIEW_ROWS_MAX, the caller's, on success only.
 * The query has filters alone. Fails as store_each(), with FED_E_NOMEM. */
FED_NODISCARD int view_each(struct rest_request *request,
                            enum store_collection in,
                            const struct store_query *query,
                            const struct view_maker *maker,
                            json_t **ret_rows,
                            struct fed_err *err);

/* The numbers of a session's rounds, by what they say under `key` ("round_id"; "model_id": the
 * model that each made): an object of the caller's. */
FED_NODISCARD int view_read_numbers(struct rest_request *request,
                                    const char *session_id,
                                    const char *key,
                                    json_t **ret_numbers,
                                    struct fed_err *err);

/* A member's text, borrowed; "" where it has none. */
const char *view_text(const json_t *object, const char *key);

/* A member that is JSON as a text, or an object: as a value of the caller's. NULL: neither. */
json_t *view_parse(const json_t *object, const char *key);

/* The first object of a list whose `key` is this text, borrowed; or NULL. */
const json_t *view_find_by(const json_t *list, const char *key, const char *value);

/* What clients told of the trainings whose statuses match: rows of
 * {session_id, round_id, client_id, client, update_id, download_s, training_s, upload_s,
 * processing_s, ended_utc_ms}, oldest first; the caller's. Times are the client's own figures
 * (FEDn's "meta"), or null; ended_utc_ms is when the reducer stored the status. */
FED_NODISCARD int view_read_trainings(struct rest_request *request,
                                      struct store_query *query,
                                      json_t **ret_rows,
                                      struct fed_err *err);

#endif /* REDUCER_REST_REST_VIEW_H */
