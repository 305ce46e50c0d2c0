#include "combiner/probe/probe.h"

#include <errno.h>
#include <health.pb-c.h>
#include <signal.h>
#include <string.h>

#include <jansson.h>

#include "common/base/file.h"
#include "common/rpc/rpc_client.h"

#define TIMEOUT_MS  3000U
#define MESSAGE_MAX 4096U
#define READY_MAX   65536U

struct probe {
    struct fed_loop *loop;
    struct fed_err *err;
    bool is_well;
};

static void on_answer(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg)
{
    struct probe *probe = arg;
    ProtobufCMessage *message = NULL;

    if (end->code != FED_RPC_OK) {
        (void)!fed_err_set(probe->err, FED_E_UNAVAILABLE, "status %d: %s", end->code, end->detail);
    } else if (fed_rpc_in_unpack(in, &grpc__health__v1__health_check_response__descriptor, &message,
                                 NULL) == 0) {
        const Grpc__Health__V1__HealthCheckResponse *response = (void *)message;
        probe->is_well =
            response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    fed_loop_stop(probe->loop);
}

bool probe_port(const char *address, struct fed_err *err)
{
    struct probe probe = {.err = err};
    const struct fed_rpc_channel_config config = {.target = address,
                                                  .message_size_max = MESSAGE_MAX};
    const struct fed_rpc_target target = {"/grpc.health.v1.Health/Check", TIMEOUT_MS};
    const Grpc__Health__V1__HealthCheckRequest request =
        GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct fed_rpc_channel *channel = NULL;
    struct fed_rpc *rpc = NULL;
    int rc = fed_loop_new(&probe.loop, err);

    rc = rc < 0 ? rc : fed_rpc_new(probe.loop, &rpc, err);
    rc = rc < 0 ? rc : fed_rpc_channel_new(rpc, &config, &channel, err);
    if (rc == 0) {
        fed_rpc_channel_unary(channel, &target, fed_rpc_out_pack(&request.base), on_answer, &probe,
                              NULL);
        fed_loop_run(probe.loop);
    }
    (void)fed_rpc_channel_free(channel);
    (void)fed_rpc_free(rpc);
    (void)fed_loop_free(probe.loop);
    return probe.is_well;
}

bool probe_file(const char *path, struct fed_err *err)
{
    struct fed_buf buf = {0};
    json_t *json = NULL;
    json_int_t pid;

    if (fed_file_load(path, READY_MAX, &buf, err) < 0) {
        return false;
    }
    json = json_loadb((const char *)buf.data, buf.size, 0, NULL);
    pid = json_integer_value(json_object_get(json, "pid"));
    json_decref(json);
    fed_buf_deinit(&buf);
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}
