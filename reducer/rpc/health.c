/* grpc.health.v1: this port serves as long as it is open. */
#include <health.pb-c.h>
#include <string.h>

#include "reducer/rpc/federation_inside.h"

#define SERVICE "confed.v1.Federation"

/* The answer to a request, which is freed. */
static struct fed_rpc_out *answer(struct fed_rpc_in *request, bool is_watch, bool *ret_is_known)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    ProtobufCMessage *message = NULL;
    const char *service = "";
    const int rc = fed_rpc_in_unpack(request, &grpc__health__v1__health_check_request__descriptor,
                                     &message, NULL);

    if (rc == 0) {
        service = ((Grpc__Health__V1__HealthCheckRequest *)(void *)message)->service;
    }
    *ret_is_known = rc == 0 && (service[0] == '\0' || strcmp(service, SERVICE) == 0);
    response.status =
        *ret_is_known ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                      : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(request);
    return *ret_is_known || is_watch ? fed_rpc_out_pack(&response.base) : NULL;
}

void health_check(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    bool is_known = false;
    struct fed_rpc_out *out = answer(request, false, &is_known);

    (void)arg;
    if (!is_known) {
        fed_rpc_call_finish(call, FED_RPC_NOT_FOUND, "unknown service");
    } else {
        fed_rpc_call_reply(call, out);
    }
}

static void on_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    (void)call;
    (void)end;
    (void)arg;
}

/* The status never changes while the port is open: said once, then the stream is kept. */
void health_watch(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    static const struct fed_rpc_call_ops ops = {NULL, NULL, on_closed};
    bool is_known = false;

    (void)arg;
    fed_rpc_call_set(call, &ops, NULL);
    if (fed_rpc_call_send(call, answer(request, true, &is_known), NULL) < 0) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "out of memory");
    }
}
