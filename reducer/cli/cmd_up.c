#include "reducer/cli/cmd.h"
const struct args_table cmd_up_options = {NULL, 0};
int cmd_up(const struct cmd_call *call, struct fed_err *err)
{
    (void)call;
    return fed_err_set(err, FED_E_UNSUPPORTED, "not yet");
}
