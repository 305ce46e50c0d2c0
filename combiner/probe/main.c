/* Is a daemon well? For health checks in containers, where there is no shell.
 *
 *   confed-probe HOST:PORT     its gRPC health service says SERVING (combiner, reducer)
 *   confed-probe FILE          its ready file is there, and the process it names is alive (client)
 *
 * Exit status: 0 well, 1 not, 2 usage.
 */
#include <errno.h>
#include <health.pb-c.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "common/base/file.h"
#include "common/conf/conf.h"
#include "common/rpc/rpc_client.h"

#define TIMEOUT_MS  3000U
#define MESSAGE_MAX 4096U
#define READY_MAX   65536U

struct probe {
    struct fed_loop *loop;
    bool is_well;
};

static void on_answer(const struct fed_rpc_end *end, struct fed_rpc_in *in, void *arg)
{
    struct probe *probe = arg;
    ProtobufCMessage *message = NULL;

    if (end->code != FED_RPC_OK) {
        (void)fprintf(stderr, "confed-probe: status %d: %s\n", end->code, end->detail);
    } else if (fed_rpc_in_unpack(in, &grpc__health__v1__health_check_response__descriptor, &message,
                                 NULL) == 0) {
        const Grpc__Health__V1__HealthCheckResponse *response = (void *)message;
        probe->is_well = response->status ==
                         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
    fed_loop_stop(probe->loop);
}

static void probe_port(const char *address, struct probe *probe, struct fed_err *err)
{
    const struct fed_rpc_channel_config config = {.target = address,
                                                  .message_size_max = MESSAGE_MAX};
    const struct fed_rpc_target target = {"/grpc.health.v1.Health/Check", TIMEOUT_MS};
    const Grpc__Health__V1__HealthCheckRequest request =
        GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct fed_rpc_channel *channel = NULL;
    struct fed_rpc *rpc = NULL;
    int rc = fed_loop_new(&probe->loop, err);

    rc = rc < 0 ? rc : fed_rpc_new(probe->loop, &rpc, err);
    rc = rc < 0 ? rc : fed_rpc_channel_new(rpc, &config, &channel, err);
    if (rc == 0) {
        fed_rpc_channel_unary(channel, &target, fed_rpc_out_pack(&request.base), on_answer, probe,
                              NULL);
        fed_loop_run(probe->loop);
    }
    (void)fed_rpc_channel_free(channel);
    (void)fed_rpc_free(rpc);
    (void)fed_loop_free(probe->loop);
}

static void probe_file(const char *path, struct probe *probe, struct fed_err *err)
{
    struct fed_buf buf = {0};
    json_t *json = NULL;
    json_int_t pid;

    if (fed_file_load(path, READY_MAX, &buf, err) < 0) {
        return;
    }
    json = json_loadb((const char *)buf.data, buf.size, 0, NULL);
    pid = json_integer_value(json_object_get(json, "pid"));
    probe->is_well = pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
    json_decref(json);
    fed_buf_deinit(&buf);
}

int main(int argc, char **argv)
{
    struct probe probe = {0};
    struct fed_err err = {0};
    char host[256];
    uint16_t port = 0;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: confed-probe HOST:PORT|FILE\n");
        return FED_EXIT_USAGE;
    }
    if (fed_address_parse(argv[1], host, sizeof(host), &port)) {
        probe_port(argv[1], &probe, &err);
    } else {
        probe_file(argv[1], &probe, &err);
    }
    if (err.code != FED_OK) {
        (void)fprintf(stderr, "confed-probe: %s\n", err.msg);
    }
    return probe.is_well ? FED_EXIT_OK : FED_EXIT_FAILED;
}
