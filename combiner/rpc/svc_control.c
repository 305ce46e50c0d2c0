/* fedn.Control and fedn.Reducer, from the client port: heard, and of no effect (rule 17). The
 * federation is steered at the reducer. */
#include "combiner/rpc/front_inside.h"

static void control(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    Fedn__ControlResponse response = FEDN__CONTROL_RESPONSE__INIT;

    (void)arg;
    (void)fed_rpc_in_free(in);
    response.message = front_text("of no effect here: the reducer steers");
    front_reply(call, &response.base);
}

static void get_global_model(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    Fedn__GetGlobalModelResponse response = FEDN__GET_GLOBAL_MODEL_RESPONSE__INIT;

    (void)arg;
    (void)fed_rpc_in_free(in);
    front_reply(call, &response.base);
}

static const struct fed_rpc_method methods[] = {
    {"/fedn.Control/Start", false, false, control},
    {"/fedn.Control/Stop", false, false, control},
    {"/fedn.Control/FlushAggregationQueue", false, false, control},
    {"/fedn.Control/SetAggregator", false, false, control},
    {"/fedn.Control/SetServerFunctions", false, false, control},
    {"/fedn.Reducer/GetGlobalModel", false, false, get_global_model},
};

struct front_methods svc_control_methods(void)
{
    return (struct front_methods){methods, sizeof(methods) / sizeof(methods[0])};
}
