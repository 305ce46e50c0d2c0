/* grpc.health.v1.Health: SERVING until the combiner drains. */
#include <health.pb-c.h>
#include <string.h>

#include "combiner/rpc/front_inside.h"

/* A service nobody has is SERVICE_UNKNOWN in words: NOT_FOUND never leaves this port. */
static Grpc__Health__V1__HealthCheckResponse__ServingStatus
serving_status(const struct front *front, const char *service)
{
    if (service[0] != '\0' && strncmp(service, "fedn.", 5) != 0) {
        return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    }
    return front->is_draining ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
                              : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
}

/* NULL: the call has been finished. */
static struct fed_rpc_out *
health(const struct front *front, struct fed_rpc_call *call, struct fed_rpc_in *in)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    Grpc__Health__V1__HealthCheckRequest *request =
        (void *)front_unpack(call, in, &grpc__health__v1__health_check_request__descriptor);

    if (request == NULL) {
        return NULL;
    }
    response.status = serving_status(front, request->service);
    fed_rpc_message_free(&request->base);
    return fed_rpc_out_pack(&response.base);
}

static void check(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fed_rpc_out *out = health(arg, call, in);

    if (out != NULL) {
        fed_rpc_call_reply(call, out);
    }
}

/* The state is told once; the stream's end tells that it has changed. */
static void watch(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct fed_rpc_out *out = health(arg, call, in);

    if (out != NULL && fed_rpc_call_send(call, out, NULL) < 0) {
        front_fail(call, FED_E_NOMEM, "out of memory");
    }
}

static const struct fed_rpc_method methods[] = {
    {"/grpc.health.v1.Health/Check", false, false, check},
    {"/grpc.health.v1.Health/Watch", false, true, watch},
};

struct front_methods svc_health_methods(void)
{
    return (struct front_methods){methods, sizeof(methods) / sizeof(methods[0])};
}
