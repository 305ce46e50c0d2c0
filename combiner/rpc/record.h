/* The documents a combiner hands up: FEDn's messages as its REST shows them.
 *
 * Each function makes one JSON object (malloc'ed; NULL: out of memory), with the keys of FEDn's
 * rows, an id of its own, and committed_at and updated_at in ms since 1970. Absent fields are null,
 * enums are names, a 32-bit float is its shortest decimal.
 *
 * `client_id` is who the combiner takes the sender for; NULL: nobody it knows.
 *
 * Any thread.
 */
#ifndef COMBINER_RPC_RECORD_H
#define COMBINER_RPC_RECORD_H

#include <fedn.pb-c.h>
#include <stddef.h>

char *record_status(const Fedn__Status *status, const char *client_id);
char *record_validation(const Fedn__ModelValidation *validation, const char *client_id);
char *record_prediction(const Fedn__ModelPrediction *prediction, const char *client_id);

/* One document for element `i` of the message. */
char *record_metric(const Fedn__ModelMetric *metric, size_t i, const char *client_id);
char *record_attribute(const Fedn__AttributeMessage *attributes, size_t i, const char *client_id);
char *record_telemetry(const Fedn__TelemetryMessage *telemetry, size_t i, const char *client_id);

#endif /* COMBINER_RPC_RECORD_H */
