#include "combiner/rpc/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/base/clock.h"
#include "common/base/id.h"

#define FLOAT_DIGITS 9              /* decimal digits that tell any two 32-bit floats apart */
#define SECONDS_MAX  253402300799LL /* 9999-12-31T23:59:59Z, protobuf's last second */

/* Absent and empty are the same in proto3: null. */
static json_t *text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : json_string(text);
}

static const char *enum_name(const ProtobufCEnumDescriptor *descriptor, int value)
{
    const ProtobufCEnumValue *found =
        value == 0 ? NULL : protobuf_c_enum_descriptor_get_value(descriptor, value);

    return found == NULL ? NULL : found->name;
}

static json_t *person(const Fedn__Client *client, const char *client_id)
{
    if (client == NULL) {
        return json_pack("{s:n, s:n, s:o}", "name", "role", "client_id", text_or_null(client_id));
    }
    return json_pack("{s:o, s:o, s:o}", "name", text_or_null(client->name), "role",
                     text_or_null(enum_name(&fedn__role__descriptor, (int)client->role)),
                     "client_id", text_or_null(client_id));
}

static json_t *receiver(const Fedn__Client *client)
{
    return client == NULL ? json_null() : person(client, client->client_id);
}

/* protobuf's JSON text of a Timestamp: no fraction, or 3, 6 or 9 digits of one. */
static json_t *timestamp(const Google__Protobuf__Timestamp *time)
{
    char iso[FED_TIME_TEXT_SIZE];
    char text[FED_TIME_TEXT_SIZE];
    int seconds_size;

    if (time == NULL || time->seconds < 0 || time->seconds > SECONDS_MAX || time->nanos < 0 ||
        time->nanos > 999999999) {
        return json_null();
    }
    fed_time_format_iso((uint64_t)time->seconds * 1000000U, iso);
    seconds_size = (int)strcspn(iso, ".Z");
    if (time->nanos == 0) {
        (void)snprintf(text, sizeof(text), "%.*sZ", seconds_size, iso);
    } else if (time->nanos % 1000000 == 0) {
        (void)snprintf(text, sizeof(text), "%.*s.%03dZ", seconds_size, iso, time->nanos / 1000000);
    } else if (time->nanos % 1000 == 0) {
        (void)snprintf(text, sizeof(text), "%.*s.%06dZ", seconds_size, iso, time->nanos / 1000);
    } else {
        (void)snprintf(text, sizeof(text), "%.*s.%09dZ", seconds_size, iso, time->nanos);
    }
    return json_string(text);
}

/* The double whose 9 digits are the float's shortest decimal. */
static json_t *number(float value)
{
    char text[64];

    if (!isfinite(value)) {
        return json_null();
    }
    for (int digits = 1; digits <= FLOAT_DIGITS; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        const float back = strtof(text, NULL);
        if (back <= value && back >= value) {
            break;
        }
    }
    return json_real(strtod(text, NULL));
}

/* Add what every document has, and print it; takes `json`. */
static char *finish(json_t *json, const char *id_key, const char *id, json_t *when)
{
    const json_int_t now_ms = (json_int_t)fed_clock_utc_ms();
    char uuid[FED_UUID_SIZE];
    char *text = NULL;

    if (id == NULL || !fed_id_is_valid(id)) {
        id = fed_uuid_new(uuid, NULL) < 0 ? NULL : uuid;
    }
    if (json != NULL && id != NULL && json_object_set_new(json, id_key, json_string(id)) == 0 &&
        json_object_set(json, "timestamp", when) == 0 &&
        json_object_set_new(json, "committed_at", json_integer(now_ms)) == 0 &&
        json_object_set_new(json, "updated_at", json_integer(now_ms)) == 0) {
        text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(FLOAT_DIGITS));
    }
    json_decref(when);
    json_decref(json);
    return text;
}

char *record_status(const Fedn__Status *status, const char *client_id)
{
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sender", person(status->sender, client_id),
        "status", text_or_null(status->status), "log_level",
        text_or_null(enum_name(&fedn__log_level__descriptor, (int)status->log_level)), "data",
        text_or_null(status->data), "correlation_id", text_or_null(status->correlation_id), "type",
        text_or_null(enum_name(&fedn__status_type__descriptor, (int)status->type)), "extra",
        text_or_null(status->extra), "session_id", text_or_null(status->session_id));

    return finish(json, "status_id", NULL, timestamp(status->timestamp));
}

char *record_validation(const Fedn__ModelValidation *validation, const char *client_id)
{
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sender", person(validation->sender, client_id),
        "receiver", receiver(validation->receiver), "model_id", text_or_null(validation->model_id),
        "data", text_or_null(validation->data), "correlation_id",
        text_or_null(validation->correlation_id), "meta", text_or_null(validation->meta),
        "session_id", text_or_null(validation->session_id));

    return finish(json, "validation_id", NULL, timestamp(validation->timestamp));
}

char *record_prediction(const Fedn__ModelPrediction *prediction, const char *client_id)
{
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "sender", person(prediction->sender, client_id),
        "receiver", receiver(prediction->receiver), "model_id", text_or_null(prediction->model_id),
        "data", text_or_null(prediction->data), "correlation_id",
        text_or_null(prediction->correlation_id), "meta", text_or_null(prediction->meta));

    return finish(json, "prediction_id", prediction->prediction_id,
                  timestamp(prediction->timestamp));
}

char *record_metric(const Fedn__ModelMetric *metric, size_t i, const char *client_id)
{
    const Fedn__MetricElem *elem = metric->metrics[i];
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sender", person(metric->sender, client_id), "key",
        text_or_null(elem->key), "value", number(elem->value), "step",
        metric->step == NULL ? json_null() : json_integer((json_int_t)metric->step->value),
        "model_id", text_or_null(metric->model_id), "round_id", text_or_null(metric->round_id),
        "session_id", text_or_null(metric->session_id));

    return finish(json, "metric_id", NULL, timestamp(metric->timestamp));
}

char *record_attribute(const Fedn__AttributeMessage *attributes, size_t i, const char *client_id)
{
    const Fedn__AttributeElem *elem = attributes->attributes[i];
    json_t *json = json_pack("{s:o, s:o, s:o}", "sender", person(attributes->sender, client_id),
                             "key", text_or_null(elem->key), "value", text_or_null(elem->value));

    return finish(json, "attribute_id", NULL, timestamp(attributes->timestamp));
}

char *record_telemetry(const Fedn__TelemetryMessage *telemetry, size_t i, const char *client_id)
{
    const Fedn__TelemetryElem *elem = telemetry->telemetries[i];
    json_t *json = json_pack("{s:o, s:o, s:o}", "sender", person(telemetry->sender, client_id),
                             "key", text_or_null(elem->key), "value", number(elem->value));

    return finish(json, "telemetry_id", NULL, timestamp(telemetry->timestamp));
}
